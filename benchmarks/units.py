"""What action units add to reading a clip: CPU seconds of reading it, and of its units, several times.

    python benchmarks/units.py CLIP

Writes units.json.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from machine import about

from duchenne import io
from duchenne.faces import join
from duchenne.faces.reading import read_faces
from duchenne.units import reading

TIMES = 5
T = TypeVar("T")


def main() -> None:
    clip = Path(sys.argv[1])
    model, _ = reading.load()
    read, units, frames = [], [], 0
    for _ in range(TIMES + 1):
        seconds, found = timed(lambda: join(read_faces(clip)))
        track, looks = found.tracks[0], found.looks[0]
        read.append(seconds)
        units.append(timed(lambda t=track, k=looks: reading.over_time(t, k, model))[0])
        frames = len(track)
    read, units = read[1:], units[1:]  # the first loads networks
    share = float(np.median(units) / np.median(read))
    found = {"frames": frames, "read": rounded(read), "units": rounded(units), "share": round(share, 4)}
    io.write_json(Path(__file__).with_suffix(".json"), found | about(torch.device("cpu")))
    print(found)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def rounded(seconds: list[float]) -> list[float]:
    return [round(each, 4) for each in seconds]


if __name__ == "__main__":
    main()
