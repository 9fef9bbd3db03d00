"""Methods of the sources on the same folds: redundant members beside a stack of them, boosted SVMs, and what a card says of noise.

    DUCHENNE_DATA=<folder with data/pedfe> python experiments/combined.py

PEDFE's open part (landmarks), five person-disjoint folds, one assignment; every method is fitted within the fold. Of
`redundant` twice: given the clip's emotion, as whoever rates a clip of the set knows it, and not given. Confidence and
coverage: the share of answers left by each method's own margin, and how often they are right. Noise: cards of a table
network on random numbers for these people, where .5 is right. Writes combined.json.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import io, metrics
from duchenne.learn.folds import person_folds
from duchenne.methods import names
from duchenne.tabular.nets import NetRecipe, TableNets
from duchenne.tabular.rows import Reader
from duchenne.training.work import work_folder
from duchenne.types import Array

MEMBERS = "linear-svm:movement+boosting:dynamics+linear-svm:head"
METHODS = (
    f"stack:{MEMBERS}",
    f"redundant:{MEMBERS}",
    "linear-svm:dynamics",
    "boosting:dynamics",
    "boosted-svm:dynamics",
)


def judged(name: str, x: Array, truth: tuple[Array, Array, Array]) -> dict[str, tuple[Array, Array]]:
    """Row → (P(genuine), whether it is sure enough to answer), each (N,), of people left out."""
    y, people, emotions = truth
    rows = [name, f"{name}, not given the emotion"] if name.startswith("redundant") else [name]
    out = {row: (np.full(len(y), np.nan), np.zeros(len(y), bool)) for row in rows}
    for train, test in person_folds(people, 5, 0):
        model = names.make(name).fit_table(x[train], y[train], people[train], emotions[train])
        for row, what in zip(rows, (emotions[test] if model.needs_emotions else None, None), strict=False):
            p = model.predict_table(x[test], what)[:, 1]
            out[row][0][test], out[row][1][test] = p, np.abs(p - 0.5) >= model.margin
    return out


def scores(p: Array, sure: Array, truth: tuple[Array, Array, Array]) -> dict[str, Any]:
    """Accuracy of all answers and of the sure ones."""
    y, people, emotions = truth
    seen = np.isfinite(p)
    found = metrics.score(p[seen], y[seen], people[seen], emotions[seen], n=500)
    answered = seen & sure
    return {
        **{key: found[key] for key in ("rows", "accuracy", "accuracy_interval", "auc", "auc_interval", "ece")},
        "coverage": float(answered.sum() / seen.sum()),
        "accuracy_where_sure": float(((p > 0.5) == (y == 1))[answered].mean()),
    }


def noise(people: Array, y: Array) -> list[float]:
    """AUC on the card of a table network on random numbers, three times."""
    from sklearn.metrics import roc_auc_score

    found = []
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=(len(y), 60))
        model = TableNets(Reader("all"), NetRecipe("binary", seed=seed)).fit_table(x, y, people)
        found.append(float(roc_auc_score(y, model.out_of_fold)))
    return found


def main() -> None:
    """Fit all methods and write the JSON."""
    root = Path(os.environ["DUCHENNE_DATA"]) / "data" / "pedfe"
    with np.load(root / "points.npz") as stored:
        truth = stored["genuine"].astype(int), stored["subject"].astype(str), stored["emotion"].astype(str)
    tracks = list(io.load_tracks(root / "points.npz"))
    with tempfile.TemporaryDirectory() as folder, work_folder(Path(folder) / "fits", print):  # boosters are fitted once
        measure(tracks, truth)


def measure(tracks: list[Any], truth: tuple[Array, Array, Array]) -> None:
    """Fit and score."""
    found: dict[str, Any] = {
        "data": "PEDFE, open part: landmarks",
        "protocol": "five person-disjoint folds",
        "methods": {},
    }
    for name in METHODS:
        x = names.make(name).table(tracks)
        for row, (p, sure) in judged(name, x, truth).items():
            found["methods"][row] = scores(p, sure, truth)
            print(row, found["methods"][row], flush=True)
            io.write_json(Path(__file__).with_suffix(".json"), found)
    found["auc_of_noise_on_cards_of_table_nets"] = noise(truth[1], truth[0])
    io.write_json(Path(__file__).with_suffix(".json"), found)


if __name__ == "__main__":
    main()
