"""What image files declare about themselves, read without decoding, so that endless ones are refused at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import BinaryIO, Literal

#: The next marker in the compressed part of a JPEG, where FF 00 is a level and FF D0 to FF D7 are restarts.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_MOST_BLOCKS = 1000  # of metadata and tables: cameras write some ten, a colour profile at most 255
_MOST_SCANS = 100  # encoders write some ten, and each is as much work as a whole image


@dataclass
class Jpeg:
    """What the segments of a JPEG say.

    sequential  stored row by row: one in several scans is decoded completely before its size is reduced
    complete    it ends as it should
    followed    another JPEG comes after it, as in a raw stream of a camera
    excess      what there is too much of, "" if nothing
    """

    sequential: bool = False
    complete: bool = False
    followed: bool = False
    excess: str = ""


def jpeg(file: BinaryIO) -> Jpeg:
    """The structure of a JPEG file; its damage is left to the decoder."""
    file.seek(0)
    data, out = file.read(), Jpeg()
    at, components, scans, blocks, linked = 2, 0, 0, 0, False
    while found := _MARKER.search(data, at):
        at = found.start()
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xD9:
            out.complete = True
            # further views of one photo (MPO) are linked by the first
            out.followed = not linked and data[at + 2 : at + 66].lstrip(b"\0").startswith(b"\xff\xd8\xff")
            break
        if marker == 0xDA:
            scans += 1
            out.sequential = scans == 1 and data[at + 4 : at + 5] == bytes([components])
        elif marker in (0xC0, 0xC1):  # frame header, sequential coding
            components = data[at + 9] if at + 9 < len(data) else 0
        blocks += marker != 0xDA
        linked = linked or data[at + 4 : at + 8] == b"MPF\0"
        if blocks > _MOST_BLOCKS or scans > _MOST_SCANS:
            out.excess = f"{_MOST_BLOCKS} blocks of metadata" if scans <= _MOST_SCANS else f"{_MOST_SCANS} scans"
            break
        at += 2 + length
    return out


def gif_frames(file: BinaryIO, most: int) -> int:
    """The number of images in a GIF, at most one more than `most`."""
    file.seek(6)
    screen = file.read(7)
    file.seek(_colours(screen[4]) if len(screen) == 7 else 0, 1)
    count = 0
    while count <= most and (kind := file.read(1)) in {b",", b"!"}:
        head = file.read(9 if kind == b"," else 1)
        if kind == b",":
            if len(head) < 9:
                break
            count += 1
            file.seek(_colours(head[8]) + 1, 1)
        while size := file.read(1):
            if size == b"\0":
                break
            file.seek(size[0], 1)
    return count


def _colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def tiff_pages(file: BinaryIO, most: int) -> int:
    """The number of pages of a TIFF, at most one more than `most`; pages that lead back to an earlier one end it."""
    file.seek(0)
    head = file.read(16)
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    big = 43 in head[2:4]
    wide, count, entry = (8, 8, 20) if big else (4, 2, 12)  # bytes of an offset, of the number of entries, of each

    def number(data: bytes) -> int:
        return int.from_bytes(data, order)

    at, seen = number(head[8:16] if big else head[4:8]), set[int]()
    while at and at not in seen and len(seen) <= most:
        file.seek(at)
        entries = file.read(count)
        if len(entries) < count:
            break
        seen.add(at)
        try:
            file.seek(at + count + entry * number(entries))
        except (OSError, OverflowError, ValueError):
            break
        at = number(file.read(wide))
    return len(seen)
