"""One frame as players show it: scaled to square pixels, mirrored, turned; converted when it is first used."""

from __future__ import annotations

import re
import struct
import threading
from dataclasses import dataclass
from functools import cached_property

import av
import numpy as np
from av.sidedata.sidedata import SideData
from av.video.reformatter import VideoReformatter

from duchenne.types import Array

#: Pixel formats whose first plane is the luma itself, least significant bits first.
_LUMA_FIRST = re.compile(r"(yuv[aj]?4\d\dp|nv\d\d|gray)\d*(le|be)?")


@dataclass(frozen=True)
class View:
    """What makes stored pixels upright: mirrored left to right first, then turned counter-clockwise by quarters."""

    mirrored: bool = False
    turns: int = 0

    def upright(self, pixels: Array) -> Array:
        """(H, W) or (H, W, 3) as it is shown; the same array where nothing is to be done."""
        if not self.mirrored and not self.turns:
            return pixels
        return np.ascontiguousarray(np.rot90(pixels[:, ::-1] if self.mirrored else pixels, self.turns))


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
        return self._view.upright(_luma(self._image))

    @cached_property
    def bgr(self) -> Array:
        """uint8 (H, W, 3): blue, green, red, converted on first use; an alpha channel is dropped."""
        return self._view.upright(_PER_THREAD.converter.reformat(self._image, format="bgr24").to_ndarray())


def display(image: av.VideoFrame) -> View:
    """How a display matrix shows a frame, to the nearest quarter turn, mirrors included.

    The matrix (ISO/IEC 14496-12) sends a pixel at (x, y), y down, to (ax + cy, bx + dy).
    """
    data = image.side_data.get("DISPLAYMATRIX")
    if not isinstance(data, SideData):
        return View()
    a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return View(mirrored=(a < 0) != (d < 0), turns=2 if d < 0 else 0)
    return View(mirrored=(b < 0) == (c < 0), turns=3 if c < 0 else 1)


def _luma(image: av.VideoFrame) -> Array:
    """uint8 (h, w): the luma plane as stored (a view of it at 8 bits), or luma from colour (ITU-R BT.601)."""
    plane, bits = image.planes[0], image.format.components[0].bits
    if not _LUMA_FIRST.fullmatch(image.format.name) or plane.line_size <= 0 or not 8 <= bits <= 16:
        return _PER_THREAD.converter.reformat(image, format="gray").to_ndarray()
    word = np.dtype("u1" if bits == 8 else ">u2" if image.format.is_big_endian else "<u2")
    rows = np.frombuffer(memoryview(plane), word).reshape(-1, plane.line_size // word.itemsize)
    rows = rows[: image.height, : image.width]
    if bits > 8:
        return np.asarray(rows >> (bits - 8), np.uint8)
    rows.flags.writeable = False  # the decoder still needs it for the next frames
    return rows
