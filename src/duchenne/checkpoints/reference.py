"""Where the training people lie: `reference.json` beside a model, which a report sets a clip beside.

Two things, by label and by emotion: what the model said of people it had not seen, and how they moved
(`features.measures`). Quantiles only, of ten clips and four people or more: no row, no name, no clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import checkpoints, io
from duchenne.checkpoints import audit
from duchenne.errors import ModelError
from duchenne.features import measures
from duchenne.features.descriptors import prepare
from duchenne.types import LABELS, Array, Clip, FaceTrack, Sample

FILE = "reference.json"
#: Everybody, whatever they showed; no emotion has this name.
ALL = "all"
FPS = 50.0  # of the curves that are measured, as the report's
_CLIPS, _PEOPLE = 10, 4  # fewer would tell of persons
_SHARES = (np.arange(50) + 0.5) / 50
_QUARTILES = (0.25, 0.5, 0.75)

#: Per kind of expression the measures of one clip, as `measures.of_clip` gives them.
Moved = Mapping[str, Mapping[str, float]]


def noted(clip: Clip, sample: Sample, into: dict[Clip, Moved]) -> Sample:
    """`sample` as it came, with how its face moved noted under `clip`; of a row of a table there is nothing to note."""
    into[clip] = measures.of_clip(prepare(sample, FPS)[1]) if isinstance(sample, FaceTrack) else {}
    return sample


def answers(p: Array, labels: Array, people: Array, emotions: Array) -> dict[str, Any]:
    """emotion or "all" → label → {clips, people, quantiles (50,) of P(genuine)}; p (N,) of clips without their person,
    NaN where there was none; labels (N,) 1 = genuine; people and emotions (N,)."""
    return _by_emotion(np.asarray(p, float), labels, people, emotions, _SHARES)


def movements(rows: Sequence[Moved], labels: Array, people: Array, emotions: Array) -> dict[str, Any]:
    """kind of expression → measure → emotion or "all" → label → {clips, people, quantiles: quartiles and median}."""
    found: dict[str, Any] = {}
    for kind in measures.KINDS:
        for name in measures.MEASURES:
            values = np.array([row.get(kind, {}).get(name, np.nan) for row in rows], float)
            if summary := _by_emotion(values, labels, people, emotions, _QUARTILES):
                found.setdefault(kind, {})[name] = summary
    return found


def _by_emotion(
    values: Array, labels: Array, people: Array, emotions: Array, shares: Array | Sequence[float]
) -> dict[str, Any]:
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


def keep(folder: Path, said: Mapping[str, Any], moved: Mapping[str, Any] | None = None) -> None:
    """Write what `answers` and `movements` gave beside a model's files."""
    io.write_json(folder / FILE, {"answers": said, "movements": moved or {}})


def read(model: str | Path) -> dict[str, Any]:
    """What was kept beside a model, by its id or folder; empty when nothing was. ModelError where it is damaged."""
    path = checkpoints.locate(model) / FILE
    if not path.is_file():
        return {}
    try:
        found = io.read_json(audit.file(path.parent, path.name))
        said, moved = found["answers"], found["movements"]
        for summary in (said, *(each for kind in moved.values() for each in kind.values())):
            _check(summary, len(_SHARES) if summary is said else len(_QUARTILES))
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} cannot be read or is no such table; get or train the model again.") from error
    return {"answers": said, "movements": moved}


def _check(summary: dict[str, Any], shares: int) -> None:
    """ValueError or the like where this is not what `_by_emotion` gives."""
    for both in summary.values():
        for label in LABELS:
            row, cut = both[label], np.array(both[label]["quantiles"], float)
            if (
                cut.shape != (shares,)
                or not np.isfinite(cut).all()
                or {type(row["clips"]), type(row["people"])} != {int}
            ):
                raise ValueError("no quantiles")
