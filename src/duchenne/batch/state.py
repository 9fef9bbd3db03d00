"""What a run remembers: its settings, a small file per clip that is done, and a lock against a second run."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from duchenne import io
from duchenne.batch.plan import STATE, Item
from duchenne.errors import OutputError, UsageError

FORMAT = 2  # of the state folder; 1: duchenne 0.1.0 with columns of other names
TABLES = ("clips.csv", "failures.csv", "summary.json", "index.html")
_BRIEF = 30.0  # s that shards which start together wait for one another, and
_LONG = 600.0  # s for one another's tables


class State:
    """The state of one folder of results; make one with `hold`. `scratch` is this run's own, for unfinished files."""

    def __init__(self, out: Path, scratch: Path) -> None:
        self.out, self.folder, self.scratch = out, out / STATE, scratch

    def read(self, item: Item, *, changed: bool = False) -> dict[str, Any] | None:
        """What was recorded of a clip, {"rows": …} or {"failure": sentence}; None where it is not done.

        A clip whose file is another than then is not done; `changed` takes what there is.
        """
        try:
            found: dict[str, Any] = json.loads(self._place(item.key).read_bytes())
            stamp = found["stamp"] if found["stamp"] is None else tuple(found["stamp"])
            whole = ("rows" in found) != ("failure" in found)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if whole and (changed or stamp == item.stamp) else None

    def write(self, item: Item, **what: Any) -> None:
        """Record rows=… or failure=… of a clip in one step; OutputError where it cannot be."""
        io.write_json(self._place(item.key), {"file": item.name, "stamp": item.stamp, **what})

    def gone(self, items: list[Item]) -> int:
        """How many clips that were done are not among `items`."""
        known = {item.key for item in items}
        return sum(path.stem not in known for path in (self.folder / "clips").glob("*/*.json"))

    @contextmanager
    def tables(self) -> Iterator[None]:
        """While tables are written: one run at a time."""
        with _held(self.folder / "lock-tables", _LONG, self.out):
            yield

    def _place(self, key: str) -> Path:
        return self.folder / "clips" / key[:2] / f"{key}.json"


@contextmanager
def hold(out: Path, settings: Mapping[str, Any], shard: tuple[int, int] | None = None) -> Iterator[State]:
    """The state of `out` while nobody else works on it; shards of one number share it.

    UsageError for results of something else or with other settings, and where another run is at work.
    """
    folder = out / STATE
    if not folder.exists() and (others := [name for name in TABLES if (out / name).exists()]):
        raise UsageError(f"{out} holds {others[0]} of something else; choose another folder for the results.")
    io.check_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    name = "lock" if shard is None else f"lock-{shard[0]}-of-{shard[1]}"
    with ExitStack() as run, ExitStack() as start:
        (start if shard else run).enter_context(_held(folder / "lock", _BRIEF if shard else 0.0, out))
        for other in folder.glob("lock-*-of-*"):
            if shard is None or not other.name.endswith(f"-of-{shard[1]}"):
                with _held(other, 0.0, out):
                    pass
        if shard:
            run.enter_context(_held(folder / name, 0.0, out))
        _agree(out, settings)
        start.close()
        room = folder / "work" / name
        shutil.rmtree(room if shard else room.parent, ignore_errors=True)  # what runs that were killed left
        try:
            yield State(out, room / uuid4().hex)
        finally:
            shutil.rmtree(room, ignore_errors=True)


@contextmanager
def _held(path: Path, wait: float, out: Path) -> Iterator[None]:
    lock = FileLock(path, timeout=wait)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(f"Another run is at work on {out}; wait for its end or choose another folder.") from error
    except (OSError, NotImplementedError) as error:
        raise OutputError(f"{out} cannot be locked ({error}); choose a folder on a disk that knows locks.") from error
    try:
        yield
    finally:
        lock.release()


def _agree(out: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings of a new folder, or compare them with those that its results were made with."""
    path = out / STATE / "settings.json"
    wanted = json.loads(json.dumps(io.plain({"format": FORMAT, **settings})))
    if not path.exists():
        io.write_json(path, wanted)
        return
    try:
        found = json.loads(path.read_bytes())
        there, here = _flat(found), _flat(wanted)
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is damaged ({error}); choose another folder for the results.") from error
    if found.get("format") != FORMAT:
        raise UsageError(f"{out} holds results of another version of duchenne; choose another folder for these.")
    names = sorted(there.keys() | here.keys(), key=lambda name: (name != "task", name))
    differ = [name for name in names if there.get(name) != here.get(name)]
    if differ:
        words = ", ".join(f"{name} {there.get(name)} there and {here.get(name)} here" for name in differ[:3])
        more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
        raise UsageError(f"{out} holds results of other settings ({words}{more}); choose another folder.")


def _flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{before}{name} ") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return flat


def shard_of(text: str | None) -> tuple[int, int] | None:
    """(3, 16) of "3/16"; UsageError for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard '{text}' is no share; expected for example 3/16, the third of sixteen.")
    return int(match[1]), int(match[2])
