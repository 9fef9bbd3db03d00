"""Levels of more than 8 bits, and the bits of them that are in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from duchenne.errors import InputError
from duchenne.types import Array

_DEPTHS = (8, 10, 12, 14, 16)
#: Unpacker of the upper byte of 16-bit colours → that of the lower one.
_LOWER = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGB;16N": "RGB;16B"}


class Depth:
    """How many bits the 16-bit levels of a sequence use: cameras of 10 to 14 bits often leave the upper ones empty."""

    def __init__(self) -> None:
        self.bits = 0  # as far as the sequence was read

    def eight(self, levels: Array, stated: int | None = None) -> Array:
        """The upper 8 of those bits, uint8."""
        if stated is None:
            most = int(levels.max(initial=0))
            self.bits = max(self.bits, next(bits for bits in _DEPTHS if most < 1 << bits))
        return np.asarray(levels >> ((stated or self.bits) - 8), np.uint8)


def eight_bits(path: Path, image: Any, tiles: list[Any], depth: Depth) -> Image.Image:
    """A loaded image with 8 bits per channel."""
    if image.mode == "F":
        levels = np.asarray(image)
        if not (np.isfinite(levels).all() and levels.min(initial=0) >= 0 and levels.max(initial=0) <= 1):
            fault = "holds fractional numbers, of which only 0 (black) to 1 (white) are grey levels"
            raise InputError(f"{path} {fault}; save it with 8 or 16 bits.")
        return Image.fromarray(np.asarray((levels * 255).round(), np.uint8))
    if image.mode[0] == "I":
        levels = np.asarray(image)
        if levels.min(initial=0) < 0 or levels.max(initial=0) > 65535:
            raise InputError(f"{path} holds numbers beyond 16 bits, not grey levels; save it with 8 or 16 bits.")
        tags = getattr(image, "tag_v2", {})
        stated = 12 if tags.get(258) == (12,) else 16 if tiles and tiles[0][0] in {"ppm", "ppm_plain"} else None
        grey = depth.eight(levels, stated)
        return Image.fromarray(255 - grey if tags.get(262) == 0 else grey)  # where 0 is white
    if image.mode == "RGB" and (lower := _lower(tiles)):
        upper = np.asarray(image)
        if upper.max(initial=0) >= 64:
            depth.bits = 16
        elif depth.bits < 16:
            page = image.tell()
            with path.open("rb") as file, type(image)(file) as again:
                again.seek(page)
                again.tile = lower
                again.load()
                return Image.fromarray(depth.eight(upper.astype(np.uint16) << 8 | np.asarray(again)))
    return image  # type: ignore[no-any-return]


def _lower(tiles: list[Any]) -> list[Any]:
    """Tiles that decode the lower bytes of 16-bit colours; empty for other images."""
    out = []
    for name, extents, offset, args in tiles:
        first, *rest = args if isinstance(args, tuple) else (args,)
        if first not in _LOWER:
            return []
        swapped = _LOWER[first]
        out.append(ImageFile._Tile(name, extents, offset, (swapped, *rest) if rest else swapped))
    return out
