"""What a FACS reader looks at in an expression: how fast it rose, how far it went, how long it stood, how it fell,
whether the sides are alike, whether the eyes joined, which part of the face moved first, and how often it peaked.

Numbers for people; no model reads them. Sources, and what each can tell, are in docs/science/signs.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from duchenne.features.filtering import peaks, prominence, running_median
from duchenne.features.phases import ACTIVITY, activity, amplitude, smoothed
from duchenne.types import Array, Phase, Signals

#: The curves that expressions are measured in: the lip corners where they part as in a smile, and the whole face.
KINDS: dict[str, str] = {"lip_corner_pull": "the lip corners", ACTIVITY: "the face as a whole"}
#: Emotion → its units in FACS, of those that are read (Ekman, Friesen & Hager 2002, emotion predictions). A smile's
#: AU06 is read with its AU12, as `eyes`.
UNITS: dict[str, tuple[str, ...]] = {
    "anger": ("AU04", "AU07", "AU23"),
    "disgust": ("AU09", "AU17"),
    "fear": ("AU01", "AU05", "AU20"),
    "sadness": ("AU01", "AU04", "AU15"),
    "surprise": ("AU01", "AU02", "AU05"),
}
#: Curves of the upper and of the lower face, of which the one may start before the other.
_UPPER = ("eye_aperture", "brow_height", "inner_brow_height", "outer_brow_height", "brow_gap", "brow_to_lid",
          "lower_lid_height")  # fmt: skip
_LOWER = ("lip_corner_pull", "lip_corner_height", "mouth_opening", "upper_lip_raise", "lower_lip_drop",
          "lip_corner_curl", "nose_to_lip")  # fmt: skip
_BLINK = 0.3  # s, longer than a blink
_MOVED = 0.03  # iod; less is what trembling landmarks make
_PEAK = 0.15  # of the height by which a peak stands out
_BEFORE = 0.5  # s before onset in which another part of the face may start
_NEAR = 0.06  # s on both sides of a moment


def measure(curves: Signals, phase: Phase, units: Signals | None = None) -> dict[str, float]:
    """The signs of one expression; NaN where the clip does not show one, or `units` (probabilities over time) are None.

    rise, plateau, fall   s, from onset to apex, to offset, to end (`features.phases` defines them)
    speed   greatest speed of the rise, % of the eye distance per second
    height  from rest to plateau, % of the eye distance
    uneven  further movement of one lip corner than of the other, from rest to plateau, % of the eye distance
    lids    by how much the lids come closer, % of how far they are apart at rest
    order   s from the moment the mouth is half way up to that of eyes and brows; below 0 these are first
    peaks   tops of the expression's curve that stand out by 15 % of its height
    eyes    probability of AU06 at the plateau, where AU12 is likely; AU12 that of AU12
    AU..    highest probability of each other unit of `UNITS` in the expression
    """
    onset, apex, offset, end = (
        np.nan if t is None else float(t) for t in (phase.onset, phase.apex, phase.offset, phase.end)
    )
    rest = onset if np.isfinite(onset) else end
    top = apex if np.isfinite(apex) else offset
    lids, uneven = (
        _level(curves, name, top) - _level(curves, name, rest) for name in ("eye_aperture", "lip_pull_asymmetry")
    )
    rest_lids = _level(curves, "eye_aperture", rest)
    whole = _with_activity(curves)
    return {
        "rise": apex - onset,
        "speed": 100 * _fastest(whole, phase.curve, onset, apex),
        "height": 100 * amplitude(phase, curves),
        "plateau": offset - apex,
        "fall": end - offset,
        "peaks": _peaks(whole, phase),
        "uneven": 100 * abs(uneven),
        "lids": -100 * lids / rest_lids if rest_lids > 0 else np.nan,
        "order": _half_way(curves, _UPPER, onset, apex) - _half_way(curves, _LOWER, onset, apex),
        **_units(units, phase),
    }


def _with_activity(curves: Signals) -> Signals:
    if ACTIVITY in curves.names:
        return curves
    values = np.column_stack([curves.values, activity(curves)])
    return replace(curves, values=values, names=(*curves.names, ACTIVITY), units=(*curves.units, "iod"))


def _units(units: Signals | None, phase: Phase) -> Mapping[str, float]:
    names = sorted({name for each in UNITS.values() for name in each})
    found = dict.fromkeys(("eyes", "AU12", *names), np.nan)
    known = [t for t in (phase.onset, phase.apex, phase.offset, phase.end) if t is not None]
    if units is None or not known:
        return found
    for name in names:
        values = _between(units, name, known[0] - _NEAR, known[-1] + _NEAR)[1]
        found[name] = float(values.max()) if values.size else np.nan
    at = [t for t in (phase.apex, phase.offset) if t is not None]
    if at:
        for name, unit in (("eyes", "AU06"), ("AU12", "AU12")):
            values = _between(units, unit, at[0] - _NEAR, at[-1] + _NEAR)[1]
            found[name] = float(np.median(values)) if values.size else np.nan
    return found


def _level(curves: Signals, name: str, at: float) -> float:
    """Median of a curve near a moment; NaN where nothing was seen then."""
    values = _between(curves, name, at - _NEAR, at + _NEAR)[1]
    return float(np.median(values)) if values.size else np.nan


def _between(curves: Signals, name: str, first: float, last: float) -> tuple[Array, Array]:
    """Times and values of a curve from one moment to another, where it was seen."""
    if name not in curves.names or not first < last:
        return np.empty(0), np.empty(0)
    values = curves[name]
    inside = (curves.time >= first - 1e-9) & (curves.time <= last + 1e-9) & np.isfinite(values)
    return curves.time[inside], values[inside]


def _fastest(curves: Signals, curve: str, onset: float, apex: float) -> float:
    """Greatest speed of the smoothed curve in the rise, per second."""
    time, values = _between(curves, curve, onset, apex)
    return float(np.max(np.gradient(smoothed(time, values), time))) if time.size >= 4 else np.nan


def _peaks(curves: Signals, phase: Phase) -> float:
    """Tops from onset to end, or to where the face is lost; NaN without a rise."""
    if phase.onset is None or phase.apex is None or phase.curve not in curves.names:
        return np.nan
    seen = np.isfinite(curves[phase.curve])
    lost = curves.time[(curves.time > phase.apex) & ~seen]
    last = phase.end if phase.end is not None else lost[0] if lost.size else curves.time[-1]
    time, values = _between(curves, phase.curve, phase.onset, float(last))
    if time.size < 8:
        return np.nan
    smooth = smoothed(time, values)
    smooth = smooth if smooth.max() - smooth[0] >= smooth[0] - smooth.min() else -smooth
    height = smooth.max() - smooth[0]
    return float(max(1, sum(prominence(smooth, top) >= _PEAK * height for top in peaks(smooth))))


def _half_way(curves: Signals, names: tuple[str, ...], onset: float, apex: float) -> float:
    """When these curves together are half way from where they are before onset to their largest distance from there;
    NaN where they hardly move. Blinks do not count."""
    part = [curves.names.index(name) for name in names if name in curves.names]
    inside = (curves.time >= onset - _BEFORE) & (curves.time <= apex + 0.2)  # none where a moment is NaN
    inside &= np.isfinite(curves.values[:, part]).all(axis=1)
    if not part or inside.sum() < 12:
        return np.nan
    time = curves.time[inside]
    size = 2 * int(_BLINK / 2 / float(np.median(np.diff(time)))) + 1
    still = np.column_stack([smoothed(time, running_median(curves.values[inside, k], size)) for k in part])
    away = np.linalg.norm(still - np.median(still[time <= time[0] + 2 * _NEAR], axis=0), axis=1)
    before = np.flatnonzero(away >= away.max() / 2)
    return float(time[before[0]]) if away.max() >= _MOVED else np.nan
