"""The effect on verdicts of reading the emotion from the expression network instead of estimating it from movement.

    DUCHENNE_DATA=<folder with data/pedfe and data/fer2013> python experiments/given_emotion.py

PEDFE's faces are not public, only their landmarks: the network cannot read these clips. Instead each clip is given the
network's prediction, errors included, for a photograph of its emotion from FER2013's public test. Writes
experiments/given_emotion.json: descriptors on PEDFE, person-disjoint in ten folds, with each source of the emotion.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from cuts import columns, load

from duchenne import io, metrics
from duchenne.datasets import splits
from duchenne.datasets.fer2013 import CLASSES
from duchenne.expression import reading
from duchenne.learn.boosting import Recipe
from duchenne.tabular.model import DescriptorModel
from duchenne.types import EMOTIONS


def photographs(root: Path, emotions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float64 (N, 7): the network's prediction for a photograph of each clip's emotion."""
    with np.load(root / "data" / "fer2013" / "public_test.npz") as stored:
        images, labels = stored["images"], np.array(CLASSES)[stored["labels"]]
    rows = [rng.choice(np.flatnonzero(labels == emotion)) for emotion in emotions]
    return reading.predict_crops(reading.load()[0], images[rows])


def main() -> None:
    root, rng = Path(os.environ["DUCHENNE_DATA"]), np.random.default_rng(0)
    d = load(root)
    y, subject, emotion = d["genuine"].astype(int), d["subject"], d["emotion"]
    seen = photographs(root, emotion, rng)
    wrong = [rng.choice([name for name in EMOTIONS if name != own]) for own in emotion]
    given = {
        "guessed from the movement": [None] * len(y),
        "seen by the network": [dict(zip(CLASSES, row, strict=True)) for row in seen],
        "told rightly": [{name: 1.0} for name in emotion],
        "told wrongly": [{name: 1.0} for name in wrong],
    }
    p = {name: np.full(len(y), np.nan) for name in given}
    cols = columns("dynamics")
    for train, test in splits.by_person(subject, 10, 0):
        model = DescriptorModel.of_family("dynamics", recipe=Recipe(seed=0))
        model.fit_table(d["x:whole"][train][:, cols], y[train], subject[train], emotion[train])
        for name, emotions in given.items():
            rows = [model.inputs(d["x:whole"][i, cols][None], emotions[i]) for i in test]
            p[name][test] = model.fitted.predict_proba(np.vstack(rows))[:, 1]
    base = p["guessed from the movement"]
    found = {
        name: {
            **metrics.score(each, y, subject, emotion, n=1000),
            "verdicts_turned": float(((each >= 0.5) != (base >= 0.5)).mean()),
            "mean_change": float(np.abs(each - base).mean()),
        }
        for name, each in p.items()
    }
    names = np.array(CLASSES)[seen.argmax(axis=1)]
    about = {"network": reading.load()[1]["sha256"], "network_right": float((names == emotion).mean())}
    io.write_json(Path(__file__).with_suffix(".json"), {"protocol": "person-disjoint 10-fold", **about, "told": found})


if __name__ == "__main__":
    main()
