"""Leaks between training and test: duplicate clips, one person under two names, scaling before the split.

Two tracks are compared on the frontal face (`preprocess.align.frontal`), averaged to 19 places (brows, lids, lips,
jaw ...) and smoothed. Their distance is the RMS difference over the RMS movement, both corrected for the jitter of the
points: 0 for a copy, about 1.4 for two unrelated movements. A distance in interocular distances cannot separate them:
two takes of a calm face are nearer to each other than a lively clip is to its copy at half the resolution. So a clip
that moves no more than its points jitter has only exact duplicates, and clips that differ in movement only by chance
(simulated ones of one timing) count as duplicates. Thresholds: experiments/leaks.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from duchenne.errors import UsageError
from duchenne.io import person
from duchenne.preprocess import align
from duchenne.types import Array, FaceTrack, Features, Sample

#: Tracks nearer than this are one clip: among PEDFE's 1,070 the nearest two different takes are 0.33 apart.
SAME_CLIP = 0.28
#: Table rows nearer than this (RMS over columns, each over its own RMS) are one clip, stored with other rounding.
SAME_ROW = 1e-6
#: Rows with fewer varying columns than this agree by chance and are not compared.
ENOUGH_COLUMNS = 8
MAX_WARNINGS = 10

# Each place is the mean of these points; the second line mirrors the first, the third mirrors itself.
_LEFT = ([17, 18, 19], [19, 20, 21], [37, 38], [40, 41], [48, 60], [4, 5], [31, 32])
_RIGHT = ([26, 25, 24], [24, 23, 22], [44, 43], [47, 46], [54, 64], [12, 11], [35, 34])
_MIDDLE = ([50, 51, 52], [61, 62, 63], [65, 66, 67], [56, 57, 58], [7, 8, 9])
_PLACES = (*_LEFT, *_RIGHT, *_MIDDLE)
_MIRROR = np.r_[len(_LEFT) : 2 * len(_LEFT), : len(_LEFT), 2 * len(_LEFT) : len(_PLACES)]
_STEPS = 24  # of the coarse signature for the nearest-neighbour search
_SMOOTH = 0.3  # s
_RATE, _LONGEST = 25.0, 250  # per second, and steps of the longer of two clips
_OVERLAP = 0.8  # share of the longer clip that the shorter must cover
_SHAPE = 0.5  # weight of the face's constant shape beside its movement: other resolutions shift it
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


@dataclass(frozen=True)
class _Curve:
    """Places of the frontal face over time: x float32 (T, 2 places), and the jitter's variance per number."""

    time: Array
    x: Array
    jitter: float


@dataclass(frozen=True, eq=False)
class Signature:
    """What finding duplicates needs of one sample."""

    digest: str
    curve: _Curve | None = None
    values: Array | None = None


def signature(sample: Sample) -> Signature:
    """A sample's `fingerprint`, and the course of its face or its row of numbers."""
    if isinstance(sample, Features):
        return Signature(fingerprint(sample), values=sample.values)
    return Signature(fingerprint(sample), curve=_curve(sample))


def fingerprint(sample: Sample) -> str:
    """16 hex digits of SHA-256 over points and times, or over values; name, source and history do not count."""
    parts = [sample.values] if isinstance(sample, Features) else [sample.points, sample.time]
    digest = hashlib.sha256(type(sample).__name__.encode())
    for part in parts:
        canonical = np.where(np.isnan(part), np.nan, part) + 0.0  # one kind of NaN and of zero
        digest.update(str(canonical.shape).encode() + canonical.astype(f"<f{part.dtype.itemsize}").tobytes())
    return digest.hexdigest()[:16]


def near_duplicates(samples: Sequence[Sample | Signature], *, threshold: float = SAME_CLIP) -> list[Pair]:
    """Pairs of samples, or of their signatures, that are one clip, the nearest first.

    Tracks are compared with tracks by `threshold` (see `SAME_CLIP`), rows of a table with rows by `SAME_ROW`. Finds
    copies with other noise, size, rate or speed, mirrored, or cut by up to 15 % (beyond, ever fewer), among every
    clip's eight nearest; of equal clips the first 20 are paired with all. UsageError where rows have different
    lengths or the threshold is not between 0 and 1.
    """
    if not 0 <= threshold < 1:
        raise UsageError(f"threshold must be at least 0 and below 1, found {threshold}; the default is {SAME_CLIP}.")
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
    threshold: float = SAME_CLIP,
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
    table = np.stack([_coarse(curves[k]) for k in numbers])
    for mirrored in (False, True):
        for a, b in _neighbours(table, _flip(table) if mirrored else table):
            i, j = numbers[a], numbers[b]
            other = replace(curves[j], x=_flip(curves[j].x)) if mirrored else curves[j]
            distance = _distance(curves[i], other)
            if distance <= threshold:
                yield Pair(i, j, distance, exact=False, mirrored=mirrored)


def _equal(samples: Sequence[Signature]) -> Iterator[Pair]:
    """Every two of equal content; of a large group each with the first ones, so that thousands stay thousands."""
    groups: dict[str, list[int]] = {}
    for k, sample in enumerate(samples):
        groups.setdefault(sample.digest, []).append(k)
    for group in groups.values():
        yield from (Pair(i, j, 0.0, exact=True) for n, i in enumerate(group[:_MAX_EQUAL]) for j in group[n + 1 :])


def _curve(track: FaceTrack) -> _Curve | None:
    """The track's places from the first to the last visible frame; None where too few are visible."""
    seen = track.seen
    time = track.time[seen]
    if len(time) < 5 or time[-1] - time[0] < 0.15:
        return None
    points = align.frontal(track)[0].points[seen]
    if not np.isfinite(points).all():  # all stable points coincide
        return None
    x = np.concatenate([points[:, place].mean(axis=1) for place in _PLACES], axis=1)
    bend = x[1:-1] - (x[:-2] + x[2:]) / 2  # 1.5 times the variance of independent errors, little movement
    spread = np.median(abs(bend), axis=0) / 0.6745  # that ratio is the normal distribution's
    return _Curve(time, x.astype(np.float32), float((spread**2).mean() / 1.5))


def _flip(x: Array) -> Array:
    """The places (..., 2 places) as a mirror shows them; the frontal face has its middle at x = 0."""
    places = x.reshape(*x.shape[:-1], len(_PLACES), 2)[..., _MIRROR, :] * np.array([-1, 1], np.float32)
    return np.asarray(places.reshape(x.shape), x.dtype)


def _means(curve: _Curve, low: Array, high: Array) -> Array:
    """float64 (N, 2 places): mean of the linearly interpolated curve over each stretch low to high, in seconds."""
    time, x = curve.time, curve.x.astype(np.float64)
    step = np.diff(time)[:, None]
    slope = np.diff(x, axis=0) / step
    area = np.vstack([np.zeros(x.shape[1]), np.cumsum((x[1:] + x[:-1]) / 2 * step, axis=0)])

    def upto(at: Array) -> Array:
        k = np.clip(np.searchsorted(time, at, side="right") - 1, 0, len(time) - 2)
        over = (at - time[k])[:, None]
        return np.asarray(area[k] + over * (x[k] + over * slope[k] / 2))

    return np.asarray((upto(high) - upto(low)) / (high - low)[:, None])


def _coarse(curve: _Curve) -> Array:
    """float32 (steps, 2 places): the clip's course from first to last frame, whatever its length."""
    edges = np.linspace(curve.time[0], curve.time[-1], _STEPS + 1)
    return np.asarray(_means(curve, edges[:-1], edges[1:]), np.float32)


def _neighbours(table: Array, others: Array) -> list[tuple[int, int]]:
    """Pairs (i < j) of rows of which one, in `others`, is among the nearest of the other, in `table`."""

    def flat(signatures: Array) -> Array:
        shape = signatures.mean(axis=1, keepdims=True)
        weighed = signatures - shape + np.float32(_SHAPE) * (shape - middle)
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


def _distance(a: _Curve, b: _Curve) -> float:
    """Distance of two clips at the best shift in time or, at another speed, at equal length."""
    long, short = sorted((a, b), key=lambda c: c.time[0] - c.time[-1])
    ratio = float((long.time[-1] - long.time[0]) / (short.time[-1] - short.time[0]))
    candidates = [short] if ratio <= 1 / _OVERLAP else []
    if 1.02 < ratio <= 2:
        candidates.append(replace(short, time=short.time * ratio))
    return min((_slide(long, other) for other in candidates), default=np.inf)


def _slide(long: _Curve, short: _Curve) -> float:
    """The least distance over all shifts at which the two overlap enough; infinite where nothing moves."""
    rate = min(_RATE, _LONGEST / float(long.time[-1] - long.time[0]))
    (a, noise_a), (b, noise_b) = _smoothed(long, rate), _smoothed(short, rate)
    least = int(np.ceil(_OVERLAP * len(a)))
    shift = np.arange(least - len(b), len(a) - least + 1)
    low, high = np.maximum(0, shift), np.minimum(len(a), shift + len(b))
    shift, low, high = (v[high - low >= max(least, 3)] for v in (shift, low, high))
    if len(shift) == 0:
        return np.inf
    n, product = (high - low)[:, None], a @ b.T
    cross = np.array([np.trace(product, offset=-s) for s in shift.tolist()])
    (sum_a, square_a), (sum_b, square_b) = _sums(a, low, high), _sums(b, low - shift, high - shift)
    mean_a, mean_b, n = sum_a / n, sum_b / n, n[:, 0]
    offset = ((mean_a - mean_b) ** 2).sum(axis=1)
    differs = (square_a + square_b - 2 * cross) / n - offset - noise_a - noise_b
    moves_a = square_a / n - (mean_a**2).sum(axis=1) - noise_a
    moves_b = square_b / n - (mean_b**2).sum(axis=1) - noise_b
    moves = np.minimum(moves_a, moves_b)
    known = moves > noise_a + noise_b
    gap = (np.maximum(differs, 0) + _SHAPE**2 * offset)[known] / moves[known]
    return float(np.sqrt(gap.min())) if len(gap) else np.inf


def _smoothed(curve: _Curve, rate: float) -> tuple[Array, float]:
    """float64 (N, 2 places) at `rate`, and how much of its square sum per row is jitter of the points."""
    width = min(max(_SMOOTH, 1 / rate), float(curve.time[-1] - curve.time[0]) / 4)
    start = np.arange(curve.time[0], curve.time[-1] - width + 1e-9, 1 / rate)
    frames = max(1.0, width / float(np.median(np.diff(curve.time))))
    return _means(curve, start, start + width), curve.jitter * curve.x.shape[1] / frames


def _sums(x: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Sums (N, D) of the rows low to high of x, and sums (N,) of their squares."""
    rows = np.vstack([np.zeros(x.shape[1]), np.cumsum(x, axis=0)])
    squares = np.r_[0.0, np.cumsum((x**2).sum(axis=1))]
    return rows[high] - rows[low], squares[high] - squares[low]


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
