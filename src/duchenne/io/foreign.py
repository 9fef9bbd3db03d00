"""Tables of OpenFace and py-feat, read as tracks and action units.

OpenFace (FeatureExtraction, FaceLandmarkVidMulti): `frame` from 1, `timestamp` in seconds, `success` 0 or 1,
`face_id` where there may be several faces (an id may pass to another person when a face was lost),
`AUxx_r` intensity 0–5, `AUxx_c` presence 0/1. In a frame without success it writes zeros or a guess: both
are read as unseen. See https://github.com/TadasBaltrusaitis/OpenFace/wiki/Output-Format.

py-feat (a Fex saved as CSV): `frame` from 0, `AUxx` probability 0–1, `FaceRectX`, … `FaceScore`, several
rows per frame for several faces. Faces are told apart by `Identity` where every face has one that is
its own within its frame, else by their order from the left, which mixes up people who swap places.
`approx_time` in whole seconds ("00:01") is too coarse to be used: then a rate has to be given.

A frame without a row becomes an unseen frame, so that no gap is bridged unnoticed; neither dialect holds
everything: what a table does not say is NaN.
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
from duchenne.io.table import read_table
from duchenne.types import Array, FaceTrack, Signals

if TYPE_CHECKING:
    import pandas as pd

POINTS = (*(f"x_{i}" for i in range(68)), *(f"y_{i}" for i in range(68)))
RECT = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
OPENFACE = ("frame", "timestamp", "confidence", "success")
_PYFEAT = (*RECT, "FaceScore", "frame")
#: Dialect → columns that no other dialect has together.
_SIGNS = {
    "duchenne": {"frame", "face", "seen"},
    "openface": {"frame", "confidence", "success"},
    "py-feat": {"FaceRectX", "FaceScore"},
}
AU = {"openface": re.compile(r"AU\d\d_[rc]"), "py-feat": re.compile(r"AU\d\d")}
#: More rows than this come from frame numbers that leap, not from a clip (37 hours of one face at 30 frames/s).
_MOST_ROWS = 4_000_000
_HOW_RATE = "give the clip's frames per second (rate=… in Python, --rate on the command line)"


def dialect(columns: Iterable[str]) -> str | None:
    """Who wrote a table with this header: "duchenne", "openface", "py-feat" or None (none of them)."""
    names = {str(name).strip() for name in columns}
    return next((who for who, signs in _SIGNS.items() if signs <= names), None)


def load_table(path: Path, *, rate: float | None = None) -> list[FaceTrack]:
    """The tracks of a CSV of any of the three dialects; see `load_tracks`."""
    who, table = _read(path)
    if who == "duchenne":
        if rate is not None:
            raise UsageError(f"{path} holds its own times; leave out the rate.")
        return tracks_from_table(table, str(path))
    return (tracks_from_openface if who == "openface" else tracks_from_pyfeat)(table, str(path), rate=rate)


def tracks_from_openface(table: pd.DataFrame, source: str = "", *, rate: float | None = None) -> list[FaceTrack]:
    """The tracks of an OpenFace table, one per `face_id` in rising order, all on the table's frames.

    Time is `timestamp`, or (frame - 1) / `rate` where a rate (frames/s) is given. The table says nothing of
    boxes (NaN) and picture size ((0, 0)). Raises InputError, with the line, for missing columns, text or
    gaps among numbers, rows that come twice, and timestamps that do not rise with `frame`.
    """
    faces = _openface(_Sheet.of(table, source, (*OPENFACE, *POINTS)), rate)
    return _tracks(faces, f"read OpenFace table: frames from 1, AU 0–5 intensity, {faces.note}")


def tracks_from_pyfeat(table: pd.DataFrame, source: str = "", *, rate: float | None = None) -> list[FaceTrack]:
    """The tracks of a py-feat table, one per `Identity` (else from left to right), all on the table's frames.

    Time is frame / `rate` (frames/s), or `approx_time` where that has fractions of a second; UsageError where
    neither is there. Confidence is `FaceScore`. Raises InputError, with the line, for missing columns, text
    or gaps among numbers, several inputs in one table, and landmarks other than the 68.
    """
    faces = _pyfeat(_Sheet.of(table, source, (*_PYFEAT, *POINTS)), rate)
    return _tracks(faces, f"read py-feat table: frames from 0, AU 0–1 probability, {faces.note}")


def action_units(source: str | Path | pd.DataFrame, *, rate: float | None = None) -> list[Signals]:
    """The action units of an OpenFace or py-feat table: one Signals per face, as `load_tracks` orders them.

    OpenFace: "AU01" (unit "0-5") and "AU01_c" (unit "0/1"); py-feat: "AU01" (unit "0-1"). NaN where the face
    was not found. No landmarks are needed. Raises as the tracks' readers do, and for values off the scale.
    """
    who, table = (dialect(source.columns), source) if hasattr(source, "columns") else _read(Path(source))
    name = "" if hasattr(source, "columns") else str(source)
    found = [c.strip() for c in table.columns if who in AU and AU[who].fullmatch(c.strip())]
    if who not in AU or not found:
        raise InputError(f"{name or 'The table'} holds no action units; expected a table of OpenFace or py-feat.")
    sheet = _Sheet.of(table, name, (*(OPENFACE if who == "openface" else _PYFEAT), *found))
    faces = _openface(sheet, rate) if who == "openface" else _pyfeat(sheet, rate)
    units = ["0-1" if who == "py-feat" else "0-5" if c.endswith("_r") else "0/1" for c in found]
    values = np.where(faces.seen[:, None], sheet.numbers(found), np.nan)
    if who == "openface":
        sheet.refuse(np.isnan(values) & faces.seen[:, None], found, "is empty in a frame with a face")
    top = np.array([5.0 if unit == "0-5" else 1.0 for unit in units])
    sheet.refuse((values < 0) | (values > top), found, "is off its scale (OpenFace 0 to 5 or 0/1, py-feat 0 to 1)")
    names = tuple(c.removesuffix("_r") for c in found)
    return [Signals(faces.time, _take(values, at), names, tuple(units)) for at in faces.rows]


@dataclass(frozen=True)
class _Sheet:
    """A table whose columns are there, and where it came from: so that every fault names its line."""

    table: pd.DataFrame
    source: str

    @classmethod
    def of(cls, table: pd.DataFrame, source: str, needed: Sequence[str]) -> _Sheet:
        table, what = table.rename(columns=lambda c: str(c).strip()), source or "The table"
        if missing := [name for name in needed if name not in table.columns]:
            more = f" and {len(missing) - 6} more" if len(missing) > 6 else ""
            raise InputError(f"{what} lacks the columns {', '.join(missing[:6])}{more}; write it with all of them.")
        if not table.columns.is_unique:
            twice = table.columns[table.columns.duplicated()][0]
            raise InputError(f"{what} has two columns {twice}; keep one.")
        if not len(table):
            raise InputError(f"{what} has a header but no rows; expected one per frame.")
        return cls(table, source)

    def line(self, row: int) -> str:
        return f"{self.source or 'The table'}, line {row + 2}"

    def refuse(self, bad: Array, names: Sequence[str], fault: str) -> None:
        """InputError for the first True of `bad` (R, len(names))."""
        if bad.any():
            row, column = np.argwhere(bad)[0]
            value = self.table[names[column]].iloc[row]
            said = "" if isinstance(value, float) and np.isnan(value) else f" ({value})"
            raise InputError(f"{self.line(row)}: {names[column]}{said} {fault}; write the table again.")

    def numbers(self, names: Sequence[str], *, whole: bool = False) -> Array:
        """float64 (R, len(names)); empty is NaN, or refused where the numbers must be `whole`, 0 or more."""
        import pandas as pd

        part = self.table[list(names)]
        try:
            values = np.array(part.to_numpy(float, na_value=np.nan))  # its own, as points() writes to it
        except (ValueError, TypeError):  # some cell is text
            values = np.column_stack([pd.to_numeric(part[c], errors="coerce").to_numpy(float) for c in names])
        self.refuse((np.isnan(values) & part.notna().to_numpy()) | np.isinf(values), names, "is no number")
        if whole:
            good = (values >= 0) & (values < 2**53) & (values == np.floor(values))
            self.refuse(~good, names, "is no whole number from 0 on")
        return values

    def points(self) -> Array:
        """float64 (R, 68, 2); a face at 68 times (0, 0) is none."""
        flat = self.numbers(POINTS)
        gaps = np.isnan(flat)
        self.refuse(gaps & ~gaps.all(axis=1, keepdims=True), POINTS, "is empty, and the row seems cut off")
        flat[(flat == 0).all(axis=1)] = np.nan
        return np.stack([flat[:, :68], flat[:, 68:]], axis=-1)


@dataclass(frozen=True)
class _Faces:
    """Which row of a sheet shows which face when."""

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
    sheet.refuse(frame[:, None] < 1, ["frame"], "is below 1, from where OpenFace counts")
    sheet.refuse(success[:, None] > 1, ["success"], "is neither 0 nor 1")
    several = "face_id" in sheet.table.columns
    ids = sheet.numbers(["face_id"], whole=True)[:, 0] if several else np.zeros(len(frame))
    faces = np.unique(ids, return_inverse=True)[1]
    order = np.lexsort((faces, frame))
    again = order[1:][(np.diff(frame[order]) == 0) & (np.diff(faces[order]) == 0)]
    if len(again):
        raise InputError(f"{sheet.line(again[0])} shows the same face in the same frame as another; keep one.")
    seconds = None if rate else sheet.numbers(["timestamp"])[:, 0]
    time, rows, note = _grid(sheet, frame, faces, seconds, rate, base=1)
    box = np.full((len(frame), 4), np.nan)
    confidence = sheet.numbers(["confidence"])[:, 0]
    return _Faces(sheet, time, rows, success == 1, confidence, box, (0, 0), note)


def _pyfeat(sheet: _Sheet, rate: float | None) -> _Faces:
    columns = sheet.table.columns
    if "x_68" in columns:
        raise InputError(f"{sheet.source or 'The table'} holds a mesh of more than 68 points; use py-feat's Detector.")
    if "input" in columns and (count := sheet.table["input"].nunique()) > 1:
        raise InputError(f"{sheet.source or 'The table'} holds {count} inputs; write one table per `input`.")
    frame = sheet.numbers(["frame"], whole=True)[:, 0]
    rect = sheet.numbers(RECT)
    seen = np.asarray(np.isfinite(rect).all(axis=1))
    if set(POINTS) <= set(columns):
        seen = np.asarray(seen | np.isfinite(sheet.points()).all(axis=(1, 2)))
    faces, told = _who(sheet, frame, rect[:, 0], seen)
    seconds = _seconds(sheet.table["approx_time"]) if "approx_time" in columns and not rate else None
    if seconds is None and rate is None:
        raise UsageError(f"{sheet.source or 'The table'} holds no exact times, as py-feat writes it; {_HOW_RATE}.")
    time, rows, note = _grid(sheet, frame, faces, seconds, rate, base=0)
    box = np.hstack([rect[:, :2], rect[:, :2] + rect[:, 2:]])
    size = (0, 0)
    if {"FrameWidth", "FrameHeight"} <= set(columns):
        sizes = sheet.numbers(["FrameWidth", "FrameHeight"])
        known = sizes[np.isfinite(sizes).all(axis=1)]
        size = (int(known[0, 0]), int(known[0, 1])) if len(known) else size
    return _Faces(sheet, time, rows, seen, sheet.numbers(["FaceScore"])[:, 0], box, size, f"{told}, {note}")


def _who(sheet: _Sheet, frame: Array, left: Array, seen: Array) -> tuple[Array, str]:
    """Number of the face in each row (-1: none), and how faces were told apart."""
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
    first = np.searchsorted(frame[rows], frame[rows])
    faces[rows] = np.arange(len(rows)) - first
    return faces, "faces from left to right"


def _seconds(column: pd.Series) -> Array | None:
    """`approx_time` as float64 (R,) seconds, from numbers or "MM:SS.fff"; None where it has whole seconds only."""
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
        raise UsageError(f"A rate of {rate:g} makes no sense; {_HOW_RATE}.")
    found, first = np.unique(frame.astype(np.int64), return_index=True)
    step = int(np.gcd.reduce(np.diff(found))) if len(found) > 1 else 1
    total, count = int(found[-1] - found[0]) // step + 1, max(1, int(faces.max()) + 1)
    if total * count > max(_MOST_ROWS, 2 * len(frame)):
        leap = int(np.argmax(np.diff(found))) + 1
        raise InputError(f"{sheet.line(first[leap])}: `frame` leaps from {found[leap - 1]} to {found[leap]}; mend it.")
    grid = found[0] + step * np.arange(total)
    if rate is not None:
        time, note = (grid - base) / rate, f"{rate:g} frames/s as given"
    else:
        known = np.asarray(seconds)[first]
        late = np.flatnonzero(~(np.diff(known) > 0) | ~np.isfinite(known[1:]))
        if len(late) or not np.isfinite(known[0]):
            line = sheet.line(first[late[0] + 1] if len(late) else first[0])
            raise InputError(f"{line}: the time does not rise from frame to frame; {_HOW_RATE}.")
        time, note = np.interp(grid, found, known), "times of the table"
    rows = np.full((count, total), -1)
    at = np.flatnonzero(faces >= 0)
    rows[faces[at], (frame[at].astype(np.int64) - found[0]) // step] = at
    lost = total - len(found)
    return time, rows, note + (f", frames without a row: {lost}" if lost else "")


def _read(path: Path) -> tuple[str, pd.DataFrame]:
    """Dialect and table of a CSV, of foreign ones only the columns that are used; InputError for other files."""
    expected = "expected a frames.csv written by duchenne, or a table of OpenFace or py-feat"
    try:
        header = list(read_table(path, nrows=0, skipinitialspace=True).columns)
        who = dialect(header)
        if who is None:
            listed = ", ".join(map(str, header[:8])) + (", …" if len(header) > 8 else "")
            raise InputError(f"{path} is no table of face tracks, its columns are {listed}; {expected}.")
        if who == "openface":
            _check_widths(path, len(header))
        more = {*OPENFACE, "face_id", *_PYFEAT, *POINTS, "x_68", "input", "approx_time", "Identity"}
        more |= {"FrameWidth", "FrameHeight"}
        used = [c for c in header if who == "duchenne" or c.strip() in more or AU[who].fullmatch(c.strip())]
        # blank lines are kept while reading, so that a row's place tells its line
        table = read_table(
            path, usecols=used, index_col=False, low_memory=False, skipinitialspace=True, skip_blank_lines=False
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as CSV ({str(error).strip()}); {expected}.") from error
    filled = np.flatnonzero(table.notna().to_numpy().any(axis=1))
    table = table.iloc[: int(filled[-1]) + 1 if len(filled) else 0]
    return who, table


def _check_widths(path: Path, width: int) -> None:
    """Refuse rows of OpenFace, which fills every cell and quotes none, that have lost cells or have too many."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip() and line.count(b",") != width - 1:
                cells = f"{line.count(b',') + 1} cells where the header has {width}"
                raise InputError(f"{path}, line {number} has {cells}; delete it or run OpenFace again.")
