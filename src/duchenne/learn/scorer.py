"""How PB vectors are told apart: a linear model or boosting on rows of numbers, or the first of them as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from duchenne.learn.linear import Linear
from duchenne.learn.tabular import log_odds
from duchenne.types import Array


@dataclass(frozen=True, eq=False)
class Scorer:
    """Uncalibrated log-odds of genuine of rows (N, D): linear, boosted, or (contrast) the first column as it is."""

    linear: Linear | None = None
    booster: Any = None

    def __call__(self, rows: Array) -> Array:
        """float64 (N,)."""
        if self.booster is not None:
            return log_odds(self.booster, rows)
        return np.asarray(rows[:, 0] if self.linear is None else self.linear.logits(rows)[:, 0])

    def terms(self, rows: Array) -> Array:
        """float64 (N, D): what each number of a row adds."""
        if self.booster is not None:
            import xgboost

            found = self.booster.predict(xgboost.DMatrix(rows, nthread=1), pred_contribs=True)
            return np.asarray(found[:, :-1], float)
        return self.linear.terms(rows) if self.linear is not None else rows * (np.arange(rows.shape[1]) == 0)


def score_rows(scorers: dict[str, Scorer], rows: Array, where: Array) -> Array:
    """float64 (N,): NaN where no scorer was fitted."""
    out = np.full(len(rows), np.nan)
    for name, scorer in scorers.items():
        mine = where == name
        out[mine] = scorer(rows[mine])
    return out
