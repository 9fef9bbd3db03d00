"""Distributions over the training people: `reference.json` beside a model, for comparison in a report.

By label and emotion: out-of-fold predictions. Quantiles only, of ten clips and four people or more: no row, no name, no
clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from duchenne import checkpoints, io
from duchenne.checkpoints import audit, facts
from duchenne.errors import ModelError
from duchenne.types import LABELS, NO_EMOTION, Array, Json, JsonMap

FILE = "reference.json"
#: All emotions together; no emotion has this name.
ALL = "all"
_CLIPS, _PEOPLE = 10, 4  # fewer would identify persons
_SHARES = (np.arange(50) + 0.5) / 50


def answers(p: Array, labels: Array, people: Array, emotions: Array) -> Json:
    """emotion or "all" → label → {clips, people, quantiles (50,) of P(genuine)}; p (N,) out-of-fold,
    NaN where missing; labels (N,) 1 = genuine; people and emotions (N,)."""
    return by_emotion(np.asarray(p, float), labels, people, emotions, _SHARES)


def by_emotion(values: Array, labels: Array, people: Array, emotions: Array, shares: Array | Sequence[float]) -> Json:
    """As `answers`, of any values, at these quantiles; emotions of which both labels have enough clips and people."""
    found = {}
    for emotion in (ALL, *sorted({str(e) for e in emotions} - {*NO_EMOTION, ALL})):
        named = np.ones(len(values), bool) if emotion == ALL else np.asarray(emotions) == emotion
        both = {}
        for number, label in enumerate(LABELS):
            use = named & np.isfinite(values) & (np.asarray(labels) == number)
            who = len(np.unique(np.asarray(people)[use]))
            if use.sum() >= _CLIPS and who >= _PEOPLE:
                cut = [round(float(v), 4) for v in np.quantile(values[use], shares)]
                both[label] = {"clips": int(use.sum()), "people": who, "quantiles": cut}
        if len(both) == len(LABELS):
            found[emotion] = both
    return found


def save(folder: Path, predictions: JsonMap) -> None:
    """Write the result of `answers` beside a model's files."""
    io.write_json(folder / FILE, {"answers": predictions})


def read(model: str | Path) -> Json:
    """The reference of a model by id or folder; empty where there is none. ModelError where it is damaged."""
    path = checkpoints.locate(model) / FILE
    if not path.is_file():
        return {}
    try:
        found = io.read_json(audit.file(path.parent, path.name))
        facts.check_bounds(found)
        said = found["answers"]
        _check(said)
        if not all(0 <= value <= 1 for both in said.values() for label in LABELS for value in both[label]["quantiles"]):
            raise ValueError("it holds probabilities that are not from 0 to 1")
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is damaged; get or train the model again.") from error
    return {"answers": said}


def _check(summary: Json) -> None:
    """ValueError or the like where this is not what `by_emotion` gives."""
    if summary and ALL not in summary:
        raise ValueError("no row of all emotions")
    for both in summary.values():
        for label in LABELS:
            row, cut = both[label], both[label]["quantiles"]
            if len(cut) != len(_SHARES) or not all(type(value) in (int, float) for value in cut) or sorted(cut) != cut:
                raise ValueError("no quantiles")
            if not all(type(row[name]) is int and row[name] > 0 for name in ("clips", "people")):
                raise ValueError("no numbers of clips and people")
