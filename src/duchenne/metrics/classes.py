"""Scores of answers with several classes: emotions, micro-expressions.

Every number follows from the confusion matrix (..., K, K): rows are the truth, columns the answers. It is counted
over all answers of all folds together ("pooled"): a person without surprise has no recall of surprise, and averages
of such folds are not comparable. What cannot be computed is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from duchenne.io import is_missing
from duchenne.metrics.intervals import percentiles, person_draws
from duchenne.metrics.ratios import Score, mean_of_known, ratio
from duchenne.types import Array, Json


def confusion(
    predicted: Iterable[object], truth: Iterable[object], classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], Array]:
    """(names (K,), int64 (K, K)): how often each class (rows) is called each class (columns).

    `classes` are all names that occur, in order of name, unless given. Rows without an answer are left out.
    ValueError for a row without truth and for a name that is not among `classes`.
    """
    names, answers, true = _coded(predicted, truth, classes)
    return names, np.bincount(true * len(names) + answers, minlength=len(names) ** 2).reshape([len(names)] * 2)


def accuracy(matrix: Array) -> Score:
    """Share of rows that are called right, (...)."""
    return ratio(_hits(matrix).sum(-1), np.asarray(matrix).sum((-2, -1)))


def recall(matrix: Array) -> Array:
    """Share of each class's rows that is called so, (..., K); NaN for a class without rows."""
    return np.asarray(ratio(_hits(matrix), np.asarray(matrix).sum(-1)))


def precision(matrix: Array) -> Array:
    """Share of the rows called so that are of the class, (..., K); NaN for a class that is never called."""
    return np.asarray(ratio(_hits(matrix), np.asarray(matrix).sum(-2)))


def f1(matrix: Array) -> Array:
    """2 TP / (2 TP + FP + FN) of each class, (..., K); NaN for a class that is neither there nor called."""
    return np.asarray(ratio(2 * _hits(matrix), np.asarray(matrix).sum(-1) + np.asarray(matrix).sum(-2)))


def uar(matrix: Array) -> Score:
    """Unweighted average recall (...): the mean over the classes that have rows, all alike. Chance is 1/K."""
    return mean_of_known(recall(matrix))


def uf1(matrix: Array) -> Score:
    """Unweighted (macro) F1 (...): the mean of the classes' F1 over pooled folds, as MEGC 2019 defines it.

    Classes that are neither there nor called are left out; one that is called but never there counts as 0.
    """
    return mean_of_known(f1(matrix))


def weighted_f1(matrix: Array) -> Score:
    """Mean of the classes' F1 (...), each weighted by its number of rows."""
    rows = np.asarray(matrix).sum(-1)
    return ratio((np.nan_to_num(f1(matrix)) * rows).sum(-1), rows.sum(-1))


_METRICS = {"accuracy": accuracy, "uar": uar, "uf1": uf1, "weighted_f1": weighted_f1}


def score_classes(
    predicted: Iterable[object],
    truth: Iterable[object],
    subject: Iterable[object] | None = None,
    *,
    classes: Sequence[str] | None = None,
    n: int = 1000,
    seed: int = 0,
) -> Json:
    """Every score of one set of named answers (N,) as a dictionary of plain numbers; pass all folds together.

    rows, unanswered (answer None, NaN or blank; left out), classes (K names); accuracy, uar, uf1, weighted_f1
    and `<metric>_interval` [low, high]; per_class: name → {rows, recall, precision, f1}; confusion, K lists
    of K counts (truth, answer). Intervals are percentiles over draws of persons with replacement; None
    without `subject`, NaN where fewer than 2 persons answered. Raises as `confusion` does.
    """
    answers, true = list(predicted), list(truth)
    names, matrix = confusion(answers, true, classes)
    out: Json = {"rows": len(true), "unanswered": len(true) - int(matrix.sum()), "classes": list(names)}
    for name, metric in _METRICS.items():
        out |= {name: metric(matrix), f"{name}_interval": None}
    if subject is not None:
        drawn = list(_drawn(answers, true, names, subject, n, seed))
        for name, metric in _METRICS.items():
            out[f"{name}_interval"] = list(percentiles(np.concatenate([metric(block) for block in drawn])))
    columns = zip(matrix.sum(1), recall(matrix), precision(matrix), f1(matrix), strict=True)
    out["per_class"] = {
        name: {"rows": int(row), "recall": float(r), "precision": float(p), "f1": float(f)}
        for name, (row, r, p, f) in zip(names, columns, strict=True)
    }
    out["confusion"] = matrix.tolist()
    return out


def _drawn(
    predicted: list[object], truth: list[object], names: tuple[str, ...], subject: Iterable[object], n: int, seed: int
) -> Iterator[Array]:
    """The pooled confusion matrices (B, K, K) of `n` draws of the persons who answered."""
    answered = np.flatnonzero([not is_missing(each) for each in predicted])
    _, codes, true = _coded(predicted, truth, names)
    single = np.zeros((len(predicted), len(names), len(names)))
    single[answered, true, codes] = 1
    return person_draws(single, subject, n, seed, answered)


def _coded(
    predicted: Iterable[object], truth: Iterable[object], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], Array, Array]:
    """(names, answers, truth), the last two as places among the names, of the rows that were answered."""
    answers, true = (["" if is_missing(each) else str(each).strip() for each in side] for side in (predicted, truth))
    if len(answers) != len(true):
        raise ValueError(f"Each row needs an answer and a truth, found {len(answers)} answers and {len(true)} truths.")
    if "" in true:
        raise ValueError(f"Row {true.index('')} (from 0) has no true class; leave it out or name it.")
    names = tuple(sorted({*answers, *true} - {""})) if classes is None else tuple(classes)
    place = {name: i for i, name in enumerate(names)}
    if unknown := sorted({*answers, *true} - {"", *names}):
        raise ValueError(f"'{unknown[0]}' is not one of the classes {', '.join(names)}; add or rename it.")
    rows = [(place[s], place[t]) for s, t in zip(answers, true, strict=True) if s]
    codes = np.array(rows, np.int64).reshape(-1, 2)
    return names, codes[:, 0], codes[:, 1]


def _hits(matrix: Array) -> Array:
    return np.asarray(np.diagonal(matrix, axis1=-2, axis2=-1))
