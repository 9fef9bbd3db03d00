"""Train a descriptor model from a manifest of clips, or from a table of descriptors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import io, samples
from duchenne.datasets import manifest as manifests
from duchenne.errors import DuchenneError, InputError, UsageError
from duchenne.evaluate import metrics
from duchenne.features.descriptors import FAMILIES
from duchenne.learn import checkpoint
from duchenne.learn.classifiers import DescriptorModel
from duchenne.learn.methods import smile_expert
from duchenne.learn.tabular import Recipe
from duchenne.types import Array

Log = Callable[[str], None]
_ON_THE_CARD = (
    *("accuracy", "accuracy_interval", "auc", "auc_interval", "ece"),
    *("forced_pairs", "per_emotion", "risk_coverage"),
)


def train(
    manifest: str | Path,
    out: str | Path,
    *,
    family: str = "dynamics",
    seed: int = 0,
    smile_share: float = 0.0,
    log: Log = print,
) -> dict[str, Any]:
    """Train on the clips of a manifest CSV (path, subject, emotion, label) and write a model folder.

    `smile_share` (0 to 1) is the weight that the shipped smile expert gets in the log-odds of a smile.
    A path may be a video, or `tracks.npz#3` / `tracks.npz#name` for one track of a packed file. Returns the
    card. Clips that cannot be read are named and left out; InputError when too little is left to train on.
    """
    if family not in FAMILIES:
        raise UsageError(f"There is no descriptor family '{family}'; choose one of: {', '.join(FAMILIES)}.")
    clips = [clip for clip in manifests.read(manifest) if clip.label]
    model = DescriptorModel.of_family(family, recipe=Recipe(seed=seed))
    rows, used = [], []
    for i, clip in enumerate(clips):
        try:
            rows.append(model.table([samples.read(clip)])[0])
            used.append(clip)
        except DuchenneError as error:
            log(f"left out: {error}")
        if (i + 1) % 100 == 0 or i + 1 == len(clips):
            log(f"{i + 1} of {len(clips)} clips read")
    if not used:
        raise InputError(f"{manifest} has no clip with a label that could be read; nothing to train on.")
    labels = np.array([clip.label == "genuine" for clip in used], int)
    people = np.array([clip.subject for clip in used])
    emotions = np.array([clip.emotion or "" for clip in used])
    model.fit_table(np.array(rows), labels, people, emotions if any(emotions) else None)
    model.facts["smile_share"] = smile_share
    return _finish(model, Path(out), people, labels, emotions, np.array(rows))


def train_table(table: str | Path, out: str | Path, *, seed: int = 0, log: Log = print) -> dict[str, Any]:
    """Train on a CSV of smile descriptors: columns as in the public UvA-NEMO lip table, with `genuine` and
    `group` (or `subject`), which no two folds share. Returns the card."""
    import pandas as pd

    try:
        data = pd.read_csv(table)
    except (OSError, ValueError) as error:
        raise InputError(f"{table} cannot be read as a CSV table ({error}); expected smile descriptors.") from error
    who = next((name for name in ("subject", "group") if name in data), None)
    if who is None or "genuine" not in data:
        raise InputError(f"{table} needs a column genuine (1 or 0) and a column subject or group; add them.")
    if not data["genuine"].isin([0, 1]).all():
        raise InputError(f"{table} has something else than 1 or 0 in the column genuine; mend it.")
    model = smile_expert(seed)
    x = model.from_columns({name: data[name] for name in data.columns}, str(table))
    labels, people = data["genuine"].to_numpy(int), data[who].astype(str).to_numpy()
    log(f"{len(x)} rows of {len(np.unique(people))} {who}s")
    model.fit_table(x, labels, people)
    return _finish(model, Path(out), people, labels, np.full(len(x), "happiness"), x)


def _finish(
    model: DescriptorModel, out: Path, people: Array, labels: Array, emotions: Array, x: Array
) -> dict[str, Any]:
    """Save the model and a card with its scores on people left out of the inner folds."""
    usable = np.isfinite(x).any(axis=1)
    p = model.fitted.out_of_fold
    assert p is not None
    scores = metrics.score(p, labels[usable], people[usable], emotions[usable], n=500)
    card = {
        **model.facts,
        "protocol": f"person-disjoint {model.recipe.folds}-fold; member choice and calibration saw these folds",
        **{key: scores[key] for key in _ON_THE_CARD},
        "abstain_band": [round(0.5 - model.margin, 3), round(0.5 + model.margin, 3)],
    }
    with io.staged(out) as part:
        io.write_json(part / "card.json", card)
        checkpoint.save(model, part, name=out.name)
    return card
