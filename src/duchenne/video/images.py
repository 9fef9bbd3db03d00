"""Read still images, upright and grey, in bounded memory whatever a file holds: the one reader of all commands.

PIL's reader for the format is chosen by the file's first bytes, from a list of formats that hold pixels only. OpenCV
would decode an image of any size completely, does not report animation, and shows hidden colours under an alpha
channel; FFmpeg inflates metadata without a bound.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from duchenne.errors import InputError
from duchenne.types import Array
from duchenne.video import pam, structure
from duchenne.video.frame import View
from duchenne.video.levels import Depth, eight_bits

#: Most pixels that are decoded: 50 MB as grey levels, and four times that on the way.
MAX_PIXELS = 50_000_000
#: Most images of one file, and most pixels of all of them: ten minutes at 30/s and 1280×720.
MAX_FRAMES, _MAX_TOTAL = 20_000, 1 << 34
_MAX_BYTES = 1 << 29  # a WebP is read into memory completely
_HEAD = 4096  # bytes, in which a header must be complete
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_READERS: tuple[tuple[re.Pattern[bytes], Callable[[BinaryIO], Image.Image]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), JpegImagePlugin.JpegImageFile),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImagePlugin.WebPImageFile),
    (re.compile(rb"GIF8[79]a"), GifImagePlugin.GifImageFile),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), TiffImagePlugin.TiffImageFile),
    (re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0{3}", re.DOTALL), BmpImagePlugin.BmpImageFile),
    (re.compile(rb"P[1-6f]" + _GAP + rb"\d+" + _GAP + rb"\d+\s"), PpmImagePlugin.PpmImageFile),
    (re.compile(rb"P7\s+(#|[A-Z]+\b)"), pam.read),
)
#: Images that are refused: FFmpeg would read a part of some.
_OTHERS = re.compile(rb".{4}ftyp(avi[fs]|hei[cxms]|hev[cx]|mif1|msf1)", re.DOTALL)
KINDS = "PNG, JPEG, WebP, GIF, BMP, TIFF or PNM"
#: What PIL's readers raise for files that are cut short, damaged or malicious.
_READ_ERRORS = (
    OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, ZeroDivisionError,
    OverflowError, RuntimeError, struct.error, Image.DecompressionBombError,
)  # fmt: skip
#: EXIF orientation → what makes the image upright.
_UPRIGHT = {
    2: View(True), 3: View(False, 2), 4: View(True, 2), 5: View(True, 1), 6: View(False, 3), 7: View(True, 3),
    8: View(False, 1),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class StillImage:
    """`grey` is uint8 (H, W), upright; `notes` are sentences on what was left out or reduced.

    colours   makes uint8 (H, W, 3), blue, green, red
    codec     the format's name; view, what made it upright
    several   the number of images in the file, 0 where there is only one
    seconds   for which an animation shows it; None where that is not stored
    """

    path: str
    grey: Array
    notes: tuple[str, ...]
    colours: Callable[[], Array]
    codec: str
    view: View
    several: int = 0
    seconds: float | None = None


def is_image(path: Path) -> bool:
    """Whether a file begins as one of the formats that `read` reads, and is not a raw stream of JPEGs."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(_HEAD)
            found = bool(_OTHERS.match(head)) or any(magic.match(head) for magic, _ in _READERS)
            return found and not (head[0] == 0xFF and structure.jpeg(file).followed)
    except OSError:
        return False  # which the reader of videos reports


def count(path: Path) -> int:
    """The number of images in a file; InputError as for `read`."""
    with _guarded(path), _opened(path) as file:
        return len(_wanted(path, _decoder(path, file)(file), file))


def read(path: str | Path, depth: Depth | None = None, *, allow_truncated: bool = False) -> StillImage:
    """An image file as grey levels (ITU-R BT.601 luma), upright by its EXIF, transparent parts on white.

    Of 16 bits the upper 8 that are in use count. Of several frames or pages the first is used, and a baseline JPEG of
    more than `MAX_PIXELS` is decoded at a half, a quarter or an eighth; both are noted. Raises InputError for a file
    that is missing, empty, not an image, cut short (unless allowed), damaged, or too large to be decoded in bounded
    memory. `depth` is of the sequence that it is part of.
    """
    with closing(frames(Path(path), depth or Depth(), allow_truncated=allow_truncated)) as found:
        still = next(found)
    if not still.several:
        return still
    return replace(still, notes=(*still.notes, f"{path} holds several images; the first was used."))


def frames(path: Path, depth: Depth, *, allow_truncated: bool = False) -> Generator[StillImage, None, None]:
    """Every image of a file, one in memory, as `read` reads it; of TIFF pages those in full size."""
    with _guarded(path):
        file = _opened(path)
    with file:
        with _guarded(path):
            reader = _decoder(path, file)
            notes, is_sequential = _checked(path, file, allow_truncated)
            file.seek(0)
            # The reader itself, because the size limit of Image.open is one for the whole process.
            image = reader(file)
            width, height = image.size
            _shrink(path, image, is_sequential)
            if image.size != (width, height):
                notes.append(f"{path} has {width}×{height} pixels and was read at {image.width}×{image.height}.")
            wanted = _wanted(path, image, file)
        for number in wanted:
            with _guarded(path):
                if len(wanted) > 1 or number:
                    image.seek(number)
                still = _still(path, image, depth, notes, allow_truncated)
            yield replace(still, several=len(wanted)) if len(wanted) > 1 else still


def _opened(path: Path) -> BinaryIO:
    if path.is_dir():
        raise InputError(f"{path} is a folder; name an image in it.")
    if not path.exists():
        raise InputError(f"There is no file {path}; check the path.")
    if not path.is_file():
        raise InputError(f"{path} is a pipe or a device; expected a file: save the image first.")
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise InputError(f"{path} has {size / 1e6:.0f} MB, more than an image needs; save it smaller.")
    return path.open("rb")


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """InputError, in one sentence, for all that PIL raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL's, about odd EXIF and palettes that it can read
            yield
    except PermissionError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    except MemoryError as error:
        raise InputError(f"{path} needs more memory than there is; save it smaller.") from error
    except _READ_ERRORS as error:
        fault = "is an image that is cut short or damaged; copy it again"
        if isinstance(error, SyntaxError) and "unknown" in str(error):
            fault = "stores its pixels in a way that cannot be read; save it as PNG, or with 8 or 16 bits"
        elif "text" in str(error).lower():
            fault = "carries more text than an image needs; save it without metadata"
        raise InputError(f"{path} {fault}.") from error


def _decoder(path: Path, file: BinaryIO) -> Any:
    head = file.read(_HEAD)
    file.seek(0)
    if not head:
        raise InputError(f"{path} is empty (0 bytes); copy it again.")
    for magic, reader in _READERS:
        if magic.match(head):
            return reader
    raise InputError(f"{path} is not an image that can be read; expected {KINDS}.")


def _checked(path: Path, file: BinaryIO, allow_truncated: bool) -> tuple[list[str], bool]:
    """Notes, and whether it is a JPEG stored row by row; InputError for one without an end."""
    kind = file.read(4)
    if not kind.startswith(b"\xff\xd8"):
        found = structure.Jpeg(complete=True, excess=structure.png_excess(file) if kind == b"\x89PNG" else "")
    else:
        found = structure.jpeg(file)
    if found.excess:
        raise InputError(f"{path} has more than {found.excess}, which no image needs; save it again.")
    if not found.complete and not allow_truncated:
        raise InputError(f"{path} is an image that is cut short or damaged; copy it again.")
    notes = [f"{path} holds several images; the first was used."] if found.followed else []
    return notes, found.sequential


def _wanted(path: Path, image: Image.Image, file: BinaryIO) -> list[int]:
    """The images that count, of those in a file; InputError where they are too many."""
    number, wanted = 1, [0]
    at = file.tell()
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        wanted = structure.tiff_pages(file, MAX_FRAMES) or [0]
        number = wanted[-1] + 1
    elif isinstance(image, GifImagePlugin.GifImageFile):
        number = max(1, structure.gif_frames(file, MAX_FRAMES))
    elif isinstance(image, PngImagePlugin.PngImageFile | WebPImagePlugin.WebPImageFile):
        number = image.n_frames
    file.seek(at)
    if number > MAX_FRAMES or number * image.width * image.height > _MAX_TOTAL:
        many = f"{min(number, MAX_FRAMES)} or more images of {image.width}×{image.height} pixels"
        raise InputError(f"{path} holds {many}, too many to read; split it, or make it smaller.")
    if len(wanted) == 1 < number and wanted == [0]:
        # a PNG may have one more, which is shown where animation is not known
        wanted = list(range(int(getattr(image, "default_image", False)), number))
    return wanted


def _still(path: Path, image: Any, depth: Depth, notes: list[str], allow_truncated: bool) -> StillImage:
    tiles = list(getattr(image, "tile", ()))
    used = depth.bits
    try:
        image.load()
    except _READ_ERRORS:
        if not allow_truncated:
            raise
        image.tile = []  # what was decoded stays; without any, it raises again
        image.load()
    view = _UPRIGHT.get(_orientation(image), View())
    kept = eight_bits(path, image, tiles, depth)
    grey = view.upright(np.asarray(_flat(kept, "L")))
    if grey.size == 0:
        raise InputError(f"{path} has no pixels; copy it again.")
    if not used and 0 < depth.bits < 16:
        notes.append(f"{path} uses only {depth.bits} of 16 bits, and was read so.")
    if image.format == "JPEG":  # its luma is decoded alone, which saves time and memory
        colours = partial(_jpeg_colours, path, image.size, view, allow_truncated)
    else:
        kept = kept.copy() if kept is image and getattr(image, "is_animated", False) else kept
        colours = partial(_colours, kept, view)
    shown = image.info.get("duration") if image.format in {"GIF", "PNG", "WEBP"} else None
    seconds = float(shown) / 1000 if shown else None
    codec = (image.format or "PAM").lower()
    return StillImage(str(path), np.ascontiguousarray(grey), tuple(notes), colours, codec, view, seconds=seconds)


def _shrink(path: Path, image: Any, is_sequential: bool) -> None:
    """Have a large JPEG decoded smaller; InputError for what would need too much memory."""
    width, height = image.size
    tile = getattr(image, "tag_v2", {})
    area = max(width * height, tile.get(322, 0) * tile.get(323, 0) // 2)  # a TIFF's tile may be larger than the image
    factor = next((k for k in (1, 2, 4, 8) if area <= MAX_PIXELS * k * k), 0)
    if factor == 1 or (factor and is_sequential):
        # small ones too: a JPEG stores its luma separately, which saves a copy
        image.draft("L", (max(1, width // factor), max(1, height // factor)))
        return
    most = f"{MAX_PIXELS // 1_000_000} million in this format"
    raise InputError(f"{path} has {width}×{height} pixels, expected at most {most}; save it smaller.")


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """In mode L or RGB, what is transparent on white."""
    if not image.has_transparency_data:
        return image.convert(mode)
    rgba = image.convert("RGBA")
    return Image.composite(rgba.convert(mode), Image.new(mode, rgba.size, "white"), rgba.getchannel("A"))


def _colours(image: Image.Image, view: View) -> Array:
    return np.ascontiguousarray(view.upright(np.asarray(_flat(image, "RGB"))[..., ::-1]))


def _jpeg_colours(path: Path, size: tuple[int, int], view: View, allow_truncated: bool) -> Array:
    with _guarded(path), path.open("rb") as file, JpegImagePlugin.JpegImageFile(file) as image:
        image.draft("RGB", size)
        try:
            image.load()
        except OSError:
            if not allow_truncated:
                raise
            image.tile = []
        return _colours(image, view)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation; 1 (upright) where it is missing or invalid."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except _READ_ERRORS:
        return 1
