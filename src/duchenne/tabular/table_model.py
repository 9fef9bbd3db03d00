"""Any scorer on one row of numbers per clip, calibrated on people left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from duchenne.errors import InputError
from duchenne.learn.boosting import Recipe, boost
from duchenne.learn.calibration import abstention_margin, platt, sigmoid
from duchenne.learn.folds import person_folds
from duchenne.learn.rank_svm import RankSVM
from duchenne.learn.scorers import Boosted, Constant, LinearScorer, Scorer, Trees
from duchenne.tabular import evidence
from duchenne.tabular.evidence import opinion_of
from duchenne.tabular.rows import Reader
from duchenne.types import Array, Classifier, Evidence, Json

#: One booster, without ensemble or choice of members, to compare inputs rather than learners.
ONE = Recipe(n_boosters=1, candidates=("boosting",), n_estimators=200, learning_rate=0.08, folds=3)


def _boosting(x: Array, y: Array, seed: int) -> Scorer:
    return Boosted(boost(x, y, replace(ONE, seed=seed)))


def _linear_svm(x: Array, y: Array, seed: int) -> Scorer:
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    scaler = StandardScaler().fit(x)
    model = LinearSVC(C=0.003, dual="auto", max_iter=20000, random_state=seed).fit(scaler.transform(x), y)
    return LinearScorer(scaler.mean_, scaler.scale_, model.coef_, model.intercept_)


def _extra_trees(x: Array, y: Array, seed: int) -> Scorer:
    from sklearn.ensemble import ExtraTreesClassifier

    return Trees.of(ExtraTreesClassifier(500, max_features=0.3, random_state=seed).fit(x, y))


#: Name → fit on rows (N, D) without NaN and labels (N,), 1 = genuine.
SCORERS: dict[str, Callable[[Array, Array, int], Scorer]] = {
    "boosting": _boosting,
    "linear-svm": _linear_svm,
    "extra-trees": _extra_trees,
    "constant": lambda x, y, seed: Constant(),
}


def check_columns(x: Array, columns: int) -> None:
    """InputError where rows (N, D) have other columns than a model was trained on."""
    if x.ndim != 2 or x.shape[1] != columns:
        found = x.shape[1] if x.ndim == 2 else 0
        raise InputError(
            f"This model was trained on {columns} numbers per clip, found {found}; pass it the same kind of input: "
            "tracks or videos, or a table with the same columns."
        )


@dataclass
class TableModel(Classifier):
    """A scorer on rows of numbers.

    learner  one of `SCORERS`
    centre   float64 (D,), replaces missing numbers
    """

    format: ClassVar[str] = "duchenne-method/table"
    any_columns: ClassVar[bool] = True
    refit_in_stack: ClassVar[bool] = True  # its ranker has no out-of-fold scores

    reader: Reader
    learner: str
    seed: int = 0
    by_person: bool = False
    ranker: RankSVM | None = None
    scorer: Scorer | None = None
    slope: float = 1.0
    intercept: float = 0.0
    margin: float = 0.0
    centre: Array = field(default_factory=lambda: np.zeros(0))
    out_of_fold: Array | None = field(default=None, repr=False)
    facts: Json = field(default_factory=dict)

    @property
    def recipe(self) -> str:
        """None: its name says all."""
        return ""

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array | None = None) -> Self:
        """Fit on rows (N, D); InputError with fewer than two persons or only one class."""
        usable, fit = np.asarray(np.isfinite(x).any(axis=1)), SCORERS[self.learner]
        x, y, groups = x[usable], np.asarray(labels, int)[usable], np.asarray(groups)[usable]
        emotions = None if emotions is None else np.asarray(emotions)[usable]
        if len(np.unique(groups)) < 2 or len(np.unique(y)) < 2:
            raise InputError("Training needs usable clips of both labels from at least 2 people; add to the manifest.")
        self.centre = np.nan_to_num(np.nanmedian(np.where(np.isfinite(x).any(axis=0), x, 0.0), axis=0))
        x, z = self._filled(x), np.full(len(y), np.nan)
        for train, test in person_folds(groups, 3, self.seed):
            if len(np.unique(y[train])) == 2:
                z[test] = fit(x[train], y[train], self.seed)(x[test])
        seen = np.isfinite(z)
        self.slope, self.intercept = platt(z[seen], y[seen]) if seen.any() else (1.0, 0.0)
        p = sigmoid(self.slope * z + self.intercept)
        self.margin = abstention_margin(p[seen], y[seen])
        self.out_of_fold = np.full(len(usable), np.nan)
        self.out_of_fold[usable] = p
        self.scorer = fit(x, y, self.seed)
        if self.ranker is not None:
            self.ranker.fit(x, y, groups, emotions)
        return self

    def predict_table(self, x: Array, emotions: Array | None = None) -> Array:
        """float64 (N, 2): P(posed), P(genuine) of rows (N, D)."""
        if self.scorer is None:
            raise InputError("This model has not been fitted; call fit first.")
        p = sigmoid(self.slope * self.scorer(self._filled(x)) + self.intercept)
        return np.column_stack([1 - p, p])

    def rank_table(self, x: Array) -> Array | None:
        """float64 (N,): scores that order two clips of one person and emotion; None where P(genuine) does."""
        return None if self.ranker is None else self.ranker.scores(self._filled(x))

    def terms(self, x: Array) -> Array | None:
        """float64 (N, D): contributions to the log-odds of genuine; None for a forest, which is not additive."""
        if not isinstance(self.scorer, LinearScorer | Boosted):
            return None
        return np.asarray(self.slope * self.scorer.terms(self._filled(x)))

    def evidence(self, x: Array, emotions: tuple[str, ...] = ()) -> tuple[Evidence, ...]:
        """Evidence for one clip, x (1, D); `emotions` name its last columns."""
        terms = self.terms(x)
        names = (*evidence.columns_of(self.reader.what), *(f"emotion.{name}" for name in emotions))
        return () if terms is None else evidence.of_columns(terms[0], x[0], names)

    opinion = opinion_of

    def _filled(self, x: Array) -> Array:
        check_columns(x, len(self.centre))
        return np.where(np.isfinite(x), x, self.centre)
