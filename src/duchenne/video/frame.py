"""One frame as players show it: scaled to square pixels, mirrored, turned; converted when it is first used."""

from __future__ import annotations

import re
import struct
import threading
from collections.abc import Generator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import SideData, Type
from av.video.reformatter import Interpolation, VideoReformatter

from duchenne.types import Array

#: Pixel formats whose first plane is the luma itself, least significant bits first.
_LUMA_FIRST = re.compile(r"(yuv[aj]?4\d\dp|nv\d\d|gray)\d*(le|be)?")


@dataclass(frozen=True)
class View:
    """How stored pixels are shown: scaled, mirrored left to right, turned counter-clockwise, centred.

    turns    quarter turns
    size     (width, height) before they are turned; None: as stored
    canvas   (width, height) of the upright frame, black where the pixels do not reach; None: as large as they are
    """

    mirrored: bool = False
    turns: int = 0
    size: tuple[int, int] | None = None
    canvas: tuple[int, int] | None = None

    def upright(self, pixels: Array) -> Array:
        """(H, W) or (H, W, 3), already scaled, as it is shown; the same array where nothing is to be done."""
        if self.mirrored or self.turns:
            pixels = np.ascontiguousarray(np.rot90(pixels[:, ::-1] if self.mirrored else pixels, self.turns))
        if self.canvas is None:
            return pixels
        spare = [whole - part for whole, part in zip(self.canvas[::-1], pixels.shape, strict=False)]
        pads = [(each // 2, each - each // 2) for each in spare]
        return np.pad(pixels, [*pads, (0, 0)][: pixels.ndim])

    def extent(self, image: av.VideoFrame) -> tuple[int, int]:
        """(width, height) of the upright frame."""
        width, height = self.size or (image.width, image.height)
        return self.canvas or ((height, width) if self.turns % 2 else (width, height))

    def fitted(self, image: av.VideoFrame, canvas: tuple[int, int]) -> View:
        """The same, but as large as fits into `canvas`; its aspect is kept."""
        extent = self.extent(image)
        if extent == canvas:
            return self
        factor = min(whole / part for whole, part in zip(canvas, extent, strict=True))
        # a side that misses the canvas by rounding alone is stretched
        fit = [w if abs(w - p * factor) < 2 else max(1, round(p * factor)) for w, p in zip(canvas, extent, strict=True)]
        width, height = fit[:: -1 if self.turns % 2 else 1]
        return replace(self, size=(width, height), canvas=None if tuple(fit) == canvas else canvas)


def _other_kind(cls: type[Type], value: Any) -> Type:
    member: Type = object.__new__(cls)
    member._name_, member._value_ = f"KIND_{value}", value
    return member


# PyAV does not name every kind of side data of its FFmpeg (EXIF, for one), and then gives none
Type._missing_ = classmethod(_other_kind)  # type: ignore[assignment]
#: Codecs whose side data may have a name (a colour profile's), which PyAV frees twice: of these only the angle is read.
_NAMED = frozenset({"apng", "png"})


class _PerThread(threading.local):
    """One pixel converter per thread: one per frame costs megabytes, and a shared one is not thread-safe."""

    def __init__(self) -> None:
        self.converter = VideoReformatter()


_PER_THREAD = _PerThread()


class Frame:
    """One upright frame. `index` counts from 0, `time` is seconds from the first frame of the clip.

    image   a decoded frame, or uint8 (H, W) grey levels or (H, W, 3) blue, green, red
    view    what makes it upright
    """

    def __init__(self, index: int, time: float, image: av.VideoFrame | Array, view: View = View()) -> None:
        if isinstance(image, np.ndarray):
            image = av.VideoFrame.from_ndarray(image, format="gray" if image.ndim == 2 else "bgr24")
        self.index = index
        self.time = time
        self._image = image
        self._view = view

    @cached_property
    def grey(self) -> Array:
        """uint8 (H, W): luma, read-only where it is a YUV video's own Y plane (in its own range), else converted."""
        luma, size = _luma(self._image), self._view.size
        if size is not None:
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(luma), format="gray")
            luma = _converted(image, "gray", size)
        return self._view.upright(luma)

    @cached_property
    def bgr(self) -> Array:
        """uint8 (H, W, 3): blue, green, red, converted on first use; an alpha channel is dropped."""
        return self._view.upright(_converted(self._image, "bgr24", self._view.size))


#: Frames in order of time.
Source = Generator[Frame, None, None]


def shown(image: av.VideoFrame, codec: str, aspect: Fraction | None = None) -> View:
    """How players show a frame of a codec: turned and mirrored by its display matrix, and with square pixels.

    aspect  width of a stored pixel / its height; the shorter side of its pixels grows, so that none are lost
    """
    view = View(turns=round(image.rotation / 90) % 4) if codec in _NAMED else _turned(image)
    if aspect is None or aspect == 1:
        return view
    width, height = image.width, image.height
    size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    return replace(view, size=None if size == (width, height) else size)


def _turned(image: av.VideoFrame) -> View:
    """What a display matrix does, to the nearest quarter turn, mirrors included.

    The matrix (ISO/IEC 14496-12) sends a pixel at (x, y), y down, to (ax + cy, bx + dy).
    """
    data = image.side_data.get("DISPLAYMATRIX")
    if not isinstance(data, SideData):
        return View()
    a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return View(mirrored=(a < 0) != (d < 0), turns=2 if d < 0 else 0)
    return View(mirrored=(b < 0) == (c < 0), turns=3 if c < 0 else 1)


def _converted(image: av.VideoFrame, pixel_format: str, size: tuple[int, int] | None = None) -> Array:
    width, height = size or (None, None)
    way = None if size is None else Interpolation.BICUBIC
    return _PER_THREAD.converter.reformat(image, width, height, pixel_format, interpolation=way).to_ndarray()


def _luma(image: av.VideoFrame) -> Array:
    """uint8 (h, w): the luma plane as stored (a view of it at 8 bits), or luma from colour (ITU-R BT.601)."""
    plane, bits = image.planes[0], image.format.components[0].bits
    if not _LUMA_FIRST.fullmatch(image.format.name) or plane.line_size <= 0 or not 8 <= bits <= 16:
        return _converted(image, "gray")
    word = np.dtype("u1" if bits == 8 else ">u2" if image.format.is_big_endian else "<u2")
    rows = np.frombuffer(memoryview(plane), word).reshape(-1, plane.line_size // word.itemsize)
    rows = rows[: image.height, : image.width]
    if bits > 8:
        return np.asarray(rows >> (bits - 8), np.uint8)
    rows.flags.writeable = False  # the decoder still needs it for the next frames
    return rows
