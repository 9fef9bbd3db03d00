"""Action units of a face over time, and relative to the person's own face at rest."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from duchenne import checkpoints
from duchenne.learn.calibration import logit, sigmoid
from duchenne.types import Array, FaceTrack, Json, Signals
from duchenne.units.model import UnitsModel

#: Seconds of a video in which the person is at rest, or "lowest" for the lowest tenth of each unit.
Neutral = tuple[float, float] | str
LOWEST = "lowest"
_TENTH = 0.1
UNIT = "0-1"


@cache
def load(model: str | Path = "units") -> tuple[UnitsModel, Json]:
    """(model, its facts as of `checkpoints.load`), read once; ModelError for a model of another kind, or damaged."""
    return checkpoints.load_as(model, UnitsModel)


def over_time(track: FaceTrack, looks: FaceTrack, model: UnitsModel) -> Signals | None:
    """The probability of each unit in every frame of a track; NaN where some points are missing.

    The shape is that of each frame; the look, which changes less, is interpolated between the frames of `looks`, those
    with crops. None for a track without coefficients, and where the face is never seen or there is no crop.
    """
    seen = np.flatnonzero(track.seen)
    if track.coefficients is None or looks.crops is None or not len(looks) or not len(seen):
        return None
    values = np.full((len(track), len(model.names)), np.nan)
    by_look = model.by_look(looks.crops[..., 0])
    between = np.column_stack([np.interp(track.time[seen], looks.time, column) for column in by_look.T])
    values[seen] = sigmoid(model.by_shape(track.points[seen], track.coefficients[seen]) + between)
    return Signals(track.time, values, model.names, (UNIT,) * len(model.names))


def relative(values: Array, time: Array, rest: Array, neutral: Neutral) -> Array:
    """float64 (T, K): probabilities (T, K) as if the person's face at rest were a typical one.

    The log-odds are shifted so that those of the person at rest, the median over the stretch `neutral` (s), or with
    "lowest" the lowest tenth of each unit, become `rest` (K,). NaN where no face is seen at rest.
    """
    log_odds = logit(values)
    known = np.isfinite(log_odds).all(axis=1)
    if neutral != LOWEST:
        known &= (time >= float(neutral[0])) & (time <= float(neutral[1]))
    if not known.any():
        return np.full(values.shape, np.nan)
    own = np.quantile(log_odds[known], _TENTH if neutral == LOWEST else 0.5, axis=0)
    return sigmoid(log_odds - own + rest)


def peaks(signals: Signals) -> Json:
    """Per unit its highest probability, when that is (s), and its mean; units that are never read are left out."""
    found = {}
    for name, curve in zip(signals.names, signals.values.T, strict=True):
        if np.isfinite(curve).any():
            at = int(np.nanargmax(curve))
            found[name] = {
                "peak": round(float(curve[at]), 4),
                "time": round(float(signals.time[at]), 3),
                "mean": round(float(np.nanmean(curve)), 4),
            }
    return found
