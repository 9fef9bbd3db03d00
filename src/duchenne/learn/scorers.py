"""Fitted scorers as plain arrays and boosters, which can be saved without pickle.

Scorers return float64 (N,), higher is more genuine; emotion scorers float64 (N, K), probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from duchenne.learn.boosted_trees import BoostedTrees
from duchenne.learn.linear import Linear
from duchenne.types import Array


@dataclass(frozen=True, eq=False)
class LinearScorer:
    """w·(x − mean) / scale + b: arrays (D,), weights (1, D), bias (1,)."""

    mean: Array
    scale: Array
    weights: Array
    bias: Array

    def __call__(self, rows: Array) -> Array:
        """float64 (N,)."""
        return np.asarray((((rows - self.mean) / self.scale) @ self.weights.T + self.bias)[:, 0])

    def check(self, columns: int) -> None:
        """ValueError where an input has no scale."""
        if not (self.scale > 0).all():
            raise ValueError("it has inputs with a scale of 0")

    def terms(self, rows: Array) -> Array:
        """float64 (N, D): contributions to the score, relative to an average row."""
        return np.asarray((rows - self.mean) / self.scale * self.weights[0])


@dataclass(frozen=True, eq=False)
class Boosted:
    """The log-odds of boosted trees, or the probabilities of `classes`."""

    booster: BoostedTrees
    classes: int = 0

    def __call__(self, rows: Array) -> Array:
        """float64 (N,), or (N, classes)."""
        return self.booster.probabilities(rows) if self.classes else self.booster.log_odds(rows)

    def check(self, columns: int) -> None:
        """Nothing: a booster is checked while it is read."""

    def terms(self, rows: Array) -> Array:
        """float64 (N, D): contributions to the log-odds (tree SHAP)."""
        return self.booster.contributions(rows)


@dataclass(frozen=True, eq=False)
class Trees:
    """A forest as concatenated nodes: left where x[feature] ≤ threshold, x as float32 as in scikit-learn. A leaf is
    its own two children.

    roots  int32 (T,)     feature, left, right  int32 (M,)     threshold  float64 (M,)     shares  float64 (M, K)
    """

    roots: Array
    feature: Array
    threshold: Array
    left: Array
    right: Array
    shares: Array
    genuine: bool = True

    @classmethod
    def of(cls, forest: Any, genuine: bool = True) -> Trees:
        """From a fitted scikit-learn forest."""
        parts = [each.tree_ for each in forest.estimators_]
        sizes = np.array([part.node_count for part in parts])
        roots = np.cumsum(sizes) - sizes
        own, starts = np.arange(sizes.sum()), np.repeat(roots, sizes)
        left, right = (np.concatenate([getattr(part, f"children_{side}") for part in parts]) for side in _SIDES)
        leaf = left < 0
        shares = np.concatenate([part.value[:, 0, :] for part in parts])
        return cls(
            roots.astype(np.int32),
            np.where(leaf, 0, np.concatenate([part.feature for part in parts])).astype(np.int32),
            np.where(leaf, 0.0, np.concatenate([part.threshold for part in parts])),
            np.where(leaf, own, left + starts).astype(np.int32),
            np.where(leaf, own, right + starts).astype(np.int32),
            shares / shares.sum(axis=1, keepdims=True),
            genuine,
        )

    def __call__(self, rows: Array) -> Array:
        """float64 (N,), P(class 1) − ½; of an emotion scorer (N, K)."""
        x = np.nan_to_num(rows, posinf=3e38, neginf=-3e38).astype(np.float32)
        who = np.arange(len(x))[:, None]
        at = np.tile(self.roots, (len(rows), 1))
        while True:
            low = x[who, self.feature[at]] <= self.threshold[at]
            below = np.where(low, self.left[at], self.right[at])
            if np.array_equal(below, at):
                break
            at = below
        found = self.shares[at].mean(axis=1)
        return np.asarray(found[:, 1] - 0.5 if self.genuine else found)

    def check(self, columns: int) -> None:
        """ValueError where a path would leave the trees, or never end."""
        nodes = np.arange(len(self.feature))
        inner = self.left != nodes
        alike = {len(each) for each in (self.feature, self.threshold, self.left, self.right, self.shares)}
        sound = (
            len(alike) == 1
            and self.shares.ndim == 2
            and len(self.roots) > 0
            and all(each.dtype == np.int32 for each in (self.roots, self.feature, self.left, self.right))
            and bool(((self.roots >= 0) & (self.roots < len(nodes))).all())
            and bool(((self.feature >= 0) & (self.feature < columns)).all())
            # children come after their parent, so every path ends
            and bool(((self.left > nodes) & (self.right > nodes))[inner].all() and (self.right == nodes)[~inner].all())
            and bool(((self.left < len(nodes)) & (self.right < len(nodes))).all())
            and bool((self.shares >= 0).all() and (np.abs(self.shares.sum(axis=1) - 1) < 1e-6).all())
        )
        if not sound:
            raise ValueError("its trees are invalid")


@dataclass(frozen=True, eq=False)
class Committee:
    """Weighted votes of linear scorers: Σ votes · sign(weights · (x − mean) / scale + bias).

    mean, scale  (D,)     weights  (T, D)     bias, votes  (T,)
    """

    mean: Array
    scale: Array
    weights: Array
    bias: Array
    votes: Array

    def __call__(self, rows: Array) -> Array:
        """float64 (N,)."""
        return np.asarray(np.sign(((rows - self.mean) / self.scale) @ self.weights.T + self.bias) @ self.votes)

    def check(self, columns: int) -> None:
        """ValueError where an input has no scale."""
        if not (self.scale > 0).all():
            raise ValueError("it has inputs with a scale of 0")


@dataclass(frozen=True, eq=False)
class Constant:
    """Scores every row 0."""

    def __call__(self, rows: Array) -> Array:
        """float64 (N,) of zeros."""
        return np.zeros(len(rows))

    def check(self, columns: int) -> None:
        """Nothing can be wrong."""


_SIDES = ("left", "right")
Scorer = LinearScorer | Boosted | Trees | Committee | Constant
EmotionScorer = Linear | Boosted | Trees
KINDS: dict[str, type[Any]] = {
    "straight": LinearScorer,
    "squashed": Linear,
    "boosted": Boosted,
    "trees": Trees,
    "committee": Committee,
    "constant": Constant,
}
