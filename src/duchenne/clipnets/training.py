"""Train a clip network on your own people: follow faces, cut crops, learn, judge people left out, write a model folder.

Tracks and crops are kept in the cache, for other networks as well. What is learnt is kept after every epoch in
`.NAME.work` beside the model folder: killed at any moment, the same call goes on.
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
from duchenne.training import data
from duchenne.training import folder as folders
from duchenne.training.data import TrainingData, cache_in
from duchenne.training.work import working
from duchenne.types import Json

if TYPE_CHECKING:
    from duchenne.clipnets.inputs import ClipReader
    from duchenne.clipnets.model import ClipModel
    from duchenne.clipnets.recipe import ClipRecipe

_ENOUGH = 8  # people left out, of whom fewer calibrate nothing
_TIMED = 32  # clips by which the speed of answering is told


def train(
    manifest: str | Path,
    out: str | Path,
    recipe: ClipRecipe | str | Path,
    *,
    device: str = "auto",
    weights: str | Path | None = None,
    workers: int = 2,
    jobs: int = 1,
    cache: str | Path | None = None,
    resume: bool = True,
    log: Log = print,
    tick: StepTick = lambda *_: None,
) -> Json:
    """Train on the clips of a manifest CSV (path, subject, emotion, label) and write a model folder; returns its card.

    recipe   one, or its name, or a TOML (`clipnets.recipe`)
    weights  published weights of the trunk, or an expression model, to start from (`clipnets.published`)
    workers  threads that read crops ahead of the network
    jobs     processes that follow faces and cut crops
    cache    a folder for tracks and crops, in place of the cache that every command shares; it holds faces of people
    resume    False throws away the beginning of an earlier training

    Clips that cannot be read are named and left out; InputError when too little is left, UsageError where the beginning
    is of other clips or settings, `learn.loop.Diverged` where a loss is not finite.
    """
    from duchenne.clipnets.model import ClipModel
    from duchenne.clipnets.published import published
    from duchenne.clipnets.recipe import ClipRecipe
    from duchenne.learn.optim import device_of

    chosen = recipe if isinstance(recipe, ClipRecipe) else ClipRecipe.read(recipe)
    used = device_of(device)  # what is wrong is said before any work
    if weights is not None:
        published(weights, chosen)
    with working(out, log, resume=resume) as work:
        dataset = _read(manifest, chosen.reader, cache, jobs, log, tick)
        pieces.same(work, [chosen.lasting(), str(weights or ""), dataset.about])
        log(f"training on {used.type}; kept in {work}")
        model = ClipModel(
            chosen, device=device, weights=weights, workers=workers, on_epoch=_log_epochs(chosen, log, tick)
        )
        model.fit_table(dataset.x, dataset.y, dataset.people, dataset.emotions)
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
            figure=plots.learning(curves, ("loss, learnt from", "log loss, people left out")),
            more=lambda part: folders.save_out_of_fold(part, p, dataset.truth, paired=None),
        )


def _read(
    manifest: str | Path, reader: ClipReader, cache: str | Path | None, jobs: int, log: Log, tick: StepTick
) -> TrainingData:
    """What is read of the clips that have a label; those that cannot be read are named."""
    dataset = data.read(manifest, (reader,), cache_in(cache), jobs=jobs, log=log, tick=tick)
    there = np.array([item is not None for item in dataset.x], bool)
    for clip, seen in zip(dataset.clips, there, strict=True):
        if not seen:
            log(f"left out: {clip.path} shows too few frames of a face.")
    if not there.any():
        raise InputError(f"{manifest} has no clip with a label that could be read; nothing to train on.")
    return dataset.of(there)


def _log_epochs(recipe: ClipRecipe, log: Log, tick: StepTick) -> Callable[[Json], None]:
    tell = loop.log_epochs(recipe.epochs, log)

    def both(row: Json) -> None:
        number = int(row["network"] or 1)
        tell({**row, "network": f"network {number} of {recipe.n_networks}" if row["network"] else ""})
        tick("learning", (number - 1) * recipe.epochs + row["epoch"], recipe.n_networks * recipe.epochs)

    return both


def _card(model: ClipModel, dataset: TrainingData, manifest: Path) -> Json:
    """Facts, scores on clips whose answer was found without their person, and speed."""
    p, r = model.out_of_fold, model.recipe
    assert p is not None
    seen = np.isfinite(p)
    judged = dataset.of(seen)
    asked = len(np.unique(judged.people))
    few = f"Only {asked} people calibrated it: its answers may be far too sure; add people, or leave out more of them."
    if r.n_networks > 1:
        protocol = "person-disjoint, each person judged by the network that left them out"
    else:
        protocol = f"{asked} people held back; the epoch that judges half of them was chosen by the other half"
    some = dataset.x[:_TIMED]
    began = time.perf_counter()
    model.predict_table(some)
    speed = len(some) / (time.perf_counter() - began)
    start = model.facts.get("started_from")
    mine = f"yours, as far as the terms of the clips in {manifest.name} go"
    return {
        "title": f"clip network ({r.kind}, {r.backbone if r.inputs == 'crops' else 'points'})",
        **model.facts,
        "data": manifest.name,
        "input": input_of(r.reader),
        "protocol": protocol,
        "judged": int(seen.sum()),
        **folders.card_scores(p[seen], judged.truth, model.margin),
        "clips_per_second": round(speed, 2),
        "waited_for_clips": None if np.isnan(model.waited) else round(model.waited, 4),
        "licence": mine if start is None else f"{mine}, and those of {start}, from which it started",
        "limits": [*limits.CLIP_NETWORK, *([few] if asked < _ENOUGH else [])],
    }


def input_of(reader: ClipReader) -> str:
    """What a network reads, in words: "20 frames 112×112 RGB"."""
    how = f"{reader.frames} frames" if reader.frames else "frames"
    how += f" at {reader.fps:g} per second" if reader.fps else ""
    if reader.needs == "points":
        return f"{how} of points"
    colours = "RGB" if reader.channels == 3 else "grey"
    return f"{how} {reader.side}×{reader.side} {colours}{', face and scene' if reader.scene else ''}"
