"""Clips made of still images: a file with one or several, or a folder in which the numbers of the names are time."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from duchenne.errors import InputError, UsageError
from duchenne.types import Array
from duchenne.video import images
from duchenne.video.folders import numbered
from duchenne.video.frame import Frame, Source
from duchenne.video.images import StillImage
from duchenne.video.levels import Depth
from duchenne.video.timing import GIVE_RATE

_SEVERAL = f"{{}} holds {{}} images, whose times are not stored; {GIVE_RATE}."


class StillFrame(Frame):
    """A frame that is a still image."""

    def __init__(self, index: int, time: float, image: StillImage) -> None:
        self.index, self.time, self._still = index, time, image

    @cached_property
    def grey(self) -> Array:
        """uint8 (H, W): luma, as `images.read` reads it."""
        return self._still.grey

    @cached_property
    def bgr(self) -> Array:
        """uint8 (H, W, 3): blue, green, red, converted on first use; what is transparent is white."""
        return self._still.colours()


def is_still(path: Path) -> bool:
    """Whether a path is a folder, or a file that holds still images or an animation of them."""
    return path.is_dir() or images.is_image(path)


def frames(path: Path, rate: float | None, *, allow_truncated: bool = False) -> Source:
    """Every image of a file or folder at its time; UsageError at once where times are neither stored nor given."""
    if path.is_dir():
        if rate is None:
            raise UsageError(f"{path} is a folder of images, which have no timestamps; {GIVE_RATE}.")
        return _folder(path, rate, allow_truncated)
    return _file(path, rate, allow_truncated)


def _folder(path: Path, rate: float, allow_truncated: bool) -> Source:
    files, depth, size = numbered(path), Depth(), (0, 0)
    first = files[0][0]
    for number, file in files:
        image = images.read(file, depth, allow_truncated=allow_truncated)
        if image.several:
            raise InputError(f"{file} holds several images; split it, or analyze it alone.")
        size = _same_size(f"{file}", image, size)
        yield StillFrame(number - first, (number - first) / rate, image)


def _file(path: Path, rate: float | None, allow_truncated: bool) -> Source:
    time, size = 0.0, (0, 0)
    for index, image in enumerate(images.frames(path, Depth(), allow_truncated=allow_truncated)):
        if rate is None and image.several and not image.seconds:
            raise InputError(_SEVERAL.format(path, image.several))
        size = _same_size(f"{path}, image {index + 1},", image, size)
        yield StillFrame(index, time if rate is None else index / rate, image)
        time += image.seconds or 0.0


def _same_size(what: str, image: StillImage, size: tuple[int, int]) -> tuple[int, int]:
    height, width = image.grey.shape
    if size not in {(0, 0), (width, height)}:
        found = f"{width}x{height} pixels while the first is {size[0]}x{size[1]}"
        raise InputError(f"{what} is {found}; resize all images to one size.")
    return width, height
