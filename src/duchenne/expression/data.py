"""Labelled faces for the expression networks: FER2013, class folders, tables of action units, CK+ and DISFA.

What is wrong with labels or files is told before any face is looked for, and what is wrong with faces before anything
is learnt. Faces are cropped by `faces.crops`, as they are in use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from duchenne import io, video
from duchenne.clips.cache import Cache, content
from duchenne.datasets import coded, fer2013
from duchenne.datasets.entry import Entry
from duchenne.datasets.manifest import EMOTION_WORDS
from duchenne.errors import InputError, UsageError
from duchenne.faces import crops
from duchenne.progress import TickOf
from duchenne.types import ALL_EMOTIONS, Array
from duchenne.video import images as pictures

#: A class, or the levels of action units.
Label = str | tuple[float, ...]
#: What a fold may be called → what it is for: learning, choosing the epoch, judging.
ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "public_test"), "validation"),
    **dict.fromkeys(("test", "testing", "private_test"), "test"),
}
_TABLES = ("fer2013.csv", "icml_face_data.csv")
_WORDS = {word: name for word, name in EMOTION_WORDS.items() if name in fer2013.CLASSES}
_LEAST = 2  # level from which DISFA's intensities count as there, where only there or not is learnt
_EVERY = 20  # of DISFA's frames one is taken: neighbours are nearly the same picture


@dataclass(frozen=True)
class Row:
    """One picture before it is read: a file, or the frame (from 1) of a video; `label` a class, or units' levels."""

    path: Path
    label: Label
    subject: str = ""
    fold: str = ""
    frame: int | None = None


@dataclass(frozen=True, eq=False)
class Faces:
    """Labelled faces.

    images    uint8 (N, 48, 48)
    labels    int64 (N,), places among `classes`; or of action units float64 (N, K), NaN where not coded
    subjects  str (N,), or None where it is not known who is seen
    folds     str (N,), as the data name them, "" where they name none; `roles` says what they are for
    notes     sentences on what was left out or taken for granted
    """

    images: Array
    labels: Array
    classes: tuple[str, ...]
    files: tuple[str, ...]
    subjects: Array | None
    folds: Array
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def roles(self) -> Array:
        """str (N,): train, validation or test."""
        return np.array([ROLES.get(fold, "test") if fold else "train" for fold in self.folds.tolist()], str)

    def of(self, rows: Array) -> Faces:
        """Those of these rows."""
        files = tuple(np.array(self.files, object)[rows].tolist())
        who = None if self.subjects is None else self.subjects[rows]
        return replace(
            self, images=self.images[rows], labels=self.labels[rows], files=files, subjects=who, folds=self.folds[rows]
        )


@dataclass(frozen=True)
class Reader:
    """How pictures become faces.

    is_aligned  every picture is itself a cropped face; a picture of exactly 48×48 pixels always is
    skip        pictures in which no face is found are left out, and said, instead of refused
    person      regular expression; its group (or all of it) in a picture's path below the data is who is seen
    cache       where found faces are kept, so that no picture is looked at twice
    tick        called with the number of pictures that are read, and of all
    """

    is_aligned: bool = False
    skip: bool = False
    person: str | None = None
    cache: Cache | None = None
    tick: TickOf | None = None

    def faces(self, rows: Sequence[Row], classes: Sequence[str], where: str | Path) -> Faces:
        """Every row's face; InputError for files that are not there or no pictures, and pictures without a face."""
        lost = [row.path for row in rows if not row.path.is_file()]
        if lost:
            raise InputError(f"{len(lost)} of {len(rows)} files of {where} are not there, first {lost[0]}; check them.")
        found = list(self._crops(rows))
        faceless = [row for row, crop in zip(rows, found, strict=True) if crop is None]
        notes: tuple[str, ...] = ()
        if faceless:
            first = f"first {_named(faceless[0])}"
            told = f"{len(faceless)} of {len(rows)} images of {where} show no face that was found, {first}"
            if not self.skip:
                cure = "pass --aligned if they are cropped faces, --skip-missing-faces to go on without them"
                raise InputError(f"{told}; {cure}.")
            notes = (f"{told}; they are left out.",)
        kept = [(row, crop) for row, crop in zip(rows, found, strict=True) if crop is not None]
        place = {name: i for i, name in enumerate(classes)}
        labels = [place[row.label] if isinstance(row.label, str) else row.label for row, _ in kept]
        who = np.array([row.subject for row, _ in kept], str)
        return Faces(
            np.array([crop for _, crop in kept], np.uint8).reshape(-1, crops.SIDE, crops.SIDE),
            np.array(labels, np.int64 if rows and isinstance(rows[0].label, str) else np.float64),
            tuple(classes),
            tuple(_named(row) for row, _ in kept),
            who if len(who) and who.astype(bool).all() else None,
            np.array([row.fold for row, _ in kept], str),
            notes,
        )

    def _crops(self, rows: Sequence[Row]) -> Iterator[Array | None]:
        moving: dict[tuple[Path, int], Array | None] = {}
        for i, row in enumerate(rows):
            if row.frame is None:
                yield self._still(row)
            else:
                if (row.path, row.frame) not in moving:
                    moving = self._video([each for each in rows if each.path == row.path])
                yield moving[row.path, row.frame]
            if self.tick is not None:
                self.tick(i + 1, len(rows))

    def _video(self, rows: Sequence[Row]) -> dict[tuple[Path, int], Array | None]:
        """The faces of the wanted frames of one video, read once; InputError for a frame that it does not have."""
        wanted = {row.frame or 0: row for row in rows}
        found: dict[tuple[Path, int], Array | None] = {}
        for frame in video.frames(rows[0].path):
            if row := wanted.pop(frame.index + 1, None):
                found[row.path, frame.index + 1] = self._kept(row, frame.grey)
            if not wanted:
                break
        if wanted:
            raise InputError(f"{rows[0].path} has no frame {min(wanted)}, which has labels; copy both again.")
        return found

    def _still(self, row: Row) -> Array | None:
        grey = pictures.read(row.path).grey
        if self.is_aligned or grey.shape == (crops.SIDE, crops.SIDE):
            return crops.aligned(grey)
        return self._kept(row, grey)

    def _kept(self, row: Row, grey: Array) -> Array | None:
        def look() -> dict[str, Array]:
            face = _largest(grey)
            return {} if face is None else {"face": face}

        if self.cache is None:
            return _largest(grey)
        return self.cache.arrays(["face", content(row.path), row.frame], look).get("face")


def emotions(
    data: str | Path, reader: Reader | None = None, *, classes: Sequence[str] | None = fer2013.CLASSES
) -> Faces:
    """Faces with one emotion each.

    data     a copy of FER2013 in any of its forms; a folder with one folder of pictures for each class, or with
             folders train, validation and test of these; a copy of CK+; or a table with the columns file, emotion and,
             where known, subject and fold
    classes  those that may be there, in this order; None: whatever is there, in words of the field where it knows them

    InputError for a class that is not expected, for a single class, and as `Reader.faces` and the loaders do.
    """
    data, reader = Path(data), reader or Reader()
    entries = _fer2013(data)
    if entries:
        labels = np.array([fer2013.CLASSES.index(entry.clip.emotion or "") for entry in entries], np.int64)
        folds = np.array([entry.clip.fold or "train" for entry in entries], str)
        files = tuple(entry.clip.path for entry in entries)
        return _several(Faces(fer2013.images(entries), labels, fer2013.CLASSES, files, None, folds), data)
    if data.is_file():
        cells = _rows(data, "emotion")
        rows = [_row(data, row, _word(row.cells["emotion"], classes, row.where)) for row in cells]
    elif sequences := coded.ck_plus(data):
        asked = [entry for entry in sequences if entry.clip.emotion in (classes or ALL_EMOTIONS)]
        rows = _ck_plus(asked, "neutral", lambda entry: entry.clip.emotion or "neutral")
    else:
        rows = list(_class_folders(data, reader.person, classes))
    there = list(dict.fromkeys(str(row.label) for row in rows))
    order = [name for name in classes or fer2013.CLASSES if name in there]
    if classes is not None or set(order) == set(there):
        there = order
    if len(there) < 2:
        raise InputError(f"{data} has pictures of one class only, {there[0]}; at least two are needed to learn.")
    return _several(reader.faces(rows, there, data), data)


def units(
    data: str | Path, reader: Reader | None = None, *, levels: bool = False, only: Sequence[str] | None = None
) -> Faces:
    """Faces with action units.

    data    a table with the column file, one column for each unit (AU1, AU12, …) with 1, 0 or nothing, where known
            subject and fold; or the folder of a copy of CK+ or DISFA
    levels  intensities from 0 to 5 instead of 1 and 0
    only    names of the units that are wanted, all of them by default

    InputError with file and line for what is no label, for a unit that is never or always there, and as `Reader.faces`.
    """
    data, reader = Path(data), reader or Reader()
    if data.is_file():
        names, rows = _unit_table(data, levels)
    elif sequences := coded.ck_plus(data):
        names, rows = _ck_plus_units(sequences, levels)
    elif videos := coded.disfa(data):
        names, rows = _disfa(data, videos, levels)
    elif data.is_dir():
        raise InputError(f"{data} is no copy of CK+ or DISFA that is known here; expected one, or a table of units.")
    else:
        raise InputError(f"There is no file or folder {data}; check the path.")
    wanted = list(names) if only is None else [_unit(name) or name for name in only]
    if strange := [name for name in wanted if name not in names]:
        raise UsageError(f"{data} has no unit '{strange[0]}'; choose from {', '.join(names)}.")
    places = [names.index(name) for name in wanted]
    rows = [replace(row, label=tuple(float(row.label[i]) for i in places)) for row in rows]
    _seen(np.array([row.label for row in rows], float), wanted, data)
    found = reader.faces(rows, wanted, data)
    _seen(found.labels, wanted, data)
    return found


def _seen(labels: Array, names: Sequence[str], data: Path) -> None:
    """InputError for a unit from which nothing can be learnt."""
    for name, column in zip(names, labels.T, strict=True):
        known = column[~np.isnan(column)]
        if not (known > 0).any():
            raise InputError(f"{data} has no image in which {name} is there; leave the unit out, or add some.")
        if len(np.unique(known)) < 2:
            raise InputError(f"{data} has {name} alike in every image; leave the unit out, or add others.")


def _several(faces: Faces, data: Path) -> Faces:
    if len(np.unique(faces.labels[faces.roles != "test"])) < 2:
        raise InputError(f"{data} has faces of one class only to learn from; at least two are needed.")
    return faces


def _named(row: Row) -> str:
    return str(row.path) if row.frame is None else f"{row.path}#{row.frame}"


def _largest(grey: Array) -> Array | None:
    found = crops.find(grey)
    return found[0].crop if found else None


def _fer2013(data: Path) -> list[Entry]:
    """A copy's images; of class folders only where their files are named as the corpus names them."""
    root = data.parent if data.name.lower() in _TABLES else data
    if not root.is_dir():
        return []
    if found := fer2013.table(root) or fer2013.packed(root):
        return found
    named = (next(root.glob(f"{top}train/*/Training_*"), None) for top in ("", "*/"))
    return fer2013.folders(root) if any(named) else []


def _word(name: str, classes: Sequence[str] | None, where: str) -> str:
    meant = EMOTION_WORDS.get(name.lower(), name)
    if not meant or (classes is not None and meant not in classes):
        known = f"one of {', '.join(classes)}" if classes is not None else "a name"
        raise InputError(f"{where}, has the emotion '{name}'; expected {known}.")
    return meant


def _class_folders(data: Path, person: str | None, classes: Sequence[str] | None) -> Iterator[Row]:
    words = _WORDS if classes is not None else None
    inner = [p for p in sorted(data.iterdir()) if p.is_dir() and p.name[0] != "."] if data.is_dir() else []
    folds = {p.name.lower(): p for p in inner if p.name.lower() in ROLES}
    if folds and len(folds) < len(inner):
        odd = next(p for p in inner if p.name.lower() not in ROLES)
        raise InputError(f"{odd} lies beside the folds {', '.join(folds)}; move it into the fold it belongs to.")
    if folds and "train" not in {ROLES[name] for name in folds}:
        raise InputError(f"{data} has {', '.join(folds)}, but no folder train to learn from; add it.")
    learnt: set[str] = set()
    for fold, folder in sorted(
        (folds or {"": data}).items(), key=lambda pair: pair[0] not in ("", "train", "training")
    ):
        rows = pictures.class_folders(folder, words, tuple(classes or ()))
        named = [EMOTION_WORDS.get(name.lower(), name) for _, name in rows]
        learnt |= {*named} if ROLES.get(fold, "train") == "train" else set()
        if strange := next((name for name in named if name not in learnt), None):
            raise InputError(f"{folder} has the class {strange}, which the folder train has not; add it there.")
        for (path, _), name in zip(rows, named, strict=True):
            yield Row(path, name, _person(path, data, person), fold)


def _person(path: Path, data: Path, pattern: str | None) -> str:
    if pattern is None:
        return ""
    try:
        match = re.search(pattern, path.relative_to(data).as_posix())
    except re.error as error:
        raise UsageError(f"--person '{pattern}' is no regular expression ({error}).") from error
    who = "" if match is None else match[1 if match.re.groups else 0] or ""
    if not who:
        raise InputError(f"{path} names no person by the pattern '{pattern}'; mend the pattern, or the name.")
    return who


def _rows(table: Path, *needed: str) -> list[io.Row]:
    rows = list(io.Table(table, ("file", *needed)))
    if not rows:
        raise InputError(f"{table} lists no images; expected one per row below the header.")
    return rows


def _row(table: Path, row: io.Row, label: Label) -> Row:
    cells, where = row.cells, row.where
    fold = cells.get("fold", "").lower()
    if not cells["file"]:
        raise InputError(f"{where}, names no file; fill it.")
    if "subject" in cells and not cells["subject"]:
        raise InputError(f"{where}, has no subject; fill it, or take the column away.")
    if fold and fold not in ROLES:
        raise InputError(f"{where}, has the fold '{fold}'; expected train, validation, test or nothing.")
    return Row(table.parent / cells["file"], label, cells.get("subject", ""), fold)


def _unit(column: str) -> str:
    """ "AU12" of a column that is an action unit ("au12", "AU12_r"), "" of others."""
    match = re.fullmatch(r"au0*([1-9]\d*)(_[rc])?", column.strip(), re.IGNORECASE)
    return f"AU{match[1]}" if match else ""


def _unit_table(table: Path, levels: bool) -> tuple[list[str], list[Row]]:
    rows = _rows(table)
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
        value = float(text) if text else np.nan
    except ValueError:
        value = np.inf
    if (np.isnan(value) and text.lower() in ("", "nan")) or (0 <= value <= 5 if levels else value in (0, 1)):
        return value
    told = "a number from 0 to 5" if levels else "1 (there), 0 (not there)"
    raise InputError(f"{where}, has '{text}' as {_unit(name)}; expected {told} or nothing (not coded).")


def _ck_plus(entries: Sequence[Entry], rest: Label, peak: Callable[[Entry], Label]) -> list[Row]:
    """Of each sequence the first image, which is neutral, and the last, which is coded."""
    rows = []
    for entry in entries:
        images, who = video.image_files(Path(entry.clip.path)), entry.clip.subject or ""
        rows += [Row(images[0], rest, who), Row(images[-1], peak(entry), who)]
    return rows


def _ck_plus_units(entries: Sequence[Entry], levels: bool) -> tuple[list[str], list[Row]]:
    """Units that at least two people show; of a level that was not given nothing is known but that it is there."""
    used, who = [entry for entry in entries if "action_units" in entry.facts], dict[int, set[str]]()
    for entry in used:
        for number in _levels(entry):
            who.setdefault(number, set()).add(entry.clip.subject or "")
    numbers = sorted(number for number, people in who.items() if len(people) > 1)
    if not numbers:
        raise InputError("This copy of CK+ has no action unit that two people show; its folder FACS is missing or cut.")

    def peak(entry: Entry) -> tuple[float, ...]:
        found = _levels(entry)
        return tuple(found.get(n, 0.0) if levels else float(n in found) for n in numbers)

    return [f"AU{number}" for number in numbers], _ck_plus(used, tuple(0.0 for _ in numbers), peak)


def _levels(entry: Entry) -> dict[int, float]:
    """Unit → intensity of "9:4+17", NaN where none is given."""
    pairs = (each.partition(":") for each in entry.facts["action_units"].split("+") if each)
    return {int(float(unit)): float(level) if level else np.nan for unit, _, level in pairs}


def _disfa(root: Path, entries: Sequence[Entry], levels: bool) -> tuple[list[str], list[Row]]:
    """Every 20th frame of the left camera's videos."""
    rows = []
    for entry in entries:
        if entry.facts["camera"] == "left" and "action_units" in entry.facts:
            frames, _, values = coded.disfa_intensities(root, entry.clip.subject or "")
            labels = values if levels else (values >= _LEAST).astype(float)
            rows += [
                Row(Path(entry.clip.path), tuple(label), entry.clip.subject or "", frame=frame)
                for frame, label in zip(frames[::_EVERY].tolist(), labels[::_EVERY].tolist(), strict=True)
            ]
    return [f"AU{unit}" for unit in coded.DISFA_UNITS], rows
