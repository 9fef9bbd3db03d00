"""The catalogue of data sets: contents, terms, access, known faults and layouts on disk.

One TOML per data set in the folder `catalog`. Nothing is ever downloaded: messages say whom to ask for a set.
"""

from __future__ import annotations

import tomllib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from duchenne.datasets import layouts, manifest
from duchenne.datasets.entry import Entry
from duchenne.errors import InputError, UsageError, meant

_MAX_GROUPS = 10  # groups of identical files that a report lists; the others are counted


@dataclass(frozen=True)
class Layout:
    """One way in which a data set may lie on disk; `rules` are for the reader `how` (`layouts.READERS`).

    `count` and `people` are those of a complete copy, None where none is known.
    """

    name: str
    expects: str
    how: str
    count: int | None = None
    people: int | None = None
    rules: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSet:
    """The catalogue entry of a data set; facts that could not be verified are None or empty.

    `task` is the kind of labels, `access` is "agreement", "request" or "open", `rate` is in frames/s.
    """

    id: str
    title: str
    about: str
    task: str
    citation: str
    access: str
    terms: str
    how_to_get: str
    labels: tuple[str, ...]
    faults: tuple[str, ...]
    sources: tuple[str, ...]
    layouts: tuple[Layout, ...]
    emotions: tuple[str, ...] = ()
    doi: str | None = None
    url: str | None = None
    rate: float | None = None
    people: int | None = None
    clips: int | None = None


@dataclass(frozen=True)
class Report:
    """What `check` found: counts ("unknown" for unlabelled clips), what is missing and what is inconsistent."""

    corpus: str
    layout: str
    clips: int
    people: int
    labels: Mapping[str, int]
    emotions: Mapping[str, int]
    missing: tuple[str, ...]
    odd: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is missing or odd."""
        return not self.missing and not self.odd


@cache
def _all() -> dict[str, DataSet]:
    folder = resources("duchenne.datasets") / "catalog"
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".toml"))
    texts = {name.removesuffix(".toml"): (folder / name).read_text("utf-8") for name in names}
    return {name: _data_set(name, tomllib.loads(text)) for name, text in texts.items()}


def data_sets() -> dict[str, DataSet]:
    """Every data set of the catalogue by its name."""
    return dict(_all())


def load(name: str) -> DataSet:
    """The data set called `name`, case aside; UsageError names the known ones."""
    known = _all()
    key = name.strip().lower().replace("_", "-")
    if key not in known:
        raise UsageError(
            f"There is no data set '{name}' in the catalogue{meant(name, known)}; choose one of: {', '.join(known)}."
        )
    return known[key]


def entries(name: str, root: str | Path, *, layout: str | None = None) -> list[Entry]:
    """The clips of the data set `name` in the folder `root`, by path; `root` may be a table or packed file itself.

    The first layout that matches is used, unless `layout` names one. A row of a file has the path
    "points.npz#3" (from 0); an unknown person, emotion or label is None. UsageError on an unknown name;
    InputError where `root` has no known layout or a damaged one.
    """
    return _find(load(name), Path(root), layout)[1]


def check(name: str, root: str | Path, *, layout: str | None = None) -> Report:
    """Compare the folder `root` with a complete copy according to the catalogue; errors as `entries`."""
    data_set, root = load(name), Path(root)
    chosen, found = _find(data_set, root, layout)
    base = root if root.is_dir() else root.parent
    people = {entry.clip.subject for entry in found} - {None}
    incomplete, repeated = _completeness(chosen, found)
    too_few, too_many = _counts(chosen, len(found), len(people))
    return Report(
        corpus=data_set.id,
        layout=chosen.name,
        clips=len(found),
        people=len(people),
        labels=_tally([entry.clip.label for entry in found]),
        emotions=_tally([entry.clip.emotion for entry in found]),
        missing=(*too_few, *incomplete, *_absent(found, base)),
        odd=(
            *(*too_many, *repeated, *_empty(found, base), *_notes(found, base)),
            *(*_unmatched(chosen, found, base), *_copies(chosen, found, base)),
        ),
    )


def _data_set(name: str, data: dict[str, Any]) -> DataSet:
    own = ("name", "expects", "how", "count", "people")
    ways = tuple(
        Layout(
            **{key: value for key, value in way.items() if key in own},
            rules={key: value for key, value in way.items() if key not in own},
        )
        for way in data.pop("layout")
    )
    facts: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return DataSet(id=name, layouts=ways, **facts)


def _find(data_set: DataSet, root: Path, layout: str | None) -> tuple[Layout, list[Entry]]:
    """The layout that `root` has, and its entries by path and row."""
    ways = [way for way in data_set.layouts if layout in (None, way.name)]
    if not ways:
        known = ", ".join(way.name for way in data_set.layouts)
        raise UsageError(f"{data_set.title} has no layout '{layout}'; choose one of: {known}.")
    base = root
    if root.is_file():
        base = root.parent
        ways = [way for way in ways if str(way.rules.get("file", "")).lower() == root.name.lower()]
    elif not root.is_dir():
        raise InputError(f"There is no folder {root}; {_expected(data_set)}.")
    for way in ways:
        if found := layouts.READERS[way.how](base, way.rules):
            return way, sorted(found, key=_order)
    raise InputError(f"{root} holds no copy of {data_set.title} in a known layout; {_expected(data_set)}.")


def _expected(data_set: DataSet) -> str:
    ways = "; or ".join(_phrase(way.expects) for way in data_set.layouts)
    return f"expected {ways} (to get the set: {_phrase(data_set.how_to_get)})"


def _phrase(sentence: str) -> str:
    """A sentence as part of another one."""
    text = sentence.strip().rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def _order(entry: Entry) -> tuple[str, int, str]:
    file, _, row = entry.clip.path.rpartition("#")
    return (file, int(row), "") if row.isdigit() else (entry.clip.path, -1, row)


def _tally(names: Sequence[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(name or "unknown" for name in names).items()))


def _counts(layout: Layout, clips: int, people: int) -> tuple[list[str], list[str]]:
    """Differences in number from a complete copy: (missing, odd)."""
    missing: list[str] = []
    odd: list[str] = []
    for what, found, full in (("clips", clips, layout.count), ("people", people, layout.people)):
        if full is not None and found != full:
            (missing if found < full else odd).append(f"a complete copy has {full} {what}, found {found}")
    return missing, odd


def _completeness(layout: Layout, found: list[Entry]) -> tuple[list[str], list[str]]:
    """(missing, repeated) codes of each person."""
    full: Sequence[str] = layout.rules.get("complete", ())
    codes: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in found if full else ():
        codes[entry.clip.subject or "unknown"][entry.facts["code"]] += 1
    missing = {person: [code for code in full if not have[code]] for person, have in codes.items()}
    double = {person: [code for code in full if have[code] > 1] for person, have in codes.items()}
    return (
        [f"person {person} lacks {', '.join(names)}" for person, names in missing.items() if names],
        [f"person {person} has {', '.join(names)} more than once" for person, names in double.items() if names],
    )


def _absent(found: list[Entry], base: Path) -> list[str]:
    """Clips that a sheet lists and that are not on disk."""
    paths = dict.fromkeys(Path(manifest.split_path(entry.clip.path)[0]) for entry in found)
    return [f"{_short(path, base)} does not exist" for path in paths if not path.exists()]


def _notes(found: list[Entry], base: Path) -> list[str]:
    """What loaders note about single clips; `_copies` reports identical files."""
    notes = [(entry, entry.facts.get("note", "")) for entry in found]
    return [f"{_short(Path(e.clip.path), base)}: {note}" for e, note in notes if note and "identical" not in note]


def _empty(found: list[Entry], base: Path) -> list[str]:
    paths = [Path(entry.clip.path) for entry in found]
    return [f"{_short(path, base)} is empty" for path in paths if path.is_file() and not path.stat().st_size]


def _unmatched(layout: Layout, found: list[Entry], base: Path) -> list[str]:
    """Files with a clip's suffix whose names do not match the layout."""
    if layout.how != "files":
        return []
    known = {entry.clip.path for entry in found}
    kinds = {Path(path).suffix.lower() for path in known}
    others = [p for p in layouts.walk(base) if p.suffix.lower() in kinds and str(p) not in known]
    if not others:
        return []
    named = ", ".join(_short(path, base) for path in others[:3])
    return [f"names that do not match this layout: {named}" + (f" and {len(others) - 3} more" if others[3:] else "")]


def _copies(layout: Layout, found: list[Entry], base: Path) -> list[str]:
    """Byte-identical clips, with the catalogue's note on known ones."""
    by_path = {entry.clip.path: entry for entry in found}
    groups, lines = layouts.copies(by_path), []
    for group in groups[:_MAX_GROUPS]:
        clips = [by_path[path] for path in group]
        codes, people = sorted(clip.facts.get("code", "") for clip in clips), {clip.clip.subject for clip in clips}
        known = [way["fault"] for way in layout.rules.get("known", ()) if sorted(way["codes"]) == codes]
        note = f" ({known[0]})" if known and len(people) == 1 else ""
        lines.append(f"byte-identical: {', '.join(_short(Path(path), base) for path in group)}{note}")
    return lines + (
        [f"{len(groups) - _MAX_GROUPS} more groups of byte-identical files"] if groups[_MAX_GROUPS:] else []
    )


def _short(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)
