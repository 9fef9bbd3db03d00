"""Expression networks on other data sets than their own, as table 3 of Breuer & Kimmel (2017, arXiv:1705.01842)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from duchenne import checkpoints, io
from duchenne.clips.cache import Cache
from duchenne.datasets import fer_plus
from duchenne.errors import InputError, ModelError, UsageError
from duchenne.expression import data as expression_data
from duchenne.expression import training
from duchenne.expression.faces import Faces, Reader
from duchenne.progress import Log
from duchenne.types import Json


def networks(
    models: Sequence[str | Path],
    data: Sequence[str | Path],
    *,
    reader: Reader | None = None,
    fold: str | None = None,
    flips: bool = True,
    device: str = "auto",
    log: Log = print,
) -> list[Json]:
    """The scores of each network on each data set (see `expression.data.emotions`), data set by data set.

    Labels are those of the network by name. Images of a class that the network does not have are left out; a class of
    the network that the data do not have counts as wrong where it is predicted, and `accuracy_shared` is that of the
    likeliest of the shared classes. `notes` report both.

    fold   the fold that is tested; by default the test fold, and all images of data without one
    flips  the mean with the prediction for the mirrored face

    Each result has model, sha256, data, fold, images, shared, notes and the scores of `expression.training.scores`.
    InputError for fewer than two shared classes, UsageError for an unknown fold, ModelError for a network of action
    units.
    """
    from duchenne.expression.model import ExpressionModel

    loaded = [(str(model), *checkpoints.load_as(model, ExpressionModel)) for model in models]
    for name, model, _ in loaded:
        if model.recipe.head != "emotions":
            raise ModelError(f"{name} is a network for {model.recipe.head}, expected emotions; choose another.")
    channels = max((model.recipe.channels for _, model, _ in loaded), default=1)
    reader = replace(reader or Reader(), channels=channels, cache=Cache())
    found = []
    for place in data:
        faces, tested = _tested(expression_data.emotions(place, reader, classes=None), fold, place)
        for name, model, about in loaded:
            mapped, notes = _mapped(faces, model.classes, place, name)
            predicted = model.on(device).predict(mapped.images, flips=flips)
            known = [k for k, each in enumerate(model.classes) if each in faces.classes]
            right = np.array(known)[predicted[:, known].argmax(axis=1)] == mapped.labels
            result = {"model": name, "sha256": about["sha256"], "data": str(place), "fold": tested}
            result |= {"images": len(mapped), "shared": [model.classes[k] for k in known], "notes": [*notes]}
            result |= training.scores("emotions", predicted, mapped) | {"accuracy_shared": float(right.mean())}
            found.append(result)
            for note in notes:
                log(f"note: {note}")
    return found


def save(found: Sequence[Json], path: str | Path) -> Path:
    """Write results as .json, or as .csv: a row per model, data set and class, with its row of the confusion matrix."""
    path = check_output(path)
    if path.suffix.lower() == ".json":
        return io.write_json(path, list(found))
    names = list(dict.fromkeys(name for each in found for name in each["classes"]))
    scores = ("accuracy", "accuracy_shared", "uf1", "uar", "ece")
    head = ["model", "data", *scores, "class", "images", "recall", "precision", "f1", *(f"as {name}" for name in names)]
    rows: list[list[object]] = [list(head)]
    for each in found:
        for name, counts in zip(each["classes"], each["confusion"], strict=True):
            one, answers = each["per_class"][name], dict(zip(each["classes"], counts, strict=True))
            numbers = [*(each[key] for key in scores), one["recall"], one["precision"], one["f1"]]
            shown = ["" if value != value else round(value, 6) for value in numbers]
            start = [each["model"], each["data"], *shown[:-3], name, one["rows"], *shown[-3:]]
            rows.append([*start, *(answers.get(other, "") for other in names)])
    return io.write_text(path, io.rows_csv(rows))


def check_output(path: str | Path) -> Path:
    """The path; UsageError for another ending than .json and .csv, OutputError where it cannot be written."""
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".json"):
        raise UsageError(f"{path}: the table is written as CSV or JSON; use a name that ends in .csv or .json.")
    io.check_folder(path.parent)
    return path


def _tested(faces: Faces, fold: str | None, place: str | Path) -> tuple[Faces, str]:
    """(the faces to test on, the fold's name or "all"); of votes those on which raters agree."""
    if fold is not None:
        rows = np.flatnonzero(faces.folds == fold.lower())
        if not len(rows):
            known = ", ".join(sorted({*faces.folds.tolist()} - {""})) or "no folds"
            raise UsageError(f"{place} has {known}, expected the fold '{fold}'; choose another, or leave --fold out.")
    else:
        rows = np.flatnonzero(faces.roles == "test")
    name = " and ".join(dict.fromkeys(faces.folds[rows].tolist())) if len(rows) else "all"
    part = faces.of(rows) if len(rows) else faces
    if part.shares is not None:
        part = replace(part.of(np.flatnonzero(fer_plus.agreed(part.shares))), shares=None, second=None)
    return part, name


def _mapped(faces: Faces, classes: Sequence[str], place: str | Path, model: str) -> tuple[Faces, list[str]]:
    """(the faces whose class the network has, labelled by its classes; what was left out)."""
    names = np.array(faces.classes, object)[faces.labels]
    shared = [name for name in classes if name in {*names.tolist()}]
    if len(shared) < 2:
        both = f"the classes {', '.join(classes)} and {', '.join(faces.classes)}"
        raise InputError(f"{model} and {place} have {both}, which share {len(shared)}; name two or more alike.")
    left = [f"{(names == other).sum()} images of {other}" for other in sorted({*names.tolist()} - {*classes})]
    notes = [*faces.notes, *(f"{each} in {place} are left out: {model} has no such class." for each in left)]
    if lacking := [name for name in classes if name not in shared]:
        notes.append(f"{place} has no {', '.join(lacking)}: where {model} predicts it, that counts as wrong.")
    part = faces.of(np.flatnonzero(np.isin(names, shared)))
    places = np.array([classes.index(name) if name in shared else -1 for name in faces.classes])
    return replace(part, labels=places[part.labels], classes=tuple(classes)), notes
