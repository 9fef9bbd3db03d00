"""Video out, H.264 in MP4: pictures at a rate or each at its own time, or a video with something drawn on it.

A file appears only when it is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet

from duchenne.errors import InputError, OutputError, UsageError
from duchenne.io import atomic
from duchenne.progress import Tick
from duchenne.types import Array
from duchenne.video.reader import Frame, frames

_CLOCK = Fraction(1, 90_000)  # s; 24, 25, 30 and 30000/1001 frames/s fall on whole ticks of it
_KEPT = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})  # sound that MP4 holds as it is
_WIDE = 720  # px of height from which players take untagged colours for BT.709
#: For a page: a busy film is held to a rate at which a minute stays under 10 MB.
_SMALL = {"crf": "26", "preset": "veryfast", "bf": "0", "g": "12", "maxrate": "1200k", "bufsize": "2400k"}


class _Encoder:
    """The pictures of an MP4, (width, height) in pixels; an odd side gains a repeated column or row.

    `clock` is the seconds of a tick. With `same` the bytes are the same on every machine, and the colours are tagged.
    """

    def __init__(
        self,
        out: OutputContainer,
        size: tuple[int, int],
        options: dict[str, str],
        *,
        rate: Fraction | int | None = None,
        clock: Fraction = _CLOCK,
        same: bool = False,
    ) -> None:
        self._out, self._clock, self._colours = out, clock, None
        self._stream: Any = out.add_stream("libx264", rate=rate, options=options)
        self._stream.width, self._stream.height = (side + side % 2 for side in size)
        self._stream.pix_fmt, self._stream.codec_context.time_base = "yuv420p", clock
        if same:
            self._colours = 1 if size[1] >= _WIDE else 6  # ITU-T H.273: BT.709, SMPTE 170M
            self._stream.codec_context.thread_count, self._stream.codec_context.colorspace = 1, self._colours

    def add(self, time: float, picture: Array, form: str = "rgb24") -> None:
        """Encode uint8 (H, W, 3), shown at `time` in seconds; another size is scaled."""
        pads = [(0, side % 2) for side in picture.shape[:2]]
        if form == "rgb24" and any(after for _, after in pads):  # H.264 in 4:2:0 holds even sides only
            picture = np.pad(picture, [*pads, (0, 0)], mode="edge")
        image = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=form)
        image = image.reformat(self._stream.width, self._stream.height, "yuv420p", dst_colorspace=self._colours)
        image.pts, image.time_base = round(time / self._clock), self._clock
        self._out.mux(self._stream.encode(image))

    def close(self) -> None:
        """Encode what the codec still waits with."""
        self._out.mux(self._stream.encode(None))


def write(path: str | Path, images: Iterable[Array], rate: float) -> Path:
    """Write RGB pictures, uint8 (H, W, 3), as H.264 in MP4 at `rate` frames/s, and return the path.

    The file appears only when it is complete. An odd width or height gains one repeated column or row.
    Raises OutputError where nothing can be written, UsageError for a rate or file ending that makes no sense.
    """
    path = Path(path)
    if not 0.001 <= rate <= 1000:
        raise UsageError(f"A video needs 0.001 to 1000 frames per second, not {rate}.")
    _check_name(path)
    exact = Fraction(rate).limit_denominator(1001)
    with _mp4(path) as out:
        encoder: _Encoder | None = None
        shape: tuple[int, ...] = ()
        for number, picture in enumerate(images):
            shape = shape or picture.shape
            if picture.shape != shape or picture.ndim != 3 or picture.dtype != np.uint8:
                found = f"{picture.dtype} {picture.shape}"
                raise OutputError(f"{path}: picture {number} is {found}, expected uint8 (H, W, 3) of one size.")
            encoder = encoder or _Encoder(out, (shape[1], shape[0]), {"crf": "18"}, rate=exact, clock=1 / exact)
            encoder.add(float(number / exact), picture)
        if encoder is None:
            raise OutputError(f"{path} would be empty: there is no picture to write.")
        encoder.close()
    return path


def encode(pictures: Iterable[tuple[float, Array]], size: tuple[int, int]) -> bytes:
    """A small MP4 in memory of (seconds, uint8 (H, W, 3) BGR) in order of time, from the first on; b"" without any.

    Every picture is scaled to `size`, an even (width, height) in pixels, and shown at its own time.
    """
    encoder, first, memory = None, 0.0, BytesIO()
    with av.open(memory, "w", format="mp4") as out:
        for time, picture in pictures:
            if encoder is None:
                encoder, first = _Encoder(out, size, _SMALL, rate=30), time
            encoder.add(time - first, picture, "bgr24")
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
    """Write `source` as H.264 in MP4 with each frame replaced by what `draw` makes of it, uint8 (H, W, 3) RGB.

    Times are those of the source, variable rates included, and the sound is copied (what MP4 cannot hold becomes
    AAC). Only one frame is held. `rate` and `allow_truncated` as for `video.frames`, whose errors it raises;
    OutputError where nothing can be written, UsageError where `target` is no .mp4 or is the source itself.
    """
    target = check_target(source, target)
    with _mp4(target) as out, ExitStack() as stack:
        encoder: _Encoder | None = None
        sound: Iterator[tuple[float, Packet[Any]]] = iter(())
        due: tuple[float, Packet[Any]] | None = None
        for frame in frames(source, rate=rate, allow_truncated=allow_truncated):
            picture = draw(frame)
            if encoder is None:
                encoder = _Encoder(out, picture.shape[1::-1], {"crf": "20", "preset": "veryfast"}, same=True)
                sound = _sound(Path(source), out, stack)
                due = next(sound, None)
            while due is not None and due[0] <= frame.time:
                out.mux(due[1])
                due = next(sound, None)
            encoder.add(frame.time, picture)
            if on_frame is not None:
                on_frame(frame.index + 1)
        while due is not None:
            out.mux(due[1])
            due = next(sound, None)
        if encoder is not None:
            encoder.close()
    return target


def check_target(source: str | Path, target: str | Path) -> Path:
    """`target`, where a video may be written there; UsageError where it is no .mp4 or the source itself."""
    target = Path(target)
    _check_name(target)
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise UsageError(f"{target} is the clip itself; choose another name.")
    return target


def _check_name(target: Path) -> None:
    if target.suffix.lower() not in {".mp4", ".m4v"}:
        raise UsageError(f"{target} would hold MP4; let its name end in .mp4.")


@contextmanager
def _mp4(target: Path) -> Iterator[OutputContainer]:
    """An MP4 that takes the place of `target` when it is whole; OutputError where it cannot be written."""
    with atomic(target) as part:
        try:
            with av.open(str(part.absolute()), "w", format="mp4") as out:
                yield out
        except av.FFmpegError as error:
            raise OutputError(f"{target} cannot be written ({error}); choose another place or free space.") from error


def _sound(source: Path, out: OutputContainer, stack: ExitStack) -> Iterator[tuple[float, Packet[Any]]]:
    """(seconds from the first picture, packet for `out`) of the first sound of a file; the stream is made at once."""
    if source.is_dir():
        return iter(())
    container = stack.enter_context(av.open(str(source.absolute()), metadata_encoding="latin-1"))
    if not container.streams.audio:
        return iter(())
    stream, pictures = container.streams.audio[0], container.streams.video[0]
    begin = float((pictures.start_time or 0) * (pictures.time_base or 0))
    name = stream.codec_context.name
    if name in _KEPT:
        made: Any = out.add_stream_from_template(stream)
        return _copied(container, stream, made, begin)
    channels = stream.codec_context.channels
    form = av.AudioResampler("fltp", "mono" if channels == 1 else "stereo", stream.codec_context.sample_rate)
    made = out.add_stream("aac", rate=stream.codec_context.sample_rate, layout=form.layout.name)
    return _recoded(container, stream, made, begin, form)


def _copied(container: Any, stream: Any, made: Any, begin: float) -> Iterator[tuple[float, Packet[Any]]]:
    for packet in container.demux(stream):
        if packet.dts is None or packet.pts is None:
            continue
        time = float(packet.pts * packet.time_base) - begin
        if time + float((packet.duration or 0) * packet.time_base) <= 0:
            continue  # before the first picture
        shift = round(Fraction(begin) / packet.time_base)
        packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, made
        yield time, packet


def _recoded(container: Any, stream: Any, made: Any, begin: float, form: Any) -> Iterator[tuple[float, Packet[Any]]]:
    sounds = container.decode(stream)
    while True:
        try:
            sound = next(sounds, None)
        except av.FFmpegError as error:
            raise InputError(f"The sound of {container.name} is damaged ({error}); re-encode the clip.") from error
        parts = [part for part in form.resample(sound) if part.time - begin > -part.samples / part.sample_rate]
        for part in (*(_after(part, begin) for part in parts), *([None] if sound is None else [])):
            for packet in made.encode(part):
                yield float(packet.pts * packet.time_base), packet
        if sound is None:
            return


def _after(sound: Any, begin: float) -> Any:
    """What of a piece of sound (planar floats) lies after `begin` seconds, which become its zero."""
    early = max(0, -round((sound.time - begin) * sound.sample_rate))
    kept = av.AudioFrame.from_ndarray(sound.to_ndarray()[:, early:], "fltp", sound.layout.name)
    kept.sample_rate, kept.time_base = sound.sample_rate, Fraction(1, sound.sample_rate)
    kept.pts = round((sound.time - begin) * sound.sample_rate) + early
    return kept
