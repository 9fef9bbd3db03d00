"""The report of a batch: distributions by group, and a sortable table of all clips.

This module prepares the values; `templates/batch_page.html.j2` is the markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from duchenne.plots.text import clamp, finite, number, percent
from duchenne.report import pages
from duchenne.types import CODES, EMOTIONS, LABELS, Array, Json, JsonMap
from duchenne.video import natural

PLAIN_ROWS = 300  # in the markup, for browsers without scripts
MAX_GROUPS = 40  # drawn; the others are counted together
MAX_PAIRED = 6  # groups between which lines of people are drawn
MAX_CONDITIONS = 12  # values of a further column of the manifest by which faces are grouped
_KNOWN = ("subject", "emotion", "label", "fold")
_BINS = 40  # columns between P(genuine) 0 and 1
_MAX_DOTS = 8  # in one column; above it bars are drawn
_DOT = 10  # px from one dot to the next
KINDS = {"genuine": "like spontaneous", "posed": "like posed", "abstained": "no verdict", "failed": "failed"}
#: Columns of the table: key, heading, whether it holds numbers.
_COLUMNS = (
    *(("clip", "Clip", False), ("face", "Face", True), ("verdict", "Verdict", False), ("p", "P(genuine)", True)),
    *(("emotion", "Emotion", False), ("judged", "Judged", False), ("rise", "Onset to apex", True)),
    *(("seconds", "Length", True), ("coverage", "Face seen", True)),
    *(("listed", "In manifest", False), ("note", "Notes", False)),
)
_OPTIONAL = ("face", "listed")  # columns left out if they hold no information


@dataclass(frozen=True, slots=True)
class Line:
    """A face of a clip, or a clip without a result.

    `row` as in clips.csv; `listed` the cells of the manifest's row; `report` and
    `thumb` URLs relative to the page, "" for none.
    """

    name: str
    start: float | None
    end: float | None
    listed: Mapping[str, str]
    row: JsonMap
    report: str = ""
    thumb: str = ""

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return str(self.row["verdict"])


def render(lines: Sequence[Line], summary: JsonMap, card: JsonMap) -> str:
    """The page as a string. `summary` as in summary.json; `card` of the model, with the limits of use as "says"."""
    css, script = (pages.asset("page.css") + pages.asset("batch_page.css"), pages.asset("batch_page.js"))
    kinds = Counter(line.kind for line in lines)
    rows = [_cells(line) for line in lines]
    shown = [key for key, _, _ in _COLUMNS if key not in _OPTIONAL or _needed(key, rows)]
    band = [clamp(100 * end) for end in card["abstain_band"]] if card.get("abstain_band") else None
    facts = summary.get("options", {})
    return pages.render(
        "batch_page.html.j2",
        s=summary,
        kinds={kind: kinds[kind] for kind in KINDS},
        words=KINDS,
        shares=_shares(kinds),
        card={**dict.fromkeys(("accuracy", "accuracy_interval", "data", "people", "limits", "says")), **card},
        groupings=_groupings(lines),
        band=band,
        counts=_counts(lines),
        columns=[column for column in _COLUMNS if column[0] in shown],
        rows=rows[:PLAIN_ROWS],
        data={"columns": shown, "numbers": [key for key, _, numbers in _COLUMNS if numbers], "words": KINDS}
        | {"keys": list(rows[0]) if rows else [], "rows": [list(row.values()) for row in rows]},
        model=facts.get("model", {}),
        options={key: value for key, value in facts.items() if key != "model" and value is not None},
        pictured=any(line.thumb for line in lines),
        css=css,
        script=script,
        policy=pages.policy(css, script, "img-src 'self' file:"),  # thumbnails are files beside the page
    )


# --- the table ----------------------------------------------------------------------------------------------


def _cells(line: Line) -> Json:
    """A row of the table, in sortable values; None if missing."""
    row = line.row
    rise = row["apex"] - row["onset"] if finite(row.get("apex")) and finite(row.get("onset")) else None
    note = " ".join(filter(None, (row.get("reason"), row.get("warnings"))))
    known = [line.listed.get(name) for name in ("label", "emotion", "subject")]
    return {
        "clip": line.name.rpartition("/")[2],
        "folder": "".join(line.name.rpartition("/")[:2]),
        "stretch": _stretch(line.start, line.end),
        "report": line.report,
        "thumb": line.thumb,
        "verdict": line.kind,
        "face": None if row.get("face") is None else row["face"] + 1,
        "p": row.get("p_genuine"),
        "emotion": row.get("shows"),
        "sure": row.get(f"p_{row.get('shows')}"),
        "judged": _span(row.get("judged_start"), row.get("judged_end")),
        "rise": None if rise is None else round(rise, 3),
        "seconds": None if row.get("seconds") is None else round(row["seconds"], 2),
        "coverage": row.get("coverage"),
        "listed": ", ".join(filter(None, known)),
        "note": note,
    }


def _span(start: float | None, end: float | None) -> str:
    return "" if start is None or end is None else f"{start:.2f}–{end:.2f} s"


def _needed(key: str, rows: Sequence[JsonMap]) -> bool:
    return any(row[key] not in (None, "", 1) for row in rows)


def _stretch(start: float | None, end: float | None) -> str:
    if start is None and end is None:
        return ""
    return f"from {number(start or 0.0, 's')}" + ("" if end is None else f" to {number(end, 's')}")


# --- distributions ------------------------------------------------------------------------------------------


def _groupings(lines: Sequence[Line]) -> list[Json]:
    """All groupings with more than one group, and all clips together; the default comes first."""
    ways: list[tuple[str, str, Callable[[Line], str | None]]] = [
        ("label", "label in the manifest", lambda line: line.listed.get("label") or None),
        ("folder", "folder", lambda line: "".join(line.name.removeprefix("./").split("/")[:-1][:1]) or None),
        ("subject", "subject", lambda line: line.listed.get("subject") or None),
        ("emotion", "emotion in the manifest", lambda line: line.listed.get("emotion") or None),
        ("shows", "predicted emotion", lambda line: line.row.get("shows")),
        *((f"manifest {name}", f"{name} in the manifest", _of(name)) for name in _conditions(lines)),
    ]
    groupings = []
    for key, title, name in ways:
        groups: dict[str | None, list[Line]] = {}
        for line in lines:
            groups.setdefault(name(line), []).append(line)
        if key == "shows":
            groups.pop(None, None)  # failures
        if len(groups) > 1 or (key in ("label", "emotion", "subject") and None not in groups and groups):
            groupings.append(_grouping(key, title, groups))
    ungrouped = _grouping("all", "nothing", {"All": list(lines)})
    at = 1 if groupings and groupings[0]["key"] in ("label", "folder") else 0
    return [*groupings[:at], ungrouped, *groupings[at:]]


def _conditions(lines: Sequence[Line]) -> list[str]:
    """Further columns of the manifest that make two groups or more, but not one for nearly every clip."""
    names = dict.fromkeys(name for line in lines for name in line.listed)
    values = {name: {line.listed.get(name) for line in lines} - {None, ""} for name in names if name not in _KNOWN}
    return [name for name, found in values.items() if 2 <= len(found) <= min(MAX_CONDITIONS, len(lines) // 2)]


def _of(name: str) -> Callable[[Line], str | None]:
    return lambda line: line.listed.get(name) or None


def _grouping(key: str, title: str, found: Mapping[str | None, Sequence[Line]]) -> Json:
    missing = {"folder": "(not in a folder)"}.get(key, "(not given)")
    drawn = sorted(found, key=lambda name: -len(found[name]))[:MAX_GROUPS]
    ordered = sorted(drawn, key=lambda name: _order(key, name))
    values = {name: _values(found[name]) for name in ordered}
    fullest = max((int(_binned(p).max(initial=0)) for p in values.values()), default=0)
    return {
        "key": key,
        "title": title,
        "dots": fullest <= _MAX_DOTS,
        "groups": [_group(name or missing, found[name], values[name], fullest) for name in ordered],
        "pairs": _pairs([found[name] for name in ordered]) if key not in ("all", "subject", "folder") else [],
        "more": len(found) - len(drawn),
        "more_faces": sum(len(each) for name, each in found.items() if name not in drawn),
        "people": len({line.listed.get("subject") for each in found.values() for line in each} - {None, ""}),
    }


def _pairs(groups: Sequence[Sequence[Line]]) -> list[Json]:
    """Lines between neighbouring groups, one a person who is in both: x in percent, y their mean P(genuine); none for
    more than `MAX_PAIRED` groups."""
    if not 2 <= len(groups) <= MAX_PAIRED:
        return []
    means = []
    for lines in groups:
        people: dict[str, list[Line]] = {}
        for line in lines:
            people.setdefault(line.listed.get("subject") or "", []).append(line)
        values = {name: _values(own) for name, own in people.items() if name}
        means.append({name: float(p.mean()) for name, p in values.items() if len(p)})
    at = [clamp(100 * (i + 0.5) / len(groups)) for i in range(len(groups))]
    return [
        {"x1": at[i], "x2": at[i + 1], "from": one[name], "to": other[name]}
        for i, (one, other) in enumerate(pairwise(means))
        for name in one
        if name in other
    ]


def _order(key: str, name: str | None) -> tuple[object, ...]:
    known = {"label": (*LABELS[::-1],), "emotion": EMOTIONS, "shows": EMOTIONS}.get(key, ())
    return (
        name is None,
        known.index(name) if name in known else len(known),
        natural(Path((name or "").replace("/", " "))),
    )


def _values(lines: Sequence[Line]) -> Array:
    return np.array([line.row["p_genuine"] for line in lines if finite(line.row.get("p_genuine"))], dtype=float)


def _binned(p: Array) -> Array:
    return np.bincount(np.clip((p * _BINS).astype(int), 0, _BINS - 1), minlength=_BINS)


def _group(name: str, lines: Sequence[Line], p: Array, fullest: int) -> Json:
    """One row of the figure: dots or bars in percent of the width and px from the base, quartiles, and counts."""
    kinds, columns = Counter(line.kind for line in lines), _binned(p)
    dots = fullest <= _MAX_DOTS
    high = max(1, int(columns.max()))
    marks = [
        {"x": clamp(100 * (column + 0.5) / _BINS), "kind": "genuine" if 2 * column >= _BINS else "posed", "rows": rows}
        for column, count in enumerate(map(int, columns))
        if count
        for rows in ([(r + 0.5) * _DOT for r in range(count)] if dots else [round(56 * count / high, 1)],)
    ]
    return {
        "name": name,
        "marks": marks,
        "height": (_DOT * high if dots else 56) + 6,
        "quartiles": [clamp(100 * float(q)) for q in np.quantile(p, (0.25, 0.5, 0.75))] if len(p) else None,
        "median": float(np.median(p)) if len(p) else None,
        "n": len(p),
        **{kind: kinds[kind] for kind in KINDS},
    }


# --- counts -------------------------------------------------------------------------------------------------


def _shares(kinds: Mapping[str, int]) -> list[Json]:
    """Parts of one bar: posed, no verdict, spontaneous, in percent of the faces."""
    names, total, at, parts = ("posed", "abstained", "genuine"), 0, 0.0, []
    total = sum(kinds[name] for name in names)
    for name in names if total else ():
        width = 100 * kinds[name] / total
        parts.append({"kind": name, "x": clamp(at), "width": clamp(width), "share": percent(width / 100)})
        at += width
    return parts


def _counts(lines: Sequence[Line]) -> list[Json]:
    """Tables of counts, the largest first: emotions, and reasons of abstention."""
    shows = Counter(str(line.row["shows"]) for line in lines if line.row.get("shows"))
    reasons = Counter(
        CODES.get(line.row["code"], str(line.row["code"]))
        for line in lines
        if line.kind == "abstained" and line.row.get("code")
    )
    titles = (("Emotions shown", shows), ("Reasons for no verdict", reasons))
    return [
        {"title": title, "rows": [(name, n, clamp(100 * n / max(found.values()))) for name, n in _ranked(found)]}
        for title, found in titles
        if found
    ]


def _ranked(found: Counter[str]) -> list[tuple[str, int]]:
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))
