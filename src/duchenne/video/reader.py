"""Read video: frames one at a time, upright, with their true timestamps, few in memory.

Reads containers that hold their own frames, and still images (`stills`): files, and folders of numbered ones.
Limits: a truncated transport stream looks complete, as it declares no length; `start` decodes everything before it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av

from duchenne.errors import InputError, UsageError
from duchenne.types import Array
from duchenne.video import stills
from duchenne.video.containers import STREAM_SUFFIXES, Opened, check_pixels, is_timed, opened
from duchenne.video.decode import Images, Tally, fault, images
from duchenne.video.folders import IMAGE_SUFFIXES, numbered
from duchenne.video.frame import Frame, Source, View, shown
from duchenne.video.images import read as read_image
from duchenne.video.timing import GIVE_RATE, MOST_EQUAL, spread

_REENCODE = "re-encode it (for example: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4)"
_NO_FRAME = "{} holds no complete frame that can be decoded; copy it again."

_Picture = tuple[av.VideoFrame | Array, View]
_Timed = Generator[tuple[float, _Picture], None, None]


def is_untimed(path: str | Path) -> bool:
    """Whether a clip is a folder of images, or has the name of a file that stores no times: `frames` needs a rate."""
    return os.path.isdir(path) or Path(path).suffix.lower() in STREAM_SUFFIXES | IMAGE_SUFFIXES  # noqa: PTH112


@dataclass(frozen=True)
class VideoInfo:
    """What a file declares. Width and height are those of the upright frames with square pixels, in pixels.

    rotation         degrees counter-clockwise that turn the stored frames upright (0, 90, 180, 270)
    rate             average frames/s (of an animation, at its first image), None where no times are stored
    declared_frames  according to the container; an edit list may play fewer
    duration         seconds, None where the file does not declare it
    mirrored         whether the stored frames are mirrored left to right before they are turned
    notes            sentences on what a user should know: slow motion, other streams, smaller size
    """

    path: str
    width: int
    height: int
    rotation: int
    codec: str
    rate: float | None
    declared_frames: int | None
    duration: float | None
    mirrored: bool = False
    notes: tuple[str, ...] = ()


def info(path: str | Path) -> VideoInfo:
    """Describe a video, image or folder of images; decodes one frame. InputError as in `frames`."""
    path = Path(path)
    if path.is_dir():
        files = numbered(path)
        return replace(info(files[0][1]), path=str(path), declared_frames=files[-1][0] - files[0][0] + 1)
    if stills.is_still(path):
        still = read_image(path)
        height, width = still.grey.shape
        turns, mirrored, number = still.view.turns, still.view.mirrored, still.several or 1
        rate = 1 / still.seconds if still.several and still.seconds else None
        notes = still.notes[: len(still.notes) - (number > 1)]  # all images are used
        return VideoInfo(str(path), width, height, 90 * turns, still.codec, rate, number, None, mirrored, notes)
    with opened(path) as file, closing(images(file, Tally())) as found:
        _, image = next(found, (None, None))
        if image is None:
            raise InputError(_NO_FRAME.format(path))
        stream, codec = file.stream, file.stream.codec_context.name
        view = shown(image, codec, file.aspect)
        (width, height), rotation = view.extent(image), 90 * view.turns
        about = VideoInfo(str(path), width, height, rotation, codec, None, 1, None, view.mirrored, file.notes)
        if not file.timed:
            return replace(about, declared_frames=None)
        rate = float(stream.average_rate) if stream.average_rate else None
        length = (stream.duration or 0) * Fraction(stream.time_base or 0) or file.declared_length
        return replace(about, rate=rate, declared_frames=stream.frames or None, duration=float(length) or None)


def notes(path: str | Path) -> tuple[str, ...]:
    """Sentences on what a user should know of a video or image, as in `VideoInfo`; InputError as in `frames`."""
    path = Path(path)
    if stills.is_still(path):
        return info(path).notes
    with opened(path) as file:
        return file.notes


def frames(
    path: str | Path,
    *,
    rate: float | None = None,
    start: float | None = None,
    end: float | None = None,
    allow_truncated: bool = False,
) -> Source:
    """Yield every frame of a video, image or folder of images, one at a time, in order of display.

    A jump of the index is frames that were not kept: numbers without an image in a folder.

    rate             frames/s where no times are stored: a folder of images or a file with several, a bare stream
                     (`.h264`, `.mjpeg`); of an animation, instead of what is stored
    start, end       seconds from the file's first frame: only frames with start <= time < end are yielded,
                     and their index and time count from the first of them
    allow_truncated  accept what can be decoded of a cut or damaged file; otherwise its end raises

    Frames have the size of the first: where a video's size changes, later ones are scaled, their aspect kept. Frames
    of one and the same time are spread (`timing.spread`). Raises UsageError for contradictory arguments at once. While
    iterating, raises InputError where the input is missing, not a video, cut short, or has missing or falling times.
    """
    path = Path(path)
    if start is not None and not (start >= 0 and math.isfinite(start)):
        raise UsageError(f"--start must be 0 seconds or later, found {start}; correct it.")
    if end is not None and not end > (start or 0.0):
        raise UsageError(f"--end must be later than --start ({start or 0.0} s), found {end} s; correct one of them.")
    if rate is not None and not (rate > 0 and math.isfinite(rate)):
        raise UsageError(f"--rate must be a positive number of frames per second, found {rate}; correct it.")
    if stills.is_still(path):
        return _stretch(path, stills.frames(path, rate, allow_truncated=allow_truncated), start, end)
    if rate is not None and is_timed(path):
        raise UsageError(f"{path} has its own timestamps; --rate is for bare streams and folders of images only.")
    return _stretch(path, _frames(path, rate, allow_truncated), start, end)


def _stretch(path: Path, source: Source, start: float | None, end: float | None) -> Source:
    """Frames of `source` inside [start, end), counted and timed from the first of them."""
    first, time = None, 0.0
    with closing(source):
        for frame in source:
            time = frame.time
            if end is not None and time >= end:
                break
            if start is None or time >= start:
                first = first or (frame.index, time)
                frame.index, frame.time = frame.index - first[0], time - first[1]
                yield frame
    if first is None:
        until = "its end" if end is None else f"{end} s"
        span = f"between {start or 0.0} s and {until} (a frame is at {time:.3f} s)"
        raise InputError(f"{path} has no frame {span}; check the clip's start and end.")


def _frames(path: Path, rate: float | None, allow_truncated: bool) -> Source:
    with closing(_file(path, rate, allow_truncated)) as source:
        for index, (time, (image, view)) in enumerate(source):
            yield Frame(index, time, image, view)


def _file(path: Path, rate: float | None, allow_truncated: bool) -> _Timed:
    """Seconds from the first frame, and the frame; raises at the end of a file that is cut short."""
    with opened(path) as file:
        if not file.timed and rate is None:
            raise InputError(f"{path} is a bare stream, which stores no times; {GIVE_RATE}.")
        tally = Tally()
        with closing(images(file, tally)) as found:
            if file.timed:
                yield from spread(_timed(path, file, found), file.step)
            elif rate is not None:
                yield from ((number / rate, picture) for number, (_, picture) in enumerate(_shown(path, file, found)))
        if tally.frames == 0:
            raise InputError(_NO_FRAME.format(path))
        wrong = fault(file, tally)
        if wrong and not allow_truncated:
            hint = "copy it again, or pass --allow-truncated to analyze what is there"
            raise InputError(f"{path} is {wrong} could be decoded; {hint}.")


def _shown(path: Path, file: Opened, found: Images) -> Iterator[tuple[int | None, _Picture]]:
    """(timestamp, picture), each as large as the first."""
    size: tuple[int, int] | None = None
    for stamp, image in found:
        view = shown(image, file.stream.codec_context.name, file.aspect)
        if size is None:
            size = view.extent(image)
            check_pixels(path, *size)
        yield stamp, (image, view.fitted(image, size))


def _timed(path: Path, file: Opened, found: Images) -> Iterator[tuple[float, _Picture]]:
    """Seconds from the first frame, which never fall, and the picture."""
    base, origin, last, equal = Fraction(file.stream.time_base or 0), 0, -math.inf, 0
    for number, (stamp, picture) in enumerate(_shown(path, file, found)):
        if stamp is None:
            raise InputError(f"{path}: frame {number} has no timestamp; {_REENCODE}.")
        origin = origin if number else stamp
        time = (stamp - origin) * base.numerator / base.denominator  # rounds once, as a float of the fraction
        if time < last:
            fall = f"frame {number} is at {time:.3f} s, but the frame before it is at {last:.3f} s"
            raise InputError(f"{path}: timestamps must rise, {fall}; {_REENCODE}.")
        equal = equal + 1 if time == last else 0
        if equal == MOST_EQUAL:
            raise InputError(f"{path}: more than {MOST_EQUAL} frames are at {time:.3f} s; {_REENCODE}.")
        last = time
        yield time, picture
