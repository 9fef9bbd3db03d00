"""Train an expression network, or fine-tune one for other emotions or action units, and write its model folder.

Every epoch is saved in `.NAME.work` beside the folder: killed at any moment, the same call resumes and, on a CPU, ends
with the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duchenne import checkpoints, limits, metrics, plots
from duchenne.clips.cache import Cache
from duchenne.datasets import fer2013, fer_plus, splits
from duchenne.errors import InputError, UsageError
from duchenne.expression import data as expression_data
from duchenne.expression.faces import Faces, Reader
from duchenne.expression.split import Split, fold_names, held_back, split_rows
from duchenne.learn import loop
from duchenne.metrics.classes import score_classes
from duchenne.metrics.units import score_intensities, score_units
from duchenne.progress import Log
from duchenne.training import folder as folders
from duchenne.training.work import work_folder
from duchenne.types import Array, Json

if TYPE_CHECKING:
    from duchenne.expression.model import ExpressionModel
    from duchenne.expression.recipe import ExpressionRecipe

#: Default recipe of fine-tuning for each head.
TRANSFER = {"emotions": "transfer", "units": "units", "intensity": "intensity"}
#: Learning rate of a new output layer alone, which cannot damage the backbone.
FROZEN_RATE = 1e-2
FOLDS = 5  # of fine-tuning, unless the caller chooses
_LEAST_P = 1e-12  # below which a probability counts as this
_ERROR = {"emotions": "share wrong", "units": "1 - F1", "intensity": "squared error"}


@dataclass(frozen=True)
class _Trainer:
    """Settings of a training, whatever the rows."""

    recipe: ExpressionRecipe
    start: ExpressionModel | None
    device: str
    log: Log

    def fit(
        self, faces: Faces, rows: Array, held: Array, work: Path, name: str = ""
    ) -> tuple[ExpressionModel, list[Json]]:
        """(model, learning curve) of these rows, saved in `work`."""
        from duchenne.expression import learner

        labels = faces.labels if faces.shares is None else faces.shares
        pair = (faces.images[held], labels[held]) if len(held) else None
        second = None if faces.second is None else (faces.second[rows], faces.second_classes)
        on_epoch = loop.log_epochs(self.recipe.epochs, self.log, f"{_ERROR[self.recipe.head]} of those held back", name)
        return learner.train(
            *(self.recipe, faces.images[rows], labels[rows], faces.classes, pair),
            second=second,
            folder=work,
            device=self.device,
            start=self.start,
            on_epoch=on_epoch,
        )


def train(
    data: str | Path,
    out: str | Path,
    recipe: ExpressionRecipe | str | Path = "ours",
    *,
    reader: Reader | None = None,
    validation: str | None = None,
    folds: int = 0,
    device: str = "auto",
    resume: bool = True,
    log: Log = print,
) -> Json:
    """Train a network for emotions from scratch and write a model folder; returns its card.

    data        see `expression.data.emotions`
    recipe      one, or its name, or a TOML (`expression.recipe`)
    validation  name of the fold, or folder of class folders, by which the best epoch is chosen; else the data's own
                (FER2013's public test), else a tenth that is held back
    folds       where subjects are known, the number of person-disjoint folds for the scores of the card; 0: the scores
                are of one split
    resume      False discards an unfinished earlier training

    InputError and UsageError before training starts; `learn.loop.Diverged` where a loss is not finite.
    """
    from duchenne.expression.recipe import ExpressionRecipe

    chosen = ExpressionRecipe.read(recipe)
    if chosen.head != "emotions":
        raise UsageError(f"`train expression` is for emotions, found the head {chosen.head}; use `duchenne finetune`.")
    reader = replace(reader or Reader(), channels=chosen.channels, cache=Cache())
    with work_folder(out, log, resume=resume) as work:
        faces = _read(expression_data.emotions(data, reader), log)
        if validation is not None:
            faces = _validated(faces, data, validation, reader, log)
        split = split_rows(faces, chosen.seed)
        _check_folds(faces, split, folds, data)
        trainer, about = _Trainer(chosen, None, device, log), {"title": "Emotions of a face"}
        return _finish(trainer, faces, split, out, work, Path(data), about, folds)


def finetune(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    head: str = "emotions",
    recipe: ExpressionRecipe | str | Path | None = None,
    reader: Reader | None = None,
    only: list[str] | None = None,
    folds: int | None = None,
    device: str = "auto",
    resume: bool = True,
    log: Log = print,
) -> Json:
    """Fine-tune a network for another task, and write a model folder; returns its card.

    model   id of a shipped expression network, or a folder
    data    see `expression.data.emotions` (any names of classes) and `expression.data.units`
    head    emotions, units (present or not) or intensity (0 to 5); `only` names the units to use
    recipe  one, or its name, or a TOML; by default `transfer`, `units` or `intensity`
    folds   as of `train`; by default 5 where subjects are known and the data have no test fold

    The saved network is trained on all people but those held back to choose the epoch by. Errors as `train`.
    """
    from duchenne.expression.model import ExpressionModel
    from duchenne.expression.recipe import ExpressionRecipe

    chosen = ExpressionRecipe.read(recipe or TRANSFER.get(head, head))
    if chosen.head != head:
        raise UsageError(f"The recipe is for the head {chosen.head}, expected {head}; choose another recipe.")
    start, about = checkpoints.load_as(model, ExpressionModel)
    chosen = chosen.on_backbone(start.recipe)
    reader = replace(reader or Reader(), channels=chosen.channels, cache=Cache())
    with work_folder(out, log, resume=resume) as work:
        if head == "emotions":
            faces = _ordered(expression_data.emotions(data, reader, classes=None), start.classes)
        else:
            faces = expression_data.units(data, reader, levels=head == "intensity", only=only)
        split = split_rows(_read(faces, log), chosen.seed)
        card = {
            "title": f"{head.capitalize()} of a face",
            "started_from": {key: about[key] for key in ("id", "sha256")},
        }
        if folds is None:
            folds = 0 if faces.subjects is None or len(split.test) else FOLDS
        _check_folds(faces, split, folds, data)
        trainer = _Trainer(chosen, start, device, log)
        return _finish(trainer, faces, split, out, work, Path(data), card, folds)


def scores(head: str, predicted: Array, faces: Faces) -> Json:
    """Scores of predictions (N, K) for faces; NaN rows have none.

    Of emotions with the shares of raters, accuracy and its kin are of the faces on which at least half of the raters
    agree, and `cross_entropy` (to the shares, summed over the classes) of all.
    """
    if head != "emotions":
        score = score_units if head == "units" else score_intensities
        return score(predicted, faces.labels, faces.classes, faces.subjects)
    if faces.shares is not None:
        kept = np.flatnonzero(fer_plus.agreed(faces.shares))
        each = -(faces.shares * np.log(predicted.clip(min=_LEAST_P))).sum(axis=1)
        found = scores(head, predicted[kept], replace(faces.of(kept), shares=None))
        return found | {"cross_entropy": float(np.nanmean(each)), "undecided": len(faces) - len(kept)}
    has_answer, best = np.isfinite(predicted).all(axis=1), predicted.argmax(axis=1)
    names = np.array(faces.classes, object)
    named, truth = np.where(has_answer, names[best], None), names[faces.labels]
    found = score_classes(named, truth, faces.subjects, classes=faces.classes)
    right = (best == faces.labels)[has_answer]
    return found | {"ece": metrics.ece(predicted[has_answer].max(axis=1, initial=0.0), right)}


def _read(faces: Faces, log: Log) -> Faces:
    people = "" if faces.subjects is None else f" of {len(np.unique(faces.subjects))} people"
    log(f"{len(faces)} faces{people}: {', '.join(f'{name} {count}' for name, count in _counts(faces).items())}")
    for note in faces.notes:
        log(note)
    return faces


def _counts(faces: Faces) -> dict[str, int]:
    """Class or unit → how many faces show it."""
    shown = [faces.labels == k if faces.labels.ndim == 1 else faces.labels[:, k] > 0 for k in range(len(faces.classes))]
    return {name: int(there.sum()) for name, there in zip(faces.classes, shown, strict=True)}


def _validated(faces: Faces, data: str | Path, validation: str, reader: Reader, log: Log) -> Faces:
    """`faces` with the named fold, or the faces of a folder, as validation fold."""
    named = faces.folds == validation.lower()
    others = np.where(faces.roles == "validation", "train", faces.folds)
    if named.any():
        return replace(faces, folds=np.where(named, "validation", others))
    if not Path(validation).exists():
        known = ", ".join(sorted({*faces.folds.tolist()} - {""})) or "no folds"
        raise InputError(f"There is no folder {validation}, and {data} has {known}; name one of these, or a folder.")
    held = _read(expression_data.emotions(validation, reader), log)
    if unknown := sorted({*held.classes} - {*faces.classes}):
        raise InputError(f"{validation} has the class {unknown[0]}, which {data} does not have; remove it.")
    held = _ordered(held, faces.classes, is_subset=True)
    subjects = None
    if faces.subjects is not None and held.subjects is not None:
        subjects = np.concatenate([faces.subjects, held.subjects])
    return Faces(
        np.concatenate([faces.images, held.images]),
        np.concatenate([faces.labels, held.labels]),
        faces.classes,
        (*faces.files, *held.files),
        subjects,
        np.concatenate([others, np.full(len(held), "validation")]),
        (*faces.notes, *held.notes),
    )


def _ordered(faces: Faces, classes: tuple[str, ...], *, is_subset: bool = False) -> Faces:
    """Labels as indices of `classes`, where the names are the same (or `is_subset`): an output layer can be reused."""
    if not is_subset and {*faces.classes} != {*classes}:
        return faces
    places = np.array([classes.index(name) for name in faces.classes])
    return replace(faces, labels=places[faces.labels], classes=classes)


def _check_folds(faces: Faces, split: Split, folds: int, data: str | Path) -> None:
    """UsageError for too many or too few `folds`, InputError where the data do not allow any."""
    other = "or 0 for no scores by person"
    if folds == 0:
        return
    if folds == 1:
        raise UsageError(f"--folds is 1, expected 2 or more; choose more, {other}.")
    if faces.subjects is None:
        raise InputError(
            f"{data} does not name its people, which --folds {folds} keeps apart; give --person or a column subject, "
            f"{other}."
        )
    if len(split.test):
        raise InputError(f"{data} has the test fold {fold_names(faces, split.test)}; leave out --folds or this fold.")
    if (people := len(np.unique(faces.subjects))) < folds:
        raise UsageError(f"{data} shows {people} people, expected {folds} or more; choose fewer --folds, {other}.")


def _finish(
    trainer: _Trainer,
    faces: Faces,
    split: Split,
    out: str | Path,
    work: Path,
    data: Path,
    card: Json,
    folds: int = 0,
) -> Json:
    """Train, test, and write the folder."""
    from duchenne.learn.optim import device_of

    head = trainer.recipe.head
    trainer.log(f"{len(split.train)} training faces, {split.how}; on {device_of(trainer.device)}")
    model, curve = trainer.fit(faces, split.train, split.held, work / "network")
    if folds:
        predicted, tests = _cross_validated(trainer, faces, folds, work)
        protocol = f"person-disjoint {folds}-fold: no test person is in training or validation"
        measured = scores(head, predicted, faces)
        measured["folds"] = [_of_fold(head, predicted[rows], faces.of(rows)) for rows in tests]
    else:
        rows, protocol = _tested(split, faces)
        part, measured = faces.of(rows), {}
        if len(rows):
            measured = scores(head, model.predict(part.images), part) | _further(model, faces, split, rows)
    card |= {
        "head": head,
        "classes": list(faces.classes),
        "data": data.name,
        "images": len(split.train),
        "people": None if faces.subjects is None else len(np.unique(faces.subjects[split.train])),
        "counts": _counts(faces.of(split.train)),
        "protocol": protocol,
        **measured,
        "device": model.facts["device"],
        "limits": list(limits.EXPRESSION_NETWORK),
    }
    model.facts |= {"data": data.name, **{key: card[key] for key in ("started_from",) if key in card}}
    names = ("training loss", f"{_ERROR[head]}, held back")
    figure = plots.learning({"expression network": curve}, names)
    return folders.write(model, out, card, curves={"expression": curve}, figure=figure)


def _tested(split: Split, faces: Faces) -> tuple[Array, str]:
    """(rows to test on, the protocol in words)."""
    unknown = "" if faces.subjects is not None else "; subjects are not known, and may also be in training"
    if len(split.test):
        return split.test, f"tested on {fold_names(faces, split.test)}, not used in training{unknown}; {split.how}"
    if not len(split.held):
        return split.held, "not tested: too few images to hold any back"
    protocol = "tested on the images by which the epoch was chosen, which is slightly optimistic"
    return split.held, f"{protocol}{unknown}; {split.how}"


def _further(model: ExpressionModel, faces: Faces, split: Split, rows: Array) -> Json:
    """Of emotions: accuracy with flipped images, and without images that are also in training; of a second set of
    labels, as `FER2013`'s own, accuracy with flipped images."""
    if model.recipe.head != "emotions":
        return {}
    found: Json = {}
    if faces.second is not None and model.network.config.second:
        known = rows[faces.second[rows] >= 0]
        best = model.second().predict(faces.images[known], flips=True).argmax(axis=1)
        found["second_accuracy_flips"] = float((best == faces.second[known]).mean())
    if faces.shares is not None:
        rows = rows[fer_plus.agreed(faces.shares[rows])]
    flipped = model.predict(faces.images[rows], flips=True).argmax(axis=1)
    copies = fer2013.duplicates(faces.images[split.train], faces.images[rows])
    found["accuracy_flips"] = float((flipped == faces.labels[rows]).mean())
    alone = np.delete(rows, np.unique(copies[:, 1]))
    if len(copies) and len(alone):
        right = model.predict(faces.images[alone]).argmax(axis=1) == faces.labels[alone]
        found |= {"also_learnt": len(rows) - len(alone), "accuracy_without": float(right.mean())}
    return found


def _cross_validated(trainer: _Trainer, faces: Faces, folds: int, work: Path) -> tuple[Array, list[Array]]:
    """(predictions for all faces by networks trained without their subjects, the rows of each fold)."""
    predicted, tests = np.full((len(faces), len(faces.classes)), np.nan), []
    for i, (train, test) in enumerate(splits.by_person(faces.subjects, folds, trainer.recipe.seed)):
        train, held = held_back(faces, train, trainer.recipe.seed)
        model, _ = trainer.fit(faces, train, held, work / f"fold-{i + 1}", f"fold {i + 1} of {folds}")
        predicted[test] = model.predict(faces.images[test])
        tests.append(test)
    return predicted, tests


def _of_fold(head: str, predicted: Array, faces: Faces) -> Json:
    """The main scores of one fold, as papers average them over folds."""
    names = ("accuracy", "uf1", "mean_f1", "mean_accuracy", "mean_icc", "mean_mse")
    found = scores(head, predicted, replace(faces, subjects=None))
    return {"images": len(faces), **{name: found[name] for name in names if name in found}}
