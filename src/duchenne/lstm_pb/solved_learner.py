"""Training one network of `lstm_pb.solved_network`.

Each network of a bag leaves out other people, and its log-odds for them calibrate the bag, so that nobody is scored by
a network trained on them. A new clip gets the mean of all networks, which is surer than one: by how much follows from
how far two networks differ on people that both left out (`learn.calibration.averaged`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from duchenne.features.sequences import in_batches, padded, varied
from duchenne.learn import optim
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.lstm_pb.solved_network import SolvedPB
from duchenne.types import Array

_LABEL_SMOOTHING = 0.1  # labels are no more certain than their data set
_REST = 1.5  # s that a face may rest before the movement
_WARMUP_STEPS, _EMA_DECAY = 29, 0.98


class SolvedLearner:
    """One network, trained to predict with the PB that it solves for, and to classify by that PB."""

    def __init__(
        self,
        recipe: PBRecipe,
        sequences: Sequence[Array],
        labels: Array,
        held_out: Array,
        seed: int,
        device: torch.device | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self.device = device or torch.device("cpu")
        self.recipe, self.sequences, self.labels = recipe, list(sequences), np.asarray(labels, int)
        self.held_out, self.train = held_out, np.setdiff1d(np.arange(len(self.sequences)), held_out)
        self.network, self.average = SolvedPB(recipe.solved_config), SolvedPB(recipe.solved_config)
        self.network.measure([self.sequences[i] for i in self.train])
        self.average.load_state_dict(self.network.state_dict())
        self.average.eval()
        self.network.to(self.device)
        self.average.to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.step, self.rest = 0, round(_REST * recipe.fps)
        self.steps = recipe.epochs * max(1, round(len(self.train) / recipe.batch_size))

    def epoch(self, rng: np.random.Generator, lr_scale: float) -> Iterator[float]:
        """One pass over augmented training clips."""
        self.network.train()
        # dropout depends on the epoch alone, so that a resumed training ends the same
        torch.manual_seed(int(rng.integers(2**31)))
        for rows in in_batches(self.sequences, self.train, self.recipe.batch_size, rng):
            clips = [varied(self.sequences[i], rng, self.rest) for i in rows]
            yield self._step(clips, torch.as_tensor(self.labels[rows]).float().to(self.device), lr_scale)

    def _step(self, clips: list[Array], y: Tensor, lr_scale: float) -> float:
        rate = self.recipe.learning_rate * lr_scale
        optim.set_learning_rate(self.optimiser, optim.warmup_cosine(rate, self.step, self.steps, _WARMUP_STEPS))
        found = self.network(*(torch.from_numpy(v).to(self.device) for v in padded(clips)))
        target = _LABEL_SMOOTHING + (1 - 2 * _LABEL_SMOOTHING) * y
        loss = binary_cross_entropy_with_logits(self.network.logit(found.pb), target)
        loss = loss + self.recipe.prediction_weight * (found.error / (found.still + 0.05)).mean()
        value = optim.descend(loss, self.optimiser, self.network, max_norm=5.0)
        self.step += 1
        optim.update_average(self.average, self.network, _EMA_DECAY, self.step)
        return value

    def score(self) -> float:
        """1 − AUC on the people left out, NaN where one label is missing; it does not stop training."""
        from sklearn.metrics import roc_auc_score

        y = self.labels[self.held_out]
        if len(np.unique(y)) < 2:
            return math.nan
        z = self.logits(self.held_out)
        return 1 - float(roc_auc_score(y, z)) if np.isfinite(z).all() else math.inf  # the loop takes it as diverged

    @torch.no_grad()
    def logits(self, rows: Array) -> Array:
        """float64 (n,): log-odds of the clips `rows`, by the averaged weights."""
        out = np.zeros(len(self.sequences))
        for some in in_batches(self.sequences, rows, 64, np.random.default_rng(0)):
            x, mask = (torch.from_numpy(v).to(self.device) for v in padded([self.sequences[i] for i in some]))
            out[some] = self.average.logit(self.average(x, mask).pb).cpu().numpy()
        return out[rows]

    def state(self) -> dict[str, Tensor]:
        """Weights, averaged weights, the optimiser's moments and the number of steps."""
        return optim.state(self._networks, self.optimiser) | {"step": torch.tensor(float(self.step))}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Load a `state`."""
        optim.restore(self._networks, self.optimiser, state)
        self.step = int(state["step"])

    @property
    def _networks(self) -> dict[str, nn.Module]:
        return {"network": self.network, "average": self.average}
