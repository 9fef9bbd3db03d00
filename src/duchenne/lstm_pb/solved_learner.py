"""Learning networks of `lstm_pb.solved_network`, and judging by several of them.

Each of a bag of networks leaves out other people; what it says of them calibrates the bag, and nobody is judged in
that by a network that knew them. A clip of anybody else is judged by the mean of all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from duchenne.features.sequences import in_batches, padded, varied
from duchenne.learn.optim import moments, set_moments
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.lstm_pb.solved_network import SolvedPB, SolvedPBConfig
from duchenne.types import Array

_DOUBT = 0.1  # that is left in the targets, as a label is no more certain than its data set
_REST = 1.5  # s that a face may rest before a take
_WARM, _TRAIL = 30, 0.98  # steps to full rate; how slowly the averaged weights, which are kept, follow


class SolvedLearner:
    """One network, learnt to predict with the PB that it solves for, and to tell the labels by that PB."""

    def __init__(self, recipe: PBRecipe, sequences: Sequence[Array], labels: Array, held: Array, seed: int) -> None:
        torch.manual_seed(seed)
        self.recipe, self.sequences, self.labels, self.held = recipe, list(sequences), np.asarray(labels, int), held
        self.learnt = np.setdiff1d(np.arange(len(self.sequences)), held)
        self.network, self.kept = SolvedPB(config(recipe)), SolvedPB(config(recipe))
        self.network.measure([self.sequences[i] for i in self.learnt])
        self.kept.load_state_dict(self.network.state_dict())
        self.kept.eval()
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
        self.step, self.rest = 0, round(_REST * recipe.fps)
        self.steps = recipe.epochs * max(1, round(len(self.learnt) / recipe.batch))

    def epoch(self, rng: np.random.Generator, pace: float) -> Iterator[float]:
        """One pass over varied takes of the clips that are learnt from."""
        self.network.train()
        # what is dropped out depends on the epoch alone, so that a training that is resumed ends the same
        torch.manual_seed(int(rng.integers(2**31)))
        for rows in in_batches(self.sequences, self.learnt, self.recipe.batch, rng):
            near = min(1.0, (self.step + 1) / _WARM)
            ease = 0.5 + 0.5 * math.cos(math.pi * min(1.0, self.step / self.steps))
            for group in self.optimiser.param_groups:
                group["lr"] = self.recipe.rate * pace * near * ease
            x, mask = map(torch.from_numpy, padded([varied(self.sequences[i], rng, self.rest) for i in rows]))
            found, y = self.network(x, mask), torch.as_tensor(self.labels[rows]).float()
            loss = nn.functional.binary_cross_entropy_with_logits(
                self.network.logit(found.pb), _DOUBT + (1 - 2 * _DOUBT) * y
            )
            loss = loss + self.recipe.prediction * (found.error / (found.still + 0.05)).mean()
            self.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimiser.step()
            self.step += 1
            self._trail()
            yield float(loss.detach())

    @torch.no_grad()
    def _trail(self) -> None:
        share = 1 - min(_TRAIL, self.step / (self.step + 9))
        for mean, now in zip(self.kept.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(now, share)

    def score(self) -> float:
        """1 − AUC on the people left out, NaN where there are none of both labels; it stops nothing."""
        from sklearn.metrics import roc_auc_score

        y = self.labels[self.held]
        if len(np.unique(y)) < 2:
            return math.nan
        z = self.answers(self.held)
        return 1 - float(roc_auc_score(y, z)) if np.isfinite(z).all() else math.inf  # which the loop tells as diverged

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
        found = {f"network.{name}": tensor.detach() for name, tensor in self.network.state_dict().items()}
        found |= {f"kept.{name}": tensor.detach() for name, tensor in self.kept.state_dict().items()}
        found["step"] = torch.tensor(float(self.step))
        return found | moments(self.optimiser)

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up a `state`."""
        for name, network in (("network.", self.network), ("kept.", self.kept)):
            network.load_state_dict({k.removeprefix(name): v for k, v in state.items() if k.startswith(name)})
        self.step = int(state["step"])
        set_moments(self.optimiser, state)


def config(recipe: PBRecipe) -> SolvedPBConfig:
    """The sizes that a recipe asks for."""
    r = recipe
    return SolvedPBConfig(r.inputs, r.pb, r.hidden, r.layers, r.context, dropout=r.dropout)
