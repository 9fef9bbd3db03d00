"""Start-up time of `duchenne --help` and of `duchenne analyze` on a clip of half a second, beside their lower bounds.

    python benchmarks/startup.py [--turns 7] [-o benchmarks/startup.json]

Whole processes take turns: Python alone; `--help`; the imports of the heavy packages that a verdict and its files need;
`analyze` of a rendered clip of 12 frames, whose faces are read each time. Their own CPU seconds (user + system) and
wall seconds are written as medians, ratios turn by turn. Seconds are only meaningful on an idle machine.
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
from pathlib import Path

import torch
from extract import spread
from machine import about

from duchenne import io, video
from duchenne.datasets import simulate

IMPORTS = "import av, cv2, dlib, jinja2, numpy, safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    python = [sys.executable, "-c"]
    with tempfile.TemporaryDirectory() as name:
        pictures = list(simulate.frames(simulate.POSED, rate=24.0, size=(240, 180)))[12:24]
        clip = video.write(Path(name) / "clip.mp4", pictures, 24.0)
        duchenne = [sys.executable, "-m", "duchenne"]
        ways = {
            "python": [*python, "pass"],
            "help": [*duchenne, "--help"],
            "imports": [*python, IMPORTS],
            "analyze": [*duchenne, "analyze", str(clip), "--no-cache", "-o", f"{name}/out"],
        }
        turns = [{way: timed(command) for way, command in ways.items()} for _ in range(args.turns + 1)][1:]
    seconds = {
        way: {kind: round(statistics.median(turn[way][kind] for turn in turns), 3) for kind in ("cpu", "wall")}
        for way in ways
    }
    ratios = {
        f"{a} / {b}": {kind: spread([turn[a][kind] / turn[b][kind] for turn in turns]) for kind in ("cpu", "wall")}
        for a, b in (("help", "python"), ("analyze", "imports"))
    }
    result = {"machine": about(torch.device("cpu")), "turns": args.turns, "seconds": seconds, "ratios": ratios}
    print(json.dumps(result, indent=1))
    io.write_json(args.out, result)


def timed(command: list[str]) -> dict[str, float]:
    """CPU and wall seconds of a whole process; exits if it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed ({process.returncode}).")
    return {"cpu": used.ru_utime + used.ru_stime, "wall": time.perf_counter() - began}


if __name__ == "__main__":
    main()
