"""Write tracks and action units as tables of OpenFace and py-feat.

Quantities that duchenne does not measure (gaze, pose, …) are left out, never invented, and action units are not
converted between scales: a probability is not an intensity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duchenne.errors import UsageError
from duchenne.io.files import write_text
from duchenne.io.foreign import AU, OPENFACE, POINTS, RECT
from duchenne.io.frames import frames_table
from duchenne.io.table import table_csv, write_table
from duchenne.types import Array, FaceTrack, Signals

if TYPE_CHECKING:
    import pandas as pd

#: Dialect → unit of an action unit's curve → what the dialect adds to its name.
_SUFFIX = {"openface": {"0-5": "_r", "0/1": ""}, "py-feat": {"0-1": ""}}


def to_openface(tracks: Sequence[FaceTrack], units: Sequence[Signals] | None = None) -> pd.DataFrame:
    """The tracks of one clip as OpenFace writes several faces: a row per frame (from 1) and `face_id`.

    `units`: per track the action units at the same times, names and units as from `action_units` ("0-5" becomes
    AUxx_r, "0/1" AUxx_c). Unseen frames have success 0 and zeros, as in OpenFace. Confidences outside 0 to 1 are left
    empty; pixels have 2 decimals. UsageError for tracks of different times or not in pixels, and for other units.
    """
    _same_clip(tracks)
    curves = _curves("openface", tracks, units)
    blocks = []
    for face, track in enumerate(tracks):
        scale = (track.confidence >= 0) & (track.confidence <= 1)
        part = {
            "frame": np.arange(1, len(track) + 1),
            "face_id": np.full(len(track), face),
            "timestamp": track.time.round(6),
            "confidence": np.where(track.seen, np.where(scale, track.confidence.astype(float), np.nan), 0).round(6),
            "success": track.seen.astype(int),
        } | _pixels(track, 0.0)
        part |= {name: np.where(track.seen, values, 0.0) for name, values in curves[face].items()}
        for name in curves[face]:
            if np.isnan(part[name]).any():
                when = track.time[np.isnan(part[name])][0]
                raise UsageError(f"{name} is missing at {when:g} s, where the face is seen; OpenFace cannot store it.")
        blocks.append(part)
    columns = ("frame", "face_id", *OPENFACE[1:], *POINTS)
    return _stack(blocks, (*columns, *sorted(curves[0] if curves else (), key=lambda n: (n[-1] == "c", n))))


def to_pyfeat(tracks: Sequence[FaceTrack], units: Sequence[Signals] | None = None) -> pd.DataFrame:
    """The tracks of one clip as a py-feat table: a row per frame (from 0) and face, empty where unseen.

    `units`: per track the action units at the same times, unit "0-1". `approx_time` is "MM:SS.ffffff", so that no rate
    is needed to read it back; FaceScore is the confidence where that lies between 0 and 1. UsageError as `to_openface`.
    """
    _same_clip(tracks)
    curves = _curves("py-feat", tracks, units)
    blocks = []
    for face, track in enumerate(tracks):
        box, score = track.box.astype(float).round(2), track.confidence.astype(float).round(6)
        rect = np.hstack([box[:, :2], box[:, 2:] - box[:, :2]]).round(2)
        size = {"FrameHeight": track.frame_size[1], "FrameWidth": track.frame_size[0]} if any(track.frame_size) else {}
        blocks.append(
            dict(zip(RECT, rect.T, strict=True))
            | {"FaceScore": np.where((score >= 0) & (score <= 1), score, np.nan)}
            | _pixels(track, np.nan)
            | {name: np.where(track.seen, values, np.nan) for name, values in sorted(curves[face].items())}
            | {name: np.full(len(track), value) for name, value in size.items()}
            | {"input": [track.source] * len(track), "frame": np.arange(len(track))}
            | {"approx_time": [f"{int(t // 60):02d}:{t % 60:09.6f}" for t in track.time.round(6)]}
            | {"Identity": [f"Person_{face}"] * len(track)}
        )
    empty = (*RECT, "FaceScore", *POINTS, "input", "frame", "approx_time", "Identity")
    return _stack(blocks, tuple(blocks[0]) if blocks else empty)


def write_as(
    path: str | Path, tracks: Sequence[FaceTrack], dialect: str, units: Sequence[Signals] | None = None
) -> Path:
    """Write the tracks of one clip as CSV in a dialect, "duchenne", "openface" or "py-feat", in one step."""
    if dialect == "openface":
        table = to_openface(tracks, units)
        return write_text(path, ", ".join(table.columns) + "\n" + table_csv(table, header=False))
    if dialect == "py-feat":
        return write_table(path, to_pyfeat(tracks, units))
    if dialect != "duchenne":
        raise UsageError(f"There is no table dialect '{dialect}'; choose duchenne, openface or py-feat.")
    if units is not None:
        raise UsageError("A frames table has no action units; choose openface or py-feat, or leave them out.")
    return write_table(path, frames_table(tracks))


def _same_clip(tracks: Sequence[FaceTrack]) -> None:
    for track in tracks:
        if track.unit != "px":
            raise UsageError(f"A table of landmarks holds pixels, but the track of {track.source} is in {track.unit}.")
        if not np.array_equal(track.time, tracks[0].time):
            raise UsageError(
                "The tracks have different times, so they are not from one clip; write one table per clip."
            )


def _pixels(track: FaceTrack, unseen: float) -> dict[str, Array]:
    points = np.where(track.seen[:, None, None], track.points.astype(float).round(2), unseen)
    return dict(zip(POINTS, np.hstack([points[..., 0], points[..., 1]]).T, strict=True))


def _curves(dialect: str, tracks: Sequence[FaceTrack], units: Sequence[Signals] | None) -> list[dict[str, Array]]:
    """Per track: the dialect's column name → values (T,)."""
    if units is None:
        return [{} for _ in tracks]
    if len(units) != len(tracks):
        raise UsageError(f"Expected action units for each of {len(tracks)} tracks, found {len(units)}; give one each.")
    suffix, per_track = _SUFFIX[dialect], []
    for track, curves in zip(tracks, units, strict=True):
        if curves.names != units[0].names or curves.units != units[0].units:
            raise UsageError("The faces have different action units; give the same names and units for all.")
        if not np.array_equal(track.time, curves.time):
            raise UsageError("The action units and their track have different times; give both at the same times.")
        columns = [name + suffix.get(unit, "?") for name, unit in zip(curves.names, curves.units, strict=True)]
        for name, unit, column in zip(curves.names, curves.units, columns, strict=True):
            if not AU[dialect].fullmatch(column) or column.endswith("_c") != (unit == "0/1"):
                kind = "AUxx in 0-5 and AUxx_c in 0/1" if dialect == "openface" else "AUxx in 0-1 (probability)"
                raise UsageError(f"{name} in {unit} does not fit a table of {dialect} ({kind}); leave it out.")
        per_track.append(dict(zip(columns, curves.values.T, strict=True)))
    return per_track


def _stack(blocks: Sequence[Mapping[str, object]], columns: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    if not blocks:
        return pd.DataFrame(columns=list(columns))
    table = pd.concat([pd.DataFrame(block) for block in blocks], ignore_index=True)
    return table[list(columns)].sort_values("frame", kind="stable", ignore_index=True)
