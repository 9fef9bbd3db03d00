"""How a copy of a data set may lie on disk: named files, a packed .npz, a table, or a reader function.

Every reader takes the folder and the rules of one `[[layout]]` of the catalogue, and returns no entries where
the folder holds something else; InputError, with file and row, where it is this layout but damaged.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from duchenne.datasets.entry import Entry
from duchenne.datasets.manifest import EMOTION_WORDS, LABEL_WORDS
from duchenne.errors import InputError
from duchenne.io import Table, read_arrays, shown, word
from duchenne.types import Clip

Rules = Mapping[str, Any]
_VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".m4v")


def files(root: Path, rules: Rules) -> list[Entry]:
    """Clips by their names: `pattern` is matched, case aside, with the POSIX path from `root`.

    Its groups are subject, emotion and label; `codes` maps the group code to emotion and label; `emotion` and
    `label` in the rules hold for all. Other groups, the code and a note on byte-identical clips become facts.
    """
    pattern = re.compile(rules["pattern"], re.IGNORECASE)
    codes = {code.lower(): {"code": code, **meaning} for code, meaning in rules.get("codes", {}).items()}
    found = []
    for path in walk(root):
        if match := pattern.fullmatch(path.relative_to(root).as_posix()):
            words = {name: text for name, text in match.groupdict().items() if text}
            words |= codes[words["code"].lower()] if codes else {}
            found.append(_entry(str(path), words, rules, str(path)))
    others = {path: group for group in copies(entry.clip.path for entry in found) for path in group}
    return [_with_note(entry, others.get(entry.clip.path, []), root) for entry in found]


def npz(root: Path, rules: Rules) -> list[Entry]:
    """Rows of the packed file `file`: `columns` names the arrays of subject, emotion and label, `facts` others."""
    path = _place(root, rules["file"])
    if path is None:
        return []
    try:
        stored = read_arrays(path, {*rules["columns"].values(), *rules.get("facts", ())})
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a packed .npz file ({error}); copy it again.") from error
    names = _columns(path, set(stored), rules, "arrays")
    arrays = {name: stored[array] for name, array in names.items()}
    lengths = {names[name]: array.shape for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
        raise InputError(f"{path} is damaged: its arrays should have one value per clip, but have {lengths}.")
    texts = {name: [_text(value) for value in array.tolist()] for name, array in arrays.items()}
    rows = zip(*texts.values(), strict=True)
    return [
        _entry(f"{path}#{i}", dict(zip(texts, row, strict=True)), rules, f"{path}, row {i},")
        for i, row in enumerate(rows)
    ]


def table(root: Path, rules: Rules) -> list[Entry]:
    """Rows of the CSV table `file`, with `columns` and `facts` as for packed files."""
    path = _place(root, rules["file"])
    if path is None:
        return []
    found = Table(path, lower=False, distinct=rules["columns"].values())
    names = _columns(path, set(found.names), rules, "columns")
    rows = ((row, {name: row.cells[column] for name, column in names.items()}) for row in (found if names else ()))
    return [_entry(f"{path}#{row.number}", words, rules, f"{row.where},") for row, words in rows]


def function(root: Path, rules: Rules) -> list[Entry]:
    """What the reader `function` ("module:object") of this data set returns for `root`."""
    module, _, name = rules["function"].partition(":")
    return list(getattr(import_module(module), name)(root))


READERS: dict[str, Callable[[Path, Rules], list[Entry]]] = {
    "files": files,
    "npz": npz,
    "csv": table,
    "function": function,
}


def uva_nemo(root: Path) -> list[Entry]:
    """UvA-NEMO's videos as its File_Details.txt lists them: file, person, gender, age, kind of smile, by tabs."""
    paths = list(walk(root))
    lists = [path for path in paths if path.name.lower().endswith("file_details.txt")]
    videos = {path.name.lower(): path for path in paths if path.suffix.lower() in _VIDEOS}
    if not lists or not videos:
        return []
    found = []
    for line, text in enumerate(lists[0].read_text("utf-8", errors="replace").splitlines(), 1):
        cells = [cell.strip() for cell in text.split("\t")]
        if not cells[0].lower().endswith(_VIDEOS):
            continue  # the list opens with a heading
        where = f"{lists[0]}, line {line},"
        if len(cells) < 5:
            raise InputError(f"{where} has {len(cells)} cells; expected file, person, gender, age and kind of smile.")
        if path := videos.get(cells[0].lower()):
            given = dict(zip(("subject", "gender", "age", "label"), cells[1:5], strict=True))
            found.append(_entry(str(path), given, {"emotion": "happiness"}, where))
    return found


def walk(root: Path) -> Iterator[Path]:
    """The files below `root` in order of their paths, hidden files and macOS' resource forks left out."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name[0] != "." and name != "__MACOSX")
        yield from (Path(folder, name) for name in sorted(names) if name[0] != ".")


def copies(paths: Iterable[str]) -> list[list[str]]:
    """Groups of two or more files with the same bytes; empty files and rows of packed files do not count."""
    sizes = {path: Path(path).stat().st_size for path in sorted(set(paths)) if Path(path).is_file()}
    groups = [[path for path, size in sizes.items() if size]]
    keys: tuple[Callable[[str], object], ...] = (sizes.__getitem__, _start, _digest)
    for key in keys:  # reads only files that agree so far
        parts: dict[tuple[int, object], list[str]] = defaultdict(list)
        for number, group in enumerate(groups):
            for path in group:
                parts[number, key(path)].append(path)
        groups = [group for group in parts.values() if len(group) > 1]
    return groups


def _start(path: str) -> bytes:
    with Path(path).open("rb") as stream:
        return stream.read(4096)


def _digest(path: str) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _with_note(entry: Entry, group: list[str], root: Path) -> Entry:
    names = [Path(path).relative_to(root).as_posix() for path in group if path != entry.clip.path]
    note = {"note": f"byte-identical with {', '.join(names)}"} if names else {}
    return replace(entry, facts={**entry.facts, **note})


def _entry(path: str, given: Mapping[str, str], rules: Rules, where: str) -> Entry:
    """An entry from the words in a name or a row; InputError on an unknown word."""
    words = {"emotion": EMOTION_WORDS, "label": LABEL_WORDS}
    known = {}
    for kind, names in words.items():
        text = word(given.get(kind)) or word(rules.get(kind))
        if text and text not in names:
            raise InputError(f"{where} has the {kind} '{shown(text)}'; expected one of {', '.join(names)}.")
        known[kind] = names[text] if text else None
    facts = {name: text for name, text in given.items() if name not in ("subject", *words)}
    subject = given.get("subject")
    return Entry(Clip(path, subject if word(subject) else None, known["emotion"], known["label"]), facts)


def _place(root: Path, name: str) -> Path | None:
    """Where the file `name` lies: in `root` or in one of its folders."""
    places = (root / name, *(folder / name for folder in sorted(root.iterdir()) if folder.is_dir()))
    return next((place for place in places if place.is_file()), None)


def _columns(path: Path, have: set[str], rules: Rules, kind: str) -> dict[str, str]:
    """Name here → column of the file; empty if the file has none of the columns."""
    needed = dict(rules["columns"])
    if not have.intersection(needed.values()):
        return {}
    if missing := sorted(set(needed.values()) - have):
        found = ", ".join(sorted(have)[:12])
        raise InputError(f"{path} lacks the {kind} {', '.join(missing)}; found {found}.")
    return needed | {name: name for name in rules.get("facts", ()) if name in have}


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return str(value)
