"""Learning one network of `clipnets.network`: batches of clips read ahead, losses of its tasks, averaged weights.

Training goes through `learn.loop`: it may be killed at any moment and goes on after its last whole epoch, bit for bit
the same on a CPU.
"""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from duchenne.clipnets.backbones import Backbone, load_published
from duchenne.clipnets.inputs import Pictures
from duchenne.clipnets.network import ClipNet
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.expression.augment import augmented
from duchenne.features.sequences import in_batches, padded, varied
from duchenne.learn import losses
from duchenne.learn.optim import bf16, device_of, moments, set_moments
from duchenne.types import Array

_MEASURED = 64  # clips, spread over all, of which levels are measured
_CLIP = 5.0  # the largest length of a step's gradient
Batch = tuple[Array, Tensor, Tensor]  # rows, x, mask


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


class Loader:
    """Batches of clips as tensors, put together by threads while the network is at work.

    waited, worked  seconds in which the network waited for the next batch, and in which it had one
    """

    def __init__(self, recipe: ClipRecipe, x: Any, workers: int) -> None:
        self.recipe, self.x = recipe, x
        # a movement of points is little work, and a thread would only be in the way of it
        self.workers = workers if recipe.inputs == "crops" else 0
        self.waited = self.worked = 0.0

    def __call__(self, batches: Sequence[Array], seed: int | None) -> Iterator[Batch]:
        """The batches of these rows in order; with a `seed` as learning sees them, each drawn from it and its place."""
        draws = [None if seed is None else np.random.default_rng([seed, i]) for i in range(len(batches))]
        calls = (partial(self._batch, rows, draw) for rows, draw in zip(batches, draws, strict=True))
        if not self.workers:
            yield from (call() for call in calls)
            return
        with ThreadPoolExecutor(self.workers) as pool:
            ahead: deque[Future[Batch]] = deque()
            try:
                for call in calls:
                    ahead.append(pool.submit(call))
                    if len(ahead) > 2 * self.workers:
                        yield self._next(ahead)
                while ahead:
                    yield self._next(ahead)
            finally:  # also where the one who asked went away
                for each in ahead:
                    each.cancel()

    def _next(self, ahead: deque[Future[Batch]]) -> Batch:
        now = time.perf_counter()
        found = ahead.popleft().result()
        self.waited += time.perf_counter() - now
        return found

    def _batch(self, rows: Array, rng: np.random.Generator | None) -> Batch:
        r = self.recipe
        if r.inputs == "crops":
            clips = [self._pictures(self.x[i], rng) for i in rows]
            mask = np.arange(max(map(len, clips))) < np.array([len(each) for each in clips])[:, None]
            x = np.zeros((*mask.shape, *clips[0].shape[1:]), np.uint8)
            x[mask] = np.concatenate(clips)
            return rows, torch.from_numpy(x).permute(0, 1, 4, 2, 3), torch.from_numpy(mask)
        rest = round(r.rest * r.fps)
        clips = [varied(self.x[i], rng, rest) if rng is not None and r.vary else self.x[i] for i in rows]
        if rng is not None and r.by_frame and r.taken:
            clips = [each[_drawn(len(each), r.taken, rng)] for each in clips]
        x, mask = padded(clips)
        return rows, torch.from_numpy(x), torch.from_numpy(mask)

    def _pictures(self, clip: Pictures, rng: np.random.Generator | None) -> Array:
        some = np.arange(len(clip))
        if rng is not None and self.recipe.by_frame and self.recipe.taken:
            some = _drawn(len(clip), self.recipe.taken, rng)
        return clip.at(some)


def _drawn(n: int, some: int, rng: np.random.Generator) -> Array:
    return np.sort(rng.permutation(n)[:some])


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
        self.recipe, self.task, self.device = recipe, task, device_of(device)
        self.loader = Loader(recipe, task.x, workers)
        torch.manual_seed(seed)
        self.network = ClipNet(recipe.config(task.emotions))
        self.passed_over = _begin(self.network, start) if start is not None else []
        if start is None or recipe.inputs == "points":
            self._measure()
        self.network.to(self.device)
        self.kept = copy.deepcopy(self.network).eval() if recipe.ema else self.network
        self.objective = Objective(recipe, task.emotions).to(self.device)
        # torch 2.13's Conv3d leaves parts of its weights' gradient unwritten in bfloat16 on a CPU where 2 frames are
        # left
        whole = recipe.kind == "volume" and self.device.type == "cpu"
        self.bf16 = recipe.inputs == "crops" and not whole and bf16(recipe.precision, self.device)
        self.optimiser = _optimiser(self.network, self.objective, recipe)
        size = recipe.batch * recipe.accumulate
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

    def epoch(self, rng: np.random.Generator, pace: float) -> Iterator[float]:
        """One pass over the clips that are learnt from, each as another take of its own."""
        seed = int(rng.integers(2**31))
        # what is dropped out depends on the epoch alone, so that a training that is resumed ends the same
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        self.network.train()
        if self.recipe.frozen:
            for trunk in self.network.trunks:
                trunk.eval()
        batches = self._batches(rng)
        ends = {*range(self.recipe.accumulate - 1, len(batches), self.recipe.accumulate), len(batches) - 1}
        size = self.recipe.accumulate
        for i, (rows, x, mask) in enumerate(self.loader(batches, seed)):
            began = time.perf_counter()
            found = self._loss(rows, self._seen(x, generator), mask.to(self.device))
            together = min(size, len(batches) - i // size * size)
            (found / together).backward()  # type: ignore[no-untyped-call]
            if i in ends:
                self._step(pace)
            value = float(found.detach())
            self.loader.worked += time.perf_counter() - began
            yield value

    def _batches(self, rng: np.random.Generator) -> list[Array]:
        learnt, size = self.task.learnt, self.recipe.batch
        if self.recipe.inputs == "points":
            return list(in_batches(self.task.x, learnt, size, rng))
        return np.array_split(rng.permutation(learnt), max(1, round(len(learnt) / size)))

    def _seen(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The batch on the device, pictures as another camera could have filmed them."""
        x, r = x.to(self.device, non_blocking=True), self.recipe
        if r.inputs == "points" or not (r.flip or r.turn or r.shift or r.scale or r.shear or r.erase):
            return x
        clips = x.float().flatten(1, 2)  # (B, T · C, S, S): what is done is done to all frames alike
        return augmented(clips, r.pictures, generator).reshape(x.shape)

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

    def _step(self, pace: float) -> None:
        r = self.recipe
        ease = 0.5 + 0.5 * math.cos(math.pi * min(1.0, self.step / self.steps))
        rate = r.rate * pace * min(1.0, (self.step + 1) / (r.warm + 1)) * ease
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        if r.ema:
            self._trail()

    @torch.no_grad()
    def _trail(self) -> None:
        share = 1 - min(self.recipe.ema, self.step / (self.step + 9))
        for mean, now in zip(self.kept.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, share)
            else:
                mean.copy_(now)

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
        if self.recipe.keep == "last":
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
        found = {f"network.{name}": tensor.detach() for name, tensor in self.network.state_dict().items()}
        if self.recipe.ema:
            found |= {f"kept.{name}": tensor.detach() for name, tensor in self.kept.state_dict().items()}
        found |= {f"objective.{name}": tensor.detach() for name, tensor in self.objective.state_dict().items()}
        if self.heard:
            found["heard"] = torch.from_numpy(np.stack(self.heard))
        return found | {"step": torch.tensor(self.step)} | moments(self.optimiser)

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up a `state`, of whatever device; answers of later epochs are not forgotten."""
        parts = [("network.", self.network), ("kept.", self.kept), ("objective.", self.objective)]
        for name, part in parts:
            mine = {key.removeprefix(name): value for key, value in state.items() if key.startswith(name)}
            if mine or name != "kept.":
                part.load_state_dict(mine)
        self.step = int(state["step"])
        set_moments(self.optimiser, state)
        heard = state.get("heard")
        if heard is not None and len(heard) > len(self.heard):
            self.heard = list(heard.cpu().numpy())


class Objective(nn.Module):
    """(what a network says, labels (n,) 1 = genuine, numbers of emotions (n,) or -1) → the loss."""

    def __init__(self, recipe: ClipRecipe, emotions: int) -> None:
        super().__init__()
        self.recipe, self.emotions = recipe, emotions
        own = {"focal": ("gamma",), "multilabel-focal": ("gamma", "alpha")}.get(recipe.loss, ())
        self.loss = partial(losses.loss(recipe.loss), **{name: getattr(recipe, name) for name in own})
        names = ("authenticity", "emotion") if recipe.task == "multi" else (recipe.task,)
        self.weighted = losses.Weighted(dict(zip(names, recipe.weights, strict=False)), recipe.weighing)

    def forward(self, said: dict[str, Tensor], y: Tensor, emotion: Tensor) -> Tensor:
        """The mean over what is labelled."""
        if self.recipe.task == "classes":
            pair = torch.where(emotion >= 0, 2 * emotion + y.long(), -1)
            found = {"classes": self.loss(said["classes"], self._soft(pair, 2 * self.emotions))}
        else:
            s = self.recipe.smoothing
            found = {"authenticity": self.loss(said["authenticity"], (1 - s) * y + s / 2)}
        if self.recipe.task == "multi" and bool((emotion >= 0).any()):
            found["emotion"] = self.loss(said["emotion"], self._soft(emotion, self.emotions))
        total: Tensor = self.weighted(found)
        return total

    def _soft(self, numbers: Tensor, count: int) -> Tensor:
        """float (n, count): shares of the classes, NaN for -1."""
        s = self.recipe.smoothing
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
        batches = [rows[i : i + recipe.batch] for i in range(0, len(rows), recipe.batch)]
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
    trunks = {id(weight) for trunk in network.trunks for weight in trunk.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for weight in (*network.parameters(), *objective.parameters()):
        inside = id(weight) in trunks
        if inside and recipe.frozen:
            weight.requires_grad_(False)
            continue
        groups.setdefault((inside, weight.ndim > 1), []).append(weight)
    return torch.optim.AdamW(
        [
            {"params": some, "weight_decay": recipe.decay if decays else 0.0, "share": recipe.trunk if inside else 1.0}
            for (inside, decays), some in groups.items()
        ],
        lr=recipe.rate,
    )


def _log_loss(z: Array, y: Array) -> float:
    found = float(np.mean(np.logaddexp(0, z) - y * z))
    return found if math.isfinite(found) else math.inf  # which the loop tells as diverged
