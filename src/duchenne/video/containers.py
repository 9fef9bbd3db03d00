"""Open a video file: only containers that hold their own frames, and the video stream that is meant.

FFmpeg also reads playlists, lists of files, image patterns, descriptions of network streams and devices, whatever a
file is called, and these open other files. Its lists of allowed demuxers and protocols hold before a demuxer reads
anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from duchenne.errors import InputError

#: Demuxers of containers that hold their own frames.
_CONTAINERS = """
    asf asf_o avi cine dv flv gxf ivf live_flv matroska mov mpeg mpegts mxf nut ogg rm vc1test wtv yuv4mpegpipe
"""
#: Demuxers of bare streams, which store no times.
_STREAMS = "av1 cavsvideo dirac dnxhd evc h261 h263 h264 hevc m4v mjpeg mjpeg_2000 mpjpeg mpegvideo obu vc1 vvc"
#: File extensions of bare streams.
_SUFFIXES = (
    "264 265 266 avc av1 cavs dnxhd drc h261 h263 h264 h265 h266 h26l hevc jvc m1v m2v mjpeg mjpg mpv obu vc1 vvc"
)
STREAM_SUFFIXES = frozenset(f".{ending}" for ending in _SUFFIXES.split())
#: Twice 8K; a few kilobytes can declare four times as many, which take a gigabyte and seconds per frame.
MAX_PIXELS = 2**26
_OPTIONS = {
    "format_whitelist": ",".join(f"{_CONTAINERS} {_STREAMS}".split()),
    "protocol_whitelist": "file",
    "max_pixels": str(MAX_PIXELS),
}
_TEXT = re.compile(rb"[\t-\r\x1b -\xff]+")
_LISTS = re.compile(rb"#EXTM3U|ffconcat version|<MPD|\[playlist\]|\[InternetShortcut\]|v=0\r?\n", re.IGNORECASE)
#: Tags with the rate of recording: Android's and others'.
_CAPTURE_TAG = re.compile(r"(.*[._ -])?capture[._ -]?(fps|(frame[._ -]?)?rate)", re.IGNORECASE)
_PASSED_OVER = Disposition.timed_thumbnails | Disposition.still_image | Disposition.metadata
_REENCODE = "re-encode it (for example: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4)"
#: Pixels that are wider or higher are damage; films are squeezed by 2, and television by less.
_WIDEST = 8
_SLOW = 1.1  # times; clocks and rounded rates differ by less


@dataclass(frozen=True)
class Opened:
    """An open file; `timed` is False where it stores no times; `notes` are sentences on what it declares.

    fixed_aspect  width of a pixel / its height according to the container; None: the codec decides
    """

    container: InputContainer
    stream: VideoStream
    timed: bool
    notes: tuple[str, ...]
    fixed_aspect: Fraction | None

    @property
    def aspect(self) -> Fraction | None:
        """Width of a pixel / its height now; None where it is not declared or absurd."""
        found = self.fixed_aspect or self.stream.codec_context.sample_aspect_ratio
        return found if found and 1 / _WIDEST <= found <= _WIDEST else None

    @property
    def declared_length(self) -> float:
        """Seconds according to the container; 0 where it does not declare them."""
        return (self.container.duration or 0) / av.time_base

    @property
    def step(self) -> float:
        """Seconds between frames on average."""
        return float(1 / self.stream.average_rate) if self.stream.average_rate else float(self.stream.time_base or 0)


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """A file and the video stream that is read; InputError where there is none."""
    try:
        if not path.exists():
            raise InputError(f"There is no file {path}; check the path.")
        if not path.is_file():
            raise InputError(f"{path} is not a regular file; expected a video, for example .mp4 or .mov.")
        with path.open("rb") as file:
            head = file.read(1024)
        if not head:
            raise InputError(f"{path} is empty (0 bytes); copy it again.")
        container = demuxer(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    except (ValueError, EOFError, MemoryError, av.FFmpegError) as error:  # invalid data, or sizes beyond all memory
        raise InputError(f"{path} {_fault(head)}.") from error
    with container:
        stream, chosen = _choose(path, container)
        codec = stream.codec_context
        check_pixels(path, codec.width, codec.height)
        codec.options = {"max_pixels": str(MAX_PIXELS)}
        # one thread: many clips run side by side, and a damaged file then fails at the same frame each time
        codec.thread_count = 1
        declared = stream.sample_aspect_ratio
        fixed = None if declared == codec.sample_aspect_ratio else declared
        if declared and not 1 / _WIDEST <= declared <= _WIDEST:
            chosen += (f"The file declares pixels of {declared}:1; they were taken as square.",)
        yield Opened(container, stream, _is_timed(container, head), (*chosen, *_speed(container, stream)), fixed)


def demuxer(path: Path) -> InputContainer:
    """A file in FFmpeg, if it is of an allowed kind; raises FFmpeg's errors."""
    # an absolute path cannot be mistaken for a protocol ("a:b.mp4")
    name = str(path.absolute())
    try:
        return av.open(name, options=_OPTIONS)
    except UnicodeDecodeError:  # a title or comment that is not UTF-8, and not used
        return av.open(name, options=_OPTIONS, metadata_encoding="latin-1")


def is_timed(path: Path) -> bool:
    """Whether a file stores the times of its frames; InputError where it cannot be read."""
    with opened(path) as file:
        return file.timed


def check_pixels(path: Path, width: int, height: int) -> None:
    """InputError for frames that would need too much memory."""
    if width * height > MAX_PIXELS:
        raise InputError(f"{path} has {width}x{height} pixels, expected at most {MAX_PIXELS}; make it smaller.")


def _fault(head: bytes) -> str:
    """Why a file that begins like this cannot be opened."""
    if _LISTS.search(head):
        return "lists other files instead of holding frames; name the video itself"
    if _TEXT.fullmatch(head):
        return "is a text file; expected a video, for example .mp4 or .mov (a table of clips goes to --manifest)"
    if head[4:8] in {b"ftyp", b"mdat", b"moov", b"wide"}:
        return "is cut short: the index of its frames (moov) is missing or damaged; copy it again"
    return "is not a video or image that can be read; expected for example .mp4 or .mov"


def _choose(path: Path, container: InputContainer) -> tuple[VideoStream, tuple[str, ...]]:
    """The largest video stream, of equal ones the default; a note where there are others."""
    shown = [s for s in container.streams if not s.disposition & Disposition.attached_pic]
    videos = [s for s in shown if isinstance(s, VideoStream)]
    videos = [s for s in videos if not s.disposition & _PASSED_OVER] or videos
    if not videos:
        kinds = " and ".join(sorted({s.type for s in shown})) or "nothing that can be played"
        raise InputError(f"{path} holds {kinds} but no video; expected a video.")
    known = [s for s in videos if s.codec_context]
    if not known:
        raise InputError(f"{path} uses a codec that cannot be decoded; {_REENCODE}.")
    stream = max(known, key=lambda s: (s.width * s.height, bool(s.disposition & Disposition.default)))
    if len(videos) == 1:
        return stream, ()
    sizes = ", ".join(f"{_size(s)} (stream {s.index})" for s in videos[:8])
    more = ", …" if len(videos) > 8 else ""
    read = f"stream {stream.index}, the largest, was read"
    return stream, (f"The file holds {len(videos)} video streams, {sizes}{more}; {read}.",)


def _size(stream: VideoStream) -> str:
    return f"{stream.width}x{stream.height}" if stream.codec_context else "an unknown codec"


def _is_timed(container: InputContainer, head: bytes) -> bool:
    name = container.format.name
    if name == "yuv4mpegpipe":  # FFmpeg invents 25/s for an unknown rate
        return bool(re.match(rb"[^\n]* F0*[1-9]\d*:0*[1-9]", head))
    return name not in _STREAMS.split()


def _speed(container: InputContainer, stream: VideoStream) -> tuple[str, ...]:
    """A note where a file was recorded at another rate than it plays at: slow motion, or a time lapse."""
    plays = float(stream.average_rate or 0)
    for tag, value in [*container.metadata.items(), *stream.metadata.items()]:
        if not plays or not _CAPTURE_TAG.fullmatch(tag):
            continue
        number = re.match(r"\s*(\d{1,9}(?:\.\d+)?)(?:/(\d{1,9}))?", value)
        filmed = float(number[1]) / float(number[2] or 1) if number and float(number[2] or 1) else 0.0
        if filmed and not 1 / _SLOW <= filmed / plays <= _SLOW:
            times = f"{filmed / plays:.3g} times slower" if filmed > plays else f"{plays / filmed:.3g} times faster"
            rates = f"recorded at {filmed:.4g} frames/s and plays at {plays:.4g}"
            return (f"The video was {rates}, {times} than life; all times and speeds are off by this factor.",)
    return ()
