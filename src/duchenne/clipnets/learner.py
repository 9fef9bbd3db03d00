"""Learning one network of `clipnets.network`: batches of clips read ahead, losses of its tasks, averaged weights.

Training goes through `learn.loop`: it may be killed at any moment and goes on after its last whole epoch, bit for bit
the same on a CPU.
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

from duchenne.clipnets.backbones import Backbone, load_published
from duchenne.clipnets.loader import Loader
from duchenne.clipnets.network import ClipNet
from duchenne.clipnets.recipe import AUGMENTATION, ClipRecipe
from duchenne.expression.augment import augmented
from duchenne.features.sequences import in_batches
from duchenne.learn import losses, optim
from duchenne.types import Array

_MEASURED = 64  # clips, spread over all, of which levels are measured
_CLIP = 5.0  # the largest length of a step's gradient


@dataclass(frozen=True, eq=False)
class Task:
    """What there is to learn: N clips as `ClipReader.table` has them, labels (N,) 1 = genuine, and numbers of emotions
    (N,), -1 = not given. `held` are rows that are not learnt from."""

    x: Sequence[Any]
    y: Array
    emotion: Array
    emotions: int
    held: Array

    @property
    def learnt(self) -> Array:
        """Rows that are learnt from."""
        return np.setdiff1d(np.arange(len(self.x)), self.held)


class ClipLearner:
    """A network, its averaged weights, its optimiser and data: what `learn.loop.fit` trains.

    device     see `learn.optim.device_of`
    start      published weights of the trunk, by their names, or None
    """

    def __init__(
        self,
        recipe: ClipRecipe,
        task: Task,
        seed: int,
        *,
        device: str = "cpu",
        start: dict[str, Any] | None = None,
        workers: int = 2,
    ) -> None:
        self.recipe, self.task, self.device = recipe, task, optim.device_of(device)
        self.loader = Loader(recipe, task.x, workers)
        torch.manual_seed(seed)
        self.network = ClipNet(recipe.config(task.emotions))
        self.passed_over = _begin(self.network, start) if start is not None else []
        if start is None or recipe.inputs == "points":
            self._measure()
        self.network.to(self.device)
        self.kept = copy.deepcopy(self.network).eval() if recipe.ema_decay else self.network
        self.objective = Objective(recipe, task.emotions).to(self.device)
        # torch 2.13's Conv3d leaves parts of its weights' gradient unwritten in bfloat16 on a CPU where 2 frames are
        # left
        whole = recipe.kind == "volume" and self.device.type == "cpu"
        self.bf16 = recipe.inputs == "crops" and not whole and optim.bf16(recipe.precision, self.device)
        self.optimiser = _optimiser(self.network, self.objective, recipe)
        size = recipe.batch_size * recipe.accumulate_steps
        self.step, self.steps = 0, recipe.epochs * max(1, math.ceil(len(task.learnt) / size))
        self.heard: list[Array] = []  # of every epoch: log-odds of the clips held back

    @torch.no_grad()
    def _measure(self) -> None:
        """Mean and spread of the inputs, of clips that are learnt from."""
        learnt = self.task.learnt
        some = learnt[:: max(1, len(learnt) // _MEASURED)]
        total = [torch.zeros(len(self.network.mean), dtype=torch.float64) for _ in range(2)]
        count = 0
        for _, x, mask in self.loader([some[i : i + 1] for i in range(len(some))], None):
            seen = self.network.moved(x, mask)[mask].double()
            if self.recipe.inputs == "crops":  # levels of the face alone, where there is a whole frame too
                seen = seen[:, : self.recipe.channels].permute(0, 2, 3, 1).flatten(0, 2)
            count += len(seen)
            total = [total[0] + seen.sum(0), total[1] + seen.square().sum(0)]
        mean = total[0] / count
        spread = (total[1] / count - mean.square()).clamp(min=0).sqrt()
        self.network.mean.copy_(mean)
        self.network.spread.copy_(spread.clamp(min=1.0 if self.recipe.inputs == "crops" else 1e-3))

    def epoch(self, rng: np.random.Generator, lr_scale: float) -> Iterator[float]:
        """One pass over the clips that are learnt from, each as another take of its own."""
        seed = int(rng.integers(2**31))
        # what is dropped out depends on the epoch alone, so that a training that is resumed ends the same
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        self.network.train()
        if self.recipe.freeze_backbone:
            for trunk in self.network.trunks:
                trunk.eval()
        batches, size = self._batches(rng), self.recipe.accumulate_steps
        for i, (rows, x, mask) in enumerate(self.loader(batches, seed)):
            began = time.perf_counter()
            found = self._loss(rows, self._seen(x, generator), mask.to(self.device))
            together = min(size, len(batches) - i // size * size)
            (found / together).backward()  # type: ignore[no-untyped-call]
            if (i + 1) % size == 0 or i + 1 == len(batches):
                self._step(lr_scale)
            value = float(found.detach())
            self.loader.worked += time.perf_counter() - began
            yield value

    def _batches(self, rng: np.random.Generator) -> list[Array]:
        learnt, size = self.task.learnt, self.recipe.batch_size
        if self.recipe.inputs == "points":
            return list(in_batches(self.task.x, learnt, size, rng))
        return np.array_split(rng.permutation(learnt), max(1, round(len(learnt) / size)))

    def _seen(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The batch on the device, pictures as another camera could have filmed them."""
        x, r = x.to(self.device, non_blocking=True), self.recipe
        if r.inputs == "points" or not any(getattr(r, name) for name in AUGMENTATION):
            return x
        clips = x.float().flatten(1, 2)  # (B, T · C, S, S): what is done is done to all frames alike
        return augmented(clips, r.augmentation, generator).reshape(x.shape)

    def _loss(self, rows: Array, x: Tensor, mask: Tensor) -> Tensor:
        y = torch.from_numpy(self.task.y[rows]).float().to(self.device)
        emotion = torch.from_numpy(self.task.emotion[rows]).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            if self.recipe.by_frame:  # every face by itself is to be told
                said = {name: value[mask] for name, value in self.network.frames(x, mask).items()}
                of = mask.nonzero()[:, 0]
                y, emotion = y[of], emotion[of]
            else:
                said = self.network(x, mask)
        found: Tensor = self.objective(said, y, emotion)
        return found

    def _step(self, lr_scale: float) -> None:
        r = self.recipe
        rate = optim.warmup_cosine(r.learning_rate * lr_scale, self.step, self.steps, r.warmup_steps)
        optim.set_learning_rate(self.optimiser, rate)
        nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        if r.ema_decay:
            optim.update_average(self.kept, self.network, r.ema_decay, self.step)

    def score(self) -> float:
        """Mean log loss on the clips held back, of genuine or posed, NaN where there are none."""
        if not len(self.task.held):
            return math.nan
        z = answers(self.kept, self.loader, self.task.held, self.recipe, self.bf16)["authenticity"]
        self.heard.append(z)
        return _log_loss(z, self.task.y[self.task.held])

    def unseen(self, groups: Array) -> Array:
        """float64 (n,): log-odds of the clips held back, of persons `groups` (n,), by an epoch that was not chosen for
        their sake: half of the people choose it for the other half, where more than one is held back."""
        heard, y = np.stack(self.heard), self.task.y[self.task.held]
        if self.recipe.checkpoint == "last":
            return np.asarray(heard[-1])
        people = np.unique(groups)
        first = np.isin(groups, people[::2])
        out = np.zeros(len(y))
        for mine, others in ((first, ~first), (~first, first)):
            judges = others if others.any() else mine
            best = int(np.argmin([_log_loss(z[judges], y[judges]) for z in heard]))
            out[mine] = heard[best, mine]
        return out

    def release(self) -> None:
        """Let go of what only learning needs, several times the network that is kept."""
        self.network = self.kept
        self.optimiser.state.clear()

    def state(self) -> dict[str, Tensor]:
        """Weights, averaged weights, those of the tasks, the optimiser's moments, and what was answered so far."""
        found = optim.state(self._networks, self.optimiser) | {"step": torch.tensor(self.step)}
        return found | ({"heard": torch.from_numpy(np.stack(self.heard))} if self.heard else {})

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up a `state`, of whatever device; answers of later epochs are not forgotten."""
        optim.restore(self._networks, self.optimiser, state)
        self.step = int(state["step"])
        heard = state.get("heard")
        if heard is not None and len(heard) > len(self.heard):
            self.heard = list(heard.cpu().numpy())

    @property
    def _networks(self) -> dict[str, nn.Module]:
        kept: dict[str, nn.Module] = {"kept": self.kept} if self.recipe.ema_decay else {}
        return {"network": self.network, "objective": self.objective, **kept}


class Objective(nn.Module):
    """(what a network says, labels (n,) 1 = genuine, numbers of emotions (n,) or -1) → the loss."""

    def __init__(self, recipe: ClipRecipe, emotions: int) -> None:
        super().__init__()
        self.recipe, self.emotions = recipe, emotions
        own = {"focal": ("gamma",), "multilabel-focal": ("gamma", "alpha")}.get(recipe.loss, ())
        self.loss = partial(losses.loss(recipe.loss), **{name: getattr(recipe, name) for name in own})
        names = ("authenticity", "emotion") if recipe.task == "multi" else (recipe.task,)
        self.weighted = losses.Weighted(dict(zip(names, recipe.task_weights, strict=False)), recipe.task_weighting)

    def forward(self, said: dict[str, Tensor], y: Tensor, emotion: Tensor) -> Tensor:
        """The mean over what is labelled."""
        if self.recipe.task == "classes":
            pair = torch.where(emotion >= 0, 2 * emotion + y.long(), -1)
            found = {"classes": self.loss(said["classes"], self._soft(pair, 2 * self.emotions))}
        else:
            s = self.recipe.label_smoothing
            found = {"authenticity": self.loss(said["authenticity"], (1 - s) * y + s / 2)}
        if self.recipe.task == "multi" and bool((emotion >= 0).any()):
            found["emotion"] = self.loss(said["emotion"], self._soft(emotion, self.emotions))
        total: Tensor = self.weighted(found)
        return total

    def _soft(self, numbers: Tensor, count: int) -> Tensor:
        """float (n, count): shares of the classes, NaN for -1."""
        s = self.recipe.label_smoothing
        shares = (1 - s) * functional.one_hot(numbers.clamp(min=0), count) + s / count
        return torch.where(numbers[:, None] >= 0, shares, torch.nan)


@torch.no_grad()
def answers(network: ClipNet, loader: Loader, rows: Array, recipe: ClipRecipe, bf16: bool = False) -> dict[str, Array]:
    """float64 (n,) and (n, ·): what a network says of the clips `rows`, see `ClipNet`."""
    network.eval()
    device = network.mean.device
    if recipe.inputs == "points":
        batches = list(in_batches(loader.x, rows, 64, np.random.default_rng(0)))
    else:
        batches = [rows[i : i + recipe.batch_size] for i in range(0, len(rows), recipe.batch_size)]
    found: dict[str, Array] = {}
    place = {int(row): i for i, row in enumerate(rows)}
    for some, x, mask in loader(batches, None):
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            said = network(x.to(device), mask.to(device))
        at = [place[int(row)] for row in some]
        for name, value in said.items():
            out = found.setdefault(name, np.zeros((len(rows), *value.shape[1:])))
            out[at] = value.double().cpu().numpy()
    return found


def _begin(network: ClipNet, start: dict[str, Any]) -> list[str]:
    """Take up published weights and the levels that they expect; return the names that were passed over."""
    passed: list[str] = []
    for trunk in network.trunks:
        assert isinstance(trunk, Backbone)
        passed = load_published(trunk, start)
        network.mean.copy_(255 * torch.tensor(trunk.mean))
        network.spread.copy_(255 * torch.tensor(trunk.spread))
    return passed


def _optimiser(network: ClipNet, objective: Objective, recipe: ClipRecipe) -> torch.optim.Optimizer:
    trunks = [weight for trunk in network.trunks for weight in trunk.parameters()]
    known = set(map(id, trunks))
    rest = [each for each in (*network.parameters(), *objective.parameters()) if id(each) not in known]
    for weight in trunks:
        weight.requires_grad_(not recipe.freeze_backbone)
    parts = [(rest, 1.0)] if recipe.freeze_backbone else [(trunks, recipe.backbone_lr_scale), (rest, 1.0)]
    return optim.adamw(parts, recipe.learning_rate, recipe.weight_decay)


def _log_loss(z: Array, y: Array) -> float:
    found = float(np.mean(np.logaddexp(0, z) - y * z))
    return found if math.isfinite(found) else math.inf  # which the loop tells as diverged
