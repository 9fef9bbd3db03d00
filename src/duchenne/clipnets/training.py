"""Train a clip network on your own clips: track faces, cut crops, train, score people left out, write a model folder.

Tracks and crops are cached, for other networks too. Checkpoints are in `.NAME.work` beside the model folder: after a
kill, the same call resumes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duchenne import limits, plots
from duchenne.errors import InputError
from duchenne.learn import loop, pieces
from duchenne.progress import Log, StepTick
from duchenne.registry import READERS
from duchenne.training import data
from duchenne.training import folder as folders
from duchenne.training.data import TrainingData, cache_in
from duchenne.training.work import work_folder
from duchenne.types import Json, readable

if TYPE_CHECKING:
    from duchenne.clipnets.inputs import ClipReader
    from duchenne.clipnets.model import ClipModel
    from duchenne.clipnets.recipe import ClipRecipe

_ENOUGH = 8  # people left out, to calibrate on
_TIMED = 32  # clips to measure the speed of prediction on


def train(
    manifest: str | Path,
    out: str | Path,
    recipe: ClipRecipe | str | Path,
    *,
    device: str = "auto",
    weights: str | Path | None = None,
    workers: int = 2,
    jobs: int = 1,
    reader: str = READERS[0],
    cache: str | Path | None = None,
    resume: bool = True,
    log: Log = print,
    tick: StepTick = lambda *_: None,
) -> Json:
    """Train on the clips of a manifest CSV (path, subject, emotion, label) and write a model folder; returns its card.

    recipe   one, or its name, or a TOML (`clipnets.recipe`)
    weights  published weights of the backbone, or an expression model, to start from, or several with commas between
             (`clipnets.published`)
    workers  threads that prefetch crops
    jobs     processes that track faces and cut crops
    reader   of faces in videos: mesh or paper
    cache    a folder for tracks and crops instead of the shared cache; it holds faces of people
    resume   False discards an interrupted training

    Clips that cannot be read are listed and left out; InputError when too few are left, UsageError where an interrupted
    training had other clips or settings, `learn.loop.Diverged` where a loss is not finite.
    """
    from duchenne.clipnets.model import ClipModel
    from duchenne.clipnets.published import published
    from duchenne.clipnets.recipe import ClipRecipe
    from duchenne.learn.optim import device_of

    chosen = ClipRecipe.read(recipe)
    used = device_of(device)  # errors before any work
    if weights is not None:
        published(weights, chosen)
    with work_folder(out, log, resume=resume) as work:
        dataset = _read(manifest, chosen.reader, cache, reader, jobs, log, tick)
        pieces.check_same(work, [chosen.lasting(), str(weights or ""), dataset.about])
        log(f"training on {used.type}; kept in {work}")
        model = ClipModel(
            chosen, device=device, weights=weights, workers=workers, on_epoch=_log_epochs(chosen, log, tick)
        )
        model.fit_table(dataset.x, dataset.y, dataset.people, dataset.emotions)
        model.facts["reader"] = dataset.face_reader
        card = _card(model, dataset, Path(manifest))
        for note in card["limits"][len(limits.CLIP_NETWORK) :]:
            log(note)
        p = model.out_of_fold
        assert p is not None
        curves = {name or "network": curve for name, curve in model.curves.items()}
        return folders.write(
            model,
            out,
            card,
            curves=model.curves,
            figure=plots.learning(curves, ("training loss", "log loss, people left out")),
            more=lambda part: folders.save_out_of_fold(part, p, dataset.truth, paired=None),
        )


def _read(
    manifest: str | Path,
    what: ClipReader,
    cache: str | Path | None,
    reader: str,
    jobs: int,
    log: Log,
    tick: StepTick,
) -> TrainingData:
    """The clips with a label that can be read; the others are logged."""
    dataset = data.read(manifest, (what,), cache_in(cache), reader=reader, jobs=jobs, log=log, tick=tick)
    usable = readable(dataset.x)
    for clip in (dataset.clips[i] for i in np.flatnonzero(~usable)):
        log(f"left out: {clip.path} shows a face in too few frames.")
    if not usable.any():
        raise InputError(f"{manifest} has no clip with a label that could be read; add some.")
    return dataset.of(usable)


def _log_epochs(recipe: ClipRecipe, log: Log, tick: StepTick) -> Callable[[Json], None]:
    write = loop.log_epochs(recipe.epochs, log)

    def both(row: Json) -> None:
        number = int(row["network"] or 1)
        write({**row, "network": f"network {number} of {recipe.n_networks}" if row["network"] else ""})
        tick("training", (number - 1) * recipe.epochs + row["epoch"], recipe.n_networks * recipe.epochs)

    return both


def _card(model: ClipModel, dataset: TrainingData, manifest: Path) -> Json:
    """Facts, scores on clips of people left out, and speed."""
    p, r = model.out_of_fold, model.recipe
    assert p is not None
    known = np.isfinite(p)
    scored = dataset.of(known)
    people = len(np.unique(scored.people))
    few = f"Calibrated on {people} people only: its probabilities may be overconfident; add people, or leave out more."
    if r.n_networks > 1:
        protocol = "person-disjoint, each person scored by the network that left them out"
    else:
        protocol = f"{people} people held out; the epoch for half of them was chosen on the other half"
    some = dataset.x[:_TIMED]
    began = time.perf_counter()
    model.predict_table(some)
    speed = len(some) / (time.perf_counter() - began)
    start = model.facts.get("started_from")
    licence = f"yours, subject to the terms of the clips in {manifest.name}"
    return {
        "title": f"clip network ({r.kind}, {r.backbone if r.inputs == 'crops' else 'points'})",
        **model.facts,
        "data": manifest.name,
        "input": input_of(r.reader),
        "protocol": protocol,
        "judged": int(known.sum()),
        **folders.card_scores(p[known], scored.truth, model.margin),
        "clips_per_second": round(speed, 2),
        "waited_for_clips": None if np.isnan(model.waited) else round(model.waited, 4),
        "licence": licence if start is None else f"{licence}, and of {start}, from which it started",
        "limits": [*limits.CLIP_NETWORK, *([few] if people < _ENOUGH else [])],
    }


def input_of(reader: ClipReader) -> str:
    """The input in words: "20 frames 112×112 RGB"."""
    how = f"{reader.frames} frames" if reader.frames else "frames"
    how += f" at {reader.fps:g} per second" if reader.fps else ""
    if reader.needs == "points":
        return f"{how} of points"
    colours = "RGB" if reader.channels == 3 else "grey"
    return f"{how} {reader.side}×{reader.side} {colours}{', face, body and scene' if reader.scene else ''}"
