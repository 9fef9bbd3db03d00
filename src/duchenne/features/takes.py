"""How far two tracks are from being one take: the same recording of a face, encoded, sized, cut or mirrored anew.

Two tracks are compared on the frontal face (`preprocess.align.frontal`), averaged to 19 places (brows, lids, lips,
jaw ...) and smoothed. Their distance is the RMS difference over the RMS movement, both corrected for the jitter of the
points: 0 for a copy, about 1.4 for two unrelated movements. A distance in interocular distances cannot separate them:
two takes of a calm face are nearer to each other than a lively clip is to its copy at half the resolution. So a clip
that moves no more than its points jitter has only exact duplicates, and clips that differ in movement only by chance
(simulated ones of one timing) count as one take.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from duchenne.preprocess import align
from duchenne.types import Array, FaceTrack

#: Tracks nearer than this are one take: among PEDFE's 1,070 the nearest two different takes are 0.33 apart
#: (experiments/leaks.py, experiments/takes.py).
SAME_TAKE = 0.28
SHAPE = 0.5  # weight of the face's constant shape beside its movement: other resolutions shift it

# Each place is the mean of these points; the second line mirrors the first, the third mirrors itself.
_LEFT = ([17, 18, 19], [19, 20, 21], [37, 38], [40, 41], [48, 60], [4, 5], [31, 32])
_RIGHT = ([26, 25, 24], [24, 23, 22], [44, 43], [47, 46], [54, 64], [12, 11], [35, 34])
_MIDDLE = ([50, 51, 52], [61, 62, 63], [65, 66, 67], [56, 57, 58], [7, 8, 9])
_PLACES = (*_LEFT, *_RIGHT, *_MIDDLE)
_MIRROR = np.r_[len(_LEFT) : 2 * len(_LEFT), : len(_LEFT), 2 * len(_LEFT) : len(_PLACES)]
_STEPS = 24  # of the coarse signature for the nearest-neighbour search
_SMOOTH = 0.3  # s
_RATE, _LONGEST = 25.0, 250  # per second, and steps of the longer of two clips
_LEAST_RATE = 11.9  # frames/s; with fewer, movement counts as jitter, and at 10 two takes can be 0.25 apart
_OVERLAP = 0.8  # share of the longer clip that the shorter must cover


@dataclass(frozen=True)
class Course:
    """Places of the frontal face over time: x float32 (T, 2 places), and the jitter's variance per number."""

    time: Array
    x: Array
    jitter: float


def distance(a: FaceTrack, b: FaceTrack) -> float:
    """Share of the movement in which two tracks differ, or one and the mirrored other, whichever is less.

    Infinite where too little is seen, nothing moves, or a track has fewer than `_LEAST_RATE` frames per second.
    """
    one, other = course(a), course(b)
    if one is None or other is None or max(np.median(np.diff(c.time)) for c in (one, other)) > 1 / _LEAST_RATE:
        return np.inf
    return min(apart(one, other), apart(one, replace(other, x=flip(other.x))))


def course(track: FaceTrack) -> Course | None:
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
    return Course(time, x.astype(np.float32), float((spread**2).mean() / 1.5))


def flip(x: Array) -> Array:
    """The places (..., 2 places) as a mirror shows them; the frontal face has its middle at x = 0."""
    places = x.reshape(*x.shape[:-1], len(_PLACES), 2)[..., _MIRROR, :] * np.array([-1, 1], np.float32)
    return np.asarray(places.reshape(x.shape), x.dtype)


def _means(curve: Course, low: Array, high: Array) -> Array:
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


def coarse(curve: Course) -> Array:
    """float32 (steps, 2 places): the clip's course from first to last frame, whatever its length."""
    edges = np.linspace(curve.time[0], curve.time[-1], _STEPS + 1)
    return np.asarray(_means(curve, edges[:-1], edges[1:]), np.float32)


def apart(a: Course, b: Course) -> float:
    """Distance of two clips at the best shift in time or, at another speed, at equal length."""
    long, short = sorted((a, b), key=lambda c: c.time[0] - c.time[-1])
    ratio = float((long.time[-1] - long.time[0]) / (short.time[-1] - short.time[0]))
    candidates = [short] if ratio <= 1 / _OVERLAP else []
    if 1.02 < ratio <= 2:
        candidates.append(replace(short, time=short.time * ratio))
    return min((_slide(long, other) for other in candidates), default=np.inf)


def _slide(long: Course, short: Course) -> float:
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
    gap = (np.maximum(differs, 0) + SHAPE**2 * offset)[known] / moves[known]
    return float(np.sqrt(gap.min())) if len(gap) else np.inf


def _smoothed(curve: Course, rate: float) -> tuple[Array, float]:
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
