"""Faces per second of the expression networks in inference and training, ours and the paper's, against a plain version.

    python benchmarks/expression.py [--threads 1 2] [--quick] [-o FILE]

Plain is the simplest version: float32, contiguous NCHW, eager, no autocast. Beside it every combination of float32 and
bfloat16 with NCHW and channels_last, and the library's own: `ExpressionModel.predict` for inference,
`ExpressionLearner` for training (with augmentation, Adam and weight averaging; the plain version has the same
augmentation and Adam). All are timed in one run, in turns, after a check that they predict the same. The limit is the
best square matrix product of the same run, in the precision of the row, divided by the network's multiplications and
additions.

Each number of threads is measured in a separate process with threads bound to cores; more than one thread only on an
idle machine, as two unpinned threads beside a busy one are many times slower than one. A GPU is measured if torch sees
one. Writes expression.json; --quick tries everything at meaningless sizes, and writes only with -o.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from duchenne import io
from duchenne.datasets.fer2013 import CLASSES
from duchenne.expression.augment import augmented
from duchenne.expression.learner import ExpressionLearner, loss
from duchenne.expression.model import ExpressionModel
from duchenne.expression.network import ExpressionCNN
from duchenne.expression.recipe import ExpressionRecipe

KINDS = ("ours", "paper")
#: Way → (bfloat16, channels_last).
WAYS = {
    "plain": (False, False),
    "float32 channels_last": (False, True),
    "bfloat16": (True, False),
    "bfloat16 channels_last": (True, True),
}


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    batches: tuple[int, ...] = (1, 32, 256)
    learn: int = 128
    repeats: int = 5
    gemm: tuple[int, ...] = (512, 1024, 2048, 4096)
    seconds: float = 0.5  # each call is repeated for at least this long, and the fastest counts
    thin: bool = False


QUICK = Sizes((1, 4), 4, 1, (64, 128), 0.0, True)
ON_GPU = Sizes((1, 32, 256, 4096), 1024, 5, (4096, 8192), 0.5)


def recipe(kind: str, sizes: Sizes) -> ExpressionRecipe:
    """The shipped recipe of a network; thin ones for --quick."""
    found = ExpressionRecipe.read(kind, batch_size=sizes.learn)
    return (
        replace(found, widths=(4, 4, 4, 4)[: 3 + (kind == "ours")], **({"fc_size": 8} if kind == "paper" else {}))
        if sizes.thin
        else found
    )


def faces(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random grey images and labels: the content does not affect speed."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 48, 48), np.uint8), np.arange(count) % len(CLASSES)


def network_of(kind: str, sizes: Sizes, device: torch.device, last: bool) -> ExpressionCNN:
    """The same untrained network on every call."""
    torch.manual_seed(0)
    network = ExpressionCNN(recipe(kind, sizes).config(CLASSES, [127.5], [70.0])).to(device).eval()
    return network.to(memory_format=torch.channels_last) if last else network


def laid(x: Tensor, last: bool) -> Tensor:
    """Float levels in one of the two orders in memory."""
    return x.float().contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def cast(device: torch.device, bf16: bool) -> Any:
    """bfloat16 if `bf16`."""
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


def flops(kind: str, sizes: Sizes, learn: bool) -> float:
    """Multiplications and additions of one face, forward, and backward in training."""
    network = network_of(kind, sizes, torch.device("cpu"), last=False)
    x = torch.rand(2, 1, 48, 48)
    with FlopCounterMode(display=False) as counter:
        out = network(x)
        if learn:
            out.sum().backward()
    return counter.get_total_flops() / 2


def rows(timings: dict[str, float], count: int, work: float, peak: dict[str, float], house: bool) -> dict[str, Any]:
    """Faces per second, the ratio to plain, and the share of the limit at that precision.

    `house`: whether the library's own version, which is not in `WAYS`, computes in bfloat16.
    """
    result = {}
    for name, seconds in timings.items():
        precision = "bfloat16" if WAYS.get(name, (house,))[0] else "float32"
        limit = peak[precision] * 1e9 / work
        result[name] = {
            "faces_per_second": count / seconds,
            "times_plain": timings["plain"] / seconds,
            "precision": precision,
            "limit": limit,
            "of_limit": count / seconds / limit,
        }
    return result


# --- in use --------------------------------------------------------------------------------------------------------


def use(kind: str, sizes: Sizes, device: torch.device, peak: dict[str, float]) -> dict[str, Any]:
    """Every way of answering, by batch."""
    found, work = {}, flops(kind, sizes, learn=False)
    networks = {last: network_of(kind, sizes, device, last) for last in (False, True)}
    model = ExpressionModel(network_of(kind, sizes, device, last=False), recipe(kind, sizes))
    for batch in sizes.batches:
        images = faces(batch)[0]
        x = torch.from_numpy(images[:, None]).to(device)
        works: dict[str, Callable[[], Any]] = {
            name: partial(answer, networks[last], x, bf16, last) for name, (bf16, last) in WAYS.items()
        }
        works["predict"] = partial(model.predict, images)
        found[f"{batch}"] = rows(
            machine.least(works, device, sizes.repeats, sizes.seconds), batch, work, peak, predict_in_bf16(model)
        )
    return found


@torch.no_grad()
def answer(network: ExpressionCNN, x: Tensor, bf16: bool, last: bool) -> Tensor:
    """Probabilities (B, classes)."""
    with cast(x.device, bf16):
        logits = network(laid(x, last))
    return logits.float().softmax(dim=1)


def predict_in_bf16(model: ExpressionModel) -> bool:
    """Whether `predict` multiplies in bfloat16: what its last layer puts out tells."""
    kinds: list[torch.dtype] = []
    hook = model.network.head.register_forward_hook(lambda *parts: kinds.append(parts[2].dtype))
    model.predict(faces(1)[0])
    hook.remove()
    return kinds[0] == torch.bfloat16


def alike(sizes: Sizes, device: torch.device) -> dict[str, dict[str, float]]:
    """Greatest difference of P between each way and plain; stops where it is more than its precision explains."""
    found: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        images = faces(8)[0]
        x = torch.from_numpy(images[:, None]).to(device)
        plain = answer(network_of(kind, sizes, device, last=False), x, False, False)
        found[kind] = {
            name: float((answer(network_of(kind, sizes, device, last), x, bf16, last) - plain).abs().max())
            for name, (bf16, last) in WAYS.items()
        }
        model = ExpressionModel(network_of(kind, sizes, device, last=False), recipe(kind, sizes))
        found[kind]["predict"] = float((torch.from_numpy(model.predict(images)) - plain.cpu()).abs().max())
        for name, off in found[kind].items():
            rough = WAYS.get(name, (predict_in_bf16(model),))[0] or device.type == "cuda"  # where TF32 may be on
            if not off < (0.05 if rough else 1e-4):
                sys.exit(f"{name} and plain disagree in {kind} by {off:.2g}; nothing is timed.")
    return found


# --- in learning ---------------------------------------------------------------------------------------------------


def learning(kind: str, sizes: Sizes, device: torch.device, peak: dict[str, float]) -> dict[str, Any]:
    """Every way of learning a batch, and the library's learner."""
    images, labels = faces(2 * sizes.learn)
    learner = ExpressionLearner(recipe(kind, sizes), images, labels, CLASSES, device=str(device))
    x, y = (torch.from_numpy(each[: sizes.learn]).to(device) for each in (images[:, None], labels))
    works: dict[str, Callable[[], Any]] = {}
    for name, (bf16, last) in WAYS.items():
        network = network_of(kind, sizes, device, last).train()
        adam = torch.optim.AdamW(network.parameters(), lr=1e-4)
        works[name] = partial(learn, network, adam, (x, y), recipe(kind, sizes), (bf16, last))
    works["learner"] = endless(learner)
    work = flops(kind, sizes, learn=True)
    return rows(machine.least(works, device, sizes.repeats, sizes.seconds), sizes.learn, work, peak, learner.bf16)


def learn(network: Any, adam: Any, data: tuple[Tensor, Tensor], recipe: Any, way: tuple[bool, bool]) -> float:
    """One step on one batch."""
    (x, y), (bf16, last) = data, way
    moved = augmented(x.float(), recipe, torch.Generator().manual_seed(0))
    with cast(x.device, bf16):
        logits = network(laid(moved, last))
    found = loss(logits.float(), y, recipe)
    adam.zero_grad()
    found.backward()
    adam.step()
    return float(found.detach())


def endless(learner: ExpressionLearner) -> Callable[[], float]:
    """A call that lets the learner take its next step, however many epochs that takes."""

    def steps() -> Any:
        while True:
            yield from learner.epoch(np.random.default_rng(0), 1e-3)

    return partial(next, steps())


# --- the run -------------------------------------------------------------------------------------------------------


def measured(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Everything, on one device."""
    found: dict[str, Any] = {"machine": machine.about(device), "sizes": asdict(sizes), "alike": alike(sizes, device)}
    found["gemm"] = machine.gemm(sizes.gemm, device, sizes.repeats, sizes.seconds)
    found["gflop_per_face"] = {kind: {"use": flops(kind, sizes, False) / 1e9} for kind in KINDS}
    for kind in KINDS:
        found["gflop_per_face"][kind]["learning"] = flops(kind, sizes, True) / 1e9
    for part, job in (("use", use), ("learning", learning)):
        found[part] = {kind: job(kind, sizes, device, found["gemm"]) for kind in KINDS}
        print(f"{device} {part}: {json.dumps(found[part])}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Measure every place, one after the other."""
    args = machine.parser(__doc__, (1, 2)).parse_args()
    if args.place:
        torch.set_num_threads(args.threads[0])
        sizes = QUICK if args.quick else ON_GPU if args.place == "cuda" else Sizes()
        print(json.dumps(measured(sizes, torch.device(args.place))))
        return
    found: dict[str, Any] = {"places": {}, "left_out": []}
    for name, words, threads in machine.places(args.threads, found["left_out"]):
        words += ["--quick"] if args.quick else []
        found["places"][name] = machine.in_process(__file__, words, threads)
    output = args.output or (None if args.quick else Path(__file__).with_suffix(".json"))
    if output is not None:
        io.write_json(output, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
