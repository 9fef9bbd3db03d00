"""How well a bag of LSTM-PB networks (`solved`) is calibrated: as a single network, as before, and as a bag.

    DUCHENNE_DATA=<folder with data/pedfe> python experiments/bag_calibration.py

PEDFE's open part (landmarks), five person-disjoint folds, the people of each fold in none of its networks. The networks
are the same in both rows; the second divides the log-odds of the first by the factor that the sixth network gives (fact
`bag_factor`). About 15 minutes of one core. Writes bag_calibration.json, after each fold, of the folds done.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from duchenne import io, metrics
from duchenne.datasets import splits
from duchenne.learn.calibration import logit, platt, sigmoid
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.recipe import PBRecipe

FOLDS = 5


def main() -> None:
    """Fit all folds and write the JSON."""
    torch.set_num_threads(1)
    root = Path(os.environ["DUCHENNE_DATA"]) / "data" / "pedfe"
    with np.load(root / "points.npz") as stored:
        people, y = stored["subject"].astype(str), stored["genuine"].astype(int)
        emotions = stored["emotion"].astype(str)
    recipe = PBRecipe.of_reading("solved")
    x = PBModel(recipe).table(list(io.load_tracks(root / "points.npz")))
    z = {"as a bag": np.full(len(y), np.nan), "as a single network": np.full(len(y), np.nan)}
    factors: list[float] = []
    for train, test in splits.by_person(people, FOLDS, 0):
        model = PBModel(recipe).fit_table(x[train], y[train], people[train])
        factors.append(model.facts["bag_factor"])
        z["as a bag"][test] = logit(model.predict_table(x[test])[:, 1])
        z["as a single network"][test] = z["as a bag"][test] / factors[-1]
        rows: dict[str, Any] = {}
        for name, values in z.items():
            known = np.isfinite(values)
            scores = metrics.score(sigmoid(values[known]), y[known], people[known], emotions[known], n=500)
            rows[name] = {key: scores[key] for key in ("rows", "accuracy", "auc", "brier", "ece", "ece_interval")}
            rows[name]["slope_that_would_be_right"] = platt(values[known], y[known])[0]
        print(len(factors), rows, flush=True)
        about = {"data": f"PEDFE, open part; {len(factors)} of {FOLDS} person-disjoint folds", "factors": factors}
        io.write_json(Path(__file__).with_suffix(".json"), {**about, "rows": rows})


if __name__ == "__main__":
    main()
