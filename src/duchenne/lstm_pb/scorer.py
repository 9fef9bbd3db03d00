"""How PB vectors are told apart: a linear model or boosting on rows of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from duchenne.learn.boosting import log_odds
from duchenne.learn.linear import Linear
from duchenne.types import Array


@dataclass(frozen=True, eq=False)
class Plain:
    """Log-odds w·x + b as a network has learnt them: weights (D,), bias; columns of x beyond D are no part of it."""

    weights: Array
    bias: float

    def logits(self, x: Array) -> Array:
        """float64 (N, 1)."""
        return np.asarray(x[:, : len(self.weights)] @ self.weights + self.bias)[:, None]

    def terms(self, x: Array) -> Array:
        """float64 (N, D)."""
        return np.asarray(x * np.pad(self.weights, (0, x.shape[1] - len(self.weights))))


@dataclass(frozen=True, eq=False)
class Scorer:
    """Uncalibrated log-odds of genuine of rows (N, D): linear or boosted."""

    linear: Linear | Plain | None = None
    booster: Any = None

    def __call__(self, rows: Array) -> Array:
        """float64 (N,)."""
        if self.linear is not None:
            return np.asarray(self.linear.logits(rows)[:, 0])
        return log_odds(self.booster, rows)

    def terms(self, rows: Array) -> Array:
        """float64 (N, D): what each number of a row adds."""
        if self.linear is not None:
            return self.linear.terms(rows)
        import xgboost

        found = self.booster.predict(xgboost.DMatrix(rows, nthread=1), pred_contribs=True)
        return np.asarray(found[:, :-1], float)


def score_rows(scorers: dict[str, Scorer], rows: Array, where: Array) -> Array:
    """float64 (N,): NaN where no scorer was fitted."""
    out = np.full(len(rows), np.nan)
    for name, scorer in scorers.items():
        mine = where == name
        out[mine] = scorer(rows[mine])
    return out
