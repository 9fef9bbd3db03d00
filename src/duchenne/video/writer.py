"""Write video, H.264 in MP4: frames at a rate or each at its own time, or a video with something drawn on it.

A file appears only when it is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from duchenne.errors import InputError, OutputError, UsageError
from duchenne.io import atomic
from duchenne.progress import Tick
from duchenne.types import Array
from duchenne.video.containers import opened
from duchenne.video.decode import demux
from duchenne.video.frame import Frame
from duchenne.video.reader import frames
from duchenne.video.stills import is_still

_Sound = Iterator[tuple[float, "Packet[AudioStream]"]]
_TIME_BASE = Fraction(1, 90_000)  # s; frames at 24, 25, 30 and 30000/1001 per second fall on whole ticks
_MP4_AUDIO = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})  # copied as it is
_BT709_HEIGHT = 720  # px from which players assume BT.709 for untagged colours
#: For a web page: the bit rate is capped so that a minute stays under 10 MB.
_SMALL = {"crf": "26", "preset": "veryfast", "bf": "0", "g": "12", "maxrate": "1200k", "bufsize": "2400k"}


class _Encoder:
    """The frames of an MP4 of `size` (width, height) in pixels; an odd side gains a repeated column or row.

    With `reproducible` the bytes are the same on every machine, and the colours are tagged.
    """

    def __init__(
        self,
        out: OutputContainer,
        size: tuple[int, int],
        options: dict[str, str],
        *,
        rate: Fraction | int | None = None,
        time_base: Fraction = _TIME_BASE,
        reproducible: bool = False,
    ) -> None:
        self._out, self._time_base, self._colours = out, time_base, None
        self._stream: Any = out.add_stream("libx264", rate=rate, options=options)
        self._stream.width, self._stream.height = (side + side % 2 for side in size)
        self._stream.pix_fmt, self._stream.codec_context.time_base = "yuv420p", time_base
        if reproducible:
            self._colours = 1 if size[1] >= _BT709_HEIGHT else 6  # ITU-T H.273: BT.709, SMPTE 170M
            self._stream.codec_context.thread_count, self._stream.codec_context.colorspace = 1, self._colours

    def add(self, time: float, pixels: Array, pixel_format: str = "rgb24") -> None:
        """Encode uint8 (H, W, 3), shown at `time` in seconds; another size is scaled."""
        pads = [(0, side % 2) for side in pixels.shape[:2]]
        if pixel_format == "rgb24" and any(after for _, after in pads):  # H.264 in 4:2:0 needs even sides
            pixels = np.pad(pixels, [*pads, (0, 0)], mode="edge")
        image = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=pixel_format)
        image = image.reformat(self._stream.width, self._stream.height, "yuv420p", dst_colorspace=self._colours)
        image.pts, image.time_base = round(time / self._time_base), self._time_base
        self._out.mux(self._stream.encode(image))

    def close(self) -> None:
        """Encode the frames that the codec still holds."""
        self._out.mux(self._stream.encode(None))


def write(path: str | Path, images: Iterable[Array], rate: float) -> Path:
    """Write RGB frames, uint8 (H, W, 3), as H.264 in MP4 at `rate` frames/s, and return the path.

    An odd width or height gains one repeated column or row. Raises OutputError where nothing can be written,
    UsageError for an invalid rate or file ending.
    """
    path = Path(path)
    if not 0.001 <= rate <= 1000:
        raise UsageError(f"A video needs 0.001 to 1000 frames per second, found {rate}; change the rate.")
    _check_name(path)
    exact = Fraction(rate).limit_denominator(1001)
    with _mp4(path) as out:
        encoder: _Encoder | None = None
        shape: tuple[int, ...] = ()
        for number, pixels in enumerate(images):
            shape = shape or pixels.shape
            if pixels.shape != shape or pixels.ndim != 3 or pixels.dtype != np.uint8:
                found = f"{pixels.dtype} {pixels.shape}"
                raise OutputError(f"{path}: frame {number} is {found}, expected uint8 (H, W, 3) of one size.")
            encoder = encoder or _Encoder(out, (shape[1], shape[0]), {"crf": "18"}, rate=exact, time_base=1 / exact)
            encoder.add(float(number / exact), pixels)
        if encoder is None:
            raise OutputError(f"{path} would be empty: there is no frame to write.")
        encoder.close()
    return path


def encode(images: Iterable[tuple[float, Array]], size: tuple[int, int]) -> bytes:
    """A small MP4 in memory of (seconds, uint8 (H, W, 3) BGR) in order of time, from the first on; b"" without any.

    Every frame is scaled to `size`, an even (width, height) in pixels, and shown at its own time.
    """
    encoder, first, memory = None, 0.0, BytesIO()
    with av.open(memory, "w", format="mp4") as out:
        for time, pixels in images:
            if encoder is None:
                encoder, first = _Encoder(out, size, _SMALL, rate=30), time
            encoder.add(time - first, pixels, "bgr24")
        if encoder is None:
            return b""
        encoder.close()
    return memory.getvalue()


def redraw(
    source: str | Path,
    target: str | Path,
    draw: Callable[[Frame], Array],
    *,
    rate: float | None = None,
    allow_truncated: bool = False,
    on_frame: Tick | None = None,
) -> Path:
    """Write `source` as H.264 in MP4 with each frame replaced by the result of `draw`, uint8 (H, W, 3) RGB.

    Times are those of the source, variable rates included, and the sound is copied (as AAC where MP4 cannot hold it).
    One frame is in memory. `rate` and `allow_truncated` as for `video.frames`, whose errors it raises; OutputError
    where nothing can be written, UsageError where `target` is not an .mp4 or is the source itself.
    """
    target = check_target(source, target)
    with _mp4(target) as out, ExitStack() as stack:
        encoder: _Encoder | None = None
        sound: _Sound = iter(())
        packet = None
        for frame in frames(source, rate=rate, allow_truncated=allow_truncated):
            pixels = draw(frame)
            if encoder is None:
                encoder = _Encoder(out, pixels.shape[1::-1], {"crf": "20", "preset": "veryfast"}, reproducible=True)
                sound = _sound(Path(source), out, stack)
                packet = next(sound, None)
            while packet is not None and packet[0] <= frame.time:
                out.mux(packet[1])
                packet = next(sound, None)
            encoder.add(frame.time, pixels)
            if on_frame is not None:
                on_frame(frame.index + 1)
        for _, rest in [] if packet is None else chain([packet], sound):
            out.mux(rest)
        if encoder is not None:
            encoder.close()
    return target


def check_target(source: str | Path, target: str | Path) -> Path:
    """`target`, if a video may be written there; UsageError where it is not an .mp4 or is the source itself."""
    target = Path(target)
    _check_name(target)
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise UsageError(f"{target} is the clip itself; choose another name.")
    return target


def _check_name(target: Path) -> None:
    if target.suffix.lower() not in {".mp4", ".m4v"}:
        raise UsageError(f"{target}: the video is written as MP4; use a name that ends in .mp4.")


@contextmanager
def _mp4(target: Path) -> Iterator[OutputContainer]:
    """An MP4 that replaces `target` when it is complete; OutputError where it cannot be written."""
    with atomic(target) as part:
        try:
            with av.open(str(part.absolute()), "w", format="mp4") as out:
                yield out
        except av.FFmpegError as error:
            raise OutputError(f"{target} cannot be written ({error}); choose another folder or free space.") from error


def _sound(source: Path, out: OutputContainer, stack: ExitStack) -> _Sound:
    """(seconds from the first frame, packet for `out`) of a file's first audio; its stream is added at once."""
    if is_still(source):
        return iter(())
    file = stack.enter_context(opened(source))
    container, video = file.container, file.stream
    if not container.streams.audio or not file.timed:
        return iter(())
    stream = container.streams.audio[0]
    begin = float((video.start_time or 0) * (video.time_base or 0))
    codec = stream.codec_context
    if codec.name in _MP4_AUDIO:
        return _copied(container, stream, out.add_stream_from_template(stream), begin)
    resampler = av.AudioResampler("fltp", "mono" if codec.channels == 1 else "stereo", codec.sample_rate)
    target = out.add_stream("aac", rate=codec.sample_rate, layout=resampler.layout.name)
    return _recoded(container, stream, target, begin, resampler)


def _copied(container: InputContainer, stream: AudioStream, target: AudioStream, begin: float) -> _Sound:
    for packet in demux(container, stream):
        if packet.dts is None or packet.pts is None:
            continue
        time = float(packet.pts * packet.time_base) - begin
        if time + float((packet.duration or 0) * packet.time_base) <= 0:
            continue  # before the first frame
        shift = round(Fraction(begin) / packet.time_base)
        packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, target
        yield time, packet


def _recoded(
    container: InputContainer, stream: AudioStream, target: AudioStream, begin: float, resampler: av.AudioResampler
) -> _Sound:
    decoded = (sound for packet in demux(container, stream) for sound in stream.decode(packet))
    while True:
        try:
            sound = next(decoded, None)
        except av.FFmpegError as error:
            raise InputError(f"The sound of {container.name} is damaged ({error}); re-encode the clip.") from error
        for part in resampler.resample(sound):
            if (part.time or 0) - begin > -part.samples / part.sample_rate:
                yield from _packets(target, _after(part, begin))
        if sound is None:
            yield from _packets(target, None)
            return


def _packets(target: AudioStream, sound: av.AudioFrame | None) -> _Sound:
    for packet in target.encode(sound):
        yield float((packet.pts or 0) * packet.time_base), packet


def _after(sound: av.AudioFrame, begin: float) -> av.AudioFrame:
    """The part of a piece of sound (planar floats) after `begin` seconds, which become its zero."""
    start = round(((sound.time or 0) - begin) * sound.sample_rate)
    skipped = max(0, -start)
    part = av.AudioFrame.from_ndarray(sound.to_ndarray()[:, skipped:], "fltp", sound.layout.name)
    part.sample_rate, part.time_base = sound.sample_rate, Fraction(1, sound.sample_rate)
    part.pts = start + skipped
    return part
