"""Train a model from a manifest of clips: descriptors (or a table of them), an LSTM-PB, both, or any method.

What is read of clips is cached, and what is fitted is cached in `.NAME.work` beside the model folder until that is
written: a killed training resumes with the same call. `resume=False` starts again; UsageError where the unfinished
training has other clips or settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duchenne import io, plots
from duchenne.datasets import splits
from duchenne.datasets.manifest import LABEL_WORDS
from duchenne.errors import InputError, UsageError
from duchenne.features.descriptors import FAMILIES
from duchenne.learn import loop, pieces
from duchenne.learn.boosting import Recipe
from duchenne.methods import names
from duchenne.methods.cuts import Cuts
from duchenne.methods.hybrid import Hybrid
from duchenne.progress import Log
from duchenne.registry import READERS
from duchenne.tabular.model import DescriptorModel
from duchenne.training import data
from duchenne.training import folder as folders
from duchenne.training.data import TrainingData, Truth, cache_in
from duchenne.training.work import work_folder
from duchenne.types import Array, Classifier, Json, readable

if TYPE_CHECKING:
    from duchenne.lstm_pb.model import PBModel
    from duchenne.lstm_pb.recipe import PBRecipe


def train(
    manifest: str | Path,
    out: str | Path,
    *,
    family: str = "dynamics",
    seed: int = 0,
    smile_share: float = 0.0,
    reader: str = READERS[0],
    resume: bool = True,
    log: Log = print,
) -> Json:
    """Train on the clips of a manifest CSV (path, subject, emotion, label) and write a model folder.

    `smile_share` (0 to 1) is the weight of the shipped smile expert in the log-odds of a smile, `reader` (mesh, paper)
    reads the faces of videos; a track has been read before, and its model reads clips as it was.
    A path may be a video, or `tracks.npz#3` / `tracks.npz#name` for one track of a packed file. Returns the
    card. Clips that cannot be read are logged and left out; InputError when too few are left.
    """
    model = _descriptors(family, seed)
    protocol = f"person-disjoint {model.recipe.folds}-fold; member choice and calibration saw these folds"
    stamp = [family, asdict(model.recipe)]
    return _train(model, manifest, out, protocol, stamp, smile_share, reader, resume, log)


def train_hybrid(
    manifest: str | Path,
    out: str | Path,
    *,
    family: str | None = None,
    seed: int = 0,
    smile_share: float = 0.0,
    reader: str = READERS[0],
    resume: bool = True,
    log: Log = print,
) -> Json:
    """Train descriptors beside a model of how the face looks, and their weights, on the clips of a manifest.

    `family` of descriptors is by default "mesh-relative", for the reader paper "dynamics". Beside one of points alone
    stands an LSTM-PB of the shipped recipe. As `train` otherwise. The folder holds the two as member models.
    """
    from duchenne.lstm_pb.model import PBModel

    family = family or (names.HYBRID if reader == "mesh" else "dynamics")
    _descriptors(family, seed)  # a wrong name, in words
    model = names.make(f"default:{family}", seed)
    assert isinstance(model, Hybrid | Cuts)
    if (network := model.part(PBModel)) is not None:
        network.on_epoch = loop.log_epochs(network.recipe.epochs, log)
    protocol = "person-disjoint: the members and their mix judged people that the members had not seen"
    stamp = [family, *map(repr, model.recipe)]
    return _train(model, manifest, out, protocol, stamp, smile_share, reader, resume, log)


def _descriptors(family: str, seed: int) -> DescriptorModel:
    """Unfitted; UsageError for an unknown family."""
    if family not in FAMILIES:
        raise UsageError(f"Unknown descriptor family '{family}'; choose one of: {', '.join(FAMILIES)}.")
    return DescriptorModel.of_family(family, recipe=Recipe(seed=seed))


def _train(
    model: DescriptorModel | Hybrid | Cuts,
    manifest: str | Path,
    out: str | Path,
    protocol: str,
    stamp: Sequence[object],
    smile_share: float,
    reader: str,
    resume: bool,
    log: Log,
) -> Json:
    with work_folder(out, log, resume=resume) as work:
        dataset = data.read(manifest, (model.reader,), cache_in(None), reader=reader, log=log)
        pieces.check_same(work, [*stamp, dataset.about])
        model.fit_table(dataset.x, dataset.y, dataset.people, dataset.named_emotions)
        model.facts |= {"smile_share": smile_share, "reader": dataset.face_reader}
        assert model.out_of_fold is not None
        seen = np.isfinite(model.out_of_fold)
        return _finish(model, out, model.out_of_fold[seen], dataset.of(seen).truth, protocol)


def train_method(
    name: str,
    manifest: str | Path,
    out: str | Path,
    *,
    seed: int = 0,
    reader: str = READERS[0],
    cache: str | Path | None = None,
    resume: bool = True,
    log: Log = print,
) -> Json:
    """Train any method of `methods.names` by its name ("two-stage:linear-svm", "stack:descriptors+rank-svm"), as
    `train` otherwise.

    `cache` is a folder in place of the shared cache. UsageError for unknown names, and for trained models ("as-is:").
    """
    if name.startswith(names.AS_IS):
        raise UsageError(f"{name} is a trained model; pass the name of a method.")
    model = names.make(name, seed)
    with work_folder(out, log, resume=resume) as work:
        dataset = data.read(manifest, (model.reader,), cache_in(cache), reader=reader, log=log)
        pieces.check_same(work, [name, seed, names.sources(name), dataset.about])
        model.fit_table(dataset.x, dataset.y, dataset.people, dataset.named_emotions)
        p, known = model.out_of_fold, dataset.of(readable(dataset.x))
        assert p is not None
        counts = {"people": len(np.unique(known.people)), "clips": len(known.clips), "genuine": int(known.y.sum())}
        model.facts = {**model.facts, **counts, "method": name, "reader": known.face_reader}
        seen = np.isfinite(p)
        if not seen.any():
            raise InputError("No clip got an out-of-fold prediction; add people.")
        protocol = "person-disjoint: each clip judged without its person; calibration and mixing saw these answers"
        finished = f"; {names.AS_IS} parts predicted people they were trained on" if names.AS_IS in name else ""
        shared = "; LSTM-PB networks other than solved were trained on all people" if "lstm-pb:" in name else ""
        return _finish(model, out, p[seen], dataset.of(seen).truth, protocol + finished + shared)


def _finish(
    model: Classifier,
    out: str | Path,
    p: Array,
    truth: Truth,
    protocol: str,
    *,
    paired: bool = True,
) -> Json:
    """Write the folder of a model with out-of-fold predictions `p`."""
    card = {**model.facts, "protocol": protocol, **folders.card_scores(p, truth, model.margin)}
    return folders.write(model, out, card, more=lambda part: folders.save_out_of_fold(part, p, truth, paired=paired))


def train_table(table: str | Path, out: str | Path, *, seed: int = 0, resume: bool = True, log: Log = print) -> Json:
    """Train on a CSV of smile descriptors: columns as in the public UvA-NEMO lip table, with `genuine` and
    `group` (or `subject`) for disjoint folds. Returns the card."""
    try:
        rows = io.read_table(Path(table))
    except (OSError, ValueError) as error:
        raise InputError(f"{table} cannot be read as a CSV table ({error}); expected smile descriptors.") from error
    who = next((name for name in ("subject", "group") if name in rows), None)
    if who is None or "genuine" not in rows:
        raise InputError(f"{table} needs the columns genuine (1 or 0) and subject or group; add them.")
    given = [LABEL_WORDS.get(io.word(value)) for value in rows["genuine"]]
    if None in given:
        raise InputError(f"{table} has values other than 1 or 0 in the column genuine; correct them.")
    model = names.smile_expert(seed)
    x = model.from_columns({name: rows[name] for name in rows.columns}, str(table))
    labels, people = np.array([each == "genuine" for each in given], int), splits.persons(rows[who])
    log(f"{len(x)} rows of {len(np.unique(people))} {who}s")
    with work_folder(out, log, resume=resume) as work:
        pieces.check_same(work, [asdict(model.recipe), io.sha256(Path(table))], "rows")
        model.fit_table(x, labels, people)
        usable = np.isfinite(x).any(axis=1)
        protocol = f"group-disjoint {model.recipe.folds}-fold; member choice and calibration saw these folds"
        assert model.out_of_fold is not None
        p, smiles = model.out_of_fold[usable], np.full(int(usable.sum()), "happiness")
        return _finish(model, out, p, (labels[usable], people[usable], smiles), protocol, paired=who == "subject")


def train_pb(
    manifest: str | Path,
    out: str | Path,
    recipe: PBRecipe | str | Path = "lstm-pb",
    *,
    reader: str | None = None,
    device: str = "auto",
    resume: bool = True,
    log: Log = print,
) -> Json:
    """Train an LSTM-PB on the clips of a manifest CSV (as `train`) and write a model folder with its learning curve.

    `reader` of faces is by default the mesh for our own reading, `solved`, and for the others that of their paper.
    `recipe` is one, or its name, or a TOML (`lstm_pb.recipe`); `device` "auto" is a GPU where there is one, and the
    card holds the one used. Returns the card; `learn.loop.Diverged` where a loss is
    not finite.
    """
    from duchenne.lstm_pb.model import PBModel
    from duchenne.lstm_pb.recipe import PBRecipe

    recipe = PBRecipe.read(recipe)
    model = PBModel(recipe, on_epoch=loop.log_epochs(recipe.epochs, log))
    model.on(device)
    reader = reader or ("mesh" if recipe.reading == "solved" else "paper")
    with work_folder(out, log, resume=resume) as work:
        dataset = data.read(manifest, (model.reader,), cache_in(None), reader=reader, log=log)
        pieces.check_same(work, [recipe.lasting(), dataset.about])
        model.fit_table(dataset.x, dataset.y, dataset.people, dataset.emotions)
        assert model.out_of_fold is not None
        model.facts["reader"] = dataset.face_reader
        p = model.out_of_fold
        return folders.write(
            model,
            out,
            _pb_card(model, dataset),
            curves=model.curves,
            figure=plots.learning(model.curves),
            more=lambda part: folders.save_out_of_fold(part, p, dataset.truth),
        )


def _pb_card(model: PBModel, dataset: TrainingData) -> Json:
    """Facts, out-of-fold scores, and what the networks had seen of these people."""
    p, reading = model.out_of_fold, model.recipe.reading
    assert p is not None
    seen = np.isfinite(p)
    if reading == "solved":
        protocol = "person-disjoint, each person judged by the network that left them out"
    else:
        labels = "with labels, which flatters" if model.recipe.by_class else "without labels"
        protocol = (
            f"person-disjoint 5-fold of the classifier on PB vectors; the networks were trained on all people, {labels}"
        )
    scores = folders.card_scores(p[seen], dataset.of(seen).truth, model.margin)
    return {**model.facts, "reading": reading, "protocol": protocol, **scores}
