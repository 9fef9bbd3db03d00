"""A face drawn from 40 landmarks, frame by frame: brows, lids, nose base, outer lips and cheeks.

Gaze, inner lips and hair are not in the 40 points and not drawn. The pale head is the jaw of the mean face
(`preprocess.align.template`) and moves with the nose.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from duchenne.preprocess import align
from duchenne.types import Array

_OVER = 3  # drawn this much larger and then averaged: smooth edges
_SPAN, _MIDDLE = 3.5, 0.42  # eye distances across the image, and how far below the eyes its middle is
_PAPER, _HEAD, _INK, _SOFT, _LINE = "#f3f5f8", "#ffffff", "#1b1f24", "#5b6470", "#ccd3dc"
_BROW, _LID, _LIP, _SEAM, _NOSE, _DOT = "#4a4038", "#23364d", "#dd8f83", "#a5493f", "#8a94a3", "#a9b4c2"
_EYE, _BAR = "#d8e3ef", "#0072B2"


def frames(points: Array, time: Array, title: str, note: str, *, size: int = 480) -> Iterator[Array]:
    """Frames uint8 (H, size, 3) RGB of `points` (T, 40, 2), in eye distances with the origin between the eyes, under
    a strip with `title`, `note`, the seconds of `time` (T,) and a bar that fills until the last of them."""
    last = float(time[-1]) or 1.0
    strip = round(0.16 * size)
    for now, face in zip(time, points, strict=True):
        yield _picture(
            face, face[10:16].mean(axis=0) - points[0, 10:16].mean(axis=0), size, strip, title, note, now, last
        )


def _picture(face: Array, moved: Array, size: int, strip: int, title: str, note: str, now: float, last: float) -> Array:
    from PIL import Image, ImageDraw

    big, top = size * _OVER, strip * _OVER
    image = Image.new("RGB", (big, big + top), _PAPER)
    pen = _Pen(ImageDraw.Draw(image), big / _SPAN, np.array([big / 2, top + big / 2 - _MIDDLE * big / _SPAN]))
    pen.fill(_head() + moved, _HEAD, _LINE, 0.012)
    for brow in (face[0:5], face[5:10]):
        pen.line(_through(brow), _BROW, 0.075)
    for eye in (face[16:22], face[22:28]):
        upper, lower = _through(eye[:4]), _through(eye[[3, 4, 5, 0]])
        pen.fill(np.concatenate([upper, lower]), _EYE, _LID, 0.016)
        pen.line(upper, _LID, 0.036)
    pen.line(_through(face[11:16]), _NOSE, 0.026)
    lips = np.concatenate([_through(face[28:33]), _through(face[[32, 33, 34, 35, 28]])])
    pen.fill(lips, _LIP, _SEAM, 0.022)
    for dot in (10, *range(36, 40)):
        pen.dot(face[dot], _DOT, 0.026)
    _strip(pen.draw, big, top, title, note, now, last)
    return np.asarray(image.reduce(_OVER))


class _Pen:
    """Draws in eye distances."""

    def __init__(self, draw: Any, scale: float, origin: Array) -> None:
        self.draw, self.scale, self.origin = draw, scale, origin

    def _pixels(self, points: Array) -> list[tuple[float, float]]:
        # PIL fails on coordinates far outside the image
        return [(x, y) for x, y in np.clip(points * self.scale + self.origin, -1e4, 1e4).tolist()]

    def dot(self, at: Array, colour: str, radius: float) -> None:
        ((x, y),), r = self._pixels(at[None]), radius * self.scale
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def line(self, points: Array, colour: str, width: float) -> None:
        self.draw.line(self._pixels(points), fill=colour, width=round(width * self.scale))
        for joint in points:  # PIL's own joints are notched where a line is wide
            self.dot(joint, colour, width / 2)

    def fill(self, outline: Array, colour: str, edge: str, width: float) -> None:
        self.draw.polygon(self._pixels(outline), fill=colour)
        self.line(np.concatenate([outline, outline[:1]]), edge, width)


def _through(points: Array, each: int = 12) -> Array:
    """A smooth curve through (K, 2) points: centripetal Catmull-Rom, which makes no loops, `each` steps a piece."""
    p = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    gaps = np.maximum(np.linalg.norm(np.diff(p, axis=0), axis=1) ** 0.5, 1e-6)
    t, out = np.concatenate([[0.0], np.cumsum(gaps)]), []
    for i in range(len(points) - 1):
        a, b, c, d = t[i : i + 4]
        u = np.linspace(b, c, each + 1)[:, None]
        ab, bc, cd = (_between(u, t[j], t[j + 1], p[j], p[j + 1]) for j in range(i, i + 3))
        abc, bcd = _between(u, a, c, ab, bc), _between(u, b, d, bc, cd)
        out.append(_between(u, b, c, abc, bcd))
    return np.concatenate([piece[:-1] for piece in out] + [out[-1][-1:]])


def _between(u: Array, a: float, b: float, start: Array, end: Array) -> Array:
    return (b - u) / (b - a) * start + (u - a) / (b - a) * end


@cache
def _head() -> Array:
    """(K, 2): the mean face's jaw, closed by half an ellipse above."""
    jaw = align.template()[:17, :2]
    angle = np.linspace(0, np.pi, 60)[1:-1]
    (left, right), base = jaw[[0, 16], 0], jaw[[0, 16], 1].mean()
    arc = np.column_stack([(left + right) / 2 + (right - left) / 2 * np.cos(angle), base - 1.15 * np.sin(angle)])
    return np.concatenate([_through(jaw), arc])


@cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _strip(draw: Any, big: int, top: int, title: str, note: str, now: float, last: float) -> None:
    edge, line = round(0.045 * big), max(1, round(0.008 * big))
    draw.rectangle((0, 0, big, top - 1), fill="#ffffff")
    draw.rectangle((0, top - line, big, top - 1), fill=_LINE)
    if now > 0:
        draw.rectangle((0, top - line, big * min(now / last, 1.0), top - 1), fill=_BAR)
    seconds = _font(round(0.044 * big))
    text = f"{now:.2f} s"
    room = big - 3 * edge - draw.textlength(text, font=seconds)
    draw.text((edge, 0.15 * top), _fitted(draw, title, 0.056 * big, room), fill=_INK, font=_font(round(0.056 * big)))
    draw.text((big - edge, 0.19 * top), text, fill=_SOFT, font=seconds, anchor="ra")
    small = _fitted(draw, note, 0.034 * big, big - 2 * edge)
    draw.text((edge, 0.6 * top), small, fill=_SOFT, font=_font(round(0.034 * big)))


def _fitted(draw: Any, text: str, size: float, room: float) -> str:
    """The start of a line that fits into `room`."""
    font = _font(round(size))
    while len(text) > 1 and draw.textlength(text, font=font) > room:
        text = text[:-2].rstrip() + "…"
    return text
