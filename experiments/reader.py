"""What the mesh reader adds: points, coefficients and both, on held-out people of PEDFE.

    duchenne run experiments/reader.toml -o MESH
    duchenne run experiments/reader_paper.toml -o PAPER
    python experiments/reader.py --mesh MESH --paper PAPER

Reads the predictions for held-out people of these runs and writes experiments/reader.json. Both runs have the same
clips and folds. A mix is the mean of log-odds, so nothing is fitted here; every score is paired with `descriptors` of
the paper's reader (of movement alone, with its `boosting:movement`), with 95 % intervals over people.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from duchenne import metrics
from duchenne.learn.calibration import logit, sigmoid
from duchenne.metrics import paired

#: Row of the table → what is mixed for it: (run, model); and the row that it is compared with.
ROWS = {
    "points, paper": ((("paper", "descriptors"),), ""),
    "points, mesh": ((("mesh", "descriptors"),), "points, paper"),
    "coefficients and pose": ((("mesh", "descriptors:coefficients"),), "points, paper"),
    "both, mesh": ((("mesh", "descriptors"), ("mesh", "descriptors:coefficients")), "points, paper"),
    "both, mesh, in one table": ((("mesh", "descriptors:mesh"),), "points, paper"),
    "both, points of paper": ((("paper", "descriptors"), ("mesh", "descriptors:coefficients")), "points, paper"),
    "movement alone: points, paper": ((("paper", "boosting:movement"),), ""),
    "movement alone: points, mesh": ((("mesh", "boosting:movement"),), "movement alone: points, paper"),
    "movement alone: coefficients and pose": (
        (("mesh", "boosting:coefficients-movement"),),
        "movement alone: points, paper",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--mesh", type=Path, required=True)
    parser.add_argument("--paper", type=Path, required=True)
    words = parser.parse_args()
    runs = {name: pd.read_csv(getattr(words, name) / "predictions.csv") for name in ("mesh", "paper")}
    given = {
        (run, str(method)): rows.set_index("video")
        for run, table in runs.items()
        for method, rows in table[table["repeat"] == 0].groupby("method")
    }
    about = given["paper", "descriptors"]
    folds = {name: rows["fold"].reindex(about.index) for name, rows in given.items()}
    assert all((fold == about["fold"]).all() for fold in folds.values()), "the runs have other folds"
    y = (about["label"] == "genuine").to_numpy(int)
    answers = {
        row: sigmoid(np.mean([logit(given[each]["score"].reindex(about.index).to_numpy()) for each in mixed], axis=0))
        for row, (mixed, _) in ROWS.items()
    }
    found = {"clips": len(y), "people": int(about["subject"].nunique()), "folds": int(about["fold"].nunique())}
    found["rows"] = {}
    for row, (_, other) in ROWS.items():
        score = metrics.score(answers[row], y, about["subject"], about["emotion"])
        names = ("unanswered", "accuracy", "auc", "auc_interval", "forced_pairs", "forced_pairs_interval", "ece")
        found["rows"][row] = {name: score[name] for name in names}
        if other:
            test = paired.compare(answers[row], answers[other], y, about["subject"], emotion=about["emotion"])
            found["rows"][row]["against"] = {"row": other, "auc": test["auc"], "forced_pairs": test["forced_pairs"]}
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for row, score in found["rows"].items():
        print(f"{row:40} AUC {score['auc']:.3f} pairs {score['forced_pairs']:.3f}")


if __name__ == "__main__":
    main()
