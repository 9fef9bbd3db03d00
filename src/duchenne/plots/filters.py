"""Contact sheets of filters: the patches with the highest activation, and two visualisations laid over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import zoom

from duchenne.errors import UsageError
from duchenne.io import atomic
from duchenne.plots.figures import INK, SOFT, short, style
from duchenne.types import Array

#: Colours of pixels whose brightness raises and lowers the activation, outside the image, and of the background.
BRIGHT, DARK, BEYOND, PAPER = (213, 94, 0), (0, 96, 178), (227, 230, 234), (255, 255, 255)
ROWS = ("image", "deconvnet", "guided backprop")
_DPI, _WIDTH, _EDGE, _GAP = 200, 2160, 60, 36  # px
_HEAD, _FOOT, _LABEL, _THIN = 210, 30, 38, 4


@dataclass(frozen=True, eq=False)
class Tile:
    """One filter with its N patches, strongest first, all of one size.

    patches uint8 (N, h, w) or (N, h, w, 3); deconvnet, guided float (N, h, w), signed, NaN outside the image.
    """

    name: str
    note: str  # facts separated by " · ", the first of which a contact sheet shows
    patches: Array
    deconvnet: Array
    guided: Array


def overlay(patch: Array, view: Array) -> Array:
    """uint8 (h, w, 3): `patch` in faded grey under `view` (h, w), orange where positive and blue where negative.

    Colour is full at the view's 98th percentile of size, so that each view shows all it has; BEYOND where NaN.
    """
    grey = patch.mean(axis=-1) if patch.ndim == 3 else patch.astype(float)
    there = np.isfinite(view)
    size = np.abs(np.where(there, view, 0.0))
    seen = size[size > 0]
    full = np.quantile(seen, 0.98) if seen.size else 1.0
    mix = np.clip(size / full, 0, 1)[..., None] ** 0.65
    ground = (165 + 0.35 * grey)[..., None]
    colour = np.where((view > 0)[..., None], BRIGHT, DARK)
    made = np.where(there[..., None], ground * (1 - mix) + colour * mix, BEYOND)
    return np.asarray(made.round().clip(0, 255), np.uint8)


def sprite(tile: Tile, side: int, *, most: int | None = None, gap: int = _THIN) -> Array:
    """uint8 (H, W, 3): the tile's patches in a row, its deconvnet views below them and its guided ones below those.

    Each image is at most `side` px wide and high and keeps its form. `most` patches, all if None.
    """
    shown = slice(0, most)
    patches, views = tile.patches[shown], (tile.deconvnet[shown], tile.guided[shown])
    count = len(tile.patches) if most is None else most
    cell = np.full((3, count, side, side, 3), PAPER, np.uint8)
    for i, patch in enumerate(patches):
        there = np.isfinite(views[0][i])
        plain = np.where(there[..., None], patch if patch.ndim == 3 else patch[..., None], BEYOND)
        _place(cell[0, i], _large(plain.astype(float), side))
        large = _large(patch.astype(float), side)
        for row, view in enumerate(views, 1):
            _place(cell[row, i], overlay(large, _large_view(view[i], large.shape[:2])))
    high, wide = 3 * side + 2 * gap, count * (side + gap) - gap
    made = np.full((high, wide, 3), PAPER, np.uint8)
    for row in range(3):
        for i in range(count):
            made[row * (side + gap) :, i * (side + gap) :][:side, :side] = cell[row, i]
    return made


def contact_sheet(
    path: str | Path, tiles: Sequence[Tile], title: str, note: str, *, across: int | None = None, most: int = 4
) -> Path:
    """Write all `tiles` as one PNG, 2,160 px wide, atomically; UsageError without tiles, OutputError where it cannot.

    `across` tiles side by side (None: 4 to 8 by their number), each with `most` patches.
    """
    if not tiles:
        raise UsageError("A contact sheet needs at least one active filter, found none.")
    from matplotlib.figure import Figure

    across = across or (4 if len(tiles) <= 24 else 6 if len(tiles) <= 60 else 8)
    wide = (_WIDTH - 2 * _EDGE - (across - 1) * _GAP) // across
    side = (wide + _THIN) // most - _THIN
    images = [sprite(tile, side, most=most) for tile in tiles]
    high = images[0].shape[0] + _LABEL + _GAP
    rows = -(-len(tiles) // across)
    tall = _HEAD + rows * high + _FOOT
    with style():
        figure = Figure(figsize=(_WIDTH / _DPI, tall / _DPI), dpi=_DPI, facecolor="white")

        def write(x: float, y: float, text: str, **kwargs: Any) -> None:
            figure.text(x / _WIDTH, 1 - y / tall, text, va="baseline", **kwargs)  # y px from the top, of the baseline

        write(_EDGE, 72, short(title, 90), size=17, weight="bold")
        write(_EDGE, 112, short(note, 170), size=9, color=SOFT)
        _key(write)
        letters = max(3, round(wide / 12.5))
        for i, (tile, image) in enumerate(zip(tiles, images, strict=True)):
            x, y = _EDGE + i % across * (wide + _GAP), _HEAD + i // across * high
            write(x, y + 24, short(tile.name, 12), size=8.5, weight="bold", color=INK)
            note, room = tile.note.split(" · ")[0], letters - len(tile.name) - 2
            write(x + wide, y + 24, short(note, max(room, 1)), size=7.5, color=SOFT, ha="right")
            figure.figimage(image, x, tall - y - _LABEL - image.shape[0], origin="upper")
        with atomic(path) as part:
            figure.savefig(part, format="png", dpi=_DPI, metadata={"Software": None})
    return Path(path)


def _key(write: Callable[..., None]) -> None:
    write(_EDGE, 154, f"Rows: {', '.join(ROWS)}.", size=9, color=INK)
    marks = ((BRIGHT, "brighter raises it"), (DARK, "darker raises it"), (BEYOND, "outside the image"))
    for (colour, words), x in zip(marks, (620, 1140, 1480), strict=True):
        write(_EDGE + x, 154, "■", size=12, color=tuple(c / 255 for c in colour))
        write(_EDGE + x + 36, 154, words, size=9, color=INK)


def _large(image: Array, side: int) -> Array:
    """An image scaled to fit a square of `side` px: smoothly, and never below 0 or above 255."""
    by = side / max(image.shape[:2])
    shape = [max(1, round(n * by)) for n in image.shape[:2]]
    return np.asarray(_scaled(image, shape, order=3 if by < 8 else 1).clip(0, 255))


def _large_view(view: Array, shape: Sequence[int]) -> Array:
    """Like `_large`, signed; what lies outside the image stays NaN."""
    there = np.isfinite(view)
    made = _scaled(np.where(there, view, 0.0), shape, order=1)
    return np.where(_scaled(~there, shape, order=0) > 0, np.nan, made)


def _scaled(image: Array, shape: Sequence[int], order: int) -> Array:
    """scipy's zoom as one matrix product per axis."""
    down, across = (_weights(n, m, order) for n, m in zip(image.shape[:2], shape, strict=True))
    return np.asarray(np.moveaxis(np.tensordot(across, np.tensordot(down, image, (1, 0)), (1, 1)), 0, 1))


@cache
def _weights(n: int, m: int, order: int) -> Array:
    """float64 (m, n): how m pixels of a row come from n."""
    return np.asarray(zoom(np.eye(n), (m / n, 1), order=order, mode="nearest", grid_mode=True))


def _place(cell: Array, image: Array) -> None:
    """Set the image into the middle of a square cell."""
    high, wide = image.shape[:2]
    top, left = (cell.shape[0] - high) // 2, (cell.shape[1] - wide) // 2
    cell[top : top + high, left : left + wide] = image.round() if image.dtype.kind == "f" else image
