"""Clips per second of each clip network in inference and training at its own input, beside its multiply-adds, and the
time it waits for data.

    python benchmarks/clip_nets.py [--threads 1 2] [--networks NAME ...] [--workers 2] [--quick] [-o FILE]
    python benchmarks/clip_nets.py --texts

Clips are files of random images in the format of the crop cache, read by the same loader and trained by the same
learner as in a real training; the content does not affect speed. `of_limit` is the share of the best square matrix
product of the same run, in the precision of the row, that the network's multiply-adds reach; in training they count
three times, once forward and twice backward (a frozen backbone, once). `loader` is the rate of reading alone, and
`busy` the share of the training time in which the network did not wait for data. After the first pass files come from
the page cache: a data set that does not fit there is read at the speed of the disk.

Each network is measured in a separate process, with more than one thread only on an idle machine, and on a GPU if torch
sees one. Writes clip_nets.json after each: a killed run resumes, and networks in the file are not measured again
(remove it to start over). --texts fills the table of docs/clip-networks.md from it; --quick tries three small networks
at meaningless sizes, and writes only with -o.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import machine
import numpy as np
import torch

from duchenne import io
from duchenne.clipnets.inputs import FaceCrops
from duchenne.clipnets.learner import ClipLearner, Task, predict
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.clipnets.training import input_of
from duchenne.clips.cache import Mapped
from duchenne.learn.flops import counted

PAGE = Path(__file__).parents[1] / "docs" / "clip-networks.md"
EMOTIONS = 6
SECONDS_OF_POINTS = 4.0  # a clip of points


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    seconds: float = 3.0  # minimum time of inference and of training
    batches: int = 6  # of clips; inference takes two at a time
    gemm: tuple[int, ...] = (1024, 2048)
    image_size: int = 0  # 0: the recipe's own, as are the next two
    frames: int = 0
    batch: int = 0


QUICK = Sizes(0.0, 2, (64,), 32, 4, 2)
QUICK_NETWORKS = ("expression-lstm", "cnn3d", "points-multi")
ON_GPU = Sizes(5.0, 16, (4096, 8192))


def recipe(name: str, sizes: Sizes) -> ClipRecipe:
    """The shipped recipe; smaller for --quick."""
    found = ClipRecipe.read(name)
    small: dict[str, Any] = {
        "frames": sizes.frames,
        "batch_size": sizes.batch,
        "frames_per_step": min(found.frames_per_step, sizes.frames),
    }
    small["image_size"] = sizes.image_size if found.inputs == "crops" else 0
    return replace(found, **{key: value for key, value in small.items() if value})


def clips(recipe: ClipRecipe, count: int, folder: Path) -> list[Any]:
    """Clips as the recipe's reader makes them: pictures in files, or points."""
    rng = np.random.default_rng(0)
    if recipe.inputs == "points":
        frames = min(recipe.frames or 1_000_000, round(SECONDS_OF_POINTS * recipe.fps))
        return list(rng.normal(size=(count, frames, recipe.config(EMOTIONS).numbers)).astype(np.float32))
    shape = (recipe.frames, recipe.image_size, recipe.image_size, recipe.channels * (3 if recipe.reader.scene else 1))
    found = []
    for i in range(count):
        path = folder / f"{i}.npy"
        np.save(path, rng.integers(0, 256, shape, np.uint8))
        found.append(FaceCrops(Mapped(str(path), shape), np.arange(recipe.frames)))
    return found


def measured(name: str, sizes: Sizes, device: torch.device, workers: int) -> dict[str, Any]:
    """One network: its size, and its speed in use, in learning and in reading alone."""
    about = {"machine": machine.about(device) | {"workers": workers}, "sizes": asdict(sizes)}
    r, peak = recipe(name, sizes), machine.gemm(sizes.gemm, device, seconds=min(sizes.seconds, 0.5))
    count = r.batch_size * sizes.batches
    with TemporaryDirectory() as folder:
        y, emotion = np.arange(count) % 2, np.arange(count) % EMOTIONS
        task = Task(clips(r, count, Path(folder)), y, emotion, EMOTIONS, np.array([], int))
        learner = ClipLearner(r, task, 0, device=device.type, workers=workers)
        work, taken = multiply_adds(learner), min(1.0, r.frames_per_step / len(task.x[0])) or 1.0
        used = use(learner, sizes)
        trained, busy = learn(learner, sizes)
        alone = reading(learner)
    of_limit = 2 * work / 1e9 / peak["float32"]
    # `use` computes in float32, as a loaded model does; a frozen backbone has no backward pass
    back = (
        of_limit * taken * (1 if r.freeze_backbone else 3) * (peak["float32"] / peak["bfloat16"] if learner.bf16 else 1)
    )
    return {
        **about,
        "gemm": peak,
        "input": input_of(r.reader),
        "batch": r.batch_size,
        "parameters": sum(each.numel() for each in learner.network.parameters()),
        "multiply_adds_per_clip": work,
        "precision_of_learning": "bfloat16" if learner.bf16 else "float32",
        "use": {"clips_per_second": used, "of_limit": used * of_limit},
        "learning": {"clips_per_second": trained, "of_limit": trained * back, "busy": busy},
        "loader": {"clips_per_second": alone, "times_learning": alone / trained},
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
    """Clips per second, reading included, of the quickest of the times that fit."""
    rows, r = np.arange(2 * learner.recipe.batch_size), learner.recipe

    def work() -> Any:
        return predict(learner.network, learner.loader, rows, r)

    predict(learner.network, learner.loader, rows[:1], r)
    times = [machine.timed(work, learner.device)]
    while sum(times) < sizes.seconds:
        times.append(machine.timed(work, learner.device))
    return len(rows) / min(times)


def learn(learner: ClipLearner, sizes: Sizes) -> tuple[float, float]:
    """Clips per second after a batch that is not counted, and the share of that time in which the network worked."""

    def steps() -> Iterator[float]:
        while True:
            yield from learner.epoch(np.random.default_rng(0), 1.0)

    step = steps()
    next(step)
    learner.loader.worked, times = 0.0, []
    while not times or sum(times) < sizes.seconds:
        times.append(machine.timed(lambda: next(step), learner.device))
    step.close()  # type: ignore[attr-defined]
    return learner.recipe.batch_size * len(times) / sum(times), learner.loader.worked / sum(times)


def reading(learner: ClipLearner) -> float:
    """Clips per second that come from the files when nothing is done with them."""
    batches = np.array_split(np.arange(len(learner.task.x)), max(1, len(learner.task.x) // learner.recipe.batch_size))
    works = [machine.timed(lambda: [None for _ in learner.loader(batches, 0)], torch.device("cpu")) for _ in range(3)]
    return len(learner.task.x) / min(works)


def count(value: float) -> str:
    """Three figures, and thousands in groups."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(found: dict[str, Any]) -> str:
    """The measurements as docs/clip-networks.md shows them."""
    head = "| clips per second | multiply-adds of a clip | in use | of the limit | learning | of the limit | at work |"
    lines = [f"{head} read from files |", "|---|---|---|---|---|---|---|---|"]
    for place, networks in found["places"].items():
        for name, row in networks.items():
            use, learn, given = row["use"], row["learning"], row["loader"]["clips_per_second"]
            work = row["multiply_adds_per_clip"]
            size = f"{work / 1e9:.3g} G" if work >= 1e8 else f"{work / 1e6:.2g} M"
            lines.append(
                f"| {place}: `{name}` | {size} | {count(use['clips_per_second'])} | {use['of_limit']:.0%} | "
                f"{count(learn['clips_per_second'])} | {learn['of_limit']:.0%} | {learn['busy']:.0%} | {count(given)} |"
            )
    of = [row["machine"] for networks in found["places"].values() for row in networks.values()]
    where = sorted({f"{each['device']}, {each['cpu']}, torch {each['torch']}" for each in of})
    return "\n".join([*lines, "", f"Measured on {'; '.join(where)}."]) + "\n"


def main() -> None:
    """Measure every network in every place, one after the other, or write what was measured into the page."""
    parser = machine.parser(__doc__, (1,))
    parser.add_argument("--networks", nargs="+", choices=tuple(ClipRecipe.shipped()), default=[])
    parser.add_argument("--workers", type=int, default=2, help="threads that read ahead")
    parser.add_argument("--texts", action="store_true", help="fill the table of docs/clip-networks.md, measure nothing")
    args = parser.parse_args()
    networks = args.networks or list(QUICK_NETWORKS if args.quick else ClipRecipe.shipped())
    sizes = QUICK if args.quick else ON_GPU if args.place == "cuda" else Sizes()
    if args.place:
        torch.set_num_threads(args.threads[0])
        print(json.dumps(measured(networks[0], sizes, torch.device(args.place), args.workers)))
        return
    output = args.output or (None if args.quick else Path(__file__).with_suffix(".json"))
    found: dict[str, Any] = {"places": {}, "left_out": []}
    if output is not None and output.is_file():
        found |= json.loads(output.read_text(encoding="utf-8")) | {"left_out": []}
    if args.texts:
        text = PAGE.read_text(encoding="utf-8")
        io.write_text(
            PAGE, re.sub(r"(<!-- speed -->\n).*?(?=<!-- /speed -->)", lambda m: m[1] + table(found), text, flags=re.S)
        )
        return
    for place, words, threads in machine.places(args.threads, found["left_out"]):
        rows = found["places"].setdefault(place, {})
        for name in networks:
            if name in rows:
                continue
            words_of = [*words, "--networks", name, "--workers", f"{args.workers}", *["--quick"] * args.quick]
            # one thread is not bound: threads that read would be bound to its core with it
            rows[name] = machine.in_process(__file__, words_of, threads, bound=threads > 1)
            print(f"{place} {name}: {json.dumps(rows[name])}", file=sys.stderr, flush=True)
            if output is not None:
                io.write_json(output, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
