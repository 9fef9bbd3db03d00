"""Leaks between training and test: duplicate clips, one person under two names, scaling before the split.

Tracks are compared as in `features.takes`. Thresholds: experiments/leaks.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from duchenne.errors import UsageError
from duchenne.features.takes import SAME_TAKE, SHAPE, Course, apart, coarse, course, flip
from duchenne.io import person
from duchenne.types import Array, Features, Sample

#: Table rows nearer than this (RMS over columns, each over its own RMS) are one clip, stored with other rounding.
SAME_ROW = 1e-6
#: Rows with fewer varying columns than this agree by chance and are not compared.
ENOUGH_COLUMNS = 8
MAX_WARNINGS = 10

_NEIGHBOURS, _BLOCK, _MAX_EQUAL = 8, 1024, 20


@dataclass(frozen=True)
class Pair:
    """Two samples of one clip: their numbers (i < j), distance, and whether the content is equal.

    `distance` is the share of the movement that differs (tracks) or relative to the columns' RMS (tables).
    """

    i: int
    j: int
    distance: float
    exact: bool
    mirrored: bool = False


@dataclass(frozen=True, eq=False)
class Signature:
    """What finding duplicates needs of one sample."""

    digest: str
    curve: Course | None = None
    values: Array | None = None


def signature(sample: Sample) -> Signature:
    """A sample's `fingerprint`, and the course of its face or its row of numbers."""
    if isinstance(sample, Features):
        return Signature(fingerprint(sample), values=sample.values)
    return Signature(fingerprint(sample), curve=course(sample))


def fingerprint(sample: Sample) -> str:
    """16 hex digits of SHA-256 over points and times, or over values; name, source and history do not count."""
    parts = [sample.values] if isinstance(sample, Features) else [sample.points, sample.time]
    digest = hashlib.sha256(type(sample).__name__.encode())
    for part in parts:
        canonical = np.where(np.isnan(part), np.nan, part) + 0.0  # one kind of NaN and of zero
        digest.update(str(canonical.shape).encode() + canonical.astype(f"<f{part.dtype.itemsize}").tobytes())
    return digest.hexdigest()[:16]


def near_duplicates(samples: Sequence[Sample | Signature], *, threshold: float = SAME_TAKE) -> list[Pair]:
    """Pairs of samples, or of their signatures, that are one clip, the nearest first.

    Tracks are compared with tracks by `threshold` (see `SAME_TAKE`), rows of a table with rows by `SAME_ROW`. Finds
    copies with other noise, size, rate or speed, mirrored, or cut by up to 15 % (beyond, ever fewer), among every
    clip's eight nearest; of equal clips the first 20 are paired with all. UsageError where rows have different
    lengths or the threshold is not between 0 and 1.
    """
    if not 0 <= threshold < 1:
        raise UsageError(f"threshold must be at least 0 and below 1, found {threshold}; the default is {SAME_TAKE}.")
    signatures = [each if isinstance(each, Signature) else signature(each) for each in samples]
    tracks = [k for k, each in enumerate(signatures) if each.values is None]
    rows = [k for k, each in enumerate(signatures) if each.values is not None]
    found: dict[tuple[int, int], Pair] = {}
    for numbers, pairs in (
        (tracks, _same_tracks([signatures[k] for k in tracks], threshold)),
        (rows, _same_rows([signatures[k] for k in rows])),
    ):
        for pair in pairs:
            pair = replace(pair, i=numbers[pair.i], j=numbers[pair.j])
            earlier = found.get((pair.i, pair.j))
            if earlier is None or (pair.distance, not pair.exact) < (earlier.distance, not earlier.exact):
                found[pair.i, pair.j] = pair
    return sorted(found.values(), key=lambda p: (not p.exact, p.distance, p.i, p.j))


def warnings(
    samples: Sequence[Sample | Signature],
    names: Sequence[str],
    subjects: Sequence[object],
    labels: Sequence[object],
    emotions: Sequence[object],
    folds_of_row: Iterable[tuple[Array, Array]] | None = None,
    *,
    threshold: float = SAME_TAKE,
) -> list[str]:
    """Sentences on duplicates that bias a score, the worst ten and a count of the others.

    A duplicate is reported if it is on both sides of a split (`folds_of_row`: pairs of row numbers, train and test), or
    has two persons, labels or emotions, None and NaN aside. UsageError where the lists differ in length.
    """
    about = {"names": names, "subjects": subjects, "labels": labels, "emotions": emotions}
    for name, column in about.items():
        if len(column) != len(samples):
            raise UsageError(f"Each sample needs one of the {name}: found {len(column)} for {len(samples)} samples.")
    splits = _sides(folds_of_row, len(samples))
    found = []
    for pair in near_duplicates(samples, threshold=threshold):
        faults = _faults(pair, splits, subjects, labels, emotions)
        if faults:
            who = " and ".join(f"{names[k]} (person {subjects[k]})" for k in (pair.i, pair.j))
            same = "have the same content" if pair.exact else f"are the same clip{' mirrored' * pair.mirrored}"
            how = "" if pair.exact else f" (distance {pair.distance:.2g})"
            found.append((-len(faults), f"{who} {same}{how}: {'; '.join(faults)}; remove one or correct its row."))
    found.sort(key=lambda item: item[0])
    rest = (
        [f"{len(found) - MAX_WARNINGS} more pairs of the same clip are not listed."]
        if len(found) > MAX_WARNINGS
        else []
    )
    return [sentence for _, sentence in found[:MAX_WARNINGS]] + rest


def standardised_before_split(x: Array) -> str | None:
    """A sentence where a table (N, D) was scaled or rotated by a transform fitted to all of its rows, else None.

    Detected if 95 % of the varying columns have mean 0 and standard deviation 1 (of N or N - 1) to 1e-6, or if no two
    columns correlate by more than 1e-6, like principal components. Not tested with fewer than 10 rows or 3 columns,
    the second also not on columns with few different values (designs are balanced).
    """
    x = np.asarray(x, np.float64)
    if x.ndim != 2:
        raise UsageError(f"A table of features has rows and columns, found the shape {x.shape}.")
    x = x[:, np.isfinite(x).sum(axis=0) > 1]
    x = x[:, np.nanmax(x, axis=0) > np.nanmin(x, axis=0)] if x.size else x
    if len(x) < 10 or x.shape[1] < 3:
        return None
    advice = "the transform used test rows; give the raw features and fit it inside each training fold."
    n = np.isfinite(x).sum(axis=0)
    mean, spread = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    one = (abs(spread - 1) < 1e-6) | (abs(spread * np.sqrt(n / (n - 1)) - 1) < 1e-6)
    scaled = int(((abs(mean) < 1e-6) & one).sum())
    if scaled >= 0.95 * x.shape[1]:
        return f"{scaled} of {x.shape[1]} columns have mean 0 and standard deviation 1 over the whole table: {advice}"
    if not np.isfinite(x).all() or min(len(np.unique(column)) for column in x.T) < len(x) / 2:
        return None
    z = (x - mean) / spread
    cross = z.T @ z / len(z)
    if len(x) > x.shape[1] and abs(cross - np.diag(np.diag(cross))).max() < 1e-6:
        return f"No two of {x.shape[1]} columns correlate over the whole table, as after PCA on all rows: {advice}"
    return None


# --- tracks -------------------------------------------------------------------------------------------------


def _same_tracks(tracks: Sequence[Signature], threshold: float) -> Iterator[Pair]:
    yield from _equal(tracks)
    curves = {k: track.curve for k, track in enumerate(tracks) if track.curve is not None}
    if len(curves) < 2:
        return
    numbers = list(curves)
    table = np.stack([coarse(curves[k]) for k in numbers])
    for mirrored in (False, True):
        for a, b in _neighbours(table, flip(table) if mirrored else table):
            i, j = numbers[a], numbers[b]
            other = replace(curves[j], x=flip(curves[j].x)) if mirrored else curves[j]
            distance = apart(curves[i], other)
            if distance <= threshold:
                yield Pair(i, j, distance, exact=False, mirrored=mirrored)


def _equal(samples: Sequence[Signature]) -> Iterator[Pair]:
    """Every two of equal content; of a large group each with the first ones, so that thousands stay thousands."""
    groups: dict[str, list[int]] = {}
    for k, sample in enumerate(samples):
        groups.setdefault(sample.digest, []).append(k)
    for group in groups.values():
        yield from (Pair(i, j, 0.0, exact=True) for n, i in enumerate(group[:_MAX_EQUAL]) for j in group[n + 1 :])


def _neighbours(table: Array, others: Array) -> list[tuple[int, int]]:
    """Pairs (i < j) of rows of which one, in `others`, is among the nearest of the other, in `table`."""

    def flat(signatures: Array) -> Array:
        shape = signatures.mean(axis=1, keepdims=True)
        weighed = signatures - shape + np.float32(SHAPE) * (shape - middle)
        return np.asarray(weighed.reshape(len(signatures), -1))

    middle = table.mean(axis=(0, 1))  # small numbers, so that float32 products cancel less
    a, b = flat(table), flat(others)
    size, count, found = (b * b).sum(axis=1), min(_NEIGHBOURS, len(b) - 1), set()
    for start in range(0, len(a), _BLOCK):
        gap = size - 2 * a[start : start + _BLOCK] @ b.T
        here = np.arange(len(gap))
        gap[here, start + here] = np.inf  # itself
        nearest = np.argpartition(gap, count - 1, axis=1)[:, :count]
        found |= {(min(start + i, j), max(start + i, j)) for i in here.tolist() for j in nearest[i].tolist()}
    return sorted(found)


# --- tables -------------------------------------------------------------------------------------------------


def _same_rows(rows: Sequence[Signature]) -> Iterator[Pair]:
    values = [row.values for row in rows if row.values is not None]
    lengths = sorted({len(row) for row in values})
    if len(lengths) > 1:
        found = " and ".join(map(str, lengths[:3]))
        raise UsageError(f"All rows of a table need the same number of values, found {found}.")
    if len(rows) < 2:
        return
    x = np.stack(values)
    x[~np.isfinite(x)] = np.nan
    x = x[:, [not (column[0] == column).all() and np.isfinite(column).any() for column in x.T]]
    if x.shape[1] < ENOUGH_COLUMNS:
        return
    yield from _equal(rows)
    gone = np.isnan(x)
    size = np.sqrt(np.nanmean(x**2, axis=0))
    x = np.where(gone, 0.0, x / np.where(size > 0, size, 1.0))
    x = np.hstack([x, gone[:, gone.any(axis=0)]]) / np.sqrt(x.shape[1])  # missing in one of two rows is a difference
    square = (x**2).sum(axis=1)
    for start in range(0, len(x), _BLOCK):
        block = x[start : start + _BLOCK]
        gap = square[start : start + _BLOCK, None] + square - 2 * block @ x.T
        # products of float64 cancel to about 1e-15: near rows are compared directly
        for i, j in np.argwhere(gap < 1e-9 * (1 + square)).tolist():
            if start + i < j:
                distance = float(np.linalg.norm(block[i] - x[j]))
                if distance < SAME_ROW:
                    yield Pair(start + i, j, distance, exact=False)


# --- warnings -------------------------------------------------------------------------------------------


def _sides(folds: Iterable[tuple[Array, Array]] | None, count: int) -> list[Array]:
    """Per fold int8 (count,): 1 = train, 2 = test, 3 = both, 0 = neither."""
    splits = []
    for train, test in folds or ():
        side = np.zeros(count, np.int8)
        side[np.asarray(train)] |= 1
        side[np.asarray(test)] |= 2
        splits.append(side)
    return splits


def _faults(
    pair: Pair, splits: list[Array], subjects: Sequence[object], labels: Sequence[object], emotions: Sequence[object]
) -> list[str]:
    i, j = pair.i, pair.j
    crossed = [str(n) for n, side in enumerate(splits, 1) if side[i] | side[j] == 3 and side[i] and side[j]]
    faults = []
    if crossed:
        plural = "s" if len(crossed) > 1 else ""
        faults.append(f"they are on both sides of the split in fold{plural} {', '.join(crossed)}")
    for what, column in (("one person has two names", subjects), ("labels", labels), ("emotions", emotions)):
        a, b = (person(column[k]) for k in (i, j))
        if a and b and a != b:
            faults.append(what if column is subjects else f"their {what} differ ({a} and {b})")
    return faults
