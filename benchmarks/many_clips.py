"""Memory of a batch, by the number of processed clips.

    python benchmarks/many_clips.py [--clips 10000] [--seed 1] [--quick] [-o benchmarks/many_clips.json]

Simulated clips (of `batch.py`, four hundred, each under as many names as it takes) are followed by `duchenne extract
--no-cache --workers 1`. Meanwhile the most resident memory that the command and the process that reads its clips have
had (VmHWM of /proc/PID/status, so Linux only) is put down when 100, 1,000 and 10,000 clips are done. --quick: 20 clips.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from batch import extract, make, options
from long_video import peak

MARKS = (100, 1000, 10000)
MADE = 400


def main() -> None:
    args = options(__doc__, __file__, MARKS[-1])
    clips = 20 if args.quick else args.clips
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        made = sorted(make(place / "made", min(MADE, clips), args.seed).rglob("*.mp4"))
        for n in range(clips):
            link = place / "clips" / f"day{n // 100}" / f"clip{n}.mp4"
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(made[n % len(made)], link)
        rows = watch(extract(place / "clips", place / "out", "--workers", "1"), place / "out", clips)
        summary = json.loads((place / "out" / "summary.json").read_text())
    result = {"clips": clips, "done": summary["done"], "frames": summary["frames"], "memory": rows}
    print(json.dumps(result, indent=1))
    if not args.quick:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(0 if summary["done"] == clips else 1)


def watch(run: subprocess.Popen[bytes], out: Path, clips: int) -> list[dict[str, float]]:
    """Most memory of both processes in MB at each mark; the last row is of the end, tables included."""
    marks, rows = [n for n in MARKS if n < clips], []
    seen = {"command": 0.0, "reader": 0.0}
    while run.poll() is None:
        for who, pid in (("command", run.pid), ("reader", child(run.pid))):
            with suppress(OSError, AssertionError):  # it is over, or has not begun
                seen[who] = max(seen[who], peak(pid))
        done = sum(1 for _ in (out / ".duchenne" / "clips").glob("*/*.json"))
        if marks and done >= marks[0]:
            rows.append({"clips": marks.pop(0), **seen})
        time.sleep(1)
    return [*rows, {"clips": clips, **seen}]


def child(pid: int) -> int:
    try:
        # a thread of the command starts the reader, and is its parent
        started = [p for task in Path(f"/proc/{pid}/task").iterdir() for p in (task / "children").read_text().split()]
        return int(started[0])
    except (OSError, IndexError):
        return 0


if __name__ == "__main__":
    main()
