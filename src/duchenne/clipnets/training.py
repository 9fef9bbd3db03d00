"""Train a clip network on your own people: follow faces, cut crops, learn, judge people left out, write a model folder.

Tracks and crops are kept in a folder that other networks use as well. What is learnt is kept after every epoch in
`.NAME.work` beside the model folder: killed at any moment, the same call goes on.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from duchenne import checkpoints, io, limits, metrics, plots
from duchenne.checkpoints import reference
from duchenne.clips import crops, load
from duchenne.datasets import manifest as manifests
from duchenne.errors import DuchenneError, InputError
from duchenne.learn import loop
from duchenne.progress import Log, StepTick
from duchenne.types import Array, Clip

if TYPE_CHECKING:
    from duchenne.clipnets.inputs import ClipReader
    from duchenne.clipnets.model import ClipModel
    from duchenne.clipnets.recipe import ClipRecipe

#: (what is being done, pieces done, pieces in all)
CACHE = "clip-cache"
_ON_THE_CARD = (
    *("accuracy", "accuracy_interval", "auc", "auc_interval", "ece"),
    *("forced_pairs", "per_emotion", "risk_coverage"),
)
_ENOUGH = 8  # people left out, of whom fewer calibrate nothing
_TIMED = 32  # clips by which the speed of answering is told


@dataclass(frozen=True, eq=False)
class _Corpus:
    """Clips that could be read: what a network reads of each, label (1 = genuine), person and emotion ("" = none)."""

    x: Array
    y: Array
    people: Array
    emotions: Array


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
) -> dict[str, Any]:
    """Train on the clips of a manifest CSV (path, subject, emotion, label) and write a model folder; returns its card.

    recipe   one, or its name, or a TOML (`clipnets.recipe`)
    weights  published weights of the trunk, or an expression model, to start from (`clipnets.published`)
    workers  threads that read crops ahead of the network
    jobs     processes that follow faces and cut crops
    cache    where tracks and crops are kept, by default `clip-cache` beside `out`; it holds faces of people
    resume   False throws away the beginning of an earlier training

    Clips that cannot be read are named and left out; InputError when too little is left, UsageError where the beginning
    is of other clips or settings, `learn.loop.Diverged` where a loss is no number.
    """
    from duchenne.clipnets import recipe as clip_recipe
    from duchenne.clipnets.model import ClipModel
    from duchenne.clipnets.published import published
    from duchenne.learn.optim import device_of

    out = Path(out)
    chosen = clip_recipe.read(recipe) if isinstance(recipe, str | Path) else recipe
    io.check_folder(out)
    used = device_of(device)  # what is wrong is said before any work
    if weights is not None:
        published(weights, chosen)
    work = out.absolute().parent / f".{out.absolute().name}.work"
    if not resume:
        shutil.rmtree(work, ignore_errors=True)
    corpus = _read(manifest, chosen.reader, Path(cache or out.absolute().parent / CACHE), jobs, log, tick)
    begun = any(work.glob("networks/*/curve.json"))
    log(f"{'going on with' if begun else 'beginning'} the training, on {used.type}; kept in {work}")
    told = _teller(chosen, log, tick)
    model = ClipModel(
        chosen, device=device, weights=weights, workers=workers, folder=work / "networks", tick=told
    )  # fmt: skip
    _fit(model, corpus, work)
    card = _card(model, corpus, Path(manifest))
    for note in card["limits"][len(limits.CLIP_NETWORK) :]:
        log(note)
    with io.staged(out) as part:
        io.write_json(part / "card.json", card)
        io.write_json(part / "curve.json", model.curves)
        curves = {name or "network": curve for name, curve in model.curves.items()}
        plots.save(plots.learning(curves, ("loss, learnt from", "log loss, people left out")), part / "curve")
        checkpoints.save(model, part, name=out.absolute().name)
        assert model.out_of_fold is not None
        reference.keep(part, reference.answers(model.out_of_fold, corpus.y, corpus.people, corpus.emotions))
    checkpoints.tidy(out)
    shutil.rmtree(work, ignore_errors=True)
    return card


def _read(manifest: str | Path, reader: ClipReader, cache: Path, jobs: int, log: Log, tick: StepTick) -> _Corpus:
    """What is read of the clips that have a label; those that cannot be read are named."""
    clips = [clip for clip in manifests.read(manifest) if clip.label]
    found: list[Any] = []
    used: list[Clip] = []
    for i, (clip, item) in enumerate(zip(clips, _items(clips, reader, cache, jobs), strict=True), 1):
        if isinstance(item, str):
            log(f"left out: {item}")
        else:
            found.append(item)
            used.append(clip)
        tick("reading clips", i, len(clips))
    if not used:
        raise InputError(f"{manifest} has no clip with a label that could be read; nothing to train on.")
    x = np.empty(len(found), object)
    x[:] = found
    people = np.array([str(clip.subject) for clip in used])
    log(f"{len(used)} of {len(clips)} clips read, of {len(np.unique(people))} people")
    if cache.is_dir():
        log(f"what was read of videos is kept in {cache}, crops of people's faces among it; delete it when done")
    return _Corpus(
        x,
        np.array([clip.label == "genuine" for clip in used], int),
        people,
        np.array([clip.emotion or "" for clip in used]),
    )


def _items(clips: Sequence[Clip], reader: ClipReader, cache: Path, jobs: int) -> Iterator[Any]:
    """`_item` of each clip, in order; from `jobs` processes where there are several."""
    one = partial(_item, reader=reader, cache=cache)
    if jobs == 1:
        yield from map(one, clips)
        return
    # not by fork: libraries' threads do not live through one
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(one, clips)


def _item(clip: Clip, reader: ClipReader, cache: Path) -> Any:
    """What `reader` makes of a clip, or in words why there is nothing."""
    try:
        if reader.needs == "crops":
            sample: Any = crops.read(clip, reader, cache)
        else:
            sample = load.kept(clip, cache / "tracks")
        (item,) = reader.table([sample])
    except DuchenneError as error:
        return str(error)
    return f"{clip.path} shows too few frames of a face." if item is None else item


def _teller(recipe: ClipRecipe, log: Log, tick: StepTick) -> Callable[[dict[str, Any]], None]:
    tell = loop.teller(recipe.epochs, log)

    def both(row: dict[str, Any]) -> None:
        number = int(row["network"] or 1)
        tell({**row, "network": f"network {number} of {recipe.bag}" if row["network"] else ""})
        tick("learning", (number - 1) * recipe.epochs + row["epoch"], recipe.bag * recipe.epochs)

    return both


def _fit(model: ClipModel, corpus: _Corpus, work: Path) -> None:
    try:
        model.fit_table(corpus.x, corpus.y, corpus.people, corpus.emotions)
    except loop.Diverged as error:
        kept = [len(json.loads(p.read_text(encoding="utf-8"))["curve"]) for p in work.glob("networks/*/curve.json")]
        if not kept:
            raise
        raise loop.Diverged(f"{error} Or finish with what {work} keeps: repeat with epochs = {min(kept)}.") from error


def _card(model: ClipModel, corpus: _Corpus, manifest: Path) -> dict[str, Any]:
    """Facts, scores on clips whose answer was found without their person, and speed."""
    p, r = model.out_of_fold, model.recipe
    assert p is not None
    seen = np.isfinite(p)
    scores = metrics.score(p[seen], corpus.y[seen], corpus.people[seen], corpus.emotions[seen], n=500)
    asked = len(np.unique(corpus.people[seen]))
    few = f"Only {asked} people calibrated it: its answers may be far too sure; add people, or leave out more of them."
    if r.bag > 1:
        protocol = "person-disjoint, each person judged by the network that left them out"
    else:
        protocol = f"{asked} people held back; the epoch that judges half of them was chosen by the other half"
    some = corpus.x[:_TIMED]
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
        **{key: scores[key] for key in _ON_THE_CARD},
        "abstain_band": [round(0.5 - model.margin, 3), round(0.5 + model.margin, 3)],
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
