"""The tables of a batch, written in the order of its clips from their records."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from duchenne import io
from duchenne.batch.plan import Item, Plan
from duchenne.batch.state import State
from duchenne.errors import OutputError, printable
from duchenne.io import row_writer
from duchenne.types import EMOTIONS, MOMENTS, Json, JsonMap

if TYPE_CHECKING:
    from duchenne.report.batch_page import Line

_CLIP_COLUMNS = ("file", "clip_start", "clip_end")
_FACE_COLUMNS = ("face", "frames", "seconds", "rate", "stored_rate")
_LINKS = {"report": "html", "thumb": "jpg"}
_QUALITY_COLUMNS = (
    "seen",
    "coverage",
    "longest_gap",
    "face_size",
    "jitter",
    "confidence",
    "sharpness",
    "contrast",
    "overexposed",
    "underexposed",
)
#: Task → columns of clips.csv, described in docs/batch.md.
COLUMNS: dict[str, tuple[str, ...]] = {
    "extract": (*_CLIP_COLUMNS, *_FACE_COLUMNS, "width", "height", *_QUALITY_COLUMNS, "warnings"),
    "analyze": (
        *(*_CLIP_COLUMNS, *_FACE_COLUMNS, *_QUALITY_COLUMNS, "p_genuine", "label", "abstained", "reason", "emotion"),
        *(*(f"p_{e}" for e in EMOTIONS), "p_neutral", "familiar", "phases"),
        *("judged_start", "judged_end", *MOMENTS, "warnings"),
    ),
}


def assemble(plan: Plan, state: State, task: str, settings: JsonMap, card: JsonMap | None = None) -> Json:
    """Write clips.csv, failures.csv, summary.json and, for verdicts, index.html from the records; return the summary.

    `card` is that of the model. The same records give the same bytes, in whatever order they were made.
    """
    total: Counter[str] = Counter(faces=0, frames=0)
    seconds = 0.0
    lines: list[Line] = []
    with (
        state.tables(),
        _table(state, "clips.csv", COLUMNS[task]) as clips,
        _table(state, "failures.csv", (*_CLIP_COLUMNS, "sentence")) as failures,
    ):
        for item in plan.items:
            record = state.read(item)
            if record is None:
                total["left"] += 1
            elif "failure" in record:
                total["failed"] += 1
                failures([*_clip_cells(item), _cell(record["failure"])])
            else:
                total["done"] += 1
                for row in record["rows"]:
                    clips([*_clip_cells(item), *(_cell(row.get(name)) for name in COLUMNS[task][len(_CLIP_COLUMNS) :])])
                    total["faces"] += 1
                    total[f"label {'abstained' if row.get('abstained') else row.get('label')}"] += 1
                total["frames"] += record["rows"][0]["frames"]
                seconds += record["rows"][0]["seconds"]
            if task == "analyze" and record is not None:
                lines += _lines(state.out, item, record)
        counts = {name: total[name] for name in ("done", "failed", "left", "faces", "frames")}
        labels = {name: total[f"label {name}"] for name in ("genuine", "posed", "abstained")}
        summary: Json = {"task": task, "clips": len(plan.items), **counts, "seconds": round(seconds, 3)}
        summary |= {**(labels if task == "analyze" else {}), **settings}
        io.write_json(state.scratch / "summary.json", summary)
        publish({state.scratch / "summary.json": state.out / "summary.json"})
        if task == "analyze":
            from duchenne.report.batch_page import render

            io.write_text(state.scratch / "index.html", render(lines, summary, card or {}))
            publish({state.scratch / "index.html": state.out / "index.html"})
    return summary


def _lines(out: Path, item: Item, record: JsonMap) -> Iterator[Line]:
    """What the report shows of a clip: one line per face, or its failure."""
    from duchenne.report.batch_page import Line
    from duchenne.report.pages import file_name

    for n, row in enumerate(record.get("rows") or [{"failure": record.get("failure")}]):
        files = {name: f"{item.place}/{file_name(n, name)}.{end}" for name, end in _LINKS.items()}
        links = {name: quote(os.fsencode(path)) if (out / path).exists() else "" for name, path in files.items()}
        yield Line(item.name, item.start, item.end, item.listed, row, **links)


def publish(files: Mapping[Path, Path]) -> None:
    """Move finished files to their places, durably, as `io.move`."""
    try:
        io.move(files)
    except OSError as error:
        target = error.filename2 or error.filename or next(iter(files.values()))
        raise OutputError(f"{target} cannot be written ({error.strerror or error}); check permissions.") from error


@contextmanager
def _table(state: State, name: str, columns: tuple[str, ...]) -> Iterator[Callable[[Sequence[object]], object]]:
    """A function that writes a row of OUT/`name`, a CSV which appears when the context ends."""
    path = state.scratch / name
    with io.atomic(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        write = row_writer(file)
        write(columns)
        yield write
    publish({path: state.out / name})


def _clip_cells(item: Item) -> tuple[object, ...]:
    return item.name, _cell(item.start), _cell(item.end)


def _cell(value: object) -> object:
    """A value as it is written in a table: booleans as 1 and 0, text printable."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return printable(value)
    return value
