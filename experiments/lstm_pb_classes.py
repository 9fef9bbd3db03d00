"""Two PB vectors: the class whose vector is nearer, beside boosting and logistic regression on PB, for every reading.

    DUCHENNE_DATA=<folder with data/pedfe> python experiments/lstm_pb_classes.py

PEDFE's open part (landmarks), the first of five person-disjoint folds, as a network takes minutes: small recipes (two layers
of 64, PB 32), for reading paper and rnnpb once with a PB vector per training clip and once with one per class. One network
for all emotions; each classifier reads the same PB vectors. Writes lstm_pb_classes.json.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import io, metrics
from duchenne.datasets import splits
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.recipe import PBRecipe

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "published-code (a vector per class)": ("published-code", {}),
    "paper, a vector per clip": ("paper", {}),
    "paper, a vector per class": ("paper", {"pb_per_class": True}),
    "rnnpb, a vector per clip": ("rnnpb", {}),
    "rnnpb, a vector per class": ("rnnpb", {"pb_per_class": True}),
}
CLASSIFIERS: dict[str, dict[str, Any]] = {
    "nearest vector": {"classifier": "nearest"},
    "logistic regression": {"classifier": "logistic"},
    "boosting, 5000 trees, rate 0.01": {"classifier": "boosting", "n_estimators": 5000, "tree_learning_rate": 0.01},
}


def main() -> None:
    """Train each network once, and score each classifier of its PB vectors on people left out."""
    root = Path(os.environ["DUCHENNE_DATA"]) / "data" / "pedfe"
    with np.load(root / "points.npz") as stored:
        people, y = stored["subject"].astype(str), stored["genuine"].astype(int)
    tracks = list(io.load_tracks(root / "points.npz"))
    train, test = next(iter(splits.by_person(people, 5, 0)))
    found: dict[str, Any] = {
        "data": "PEDFE, open part",
        "protocol": "the first of five person-disjoint folds",
        "rows": {},
    }
    for name, (reading, changes) in NETWORKS.items():
        recipe = PBRecipe.of_reading(reading, epochs=8, **changes)
        model = PBModel(replace(recipe, classifier="nearest"))
        x = model.table(tracks)
        model.fit_table(x[train], y[train], people[train])
        usable = np.array([each is not None for each in x])
        vectors = np.full((len(x), recipe.pb_size), np.nan)
        vectors[usable] = model.vectors(x[usable])
        fitted, asked = (np.intersect1d(part, np.flatnonzero(usable)) for part in (train, test))
        for words, how in CLASSIFIERS.items():
            model.recipe = replace(recipe, **how)
            scorer = model.fit_scorer("", vectors[fitted], y[fitted])
            scores = metrics.score(
                1 / (1 + np.exp(-scorer(vectors[asked]))), y[asked], people[asked], n=500
            )  # not calibrated: the order is what counts
            found["rows"][f"{name}: {words}"] = {
                key: scores[key] for key in ("accuracy", "auc", "auc_interval", "rows")
            }
            print(name, words, scores["auc"], flush=True)
            io.write_json(Path(__file__).with_suffix(".json"), found)


if __name__ == "__main__":
    main()
