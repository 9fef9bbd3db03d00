"""Person-disjoint splits as pairs (train, test) of row numbers.

Persons may be of any type and are identified as by `io.person`, so 1, "1 " and 1.0 are one, "anna" and "Anna" too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import permutations

import numpy as np

from duchenne.errors import UsageError
from duchenne.io import person, word
from duchenne.types import Array

Split = tuple[Array, Array]
_WHY = "otherwise a person is on both sides and the score measures recognition"


def by_person(subjects: Iterable[object] | None, k: int, seed: int) -> Iterator[Split]:
    """`k` pairs (train, test) of int64 row numbers; all rows of a person are tested together, each row once.

    Persons are shuffled by `seed` and go, one by one, to the fold that is smallest so far: two folds differ
    by at most the rows of one person. The order of the rows changes no fold. Raises UsageError without
    persons, for `k` below 2, and for fewer persons than folds.
    """
    person = persons(subjects)
    names, rows = np.unique(person, return_counts=True)
    if k < 2:
        raise UsageError(f"Expected at least 2 folds, found {k}; choose for example 10.")
    if len(names) < k:
        raise UsageError(f"{k} folds need as many persons, found {len(names)}; choose fewer folds.")
    size, fold = np.zeros(k), np.empty(len(names), np.int64)
    for i in np.random.default_rng(seed).permutation(len(names)):
        fold[i] = size.argmin()
        size[fold[i]] += rows[i]
    return _pairs(fold[np.searchsorted(names, person)])


def leave_one_person_out(subjects: Iterable[object] | None) -> Iterator[Split]:
    """As many pairs (train, test) of int64 row numbers as persons; UsageError for fewer than 2 persons."""
    person = persons(subjects)
    names, number = np.unique(person, return_inverse=True)
    if len(names) < 2:
        raise UsageError("Leaving one person out needs at least 2 persons, found 1; add clips of others.")
    return _pairs(number)


def fixed(folds: Iterable[object] | None, subjects: Iterable[object] | None) -> Iterator[Split]:
    """Pairs (train, test) of int64 row numbers, one per given fold, in order of name.

    Where a fold is named train or training, only its rows are trained on and only the others are tested.
    Where persons are unknown but never cross groups, give the groups as `subjects`. Raises UsageError
    where a row has no fold, for fewer than 2 folds, and where a person is in two folds.
    """
    fold, person = _names(folds, "fold"), persons(subjects)
    if len(fold) != len(person):
        raise UsageError(f"Each row needs a fold and a person, found {len(fold)} folds, {len(person)} persons.")
    names = np.unique(fold)
    training = np.isin(fold, [name for name in names if name.lower() in ("train", "training")])
    tested = np.unique(fold[~training])
    if len(names) < 2 or not len(tested):
        raise UsageError(f"At least 2 folds are needed, found only '{names[0]}'; name the others in the column.")
    _check_disjoint(person, fold, "folds", "keep each person in one")
    return (
        (np.flatnonzero(training if training.any() else fold != name), np.flatnonzero(fold == name)) for name in tested
    )


def cross(
    data_sets: Iterable[object] | None, subjects: Iterable[object] | None
) -> Iterator[tuple[str, str, Array, Array]]:
    """(name trained on, name tested, train, test) for every two data sets, both ways, in order of name.

    train and test are int64 row numbers: all rows of the one and all rows of the other data set. Raises
    UsageError where a row has no data set or no person, for fewer than 2 data sets, and where a person is in two.
    """
    data_set, person = _names(data_sets, "data set"), persons(subjects)
    if len(data_set) != len(person):
        raise UsageError(
            f"Each row needs a data set and a person, found {len(data_set)} data sets, {len(person)} persons."
        )
    names = np.unique(data_set)
    if len(names) < 2:
        raise UsageError(
            f"At least 2 data sets are needed to train on one and test on another, found only '{names[0]}'; add one."
        )
    _check_disjoint(person, data_set, "data sets", "leave them out of one, or rename one if these are two people")
    rows = {name: np.flatnonzero(data_set == name) for name in names.tolist()}
    return ((trained, tested, rows[trained], rows[tested]) for trained, tested in permutations(rows, 2))


def _check_disjoint(person: Array, group: Array, kind: str, advice: str) -> None:
    """UsageError for the first person who is in two groups."""
    first: dict[str, str] = {}
    for who, where in zip(person.tolist(), group.tolist(), strict=True):
        if first.setdefault(who, where) != where:
            both = f"'{first[who]}' and '{where}'"
            raise UsageError(f"Person '{who}' is in the {kind} {both}; {advice}, {_WHY}.")


def persons(subjects: Iterable[object] | None) -> Array:
    """str (N,): one name per row, the same for all spellings of a person; UsageError where a row has none."""
    return _names(subjects, "person")


def _names(values: Iterable[object] | None, kind: str) -> Array:
    why = f"; name one for every row, {_WHY}" if kind == "person" else ""
    texts = ["" if value is None else str(value).strip() for value in values] if values is not None else []
    keys = list(map(person if kind == "person" else word, texts))
    if not keys:
        raise UsageError(f"The {kind} of every row is needed, found none{why}.")
    if "" in keys:
        raise UsageError(f"Row {keys.index('')} (from 0) has no {kind}{why}.")
    spelled: dict[str, str] = {}
    for key, text in zip(keys, texts, strict=True):
        spelled[key] = min(spelled.get(key, text), text)
    return np.array([spelled[key] for key in keys])


def _pairs(fold: Array) -> Iterator[Split]:
    return ((np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(int(fold.max()) + 1))
