"""Spot micro-expressions in a track, without training: movements of single parts of the face that return.

Feature difference analysis (Moilanen, Zhao & Pietikäinen, "Spotting rapid facial movements from videos using
appearance-based feature difference analysis", ICPR 2014; Li et al., "Towards reading hidden emotions", 2015): every
moment is compared with the mean of the moments half a micro-expression before and after it, part by part; the parts
that differ most count, relative to the same measure before and after. They compare texture; here it is the position of
68 points in interocular distances with head pose removed, which shows where the face moved and how far. Their threshold
is relative to the clip's greatest difference, which finds something in every clip; here it is a multiple of the clip's
own jitter and at least `LEAST`, so that a clip may hold nothing. A movement must return: a smile that stays is not one.

Eyelids are left out, and brows while the eyes close: a blink lasts as long as a micro-expression.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d

from duchenne.errors import InputError
from duchenne.features.filtering import peaks
from duchenne.features.phases import smoothed
from duchenne.preprocess.align import frontal
from duchenne.preprocess.clean import stretches
from duchenne.types import Array, FaceTrack

#: Shortest and longest micro-expression, onset to offset, in seconds: 1/25 to 1/2.
SHORTEST, LONGEST = 0.04, 0.5
#: Frames per second below which a micro-expression has too few frames to be distinguished from jitter.
FEWEST = 50.0
#: Smallest `contrast` that counts, in interocular distances: that of a part that moves twice as far and back …
LEAST = 0.01
LEAST_MESH = 0.0125  # … and of a mesh, whose points hang together more (experiments/LOG.md)
#: Part of the face → its points (dlib's, from 0).
PARTS: dict[str, tuple[int, ...]] = {
    "left brow, outer": (17, 18, 19),
    "left brow, inner": (20, 21),
    "right brow, inner": (22, 23),
    "right brow, outer": (24, 25, 26),
    "nose, left wing": (31, 32),
    "nose, right wing": (34, 35),
    "left lip corner": (48, 49, 59, 60),
    "right lip corner": (53, 54, 55, 64),
    "upper lip": (50, 51, 52, 61, 62, 63),
    "lower lip": (56, 57, 58, 65, 66, 67),
}
_BROWS = 4  # parts, the first ones, that a blink moves along

_STEP = 0.005  # s, the grid: 200 per second
_SIGMA = 0.015  # s, of the smoothing weights
_HALF = LONGEST / 2  # s, how far before and after a moment is compared with
_MOST = 2  # parts that move most, whose mean counts
_CLEAR = 2.2  # threshold over the movement at rest, the lower quartile over the clip
_QUIET = 0.3  # share of the moments within `LONGEST` of the apex, on either side, below the level of rest
_FOOT = 0.1  # share of the height at which a movement begins and ends
_BACK = 0.5  # share of the height that it must rise and fall by
_SHUT = 0.75  # of the usual eye opening: below, the eyes are closing …
_SHUT_MESH = 0.9  # … by the points of a mesh, which follow a lid less far (experiments/LOG.md)
_BLINK = 0.1  # s before and after in which the lids still move


@dataclass(frozen=True)
class Spot:
    """One brief movement, in seconds of the track: `onset` first seen, `apex` greatest, `offset` gone again (as coded
    in CASME II and SAMM; the offset of `types.Phase` is earlier, where the fall begins).

    size   movement of the parts that moved most, in interocular distances
    clear  contrast over the clip's threshold: above 1, larger is more certain
    parts  names of `PARTS` that moved at least half as far as the one that moved most, that one first
    """

    onset: float
    apex: float
    offset: float
    size: float
    clear: float
    parts: tuple[str, ...]

    @property
    def duration(self) -> float:
        """Seconds from onset to offset."""
        return self.offset - self.onset


def spot(track: FaceTrack) -> tuple[Spot, ...]:
    """Every micro-expression of a track in pixels, in order of time.

    Each stretch without a gap is searched separately, extended by its first and last moment. InputError where no
    stretch is as long as the longest micro-expression, and below 10 frames per second.
    """
    seen = stretches(track)
    longest = max((float(track.time[b - 1] - track.time[a]) for a, b in seen), default=0.0)
    if longest < LONGEST - 1e-9:
        raise InputError(
            f"{track.source or 'The track'} shows the face for {longest:.2f} s without a gap; spotting compares each "
            f"moment with what is before and after it and needs {LONGEST:g} s."
        )
    step = float(np.median(np.diff(track.time)))
    if step > 0.1 + 1e-9:
        raise InputError(
            f"{track.source or 'The track'} has {1 / step:.3g} frames per second, too few for a micro-expression; "
            "record it at 100 or 200."
        )
    points = frontal(track)[0].points.astype(np.float64)
    long = [(a, b) for a, b in seen if track.time[b - 1] - track.time[a] >= LONGEST - 1e-9]
    below = _SHUT if track.coefficients is None else _SHUT_MESH
    curves = [_curves(track.time[a:b], points[a:b], below) for a, b in long]
    moved = [_moved(parts, shut) for _, parts, shut in curves]
    top = np.concatenate([_top(each) for each in moved])
    least = LEAST if track.coefficients is None else LEAST_MESH
    # a micro-expression affects three times its own length of the comparison, so a short clip shows little rest
    limit = max(least, _CLEAR * float(np.quantile(top, 0.25))) if len(top) * _STEP > 4 * LONGEST else least
    return tuple(
        spot for (time, parts, _), each in zip(curves, moved, strict=True) for spot in _in_run(time, parts, each, limit)
    )


def difference(parts: Array) -> Array:
    """float64 (T, P, 2): each moment less the mean of those `_HALF` before and after it, of positions (T, P, 2)."""
    k, at = round(_HALF / _STEP), np.arange(len(parts))
    before, after = parts[np.maximum(at - k, 0)], parts[np.minimum(at + k, len(parts) - 1)]
    return np.asarray(parts - (before + after) / 2)


def contrast(moved: Array) -> Array:
    """float64 (T,): movement of the parts that moved most, of (T, P), less that `_HALF` before and after."""
    k, at = round(_HALF / _STEP), np.arange(len(moved))
    top = _top(moved)
    return np.asarray(top - (top[np.maximum(at - k, 0)] + top[np.minimum(at + k, len(top) - 1)]) / 2)


def _top(moved: Array) -> Array:
    return np.asarray(np.sort(moved, axis=1)[:, -_MOST:].mean(axis=1))


def _curves(time: Array, points: Array, below: float) -> tuple[Array, Array, Array]:
    """(seconds (T,), parts' positions (T, P, 2), whether the eyes are closing (T,)) on the even grid of `_STEP`;
    they are `below` a share of their usual opening."""
    grid = np.arange(time[0], time[-1] + 1e-9, _STEP)
    raw = np.stack([points[:, list(numbers)].mean(axis=1) for numbers in PARTS.values()], axis=1)
    flat = raw.reshape(len(time), -1)
    smooth = [smoothed(grid, np.interp(grid, time, column), _SIGMA) for column in flat.T]
    lids = [np.linalg.norm(points[:, a] - points[:, b], axis=1) for a, b in ((37, 41), (38, 40), (43, 47), (44, 46))]
    opening = smoothed(grid, np.interp(grid, time, np.mean(lids, axis=0)), _SIGMA)
    shut = opening < below * np.median(opening)
    near = maximum_filter1d(shut, 2 * round(_BLINK / _STEP) + 1)
    return grid, np.stack(smooth, axis=1).reshape(len(grid), *raw.shape[1:]), np.asarray(near, bool)


def _moved(parts: Array, shut: Array) -> Array:
    """float64 (T, P): how far each part is from where it is before and after; for brows, interpolated over the time in
    which the eyes close."""
    out = np.linalg.norm(difference(parts), axis=2)
    open_, at = np.flatnonzero(~shut), np.arange(len(out))
    for i in range(_BROWS):
        out[:, i] = np.interp(at, open_, out[open_, i]) if len(open_) else 0.0
    return np.asarray(out)


def _in_run(time: Array, parts: Array, moved: Array, limit: float) -> Iterator[Spot]:
    """The spots of one stretch, of overlapping ones that with the highest contrast."""
    measure = contrast(moved)
    tops = peaks(np.r_[0.0, measure, 0.0]) - 1
    chosen: list[Spot] = []
    for peak in sorted(tops[measure[tops] >= limit], key=lambda i: -measure[i]):
        spot = _interval(time, parts, moved, int(peak), float(measure[peak]) / limit)
        if spot is not None and all(spot.offset <= k.onset or spot.onset >= k.offset for k in chosen):
            chosen.append(spot)
    yield from sorted(chosen, key=lambda each: each.onset)


def _interval(time: Array, parts: Array, moved: Array, peak: int, clear: float) -> Spot | None:
    """The movement about `peak`, along its own direction; None where it does not return or is not brief."""
    order = np.argsort(-moved[peak])
    used = [int(i) for i in order if moved[peak, i] >= moved[peak, order[0]] / 2]
    direction = difference(parts)[peak, used]
    along = np.einsum("tpc,pc->t", parts[:, used], direction) / np.linalg.norm(direction)
    reach = round(LONGEST / _STEP)
    near = slice(max(0, peak - reach // 5), peak + reach // 5 + 1)
    apex = near.start + int(np.argmax(along[near]))
    before, after = along[max(0, apex - reach) : apex + 1][::-1], along[apex : apex + reach + 1]  # walked outwards
    rise, fall = along[apex] - _rest(before), along[apex] - _rest(after)
    if min(rise, fall) < _BACK * max(rise, fall) or not rise > 0:
        return None
    first, last = apex - _foot(before), apex + _foot(after)
    if not SHORTEST - 1e-9 <= time[last] - time[first] <= LONGEST + 1e-9:
        return None
    size = float(min(rise, fall) / np.sqrt(len(used)))
    names = tuple(PARTS)
    onset, peaked, offset = (float(time[i]) for i in (first, apex, last))
    return Spot(onset, peaked, offset, size, clear, tuple(names[i] for i in used))


def _rest(side: Array) -> float:
    """Resting level of one side, walked outwards from the apex; not its lowest, which may be another movement's."""
    return float(np.quantile(side, _QUIET))


def _foot(side: Array) -> int:
    """Steps outwards from the apex until all but `_FOOT` of the height is lost."""
    low = _rest(side)
    return int(np.flatnonzero(side <= low + _FOOT * (side[0] - low))[0])
