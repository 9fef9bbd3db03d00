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
from duchenne.learn.scorers import Boosted, Committee, Constant, LinearScorer, Scorer, Trees
from duchenne.tabular import evidence
from duchenne.tabular.evidence import opinion_of
from duchenne.tabular.rows import Reader
from duchenne.types import Array, Classifier, Evidence, Json

#: One booster, without ensemble or choice of members, to compare inputs rather than learners.
ONE = Recipe(n_boosters=1, candidates=("boosting",), n_estimators=200, learning_rate=0.08, folds=3)

_SVMS = 20  # of a boosted SVM


def _boosting(x: Array, y: Array, seed: int) -> Scorer:
    return Boosted(boost(x, y, replace(ONE, seed=seed)))


def _linear_svm(x: Array, y: Array, seed: int) -> Scorer:
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    scaler = StandardScaler().fit(x)
    model = LinearSVC(C=0.003, dual="auto", max_iter=20000, random_state=seed).fit(scaler.transform(x), y)
    return LinearScorer(scaler.mean_, scaler.scale_, model.coef_, model.intercept_)


def _boosted_svm(x: Array, y: Array, seed: int) -> Scorer:
    """Linear SVMs boosted by AdaBoost, after Annadurai, Arock & Vadivel (2023), "Real and fake emotion detection using
    enhanced boosted support vector machine algorithm", Multimedia Tools and Applications 82. Of its abstract: every
    iteration considers all data, here by weights of the rows, and "important thresholds" are determined, here the one
    along each SVM's direction with the least weighted error. The text is not open, so the rest is AdaBoost as in Freund
    & Schapire (1997); the SVMs are linear, as others would hold training clips.
    """
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    scaler = StandardScaler().fit(x)
    z, truth, weight = scaler.transform(x), np.where(y == 1, 1.0, -1.0), np.full(len(y), 1 / len(y))
    weights: list[Array] = []
    bias: list[float] = []
    votes: list[float] = []
    for _ in range(_SVMS):
        svm = LinearSVC(C=0.003, dual="auto", max_iter=20000, random_state=seed)
        svm.fit(z, y, sample_weight=weight * len(y))
        along = z @ svm.coef_[0]
        threshold, side, error = _threshold(along, truth, weight)
        if error >= 0.5 - 1e-9 and votes:
            break
        said = np.where(along > threshold, side, -side)
        votes.append(float(0.5 * np.log((1 - error) / error)))
        weights.append(side * svm.coef_[0])
        bias.append(-side * threshold)
        weight = weight * np.exp(-votes[-1] * truth * said)
        weight /= weight.sum()
    return Committee(scaler.mean_, scaler.scale_, np.array(weights), np.array(bias), np.array(votes))


def _threshold(along: Array, truth: Array, weight: Array) -> tuple[float, float, float]:
    """(threshold, side, weighted error): above the threshold the sign is `side`, where that errs least on signs `truth`
    (N,), each with its weight."""
    order = np.argsort(along, kind="stable")
    sorted_, signed = along[order], (weight * truth)[order]
    cuts = np.append(np.flatnonzero(np.diff(sorted_) > 0), -1)  # after these rows; -1: below all
    below = np.append(0.0, np.cumsum(signed))[cuts + 1]
    # with side +1 the error is the weight of genuine rows below and of posed rows above
    error = (1 - (signed.sum() - 2 * below)) / 2
    best = int(np.argmax(np.abs(error - 0.5)))
    at, side = int(cuts[best]), 1.0 if error[best] <= 0.5 else -1.0
    threshold = sorted_[0] - 1.0 if at < 0 else (sorted_[at] + sorted_[at + 1]) / 2
    return float(threshold), side, float(np.clip(min(error[best], 1 - error[best]), 1e-6, 1 - 1e-6))


def _extra_trees(x: Array, y: Array, seed: int) -> Scorer:
    from sklearn.ensemble import ExtraTreesClassifier

    return Trees.of(ExtraTreesClassifier(500, max_features=0.3, random_state=seed).fit(x, y))


#: Name → fit on rows (N, D) without NaN and labels (N,), 1 = genuine.
SCORERS: dict[str, Callable[[Array, Array, int], Scorer]] = {
    "boosting": _boosting,
    "linear-svm": _linear_svm,
    "boosted-svm": _boosted_svm,
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
