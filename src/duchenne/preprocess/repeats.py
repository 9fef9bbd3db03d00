"""Repeated pictures: five pictures a second stored at thirty, pulldown, recordings that freeze.

A repeated picture differs from the one before by little more than nothing, while the pictures around it move. Where
nothing moves, a repeated picture cannot be recognised, and does no harm.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from duchenne.types import Array, FaceTrack

_AROUND = 0.4  # s on either side in which pictures must move
_SAME = 0.2  # of their change: less is a repeated picture
_END = 0.25  # of it, at the ends of the clip, where only one side is known
_MOVING = 1.0  # grey levels of mean change, at least, in a picture that counts as moving …
#: Of the interocular distance: median movement of their points, twice that of a still face's points; of a mesh's.
_SHIFT, _SHIFT_MESH = 0.01, 0.004
_FEWEST = 5  # … of which there must be so many …
_BESIDE = 0.4  # … and this share of them beside a repeated one: else pauses of an ordinary video would count
_FREEZE = 0.25  # s of repeated pictures before a jump that count as frozen
_FROZEN = 0.05  # of the jump: less change is frozen
_JUMP = 0.015  # of the interocular distance that the points move at its end


@lru_cache(maxsize=2)  # called for one track by the quality, the curves and every model
def distinct(track: FaceTrack) -> FaceTrack:
    """The track without the frames that repeat a picture, and unseen where the video is frozen."""
    if track.change is None:
        return track
    same, frozen = repeated(track.time, track.change, shifts(track.points), track.coefficients is not None)
    if not (same.any() or frozen.any()):
        return track
    points = track.points.copy()
    points[frozen] = np.nan
    out = track.evolve(f"distinct: {same.sum()} repeated and {frozen.sum()} frozen frames left out", points=points)
    return out.take("", ~same, None if out.crops is None else out.crops[~same]) if same.any() else out


def shifts(points: Array) -> Array:
    """float64 (T,): mean distance of each frame's points (T, 68, 2) from those before, in interocular distances."""
    p = points.astype(float)
    eyes = p[:, 36:42].mean(axis=1) - p[:, 42:48].mean(axis=1)
    moved = np.linalg.norm(np.diff(p, axis=0), axis=2).mean(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.concatenate([[np.nan], moved / np.hypot(*eyes[1:].T)])[: len(p)]


def repeated(time: Array, change: Array, shift: Array, of_mesh: bool = False) -> tuple[Array, Array]:
    """(repeated, frozen), both bool (T,) and never both: frames that repeat the picture before, for short or for long.

    `change` (T,) is the mean difference of the face from the frame before, NaN where unknown, `shift` as of `shifts`;
    the points of a mesh (`of_mesh`) tremble less than others.
    """
    n = len(time)
    none = np.zeros(n, bool)
    if n < 2 * _FEWEST or not np.isfinite(change).any():
        return none, none
    d = np.where(np.isfinite(change), change, 0.0)
    width = max(2, round(_AROUND / float(np.median(np.diff(time)))))
    before, after = _highest(d, width), _highest(d[::-1], width)[::-1]
    around = np.minimum(before, after)
    # at the clip's ends one side may lie outside
    around[:width] = np.maximum(around, _END * after)[:width]
    around[-width:] = np.maximum(around, _END * before)[-width:]
    same = np.isfinite(change) & (d < _SAME * around)
    moving = ~same & (d >= _MOVING) & (d >= 0.3 * around)
    beside = np.pad(same, 1)[:-2] | np.pad(same, 1)[2:]
    moves = moving.sum() >= _FEWEST and np.nanmedian(np.append(shift[moving], 0.0)) >= (
        _SHIFT_MESH if of_mesh else _SHIFT
    )
    if moves and (beside & moving).sum() >= _BESIDE * moving.sum():
        return _without_rests(same), none
    return none, _frozen(time, change, shift)


def _without_rests(same: Array) -> Array:
    """`same` without some frames of longer rests: a face at rest is no gap between two pictures."""
    out, at = same.copy(), np.flatnonzero(~same)
    gaps = np.diff(at)
    usual = max(1, round(float(np.median(gaps)))) if len(gaps) else len(same)
    for i in np.flatnonzero(gaps > max(2, 1.5 * usual)).tolist():
        out[at[i] : at[i + 1] : usual] = False
    return out


def _highest(d: Array, width: int) -> Array:
    """float64 (T,): the maximum of the `width` values before each; 0 before the first."""
    padded = np.concatenate([np.zeros(width), d])[:-1]
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, width).max(axis=1)).copy()


def _frozen(time: Array, change: Array, shift: Array) -> Array:
    """bool (T,): stretches of `_FREEZE` s or more without change up to a jump of picture and points."""
    out = np.zeros(len(time), bool)
    jumps = np.flatnonzero(np.isfinite(change) & (change >= _MOVING) & (shift >= _JUMP))
    for jump in jumps.tolist():
        start = jump
        while start > 1 and change[start - 1] < _FROZEN * change[jump]:
            start -= 1
        if start < jump and time[jump] - time[start - 1] >= _FREEZE:
            out[start:jump] = True
    return out
