"""A smooth classifier of many noisy columns: logistic regression on random features of a Gaussian kernel.

Trees jump where a measurement crosses a threshold; this answers little otherwise where all inputs tremble a little.
Rahimi & Recht 2007, with the structured orthogonal directions of Yu et al. 2016, which are made of signs alone. Nothing
of single clips is stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from duchenne.learn import pieces
from duchenne.learn.linear import as_stored, quantiles, squashed
from duchenne.types import Array

_LIMIT = 3.0  # standard deviations, beyond which inputs are squashed
_AXES, _BLOCKS = 256, 16  # principal axes, a power of two, and as many times so many random features
_WIDTH = 0.5  # γ: exp(-γ d²), with d² the mean squared distance over all columns by their weight
_STEPS = 16  # of the path along which `terms` integrates, by Gauss and Legendre


@dataclass(frozen=True, eq=False)
class Kernel:
    """Log-odds weights · cos(turns · axes · (s − centre) + phase) + bias, with s = 3 tanh((x − median) / 3 spread), and
    turns = √(2γ·256) H D₁ H D₂ H D₃ for each of the blocks, H the orthonormal Hadamard matrix and D the signs.

    median, spread  float64 (D,)    of the training people; spread is half the 16–84 % range
    centre          float64 (D,)    mean of s
    axes            float64 (D, K)  principal axes, scaled by the columns' weight; K = 256, 0 where there are fewer
    signs           float64 (B, 3, K)
    phase, weights  float64 (B·K,)
    bias            float64 (1,)
    """

    median: Array
    spread: Array
    centre: Array
    axes: Array
    signs: Array
    phase: Array
    weights: Array
    bias: Array

    @classmethod
    def fit(cls, x: Array, y: Array, c: float, importance: Array, seed: int = 0) -> Kernel:
        """Fit on rows (N, D) and labels (N,), 1 = genuine, with L2 regularisation of inverse strength C = `c`;
        `importance` (D,): by how much the distance in each column counts."""
        key = ["kernel", c, seed, _LIMIT, _AXES, _BLOCKS, _WIDTH]
        found = pieces.once(
            key, (x, np.asarray(y), importance), lambda: vars(cls._fit(x, y, c, importance, seed)).copy()
        )
        return cls(**found)

    @classmethod
    def _fit(cls, x: Array, y: Array, c: float, importance: Array, seed: int) -> Kernel:
        from sklearn.linear_model import LogisticRegression

        low, median, high = quantiles(x, (0.16, 0.5, 0.84))
        median, spread = as_stored(median), as_stored(np.maximum((high - low) / 2, 1e-6))
        rows = _squash(x, median, spread)
        centre = as_stored(rows.mean(axis=0))
        scale = importance / np.linalg.norm(importance)
        scaled = (rows - centre) * scale
        kept = _span(scaled)[:, :_AXES]
        axes = np.zeros((x.shape[1], _AXES))
        axes[:, : kept.shape[1]] = scale[:, None] * kept
        rng = np.random.default_rng(seed)
        signs = rng.choice([-1.0, 1.0], size=(_BLOCKS, 3, _AXES))
        phase = as_stored(rng.uniform(0, 2 * np.pi, _BLOCKS * _AXES))
        axes = np.asarray(axes, np.float16).astype(float)  # as stored
        draft = cls(median, spread, centre, axes, signs, phase, np.zeros_like(phase), np.zeros(1))
        seen = np.cos(draft._angles(rows))
        span = _span(seen)  # of fewer columns, and holds the solution
        model = LogisticRegression(C=2 * c / len(phase), max_iter=2000).fit(seen @ span, y)
        return replace(draft, weights=as_stored(span @ model.coef_[0]), bias=as_stored(model.intercept_))

    def shapes(self, columns: int) -> list[tuple[Array, tuple[int, ...]]]:
        """Each array with the shape that it must have; ValueError where an input has no spread."""
        if not (self.spread > 0).all():
            raise ValueError("it has inputs with a spread of 0")
        wide = [(each, (columns,)) for each in (self.median, self.spread, self.centre)]
        features = [(each, (_BLOCKS * _AXES,)) for each in (self.phase, self.weights)]
        axes = [(self.axes, (columns, _AXES)), (self.signs, (_BLOCKS, 3, _AXES)), (self.bias, (1,))]
        return [*wide, *features, *axes]

    def log_odds(self, x: Array) -> Array:
        """float64 (N,): log-odds of rows (N, D); missing numbers count as the median."""
        return np.asarray(np.cos(self._angles(_squash(x, self.median, self.spread))) @ self.weights + self.bias)

    def terms(self, x: Array) -> Array:
        """float64 (N, D): contribution of each column to the log-odds, less those of a row of mean columns (integrated
        gradients, Sundararajan et al. 2017)."""
        moved = _squash(x, self.median, self.spread) - self.centre
        turned = moved @ self.axes @ self._turns
        slopes = np.zeros_like(turned)
        for place, share in zip(*np.polynomial.legendre.leggauss(_STEPS), strict=True):
            slopes -= share / 2 * np.sin((place + 1) / 2 * turned + self.phase)
        return np.asarray(moved * ((slopes * self.weights) @ self._turns.T @ self.axes.T))

    def _angles(self, rows: Array) -> Array:
        return np.asarray((rows - self.centre) @ self.axes @ self._turns + self.phase)

    @cached_property
    def _turns(self) -> Array:
        """float64 (K, B·K)."""
        h: Array = np.ones((1, 1))
        while len(h) < _AXES:
            h = np.kron(h, [[1.0, 1.0], [1.0, -1.0]])
        h /= np.sqrt(_AXES)
        blocks = [np.linalg.multi_dot([h * first, h * second, h * third]) for first, second, third in self.signs]
        return np.asarray(np.sqrt(2 * _WIDTH * _AXES) * np.concatenate(blocks, axis=1))


def _squash(x: Array, median: Array, spread: Array) -> Array:
    return squashed(x, median, _LIMIT * spread, _LIMIT)


def _span(rows: Array) -> Array:
    """float64 (D, K <= N): orthonormal directions in which rows (N, D) differ from 0, the widest first."""
    values, vectors = np.linalg.eigh(rows @ rows.T)
    kept = np.flatnonzero(values > 1e-9 * values[-1])[::-1]
    return np.asarray(rows.T @ (vectors[:, kept] / np.sqrt(values[kept])))
