"""How many clips per second each clip network answers and learns at its own input, beside its multiply-adds, and how
long it waits for them to be read.

    python benchmarks/clip_nets.py [--networks NAME ...] [--threads 1] [--workers 2] [--quick] [-o FILE]

Clips are files of random pictures, as `clip_crops` keeps them, read through the same loader and learnt by the same
learner as a training's; speed does not ask what is seen. `of_limit` is the share of the best square product of the same
run, in the precision of the row, that the network's multiply-adds reach; in learning they count three times, once
forward and twice back (a trunk that stays frozen, once). `loader` tells what the files give when nobody computes, and
`busy` the share of the learning's time in which the network worked and did not wait for them. Files come from the
system's memory after the first reading: a corpus that does not fit there is read as fast as its disk.

Each number of threads is measured in a process of its own, more than one only while nothing else computes. A GPU is
measured where torch sees one. Writes clip_nets.json beside itself; --quick tries three small networks at sizes that say
nothing, and writes only where -o says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from duchenne import io
from duchenne.clip_crops import Kept
from duchenne.clip_training import input_of
from duchenne.learn import clip_recipe
from duchenne.learn.clip_learner import ClipLearner, Task, answers
from duchenne.learn.clip_reader import Pictures
from duchenne.learn.clip_recipe import ClipRecipe
from duchenne.models.flops import counted

BUSY = 0.15  # share of one core that others may use while more than one thread is measured
EMOTIONS = 6
SECONDS_OF_POINTS = 4.0  # a clip of points


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    batches: int = 2  # learnt after one that is not counted, and as many read and answered
    repeats: int = 3  # of answering, the quickest of which counts
    gemm: tuple[int, ...] = (512, 1024, 2048, 4096)
    side: int = 0  # 0: the recipe's own, as are the next two
    frames: int = 0
    batch: int = 0


QUICK = Sizes(1, 1, (64,), 32, 3, 2)
QUICK_NETWORKS = ("expression-lstm", "cnn3d", "points-multi")
ON_GPU = Sizes(16, 3, (4096, 8192))


def recipe(name: str, sizes: Sizes) -> ClipRecipe:
    """The shipped recipe; smaller for --quick."""
    found = clip_recipe.read(name)
    small: dict[str, Any] = {"frames": sizes.frames, "batch": sizes.batch, "taken": min(found.taken, sizes.frames)}
    small["side"] = sizes.side if found.inputs == "crops" else 0
    return replace(found, **{key: value for key, value in small.items() if value})


def clips(recipe: ClipRecipe, count: int, folder: Path) -> list[Any]:
    """Clips as the recipe's reader makes them: pictures in files, or points."""
    rng = np.random.default_rng(0)
    if recipe.inputs == "points":
        frames = min(recipe.frames or 1_000_000, round(SECONDS_OF_POINTS * recipe.fps))
        return list(rng.normal(size=(count, frames, recipe.config(EMOTIONS).numbers)).astype(np.float32))
    shape = (recipe.frames, recipe.side, recipe.side, recipe.channels * (2 if recipe.reader.scene else 1))
    found = []
    for i in range(count):
        path = folder / f"{i}.npy"
        np.save(path, rng.integers(0, 256, shape, np.uint8))
        found.append(Pictures(Kept(str(path), shape), np.arange(recipe.frames)))
    return found


def gemm(sizes: Sizes, device: torch.device) -> dict[str, float]:
    """GFLOP/s of the best square product in float32 and in bfloat16."""
    found: dict[str, float] = {}
    torch.backends.cuda.matmul.allow_tf32 = True  # as convolutions are by default
    for kind, name in ((torch.float32, "float32"), (torch.bfloat16, "bfloat16")):
        for n in sizes.gemm:
            a, b, out = (torch.randn(n, n, device=device).to(kind) for _ in range(3))
            spent = min(timed(partial(torch.mm, a, b, out=out), device) for _ in range(5))
            found[name] = max(found.get(name, 0.0), 2 * n**3 / spent / 1e9)
    return found


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call, to its end."""
    wait: Callable[[], Any] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def measured(name: str, sizes: Sizes, device: torch.device, workers: int, peak: dict[str, float]) -> dict[str, Any]:
    """One network: its size, and its speed in use, in learning and in reading alone."""
    r = recipe(name, sizes)
    count = r.batch * (sizes.batches + 1)
    with TemporaryDirectory() as folder:
        y, emotion = np.arange(count) % 2, np.arange(count) % EMOTIONS
        task = Task(clips(r, count, Path(folder)), y, emotion, EMOTIONS, np.array([], int))
        learner = ClipLearner(r, task, 0, device=device.type, workers=workers)
        work, taken = multiply_adds(learner), min(1.0, r.taken / len(task.x[0])) if r.by_frame and r.taken else 1.0
        used = use(learner, sizes)
        learnt, busy = learn(learner, sizes)
        alone = reading(learner)
    of_limit = 2 * work / 1e9 / peak["float32"]
    # `use` answers in float32, as a model that is loaded does; a frozen trunk is not carried back
    back = of_limit * taken * (1 if r.frozen else 3) * (peak["float32"] / peak["bfloat16"] if learner.bf16 else 1)
    return {
        "input": input_of(r.reader),
        "batch": r.batch,
        "parameters": sum(each.numel() for each in learner.network.parameters()),
        "multiply_adds_per_clip": work,
        "precision_of_learning": "bfloat16" if learner.bf16 else "float32",
        "use": {"clips_per_second": used, "of_limit": used * of_limit},
        "learning": {"clips_per_second": learnt, "of_limit": learnt * back, "busy": busy},
        "loader": {"clips_per_second": alone, "times_learning": alone / learnt},
    }


@torch.no_grad()
def multiply_adds(learner: ClipLearner) -> int:
    """Of one clip, forward."""
    network, one = learner.network.eval(), [np.array([0])]
    _, x, mask = next(iter(learner.loader(one, None)))
    with counted(network) as found:
        network(x.to(learner.device), mask.to(learner.device))
    return sum(found)


def use(learner: ClipLearner, sizes: Sizes) -> float:
    """Clips per second, reading included."""
    rows, r = np.arange(learner.recipe.batch * sizes.batches), learner.recipe
    answers(learner.network, learner.loader, rows[: r.batch], r)
    works = [
        timed(lambda: answers(learner.network, learner.loader, rows, r), learner.device) for _ in range(sizes.repeats)
    ]
    return len(rows) / min(works)


def learn(learner: ClipLearner, sizes: Sizes) -> tuple[float, float]:
    """Clips per second over all batches but the first, and the share of that time in which the network worked."""
    steps = learner.epoch(np.random.default_rng(0), 1.0)
    next(steps)
    learner.loader.worked = 0.0
    spent = timed(lambda: [next(steps) for _ in range(sizes.batches)], learner.device)
    steps.close()  # type: ignore[attr-defined]
    return learner.recipe.batch * sizes.batches / spent, learner.loader.worked / spent


def reading(learner: ClipLearner) -> float:
    """Clips per second that come from the files when nothing is done with them."""
    rows = np.arange(len(learner.task.x))
    batches = np.array_split(rows, max(1, len(rows) // learner.recipe.batch))
    works = [timed(lambda: [None for _ in learner.loader(batches, 0)], torch.device("cpu")) for _ in range(3)]
    return len(rows) / min(works)


def place(sizes: Sizes, device: torch.device, networks: Sequence[str], workers: int) -> dict[str, Any]:
    """Everything, on one device."""
    found: dict[str, Any] = {"machine": machine(device, workers), "sizes": asdict(sizes), "gemm": gemm(sizes, device)}
    found["networks"] = {}
    for name in networks:
        found["networks"][name] = measured(name, sizes, device, workers, found["gemm"])
        print(f"{device} {name}: {json.dumps(found['networks'][name])}", file=sys.stderr, flush=True)
    return found


def machine(device: torch.device, workers: int) -> dict[str, Any]:
    """What it ran on, and how busy that was already."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "workers": workers,
        "torch": torch.__version__,
        "others_before": others(),
    }


def others(seconds: float = 1.0) -> float | None:
    """Cores that are busy while this process sleeps; None where the system does not tell."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None

    def idle() -> int:
        cells = stat.read_text(encoding="ascii").split("\n", 1)[0].split()
        return int(cells[4]) + int(cells[5])  # idle, and waiting for a disk

    ticks, before, start = os.sysconf("SC_CLK_TCK"), idle(), time.perf_counter()
    time.sleep(seconds)
    spent = time.perf_counter() - start
    return round(max(0.0, (os.cpu_count() or 1) - (idle() - before) / ticks / spent), 2)


def in_process(words: list[str], threads: int) -> dict[str, Any]:
    """What a run of this script with so many threads, each bound to a core, prints."""
    # one thread is not bound: threads that read would be bound to its core with it
    bound = {"OMP_NUM_THREADS": f"{threads}", "MKL_NUM_THREADS": f"{threads}"}
    bound |= {"OMP_PROC_BIND": "true"} if threads > 1 else {}
    done = subprocess.run(
        [sys.executable, __file__, *words], env={**os.environ, **bound}, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"The run with {threads} threads failed; what it said stands above.")
    return dict(json.loads(done.stdout))


def main() -> None:
    """Measure every place, one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--networks", nargs="+", choices=tuple(clip_recipe.shipped()), default=[])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--workers", type=int, default=2, help="threads that read ahead")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--place", choices=("cpu", "cuda"), help=argparse.SUPPRESS)
    told = parser.parse_args()
    networks = told.networks or list(QUICK_NETWORKS if told.quick else clip_recipe.shipped())
    if told.place:
        torch.set_num_threads(told.threads[0])
        sizes = QUICK if told.quick else ON_GPU if told.place == "cuda" else Sizes()
        print(json.dumps(place(sizes, torch.device(told.place), networks, told.workers)))
        return
    words = ["--networks", *networks, "--workers", f"{told.workers}", *(["--quick"] if told.quick else [])]
    places, left_out = {}, []
    for threads in told.threads:
        name = f"{threads} thread" + "s" * (threads > 1)
        if threads > 1 and (busy := others(3.0)) is not None and busy > BUSY:
            left_out.append(f"{name}: others use {busy:.2f} cores")
            print(left_out[-1], file=sys.stderr)
            continue
        places[name] = in_process([*words, "--place", "cpu", "--threads", f"{threads}"], threads)
    if torch.cuda.is_available():
        places["GPU"] = in_process([*words, "--place", "cuda", "--threads", "1"], 1)
    output = told.output or (None if told.quick else Path(__file__).with_suffix(".json"))
    result = {"places": places, "left_out": left_out}
    if output is not None:
        io.write_json(output, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
