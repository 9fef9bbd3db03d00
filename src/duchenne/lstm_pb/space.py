"""PB vectors of clips, as a table and as figures, and the network's predictions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duchenne import io, plots
from duchenne.clips import load
from duchenne.datasets import manifest
from duchenne.errors import DuchenneError, InputError
from duchenne.lstm_pb import generation
from duchenne.progress import Log, Tick
from duchenne.types import LABELS, Array, Clip, Json

if TYPE_CHECKING:
    from duchenne.lstm_pb.model import PBModel

TABLE = "pb.csv"


@dataclass(frozen=True, eq=False)
class _Row:
    """A clip, the name of its network, its sequence object (1,), and (x, predicted) where that is drawn."""

    clip: Clip
    network: str
    x: Array
    predicted: tuple[Array, Array] | None


def pb(
    model: str | Path,
    clips: Sequence[Clip | str | Path],
    out: str | Path,
    *,
    emotion: str | None = None,
    most: int | None = None,
    log: Log = print,
    tick: Tick | None = None,
) -> Json:
    """Recognise clips (videos, tracks of packed files, rows of a manifest) by an LSTM-PB and write, all or nothing,
    into folder `out`:

    pb.csv              a row per clip: clip, subject, label, emotion, (network,) pb_0, pb_1, …
    pb_space.png/.svg   `plots.pb_space`, beside the PB vectors typical of posed and of genuine training clips; one
                        per network, named after it, where several were used, as their PB vectors are not comparable
    prediction-NAME     .png/.svg of `plots.prediction` for the first `most` clips, or for all

    `emotion` chooses the network of a model with one per emotion; the default is the clip's own emotion. `log` gets a
    line for each clip that is left out, `tick` the number done. Returns table, pictures (paths), clips and networks
    (lists of N), vectors float64 (N, D; NaN where another network has more of them). UsageError for a model without PB
    vectors or an emotion without a network, InputError where no clip can be read (for a single one, its own error).
    """
    from duchenne.lstm_pb.movement import class_vectors

    out, loaded = Path(out), generation.load(model)
    named = [replace(clip if isinstance(clip, Clip) else Clip(str(clip)), reader=loaded.face_reader) for clip in clips]
    io.check_folder(out)
    if emotion or not any(clip.emotion for clip in named):
        class_vectors(loaded, emotion)  # raises where there is no such network
        if emotion and not loaded.recipe.per_emotion:
            log(f"This model has one network for all emotions; --emotion {emotion} changes nothing.")
    rows = _read(loaded, named, emotion, len(named) if most is None else most, log, tick)
    vectors = loaded.vectors(np.concatenate([row.x for row in rows]), np.array([row.network for row in rows]))
    sizes = np.array([loaded.typical[row.network].shape[1] for row in rows])
    vectors = np.where(np.arange(vectors.shape[1]) < sizes[:, None], vectors, np.nan)[:, : sizes.max()]
    with io.staged(out) as part:
        io.write_text(part / TABLE, _table(rows, vectors, loaded.recipe.per_emotion))
        figures = [*_draw_spaces(loaded, rows, vectors, part), *_draw_predictions(loaded, rows, part)]
    return {
        "table": out / TABLE,
        "pictures": [out / file.name for file in figures],
        "clips": [row.clip for row in rows],
        "networks": [row.network for row in rows],
        "vectors": vectors,
    }


def _read(
    model: PBModel,
    clips: Sequence[Clip],
    emotion: str | None,
    most: int,
    log: Log,
    tick: Tick | None,
) -> list[_Row]:
    rows: list[_Row] = []
    for i, clip in enumerate(clips):
        try:
            rows.append(_read_one(model, clip, emotion, len(rows) < most))
        except DuchenneError as error:
            if len(clips) == 1:
                raise
            log(f"{clip.path} is left out: {error}")
        if tick is not None:
            tick(i + 1)
    if not rows:
        raise InputError(f"None of {len(clips)} clips could be read; see the notes above.")
    return rows


def _read_one(model: PBModel, clip: Clip, emotion: str | None, draw: bool) -> _Row:
    network = (emotion or clip.emotion or "") if model.recipe.per_emotion else ""
    if network not in model.networks:
        known, what = ", ".join(sorted(model.networks)), f"shows {network}" if network else "has no emotion"
        raise InputError(f"{clip.path} {what}, and the model has networks for {known} only; choose one with --emotion.")
    sample = load.read(clip)
    return _Row(clip, network, model.sequence(sample), model.predictions(sample, network) if draw else None)


def _table(rows: Sequence[_Row], vectors: Array, per_emotion: bool) -> str:
    """CSV; with the network if there is one per emotion, and start and end where a clip is a part of its file."""
    partial = any(row.clip.start is not None or row.clip.end is not None for row in rows)
    about = ["clip", *["start", "end"] * partial, "subject", "label", "emotion", *["network"] * per_emotion]
    table: list[list[object]] = [[*about, *(f"pb_{i}" for i in range(vectors.shape[1]))]]
    for row, vector in zip(rows, vectors, strict=True):
        facts = vars(row.clip) | {"clip": row.clip.path, "network": row.network}
        numbers = [f"{value:.6g}" if np.isfinite(value) else "" for value in vector]
        table.append([*("" if facts[name] is None else facts[name] for name in about), *numbers])
    return io.rows_csv(table)


def _draw_spaces(model: PBModel, rows: Sequence[_Row], vectors: Array, folder: Path) -> list[Path]:
    files: list[Path] = []
    networks = sorted({row.network for row in rows})
    for network in networks:
        own = [i for i, row in enumerate(rows) if row.network == network]
        clips = [rows[i].clip for i in own]
        figure = plots.pb_space(
            vectors[own, : model.typical[network].shape[1]],
            [None if clip.label is None else LABELS.index(clip.label) for clip in clips],
            [clip.subject for clip in clips],
            f"PB space of {network}" if network else "PB space",
            typical=model.typical[network].numpy(),
            of_typical="trained for {}" if len(model.class_pb[network]) else "{} training clips’ mean",
            names=["" if clip.subject else Path(clip.path).name for clip in clips],
        )
        name = f"pb_space-{network}" if len(networks) > 1 else "pb_space"
        files += plots.save(figure, folder / name)
    return files


def _draw_predictions(model: PBModel, rows: Sequence[_Row], folder: Path) -> list[Path]:
    files: list[Path] = []
    taken: set[str] = set()
    for row in rows:
        if row.predicted is not None:
            x, predicted = row.predicted
            time = np.arange(len(x)) / model.recipe.fps
            figure = plots.prediction(x, predicted, time, title=Path(row.clip.path).name)
            files += plots.save(figure, folder / f"prediction-{_unique_name(row.clip.path, taken)}")
    return files


def _unique_name(path: str, taken: set[str]) -> str:
    """A file name for a clip, not yet in `taken`: "smile" for "a/smile.mp4", "a-3" for "a.npz#3"."""
    file, which = manifest.split_path(path)
    stem = Path(file).stem + (f"-{which}" if which is not None else "")
    stem = re.sub(r"[^\w.-]+", "_", stem)[:80] or "clip"
    name, n = stem, 2
    while name.lower() in taken:
        name, n = f"{stem}-{n}", n + 1
    taken.add(name.lower())
    return name
