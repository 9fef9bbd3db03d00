"""Filters of curves and their peaks, equal to scipy's, whose import (`scipy.signal`, `scipy.ndimage`) takes longer than
these take for a clip."""

from __future__ import annotations

import numpy as np

from duchenne.types import Array


def lowpass(values: Array, fps: float, cutoff: float) -> Array:
    """Zero-phase first-order Butterworth low-pass of float64 (T, F) at `cutoff` Hz; ends are held."""
    if len(values) < 2 or cutoff >= fps / 2:
        return values
    tangent, held = np.tan(np.pi * cutoff / fps), min(len(values) - 1, round(fps))
    out = np.concatenate([np.repeat(values[:1], held, axis=0), values, np.repeat(values[-1:], held, axis=0)])
    for _ in range(2):  # forwards, backwards
        out[1:] = tangent / (1 + tangent) * (out[1:] + out[:-1])
        step = 1
        while step < len(out):  # y[n] = x[n] + pole y[n − 1], in log2 T sums of all n
            out[step:] += ((1 - tangent) / (1 + tangent)) ** step * out[:-step]
            step *= 2
        out = out[::-1]
    return out[held : len(out) - held]


def gaussian(values: Array, sigma: float) -> Array:
    """float64 (T, F) smoothed over time by a Gaussian of `sigma` frames, cut off at 4 sigma; ends are held."""
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    weights /= weights.sum() + weights[1:].sum()
    wide, count = np.pad(values, ((reach, reach), (0, 0)), mode="edge"), len(values)
    out: Array = weights[0] * values
    for k in range(reach, 0, -1):
        out += weights[k] * (wide[reach - k :][:count] + wide[reach + k :][:count])
    return out


def running_median(values: Array, size: int) -> Array:
    """float64 (T,): the median of `size` (odd) values about each; ends are mirrored."""
    wide = np.pad(values, size // 2, mode="symmetric")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(wide, size), axis=1))


def peaks(values: Array) -> Array:
    """int64 (P,): the tops of float64 (T,), of a plateau its middle; the ends are none."""
    starts = np.r_[0, np.flatnonzero(np.diff(values)) + 1]
    stops, level = np.r_[starts[1:], len(values)] - 1, values[starts]
    top = 1 + np.flatnonzero((level[1:-1] > level[:-2]) & (level[1:-1] > level[2:]))
    return np.asarray((starts[top] + stops[top]) // 2)


def prominence(values: Array, peak: int) -> float:
    """How far a peak stands above the higher of the two lowest points on the way to a higher one, or to the ends."""
    higher = np.flatnonzero(values > values[peak])
    before, after = higher[higher < peak], higher[higher > peak]
    low = values[before[-1] + 1 if len(before) else 0 : peak + 1].min()
    return float(values[peak] - max(low, values[peak : after[0] if len(after) else None].min()))
