"""Files of strangers in: how large they are, and what they claim to hold, is looked at before it is read.

ValueError, in words, for whatever is wrong; who reads says which file it is and what to do.
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
_MOST_MEMBERS = 100_000
#: What zipfile, zlib and numpy raise for archives that are damaged or made to harm.
_UNSOUND = (
    EOFError, KeyError, MemoryError, OverflowError, RuntimeError, SyntaxError, TokenError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


def read_bytes(path: Path, most: int) -> bytes:
    """The bytes of a file; ValueError as `check_size`."""
    check_size(path, most)
    return path.read_bytes()


def check_size(path: Path, most: int) -> None:
    """ValueError for pipes and devices, which have no end, and for more than `most` bytes."""
    if not path.is_file():
        raise ValueError("it is no file")
    if path.stat().st_size > most:
        raise ValueError(f"it is larger than {most >> 20} MB")


def read_json(path: Path, most: int = _MOST_JSON) -> Any:
    """What a JSON file holds."""
    return parse_json(read_bytes(path, most).decode())


def parse_json(text: str | bytes) -> Any:
    """What a JSON text holds; ValueError also where it is nested too deep, or says NaN, which JSON has not."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no JSON")


def read_arrays(path: Path, wanted: Collection[str] | None = None, most: int = _MOST_ARRAYS) -> dict[str, Array]:
    """The arrays of an .npz by name, or those of them that are `wanted`, once all of them have been found to be plain
    numbers or text of the sizes that they claim."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > _MOST_MEMBERS or sum(each.file_size for each in members) > most:
                raise ValueError(f"it is larger than {most >> 20} MB unpacked")
            for each in members:
                if each.filename.endswith(".npy"):
                    _check_array(archive, each)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files if wanted is None or name in wanted}
    except _UNSOUND as error:
        raise ValueError("it is no sound archive of arrays") from error


def _check_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """ValueError for objects, which are pickles, and for a header that asks for more memory than there are numbers."""
    with archive.open(member) as file:
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(
            np.lib.format.read_magic(file)
        )
        if reader is None:
            raise ValueError(f"{member.filename} is of an unknown version")
        shape, _, dtype = reader(file)
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds Python objects (a pickle), which are never read")
        if dtype.kind not in "biufUS" or any(side < 0 for side in shape):
            raise ValueError(f"{member.filename} holds something else than numbers or text")
        if prod(shape) * dtype.itemsize + file.tell() != member.file_size:
            raise ValueError(f"{member.filename} says that it has another size than it has")
