"""Finished pieces of long work in a folder, so that what was killed goes on where it was.

A piece is found again by all that decides it, so it does not matter where in the work it is asked for. Inside `keeping`
whatever is fitted keeps its pieces by itself; outside of it nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import __version__, io
from duchenne.errors import UsageError
from duchenne.types import Array

STAMP = "training.json"
#: The folder that pieces are kept in, and who hears of their progress.
_KEEPING: ContextVar[tuple[Path, Callable[[str], None]] | None] = ContextVar("keeping", default=None)


@contextmanager
def keeping(folder: Path, log: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Keep what is fitted in here in `folder`; `log` hears of it what `report` says."""
    before = _KEEPING.set((folder, log))
    try:
        yield
    finally:
        _KEEPING.reset(before)


def report(line: str) -> None:
    """Say how far the work has come."""
    if (now := _KEEPING.get()) is not None:
        now[1](line)


def kept(folder: Path, key: Any, make: Callable[[], Mapping[str, Array]]) -> dict[str, Array]:
    """The arrays that `make` returned for this `key` before, else what it returns now, kept in `folder`."""
    path = folder / f"{_digest(key)}.npz"
    try:
        return io.read_arrays(path)
    except (OSError, ValueError):  # none yet, or damaged
        found = dict(make())
    with io.atomic(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **found)  # type: ignore[arg-type]
    return found


def once(key: Any, arrays: Sequence[Array | None], make: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array]:
    """What `make` gives, or gave before for the same key and arrays inside `keeping` of the same folder."""
    now = _KEEPING.get()
    return make() if now is None else kept(now[0] / "pieces", [key, _digest(None, arrays)], make)


def place(name: str, key: Any, arrays: Sequence[Array | None]) -> Path | None:
    """A folder of its own for the epochs of a network that this key and these arrays decide; None outside `keeping`."""
    now = _KEEPING.get()
    return None if now is None else now[0] / "networks" / f"{name}-{_digest(key, arrays)}"


def same(folder: Path, about: Any, what: str = "clips") -> None:
    """Note what the work in `folder` is; UsageError where the folder holds the beginning of other work."""
    path, stamp = folder / STAMP, {"of": _digest(about)}
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else stamp
    except ValueError:
        found = None
    if found != stamp:
        raise UsageError(
            f"{folder} holds the beginning of a training of other {what} or settings; repeat it as it was, or start "
            "anew with --fresh."
        )
    io.write_json(path, stamp)


def _digest(key: Any, arrays: Sequence[Array | None] = ()) -> str:
    total = hashlib.sha256(json.dumps([__version__, key], default=str, sort_keys=True).encode())
    for each in arrays:
        total.update(b"-" if each is None else f"{each.dtype} {each.shape} ".encode() + each.tobytes())
    return total.hexdigest()[:32]
