"""Face detection: OpenCV's Haar cascade and dlib's HOG detector, both on a reduced image."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Protocol

import cv2
import dlib
import numpy as np

from duchenne.faces.landmarks import cut, grow
from duchenne.types import Array

CASCADE = "haarcascade_frontalface_alt2.xml"

#: Detection runs on an image at most this wide or high. On the test clips, twice the size took twice the time and found
#: nothing more; histogram equalisation doubled the time and lost faces.
_HAAR_SIDE = 480
_HOG_SIDE = 800
_SMALLEST = 1 / 10  # smallest face over the image's shorter side


class Detector(Protocol):
    """Finds boxes. `version` goes into the track's history."""

    version: str

    def detect(self, grey: Array) -> Array:
        """float32 (N, 4) x0 y0 x1 y1, most prominent first (large and central), from uint8 (H, W)."""
        ...


def _reduce(grey: Array, side: int) -> tuple[Array, float]:
    """(image, factor): `grey` scaled so that its longer side is at most `side`; factor <= 1."""
    height, width = grey.shape
    factor = min(1.0, side / max(height, width))
    if factor == 1.0:
        return grey, 1.0
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA)), factor


def prominent(boxes: Array, shape: tuple[int, ...]) -> Array:
    """float32 (N, 4): boxes sorted as `by_prominence`."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return boxes[by_prominence(boxes, shape)]


def by_prominence(boxes: Array, shape: tuple[int, ...]) -> Array:
    """int (N,): places of boxes (N, 4) by falling area times centredness (1 in the middle, 0.5 in a corner)."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    frame = np.array([shape[1], shape[0]], np.float32)
    away = np.linalg.norm(centre / frame - 0.5, axis=1) / np.sqrt(0.5)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.argsort(-area * (1 - 0.5 * away), kind="stable")


class HaarDetector:
    """Viola & Jones' cascade in Lienhart's tree form (`frontalface_alt2`), from OpenCV."""

    def __init__(self, cascade: str = CASCADE) -> None:
        self._cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / cascade))  # type: ignore[attr-defined]
        self.version = f"opencv {cv2.__version__} {cascade.removesuffix('.xml')}"

    def detect(self, grey: Array) -> Array:
        """float32 (N, 4) x0 y0 x1 y1, most prominent first, from uint8 (H, W)."""
        image, factor = _reduce(grey, _HAAR_SIDE)
        least = max(20, round(min(image.shape) * _SMALLEST))
        found = self._cascade.detectMultiScale(image, scaleFactor=1.1, minNeighbors=3, minSize=(least, least))
        boxes = np.array(found, np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return prominent(boxes / factor, grey.shape)


@functools.lru_cache(maxsize=1)
def _hog() -> Any:
    """dlib's detector; cached, because creating it takes a third of a second."""
    return dlib.get_frontal_face_detector()


class HogDetector:
    """dlib's frontal face detector (Dalal & Triggs' HOG, five linear filters); small images are enlarged."""

    version = f"dlib {dlib.__version__} hog"

    def __init__(self) -> None:
        self._detector = _hog()

    def detect(self, grey: Array) -> Array:
        """float32 (N, 4) x0 y0 x1 y1, most prominent first, from uint8 (H, W)."""
        image, factor = _reduce(grey, _HOG_SIDE)
        if min(image.shape) < 8:
            return np.zeros((0, 4), np.float32)
        if max(image.shape) < _HOG_SIDE:  # the filters detect no face under 80 px
            scale = min(4.0, _HOG_SIDE / max(image.shape))
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
            factor *= scale
        found = [(r.left(), r.top(), r.right() + 1, r.bottom() + 1) for r in self._detector(image, 0)]
        return prominent(np.array(found, np.float32).reshape(-1, 4) / factor, grey.shape)


class Verifier:
    """Scores a box by dlib's HOG filters, independently of the tracker; 2 ms.

    On the test clips faces score 0.3 to 2.7, the low end with a hand before the mouth; none of 600 places without a
    face scores above -0.8.
    """

    face = 90  # side in pixels to which the box is scaled
    clear = 0.5  # score at which a narrow view suffices: it scores up to one lower than the wide one

    def __init__(self) -> None:
        self._detector = _hog()

    def look(self, grey: Array, box: Array, roll: float = 0.0) -> tuple[float, Array]:
        """(score, HOG's own box float64 (4,)) of the face near `box` in uint8 (H, W).

        Above 0 dlib's detector would report it; without a face: -1 and `box`. The region is rotated upright by `roll`
        radians first, because the filters detect no tilted heads.
        """
        return self._score(grey, box, roll, self.face, round(self.face * 1.8))

    def glance(self, grey: Array, box: Array, roll: float = 0.0) -> bool:
        """Whether a face clearly fills `box`, in a third of the time of `look`, which decides doubtful cases."""
        return self._score(grey, box, roll, 88, 104)[0] >= self.clear

    def _score(self, grey: Array, box: Array, roll: float, face: int, side: int) -> tuple[float, Array]:
        """`look` in a square of `side` pixels, at a scale at which the box has `face`."""
        crop = cut(grey, grow(box, (side / face - 1) / 2), (side, side))
        turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(np.degrees(roll)), 1.0)
        rects, scores, _ = self._detector.run(cv2.warpAffine(crop, turn, (side, side)), 0, -1.0)
        best, found = -1.0, np.asarray(box, np.float64)
        per_px = float(box[2] - box[0]) / face
        for r, score in zip(rects, scores, strict=True):
            off = np.array([r.left() + r.right() + 1, r.top() + r.bottom() + 1]) / 2 - side / 2
            if score > best and np.abs(off).max() < 0.3 * face and 0.6 < r.width() / face < 1.6:
                centre = (box[:2] + box[2:]) / 2 + turn[:, :2].T @ off * per_px
                half = r.width() / 2 * per_px
                best, found = float(score), np.concatenate([centre - half, centre + half])
        return best, found
