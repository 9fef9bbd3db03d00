"""Read still images, upright and grey, in bounded memory whatever a file holds.

PIL's reader for the format is chosen by the file's first bytes. OpenCV would decode an image of any size completely,
does not report animation, and shows hidden colours under an alpha channel.
"""

from __future__ import annotations

import re
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from duchenne.errors import InputError
from duchenne.types import Array

#: Most pixels that are decoded: 50 MB as grey levels, and four times that on the way.
MAX_PIXELS = 50_000_000
_MAX_BYTES = 1 << 29  # a WebP is read into memory completely
_READERS: tuple[tuple[re.Pattern[bytes], type[ImageFile.ImageFile]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), JpegImagePlugin.JpegImageFile),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImagePlugin.WebPImageFile),
    (re.compile(rb"GIF8[79]a"), GifImagePlugin.GifImageFile),
    (re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), TiffImagePlugin.TiffImageFile),
    (re.compile(rb"BM"), BmpImagePlugin.BmpImageFile),
    (re.compile(rb"P[56]\s"), PpmImagePlugin.PpmImageFile),
)
_KINDS = "PNG, JPEG, WebP, GIF, BMP or TIFF"
#: What PIL's readers raise for files that are cut short, damaged or malicious.
_READ_ERRORS = (
    OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, ZeroDivisionError,
    OverflowError, RuntimeError, struct.error, Image.DecompressionBombError,
)  # fmt: skip
#: EXIF orientation → (mirrored first, then quarter turns counter-clockwise) that make the image upright.
_UPRIGHT = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)}


@dataclass(frozen=True, eq=False)
class StillImage:
    """`grey` is uint8 (H, W), upright; `notes` are sentences on what was left out or reduced."""

    path: str
    grey: Array
    notes: tuple[str, ...] = ()


def read(path: str | Path) -> StillImage:
    """An image file as grey levels (ITU-R BT.601 luma), upright by its EXIF, transparent parts on white.

    Of 16 bits the upper 8 are used. Of several frames or pages the first is used, and a baseline JPEG of more than
    `MAX_PIXELS` is decoded at a half, a quarter or an eighth; both are noted. Raises InputError for a file that is
    missing, empty, not an image, cut short, damaged, or too large to be decoded in bounded memory.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; name an image in it.")
        if not path.is_file():
            raise InputError(f"There is no file {path}; check the path.")
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise InputError(f"{path} has {size / 1e6:.0f} MB, more than an image needs; save it smaller.")
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL's, about odd EXIF and palettes that it can read
            return _read(path, file)
    except PermissionError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    except MemoryError as error:
        raise InputError(f"{path} needs more memory than there is; save it smaller.") from error
    except _READ_ERRORS as error:
        raise InputError(f"{path} is an image that is cut short or damaged; copy it again.") from error


def _read(path: Path, file: BinaryIO) -> StillImage:
    head = file.read(16)
    if not head:
        raise InputError(f"{path} is empty (0 bytes); copy it again.")
    reader = next((reader for magic, reader in _READERS if magic.match(head)), None)
    if reader is None:
        raise InputError(f"{path} is not an image that can be read; expected {_KINDS}.")
    sequential = head[0] == 0xFF and _is_sequential(file)
    file.seek(0)
    notes = []
    # The reader itself, because the size limit of Image.open is one for the whole process.
    with reader(file) as image:
        width, height = image.size
        _shrink(path, image, sequential)
        if image.size != (width, height):
            notes.append(f"{path} has {width}×{height} pixels and was read at {image.width}×{image.height}.")
        if getattr(image, "is_animated", False):
            image.seek(0)
            notes.append(f"{path} holds several images; the first was used.")
        image.load()
        grey = _grey(path, image)
        mirrored, turns = _UPRIGHT.get(_orientation(image), (False, 0))
    if grey.size == 0:
        raise InputError(f"{path} has no pixels; copy it again.")
    grey = np.rot90(grey[:, ::-1] if mirrored else grey, turns)
    return StillImage(str(path), np.ascontiguousarray(grey), tuple(notes))


def _shrink(path: Path, image: Image.Image, sequential: bool) -> None:
    """Have a large JPEG decoded smaller; InputError for what would need too much memory."""
    width, height = image.size
    factor = next((k for k in (1, 2, 4, 8) if width * height <= MAX_PIXELS * k * k), 0)
    if factor == 1 or (factor and sequential):
        # small ones too: a JPEG stores its luma separately, which saves a copy
        image.draft("L", (max(1, width // factor), max(1, height // factor)))
        return
    most = f"{MAX_PIXELS // 1_000_000} million in this format"
    raise InputError(f"{path} has {width}×{height} pixels, expected at most {most}; save it smaller.")


def _is_sequential(file: BinaryIO) -> bool:
    """Whether a JPEG is stored row by row: one in several scans would be decoded completely first."""
    file.seek(2)
    components = 0
    while len(marker := file.read(4)) == 4 and marker[0] == 0xFF:
        length = int.from_bytes(marker[2:], "big")
        body = file.read(max(0, length - 2))
        if marker[1] in (0xC0, 0xC1) and len(body) > 5:  # frame header, sequential coding
            components = body[5]
        elif marker[1] == 0xDA:  # the first scan
            return bool(body) and body[0] == components
    return False


def _grey(path: Path, image: Image.Image) -> Array:
    """uint8 (H, W) of a loaded image as it is stored."""
    if image.mode == "F":
        raise InputError(f"{path} holds fractional numbers, not grey levels; save it with 8 or 16 bits.")
    if image.mode[0] == "I":
        levels = np.asarray(image)
        if levels.min(initial=0) < 0 or levels.max(initial=0) > 65535:
            raise InputError(f"{path} holds numbers beyond 16 bits, not grey levels; save it with 8 or 16 bits.")
        return np.asarray(levels >> 8, np.uint8)
    if not image.has_transparency_data:
        return np.asarray(image.convert("L"))
    rgba = image.convert("RGBA")
    white = Image.new("L", rgba.size, 255)
    return np.asarray(Image.composite(rgba.convert("L"), white, rgba.getchannel("A")))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation; 1 (upright) where it is missing or invalid."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except _READ_ERRORS:
        return 1
