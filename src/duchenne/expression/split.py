"""Training, validation and test rows of labelled faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duchenne.errors import InputError
from duchenne.expression.faces import Faces
from duchenne.types import Array

_SHARE = 0.1  # of the training faces is held back to choose the epoch by
_TRIES = 50  # random splits, until one leaves every class and unit in training


@dataclass(frozen=True, eq=False)
class Split:
    """Rows to train on, to choose the epoch by, and to test on (none: those held back); and how, in words."""

    train: Array
    held: Array
    test: Array
    how: str


def split_rows(faces: Faces, seed: int) -> Split:
    """Training, validation and test rows; InputError where a person is in two folds."""
    roles, subjects = faces.roles, faces.subjects
    train, held, test = (np.flatnonzero(roles == role) for role in ("train", "validation", "test"))
    for one, other in ((train, held), (train, test), (held, test)):
        both = [] if subjects is None else sorted({*subjects[one].tolist()} & {*subjects[other].tolist()})
        if both:
            raise InputError(f"Person '{both[0]}' is in two of the folds; keep each person in one.")
    if len(held):
        how = f"the epoch chosen by {len(held)} images of {fold_names(faces, held)}"
    else:
        train, held = held_back(faces, train, seed)
        unit = "by image, as subjects are not known" if subjects is None else "by person"
        how = f"the epoch chosen by {len(held)} images held back {unit}" if len(held) else "the last epochs kept"
    return Split(train, held, test, how)


def fold_names(faces: Faces, rows: Array) -> str:
    return " and ".join(dict.fromkeys(faces.folds[rows].tolist()))


def held_back(faces: Faces, rows: Array, seed: int, share: float = _SHARE) -> tuple[Array, Array]:
    """`rows` in two: those to train on, and about `share` of them held back, by person where subjects are known.

    Without subjects, emotions are stratified. Every class and unit stays in training; where that is not possible,
    nothing is held back.
    """
    rng, labels = np.random.default_rng([seed, 2]), faces.labels
    for attempt in range(_TRIES):
        if faces.subjects is not None:
            names, person = np.unique(faces.subjects[rows], return_inverse=True)
            order = rng.permutation(len(names))
            size = np.cumsum(np.bincount(person)[order])
            most = 1 + int((size < share * len(rows)).sum()) + attempt // 10
            out = np.isin(person, order[:most])
        elif labels.ndim == 1:
            rank = np.empty(len(rows))
            for k in np.unique(labels[rows]):
                of_class = np.flatnonzero(labels[rows] == k)
                n = len(of_class)
                rank[of_class] = rng.permutation(n) - max(round(share * n), int(n > 2))
            out = rank < 0
        else:
            out = np.isin(np.arange(len(rows)), rng.permutation(len(rows))[: max(1, round(share * len(rows)))])
        left, held = rows[~out], rows[out]
        is_scored = labels.ndim == 1 or max(_kinds(labels[held])) > 1  # F1 needs a unit that varies
        if len(left) and is_scored and _kinds(labels[left]) == _kinds(labels[rows]):
            return left, held
    return rows, rows[:0]


def _kinds(labels: Array) -> list[int]:
    """Number of distinct labels: emotions; or present and absent, of each unit."""
    columns = labels[:, None] if labels.ndim == 1 else np.where(np.isnan(labels), np.nan, labels > 0)
    return [len(np.unique(column[~np.isnan(column)])) for column in columns.T]
