"""Results out and face tracks in: whole files or none, plain formats, no pickle.

A tracks file (`.npz`) packs many tracks: rows of all tracks one after another, track i in rows
`offset[i]:offset[i + 1]`.

points      float32 (R, 68, 2)   pixels              confidence  float32 (R,)
time        float64 (R,)         s from clip start   box         float32 (R, 4)  x0 y0 x1 y1
offset      int64 (N + 1,)                           frame_size  int64 (N, 2)    width, height
source      str (N,)                                 meta        str, JSON: format, version and, per track,
                                                                 layout, unit and history
Without `meta` it is read as a bare packed corpus: `points`, `offset` and `fps` (N,) frames/s; `clip` (N,)
names, `box` as x y width height, and `frame_size` if there.
"""

from __future__ import annotations

import json
import math
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from duchenne.errors import InputError, OutputError, UsageError
from duchenne.types import Array, FaceTrack

if TYPE_CHECKING:
    import pandas as pd

_FORMAT, _VERSION = "duchenne-tracks", 1
_KEYS = ("points", "offset", "time", "fps", "confidence", "box", "frame_size", "source", "clip", "meta")
_OURS = frozenset(_KEYS) - {"fps", "clip"}
_EXPECTED = "expected an .npz of tracks with points, offset and fps, or one written by duchenne"
#: Columns of a frames table; x and y are in pixels, `time` in seconds, `seen` is 1 or 0.
FRAME_COLUMNS: tuple[str, ...] = (
    *("frame", "time", "face", "seen", "confidence", "x0", "y0", "x1", "y1"),
    *(f"x_{i}" for i in range(68)),
    *(f"y_{i}" for i in range(68)),
)

# --- whole files or none ------------------------------------------------------------------------------------


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path in the folder of `path` (made if need be) that takes its place on success.

    On any error the temporary file is removed and what stood at `path` stays as it was. An OSError inside
    becomes OutputError: only write in here, read before.
    """
    target = Path(path)
    part = target.parent / f".{uuid4().hex}.part"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        with suppress(OSError):
            part.unlink()


@contextmanager
def staged(folder: str | Path) -> Iterator[Path]:
    """A new folder to write several files into; all of them move to `folder` on success, none on any error."""
    target = Path(folder)
    part = target.parent / f".{uuid4().hex}.part"
    try:
        check_folder(target)
        part.mkdir(parents=True)
        yield part
        target.mkdir(exist_ok=True)
        for file in sorted(part.iterdir()):
            file.replace(target / file.name)
    except OSError as error:
        raise _unwritable(target, error) from error
    except OutputError as error:  # names a file in a folder that nobody asked for
        raise (_unwritable(target, error.__cause__) if isinstance(error.__cause__, OSError) else error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_folder(folder: str | Path) -> None:
    """Raise OutputError, before any work is done, where `folder` is no folder and cannot become one."""
    place = Path(folder).absolute()
    try:
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            raise OutputError(f"Results cannot be written to {folder}: {place} is a file; choose a folder.")
        probe = place / f".{uuid4().hex}.part"
        probe.mkdir()  # asking for permissions would not tell of read-only or special file systems
        probe.rmdir()
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(target: str | Path, error: OSError) -> OutputError:
    fault = f"A result cannot be written to {target} ({error.strerror or error})"
    return OutputError(f"{fault}; choose a folder that you may write to and that has space.")


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text in one step; OutputError where it cannot."""
    with atomic(path) as part:
        # File names that are not UTF-8 reach Python as lone surrogates, which cannot be encoded.
        part.write_bytes(text.encode("utf-8", "replace"))
    return Path(path)


def write_json(path: str | Path, obj: Any) -> Path:
    """Write `obj` as JSON in one step: numpy becomes plain, NaN and infinity become null, order is kept."""
    return write_text(path, json.dumps(plain(obj), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_table(path: str | Path, table: pd.DataFrame) -> Path:
    """Write a DataFrame as CSV (UTF-8, no index, missing = empty) in one step."""
    return write_text(path, table.to_csv(index=False, lineterminator="\n"))


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: arrays and tuples become lists, paths strings, NaN and infinities None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


# --- face tracks --------------------------------------------------------------------------------------------


def save_tracks(path: str | Path, tracks: Sequence[FaceTrack]) -> Path:
    """Write tracks into one compressed tracks file in one step; crops are not kept."""

    def pack(parts: list[Array], *shape: int) -> Array:
        return np.concatenate([np.empty((0, *shape), np.float32), *parts])

    detail = {name: [getattr(t, name) for t in tracks] for name in ("layout", "unit", "history")}
    arrays: dict[str, Any] = {
        "points": pack([t.points for t in tracks], 68, 2),
        "time": np.concatenate([np.empty(0), *(t.time for t in tracks)]),
        "confidence": pack([t.confidence for t in tracks]),
        "box": pack([t.box for t in tracks], 4),
        "offset": np.cumsum([0, *map(len, tracks)], dtype=np.int64),
        "frame_size": np.array([t.frame_size for t in tracks], np.int64).reshape(-1, 2),
        "source": np.array([t.source for t in tracks], np.str_),
        "meta": np.array(json.dumps({"format": _FORMAT, "version": _VERSION, **detail})),
    }
    with atomic(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return Path(path)


def load_tracks(path: str | Path) -> list[FaceTrack]:
    """All tracks of a tracks file, a bare packed corpus, a frames table (.csv), or a folder of .npz files.

    A folder's files are read in order of name. Of a bare corpus confidence is NaN, time is frame / fps, the
    source is the clip's name (else "file.npz#i"), and what it lacks is NaN (box) or (0, 0) (frame size).
    Raises InputError where `path` holds anything else.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no file or folder {path}; check the path.")
    if path.is_dir():
        files = sorted(f for f in path.glob("*.npz") if not f.name.startswith("."))
        if not files:
            raise InputError(f"The folder {path} holds no .npz file; expected files of face tracks.")
        return [track for file in files for track in load_tracks(file)]
    if path.suffix.lower() == ".csv":
        return _load_table(path)
    found = _arrays(path)
    try:
        return _unpack(path, found)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a sound tracks file ({error}); write it again.") from error


def _arrays(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise InputError(f"{path} is no .npz archive; {_EXPECTED}.")
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            found = {key: archive[key] for key in _KEYS if key in names}
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); {_EXPECTED}.") from error
    needed = _OURS if "meta" in found else {"points", "offset", "fps"}
    if missing := sorted(needed - found.keys()):
        listed = ", ".join(sorted(names)[:12]) or "nothing"
        raise InputError(f"{path} lacks {', '.join(missing)}, it holds {listed}; {_EXPECTED}.")
    return found


def _unpack(path: Path, found: dict[str, Array]) -> list[FaceTrack]:
    ours = "meta" in found
    points, offset = found["points"], found["offset"]
    rows, count = len(points), len(offset) - 1
    shapes: dict[str, tuple[int, ...]] = {"points": (rows, 68, 2), "offset": (count + 1,), "fps": (count,)}
    shapes |= {"time": (rows,), "confidence": (rows,), "box": (rows, 4), "frame_size": (count, 2)}
    shapes |= {"source": (count,), "clip": (count,)}
    for name, array in found.items():
        if name in shapes and array.shape != shapes[name]:
            raise ValueError(f"{name} must have shape {shapes[name]}, found {array.shape}")
        if name in shapes and name not in ("source", "clip") and array.dtype.kind not in "fiu":
            raise ValueError(f"{name} must be numbers, found {array.dtype}")
    if offset.dtype.kind not in "iu" or offset[0] != 0 or offset[-1] != rows or (offset[1:] < offset[:-1]).any():
        raise ValueError(f"offset must rise in whole numbers from 0 to the {rows} rows of points")
    meta = _meta(found["meta"], count) if ours else _bare(found)
    names = found["source"] if ours else found.get("clip", [f"{path.name}#{i}" for i in range(count)])
    size = found.get("frame_size", np.zeros((count, 2), np.int64))
    tracks = []
    for i, (a, b) in enumerate(zip(offset[:-1].tolist(), offset[1:].tolist(), strict=True)):
        tracks.append(
            FaceTrack(
                **{name: found[name][a:b] for name in ("time", "points", "confidence", "box")},
                frame_size=(int(size[i][0]), int(size[i][1])),
                source=str(names[i]),
                layout=meta["layout"][i],
                unit=meta["unit"][i],
                history=tuple(meta["history"][i]),
            )
        )
    return tracks


def _meta(text: Array, count: int) -> dict[str, Any]:
    meta: dict[str, Any] = json.loads(str(text))
    if meta["format"] != _FORMAT or meta["version"] != _VERSION:
        raise ValueError(f"format {_FORMAT} {_VERSION} expected, found {meta['format']} {meta['version']}")
    if any(len(meta[name]) != count for name in ("layout", "unit", "history")):
        raise ValueError(f"meta must describe {count} tracks")
    return meta


def _bare(found: dict[str, Array]) -> dict[str, Any]:
    """Give a bare corpus, in place, the arrays that a tracks file has; return the `meta` it lacks."""
    lengths, fps = np.diff(found["offset"].astype(np.int64)), found["fps"].astype(float)
    rows, count = len(found["points"]), len(fps)
    if not (np.isfinite(fps) & (fps > 0)).all():
        raise ValueError("fps must be above 0 everywhere")
    found["time"] = np.concatenate([np.empty(0), *(np.arange(n) / f for n, f in zip(lengths, fps, strict=True))])
    found["confidence"] = np.full(rows, np.nan, np.float32)
    box = found.get("box", np.full((rows, 4), np.nan)).astype(np.float32)
    found["box"] = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)
    return {"layout": ["dlib68"] * count, "unit": ["px"] * count, "history": [()] * count}


# --- frames tables ------------------------------------------------------------------------------------------


def frames_table(tracks: Sequence[FaceTrack]) -> pd.DataFrame:
    """The tracks of one clip as a table (`FRAME_COLUMNS`): one row per decoded frame and face.

    `frame` counts from 0 and `face` is the track's place in `tracks`. Pixels have 2 decimals, seconds 6;
    unseen is NaN (empty in CSV). Raises UsageError for points that are not in pixels.
    """
    import pandas as pd

    blocks = [np.empty((0, len(FRAME_COLUMNS)))]
    for face, t in enumerate(tracks):
        if t.unit != "px":
            raise UsageError(f"A frames table holds pixels, but the track of {t.source} is in {t.unit}.")
        pixels = np.hstack([t.box, t.points[..., 0], t.points[..., 1]]).astype(float).round(2)
        left = [
            np.arange(len(t)),
            t.time.round(6),
            np.full(len(t), face),
            t.seen,
            t.confidence.astype(float).round(3),
        ]
        blocks.append(np.column_stack([*left, pixels]))
    rows = np.concatenate(blocks)
    rows = rows[np.lexsort((rows[:, 2], rows[:, 0]))]
    whole = dict.fromkeys(("frame", "face", "seen"), int)
    return pd.DataFrame(rows, columns=list(FRAME_COLUMNS)).astype(whole)


def tracks_from_table(table: pd.DataFrame, source: str = "") -> list[FaceTrack]:
    """The tracks of a frames table, one per `face` in rising order; further columns are ignored.

    The table does not say how large the picture was: frame_size is (0, 0). Raises InputError for missing
    columns, text among numbers, and times that do not rise with `frame`.
    """
    what = source or "The frames table"
    if missing := [name for name in FRAME_COLUMNS if name not in table.columns]:
        listed = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
        raise InputError(f"{what} lacks the columns {listed}; expected a frames.csv written by duchenne.")
    try:
        rows = table[list(FRAME_COLUMNS)].to_numpy(float, na_value=np.nan)
        if not np.isfinite(rows[:, :3]).all():
            raise ValueError("frame, time and face must not be empty")
        faces = [rows[rows[:, 2] == face] for face in np.unique(rows[:, 2])]
        return [_from_rows(face[np.argsort(face[:, 0], kind="stable")], source) for face in faces]
    except (ValueError, TypeError) as error:
        raise InputError(f"{what} is not a sound frames table ({error}); write it again.") from error


def _from_rows(rows: Array, source: str) -> FaceTrack:
    return FaceTrack(
        time=rows[:, 1],
        points=np.stack([rows[:, 9:77], rows[:, 77:]], axis=-1),
        confidence=rows[:, 4],
        box=rows[:, 5:9],
        frame_size=(0, 0),
        source=source,
    )


def _load_table(path: Path) -> list[FaceTrack]:
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as CSV ({error}); expected a frames.csv.") from error
    return tracks_from_table(table, str(path))
