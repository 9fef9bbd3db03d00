"""Still pictures in: upright and grey, in bounded memory, whatever a file holds; or refused in one sentence.

Read with PIL, one format's reader at a time by the file's first bytes: OpenCV decodes a picture of any size whole,
does not say that it is animated, and its colour under an alpha channel is whatever lay hidden there.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Mapping
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

from duchenne.errors import InputError, UsageError
from duchenne.types import Array
from duchenne.video.reader import IMAGE_SUFFIXES, natural

#: Endings under which pictures are looked for in a folder; what a file is, its first bytes say.
SUFFIXES = IMAGE_SUFFIXES | {".gif"}
#: Most pixels that are decoded: 50 MB as grey levels, and four times that on the way there.
MAX_PIXELS = 50_000_000
_MAX_BYTES = 1 << 29  # a WebP is read into memory whole
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
#: What PIL's readers raise for files that are cut short, damaged or made to harm.
_FAULTS = (
    OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, ZeroDivisionError,
    OverflowError, RuntimeError, struct.error, Image.DecompressionBombError,
)  # fmt: skip
#: EXIF orientation → (flipped left to right first, quarter turns counter-clockwise after that) that make it upright.
_UPRIGHT = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)}


@dataclass(frozen=True, eq=False)
class Picture:
    """One still picture: `grey` uint8 (H, W), upright; `notes` say in sentences what was left out or reduced."""

    path: str
    grey: Array
    notes: tuple[str, ...] = ()


def read(path: str | Path) -> Picture:
    """A picture file as grey levels (ITU-R BT.601 luma), upright by its EXIF, its see-through parts on white.

    Of 16 bits the upper 8 are taken. Of several frames or pages the first is taken, and a baseline JPEG of more than
    `MAX_PIXELS` is decoded at a half, a quarter or an eighth; both are noted. Raises InputError, in a sentence, for a
    file that is missing, empty, no picture, cut short, damaged, or too large to be decoded in bounded memory.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a picture in it.")
        if not path.is_file():
            raise InputError(f"There is no file {path}; check the path.")
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise InputError(f"{path} has {size / 1e6:.0f} MB, more than a picture needs; save it smaller.")
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL's, of odd EXIF and palettes, which it reads all the same
            return _read(path, file)
    except PermissionError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    except MemoryError as error:
        raise InputError(f"{path} needs more memory than there is; save it smaller.") from error
    except _FAULTS as error:
        raise InputError(f"{path} is a picture that is cut short or damaged; copy it again.") from error


def _read(path: Path, file: BinaryIO) -> Picture:
    head = file.read(16)
    if not head:
        raise InputError(f"{path} is empty (0 bytes); copy it again.")
    reader = next((reader for magic, reader in _READERS if magic.match(head)), None)
    if reader is None:
        raise InputError(f"{path} is not a picture that can be read; expected {_KINDS}.")
    one_pass = head[0] == 0xFF and _one_pass(file)
    file.seek(0)
    notes = []
    # The reader itself, not Image.open: that refuses or warns by a limit that is one for the whole process.
    with reader(file) as image:
        width, height = image.size
        _shrink(path, image, one_pass)
        if image.size != (width, height):
            notes.append(f"{path} has {width}×{height} pixels and was read at {image.width}×{image.height}.")
        if getattr(image, "is_animated", False):
            image.seek(0)
            notes.append(f"{path} holds several pictures; the first was taken.")
        image.load()
        grey = _grey(path, image)
        mirrored, turns = _UPRIGHT.get(_orientation(image), (False, 0))
    if grey.size == 0:
        raise InputError(f"{path} has no pixels; copy it again.")
    grey = np.rot90(grey[:, ::-1] if mirrored else grey, turns)
    return Picture(str(path), np.ascontiguousarray(grey), tuple(notes))


def _shrink(path: Path, image: Image.Image, one_pass: bool) -> None:
    """Let a large JPEG decode itself smaller; InputError for what would need too much memory."""
    width, height = image.size
    by = next((k for k in (1, 2, 4, 8) if width * height <= MAX_PIXELS * k * k), 0)
    if by == 1 or (by and one_pass):
        # also for small ones: a JPEG holds its luma by itself, and another copy of it is spared
        image.draft("L", (max(1, width // by), max(1, height // by)))
        return
    most = f"at most {MAX_PIXELS // 1_000_000} million can be read of its kind"
    raise InputError(f"{path} has {width}×{height} pixels, and {most}; save it smaller.")


def _one_pass(file: BinaryIO) -> bool:
    """Whether a JPEG comes row by row: one that comes in several scans is decoded into memory whole first."""
    file.seek(2)
    components = 0
    while len(mark := file.read(4)) == 4 and mark[0] == 0xFF:
        length = int.from_bytes(mark[2:], "big")
        body = file.read(max(0, length - 2))
        if mark[1] in (0xC0, 0xC1) and len(body) > 5:  # frame header, sequential coding
            components = body[5]
        elif mark[1] == 0xDA:  # the first scan
            return bool(body) and body[0] == components
    return False


def _grey(path: Path, image: Image.Image) -> Array:
    """uint8 (H, W) of a loaded picture as it is stored."""
    if image.mode == "F":
        raise InputError(f"{path} holds fractional numbers instead of grey levels; save it with 8 or 16 bits.")
    if image.mode[0] == "I":
        levels = np.asarray(image)
        if levels.min(initial=0) < 0 or levels.max(initial=0) > 65535:
            raise InputError(f"{path} holds numbers beyond 16 bits instead of grey levels; save it with 8 or 16 bits.")
        return np.asarray(levels >> 8, np.uint8)
    if not image.has_transparency_data:
        return np.asarray(image.convert("L"))
    whole = image.convert("RGBA")
    paper = Image.new("L", whole.size, 255)
    return np.asarray(Image.composite(whole.convert("L"), paper, whole.getchannel("A")))


def _orientation(image: Image.Image) -> int:
    """What EXIF says of the camera's position, 1 (upright) where it says nothing or nonsense."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except _FAULTS:
        return 1


def listing(folder: str | Path) -> list[Path]:
    """The pictures of a folder in natural order (`2.png` before `10.png`); hidden files and others are left out.

    Raises InputError where there is no folder, or no picture in it.
    """
    folder = Path(folder)
    found = _pictures(folder)
    if found:
        return found
    inner = [each for each in _folders(folder) if _pictures(each)]
    if inner:
        raise InputError(f"{folder} has no pictures of its own, its folders have; name one, such as {inner[0]}.")
    raise InputError(f"{folder} is a folder without pictures; expected files in {' '.join(sorted(SUFFIXES))}.")


def class_folders(
    root: str | Path, words: Mapping[str, str] | None = None, classes: tuple[str, ...] = ()
) -> list[tuple[Path, str]]:
    """(picture, class) of a data set with one folder for each class, by class folder and in natural order.

    words    what a folder may be called, in small letters → the class it means; None: any name is its own class
    classes  those that are expected; empty: whatever is there. UsageError where `words` knows none by that name

    Looks at names only, so that it can be asked before any work. Raises InputError for no folder, pictures that lie
    beside the class folders, a name that means no expected class, a class folder without pictures, a single class.
    """
    root = Path(root)
    known = {name: name for name in classes} if words is None else dict(words)
    if strange := sorted({*classes} - {*known.values()}):
        raise UsageError(f"There is no class '{strange[0]}'; choose from {', '.join(sorted({*known.values()}))}.")
    folders = _folders(root)
    if not folders:
        raise InputError(f"{root} has no folders; expected one folder of pictures for each class.")
    if loose := _pictures(root):
        raise InputError(f"{loose[0]} lies beside the class folders of {root}; move it into the folder of its class.")
    rows: list[tuple[Path, str]] = []
    for folder in folders:
        name = folder.name.strip()
        meant = name if words is None and not classes else known.get(name.lower(), known.get(name))
        if meant is None or (classes and meant not in classes):
            listed = ", ".join(classes or sorted({*known.values()}))
            raise InputError(f"{folder} is named after no known class; expected {listed}: rename it or move it away.")
        files = _pictures(folder)
        if not files:
            raise InputError(f"{folder} is a class without pictures; add some, or take the folder away.")
        rows += [(file, meant) for file in files]
    present = sorted({meant for _, meant in rows})
    if len(present) < 2:
        raise InputError(f"{root} has pictures of one class only, {present[0]}; at least two are needed to learn.")
    return rows


def _pictures(folder: Path) -> list[Path]:
    return [p for p in _inside(folder) if p.suffix.lower() in SUFFIXES and p.is_file()]


def _folders(folder: Path) -> list[Path]:
    return [p for p in _inside(folder) if p.is_dir()]


def _inside(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden, in natural order; archives from a Mac hold a second, unreadable set."""
    try:
        return sorted((p for p in folder.iterdir() if p.name[0] != "." and p.name != "__MACOSX"), key=natural)
    except NotADirectoryError as error:
        raise InputError(f"{folder} is a file; expected a folder.") from error
    except FileNotFoundError as error:
        raise InputError(f"There is no folder {folder}; check the path.") from error
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); check its permissions.") from error
