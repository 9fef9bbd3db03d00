"""Which timestamp belongs to which frame: stamps in the order of decoding, missing ones, equal ones."""

from __future__ import annotations

import heapq
import math
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

import av
from av.packet import Packet

from duchenne.errors import InputError

#: Most frames that share a timestamp, as frames at 10,000/s in a container that counts milliseconds; all are in memory.
MOST_EQUAL = 16

#: What to do about a clip without times.
GIVE_RATE = "pass --rate (frames/s), or give it in the column rate of a manifest"

T = TypeVar("T")


class Stamps:
    """The timestamps of frames in units of their stream's time base.

    AVI counts packets in the order of the file, and some writers of other containers do the same: of a codec that
    reorders frames, the first frame shown has the earliest of these stamps, not its own packet's. Stamps that fall in
    the order of the file are those of presentation, and each frame has its own.
    """

    def __init__(self, *, counted: bool) -> None:
        self._counted = counted  # presentation stamps are invented
        self._presented = False
        self._last = -math.inf
        self._waiting: list[int] = []

    def feed(self, packet: Packet[Any]) -> None:
        """A packet before it is decoded."""
        stamp = packet.dts if self._counted or packet.pts is None else packet.pts
        if stamp is None:
            return
        if self._counted or packet.pts is None:
            packet.pts = stamp
        if stamp < self._last:
            self._presented = True
            self._waiting.clear()
        self._last = stamp
        if not self._presented and not packet.is_discard:
            heapq.heappush(self._waiting, stamp)

    def drop(self, packet: Packet[Any]) -> None:
        """A packet that cannot be decoded."""
        if packet.pts in self._waiting:
            self._waiting.remove(packet.pts)
            heapq.heapify(self._waiting)

    def of(self, image: av.VideoFrame, *, reorders: bool) -> int | None:
        """The timestamp of the next frame shown; None where there is none."""
        own = image.dts if image.pts is None else image.pts
        if own is None or self._presented:
            return own
        while image.key_frame and self._waiting and self._waiting[0] < own:
            heapq.heappop(self._waiting)  # of packets that gave no frame
        first = heapq.heappop(self._waiting) if self._waiting else own
        return first if reorders else own


def spread(stamped: Iterator[tuple[float, T]], step: float) -> Generator[tuple[float, T], None, None]:
    """Give frames of one time each its own: evenly up to the next frame's, at most `step` seconds apart.

    The last ones are as far apart as those before them. What `stamped` raises is raised after the frames before it.
    """
    run: list[tuple[float, T]] = []
    fault: InputError | None = None
    before = step
    try:
        for time, image in stamped:
            if run and time != run[0][0]:
                yield from _apart(run, time, step)
                before, run = min(step, (time - run[0][0]) / len(run)), []
            run.append((time, image))
    except InputError as error:
        fault = error
    yield from _apart(run, math.inf, before)
    if fault is not None:
        raise fault


def _apart(run: list[tuple[float, T]], following: float, step: float) -> Iterator[tuple[float, T]]:
    for number, (time, image) in enumerate(run):
        yield time + number * min(step, (following - time) / len(run)), image
