"""A clip as one row of named descriptors: how far, how fast and when each curve of the face and head moved."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from duchenne.errors import InputError
from duchenne.features import activity
from duchenne.features.filtering import gaussian, lowpass
from duchenne.features.signals import SIGNAL_NAMES, face_signals, join
from duchenne.preprocess import align, clean
from duchenne.preprocess.repeats import distinct
from duchenne.types import COEFFICIENTS, Array, FaceTrack, Signals

#: Gaps up to this many seconds are interpolated before anything is measured.
MAX_GAP = 0.2
CURVES: tuple[str, ...] = (*SIGNAL_NAMES, *align.HEAD_NAMES)
#: The face's own curves without the left-right differences.
FACE = [i for i, name in enumerate(CURVES) if "asymmetry" not in name and not name.startswith("head_")]
#: Coefficients of a face mesh that come for the left and the right side: the name of both → their columns.
_SIDES = {
    name.removesuffix("Left"): (k, COEFFICIENTS.index(name.removesuffix("Left") + "Right"))
    for k, name in enumerate(COEFFICIENTS)
    if name.endswith("Left")
}
_SINGLE = [k for k, name in enumerate(COEFFICIENTS) if k and not re.search("(Left|Right)$", name)]
#: Of a face mesh: roots of its coefficients, of both sides their mean and their difference; and the head's pose.
MESH_CURVES: tuple[str, ...] = (
    *(COEFFICIENTS[k] for k in _SINGLE),
    *_SIDES,
    *(f"{name}_asymmetry" for name in _SIDES),
    *("yaw", "pitch", "roll"),
)
#: Added to a coefficient before its root is taken, as steps in the roots of what is hardly above zero are noise.
_FLOOR = 1e-3
_SMOOTH = 0.1  # s, deviation of the window over which a mesh's curves are averaged (experiments/LOG.md)
#: See `around_movement`; chosen on held-out people (experiments/LOG.md).
QUIET, LEAD = 0.25, 0.4

#: Statistic → its name in a sentence, and its unit for a curve of unit u ("" = none).
STATISTICS: dict[str, tuple[str, str]] = {
    "p05": ("lowest level", "u"),
    "p25": ("lower-quartile level", "u"),
    "p50": ("median level", "u"),
    "p75": ("upper-quartile level", "u"),
    "p95": ("highest level", "u"),
    "first": ("level in the first frames", "u"),
    "last": ("level in the last frames", "u"),
    "depth": ("dip below its median", "u"),
    "depth_half": ("lower quartile below its median", "u"),
    "rise_half": ("upper quartile above its median", "u"),
    "rise": ("peak above its median", "u"),
    "first_median": ("first frames against the median", "u"),
    "last_median": ("last frames against the median", "u"),
    "last_first": ("change from first to last frames", "u"),
    "first_low": ("first frames above the lowest level", "u"),
    "high_first": ("peak above the first frames", "u"),
    "last_low": ("last frames above the lowest level", "u"),
    "sway_fast": ("movement between 1 and 4 Hz", "log u"),
    "sway_slow": ("movement between 0.3 and 1 Hz", "log u"),
    **{
        f"{name}_{band}": (f"{text} ({smoothing} Hz)", unit)
        for band, smoothing in (("quick", "up to 4"), ("calm", "up to 1.5"))
        for name, text, unit in (
            ("speed_mean", "mean speed", "log u/s"),
            ("speed_max", "greatest speed", "log u/s"),
            ("speed_skew", "fastest rise against fastest fall", "u/s"),
            ("speed_typical", "typical speed", "log u/s"),
            ("acceleration_mean", "mean acceleration", "log u/s²"),
            ("acceleration_max", "greatest acceleration", "log u/s²"),
            ("acceleration_skew", "strongest speeding-up against slowing-down", "u/s²"),
            ("acceleration_typical", "typical acceleration", "log u/s²"),
            ("rising", "share of time rising", ""),
            ("fastest_at", "time from the first movement to the fastest", "s"),
        )
    },
}
#: Statistics that depend on where the clip was cut: its first or last frames, or the time since its start. A
#: movement-only model uses neither them nor the levels (experiments/LOG.md).
CUT = ("first", "last", "first_median", "last_median", "last_first", "first_low", "high_first", "last_low",
       "fastest_at_quick", "fastest_at_calm")  # fmt: skip
LEVELS = ("p05", "p25", "p50", "p75", "p95")
#: Curves that change their sign in a mirror.
TURNED = frozenset(
    {name for name in (*CURVES, *MESH_CURVES) if "asymmetry" in name}
    | {"head_x", "head_yaw", "head_roll", "yaw", "roll"}
)
#: Before a statistic of these curves in a symmetric family: the larger and the smaller of its two values, one of the
#: curve and one of its mirror image.
SIDES = ("larger", "smaller")


@dataclass(frozen=True)
class Family:
    """A choice of descriptors; a model file stores the family's name and its column names.

    symmetric  a clip and its mirror image have the same descriptors
    """

    statistics: tuple[str, ...]
    with_activity: bool = False
    curves: tuple[str, ...] = CURVES
    symmetric: bool = False

    @property
    def of_mesh(self) -> bool:
        """Whether it needs tracks of the mesh reader."""
        return not set(self.curves) <= set(CURVES)

    @property
    def measured(self) -> tuple[str, ...]:
        """The curves that are measured for it: those of 68 points, and those of a mesh if it needs one."""
        return (*CURVES, *MESH_CURVES) if self.of_mesh else CURVES

    @property
    def names(self) -> tuple[str, ...]:
        """Column names, in the order `describe` returns the values."""
        turned = [curve for curve in self.curves if self.symmetric and curve in TURNED]
        signed = [each for each in self.statistics if each in _SIGNED]
        own = [f"{curve}.{each}" for each in self.statistics for curve in self.curves if curve not in turned]
        own += [f"{curve}.{each}" for each in self.statistics if each not in signed for curve in turned]
        own += [f"{curve}.{side}.{each}" for side in SIDES for each in signed for curve in turned]
        return (*own, *(activity.names(self.curves) if self.with_activity else ()))


#: Statistics that a mirror changes where it changes the sign of a curve.
_SIGNED = tuple(s for s in STATISTICS if not re.search("sway|mean_|max_|typical|fastest", s))
_RELATIVE = tuple(s for s in STATISTICS if s not in (*LEVELS, "first", "last"))
_MOVEMENT = tuple(s for s in STATISTICS if s not in (*CUT, *LEVELS))
FAMILIES: dict[str, Family] = {
    "dynamics": Family(tuple(STATISTICS)),
    "dynamics+activity": Family(tuple(STATISTICS), with_activity=True),
    "uncut": Family((*LEVELS, *_MOVEMENT)),
    "movement": Family(_MOVEMENT),
    "face": Family(tuple(STATISTICS), curves=SIGNAL_NAMES),
    "head": Family(tuple(STATISTICS), curves=align.HEAD_NAMES),
    "activity": Family((), with_activity=True),
    "first_frame": Family(("first",), curves=SIGNAL_NAMES),
    "mesh": Family(tuple(STATISTICS), curves=(*CURVES, *MESH_CURVES)),
    "mesh-relative": Family(_RELATIVE, curves=(*CURVES, *MESH_CURVES), symmetric=True),
    "coefficients": Family(tuple(STATISTICS), curves=MESH_CURVES),
    "coefficients-movement": Family(_MOVEMENT, curves=MESH_CURVES),
    "peak": Family(("p95", "rise", "p05", "depth"), curves=SIGNAL_NAMES),
}


def even(track: FaceTrack, fps: float) -> FaceTrack:
    """The track without repeated and distrusted rows, short gaps filled, on an even grid of `fps`."""
    return clean.resample(clean.repair(clean.distrust(distinct(track)), max_gap=MAX_GAP), fps=fps)


@lru_cache(maxsize=2)  # several models, and the curves of a report, read the same track in turn
def prepare(track: FaceTrack, fps: float) -> tuple[FaceTrack, Signals]:
    """The preparation for training and use: the frontal track on an even grid of `fps`, and its curves (T, 30), NaN
    where the face was not seen."""
    face, head = align.frontal(even(track, fps))
    return face, join(face_signals(face), head)


def mesh_curves(track: FaceTrack, fps: float) -> Signals:
    """`MESH_CURVES` on an even grid of `fps`, NaN where no face was seen; InputError for a track of another reader.

    Coefficients are mostly near zero and seldom large; their roots are spread more evenly.
    """
    if track.coefficients is None or track.pose is None:
        raise InputError(
            f"{track.source} was read without the face mesh; read it with the reader mesh, or choose what needs points "
            "alone: the family dynamics, default:dynamics, descriptors."
        )
    grid = even(track, fps)
    roots = np.sqrt(np.clip(np.asarray(grid.coefficients, float), 0, 1) + _FLOOR)
    left, right = (roots[:, list(side)] for side in zip(*_SIDES.values(), strict=True))
    values = np.column_stack([roots[:, _SINGLE], (left + right) / 2, left - right, np.asarray(grid.pose, float)])
    units = ("0-1",) * (len(MESH_CURVES) - 3) + ("deg",) * 3
    return Signals(grid.time, np.where(grid.seen[:, None], values, np.nan), MESH_CURVES, units)


def gap_free(track: FaceTrack, fps: float, family: str = "dynamics") -> Array:
    """float64 (t, F): the curves that a family measures, in the longest stretch without a gap, around the movement."""
    curves = prepare(track, fps)[1]
    if not FAMILIES[family].of_mesh:
        return around_movement(longest_seen(curves), fps)
    values = longest_seen(join(curves, mesh_curves(track, fps)))
    if len(values):
        values[:, len(CURVES) :] = gaussian(values[:, len(CURVES) :], _SMOOTH * fps)
    return around_movement(values, fps)


def longest_seen(curves: Signals) -> Array:
    """float64 (t, F): the rows of the longest stretch without a gap; empty where there is none."""
    start, stop = clean.longest_run(np.asarray(np.isfinite(curves.values).all(axis=1)))
    return curves.values[start:stop]


def span(curves: Signals, fps: float) -> tuple[float, float] | None:
    """First and last second of the movement (`around_movement`) in the longest stretch of curves without a gap; None
    where there is none."""
    start, stop = clean.longest_run(np.asarray(np.isfinite(curves.values).all(axis=1)))
    times = around_movement(np.column_stack([curves.values, curves.time])[start:stop], fps)[:, -1]
    return (float(times[0]), float(times[-1])) if len(times) > 1 else None


def around_movement(values: Array, fps: float) -> Array:
    """float64 (t, F): gap-free curves (T, F) from `LEAD` s before the first movement of the face to `LEAD` s after
    the last.

    The face moves where its speed, over its curves `FACE` and up to 2 Hz, exceeds `QUIET` of its maximum; so recording
    time before and after the expression matters little.
    """
    if len(values) < 12:
        return values
    speed = np.linalg.norm(np.diff(lowpass(values[:, FACE], fps, 2.0), axis=0), axis=1)
    moving = np.flatnonzero(speed > QUIET * speed.max())
    if not moving.size:
        return values
    lead = round(LEAD * fps)
    part = values[max(0, moving[0] - lead) : moving[-1] + 1 + lead]
    return part if len(part) >= 8 else values


def describe(values: Array, fps: float, family: str = "dynamics") -> Array:
    """float64 (D,): descriptors of gap-free curves at `fps`, (T, 30) or with those of a mesh (T, 84), in the order of
    the family's names.

    All NaN for fewer than 8 rows. Levels are in the curves' units; speeds and accelerations are per second, and logs
    where they vary on a log scale.
    """
    chosen = FAMILIES[family]
    if len(values) < 8:
        return np.full(len(chosen.names), np.nan)
    x, order = values[:, [chosen.measured.index(curve) for curve in chosen.curves]], list(STATISTICS)
    rows, parts = [order.index(each) for each in chosen.statistics], []
    if chosen.symmetric:
        turned = np.array([curve in TURNED for curve in chosen.curves])
        signed = np.array([each in _SIGNED for each in chosen.statistics])
        both = [_statistics(sign * x[:, turned], fps)[rows] for sign in (1, -1)]
        parts += [_statistics(x[:, ~turned], fps)[rows].ravel(), both[0][~signed].ravel()]
        parts += [each(both[0][signed], both[1][signed]).ravel() for each in (np.maximum, np.minimum)]
    elif rows:
        parts.append(_statistics(x, fps)[rows].ravel())
    if chosen.with_activity:
        parts.append(activity.activity(x, fps))
    return np.concatenate(parts)


def _statistics(x: Array, fps: float) -> Array:
    """float64 (S, F): every statistic of `STATISTICS`, in its order."""
    q05, q25, q50, q75, q95 = np.percentile(x, [5, 25, 50, 75, 95], axis=0)
    first, last = x[:3].mean(axis=0), x[-3:].mean(axis=0)
    below4, below1, below03 = (lowpass(x, fps, cutoff) for cutoff in (4.0, 1.0, 0.3))
    rows = [
        q05, q25, q50, q75, q95, first, last, q05 - q50, q25 - q50, q75 - q50, q95 - q50,
        first - q50, last - q50, last - first, first - q05, q95 - first, last - q05,
        np.log((below4 - below1).std(axis=0) + 1e-4), np.log((below1 - below03).std(axis=0) + 1e-4),
    ]  # fmt: skip
    return np.stack(rows + _motion(below4, fps) + _motion(lowpass(x, fps, 1.5), fps))


def _motion(smooth: Array, fps: float) -> list[Array]:
    """Ten rows of float64 (F,): statistics of speed and acceleration of smoothed curves."""
    v = np.diff(smooth, axis=0) * fps
    rows: list[Array] = []
    for w in (v, np.diff(v, axis=0) * fps):
        size = np.abs(w)
        rows += [
            np.log(size.mean(axis=0) + 1e-3),
            np.log(size.max(axis=0) + 1e-3),
            w.max(axis=0) + w.min(axis=0),
            np.log(np.median(size, axis=0) + 1e-3),
        ]
    return [*rows, (v > 0).mean(axis=0), np.abs(v).argmax(axis=0) / fps]
