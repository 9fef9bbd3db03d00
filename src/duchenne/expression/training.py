"""Train an expression network, or carry one over to other emotions or to action units, and write its model folder.

What is learnt is kept after every epoch in `.NAME.work` beside the folder: killed at any moment, the same call goes on
and, on a CPU, ends with the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from duchenne import checkpoints, limits, metrics, plots
from duchenne.clips.cache import Cache
from duchenne.datasets import fer2013, splits
from duchenne.errors import InputError, UsageError
from duchenne.expression import data as expression_data
from duchenne.expression.data import Faces, Reader
from duchenne.learn import loop
from duchenne.metrics import classes as by_class
from duchenne.metrics import units as by_unit
from duchenne.progress import Log
from duchenne.training import folder as folders
from duchenne.training.work import work_folder
from duchenne.types import Array

if TYPE_CHECKING:
    from duchenne.expression.model import ExpressionModel
    from duchenne.expression.recipe import ExpressionRecipe

#: Recipe of a transfer by what is learnt.
TRANSFER = {"emotions": "transfer", "units": "units", "intensity": "intensity"}
#: Rate at which a new output alone is learnt: it starts from nothing, and cannot harm what is known.
FROZEN_RATE = 1e-2
_SHARE = 0.1  # of what is learnt from is held back to choose the epoch by
_TRIES = 50  # ways to hold people back, until one leaves every class and unit to be learnt from
_WRONG = {"emotions": "share wrong", "units": "1 - F1", "intensity": "squared error"}


@dataclass(frozen=True, eq=False)
class _Parts:
    """Rows to learn from, to choose the epoch by, and to judge on (none: those held back); and why, in a sentence."""

    learn: Array
    held: Array
    judge: Array
    told: str


@dataclass(frozen=True)
class _Course:
    """How one network is learnt, whatever it is learnt from."""

    recipe: ExpressionRecipe
    start: ExpressionModel | None
    device: str
    log: Log

    def run(
        self, faces: Faces, learn: Array, held: Array, work: Path, name: str = ""
    ) -> tuple[ExpressionModel, list[dict[str, Any]]]:
        """(model, learning curve) of these rows, kept in `work`."""
        from duchenne.expression import learner

        pair = (faces.images[held], faces.labels[held]) if len(held) else None
        on_epoch = loop.log_epochs(self.recipe.epochs, self.log, f"{_WRONG[self.recipe.head]} of those held back", name)
        return learner.train(
            *(self.recipe, faces.images[learn], faces.labels[learn], faces.classes, pair),
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
    device: str = "auto",
    resume: bool = True,
    log: Log = print,
) -> dict[str, Any]:
    """Train a network for FER2013's emotions from nothing and write a model folder; returns its card.

    data        as `expression.data.emotions` takes it
    recipe      one, or its name, or a TOML (`expression.recipe`)
    validation  name of the fold, or folder of class folders, by which the best epoch is chosen; else the data's own
                (FER2013's public test), else a tenth that is held back
    resume      False throws away the beginning of an earlier training

    InputError and UsageError before anything is learnt; `learn.loop.Diverged` where a loss is no number.
    """
    chosen = _recipe(recipe)
    if chosen.head != "emotions":
        raise UsageError(f"`train expression` learns emotions; for {chosen.head} fine-tune a model that knows these.")
    reader = replace(reader or Reader(), cache=Cache())
    with work_folder(out, log, resume=resume) as work:
        faces = _read(expression_data.emotions(data, reader), log)
        if validation is not None:
            faces = _validated(faces, data, validation, reader, log)
        parts = _parts(faces, chosen.seed)
        return _finish(
            _Course(chosen, None, device, log), faces, parts, out, work, Path(data), {"title": "Emotions of a face"}
        )


def finetune(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    head: str = "emotions",
    recipe: ExpressionRecipe | str | Path | None = None,
    reader: Reader | None = None,
    only: list[str] | None = None,
    folds: int = 5,
    device: str = "auto",
    resume: bool = True,
    log: Log = print,
) -> dict[str, Any]:
    """Let a network that knows one task learn another, and write a model folder; returns its card.

    model   id of a shipped expression network, or a folder
    data    as `expression.data.emotions` (any names of classes) or `expression.data.units` take it
    head    emotions, units (there or not) or intensity (0 to 5); `only` names the units that are wanted
    recipe  one, or its name, or a TOML; by default `transfer`, `units` or `intensity`
    folds   where the people are known and the data have no fold to judge on: so many person-disjoint folds give the
            scores of the card; 0 leaves them out

    The saved network has learnt from all people but those held back to choose the epoch by. Errors as `train`.
    """
    chosen = _recipe(recipe or TRANSFER.get(head, head))
    if chosen.head != head:
        raise UsageError(f"The recipe is for the head {chosen.head}, asked for is {head}; choose another recipe.")
    from duchenne.expression.model import ExpressionModel

    start, about = checkpoints.load_as(model, ExpressionModel)
    chosen = chosen.on_backbone(start.recipe)
    reader = replace(reader or Reader(), cache=Cache())
    with work_folder(out, log, resume=resume) as work:
        if head == "emotions":
            faces = _ordered(expression_data.emotions(data, reader, classes=None), start.classes)
        else:
            faces = expression_data.units(data, reader, levels=head == "intensity", only=only)
        parts = _parts(_read(faces, log), chosen.seed)
        told = {
            "title": f"{head.capitalize()} of a face",
            "started_from": {key: about[key] for key in ("id", "sha256")},
        }
        crossed = faces.subjects is not None and folds > 0 and not len(parts.judge)
        if crossed:
            _enough(faces, folds, data)
        course = _Course(chosen, start, device, log)
        return _finish(course, faces, parts, out, work, Path(data), told, folds if crossed else 0)


def scores(head: str, said: Array, faces: Faces) -> dict[str, Any]:
    """Scores of what was said (N, K) of faces; rows that are NaN were not answered."""
    if head == "emotions":
        answered = np.isfinite(said).all(axis=1)
        names = np.array(faces.classes, object)
        called = [
            names[k] if there else None for k, there in zip(said.argmax(axis=1), np.asarray(answered), strict=True)
        ]
        found = by_class.score_classes(called, names[faces.labels], faces.subjects, classes=faces.classes)
        right = (said.argmax(axis=1) == faces.labels)[answered]
        return found | {"ece": metrics.ece(said[answered].max(axis=1, initial=0.0), right)}
    score = by_unit.score_units if head == "units" else by_unit.score_intensities
    return score(said, faces.labels, faces.classes, faces.subjects)


def _recipe(recipe: ExpressionRecipe | str | Path) -> ExpressionRecipe:
    from duchenne.expression.recipe import ExpressionRecipe

    return recipe if isinstance(recipe, ExpressionRecipe) else ExpressionRecipe.read(recipe)


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
    """`faces` with the fold, or the faces of the folder, that are to choose the epoch in the role of validation."""
    named = faces.folds == validation.lower()
    if named.any():
        others = np.where(faces.roles == "validation", "train", faces.folds)
        return replace(faces, folds=np.where(named, "validation", others))
    if not Path(validation).exists():
        known = ", ".join(sorted({*faces.folds.tolist()} - {""})) or "no folds"
        raise InputError(f"There is no folder {validation}, and {data} has {known}; name one of these, or a folder.")
    held = _read(expression_data.emotions(validation, reader), log)
    if strange := sorted({*held.classes} - {*faces.classes}):
        raise InputError(f"{validation} has the class {strange[0]}, which {data} has not; it could not be learnt.")
    held = _ordered(held, faces.classes, whole=True)
    others = np.where(faces.roles == "validation", "train", faces.folds)
    who = None
    if faces.subjects is not None and held.subjects is not None:
        who = np.concatenate([faces.subjects, held.subjects])
    return Faces(
        np.concatenate([faces.images, held.images]),
        np.concatenate([faces.labels, held.labels]),
        faces.classes,
        (*faces.files, *held.files),
        who,
        np.concatenate([others, np.full(len(held), "validation")]),
        (*faces.notes, *held.notes),
    )


def _ordered(faces: Faces, classes: tuple[str, ...], *, whole: bool = False) -> Faces:
    """Labels in the order of `classes`, where these are the same, so that their weights can be used (or `whole`)."""
    if not whole and {*faces.classes} != {*classes}:
        return faces
    places = np.array([classes.index(name) for name in faces.classes])
    return replace(faces, labels=places[faces.labels], classes=classes)


def _parts(faces: Faces, seed: int) -> _Parts:
    """Who is learnt from, by whom the epoch is chosen, and who is judged; InputError where persons cross folds."""
    roles, who = faces.roles, faces.subjects
    learn, held, judge = (np.flatnonzero(roles == role) for role in ("train", "validation", "test"))
    for one, other in ((learn, held), (learn, judge), (held, judge)):
        both = [] if who is None else sorted({*who[one].tolist()} & {*who[other].tolist()})
        if both:
            raise InputError(f"Person '{both[0]}' is in two of the folds; keep each person in one.")
    if len(held):
        told = f"the epoch chosen by {len(held)} images of {_fold(faces, held)}"
    else:
        learn, held = held_back(faces, learn, seed)
        how = "by image, as nobody says who is seen" if who is None else "by person"
        told = f"the epoch chosen by {len(held)} images held back {how}" if len(held) else "the last epochs kept"
    return _Parts(learn, held, judge, told)


def _fold(faces: Faces, rows: Array) -> str:
    return " and ".join(dict.fromkeys(faces.folds[rows].tolist()))


def held_back(faces: Faces, rows: Array, seed: int, share: float = _SHARE) -> tuple[Array, Array]:
    """`rows` in two: those to learn from, and about `share` of them, whole persons where these are known.

    Of emotions each class loses its share. Whoever is held back, every class and unit is left to be learnt from; where
    that cannot be, nobody is held back.
    """
    rng, labels = np.random.default_rng([seed, 2]), faces.labels
    for attempt in range(_TRIES):
        if faces.subjects is not None:
            names, person = np.unique(faces.subjects[rows], return_inverse=True)
            order = rng.permutation(len(names))
            size = np.cumsum(np.bincount(person)[order])
            most = 1 + int((size < share * len(rows)).sum()) + attempt // 10
            out = np.isin(person, order[:most])
        elif labels.ndim == 1:
            rank = np.empty(len(rows))
            for k in np.unique(labels[rows]):
                of_class = np.flatnonzero(labels[rows] == k)
                n = len(of_class)
                rank[of_class] = rng.permutation(n) - max(round(share * n), int(n > 2))
            out = rank < 0
        else:
            out = np.isin(np.arange(len(rows)), rng.permutation(len(rows))[: max(1, round(share * len(rows)))])
        left, held = rows[~out], rows[out]
        told = labels.ndim == 1 or max(_kinds(labels[held])) > 1  # of a unit that is alike in all no F1 can tell
        if len(left) and told and _kinds(labels[left]) == _kinds(labels[rows]):
            return left, held
    return rows, rows[:0]


def _kinds(labels: Array) -> list[int]:
    """How many kinds of each label there are: emotions; or there and not there, of each unit."""
    columns = labels[:, None] if labels.ndim == 1 else np.where(np.isnan(labels), np.nan, labels > 0)
    return [len(np.unique(column[~np.isnan(column)])) for column in columns.T]


def _enough(faces: Faces, folds: int, data: str | Path) -> None:
    people = len(np.unique(faces.subjects)) if faces.subjects is not None else 0
    if folds == 1 or people < folds:
        need = "at least 2 are needed" if folds == 1 else f"{folds} folds need as many"
        raise InputError(f"{data} shows {people} people, {need}; choose --folds, 0 for no scores by person.")


def _finish(
    course: _Course,
    faces: Faces,
    parts: _Parts,
    out: str | Path,
    work: Path,
    data: Path,
    told: dict[str, Any],
    folds: int = 0,
) -> dict[str, Any]:
    """Learn, judge, and write the folder."""
    from duchenne.learn.optim import device_of

    head = course.recipe.head
    course.log(f"{len(parts.learn)} faces to learn from, {parts.told}; on {device_of(course.device)}")
    model, curve = course.run(faces, parts.learn, parts.held, work / "network")
    if folds:
        said, protocol = _crossed(course, faces, folds, work)
        measured = scores(head, said, faces)
    else:
        rows, protocol = _judged(parts, faces)
        part = faces.of(rows)
        measured = scores(head, model.predict(part.images), part) if len(rows) else {}
        measured |= _further(model, faces, parts, rows)
    card = {
        **told,
        "head": head,
        "classes": list(faces.classes),
        "data": data.name,
        "images": len(parts.learn),
        "people": None if faces.subjects is None else len(np.unique(faces.subjects[parts.learn])),
        "counts": _counts(faces.of(parts.learn)),
        "protocol": protocol,
        **measured,
        "device": model.facts["device"],
        "limits": list(limits.EXPRESSION_NETWORK),
    }
    model.facts |= {"data": data.name, **{key: told[key] for key in ("started_from",) if key in told}}
    names = ("loss, learnt from", f"{_WRONG[head]}, held back")
    figure = plots.learning({"expression network": curve}, names)
    return folders.write(model, out, card, curves={"expression": curve}, figure=figure)


def _judged(parts: _Parts, faces: Faces) -> tuple[Array, str]:
    """(rows to judge on, in which way that was honest)."""
    unknown = "" if faces.subjects is not None else "; who is seen is not known, and may also have been learnt from"
    if len(parts.judge):
        return parts.judge, f"judged on {_fold(faces, parts.judge)}, unseen in learning{unknown}; {parts.told}"
    if not len(parts.held):
        return parts.held, "not judged: too few to hold any back"
    how = "judged on the images by which the epoch was chosen, which flatters a little"
    return parts.held, f"{how}{unknown}; {parts.told}"


def _further(model: ExpressionModel, faces: Faces, parts: _Parts, rows: Array) -> dict[str, Any]:
    """Of emotions: what mirrored answers add, and what is left without pictures that were also learnt from."""
    if model.recipe.head != "emotions" or not len(rows):
        return {}
    flipped = model.predict(faces.images[rows], flips=True).argmax(axis=1)
    copies = fer2013.duplicates(faces.images[parts.learn], faces.images[rows])
    found: dict[str, Any] = {"accuracy_flips": float((flipped == faces.labels[rows]).mean())}
    alone = np.delete(rows, np.unique(copies[:, 1]))
    if len(copies) and len(alone):
        right = model.predict(faces.images[alone]).argmax(axis=1) == faces.labels[alone]
        found |= {"also_learnt": len(rows) - len(alone), "accuracy_without": float(right.mean())}
    return found


def _crossed(course: _Course, faces: Faces, folds: int, work: Path) -> tuple[Array, str]:
    """(what networks that had not seen them say of all faces, how)."""
    said = np.full((len(faces), len(faces.classes)), np.nan)
    for i, (learn, judge) in enumerate(splits.by_person(faces.subjects, folds, course.recipe.seed)):
        learn, held = held_back(faces, learn, course.recipe.seed)
        model, _ = course.run(faces, learn, held, work / f"fold-{i + 1}", f"fold {i + 1} of {folds}")
        said[judge] = model.predict(faces.images[judge])
    how = "each person judged by a network that neither learnt from them nor chose its epoch by them"
    return said, f"person-disjoint {folds}-fold: {how}"
