"""Shared by the benchmarks: the machine, its load, its best matrix product, and runs in separate processes, as threads
are bound to cores before anything is loaded."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

BUSY = 0.15  # share of one core that others may use while more than one thread is measured


def parser(doc: str | None, threads: Sequence[int]) -> argparse.ArgumentParser:
    """The common options."""
    found = argparse.ArgumentParser(description=(doc or "").split("\n\n", 1)[0])
    found.add_argument("--threads", type=int, nargs="+", default=list(threads))
    found.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    found.add_argument("-o", "--output", type=Path)
    found.add_argument("--place", choices=("cpu", "cuda"), help=argparse.SUPPRESS)
    return found


def places(threads: Sequence[int], left_out: list[str]) -> Iterator[tuple[str, list[str], int]]:
    """(name, words for a run of its own, threads) of each place to measure; why others are `left_out`."""
    for many in threads:
        name = f"{many} thread" + "s" * (many > 1)
        if many > 1 and (busy := others(3.0)) is not None and busy > BUSY:
            left_out.append(f"{name}: others use {busy:.2f} cores")
            print(left_out[-1], file=sys.stderr)
            continue
        yield name, ["--place", "cpu", "--threads", f"{many}"], many
    if torch.cuda.is_available():
        yield "GPU", ["--place", "cuda", "--threads", "1"], 1


def in_process(script: str, words: Sequence[str], threads: int, bound: bool = True) -> dict[str, Any]:
    """The JSON that a run of a script prints, with so many threads, each `bound` to a core."""
    limits = {"OMP_NUM_THREADS": f"{threads}", "MKL_NUM_THREADS": f"{threads}"}
    limits |= {"OMP_PROC_BIND": "true"} if bound else {}
    done = subprocess.run(
        [sys.executable, script, *words], env={**os.environ, **limits}, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"The run with {threads} threads failed; see its output above.")
    return dict(json.loads(done.stdout))


def about(device: torch.device) -> dict[str, Any]:
    """The machine and its load."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "OMP_PROC_BIND": os.environ.get("OMP_PROC_BIND"),
        "others_before": others(),
    }


def _processor() -> str:
    """The name of the processor, if the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def others(seconds: float = 1.0) -> float | None:
    """Cores that are busy while this process sleeps; None if the system does not report it."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None

    def idle() -> int:
        cells = stat.read_text(encoding="ascii").split("\n", 1)[0].split()
        return int(cells[4]) + int(cells[5])  # idle, and waiting for a disk

    ticks, before, start = os.sysconf("SC_CLK_TCK"), idle(), time.perf_counter()
    time.sleep(seconds)
    elapsed = time.perf_counter() - start
    return round(max(0.0, (os.cpu_count() or 1) - (idle() - before) / ticks / elapsed), 2)


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call, until it has finished."""
    wait: Callable[[], Any] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def least(works: dict[str, Callable[[], Any]], device: torch.device, repeats: int, seconds: float) -> dict[str, float]:
    """Seconds of the fastest call of each, called for at least `seconds` after a warm-up call; they take turns, so that
    other load slows all equally."""
    best = dict.fromkeys(works, float("inf"))
    for work in works.values():
        work()
    for _ in range(repeats):
        for name, work in works.items():
            end = time.perf_counter() + seconds / repeats
            while True:
                best[name] = min(best[name], timed(work, device))
                if time.perf_counter() >= end:
                    break
    return best


def gemm(sides: Sequence[int], device: torch.device, repeats: int = 5, seconds: float = 0.5) -> dict[str, float]:
    """GFLOP/s of the best square matrix product in float32 and in bfloat16."""
    found: dict[str, float] = {}
    torch.backends.cuda.matmul.allow_tf32 = True  # as convolutions are by default
    for kind, name in ((torch.float32, "float32"), (torch.bfloat16, "bfloat16")):
        for n in sides:
            a, b, out = (torch.randn(n, n, device=device).to(kind) for _ in range(3))
            best = least({name: partial(torch.mm, a, b, out=out)}, device, repeats, seconds)[name]
            found[name] = max(found.get(name, 0.0), 2 * n**3 / best / 1e9)
    return found
