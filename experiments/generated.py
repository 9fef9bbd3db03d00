"""How far generated genuine and posed movements differ, and what a classifier that is not an LSTM-PB says of them.

    DUCHENNE_DATA=<folder with data/pedfe> python experiments/generated.py

The shipped `lstm-pb` (reading `solved`, five networks) goes on from the first frame of one clip of each of PEDFE's 42 open
people, for as long as the median clip, once with each typical PB vector, by all its networks and by the first alone. The
other classifier is a logistic regression on how the same 40 points move in real clips: spread, range and speed of each
coordinate; it is fitted on people other than the one whose face starts the movement. Writes generated.json.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from duchenne import checkpoints, io
from duchenne.learn.folds import person_folds
from duchenne.learn.linear import Linear
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.solved_network import SolvedBag
from duchenne.types import LABELS, Array


def described(x: Array, frames: int) -> Array:
    """float64 (D,) of a sequence (T, D): spread, range and mean speed of each coordinate in its first frames."""
    x = np.asarray(x[:frames], float)
    return np.concatenate([x.std(axis=0), np.ptp(x, axis=0), np.abs(np.diff(x, axis=0)).mean(axis=0)])


def moved(a: Array, b: Array) -> float:
    """Mean distance of two sequences (T, 80), each from its own first frame, in halves of a face."""
    n = min(len(a), len(b))
    gap = ((a[:n] - a[0]) - (b[:n] - b[0]))[:, :80].reshape(n, 40, 2)
    return float(np.linalg.norm(gap, axis=2).mean())


def main() -> None:
    """Generate, compare, judge, and write the JSON."""
    from sklearn.metrics import roc_auc_score

    root = Path(os.environ["DUCHENNE_DATA"]) / "data" / "pedfe"
    with np.load(root / "points.npz") as stored:
        people, y = stored["subject"].astype(str), stored["genuine"].astype(int)
    model = checkpoints.load_as("lstm-pb", PBModel)[0]
    bag, typical = model.networks[""], model.typical[""]
    assert isinstance(bag, SolvedBag)
    first = SolvedBag([bag.members[0]]).eval()  # type: ignore[list-item]
    read = model.table(list(io.load_tracks(root / "points.npz")))
    seen = np.array([i for i, each in enumerate(read) if each is not None])
    x, people, y = [read[i] for i in seen], people[seen], y[seen]
    frames = int(np.median([len(each) for each in x]))
    rows = np.array([described(each, frames) for each in x])
    judged, real = {name: np.zeros((0, 2)) for name in ("all networks", "the first network")}, np.zeros(len(y))
    apart: dict[str, list[float]] = {name: [] for name in judged}
    for train, test in person_folds(people, 5, 0):
        judge = Linear.fit(rows[train], y[train], 0.05)
        real[test] = judge.logits(rows[test])[:, 0]
        for person in np.unique(people[test]):
            start = torch.from_numpy(x[np.flatnonzero(people == person)[0]][:1])[None]
            for name, network in (("all networks", bag), ("the first network", first)):
                wide = len(network.members) * model.recipe.pb_size
                vectors = [typical[k : k + 1, :wide] for k in (0, 1)]
                made = [network.generate(pb, start, frames - 1)[0].numpy() for pb in vectors]
                made = [np.concatenate([start[0].numpy(), each]) for each in made]
                apart[name].append(moved(*made))
                said = judge.logits(np.array([described(each, frames) for each in made]))[:, 0]
                judged[name] = np.concatenate([judged[name], said[None]])
    between = [
        moved(x[i], x[j])
        for person in np.unique(people)
        for i in np.flatnonzero((people == person) & (y == 1))[:2]
        for j in np.flatnonzero((people == person) & (y == 0))[:2]
    ]
    found: dict[str, Any] = {
        "data": "PEDFE, open part: landmarks of 42 people; the networks were trained on them, the classifier not",
        "frames": frames,
        "distance of a person's genuine and posed clips, halves of a face": float(np.mean(between)),
        "AUC of the classifier on people's own clips": float(roc_auc_score(y, real)),
        "generated": {},
    }
    for name, z in judged.items():
        found["generated"][name] = {
            "distance of the two movements": float(np.mean(apart[name])),
            "AUC of the classifier": float(roc_auc_score(np.tile([0, 1], len(z)), z.ravel())),
            "genuine judged genuine more than posed of the same face": float((z[:, 1] > z[:, 0]).mean()),
            **{f"{LABELS[k]} judged genuine": float((z[:, k] > 0).mean()) for k in (0, 1)},
        }
    io.write_json(Path(__file__).with_suffix(".json"), found)
    print(found)


if __name__ == "__main__":
    main()
