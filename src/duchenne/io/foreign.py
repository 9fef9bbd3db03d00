"""Read tables of OpenFace and py-feat as tracks and action units.

OpenFace (FeatureExtraction, FaceLandmarkVidMulti): `frame` from 1, `timestamp` in seconds, `success` 0 or 1, `face_id`
where there may be several faces (an id may pass to another person when a face was lost), `AUxx_r` intensity 0–5,
`AUxx_c` presence 0/1. Frames without success hold zeros or a guess: both are read as unseen. See
https://github.com/TadasBaltrusaitis/OpenFace/wiki/Output-Format.

py-feat (a Fex saved as CSV): `frame` from 0, `AUxx` probability 0–1, `FaceRectX`, … `FaceScore`, one row per frame and
face. Faces are distinguished by `Identity` where it is unique within every frame, else by their order from the left,
which confuses people who swap places. `approx_time` in whole seconds ("00:01") is too coarse: give a rate then.

A frame without a row becomes an unseen frame, so that no gap is bridged unnoticed; what a table lacks is NaN.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duchenne.errors import InputError, UsageError
from duchenne.io.frames import tracks_from_table
from duchenne.io.table import check_columns, read_table
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
    """The tracks of an OpenFace table, one per `face_id` in rising order, all on the table's frames.

    Time is `timestamp`, or (frame - 1) / `rate` where a rate (frames/s) is given. The table has no boxes (NaN) and no
    frame size ((0, 0)). Raises InputError, with the line, for missing columns, text or gaps among numbers, repeated
    rows, and timestamps that do not rise with `frame`.
    """
    faces = _openface(_Sheet.of(table, source, (*OPENFACE, *POINTS)), rate)
    return _tracks(faces, f"read OpenFace table: frames from 1, AU 0–5 intensity, {faces.note}")


def tracks_from_pyfeat(table: pd.DataFrame, source: str = "", *, rate: float | None = None) -> list[FaceTrack]:
    """The tracks of a py-feat table, one per `Identity` (else from left to right), all on the table's frames.

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

    @classmethod
    def of(cls, table: pd.DataFrame, source: str, needed: Sequence[str]) -> _Sheet:
        table, what = table.rename(columns=lambda c: str(c).strip()), source or "The table"
        check_columns(table, needed, what, "write it with all of them")
        if not table.columns.is_unique:
            duplicate = table.columns[table.columns.duplicated()][0]
            raise InputError(f"{what} has two columns {duplicate}; keep one.")
        if not len(table):
            raise InputError(f"{what} has a header but no rows; expected one per frame.")
        return cls(table, source)

    @property
    def name(self) -> str:
        return self.source or "The table"

    def line(self, row: int) -> str:
        return f"{self.name}, line {row + 2}"

    def reject(self, bad: Array, names: Sequence[str], fault: str) -> None:
        """InputError for the first True of `bad` (R, len(names))."""
        if bad.any():
            row, column = np.argwhere(bad)[0]
            value = self.table[names[column]].iloc[row]
            quoted = "" if isinstance(value, float) and np.isnan(value) else f" ({value})"
            raise InputError(f"{self.line(row)}: {names[column]}{quoted} {fault}; write the table again.")

    def numbers(self, names: Sequence[str], *, whole: bool = False) -> Array:
        """float64 (R, len(names)); empty is NaN, or an error where the numbers must be `whole`, 0 or more."""
        import pandas as pd

        part = self.table[list(names)]
        try:
            values = np.array(part.to_numpy(float, na_value=np.nan))  # a copy, as points() writes to it
        except (ValueError, TypeError):  # some cell is text
            values = np.column_stack([pd.to_numeric(part[c], errors="coerce").to_numpy(float) for c in names])
        self.reject((np.isnan(values) & part.notna().to_numpy()) | np.isinf(values), names, "is not a number")
        if whole:
            good = (values >= 0) & (values < 2**53) & (values == np.floor(values))
            self.reject(~good, names, "is not a whole number from 0")
        return values

    def points(self) -> Array:
        """float64 (R, 68, 2); 68 times (0, 0) means no face."""
        flat = self.numbers(POINTS)
        gaps = np.isnan(flat)
        self.reject(gaps & ~gaps.all(axis=1, keepdims=True), POINTS, "is empty, and the row seems cut off")
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


def _take(values: Array, at: Array) -> Array:
    """Rows `at` of `values`, NaN for -1."""
    out = values[at].astype(float)
    out[at < 0] = np.nan
    return out


def _openface(sheet: _Sheet, rate: float | None) -> _Faces:
    frame, success = sheet.numbers(["frame", "success"], whole=True).T
    sheet.reject(frame[:, None] < 1, ["frame"], "is below 1, where OpenFace begins to count")
    sheet.reject(success[:, None] > 1, ["success"], "is neither 0 nor 1")
    several = "face_id" in sheet.table.columns
    ids = sheet.numbers(["face_id"], whole=True)[:, 0] if several else np.zeros(len(frame))
    faces = np.unique(ids, return_inverse=True)[1]
    order = np.lexsort((faces, frame))
    repeated = order[1:][(np.diff(frame[order]) == 0) & (np.diff(faces[order]) == 0)]
    if len(repeated):
        raise InputError(f"{sheet.line(repeated[0])} repeats a face in the same frame; keep one row.")
    seconds = None if rate else sheet.numbers(["timestamp"])[:, 0]
    time, rows, note = _grid(sheet, frame, faces, seconds, rate, base=1)
    box = np.full((len(frame), 4), np.nan)
    confidence = sheet.numbers(["confidence"])[:, 0]
    return _Faces(sheet, time, rows, success == 1, confidence, box, (0, 0), note)


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
    faces, how = _identify(sheet, frame, rect[:, 0], seen)
    seconds = _seconds(sheet.table["approx_time"]) if "approx_time" in columns and not rate else None
    if seconds is None and rate is None:
        raise UsageError(f"{sheet.name} holds no exact times, as py-feat writes it; {_HOW_RATE}.")
    time, rows, note = _grid(sheet, frame, faces, seconds, rate, base=0)
    box = np.hstack([rect[:, :2], rect[:, :2] + rect[:, 2:]])
    size = (0, 0)
    if {"FrameWidth", "FrameHeight"} <= set(columns):
        sizes = sheet.numbers(["FrameWidth", "FrameHeight"])
        known = sizes[np.isfinite(sizes).all(axis=1)]
        size = (int(known[0, 0]), int(known[0, 1])) if len(known) else size
    return _Faces(sheet, time, rows, seen, sheet.numbers(["FaceScore"])[:, 0], box, size, f"{how}, {note}")


def _identify(sheet: _Sheet, frame: Array, left: Array, seen: Array) -> tuple[Array, str]:
    """Number of the face in each row (-1: none), and how faces were distinguished."""
    import pandas as pd

    faces = np.full(len(frame), -1)
    if "Identity" in sheet.table.columns:
        ids = sheet.table["Identity"].to_numpy(object)
        named = pd.notna(ids)
        if named[seen].all() and not pd.DataFrame({"frame": frame, "id": ids})[named].duplicated().any():
            faces[named] = pd.factorize(ids[named])[0]
            return faces, "faces by Identity"
    rows = np.flatnonzero(seen)
    if not np.isfinite(left[rows]).all():
        left = sheet.points()[..., 0].min(axis=1)
    rows = rows[np.lexsort((left[rows], frame[rows]))]
    faces[rows] = np.arange(len(rows)) - np.searchsorted(frame[rows], frame[rows])
    return faces, "faces from left to right"


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
    total, count = int(numbers[-1] - numbers[0]) // step + 1, max(1, int(faces.max()) + 1)
    if total * count > max(_MOST_ROWS, 2 * len(frame)):
        jump = int(np.argmax(np.diff(numbers))) + 1
        between = f"from {numbers[jump - 1]} to {numbers[jump]}"
        raise InputError(f"{sheet.line(first[jump])}: `frame` jumps {between}; correct it.")
    grid = numbers[0] + step * np.arange(total)
    if rate is not None:
        time, note = (grid - base) / rate, f"{rate:g} frames/s as given"
    else:
        known = np.asarray(seconds)[first]
        late = np.flatnonzero(~(np.diff(known) > 0) | ~np.isfinite(known[1:]))
        if len(late) or not np.isfinite(known[0]):
            line = sheet.line(first[late[0] + 1] if len(late) else first[0])
            raise InputError(f"{line}: the time does not rise from frame to frame; {_HOW_RATE}.")
        time, note = np.interp(grid, numbers, known), "times of the table"
    rows = np.full((count, total), -1)
    at = np.flatnonzero(faces >= 0)
    rows[faces[at], (frame[at].astype(np.int64) - numbers[0]) // step] = at
    lost = total - len(numbers)
    return time, rows, note + (f", frames without a row: {lost}" if lost else "")


def _read(path: Path) -> tuple[str, pd.DataFrame]:
    """Dialect and table of a CSV, of other programs only the columns that are used; InputError for other files."""
    expected = "expected a frames.csv written by duchenne, or a table of OpenFace or py-feat"
    try:
        header = list(read_table(path, nrows=0, skipinitialspace=True).columns)
        kind = dialect(header)
        if kind is None:
            listed = ", ".join(map(str, header[:8])) + (", …" if len(header) > 8 else "")
            raise InputError(f"{path} is not a table of face tracks, its columns are {listed}; {expected}.")
        if kind == "openface":
            _check_widths(path, len(header))
        used = [c for c in header if kind == "duchenne" or c.strip() in _USED or AU[kind].fullmatch(c.strip())]
        # blank lines are kept while reading, so that a row's number gives its line
        table = read_table(
            path, usecols=used, index_col=False, low_memory=False, skipinitialspace=True, skip_blank_lines=False
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as CSV ({str(error).strip()}); {expected}.") from error
    filled = np.flatnonzero(table.notna().to_numpy().any(axis=1))
    return kind, table.iloc[: int(filled[-1]) + 1 if len(filled) else 0]


def _check_widths(path: Path, width: int) -> None:
    """InputError for rows with too few or too many cells: OpenFace fills every cell and quotes none."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip() and line.count(b",") != width - 1:
                cells = f"{line.count(b',') + 1} cells where the header has {width}"
                raise InputError(f"{path}, line {number} has {cells}; delete it or run OpenFace again.")
