"""The content cache of all commands: what was read of clips, addressed by their bytes and the settings.

An entry is one file, named by the sha256 of all that determines it: the bytes of the clip, the options, and the version
of the code. It holds tracked faces (`io.followed`), arrays by name (.npz), or one memory-mapped array (.npy). Entries
show faces, so only the owner may read the folder. Several processes may use one folder at once: entries are written
atomically, and one that is being read may be removed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, SupportsIndex
from uuid import uuid4

import numpy as np

import duchenne
from duchenne import io, video
from duchenne.errors import InputError, OutputError, UsageError
from duchenne.faces.reading import chain, read_faces
from duchenne.io import Block, Stored
from duchenne.io.followed import Writer
from duchenne.progress import Tick
from duchenne.types import Array

LIMIT = 5_000_000_000  # bytes
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_ENTRIES = (".followed", ".npz", ".npy")
_OURS = re.compile(r"[0-9a-f]{64}\.(followed|npz|npy)|\.[0-9a-f]{32}\.part")
_STALE = 86_400.0  # s after which an unfinished entry is abandoned


def default_folder() -> Path:
    """$DUCHENNE_CACHE, else the user's cache folder of the system."""
    from platformdirs import user_cache_path

    found = Path(os.environ.get("DUCHENNE_CACHE") or user_cache_path("duchenne", appauthor=False))
    if found.parts[:1] == ("~",):
        raise UsageError("There is no home folder for the cache; set DUCHENNE_CACHE to a folder.")
    return found


def default_limit() -> int:
    """$DUCHENNE_CACHE_LIMIT in bytes ("5 GB", "800MB", "0" to keep nothing), else `LIMIT`."""
    text = os.environ.get("DUCHENNE_CACHE_LIMIT", str(LIMIT))
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)b?\s*", text.lower())
    if found is None:
        raise UsageError(f"DUCHENNE_CACHE_LIMIT: expected a size such as 5 GB or 800 MB, found '{text}'; correct it.")
    return int(float(found[1]) * _UNITS[found[2]])


@dataclass(frozen=True)
class Info:
    """Number of entries of a cache, their bytes, and the limit in bytes."""

    folder: Path
    entries: int
    size: int
    limit: float


class Cache:
    """A folder of entries; the least recently used are removed above `limit` bytes.

    `read_faces` yields the same blocks as `faces.reading.read_faces`. A damaged entry or an unusable folder is not an
    error: results are computed again, as without a cache. A folder that others may enter is made private, and one that
    cannot be is an OutputError (`io.private_folder`). With the limit 0 nothing is stored.
    """

    def __init__(self, folder: str | Path | None = None, limit: float | None = None) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()
        self.limit: float = default_limit() if limit is None else limit
        self._began = time.time() - 1  # s; file systems round
        self._unscanned: float = float("inf")  # bytes added since the folder was last scanned
        self._is_full = False
        if self.limit and (self.folder.is_dir() or self.folder.is_symlink()):
            io.private_folder(self.folder)

    def read_faces(self, path: str | Path, *, on_frame: Tick | None = None, **options: Any) -> Iterator[Block]:
        """The faces of a clip in blocks, cached or not; arguments and errors as of `faces.reading.read_faces`."""
        before = _fingerprint(Path(path))
        entry = self._followed(Path(path), options) if before is not None and self.limit else None
        n_read = 0
        if entry is not None:
            with suppress(InputError), Stored(entry) as stored:
                _touch(entry)
                for block in stored:
                    n_read += 1
                    if on_frame is not None:
                        on_frame(block.first + len(block.time))
                    yield block
                return
        blocks = read_faces(path, on_frame=on_frame, **options)
        if entry is not None:
            blocks = self._stored_blocks(blocks, entry, lambda: _fingerprint(Path(path)) == before)
        yield from itertools.islice(blocks, n_read, None)  # blocks before the damage are the same

    def arrays(self, key: Any, make: Callable[[], Mapping[str, Array]]) -> dict[str, Array]:
        """The arrays that `make` returns, or returned before for this `key`: all that determines them but the code of
        duchenne, as JSON values (of a file its `content`)."""
        entry = self._entry([key, code()], ".npz")
        try:
            found = io.read_arrays(entry)
            _touch(entry)
        except (OSError, ValueError):  # missing or damaged
            found = dict(make())
            self._put(entry, lambda file: np.savez(file, **found))  # type: ignore[arg-type]
        return found

    def stored(self, key: Any, shape: tuple[int, ...], make: Callable[[], Array]) -> Array | Mapped:
        """As `arrays`, one memory-mapped array uint8 of this `shape`; the array itself where it cannot be stored.

        Entries that a run uses, whose processes share this cache, stay until the run ends.
        """
        entry = self._entry([key, shape, code()], ".npy")
        found = Mapped(str(entry), shape)
        if found.is_sound:
            _touch(entry)
            return found
        made = np.ascontiguousarray(make(), np.uint8)
        if self._is_full or not self._put(entry, lambda file: np.save(file, made)):
            return made
        return found

    def info(self) -> Info:
        """The present entries."""
        sizes = [stat.st_size for file, stat in self._files() if file.suffix in _ENTRIES]
        return Info(self.folder, len(sizes), sum(sizes), self.limit)

    def clear(self) -> Info:
        """Remove every entry, but no other file; returns what was there. OutputError where that fails."""
        before = self.info()
        try:
            for file, _ in self._files():
                file.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{error.filename} cannot be removed ({error.strerror}); check permissions.") from error
        return before

    def _followed(self, path: Path, options: dict[str, Any]) -> Path | None:
        """The entry of a clip's faces; None for a clip that cannot be read, for which the reader raises the error."""
        try:
            of = content(path)
        except (OSError, InputError):
            return None
        given = {"reader": "mesh", "detector": "haar"}
        given |= {name: value for name, value in options.items() if value not in (None, False)}
        # the suffix matters, as FFmpeg uses it where the bytes are ambiguous
        return self._entry([of, path.suffix.lower(), given, chain(given["reader"])], ".followed")

    def _entry(self, key: Any, kind: str) -> Path:
        text = json.dumps(key, sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}{kind}"

    def _put(self, entry: Path, write: Callable[[Any], None]) -> bool:
        """Write an entry atomically; False where the cache is off, or writing fails."""
        if not self.limit:
            return False
        part = self.folder / f".{uuid4().hex}.part"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with part.open("xb") as file:
                write(file)
            self._publish(part, entry)
        except OSError:  # no space, or no permission
            return False
        finally:
            with suppress(OSError):
                part.unlink()
        return True

    def _publish(self, part: Path, entry: Path) -> None:
        self._unscanned += part.stat().st_size
        io.sync(part)  # an array's file says nothing about its bytes, which a power cut must not lose
        part.replace(entry)
        self._trim()

    def _stored_blocks(self, blocks: Iterator[Block], entry: Path, is_same: Callable[[], bool]) -> Iterator[Block]:
        """The blocks, storing an entry of them before the last is yielded; no entry where anything fails."""
        part = self.folder / f".{uuid4().hex}.part"
        writer: Writer | None = None
        file = None
        try:
            with suppress(OSError):
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                file = part.open("xb")
                writer = Writer(file)
            for block in blocks:
                if writer is not None and file is not None:
                    try:
                        writer.add(block)
                        if block.end is not None:
                            file.close()
                            if is_same():
                                self._publish(part, entry)
                    except OSError:  # no space, or no permission
                        writer.drop()
                        writer = None
                yield block
        finally:
            if writer is not None:
                writer.drop()
            for undo in (part.unlink,) if file is None else (file.close, part.unlink):
                with suppress(OSError):
                    undo()

    def _trim(self) -> None:
        """Remove the least recently used entries above the limit, and files that killed writers left behind."""
        if self._unscanned < self.limit / 100:  # scanning thousands of files is slow
            return
        self._unscanned, total, mapped, now = 0.0, 0, 0, time.time()
        for file, stat in sorted(self._files(), key=lambda item: -item[1].st_mtime_ns):
            is_entry = file.suffix in _ENTRIES
            total += stat.st_size if is_entry else 0
            if file.suffix == ".npy" and stat.st_mtime >= self._began:  # this run reads it
                mapped += stat.st_size
            elif total > self.limit if is_entry else now - stat.st_mtime > _STALE:
                with suppress(OSError):
                    file.unlink()
        self._is_full = mapped > self.limit

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.folder) as entries:
            for item in entries:
                if _OURS.fullmatch(item.name) and item.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        found.append((Path(item.path), item.stat(follow_symlinks=False)))
        return found


@dataclass(frozen=True)
class Mapped:
    """An array uint8 (T, ...) in a file, usable as an array.

    `mapped[rows]` reads these rows alone, `np.asarray(mapped)` all. The file is open only while it is read, as a data
    set may have more clips than a process may have open files.
    """

    path: str
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8"""
        return np.dtype(np.uint8)

    def __getitem__(self, rows: SupportsIndex | slice | Array) -> Array:
        return np.array(self._read()[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self._read(), dtype)

    @property
    def is_sound(self) -> bool:
        """Whether the file exists, with the expected shape."""
        try:
            self._read()
        except InputError:
            return False
        return True

    def _read(self) -> Array:
        try:
            found = io.map_array(self.path)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{self.path} with crops is missing or damaged; run the command again.") from error
        if found.shape != self.shape or found.dtype != np.uint8:
            raise InputError(f"{self.path} has crops {found.shape}, expected {self.shape}; run the command again.")
        return np.asarray(found)


def content(path: Path) -> list[str]:
    """sha256 of a file, or of each image of a folder with its number. OSError and InputError as for reading it."""
    if not path.is_dir():
        return [_sha256(path, *_stamp(path))]
    files = video.numbered(path)
    return [f"{number - files[0][0]} {_sha256(file, *_stamp(file))}" for number, file in files]


@lru_cache(2**16)
def _sha256(file: Path, *_: int) -> str:
    return io.sha256(file)


def _stamp(file: Path) -> tuple[int, int, int]:
    """Changes when the file does."""
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


@cache
def code() -> dict[str, str]:
    """Versions of the `chain` of both readers, and a digest of duchenne's own code, on which all results depend."""
    found = hashlib.sha256()
    for file in sorted(Path(duchenne.__file__).parent.rglob("*.py")):
        found.update(file.read_bytes())
    return chain("paper") | chain("mesh") | {"code": found.hexdigest()}


def _touch(entry: Path) -> None:
    with suppress(OSError):
        os.utime(entry)


def _fingerprint(path: Path) -> list[tuple[str, tuple[int, int, int]]] | None:
    """Stamps of a file, or a folder's images, to detect changes; None where it is neither."""
    try:
        files = video.image_files(path) if path.is_dir() else [path]
        stamps = [(file.name, _stamp(file)) for file in files if file.is_file()]
    except (OSError, InputError):
        return None
    return stamps if len(stamps) == len(files) else None
