"""Judge a track's quality, close its short gaps, put it on an even time grid. Seconds everywhere."""

from __future__ import annotations

import numpy as np

from duchenne.types import Array, FaceTrack


def repair(track: FaceTrack, *, max_gap: float) -> FaceTrack:
    """Fill unseen stretches of at most `max_gap` seconds by straight lines; longer ones stay NaN."""
    seen = track.seen
    if seen.all() or seen.sum() < 2:
        return track
    points = track.points.astype(float).copy()
    flat = points.reshape(len(track), -1)
    filled = 0
    for start, stop in runs(~seen):
        if start == 0 or stop == len(track) or track.time[stop] - track.time[start - 1] > max_gap + 1e-9:
            continue
        share = (track.time[start:stop] - track.time[start - 1]) / (track.time[stop] - track.time[start - 1])
        flat[start:stop] = flat[start - 1] + share[:, None] * (flat[stop] - flat[start - 1])
        filled += stop - start
    return track.evolve(f"repair: {filled} frames in gaps of at most {max_gap:g} s", points=points)


def runs(mask: Array) -> list[tuple[int, int]]:
    """[(start, stop), ...]: half-open index ranges of consecutive True values."""
    edges = np.flatnonzero(np.diff(np.r_[0, mask.astype(np.int8), 0]))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def resample(track: FaceTrack, *, fps: float) -> FaceTrack:
    """Put a track on an even grid of `fps` per second by linear interpolation of seen neighbours.

    Frames of a faster clip are averaged over one grid step first, so that nothing folds down. A grid point
    between a seen and an unseen frame is NaN.
    """
    if len(track) < 2:
        return track
    grid = np.arange(track.time[0], track.time[-1] + 1e-9, 1.0 / fps)
    rows = np.column_stack([track.points.reshape(len(track), -1), track.box, track.confidence]).astype(float)
    step = float(np.median(np.diff(track.time)))
    width = round(1.0 / fps / step)
    if width > 1:
        rows = _box_mean(rows, width)
    at = np.clip(np.searchsorted(track.time, grid, side="right") - 1, 0, len(track) - 2)
    left, right = track.time[at], track.time[at + 1]
    share = np.clip((grid - left) / (right - left), 0.0, 1.0)[:, None]
    a, b = rows[at], rows[at + 1]
    mixed = np.where(share < 1e-6, a, np.where(share > 1 - 1e-6, b, a + share * (b - a)))
    return track.evolve(
        f"resample: {fps:g} per second",
        time=grid,
        points=mixed[:, :136].reshape(-1, 68, 2),
        box=mixed[:, 136:140],
        confidence=mixed[:, 140],
        crops=None,
    )


def _box_mean(rows: Array, width: int) -> Array:
    """Centred moving mean over `width` rows; NaN spreads only where no row in the window is finite."""
    good = np.isfinite(rows)
    kernel = np.ones(width)
    total = np.apply_along_axis(np.convolve, 0, np.where(good, rows, 0.0), kernel, "same")
    count = np.apply_along_axis(np.convolve, 0, good.astype(float), kernel, "same")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(good & (count > 0), total / count, np.nan))
