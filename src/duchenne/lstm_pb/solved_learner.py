"""Training one network of `lstm_pb.solved_network`.

Each network of a bag leaves out other people; what it says of them calibrates the bag, and nobody is judged in that by
a network that knew them. A clip of anybody else is judged by the mean of all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from duchenne.features.sequences import in_batches, padded, varied
from duchenne.learn import optim
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.lstm_pb.solved_network import SolvedPB, SolvedPBConfig
from duchenne.types import Array

_DOUBT = 0.1  # that is left in the targets, as a label is no more certain than its data set
_REST = 1.5  # s that a face may rest before a take
_WARMUP_STEPS, _EMA_DECAY = 29, 0.98


class SolvedLearner:
    """One network, trained to predict with the PB that it solves for, and to tell the labels by that PB."""

    def __init__(self, recipe: PBRecipe, sequences: Sequence[Array], labels: Array, held: Array, seed: int) -> None:
        torch.manual_seed(seed)
        self.recipe, self.sequences, self.labels, self.held = recipe, list(sequences), np.asarray(labels, int), held
        self.learnt = np.setdiff1d(np.arange(len(self.sequences)), held)
        self.network, self.kept = SolvedPB(config(recipe)), SolvedPB(config(recipe))
        self.network.measure([self.sequences[i] for i in self.learnt])
        self.kept.load_state_dict(self.network.state_dict())
        self.kept.eval()
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.step, self.rest = 0, round(_REST * recipe.fps)
        self.steps = recipe.epochs * max(1, round(len(self.learnt) / recipe.batch_size))

    def epoch(self, rng: np.random.Generator, lr_scale: float) -> Iterator[float]:
        """One pass over varied takes of the clips that are learnt from."""
        self.network.train()
        # what is dropped out depends on the epoch alone, so that a training that is resumed ends the same
        torch.manual_seed(int(rng.integers(2**31)))
        for rows in in_batches(self.sequences, self.learnt, self.recipe.batch_size, rng):
            takes = [varied(self.sequences[i], rng, self.rest) for i in rows]
            yield self._step(takes, torch.as_tensor(self.labels[rows]).float(), lr_scale)

    def _step(self, takes: list[Array], y: Tensor, lr_scale: float) -> float:
        rate = self.recipe.learning_rate * lr_scale
        optim.set_learning_rate(self.optimiser, optim.warmup_cosine(rate, self.step, self.steps, _WARMUP_STEPS))
        found = self.network(*map(torch.from_numpy, padded(takes)))
        loss = binary_cross_entropy_with_logits(self.network.logit(found.pb), _DOUBT + (1 - 2 * _DOUBT) * y)
        loss = loss + self.recipe.prediction_weight * (found.error / (found.still + 0.05)).mean()
        value = optim.descend(loss, self.optimiser, self.network, max_norm=5.0)
        self.step += 1
        optim.update_average(self.kept, self.network, _EMA_DECAY, self.step)
        return value

    def score(self) -> float:
        """1 − AUC on the people left out, NaN where there are none of both labels; it stops nothing."""
        from sklearn.metrics import roc_auc_score

        y = self.labels[self.held]
        if len(np.unique(y)) < 2:
            return math.nan
        z = self.answers(self.held)
        return 1 - float(roc_auc_score(y, z)) if np.isfinite(z).all() else math.inf  # for the loop: diverged

    @torch.no_grad()
    def answers(self, rows: Array) -> Array:
        """float64 (n,): log-odds of the clips `rows`, by the averaged weights."""
        out = np.zeros(len(self.sequences))
        for some in in_batches(self.sequences, rows, 64, np.random.default_rng(0)):
            x, mask = map(torch.from_numpy, padded([self.sequences[i] for i in some]))
            out[some] = self.kept.logit(self.kept(x, mask).pb).numpy()
        return out[rows]

    def state(self) -> dict[str, Tensor]:
        """Weights, averaged weights, the optimiser's moments and the number of steps."""
        found = optim.state({"network": self.network, "kept": self.kept}, self.optimiser)
        return found | {"step": torch.tensor(float(self.step))}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up a `state`."""
        optim.restore({"network": self.network, "kept": self.kept}, self.optimiser, state)
        self.step = int(state["step"])


def config(recipe: PBRecipe) -> SolvedPBConfig:
    """The sizes that a recipe asks for."""
    r = recipe
    return SolvedPBConfig(r.inputs, r.pb_size, r.hidden_size, r.num_layers, r.context_size, dropout=r.dropout)
