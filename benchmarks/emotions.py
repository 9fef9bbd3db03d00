"""CPU time of `duchenne emotions` on aligned faces, beside that of decoding them and of the network alone.

    DUCHENNE_DATA=<folder with data/fer2013/public_test.npz> python benchmarks/emotions.py [--count 400] [-o FILE]

Faces of FER2013's public test as PNG files. In turns: the table (`emotions.table`, without start-up); its floor, PIL's
decoding and the network on one thread, without gradients; and, as the table was made before, the network on torch's own
threads, in a process without OMP_NUM_THREADS. CPU time of all threads counts, so the ratios hold on a busy machine, on
which torch's own threads wait for each other in busy loops. Writes emotions.json; ratios only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from duchenne import io
from duchenne.expression import emotions, reading

OUT = Path(__file__).with_suffix(".json")
TURNS, BATCH = 3, 32


def seconds(function: Callable[[], object]) -> float:
    """CPU seconds of all threads of this process."""
    start = time.process_time()
    function()
    return time.process_time() - start


def decoded(files: list[Path]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(file).convert("L")) for file in files])


@torch.no_grad()
def network(images: np.ndarray) -> None:
    model, _ = reading.load("expression")
    x = torch.from_numpy(images)[:, None]
    for some in torch.split(x, BATCH):
        for face in (some, some.flip(-1)):
            model.network(face).softmax(dim=1)


def measured(folder: Path, threads: int) -> dict[str, float]:
    """Medians over the turns of the CPU seconds of each way."""
    files = sorted(folder.iterdir())
    images = decoded(files)
    ways = {
        "decode": lambda: decoded(files),
        "network": lambda: network(images),
        "table": lambda: emotions.table(folder, is_aligned=True),
    }
    torch.set_num_threads(threads)
    for way in ways.values():
        way()
    found = [{name: seconds(way) for name, way in ways.items()} for _ in range(TURNS)]
    return {name: statistics.median(each[name] for each in found) for name in ways}


def run(folder: Path, threads: int) -> dict[str, float]:
    """`measured` in a process of its own, as torch's threads are made once."""
    free = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    words = (sys.executable, __file__, "--folder", str(folder), "--threads", str(threads))
    done = subprocess.run(words, env=free, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("-o", "--out", type=Path, default=OUT)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        print(json.dumps(measured(args.folder, args.threads)))
        return
    root = os.environ.get("DUCHENNE_DATA")
    if not root:
        sys.exit("Set DUCHENNE_DATA to the folder that holds data/fer2013.")
    with np.load(Path(root) / "data" / "fer2013" / "public_test.npz") as stored:
        faces = stored["images"][: args.count]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for i, face in enumerate(faces):
            Image.fromarray(face).save(folder / f"{i:05}.png")
        one, two = (run(folder, threads) for threads in (1, 2))
    floor = one["decode"] + one["network"]
    found = {
        "faces": len(faces),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "table_over_floor": one["table"] / floor,
        "table_over_floor_two_threads": two["table"] / floor,
        "torch_threads_over_one": two["network"] / one["network"],
    }
    io.write_json(args.out, found)
    print(found)


if __name__ == "__main__":
    main()
