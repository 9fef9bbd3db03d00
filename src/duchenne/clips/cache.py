"""What following the faces of a clip gave, kept by the clip's bytes and the settings: a clip that was moved, another
model, or `analyze` after `extract` needs no second look at the pictures.

An entry is one file (`io.followed`) named by the sha256 of content, options and `faces.reading.chain`: another version
of anything that decides the answer makes another entry. It holds small grey pictures of faces: the folder is its
owner's alone. Several processes may use one folder at once: entries appear whole, and one that somebody reads may go.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from duchenne import video
from duchenne.errors import InputError, OutputError, UsageError
from duchenne.faces.reading import chain, read_faces
from duchenne.io import Block, Stored, sha256
from duchenne.io.followed import Writer
from duchenne.progress import Tick

LIMIT = 5_000_000_000  # bytes
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_OURS = re.compile(r"[0-9a-f]{64}\.followed|\.[0-9a-f]{32}\.part")
_STALE = 86_400.0  # s after which an entry that is being written has been given up


def usual_folder() -> Path:
    """$DUCHENNE_CACHE, else the folder that the system gives every user for such things."""
    if named := os.environ.get("DUCHENNE_CACHE"):
        return Path(named)
    try:
        home = Path.home()
    except RuntimeError as error:
        raise UsageError("There is no home folder for the cache; name a folder in DUCHENNE_CACHE.") from error
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "duchenne" / "Cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "duchenne"
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if Path(named).is_absolute() else home / ".cache") / "duchenne"


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
    limit: int


class Cache:
    """A folder of entries, of which the least recently used go when they have more than `limit` bytes.

    `read_faces` may stand wherever `faces.reading.read_faces` may: its answers are the same, block for block. What goes
    wrong with an entry or the folder is no error: the clip is followed as if there were no cache.
    """

    def __init__(self, folder: str | Path | None = None, limit: int | None = None) -> None:
        self.folder = Path(folder) if folder is not None else usual_folder()
        self.limit = usual_limit() if limit is None else limit
        self._unsorted: float = float("inf")  # bytes that were added since the folder was last looked through

    def read_faces(self, path: str | Path, *, on_frame: Tick | None = None, **options: Any) -> Iterator[Block]:
        """The faces of a clip in blocks, from its entry or anew; arguments and errors as for `faces.reading`'s."""
        before = _mark(Path(path))
        entry = self._entry(Path(path), options) if before is not None and self.limit else None
        known = 0
        if entry is not None:
            with suppress(InputError), Stored(entry) as stored:
                with suppress(OSError):
                    os.utime(entry)
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

    def info(self) -> Info:
        """What is there now."""
        sizes = [stat.st_size for file, stat in self._files() if file.suffix == ".followed"]
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

    def _entry(self, path: Path, options: dict[str, Any]) -> Path | None:
        """Where the entry of a clip lies; None for a clip that cannot be read, of which the chain will tell."""
        try:
            content = [sha256(file) for file in (video.image_files(path) if path.is_dir() else [path])]
        except (OSError, InputError):
            return None
        told = {"detector": "haar"} | {name: told for name, told in options.items() if told not in (None, False)}
        # of the name only the ending counts, which FFmpeg goes by where the bytes leave it in doubt
        key = json.dumps([content, path.suffix.lower(), told, chain()], sort_keys=True)
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.followed"

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
                                self._unsorted += part.stat().st_size
                                part.replace(entry)
                                self._trim()
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
        self._unsorted, total, now = 0.0, 0, time.time()
        for file, stat in sorted(self._files(), key=lambda item: -item[1].st_mtime_ns):
            whole = file.suffix == ".followed"
            total += stat.st_size if whole else 0
            if total > self.limit if whole else now - stat.st_mtime > _STALE:
                with suppress(OSError):
                    file.unlink()

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.folder) as entries:
            for item in entries:
                if _OURS.fullmatch(item.name) and item.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        found.append((Path(item.path), item.stat(follow_symlinks=False)))
        return found


def _mark(path: Path) -> list[tuple[str, int, int]] | None:
    """What tells that a file, or a folder's pictures, have not been changed; None for what is neither."""
    try:
        files = video.image_files(path) if path.is_dir() else [path]
        stats = [(file.name, file.stat()) for file in files if file.is_file()]
    except (OSError, InputError):
        return None
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats] if len(stats) == len(files) else None
