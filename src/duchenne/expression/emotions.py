"""The emotions of images and videos as one table: a row per image, or per moment of a video, and face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duchenne.clips import inputs
from duchenne.clips.inputs import Inputs, Progress, Row
from duchenne.clips.load import ReadFaces
from duchenne.errors import ModelError
from duchenne.expression import reading
from duchenne.faces.reading import read_faces
from duchenne.progress import Log, Tick
from duchenne.registry import READERS
from duchenne.types import Array

if TYPE_CHECKING:
    import pandas as pd

#: Columns beside the network's own, in order; `time` only where there is a video, `emotion` only of emotions.
COLUMNS = ("file", "time", "face", "emotion", "problem")


def table(
    paths: str | Path | Sequence[str | Path],
    *,
    model: str | Path = "expression",
    all_faces: bool = False,
    is_aligned: bool = False,
    every: float = 0.1,
    flips: bool = True,
    second: bool = False,
    device: str = "auto",
    allow_truncated: bool = False,
    rate: float | None = None,
    reader: str = READERS[0],
    tick: Tick | None = None,
    log: Log | None = None,
    read: ReadFaces = read_faces,
) -> pd.DataFrame:
    """The predictions of a network for the faces in images, videos, and folders of images (with their subfolders).

    Columns: file; time, seconds from a video's first frame, only if there is a video; face, 0 for the most prominent;
    emotion, the likeliest, of a network for emotions; one column per class with its probability (per action unit with
    its probability, or its intensity 0 to 5); problem. `file` is relative to a folder that is the only input. The
    prediction is missing where a face is not seen, and where a file cannot be used, as `problem` then says.

    model       id of a shipped expression network, or its folder
    all_faces   a row for each face, not only for the most prominent
    is_aligned  the images are themselves cropped faces
    every       seconds between two rows of a video, 0 for every frame
    flips       the mean with the prediction for the mirrored face
    second      predict the network's second set of labels (of the shipped one FER2013's own) instead
    rate        frames/s of a file that stores no times: a bare stream, an image of several pages, which is then a video
    reader      of faces: mesh or paper
    device      see `learn.optim.device_of`; `log` reports the one that is used
    read        yields the blocks of a video's faces
    tick, log   called with the number of images and frames done, and with lines for people

    InputError where the only input is a file that cannot be used or a folder without images; UsageError for options
    that are not allowed; ModelError for a model that is not an expression network.
    """
    requested = Inputs.of(
        paths, every=every, is_aligned=is_aligned, rate=rate, reader=reader, all_faces=all_faces,
        allow_truncated=allow_truncated, read=read,
    )  # fmt: skip
    network, about = reading.load(model, device, in_colour=True)
    if second:
        network = network.second()
    names, head = network.classes, network.network.config.head
    if taken := [name for name in names if name in COLUMNS]:
        raise ModelError(f"{model} has a class '{taken[0]}', which is also a column of the table; rename the class.")
    requested = replace(requested, in_colour=network.network.config.channels == 3)
    progress = Progress(tick)
    rows: list[Row] = []
    seen = (face.crop for face in inputs.faces(requested, progress, rows))
    predicted = reading.predict_crops(network, seen, flips=flips)
    if log is not None:
        where = str(network.network.mean.device)
        log(f"Model {about['id']} ({head}: {', '.join(names)}) on {where}.")
        progress.report(log)
    return _table(rows, predicted, names, head, bool(requested.videos))


def _table(rows: list[Row], predicted: Array, names: tuple[str, ...], head: str, timed: bool) -> pd.DataFrame:
    import pandas as pd

    seen = np.array([row.seen for row in rows], bool)
    values = np.full((len(rows), len(names)), np.nan)
    values[seen] = predicted.round(6)
    columns: dict[str, object] = {}
    if head == "emotions":
        best = iter(predicted.argmax(axis=1).tolist())
        columns["emotion"] = pd.array([names[next(best)] if row.seen else None for row in rows], dtype="string")
    return inputs.table(rows, columns | dict(zip(names, values.T, strict=True)), timed)
