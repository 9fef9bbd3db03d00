"""Undo head pose: put every frame of a track onto one frontal face, and say how the head moved."""

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

    x and y are the symmetrised mean of dlib's points over the people of PEDFE; z is how far a point moves
    against the stable points per radian of yaw and pitch, found by alternating least squares on the same
    tracks (experiments/face_template.py).
    """
    text = files("duchenne").joinpath("preprocess", "face_template.json").read_text(encoding="utf-8")
    return np.array(json.loads(text)["xyz"], dtype=float)


def frontal(track: FaceTrack) -> tuple[FaceTrack, Signals]:
    """Remove head pose frame by frame; return the frontal track and the head's own movement.

    Each frame's stable points are fitted to `template()` by a similarity; what remains of them along the
    template's depth is yaw and pitch (first order), and is taken out of all points. No point depends
    on other frames. The result's points are in interocular units, origin
    between the eyes. Head angles are in degrees; the head's place (in interocular units) and its size
    (log of the interocular distance) are told against their medians in the clip. Unseen frames stay NaN.
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
    everything = points - centre
    turned = a[:, None] * (everything[..., 0] + 1j * everything[..., 1]) + complex(*middle)
    flat = np.stack([turned.real, turned.imag], axis=-1)
    depth = model[STABLE, 2] - model[STABLE, 2].mean()
    pose = np.einsum("tpc,p->tc", flat[:, STABLE] - target, depth) / (depth @ depth)
    flat -= pose[:, None, :] * model[None, :, 2:3]
    size = np.nanmedian(np.abs(a)) if np.isfinite(a).any() else np.nan
    head = np.column_stack(
        [
            np.degrees(pose[:, 0]),
            np.degrees(pose[:, 1]),
            -np.degrees(np.angle(a)),
            _within(centre[:, 0, 0] * size),
            _within(centre[:, 0, 1] * size),
            _within(-np.log(np.abs(a))),
        ]
    )
    aligned = track.evolve("frontal: similarity and first-order pose on stable points", points=flat, unit="iod")
    return aligned, Signals(track.time, head, HEAD_NAMES, HEAD_UNITS)


def _within(x: Array) -> Array:
    """x less its median: where in the picture a face stands, and how large, says nothing about its expression."""
    return x - np.nanmedian(x) if np.isfinite(x).any() else x
