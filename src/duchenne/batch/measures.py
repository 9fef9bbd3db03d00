"""Emotions, action units and micro-expressions of many clips: the tasks, and what a worker does with one clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from duchenne import io
from duchenne.batch.job import ClipJob, Options, Row, cache_of
from duchenne.batch.run import Task
from duchenne.errors import InputError
from duchenne.registry import READERS, check_reader
from duchenne.types import Json
from duchenne.workers.protocol import Heartbeat

if TYPE_CHECKING:
    import pandas as pd

    from duchenne.io import Block


def emotions_task(
    *,
    model: str | Path = "expression",
    second: bool = False,
    all_faces: bool = False,
    every: float = 0.1,
    flips: bool = True,
    reader: str = READERS[0],
    device: str = "auto",
    allow_truncated: bool = False,
    cache: bool = True,
) -> Task:
    """`expression.emotions.table` of each clip; the arguments are its own. ModelError before any clip is read."""
    from duchenne.expression import reading

    about = reading.load(model, device, in_colour=True)[1]
    options: Json = {
        "second": second, "all_faces": all_faces, "every": every, "flips": flips, "device": device,
        "reader": check_reader(reader), "allow_truncated": allow_truncated,
    }  # fmt: skip
    return _task("emotions", options, about, _path(model), cache)


def units_task(
    *,
    neutral: tuple[float, float] | str | None = None,
    all_faces: bool = False,
    every: float = 0.1,
    allow_truncated: bool = False,
    cache: bool = True,
) -> Task:
    """`units.table.table` of each clip; the arguments are its own."""
    from duchenne.units import reading

    shown = list(neutral) if isinstance(neutral, tuple) else neutral
    options: Json = {"neutral": shown, "all_faces": all_faces, "every": every, "allow_truncated": allow_truncated}
    return _task("units", {"reader": READERS[0], **options}, reading.load()[1], "units", cache)


def micro_task(
    *,
    model: str | Path | None = None,
    reader: str = READERS[0],
    device: str = "auto",
    allow_truncated: bool = False,
    cache: bool = True,
) -> Task:
    """`micro.examine` of each clip; the arguments are its own."""
    from duchenne import checkpoints
    from duchenne.micro.model import MicroModel

    about = {} if model is None else checkpoints.load_as(model, MicroModel)[1]
    options: Json = {"reader": check_reader(reader), "device": device, "allow_truncated": allow_truncated}
    return _task("micro-expressions", options, about, None if model is None else _path(model), cache)


def _task(kind: str, options: Json, about: Json, model: str | None, cache: bool) -> Task:
    identity = {name: about[name] for name in ("id", "sha256") if name in about}
    return Task(kind, {"model": model, "cache": cache, **options}, {"model": identity, **options}, f"{kind}/{{}}.csv")


def _path(model: str | Path) -> str:
    """Workers have another working directory."""
    from duchenne import checkpoints

    return str(model) if str(model) in checkpoints.shipped() else str(Path(model).absolute())


def emotions_clip(job: ClipJob, options: Options, heartbeat: Heartbeat) -> list[Row]:
    """Write the emotions of a clip over time to `job.place`; a row per face with the means."""
    from duchenne.expression import emotions

    names = ("model", "second", "all_faces", "every", "flips", "device", "reader", "allow_truncated")
    table = _written(job, options, heartbeat, emotions.table, names)
    kept = [name for name in table.columns if name not in emotions.COLUMNS]

    def row(part: pd.DataFrame) -> Row:
        means = part[kept].mean()
        found: Row = {f"p_{name}": round(float(value), 4) for name, value in means.items()}
        return {"shows": means.idxmax() if "emotion" in part else None, **found}

    return _rows(table, row)


def units_clip(job: ClipJob, options: Options, heartbeat: Heartbeat) -> list[Row]:
    """Write the action units of a clip over time to `job.place`; a row per face with highest and mean probabilities."""
    from duchenne.units import table as of

    given = options["neutral"]
    options = {**options, "neutral": tuple(given) if isinstance(given, list) else given}
    table = _written(job, options, heartbeat, of.table, ("neutral", "all_faces", "every", "allow_truncated"))
    names = [name for name in table.columns if name.startswith("AU")]

    def row(part: pd.DataFrame) -> Row:
        found: Row = {}
        for name in names:
            found |= {f"{name}_peak": round(part[name].max(), 4), f"{name}_mean": round(part[name].mean(), 4)}
        return found

    return _rows(table, row)


def micro_clip(job: ClipJob, options: Options, heartbeat: Heartbeat) -> list[Row]:
    """Write the micro-expressions of a clip to `job.place`; one row with their number."""
    from duchenne import micro

    given: Json = {**job.stretch, **{name: options[name] for name in ("model", "reader", "device", "allow_truncated")}}
    given["device"] = "cpu" if given["device"] == "auto" else given["device"]
    found = micro.examine(job.path, **given, on_frame=heartbeat, read=cache_of(options).read_faces)
    micro.save(found, job.unfinished)
    row: Row = {"face": 0, "frames": found.frames, "seconds": round(found.duration, 6), "rate": round(found.rate, 3)}
    row |= {"seen": found.seen, "coverage": round(found.seen / found.frames, 4), "spots": len(found.spots)}
    return [row | {"warnings": " ".join(found.warnings)}]


def _written(
    job: ClipJob, options: Options, heartbeat: Heartbeat, make: Callable[..., pd.DataFrame], names: tuple[str, ...]
) -> pd.DataFrame:
    """The table of a clip's faces over time, which is written to `job.place`; InputError for one that has none."""

    def read(path: str | Path, **given: Any) -> Iterator[Block]:
        return cache_of(options).read_faces(path, **{**given, "start": job.start, "end": job.end})

    settings = {name: options[name] for name in names}
    table = make(job.path, **settings, rate=job.rate, tick=heartbeat, read=read)
    if not table["face"].notna().any():
        reasons = [*table["problem"].dropna(), f"{job.path} shows no face; record it from the front, closer."]
        raise InputError(str(reasons[0]))
    io.write_table(job.unfinished, table.assign(file=job.name))
    return table


def _rows(table: pd.DataFrame, row: Callable[[pd.DataFrame], Row]) -> list[Row]:
    """A row per face: the moments that were read, and `row` of them."""
    out = []
    moments = table["time"].nunique() if "time" in table else 1
    last = float(table["time"].max()) if "time" in table else 0.0
    for face, part in table[table["face"].notna()].groupby("face"):
        about: Row = {"face": int(face), "frames": int(moments), "seconds": round(last, 3), "seen": len(part)}
        out.append({**about, "coverage": round(len(part) / moments, 4), **_plain(row(part)), "warnings": ""})
    return out


def _plain(row: Row) -> Row:
    return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}
