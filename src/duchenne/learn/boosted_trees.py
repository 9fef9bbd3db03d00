"""Boosted trees as arrays: grown by XGBoost, read from its JSON, followed by numpy.

XGBoost is imported for training alone: with the packages that it loads, this takes longer than a verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from duchenne.types import Array, Json

_CELLS = 2**21  # numbers at a time: rows times trees, or rows times leaves times columns of a path


@dataclass(frozen=True, eq=False)
class BoostedTrees:
    """Trees whose leaves are summed, as concatenated nodes: left where x[feature] < threshold, x as float32, or where
    x is NaN and `missing_left`. A leaf is its own two children.

    roots, classes       int64 (T,)    classes: the column of the answer to which a tree adds
    feature, left, right  int64 (M,)    missing_left  bool (M,)
    threshold, cover      float32 (M,)  threshold of a leaf: what it adds; cover: its sum of hessians in training
    base                  float32 (K,)  the answer without trees
    source                XGBoost's JSON
    """

    roots: Array
    classes: Array
    feature: Array
    left: Array
    right: Array
    missing_left: Array
    threshold: Array
    cover: Array
    base: Array
    columns: int
    source: bytes = field(repr=False)

    @classmethod
    def of(cls, source: bytes, found: Json) -> BoostedTrees:
        """From XGBoost's JSON and its content, which is trusted; ArithmeticError or ValueError for invalid numbers."""
        learner = found["learner"]
        model, param = learner["gradient_booster"]["model"], learner["learner_model_param"]
        trees = model["trees"]
        sizes = np.array([len(tree["parents"]) for tree in trees], np.int64)
        roots = np.cumsum(sizes) - sizes

        def joined(name: str, dtype: type) -> Array:
            return np.concatenate([np.zeros(0, dtype), *(np.array(tree[name], dtype) for tree in trees)])

        own, starts = np.arange(sizes.sum()), np.repeat(roots, sizes)
        left, right = joined("left_children", np.int64), joined("right_children", np.int64)
        leaf = left == -1
        return cls(
            roots,
            np.array(model["tree_info"], np.int64),
            np.where(leaf, 0, joined("split_indices", np.int64)),
            np.where(leaf, own, left + starts),
            np.where(leaf, own, right + starts),
            joined("default_left", bool),
            joined("split_conditions", np.float32),
            joined("sum_hessian", np.float32),
            _base(param["base_score"], int(param["num_class"])),
            int(param["num_feature"]),
            source,
        )

    def sums(self, x: Array) -> Array:
        """float32 (N, K): log-odds, or logits of the classes, of rows (N, D)."""
        out = np.empty((len(x), len(self.base)), np.float32)
        for rows in _blocks(len(x), len(self.roots)):
            out[rows] = self.base
            for leaves, kind in zip(self.threshold[self._leaves(x[rows])].T, self.classes, strict=True):
                out[rows, kind] += leaves  # in XGBoost's order, as floats round
        return out

    def log_odds(self, x: Array) -> Array:
        """float64 (N,): uncalibrated log-odds of genuine of rows (N, D)."""
        return self.sums(x)[:, 0].astype(float)

    def probabilities(self, x: Array) -> Array:
        """float64 (N, K): softmax of the logits."""
        sums = self.sums(x).astype(float)
        shares = np.exp(sums - sums.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    def contributions(self, x: Array) -> Array:
        """float64 (N, D): what each column adds to the log-odds, relative to the average of the training rows.

        Shapley values of a tree's conditional expectations (Lundberg et al. 2020, algorithm 1). A leaf v, reached by a
        share z_j where column j is unknown and by o_j ∈ {0, 1} of a row where it is known, adds to column j
        v (o_j − z_j) ∫₀¹ Π_{i≠j} (z_i (1 − t) + o_i t) dt: the weights |S|! (k−|S|−1)! / k! of the sets S are the
        integrals of t^|S| (1 − t)^(k−|S|−1). Gauss's rule is exact for these polynomials.
        """
        columns, shares, edges = self._paths
        points, weights = np.polynomial.legendre.leggauss((columns.shape[1] + 1) // 2)
        out, values = np.zeros((len(x), self.columns)), self.threshold[self._ends].astype(float)
        for rows in _blocks(len(x), columns.size):
            low = self._goes_left(x[rows], np.arange(len(self.feature)))
            known = np.ones((len(low), *columns.shape))
            for leaf, slot, parent, is_left in edges:
                known[:, leaf, slot] *= low[:, parent] == is_left
            rest = np.zeros_like(known)
            for t, weight in zip((points + 1) / 2, weights / 2, strict=True):
                rest += weight * _others(shares * (1 - t) + known * t)
            added = rest * (known - shares) * values[:, None]
            for row, each in zip(range(len(x))[rows], added, strict=True):
                out[row] = np.bincount(columns.ravel(), each.ravel(), self.columns)
        return out

    def _goes_left(self, x: Array, nodes: Array) -> Array:
        """bool (N, …): where rows go from `nodes`, (N, …) or (M,)."""
        with np.errstate(over="ignore"):
            x = np.asarray(x).astype(np.float32)
        found = x[np.arange(len(x))[:, None], self.feature[nodes]]
        return np.asarray(np.where(np.isnan(found), self.missing_left[nodes], found < self.threshold[nodes]))

    def _leaves(self, x: Array) -> Array:
        """int64 (N, T): the leaf of each tree at which rows arrive."""
        at = np.tile(self.roots, (len(x), 1))
        while True:
            below = np.where(self._goes_left(x, at), self.left[at], self.right[at])
            if np.array_equal(below, at):
                return at
            at = below

    @cached_property
    def _ends(self) -> Array:
        """int64 (L,): the leaves."""
        return np.flatnonzero(self.left == np.arange(len(self.left)))

    @cached_property
    def _paths(self) -> tuple[Array, Array, list[tuple[Array, Array, Array, Array]]]:
        """What lies on the path to each leaf: its columns and their shares (L, P), and its edges from the last up.

        An edge is (leaf, place of its column among the P, parent node, is to the left). A place that is not needed is
        a column that decides nothing: share 1.
        """
        nodes = np.arange(len(self.left))
        parent, inner = nodes.copy(), self.left != nodes
        for side in (self.left, self.right):
            parent[side[inner]] = nodes[inner]
        edges, at, leaf = [], self._ends, np.arange(len(self._ends))
        slots, shares = np.full((len(at), 1), -1), np.ones((len(at), 1))
        while len(leaf := leaf[parent[at] != at]):
            at = at[parent[at] != at]
            above = parent[at]
            if (slots[leaf, -1] != -1).any():
                slots = np.pad(slots, ((0, 0), (0, 1)), constant_values=-1)
                shares = np.pad(shares, ((0, 0), (0, 1)), constant_values=1)
            same = (slots[leaf] == self.feature[above][:, None]) | (slots[leaf] == -1)
            slot = same.argmax(axis=1)
            slots[leaf, slot] = self.feature[above]
            shares[leaf, slot] *= self.cover[at].astype(float) / self.cover[above]
            edges.append((leaf, slot, above, self.left[above] == at))
            at = above
        return np.maximum(slots, 0), shares, edges


def _others(factors: Array) -> Array:
    """(…, P): the product of all others."""
    before, after = np.ones_like(factors), np.ones_like(factors)
    np.cumprod(factors[..., :-1], axis=-1, out=before[..., 1:])
    np.cumprod(factors[..., :0:-1], axis=-1, out=after[..., -2::-1])
    return before * after


def _blocks(rows: int, cells: int) -> Iterator[slice]:
    """Parts of the rows, of `cells` numbers each, that fit into memory."""
    step = max(1, _CELLS // max(1, cells))
    return (slice(start, start + step) for start in range(0, rows, step))


def _base(text: str, classes: int) -> Array:
    """float32 (K,): XGBoost's base_score, "[0.5]" or before version 3.1 "0.5", as the answer without trees."""
    found = np.array([float(part) for part in text.strip("[]").split(",")], np.float32)
    if classes and np.isfinite(found).all():
        return np.broadcast_to(found, classes)
    if found.shape != (1,) or not 0 < found[0] < 1:
        raise ValueError("its base score is invalid")
    exact = -np.log((1 / found - 1).astype(float))  # numpy's logarithm of a float32 is a unit of the last place off
    return np.asarray(exact, np.float32)
