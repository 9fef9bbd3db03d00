"""Learning `micro.network`: what a brief movement of the face was, from the features that an expression network has of
its moments. That network stays as it is; what is learnt is one LSTM, which is small and learns on the CPU.

Training goes through `learn.loop`: killed at any moment it goes on after its last whole epoch and ends the same.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from duchenne.errors import InputError
from duchenne.learn import pieces
from duchenne.learn.loop import Tick, fit
from duchenne.learn.optim import moments, set_moments
from duchenne.micro.network import MicroLSTM
from duchenne.micro.recipe import MicroRecipe
from duchenne.types import Array


class MicroLearner:
    """Network, optimiser and data: what `learn.loop.fit` trains. `labels` (N,) are numbers of `classes`."""

    def __init__(self, recipe: MicroRecipe, movements: Array, labels: Array, classes: Sequence[str]) -> None:
        x, y = np.asarray(movements, np.float32), np.asarray(labels, np.int64)
        if x.ndim != 3 or y.shape != x.shape[:1] or not np.isfinite(x).all():
            raise InputError(
                f"Movements must be finite (N, steps, features) with N labels, found {x.shape}, {y.shape}."
            )
        if len(np.unique(y)) < 2:
            raise InputError("All movements that are to be learnt from are of one class; add some of another.")
        torch.manual_seed(recipe.seed)
        self.recipe, self.x, self.y = recipe, torch.from_numpy(x), torch.from_numpy(y)
        self.network = MicroLSTM(recipe.config(classes, x.shape[2]))
        self.network.measure(self.x)
        count = torch.bincount(self.y, minlength=len(classes)).double()
        weights = torch.where(count > 0, count.clamp(min=1) ** -recipe.balance, 0.0)
        self.weights = (weights * len(y) / (weights * count).sum()).float()
        many = [each for each in self.network.parameters() if each.ndim > 1]
        few = [each for each in self.network.parameters() if each.ndim < 2]
        groups = [{"params": many, "weight_decay": recipe.decay}, {"params": few, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=recipe.rate)
        self.batch = min(recipe.batch, len(y))
        self.steps = math.ceil(len(y) / self.batch) * recipe.epochs
        self.step = 0
        told = json.dumps([{**asdict(recipe), "epochs": 0}, list(classes)], sort_keys=True)
        self.stamp = hashlib.sha256(told.encode() + x.tobytes() + y.tobytes()).hexdigest()

    def epoch(self, rng: np.random.Generator, pace: float) -> Iterator[float]:
        """One pass over all movements."""
        # what is dropped out depends on the epoch alone, so that a training that is resumed ends the same
        torch.manual_seed(int(rng.integers(2**31)))
        self.network.train()
        order = rng.permutation(len(self.y))
        for at in range(0, len(order), self.batch):
            ease = 0.5 + 0.5 * math.cos(math.pi * min(1.0, self.step / self.steps))
            for group in self.optimiser.param_groups:
                group["lr"] = self.recipe.rate * pace * ease
            rows = torch.from_numpy(order[at : at + self.batch])
            found: Any = functional.cross_entropy(self.network(self.x[rows]), self.y[rows], self.weights)
            self.optimiser.zero_grad()
            found.backward()
            self.optimiser.step()
            self.step += 1
            yield float(found.detach())

    def score(self) -> float:
        """NaN: nobody is held back, see `MicroRecipe`."""
        return math.nan

    def state(self) -> dict[str, Tensor]:
        """Weights, the optimiser's moments and the number of steps."""
        found = {f"network.{name}": tensor.detach() for name, tensor in self.network.state_dict().items()}
        return found | {"step": torch.tensor(self.step)} | moments(self.optimiser)

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up a `state`."""
        prefix = "network."
        self.network.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        self.step = int(state["step"])
        set_moments(self.optimiser, state)


def train(
    recipe: MicroRecipe,
    movements: Array,
    labels: Array,
    classes: Sequence[str],
    *,
    folder: Path | None = None,
    tick: Tick | None = None,
) -> tuple[MicroLSTM, list[dict[str, Any]]]:
    """(network, learning curve) of movements (N, steps, width) with labels (N,), numbers of `classes`.

    With `folder` every epoch is kept there, and the same call goes on from it. UsageError where it holds the beginning
    of a training of other movements or settings, ModelError where it is damaged, `learn.loop.Diverged` where a loss is
    no number.
    """
    learner = MicroLearner(recipe, movements, labels, classes)
    if folder is not None:
        pieces.same(folder, learner.stamp, "movements")
    curve = fit(learner, recipe.schedule, folder, tick)
    return copy.deepcopy(learner.network).eval(), curve
