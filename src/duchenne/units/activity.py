"""Facial activity descriptors of action units, whoever read them.

Saxen, Werner & Al-Hamadi (ICCV Workshops 2017) describe a clip by statistics of its action-unit intensities over time.
Any curves named after units will do: those of `units.reading.over_time`, and OpenFace's and py-feat's as
`io.action_units` reads them. Intensities, probabilities and codes of 0 or 1 are on different scales, and a model holds
for the one it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from duchenne.errors import InputError
from duchenne.features import activity
from duchenne.preprocess import clean
from duchenne.types import Array, Signals

_LEAST = 8  # frames


def row(signals: Signals, units: Sequence[str], fps: float = 25.0) -> Array:
    """float64 (62 K,): the descriptors of `features.activity` of K named units, at `fps` frames per second.

    Of the longest stretch in which all of them are known, on an even grid; NaN where that is shorter than 8 frames.
    InputError for a unit that the signals do not have.
    """
    missing = [unit for unit in units if unit not in signals.names]
    if missing:
        raise InputError(f"There is no curve {missing[0]}, found {', '.join(signals.names)}; name others.")
    values = signals.values[:, [signals.names.index(unit) for unit in units]]
    start, stop = clean.longest_run(np.asarray(np.isfinite(values).all(axis=1)))
    time = signals.time[start:stop]
    grid = np.arange(time[0], time[-1] + 1e-9, 1 / fps) if stop - start > 1 else np.zeros(0)
    if len(grid) < _LEAST:
        return np.full(62 * len(units), np.nan)
    even = np.column_stack([np.interp(grid, time, curve) for curve in values[start:stop].T])
    return activity.activity(even, fps)
