"""One batch, four ways: one process, eight, a Dask cluster, shards. The tables must be the same to the last byte.

    python benchmarks/batch.py [--clips 500] [--seed 1] [--quick] [-o benchmarks/batch.json]

Clips of simulated smiles, each with its own movement, brightness and noise, are processed by `duchenne extract
--no-cache`: with one process; with eight; on a Dask scheduler with two workers, all on loopback; in shards 1/3, 2/3 and
3/3 at the same time, and the run that merges them. Files are compared by sha256, without the state folder. Seconds come
from a machine that may be busy: they show the cost of a run, not a comparison. --quick: 6 clips.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import video
from duchenne.datasets import simulate

RATE = 15.0


def main() -> None:
    args = options(__doc__, __file__, 500)
    clips = 6 if args.quick else args.clips
    with tempfile.TemporaryDirectory() as work:
        result = {"clips": clips, "seed": args.seed, **measure(Path(work), clips, args.seed)}
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    sys.exit(0 if result["identical"] else 1)


def options(doc: str | None, script: str, clips: int) -> argparse.Namespace:
    """The options of a benchmark that makes `clips` clips."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n\n", 1)[0])
    parser.add_argument("--clips", type=int, default=clips)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("-o", "--out", type=Path, default=Path(script).with_suffix(".json"))
    return parser.parse_args()


def measure(work: Path, clips: int, seed: int) -> dict[str, Any]:
    """Digest of all files, counts and seconds of each way."""
    folder = make(work / "clips", clips, seed)
    ways: dict[str, Any] = {}
    for name, words in {"one process": ["--workers", "1"], "eight processes": ["--workers", "8"]}.items():
        ways[name] = outcome(work / name, lambda out, words=words: extract(folder, out, *words).wait())  # type: ignore[misc]
    with cluster(work) as address:
        ways["Dask"] = outcome(work / "dask", lambda out: extract(folder, out, "--cluster", address).wait())

    def shards(out: Path) -> None:
        for process in [extract(folder, out, "--workers", "1", "--shard", f"{k}/3") for k in (1, 2, 3)]:
            process.wait()
        extract(folder, out).wait()

    ways["shards"] = outcome(work / "shards", shards)
    return {"ways": ways, "identical": len({way["sha256"] for way in ways.values()}) == 1}


def make(folder: Path, clips: int, seed: int) -> Path:
    """Clips of 0.8 s in folders of fifty, made from a few rendered smiles; no two have the same bytes."""
    chance = np.random.default_rng(seed)
    kinds = [simulate.POSED, simulate.SPONTANEOUS]
    smiles = [
        list(simulate.frames(replace(kinds[k % 2], neutral_before=0.2), rate=RATE, size=(240, 180), seed=k))
        for k in range(min(8, clips))
    ]
    for n in range(clips):
        smile = smiles[n % len(smiles)]
        first = int(chance.integers(0, len(smile) - 12))
        light = chance.uniform(0.8, 1.1)
        noise = chance.normal(0, 2, smile[0].shape)
        pictures = [np.clip(light * p + noise, 0, 255).astype(np.uint8) for p in smile[first : first + 12]]
        video.write(folder / f"day{n // 50}" / f"clip{n}.mp4", pictures, RATE)
    return folder


def extract(folder: Path, out: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "duchenne", "extract", "--no-cache", str(folder), "-o", str(out), *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def outcome(out: Path, run: Any) -> dict[str, Any]:
    """The outcome of a run: digest, counts, seconds."""
    began = time.monotonic()
    run(out)
    seconds = time.monotonic() - began
    digest = hashlib.sha256()
    files = sorted(f for f in out.rglob("*") if f.is_file() and ".duchenne" not in f.parts)
    for file in files:
        digest.update(f"{file.relative_to(out)}\n".encode() + hashlib.sha256(file.read_bytes()).digest())
    summary = json.loads((out / "summary.json").read_text())
    counts = {name: summary[name] for name in ("done", "failed", "left", "frames")}
    print(out.name, counts, f"{seconds:.0f} s", file=sys.stderr)
    return {"sha256": digest.hexdigest(), "files": len(files), **counts, "seconds": round(seconds, 1)}


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A Dask scheduler with two workers on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    host, port = address.removeprefix("tcp://").split(":")
    start = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", host, "--port", port]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    processes = [subprocess.Popen([*words, "--no-dashboard"], **quiet) for words in (start, worker, worker)]
    try:
        yield address
    finally:
        for process in processes[::-1]:
            process.terminate()
        for process in processes:
            process.wait()


if __name__ == "__main__":
    main()
