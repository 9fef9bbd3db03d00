"""MOSSE: track a patch with a confidence (Bolme, Beveridge, Draper & Lui, CVPR 2010)."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np

from duchenne.faces.landmarks import cut, grow
from duchenne.types import Array

_N = 64  # side of the window in filter pixels
_WINDOW = 0.2  # context added on every side of the box, so that the Hann window keeps the face's rim
_RATE = 0.234  # of the running average: Bolme's 0.125 per frame, for every second frame
_SIGMA = 2.0  # Gaussian target, filter pixels
_RIM = 5  # the peak's 11x11 neighbourhood is not a sidelobe


class Tracker(Protocol):
    """Tracks one box. `version` goes into the track's history; a PSR below `lost` means that it is lost."""

    version: str
    lost: float

    def start(self, grey: Array, box: Array) -> None:
        """Learn what is inside `box` (x0 y0 x1 y1) of a uint8 (H, W) image."""
        ...

    def update(self, grey: Array) -> tuple[Array, float]:
        """The box float32 (4,) in the next frame and its peak-to-sidelobe ratio (NaN: not known)."""
        ...


_STEP = np.arange(_N)
_HANN1 = np.sin(np.pi * (_STEP + 0.5) / _N) ** 2
_HANN = np.outer(_HANN1, _HANN1).astype(np.float32)
_LOG = np.log1p(np.arange(256)).astype(np.float32)


def _real_parts() -> Array:
    """int (64, 64): where OpenCV's packed spectrum of a real image keeps the real part of each number's frequency."""
    pair = np.maximum(2 * ((_STEP + 1) // 2) - 1, 0)  # 0, 1, 1, 3, 3 …: each real part is followed by its imaginary one
    x, y = np.meshgrid(pair, _STEP)
    x[:, -1] = _N - 1  # the first and the last column are real, and packed downwards
    y[:, [0, -1]] = pair[:, None]
    return np.asarray(y * _N + x)


_REAL = _real_parts()


class MosseTracker:
    """Correlation filter on a 64x64 window round the box: 2-D translation, sub-pixel, with its PSR.

    The filter is updated only on frames whose PSR is at least `good`, so not with a hand before the face.
    """

    version = "mosse 64"

    def __init__(self, lost: float = 7.0, good: float = 10.0, seed: int = 0) -> None:
        self.lost, self.good, self.seed = lost, good, seed

    def start(self, grey: Array, box: Array) -> None:
        """Train on the box and eight small random turns and scalings of it (seeded)."""
        self.box = np.asarray(box, np.float64).copy()
        self._odd = False
        patch = self._patch(grey)
        rng = np.random.default_rng(self.seed)
        self._a, self._b = _terms(_spectrum(patch))
        for turn, scale in zip(rng.uniform(-8, 8, 8), rng.uniform(0.93, 1.07, 8), strict=True):
            m = cv2.getRotationMatrix2D(((_N - 1) / 2, (_N - 1) / 2), float(turn), float(scale))
            turned = np.asarray(cv2.warpAffine(patch, m, (_N, _N), borderMode=cv2.BORDER_REPLICATE))
            a, b = _terms(_spectrum(turned))
            self._a += a
            self._b += b
        self._filter = self._a / self._b

    def update(self, grey: Array) -> tuple[Array, float]:
        """The box float32 (4,) in the next frame and its peak-to-sidelobe ratio (0 on a flat image)."""
        spectrum = _spectrum(self._patch(grey))
        dx, dy, psr = peak(cv2.idft(cv2.mulSpectrums(self._filter, spectrum, 0), flags=cv2.DFT_SCALE))
        if psr >= self.lost:
            unit = (self.box[2:] - self.box[:2]) * (1 + 2 * _WINDOW) / _N
            self.box = self.box + np.tile(np.array([dx, dy]) * unit, 2)
        self._odd = not self._odd
        if psr >= self.good and self._odd:
            a, b = _terms(spectrum, dx, dy)
            cv2.accumulateWeighted(a, self._a, _RATE)
            cv2.accumulateWeighted(b, self._b, _RATE)
            self._filter = self._a / self._b
        return self.box.astype(np.float32), psr

    def _patch(self, grey: Array) -> Array:
        return cut(grey, grow(self.box, _WINDOW), (_N, _N), cv2.BORDER_REPLICATE)


def _terms(f: Array, dx: float = 0.0, dy: float = 0.0) -> tuple[Array, Array]:
    """What a patch of spectrum f adds to the filter, for an object (dx, dy) from the window's centre.

    The target moves, not the window: one patch per frame serves both for tracking and for the update.
    """
    down, across = (np.exp(-((_STEP - _N // 2 - d) ** 2) / (2 * _SIGMA**2)) for d in (dy, dx))
    target = cv2.dft(np.outer(down, across).astype(np.float32))
    power = cv2.mulSpectrums(f, f, 0, conjB=True)
    return np.asarray(cv2.mulSpectrums(target, f, 0, conjB=True)), power.take(_REAL) + np.float32(1)


def _spectrum(patch: Array) -> Array:
    """float32 (64, 64), packed as by OpenCV: of a uint8 patch's logarithm, standardised, with a Hann window."""
    x = cv2.LUT(patch, _LOG)
    mean, deviation = cv2.meanStdDev(x)
    return np.asarray(cv2.dft((x - mean.item()) * (_HANN / (deviation.item() + 1e-3))))


def peak(response: Array) -> tuple[float, float, float]:
    """(dx, dy, psr): the peak of the response (64, 64), from its centre, and its peak-to-sidelobe ratio.

    Sub-pixel by a parabola through the peak and its neighbours.
    """
    _, top, _, (x, y) = cv2.minMaxLoc(response)
    rest = np.ones((_N, _N), np.uint8)
    rest[max(0, y - _RIM) : y + _RIM + 1, max(0, x - _RIM) : x + _RIM + 1] = 0
    mean, deviation = cv2.meanStdDev(response, mask=rest)
    psr = (top - mean.item()) / (deviation.item() + 1e-6)
    dx = x - _N // 2 + _vertex(response[y, (x - 1) % _N], top, response[y, (x + 1) % _N])
    dy = y - _N // 2 + _vertex(response[(y - 1) % _N, x], top, response[(y + 1) % _N, x])
    return dx, dy, psr


def _vertex(before: float, top: float, after: float) -> float:
    bend = before - 2 * top + after
    return float(0.5 * (before - after) / bend) if bend < 0 else 0.0


class OpenCvMosse:
    """OpenCV's MOSSE with the same protocol: whole pixels, PSR not available (NaN; 0 where it is lost)."""

    version = f"opencv {cv2.__version__} mosse"
    lost = 1.0

    def start(self, grey: Array, box: Array) -> None:
        """Learn what is inside `box` (x0 y0 x1 y1) of a uint8 (H, W) image."""
        x0, y0, x1, y1 = (round(float(v)) for v in box)
        self.box = np.asarray(box, np.float32).copy()
        self._tracker = cv2.legacy.TrackerMOSSE_create()  # type: ignore[attr-defined]
        self._tracker.init(grey, (x0, y0, x1 - x0, y1 - y0))

    def update(self, grey: Array) -> tuple[Array, float]:
        """The box float32 (4,) in the next frame; NaN while it tracks, 0 when it is lost."""
        held, (x, y, w, h) = self._tracker.update(grey)
        if held:
            half = (self.box[2:] - self.box[:2]) / 2  # OpenCV widens the box to a fast Fourier size
            centre = np.array([x + w / 2, y + h / 2], np.float32)
            self.box = np.concatenate([centre - half, centre + half])
        return self.box.copy(), np.nan if held else 0.0
