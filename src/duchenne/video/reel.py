"""A small film of one face for a page: H.264 in MP4 in memory, cut around the face, every frame at its true time."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from duchenne.types import Array, FaceTrack

HEIGHT, WIDTH = 480, 640  # px, at most
#: Of the face's size, room that is left around all places where it was: above, below and on each side.
_ABOVE, _BELOW, _BESIDE = 0.55, 0.3, 0.45
_CLOCK = 90_000  # ticks/s: every common rate comes out even
#: A busy film is held to a rate at which a minute stays under 10 MB.
_OPTIONS = {"crf": "26", "preset": "veryfast", "bf": "0", "g": "12", "maxrate": "1200k", "bufsize": "2400k"}


@dataclass(frozen=True)
class Frame:
    """What of a picture the film shows: left, top, right, bottom in the clip's pixels; width, height in its own."""

    left: int
    top: int
    right: int
    bottom: int
    width: int
    height: int

    def place(self, points: Array) -> Array:
        """Points (..., 2) in the clip's pixels as pixels of the film."""
        scale = self.width / (self.right - self.left), self.height / (self.bottom - self.top)
        return np.asarray((points - (self.left, self.top)) * scale)


def around(track: FaceTrack) -> Frame:
    """The part of the picture in which the face stays, with room around it; all of it where no face was seen."""
    width, height = track.frame_size
    left, top, right, bottom = 0, 0, width, height
    seen = track.points[track.seen].astype(float)
    if len(seen):
        (x0, y0), (x1, y1) = np.quantile(seen, (0.01, 0.99), axis=(0, 1))
        size = float(np.median(np.ptp(seen, axis=1)))
        left, right = max(0, int(x0 - _BESIDE * size)), min(width, int(x1 + _BESIDE * size))
        top, bottom = max(0, int(y0 - _ABOVE * size)), min(height, int(y1 + _BELOW * size))
    if right - left < 2 or bottom - top < 2:
        left, top, right, bottom = 0, 0, max(width, 2), max(height, 2)
    zoom = min(1.0, WIDTH / (right - left), HEIGHT / (bottom - top))
    even = (max(2, 2 * round(side * zoom / 2)) for side in (right - left, bottom - top))
    return Frame(left, top, right, bottom, *even)


def encode(pictures: Iterable[tuple[float, Array]], frame: Frame) -> bytes:
    """MP4 of (seconds, uint8 (H, W, 3) BGR) in order of time, from the first of them on; b"" without a picture."""
    stream, first, memory = None, 0.0, io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        for time, picture in pictures:
            if stream is None:
                stream, first = container.add_stream("libx264", rate=30, options=_OPTIONS), time
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
                stream.codec_context.time_base = Fraction(1, _CLOCK)
            part = np.ascontiguousarray(picture[frame.top : frame.bottom, frame.left : frame.right])
            image = av.VideoFrame.from_ndarray(part, format="bgr24").reformat(frame.width, frame.height, "yuv420p")
            image.pts, image.time_base = round((time - first) * _CLOCK), Fraction(1, _CLOCK)
            container.mux(stream.encode(image))
        if stream is None:
            return b""
        container.mux(stream.encode(None))
    return memory.getvalue()
