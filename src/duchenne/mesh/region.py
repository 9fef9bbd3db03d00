"""The turned rectangle of a frame that a network reads, and its pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from duchenne.mesh.layout import EYE_CORNERS
from duchenne.types import Array

_LARGER = 1.5  # how much larger than the face's box or points a region is


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle in pixels of a frame, turned about its centre.

    x, y            centre
    width, height   sides
    angle           radians, clockwise on screen
    """

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0

    @classmethod
    def of_frame(cls, width: int, height: int) -> Region:
        """The smallest square around a whole frame."""
        return cls(width / 2, height / 2, max(width, height), max(width, height))

    @classmethod
    def of_box(cls, box: Array, keypoints: Array) -> Region:
        """Where the points of a detected face are sought: `box` (4,) x0 y0 x1 y1 ×1.5, turned by the eyes.

        The eyes are the first two of `keypoints` (≥ 2, 2).
        """
        return cls._around(box[:2], box[2:], keypoints[0], keypoints[1], square=False)

    @classmethod
    def of_points(cls, points: Array) -> Region:
        """Where the face with these mesh points (478, ≥ 2) is sought in the next frame.

        The square whose sides are the longer side of their upright box ×1.5, turned by the outer corners of the eyes.
        """
        flat = points[:, :2]
        return cls._around(flat.min(axis=0), flat.max(axis=0), flat[EYE_CORNERS[0]], flat[EYE_CORNERS[1]], square=True)

    @classmethod
    def _around(cls, low: Array, high: Array, left: Array, right: Array, square: bool) -> Region:
        (x0, y0), (x1, y1), (lx, ly), (rx, ry) = (np.asarray(each, float).tolist() for each in (low, high, left, right))
        width, height = x1 - x0, y1 - y0
        if square:
            width = height = max(width, height)
        angle = math.atan2(ry - ly, rx - lx)
        return cls((x0 + x1) / 2, (y0 + y1) / 2, _LARGER * width, _LARGER * height, angle)

    def matrix(self, side: float) -> Array:
        """float64 (2, 3): from pixels of a crop of `side` × `side` to pixels of the frame."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        turn = np.array([[c, -s], [s, c]]) * (self.width / side, self.height / side)
        return np.column_stack([turn, (self.x, self.y) - turn @ (side / 2, side / 2)])

    def crop(self, image: Array, side: int, border: int = cv2.BORDER_REPLICATE) -> Array:
        """uint8 (side, side, 3): the region of `image` (H, W, 3), sampled bilinearly; beyond the image as `border` (an
        OpenCV flag) says.

        As MediaPipe samples it, for which the networks were made: large regions are not smoothed before, and OpenCV's
        perspective warp rounds places otherwise than its affine one does, which costs half as much.
        """
        flags, matrix = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, np.vstack([self.matrix(side), (0, 0, 1)])
        return np.asarray(cv2.warpPerspective(image, matrix, (side, side), flags=flags, borderMode=border))

    def to_crop(self, points: Array, side: int) -> Array:
        """float64 (..., 2): points of the frame (..., 2) in pixels of a crop of `side` × `side`."""
        matrix = self.matrix(side)
        return np.asarray(np.linalg.solve(matrix[:, :2], (points - matrix[:, 2]).T).T)

    def to_frame(self, points: Array, side: float) -> Array:
        """float64 (..., 2): points of a crop of `side` × `side` pixels (..., 2), in pixels of the frame."""
        matrix = self.matrix(side)
        return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])
