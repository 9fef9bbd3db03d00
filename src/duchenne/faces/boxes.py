"""Boxes of faces in frames: what lies inside, how two compare, and whether points in a frame can be a face's."""

from __future__ import annotations

import math

import cv2
import numpy as np

from duchenne.faces.landmarks import Shape
from duchenne.types import Array

_LIKENESS = 0.15
_INSIDE = 2 / 3  # of the points must lie in the frame: dlib invents the others
_DENSE = 100  # pixels of a face, each way, that are compared with the frame before


def changed(before: Array, grey: Array, box: Array) -> float:
    """Mean difference in grey levels of two frames uint8 (H, W) in `box`; NaN where they cannot be compared."""
    a, b = region(before, box), region(grey, box)
    return float(cv2.absdiff(a, b).mean()) if a.size and before.shape == grey.shape else math.nan


def region(grey: Array, box: Array) -> Array:
    """The pixels of uint8 (H, W) inside `box`; of large faces every second, third … in both directions."""
    x0, y0, x1, y1 = (max(0, int(v)) for v in box)
    step = max(1, (x1 - x0) // _DENSE)
    return np.ascontiguousarray(grey[y0:y1:step, x0:x1:step])


def plausible(face: Shape, frame: tuple[int, ...]) -> bool:
    """Whether points are shaped like a face with two thirds of them in an image of shape `frame` (H, W)."""
    if not face.mostly_inside(frame[1], frame[0]):
        inside = ((face.points >= 0) & (face.points < frame[1::-1])).all(axis=1)
        if float(inside.mean()) < _INSIDE:
            return False
    return face.likeness >= _LIKENESS


def overlap(a: Array, b: Array) -> float:
    """Intersection over union of two boxes."""
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (size <= 0).any():
        return 0.0
    both = float(size.prod())
    return both / (float((a[2:] - a[:2]).prod()) + float((b[2:] - b[:2]).prod()) - both)


def distance(a: Array, b: Array) -> float:
    """Distance of two boxes: of centres over mean side, or the log ratio of sides if that is more."""
    ax0, ay0, ax1, ay1 = a.tolist()
    bx0, by0, bx1, by1 = b.tolist()
    apart = math.hypot(ax0 + ax1 - bx0 - bx1, ay0 + ay1 - by0 - by1) / (ax1 - ax0 + bx1 - bx0)
    return float(max(apart, abs(math.log((ax1 - ax0) / (bx1 - bx0)))))
