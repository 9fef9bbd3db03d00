"""Read a face: detector, points, coefficients and pose, by the networks of MediaPipe's face landmarker.

Other than there nothing is smoothed over frames, and a face and its mirror image are read alike: the networks prefer a
side, by up to a pixel of 256, and their mean over both images also trembles less.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from duchenne.errors import InputError
from duchenne.mesh import detector, layout
from duchenne.mesh.detector import Faces
from duchenne.mesh.model import load
from duchenne.mesh.pose import pose
from duchenne.mesh.region import Region
from duchenne.types import COEFFICIENTS, Array

_SIDE = 256  # pixels of the landmark network's input
_SETTLED = 0.0005  # mean movement of the points, over the region's side, below which a face has settled
_MOST_READS = 8
_TURNED = 0.2  # radians, of the second region of `FaceMesh.doubt`
_IN_MIRROR = np.r_[_SIDE - 1, _SIDE - 1 : 0 : -1]  # columns of a crop's mirror image: `Region` turns about pixel 128
_OTHER_IRIS = (473, 476, 475, 474, 477, 468, 471, 470, 469, 472)  # what points 468 to 477 are in a mirror


@dataclass(frozen=True, slots=True)
class Reading:
    """What the networks say of one face in one frame.

    points         float32 (478, 3)   x right, y down in pixels of the frame; z away from the camera on the same scale,
                                      0 about the middle of the head
    presence       float              0 to 1: that the region shows a face, in the image and in its mirror image
    coefficients   float32 (52,)      0 to 1, named by `COEFFICIENTS`
    pose           float32 (3,)       yaw, pitch, roll in degrees, as `mesh.pose.pose`
    region         Region             that was read
    mirrored       float32 (478, 2)   how far from the image alone its mirror image alone puts each point, in pixels
    """

    points: Array
    presence: float
    coefficients: Array
    pose: Array
    region: Region
    mirrored: Array

    @property
    def following(self) -> Region:
        """Where to read the same face in the next frame."""
        return Region.of_points(self.points)

    @property
    def oval(self) -> Array:
        """float32 (27, 2): the outline of the face from jaw to above the brows, in pixels."""
        return layout.oval(self.points)

    @property
    def points_68(self) -> Array:
        """float32 (68, 2): the points in the layout of dlib and iBUG, in pixels."""
        return layout.as_68(self.points)


class FaceMesh:
    """The networks of a `face_landmarker.task`: the shipped one, or that of `path` or DUCHENNE_FACE_MESH.

    Results depend on nothing but the frame and the region: nothing is smoothed over frames. One object is for one
    thread; `model` is what the file holds. Raises ModelError for a missing, damaged or other file.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.model = load(None if path is None else Path(path))
        self.version = f"opencv {cv2.__version__} face_landmarker {self.model.sha256}"
        mirrored = self.model.canonical * (-1, 1, 1)
        apart = np.linalg.norm(self.model.canonical[None] - mirrored[:, None], axis=2)
        self._other_side = np.concatenate([apart.argmin(axis=1), _OTHER_IRIS])  # the point that each is in a mirror
        others = [name.replace("Left", "#").replace("Right", "Left").replace("#", "Right") for name in COEFFICIENTS]
        self._other_coefficient = [COEFFICIENTS.index(name) for name in others]

    def detect(self, bgr: Array, least: float = 0.5, region: Region | None = None) -> Faces:
        """The faces of a frame uint8 (H, W, 3) blue, green, red, whose score is at least `least`.

        The detector is made for faces within about two metres of a camera. It reads the whole frame, or a square
        `region` of it, at 128 × 128 pixels, and misses faces lower than about a seventh of that.
        """
        _checked(bgr)
        return detector.detect(self.model.detector, bgr, region or Region.of_frame(bgr.shape[1], bgr.shape[0]), least)

    def search(self, bgr: Array, least: float = 0.5, every: bool = False) -> Faces:
        """As `detect`; where the whole frame shows none, overlapping squares of it are read.

        They are as high as the frame, then half as high, so that faces of a fourteenth of its height are found. With
        `every` they are read in any case, for small faces beside large ones. Where there is no face, and with `every`,
        it costs some 20 times as much as `detect`.
        """
        return detector.search(self.model.detector, _checked(bgr), least, every)

    def read(self, bgr: Array, region: Region, oval: Array | None = None) -> Reading:
        """The face in a region (`Faces.region`, or `Reading.following` of the frame before) of such a frame.

        The networks always answer: below a presence of about 0.5 there is no face, and the points are invented.

        oval    (N, 2) outline in pixels of the frame, as `Reading.oval` of the frame before: everything outside takes
                the mean colour of the inside, so that a face cut out on black reads like the same face in a room
        """
        crop = region.crop(_checked(bgr), _SIDE)
        if oval is not None:
            crop = _alone(crop, region.to_crop(oval, _SIDE))
        direct, flag = self._points(crop)
        other, other_flag = self._points(np.ascontiguousarray(crop[:, _IN_MIRROR]))
        other = self._in_mirror(other)
        points = (direct + other) / 2
        coefficients = self._coefficients(points)
        coefficients += self._coefficients(self._in_mirror(points))[self._other_coefficient]
        points[:, :2] = region.to_frame(points[:, :2], _SIDE)
        points[:, 2] *= region.width / _SIDE
        size = bgr.shape[1], bgr.shape[0]
        return Reading(
            points.astype(np.float32),
            float(1 / (1 + np.exp(-min(flag, other_flag)))),
            (coefficients / 2).astype(np.float32),
            pose(points, size, self.model.canonical, self.model.rigid).astype(np.float32),
            region,
            (region.to_frame(other[:, :2], _SIDE) - region.to_frame(direct[:, :2], _SIDE)).astype(np.float32),
        )

    def doubt(self, bgr: Array, reading: Reading) -> float:
        """How far the lips depend on how the frame is shown, in distances of the eyes' outer corners.

        The face of `reading`, of this frame, was read in a mirror too, and is read again turned by 0.2 radians. What
        the network sees moves with the frame; what it invents, on a mask or a hand, moves otherwise. Given is the mean
        distance of the lips from where they should be, less the movement of lips and eyes together. Presence does not
        show this: it stays near 1.
        """
        region = reading.region
        turned = replace(region, angle=region.angle + _TURNED)
        again = self._points(turned.crop(_checked(bgr), _SIDE))[0]
        there = reading.points[:, :2] - reading.mirrored / 2
        moved = np.stack([reading.mirrored, turned.to_frame(again[:, :2], _SIDE) - there])
        moved -= np.median(moved[:, [*layout.LIPS, *layout.EYES]], axis=1, keepdims=True)
        away = np.linalg.norm(moved[:, list(layout.LIPS)], axis=2).mean()
        return float(away / max(float(np.linalg.norm(np.subtract(*there[list(layout.EYE_CORNERS)]))), 1e-6))

    def _points(self, crop: Array) -> tuple[Array, float]:
        """(float64 (478, 3) in pixels of a crop, logit of its presence)."""
        raw, flag = self.model.landmarks(cv2.dnn.blobFromImage(crop, 1 / 255, swapRB=True))
        return raw.reshape(478, 3).astype(float), float(flag.item())

    def _in_mirror(self, points: Array) -> Array:
        """The points (478, 3) of a crop in the mirror image of that crop, or back."""
        return np.asarray(points[self._other_side] * (-1, 1, 1) + (_SIDE, 0, 0))

    def _coefficients(self, points: Array) -> Array:
        """(52,) of the points (478, 3) of a crop."""
        (found,) = self.model.coefficients(points[layout.FOR_COEFFICIENTS, :2].astype(np.float32)[None])
        return np.asarray(found.ravel())

    def settle(self, bgr: Array, region: Region, alone: bool = False) -> Reading:
        """The face in the region of a newly detected face: read again in the region of its own points until they stay.

        Points and coefficients depend on the region, which the detector gives otherwise than the points do. Without
        this the first frames of a face that is followed drift to other values, as if an expression began. `alone`: with
        everything outside its own `Reading.oval` hidden.
        """
        reading = self.read(bgr, region)
        for _ in range(_MOST_READS - 1):
            before, reading = reading, self.read(bgr, reading.following, reading.oval if alone else None)
            if reading.presence < 0.5 or _moved(before, reading) < _SETTLED:
                break
        return reading


def _alone(crop: Array, outline: Array) -> Array:
    """The crop with the mean colour of the inside of an outline (N, 2) also outside; the crop if nothing is inside."""
    inside = np.zeros(crop.shape[:2], np.uint8)
    # 1/16 of a pixel: whole pixels would make the outline jump
    cv2.fillPoly(inside, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    if not inside.any():
        return crop
    share = inside[..., None] / np.float32(255)
    ground = (crop * share).sum(axis=(0, 1)) / share.sum()
    return np.asarray(ground + (crop - ground) * share + 0.5, np.uint8)


def _moved(before: Reading, after: Reading) -> float:
    """Mean movement of the points over the side of the region."""
    return float(np.linalg.norm((after.points - before.points)[:, :2], axis=1).mean() / after.region.width)


def _checked(bgr: Array) -> Array:
    if bgr.dtype != np.uint8 or bgr.ndim != 3 or bgr.shape[2] != 3 or 0 in bgr.shape:
        raise InputError(
            f"The face mesh reads frames uint8 (H, W, 3) blue, green, red, found {bgr.dtype} {bgr.shape}; convert it."
        )
    return bgr
