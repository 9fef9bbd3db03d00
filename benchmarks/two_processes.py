"""How much faster two processes read faces than one, beside what this machine gives two processes at all.

    python benchmarks/two_processes.py CLIP [--turns 3] [-o benchmarks/two_processes.json]

In turns, one process and two: a loop of Python; products of two matrices; the mesh following the face of CLIP again and
again (each for `SECONDS`, by how much was done); and `duchenne extract --no-cache` on 24 copies of CLIP with one worker
and with two, start and tables included (by the clock). Ratios only, with the least and the greatest; on an idle machine
with two cores or more.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import machine

from duchenne import io

SECONDS, COPIES = 10.0, 24
_LOOP = f"""
import time
done, end = 0, time.perf_counter() + {SECONDS}
while time.perf_counter() < end:
    once()
    done += 1
print(done)
"""
#: What is done once → a Python program that defines it.
WORK = {
    "loop of Python": "def once():\n    for _ in range(10000): pass\n",
    "matrix product": "import numpy\na = numpy.ones((400, 400), 'float32')\ndef once():\n    a @ a\n",
    "mesh": "import sys\nfrom duchenne import video\nfrom duchenne.faces.follow import follow\n"
    "def once():\n    follow(video.frames(sys.argv[1]), reader='mesh')\nonce()\n",
}


def done(program: str, clip: Path, processes: int) -> float:
    """How often processes together did the program's `once`."""
    words = [sys.executable, "-c", program + _LOOP, str(clip)]
    started = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return sum(float(each.communicate()[0]) for each in started)


def extracted(clip: Path, folder: Path, processes: int) -> float:
    """1 / seconds of `duchenne extract` with so many workers."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    words = ["extract", str(folder / "clips"), "-o", str(out), "--no-cache", "--workers", str(processes)]
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "duchenne", *words], check=True, capture_output=True)
    return 1 / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    ratios: dict[str, list[float]] = {}
    busy = machine.others()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "clips").mkdir()
        for i in range(COPIES):
            shutil.copy(args.clip, folder / "clips" / f"{i}{args.clip.suffix}")
        speeds: dict[str, Callable[[int], float]] = {
            **{work: partial(done, program, args.clip.resolve()) for work, program in WORK.items()},
            f"extract, {COPIES} clips": partial(extracted, args.clip, folder),
        }
        for work, speed in speeds.items():
            turns = [(speed(1), speed(2)) for _ in range(args.turns)]
            each = sorted(round(two / one, 3) for one, two in turns)
            ratios[work] = [statistics.median(each), each[0], each[-1]]
            print(work, ratios[work], file=sys.stderr, flush=True)
    about = {"cores": os.cpu_count(), "others_before": busy, "clip": args.clip.name, "turns": args.turns}
    io.write_json(args.out, {**about, "two over one": ratios})


if __name__ == "__main__":
    main()
