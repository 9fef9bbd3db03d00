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
from duchenne.tables import codebook, columns
from duchenne.types import Json, JsonMap

if TYPE_CHECKING:
    from duchenne.report.batch_page import Line

_LINKS = {"report": "html", "thumb": "jpg"}
_KEPT = ("subject", "emotion", "label", "fold")  # columns of a manifest that every table has
#: Task → columns of clips.csv before those of the manifest; docs/codebook.md describes them.
COLUMNS: dict[str, tuple[str, ...]] = {
    "extract": tuple(columns.FACES),
    "analyze": tuple(columns.VERDICTS),
    "emotions": tuple(columns.EMOTIONS_SEEN),
    "units": tuple(columns.UNITS_SEEN),
    "micro-expressions": tuple(columns.SPOTS),
}


def assemble(plan: Plan, state: State, task: str, settings: JsonMap, card: JsonMap | None = None) -> Json:
    """Write clips.csv, its codebook.csv, failures.csv, summary.json and, for verdicts, index.html from the records;
    return the summary.

    `card` is that of the model. The same records give the same bytes, in whatever order they were made.
    """
    total: Counter[str] = Counter(faces=0, frames=0)
    seconds = 0.0
    lines: list[Line] = []
    more = columns.manifest_names(
        {name: text for name, text in i.listed.items() if name not in _KEPT} for i in plan.items
    )
    names = (*columns.CLIP, *more.values(), *(name for name in COLUMNS[task] if name not in columns.CLIP))
    with (
        state.tables(),
        _table(state, "clips.csv", names) as clips,
        _table(state, "failures.csv", ("file", "clip_start", "clip_end", "sentence")) as failures,
    ):
        for item in plan.items:
            record = state.read(item)
            if record is None:
                total["left"] += 1
                continue
            about = _listed(item, more) | {"file": item.name, "clip_start": item.start, "clip_end": item.end}
            found = record.get("rows") or [columns.failed(record["failure"])]
            for row in found:
                clips([_cell((about | row).get(name)) for name in names])
            if "failure" in record:
                total["failed"] += 1
                failures([item.name, item.start, item.end, _cell(record["failure"])])
            else:
                total.update(done=1, faces=len(found), frames=found[0]["frames"])
                total.update(f"verdict {row.get('verdict')}" for row in found)
                seconds += found[0]["seconds"]
            if task == "analyze":
                lines += _lines(state.out, item, found)
        counts = {name: total[name] for name in ("done", "failed", "left", "faces", "frames")}
        summary: Json = {"task": task, "clips": len(plan.items), **counts, "seconds": round(seconds, 3)}
        if task == "analyze":
            summary |= {name: total[f"verdict {name}"] for name in ("genuine", "posed", "abstained")}
        summary |= settings
        _write(state, "codebook.csv", codebook.table(names, more))
        io.write_json(state.scratch / "summary.json", summary)
        publish({state.scratch / "summary.json": state.out / "summary.json"})
        if task == "analyze":
            from duchenne.report.batch_page import render

            _write(state, "index.html", render(lines, summary, card or {}))
    return summary


def _write(state: State, name: str, text: str) -> None:
    io.write_text(state.scratch / name, text)
    publish({state.scratch / name: state.out / name})


def _listed(item: Item, more: Mapping[str, str]) -> Json:
    """The cells of the manifest, by the names that they have in tables."""
    return {more.get(name, name): text for name, text in item.listed.items()}


def _lines(out: Path, item: Item, rows: Sequence[JsonMap]) -> Iterator[Line]:
    """What the report shows of a clip: one line per face, or its failure."""
    from duchenne.report.batch_page import Line
    from duchenne.report.pages import file_name

    for n, row in enumerate(rows):
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
def _table(state: State, name: str, names: tuple[str, ...]) -> Iterator[Callable[[Sequence[object]], object]]:
    """A function that writes a row of OUT/`name`, a CSV which appears when the context ends."""
    path = state.scratch / name
    with io.atomic(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        write = row_writer(file)
        write([_cell(each) for each in names])
        yield write
    publish({path: state.out / name})


def _cell(value: object) -> object:
    """A value as it is written in a table: booleans as 1 and 0, text printable."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return printable(value)
    return value
