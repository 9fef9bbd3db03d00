"""Fit and judge a method fold by fold: every answer is about people that the fitted model had not seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from duchenne.datasets.splits import Split, persons
from duchenne.errors import InputError
from duchenne.types import Array, Clip, Sample


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known about N clips, as arrays: label (1 = genuine), person and emotion ("" = not given)."""

    y: Array
    person: Array
    emotion: Array

    @classmethod
    def of(cls, clips: Sequence[Clip]) -> Truth:
        """Of clips that all have a label and a person; InputError names the first that has not."""
        for clip in clips:
            if clip.label is None:
                raise InputError(f"{clip.path} has no label; an evaluation needs genuine or posed for every clip.")
        return cls(
            np.array([clip.label == "genuine" for clip in clips], np.int64),
            persons([clip.subject for clip in clips]),
            np.array([clip.emotion or "" for clip in clips]),
        )

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Answers:
    """What a method says of N clips.

    p      float64 (N,)  P(genuine); NaN = not answered, or never tested
    rank   float64 (N,)  scores that order one person's clips; equal to p unless the method ranks pairs apart
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


def crossval(
    make_model: Callable[[], Any],
    tracks: Sequence[Sample],
    clips: Sequence[Clip],
    splits: Iterable[Split],
    *,
    on_fold: Callable[[int], None] | None = None,
) -> Answers:
    """Out-of-fold answers of a method: a new `make_model()` is fitted on each split's training clips.

    A model has `fit(tracks, labels, groups, emotions)` and `predict_proba(tracks) -> (N, 2)`. If it also has
    `table`, `fit_table` and `predict_table`, each clip is turned into its row of numbers (or into a sequence, in
    an object array (N,)) once for all splits. Where `told_emotion` is true, `predict_table` is told the emotions.
    `splits` are pairs (train, test) of row numbers (see `datasets.splits`); a clip tested by several splits
    keeps the last answer. Raises InputError for a clip without label and for a person on both sides of a split.
    """
    truth = Truth.of(clips)
    if len(tracks) != len(clips):
        raise InputError(f"As many tracks as clips are needed, found {len(tracks)} tracks and {len(clips)} clips.")
    model = make_model()
    rows = hasattr(model, "table") and hasattr(model, "fit_table")
    x = represent(model, model.table(tracks), truth.person) if rows else tracks
    parts = []
    for i, split in enumerate(splits):
        parts.append((split[1], judge_fold(make_model(), x, truth, split)))
        if on_fold is not None:
            on_fold(i)
    return join(parts, len(clips))


def represent(model: Any, x: Array, person: Array) -> Array:
    """The rows that a model reads: its table, or for a model `by_person` the mean row of each person's clips.

    A clip of which nothing is known has no row of its own there either: no method answers what it could not read.
    """
    if not getattr(model, "by_person", False):
        return x
    out = np.empty_like(x)
    for who in np.unique(person):
        mine = person == who
        seen = np.isfinite(x[mine])
        total = np.where(seen, x[mine], 0.0).sum(axis=0)
        with np.errstate(invalid="ignore"):
            out[mine] = np.where(seen.any(axis=0), total / seen.sum(axis=0), np.nan)
    out[~readable(x)] = np.nan
    return out


def readable(x: Array) -> Array:
    """bool (N,): rows of a table (N, D) that hold a number, or items of an object array (N,) that are not None."""
    if x.dtype == object:
        return np.array([each is not None for each in x], bool)
    return np.asarray(np.isfinite(x).any(axis=1))


def judge_fold(model: Any, x: Any, truth: Truth, split: Split) -> Answers:
    """Fit on the training rows of `x` (a table (N, D), sequences (N,), or samples) and answer for the test rows, in
    their order; a row that is not `readable` is not answered."""
    train, test = split
    both = set(truth.person[train].tolist()) & set(truth.person[test].tolist())
    if both:
        raise InputError(f"Person '{min(both)}' is on both sides of a split; see duchenne.datasets.splits.")
    rows = hasattr(model, "fit_table") and isinstance(x, np.ndarray)
    fit, predict = (model.fit_table, model.predict_table) if rows else (model.fit, model.predict_proba)
    start = time.perf_counter()
    fit(_take(x, train), truth.y[train], truth.person[train], truth.emotion[train])
    middle = time.perf_counter()
    asked = _take(x, test)
    told = (truth.emotion[test],) if rows and getattr(model, "told_emotion", False) else ()
    p = np.asarray(predict(asked, *told), float)[:, 1]
    rank = model.rank_table(asked) if rows and hasattr(model, "rank_table") else None
    if rows:
        unusable = ~readable(asked)
        p = np.where(unusable, np.nan, p)
        rank = p if rank is None else np.where(unusable, np.nan, rank)
    sure = np.abs(p - 0.5) >= getattr(model, "margin", 0.0)
    done = time.perf_counter()
    rank = p if rank is None else rank
    return Answers(p, rank, sure, np.zeros(len(test), np.int64), middle - start, done - middle)


def join(parts: Iterable[tuple[Array, Answers]], n: int) -> Answers:
    """The answers of splits, each (test rows, answers), put together for all N clips."""
    p, rank = np.full(n, np.nan), np.full(n, np.nan)
    sure, fold = np.zeros(n, bool), np.full(n, -1, np.int64)
    fit = predict = 0.0
    for i, (test, part) in enumerate(parts):
        p[test], rank[test], sure[test], fold[test] = part.p, part.rank, part.sure, i
        fit, predict = fit + part.fit, predict + part.predict
    return Answers(p, rank, sure, fold, fit, predict)


def _take(x: Any, rows: Array) -> Any:
    return x[rows] if isinstance(x, np.ndarray) else [x[i] for i in rows]
