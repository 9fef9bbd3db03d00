"""Whether landmarks move as those of a living face: neighbouring points together, and one frame after the other.

Skin joins neighbouring points, and muscles are slow. Points that jitter each on their own, and frames in a random
order, lack one or the other, whatever the size of their movement. The thresholds lie between real clips and such tracks
with a wide margin (benchmarks/nonsense.py).
"""

from __future__ import annotations

import numpy as np

from duchenne.preprocess import align, clean
from duchenne.types import FaceTrack, Reason

#: Least share of the movement that neighbouring points have in common: 99 % of real clips are above 0.80, points that
#: jitter independently below 0.6.
TOGETHER = 0.66
#: Greatest von Neumann ratio: 99 % of real clips are below 0.15, and frames in random order at 1.
ABRUPT = 0.7
_FEW = 8  # frames: too few to measure either
_OUTLINES = ((0, 17), (17, 22), (22, 27), (36, 42), (42, 48), (48, 60), (60, 68))
_NEIGHBOURS = np.array([(i, i + 1) for start, stop in _OUTLINES for i in range(start, stop - 1)]).T


def measure(track: FaceTrack) -> tuple[float, float]:
    """(share of the movement that neighbouring points have in common, von Neumann ratio of the main movement).

    The share is 1 − Σ|a − b|² / Σ(|a|² + |b|²) over neighbours on brows, eyes, lips and jaw, with a and b relative to
    their means: 1 where neighbours move as one, 0 where they are independent. The ratio is half the mean squared
    difference of consecutive frames over the variance (von Neumann 1941), of the first principal component: near 0 for
    smooth movement, 1 for independent frames. Head pose is removed first; stretches that `clean.distrust` removes count
    only where they are most of the track. NaN for fewer than 8 seen frames.
    """
    trusted = clean.distrust(track)
    usual = trusted if 2 * trusted.seen.sum() >= track.seen.sum() else track
    points = align.frontal(usual)[0].points.astype(float)
    seen = np.isfinite(points).all(axis=(1, 2))
    if seen.sum() < _FEW:
        return np.nan, np.nan
    moved = points - points[seen].mean(axis=0)
    a, b = (moved[seen][:, each] for each in _NEIGHBOURS)
    together = 1 - _ratio(((a - b) ** 2).sum(), (a**2 + b**2).sum())
    flat = moved.reshape(len(moved), -1)
    main = flat @ np.linalg.svd(flat[seen], full_matrices=False)[2][0]
    steps = np.diff(main)
    steps = steps[np.isfinite(steps)]
    return together, _ratio(float((steps**2).mean()) if len(steps) else np.nan, 2 * float(main[seen].var()))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else np.nan


def disorder(track: FaceTrack) -> Reason | None:
    """Why its movement cannot be that of a face, in a sentence; None where it can."""
    together, abrupt = measure(track)
    if together < TOGETHER:
        return Reason(
            "jitter",
            f"The points jitter: neighbouring points share {100 * max(together, 0):.0f} % of their movement, and on a "
            f"face at least {100 * TOGETHER:.0f} %.",
        )
    if abrupt > ABRUPT:
        return Reason(
            "disorder",
            "The frames do not follow one another: the face jumps from frame to frame nearly as far as between any two "
            "frames; check their order, and that landmarks do not jitter.",
        )
    return None
