"""Read untrusted files: their size, and what they claim to hold, is checked before they are read.

Whatever is wrong is a ValueError in words; the caller adds which file it is and what to do.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Collection
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any, NoReturn

import numpy as np

from duchenne.types import Array

_MOST_JSON = 2**24  # bytes: a hundred times the largest model.json
_MOST_ARRAYS = 2**32  # bytes unpacked: 37 hours of one face at 30 frames/s are half of it
_MOST_SHEET = 2**28  # bytes unpacked, of a spreadsheet
_MOST_MEMBERS = 100_000
#: Archives above this size (bytes unpacked) that were packed into less than a hundredth hold nothing but zeros.
_MOST_EMPTY, _MOST_RATIO = 2**28, 100
#: What zipfile, zlib and numpy raise for archives that are damaged or malicious.
_ARCHIVE_ERRORS = (
    EOFError, KeyError, OverflowError, RuntimeError, SyntaxError, TokenError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


def read_bytes(path: Path, most: int) -> bytes:
    """The bytes of a file; ValueError as `check_size`."""
    check_size(path, most)
    return path.read_bytes()


def check_size(path: Path, most: int) -> None:
    """ValueError for pipes and devices, which have no end, and for more than `most` bytes."""
    if not path.is_file():
        raise ValueError("it is not a file")
    if path.stat().st_size > most:
        raise ValueError(f"it is larger than {most >> 20} MB")


def check_regular(path: Path) -> None:
    """ValueError for pipes, sockets and devices, which have no end, and for folders."""
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")


def read_json(path: Path, most: int = _MOST_JSON) -> Any:
    """What a JSON file holds."""
    return parse_json(read_bytes(path, most).decode())


def parse_json(text: str | bytes) -> Any:
    """What a JSON text holds; ValueError also where it is nested too deeply or holds NaN, which JSON forbids."""
    try:
        return json.loads(text, parse_constant=_reject_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which JSON does not allow")


def map_array(path: str | Path) -> Array:
    """The array of an .npy without pickle, read from the file as it is needed."""
    return np.asarray(np.lib.format.open_memmap(path, mode="r"))


def check_archive(path: Path, most: int = _MOST_SHEET) -> None:
    """ValueError for a ZIP archive that holds more than `most` bytes or is packed as only a trap is."""
    with zipfile.ZipFile(path) as archive:
        check_members(archive, most)


def check_members(archive: zipfile.ZipFile, most: int = _MOST_ARRAYS) -> None:
    """ValueError for an archive of too many members, or of more bytes than `most` or than its own size explains."""
    members = archive.infolist()
    size, packed = sum(each.file_size for each in members), sum(each.compress_size for each in members)
    if len(members) > _MOST_MEMBERS:
        raise ValueError(f"it has more than {_MOST_MEMBERS:,} members")
    if size > most:
        raise ValueError(f"it is larger than {most >> 20} MB unpacked")
    if size > _MOST_EMPTY and size > _MOST_RATIO * packed:
        raise ValueError(f"it unpacks to {size / max(packed, 1):,.0f} times its size, so it holds nothing")


def read_members(path: Path, names: Collection[str], most: int) -> dict[str, bytes]:
    """These members of a ZIP archive of at most `most` bytes unpacked; ValueError where one is missing or damaged."""
    check_regular(path)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            check_members(archive, most)
            if missing := sorted(set(names) - set(archive.namelist())):
                raise ValueError(f"it lacks {missing[0]}")
            return {name: archive.read(name) for name in names}
    except _ARCHIVE_ERRORS as error:
        raise ValueError("it is damaged or not a ZIP archive") from error


def read_arrays(path: Path, names: Collection[str] | None = None, most: int = _MOST_ARRAYS) -> dict[str, Array]:
    """The arrays of an .npz by name, all or only `names`, after checking that every member is plain numbers or text of
    the size that it claims."""
    check_regular(path)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            check_members(archive, most)
            found = [each for each in archive.infolist() if each.filename.endswith(".npy")]
            for each in found:
                _check_array(archive, each)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            files = {each.filename.removesuffix(".npy"): each.filename for each in found}  # numpy also gives others
            return {name: stored[file] for name, file in files.items() if names is None or name in names}
    except MemoryError as error:
        raise ValueError("it needs more memory than there is") from error
    except _ARCHIVE_ERRORS as error:
        raise ValueError("it is not a valid archive of arrays") from error


def _check_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """ValueError for objects, which are pickles, and for a header that declares another size than the member has."""
    with archive.open(member) as file:
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(
            np.lib.format.read_magic(file)
        )
        if reader is None:
            raise ValueError(f"{member.filename} has an unknown version")
        shape, _, dtype = reader(file)
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds Python objects (a pickle), which are never read")
        if dtype.kind not in "biufUS" or any(side < 0 for side in shape):
            raise ValueError(f"{member.filename} holds something other than numbers or text")
        if prod(shape) * dtype.itemsize + file.tell() != member.file_size:
            raise ValueError(f"{member.filename} declares a size that it does not have")
