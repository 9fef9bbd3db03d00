"""A video written anew with something drawn on it: every frame at its own time, upright, with its sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet

from duchenne import video
from duchenne.errors import InputError, OutputError, UsageError
from duchenne.io import atomic
from duchenne.types import Array

_CLOCK = Fraction(1, 90_000)  # s; 24, 25, 30 and 30000/1001 frames/s fall on whole ticks of it
_KEPT = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})  # sound that MP4 holds as it is
_WIDE = 720  # px of height from which players take untagged colours for BT.709


def redraw(
    source: str | Path,
    target: str | Path,
    draw: Callable[[video.Frame], Array],
    *,
    rate: float | None = None,
    allow_truncated: bool = False,
    on_frame: Callable[[int], None] | None = None,
) -> Path:
    """Write `source` as H.264 in MP4 with each frame replaced by what `draw` makes of it, uint8 (H, W, 3) RGB.

    Times are those of the source, variable rates included, and the sound is copied (what MP4 cannot hold becomes
    AAC). Only one frame is held. `rate` and `allow_truncated` as for `video.frames`, whose errors it raises;
    OutputError where nothing can be written, UsageError where `target` is no .mp4 or is the source itself.
    """
    target = check_target(source, target)
    with atomic(target) as part:
        try:
            with ExitStack() as stack:
                out = stack.enter_context(av.open(str(part.absolute()), "w", format="mp4"))
                frames = video.frames(source, rate=rate, allow_truncated=allow_truncated)
                _write(out, frames, draw, Path(source), stack, on_frame)
        except av.FFmpegError as error:
            raise OutputError(f"{target} cannot be written ({error}); choose another place or free space.") from error
    return target


def check_target(source: str | Path, target: str | Path) -> Path:
    """`target`, where a video may be written there; UsageError where it is no .mp4 or the source itself."""
    target = Path(target)
    if target.suffix.lower() not in {".mp4", ".m4v"}:
        raise UsageError(f"{target} would hold MP4; let its name end in .mp4.")
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise UsageError(f"{target} is the clip itself; choose another name.")
    return target


def _write(
    out: OutputContainer,
    frames: Iterator[video.Frame],
    draw: Callable[[video.Frame], Array],
    source: Path,
    stack: ExitStack,
    on_frame: Callable[[int], None] | None,
) -> None:
    stream: Any = None
    sound: Iterator[tuple[float, Packet[Any]]] = iter(())
    due: tuple[float, Packet[Any]] | None = None
    for frame in frames:
        picture = _even(draw(frame))
        if stream is None:
            stream = _stream(out, picture.shape)
            sound = _sound(source, out, stack)
            due = next(sound, None)
        while due is not None and due[0] <= frame.time:
            out.mux(due[1])
            due = next(sound, None)
        image = av.VideoFrame.from_ndarray(picture, format="rgb24")
        image = image.reformat(format="yuv420p", dst_colorspace=stream.codec_context.colorspace)
        image.pts, image.time_base = round(frame.time / _CLOCK), _CLOCK
        out.mux(stream.encode(image))
        if on_frame is not None:
            on_frame(frame.index + 1)
    while due is not None:
        out.mux(due[1])
        due = next(sound, None)
    out.mux(stream.encode(None))


def _stream(out: OutputContainer, shape: tuple[int, ...]) -> Any:
    stream: Any = out.add_stream("libx264", options={"crf": "20", "preset": "veryfast"})
    stream.height, stream.width = shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.time_base = stream.codec_context.time_base = _CLOCK
    stream.codec_context.thread_count = 1  # the same bytes on every machine
    stream.codec_context.colorspace = 1 if shape[0] >= _WIDE else 6  # ITU-T H.273: BT.709, SMPTE 170M
    return stream


def _even(picture: Array) -> Array:
    """H.264 in 4:2:0 holds even sides only: an odd one gains a repeated row or column."""
    pads = [(0, side % 2) for side in picture.shape[:2]]
    return np.pad(picture, [*pads, (0, 0)], mode="edge") if any(after for _, after in pads) else picture


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
