"""Memory needed to turn a long video into a table of landmarks, by its length.

    python benchmarks/long_video.py [--minutes 120] [--quick] [-o FILE]

Makes one minute of a rendered face (160x120, 25 frames/s), repeats its packets with rising timestamps to the length
requested, and in a separate process does the work of `extract`: decode, track, write a cache entry and, block by block,
the frames table, measure the track. That process reports its peak resident memory (VmHWM of
/proc/self/status, so Linux only) after 1, 10, 30 and 120 minutes of video and at its end. Writes
long_video.json; `--quick` takes 10 seconds of video, which says nothing about memory, and prints only.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np

from duchenne import io, video
from duchenne.batch import work
from duchenne.datasets import simulate
from duchenne.types import Array

RATE = 25.0
SIZE = (160, 120)
MARKS = (1, 10, 30, 120)  # minutes


def main() -> None:
    """Make the video, read it, and write the memory needed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--quick", action="store_true", help="ten seconds, to see that it runs; writes no file")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--read", nargs=2, type=Path, metavar=("VIDEO", "TABLE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        read(*args.read)
        return
    seconds = 10.0 if args.quick else 60.0 * args.minutes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        once = video.write(folder / "once.mp4", pictures(seconds=min(seconds / 2, 60.0)), RATE)
        result = measure(repeat(once, folder / "long.mp4", seconds), seconds)
    print(json.dumps(result, indent=2))
    if not args.quick:
        io.write_json(args.output, result)


def pictures(seconds: float) -> Any:
    """Rendered smiles, one after another, uint8 (H, W, 3) RGB."""
    kin = replace(simulate.POSED, neutral_before=0.6, onset=0.5, apex=0.4, offset=0.5, neutral_after=0.5)
    smile: list[Array] = []
    for n in range(round(seconds * RATE)):
        if not smile:
            smile = list(simulate.frames(kin, rate=RATE, size=SIZE, seed=n))
        yield smile.pop(0)


def repeat(source: Path, target: Path, seconds: float) -> Path:
    """The packets of a video over and over, none decoded, until `seconds` are full."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = given.streams.video[0]
        copy = made.add_stream_from_template(stream)
        assert stream.time_base is not None and stream.duration is not None
        length = float(stream.duration * stream.time_base)
        for turn in range(round(seconds / length)):
            given.seek(0)
            for packet in given.demux(stream):
                if packet.size and packet.pts is not None and packet.dts is not None:
                    packet.pts += turn * stream.duration
                    packet.dts += turn * stream.duration
                    packet.stream = copy
                    made.mux(packet)
    return target


def measure(clip: Path, seconds: float) -> dict[str, Any]:
    """Peak resident memory in MB, after the minutes of `MARKS`, of a process that reads the clip."""
    command = [sys.executable, __file__, "--read", str(clip), str(clip.with_suffix(".csv"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    versions = {"av": av.__version__, "numpy": np.__version__}
    about = {"minutes": seconds / 60, "rate": RATE, "size": SIZE, "versions": versions}
    return {**about, **found, "table_mb": clip.with_suffix(".csv").stat().st_size / 1e6}


def read(clip: Path, table: Path) -> None:
    """What `extract` does with one clip; prints the peaks as JSON."""
    peaks: dict[str, float] = {}
    frames = 0

    def tick(n: int) -> None:
        nonlocal frames
        frames = n
        for minutes in MARKS:
            if n == round(60 * minutes * RATE):
                peaks[f"{minutes} min"] = peak()

    importlib.import_module("pandas")  # needed by the table at the end: import it before the first minute
    before = peak()
    os.environ |= {"DUCHENNE_CACHE": str(clip.parent / "cache"), "DUCHENNE_CACHE_LIMIT": "5 GB"}
    options = {"reader": "paper", "detector": "haar", "all_faces": False, "allow_truncated": False}
    options |= {"format": "csv", "cache": True}
    root = str(clip.parent)
    job = work.ClipJob(root, str(clip), clip.name, root, table.name, root)
    rows = work.extract_clip(job, options, tick)
    peaks["end"] = peak()
    ratio = peaks["end"] / peaks.get("1 min", peaks["end"])
    facts = {"frames": frames, "rows": rows, "imported_mb": before}
    print(json.dumps({**facts, "peak_mb": peaks, "end_over_1_min": ratio}))


def peak(process: int | str = "self") -> float:
    """MB: peak resident memory of a process. OSError or AssertionError if it has ended."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return round(int(found[1]) / 1000, 1)


if __name__ == "__main__":
    main()
