"""The action units of images and videos as one table: a row per image, or per moment of a video, and face."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duchenne.clips import inputs
from duchenne.clips.inputs import Inputs, Progress, Row
from duchenne.clips.load import ReadFaces
from duchenne.errors import InputError, UsageError
from duchenne.faces.crops import Face
from duchenne.faces.reading import read_faces
from duchenne.learn.calibration import sigmoid
from duchenne.progress import Log, Tick
from duchenne.types import Array
from duchenne.units import reading
from duchenne.units.model import UnitsModel
from duchenne.units.reading import LOWEST, Neutral

if TYPE_CHECKING:
    import pandas as pd

_AT_ONCE = 256  # faces


def table(
    paths: str | Path | Sequence[str | Path],
    *,
    neutral: Neutral | None = None,
    model: str | Path = "units",
    all_faces: bool = False,
    every: float = 0.1,
    allow_truncated: bool = False,
    rate: float | None = None,
    tick: Tick | None = None,
    log: Log | None = None,
    read: ReadFaces = read_faces,
) -> pd.DataFrame:
    """The probability of each action unit for the faces in images, videos, and folders of images.

    Columns: file; time, seconds from a video's first frame, only if there is a video; face, 0 for the most prominent;
    AU06, AU12 and the other units of the model; problem. Empty where a face is not seen, and where a file cannot be
    used, as `problem` then says.

    neutral     of videos: (start, end) in seconds in which the person is at rest, or "lowest", as `reading.relative`
    others      as `expression.emotions.table`; faces are read by the mesh

    InputError where the only input is a file that cannot be used or a folder without images, and where no face is seen
    during `neutral`; UsageError for options that are not allowed; ModelError for a model of another kind.
    """
    requested = Inputs.of(
        paths, every=every, is_aligned=False, rate=rate, reader="mesh", all_faces=all_faces,
        allow_truncated=allow_truncated, read=read,
    )  # fmt: skip
    if neutral is not None:
        _check_neutral(neutral, requested)
    used, about = reading.load(model)
    progress = Progress(tick)
    rows: list[Row] = []
    every_face = inputs.faces(requested, progress, rows)
    found = [_log_odds(used, some) for some in iter(lambda: list(islice(every_face, _AT_ONCE)), [])]
    values = np.full((len(rows), len(used.names)), np.nan)
    values[[row.seen for row in rows]] = sigmoid(np.concatenate([np.zeros((0, len(used.names))), *found]))
    if neutral is not None:
        _relate(values, rows, used.rest, neutral)
    if log is not None:
        log(f"Model {about['id']} ({len(used.names)} action units: {', '.join(used.names)}).")
        progress.report(log)
    columns = dict(zip(used.names, values.round(6).T, strict=True))
    return inputs.table(rows, columns, bool(requested.videos))


def _log_odds(model: UnitsModel, faces: Sequence[Face]) -> Array:
    return model.log_odds(*(np.stack([getattr(face, name) for face in faces]) for name in _READ))


_READ = ("points", "coefficients", "crop")


def parse_neutral(text: str) -> Neutral:
    """What the option --neutral says: "lowest", or START-END in seconds; UsageError for anything else."""
    start, dash, end = text.partition("-")
    try:
        if text == LOWEST:
            return LOWEST
        if dash and 0 <= float(start) < float(end) < np.inf:
            return float(start), float(end)
    except ValueError:
        pass
    raise UsageError(f"--neutral must be START-END in seconds, as 0-1.5, or lowest, found '{text}'; correct it.")


def _check_neutral(neutral: Neutral, requested: Inputs) -> None:
    if not requested.videos:
        raise UsageError("--neutral is for videos, of which none was given; leave it out.")
    if isinstance(neutral, str) and neutral != LOWEST:
        raise UsageError(f"neutral must be (start, end) in seconds or '{LOWEST}', found '{neutral}'; correct it.")


def _relate(values: Array, rows: list[Row], rest: Array, neutral: Neutral) -> None:
    """Shift, in place, what was read of each face of a video; images stay as they are."""
    places: dict[tuple[str, int], list[int]] = {}
    for n, row in enumerate(rows):
        if row.face is not None and np.isfinite(row.time):
            places.setdefault((row.file, row.face), []).append(n)
    for (file, face), at in places.items():
        time = np.array([rows[n].time for n in at])
        related = reading.relative(values[at], time, rest, neutral)
        if not np.isfinite(related).any() and np.isfinite(values[at]).any():
            raise InputError(
                f"{file}: face {face} is not seen during --neutral {neutral[0]}-{neutral[1]} s; name a stretch in "
                "which it is, or use lowest."
            )
        values[at] = related
