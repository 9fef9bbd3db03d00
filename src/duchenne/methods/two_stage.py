"""Emotion first, then genuine or posed, with any method for the second stage.

The first stage gives probabilities of emotions, calibrated on people left out. The second stage is one classifier per
emotion ("apart"), P(genuine) = Σ_e P(e) · P_e(genuine), or one for all that also reads the probabilities
("conditioned").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from duchenne.errors import InputError, UsageError
from duchenne.learn.boosting import grow
from duchenne.learn.calibration import abstention_margin, logit, platt, sigmoid
from duchenne.learn.folds import person_folds
from duchenne.learn.linear import Linear
from duchenne.learn.scorers import Boosted, EmotionScorer, Trees
from duchenne.methods.stack import CombinedReader, Make, refuse_refit
from duchenne.tabular.evidence import opinion_of
from duchenne.tabular.model import EMOTION_PENALTY
from duchenne.tabular.rows import Reader
from duchenne.tabular.table_model import TableModel, check_columns
from duchenne.types import NO_EMOTION, Array, Classifier, Evidence, Json, readable

FOLDS = 3


def _linear(x: Array, classes: Array, seed: int) -> EmotionScorer:
    return Linear.fit(x, classes, EMOTION_PENALTY)


def _boosting(x: Array, classes: Array, seed: int) -> EmotionScorer:
    count = int(classes.max()) + 1
    settings = {
        "objective": "multi:softprob", "num_class": count, "tree_method": "hist", "max_depth": 3,
        "eta": 0.08, "subsample": 0.5, "colsample_bytree": 0.1, "lambda": 5.0, "max_bin": 32, "seed": seed,
        "nthread": 1, "verbosity": 0,
    }  # fmt: skip
    return Boosted(grow(settings, x, classes, 100), count)


def _extra_trees(x: Array, classes: Array, seed: int) -> EmotionScorer:
    from sklearn.ensemble import ExtraTreesClassifier

    trees = ExtraTreesClassifier(300, max_features=0.3, random_state=seed).fit(np.nan_to_num(x), classes)
    return Trees.of(trees, genuine=False)


#: First stages: name → fit on rows (N, D) and classes (N,) 0 … K − 1.
FIRST: dict[str, Callable[[Array, Array, int], EmotionScorer]] = {
    "linear": _linear,
    "boosting": _boosting,
    "extra-trees": _extra_trees,
}


def sharpened(p: Array, by: float) -> Array:
    """Probabilities (N, K) to the power `by`, adding up to 1 again."""
    z = by * np.log(np.clip(p, 1e-6, 1.0))
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def sharpness(p: Array, classes: Array) -> float:
    """The power that calibrates out-of-fold probabilities (N, K) to classes (N,): strong regularisation makes them too
    flat."""
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(p))

    def loss(power: float) -> float:
        return float(-np.log(np.clip(sharpened(p, np.exp(power))[rows, classes], 1e-12, 1)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 7.0), method="bounded").x))


@dataclass(frozen=True, eq=False)
class Stages:
    """Both fitted stages: classifiers by emotion, or one under ""; the first stage reads `columns` columns."""

    names: tuple[str, ...]
    emotion_scorer: EmotionScorer
    sharpness: float
    columns: int
    classifiers: Mapping[str, Classifier]

    def emotions(self, rows: Array) -> Array:
        """float64 (N, E): calibrated probabilities of the first stage."""
        check_columns(rows, self.columns)
        return sharpened(self.emotion_scorer(rows), self.sharpness)

    def p(self, rows: Array, x: Array) -> Array:
        """float64 (N,): P(genuine) of clips with `rows` (N, D) for the first stage and `x` (N, ...) for the second."""
        emotions = self.emotions(rows)
        if set(self.classifiers) == {""}:
            return np.asarray(self.classifiers[""].predict_table(np.hstack([x, emotions]))[:, 1])
        each = [self.classifiers[name].predict_table(x, np.full(len(x), name))[:, 1] for name in self.names]
        p = np.column_stack(each)
        seen = np.isfinite(p)
        with np.errstate(invalid="ignore"):
            return np.asarray((emotions * np.where(seen, p, 0.0)).sum(axis=1) / (emotions * seen).sum(axis=1))


@dataclass
class TwoStage(Classifier):
    """Emotion first, then genuine or posed.

    make    makes the unfitted classifier (of one emotion, or of all)
    first   one of `FIRST`; reads the same rows of numbers, or else the descriptors "dynamics"
    how     "apart" or "conditioned" (see above)

    An emotion with too few people gets a classifier fitted to all clips.
    """

    format: ClassVar[str] = "duchenne-method/two-stage"

    make: Make = refuse_refit
    first: str = "linear"
    how: str = "apart"
    seed: int = 0
    stages: Stages | None = None
    slope: float = 1.0
    intercept: float = 0.0
    margin: float = 0.0
    out_of_fold: Array | None = field(default=None, repr=False)
    facts: Json = field(default_factory=dict)
    reader: CombinedReader = field(init=False)
    recipe: tuple[object, ...] = field(init=False)

    def __post_init__(self) -> None:
        if self.first not in FIRST:
            raise UsageError(f"There is no first stage '{self.first}'; choose one of: {', '.join(FIRST)}.")
        draft = self.make() if self.stages is None else next(iter(self.stages.classifiers.values()))
        rows = isinstance(draft.reader, Reader)
        if self.how == "conditioned" and not draft.any_columns:
            raise UsageError(
                "Only a method that reads any columns, such as boosting or linear-svm, can read emotion probabilities; "
                "choose one, or use two-stage."
            )
        self.reader = CombinedReader((draft.reader if rows else Reader(), draft.reader))
        self.recipe = (self.first, self.how, FOLDS, draft.recipe)

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array | None = None) -> Self:
        """Fit on a table of `reader`; InputError without emotions, or with too few people."""
        what = np.full(len(x), "") if emotions is None else np.asarray(emotions).astype(str)
        use = readable(x) & ~np.isin(what, NO_EMOTION)
        if len(np.unique(what[use])) < 2:
            raise InputError("Two stages need clips of at least 2 emotions; add the column emotion to the manifest.")
        rows, seen = self.reader.parts(x[use])
        y, groups, what = np.asarray(labels, int)[use], np.asarray(groups)[use], what[use]
        z = np.full(len(y), np.nan)
        for train, test in person_folds(groups, FOLDS, self.seed):
            if len(np.unique(y[train])) == 2 and set(what[test]) <= set(what[train]):
                part = self._stages(rows[train], seen[train], y[train], groups[train], what[train])
                z[test] = logit(part.p(rows[test], seen[test]))
        known = np.isfinite(z)
        self.slope, self.intercept = platt(z[known], y[known]) if known.any() else (1.0, 0.0)
        p = sigmoid(self.slope * z + self.intercept)
        self.margin = abstention_margin(p[known], y[known]) if known.any() else 0.0
        self.out_of_fold = np.full(len(x), np.nan)
        self.out_of_fold[use] = p
        self.stages = self._stages(rows, seen, y, groups, what)
        return self

    def _stages(self, rows: Array, x: Array, y: Array, groups: Array, what: Array) -> Stages:
        names = tuple(sorted(set(what.tolist())))
        classes = np.searchsorted(names, what)
        namer, probabilities = (
            FIRST[self.first](rows, classes, self.seed),
            np.full((len(x), len(names)), 1 / len(names)),
        )
        # the second stage must be trained on out-of-fold probabilities
        for train, test in person_folds(groups, FOLDS, self.seed):
            if len(np.unique(classes[train])) == len(names):
                probabilities[test] = FIRST[self.first](rows[train], classes[train], self.seed)(rows[test])
        sharp = sharpness(probabilities, classes)
        if self.how == "conditioned":
            inputs = np.hstack([x, sharpened(probabilities, sharp)])
            return Stages(names, namer, sharp, rows.shape[1], {"": self.make().fit_table(inputs, y, groups, what)})
        classifiers, lacking = {}, []
        for name in names:
            own = what == name
            try:
                classifiers[name] = self.make().fit_table(x[own], y[own], groups[own], what[own])
            except InputError:  # too few people or one label
                lacking.append(name)
        if lacking:
            classifiers |= dict.fromkeys(lacking, self.make().fit_table(x, y, groups, what))
        return Stages(names, namer, sharp, rows.shape[1], classifiers)

    def with_emotion(self, emotion: str) -> Self:
        """As `Classifier.with_emotion`; itself if it was not trained on this emotion."""
        if self.stages is None or emotion not in self.stages.names:
            return self
        n, sure = self.stages.columns, 40.0 * (np.array(self.stages.names) == emotion)
        certain = Linear(np.zeros(n), np.ones(n), np.zeros((len(sure), n)), sure)
        return replace(self, stages=replace(self.stages, emotion_scorer=certain, sharpness=1.0))

    def emotions(self, x: Array) -> Array:
        """float64 (N, E): probabilities of the first stage, emotions in alphabetical order."""
        if self.stages is None:
            raise InputError("This model has not been fitted; call fit first.")
        return self.stages.emotions(self.reader.parts(x)[0])

    def evidence(self, x: Array) -> tuple[Evidence, ...]:
        """The contribution of each emotion's classifier, or the evidence of the one for all."""
        assert self.stages is not None
        rows, seen = self.reader.parts(x)
        if self.how == "apart":
            return self._of_classifiers(self.stages, rows, seen)
        classifier, names = self.stages.classifiers[""], self.stages.names
        if not isinstance(classifier, TableModel):
            return ()
        found = classifier.evidence(np.hstack([seen, self.stages.emotions(rows)]), names)
        return tuple(replace(item, contribution=self.slope * item.contribution) for item in found)

    def _of_classifiers(self, stages: Stages, rows: Array, seen: Array) -> tuple[Evidence, ...]:
        found = []
        for emotion, share in zip(stages.names, stages.emotions(rows)[0], strict=True):
            p = stages.classifiers[emotion].predict_table(seen, np.full(len(seen), emotion))[:, 1]
            if np.isfinite(p[0]):
                text = f"P({emotion}) = {share:.2f}; its classifier gives P(genuine) = {p[0]:.2f}."
                title, key = f"If it is {emotion}", f"two-stage.{emotion}"
                pull = float(self.slope * share * logit(p)[0])
                found.append(Evidence(feature=title, descriptor=key, value=float(p[0]), contribution=pull, text=text))
        return tuple(found)

    opinion = opinion_of

    def predict_table(self, x: Array, emotions: Array | None = None) -> Array:
        """float64 (N, 2): P(posed), P(genuine), NaN for clips that cannot be read. InputError before `fit`."""
        if self.stages is None:
            raise InputError("This model has not been fitted; call fit first.")
        p, use = np.full(len(x), np.nan), readable(x)
        if use.any():
            z = logit(self.stages.p(*self.reader.parts(x[use])))
            p[use] = sigmoid(self.slope * z + self.intercept)
        return np.column_stack([1 - p, p])
