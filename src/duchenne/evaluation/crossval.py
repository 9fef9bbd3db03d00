"""Cross-validation: every prediction is for people that the fitted model was not trained on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np

from duchenne.datasets.splits import Split, persons
from duchenne.errors import InputError
from duchenne.progress import Tick
from duchenne.types import Array, Classifier, Clip, Json, Opinion, Question, Reader, Sample, readable


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known about N clips, as arrays: label (1 = genuine), person and emotion ("" = not given)."""

    y: Array
    person: Array
    emotion: Array

    @classmethod
    def of(cls, clips: Sequence[Clip]) -> Truth:
        """Of clips that all have a label and a person; InputError names the first without."""
        for clip in clips:
            if clip.label is None:
                raise InputError(f"{clip.path} has no label; add genuine or posed, or remove the clip.")
        return cls(
            np.array([clip.label == "genuine" for clip in clips], np.int64),
            persons([clip.subject for clip in clips]),
            np.array([clip.emotion or "" for clip in clips]),
        )

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Answers:
    """Predictions of a method for N clips.

    p      float64 (N,)  P(genuine); NaN = not answered, or never tested
    rank   float64 (N,)  scores that order one person's clips; p unless the method ranks pairs otherwise
    sure   bool (N,)     False where the method would abstain
    fold   int64 (N,)    number of the split that tested the clip; -1 = never tested
    fit, predict         seconds
    """

    p: Array
    rank: Array
    sure: Array
    fold: Array
    fit: float = 0.0
    predict: float = 0.0


class Plain(Protocol):
    """A model with these two methods on samples, enough for an evaluation."""

    def fit(self, samples: Sequence[Sample], labels: Array, groups: Array, emotions: Array) -> object:
        """labels (N,) 1 = genuine, groups (N,) persons, emotions (N,) names."""
        ...

    def predict_proba(self, samples: Sequence[Sample]) -> Array:
        """float64 (N, 2): P(posed), P(genuine)."""
        ...


class _Samples(Reader):
    def table(self, samples: Sequence[Sample]) -> Array:
        out = np.empty(len(samples), object)
        out[:] = samples
        return out


@dataclass
class _Adapted(Classifier):
    """A `Plain` model as a `Classifier`, whose table is the samples."""

    model: Plain
    reader: Reader = field(default_factory=_Samples)
    margin: float = 0.0
    recipe: str = ""
    out_of_fold: Array | None = None
    facts: Json = field(default_factory=dict)

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array | None = None) -> Self:
        self.model.fit(list(x), labels, groups, np.full(len(x), "") if emotions is None else emotions)
        return self

    def predict_table(self, x: Array, emotions: Array | None = None) -> Array:
        return self.model.predict_proba(list(x))

    def opinion(self, question: Question) -> Opinion:
        return Opinion(float(self.predict_proba([question.track])[0, 1]))


def crossval(
    make_model: Callable[[], Classifier | Plain],
    tracks: Sequence[Sample],
    clips: Sequence[Clip],
    splits: Iterable[Split],
    *,
    on_fold: Tick | None = None,
) -> Answers:
    """Out-of-fold answers of a method: a new `make_model()` is fitted on each split's training clips.

    A model is a `Classifier`, whose `reader` reads each clip once for all splits, or anything `Plain`. `splits` are
    pairs (train, test) of row numbers (see `datasets.splits`); a clip tested by several splits keeps the last answer.
    Raises InputError for a clip without label and for a person on both sides of a split.
    """
    truth = Truth.of(clips)
    if len(tracks) != len(clips):
        raise InputError(f"Each clip needs a track, found {len(tracks)} tracks and {len(clips)} clips.")

    def made() -> Classifier:
        model = make_model()
        return model if isinstance(model, Classifier) else _Adapted(model)

    model = made()
    x = represent(model, model.table(tracks), truth.person)
    parts = []
    for i, split in enumerate(splits):
        parts.append((split[1], evaluate_fold(made(), x, truth, split)))
        if on_fold is not None:
            on_fold(i)
    return join(parts, len(clips))


def represent(model: Classifier, x: Array, person: Array) -> Array:
    """The rows that a model reads: its table, or for a model `by_person` the mean row of each person's clips; NaN for
    clips that could not be read.
    """
    if not model.by_person:
        return x
    out = np.empty_like(x)
    for who in np.unique(person):
        rows = person == who
        known = np.isfinite(x[rows])
        total = np.where(known, x[rows], 0.0).sum(axis=0)
        with np.errstate(invalid="ignore"):
            out[rows] = np.where(known.any(axis=0), total / known.sum(axis=0), np.nan)
    out[~readable(x)] = np.nan
    return out


def evaluate_fold(model: Classifier, x: Array, truth: Truth, split: Split) -> Answers:
    """Fit on the training rows of `x`, the model's table, and predict the test rows, in order; NaN where
    not `readable`."""
    train, test = split
    both = set(truth.person[train].tolist()) & set(truth.person[test].tolist())
    if both:
        raise InputError(f"Person '{min(both)}' is on both sides of a split; see duchenne.datasets.splits.")
    start = time.perf_counter()
    model.fit_table(x[train], truth.y[train], truth.person[train], truth.emotion[train])
    middle = time.perf_counter()
    tested = x[test]
    usable, emotions = readable(tested), truth.emotion[test] if model.needs_emotions else None
    p = np.where(usable, np.asarray(model.predict_table(tested, emotions), float)[:, 1], np.nan)
    rank = model.rank_table(tested)
    rank = p if rank is None else np.where(usable, rank, np.nan)
    sure = np.abs(p - 0.5) >= model.margin
    done = time.perf_counter()
    return Answers(p, rank, sure, np.zeros(len(test), np.int64), middle - start, done - middle)


def join(parts: Iterable[tuple[Array, Answers]], n: int) -> Answers:
    """The answers of all N clips from those of splits, each (test rows, answers)."""
    p, rank = np.full(n, np.nan), np.full(n, np.nan)
    sure, fold = np.zeros(n, bool), np.full(n, -1, np.int64)
    fit = predict = 0.0
    for i, (test, part) in enumerate(parts):
        p[test], rank[test], sure[test], fold[test] = part.p, part.rank, part.sure, i
        fit, predict = fit + part.fit, predict + part.predict
    return Answers(p, rank, sure, fold, fit, predict)
