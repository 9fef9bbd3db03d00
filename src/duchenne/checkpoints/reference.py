"""Distributions over the training people: `reference.json` beside a model, for comparison in a report.

By label and emotion: out-of-fold predictions, and how people moved (`features.measures`). Quantiles only, of ten clips
and four people or more: no row, no name, no clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duchenne import checkpoints, io
from duchenne.checkpoints import audit, facts
from duchenne.errors import ModelError
from duchenne.features import measures
from duchenne.features.descriptors import prepare
from duchenne.types import LABELS, Array, FaceTrack, Json, JsonMap, Reader, Sample

FILE = "reference.json"
#: All emotions together; no emotion has this name.
ALL = "all"
_CLIPS, _PEOPLE = 10, 4  # fewer would identify persons
_SHARES = (np.arange(50) + 0.5) / 50
_COLUMNS = [(kind, name) for kind in measures.KINDS for name in measures.MEASURES]
_QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Movements(Reader):
    """Reads how a face moves: `features.measures` of the largest expression of each kind."""

    fps: float = 50.0  # of the curves that are measured, as the report's

    def table(self, samples: Sequence[Sample]) -> Array:
        """float64 (N, kinds · measures), NaN where nothing can be measured, as for rows of tables."""
        return np.array([self._row(sample) for sample in samples]).reshape(len(samples), -1)

    def _row(self, sample: Sample) -> Array:
        found = measures.of_clip(prepare(sample, self.fps)[1]) if isinstance(sample, FaceTrack) else {}
        return np.array([found.get(kind, {}).get(name, np.nan) for kind, name in _COLUMNS])


def answers(p: Array, labels: Array, people: Array, emotions: Array) -> Json:
    """emotion or "all" → label → {clips, people, quantiles (50,) of P(genuine)}; p (N,) out-of-fold,
    NaN where missing; labels (N,) 1 = genuine; people and emotions (N,)."""
    return _by_emotion(np.asarray(p, float), labels, people, emotions, _SHARES)


def movements(rows: Array, labels: Array, people: Array, emotions: Array) -> Json:
    """kind of expression → measure → emotion or "all" → label → {clips, people, quantiles: quartiles and median}, of
    a table of `Movements`."""
    found: Json = {}
    for (kind, name), values in zip(_COLUMNS, rows.T, strict=True):
        if summary := _by_emotion(values, labels, people, emotions, _QUARTILES):
            found.setdefault(kind, {})[name] = summary
    return found


def _by_emotion(values: Array, labels: Array, people: Array, emotions: Array, shares: Array | Sequence[float]) -> Json:
    """Emotions of which both labels have enough clips and people."""
    found = {}
    for emotion in (ALL, *sorted({str(e) for e in emotions} - {"", "None", ALL})):
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


def save(folder: Path, predictions: JsonMap, moved: JsonMap | None = None) -> None:
    """Write the results of `answers` and `movements` beside a model's files."""
    io.write_json(folder / FILE, {"answers": predictions, "movements": moved or {}})


def read(model: str | Path) -> Json:
    """The reference of a model by id or folder; empty where there is none. ModelError where it is damaged."""
    path = checkpoints.locate(model) / FILE
    if not path.is_file():
        return {}
    try:
        found = io.read_json(audit.file(path.parent, path.name))
        facts.check_bounds(found)
        said, moved = found["answers"], found["movements"]
        for summary in (said, *(each for kind in moved.values() for each in kind.values())):
            _check(summary, len(_SHARES) if summary is said else len(_QUARTILES))
        if not all(0 <= value <= 1 for both in said.values() for label in LABELS for value in both[label]["quantiles"]):
            raise ValueError("it holds probabilities that are not from 0 to 1")
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is damaged; get or train the model again.") from error
    return {"answers": said, "movements": moved}


def _check(summary: Json, shares: int) -> None:
    """ValueError or the like where this is not what `_by_emotion` gives."""
    if summary and ALL not in summary:
        raise ValueError("no row of all emotions")
    for both in summary.values():
        for label in LABELS:
            row, cut = both[label], both[label]["quantiles"]
            if len(cut) != shares or not all(type(value) in (int, float) for value in cut) or sorted(cut) != cut:
                raise ValueError("no quantiles")
            if not all(type(row[name]) is int and row[name] > 0 for name in ("clips", "people")):
                raise ValueError("no numbers of clips and people")
