"""Recognition by the nearer of the two PB vectors of training, genuine and fake, beside boosting with 5,000 trees.

    DUCHENNE_DATA=<folder with data/pedfe> python experiments/nearest_pb.py

Huynh & Kim (2017) train two PB vectors and expect those of unseen clips to converge to them (section 2.3), then boost
5,000 trees on PB vectors (2.4). Both here, of the same networks: readings `paper` and `rnnpb`, small (12 epochs, 8 steps
of recognition), on the angry clips of PEDFE's open people (landmarks), five person-disjoint folds. `apart` is the
distance of the two trained vectors as a multiple of the mean distance of an unseen clip's vector from the nearer one.
Writes nearest_pb.json.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lstm_pb_recipe
import numpy as np
import torch

from duchenne import io, metrics
from duchenne.learn.folds import person_folds
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.types import Array

EMOTION, FOLDS = "anger", 5
#: The shipped small recipe with two PB vectors, and the paper's trees.
TWO: dict[str, Any] = {"pb_per_class": True, "classifier": "nearest", "head": True}
TREES: dict[str, Any] = {"classifier": "boosting", "n_estimators": 5000}


def clips() -> tuple[Array, Array, Array]:
    """(sequences, labels, people) of the emotion's clips."""
    x, y, people, rows = lstm_pb_recipe.sequences(PBRecipe.read("lstm-pb-small", **TWO), EMOTION)
    return x[rows], y[rows], people[rows]


def judged(reading: str, x: Array, y: Array, people: Array) -> dict[str, Any]:
    """Scores of both ways on people left out; P(genuine) of the nearest vector is its log-odds, uncalibrated."""
    recipe = PBRecipe.read("lstm-pb-small", reading=reading, **TWO)
    z = {"nearest": np.full(len(y), np.nan), "boosting": np.full(len(y), np.nan)}
    apart = []
    for train, test in person_folds(people, FOLDS, 0):
        model = PBModel(recipe).fit_table(x[train], y[train], people[train])
        vectors = model.vectors(x[test])
        z["nearest"][test] = model.scorers[""](vectors)
        trees = PBModel(replace(recipe, **TREES)).fit_scorer("", model.vectors(x[train]), y[train])
        z["boosting"][test] = trees(vectors)
        two = model.class_pb[""].numpy()
        far = np.linalg.norm(vectors[:, None] - two, axis=2).min(axis=1).mean()
        apart.append(float(np.linalg.norm(two[1] - two[0]) / far))
    out: dict[str, Any] = {"apart": float(np.mean(apart))}
    for name, scores in z.items():
        p = 0.5 * (1 + np.tanh(scores / 2))
        found = metrics.score(p, y, people, np.full(len(y), EMOTION), n=500)
        out[name] = {key: found[key] for key in ("rows", "accuracy", "accuracy_interval", "auc", "auc_interval")}
    return out


def main() -> None:
    """Measure both readings and write the JSON."""
    torch.set_num_threads(1)
    x, y, people = clips()
    found: dict[str, Any] = {
        "data": f"PEDFE, open part, landmarks of {EMOTION}; {FOLDS} person-disjoint folds, one assignment",
        "people": len(np.unique(people)),
        "readings": {},
    }
    for reading in ("paper", "rnnpb"):
        found["readings"][reading] = judged(reading, x, y, people)
        print(reading, found["readings"][reading], flush=True)
        io.write_json(Path(__file__).with_suffix(".json"), found)


if __name__ == "__main__":
    main()
