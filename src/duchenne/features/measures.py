"""Measures of an expression for people: how long it rose, how far and how fast, and the movement of eyes, brows and
head meanwhile.

They explain, and no model reads them. Clips and the training clips of a reference (`checkpoints.reference`) are
measured in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from duchenne.features.phases import ACTIVITY, SMILE, amplitude, main_phase, phases, smoothed
from duchenne.types import Array, Phase, Signals

#: The curves that expressions are measured in: the lip corners where they part as in a smile, and the whole face.
KINDS: dict[str, str] = {"lip_corner_pull": "the lip corners", ACTIVITY: "the face as a whole"}


@dataclass(frozen=True)
class Measure:
    """A number in words: `title` is a heading, `text` a sentence with {what}, a `KINDS` text, and {value}."""

    title: str
    unit: str
    text: str


#: In the order of a report; shares are of the distance between the eyes unless `text` says otherwise.
MEASURES: dict[str, Measure] = {
    "rise": Measure("Rise, onset to apex", "s", "{what} took {value} to rise"),
    "plateau": Measure("Plateau, apex to offset", "s", "{what} stayed up for {value}"),
    "fall": Measure("Fall, offset to end", "s", "{what} took {value} to come down"),
    "height": Measure("Size", "%", "{what} moved by {value} of the distance between the eyes"),
    "speed": Measure("Top speed of the rise", "%/s", "at its fastest the rise went at {value} of that distance"),
    "lids": Measure("Eyes narrowing", "%", "the lids came closer by {value} of how far they were apart at rest"),
    "uneven": Measure("Left against right", "%", "one lip corner moved out further than the other by {value}"),
    "brows": Measure("Brows", "%", "the brows rose by {value} of the distance between the eyes"),
    "nod": Measure("Head, up and down", "°", "the head nodded through {value}"),
    "turn": Measure("Head, left and right", "°", "the head turned through {value}"),
}


def of_clip(curves: Signals) -> dict[str, dict[str, float]]:
    """`measure` of the largest expression of each of `KINDS` that the clip shows."""
    return {kind: measure(curves, phase) for kind, phase in _expressions(curves)}


def _expressions(curves: Signals) -> Iterator[tuple[str, Phase]]:
    for kind in KINDS:
        main = main_phase(phases(curves, curve=kind), curves)
        if main is not None and (kind == ACTIVITY or amplitude(main, curves) >= SMILE):
            yield kind, main


def measure(curves: Signals, phase: Phase) -> dict[str, float]:
    """Every one of `MEASURES` of one expression; NaN where the clip is cut or the curve is missing."""
    moments = [phase.onset, phase.apex, phase.offset, phase.end]
    onset, apex, offset, end = (np.nan if t is None else float(t) for t in moments)
    known = [t for t in (onset, apex, offset, end) if np.isfinite(t)]
    first, last = min(known, default=np.nan), max(known, default=np.nan)
    rest = onset if np.isfinite(onset) else end
    top = apex if np.isfinite(apex) else offset
    lids, brows, uneven = (
        _level(curves, name, top) - _level(curves, name, rest)
        for name in ("eye_aperture", "brow_height", "lip_pull_asymmetry")
    )
    rest_lids = _level(curves, "eye_aperture", rest)
    return {
        "rise": apex - onset,
        "plateau": offset - apex,
        "fall": end - offset,
        "height": 100 * amplitude(phase, curves),
        "speed": 100 * _fastest(curves, phase.curve, onset, apex),
        "lids": -100 * lids / rest_lids if rest_lids > 0 else np.nan,
        "uneven": 100 * abs(uneven),
        "brows": 100 * brows,
        "nod": _range(curves, "head_pitch", first, last),
        "turn": _range(curves, "head_yaw", first, last),
    }


def _level(curves: Signals, name: str, at: float) -> float:
    """Median of a curve within 0.06 s of a moment; NaN where nothing was seen then."""
    if name not in curves.names or not np.isfinite(at):
        return np.nan
    near = curves[name][np.abs(curves.time - at) <= 0.06]
    near = near[np.isfinite(near)]
    return float(np.median(near)) if near.size else np.nan


def _between(curves: Signals, name: str, first: float, last: float) -> tuple[Array, Array]:
    """Times and values of a curve from one moment to another, where it was seen."""
    if name not in curves.names or not first < last:
        return np.empty(0), np.empty(0)
    values = curves[name]
    inside = (curves.time >= first - 1e-9) & (curves.time <= last + 1e-9) & np.isfinite(values)
    return curves.time[inside], values[inside]


def _range(curves: Signals, name: str, first: float, last: float) -> float:
    """From the 5th to the 95th percentile, so that outliers of the landmarks do not count."""
    values = _between(curves, name, first, last)[1]
    return float(np.ptp(np.percentile(values, [5, 95]))) if values.size > 4 else np.nan


def _fastest(curves: Signals, curve: str, onset: float, apex: float) -> float:
    """Greatest speed of the smoothed curve in the rise, per second; NaN for the whole face, which is not one curve."""
    time, values = _between(curves, curve, onset, apex)
    if time.size < 4:
        return np.nan
    return float(np.max(np.gradient(smoothed(time, values), time)))
