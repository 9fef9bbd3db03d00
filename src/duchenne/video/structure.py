"""What image files declare about themselves, read without decoding, so that endless ones are refused at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import BinaryIO, Literal

#: The next marker in the compressed part of a JPEG, where FF 00 is a level and FF D0 to FF D7 are restarts.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_FIRST, _MOST = 1 << 24, 1 << 29  # bytes of a file that are read: most images, and all
_MOST_METADATA = 20 << 20  # bytes of a JPEG before its picture: a colour profile has at most 17 million
_MOST_CHUNKS = 100_000  # of a PNG: 512 MB in pieces of 8 kB are 64,000
_MOST_BLOCKS = 1000  # of metadata and tables: cameras write some ten, a colour profile at most 255
_MOST_SCANS, _MOST_SCANNED = 100, 1 << 30  # and pixels in all: each is as much work as a whole image
_REDUCED = 0b101  # kinds of TIFF pages that are no image of their own: reduced ones, masks


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
    """The structure of a JPEG file; its damage is left to the decoder. Of a stream of JPEGs, which may have any length,
    only the beginning is read."""
    file.seek(0)
    data = file.read(_FIRST)
    found = _jpeg(data)
    return found if found.followed or found.excess or len(data) < _FIRST else _jpeg(data + file.read(_MOST))


def _jpeg(data: bytes) -> Jpeg:
    out = Jpeg()
    at, components, pixels, scans, blocks, linked = 2, 0, 0, 0, 0, False
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
            if scans == 1 and at > _MOST_METADATA:
                out.excess = f"{_MOST_METADATA >> 20} MB of metadata"
                break
            out.sequential = scans == 1 and data[at + 4 : at + 5] == bytes([components])
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # frame header
            pixels = int.from_bytes(data[at + 5 : at + 7], "big") * int.from_bytes(data[at + 7 : at + 9], "big")
            components = data[at + 9] if marker < 0xC2 and at + 9 < len(data) else 0  # 0: not sequential
        blocks += marker != 0xDA
        linked = linked or data[at + 4 : at + 8] == b"MPF\0"
        if blocks > _MOST_BLOCKS or scans > _MOST_SCANS or (scans > 1 and scans * pixels > _MOST_SCANNED):
            out.excess = f"{_MOST_BLOCKS} blocks of metadata" if blocks > _MOST_BLOCKS else f"{scans - 1} scans"
            break
        at += 2 + length
    return out


def png_excess(file: BinaryIO) -> str:
    """What there is too much of in a PNG, "" if nothing."""
    file.seek(8)
    for _ in range(_MOST_CHUNKS):
        if len(head := file.read(8)) < 8:
            return ""
        file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    return f"{_MOST_CHUNKS} chunks"


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


def tiff_pages(file: BinaryIO, most: int) -> list[int]:
    """The pages of a TIFF that are images of their own, neither masks nor reduced ones; of `most` and one more pages.

    Pages that lead back to an earlier one end it.
    """
    file.seek(0)
    head = file.read(16)
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    big = 43 in head[2:4]
    wide, count, entry = (8, 8, 20) if big else (4, 2, 12)  # bytes of an offset, of the number of entries, of each

    def number(data: bytes) -> int:
        return int.from_bytes(data, order)

    at, seen, whole = number(head[8:16] if big else head[4:8]), set[int](), []
    while at and at not in seen and len(seen) <= most:
        try:
            file.seek(at)
            first = file.read(count + 2 * entry)
            file.seek(at + count + entry * number(first[:count]))
        except (OSError, OverflowError, ValueError):
            break
        if len(first) < count:
            break
        # entries are in order of their tags, and these are the lowest: kind (bits), old kind (a number)
        tags = {number(first[k : k + 2]): number(first[k + entry - wide :][:2]) for k in (count, count + entry)}
        if not (tags.get(254, 0) & _REDUCED or tags.get(255) == 2):
            whole.append(len(seen))
        seen.add(at)
        at = number(file.read(wide))
    return whole
