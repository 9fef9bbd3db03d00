"""Finished pieces of a long training in a folder, so that a killed run resumes where it was.

A piece is identified by everything that determines it. Inside `caching` every fit caches its pieces; outside, nothing
is cached.
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
#: The folder of the pieces, and the callback for progress.
_CACHING: ContextVar[tuple[Path, Callable[[str], None]] | None] = ContextVar("caching", default=None)


@contextmanager
def caching(folder: Path, log: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Cache in `folder` what is fitted inside; `log` receives what `report` is given."""
    before = _CACHING.set((folder, log))
    try:
        yield
    finally:
        _CACHING.reset(before)


def report(line: str) -> None:
    """Log progress, inside `caching`."""
    if (now := _CACHING.get()) is not None:
        now[1](line)


def cached(folder: Path, key: Any, make: Callable[[], Mapping[str, Array]]) -> dict[str, Array]:
    """The arrays that `make` returns, cached in `folder` by `key`."""
    path = folder / f"{_digest(key)}.npz"
    try:
        return io.read_arrays(path)
    except (OSError, ValueError):  # none yet, or damaged
        found = dict(make())
    with io.atomic(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **found)  # type: ignore[arg-type]
    return found


def once(key: Any, arrays: Sequence[Array | None], make: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array]:
    """What `make` returns, inside `caching` cached by key and arrays."""
    now = _CACHING.get()
    return make() if now is None else cached(now[0] / "pieces", [key, _digest(None, arrays)], make)


def network_folder(name: str, key: Any, arrays: Sequence[Array | None]) -> Path | None:
    """The checkpoint folder of a network determined by key and arrays; None outside `caching`."""
    now = _CACHING.get()
    return None if now is None else now[0] / "networks" / f"{name}-{_digest(key, arrays)}"


def check_same(folder: Path, about: Any, what: str = "clips") -> None:
    """Note which training `folder` belongs to; UsageError where it holds an unfinished other one."""
    path, stamp = folder / STAMP, {"of": _digest(about)}
    try:
        found = io.read_json(path) if path.is_file() else stamp
    except ValueError:  # half written: pieces are found by what decides them
        found = stamp
    if found != stamp:
        raise UsageError(
            f"{folder} holds an unfinished training with other {what} or settings; repeat that one, or start again "
            "with --fresh."
        )
    io.write_json(path, stamp)


def _digest(key: Any, arrays: Sequence[Array | None] = ()) -> str:
    total = hashlib.sha256(json.dumps([__version__, key], default=str, sort_keys=True).encode())
    for each in arrays:
        total.update(b"-" if each is None else f"{each.dtype} {each.shape} ".encode() + each.tobytes())
    return total.hexdigest()[:32]
