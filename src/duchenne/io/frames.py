"""Frames tables (`frames.csv`): one row per decoded frame and face, in duchenne's own columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from duchenne.errors import InputError, UsageError
from duchenne.types import Array, FaceTrack

if TYPE_CHECKING:
    import pandas as pd

#: Columns of a frames table; x and y are in pixels, `time` in seconds, `seen` is 1 or 0.
FRAME_COLUMNS: tuple[str, ...] = (
    *("frame", "time", "face", "seen", "confidence", "x0", "y0", "x1", "y1"),
    *(f"x_{i}" for i in range(68)),
    *(f"y_{i}" for i in range(68)),
)


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
