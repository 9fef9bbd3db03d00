"""Training one network of `clipnets.network` in `learn.loop`: batches, losses of its tasks, averaged weights.

A killed training resumes after its last complete epoch, bit for bit the same on a CPU.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from duchenne.clipnets.loader import Loader
from duchenne.clipnets.network import ClipNet
from duchenne.clipnets.published import load_all
from duchenne.clipnets.recipe import AUGMENTATION, ClipRecipe
from duchenne.expression.augment import augmented
from duchenne.features.sequences import in_batches
from duchenne.learn import losses, optim
from duchenne.types import Array, JsonMap

_MEASURED = 64  # clips, evenly over all, on which the inputs' mean and spread are measured
_MAX_NORM = 5.0  # of the gradient


@dataclass(frozen=True, eq=False)
class Task:
    """Training data: N clips from `ClipReader.table`, labels (N,) 1 = genuine, and indices of emotions (N,), -1 = not
    given. The rows `held_out` are not trained on."""

    x: Sequence[Any]
    y: Array
    emotion: Array
    emotions: int
    held_out: Array

    @property
    def train(self) -> Array:
        """Rows to train on."""
        return np.setdiff1d(np.arange(len(self.x)), self.held_out)


class ClipLearner:
    """A network, its averaged weights, its optimiser and data, for `learn.loop.fit`.

    device     see `learn.optim.device_of`
    starts     published weights of backbones, by name; inputs without any get their mean and spread from the clips
    """

    def __init__(
        self,
        recipe: ClipRecipe,
        task: Task,
        seed: int,
        *,
        device: str = "cpu",
        starts: Sequence[JsonMap] = (),
        workers: int = 2,
    ) -> None:
        self.recipe, self.task, self.device = recipe, task, optim.device_of(device)
        self.loader = Loader(recipe, task.x, workers)
        torch.manual_seed(seed)
        self.network = ClipNet(recipe.config(task.emotions))
        if len(starts) < len(self.network.backbones):
            self._measure()
        self.skipped = load_all(self.network, starts)
        self.network.to(self.device)
        self.average = copy.deepcopy(self.network).eval() if recipe.ema_decay else self.network
        self.objective = Objective(recipe, task.emotions).to(self.device)
        # torch 2.13's Conv3d leaves parts of its weights' gradient uninitialised in bfloat16 on a CPU for 2 frames
        conv3d = recipe.kind == "volume" and self.device.type == "cpu"
        self.bf16 = recipe.inputs == "crops" and not conv3d and optim.bf16(recipe.precision, self.device)
        self.optimiser = _optimiser(self.network, self.objective, recipe)
        size = recipe.batch_size * recipe.accumulate_steps
        self.step, self.steps = 0, recipe.epochs * max(1, math.ceil(len(task.train) / size))
        self.epoch_logits: list[Array] = []  # log-odds of the held-out clips after each epoch

    @torch.no_grad()
    def _measure(self) -> None:
        """Set mean and spread of the inputs from training clips."""
        train = self.task.train
        some = train[:: max(1, len(train) // _MEASURED)]
        total = [torch.zeros(len(self.network.mean), dtype=torch.float64) for _ in range(2)]
        count = 0
        for _, x, mask in self.loader([some[i : i + 1] for i in range(len(some))], None):
            values = self.network.moved(x, mask)[mask].double()
            if self.recipe.inputs == "crops":
                values = values.permute(0, 2, 3, 1).flatten(0, 2)
            count += len(values)
            total = [total[0] + values.sum(0), total[1] + values.square().sum(0)]
        mean = total[0] / count
        spread = (total[1] / count - mean.square()).clamp(min=0).sqrt()
        self.network.mean.copy_(mean)
        self.network.spread.copy_(spread.clamp(min=1.0 if self.recipe.inputs == "crops" else 1e-3))

    def epoch(self, rng: np.random.Generator, lr_scale: float) -> Iterator[float]:
        """One pass over the training clips, augmented."""
        seed = int(rng.integers(2**31))
        # dropout depends on the epoch alone, so that a resumed training ends the same
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        self.network.train()
        if self.recipe.freeze_backbone:
            for backbone in self.network.backbones:
                backbone.eval()
        batches, size = self._batches(rng), self.recipe.accumulate_steps
        for i, (rows, x, mask) in enumerate(self.loader(batches, seed)):
            start = time.perf_counter()
            loss = self._loss(rows, self._augmented(x, generator), mask.to(self.device))
            accumulated = min(size, len(batches) - i // size * size)
            (loss / accumulated).backward()  # type: ignore[no-untyped-call]
            if (i + 1) % size == 0 or i + 1 == len(batches):
                self._step(lr_scale)
            value = float(loss.detach())
            self.loader.worked += time.perf_counter() - start
            yield value

    def _batches(self, rng: np.random.Generator) -> list[Array]:
        train, size = self.task.train, self.recipe.batch_size
        if self.recipe.inputs == "points":
            return list(in_batches(self.task.x, train, size, rng))
        return np.array_split(rng.permutation(train), max(1, round(len(train) / size)))

    def _augmented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The batch on the device, crops augmented."""
        x, r = x.to(self.device, non_blocking=True), self.recipe
        if r.inputs == "points" or not any(getattr(r, name) for name in AUGMENTATION):
            return x
        clips = x.float().flatten(1, 2)  # (B, T · C, S, S): the same for all frames of a clip
        return augmented(clips, r.augmentation, generator).reshape(x.shape)

    def _loss(self, rows: Array, x: Tensor, mask: Tensor) -> Tensor:
        y = torch.from_numpy(self.task.y[rows]).float().to(self.device)
        emotion = torch.from_numpy(self.task.emotion[rows]).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            if self.recipe.by_frame:  # the loss is of every frame by itself
                outputs = {name: value[mask] for name, value in self.network.frames(x, mask).items()}
                clip = mask.nonzero()[:, 0]
                y, emotion = y[clip], emotion[clip]
            else:
                outputs = self.network(x, mask)
        return torch.as_tensor(self.objective(outputs, y, emotion))

    def _step(self, lr_scale: float) -> None:
        r = self.recipe
        rate = optim.warmup_cosine(r.learning_rate * lr_scale, self.step, self.steps, r.warmup_steps)
        optim.set_learning_rate(self.optimiser, rate)
        nn.utils.clip_grad_norm_(self.network.parameters(), _MAX_NORM)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        if r.ema_decay:
            optim.update_average(self.average, self.network, r.ema_decay, self.step)

    def score(self) -> float:
        """Mean log loss of authenticity on the held-out clips, NaN where there are none."""
        rows = self.task.held_out
        if not len(rows):
            return math.nan
        z = predict(self.average, self.loader, rows, self.recipe, self.bf16)["authenticity"]
        self.epoch_logits.append(z)
        return _log_loss(z, self.task.y[rows])

    def held_out_logits(self, groups: Array) -> Array:
        """float64 (n,): log-odds of the held-out clips, of persons `groups` (n,), at the best epoch for the other half
        of the held-out people, so that nobody chooses the epoch for themselves (unless only one is held out)."""
        logits, y = np.stack(self.epoch_logits), self.task.y[self.task.held_out]
        if self.recipe.checkpoint == "last":
            return np.asarray(logits[-1])
        first = np.isin(groups, np.unique(groups)[::2])
        out = np.zeros(len(y))
        for half, others in ((first, ~first), (~first, first)):
            choosing = others if others.any() else half
            best = int(np.argmin([_log_loss(z[choosing], y[choosing]) for z in logits]))
            out[half] = logits[best, half]
        return out

    def release(self) -> None:
        """Free what only training needs, several times the memory of the network."""
        self.network = self.average
        self.optimiser.state.clear()

    def state(self) -> dict[str, Tensor]:
        """Weights, averaged weights, those of the tasks, the optimiser's moments, and the held-out logits so far."""
        found = optim.state(self._networks, self.optimiser) | {"step": torch.tensor(self.step)}
        return found | ({"logits": torch.from_numpy(np.stack(self.epoch_logits))} if self.epoch_logits else {})

    def restore(self, state: dict[str, Tensor]) -> None:
        """Load a `state`, of any device; logits of later epochs are kept."""
        optim.restore(self._networks, self.optimiser, state)
        self.step = int(state["step"])
        logits = state.get("logits")
        if logits is not None and len(logits) > len(self.epoch_logits):
            self.epoch_logits = list(logits.cpu().numpy())

    @property
    def _networks(self) -> dict[str, nn.Module]:
        average: dict[str, nn.Module] = {"average": self.average} if self.recipe.ema_decay else {}
        return {"network": self.network, "objective": self.objective, **average}


class Objective(nn.Module):
    """(a network's outputs, labels (n,) 1 = genuine, indices of emotions (n,) or -1) → the loss."""

    def __init__(self, recipe: ClipRecipe, emotions: int) -> None:
        super().__init__()
        self.recipe, self.emotions = recipe, emotions
        own = {"focal": ("gamma",), "multilabel-focal": ("gamma", "alpha")}.get(recipe.loss, ())
        self.loss = partial(losses.loss(recipe.loss), **{name: getattr(recipe, name) for name in own})
        names = ("authenticity", "emotion") if recipe.task == "multi" else (recipe.task,)
        self.weighted = losses.Weighted(dict(zip(names, recipe.task_weights, strict=False)), recipe.task_weighting)

    def forward(self, outputs: dict[str, Tensor], y: Tensor, emotion: Tensor) -> Tensor:
        """The mean over what is labelled."""
        if self.recipe.task == "classes":
            pair = torch.where(emotion >= 0, 2 * emotion + y.long(), -1)
            terms = {"classes": self.loss(outputs["classes"], self._smoothed(pair, 2 * self.emotions))}
        else:
            s = self.recipe.label_smoothing
            terms = {"authenticity": self.loss(outputs["authenticity"], (1 - s) * y + s / 2)}
        if self.recipe.task == "multi" and bool((emotion >= 0).any()):
            terms["emotion"] = self.loss(outputs["emotion"], self._smoothed(emotion, self.emotions))
        return torch.as_tensor(self.weighted(terms))

    def _smoothed(self, index: Tensor, count: int) -> Tensor:
        """float (n, count): shares of the classes, NaN for -1."""
        s = self.recipe.label_smoothing
        shares = (1 - s) * functional.one_hot(index.clamp(min=0), count) + s / count
        return torch.where(index[:, None] >= 0, shares, torch.nan)


@torch.no_grad()
def predict(network: ClipNet, loader: Loader, rows: Array, recipe: ClipRecipe, bf16: bool = False) -> dict[str, Array]:
    """float64 (n,) and (n, ·): a network's outputs for the clips `rows`, see `ClipNet`."""
    network.eval()
    device = network.mean.device
    if recipe.inputs == "points":
        batches = list(in_batches(loader.x, rows, 64, np.random.default_rng(0)))
    else:
        batches = [rows[i : i + recipe.batch_size] for i in range(0, len(rows), recipe.batch_size)]
    out: dict[str, Array] = {}
    index = {int(row): i for i, row in enumerate(rows)}
    for some, x, mask in loader(batches, None):
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            outputs = network(x.to(device), mask.to(device))
        at = [index[int(row)] for row in some]
        for name, value in outputs.items():
            out.setdefault(name, np.zeros((len(rows), *value.shape[1:])))[at] = value.double().cpu().numpy()
    return out


def _optimiser(network: ClipNet, objective: Objective, recipe: ClipRecipe) -> torch.optim.Optimizer:
    pretrained = [weight for backbone in network.backbones for weight in backbone.parameters()]
    known = set(map(id, pretrained))
    rest = [each for each in (*network.parameters(), *objective.parameters()) if id(each) not in known]
    for weight in pretrained:
        weight.requires_grad_(not recipe.freeze_backbone)
    parts = [(rest, 1.0)] if recipe.freeze_backbone else [(pretrained, recipe.backbone_lr_scale), (rest, 1.0)]
    return optim.adamw(parts, recipe.learning_rate, recipe.weight_decay)


def _log_loss(z: Array, y: Array) -> float:
    loss = float(np.mean(np.logaddexp(0, z) - y * z))
    return loss if math.isfinite(loss) else math.inf  # the loop takes it as diverged
