"""State of a run: its settings, a record per finished clip, and a lock against a second run.

A record is written after the results that it vouches for are on the disk, and names their sizes and sha256. Whatever a
power cut may have left of settings, records and results is recognized, and the clip is processed again.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from duchenne import io
from duchenne.batch.plan import STATE, Item
from duchenne.errors import OutputError, UsageError
from duchenne.types import Json, JsonMap

FORMAT = 4  # of the state folder; 1, 3: columns of other names; 2: without hashes of the results
TABLES = ("clips.csv", "codebook.csv", "failures.csv", "summary.json", "index.html")
_START = 30.0  # s to wait for shards that start at the same time
_TABLES = 600.0  # s to wait for another shard to write tables


class State:
    """State of one output folder, made by `hold`.

    scratch   holds this run's unfinished files
    settings  digest of what all results in this folder have in common
    layout    `Task.place`, where the results of a clip are
    personal  whether the results of a clip depend on its subject, as those of a calibration do
    """

    def __init__(self, out: Path, scratch: Path, settings: str, layout: str = "{}", *, personal: bool = False) -> None:
        self.out, self.folder, self.scratch = out, out / STATE, scratch
        self.settings, self.layout, self.personal = settings, layout, personal

    def read(self, item: Item, *, verify: bool = False) -> Json | None:
        """The record of a clip, {"rows": …, "files": …} or {"failure": sentence}; None if it is not done.

        A clip that has changed since is not done, nor one whose results are not those that were recorded: their sizes
        are compared, to `verify` also their sha256.
        """
        try:
            record: Json = io.read_json(self._record(item.key))
            stamp = record["stamp"] if record["stamp"] is None else tuple(record["stamp"])
            if (
                stamp != item.stamp
                or record["settings"] != self.settings
                or (self.personal and record["subject"] != item.listed.get("subject"))
                or ("rows" in record) == ("failure" in record)
            ):
                return None
            place = self.out / self.layout.format(item.place)
            for name, (size, digest) in record.get("files", {}).items():
                file = place / name
                if file.stat().st_size != size or (verify and io.sha256(file) != digest):
                    return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return record

    def write(self, item: Item, **outcome: object) -> None:
        """Record rows=… and files=…, or failure=… of a clip atomically; OutputError if that fails."""
        about = {"file": item.name, "stamp": item.stamp, "settings": self.settings}
        if self.personal:
            about["subject"] = item.listed.get("subject")
        io.write_json(self._record(item.key), {**about, **outcome})

    def discard(self, item: Item) -> None:
        """Remove the record of a clip."""
        self._record(item.key).unlink(missing_ok=True)

    def gone(self, items: list[Item]) -> int:
        """Number of recorded clips that are not among `items`."""
        known = {item.key for item in items}
        return sum(path.stem not in known for path in (self.folder / "clips").glob("*/*.json"))

    @contextmanager
    def tables(self) -> Iterator[None]:
        """Lock for writing the tables."""
        with _locked(self.folder / "lock-tables", _TABLES, self.out):
            yield

    def _record(self, key: str) -> Path:
        return self.folder / "clips" / key[:2] / f"{key}.json"


@contextmanager
def hold(
    out: Path,
    settings: JsonMap,
    shard: tuple[int, int] | None = None,
    layout: str = "{}",
    *,
    personal: bool = False,
) -> Iterator[State]:
    """The state of `out`, locked against other runs; shards (i, n) with the same n share it. The rest as in `State`.

    UsageError if `out` holds other results or other settings, or while another run uses it.
    """
    folder = out / STATE
    if not folder.exists() and (others := [name for name in TABLES if (out / name).exists()]):
        raise UsageError(f"{out} holds {others[0]} of another program; choose another folder for the results.")
    io.check_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    name = "lock" if shard is None else f"lock-{shard[0]}-of-{shard[1]}"
    with ExitStack() as run, ExitStack() as start:
        (start if shard else run).enter_context(_locked(folder / "lock", _START if shard else 0.0, out))
        for other in folder.glob("lock-*-of-*"):
            if shard is None or not other.name.endswith(f"-of-{shard[1]}"):
                with _locked(other, 0.0, out):
                    pass
        if shard:
            run.enter_context(_locked(folder / name, 0.0, out))
        digest = _check_settings(out, settings)
        start.close()
        scratch = folder / "work" / name
        shutil.rmtree(scratch if shard else scratch.parent, ignore_errors=True)  # left by killed runs
        try:
            yield State(out, scratch / uuid4().hex, digest, layout, personal=personal)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _locked(path: Path, timeout: float, out: Path) -> Iterator[None]:
    lock = FileLock(path, timeout=timeout)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(f"Another run is using {out}; wait until it ends or choose another folder.") from error
    except (OSError, NotImplementedError) as error:
        raise OutputError(f"{out} cannot be locked ({error}); choose a disk that supports file locks.") from error
    try:
        yield
    finally:
        lock.release()


def _check_settings(out: Path, settings: JsonMap) -> str:
    """Write the settings of a new folder, or compare them with those of its results; their digest.

    Damaged ones are written again: the digest in a record tells which settings it was made with.
    """
    path = out / STATE / "settings.json"
    current = json.loads(json.dumps(io.plain({"format": FORMAT, **settings})))
    digest = hashlib.sha256(json.dumps(current, sort_keys=True).encode()).hexdigest()
    try:
        recorded = io.read_json(path)
        there, here = _flat(recorded), _flat(current)
    except (OSError, ValueError, AttributeError):
        io.write_json(path, current)
        return digest
    if recorded.get("format") != FORMAT:
        raise UsageError(f"{out} holds results of another version of duchenne; choose another folder for these.")
    names = sorted(there.keys() | here.keys(), key=lambda name: (name != "task", name))
    differ = [name for name in names if there.get(name) != here.get(name)]
    if differ:
        details = ", ".join(f"{name} {there.get(name)} there and {here.get(name)} here" for name in differ[:3])
        more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
        raise UsageError(f"{out} holds results with other settings ({details}{more}); choose another folder.")
    return digest


def _flat(tree: JsonMap, before: str = "") -> Json:
    flat: Json = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{before}{name} ") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return flat


def shard_of(text: str | None) -> tuple[int, int] | None:
    """(3, 16) of "3/16"; UsageError for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard must look like 3/16, the third of sixteen shards; found '{text}'.")
    return int(match[1]), int(match[2])
