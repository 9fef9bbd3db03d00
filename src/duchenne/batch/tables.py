"""The tables of a batch, put together in the order of its clips from what was recorded of each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote

from duchenne import io
from duchenne.batch.plan import Item, Plan, readable
from duchenne.batch.state import State
from duchenne.errors import OutputError
from duchenne.io import row_writer
from duchenne.types import EMOTIONS, MOMENTS

if TYPE_CHECKING:
    from duchenne.report.batch_page import Line

_CLIP = ("file", "clip_start", "clip_end")
_FACE = ("face", "frames", "seconds", "rate")
_SHOWN = {"report": "html", "thumb": "jpg"}
_SEEN = ("seen", "coverage", "longest_gap", "face_size", "jitter", "confidence", "sharpness")
#: Task → columns of clips.csv; docs/batch.md says what they are.
COLUMNS: dict[str, tuple[str, ...]] = {
    "extract": (*_CLIP, *_FACE, "width", "height", *_SEEN),
    "analyze": (
        *(*_CLIP, *_FACE, *_SEEN, "p_genuine", "label", "abstained", "reason", "emotion"),
        *(*(f"p_{e}" for e in EMOTIONS), "p_neutral", "familiar", "phases", *MOMENTS, "warnings"),
    ),
}


def assemble(
    plan: Plan, state: State, task: str, settings: Mapping[str, Any], card: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write clips.csv, failures.csv, summary.json and of verdicts index.html (`card`: of the model) from
    what is recorded, and return the summary.

    Only the clips of the plan count. The same records give the same bytes, in whatever order they were made.
    """
    total: Counter[str] = Counter(faces=0, frames=0)
    seconds = 0.0
    shown: list[Line] = []
    with (
        state.tables(),
        _table(state, "clips.csv", COLUMNS[task]) as clips,
        _table(state, "failures.csv", (*_CLIP, "sentence")) as failures,
    ):
        for item in plan.items:
            found = state.read(item, changed=True)
            if found is None:
                total["left"] += 1
            elif "failure" in found:
                total["failed"] += 1
                failures([*_who(item), _cell(found["failure"])])
            else:
                total["done"] += 1
                for row in found["rows"]:
                    clips([*_who(item), *(_cell(row.get(name)) for name in COLUMNS[task][len(_CLIP) :])])
                    total["faces"] += 1
                    total[f"label {'abstained' if row.get('abstained') else row.get('label')}"] += 1
                total["frames"] += found["rows"][0]["frames"]
                seconds += found["rows"][0]["seconds"]
            if task == "analyze" and found is not None:
                shown += _lines(state.out, item, found)
        counts = {name: total[name] for name in ("done", "failed", "left", "faces", "frames")}
        labels = {name: total[f"label {name}"] for name in ("genuine", "posed", "abstained")}
        summary: dict[str, Any] = {"task": task, "clips": len(plan.items), **counts, "seconds": round(seconds, 3)}
        summary |= {**(labels if task == "analyze" else {}), **settings}
        io.write_json(state.scratch / "summary.json", summary)
        publish(state.scratch / "summary.json", state.out / "summary.json")
        if task == "analyze":
            from duchenne.report.batch_page import render

            io.write_text(state.scratch / "index.html", render(shown, summary, card or {}))
            publish(state.scratch / "index.html", state.out / "index.html")
    return summary


def _lines(out: Path, item: Item, found: Mapping[str, Any]) -> Iterator[Line]:
    """What the page shows of a clip: one line per face, or its failure."""
    from duchenne.report.batch_page import Line
    from duchenne.report.pages import named

    for n, row in enumerate(found.get("rows") or [{"failure": found.get("failure")}]):
        files = {name: f"{item.place}/{named(n, name)}.{end}" for name, end in _SHOWN.items()}
        there = {name: quote(os.fsencode(path)) if (out / path).exists() else "" for name, path in files.items()}
        yield Line(item.name, item.start, item.end, item.listed, row, **there)


def publish(made: Path, place: Path) -> None:
    """Move a finished file to its place in one step, so that no half of it is ever seen there."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(made, place)  # noqa: PTH105
    except OSError as error:
        raise OutputError(f"A result cannot be written to {place} ({error.strerror or error}).") from error


@contextmanager
def _table(state: State, name: str, columns: tuple[str, ...]) -> Iterator[Callable[[Sequence[Any]], Any]]:
    """What writes a row of a CSV whose rows appear as OUT/`name` at the end."""
    made = state.scratch / name
    with io.atomic(made) as part, _text(part) as file:
        put = row_writer(file)
        put(columns)
        yield put
    publish(made, state.out / name)


def _text(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", newline="")


def _who(item: Item) -> tuple[Any, ...]:
    return item.name, _cell(item.start), _cell(item.end)


def _cell(value: Any) -> Any:
    """A value as a table holds it: 1 and 0, and text that can be read."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return readable(value)
    return value
