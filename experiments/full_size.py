"""Reading `paper` at the paper's own size (10.7 million weights) on one person-disjoint fold of PEDFE, and the small one.

    DUCHENNE_DATA=<folder with data/pedfe> python experiments/full_size.py

One fold, because training takes minutes per epoch on a CPU. Same clips, fold, epochs and recognition for both; writes
full_size.json.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from duchenne import io, metrics
from duchenne.datasets import splits
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.recipe import PBRecipe

SIZES = {
    "small": {},
    "full": {"hidden_size": 512, "num_layers": 4, "pb_size": 64, "context_size": 64, "batch_size": 32},
}


def main() -> None:
    """Fit both on four fifths of the people and test on the others."""
    root = Path(os.environ["DUCHENNE_DATA"]) / "data" / "pedfe"
    with np.load(root / "points.npz") as stored:
        people, y = stored["subject"].astype(str), stored["genuine"].astype(int)
    x = PBModel(PBRecipe.read("lstm-pb-small")).table(list(io.load_tracks(root / "points.npz")))
    train, test = next(iter(splits.by_person(people, 5, 0)))
    found = {"data": "PEDFE, open part", "protocol": "the first of five person-disjoint folds", "sizes": {}}
    for name, sizes in SIZES.items():
        model = PBModel(PBRecipe.read("lstm-pb-small", **sizes), on_epoch=lambda row: print(row, flush=True))
        model.fit_table(x[train], y[train], people[train])
        p = model.predict_table(x[test])[:, 1]
        seen = np.isfinite(p)
        scores = metrics.score(p[seen], y[test][seen], people[test][seen], n=500)
        kept = ("accuracy", "accuracy_interval", "auc", "auc_interval", "rows")
        weights = sum(each.numel() for each in model.networks[""].parameters())
        losses = [row["loss"] for row in model.curves[""]]
        found["sizes"][name] = {"weights": weights, "loss": losses, **{key: scores[key] for key in kept}}
        io.write_json(Path(__file__).with_suffix(".json"), found)


if __name__ == "__main__":
    main()
