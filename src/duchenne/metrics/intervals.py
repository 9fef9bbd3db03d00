"""Resampling in blocks: bootstrap over persons, labels shuffled within persons, methods swapped.

Blocks bound the memory, whatever the number of draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from duchenne.datasets.splits import persons
from duchenne.types import Array

_BLOCK = 2**19  # cells of one block: what a core's cache holds; larger ones are slower


def draws(persons: int, n: int, seed: int, rows: int = 0) -> Iterator[Array]:
    """float64 (B, persons), n rows in all: how often each person is drawn, as many draws as persons each time.

    `rows` is the width that a caller spreads the counts to; it sets the size B of a block.
    """
    rng = np.random.default_rng(seed)
    for size in _blocks(n, max(persons, rows)):
        drawn = rng.integers(0, persons, (size, persons))
        drawn += np.arange(size)[:, None] * persons
        yield np.bincount(drawn.ravel(), minlength=size * persons).reshape(size, persons).astype(float)


def person_draws(
    sums: Array, subject: Iterable[object], n: int, seed: int, rows: Array | None = None
) -> Iterator[Array]:
    """Sums (B, ...), n in all, over the `rows` (None: all) of `sums` (N, ...) of persons drawn with replacement.

    Zeros for fewer than 2 persons. ValueError where rows and persons differ in number.
    """
    names = persons(subject)
    if len(names) != len(sums):
        raise ValueError(f"Each row needs a person, found {len(sums)} rows and {len(names)} persons.")
    if rows is not None:
        names, sums = names[rows], sums[rows]
    who, person = np.unique(names, return_inverse=True)
    each = np.zeros((len(who), *sums.shape[1:]))
    np.add.at(each, person, sums)
    flat = each.reshape(len(who), int(np.prod(sums.shape[1:])))
    times = draws(len(who), n, seed, flat.shape[1]) if len(who) > 1 else [np.zeros((1, len(who)))]
    return ((counts @ flat).reshape(len(counts), *sums.shape[1:]) for counts in times)


def shuffles(y: Array, person: Array, n: int, seed: int) -> Iterator[Array]:
    """bool (B, N), n rows in all: `y` (N,) bool shuffled within each person.

    `person` (N,) holds whole numbers from 0 in ascending order: the rows of one person lie together.
    """
    rng = np.random.default_rng(seed)
    for size in _blocks(n, len(y)):
        # person, chance and label in one number: sorting it shuffles, and is faster than sorting an index
        key = rng.integers(0, 2**32, (size, len(y)), dtype=np.int64) << 1
        key += (person << 33) + y
        key.sort(axis=-1)
        yield (key & 1).astype(bool)


def swaps(persons: int, n: int, seed: int) -> tuple[Array, bool]:
    """(bool (K, persons), whether these are all): which persons' answers two methods exchange.

    All 2^persons ways where these are no more than `n`, otherwise `n` ways drawn at random.
    """
    if persons < 63 and 2**persons <= n:
        return (np.arange(2**persons)[:, None] >> np.arange(persons)) % 2 == 1, True
    return np.random.default_rng(seed).random((n, persons)) < 0.5, False


def percentiles(values: Array) -> tuple[float, float]:
    """(low, high) between which 95 % of the draws lie; draws that are NaN are left out."""
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def _blocks(n: int, width: int) -> Iterator[int]:
    size = max(1, _BLOCK // max(width, 1))
    return (min(size, n - start) for start in range(0, n, size))
