"""What action units are read from, the same for a face and its mirror image: its shape, and how it looks.

A unit is coded whichever side shows it, so each number is the mean of both sides; of the coefficients also their
difference.
"""

from __future__ import annotations

import numpy as np

from duchenne.faces import crops
from duchenne.preprocess.align import frontal, template
from duchenne.types import COEFFICIENTS, Array, FaceTrack

_ACROSS = np.array([-1.0, 1.0])


def _other_side() -> Array:
    """int (68,): the point that each of the 68 is in a mirror."""
    flat = template()[:, :2]
    return np.asarray(np.linalg.norm(flat[:, None] - flat[None] * _ACROSS, axis=2).argmin(axis=1))


def _swapped(name: str) -> str:
    left, right = name.replace("Left", "Right"), name.replace("Right", "Left")
    return left if left != name else right


_MIRROR = _other_side()
_HALF = np.flatnonzero(np.arange(68) <= _MIRROR)
_OTHER = np.array([COEFFICIENTS.index(_swapped(name)) for name in COEFFICIENTS])
_NAMED = np.flatnonzero([name != "_neutral" for name in COEFFICIENTS])
_PAIRED = np.flatnonzero(np.arange(len(COEFFICIENTS)) < _OTHER)


def shape(points: Array, coefficients: Array) -> Array:
    """float64 (N, D) of points (N, 68, 2) in pixels and coefficients (N, 52), with the head's pose taken out.

    Frontal points in interocular units, and square roots of the coefficients, most of which are near 0.
    """
    n = len(points)
    track = FaceTrack(time=np.arange(n), points=points, confidence=np.ones(n), box=np.zeros((n, 4)), frame_size=(0, 0))
    flat = np.asarray(frontal(track)[0].points, float)
    both = (flat + flat[:, _MIRROR] * _ACROSS)[:, _HALF] / 2
    root = np.sqrt(np.clip(np.asarray(coefficients, float), 0, 1))
    mean, apart = (root + root[:, _OTHER]) / 2, np.abs(root - root[:, _OTHER])
    return np.concatenate([both.reshape(n, -1), mean[:, _NAMED], apart[:, _PAIRED]], axis=1)


def points_wide() -> int:
    """How many columns of `shape` are points; the others are coefficients."""
    return 2 * len(_HALF)


def look(images: Array) -> Array:
    """float64 (N, 900) of crops uint8 (N, 48, 48): histograms of their gradients, as `faces.crops.gradients`."""
    images = np.asarray(images)
    return (crops.gradients(images) + crops.gradients(images[:, :, ::-1])).astype(float) / 2
