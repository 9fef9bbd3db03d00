"""Uploads: a private temporary folder, deleted when the app ends or, after a kill, at its next start."""

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
_YOUNG = 2.0  # s in which a new folder may not be locked yet


class Uploads:
    """A folder that only its owner can read, locked as long as this process lives."""

    def __init__(self) -> None:
        sweep()
        try:
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        except OSError as error:
            raise OutputError(
                f"Uploads cannot be stored in {tempfile.gettempdir()} ({error.strerror}); set TMPDIR to another folder."
            ) from error
        self._lock = FileLock(self.folder / ".lock")
        self._lock.acquire(timeout=0)

    def new(self) -> tuple[str, Path]:
        """A random name and an empty folder of that name."""
        name = secrets.token_hex(8)
        (self.folder / name).mkdir(mode=0o700)
        return name, self.folder / name

    def remove(self, name: str) -> None:
        """Delete one of its folders."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def close(self) -> None:
        """Delete everything."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep() -> None:
    """Delete the folders of this user's killed runs: those whose lock is free."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError, Timeout):
            status = folder.lstat()
            own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
            if folder.is_symlink() or not folder.is_dir() or not own or time.time() - status.st_ctime < _YOUNG:
                continue
            if not (folder / ".lock").exists():
                continue
            lock = FileLock(folder / ".lock")
            lock.acquire(timeout=0)
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)
