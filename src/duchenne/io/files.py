"""Write result files atomically, so that neither a kill nor a power cut leaves a half-written one; read TOML."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from duchenne.errors import InputError, OutputError
from duchenne.io.bounded import read_bytes
from duchenne.types import Json

_MOST_TOML = 2**20  # bytes


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path in the folder of `path` (created if needed) that replaces `path` on success.

    On any error the temporary file is removed and `path` stays as it was. An OSError inside becomes OutputError, so
    read input before.
    """
    target = Path(path)
    part = target.parent / f".{uuid4().hex}.part"
    if target.exists() and not target.is_file():  # root could replace /dev/null
        kind = "folder" if target.is_dir() else "device or pipe"
        raise OutputError(f"{target} cannot be written (it is a {kind}); choose a file in a writable folder.")
    try:
        make_folder(target.parent)
        yield part
        move({part: target})
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
        make_folder(target)
        files = sorted(path for path in part.rglob("*") if path.is_file())  # a folder cannot replace a folder
        move({file: target / file.relative_to(part) for file in files})
    except OSError as error:
        raise _unwritable(target, error) from error
    except OutputError as error:  # it names a file in the temporary folder
        raise (_unwritable(target, error.__cause__) if isinstance(error.__cause__, OSError) else error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def move(files: Mapping[Path, Path]) -> None:
    """Move finished files to their places: after a power cut each is there whole, or as it was before; OSError."""
    folders = {target.parent for target in files.values()}
    for folder in folders:
        make_folder(folder)
    for source in files:
        sync(source)
    for source, target in files.items():
        source.replace(target)
    for folder in folders:
        sync(folder)


def sync(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a folder, are on the disk."""
    if not path.is_dir():
        with path.open("r+b") as file:
            os.fsync(file.fileno())
        return
    with suppress(OSError):  # some systems cannot open, or not sync, a folder
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and those that it lies in, where they are missing, so that they survive a power cut."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        sync(each.parent)


def sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_folder(folder: str | Path) -> None:
    """Raise OutputError, before any work is done, unless `folder` is a writable folder or can become one."""
    parent = Path(folder).absolute()
    try:
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir():
            raise OutputError(f"Results cannot be written to {folder}: {parent} is a file; choose a folder.")
        probe = parent / f".{uuid4().hex}.part"
        probe.mkdir()  # permission bits say nothing about read-only or special file systems
        probe.rmdir()
    except OSError as error:
        raise _unwritable(folder, error) from error


def private_folder(folder: str | Path) -> Path:
    """A folder that only this user can enter, created if needed.

    OutputError where it is a link, another user's, or shared on purpose (sticky, as /tmp): someone else could put files
    into it or read them.
    """
    path = Path(folder)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not hasattr(os, "getuid"):  # Windows: a profile's folders are private
            return path
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)  # what is checked cannot be exchanged
        try:
            found = os.fstat(opened)
            if found.st_uid != os.getuid():
                raise OutputError(f"{path} belongs to another user; choose a folder of your own.")
            if found.st_mode & stat.S_ISVTX:
                raise OutputError(f"{path} is shared with other users; choose a folder of your own.")
            if stat.S_IMODE(found.st_mode) & 0o077:
                os.fchmod(opened, 0o700)
        finally:
            os.close(opened)
    except OSError as error:
        if path.is_symlink():
            raise OutputError(f"{path} is a link, expected a folder of your own; name the folder itself.") from error
        raise _unwritable(path, error) from error
    return path


def _unwritable(target: str | Path, error: OSError) -> OutputError:
    reason = error.strerror or error
    return OutputError(f"{target} cannot be written ({reason}); choose a writable folder with free space.")


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text atomically; OutputError where it cannot."""
    with atomic(path) as part:
        # File names that are not UTF-8 reach Python as lone surrogates, which cannot be encoded.
        part.write_bytes(text.encode("utf-8", "replace"))
    return Path(path)


def read_toml(path: Path, missing: str) -> Json:
    """What a TOML file holds; InputError with the text `missing` where there is no file, and for invalid TOML."""
    if not path.exists():
        raise InputError(missing)
    try:
        return tomllib.loads(read_bytes(path, _MOST_TOML).decode())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid TOML ({error}); correct it.") from error


def write_json(path: str | Path, obj: object) -> Path:
    """Write `obj` as JSON atomically, as `plain` makes it; order is kept."""
    return write_text(path, json.dumps(plain(obj), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: arrays and tuples become lists, paths strings, NaN and infinity None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
