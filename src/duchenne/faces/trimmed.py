"""Landmarks found again on trimmed face boxes, the augmentation of Huynh & Kim (2017, section 2.4).

They draw a random number, remove as many pixels at the edges of a detected face, and fit the landmarks in what is left,
again and again. dlib starts from the box that it is given, so its points differ a little from box to box; how, no shift
or scale of the points can imitate.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from contextlib import closing

import numpy as np

from duchenne.errors import InputError
from duchenne.faces.crops import along
from duchenne.faces.follower import Frame
from duchenne.faces.landmarks import Landmarker, box_of
from duchenne.types import Array, FaceTrack


def trimmed(track: FaceTrack, frames: Iterable[Frame], landmarker: Landmarker, n: int, most: float) -> Array:
    """float32 (n, T, 68, 2): points of every seen frame in `n` boxes, NaN elsewhere.

    frames   as for `crops.along`
    most     share of the box's side up to which each of its four edges is moved inwards, at random; the same for all
             frames of a copy, and others for another track

    InputError as `crops.along`, and for a track with a mesh, whose points are not the landmarker's.
    """
    if track.coefficients is not None:
        raise InputError(f"{track.source} was read with the face mesh; trimmed boxes need the reader paper.")
    rng = np.random.default_rng(zlib.crc32(track.points.tobytes()))
    edges = rng.uniform(0, most, (n, 4)) * (1, 1, -1, -1)

    def look(frame: Frame, points: Array) -> Array:
        box = box_of(points)
        return np.stack([landmarker.fit(frame.grey, box + each * (box[2] - box[0])) for each in edges])

    out = np.full((n, *track.points.shape), np.nan, np.float32)
    with closing(along(track, frames, look=look)) as found:
        for row, points in found:
            out[:, row] = points
    return out
