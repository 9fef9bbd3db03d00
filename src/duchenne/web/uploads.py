"""Where uploads lie: a private temporary folder that goes when the app does, and with the next start at the latest."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from duchenne.errors import OutputError

_PREFIX = "duchenne-app-"
_YOUNG = 2.0  # s in which a folder may have been made and not yet locked


class Uploads:
    """A folder that only its owner may read. Its lock is held as long as this process lives."""

    def __init__(self) -> None:
        sweep()
        try:
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        except OSError as error:
            raise OutputError(f"There is no room for uploads in {tempfile.gettempdir()} ({error.strerror}).") from error
        self._lock = FileLock(self.folder / ".lock")
        self._lock.acquire(timeout=0)

    def new(self) -> tuple[str, Path]:
        """A name that nobody can guess, and the empty folder of that name."""
        name = secrets.token_hex(8)
        (self.folder / name).mkdir(mode=0o700)
        return name, self.folder / name

    def remove(self, name: str) -> None:
        """Delete one of its folders with all that is in it."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def close(self) -> None:
        """Delete everything."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep() -> None:
    """Delete what runs of this user left that were killed: folders whose lock nobody holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError, Timeout):
            about = folder.lstat()
            mine = not hasattr(os, "getuid") or about.st_uid == os.getuid()
            if folder.is_symlink() or not folder.is_dir() or not mine or time.time() - about.st_ctime < _YOUNG:
                continue
            if not (folder / ".lock").exists():
                continue
            lock = FileLock(folder / ".lock")
            lock.acquire(timeout=0)
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)
