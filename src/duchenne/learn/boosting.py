"""Gradient boosting, a kernel and a linear model on one row of descriptors per clip, calibrated on unseen people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from duchenne import io
from duchenne.learn import pieces
from duchenne.learn.boosted_trees import BoostedTrees
from duchenne.learn.calibration import platt, sigmoid
from duchenne.learn.folds import person_folds
from duchenne.learn.kernel import Kernel
from duchenne.learn.linear import Linear
from duchenne.learn.recipes import Settings, setting
from duchenne.types import Array

#: Members, joined by "+"; the best on people left out is chosen (see `Tabular.fit`).
CANDIDATES = ("boosting", "linear", "boosting+linear", "boosting+kernel")


@dataclass(frozen=True)
class Recipe(Settings):
    """Everything `Tabular.fit` reads; stored in the model file.

    n_estimators … max_bin  as XGBoost has them
    n_boosters    boosters that differ in their seed; their log-odds are averaged
    C             inverse strength of regularisation of the linear model, as scikit-learn has it
    kernel_C      and of the kernel
    folds         person-disjoint folds for choice and calibration
    candidates    of `CANDIDATES`; the best on people left out is chosen
    """

    n_estimators: int = setting(400, 1, 1_000_000, was="rounds")
    max_depth: int = setting(3, 1, 64, was="depth")
    learning_rate: float = setting(0.04, 1e-12, 10, was="rate")
    subsample: float = setting(0.5, 1e-6, 1, was="rows")
    colsample_bytree: float = setting(0.1, 1e-6, 1, was="columns")
    reg_lambda: float = setting(5.0, 0, 1e6, was="shrink")
    min_child_weight: float = setting(1.0, 0, 1e6, was="child")
    max_bin: int = setting(32, 2, 65536, was="bins")
    n_boosters: int = setting(4, 1, 100, was="bag")
    C: float = setting(0.001, 1e-12, 1e12, was="penalty")
    kernel_C: float = setting(10.0, 1e-12, 1e12)
    folds: int = setting(5, 2, 1000)
    seed: int = setting(0, 0, 2**31 - 1)
    candidates: tuple[str, ...] = setting(CANDIDATES, choices=CANDIDATES, lengths=(1, 2, 3, 4), each=str, was="members")


@dataclass
class Tabular:
    """P(genuine) from descriptors (N, D): mean log-odds of its members, then Platt scaling.

    Members and scaling are chosen on out-of-fold predictions (person-disjoint folds of the training people). NaN is
    legal: boosters follow their missing branch, the others read the training median.
    """

    names: tuple[str, ...]
    recipe: Recipe = field(default_factory=Recipe)
    chosen: str = ""
    boosters: list[BoostedTrees] = field(default_factory=list)
    linear: Linear | None = None
    kernel: Kernel | None = None
    slope: float = 1.0
    intercept: float = 0.0
    out_of_fold: Array | None = None

    def fit(
        self, x: Array, y: Array, groups: Array, emphasis: Array | None = None, importance: Array | None = None
    ) -> Tabular:
        """Fit on descriptors (N, D), labels (N,) with 1 = genuine, persons (N,); returns self.

        `emphasis` (D,): XGBoost's feature_weights. `importance` (D,): as `Kernel.fit`, all equal by default.
        """
        r, importance = self.recipe, np.ones(x.shape[1]) if importance is None else importance

        def boosted(x: Array, y: Array, index: int = 0) -> BoostedTrees:
            return boost(x, y, r, index, emphasis)

        def linear(x: Array, y: Array) -> Linear:
            return Linear.fit(x, y, r.C)

        def kernel(x: Array, y: Array) -> Kernel:
            return Kernel.fit(x, y, r.kernel_C, importance, r.seed)

        fits: dict[str, Callable[[Array, Array], BoostedTrees | Linear | Kernel]]
        fits = {"boosting": boosted, "linear": linear, "kernel": kernel}
        tried = {name: np.full(len(y), np.nan) for name in fits if any(name in each for each in r.candidates)}
        for i, (train, test) in enumerate(person_folds(groups, r.folds, r.seed), 1):
            for name, z in tried.items():
                z[test] = fits[name](x[train], y[train]).log_odds(x[test])
            pieces.report(f"descriptors: fold {i} of {r.folds} fitted")
        means = {each: np.mean([tried[name] for name in each.split("+")], axis=0) for each in r.candidates}
        fitted = {name: (*platt(z, y), z) for name, z in means.items()}
        self.chosen = min(fitted, key=lambda name: _log_loss(fitted[name][0] * fitted[name][2] + fitted[name][1], y))
        self.slope, self.intercept, z = fitted[self.chosen]
        self.out_of_fold = sigmoid(self.slope * z + self.intercept)
        if "boosting" in self.chosen:
            self.boosters = [boosted(x, y, i) for i in range(r.n_boosters)]
        if "linear" in self.chosen:
            self.linear = linear(x, y)
        if "kernel" in self.chosen:
            self.kernel = kernel(x, y)
        return self

    def logit(self, x: Array) -> Array:
        """float64 (N,): calibrated log-odds of genuine for descriptors (N, D)."""
        return np.asarray(self.slope * np.mean(self._members(x), axis=0) + self.intercept)

    def predict_proba(self, x: Array) -> Array:
        """float64 (N, 2): P(posed), P(genuine)."""
        p = sigmoid(self.logit(x))
        return np.column_stack([1 - p, p])

    def contributions(self, x: Array) -> Array:
        """float64 (N, D): what each descriptor adds to the log-odds (tree SHAP, linear terms, integrated gradients).

        Rows sum to `logit` minus the log-odds of an average clip.
        """
        parts = []
        if self.boosters:
            parts.append(np.mean([each.contributions(x) for each in self.boosters], axis=0))
        if self.linear is not None:
            parts.append(self.linear.terms(x))
        if self.kernel is not None:
            parts.append(self.kernel.terms(x))
        return np.asarray(self.slope * np.mean(parts, axis=0))

    def _members(self, x: Array) -> list[Array]:
        parts = [np.mean([each.log_odds(x) for each in self.boosters], axis=0)] if self.boosters else []
        if self.linear is not None:
            parts.append(self.linear.log_odds(x))
        if self.kernel is not None:
            parts.append(self.kernel.log_odds(x))
        return parts

    def settings(self) -> dict[str, Any]:
        """What `model.json` holds; arrays and boosters are stored beside it."""
        return {
            "recipe": self.recipe.stored(),
            "members": self.chosen,
            "boosters": len(self.boosters),
            "calibration": {"slope": self.slope, "intercept": self.intercept},
        }


def _log_loss(z: Array, y: Array) -> float:
    return float(np.mean(np.logaddexp(0, z) - y * z))


def boost(x: Array, y: Array, recipe: Recipe, index: int = 0, emphasis: Array | None = None) -> BoostedTrees:
    """Boosted trees on (N, D) and labels (N,); `index` in the ensemble, `emphasis` as in `Tabular.fit`."""
    r = recipe
    # one thread: the order of sums, and so the model, must not depend on the machine's cores
    settings = {
        "objective": "binary:logistic", "tree_method": "hist", "max_depth": r.max_depth,
        "learning_rate": r.learning_rate, "subsample": r.subsample, "colsample_bytree": r.colsample_bytree,
        "reg_lambda": r.reg_lambda, "min_child_weight": r.min_child_weight, "max_bin": r.max_bin,
        "seed": r.seed * 1000 + index, "nthread": 1, "verbosity": 0,
    }  # fmt: skip
    return grow(settings, x, y, r.n_estimators, emphasis)


def grow(settings: dict[str, Any], x: Array, y: Array, rounds: int, emphasis: Array | None = None) -> BoostedTrees:
    """`xgboost.train` on rows (N, D) and labels (N,), kept by `learn.resume`."""

    def trained() -> dict[str, Array]:
        import xgboost

        data = xgboost.DMatrix(x, label=y, nthread=1, feature_weights=emphasis)
        booster = xgboost.train(settings, data, num_boost_round=rounds)
        return {"json": np.frombuffer(bytes(booster.save_raw("json")), np.uint8)}

    found = pieces.once([settings, rounds, "json"], (x, np.asarray(y), emphasis), trained)
    source = found["json"].tobytes()
    return BoostedTrees.of(source, io.parse_json(source))
