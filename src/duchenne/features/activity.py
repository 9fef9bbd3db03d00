"""Facial activity descriptors: statistics of a curve, its velocity and its acceleration (Saxen et al. 2017).

Saxen, Werner, Al-Hamadi, "Real vs. Fake Emotion Challenge: Learning to Rank Authenticity From Facial
Activity Descriptors", ICCV Workshops 2017. They use action-unit intensities; any curve will do.
"""

from __future__ import annotations

import numpy as np

from duchenne.features.filtering import lowpass
from duchenne.types import Array

#: The 17 statistics of each of curve, velocity and acceleration, in this order.
STATISTICS = (
    "mean", "median", "min", "max", "range", "sd", "iqr", "p90_p10", "mad",
    "time_of_max", "above_mean", "above_middle", "segments_mean", "segments_middle",
    "area", "area_per_range", "rise_time",
)  # fmt: skip
SQUARED = ("mean", "median", "min", "max", "range", "sd", "iqr", "p90_p10", "mad", "area", "area_per_range")


def derivatives(values: Array, fps: float, cutoff: float = 1.0) -> tuple[Array, Array, Array]:
    """(s, v, a): smoothed curves, velocity and acceleration, per second, each low-passed at `cutoff` Hz."""
    s = lowpass(values, fps, cutoff)
    v = lowpass(np.diff(s, axis=0) * fps, fps, cutoff)
    return s, v, lowpass(np.diff(v, axis=0) * fps, fps, cutoff)


def statistics(x: Array, fps: float) -> Array:
    """float64 (17, F): the statistics of curves (T, F), in the order of `STATISTICS`; times in seconds."""
    low, high, mean = x.min(axis=0), x.max(axis=0), x.mean(axis=0)
    span = high - low
    q = np.percentile(x, [10, 25, 50, 75, 90], axis=0)
    over_mean, over_middle = x > mean, x > (low + high) / 2
    peak = x.argmax(axis=0)
    area = (x - low).sum(axis=0) / fps
    first = np.where(over_mean[:-1] != over_mean[1:], np.arange(1, len(x))[:, None], len(x)).min(axis=0)
    rise = np.where(first < len(x), peak - first, 0) / fps
    return np.stack(
        [
            mean, q[2], low, high, span, x.std(axis=0), q[3] - q[1], q[4] - q[0],
            np.abs(x - mean).mean(axis=0), peak / fps, over_mean.mean(axis=0), over_middle.mean(axis=0),
            _segments(over_mean), _segments(over_middle), area, area / np.where(span > 0, span, 1.0), rise,
        ]
    )  # fmt: skip


def names(curves: tuple[str, ...]) -> tuple[str, ...]:
    """Names of `activity`'s values: "<curve>.<s|v|a>.<statistic>", then "<curve>.s.<statistic>^2"."""
    return tuple(
        [f"{curve}.{level}.{stat}" for level in "sva" for stat in STATISTICS for curve in curves]
        + [f"{curve}.s.{stat}^2" for stat in SQUARED for curve in curves]
    )


def activity(values: Array, fps: float, cutoff: float = 1.0) -> Array:
    """float64 (62 F,): the descriptors of curves (T, F), T >= 4, in the order of `names`."""
    levels = [statistics(x, fps) for x in derivatives(values, fps, cutoff)]
    squares = levels[0][[STATISTICS.index(stat) for stat in SQUARED]] ** 2
    return np.concatenate([*levels, squares]).ravel()


def _segments(mask: Array) -> Array:
    """float64 (F,): stretches above, as half the number of crossings, rounded up."""
    return np.asarray(np.ceil((mask[1:] != mask[:-1]).sum(axis=0) / 2))
