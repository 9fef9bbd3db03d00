"""CPU time of the views of `duchenne filters`: many filters in one pass, and filter by filter as before.

    python benchmarks/filters.py [--filters 96] [-o FILE]

Three faces of noise, the shipped network's last layer. In turns: `filters.views_of` as it is, on one thread; filter
by filter on one thread; and filter by filter on two of torch's own threads, as the command did. CPU time of all
threads counts, so the ratios hold on a busy machine. Also the receptive fields (`passes.boxes`), all that does not
depend on the images, as a share of the first: too little to be worth a cache. Writes filters.json; ratios only. Run
it without OMP_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from duchenne import checkpoints, io
from duchenne.expression import filters
from duchenne.expression.layers import FeatureExtractor
from duchenne.expression.passes import boxes

OUT, TURNS, LAYER = Path(__file__).with_suffix(".json"), 3, "block4a"


def seconds(function: Callable[[], object], threads: int) -> float:
    """CPU seconds of all threads of this process."""
    torch.set_num_threads(threads)
    start = time.process_time()
    function()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filters", type=int, default=96, help="how many")
    parser.add_argument("-o", "--out", type=Path, default=OUT)
    args = parser.parse_args()
    network = FeatureExtractor(checkpoints.load("expression")[0].network)
    faces = network.normalised(np.random.default_rng(0).integers(0, 256, (3, 48, 48), np.uint8))
    excited = filters.excite(network, LAYER, [faces])
    chosen = np.flatnonzero(~excited.dead)[: args.filters].tolist()
    size = filters.layers(network, faces[0])[LAYER][1:]

    def one_by_one() -> None:
        for j in chosen:
            list(filters.views_of(network, excited, [j]))

    ways: dict[str, tuple[Callable[[], object], int]] = {
        "together": (lambda: list(filters.views_of(network, excited, chosen)), 1),
        "one by one": (one_by_one, 1),
        "one by one, two threads": (one_by_one, 2),
        "receptive fields": (lambda: boxes(network, LAYER, faces.shape[1:], size), 1),
    }
    for way, threads in ways.values():
        seconds(way, threads)
    turns = [{name: seconds(way, threads) for name, (way, threads) in ways.items()} for _ in range(TURNS)]
    median = {name: statistics.median(turn[name] for turn in turns) for name in ways}
    found = {
        "filters": len(chosen),
        "load": os.getloadavg()[0],
        **{f"{name} over together": median[name] / median["together"] for name in ways if name != "together"},
    }
    io.write_json(args.out, found)
    print(found)


if __name__ == "__main__":
    main()
