"""Training one network of `lstm_pb.network` and the PB vectors of its clips."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from duchenne.features.sequences import in_batches, padded
from duchenne.learn import optim
from duchenne.lstm_pb.network import LSTMPB, prediction_error
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.types import Array


class PBLearner:
    """A network and the PB vectors trained with it: one per clip, or one per class (`PBRecipe.by_class`)."""

    def __init__(
        self,
        recipe: PBRecipe,
        sequences: Sequence[Array],
        labels: Array,
        held_out: Sequence[int] | Array = (),
        device: torch.device | None = None,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.sequences, self.labels = recipe, list(sequences), np.asarray(labels, int)
        self.held_out = np.asarray(held_out, int)
        self.train = np.setdiff1d(np.arange(len(self.sequences)), self.held_out)
        self.device = device or torch.device("cpu")
        self.network = LSTMPB(recipe.config).to(self.device)
        self.by_class = recipe.by_class
        self.pb = torch.zeros(2 if self.by_class else len(self.sequences), recipe.pb_size, device=self.device)
        weights, rate = self.network.parameters(), recipe.learning_rate
        self.optimiser: torch.optim.Optimizer = (
            torch.optim.Adam(weights, lr=rate)
            if recipe.optimizer == "adam"
            else torch.optim.SGD(weights, lr=rate, momentum=recipe.momentum)
        )

    def epoch(self, rng: np.random.Generator, lr_scale: float) -> Iterator[float]:
        """One pass over the training clips, in batches of about equal length."""
        self.network.train()
        optim.set_learning_rate(self.optimiser, self.recipe.learning_rate * lr_scale)
        for rows in in_batches(self.sequences, self.train, self.recipe.batch_size, rng):
            yield self._step(rows, lr_scale)

    def _step(self, rows: Array, lr_scale: float) -> float:
        r, (x, mask) = self.recipe, self._tensors(rows)
        which = torch.as_tensor(self.labels[rows] if self.by_class else rows, device=self.device)
        pb = self.pb[which].clone().requires_grad_(True)
        error = prediction_error(self.network(x, pb)[0], x, mask)
        count = len(rows) if r.summed else 1  # steps that are taken at once
        # the limit on the gradient's norm is that of one step
        loss = optim.descend(error.mean() * count, self.optimiser, self.network, max_norm=5.0 * count) / count
        assert pb.grad is not None
        # the weights follow the batch's mean or sum, each PB vector its own clips' errors
        gradient = pb.grad * (len(rows) / count) * r.config.inputs
        step = torch.zeros_like(self.pb).index_add_(0, which, gradient)
        if not r.summed:
            step /= torch.bincount(which, minlength=len(self.pb)).clamp(min=1)[:, None]
        self.pb -= r.pb_learning_rate * lr_scale * step
        return loss

    @torch.no_grad()
    def score(self) -> float:
        """Prediction error on the people held out, with PB at zero; NaN where there are none."""
        if not len(self.held_out):
            return math.nan
        error = np.zeros(len(self.sequences))
        for rows in in_batches(self.sequences, self.held_out, 64, np.random.default_rng(0)):
            x, mask = self._tensors(rows)
            zero = self.pb.new_zeros(len(x), self.pb.shape[1])
            error[rows] = prediction_error(self.network(x, zero)[0], x, mask).cpu().numpy()
        return float(error[self.held_out].mean())

    def state(self) -> dict[str, Tensor]:
        """Weights, PB vectors and the optimiser's moments."""
        return optim.state({"network": self.network}, self.optimiser) | {"pb": self.pb}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Load a `state`."""
        optim.restore({"network": self.network}, self.optimiser, state)
        self.pb.copy_(state["pb"])

    def _tensors(self, rows: Array) -> tuple[Tensor, Tensor]:
        x, mask = padded([self.sequences[i] for i in rows])
        return torch.from_numpy(x).to(self.device), torch.from_numpy(mask).to(self.device)
