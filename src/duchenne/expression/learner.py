"""Training `expression.network`: emotions, presence of action units, or their intensity; from random weights or from
those of another task.

Training uses `learn.loop`: killed at any moment, it resumes after its last complete epoch, bit-identical on a CPU.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from duchenne.errors import InputError, UsageError
from duchenne.expression.augment import augmented
from duchenne.expression.majority import to_majority
from duchenne.expression.model import AT_ONCE, LEVELS, ExpressionModel, answers, pixels
from duchenne.expression.network import ExpressionCNN
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.learn import loop, optim, pieces
from duchenne.learn.losses import class_weights
from duchenne.types import Array, Json

_EPSILON = 1e-6
#: Second label of an image that has none.
UNKNOWN = -1


def targets(labels: Array, head: str, classes: Sequence[str], count: int) -> Tensor:
    """Labels of `count` images as the loss expects them; InputError for invalid ones.

    emotions: integers (N,), indices of classes → int64; or the share of the raters that gave each, (N, classes), whose
    sum is at most 1 (the rest saw none of the classes) → float32. units: (N, classes), 1 present, 0 absent, NaN not
    coded; intensity: as units, 0 to 5 → float32.
    """
    y, k = np.asarray(labels), len(classes)
    if head == "emotions" and y.ndim == 2:
        return _shares(y, k, count)
    shape = (count,) if head == "emotions" else (count, k)
    if y.shape != shape or y.dtype.kind not in ("iu" if head == "emotions" else "iufb"):
        kind = "whole numbers" if head == "emotions" else "numbers"
        raise InputError(
            f"Labels for {head} of {count} images must be {kind} of shape {shape}, found {y.dtype} {y.shape}."
        )
    if head == "emotions":
        if wrong := sorted(set(y.tolist()) - set(range(k))):
            raise InputError(
                f"Expected labels from 0 to {k - 1} for the {k} classes {', '.join(classes)}, found {wrong[0]}."
            )
        return torch.from_numpy(y.astype(np.int64))
    y = y.astype(np.float32)
    known = y[~np.isnan(y)]
    wrong = known[~np.isin(known, (0, 1))] if head == "units" else known[~((known >= 0) & (known <= LEVELS))]
    if len(wrong):
        allowed = "1 (present), 0 (absent)" if head == "units" else f"0 to {LEVELS}"
        raise InputError(f"Expected labels of action units of {allowed} or missing, found {wrong[0]:g}.")
    return torch.from_numpy(y)


def _shares(y: Array, k: int, count: int) -> Tensor:
    if y.shape != (count, k) or y.dtype.kind != "f":
        raise InputError(f"Shares of raters must be numbers of shape {(count, k)}, found {y.dtype} {y.shape}.")
    wrong = ~((y >= 0).all(axis=1) & (y.sum(axis=1) <= 1 + _EPSILON))
    if wrong.any():
        raise InputError(
            f"Shares of raters must not be negative, nor add up to more than 1; found {y[wrong][0].tolist()}."
        )
    return torch.from_numpy(y.astype(np.float32))


def loss(logits: Tensor, y: Tensor, recipe: ExpressionRecipe, weights: Tensor | None = None) -> Tensor:
    """The training loss, a mean over the labels that are known; see `targets` for `y`.

    Cross-entropy of emotions (of shares of raters −Σ share · log p) and of units, squared error of intensities; for the
    latter two plus the recipe's L1 · mean |p| + L2 · mean p² of the outputs p = sigmoid(logits), as in Breuer & Kimmel.
    `weights` (K,) are of the classes, or of a unit's presence.
    """
    if recipe.head == "emotions":
        return functional.cross_entropy(logits, y, weights, label_smoothing=recipe.label_smoothing)
    coded = ~y.isnan()
    y, p = torch.where(coded, y, 0.0), logits.sigmoid()
    if recipe.head == "units":
        each = functional.binary_cross_entropy_with_logits(logits, y, reduction="none", pos_weight=weights)
    else:
        each = (LEVELS * p - y).square()
    found = (each * coded).sum() / coded.sum().clamp(min=1)
    l1, l2 = recipe.activity_regularization
    return found + l1 * p.mean() + l2 * p.square().mean()


def second_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of second labels (N,), a mean over those that are not `UNKNOWN`; 0 where all are."""
    total = functional.cross_entropy(logits, y, ignore_index=UNKNOWN, reduction="sum")
    return total / (y != UNKNOWN).sum().clamp(min=1)


def selection_error(predicted: Tensor, y: Tensor, head: str) -> float:
    """By which the epoch is chosen: 1 − accuracy (of shares, against the most frequent); 1 − the units' mean F1; mean
    squared error of intensities."""
    if head == "emotions":
        classes = y if y.ndim == 1 else y.argmax(dim=1)
        return float((predicted.argmax(dim=1) != classes).double().mean())
    coded = ~y.isnan()
    if head == "intensity":
        return float((predicted - y)[coded].double().square().mean())
    present, called = (y == 1) & coded, (predicted >= 0.5) & coded
    positives = (present.sum(0) + called.sum(0)).double()
    return 1 - float((2 * (present & called).sum(0) / positives)[positives > 0].mean())


class ExpressionLearner:
    """Network, averaged network, optimiser and data: what `learn.loop.fit` trains.

    images, labels  as `pixels` and `targets` take them; `held` is such a pair, by which the best epoch is chosen
    second          (labels (N,) of another set, indices of its classes or `UNKNOWN`; these classes), for a second
                    output layer, where the recipe gives their loss a weight
    device          see `learn.optim.device_of`; `self.device` and `facts` give the one that is used
    start           model to start from: its backbone and image normalisation are taken, and its output layer where the
                    head and classes are the same; UsageError for a recipe with another backbone
    """

    def __init__(
        self,
        recipe: ExpressionRecipe,
        images: Array,
        labels: Array,
        classes: Sequence[str],
        held: tuple[Array, Array] | None = None,
        *,
        second: tuple[Array, Sequence[str]] | None = None,
        device: str = "auto",
        start: ExpressionModel | None = None,
    ) -> None:
        if start is not None:
            recipe = recipe.on_backbone(start.recipe)
        elif recipe.freeze_backbone:
            raise UsageError("A frozen backbone needs weights; name a model to start from.")
        self.recipe, self.device = recipe, optim.device_of(device)
        x, y = self._data(images, labels, classes)
        if len(np.unique(y[~y.isnan()].numpy())) < 2:
            raise InputError("All labels are the same; training needs images of at least two kinds.")
        mean, spread = (start.network.config.mean, start.network.config.spread) if start else _normalisation(x)
        torch.manual_seed(recipe.seed)
        self.second = None
        if second is not None and recipe.second_weight:
            self.second = torch.from_numpy(np.asarray(second[0], np.int64)).to(self.device)
        others = second[1] if self.second is not None and second is not None else ()
        self.network = ExpressionCNN(recipe.config(classes, mean, spread, others))
        if start is not None:
            _copy_weights(self.network, start.network)
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval()
        self.stamp = _stamp(recipe, self.network, x, y, held, start)
        self.x, self.y = x.to(self.device), y.to(self.device)
        self.held = None
        if held is not None and len(held[1]):
            self.held = tuple(each.to(self.device) for each in self._data(*held, classes))
        self.weights = _weights(y, recipe, len(classes)).to(self.device) if recipe.class_weight_power else None
        self.bf16 = optim.bf16(recipe.precision, self.device)
        trained: nn.Module = self.network.head if recipe.freeze_backbone else self.network
        self.optimiser = optim.adamw([(trained.parameters(), 1.0)], recipe.learning_rate, recipe.weight_decay)
        self.batch_size = min(recipe.batch_size, len(x))
        self.steps = max(1, round((recipe.images_per_epoch or len(x)) / self.batch_size))  # of an epoch
        self.seen = 0  # images so far
        self._passes: dict[int, Array] = {}

    def _data(self, images: Array, labels: Array, classes: Sequence[str]) -> tuple[Tensor, Tensor]:
        x = pixels(images, self.recipe.channels)
        return x, targets(labels, self.recipe.head, classes, len(x))

    @property
    def facts(self) -> Json:
        """Device, precision and sizes, for logs and `model.json`."""
        return {
            "images": len(self.y),
            "device": optim.described(self.device),
            "precision": "bfloat16" if self.bf16 else "float32",
            "weights": sum(each.numel() for each in self.network.parameters()),
        }

    def epoch(self, rng: np.random.Generator, lr_scale: float) -> Iterator[float]:
        """The next `recipe.images_per_epoch` images, augmented."""
        seed = int(rng.integers(2**31))
        # dropout depends on the epoch alone, so that a resumed training ends with the same weights
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        self.network.train()
        if self.recipe.freeze_backbone:
            self.network.trunk.eval()
        for _ in range(self.steps):
            yield self._step(torch.from_numpy(self._next()).to(self.device), generator, lr_scale)

    def _step(self, rows: Tensor, generator: torch.Generator, lr_scale: float) -> float:
        r, step, steps = self.recipe, self.seen // self.batch_size, self.steps * self.recipe.epochs
        rate = optim.warmup_cosine(r.learning_rate, step, steps, r.warmup_steps, r.cosine_decay)
        optim.set_learning_rate(self.optimiser, rate / (1 + r.inverse_time_decay * step) * lr_scale)
        strength = min(1.0, min(1.0, step / steps) / r.augmentation_ramp) if r.augmentation_ramp else 1.0
        side = self.x.shape[-1] * 2 // 3 if step < r.small_images * steps else None
        x = augmented(self.x[rows].float(), r, generator, strength, side)
        logits, others = self._outputs(x, self.network)
        total = loss(logits, self.y[rows], r, self.weights)
        if others is not None and self.second is not None:
            total = total + r.second_weight * second_loss(others, self.second[rows])
        value = optim.descend(total, self.optimiser, self.network)
        self.seen += self.batch_size
        optim.update_average(self.average, self.network, r.ema_decay, step + 1)
        return value

    def _next(self) -> Array:
        """Rows of the next batch in an endless sequence of shuffled passes, whatever the length of epochs."""
        at = np.arange(self.seen, self.seen + self.batch_size)
        passes, n = {}, len(self.y)
        for i in range(int(at[0]) // n, int(at[-1]) // n + 1):
            known = self._passes.get(i)
            passes[i] = np.random.default_rng([self.recipe.seed, 1, i]).permutation(n) if known is None else known
        self._passes = passes
        return np.concatenate([passes[i][at[at // n == i] % n] for i in passes])

    def _outputs(self, x: Tensor, network: ExpressionCNN) -> tuple[Tensor, Tensor | None]:
        """Logits (B, classes), and those of second labels."""
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.recipe.freeze_backbone):
                features = network.features(x)
            features = network.drop(features)
            logits, others = network.head(features), network.second(features) if network.config.second else None
        return logits.float(), None if others is None else others.float()

    @torch.no_grad()
    def score(self) -> float:
        """`selection_error` of the averaged weights on the held-back images, NaN where there are none."""
        if self.held is None:
            return math.nan
        x, y = self.held
        logits = torch.cat([self._outputs(some.float(), self.average)[0] for some in torch.split(x, AT_ONCE)])
        return selection_error(answers(logits, self.recipe.head), y, self.recipe.head)

    def state(self) -> dict[str, Tensor]:
        """Weights, averaged weights, the optimiser's state and the number of images seen."""
        found = optim.state({"network": self.network, "kept": self.average}, self.optimiser)
        return found | {"seen": torch.tensor(self.seen)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Load a `state`, from any device."""
        optim.restore({"network": self.network, "kept": self.average}, self.optimiser, state)
        self.seen = int(state["seen"])

    def model(self, **facts: object) -> ExpressionModel:
        """The trained model, on the CPU."""
        return ExpressionModel(copy.deepcopy(self.average).cpu(), self.recipe, {**self.facts, **facts})


def train(
    recipe: ExpressionRecipe,
    images: Array,
    labels: Array,
    classes: Sequence[str],
    held: tuple[Array, Array] | None = None,
    *,
    folder: Path | None = None,
    device: str = "auto",
    second: tuple[Array, Sequence[str]] | None = None,
    start: ExpressionModel | None = None,
    on_epoch: loop.OnEpoch | None = None,
) -> tuple[ExpressionModel, list[loop.Row]]:
    """(model, learning curve); parameters are those of `ExpressionLearner`.

    With `folder` every epoch is saved there, and the same call resumes from it. UsageError where it is of a training on
    other images or settings, ModelError where it is damaged, `learn.loop.Diverged` where a loss is not finite.
    """
    learner = ExpressionLearner(recipe, images, labels, classes, held, second=second, device=device, start=start)
    if folder is not None:
        pieces.check_same(folder, learner.stamp, "images")
    curve = loop.fit(learner, learner.recipe.schedule, folder, on_epoch)
    best = max((row["epoch"] for row in curve if row["best"]), default=0)
    model = learner.model(epochs=len(curve), best_epoch=best)
    if held is not None and len(held[0]) and learner.y.ndim == 2 and recipe.head == "emotions":
        model.facts["temperature"] = to_majority(model, *held)
    return model, curve


def _normalisation(x: Tensor) -> tuple[list[float], list[float]]:
    """Mean and spread per channel, of some thousand images spread over all."""
    some = x[:: max(1, len(x) // 4096)].double()
    mean, spread = some.mean(dim=(0, 2, 3)), some.std(dim=(0, 2, 3), correction=0)
    return [round(value, 3) for value in mean.tolist()], [max(1.0, round(value, 3)) for value in spread.tolist()]


@torch.no_grad()
def _copy_weights(network: ExpressionCNN, start: ExpressionCNN) -> None:
    network.trunk.load_state_dict(start.trunk.state_dict())
    if (network.config.head, network.config.classes) == (start.config.head, start.config.classes):
        network.head.load_state_dict(start.head.state_dict())


def _weights(y: Tensor, recipe: ExpressionRecipe, classes: int) -> Tensor:
    """(K,): of emotions frequency^−power, 1 on average over the images; of units (absent / present)^power."""
    if recipe.head == "emotions":
        return class_weights(y if y.ndim == 1 else y.argmax(dim=1), classes, recipe.class_weight_power)
    present, absent = (y == 1).sum(0).double(), (y == 0).sum(0).double()
    power = (absent / present.clamp(min=1)) ** recipe.class_weight_power
    return torch.where((present > 0) & (absent > 0), power, 1.0).float()


def _stamp(
    recipe: ExpressionRecipe,
    network: ExpressionCNN,
    x: Tensor,
    y: Tensor,
    held: tuple[Array, Array] | None,
    start: ExpressionModel | None,
) -> str:
    """Of settings and data: a training is resumed only with the same, but for the number of epochs."""
    settings = {**asdict(recipe), **asdict(network.config), "epochs": 0}
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    weights = [each.cpu().numpy() for each in start.network.state_dict().values()] if start else []
    for each in (x.numpy(), y.numpy(), *(held or ()), *weights):
        total.update(np.ascontiguousarray(each).tobytes())
    return total.hexdigest()
