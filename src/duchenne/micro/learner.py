"""Training `micro.network`, a small LSTM on the CPU, on the features of a fixed expression network.

Training uses `learn.loop`: killed at any moment, it resumes after its last complete epoch and ends the same.
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
from torch import Tensor
from torch.nn import functional

from duchenne.errors import InputError
from duchenne.learn import loop, optim, pieces
from duchenne.learn.losses import class_weights
from duchenne.micro.network import MicroLSTM
from duchenne.micro.recipe import MicroRecipe
from duchenne.types import Array


class MicroLearner:
    """Network, optimiser and data: what `learn.loop.fit` trains. `labels` (N,) are numbers of `classes`."""

    def __init__(self, recipe: MicroRecipe, movements: Array, labels: Array, classes: Sequence[str]) -> None:
        x, y = np.asarray(movements, np.float32), np.asarray(labels, np.int64)
        if x.ndim != 3 or y.shape != x.shape[:1] or not np.isfinite(x).all():
            raise InputError(
                f"Expected finite movements (N, frames, features) with N labels, found {x.shape}, {y.shape}."
            )
        if len(np.unique(y)) < 2:
            raise InputError("All training movements are of one class; add some of another.")
        torch.manual_seed(recipe.seed)
        self.recipe, self.x, self.y = recipe, torch.from_numpy(x), torch.from_numpy(y)
        self.network = MicroLSTM(recipe.config(classes, x.shape[2]))
        self.network.measure(self.x)
        self.weights = class_weights(self.y, len(classes), recipe.class_weight_power)
        self.optimiser = optim.adamw([(self.network.parameters(), 1.0)], recipe.learning_rate, recipe.weight_decay)
        self.batch_size = min(recipe.batch_size, len(y))
        self.steps = math.ceil(len(y) / self.batch_size) * recipe.epochs
        self.step = 0
        settings = json.dumps([{**asdict(recipe), "epochs": 0}, list(classes)], sort_keys=True)
        self.stamp = hashlib.sha256(settings.encode() + x.tobytes() + y.tobytes()).hexdigest()

    def epoch(self, rng: np.random.Generator, lr_scale: float) -> Iterator[float]:
        """One pass over all movements."""
        # dropout depends on the epoch alone, so that a resumed training ends with the same weights
        torch.manual_seed(int(rng.integers(2**31)))
        self.network.train()
        order = rng.permutation(len(self.y))
        for at in range(0, len(order), self.batch_size):
            yield self._step(torch.from_numpy(order[at : at + self.batch_size]), lr_scale)

    def _step(self, rows: Tensor, lr_scale: float) -> float:
        rate = optim.warmup_cosine(self.recipe.learning_rate * lr_scale, self.step, self.steps)
        optim.set_learning_rate(self.optimiser, rate)
        loss = functional.cross_entropy(self.network(self.x[rows]), self.y[rows], self.weights)
        self.step += 1
        return optim.descend(loss, self.optimiser, self.network)

    def score(self) -> float:
        """NaN: nothing is held back, see `MicroRecipe`."""
        return math.nan

    def state(self) -> dict[str, Tensor]:
        """Weights, the optimiser's state and the number of steps."""
        return optim.state({"network": self.network}, self.optimiser) | {"step": torch.tensor(self.step)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Load a `state`."""
        optim.restore({"network": self.network}, self.optimiser, state)
        self.step = int(state["step"])


def train(
    recipe: MicroRecipe,
    movements: Array,
    labels: Array,
    classes: Sequence[str],
    *,
    folder: Path | None = None,
    on_epoch: loop.OnEpoch | None = None,
) -> tuple[MicroLSTM, list[loop.Row]]:
    """(network, learning curve) of movements (N, frames, width) with labels (N,), numbers of `classes`.

    With `folder` every epoch is saved there, and the same call resumes from it. UsageError where it is of a training on
    other movements or settings, ModelError where it is damaged, `learn.loop.Diverged` where a loss is not finite.
    """
    learner = MicroLearner(recipe, movements, labels, classes)
    if folder is not None:
        pieces.check_same(folder, learner.stamp, "movements")
    curve = loop.fit(learner, recipe.schedule, folder, on_epoch)
    return copy.deepcopy(learner.network).eval(), curve
