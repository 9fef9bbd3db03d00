"""Named curves of a face over time, each with its unit, from frontal points."""

from __future__ import annotations

import numpy as np

from duchenne.types import Array, FaceTrack, Signals

SIGNAL_NAMES: tuple[str, ...] = (
    "lip_corner_pull", "lip_corner_height", "mouth_opening", "upper_lip_raise", "lower_lip_drop",
    "upper_lip_thickness", "lower_lip_thickness", "lip_corner_curl", "jaw_drop", "jaw_width",
    "eye_aperture", "brow_height", "inner_brow_height", "outer_brow_height", "brow_gap", "brow_to_lid",
    "lower_lid_height", "nose_length", "nose_width", "nose_to_lip",
    "lip_corner_asymmetry", "lip_pull_asymmetry", "eye_asymmetry", "brow_asymmetry",
)  # fmt: skip


def _d(p: Array, i: int, j: int) -> Array:
    """float64 (T,): distance between points i and j."""
    return np.asarray(np.linalg.norm(p[:, i] - p[:, j], axis=1))


def _open(p: Array, corner: int) -> Array:
    """Eye aperture: mean distance of the two lid pairs of the eye that starts at `corner`."""
    return (_d(p, corner + 1, corner + 5) + _d(p, corner + 2, corner + 4)) / 2


def face_signals(track: FaceTrack) -> Signals:
    """The named curves of a frontal track (see `preprocess.align.frontal`), float64 (T, 24), NaN where unseen.

    Unit "iod" is the interocular distance of the mean face. Up is positive for heights. `left` and `right`
    are the image's sides. Asymmetries are right minus left.
    """
    p = track.points.astype(float)
    y = -p[..., 1]
    x = p[..., 0]
    eye_line = y[:, [36, 39, 42, 45]].mean(axis=1)
    nose_base = y[:, 31:36].mean(axis=1)
    width = _d(p, 48, 54)
    left_pull, right_pull = -x[:, 48], x[:, 54]
    left_eye, right_eye = _open(p, 36), _open(p, 42)
    left_brow, right_brow = y[:, 17:22].mean(axis=1) - eye_line, y[:, 22:27].mean(axis=1) - eye_line
    left_lip, right_lip = y[:, 48] - nose_base, y[:, 54] - nose_base
    inner = (_d(p, 61, 67) + _d(p, 62, 66) + _d(p, 63, 65)) / 3
    curves: dict[str, Array] = {
        "lip_corner_pull": width,
        "lip_corner_height": (left_lip + right_lip) / 2,
        "mouth_opening": inner,
        "upper_lip_raise": y[:, 50:53].mean(axis=1) - nose_base,
        "lower_lip_drop": y[:, 56:59].mean(axis=1) - nose_base,
        "upper_lip_thickness": _d(p, 51, 62),
        "lower_lip_thickness": _d(p, 57, 66),
        "lip_corner_curl": (left_lip + right_lip) / 2 - (y[:, 51] + y[:, 57]) / 2 + nose_base,
        "jaw_drop": nose_base - y[:, 7:10].mean(axis=1),
        "jaw_width": _d(p, 4, 12),
        "eye_aperture": (left_eye + right_eye) / 2,
        "brow_height": (left_brow + right_brow) / 2,
        "inner_brow_height": (y[:, 21] + y[:, 22]) / 2 - eye_line,
        "outer_brow_height": (y[:, 17] + y[:, 26]) / 2 - eye_line,
        "brow_gap": _d(p, 21, 22),
        "brow_to_lid": (y[:, [18, 19, 20, 23, 24, 25]].mean(axis=1) - y[:, [37, 38, 43, 44]].mean(axis=1)),
        "lower_lid_height": y[:, [40, 41, 46, 47]].mean(axis=1) - eye_line,
        "nose_length": eye_line - nose_base,
        "nose_width": _d(p, 31, 35),
        "nose_to_lip": nose_base - y[:, 51],
        "lip_corner_asymmetry": right_lip - left_lip,
        "lip_pull_asymmetry": right_pull - left_pull,
        "eye_asymmetry": right_eye - left_eye,
        "brow_asymmetry": right_brow - left_brow,
    }
    values = np.column_stack([curves[name] for name in SIGNAL_NAMES])
    return Signals(track.time, values, SIGNAL_NAMES, ("iod",) * len(SIGNAL_NAMES))


def join(*parts: Signals) -> Signals:
    """Curves on the same time axis side by side."""
    return Signals(
        parts[0].time,
        np.column_stack([part.values for part in parts]),
        tuple(name for part in parts for name in part.names),
        tuple(unit for part in parts for unit in part.units),
    )
