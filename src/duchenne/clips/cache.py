"""The one content cache: what was read of clips, kept by their bytes and the settings, under every command.

An entry is one file, named by the sha256 of all that decides what it holds: the bytes of the clip, what was asked, and
the code that answered; another version of anything makes another entry. It holds the faces that were followed
(`io.followed`), arrays by name (.npz), or one array that is read where it lies (.npy). Entries show faces: the folder
is its owner's alone. Several processes may use one folder at once: entries appear whole, and one that is read may go.
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
_STALE = 86_400.0  # s after which an entry that is being written has been given up


def usual_folder() -> Path:
    """$DUCHENNE_CACHE, else the folder that the system gives every user for such things."""
    from platformdirs import user_cache_path

    found = Path(os.environ.get("DUCHENNE_CACHE") or user_cache_path("duchenne", appauthor=False))
    if found.parts[:1] == ("~",):
        raise UsageError("There is no home folder for the cache; name a folder in DUCHENNE_CACHE.")
    return found


def usual_limit() -> int:
    """$DUCHENNE_CACHE_LIMIT in bytes ("5 GB", "800MB", "0" to keep nothing), else `LIMIT`."""
    text = os.environ.get("DUCHENNE_CACHE_LIMIT", str(LIMIT))
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)b?\s*", text.lower())
    if found is None:
        raise UsageError(f"DUCHENNE_CACHE_LIMIT must be a size such as 5 GB or 800 MB, not '{text}'.")
    return int(float(found[1]) * _UNITS[found[2]])


@dataclass(frozen=True)
class Info:
    """What a cache holds: the number of its entries, their bytes, and how many bytes they may have."""

    folder: Path
    entries: int
    size: int
    limit: float


class Cache:
    """A folder of entries, of which the least recently used go when they have more than `limit` bytes.

    `read_faces` may stand wherever `faces.reading.read_faces` may: its answers are the same, block for block. What goes
    wrong with an entry or the folder is no error: it is made anew, as if there were no cache. With the limit 0 nothing
    is kept.
    """

    def __init__(self, folder: str | Path | None = None, limit: float | None = None) -> None:
        self.folder = Path(folder) if folder is not None else usual_folder()
        self.limit: float = usual_limit() if limit is None else limit
        self._began = time.time() - 1  # s; file systems round
        self._unsorted: float = float("inf")  # bytes that were added since the folder was last looked through
        self._is_full = False

    def read_faces(self, path: str | Path, *, on_frame: Tick | None = None, **options: Any) -> Iterator[Block]:
        """The faces of a clip in blocks, from its entry or anew; arguments and errors as for `faces.reading`'s."""
        before = _mark(Path(path))
        entry = self._followed(Path(path), options) if before is not None and self.limit else None
        known = 0
        if entry is not None:
            with suppress(InputError), Stored(entry) as stored:
                _touch(entry)
                for block in stored:
                    known += 1
                    if on_frame is not None:
                        on_frame(block.first + len(block.time))
                    yield block
                return
        blocks = read_faces(path, on_frame=on_frame, **options)
        if entry is not None:
            blocks = self._kept(blocks, entry, lambda: _mark(Path(path)) == before)
        yield from itertools.islice(blocks, known, None)  # what was read before the damage is the same anew

    def arrays(self, key: Any, make: Callable[[], Mapping[str, Array]]) -> dict[str, Array]:
        """The arrays that `make` gives, or gave for this `key` before: all that decides them but the code of duchenne,
        as JSON can hold it (of a file its `content`)."""
        entry = self._entry([key, code()], ".npz")
        try:
            found = io.read_arrays(entry)
            _touch(entry)
        except (OSError, ValueError):  # none yet, or damaged
            found = dict(make())
            self._put(entry, lambda file: np.savez(file, **found))  # type: ignore[arg-type]
        return found

    def stored(self, key: Any, shape: tuple[int, ...], make: Callable[[], Array]) -> Array | Mapped:
        """As `arrays` of one array uint8 of this `shape`, which is read where it lies; itself where it found no place.

        What is used so by a run, whose processes share this cache, stays until the run ends.
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
        """What is there now."""
        sizes = [stat.st_size for file, stat in self._files() if file.suffix in _ENTRIES]
        return Info(self.folder, len(sizes), sum(sizes), self.limit)

    def clear(self) -> Info:
        """Remove every entry, and nothing that is not ours; what was there. OutputError where it cannot be removed."""
        before = self.info()
        try:
            for file, _ in self._files():
                file.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{error.filename} cannot be removed ({error.strerror}); check permissions.") from error
        return before

    def _followed(self, path: Path, options: dict[str, Any]) -> Path | None:
        """Where the faces of a clip lie; None for a clip that cannot be read, of which the chain will tell."""
        try:
            of = content(path)
        except (OSError, InputError):
            return None
        told = {"detector": "haar"} | {name: told for name, told in options.items() if told not in (None, False)}
        # of the name only the ending counts, which FFmpeg goes by where the bytes leave it in doubt
        return self._entry([of, path.suffix.lower(), told, chain()], ".followed")

    def _entry(self, key: Any, kind: str) -> Path:
        text = json.dumps(key, sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}{kind}"

    def _put(self, entry: Path, write: Callable[[Any], None]) -> bool:
        """Write an entry in one step; False where it is not to be kept, or cannot be."""
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
        self._unsorted += part.stat().st_size
        part.replace(entry)
        self._trim()

    def _kept(self, blocks: Iterator[Block], entry: Path, is_same: Callable[[], bool]) -> Iterator[Block]:
        """The blocks, and an entry of them before the last is given on; none where anything goes wrong."""
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
        """Remove the least recently used entries above the limit, and what writers that were killed have left."""
        if self._unsorted < self.limit / 100:  # looking through thousands of files takes a while
            return
        self._unsorted, total, lying, now = 0.0, 0, 0, time.time()
        for file, stat in sorted(self._files(), key=lambda item: -item[1].st_mtime_ns):
            whole = file.suffix in _ENTRIES
            total += stat.st_size if whole else 0
            if file.suffix == ".npy" and stat.st_mtime >= self._began:  # this run reads it where it lies
                lying += stat.st_size
            elif total > self.limit if whole else now - stat.st_mtime > _STALE:
                with suppress(OSError):
                    file.unlink()
        self._is_full = lying > self.limit

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
    """An array uint8 (T, ...) in a file, which stands for it wherever an array would.

    `mapped[rows]` reads these rows alone, `np.asarray(mapped)` all. The file is open while it is read and no longer: a
    corpus has more clips than a process may have files open, and the memory is the system's, which may take it back.
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
        """Whether the file is there, and is what it should be."""
        try:
            self._read()
        except InputError:
            return False
        return True

    def _read(self) -> Array:
        try:
            found = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{self.path} held crops of a clip and is gone or cut short; run this again.") from error
        if found.shape != self.shape or found.dtype != np.uint8:
            raise InputError(f"{self.path} held crops of a clip and holds others now; run this again.")
        return np.asarray(found)


def content(path: Path) -> list[str]:
    """sha256 of a file, or of each picture of a folder. OSError and InputError where it cannot be read."""
    return [_sha256(file, *_stamp(file)) for file in (video.image_files(path) if path.is_dir() else [path])]


@lru_cache(2**16)
def _sha256(file: Path, *_: int) -> str:
    return io.sha256(file)


def _stamp(file: Path) -> tuple[int, int, int]:
    """What changes when a file does."""
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


@cache
def code() -> dict[str, str]:
    """`chain`, and all of duchenne's own code: what is read of faces depends on much of it."""
    found = hashlib.sha256()
    for file in sorted(Path(duchenne.__file__).parent.rglob("*.py")):
        found.update(file.read_bytes())
    return chain() | {"code": found.hexdigest()}


def _touch(entry: Path) -> None:
    with suppress(OSError):
        os.utime(entry)


def _mark(path: Path) -> list[tuple[str, tuple[int, int, int]]] | None:
    """What tells that a file, or a folder's pictures, have not been changed; None for what is neither."""
    try:
        files = video.image_files(path) if path.is_dir() else [path]
        stamps = [(file.name, _stamp(file)) for file in files if file.is_file()]
    except (OSError, InputError):
        return None
    return stamps if len(stamps) == len(files) else None
