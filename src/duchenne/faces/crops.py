"""A face as the networks see it: eyes level, framed as FER2013 frames its faces; for expressions grey and 48×48.

`crop` is what every picture and every frame of a video goes through, in training and in use. The constants were
measured on FER2013's public test images (experiments/fer_framing.py): of all that was tried, the eyes' midpoint tells
best where its frames lie, and the spread of the points above mouth and chin how large they are. The distance of the
eyes alone shrinks when a head turns away, and a measure with the mouth in it would shrink a mouth that opens.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from duchenne.errors import InputError
from duchenne.faces.detect import Verifier
from duchenne.faces.follow import follow
from duchenne.faces.landmarks import box_of, roll_of
from duchenne.types import Array, FaceTrack
from duchenne.video import images

#: Width and height of FER2013's images in pixels.
SIDE = 48
#: Where the midpoint of the eyes lies in them, x y, and how far the points `UPPER` spread: shares of the side.
EYES = (0.5, 0.396)
SPREAD = 0.299
#: Points that a moving mouth leaves alone: upper jaw line, brows, nose and eyes (dlib's numbering from 0).
UPPER = np.r_[0:5, 12:48]
#: dlib HOG score below which a face is doubted where a surer one is beside it: a badge on a suit scores 0.1 to 0.5, as
#: do 5 % of FER2013's faces, which are alone in their pictures; the faces of a group from 1.2 up.
_SURE = 0.6
_FINE = 4  # samples per pixel of the crop, each way, that are averaged: nothing aliases


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a picture: `box` float64 (4,) x0 y0 x1 y1 and `points` float32 (68, 2) in its pixels, `crop` uint8
    (48, 48). A picture that is itself a cropped face has its edges as `box` and no points (NaN)."""

    box: Array
    points: Array
    crop: Array


class Frame(Protocol):
    """What `along` needs of a video frame: seconds and uint8 (H, W) luma."""

    @property
    def time(self) -> float: ...
    @property
    def grey(self) -> Array: ...


@dataclass(frozen=True, eq=False)
class _Still:
    grey: Array
    time: float = 0.0


def measure(points: Array) -> tuple[Array, float, float]:
    """(midpoint of the eyes (2,), spread, roll) of points (68, 2): pixels, pixels and radians clockwise on screen.

    The spread is the RMS distance of the points `UPPER` from their centroid.
    """
    p = np.asarray(points, np.float64)
    left, right = p[36:42].mean(axis=0), p[42:48].mean(axis=0)
    upper = p[UPPER] - p[UPPER].mean(axis=0)
    roll = float(np.arctan2(*(right - left)[::-1]))
    return (left + right) / 2, float(np.sqrt((upper**2).sum(axis=1).mean())), roll


def crop(picture: Array, points: Array, side: int = SIDE) -> Array:
    """uint8 (side, side): the face with these points (68, 2) in uint8 (H, W), framed like FER2013's; of a picture in
    colour, uint8 (H, W, 3), uint8 (side, side, 3).

    Only the face's own region is touched, so that the cost does not grow with the picture; beyond the picture its
    edge is repeated. Raises InputError for points that are not all known, or all one.
    """
    if not np.isfinite(points).all():
        raise InputError("A face's crop needs 68 known points, found some missing; leave this frame out.")
    eyes, spread, roll = measure(points)
    if spread <= 0:
        raise InputError("A face's crop needs points that lie apart, found them all in one place; leave it out.")
    full = spread / SPREAD  # the crop's side in the picture's pixels
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]) * full
    corner = eyes - turn @ EYES + 0.5  # 0 0 is the picture's corner, half a pixel from its first pixel's middle
    return _sample(np.asarray(picture), corner, turn, side)


def _sample(picture: Array, corner: Array, turn: Array, side: int) -> Array:
    """The square that begins at `corner` with the columns of `turn` as its edges, averaged over its pixels."""
    n = side * _FINE
    corners = corner + np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) @ turn.T
    k = max(1, int(np.hypot(*turn[:, 0]) / n))
    low = np.maximum(0, np.floor(corners.min(axis=0)).astype(int) - 2 * k)
    high = np.ceil(corners.max(axis=0)).astype(int) + 2 * k
    # a face wholly outside the picture still gets its nearest edge
    left, top = np.minimum(low, np.array(picture.shape[1::-1]) - 1)
    region = picture[top : max(top + 1, high[1]), left : max(left + 1, high[0])]
    if k > 1 and min(region.shape[:2]) >= k:
        region = region[: region.shape[0] // k * k, : region.shape[1] // k * k]
        region = cv2.resize(region, (region.shape[1] // k, region.shape[0] // k), interpolation=cv2.INTER_AREA)
    else:
        k = 1
    # middle of sample i: corner + turn (i + 1/2) / n in the picture, so much less `left` and half a pixel here
    step = turn / n / k
    shift = (corner - (left, top)) / k - 0.5 + step @ (0.5, 0.5)
    matrix = np.column_stack([step, shift])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(np.ascontiguousarray(region), matrix, (n, n), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA))


def aligned(grey: Array, side: int = SIDE) -> Array:
    """uint8 (side, side): a picture uint8 (H, W) that is itself a cropped face, brought to size.

    What is longer than wide, or wider than long, loses both ends of its longer side alike.
    """
    height, width = grey.shape
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    square = grey[top : top + least, left : left + least]
    if least == side:
        return np.ascontiguousarray(square)
    smaller = cv2.INTER_AREA if least > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square, (side, side), interpolation=smaller))


def whole(picture: Array, side: int) -> Array:
    """uint8 (side, side) or (side, side, 3): a whole picture uint8 (H, W) or (H, W, 3), its proportions kept, in the
    middle of black."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    out = np.zeros((side, side, *picture.shape[2:]), np.uint8)
    top, left = (side - h) // 2, (side - w) // 2
    smaller = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    out[top : top + h, left : left + w] = cv2.resize(np.ascontiguousarray(picture), (w, h), interpolation=smaller)
    return out


def find(grey: Array, *, detector: str = "haar", fallback: str | None = "hog") -> list[Face]:
    """Every face of a picture uint8 (H, W), the largest first; none where none is seen.

    Found as in a video's first frame (`follow`): both detectors look, and dlib's HOG filters must agree, more clearly
    where there is a surer face. Faces smaller than a tenth of the picture's shorter side are not looked for.
    """
    tracks = follow([_Still(grey)], detector=detector, fallback=fallback, all_faces=True).tracks
    points = [track.points[0] for track in tracks]
    if len(points) > 1:
        verifier = Verifier()
        scores = [max(verifier.look(grey, box_of(p), turn)[0] for turn in (0.0, roll_of(p))) for p in points]
        points = [p for p, score in zip(points, scores, strict=True) if score >= min(_SURE, max(scores))]
    found = [Face(box_of(p), p, crop(grey, p)) for p in points]
    return sorted(found, key=lambda face: float(face.box[0] - face.box[2]))


def faces(path: str | Path, *, is_aligned: bool = False) -> tuple[list[Face], tuple[str, ...]]:
    """(the faces of a picture file, largest first and at least one; notes on how it was read).

    is_aligned   the picture is itself a cropped face: nothing is looked for, it is only brought to size

    Raises InputError, in one sentence, where the file cannot be read (see `pictures.read`) or shows no face.
    """
    picture = images.read(path)
    grey = picture.grey
    if is_aligned:
        box = np.array([0, 0, *grey.shape[::-1]], np.float64)
        return [Face(box, np.full((68, 2), np.nan, np.float32), aligned(grey))], picture.notes
    if found := find(grey):
        return found, picture.notes
    seen = f"{grey.shape[1]}×{grey.shape[0]} pixels"
    raise InputError(f"{path} shows no face that was found ({seen}); if it is itself a cropped face, pass --aligned.")


def along(
    track: FaceTrack,
    frames: Iterable[Frame],
    rows: Array | None = None,
    look: Callable[[Any, Array], Array] | None = None,
) -> Generator[tuple[int, Array], None, None]:
    """(row of the track, crop uint8 (48, 48)) of every seen frame, in order; one frame is held at a time.

    frames   of the file that the track was followed in, over the same stretch (`video.frames`); frames between the
             track's rows are passed over, and the rest is not read
    rows     which of the seen frames, in order, instead of all
    look     makes another crop of a frame and points (68, 2)

    Raises InputError for a track that is not in pixels, or a seen row for which there is no frame.
    """
    seen = np.flatnonzero(track.seen) if rows is None else np.asarray(rows)
    if track.unit != "px":
        raise InputError(
            f"{track.source}: crops need a track in pixels, found {track.unit}; crop before it is aligned."
        )
    source = iter(frames)
    with closing(source) if isinstance(source, Generator) else nullcontext():
        for row in seen.tolist():
            wanted = float(track.time[row])
            frame = next((f for f in source if f.time > wanted - 1e-3), None)
            if frame is None or frame.time > wanted + 1e-3:
                raise InputError(
                    f"{track.source} has no frame at {wanted:.3f} s, where its track has one; follow it again."
                )
            points = track.points[row]
            yield row, crop(frame.grey, points) if look is None else look(frame, points)


def of_track(track: FaceTrack, frames: Iterable[Frame]) -> FaceTrack:
    """The track with crops uint8 (T, 48, 48, 1), black in the frames in which it is not `seen`; see `along`."""
    out = np.zeros((len(track), SIDE, SIDE, 1), np.uint8)
    with closing(along(track, frames)) as rows:
        for row, face in rows:
            out[row, :, :, 0] = face
    return track.evolve("faces.crops: 48×48, eyes level, framed as FER2013", crops=out)
