"""Remove head pose: align every frame of a track to one frontal face, and return the head's movement."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np

from duchenne.types import Array, FaceTrack, Signals

#: Points that expressions hardly move: nose bridge and base, eye corners (dlib's numbering from 0).
STABLE = np.r_[27:36, 36, 39, 42, 45]

HEAD_NAMES = ("head_yaw", "head_pitch", "head_roll", "head_x", "head_y", "head_size")
HEAD_UNITS = ("deg", "deg", "deg", "iod", "iod", "log")


@cache
def template() -> Array:
    """float64 (68, 3): the mean face in interocular units, x right, y down, z towards the camera.

    x and y are the symmetrised mean of dlib's points over the people of PEDFE; z is a point's movement relative to the
    stable points per radian of yaw and pitch, from alternating least squares (experiments/face_template.py).
    """
    text = files("duchenne").joinpath("preprocess", "face_template.json").read_text(encoding="utf-8")
    return np.array(json.loads(text)["xyz"], dtype=float)


def frontal(track: FaceTrack) -> tuple[FaceTrack, Signals]:
    """Remove head pose frame by frame; return the frontal track and the head's own movement.

    Each frame's stable points are fitted to `template()` by a similarity; their residual along the template's depth is
    yaw and pitch (first order) and is removed from all points, so no point depends on other frames. The points are in
    interocular units, origin between the eyes. Head angles are in degrees; position (interocular units) and size (log
    of the interocular distance) are relative to their medians in the clip. Unseen frames stay NaN.
    """
    model = template()
    points = track.points.astype(float)
    stable, target = points[:, STABLE], model[STABLE, :2]
    centre, middle = stable.mean(axis=1, keepdims=True), target.mean(axis=0)
    q, t = stable - centre, target - middle
    # complex numbers make a 2-D similarity one division: a = scale * exp(i * angle)
    zq, zt = q[..., 0] + 1j * q[..., 1], t[:, 0] + 1j * t[:, 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        a = (np.conj(zq) * zt).sum(axis=1) / (np.abs(zq) ** 2).sum(axis=1)
    centred = points - centre
    rotated = a[:, None] * (centred[..., 0] + 1j * centred[..., 1]) + complex(*middle)
    flat = np.stack([rotated.real, rotated.imag], axis=-1)
    depth = model[STABLE, 2] - model[STABLE, 2].mean()
    pose = np.einsum("tpc,p->tc", flat[:, STABLE] - target, depth) / (depth @ depth)
    flat -= pose[:, None, :] * model[None, :, 2:3]
    size = np.nanmedian(np.abs(a)) if np.isfinite(a).any() else np.nan
    angles = np.degrees(np.column_stack([pose, -np.angle(a)]))
    # relative to the median: position and size in the frame say nothing about the expression
    moved = [x - np.nanmedian(x) if np.isfinite(x).any() else x for x in (*(centre[:, 0] * size).T, -np.log(np.abs(a)))]
    aligned = track.evolve("frontal: similarity and first-order pose on stable points", points=flat, unit="iod")
    return aligned, Signals(track.time, np.column_stack([angles, *moved]), HEAD_NAMES, HEAD_UNITS)
