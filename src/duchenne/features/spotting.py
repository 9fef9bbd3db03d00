"""Micro-expressions in a track, without any training: movements of single parts of the face that go and come back.

The idea is feature difference analysis (Moilanen, Zhao & Pietikäinen, "Spotting rapid facial movements from videos
using appearance-based feature difference analysis", ICPR 2014; Li et al., "Towards reading hidden emotions", 2015):
every moment is compared with the mean of the moments half a micro-expression before and after it, part by part of the
face; the parts that differ most count, and only what stands out against the same measure before and after. Theirs are
differences of texture. Here they are distances of 68 points, in distances between the eyes, with the head's pose taken
out, which says where the face moved and how far. And theirs is a threshold relative to the clip's greatest difference,
which finds something in every clip: here it is a multiple of the clip's own tremble, and never below `LEAST`, so that
a clip may hold nothing. What stands out counts only if it goes back: a smile that stays is none.

Eyelids are no part, and brows do not count while the eyes close: a blink lasts as long as a micro-expression.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy.ndimage import maximum_filter1d

from duchenne.errors import InputError
from duchenne.features.phases import smoothed
from duchenne.preprocess.align import frontal
from duchenne.preprocess.clean import runs
from duchenne.types import Array, FaceTrack

#: Seconds that a micro-expression lasts, onset to offset: at least 1/25, and at most 1/2.
SHORTEST, LONGEST = 0.04, 0.5
#: Frames per second below which a micro-expression shows in too few frames to be told from a tremble.
FEWEST = 50.0
#: Smallest `contrast` that counts, in distances between the eyes: that of a part that goes twice as far and back.
LEAST = 0.01
#: Parts of the face: numbers of their points (dlib's, from 0).
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
_CLEAR = 2.2  # times what the parts that move most do at rest: the lower quartile of it over the clip
_QUIET = 0.3  # share of the moments within `LONGEST` of the apex, on either side, that lie below the level of rest
_FOOT = 0.1  # share of the height at which a movement begins and ends
_BACK = 0.5  # share of the height that it must rise and fall by
_SHUT = 0.75  # of the usual eye opening: below, the eyes are closing
_BLINK = 0.1  # s before and after in which the lids still move


@dataclass(frozen=True)
class Spot:
    """One brief movement, in seconds of the track: `onset` first seen, `apex` greatest, `offset` gone again (as
    CASME II and SAMM code it; the offset of `types.Phase` is earlier, where the fall begins).

    size   how far the parts that moved most went, in distances between the eyes
    clear  size over what counts as movement in this clip: above 1, and the larger the surer
    parts  names of `PARTS` that moved by at least half as much as the one that moved most, that one first
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
    """Every micro-expression of a track in pixels, in order of time; empty where nothing is seen.

    Each stretch in which the face is seen without a gap is searched by itself; times before it are taken to be as its
    first moment and times after it as its last. InputError where no stretch is as long as the longest micro-expression,
    and below 10 frames per second.
    """
    seen = runs(track.seen)
    longest = max((float(track.time[b - 1] - track.time[a]) for a, b in seen), default=0.0)
    if longest < LONGEST - 1e-9:
        raise InputError(
            f"{track.source or 'The track'} shows the face for {longest:.2f} s without a gap; spotting compares each "
            f"moment with what is before and after it and needs {LONGEST:g} s."
        )
    step = float(np.median(np.diff(track.time)))
    if step > 0.1 + 1e-9:
        raise InputError(
            f"{track.source or 'The track'} has {1 / step:.3g} frames per second, of which none need fall into a "
            "micro-expression; film it at 100 or 200."
        )
    points = frontal(track)[0].points.astype(np.float64)
    long = [(a, b) for a, b in seen if track.time[b - 1] - track.time[a] >= LONGEST - 1e-9]
    curves = [_curves(track.time[a:b], points[a:b]) for a, b in long]
    moved = [_moved(parts, shut) for _, parts, shut in curves]
    top = np.concatenate([_top(each) for each in moved])
    # one micro-expression takes three times its own length of what is compared, so a short clip shows little rest
    limit = max(LEAST, _CLEAR * float(np.quantile(top, 0.25))) if len(top) * _STEP > 4 * LONGEST else LEAST
    found = [_in_run(time, parts, each, limit) for (time, parts, _), each in zip(curves, moved, strict=True)]
    return tuple(chain(*found))


def difference(parts: Array) -> Array:
    """float64 (T, P, 2): each moment less the mean of those `_HALF` before and after it, of positions (T, P, 2)."""
    k, at = round(_HALF / _STEP), np.arange(len(parts))
    before, after = parts[np.maximum(at - k, 0)], parts[np.minimum(at + k, len(parts) - 1)]
    return np.asarray(parts - (before + after) / 2)


def contrast(moved: Array) -> Array:
    """float64 (T,): how much the parts that moved most, of (T, P), moved more than `_HALF` before and after."""
    k, at = round(_HALF / _STEP), np.arange(len(moved))
    top = _top(moved)
    return np.asarray(top - (top[np.maximum(at - k, 0)] + top[np.minimum(at + k, len(top) - 1)]) / 2)


def _top(moved: Array) -> Array:
    return np.asarray(np.sort(moved, axis=1)[:, -_MOST:].mean(axis=1))


def _curves(time: Array, points: Array) -> tuple[Array, Array, Array]:
    """(seconds (T,), parts' positions (T, P, 2), whether the eyes are closing (T,)) on the even grid of `_STEP`."""
    grid = np.arange(time[0], time[-1] + 1e-9, _STEP)
    raw = np.stack([points[:, list(numbers)].mean(axis=1) for numbers in PARTS.values()], axis=1)
    flat = raw.reshape(len(time), -1)
    smooth = [smoothed(grid, np.interp(grid, time, column), _SIGMA) for column in flat.T]
    lids = [np.linalg.norm(points[:, a] - points[:, b], axis=1) for a, b in ((37, 41), (38, 40), (43, 47), (44, 46))]
    opening = smoothed(grid, np.interp(grid, time, np.mean(lids, axis=0)), _SIGMA)
    shut = opening < _SHUT * np.median(opening)
    near = maximum_filter1d(shut, 2 * round(_BLINK / _STEP) + 1)
    return grid, np.stack(smooth, axis=1).reshape(len(grid), *raw.shape[1:]), np.asarray(near, bool)


def _moved(parts: Array, shut: Array) -> Array:
    """float64 (T, P): how far each part is from where it is before and after; brows of closing eyes do not count: they
    are what they were before and are after, as nothing must stand out beside them either."""
    out = np.linalg.norm(difference(parts), axis=2)
    open_, at = np.flatnonzero(~shut), np.arange(len(out))
    for i in range(_BROWS):
        out[:, i] = np.interp(at, open_, out[open_, i]) if len(open_) else 0.0
    return np.asarray(out)


def _in_run(time: Array, parts: Array, moved: Array, limit: float) -> Iterator[Spot]:
    """The spots of one stretch: of those that would overlap the one that stands out most."""
    measure = contrast(moved)
    from scipy.signal import find_peaks  # a slow import: before the first frame is read there is no need of it

    peaks = find_peaks(np.r_[0.0, measure, 0.0], height=limit)[0] - 1
    kept: list[Spot] = []
    for peak in sorted(peaks, key=lambda i: -measure[i]):
        found = _interval(time, parts, moved, int(peak), float(measure[peak]) / limit)
        if found is not None and all(found.offset <= k.onset or found.onset >= k.offset for k in kept):
            kept.append(found)
    yield from sorted(kept, key=lambda each: each.onset)


def _interval(time: Array, parts: Array, moved: Array, peak: int, clear: float) -> Spot | None:
    """The movement about `peak`, followed along its own direction; None where it does not go back or is not brief."""
    order = np.argsort(-moved[peak])
    used = [int(i) for i in order if moved[peak, i] >= moved[peak, order[0]] / 2]
    way = difference(parts)[peak, used]
    along = np.einsum("tpc,pc->t", parts[:, used], way) / np.linalg.norm(way)
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
    """Level that one side comes to, walked outwards from the apex; not its lowest, which may be another movement's."""
    return float(np.quantile(side, _QUIET))


def _foot(side: Array) -> int:
    """Steps outwards from the apex until all but `_FOOT` of the height is gone."""
    low = _rest(side)
    return int(np.flatnonzero(side <= low + _FOOT * (side[0] - low))[0])
