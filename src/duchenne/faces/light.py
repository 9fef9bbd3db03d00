"""Contrast and exposure of a face: measured, and raised where detectors and landmarker need more contrast.

dlib's trees compare differences of grey values with fixed thresholds: at a quarter of the usual contrast their points
are 40 % of the interocular distance off. Raised to the usual contrast, they are 1 % off, down to ten grey levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from duchenne.types import Array, Light

#: Below the first range of grey values contrast is raised to the third, from the second on it stays; in between, in
#: part. Of a face for its points (98 % of PEDFE's clips stay as they are), and of a frame in which detectors fail.
FACE, FRAME = (42.0, 58.0, 115.0), (16.0, 24.0, 200.0)
_RIM = 0.15  # of the box on its left and right, which shows ears and background
_SAMPLES = 100  # per side of the box
_FRAME_STEP = 8  # px between the samples of a whole frame
_NEAR = 2  # grey levels from the brightest and the darkest that count as clipped


def levels(grey: Array, box: Sequence[float] | Array | None = None) -> Array:
    """float64 (256,): share of each grey value in uint8 (H, W), or in the face in `box` of it; 0 outside the image."""
    if box is None:
        face = grey[::_FRAME_STEP, ::_FRAME_STEP]
    else:
        x0, y0, x1, y1 = (math.floor(float(v)) for v in box)
        rim, step = int((x1 - x0) * _RIM), max(1, (x1 - x0) // _SAMPLES)
        face = grey[max(0, y0) : max(0, y1) : step, max(0, x0 + rim) : max(0, x1 - rim) : step]
    return np.bincount(face.ravel(), minlength=256) / max(1, face.size)


def ends(shares: Array, share: float = 0.01) -> tuple[int, int]:
    """The grey values below and above which `share` of `levels` lies; equal where there are none."""
    low, high = np.searchsorted(np.cumsum(shares), [share, 1 - share])
    return min(int(low), 255), min(int(high), 255)


def clearer(image: Array, shares: Array, ranges: tuple[float, float, float]) -> Array:
    """uint8 (H, W) with more contrast where `levels` have little, by `FACE` or `FRAME`; else itself."""
    flat, enough, clear = ranges
    low, high = ends(shares)
    contrast = high - low
    if contrast >= enough or contrast <= 0:
        return image
    part = min(1.0, (enough - contrast) / (enough - flat))
    gain = 1 + part * (clear / contrast - 1)
    table = np.clip(np.round(127.5 + gain * (np.arange(256) - (low + high) / 2)), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table))


def measure(grey: Array, box: Array) -> Light:
    """Contrast and exposure of the face in `box` of uint8 (H, W)."""
    shares = levels(grey, box)
    low, high = ends(shares)
    least, most = ends(shares, 1e-3)
    near = min(_NEAR, (high - low) // 20)  # a range of few grey levels is not clipped
    over, under = float(shares[most - near :].sum()), float(shares[: least + near + 1].sum())
    return Light(float(high - low), over, under)


def median(samples: Sequence[float]) -> Light | None:
    """The median of each measure of samples that follow one another in one sequence; None of none."""
    if not samples:
        return None
    return Light(*np.median(np.reshape(samples, (-1, 3)), axis=0).tolist())
