"""Frames tables (`frames.csv`, `.parquet`): one row per decoded frame and face, in duchenne's own columns.

A Parquet file has the column `file` first (dictionary of strings), then `FRAME_COLUMNS`: `frame` int64, `time` float64,
`face` int32, `seen` bool, all others float32; missing is null. Faces that were read by a mesh also have `MESH_COLUMNS`,
behind the others; then `confidence` is the presence of the face. Values are rounded as in CSV, so that both are equal.
A row group holds at most 1000 rows; zstd, level 3; the same rows give the same bytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duchenne.errors import InputError, UsageError
from duchenne.io.files import atomic
from duchenne.io.followed import Block, End, Stored, Writer, pieces
from duchenne.io.table import check_columns, table_csv
from duchenne.types import COEFFICIENTS, Array, FaceTrack, Signals

if TYPE_CHECKING:
    import pandas as pd

#: Columns of a frames table; x and y are in pixels, `time` in seconds, `seen` is 1 or 0, `change` in grey levels.
FRAME_COLUMNS: tuple[str, ...] = (
    *("frame", "time", "face", "seen", "confidence", "x0", "y0", "x1", "y1"),
    *(f"x_{i}" for i in range(68)),
    *(f"y_{i}" for i in range(68)),
    "change",
)
#: Of a mesh: the head's pose in degrees, and the expression coefficients, 0 to 1.
MESH_COLUMNS: tuple[str, ...] = ("yaw", "pitch", "roll", *COEFFICIENTS)
_CHUNK = 1000  # rows converted at once: frames times faces


def frames_table(tracks: Sequence[FaceTrack], units: Sequence[Signals | None] = (), *, first: int = 0) -> pd.DataFrame:
    """The tracks of one clip as a table (`FRAME_COLUMNS`, and `MESH_COLUMNS` if any of them has coefficients): one row
    per decoded frame and face.

    `frame` counts from `first` and `face` is the track's place in `tracks`. `units`: per track its action units in
    every frame, a column each, or None. Pixels have 2 decimals, seconds 6, units 4;
    unseen is NaN (empty in CSV). Raises UsageError for points that are not in pixels.
    """
    import pandas as pd

    columns = (*FRAME_COLUMNS, *(MESH_COLUMNS if any(t.coefficients is not None for t in tracks) else ()))
    blocks = [np.empty((0, len(columns)))]
    for face, t in enumerate(tracks):
        if t.unit != "px":
            raise UsageError(f"A frames table holds pixels, but the track of {t.source} is in {t.unit}.")
        pixels = np.hstack([t.box, t.points[..., 0], t.points[..., 1]]).astype(float).round(2)
        confidence = t.confidence.astype(float).round(3)
        frame = np.arange(first, first + len(t))
        change = t.filled("change").astype(float).round(3)
        parts = [frame, t.time.round(6), np.full(len(t), face), t.seen, confidence, pixels, change]
        if len(columns) > len(FRAME_COLUMNS):
            parts += [t.filled(name).astype(float).round(digits) for name, digits in (("pose", 2), ("coefficients", 6))]
        blocks.append(np.column_stack(parts))
    rows = np.concatenate(blocks)
    rows = rows[np.lexsort((rows[:, 2], rows[:, 0]))]
    table = pd.DataFrame(rows, columns=list(columns)).astype(dict.fromkeys(("frame", "face", "seen"), int))
    names = next((each.names for each in units if each is not None), ())
    if not names:
        return table
    shape = len(tracks[0]), len(names)
    curves = np.stack([np.full(shape, np.nan) if each is None else each.values for each in units])
    values = curves[table["face"], table["frame"] - first].round(4)
    return pd.concat([table, pd.DataFrame(values, columns=list(names))], axis=1)


def emotions_table(emotions: Mapping[int, Signals]) -> pd.DataFrame:
    """Columns face, time (s), and a probability per emotion, of face → its emotions over time."""
    import pandas as pd

    tables = [
        pd.DataFrame(each.values.round(4), columns=list(each.names)).assign(face=face, time=each.time.round(6))
        for face, each in emotions.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    return table[["face", "time", *table.columns[:-2]]]


def write_frames(
    path: str | Path,
    blocks: Iterable[Block],
    file: str = "",
    each: Callable[[list[FaceTrack]], list[FaceTrack]] = lambda tracks: tracks,
) -> End:
    """Write the frames table of one clip as its blocks come: Parquet where `path` ends in .parquet, else CSV.

    The rows are those of `frames_table`, in constant memory; `file` fills Parquet's column of that name, and `each`
    gives what is written of a piece's tracks, after the last block. The number of faces is known only after the last
    frame, so the blocks wait in an unnamed file beside `path`, which appears when it is complete. Raises OutputError
    where nothing can be written, UsageError where pyarrow is missing.
    """
    path = Path(path)
    open_table = _parquet if path.suffix.lower() == ".parquet" else _csv
    if open_table is _parquet:
        check_parquet()
    with atomic(path) as part, tempfile.TemporaryFile(dir=path.absolute().parent) as buffer:
        spool = Writer(buffer, compress=False)
        try:
            for block in blocks:
                spool.add(block)
        finally:
            spool.drop()
        with Stored(buffer) as stored:
            columns = (*FRAME_COLUMNS, *(MESH_COLUMNS if "coefficients" in stored.fields else ()))
            faces = len(stored.end.history)
            with open_table(part, file, columns) as put:
                for block in stored:
                    for piece in pieces(block, max(1, _CHUNK // max(1, faces))):
                        put(frames_table(each(piece.tracks(faces)), first=piece.first))
    return stored.end


def check_parquet() -> None:
    """Raise UsageError, before any work is done, where Parquet cannot be written."""
    if find_spec("pyarrow") is None:
        raise UsageError("Parquet needs the package pyarrow, which is missing; pip install pyarrow, or choose CSV.")


@contextmanager
def _csv(path: Path, file: str, columns: Sequence[str]) -> Iterator[Callable[[pd.DataFrame], object]]:
    with path.open("w", encoding="utf-8", newline="") as out:
        out.write(",".join(columns) + "\n")
        yield lambda table: out.write(table_csv(table, header=False))


@contextmanager
def _parquet(path: Path, file: str, columns: Sequence[str]) -> Iterator[Callable[[pd.DataFrame], object]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"frame": pa.int64(), "time": pa.float64(), "face": pa.int32(), "seen": pa.bool_()}
    fields = [pa.field("file", pa.dictionary(pa.int32(), pa.string()), nullable=False)]
    fields += [pa.field(name, types.get(name, pa.float32()), nullable=name not in types) for name in columns]
    schema = pa.schema(fields)

    def put(table: pd.DataFrame) -> None:
        names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(table), np.int32)), pa.array([file], pa.string()))
        values = [pa.array(table[f.name].to_numpy(f.type.to_pandas_dtype()), from_pandas=True) for f in fields[1:]]
        writer.write_table(pa.Table.from_arrays([names, *values], schema=schema))

    options = {"compression": "zstd", "compression_level": 3, "use_dictionary": ["file"], "version": "2.6"}
    with pq.ParquetWriter(path, schema, **options) as writer:
        yield put


def tracks_from_table(table: pd.DataFrame, source: str = "") -> list[FaceTrack]:
    """The tracks of a frames table, one per `face` in rising order; `change` and the columns of a mesh may be missing,
    others are ignored.

    The table does not hold the frame size, which becomes (0, 0). Raises InputError for missing columns, text among
    numbers, and times that do not rise with `frame`.
    """
    what = source or "The frames table"
    check_columns(table, FRAME_COLUMNS[:-1], what, "expected a frames.csv written by duchenne")
    try:
        more = MESH_COLUMNS if set(MESH_COLUMNS) <= set(table.columns) else ()
        rows = table.reindex(columns=[*FRAME_COLUMNS, *more]).to_numpy(float, na_value=np.nan)
        if not np.isfinite(rows[:, :3]).all():
            raise ValueError("frame, time and face must not be empty")
        faces = [rows[rows[:, 2] == face] for face in np.unique(rows[:, 2])]
        return [_from_rows(face[np.argsort(face[:, 0], kind="stable")], source) for face in faces]
    except (ValueError, TypeError) as error:
        raise InputError(f"{what} is not a valid frames table ({error}); write it again.") from error


def _from_rows(rows: Array, source: str) -> FaceTrack:
    return FaceTrack(
        time=rows[:, 1],
        points=np.stack([rows[:, 9:77], rows[:, 77:145]], axis=-1),
        confidence=rows[:, 4],
        box=rows[:, 5:9],
        frame_size=(0, 0),
        change=_if_any(rows[:, 145]),
        pose=_if_any(rows[:, 146:149]),
        coefficients=_if_any(rows[:, 149:]),
        source=source,
    )


def _if_any(values: Array) -> Array | None:
    return values if np.isfinite(values).any() else None
