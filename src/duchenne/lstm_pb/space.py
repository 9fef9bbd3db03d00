"""PB vectors of clips, as a table and as pictures: where a clip lies, and what the network expected of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass
class _Row:
    """A clip that was read, by which network, and (x, predicted) where that is to be drawn."""

    clip: Clip
    network: str
    sequence: Array
    foreseen: tuple[Array, Array] | None
    vector: Array | None = None


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
                        per network, named after it, where several were used, as their PB vectors cannot be compared
    prediction-NAME     .png/.svg of `plots.prediction` for the first `most` clips, or for all

    `emotion` chooses the network of a model with one per emotion; otherwise that of the clip's own emotion is taken.
    `log` is told which clips are left out and why, `tick` how many are done. Returns table, pictures (paths), clips
    and networks (lists of N), vectors float64 (N, D; NaN where another network has more of them). UsageError for a
    model or an emotion that has no network, InputError where no clip can be read (of a single one its own).
    """
    from duchenne.lstm_pb.generate import class_vectors

    out, loaded = Path(out), generation.load(model)
    named = [clip if isinstance(clip, Clip) else Clip(str(clip)) for clip in clips]
    io.check_folder(out)
    if emotion or not any(clip.emotion for clip in named):
        class_vectors(loaded, emotion)  # there is such a network
        if emotion and not loaded.recipe.per_emotion:
            log(f"This model has one network for all emotions: {emotion} is read as any other.")
    rows = _read(loaded, named, emotion, len(named) if most is None else most, log, tick)
    for network in sorted({row.network for row in rows}):
        mine = [row for row in rows if row.network == network]
        where = np.full(len(mine), network)
        for row, vector in zip(mine, loaded.vectors(_sequences(mine), where), strict=True):
            row.vector = vector
    vectors = np.full((len(rows), max(len(_vector(row)) for row in rows)), np.nan)
    for i, row in enumerate(rows):
        vectors[i, : len(_vector(row))] = row.vector
    with io.staged(out) as part:
        io.write_text(part / TABLE, _table(rows, vectors, loaded.recipe.per_emotion))
        drawn = [*_draw_spaces(loaded, rows, part), *_draw_predictions(loaded, rows, part)]
    return {
        "table": out / TABLE,
        "pictures": [out / file.name for file in drawn],
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
        raise InputError(f"None of {len(clips)} clips could be read; there is nothing to show.")
    return rows


def _read_one(model: PBModel, clip: Clip, emotion: str | None, draw: bool) -> _Row:
    network = (emotion or clip.emotion or "") if model.recipe.per_emotion else ""
    if network not in model.networks:
        known, what = ", ".join(sorted(model.networks)), f"shows {network}" if network else "has no emotion"
        raise InputError(f"{clip.path} {what}, and the model has networks for {known} only; say which (--emotion).")
    sample = load.read(clip)
    sequence = model.table([sample])[0]
    if sequence is None:
        model.recognise(sample, network)  # says what is needed
    return _Row(clip, network, sequence, model.predictions(sample, network) if draw else None)


def _vector(row: _Row) -> Array:
    assert row.vector is not None
    return row.vector


def _sequences(rows: Sequence[_Row]) -> Array:
    out = np.empty(len(rows), object)
    for i, row in enumerate(rows):
        out[i] = row.sequence
    return out


def _table(rows: Sequence[_Row], vectors: Array, per_emotion: bool) -> str:
    """CSV; with the network where there are several, and start and end where a clip is a stretch of its file."""
    stretch = any(row.clip.start is not None or row.clip.end is not None for row in rows)
    about = ["clip", *["start", "end"] * stretch, "subject", "label", "emotion", *["network"] * per_emotion]
    table: list[list[object]] = [[*about, *(f"pb_{i}" for i in range(vectors.shape[1]))]]
    for row, vector in zip(rows, vectors, strict=True):
        facts = vars(row.clip) | {"clip": row.clip.path, "network": row.network}
        numbers = [f"{value:.6g}" if np.isfinite(value) else "" for value in vector]
        table.append([*("" if facts[name] is None else facts[name] for name in about), *numbers])
    return io.rows_csv(table)


def _draw_spaces(model: PBModel, rows: Sequence[_Row], folder: Path) -> list[Path]:
    drawn: list[Path] = []
    networks = sorted({row.network for row in rows})
    for network in networks:
        mine = [row for row in rows if row.network == network]
        clips = [row.clip for row in mine]
        figure = plots.pb_space(
            np.array([_vector(row) for row in mine]),
            [None if clip.label is None else LABELS.index(clip.label) for clip in clips],
            [clip.subject for clip in clips],
            f"PB space of {network}" if network else "PB space",
            typical=model.typical[network].numpy(),
            of_typical="learnt for {}" if len(model.class_pb[network]) else "{} training clips’ mean",
            names=["" if clip.subject else Path(clip.path).name for clip in clips],
        )
        name = f"pb_space-{network}" if len(networks) > 1 else "pb_space"
        drawn += plots.save(figure, folder / name)
    return drawn


def _draw_predictions(model: PBModel, rows: Sequence[_Row], folder: Path) -> list[Path]:
    drawn: list[Path] = []
    taken: set[str] = set()
    for row in rows:
        if row.foreseen is not None:
            x, predicted = row.foreseen
            time = np.arange(len(x)) / model.recipe.fps
            figure = plots.prediction(x, predicted, time, title=Path(row.clip.path).name)
            drawn += plots.save(figure, folder / f"prediction-{_free(row.clip.path, taken)}")
    return drawn


def _free(path: str, taken: set[str]) -> str:
    """A name for the files of a clip that no clip before has, "smile" of "a/smile.mp4" and "a-3" of "a.npz#3"."""
    file, which = manifest.split_path(path)
    stem = Path(file).stem + (f"-{which}" if which is not None else "")
    stem = re.sub(r"[^\w.-]+", "_", stem)[:80] or "clip"
    name, n = stem, 2
    while name.lower() in taken:
        name, n = f"{stem}-{n}", n + 1
    taken.add(name.lower())
    return name
