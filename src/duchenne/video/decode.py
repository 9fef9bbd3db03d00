"""Decode a video stream to its end, whatever is damaged, and state what is wrong with the file."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from duchenne.video.containers import Opened
from duchenne.video.timing import Stamps

#: Containers whose header holds the length of the whole recording (others estimate it from what is there).
_HEADER_HAS_LENGTH = frozenset({"flv", "matroska,webm"})
#: In a complete file a header's duration and the last packet's end agree up to rounding and one audio packet.
_LENGTH_TOLERANCE = 0.25


@dataclass
class Tally:
    """Counts of a file so far: video packets, decoded frames, damaged packets; `end` in seconds."""

    packets: int = 0
    frames: int = 0
    damaged: int = 0
    cut: bool = False
    end: float = 0.0


Images = Generator[tuple[int | None, av.VideoFrame], None, None]


def images(file: Opened, tally: Tally) -> Images:
    """(timestamp, frame) of all that can be decoded, in order of display; failures are counted in `tally`."""
    streams, stamps = file.container.streams, Stamps(counted=file.container.format.name == "avi")
    packets = demux(file.container, *streams.video, *streams.audio)
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
        if packet.stream_index == file.stream.index:
            tally.packets += 1
            yield from _decoded(file, packet, tally, stamps)
    yield from _decoded(file, None, tally, stamps)


def demux(container: InputContainer, *streams: Stream) -> Iterator[Packet[Any]]:
    """The packets of some streams of a file.

    Where another stream begins later, as the sound of an FLV or a broadcast may, PyAV fails at its first packet, which
    is passed over.
    """
    while True:
        try:
            yield from container.demux(*streams)
            return
        except IndexError:
            continue


def _decoded(file: Opened, packet: Packet[Any] | None, tally: Tally, stamps: Stamps) -> Iterator[Any]:
    found: list[av.VideoFrame] = []
    bad = packet is not None and packet.is_corrupt  # read in part
    if packet is None or (packet.size and not bad):
        if packet is not None:
            stamps.feed(packet)
        try:
            found = file.stream.decode(packet)
        except av.FFmpegError:
            bad = True
            if packet is not None:
                stamps.drop(packet)
    if packet is not None:
        tally.cut = bad
    # a broadcast recording begins within a group of pictures: failures before the first frame are not damage
    tally.damaged += bad and tally.frames > 0
    for image in found:
        tally.frames += 1
        yield stamps.of(image, reorders=bool(file.stream.codec_context.has_b_frames)), image


def fault(file: Opened, tally: Tally) -> str | None:
    """What is wrong with a file that was read to its end: "cut short: 40 of 72 frames", or None.

    Packets are counted, not frames: an edit list or an open group of pictures may yield fewer frames than packets, but
    a complete file has all its packets. Where packets are not listed, time is compared.
    """
    container, stream = file.container, file.stream
    mov, avi = container.format.name.startswith("mov"), container.format.name == "avi"
    samples = list(stream.index_entries) if mov else []
    playable = sum(not sample.is_discard for sample in samples) or stream.frames
    length = file.declared_length if container.format.name in _HEADER_HAS_LENGTH else 0.0
    if avi and stream.average_rate:
        length = float(stream.frames / stream.average_rate)
    early = tally.end < length - _LENGTH_TOLERANCE
    short = tally.cut or tally.packets < len(samples) or early
    if not short and not tally.damaged:
        return None
    total = f" of {playable}" if playable > tally.frames else ""
    span = f" ({tally.end:.2f} of {length:.2f} s)" if early else ""
    return f"{'cut short' if short else 'damaged'}: {tally.frames}{total} frames{span}"
