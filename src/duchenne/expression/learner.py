"""Learning `expression.network`: emotions, action units there or not, or their intensity; from nothing or from
weights that know another task. And answering with what was learnt.

Training goes through `learn.loop`: it may be killed at any moment and goes on after its last whole epoch, bit for bit
the same on a CPU.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from duchenne.errors import InputError, UsageError
from duchenne.expression.augment import augmented
from duchenne.expression.model import AT_ONCE, LEVELS, ExpressionModel, answers, pixels
from duchenne.expression.network import ExpressionCNN
from duchenne.expression.recipe import TRUNK, ExpressionRecipe
from duchenne.learn import pieces
from duchenne.learn.loop import Tick, fit
from duchenne.learn.optim import bf16, device_of, moments, set_moments
from duchenne.types import Array


def targets(labels: Array, head: str, classes: Sequence[str], count: int) -> Tensor:
    """Labels of `count` pictures as the loss reads them; InputError for what cannot be learnt from.

    emotions: whole (N,), numbers of classes → int64. units: (N, classes), 1 there, 0 not, NaN not coded; intensity: as
    units, 0 to 5 → float32.
    """
    y, k = np.asarray(labels), len(classes)
    shape = (count,) if head == "emotions" else (count, k)
    if y.shape != shape or y.dtype.kind not in ("iu" if head == "emotions" else "iufb"):
        kind = "whole numbers" if head == "emotions" else "numbers"
        raise InputError(
            f"Labels for {head} of {count} images must be {kind} of shape {shape}, found {y.dtype} {y.shape}."
        )
    if head == "emotions":
        if wrong := sorted(set(y.tolist()) - set(range(k))):
            raise InputError(
                f"A label is {wrong[0]}, but the {k} classes {', '.join(classes)} are numbered from 0 to {k - 1}."
            )
        return torch.from_numpy(y.astype(np.int64))
    y = y.astype(np.float32)
    known = y[~np.isnan(y)]
    wrong = known[~np.isin(known, (0, 1))] if head == "units" else known[~((known >= 0) & (known <= LEVELS))]
    if len(wrong):
        told = "1 (there), 0 (not there)" if head == "units" else f"from 0 to {LEVELS}"
        raise InputError(f"A label of an action unit is {wrong[0]:g}; expected {told} or missing.")
    return torch.from_numpy(y)


def loss(logits: Tensor, y: Tensor, recipe: ExpressionRecipe, weights: Tensor | None = None) -> Tensor:
    """What learning lowers, a mean over what is labelled; see `targets` for `y`.

    Cross-entropy of emotions and of units, squared error of intensities; for the latter two plus the recipe's
    sparse[0] · mean |p| + sparse[1] · mean p² of the outputs p = sigmoid(logits), as Breuer & Kimmel ask for.
    `weights` (K,) are of the classes, or of a unit's being there.
    """
    if recipe.head == "emotions":
        return functional.cross_entropy(logits, y, weights, label_smoothing=recipe.smoothing)
    coded = ~y.isnan()
    y, p = torch.where(coded, y, 0.0), logits.sigmoid()
    if recipe.head == "units":
        each = functional.binary_cross_entropy_with_logits(logits, y, reduction="none", pos_weight=weights)
    else:
        each = (LEVELS * p - y).square()
    found = (each * coded).sum() / coded.sum().clamp(min=1)
    return found + recipe.sparse[0] * p.mean() + recipe.sparse[1] * p.square().mean()


def fault(said: Tensor, y: Tensor, head: str) -> float:
    """What selection lowers: share of wrong emotions; 1 − the units' mean F1; mean squared error of intensities."""
    if head == "emotions":
        return float((said.argmax(dim=1) != y).double().mean())
    coded = ~y.isnan()
    if head == "intensity":
        return float((said - y)[coded].double().square().mean())
    there, called = (y == 1) & coded, (said >= 0.5) & coded
    positives = (there.sum(0) + called.sum(0)).double()
    return 1 - float((2 * (there & called).sum(0) / positives)[positives > 0].mean())


class ExpressionLearner:
    """Network, averaged network, optimiser and data: what `learn.loop.fit` trains.

    images, labels  as `pixels` and `targets` take them; `held` is such a pair, by which the best epoch is chosen
    device          see `device_of`; `self.device` and `facts` tell which it became
    start           weights to go on from: its trunk and the scale of its pictures are taken, whatever the recipe says
                    of them, and its output where it has the same head and classes
    """

    def __init__(
        self,
        recipe: ExpressionRecipe,
        images: Array,
        labels: Array,
        classes: Sequence[str],
        held: tuple[Array, Array] | None = None,
        *,
        device: str = "auto",
        start: ExpressionModel | None = None,
    ) -> None:
        if start is not None:
            recipe = replace(recipe, **{name: getattr(start.recipe, name) for name in TRUNK})
        elif recipe.frozen:
            raise UsageError("Frozen features must come from weights; name a model to start from.")
        self.recipe, self.device = recipe, device_of(device)
        x, y = self._data(images, labels, classes)
        if len(np.unique(y[~y.isnan()].numpy())) < 2:
            raise InputError("All labels are the same; training needs images of at least two kinds.")
        mean, spread = (start.network.config.mean, start.network.config.spread) if start else _measured(x)
        torch.manual_seed(recipe.seed)
        self.network = ExpressionCNN(recipe.config(classes, mean, spread))
        if start is not None:
            _take(self.network, start.network)
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.kept = copy.deepcopy(self.network).eval()
        self.stamp = _stamp(recipe, self.network, x, y, held, start)
        self.x, self.y = x.to(self.device), y.to(self.device)
        self.held = None
        if held is not None and len(held[1]):
            self.held = tuple(each.to(self.device) for each in self._data(*held, classes))
        self.weights = _weights(y, recipe, len(classes)).to(self.device) if recipe.balance else None
        self.bf16 = bf16(recipe.precision, self.device)
        self.optimiser = _optimiser(self.network, recipe)
        self.batch = min(recipe.batch, len(x))
        self.steps = max(1, round((recipe.images or len(x)) / self.batch))  # of an epoch
        self.seen = 0  # pictures so far
        self._passes: dict[int, Array] = {}

    def _data(self, images: Array, labels: Array, classes: Sequence[str]) -> tuple[Tensor, Tensor]:
        x = pixels(images, self.recipe.channels)
        return x, targets(labels, self.recipe.head, classes, len(x))

    @property
    def facts(self) -> dict[str, Any]:
        """Where and how it learns, for logs and `model.json`."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else ""
        return {
            "images": len(self.y),
            "device": f"{self.device.type} {name}".strip(),
            "precision": "bfloat16" if self.bf16 else "float32",
            "weights": sum(each.numel() for each in self.network.parameters()),
        }

    def epoch(self, rng: np.random.Generator, pace: float) -> Iterator[float]:
        """The next `recipe.images` pictures, each as another photograph of its own."""
        seed = int(rng.integers(2**31))
        # what is dropped out depends on the epoch alone, so that a training that is resumed ends the same
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        self.network.train()
        if self.recipe.frozen:
            self.network.trunk.eval()
        for _ in range(self.steps):
            rows = torch.from_numpy(self._next()).to(self.device)
            for group in self.optimiser.param_groups:
                group["lr"] = self._rate() * pace
            strength = min(1.0, self._done / self.recipe.ramp) if self.recipe.ramp else 1.0
            x = augmented(self.x[rows].float(), self.recipe, generator, strength)
            found: Any = loss(self._logits(x), self.y[rows], self.recipe, self.weights)
            self.optimiser.zero_grad()
            found.backward()
            self.optimiser.step()
            self.seen += self.batch
            self._trail()
            yield float(found.detach())

    @property
    def _step(self) -> int:
        return self.seen // self.batch

    @property
    def _done(self) -> float:
        """Share of the training, 0 to 1."""
        return min(1.0, self._step / (self.steps * self.recipe.epochs))

    def _rate(self) -> float:
        recipe = self.recipe
        ease = 0.5 + 0.5 * math.cos(math.pi * self._done) if recipe.cosine else 1.0
        return recipe.rate * min(1.0, (self._step + 1) / (recipe.warm + 1)) * ease / (1 + recipe.fade * self._step)

    def _next(self) -> Array:
        """Rows of the next batch in an endless row of shuffled passes, which is the same however epochs part it."""
        at = np.arange(self.seen, self.seen + self.batch)
        passes, n = {}, len(self.y)
        for i in range(int(at[0]) // n, int(at[-1]) // n + 1):
            known = self._passes.get(i)
            passes[i] = np.random.default_rng([self.recipe.seed, 1, i]).permutation(n) if known is None else known
        self._passes = passes
        return np.concatenate([passes[i][at[at // n == i] % n] for i in passes])

    def _logits(self, x: Tensor, network: ExpressionCNN | None = None) -> Tensor:
        network = network or self.network
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.recipe.frozen):
                features = network.features(x)
            found: Tensor = network.head(network.drop(features))
        return found.float()

    @torch.no_grad()
    def _trail(self) -> None:
        """kept ← kept + share · (network − kept), share = 1 − min(ema, step / (step + 9)); running means alike."""
        share = 1 - min(self.recipe.ema, self._step / (self._step + 9))
        for mean, now in zip(self.kept.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, share)
            else:
                mean.copy_(now)

    @torch.no_grad()
    def score(self) -> float:
        """`fault` of the averaged weights on the pictures held back, NaN where there are none."""
        if self.held is None:
            return math.nan
        x, y = self.held
        logits = torch.cat([self._logits(some.float(), self.kept) for some in torch.split(x, AT_ONCE)])
        return fault(answers(logits, self.recipe.head), y, self.recipe.head)

    def state(self) -> dict[str, Tensor]:
        """Weights, averaged weights, the optimiser's moments and how many pictures were seen."""
        found = {f"network.{name}": tensor.detach() for name, tensor in self.network.state_dict().items()}
        found |= {f"kept.{name}": tensor.detach() for name, tensor in self.kept.state_dict().items()}
        return found | {"seen": torch.tensor(self.seen)} | moments(self.optimiser)

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up a `state`, of whatever device."""
        for name, network in (("network.", self.network), ("kept.", self.kept)):
            network.load_state_dict({k.removeprefix(name): v for k, v in state.items() if k.startswith(name)})
        self.seen = int(state["seen"])
        set_moments(self.optimiser, state)
        for weight, found in self.optimiser.state.items():
            for name in ("exp_avg", "exp_avg_sq"):  # in the weight's own order in memory, as they were
                found[name] = torch.empty_like(weight).copy_(found[name])

    def model(self, **facts: Any) -> ExpressionModel:
        """What was learnt, on the CPU."""
        return ExpressionModel(copy.deepcopy(self.kept).cpu(), self.recipe, {**self.facts, **facts})


def train(
    recipe: ExpressionRecipe,
    images: Array,
    labels: Array,
    classes: Sequence[str],
    held: tuple[Array, Array] | None = None,
    *,
    folder: Path | None = None,
    device: str = "auto",
    start: ExpressionModel | None = None,
    tick: Tick | None = None,
) -> tuple[ExpressionModel, list[dict[str, Any]]]:
    """(model, learning curve); parameters are those of `ExpressionLearner`.

    With `folder` every epoch is kept there, and the same call goes on from it. UsageError where it holds the beginning
    of a training of other images or settings, ModelError where it is damaged, `learn.loop.Diverged` where a loss is no
    number.
    """
    learner = ExpressionLearner(recipe, images, labels, classes, held, device=device, start=start)
    if folder is not None:
        pieces.same(folder, learner.stamp, "images")
    curve = fit(learner, learner.recipe.schedule, folder, tick)
    best = max((row["epoch"] for row in curve if row["best"]), default=0)
    return learner.model(epochs=len(curve), best_epoch=best), curve


def _measured(x: Tensor) -> tuple[list[float], list[float]]:
    """Mean and spread per channel, of some thousand pictures spread over all."""
    some = x[:: max(1, len(x) // 4096)].double()
    mean, spread = some.mean(dim=(0, 2, 3)), some.std(dim=(0, 2, 3), correction=0)
    return [round(value, 3) for value in mean.tolist()], [max(1.0, round(value, 3)) for value in spread.tolist()]


@torch.no_grad()
def _take(network: ExpressionCNN, start: ExpressionCNN) -> None:
    network.trunk.load_state_dict(start.trunk.state_dict())
    if (network.config.head, network.config.classes) == (start.config.head, start.config.classes):
        network.head.load_state_dict(start.head.state_dict())


def _optimiser(network: ExpressionCNN, recipe: ExpressionRecipe) -> torch.optim.Optimizer:
    part: nn.Module = network.head if recipe.frozen else network
    weights = list(part.parameters())
    groups = [
        {"params": [each for each in weights if each.ndim > 1], "weight_decay": recipe.decay},
        {"params": [each for each in weights if each.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.rate)


def _weights(y: Tensor, recipe: ExpressionRecipe, classes: int) -> Tensor:
    """(K,): of emotions frequency^−balance, 1 on average over the pictures; of units (absent / present)^balance."""
    if recipe.head == "emotions":
        count = torch.bincount(y, minlength=classes).double()
        weights = torch.where(count > 0, count.clamp(min=1) ** -recipe.balance, 0.0)
        return (weights * len(y) / (weights * count).sum()).float()
    there, absent = (y == 1).sum(0).double(), (y == 0).sum(0).double()
    return torch.where((there > 0) & (absent > 0), (absent / there.clamp(min=1)) ** recipe.balance, 1.0).float()


def _stamp(recipe: ExpressionRecipe, network: ExpressionCNN, x: Tensor, y: Tensor, held: Any, start: Any) -> str:
    """Of settings and data: a training goes on only with its own. How long it goes on is free."""
    told = {**asdict(recipe), **asdict(network.config), "epochs": 0}
    total = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    began = [each.cpu().numpy() for each in start.network.state_dict().values()] if start else []
    for each in (x.numpy(), y.numpy(), *(held or ()), *began):
        total.update(np.ascontiguousarray(each).tobytes())
    return total.hexdigest()
