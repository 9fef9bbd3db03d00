"""Whether the pixels of a face change as those of a living face: it deforms, and does not blend into another image.

Landmarks also move on a photograph: with its noise, and with the angle at which a camera sees it. Its pixels do not
deform, though: one homography maps any frame onto any other. A cross-fade or cut between two photographs deforms
nothing either: each frame is a weighted mean of the two. Both are measured on the crops of `faces.crops.crop`; the
thresholds are from benchmarks/nonsense.py.
"""

from __future__ import annotations

from contextlib import suppress

import cv2
import numpy as np

from duchenne.types import Array, Reason

#: Least deformation, in standard deviations of the face's grey levels: 99 % of real clips are above.
STILL = 0.0215
#: From here on a face moves, even where its landmarks hardly do.
MOVES = 2 * STILL
#: Shares of the change that no blend of two images explains, of all that changes and of what is smooth in time: where
#: both are below either pair, the frames are a blend, as some 0.5 % of real clips seem to be.
BLENDS = ((0.06, 0.025), (0.11, 0.008))
#: Greatest change, noise included, of a photograph whose noise is no stronger than a camera's.
NOISE = 0.07
PHOTOGRAPH = Reason(
    "photograph",
    "The image of the face only moves as a whole, as in a photograph: no part of it moves against the others.",
)
_FEW, _FEW_BLENDED, _MANY = 6, 10, 40  # crops: too few to measure; more add nothing
_SIGMA = 0.8  # px of the blur against noise
_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-5)
_LEAST = 300  # pixels that all crops must share


def deformation(crops: Array) -> tuple[float, float]:
    """How much a face deforms, over its crops uint8 (N, S, S) in order of time: without noise, and with it.

    Each crop is mapped onto a typical one by the homography that maximises their correlation (Evangelidis & Psarakis
    2008), and brought to mean 0 and standard deviation 1. Of what then varies, the variance that is smooth in time is
    the total less half the mean squared difference of consecutive crops; returned are the roots of it and of the total.
    NaN for fewer than 6 crops.
    """
    if len(crops) < _FEW:
        return np.nan, np.nan
    crops = crops[_chosen(len(crops))]
    disc, inner = _disc(crops.shape[1])
    images = [_standard(cv2.GaussianBlur(each.astype(np.float32), (0, 0), _SIGMA), disc) for each in crops]
    mean = np.mean(images, axis=0)
    typical = min(images, key=lambda image: float(((image - mean) ** 2)[disc].sum()))
    faces = np.stack([_standard(_registered(image, typical, disc), inner)[inner] for image in images])
    faces -= faces.mean(axis=0)
    return float(np.sqrt(_smooth(faces))), float(np.sqrt((faces**2).mean()))


def unblended(crops: Array, corners: Array) -> tuple[float, float]:
    """Shares of the variance of a scene's pixels that a cross-fade or cut between two images leaves unexplained.

    The first is of all variance, the second of what is smooth in time, as noise is not explained either.

    crops uint8 (N, S, S); corners float64 (N, 3, 2) in pixels of the frame: upper left, upper right and lower left
    corner of each. The crops are moved to where the median crop is in the frame, so that a still scene stands still;
    what the first principal component does not explain is the share. NaN for fewer than 10 crops, where the crops
    hardly overlap, and where nothing changes.
    """
    if len(crops) < _FEW_BLENDED:
        return np.nan, np.nan
    chosen = _chosen(len(crops))
    crops, corners = crops[chosen], corners[chosen]
    side = crops.shape[1]
    own = np.array([[0, 0], [side, 0], [0, side]], np.float32) - 0.5
    middle = np.median(corners, axis=0)
    there = np.vstack([cv2.getAffineTransform(own, middle.astype(np.float32)), [0, 0, 1]])
    shared, images = np.ones((side, side), bool), []
    for crop, corner in zip(crops, corners, strict=True):
        back = cv2.getAffineTransform(corner.astype(np.float32), own)
        matrix = (np.vstack([back, [0, 0, 1]]) @ there)[:2]
        images.append(cv2.GaussianBlur(_warped(crop.astype(np.float32), matrix), (0, 0), 1.0))
        shared &= _warped(np.ones((side, side), np.float32), matrix, cv2.BORDER_CONSTANT) > 0.99
    if shared.sum() < _LEAST:
        return np.nan, np.nan
    pixels = np.stack(images)[:, shared].astype(np.float64)
    pixels -= pixels.mean(axis=0)
    powers, shares = np.linalg.eigh(pixels @ pixels.T)  # of few crops: faster than a decomposition of all pixels
    power, whole, first = float(powers.sum()), _smooth(pixels), shares[:, -1]
    rest = _smooth(pixels - np.outer(first, first @ pixels))
    return 1 - powers[-1] / power if power > 0 else np.nan, rest / whole if whole > 0 else np.nan


def blended(crops: Array, corners: Array) -> Reason | None:
    """Why these crops cannot be of a living face, in a sentence; None where they are no blend. As `unblended`."""
    shares = unblended(crops, corners)
    if any(shares[0] < all_of_it and shares[1] < smooth for all_of_it, smooth in BLENDS):
        sentence = "The frames are blends of two images, as in a cut or cross-fade between photographs: no face moves."
        return Reason("blend", sentence)
    return None


def _chosen(count: int) -> Array:
    """int (N,): which of so many crops are measured: all, or `_MANY` from the first to the last."""
    return np.linspace(0, count - 1, min(count, _MANY)).astype(int)


def _smooth(rows: Array) -> float:
    """Variance of (N, D), of mean 0 over N, less that of noise: half the mean squared difference of consecutive rows.

    At least 0."""
    return max(0.0, float((rows**2).mean()) - float((np.diff(rows, axis=0) ** 2).mean()) / 2)


def _disc(side: int) -> tuple[Array, Array]:
    """bool (S, S): the pixels of a crop that are compared, and those of them that stay in it when it is moved."""
    y, x = np.mgrid[:side, :side] / (side - 1)
    disc = np.asarray((((x - 0.5) / 0.447) ** 2 + ((y - 0.51) / 0.49) ** 2) < 1)
    edge = 5 / 47
    return disc, np.asarray(disc & (x >= edge) & (x <= 1 - edge) & (y >= edge) & (y <= 1 - edge))


def _standard(image: Array, where: Array) -> Array:
    """With mean 0 and standard deviation 1 in the pixels `where`."""
    part = image[where]
    return np.asarray((image - part.mean()) / max(float(part.std()), 1e-3))


def _registered(image: Array, onto: Array, disc: Array) -> Array:
    matrix = np.eye(3, dtype=np.float32)
    for blur in (9, 3):  # px: first roughly
        with suppress(cv2.error):  # it does not converge: the images differ by more than a homography
            _, matrix = cv2.findTransformECC(
                onto, image, matrix, cv2.MOTION_HOMOGRAPHY, _STOP, disc.astype(np.uint8), blur
            )
    flags, border = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
    return np.asarray(cv2.warpPerspective(image, matrix, image.shape[::-1], flags=flags, borderMode=border))


def _warped(image: Array, matrix: Array, border: int = cv2.BORDER_REPLICATE) -> Array:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, matrix, image.shape[::-1], flags=flags, borderMode=border))
