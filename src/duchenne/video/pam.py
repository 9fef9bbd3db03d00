"""PAM (P7), the Netpbm format that PIL does not read: grey or colour levels of 8 or 16 bits, with or without alpha."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from PIL import Image

_MODES = ("L", "LA", "RGB", "RGBA")
_MOST_LINES, _MOST_PIXELS = 100, 1 << 26


def read(file: BinaryIO) -> Image.Image:
    """The image, 16 bits for grey levels of more than 8; ValueError where it is not whole, or too large."""
    words: dict[str, str] = {}
    for _ in range(_MOST_LINES):
        line = file.readline(200).decode("ascii").partition("#")[0].split()
        if line == ["ENDHDR"]:
            break
        if len(line) == 2:
            words[line[0]] = line[1]
    width, height, channels, most = (int(words[name]) for name in ("WIDTH", "HEIGHT", "DEPTH", "MAXVAL"))
    if not (0 < width * height <= _MOST_PIXELS and width > 0 and 1 <= channels <= 4 and 0 < most < 65536):
        raise ValueError("invalid header")
    kind = np.dtype(np.uint8 if most < 256 else ">u2")
    shape = (height, width, channels)
    levels = np.frombuffer(file.read(int(np.prod(shape)) * kind.itemsize), kind).reshape(shape)
    if kind.itemsize == 2 and channels == 1:
        return Image.fromarray((levels[..., 0].astype(np.uint32) * 65535 // most).astype(np.uint16))
    eight = (levels.astype(np.uint32) * 255 // most).astype(np.uint8)
    return Image.fromarray(eight[..., 0] if channels == 1 else eight, _MODES[channels - 1])
