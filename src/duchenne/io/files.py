"""Results out: whole files or none. Settings (TOML) in."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from duchenne.errors import InputError, OutputError
from duchenne.io.bounded import read_bytes

_MOST_TOML = 2**20  # bytes


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path in the folder of `path` (made if need be) that takes its place on success.

    On any error the temporary file is removed and what stood at `path` stays as it was. An OSError inside
    becomes OutputError: only write in here, read before.
    """
    target = Path(path)
    part = target.parent / f".{uuid4().hex}.part"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        with suppress(OSError):
            part.unlink()


@contextmanager
def staged(folder: str | Path) -> Iterator[Path]:
    """A new folder to write several files into; all of them move to `folder` on success, none on any error."""
    target = Path(folder)
    part = target.parent / f".{uuid4().hex}.part"
    try:
        check_folder(target)
        part.mkdir(parents=True)
        yield part
        target.mkdir(exist_ok=True)
        for file in sorted(found for found in part.rglob("*") if found.is_file()):  # a folder cannot replace a folder
            place = target / file.relative_to(part)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
    except OSError as error:
        raise _unwritable(target, error) from error
    except OutputError as error:  # names a file in a folder that nobody asked for
        raise (_unwritable(target, error.__cause__) if isinstance(error.__cause__, OSError) else error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_folder(folder: str | Path) -> None:
    """Raise OutputError, before any work is done, where `folder` is no folder and cannot become one."""
    place = Path(folder).absolute()
    try:
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            raise OutputError(f"Results cannot be written to {folder}: {place} is a file; choose a folder.")
        probe = place / f".{uuid4().hex}.part"
        probe.mkdir()  # asking for permissions would not tell of read-only or special file systems
        probe.rmdir()
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(target: str | Path, error: OSError) -> OutputError:
    fault = f"A result cannot be written to {target} ({error.strerror or error})"
    return OutputError(f"{fault}; choose a folder that you may write to and that has space.")


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text in one step; OutputError where it cannot."""
    with atomic(path) as part:
        # File names that are not UTF-8 reach Python as lone surrogates, which cannot be encoded.
        part.write_bytes(text.encode("utf-8", "replace"))
    return Path(path)


def read_toml(path: Path, missing: str) -> dict[str, Any]:
    """What a TOML file holds; InputError saying `missing` where there is none, or why it is no TOML."""
    if not path.exists():
        raise InputError(missing)
    try:
        return tomllib.loads(read_bytes(path, _MOST_TOML).decode())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is no TOML ({error}); mend it.") from error


def write_json(path: str | Path, obj: Any) -> Path:
    """Write `obj` as JSON in one step: numpy becomes plain, NaN and infinity become null, order is kept."""
    return write_text(path, json.dumps(plain(obj), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: arrays and tuples become lists, paths strings, NaN and infinities None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
