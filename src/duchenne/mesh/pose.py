"""The head's pose from mesh points: a mean face is fitted to them as a virtual camera sees them.

The method is that of MediaPipe's facial transformation matrix: points and their depth, which is relative, become
centimetres by the scale at which the mean face fits, found twice, as the first time the face's distance is not known.
"""

from __future__ import annotations

import math

import numpy as np

from duchenne.types import Array

_VIEW = math.radians(63)  # the virtual camera's vertical field of view


def pose(points: Array, size: tuple[int, int], canonical: Array, rigid: Array) -> Array:
    """float64 (3,): yaw, pitch, roll in degrees, 0 for a head that faces the camera.

    Positive yaw turns the nose to the picture's right, pitch downwards, and roll turns the head clockwise on screen, as
    `preprocess.align.frontal` counts them. The head rolls first, then pitches, then yaws. NaN where a point is missing.

    points      (478, 3) pixels of the frame, depth away from the camera
    size        width, height of the frame
    canonical   (468, 3) the mean face, as `Model.canonical`
    rigid       (468,) weights of its points
    """
    if not np.isfinite(points).all():
        return np.full(3, np.nan)
    return angles(rotation(points, size, canonical, rigid))


def rotation(points: Array, size: tuple[int, int], canonical: Array, rigid: Array) -> Array:
    """float64 (3, 3): from the axes of the mean face to the camera's; in both x is right, y up and z to the viewer."""
    unit = 2 * math.tan(_VIEW / 2) / size[1]  # one pixel at distance 1
    seen = (points[: len(canonical)].astype(float) - (size[0] / 2, size[1] / 2, 0)) * (unit, -unit, unit)
    depth = seen[:, 2] - seen[:, 2].mean() + 1
    found, scale = _fit(canonical, seen * (1, 1, -1), rigid)
    for _ in range(2):
        away = depth / scale
        found, factor = _fit(canonical, np.column_stack([seen[:, :2] * away[:, None], -away]), rigid)
        scale *= factor
    return found


def _fit(source: Array, target: Array, weights: Array) -> tuple[Array, float]:
    """(rotation (3, 3), scale) of the similarity that takes `source` (N, 3) nearest to `target`: Kabsch and Umeyama."""
    share = weights / weights.sum()
    from_, to = source - share @ source, target - share @ target
    u, values, v = np.linalg.svd(to.T @ (from_ * share[:, None]))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    return (u * signs) @ v, float(values @ signs / (share @ (from_**2).sum(axis=1)))


def angles(turn: Array) -> Array:
    """float64 (3,): yaw, pitch, roll in degrees of a rotation (3, 3) = Ry(yaw) Rx(pitch) Rz(−roll)."""
    yaw = math.atan2(turn[0, 2], turn[2, 2])
    pitch = math.asin(max(-1.0, min(1.0, -turn[1, 2])))
    return np.degrees([yaw, pitch, -math.atan2(turn[1, 0], turn[1, 1])])
