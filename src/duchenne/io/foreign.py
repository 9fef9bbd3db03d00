"""Read tables of OpenFace and py-feat as tracks and action units.

OpenFace (FeatureExtraction, FaceLandmarkVidMulti): `frame` from 1, `timestamp` in seconds, `success` 0 or 1, `face_id`
where there may be several faces, `AUxx_r` intensity 0–5, `AUxx_c` presence 0/1. Frames without success hold zeros, a
guess or no numbers at all ("-nan(ind)"): all are read as unseen. See
https://github.com/TadasBaltrusaitis/OpenFace/wiki/Output-Format.

py-feat (a Fex saved as CSV): `frame` from 0, `AUxx` probability 0–1, `FaceRectX`, … `FaceScore`, one row per frame and
face. `approx_time` in whole seconds ("00:01") is too coarse: give a rate then.

Both programs may give one number to two people, or two to one, and find faces where there are none, so that faces are
followed by their place (`continuity.link`); `face_id` and `Identity` are hints.
A frame without a row becomes an unseen frame, so that no gap is bridged unnoticed; what a table lacks is NaN.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duchenne.errors import InputError, UsageError
from duchenne.io.cells import number, shown
from duchenne.io.continuity import link, trusted
from duchenne.io.frames import FRAME_COLUMNS, MESH_COLUMNS, tracks_from_table
from duchenne.io.table import check_columns, read_names, read_table
from duchenne.types import Array, FaceTrack, Signals

if TYPE_CHECKING:
    import pandas as pd

POINTS = (*(f"x_{i}" for i in range(68)), *(f"y_{i}" for i in range(68)))
RECT = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
OPENFACE = ("frame", "timestamp", "confidence", "success")
_PYFEAT = (*RECT, "FaceScore", "frame")
_USED = {
    *(*OPENFACE, "face_id", *_PYFEAT, *POINTS),
    *("x_68", "input", "approx_time", "Identity", "FrameWidth", "FrameHeight"),
}
#: Dialect → columns that no other dialect has together.
_SIGNS = {
    "duchenne": {"frame", "face", "seen"},
    "openface": {"frame", "confidence", "success"},
    "py-feat": {"FaceRectX", "FaceScore"},
}
AU = {"openface": re.compile(r"AU\d\d_[rc]"), "py-feat": re.compile(r"AU\d\d")}
#: More rows than this come from frame numbers that jump, not from a clip (37 hours of one face at 30 frames/s).
_MOST_ROWS = 4_000_000
#: Frame numbers without rows: shorter jumps become unseen frames, longer ones are errors in a table.
_MOST_FILLED, _MOST_JUMP = 1000, 10**8
_HOW_RATE = "give the clip's frames per second (rate=… in Python, --rate on the command line)"


def dialect(columns: Iterable[str]) -> str | None:
    """The program that wrote a table with this header: "duchenne", "openface", "py-feat", or None for others."""
    names = {str(name).strip() for name in columns}
    return next((each for each, signs in _SIGNS.items() if signs <= names), None)


def load_table(path: Path, *, rate: float | None = None) -> list[FaceTrack]:
    """The tracks of a CSV of any of the three dialects; see `load_tracks`."""
    kind, table = _read(path)
    if kind == "duchenne":
        if rate is not None:
            raise UsageError(f"{path} holds its own times; leave out the rate.")
        return tracks_from_table(table, str(path))
    return (tracks_from_openface if kind == "openface" else tracks_from_pyfeat)(table, str(path), rate=rate)


def tracks_from_openface(table: pd.DataFrame, source: str = "", *, rate: float | None = None) -> list[FaceTrack]:
    """The tracks of an OpenFace table, one per face (see above), all on the table's frames.

    Time is `timestamp`, or (frame - 1) / `rate` where a rate (frames/s) is given. The table has no boxes (NaN) and no
    frame size ((0, 0)). Raises InputError, with the line, for missing columns, text or gaps among numbers, repeated
    rows, and timestamps that do not rise with `frame`.
    """
    faces = _openface(_Sheet.of(table, source, (*OPENFACE, *POINTS)), rate)
    return _tracks(faces, f"read OpenFace table: frames from 1, AU 0–5 intensity, {faces.note}")


def tracks_from_pyfeat(table: pd.DataFrame, source: str = "", *, rate: float | None = None) -> list[FaceTrack]:
    """The tracks of a py-feat table, one per face (see above), all on the table's frames.

    Time is frame / `rate` (frames/s), or `approx_time` where that has fractions of a second; UsageError where both are
    missing. Confidence is `FaceScore`. Raises InputError, with the line, for missing columns, text or gaps among
    numbers, several inputs in one table, and landmarks other than the 68.
    """
    faces = _pyfeat(_Sheet.of(table, source, (*_PYFEAT, *POINTS)), rate)
    return _tracks(faces, f"read py-feat table: frames from 0, AU 0–1 probability, {faces.note}")


def action_units(source: str | Path | pd.DataFrame, *, rate: float | None = None) -> list[Signals]:
    """The action units of an OpenFace or py-feat table: one Signals per face, ordered as by `load_tracks`.

    OpenFace: "AU01" (unit "0-5") and "AU01_c" (unit "0/1"); py-feat: "AU01" (unit "0-1"). NaN where the face was not
    found. Needs no landmarks. Raises as the tracks' readers do, and for values outside the scale.
    """
    kind, table = _read(Path(source)) if isinstance(source, str | Path) else (dialect(source.columns), source)
    name = str(source) if isinstance(source, str | Path) else ""
    columns = [c.strip() for c in table.columns if kind in AU and AU[kind].fullmatch(c.strip())]
    if kind not in AU or not columns:
        raise InputError(f"{name or 'The table'} holds no action units; expected a table of OpenFace or py-feat.")
    sheet = _Sheet.of(table, name, (*(OPENFACE if kind == "openface" else _PYFEAT), *columns))
    faces = _openface(sheet, rate) if kind == "openface" else _pyfeat(sheet, rate)
    sheet = faces.sheet
    units = ["0-1" if kind == "py-feat" else "0-5" if c.endswith("_r") else "0/1" for c in columns]
    values = np.where(faces.seen[:, None], sheet.numbers(columns), np.nan)
    if kind == "openface":
        sheet.reject(np.isnan(values) & faces.seen[:, None], columns, "is empty in a frame with a face")
    top = np.array([5.0 if unit == "0-5" else 1.0 for unit in units])
    sheet.reject((values < 0) | (values > top), columns, "is off its scale (OpenFace 0 to 5 or 0/1, py-feat 0 to 1)")
    names = tuple(c.removesuffix("_r") for c in columns)
    return [Signals(faces.time, _take(values, at), names, tuple(units)) for at in faces.rows]


@dataclass(frozen=True)
class _Sheet:
    """A table that has the needed columns, and its source, so that every error names its line."""

    table: pd.DataFrame
    source: str
    used: Array  # bool (R,)

    @classmethod
    def of(cls, table: pd.DataFrame, source: str, needed: Sequence[str]) -> _Sheet:
        table, what = table.rename(columns=lambda c: str(c).strip()), source or "The table"
        check_columns(table, needed, what, "write it with all of them")
        if not table.columns.is_unique:
            duplicate = table.columns[table.columns.duplicated()][0]
            raise InputError(f"{what} has two columns {duplicate}; keep one.")
        if not len(table):
            raise InputError(f"{what} has a header but no rows; expected one per frame.")
        return cls(table, source, np.ones(len(table), bool))

    @property
    def name(self) -> str:
        return self.source or "The table"

    def line(self, row: int) -> str:
        line = self.table.index[row] if self.table.index.name == "line" else row + 2
        return f"{self.name}, line {line}"

    def only(self, used: Array) -> _Sheet:
        """The same, of whose rows only `used` are checked."""
        return replace(self, used=used)

    def reject(self, bad: Array, names: Sequence[str], fault: str) -> None:
        """InputError for the first True of `bad` (R, len(names))."""
        if bad.any():
            row, column = np.argwhere(bad)[0]
            value = self.table[names[column]].iloc[row]
            quoted = "" if isinstance(value, float) and np.isnan(value) else f" ({value})"
            raise InputError(f"{self.line(row)}: {names[column]}{quoted} {fault}; write the table again.")

    def numbers(self, names: Sequence[str], *, whole: bool = False) -> Array:
        """float64 (R, len(names)); empty is NaN, or an error where the numbers must be `whole`, 0 or more.

        Whatever stands in rows that are not used is NaN where it is not a number.
        """
        part = self.table[list(names)]
        try:
            values = np.array(part.to_numpy(float, na_value=np.nan))  # a copy, as points() writes to it
            bad = np.isinf(values)
        except (ValueError, TypeError):  # some cell is text
            columns = [_from_text(part[name]) for name in names]
            values, bad = (np.column_stack(each) for each in zip(*columns, strict=True))
        self.reject(bad & self.used[:, None], names, "is not a number")
        if whole:
            good = (values >= 0) & (values < 2**53) & (values == np.floor(values))
            self.reject(~good & self.used[:, None], names, "is not a whole number from 0")
        return np.where(np.isinf(values), np.nan, values)

    def points(self) -> Array:
        """float64 (R, 68, 2); 68 times (0, 0) means no face."""
        flat = self.numbers(POINTS)
        gaps = np.isnan(flat)
        blank = self.table[list(POINTS)].isna().to_numpy() & self.used[:, None]
        self.reject(blank & ~gaps.all(axis=1, keepdims=True), POINTS, "is empty, and the row seems cut off")
        flat[(flat == 0).all(axis=1)] = np.nan
        return np.stack([flat[:, :68], flat[:, 68:]], axis=-1)


@dataclass(frozen=True)
class _Faces:
    """Which row of a sheet shows which face at what time."""

    sheet: _Sheet
    time: Array  # (T,) s
    rows: Array  # int (faces, T): row of the sheet, -1 = none
    seen: Array  # bool (R,)
    confidence: Array  # (R,)
    box: Array  # (R, 4)
    size: tuple[int, int]
    note: str


def _tracks(faces: _Faces, step: str) -> list[FaceTrack]:
    points = np.where(faces.seen[:, None, None], faces.sheet.points(), np.nan)
    confidence = np.where(np.isfinite(points).all(axis=(1, 2)), faces.confidence, np.nan)
    return [
        FaceTrack(
            time=faces.time,
            points=_take(points, at),
            confidence=_take(confidence, at),
            box=_take(faces.box, at),
            frame_size=faces.size,
            source=faces.sheet.source,
            history=(step,),
        )
        for at in faces.rows
    ]


def _from_text(column: pd.Series) -> tuple[Array, Array]:
    """float64 (R,) of a column with text, NaN where a cell is missing; bool (R,), where it is not a number."""
    values, bad = np.full(len(column), np.nan), np.zeros(len(column), bool)
    for row, cell in enumerate(column.tolist()):
        try:
            values[row] = number(cell) if isinstance(cell, str) else cell
        except ValueError:
            bad[row] = True
    return values, bad | np.isinf(values)


def _take(values: Array, at: Array) -> Array:
    """Rows `at` of `values`, NaN for -1."""
    out = values[at].astype(float)
    out[at < 0] = np.nan
    return out


def _openface(sheet: _Sheet, rate: float | None) -> _Faces:
    success = sheet.numbers(["success"], whole=True)[:, 0]
    sheet.reject(success[:, None] > 1, ["success"], "is neither 0 nor 1")
    sheet = sheet.only(success == 1)
    several = "face_id" in sheet.table.columns
    placed = ["frame", *([] if rate else ["timestamp"]), *(["face_id"] if several else [])]
    known = np.isfinite(sheet.numbers(placed)).all(axis=1) | sheet.used
    if not known.all():  # a frame without a face and a time is one without a row
        sheet = _Sheet(sheet.table[known], sheet.source, sheet.used[known])
    if not len(sheet.table):
        raise InputError(f"{sheet.name} has no row with a frame and a time; expected one per frame.")
    every = sheet.only(np.ones(len(sheet.table), bool))
    frame = every.numbers(["frame"], whole=True)[:, 0]
    sheet.reject(frame[:, None] < 1, ["frame"], "is below 1, where OpenFace begins to count")
    ids = every.numbers(["face_id"], whole=True)[:, 0] if several else np.zeros(len(frame))
    faces, seen = np.unique(ids, return_inverse=True)[1], sheet.used
    order = np.lexsort((faces, frame))
    repeated = order[1:][(np.diff(frame[order]) == 0) & (np.diff(faces[order]) == 0)]
    if len(repeated):
        raise InputError(f"{sheet.line(repeated[0])} repeats a face in the same frame; keep one row.")
    confidence = sheet.numbers(["confidence"])[:, 0]
    box = np.full((len(frame), 4), np.nan)
    if faces.any() and set(POINTS) <= set(sheet.table.columns):  # an id may pass to another person
        seen = seen & np.isfinite(sheet.points()).all(axis=(1, 2))
        faces = _linked(sheet, frame, box, seen, np.full(len(frame), np.nan), "face_id")
    time, rows, note = _grid(sheet, frame, faces, None if rate else every.numbers(["timestamp"])[:, 0], rate, base=1)
    return _Faces(sheet, time, rows, seen, confidence, box, (0, 0), note)


def _pyfeat(sheet: _Sheet, rate: float | None) -> _Faces:
    columns = sheet.table.columns
    if "x_68" in columns:
        raise InputError(f"{sheet.name} holds a mesh of more than 68 points; use py-feat's Detector.")
    if "input" in columns and (count := sheet.table["input"].nunique()) > 1:
        raise InputError(f"{sheet.name} holds {count} inputs; write one table per `input`.")
    frame = sheet.numbers(["frame"], whole=True)[:, 0]
    rect = sheet.numbers(RECT)
    seen = np.asarray(np.isfinite(rect).all(axis=1))
    if set(POINTS) <= set(columns):
        seen = np.asarray(seen | np.isfinite(sheet.points()).all(axis=(1, 2)))
    box = np.hstack([rect[:, :2], rect[:, :2] + rect[:, 2:]])
    score = sheet.numbers(["FaceScore"])[:, 0]
    faces = _linked(sheet, frame, box, seen, score, "Identity")
    seconds = _seconds(sheet.table["approx_time"]) if "approx_time" in columns and not rate else None
    if seconds is None and rate is None:
        raise UsageError(f"{sheet.name} holds no exact times, as py-feat writes it; {_HOW_RATE}.")
    time, rows, note = _grid(sheet, frame, faces, seconds, rate, base=0)
    size = (0, 0)
    if {"FrameWidth", "FrameHeight"} <= set(columns):
        sizes = sheet.numbers(["FrameWidth", "FrameHeight"])
        known = sizes[np.isfinite(sizes).all(axis=1)]
        size = (int(known[0, 0]), int(known[0, 1])) if len(known) else size
    return _Faces(sheet.only(seen), time, rows, seen, score, box, size, f"faces by place, {note}")


def _linked(sheet: _Sheet, frame: Array, box: Array, seen: Array, score: Array, name: str) -> Array:
    """Number of the face in each row (-1: none), by where it is; the column `name`, if there, is a hint."""
    import pandas as pd

    if not np.isfinite(box[seen]).all():
        points = sheet.points()
        box = np.where(np.isfinite(box), box, np.hstack([points.min(axis=1), points.max(axis=1)]))
    names = sheet.table[name].to_numpy(object) if name in sheet.table.columns else np.full(len(frame), None)
    hints = [None if pd.isna(each) else each for each in names]
    faces = link(frame, np.where(seen[:, None], box, np.nan), score, hints)
    return kept if (kept := trusted(frame, faces, hints)) is not None else faces


def _seconds(column: pd.Series) -> Array | None:
    """`approx_time` as float64 (R,) seconds, from numbers or "MM:SS.fff"; None where it has only whole seconds."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(float)
        return values if np.isfinite(values).all() and (values % 1).any() else None
    parts = column.astype(str).str.rpartition(":")
    rest = parts[2]
    minutes = pd.to_numeric(parts[0].replace("", "0"), errors="coerce")
    values = (pd.to_numeric(rest, errors="coerce") + 60 * minutes).to_numpy(float)
    exact = rest.str.contains(".", regex=False).all() and np.isfinite(values).all()
    return values if exact else None


def _grid(
    sheet: _Sheet, frame: Array, faces: Array, seconds: Array | None, rate: float | None, *, base: int
) -> tuple[Array, Array, str]:
    """time (T,), rows (faces, T) and a note: every frame from the first to the last in the table's own step."""
    if rate is not None and not (np.isfinite(rate) and rate > 0):
        raise UsageError(f"A rate must be above 0 frames per second, found {rate:g}; {_HOW_RATE}.")
    numbers, first = np.unique(frame.astype(np.int64), return_index=True)
    step = int(np.gcd.reduce(np.diff(numbers))) if len(numbers) > 1 else 1
    jump = int(np.argmax(np.diff(numbers))) + 1 if len(numbers) > 1 else 0
    if numbers[jump] - numbers[jump - 1] > _MOST_JUMP:
        between = f"from {numbers[jump - 1]} to {numbers[jump]}"
        raise InputError(f"{sheet.line(first[jump])}: `frame` jumps {between}; correct it.")
    grid = _filled(numbers, step)
    count = max(1, int(faces.max()) + 1)
    if len(grid) * count > max(_MOST_ROWS, 2 * len(frame)):
        raise InputError(f"{sheet.name} shows {count:,} faces in {len(grid):,} frames; expected a few faces.")
    if rate is not None:
        time, note = (grid - base) / rate, f"{rate:g} frames/s as given"
    else:
        known = np.asarray(seconds)[first]
        late = np.flatnonzero(~(np.diff(known) > 0) | ~np.isfinite(known[1:]))
        if len(late) or not np.isfinite(known[0]):
            line = sheet.line(first[late[0] + 1] if len(late) else first[0])
            raise InputError(f"{line}: the time does not rise from frame to frame; {_HOW_RATE}.")
        time, note = np.interp(grid, numbers, known), "times of the table"
    rows = np.full((count, len(grid)), -1)
    at = np.flatnonzero(faces >= 0)
    rows[faces[at], np.searchsorted(grid, frame[at].astype(np.int64))] = at
    lost = int(numbers[-1] - numbers[0]) // step + 1 - len(numbers)
    return time, rows, note + (f", frames without a row: {lost}" if lost else "")


def _filled(numbers: Array, step: int) -> Array:
    """Frame numbers from the first to the last; of a longer jump only the frames next to its ends."""
    near = [numbers]
    for k in np.flatnonzero(np.diff(numbers) > step):
        low, high = int(numbers[k]) + step, int(numbers[k + 1])
        near.append(np.arange(low, high, step) if high - low < _MOST_FILLED * step else np.array([low, high - step]))
    return np.unique(np.concatenate(near))


def _read(path: Path) -> tuple[str, pd.DataFrame]:
    """Dialect and table of a CSV, of other programs only the columns that are used; InputError for other files."""
    expected = "expected a frames.csv written by duchenne, or a table of OpenFace or py-feat"
    try:
        header = read_names(path)
        kind = dialect(header)
        if kind is None:
            listed = ", ".join(map(shown, header[:8])) + (", …" if len(header) > 8 else "")
            raise InputError(f"{path} is not a table of face tracks, its columns are {listed}; {expected}.")
        names = (*FRAME_COLUMNS, *MESH_COLUMNS) if kind == "duchenne" else _USED
        table = read_table(path, lambda name: name in names or (kind in AU and bool(AU[kind].fullmatch(name))))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as CSV ({str(error).strip()}); {expected}.") from error
    return kind, table[table.notna().any(axis=1)]
