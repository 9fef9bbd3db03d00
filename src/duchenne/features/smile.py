"""Smile dynamics: movement of the lip corners during onset, apex and offset of a smile.

Dibeklioğlu, Salah & Gevers, "Are you really smiling at me? Spontaneous versus posed enjoyment smiles",
ECCV 2012, and "Recognition of genuine smiles", IEEE Transactions on Multimedia 17(3), 2015. Descriptors have the names
of the public tables made from their UvA-NEMO clips. `smile_descriptors` gives them in plain units or as in those
tables; `from_table` converts a table to plain units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from duchenne.errors import InputError
from duchenne.features.filtering import running_median
from duchenne.features.phases import main_phase, phases
from duchenne.features.signals import face_signals
from duchenne.preprocess.clean import runs
from duchenne.types import Array, FaceTrack, Phase, Signals

PARTS = ("onset", "apex", "offset")
#: The 25 descriptors of each part of the smile, in the order of the tables.
DESCRIPTORS = (
    "duration_positive", "duration_negative", "duration_full",
    "duration_ratio_positive", "duration_ratio_negative",
    "maximum_amplitude", "mean_amplitude_full", "mean_amplitude_positive", "mean_amplitude_negative",
    "std_amplitude", "total_amplitude_positive", "total_amplitude_negative", "net_amplitude",
    "amplitude_ratio_positive", "amplitude_ratio_negative",
    "maximum_speed_positive", "maximum_speed_negative", "mean_speed_positive", "mean_speed_negative",
    "maximum_acceleration_positive", "maximum_acceleration_negative",
    "mean_acceleration_positive", "mean_acceleration_negative",
    "net_amplitude_duration_ratio", "left_right_amplitude_difference",
)  # fmt: skip
#: Two more, which follow from the tables: seconds with the flat steps counted, and the spread of the speed.
EXTRA = ("duration_total", "std_speed")
COLUMNS = tuple(f"{part}_{name}" for part in PARTS for name in DESCRIPTORS)
#: What a table contains in plain units; its other columns are quantities other than the paper's.
SHARED = (*DESCRIPTORS[:5], *DESCRIPTORS[10:19], "net_amplitude_duration_ratio", *EXTRA)

#: What the smile expert reads (`expert_features`).
EXPERT = (
    *(
        f"{part}_{name}"
        for part in PARTS
        for name in (*(n for n in SHARED if "ratio_negative" not in n), "peak", "hurry")
    ),
    *("smile_duration_full", "smile_duration_total"),
)

TABLE_FPS = 50.0  # of UvA-NEMO: the largest step depends on the frame rate
_MEDIAN = 0.3  # s of smoothing; the published 0.5 flattens dlib's noisier points (see `smoothed`)
_MARGIN = 0.1  # s before onset and after end: a phase starts at 6 % of the rise, a table's smile at rest
_HOLE = 0.9  # s: a longer step of an even grid is what `clean.resample` leaves out of a hole
_REST = 0.2  # s whose median is the resting face


def describe(track: FaceTrack, *, table: bool = False) -> tuple[dict[str, float], Phase | None]:
    """The lip descriptors of a frontal track's largest smile, and its phase; all NaN, None without a smile.

    `track` comes from `clean.resample(fps=TABLE_FPS)` and `preprocess.align.frontal`. InputError at another rate.
    """
    curves = face_signals(track)
    phase = main_phase(phases(curves, curve="lip_corner_pull"), curves)
    if phase is None:
        return dict.fromkeys(_names(table), np.nan), None
    rest = phase.onset if phase.onset is not None else None if phase.end is None else phase.end + _REST
    wide = replace(
        phase,
        onset=None if phase.onset is None else max(phase.onset - _MARGIN, curves.time[0]),
        end=None if phase.end is None else min(phase.end + _MARGIN, curves.time[-1]),
    )
    return smile_descriptors(lip_curve(track, rest=rest), wide, table=table), phase


def lip_curve(track: FaceTrack, *, rest: float | None = None) -> Signals:
    """Lip-corner pull D(t) of a frontal track in lip widths: curves lip, lip_left, lip_right, float64 (T, 3).

    D = (|c−r| + |c−l|) / 2w with r, l the lip corners (48, 54), c their midpoint and w their distance at rest; lip_left
    is twice the share of the corner on the image's left. Rest is the median face of the 0.2 s up to `rest` seconds, or
    of the first 0.2 seen seconds. NaN where unseen.
    """
    corners = track.points[:, [48, 54]].astype(float)
    still = _resting(track.time, corners, rest)
    pulls = np.linalg.norm(corners - still.mean(axis=0), axis=2) / np.linalg.norm(still[0] - still[1])
    values = np.column_stack([(pulls[:, 0] + pulls[:, 1]) / 2, pulls])
    return Signals(track.time, values, ("lip", "lip_left", "lip_right"), ("lip widths",) * 3)


def smoothed(values: Array, fps: float, window: float = _MEDIAN) -> Array:
    """float64 (T,): running median over `window` seconds, ends mirrored, separately between NaN.

    A median keeps the largest steps of a movement, which gives the tables' ratio of largest to mean speed (about 5); a
    weighted mean would halve it.
    """
    out = np.array(values, float)
    size = 2 * int(window * fps / 2) + 1
    for start, stop in runs(np.asarray(np.isfinite(out))):
        out[start:stop] = running_median(out[start:stop], size)
    return out


def smile_descriptors(
    curves: Signals, phase: Phase, *, table: bool = False, window: float = _MEDIAN
) -> dict[str, float]:
    """Descriptors of one smile from a mean, a left and a right curve on an even grid; NaN for cut parts.

    Plain units: `DESCRIPTORS` and `EXTRA` per part; seconds, lip widths, per second, per second squared; negative ones
    as magnitudes; amplitudes above rest. With `table`: the 75 `COLUMNS` as in the public tables (see `_as_table`). The
    onset lasts to the end of the longest run without a fall, the offset from the start of the longest run without a
    rise after it, both within the phase. InputError on an uneven grid.
    """
    fps = _rate(curves.time)
    first, last = _recorded(curves.time, phase)
    start = first if phase.onset is None else phase.onset
    stop = last if phase.end is None else phase.end
    inside = (curves.time >= start - 1e-6) & (curves.time <= stop + 1e-6)
    values = np.stack([smoothed(side, fps, window)[inside] for side in curves.values.T])
    out = dict.fromkeys(_names(table), np.nan)
    values = values[:, np.isfinite(values).all(axis=0)]  # a phase lies within one seen stretch
    rest = float(values[0, 0 if phase.onset is not None else -1]) if values.shape[1] else np.nan
    for part, (a, b) in _parts(values[0], phase).items():
        numbers = (_as_table if table else _plain)(values[:, a : b + 1] - [[rest], [0], [0]], fps)
        out |= {f"{part}_{name}": value for name, value in numbers.items()}
    return out


def from_table(columns: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """The plain descriptors in a public table (`SHARED`, per part), from its columns or one row.

    Undoes doubled durations, and steps in place of the curve in the mean (its ratio to the net amplitude counts the
    flat steps) and in the standard deviation. InputError for a missing column.
    """
    if missing := [name for name in COLUMNS if name not in columns]:
        raise InputError(
            f"The table of smile descriptors lacks {len(missing)} columns, first '{missing[0]}'; give all of them."
        )
    out: dict[str, Array] = {}
    for part in PARTS:
        take = {name: np.asarray(columns[f"{part}_{name}"], float) for name in DESCRIPTORS}
        plain = {name: take[name] for name in SHARED if name in take}
        for name in DESCRIPTORS[:3]:
            plain[name] = take[name] / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            total = take["net_amplitude"] / take["mean_amplitude_full"] / TABLE_FPS
        exact = np.abs(take["mean_amplitude_full"]) > 1e-7  # the tables have nine digits
        plain["duration_total"] = np.where(exact, total, plain["duration_full"])
        plain["std_speed"] = take["std_amplitude"] * TABLE_FPS
        out |= {f"{part}_{name}": value for name, value in plain.items()}
    return out


def expert_features(plain: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """The smile expert's features, from plain descriptors (`describe`, `from_table`): transformed as by `_even`, with
    each part's peak speed over its mean, its mean speed over its extent, and the duration of the whole smile. NaN where
    a part lies outside the clip."""
    out: dict[str, Array] = {}
    for part in PARTS:
        for name in SHARED:
            if "ratio_negative" not in name:
                out[f"{part}_{name}"] = _even(name, np.asarray(plain[f"{part}_{name}"], float))
        way = "negative" if part == "offset" else "positive"
        mean = out[f"{part}_mean_speed_{way}"]
        out[f"{part}_peak"] = out[f"{part}_maximum_speed_{way}"] - mean
        out[f"{part}_hurry"] = mean - out[f"{part}_total_amplitude_{way}"]
    for name in ("duration_full", "duration_total"):
        out[f"smile_{name}"] = np.log(np.sum([np.asarray(plain[f"{part}_{name}"], float) for part in PARTS], axis=0))
    return out


def uneven(name: str, value: Array) -> tuple[Array, str]:
    """(value, unit) of one of `expert_features` on its plain scale, for people."""
    part, _, rest = name.partition("_")
    if rest in ("peak", "hurry"):
        return np.exp(value), "times the mean speed" if rest == "peak" else "of its extent per second"
    if part == "smile":
        return np.exp(value), "s"
    if "ratio_positive" in rest:
        return np.asarray(value), ""
    if rest.startswith("net_"):
        return 0.02 * np.sinh(value), "lip widths/s" if rest.endswith("ratio") else "lip widths"
    unit = "s" if rest.startswith("duration") else "lip widths" if "amplitude" in rest else "lip widths/s"
    return np.exp(value) - _offset(rest), unit


def _offset(name: str) -> float:
    return 0.04 if name.startswith("duration") else 0.005 if "amplitude" in name else 0.02


def _even(name: str, value: Array) -> Array:
    """Log of sizes, asinh of signed quantities; the offsets are near the smallest step."""
    if "ratio_positive" in name:
        return value
    if name.startswith("net_"):
        return np.asarray(np.arcsinh(value / 0.02))
    return np.asarray(np.log(value + _offset(name)))


def _names(table: bool) -> tuple[str, ...]:
    return COLUMNS if table else tuple(f"{part}_{name}" for part in PARTS for name in (*DESCRIPTORS, *EXTRA))


def _resting(time: Array, points: Array, rest: float | None) -> Array:
    """Median points over 0.2 s up to `rest`, or of the first 0.2 seen seconds; NaN where nothing is seen."""
    seen = np.isfinite(points).all(axis=(1, 2))
    if not seen.any():
        return np.full(points.shape[1:], np.nan)
    first = time[seen][0]
    until = first + _REST if rest is None else max(rest, first)
    near = seen & (time >= until - _REST - 1e-9) & (time <= until + 1e-9)
    if not near.any():
        near = seen & (np.abs(time - until) == np.abs(time[seen] - until).min())
    return np.asarray(np.median(points[near], axis=0))


def _rate(time: Array) -> float:
    steps = np.diff(time)
    steps = steps[steps < _HOLE]
    if len(steps) == 0 or np.ptp(steps) > 0.01 * steps.mean():
        raise InputError("Smile descriptors need an even time grid; call clean.resample first.")
    return float(1 / steps.mean())


def _recorded(time: Array, phase: Phase) -> tuple[float, float]:
    """First and last second of the recording without a long hole around a phase."""
    moments = [t for t in (phase.onset, phase.apex, phase.offset, phase.end) if t is not None]
    edges = np.flatnonzero(np.diff(time) >= _HOLE)
    starts, ends = time[np.r_[0, edges + 1]], time[np.r_[edges, len(time) - 1]]
    part = int(np.searchsorted(starts, min(moments, default=time[0]) + 1e-6, side="right")) - 1
    return float(starts[max(part, 0)]), float(ends[max(part, 0)])


def _parts(values: Array, phase: Phase) -> dict[str, tuple[int, int]]:
    """{part: (first, last) sample} of the parts that the clip shows in full."""
    steps = np.diff(values)
    rise = (0, 0) if phase.apex is None else _longest(steps >= 0, 0)
    fall = (
        (len(steps), len(steps)) if phase.offset is None else _longest(steps <= 0, rise[1] + (phase.apex is not None))
    )
    found = {"onset": (0, rise[1]), "apex": (rise[1], fall[0]), "offset": (fall[0], len(steps))}
    known = {
        "onset": phase.onset is not None and phase.apex is not None,
        "apex": phase.apex is not None and phase.offset is not None,
        "offset": phase.offset is not None and phase.end is not None,
    }
    return {part: ends for part, ends in found.items() if known[part] and ends[1] > ends[0]}


def _longest(mask: Array, start: int) -> tuple[int, int]:
    """The longest run of True from `start` on; an empty one at the end without any."""
    found = [(a + start, b + start) for a, b in runs(mask[start:])]
    return max(found, key=lambda r: r[1] - r[0], default=(len(mask), len(mask)))


def _common(values: Array, fps: float) -> dict[str, float]:
    """The descriptors that are the same in plain units and in the tables, except for the doubled durations."""
    steps = np.diff(values[0])
    up, down = steps[steps > 0], -steps[steps < 0]
    n, rise, fall = len(up) + len(down), float(up.sum()), float(down.sum())
    return {
        "duration_positive": len(up) / fps,
        "duration_negative": len(down) / fps,
        "duration_full": n / fps,
        "duration_ratio_positive": len(up) / n if n else np.nan,
        "duration_ratio_negative": len(down) / n if n else np.nan,
        "total_amplitude_positive": rise,
        "total_amplitude_negative": fall,
        "net_amplitude": rise - fall,
        "amplitude_ratio_positive": rise / (rise + fall) if n else np.nan,
        "amplitude_ratio_negative": fall / (rise + fall) if n else np.nan,
        "maximum_speed_positive": _most(up) * fps,
        "maximum_speed_negative": _most(down) * fps,
        "mean_speed_positive": _mean(up) * fps,
        "mean_speed_negative": _mean(down) * fps,
        "net_amplitude_duration_ratio": (rise - fall) * fps / n if n else np.nan,
    }


def _plain(values: Array, fps: float) -> dict[str, float]:
    """One part in plain units, from mean (above rest), left and right curves (3, n)."""
    curve, left, right = values
    steps = np.diff(curve)
    change = np.diff(steps, prepend=steps[0]) * fps**2
    up, down, late = steps > 0, steps < 0, curve[1:]
    return _common(values, fps) | {
        "maximum_amplitude": float(late.max()),
        "mean_amplitude_full": float(late.mean()),
        "mean_amplitude_positive": _mean(late[up]),
        "mean_amplitude_negative": _mean(late[down]),
        "std_amplitude": float(late.std()),
        "maximum_acceleration_positive": _most(np.abs(change[up])),
        "maximum_acceleration_negative": _most(np.abs(change[down])),
        "mean_acceleration_positive": _mean(np.abs(change[up])),
        "mean_acceleration_negative": _mean(np.abs(change[down])),
        "left_right_amplitude_difference": _uneven(left, right) * fps,
        "duration_total": len(steps) / fps,
        "std_speed": float(steps.std(ddof=1)) * fps if len(steps) > 1 else np.nan,
    }


def _as_table(values: Array, fps: float) -> dict[str, float]:
    """One part as in the public tables, inferred from their numbers.

    Durations are doubled. Descriptors 6–10 are of the steps, not of the curve: mean and standard deviation (n − 1) of
    all steps, including flat ones, which the durations leave out. Accelerations are differences between the speeds of
    two steps of this part, per step and not per second, signed; "positive" are those at a step that does not fall.
    """
    steps = np.diff(values[0])
    up, down = steps[steps > 0], -steps[steps < 0]
    change, falls = np.diff(steps) * fps, steps[1:] < 0
    common = _common(values, fps)
    return (
        common
        | {name: 2 * common[name] for name in DESCRIPTORS[:3]}
        | {
            "maximum_amplitude": float(steps.max()),
            "mean_amplitude_full": float(steps.mean()),
            "mean_amplitude_positive": _mean(up),
            "mean_amplitude_negative": _mean(down),
            "std_amplitude": float(steps.std(ddof=1)) if len(steps) > 1 else np.nan,
            "maximum_acceleration_positive": _most(change[~falls]),
            "maximum_acceleration_negative": _most(change[falls]),
            "mean_acceleration_positive": _mean(change[~falls]),
            "mean_acceleration_negative": _mean(change[falls]),
            "left_right_amplitude_difference": _uneven(values[1], values[2]),
        }
    )


def _uneven(left: Array, right: Array) -> float:
    """Difference between the net movements of left and right, per step."""
    return float(abs(left[-1] - left[0] - right[-1] + right[0]) / (len(left) - 1))


def _most(values: Array) -> float:
    return float(values.max()) if len(values) else 0.0


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else 0.0
