"""The power-cut test: a running batch's disk is copied at random times; a run on the copy ends with the same bytes.

    sudo python benchmarks/power_cut.py [--clips 6] [--rounds 12] [--seed 1] [--out benchmarks/power_cut.json]

`duchenne extract` writes to an ext4 file system in an image file. A copy of that file is what a disk holds when the
power fails: nothing of what the kernel had not yet written. In every round a run begins on an empty file system, the
image is copied at a random time (again, if it changed meanwhile), the copy is mounted, which replays its journal, and
the command is run on it. Its files are compared by sha256 with those of an undisturbed run, and records that were a
second old when the power failed must be there, and stay. Needs root, mkfs.ext4 and loop devices; Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kill import make, run, tree

MB = 64
AGE = 1.0  # s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        cuts = measure(Path(work), args.clips, args.rounds, random.Random(args.seed))
    same, lost = (sum(cut[name] for cut in cuts) for name in ("identical", "lost"))
    result = {"clips": args.clips + 2, "rounds": args.rounds, "seed": args.seed, "identical": same, "lost": lost}
    args.out.write_text(json.dumps({**result, "cuts": cuts}, indent=1) + "\n")
    print(json.dumps(result))
    sys.exit(0 if (same, lost) == (args.rounds, 0) else 1)


def measure(work: Path, clips: int, rounds: int, chance: random.Random) -> list[dict[str, Any]]:
    folder, image, copy = make(work / "clips", clips), work / "disk.img", work / "copy.img"
    began = time.monotonic()
    run(folder, work / "undisturbed").wait()
    length, expected = time.monotonic() - began, tree(work / "undisturbed")
    cuts = []
    for number in range(rounds):
        empty(image)
        with mounted(image, work / "disk") as disk:
            process = run(folder, disk / "out")
            with suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.4, 1.1) * length)
            before = records(disk / "out", AGE)
            snapshot(image, copy)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        with mounted(copy, work / "copy") as disk:
            found = records(disk / "out", 0.0)
            lost = len({*before.items()} - {*found.items()})
            code = run(folder, disk / "out").wait()
            after = records(disk / "out", 0.0)
            lost += len({*before.items()} - {*after.items()})
            same = code == 1 and tree(disk / "out") == expected  # 1: two of the files are not videos
        cuts.append({"old_records": len(before), "records": len(found), "lost": lost, "identical": same})
        print(f"cut {number + 1}: {cuts[-1]}", file=sys.stderr)
    return cuts


def empty(image: Path) -> None:
    """A new file system, without the zeros that would be written lazily."""
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(MB << 20)
    options = "lazy_itable_init=0,lazy_journal_init=0"
    subprocess.run(["mkfs.ext4", "-q", "-E", options, str(image)], check=True)


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield place
    finally:
        while subprocess.run(["umount", str(place)], stderr=subprocess.DEVNULL, check=False).returncode:
            time.sleep(0.1)  # a process that was killed has not quite ended


def records(out: Path, age: float) -> dict[str, int]:
    """Records of clips at least `age` seconds old, and when they were written."""
    limit = time.time_ns() - int(age * 1e9)
    times = {path.name: path.stat().st_mtime_ns for path in out.glob(".duchenne/clips/*/*.json")}
    return {name: written for name, written in times.items() if written <= limit}


def snapshot(image: Path, copy: Path) -> None:
    """Copy the image at one moment: again while the kernel writes to it."""
    while True:
        before = image.stat().st_mtime_ns
        shutil.copyfile(image, copy)
        if image.stat().st_mtime_ns == before:
            return


if __name__ == "__main__":
    main()
