"""Data sets whose faces were coded by hand: CASME II, SAMM, SMIC, CK+ and DISFA, as released.

A loader takes a folder and returns its clips by path, none where it holds another data set. Coded clips are returned
even without their images; contradictions raise InputError with file and row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from duchenne.datasets.entry import Entry
from duchenne.errors import InputError
from duchenne.io import read_sheet
from duchenne.types import ALL_EMOTIONS, Array, Clip
from duchenne.video import IMAGE_SUFFIXES, numbered

#: Columns of a coding sheet, by their names without spaces, in lower case.
_COLUMNS = {
    "subject": "Subject",
    "filename": "Filename",
    "onsetframe": "Onset Frame",
    "apexframe": "Apex Frame",
    "offsetframe": "Offset Frame",
    "actionunits": "Action Units",
    "estimatedemotion": "Estimated Emotion",
}
#: Numbers in CK+'s emotion files, as its read-me names them.
_CK_EMOTIONS = ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
_SMIC_RATES = {"HS": "100", "VIS": "25", "NIR": "25"}
DISFA_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)


@dataclass(frozen=True)
class _Coding:
    """A data set that comes as one sheet and one folder of images per clip."""

    sheet: str  # pattern of the sheet's name, its ending aside
    person: str  # format of a person's folder
    rate: float  # frames/s
    invalid_apex: frozenset[str] = frozenset()  # clips whose apex lies outside the expression in the sheet as released


_CASME2 = _Coding(r"casme2.*(coding|label)", "sub{:02d}", 200.0)
_SAMM = _Coding(r"samm.*micro.*facs", "{:03d}", 200.0, frozenset({"028_4_1", "032_3_1"}))


def casme2(root: Path) -> list[Entry]:
    """CASME II (Yan et al. 2014): `CASME2-coding-20140508.xlsx` beside `CASME2-RAW/sub01/EP02_01f/img46.jpg`.

    Times are frame numbers over 200 frames/s, counted from the first image in the clip's folder; the clip itself runs
    from onset to the end of the offset frame. Without images there is nothing to count from, so there are no times.
    `facts` has rate (frames/s), and emotion_as_labelled, as "others" and "repression" are not in `ALL_EMOTIONS`.
    """
    return _coded(root, _CASME2)


def samm(root: Path) -> list[Entry]:
    """SAMM (Davison et al. 2018): `SAMM_Micro_FACS_Codes_v2.xlsx` beside `SAMM/006/006_1_2/006_05562.jpg`.

    Times as in `casme2`, whose images start at 1 while SAMM numbers those of the whole recording.
    """
    return _coded(root, _SAMM)


def _coded(root: Path, coding: _Coding) -> list[Entry]:
    sheet = _sheet(root, coding.sheet)
    if sheet is None:
        return []
    rows = [(where, row, _folder(row, coding, where)) for where, row in _rows(sheet)]
    if not rows:
        raise InputError(f"{sheet} lists no clips; expected one per row below the header.")
    person = re.compile(re.sub(r"\{.*\}", r"\\d+", coding.person))
    bases = {p.parent for p in chain(*map(root.glob, ("*", "*/*", "*/*/*"))) if person.fullmatch(p.name)} or {root}
    # A copy of the data set may hold raw and cropped images; the fuller one counts, and of equals the raw one.
    kinds = sorted(bases, key=lambda base: ("crop" in str(base.relative_to(root)).lower(), str(base)))
    base = max(kinds, key=lambda base: sum((base / folder).is_dir() for _, _, folder in rows))
    return _sorted(_expression(base / folder, row, coding, where) for where, row, folder in rows)


def _sheet(root: Path, pattern: str) -> Path | None:
    """The sheet in `root` or one folder below, the last by name (they carry dates) where there are several."""
    for level in ("*", "*/*"):
        names = [
            p for p in root.glob(level) if p.suffix.lower() in {".xlsx", ".csv"} and re.match(pattern, p.name, re.I)
        ]
        if names:
            return max(names, key=lambda path: (path.name, path.suffix == ".xlsx"))
    return None


def _rows(sheet: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Place in the sheet, for messages, and cells by column, of every row with a subject or a filename."""
    lines = enumerate(read_sheet(sheet, "filename"), 1)
    names: list[str] = []
    for _, row in lines:  # SAMM's header is below some rows of explanation
        names = [re.sub(r"[\W_]", "", cell).lower() for cell in row]
        if {"subject", "filename"} <= set(names):
            break
    missing = [shown for name, shown in _COLUMNS.items() if name not in names]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise InputError(f"{sheet} lacks the column{plural} {', '.join(missing)}; use the sheet as released.")
    for line, row in lines:
        cells = dict.fromkeys(names, "") | dict(zip(names, row, strict=False))
        if cells["subject"] or cells["filename"]:
            yield f"{sheet}, row {line}", cells


def _folder(row: dict[str, str], coding: _Coding, where: str) -> Path:
    """The clip's folder, from that of all people."""
    person = re.fullmatch(r"(?:sub|s)?(\d+)(?:\.0)?", row["subject"], re.IGNORECASE)
    if not person:
        raise InputError(f"{where}, has the subject '{row['subject']}'; expected a number, for example 6.")
    if not row["filename"]:
        raise InputError(f"{where}, has no Filename; fill in the cell.")
    return Path(coding.person.format(int(person[1])), row["filename"])


def _expression(folder: Path, row: dict[str, str], coding: _Coding, where: str) -> Entry:
    onset, offset = (_frame(row[name], _COLUMNS[name], where) for name in ("onsetframe", "offsetframe"))
    if offset < onset:
        raise InputError(f"{where}, has its offset at frame {offset}, before its onset at {onset}; correct the row.")
    coded = row["apexframe"] not in {"", "/"}
    apex = _frame(row["apexframe"], _COLUMNS["apexframe"], where) if coded else None
    notes = []
    if apex is not None and not onset <= apex <= offset:
        outside = f"apex at frame {apex}, outside onset {onset} and offset {offset}"
        if row["filename"] not in coding.invalid_apex:
            raise InputError(f"{where}, has its {outside}; correct the row, or leave its apex empty.")
        notes.append(f"left out: {outside}")
        apex = None
    word = row["estimatedemotion"]
    units = re.sub(r"\s*\+\s*", "+", row["actionunits"])
    facts = {"rate": f"{coding.rate:g}", "action_units": units, "emotion_as_labelled": word}
    numbers, fault = _numbers(folder)
    start = end = None
    if not numbers:
        notes.append(f"{fault}, so no times")
    else:
        first, last = numbers[0], numbers[-1]
        if onset < first or offset > last:
            notes.append(f"coded are frames {onset} to {offset}, there are {first} to {last}")
        if last - first + 1 != len(numbers):
            notes.append(f"{last - first + 1 - len(numbers)} images between the first and the last are missing")
        moments = {"onset": onset, "apex": apex, "offset": offset}
        facts |= {k: _seconds((n - first) / coding.rate) for k, n in moments.items() if n is not None and n >= first}
        if offset >= first:
            start, end = max(onset - first, 0) / coding.rate, (offset - first + 1) / coding.rate
    clip = Clip(str(folder), folder.parent.name, _emotion(word), start=start, end=end)
    return Entry(clip, facts | ({"note": "; ".join(notes)} if notes else {}))


def _frame(text: str, name: str, where: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (value.is_integer() and value >= 0):
        raise InputError(f"{where}, has '{text}' as {name}; expected the number of a frame, for example 46.")
    return int(value)


def _seconds(value: float) -> str:
    return f"{value:.3f}"  # exact for 25, 100 and 200 frames/s


def _emotion(word: str) -> str | None:
    return word.lower() if word.lower() in ALL_EMOTIONS else None


def _numbers(folder: Path) -> tuple[list[int], str]:
    """Sorted numbers of the images in a folder, as `video.frames` reads them, or none, and why."""
    if not folder.is_dir() or not any(
        p.suffix.lower() in IMAGE_SUFFIXES and p.name[0] != "." for p in folder.iterdir()
    ):
        return [], "no images"
    try:
        return [number for number, _ in numbered(folder)], ""
    except InputError as error:
        return [], str(error).rstrip(".")


def _sorted(entries: Iterator[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry.clip.path)


def smic(root: Path) -> list[Entry]:
    """SMIC (Li et al. 2013): `HS/s1/micro/positive/s1_po_01/image000001.bmp`; also VIS and NIR, and `non_micro`.

    Every clip is a whole folder of images. `facts` has camera, rate (frames/s), kind ("micro" or "non-micro") and,
    for micro-expressions, emotion_as_labelled: positive, negative or surprise, groups of emotions,
    so `emotion` stays empty. The cameras recorded the same events.
    """
    tops = sorted((p.parent for p in chain(root.glob("*"), root.glob("*/*")) if p.name in _SMIC_RATES), key=str)
    if not tops:
        return []
    top = min(tops, key=lambda folder: ("crop" in str(folder.relative_to(root)).lower(), str(folder)))
    return _sorted(_smic_clip(folder, camera) for camera in _SMIC_RATES for folder in _smic_folders(top / camera))


def _smic_folders(camera: Path) -> Iterator[Path]:
    for pattern in ("s*/micro/*/*", "s*/non_micro/*"):
        yield from (p for p in camera.glob(pattern) if p.is_dir() and p.name[0] != ".")


def _smic_clip(folder: Path, camera: str) -> Entry:
    micro = folder.parent.name != "non_micro"
    person = folder.parents[2 if micro else 1].name
    facts = {"camera": camera, "rate": _SMIC_RATES[camera], "kind": "micro" if micro else "non-micro"}
    if micro:
        word = facts["emotion_as_labelled"] = folder.parent.name
        if word not in {"positive", "negative", "surprise"}:
            raise InputError(f"{folder.parent} is named '{word}'; expected positive, negative or surprise.")
    named = re.match(r"s0*(\d+)_", folder.name)
    if named and named[1] != person.lstrip("s0"):
        raise InputError(f"{folder} lies in the folder of {person}, but is named after another person; move it back.")
    if fault := _numbers(folder)[1]:
        facts["note"] = fault
    return Entry(Clip(str(folder), person), facts)


def ck_plus(root: Path) -> list[Entry]:
    """CK+ (Lucey et al. 2010): `cohn-kanade-images/S005/001/S005_001_00000001.png` beside `Emotion` and `FACS`.

    Every clip is a folder of images from neutral to the peak, which is the last image and what the labels are about.
    All are posed: the spontaneous smiles of the paper are not released. Without an emotion file there is no emotion.
    `facts` has action_units with intensities where given ("9:4+17"), and emotion_as_labelled.
    """
    images = _find(root, "cohn-kanade-images")
    if images is None:
        return []
    emotions, units = _find(root, "Emotion", "Emotion_labels"), _find(root, "FACS", "FACS_labels")
    folders = (p for p in images.glob("S*/*") if p.is_dir() and re.fullmatch(r"S\d+", p.parent.name))
    return _sorted(_ck_clip(folder, emotions, units) for folder in folders)


def _find(root: Path, *names: str) -> Path | None:
    """The first folder so named, up to two levels below `root`; earlier names count first."""
    folders = [p for p in chain(root.glob("*"), root.glob("*/*")) if p.name in names and p.is_dir()]
    return min(folders, key=lambda p: (names.index(p.name), len(p.parts), str(p)), default=None)


def _ck_clip(folder: Path, emotions: Path | None, units: Path | None) -> Entry:
    facts: dict[str, str] = {}
    emotion = None
    if label := _ck_label(emotions, folder, "emotion"):
        ((number,),) = _ck_numbers(label, columns=1, rows=1)
        if number not in range(8):
            raise InputError(f"{label}, line 1, has the emotion {number:g}; expected a number from 0 to 7.")
        emotion = facts["emotion_as_labelled"] = _CK_EMOTIONS[int(number)]
    if label := _ck_label(units, folder, "facs"):
        pairs = _ck_numbers(label, columns=2)
        facts["action_units"] = "+".join(f"{unit:g}:{level:g}" if level else f"{unit:g}" for unit, level in pairs)
    if fault := _numbers(folder)[1]:
        facts["note"] = fault
    return Entry(Clip(str(folder), folder.parent.name, emotion, "posed"), facts)


def _ck_label(labels: Path | None, folder: Path, kind: str) -> Path | None:
    """The one label file of a sequence, None where there is none."""
    if labels is None:
        return None
    files = sorted((labels / folder.parent.name / folder.name).glob(f"[!.]*_{kind}.txt"))
    if len(files) > 1:
        raise InputError(f"{files[0].parent} holds {len(files)} {kind} files; keep that of the last image.")
    return files[0] if files else None


def _ck_numbers(path: Path, columns: int, rows: int | None = None) -> list[list[float]]:
    """Non-negative numbers by line; blank lines are skipped."""
    table = []
    for line, text in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), 1):
        try:
            numbers = [float(word) for word in text.split()]
        except ValueError:
            numbers = []
        if text.strip():
            if len(numbers) != columns or not all(0 <= number < np.inf for number in numbers):
                raise InputError(f"{path}, line {line}, is '{text.strip()}'; expected {columns} numbers from 0.")
            table.append(numbers)
    if rows is not None and len(table) != rows:
        raise InputError(f"{path} has {len(table)} lines with numbers; expected {rows}: copy it again.")
    return table


def disfa(root: Path) -> list[Entry]:
    """DISFA (Mavadati et al. 2013): `Videos_LeftCamera/LeftVideoSN001_comp.avi` beside `ActionUnit_Labels/SN001`.

    One clip per video, so two per person, of the same moments. `facts` has camera, and action_units with the highest
    intensity that each reaches ("4:3+12:5"); for every frame see `disfa_intensities`.
    """
    labels = _find(root, "ActionUnit_Labels")
    if labels is None:
        return []
    videos: dict[str, list[tuple[Path, str]]] = {p.name: [] for p in labels.glob("SN*") if p.is_dir()}
    for path in chain(root.glob("*/*.avi"), root.glob("*/*/*.avi")):
        if name := re.fullmatch(r"(left|right)video(SN\d+)_comp\.avi", path.name, re.IGNORECASE):
            videos.setdefault(name[2].upper(), []).append((path, name[1].lower()))
    return _sorted(entry for person, found in videos.items() for entry in _disfa_person(root, labels, person, found))


def _disfa_person(root: Path, labels: Path, person: str, found: list[tuple[Path, str]]) -> Iterator[Entry]:
    facts = {}
    if (labels / person).is_dir():
        highest = _intensities(labels, person)[1].max(axis=0)
        pairs = zip(DISFA_UNITS, highest, strict=True)
        facts["action_units"] = "+".join(f"{unit}:{level:g}" for unit, level in pairs if level)
    else:
        facts["note"] = "no action unit labels"
    for path, camera in found or [(root / "Videos_LeftCamera" / f"LeftVideo{person}_comp.avi", "left")]:
        yield Entry(Clip(str(path), person), facts | {"camera": camera})


def disfa_intensities(root: Path, subject: str) -> tuple[Array, tuple[int, ...], Array]:
    """Frame numbers int64 (T,), from 1; the 12 action units; their intensities float64 (T, 12), 0 absent to 5.

    `subject` as in the folders ("SN001"). Raises InputError for a missing or damaged file, with its line.
    """
    labels = _find(Path(root), "ActionUnit_Labels")
    if labels is None:
        raise InputError(f"{root} has no folder ActionUnit_Labels; name the folder that holds DISFA.")
    frames, values = _intensities(labels, subject)
    return frames, DISFA_UNITS, values


def _intensities(labels: Path, subject: str) -> tuple[Array, Array]:
    frames, columns = None, []
    for unit in DISFA_UNITS:
        path = labels / subject / f"{subject}_au{unit}.txt"
        table = _disfa_column(path)
        if frames is not None and not np.array_equal(frames, table[:, 0]):
            raise InputError(f"{path} lists other frames than {subject}_au1.txt; copy both again.")
        frames = table[:, 0]
        columns.append(table[:, 1])
    return np.asarray(frames).astype(np.int64), np.stack(columns, axis=1)


def _disfa_column(path: Path) -> Array:
    """float64 (T, 2): frame number and intensity."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); a person has 12 such files.") from error
    rows = []
    for line, text in enumerate(lines, 1):
        if match := re.fullmatch(r"\s*(\d+)\s*,\s*([0-5])\s*", text):
            rows.append((float(match[1]), float(match[2])))
        elif text.strip():
            raise InputError(f"{path}, line {line}, is '{text.strip()}'; expected a frame and 0 to 5, as in '1,0'.")
    if not rows:
        raise InputError(f"{path} lists no frame; copy it again.")
    return np.array(rows)
