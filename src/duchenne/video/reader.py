"""Read video: frames one at a time, upright, with their true timestamps, one in memory.

Reads whatever FFmpeg reads, a single image (a clip of one frame) and a folder of numbered images. Limits: of a
mirroring EXIF orientation only the angle is applied; a truncated transport stream looks complete, as it declares no
length; `start` decodes everything before it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from duchenne.errors import InputError, UsageError
from duchenne.video.folders import IMAGE_SUFFIXES, image_files
from duchenne.video.frame import Frame, display

#: A byte that no text has. FFmpeg reads some tables as sound and a .txt as terminal art, and opens playlists.
_NOT_TEXT = re.compile(rb"[^\t-\r\x1b -\xff]")
#: Containers whose header holds the length of the whole recording (others estimate it from what is there).
_HEADER_HAS_LENGTH = frozenset({"flv", "matroska,webm"})
#: In a complete file a header's duration and the last packet's end agree up to rounding and one audio packet.
_LENGTH_TOLERANCE = 0.25
#: Twice 8K; a few kilobytes can declare four times as many, which take a gigabyte and seconds per frame.
MAX_PIXELS = 2**26
_REENCODE = "re-encode it (for example: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4)"
_NO_FRAME = "{} holds no complete frame that can be decoded; copy it again."

_Timed = Generator[tuple[float, av.VideoFrame], None, None]


@dataclass(frozen=True)
class VideoInfo:
    """What a file declares. Width and height are those of the upright frames, in pixels.

    rotation         degrees counter-clockwise that turn the stored frames upright (0, 90, 180, 270)
    mirrored         whether they are mirrored left to right first
    rate             average frames/s, None for images; frames need not be evenly spaced
    declared_frames  according to the container; an edit list may play fewer
    duration         seconds, None where the file does not declare it
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


def info(path: str | Path) -> VideoInfo:
    """Describe a video, image or folder of images; decodes one frame. InputError as in `frames`."""
    path = Path(path)
    if path.is_dir():
        files = image_files(path)
        return replace(info(files[0]), path=str(path), declared_frames=len(files))
    with _open(path) as (container, stream), closing(_images(container, stream, _Tally())) as images:
        image = next(images, None)
        if image is None:
            raise InputError(_NO_FRAME.format(path))
        view, codec = display(image), stream.codec_context.name
        width, height = (image.width, image.height)[:: -1 if view.turns % 2 else 1]
        shown = VideoInfo(str(path), width, height, 90 * view.turns, codec, None, 1, None, view.mirrored)
        if _is_still(container):
            return shown
        rate = float(stream.average_rate) if stream.average_rate else None
        length = (stream.duration or 0) * Fraction(stream.time_base or 0) or _declared_length(container)
        declared, duration = stream.frames or None, float(length) or None
        return replace(shown, rate=rate, declared_frames=declared, duration=duration)


def frames(
    path: str | Path,
    *,
    rate: float | None = None,
    start: float | None = None,
    end: float | None = None,
    allow_truncated: bool = False,
) -> Iterator[Frame]:
    """Yield every frame of a video, image or folder of images, one at a time, in order of display.

    rate             frames/s of a folder of images; a video has its own timestamps
    start, end       seconds from the file's first frame: only frames with start <= time < end are yielded,
                     and their index and time count from the first of them
    allow_truncated  accept what can be decoded of a cut or damaged file; otherwise its end raises

    Raises UsageError for contradictory arguments at once. While iterating, raises InputError where the input is
    missing, not a video, cut short, changes its frame size, or has missing or falling timestamps.
    """
    path = Path(path)
    if start is not None and not (start >= 0 and math.isfinite(start)):
        raise UsageError(f"--start must be 0 seconds or later, found {start}; correct it.")
    if end is not None and not end > (start or 0.0):
        raise UsageError(f"--end must be later than --start ({start or 0.0} s), found {end} s; correct one of them.")
    if rate is not None and not (rate > 0 and math.isfinite(rate)):
        raise UsageError(f"--rate must be a positive number of frames per second, found {rate}; correct it.")
    if not path.is_dir():
        if rate is not None and path.suffix.lower() not in IMAGE_SUFFIXES:
            raise UsageError(f"{path} has its own timestamps; --rate is for folders of images only.")
        return _stretch(path, _file(path, allow_truncated), start, end)
    if rate is None:
        raise UsageError(f"{path} is a folder of images, which have no timestamps; pass --rate (frames/s).")
    return _stretch(path, _folder(path, rate, allow_truncated), start, end)


def _stretch(path: Path, source: _Timed, start: float | None, end: float | None) -> Generator[Frame, None, None]:
    """Frames of `source` inside [start, end), counted and timed from the first of them."""
    index, first, time = 0, 0.0, 0.0
    with closing(source):
        for time, image in source:
            if end is not None and time >= end:
                break
            if start is None or time >= start:
                first = first if index else time
                yield Frame(index, time - first, image, display(image))
                index += 1
    if index == 0:
        until = "its end" if end is None else f"{end} s"
        span = f"between {start or 0.0} s and {until} (a frame is at {time:.3f} s)"
        raise InputError(f"{path} has no frame {span}; check the clip's start and end.")


def _folder(path: Path, rate: float, allow_truncated: bool) -> _Timed:
    size: tuple[int, int] | None = None
    for index, file in enumerate(image_files(path)):
        with closing(_file(file, allow_truncated)) as images:
            _, image = next(images)
        size = size or (image.width, image.height)
        _check_size(f"{file}", image, size, "resize all images to one size")
        yield index / rate, image


def _file(path: Path, allow_truncated: bool) -> _Timed:
    """Seconds from the first frame, and the frame; raises at the end of a file that is cut short."""
    with _open(path) as (container, stream):
        if _is_still(container) and not allow_truncated:
            # otherwise FFmpeg silently fills what is missing of a JPEG with grey
            stream.codec_context.options = {"err_detect": "explode"}
        tally = _Tally()
        base, origin, last = Fraction(stream.time_base or 0), 0, -math.inf
        size: tuple[int, int] | None = None
        for number, image in enumerate(_images(container, stream, tally)):
            if size is None:
                size = (image.width, image.height)
                _check_pixels(path, *size)
            _check_size(f"{path}: frame {number}", image, size, _REENCODE)
            if image.pts is None:
                raise InputError(f"{path}: frame {number} has no timestamp; {_REENCODE}.")
            origin = origin if number else image.pts
            time = (image.pts - origin) * base.numerator / base.denominator  # rounds once, as a float of the fraction
            if time <= last:
                fall = f"frame {number} is at {time:.3f} s, but the frame before it is at {last:.3f} s"
                raise InputError(f"{path}: timestamps must rise, {fall}; {_REENCODE}.")
            last = time
            yield time, image
        if tally.frames == 0:
            raise InputError(_NO_FRAME.format(path))
        fault = _fault(container, stream, tally)
        if fault and not allow_truncated:
            hint = "copy it again, or pass --allow-truncated to analyze what is there"
            raise InputError(f"{path} is {fault} could be decoded; {hint}.")


def _check_pixels(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(f"{path} has {width}x{height} pixels, expected at most {MAX_PIXELS}; make it smaller.")


def _check_size(what: str, image: av.VideoFrame, size: tuple[int, int], cure: str) -> None:
    if (image.width, image.height) != size:
        raise InputError(
            f"{what} is {image.width}x{image.height} pixels while the first is {size[0]}x{size[1]}; {cure}."
        )


@contextmanager
def _open(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first video stream; InputError where there is none."""
    if not path.exists():
        raise InputError(f"There is no file {path}; check the path.")
    try:
        with path.open("rb") as file:
            head = file.read(1024)
        if not head:
            raise InputError(f"{path} is empty (0 bytes); copy it again.")
        if not _NOT_TEXT.search(head):
            raise InputError(f"{path} is a text file; expected a video, for example .mp4 or .mov.")
        container = _demuxer(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    except (ValueError, EOFError, MemoryError, av.FFmpegError) as error:  # invalid data, or sizes beyond all memory
        fault = "is not a video or image that can be read; expected for example .mp4 or .mov"
        if head[4:8] in {b"ftyp", b"mdat", b"moov", b"wide"}:
            fault = "is cut short: the index of its frames (moov) is missing or damaged; copy it again"
        raise InputError(f"{path} {fault}.") from error
    with container:
        streams = [s for s in container.streams if not s.disposition & Disposition.attached_pic]
        stream = next((s for s in streams if isinstance(s, VideoStream)), None)
        if stream is None:
            kinds = " and ".join(sorted({s.type for s in streams})) or "nothing that can be played"
            raise InputError(f"{path} holds {kinds} but no video; expected a video.")
        if not stream.codec_context:
            raise InputError(f"{path} uses a codec that cannot be decoded; {_REENCODE}.")
        _check_pixels(path, stream.codec_context.width, stream.codec_context.height)
        # one thread: many clips run side by side, and a damaged file then fails at the same frame each time
        stream.codec_context.thread_count = 1
        yield container, stream


def _demuxer(path: Path) -> InputContainer:
    # an absolute path cannot be mistaken for a protocol ("a:b.mp4"), nor with "none" for a pattern ("a%d.png")
    name, options = str(path.absolute()), {"pattern_type": "none"}
    try:
        return av.open(name, options=options)
    except UnicodeDecodeError:  # a title or comment that is not UTF-8, and not used
        return av.open(name, options=options, metadata_encoding="latin-1")


@dataclass
class _Tally:
    """Counts of a file so far: video packets, decoded frames, damaged packets; `end` in seconds."""

    packets: int = 0
    frames: int = 0
    damaged: int = 0
    cut: bool = False
    end: float = 0.0


def _images(container: InputContainer, stream: VideoStream, tally: _Tally) -> Generator[av.VideoFrame, None, None]:
    """Every frame that can be decoded, in order of display; failures are counted in `tally`."""
    packets = container.demux(*container.streams.video, *container.streams.audio)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            packet, tally.cut = None, True
        if packet is None:
            break
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None and packet.size == 0:
            continue  # PyAV's "flush"
        if stamp is not None:
            base = packet.time_base
            tally.end = max(tally.end, (stamp + (packet.duration or 0)) * base.numerator / base.denominator)
        if packet.stream_index == stream.index:
            tally.packets += 1
            yield from _decode(stream, packet, tally)
    yield from _decode(stream, None, tally)


def _decode(stream: VideoStream, packet: Packet[Any] | None, tally: _Tally) -> Iterator[av.VideoFrame]:
    images: list[av.VideoFrame] = []
    bad = packet is not None and packet.is_corrupt  # read in part
    if packet is None or (packet.size and not bad):
        try:
            images = stream.decode(packet)
        except av.FFmpegError:
            bad = True
    if packet is not None:
        tally.cut = bad
    # a broadcast recording begins within a group of pictures: failures before the first frame are not damage
    tally.damaged += bad and tally.frames > 0
    for image in images:
        tally.frames += 1
        yield image


def _fault(container: InputContainer, stream: VideoStream, tally: _Tally) -> str | None:
    """What is wrong with a file that was read to its end: "cut short: 40 of 72 frames", or None.

    Packets are counted, not frames: an edit list or an open group of pictures may yield fewer frames than packets, but
    a complete file has all its packets. Where packets are not listed, time is compared.
    """
    mov, avi = container.format.name.startswith("mov"), container.format.name == "avi"
    samples = list(stream.index_entries) if mov else []
    playable = sum(not sample.is_discard for sample in samples) or stream.frames
    length = _declared_length(container) if container.format.name in _HEADER_HAS_LENGTH else 0.0
    if avi and stream.average_rate:
        length = float(stream.frames / stream.average_rate)
    early = tally.end < length - _LENGTH_TOLERANCE
    short = tally.cut or tally.packets < len(samples) or early
    if not short and not tally.damaged:
        return None
    total = f" of {playable}" if playable > tally.frames else ""
    span = f" ({tally.end:.2f} of {length:.2f} s)" if early else ""
    return f"{'cut short' if short else 'damaged'}: {tally.frames}{total} frames{span}"


def _is_still(container: InputContainer) -> bool:
    return container.format.name == "image2" or container.format.name.endswith("_pipe")


def _declared_length(container: InputContainer) -> float:
    return (container.duration or 0) / av.time_base
