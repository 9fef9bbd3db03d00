"""Face tracks in files, without pickle.

A tracks file (`.npz`) packs many tracks one after another, track i in rows `offset[i]:offset[i + 1]`.

points      float32 (R, 68, 2)   pixels              confidence  float32 (R,)
time        float64 (R,)         s from clip start   box         float32 (R, 4)  x0 y0 x1 y1
offset      int64 (N + 1,)                           frame_size  int64 (N, 2)    width, height
change      float32 (R,)  grey levels, NaN = unknown
If any track has them: coefficients float32 (R, 52), pose float32 (R, 3), mesh float32 (R, 478, 3), doubt float32
(R,), NaN = unknown.
source      str (N,)                                 meta        str, JSON: format, version and, per track,
                                                                 layout, unit and history
Without `meta` it is read as packed points: `points`, `offset` and `fps` (N,) frames/s; optional `clip` (N,) names,
`box` as x y width height, and `frame_size`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from duchenne.errors import InputError, UsageError
from duchenne.io.bounded import check_regular, parse_json, read_arrays
from duchenne.io.files import atomic
from duchenne.io.foreign import load_table
from duchenne.types import EXTRA, Array, FaceTrack, Json

_MOST_TRACKS = 50_000  # fifty data sets; each takes memory beyond its numbers
_FORMAT, _VERSION = "duchenne-tracks", 1
_WRITTEN = frozenset(("points", "offset", "time", "confidence", "box", "frame_size", "source", "meta"))
_KEYS = (*_WRITTEN, *EXTRA, "fps", "clip")
_EXPECTED = "expected an .npz of tracks with points, offset and fps, or one written by duchenne"


def save_tracks(path: str | Path, tracks: Sequence[FaceTrack]) -> Path:
    """Write tracks into one compressed tracks file atomically; crops are not stored."""

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
    for name, shape in EXTRA.items():
        if name == "change" or any(getattr(t, name) is not None for t in tracks):
            arrays[name] = pack([t.filled(name) for t in tracks], *shape)
    with atomic(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return Path(path)


def load_tracks(path: str | Path, *, rate: float | None = None) -> list[FaceTrack]:
    """All tracks of a tracks file, of packed points, a table (.csv), or a folder of .npz files in order of name.

    A table may be a frames.csv or one written by OpenFace or py-feat, recognised by its header; `rate` (frames/s) is
    for the latter two and makes time from frame numbers (see `duchenne.io.foreign`). Of packed points confidence is
    NaN, time is frame / fps, the source is the clip's name (else "file.npz#i"), and a missing box is NaN, a missing
    frame size (0, 0). Raises InputError where `path` holds anything else, UsageError for a missing or useless rate.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no file or folder {path}; check the path.")
    if path.is_dir():
        files = sorted(f for f in path.glob("*.npz") if not f.name.startswith("."))
        if not files:
            raise InputError(f"The folder {path} holds no .npz file; expected files of face tracks.")
        return [track for file in files for track in load_tracks(file, rate=rate)]
    if path.suffix.lower() == ".csv":
        return load_table(path, rate=rate)
    if rate is not None:
        raise UsageError(f"{path} holds its own times; leave out the rate.")
    arrays = _arrays(path)
    try:
        return _unpack(path, arrays)
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise InputError(f"{path} is not a valid tracks file ({error}); write it again.") from error


def _arrays(path: Path) -> dict[str, Array]:
    try:
        check_regular(path)
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise InputError(f"{path} is not an .npz archive; {_EXPECTED}.")
        arrays = read_arrays(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); {_EXPECTED}.") from error
    needed = _WRITTEN if "meta" in arrays else {"points", "offset", "fps"}
    if missing := sorted(needed - arrays.keys()):
        listed = ", ".join(sorted(arrays)[:12]) or "nothing"
        raise InputError(f"{path} lacks {', '.join(missing)}, it holds {listed}; {_EXPECTED}.")
    return {key: arrays[key] for key in _KEYS if key in arrays}


def _unpack(path: Path, arrays: dict[str, Array]) -> list[FaceTrack]:
    written = "meta" in arrays
    points, offset = arrays["points"], arrays["offset"]
    rows, count = len(points), len(offset) - 1
    if count > _MOST_TRACKS:
        raise ValueError(f"it has {count:,} tracks, expected at most {_MOST_TRACKS:,} in one file")
    shapes: dict[str, tuple[int, ...]] = {"points": (rows, 68, 2), "offset": (count + 1,), "fps": (count,)}
    shapes |= {"time": (rows,), "confidence": (rows,), "box": (rows, 4), "frame_size": (count, 2)}
    shapes |= {"source": (count,), "clip": (count,)} | {name: (rows, *shape) for name, shape in EXTRA.items()}
    for name, array in arrays.items():
        if name in shapes and array.shape != shapes[name]:
            raise ValueError(f"{name} must have shape {shapes[name]}, found {array.shape}")
        if name in shapes and name not in ("source", "clip") and array.dtype.kind not in "fiu":
            raise ValueError(f"{name} must be numbers, found {array.dtype}")
    if offset.dtype.kind not in "iu" or offset[0] != 0 or offset[-1] != rows or (offset[1:] < offset[:-1]).any():
        raise ValueError(f"offset must rise in whole numbers from 0 to the {rows} rows of points")
    meta = _meta(arrays["meta"], count) if written else _complete(arrays)
    names = arrays["source"] if written else arrays.get("clip", [f"{path.name}#{i}" for i in range(count)])
    size = arrays.get("frame_size", np.zeros((count, 2), np.int64))
    return [
        FaceTrack(
            **{name: arrays[name][a:b] for name in ("time", "points", "confidence", "box")},
            frame_size=(int(size[i][0]), int(size[i][1])),
            **{name: arrays[name][a:b] for name in EXTRA if name in arrays and np.isfinite(arrays[name][a:b]).any()},
            source=str(names[i]),
            layout=meta["layout"][i],
            unit=meta["unit"][i],
            history=tuple(meta["history"][i]),
        )
        for i, (a, b) in enumerate(pairwise(offset.tolist()))
    ]


def _meta(text: Array, count: int) -> Json:
    meta: Json = parse_json(str(text))
    if meta["format"] != _FORMAT or meta["version"] != _VERSION:
        raise ValueError(f"format {_FORMAT} {_VERSION} expected, found {meta['format']} {meta['version']}")
    if any(len(meta[name]) != count for name in ("layout", "unit", "history")):
        raise ValueError(f"meta must describe {count} tracks")
    return meta


def _complete(arrays: dict[str, Array]) -> Json:
    """Give packed points, in place, the arrays that a tracks file has; return the `meta` it lacks."""
    lengths, fps = np.diff(arrays["offset"].astype(np.int64)), arrays["fps"].astype(float)
    rows, count = len(arrays["points"]), len(fps)
    if not (np.isfinite(fps) & (fps > 0)).all():
        raise ValueError("fps must be above 0 everywhere")
    arrays["time"] = np.concatenate([np.empty(0), *(np.arange(n) / f for n, f in zip(lengths, fps, strict=True))])
    arrays["confidence"] = np.full(rows, np.nan, np.float32)
    box = arrays.get("box", np.full((rows, 4), np.nan)).astype(np.float32)
    arrays["box"] = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)
    return {"layout": ["dlib68"] * count, "unit": ["px"] * count, "history": [()] * count}
