"""Classifiers of PB vectors: linear or boosted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duchenne.learn.boosted_trees import BoostedTrees
from duchenne.learn.linear import Linear
from duchenne.types import Array


@dataclass(frozen=True, eq=False)
class NetworkHead:
    """Log-odds w·x + b by a network: weights (D,), bias; columns of x beyond D are not read."""

    weights: Array
    bias: float

    @classmethod
    def nearest(cls, classes: Array) -> NetworkHead:
        """By how much nearer the second of two vectors, float (2, D) of posed and of genuine, is than the first: the
        difference of squared distances, which is linear in x."""
        posed, genuine = np.asarray(classes, float)
        return cls(2 * (genuine - posed), float(posed @ posed - genuine @ genuine))

    def logits(self, x: Array) -> Array:
        """float64 (N, 1)."""
        return np.asarray(x[:, : len(self.weights)] @ self.weights + self.bias)[:, None]

    def terms(self, x: Array) -> Array:
        """float64 (N, D)."""
        return np.asarray(x * np.pad(self.weights, (0, x.shape[1] - len(self.weights))))


@dataclass(frozen=True, eq=False)
class Scorer:
    """Uncalibrated log-odds of genuine of rows (N, D): linear or boosted."""

    linear: Linear | NetworkHead | None = None
    booster: BoostedTrees | None = None

    def __call__(self, rows: Array) -> Array:
        """float64 (N,)."""
        if self.linear is not None:
            return np.asarray(self.linear.logits(rows)[:, 0])
        assert self.booster is not None
        return self.booster.log_odds(rows)

    def terms(self, rows: Array) -> Array:
        """float64 (N, D): what each number of a row adds."""
        if self.linear is not None:
            return self.linear.terms(rows)
        assert self.booster is not None
        return self.booster.contributions(rows)


def score_rows(scorers: dict[str, Scorer], rows: Array, where: Array) -> Array:
    """float64 (N,): NaN where no scorer was fitted."""
    out = np.full(len(rows), np.nan)
    for name, scorer in scorers.items():
        out[where == name] = scorer(rows[where == name])
    return out
