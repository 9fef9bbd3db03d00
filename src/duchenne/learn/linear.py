"""Regularised logistic regression on squashed descriptors, kept as plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from duchenne.learn import pieces
from duchenne.types import Array


@dataclass(frozen=True, eq=False)
class Linear:
    """Log-odds w·tanh((x − median) / spread) + b for one class against the other, or one row per class.

    median, spread  float64 (D,)      of the training people; spread = half the 10–90 % range, in sd units
    weights         float64 (K, D)    K = 1 for two classes
    bias            float64 (K,)
    """

    median: Array
    spread: Array
    weights: Array
    bias: Array

    @classmethod
    def fit(cls, x: Array, y: Array, c: float) -> Linear:
        """Fit with L2 regularisation of inverse strength C = `c`; y holds class indices (N,)."""
        return cls(**pieces.once(["linear", c], (x, np.asarray(y)), lambda: vars(cls._fit(x, y, c))))

    @classmethod
    def _fit(cls, x: Array, y: Array, c: float) -> Linear:
        from sklearn.linear_model import LogisticRegression

        low, median, high = quantiles(x, (0.1, 0.5, 0.9))
        spread = np.maximum((high - low) / 2.56, 1e-6) * 2
        draft = cls(median, spread, np.zeros((1, x.shape[1])), np.zeros(1))
        model = LogisticRegression(C=c, max_iter=2000).fit(draft.squash(x), y)
        return cls(*map(as_stored, (median, spread, model.coef_, model.intercept_)))

    def logits(self, x: Array) -> Array:
        """float64 (N, K)."""
        return np.asarray(self.squash(x) @ self.weights.T + self.bias)

    def log_odds(self, x: Array) -> Array:
        """float64 (N,): of the second of two classes."""
        return self.logits(x)[:, 0]

    def terms(self, x: Array) -> Array:
        """float64 (N, D): contribution of each descriptor to the two-class log-odds."""
        return np.asarray(self.squash(x) * self.weights[0])

    def probabilities(self, x: Array) -> Array:
        """float64 (N, classes): softmax; two classes share one row of weights."""
        z = self.logits(x)
        z = z if z.shape[1] > 1 else np.column_stack([np.zeros(len(z)), z])
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))

    __call__ = probabilities

    def check(self, columns: int) -> None:
        """ValueError where an input has no spread."""
        if not (self.spread > 0).all():
            raise ValueError("it has inputs with a spread of 0")

    def squash(self, x: Array) -> Array:
        """float64 (N, D): the inputs standardised and limited to ±2; 0 where they are missing."""
        return squashed(x, self.median, self.spread, 2.0)


def squashed(x: Array, median: Array, spread: Array, limit: float) -> Array:
    """float64 (N, D): limit · tanh((x − median) / spread), so that no outlier decides alone; 0 where missing."""
    z = limit * np.tanh((x - median) / spread)
    return np.where(np.isfinite(z), z, 0.0)


def as_stored(x: Array) -> Array:
    """float64 with the precision of a model file, so that a saved model predicts bit for bit the same."""
    return np.asarray(x, np.float32).astype(float)


def quantiles(x: Array, at: Sequence[float]) -> Array:
    """float64 (len(at), D): column quantiles, NaN ignored (0 for a column that is NaN throughout)."""
    ordered = np.sort(np.where(np.isfinite(x).any(axis=0), x, 0.0), axis=0)  # NaN comes last
    known = (~np.isnan(ordered)).sum(axis=0)
    found = np.empty((len(at), x.shape[1]))
    for count in np.unique(known):  # np.nanquantile, which takes each column by itself, needs fifty times as long
        found[:, known == count] = np.quantile(ordered[:count, known == count], at, axis=0)
    return found
