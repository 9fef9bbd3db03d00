"""Labelled faces for the expression networks: FER2013, class folders, tables of action units, CK+ and DISFA.

Labels and files are checked before any face is detected, and faces before anything is trained. Faces are cropped by
`faces.crops`, as in use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from duchenne import io, video
from duchenne.datasets import coded, fer2013, fer_plus, packed, splits
from duchenne.datasets.entry import Entry
from duchenne.datasets.manifest import EMOTION_WORDS
from duchenne.errors import InputError, UsageError
from duchenne.expression.faces import ROLES, Faces, Label, Reader, Row
from duchenne.types import ALL_EMOTIONS, Array
from duchenne.video.folders import class_folders

_TABLES = ("fer2013.csv", "icml_face_data.csv")
#: The classes of an emotion network, in order; data need not have all.
CLASSES = fer_plus.CLASSES
_WORDS = {word: name for word, name in EMOTION_WORDS.items() if name in CLASSES}
_PRESENT = 2  # intensity of DISFA from which a unit counts as present
_EVERY = 20  # of DISFA's frames one is taken: neighbours are nearly identical


def emotions(data: str | Path, reader: Reader | None = None, *, classes: Sequence[str] | None = CLASSES) -> Faces:
    """Faces with one emotion each.

    data     a copy of FER2013 in any of its forms, with the votes of FER+ where they lie beside it; a folder with one
             folder of images for each class, or with folders train, validation and test of these; a copy of CK+; a
             table with the columns file, emotion and, where known, subject and fold; or these packed in an .npz
             (`datasets.packed`)
    classes  those that are allowed, in this order, of which the faces have those that occur; None: any, with the
             field's names where they are known

    `notes` count what has no emotion. InputError for an unexpected class, for a single class, and as `Reader.faces` and
    the loaders.
    """
    data, reader = Path(data), reader or Reader()
    root = data.parent if data.name.lower() in _TABLES else data
    if root.is_dir() and (votes := fer_plus.read(root)):
        return _voted(votes)
    if entries := _fer2013(root):
        labels = np.array([fer2013.CLASSES.index(entry.clip.emotion or "") for entry in entries], np.int64)
        folds = np.array([entry.clip.fold or "train" for entry in entries], str)
        files = tuple(entry.clip.path for entry in entries)
        return _trainable(Faces(fer2013.images(entries), labels, fer2013.CLASSES, files, None, folds), data)
    notes: tuple[str, ...] = ()
    if data.suffix.lower() == ".npz":
        return _trainable(_packed_emotions(data, classes), data)
    if data.is_file():
        cells = _cells(data, "emotion")
        rows = [_row(data, row, _emotion(row.cells["emotion"], classes, row.where)) for row in cells]
    elif sequences := coded.ck_plus(data):
        used = [entry for entry in sequences if entry.clip.emotion in (classes or ALL_EMOTIONS)]
        if left := len(sequences) - len(used):
            notes = (f"{left} of {len(sequences)} sequences of {data} have no emotion; they are left out.",)
        rows = _ck_plus(used, "neutral", lambda entry: entry.clip.emotion or "neutral")
    else:
        rows = list(_class_folders(data, reader.person, classes))
    found = reader.faces(rows, _present((str(row.label) for row in rows), classes, data), data)
    return _trainable(replace(found, notes=(*notes, *found.notes)), data)


def _present(labels: Iterable[str], classes: Sequence[str] | None, data: Path) -> list[str]:
    """The classes that occur, in order; InputError for fewer than two."""
    present = list(dict.fromkeys(labels))
    order = [name for name in classes or CLASSES if name in present]
    if classes is not None or set(order) == set(present):
        present = order
    if len(present) < 2:
        found = f"images of one class only, {present[0]}" if present else "no images"
        raise InputError(f"{data} has {found}; add images of another class.")
    return present


def _packed_emotions(data: Path, classes: Sequence[str] | None) -> Faces:
    arrays = packed.read(data, "emotion")
    words = [_emotion(word, classes, f"{data}, row {i} (from 0)") for i, word in enumerate(arrays["emotion"].tolist())]
    present = _present(words, classes, data)
    return _packed(data, arrays, np.array([present.index(word) for word in words], np.int64), present)


def _packed(data: Path, arrays: Mapping[str, Array], labels: Array, classes: Sequence[str]) -> Faces:
    """Faces of an .npz with these labels; InputError for an unknown fold."""
    count = len(labels)
    subjects = splits.persons(arrays["subject"].tolist()) if "subject" in arrays else None
    folds = np.char.lower(arrays["fold"]) if "fold" in arrays else np.full(count, "")
    if wrong := sorted({*folds.tolist()} - {"", *ROLES}):
        raise InputError(f"{data} has the fold '{wrong[0]}'; expected train, validation or test: correct it.")
    files = tuple(f"{data}#{row}" for row in range(count))
    return Faces(arrays["images"], labels, tuple(classes), files, subjects, folds)


def _voted(found: fer_plus.Votes) -> Faces:
    """Images in which half of the raters see one of the classes. Where FER2013's private test is missing, the public
    one is the test."""
    shares = found.shares
    kept = shares.sum(axis=1) >= 0.5
    note = f"{(~kept).sum()} images in which half of the raters see no face, or none of the emotions, are left out."
    folds = found.folds
    if "private_test" not in folds:
        folds = np.char.replace(folds, "public_test", "public test")
    files = tuple(np.array(found.files, object)[kept].tolist())
    return Faces(
        *(found.images[kept], shares[kept].argmax(axis=1), fer_plus.CLASSES, files, None, folds[kept], (note,)),
        *(shares[kept], found.own[kept], fer2013.CLASSES),
    )


def units(
    data: str | Path, reader: Reader | None = None, *, levels: bool = False, only: Sequence[str] | None = None
) -> Faces:
    """Faces with action units.

    data    a table with the column file, one column for each unit (AU1, AU12, …) with 1, 0 or nothing, where known
            subject and fold; these packed in an .npz (`datasets.packed`); or the folder of a copy of CK+ or DISFA
    levels  intensities from 0 to 5 instead of 1 and 0
    only    names of the requested units, by default all

    InputError with file and line for an invalid label, for a unit that is never or always present, and as
    `Reader.faces`.
    """
    data, reader = Path(data), reader or Reader()
    if data.suffix.lower() == ".npz":
        return _packed_units(data, levels, only)
    if data.is_file():
        names, rows = _unit_table(data, levels)
    elif sequences := coded.ck_plus(data):
        names, rows = _ck_plus_units(sequences, levels)
    elif videos := coded.disfa(data):
        names, rows = _disfa(data, videos, levels)
    elif data.is_dir():
        raise InputError(f"{data} is not a known copy of CK+ or DISFA; pass the folder of one, or a table of units.")
    else:
        raise InputError(f"There is no file or folder {data}; check the path.")
    chosen, columns = _chosen(names, only, data)
    rows = [replace(row, label=tuple(float(row.label[i]) for i in columns)) for row in rows]
    _check_units(np.array([row.label for row in rows], float), chosen, data)
    found = reader.faces(rows, chosen, data)
    _check_units(found.labels, chosen, data)
    return found


def _chosen(names: Sequence[str], only: Sequence[str] | None, data: Path) -> tuple[list[str], list[int]]:
    """The requested units and their columns; UsageError for one that is not there."""
    chosen = list(names) if only is None else [_unit(name) or name for name in only]
    if unknown := [name for name in chosen if name not in names]:
        raise UsageError(f"{data} has no unit '{unknown[0]}'; choose from {', '.join(names)}.")
    return chosen, [names.index(name) for name in chosen]


def _packed_units(data: Path, levels: bool, only: Sequence[str] | None) -> Faces:
    """Of an .npz; where none are named, those that at least two people show."""
    arrays = packed.read(data, "units", "unit_names")
    names = [_unit(name) for name in arrays["unit_names"].tolist()]
    if "" in names or len({*names}) < len(names):
        found = ", ".join(arrays["unit_names"].tolist())
        raise InputError(f"{data} has the units {found}; expected a name of its own for each, such as AU12.")
    labels = arrays["units"].astype(float)
    known = labels[~np.isnan(labels)]
    if len(wrong := known[~((known >= 0) & (known <= 5) if levels else np.isin(known, (0, 1)))]):
        allowed = "0 to 5" if levels else "1 (present), 0 (absent)"
        raise InputError(f"{data} has the level {wrong[0]:g} of a unit; expected {allowed} or NaN (not coded).")
    faces = _packed(data, arrays, labels, names)
    notes: tuple[str, ...] = ()
    if only is None and faces.subjects is not None:
        shown = [len({*faces.subjects[labels[:, k] > 0].tolist()}) for k in range(len(names))]
        only = [name for name, people in zip(names, shown, strict=True) if people > 1]
        if left := [name for name in names if name not in only]:
            notes = (f"{', '.join(left)} of {data} are shown by fewer than two people; they are left out.",)
    chosen, columns = _chosen(names, only, data)
    _check_units(labels[:, columns], chosen, data)
    return replace(faces, labels=labels[:, columns], classes=tuple(chosen), notes=notes)


def _check_units(labels: Array, names: Sequence[str], data: Path) -> None:
    """InputError for a unit that is never present, or the same in every image."""
    for name, column in zip(names, labels.T, strict=True):
        known = column[~np.isnan(column)]
        if not (known > 0).any():
            raise InputError(f"{data} has no image in which {name} is present; leave the unit out, or add some.")
        if len(np.unique(known)) < 2:
            raise InputError(f"{data} has the same {name} in every image; leave the unit out, or add others.")


def _trainable(faces: Faces, data: Path) -> Faces:
    if len(np.unique(faces.labels[faces.roles != "test"])) < 2:
        raise InputError(f"{data} has training faces of one class only; add faces of another.")
    return faces


def _fer2013(root: Path) -> list[Entry]:
    """A copy's images; of class folders only where their files are named as in FER2013."""
    if not root.is_dir():
        return []
    if found := fer2013.table(root) or fer2013.packed(root):
        return found
    named = (next(root.glob(f"{top}train/*/Training_*"), None) for top in ("", "*/"))
    return fer2013.folders(root) if any(named) else []


def _emotion(name: str, classes: Sequence[str] | None, where: str) -> str:
    emotion = EMOTION_WORDS.get(io.word(name), name)
    if not emotion or (classes is not None and emotion not in classes):
        known = f"one of {', '.join(classes)}" if classes is not None else "a name"
        raise InputError(f"{where}: expected {known} as emotion, found '{io.shown(name)}'; correct the cell.")
    return emotion


def _class_folders(data: Path, person: str | None, classes: Sequence[str] | None) -> Iterator[Row]:
    words = _WORDS if classes is not None else None
    inner = [p for p in sorted(data.iterdir()) if p.is_dir() and p.name[0] != "."] if data.is_dir() else []
    folds = {p.name.lower(): p for p in inner if p.name.lower() in ROLES}
    if folds and len(folds) < len(inner):
        odd = next(p for p in inner if p.name.lower() not in ROLES)
        raise InputError(f"{odd} lies beside the folds {', '.join(folds)}; move it into the fold it belongs to.")
    if folds and "train" not in {ROLES[name] for name in folds}:
        raise InputError(f"{data} has {', '.join(folds)}, but no folder train; add it.")
    trained: set[str] = set()
    for fold, folder in sorted((folds or {"": data}).items(), key=lambda item: ROLES.get(item[0], "train") != "train"):
        rows = class_folders(folder, words, tuple(classes or ()))
        names = [EMOTION_WORDS.get(name.lower(), name) for _, name in rows]
        trained |= {*names} if ROLES.get(fold, "train") == "train" else set()
        if unknown := next((name for name in names if name not in trained), None):
            raise InputError(f"{folder} has the class {unknown}, which the folder train does not have; add it there.")
        for (path, _), name in zip(rows, names, strict=True):
            yield Row(path, name, _subject(path, data, person), fold)


def _subject(path: Path, data: Path, pattern: str | None) -> str:
    if pattern is None:
        return ""
    try:
        match = re.search(pattern, path.relative_to(data).as_posix())
    except re.error as error:
        raise UsageError(f"--person '{pattern}' is not a regular expression ({error}); correct it.") from error
    subject = "" if match is None else match[1 if match.re.groups else 0] or ""
    if not subject:
        raise InputError(f"{path} does not match --person '{pattern}'; correct the pattern, or rename the file.")
    return subject


def _cells(table: Path, *needed: str) -> list[io.Row]:
    rows = list(io.Table(table, ("file", *needed)))
    io.note_twins((row.cells.get("subject", "") for row in rows), table)
    if not rows:
        raise InputError(f"{table} lists no images; expected one per row below the header.")
    return rows


def _row(table: Path, row: io.Row, label: Label) -> Row:
    cells, where = row.cells, row.where
    fold = cells.get("fold", "").lower()
    if not cells["file"]:
        raise InputError(f"{where} names no file; fill in the cell.")
    if "subject" in cells and not io.person(cells["subject"]):
        raise InputError(f"{where} has no subject; fill in the cell, or remove the column.")
    if fold and fold not in ROLES:
        raise InputError(f"{where}: expected the fold train, validation or test, found '{fold}'; correct the cell.")
    return Row(table.parent / cells["file"], label, cells.get("subject", ""), fold)


def _unit(column: str) -> str:
    """ "AU12" of a column that is an action unit ("au12", "AU12_r"), "" of others."""
    match = re.fullmatch(r"au0*([1-9]\d*)(_[rc])?", column.strip(), re.IGNORECASE)
    return f"AU{match[1]}" if match else ""


def _unit_table(table: Path, levels: bool) -> tuple[list[str], list[Row]]:
    rows = _cells(table)
    columns = {name: unit for name in rows[0].cells if (unit := _unit(name))}
    if not columns:
        raise InputError(f"{table} has no column of an action unit; expected some such as AU1 or AU12.")
    if len(set(columns.values())) < len(columns):
        raise InputError(f"{table} has two columns of one action unit; keep one of each.")
    return list(columns.values()), [
        _row(table, row, tuple(_level(row.cells[name], levels, name, row.where) for name in columns)) for row in rows
    ]


def _level(text: str, levels: bool, name: str, where: str) -> float:
    try:
        value = io.number(text)
    except ValueError:
        value = np.inf
    if np.isnan(value) or (0 <= value <= 5 if levels else value in (0, 1)):
        return value
    allowed = "a number from 0 to 5" if levels else "1 (present), 0 (absent)"
    expected = f"expected {allowed} or nothing (not coded) as {_unit(name)}"
    raise InputError(f"{where}: {expected}, found '{text}'; correct the cell.")


def _ck_plus(entries: Sequence[Entry], rest: Label, peak: Callable[[Entry], Label]) -> list[Row]:
    """Of each sequence the first image, which is neutral, and the last, which is coded."""
    rows = []
    for entry in entries:
        images, subject = video.image_files(Path(entry.clip.path)), entry.clip.subject or ""
        rows += [Row(images[0], rest, subject), Row(images[-1], peak(entry), subject)]
    return rows


def _ck_plus_units(entries: Sequence[Entry], levels: bool) -> tuple[list[str], list[Row]]:
    """Units that at least two people show; where no level was given, a unit is present at an unknown level."""
    used, subjects = [entry for entry in entries if "action_units" in entry.facts], dict[int, set[str]]()
    for entry in used:
        for number in _levels(entry):
            subjects.setdefault(number, set()).add(entry.clip.subject or "")
    numbers = sorted(number for number, people in subjects.items() if len(people) > 1)
    if not numbers:
        raise InputError(
            "This copy of CK+ has no action unit that two people show; its folder FACS is missing or incomplete."
        )

    def peak(entry: Entry) -> tuple[float, ...]:
        found = _levels(entry)
        return tuple(found.get(n, 0.0) if levels else float(n in found) for n in numbers)

    return [f"AU{number}" for number in numbers], _ck_plus(used, (0.0,) * len(numbers), peak)


def _levels(entry: Entry) -> dict[int, float]:
    """Unit → intensity of "9:4+17", NaN where none is given."""
    pairs = (each.partition(":") for each in entry.facts["action_units"].split("+") if each)
    return {int(float(unit)): float(level) if level else np.nan for unit, _, level in pairs}


def _disfa(root: Path, entries: Sequence[Entry], levels: bool) -> tuple[list[str], list[Row]]:
    """Every 20th frame of the left camera's videos."""
    rows = []
    for entry in entries:
        if entry.facts["camera"] == "left" and "action_units" in entry.facts:
            path, subject = Path(entry.clip.path), entry.clip.subject or ""
            frames, _, values = coded.disfa_intensities(root, subject)
            labels = values if levels else (values >= _PRESENT).astype(float)
            every = zip(frames[::_EVERY].tolist(), labels[::_EVERY].tolist(), strict=True)
            rows += [Row(path, tuple(label), subject, frame=frame) for frame, label in every]
    return [f"AU{unit}" for unit in coded.DISFA_UNITS], rows
