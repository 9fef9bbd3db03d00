"""The kill test: a batch is killed at random times, started again, and must end with the same bytes.

    python benchmarks/kill.py [--clips 8] [--rounds 20] [--seed 1] [--quick] [--out benchmarks/kill.json]

Small clips of a simulated smile, a text file and a truncated video are processed by `duchenne extract` with two
processes. First undisturbed. Then, in every round, from an empty folder: up to a second after a random number of clips
is done, the parent, one of its descendants or the whole process group gets SIGKILL, and the command is run again. At
last, if there were several rounds, one run is killed as many times. All files except the state folder are compared with
those of the undisturbed run by sha256. --quick: one round on two clips, for the tests. Linux only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from duchenne import video
from duchenne.datasets import simulate

RATE = 25.0
SMILE = replace(simulate.POSED, neutral_before=0.6, onset=0.5, apex=0.4, offset=0.5, neutral_after=0.4)
VICTIMS = ("parent", "child", "group")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    clips, rounds = (2, 1) if args.quick else (args.clips, args.rounds)
    with tempfile.TemporaryDirectory() as work:
        outcome = measure(Path(work), clips, rounds, random.Random(args.seed))
    result = {"clips": clips + 2, "rounds": rounds, "seed": args.seed, **outcome}
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name != "kills"}))
    sys.exit(0 if result["identical"] == result["compared"] else 1)


def measure(work: Path, clips: int, rounds: int, chance: random.Random) -> dict[str, Any]:
    """How often the bytes were the same, and all kills."""
    folder = make(work / "clips", clips)
    run(folder, work / "undisturbed").wait()
    expected = tree(work / "undisturbed")
    assert len(expected) == clips + 3, sorted(expected)
    kills: list[dict[str, Any]] = []
    same = 0
    for n in range(rounds):
        out = work / f"round{n}"
        kills.append(disturb(folder, out, VICTIMS[n % 3], chance, clips + 2))
        same += finish(folder, out, expected)
        print(f"round {n + 1}: {kills[-1]}, {same} identical", file=sys.stderr)
    if rounds > 1:
        out = work / "often"
        kills += [disturb(folder, out, VICTIMS[n % 3], chance, clips + 2) for n in range(rounds)]
        same += finish(folder, out, expected)
    return {"compared": rounds + (rounds > 1), "identical": same, "files": len(expected), "kills": kills}


def make(folder: Path, clips: int) -> Path:
    folder.mkdir()
    pictures = list(simulate.frames(SMILE, rate=RATE, size=(320, 240), seed=1))
    for i in range(clips):
        first = i * 5 % (len(pictures) - 25)
        video.write(folder / f"clip{i}.mp4", pictures[first : first + 25], RATE)
    intact = video.write(folder / "cut.mp4", pictures[:25], RATE).read_bytes()
    (folder / "cut.mp4").write_bytes(intact[: len(intact) // 2])
    (folder / "text.mp4").write_text("This is not a video.\n")
    return folder


def run(folder: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "duchenne", "extract", "--no-cache", str(folder), "-o", str(out), "--workers", "2"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def disturb(folder: Path, out: Path, victim: str, chance: random.Random, clips: int) -> dict[str, Any]:
    """Start a run and kill `victim` at a random moment; a run that continues is waited for."""
    before, pause, number = chance.randrange(clips), chance.random(), chance.randrange(3)
    process = run(folder, out)
    while recorded(out) < before and process.poll() is None:
        time.sleep(0.005)
    with suppress(subprocess.TimeoutExpired):
        process.wait(pause)
    done = recorded(out)
    late = process.poll() is not None
    if not late:
        with suppress(ProcessLookupError):
            if victim == "group":
                os.killpg(process.pid, signal.SIGKILL)
            elif victim == "parent":
                process.kill()
            elif workers := descendants(process.pid):
                os.kill(workers[number % len(workers)], signal.SIGKILL)
    code = process.wait()
    return {"victim": victim, "done": done, "too_late": late, "code": code}


def recorded(out: Path) -> int:
    return len(list(out.glob(".duchenne/clips/*/*.json")))


def descendants(pid: int) -> list[int]:
    """The fork server and the workers."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [n for file in files for child in map(int, file.read_text().split()) for n in (child, *descendants(child))]


def finish(folder: Path, out: Path, expected: dict[str, str]) -> bool:
    """Run to the end; whether the files are those of the undisturbed run."""
    code = run(folder, out).wait()
    return code == 1 and tree(out) == expected  # 1: two of the files are not videos


def tree(out: Path) -> dict[str, str]:
    files = [p for p in out.rglob("*") if p.is_file() and ".duchenne" not in p.relative_to(out).parts]
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


if __name__ == "__main__":
    main()
