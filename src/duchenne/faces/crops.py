"""Face crops for the networks: eyes level, framed as in FER2013; for expressions grey and 48×48.

Every image and video frame goes through `crop`, in training and in use. The constants were measured on FER2013's public
test images (experiments/fer_framing.py): of everything tried, the midpoint of the eyes best predicts the position of
its frames, and the spread of the points above mouth and chin their size. The interocular distance shrinks when a head
turns, and a measure that includes the mouth changes when it opens.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from duchenne.errors import InputError
from duchenne.faces import light
from duchenne.faces.detect import Verifier
from duchenne.faces.follow import follow
from duchenne.faces.follower import Frame
from duchenne.faces.landmarks import box_of, roll_of
from duchenne.registry import READERS
from duchenne.types import Array, FaceTrack
from duchenne.video import images

#: Width and height of FER2013's images in pixels.
SIDE = 48
#: Position of the midpoint of the eyes in them, x y, and spread of the points `UPPER`: shares of the side.
EYES = (0.5, 0.396)
SPREAD = 0.299
#: Points that a moving mouth does not move: upper jaw line, brows, nose and eyes (dlib's numbering from 0).
UPPER = np.r_[0:5, 12:48]
#: dlib HOG score below which a face is rejected beside a better one: a badge on a suit scores 0.1 to 0.5, like 5 % of
#: FER2013's faces, which are alone in their images; the faces of a group from 1.2 up.
_SURE = 0.6
_FINE = 4  # samples per pixel of the crop, each way, averaged against aliasing
#: Blocks of 2 × 2 cells of 8 × 8 pixels, every 8 pixels, 9 directions.
_GRADIENTS = cv2.HOGDescriptor((SIDE, SIDE), (16, 16), (8, 8), (8, 8), 9)


@dataclass(frozen=True, eq=False)
class Face:
    """One face of an image: `box` float64 (4,) x0 y0 x1 y1 and `points` float32 (68, 2) in its pixels, `crop` uint8
    (48, 48), or RGB (48, 48, 3); `coefficients` float32 (52,) of the reader mesh. An image that is itself a cropped
    face has its edges as `box` and no points (NaN)."""

    box: Array
    points: Array
    crop: Array
    coefficients: Array | None = None


#: How a picture is turned → quarter turns counter-clockwise, FFmpeg's filter.
TURNS = {"90° clockwise": (3, "transpose=1"), "90° counter-clockwise": (1, "transpose=2"), "180°": (2, "hflip,vflip")}


@dataclass(frozen=True, eq=False)
class _Still:
    grey: Array
    time: float = 0.0

    @property
    def bgr(self) -> Array:
        return np.asarray(cv2.cvtColor(self.grey, cv2.COLOR_GRAY2BGR))


def measure(points: Array) -> tuple[Array, float, float]:
    """(midpoint of the eyes (2,), spread, roll) of points (68, 2): pixels, pixels and radians clockwise on screen.

    The spread is the RMS distance of the points `UPPER` from their centroid.
    """
    p = np.asarray(points, np.float64)
    left, right = p[36:42].mean(axis=0), p[42:48].mean(axis=0)
    upper = p[UPPER] - p[UPPER].mean(axis=0)
    roll = float(np.arctan2(*(right - left)[::-1]))
    return (left + right) / 2, float(np.sqrt((upper**2).sum(axis=1).mean())), roll


def crop(image: Array, points: Array, side: int = SIDE) -> Array:
    """uint8 (side, side): the face with these points (68, 2) in uint8 (H, W), framed as in FER2013; of a colour image
    uint8 (H, W, 3), uint8 (side, side, 3).

    The cost does not grow with the image; beyond the image its edge is repeated. InputError for missing or coincident
    points.
    """
    if not np.isfinite(points).all():
        raise InputError("A face crop needs 68 known points, found some missing; leave this frame out.")
    corner, turn = _place(points)
    return _sample(np.asarray(image), corner, turn, side)


def corners(points: Array) -> Array:
    """float64 (3, 2): upper left, upper right and lower left corner of the crop of a face in pixels of the image.

    0 0 is the centre of the image's first pixel. InputError as `crop`.
    """
    corner, turn = _place(points)
    return np.asarray(corner - 0.5 + np.array([[0, 0], [1, 0], [0, 1]]) @ turn.T)


def _place(points: Array) -> tuple[Array, Array]:
    """The crop's upper left corner (2,), and its edges as columns (2, 2); 0 0 is the image's corner."""
    eyes, spread, roll = measure(points)
    if spread <= 0:
        raise InputError("A face crop needs distinct points, found them all in one place; leave this frame out.")
    full = spread / SPREAD  # the crop's side in pixels of the image
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]) * full
    return eyes - turn @ EYES + 0.5, turn  # 0 0 is the image's corner, half a pixel from the centre of its first pixel


def _sample(image: Array, corner: Array, turn: Array, side: int) -> Array:
    """The square that begins at `corner` with the columns of `turn` as its edges, averaged over its pixels."""
    n = side * _FINE
    corners = corner + np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) @ turn.T
    k = max(1, int(np.hypot(*turn[:, 0]) / n))
    low = np.maximum(0, np.floor(corners.min(axis=0)).astype(int) - 2 * k)
    high = np.ceil(corners.max(axis=0)).astype(int) + 2 * k
    # a face completely outside the image still gets its nearest edge
    left, top = np.minimum(low, np.array(image.shape[1::-1]) - 1)
    region = image[top : max(top + 1, high[1]), left : max(left + 1, high[0])]
    if k > 1 and min(region.shape[:2]) >= k:
        region = region[: region.shape[0] // k * k, : region.shape[1] // k * k]
        region = cv2.resize(region, (region.shape[1] // k, region.shape[0] // k), interpolation=cv2.INTER_AREA)
    else:
        k = 1
    # centre of sample i: corner + turn (i + 1/2) / n in the image, less `left` and half a pixel here
    step = turn / n / k
    shift = (corner - (left, top)) / k - 0.5 + step @ (0.5, 0.5)
    matrix = np.column_stack([step, shift])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(np.ascontiguousarray(region), matrix, (n, n), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA))


def gradients(crops: Array) -> Array:
    """float32 (N, 900): histograms of oriented gradients (Dalal and Triggs, CVPR 2005) of crops uint8 (N, 48, 48)."""
    found = [np.asarray(_GRADIENTS.compute(np.ascontiguousarray(each))).ravel() for each in crops]
    return np.array(found, np.float32).reshape(len(found), _GRADIENTS.getDescriptorSize())


def aligned(image: Array, side: int = SIDE) -> Array:
    """uint8 (side, side) or (side, side, 3): an image uint8 (H, W) or (H, W, 3) that is itself a cropped face; its
    central square, resized."""
    height, width = image.shape[:2]
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    square = image[top : top + least, left : left + least]
    if least == side:
        return np.ascontiguousarray(square)
    smaller = cv2.INTER_AREA if least > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square, (side, side), interpolation=smaller))


def whole(image: Array, side: int) -> Array:
    """uint8 (side, side) or (side, side, 3): an image uint8 (H, W) or (H, W, 3), resized and padded with black."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    out = np.zeros((side, side, *image.shape[2:]), np.uint8)
    top, left = (side - h) // 2, (side - w) // 2
    smaller = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    out[top : top + h, left : left + w] = cv2.resize(np.ascontiguousarray(image), (w, h), interpolation=smaller)
    return out


def body(image: Array, points: Array) -> Array:
    """The part of an image (H, W) or (H, W, 3) that holds head, arms and trunk of the person with these points (68, 2).

    Derived from the box of the face: a person sitting or standing upright is about five such boxes wide with the arms
    at rest, and 6.5 high from a little above the head to the hips, where they are in the image.
    """
    x0, y0, x1, y1 = box_of(points)
    x, y, side = (x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0)
    height, width = image.shape[:2]
    left, top = (int(np.clip(at, 0, most - 1)) for at, most in ((x - 2.5 * side, width), (y - 1.5 * side, height)))
    right, bottom = (int(np.ceil(at)) for at in (x + 2.5 * side, y + 5 * side))
    return image[top : max(bottom, top + 1), left : max(right, left + 1)]


def find(grey: Array, *, reader: str = READERS[0], detector: str = "haar", fallback: str | None = "hog") -> list[Face]:
    """Every face of an image uint8 (H, W), the largest first.

    Found as in a video's first frame (`follow`). The reader paper asks both detectors, and verifies faces by dlib's HOG
    filters, with a higher threshold beside a better face. Faces smaller than a tenth of the image's shorter side are
    ignored.
    """
    tracks = follow([_Still(grey)], reader=reader, detector=detector, fallback=fallback, all_faces=True).tracks
    if reader == "paper" and len(tracks) > 1:
        verifier, clear = Verifier(), light.clearer(grey, light.levels(grey), light.FRAME)
        points = [track.points[0] for track in tracks]
        scores = [max(verifier.look(clear, box_of(p), turn)[0] for turn in (0.0, roll_of(p))) for p in points]
        tracks = [t for t, score in zip(tracks, scores, strict=True) if score >= min(_SURE, max(scores))]
    found = [of_frame(grey, track, 0) for track in tracks]
    return sorted(found, key=lambda face: float(face.box[0] - face.box[2]))


def of_frame(picture: Array, track: FaceTrack, row: int) -> Face:
    """The face of a track's row in its frame uint8 (H, W), or RGB (H, W, 3)."""
    points = track.points[row]
    return Face(
        box_of(points), points, crop(picture, points), None if track.coefficients is None else track.coefficients[row]
    )


def lying(grey: Array) -> str | None:
    """The turn that brings a face to light in an image uint8 (H, W) that shows none upright, a key of `TURNS`."""
    return next(
        (name for name, (k, _) in TURNS.items() if find(np.ascontiguousarray(np.rot90(grey, k)), reader="paper")), None
    )


def faces(
    path: str | Path, *, is_aligned: bool = False, in_colour: bool = False, reader: str = READERS[0]
) -> tuple[list[Face], tuple[str, ...]]:
    """(the faces of an image file, largest first and at least one; notes on how it was read).

    is_aligned   the image is itself a cropped face: it is only resized, without detection
    in_colour    crops are RGB

    Raises InputError where the file cannot be read (see `images.read`) or no face is detected.
    """
    image = images.read(path)
    grey = image.grey
    picture = image.colours()[..., ::-1] if in_colour else grey
    if is_aligned:
        box = np.array([0, 0, *grey.shape[::-1]], np.float64)
        return [Face(box, np.full((68, 2), np.nan, np.float32), aligned(picture))], image.notes
    if found := find(grey, reader=reader):
        if in_colour:
            found = [replace(face, crop=crop(picture, face.points)) for face in found]
        return found, image.notes
    size = f"{grey.shape[1]}×{grey.shape[0]} pixels"
    if turn := lying(grey):
        raise InputError(f"{path} shows no face that was found ({size}), but one when it is turned by {turn}; turn it.")
    raise InputError(f"{path} shows no face that was found ({size}); if it is itself a cropped face, pass --aligned.")


def along(
    track: FaceTrack,
    frames: Iterable[Frame],
    rows: Array | None = None,
    look: Callable[[Any, Array], Array] | None = None,
) -> Generator[tuple[int, Array], None, None]:
    """(row of the track, crop uint8 (48, 48)) of every seen frame, in order, with one frame in memory.

    frames   of the track's file, over the same stretch (`video.frames`); frames between the track's rows are skipped,
             and the rest is not read
    rows     rows of seen frames, in order, instead of all
    look     makes another crop of a frame and points (68, 2)

    Raises InputError for a track that is not in pixels, or a seen row without a frame.
    """
    seen = np.flatnonzero(track.seen) if rows is None else np.asarray(rows)
    if track.unit != "px":
        raise InputError(f"{track.source}: crops need a track in pixels, found {track.unit}; crop before aligning it.")
    source = iter(frames)
    with closing(source) if isinstance(source, Generator) else nullcontext():
        for row in seen.tolist():
            time = float(track.time[row])
            frame = next((f for f in source if f.time > time - 1e-3), None)
            if frame is None or frame.time > time + 1e-3:
                raise InputError(
                    f"{track.source} has no frame at {time:.3f} s, where its track has one; track the video again."
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
