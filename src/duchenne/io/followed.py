"""Tracked faces in blocks of finished rows, and the file that stores them, in constant memory for any video length.

The file is a ZIP archive without pickle (CRC-32 per member, index at the end, so that truncation is noticed at once).
Block `i` holds little-endian arrays named `i/<field>`: R rows of seen faces in T frames, L of them with a crop:

time        float64 (T,)         s from clip start, of every decoded frame
frame       int64 (R,)           from 0, within the clip     confidence  float32 (R,)
face        int32 (R,)           from 0, first seen first    box         float32 (R, 4)  x0 y0 x1 y1
points      float32 (R, 68, 2)   pixels                      looked      int64 (L,)      which of the rows have crops
crops       uint8 (L, S, S)          change      float32 (R,)    grey levels, see `types.FaceTrack`
of a mesh reader also coefficients float32 (R, 52), pose float32 (R, 3), doubt float32 (R,) and, if it was asked for,
mesh float32 (R, 478, 3). `end` is JSON: format, version, blocks, fields, side (S), looks, frame_size, cuts (s), and per
face sharpness, light (null = unknown) and history.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from duchenne.errors import InputError
from duchenne.io.bounded import check_members, parse_json
from duchenne.types import EXTRA, Array, FaceTrack, Json, Light

_FORMAT, _VERSION = "duchenne-followed", 3
_MOST_FACES = 10_000
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes whenever it is written
_FIELDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "time": ("<f8", ()),
    "frame": ("<i8", ()),
    "face": ("<i4", ()),
    "points": ("<f4", (68, 2)),
    "confidence": ("<f4", ()),
    "box": ("<f4", (4,)),
    "change": ("<f4", ()),
    "looked": ("<i8", ()),
}
_MESH = {name: ("<f4", shape) for name, shape in EXTRA.items() if name not in _FIELDS}
#: One item per seen face and frame.
_ROWS = tuple(name for name in (*_FIELDS, *_MESH) if name not in ("time", "looked"))


@dataclass(frozen=True)
class End:
    """What is known of a clip only after its last frame; one item of `sharpness`, `light` and `history` per face.

    frame_size  (width, height) in pixels      looks  whether crops were requested
    sharpness   see `faces.Followed`; NaN where it could not be measured
    light       None where it could not be measured
    cuts        seconds at which the scene changes
    """

    frame_size: tuple[int, int]
    sharpness: tuple[float, ...]
    light: tuple[Light | None, ...]
    history: tuple[str, ...]
    looks: bool
    cuts: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Block:
    """The final rows of the frames `first` to `first + T - 1`: one per frame and face seen in it.

    Arrays as in the module's docstring. `crops` is None where they were dropped, `coefficients`, `pose`, `mesh`
    and `doubt` where the reader has none; only a clip's last block has an `end`.
    """

    first: int
    time: Array
    frame: Array
    face: Array
    points: Array
    confidence: Array
    box: Array
    change: Array
    looked: Array
    crops: Array | None
    end: End | None = None
    coefficients: Array | None = None
    pose: Array | None = None
    mesh: Array | None = None
    doubt: Array | None = None

    def tracks(self, faces: int, frame_size: tuple[int, int] = (0, 0), source: str = "") -> list[FaceTrack]:
        """These frames as tracks with a row for each of the T frames, one for each of `faces` faces."""
        return spread([self], faces, frame_size, [()] * faces, source)


def spread(
    blocks: Sequence[Block],
    faces: int,
    frame_size: tuple[int, int],
    histories: Sequence[tuple[str, ...]],
    source: str,
) -> list[FaceTrack]:
    """Consecutive blocks as tracks with a row for every frame, NaN where a face is not seen."""
    first, time = blocks[0].first, np.concatenate([block.time for block in blocks])
    shapes = {"points": (68, 2), "confidence": (), "box": (4,), **EXTRA}
    found = {
        name: np.full((faces, len(time), *shape), np.nan, np.float32)
        for name, shape in shapes.items()
        if getattr(blocks[0], name) is not None
    }
    for block in blocks:
        at = block.face, block.frame - first
        for name, values in found.items():
            values[at] = getattr(block, name)
    return [
        FaceTrack(
            time,
            frame_size=frame_size,
            source=source,
            history=history,
            **{name: values[k] for name, values in found.items()},
        )
        for k, history in enumerate(histories)
    ]


class Writer:
    """Writes blocks into an open binary file as they come; the file is complete after the block with the `end`."""

    def __init__(self, file: IO[bytes], *, compress: bool = True) -> None:
        self._archive = zipfile.ZipFile(file, "w")
        self._compress = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        self._blocks = self._side = 0

    def add(self, block: Block) -> None:
        """Write one block, and after the last the end. OSError where it cannot be written."""
        fields = _fields(name for name in _MESH if getattr(block, name) is not None)
        for name, (kind, _) in fields.items():
            self._put(f"{self._blocks}/{name}", np.ascontiguousarray(getattr(block, name), kind).tobytes())
        if block.crops is not None and len(block.crops):
            self._side = block.crops.shape[-1]
            self._put(f"{self._blocks}/crops", np.ascontiguousarray(block.crops, "u1").tobytes())
        self._blocks += 1
        if (end := block.end) is not None:
            about = {"format": _FORMAT, "version": _VERSION, "blocks": self._blocks, "side": self._side}
            about |= {"fields": [*fields]}
            sharp = [value if math.isfinite(value) else None for value in end.sharpness]
            facts = {
                "looks": end.looks,
                "frame_size": end.frame_size,
                "sharpness": sharp,
                "light": end.light,
                "cuts": end.cuts,
            }
            self._put("end", json.dumps({**about, **facts, "history": end.history}).encode())
            self._archive.close()

    def _put(self, name: str, data: bytes) -> None:
        self._archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, self._compress, compresslevel=1)

    def drop(self) -> None:
        """Close an incomplete archive before its file is closed; a complete one is not changed."""
        with suppress(OSError, ValueError):
            self._archive.close()


class Stored:
    """The blocks in a file that `Writer` made, read one at a time, repeatedly.

    `end`, the number of `blocks` and the names of their `fields` are known at once. InputError for a damaged file: on
    opening where it was cut short, on reading a block where its bytes have changed.
    """

    def __init__(self, file: Path | IO[bytes]) -> None:
        self._name = str(file) if isinstance(file, Path) else "The file of followed faces"
        with _damage(self._name):
            self._archive = zipfile.ZipFile(file)
        try:
            with _damage(self._name):
                check_members(self._archive)
                about = parse_json(self._archive.read("end"))
                if (about["format"], about["version"]) != (_FORMAT, _VERSION):
                    raise ValueError(f"format {about['format']}, version {about['version']}")
                self.blocks, self._side = int(about["blocks"]), int(about["side"])
                self.fields = _fields(map(str, about["fields"]))
                self.end = _end(about)
        except InputError:
            self.close()
            raise

    def __iter__(self) -> Iterator[Block]:
        first = 0
        for number in range(self.blocks):
            with _damage(self._name):
                block = self._block(number, first)
            first += len(block.time)
            yield block

    def _block(self, number: int, first: int) -> Block:
        arrays = {
            name: np.frombuffer(self._archive.read(f"{number}/{name}"), kind).reshape(-1, *shape)
            for name, (kind, shape) in self.fields.items()
        }
        rows, faces, looks, side = len(arrays["frame"]), len(self.end.history), len(arrays["looked"]), self._side
        if any(len(arrays[name]) != rows for name in _ROWS if name in arrays):
            raise ValueError(f"block {number} has arrays of different lengths")
        for name, low, count in (("frame", first, len(arrays["time"])), ("face", 0, faces), ("looked", 0, rows)):
            if len(arrays[name]) and not 0 <= arrays[name].min() - low <= arrays[name].max() - low < count:
                raise ValueError(f"{name} of block {number} is off its range")
        data = self._archive.read(f"{number}/crops") if looks else b""
        crops = np.frombuffer(data, "u1").reshape((looks, side, side) if looks else (0, 0, 0))
        return Block(first, **arrays, crops=crops, end=self.end if number == self.blocks - 1 else None)

    def close(self) -> None:
        self._archive.close()

    def __enter__(self) -> Stored:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _fields(names: Iterable[str]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The arrays of a block that has these of a mesh; other names count for nothing."""
    present = set(names)
    return {**_FIELDS, **{name: kind for name, kind in _MESH.items() if name in present}}


def _end(about: Json) -> End:
    width, height = about["frame_size"]
    if not len(about["sharpness"]) == len(about["light"]) == len(about["history"]) <= _MOST_FACES:
        raise ValueError(f"{len(about['history'])} faces, expected up to {_MOST_FACES}")
    sharpness = tuple(math.nan if value is None else float(value) for value in about["sharpness"])
    light = tuple(None if values is None else Light(*map(float, values)) for values in about["light"])
    return End(
        (width, height),
        sharpness,
        light,
        tuple(map(str, about["history"])),
        bool(about["looks"]),
        tuple(map(float, about["cuts"])),
    )


@contextmanager
def _damage(name: str) -> Iterator[None]:
    """Whatever goes wrong inside means that the file is damaged."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{name} is damaged ({error}); follow the clip again.") from error


def pieces(block: Block, frames: int) -> Iterator[Block]:
    """The block split into blocks of at most `frames` frames, the last of which has its end; crops are left out."""
    for start in range(0, max(1, len(block.time)), frames):
        time = block.time[start : start + frames]
        first = block.first + start
        rows = (block.frame >= first) & (block.frame < first + len(time))
        present = [name for name in _ROWS if getattr(block, name) is not None]
        arrays = {name: getattr(block, name)[rows] for name in present}
        end = block.end if start + frames >= len(block.time) else None
        yield Block(first, time, **arrays, looked=np.empty(0, np.int64), crops=None, end=end)
