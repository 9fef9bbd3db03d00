"""Manifests: a CSV with one clip per row: file, person, emotion and label.

Columns: path, subject, emotion, label, and optionally start, end (seconds), fold, and rate, the frames/s of a folder of
images or a bare stream; others are facts that most readers ignore (`read_entries`).
`path` is relative to the manifest's folder unless absolute, and may name one track of a tracks file by its
number (from 0) or its source, or one row of a table: "points.npz#3", "points.npz#clip_7", "smiles.csv#12".
Emotion and label may be empty; NA, N/A, nan, None, null and a dot are empty too. A person is one however spelled
(`io.person`): "sim01" and "SIM01", 1, 01 and 1.0. Names that are probably one person are noted on stderr.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from duchenne.datasets.entry import Entry
from duchenne.errors import InputError, UsageError, meant
from duchenne.io import Table, note_twins, number, person, rows_csv, shown, word, write_text
from duchenne.types import ALL_EMOTIONS, Clip

NEEDED = ("path", "subject", "emotion", "label")
COLUMNS = (*NEEDED, "start", "end", "fold")
#: What a label may be called, in lower case.
LABEL_WORDS = {
    **dict.fromkeys(("genuine", "true", "spontaneous", "real", "1"), "genuine"),
    **dict.fromkeys(("posed", "fake", "false", "deliberate", "acted", "0"), "posed"),
}
#: What an emotion may be called, in lower case. The SASE-FE challenge spells contempt "CONTENTMENT".
EMOTION_WORDS = {
    **{name: name for name in ALL_EMOTIONS},
    **dict.fromkeys(("angry",), "anger"),
    **dict.fromkeys(("disgusted",), "disgust"),
    **dict.fromkeys(("fearful", "afraid", "scared"), "fear"),
    **dict.fromkeys(("happy", "joy", "joyful", "enjoyment"), "happiness"),
    **dict.fromkeys(("sad",), "sadness"),
    **dict.fromkeys(("surprised",), "surprise"),
    **dict.fromkeys(("contemptuous", "contentment"), "contempt"),
}


def emotion_named(text: str) -> str:
    """One of `ALL_EMOTIONS`, however it is called (`EMOTION_WORDS`); UsageError for any other word."""
    if word(text) not in EMOTION_WORDS:
        close = meant(text, EMOTION_WORDS)
        raise UsageError(f"Emotion '{text}' is not known{close}; choose one of: {', '.join(ALL_EMOTIONS)}.")
    return EMOTION_WORDS[word(text)]


def read(path: str | Path, *, persons: bool = True) -> list[Clip]:
    """The clips of a manifest, in its order; `missing` checks whether their files exist.

    The file may be any that `Table` reads. Raises InputError, with the line: no such file, not text, missing columns,
    no clip, no path, no subject (allowed without `persons`), an unknown label or emotion, an invalid stretch, or the
    same path and stretch twice.
    """
    return [clip for _, clip in read_rows(path, persons=persons)]


def read_rows(path: str | Path, *, persons: bool = True) -> list[tuple[int, Clip]]:
    """The clips as `read` gives them, each with the line (from 1) on which its row ends."""
    return [(line, replace(entry.clip, rate=rate_of(entry))) for line, entry in read_entries(path, persons=persons)]


def read_entries(path: str | Path, *, persons: bool = True) -> list[tuple[int, Entry]]:
    """The rows as `read_rows` gives them, with the text of further columns as facts (empty cells have none).

    The inverse of `write`. The rate is one of the facts (`rate_of`).
    """
    path, spelled = Path(path), dict[str, str]()
    rows: list[tuple[int, Entry]] = []
    lines: dict[tuple[object, ...], int] = {}
    for _, line, where, cells in Table(path, NEEDED, kind="manifest", short=True):
        row = dict.fromkeys(COLUMNS, "") | cells
        row["subject"] = spelled.setdefault(person(row["subject"]), row["subject"]) if person(row["subject"]) else ""
        clip = _clip(path.parent, row, where, persons)
        earlier = lines.setdefault((clip.path, clip.start, clip.end), line)
        if earlier != line:
            raise InputError(
                f"{where}, repeats the clip of line {earlier}: {row['path']}; keep one, or set start and end."
            )
        rows.append(
            (line, Entry(clip, {name: text for name, text in row.items() if name and text and name not in COLUMNS}))
        )
    if not rows:
        raise InputError(f"{path} lists no clips; expected one per row below the header.")
    note_twins(spelled.values(), path)
    return rows


def rate_of(entry: Entry, missing: float | None = None) -> float | None:
    """Frames per second from a row's facts, or `missing` where they have none; None for a file that stores times.

    InputError where the rate is invalid.
    """
    from duchenne import video  # slow to import

    if not video.is_untimed(entry.clip.path):
        return None
    text = word(entry.facts.get("rate"))
    if not text:
        return missing
    try:
        rate = number(text)
    except ValueError:
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise InputError(
            f"{entry.clip.path} has the rate '{shown(text)}'; expected frames per second, for example 200."
        )
    return rate


def missing(rows: Iterable[tuple[int, Clip]]) -> list[tuple[int, str]]:
    """Line and file of the rows whose file (for "a.npz#3" it is "a.npz") does not exist."""
    files = [(line, split_path(clip.path)[0]) for line, clip in rows]
    exists = {file: Path(file).exists() for _, file in files}
    return [(line, file) for line, file in files if not exists[file]]


def write(path: str | Path, clips: Iterable[Clip | Entry]) -> Path:
    """Write a manifest that `read` reads back, atomically; paths outside its folder become absolute.

    The facts of entries become further columns, in order of their first appearance. A clip of an unknown
    person gets an empty cell, and `read` then needs `persons=False`. OutputError where nothing can be written.
    """
    return write_text(path, to_text(clips, Path(path).absolute().parent))


def to_text(clips: Iterable[Clip | Entry], folder: Path | None = None) -> str:
    """The text of a manifest in `folder`; without one, all paths are absolute."""
    rows: Sequence[Entry] = [item if isinstance(item, Entry) else _entry(item) for item in clips]
    extra = dict.fromkeys(name for row in rows for name in row.facts if name not in COLUMNS)
    names = [*COLUMNS, *extra]
    table: list[list[object]] = [[*names]]
    for row in rows:
        place = Path(row.clip.path).absolute()
        inside = place.relative_to(folder) if folder and place.is_relative_to(folder) else place
        columns = {name: getattr(row.clip, name) for name in COLUMNS}
        cells = {**row.facts, **columns, "path": inside.as_posix()}
        table.append([cells.get(name, "") for name in names])
    return rows_csv(table)


def _entry(clip: Clip) -> Entry:
    return Entry(clip, {} if clip.rate is None else {"rate": f"{clip.rate}"})


def split_path(path: str) -> tuple[str, str | None]:
    """("points.npz", "3") of "points.npz#3": the file, and which of its tracks or rows; (path, None) otherwise."""
    match = re.fullmatch(r"(.+\.(?:npz|csv))#(.+)", path, re.IGNORECASE | re.DOTALL)
    return (match[1], match[2]) if match else (path, None)


def _clip(folder: Path, row: dict[str, str], where: str, persons: bool) -> Clip:
    for name in ("path", "subject") if persons else ("path",):
        if not row[name]:
            raise InputError(f"{where}, has no {name}; fill in the cell.")
    start, end = _seconds(row["start"], "start", where), _seconds(row["end"], "end", where)
    if end is not None and end <= (start or 0.0):
        raise InputError(f"{where}, ends at {end:g} s, but must end after its start at {start or 0.0:g} s.")
    return Clip(
        path=str(folder / row["path"]),
        subject=row["subject"] or None,
        emotion=known_word(row["emotion"], "emotion", EMOTION_WORDS, ALL_EMOTIONS, where),
        label=known_word(row["label"], "label", LABEL_WORDS, LABEL_WORDS, where),
        start=start,
        end=end,
        fold=_fold(row["fold"]),
    )


def known_word(text: str, kind: str, known: dict[str, str], listed: Iterable[str], where: str) -> str | None:
    found = word(text)
    if found and found not in known:
        raise InputError(f"{where}, has the {kind} '{shown(text)}'; use one of {', '.join(listed)}, or leave it empty.")
    return known[found] if found else None


def _fold(text: str) -> str | None:
    """A fold as it is called; 1 for 1.0."""
    found = word(text)
    return (found if found.isdigit() else text) if found else None


def _seconds(text: str, name: str, where: str) -> float | None:
    if not word(text):
        return None
    try:
        value = number(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{where}, has the {name} '{shown(text)}'; expected seconds from 0, for example 1.25.")
    return value
