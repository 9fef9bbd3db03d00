"""UvA-NEMO: what the smile expert and its baselines reach on people they have not seen.

    DUCHENNE_DATA=<folder with data/uva_nemo/lip.csv> python experiments/uva_nemo.py [--seeds 5]

Writes experiments/uva_nemo.json. Folds are by `group` (sex and age; no person is in two), nested as in
experiments/pedfe.py. First-frame-only and identity-only baselines need points and person ids, which the public
table does not have; they are reported on PEDFE.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from pedfe import mean_of

from duchenne import io
from duchenne.evaluate import metrics, splits
from duchenne.features import smile
from duchenne.learn.classifiers import DescriptorModel
from duchenne.learn.tabular import Tabular
from duchenne.training import smile_recipe

HERE = Path(__file__).parent


def columns(words: str) -> list[int]:
    """Indices of the expert's inputs that a baseline may read."""
    chosen = {
        "clip length only": lambda n: n == "smile_duration_total",
        "phase durations only": lambda n: "duration_full" in n and not n.startswith("smile"),
        "peak intensity only": lambda n: n in ("onset_net_amplitude", "onset_total_amplitude_positive"),
        "onset only": lambda n: n.startswith("onset"),
        "no durations or totals": lambda n: "duration" not in n and "total" not in n,
        "smile": lambda n: True,
    }[words]
    return [i for i, name in enumerate(smile.EXPERT) if chosen(name)]


METHODS = (
    "smile",
    "clip length only",
    "phase durations only",
    "peak intensity only",
    "onset only",
    "no durations or totals",
)


def one_seed(x: np.ndarray, y: np.ndarray, group: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Out-of-fold P(genuine) of every method for one assignment of groups to ten folds."""
    found = {name: np.full(len(y), np.nan) for name in (*METHODS, "majority")}
    for train, test in splits.by_person(group, 10, seed):
        for name in METHODS:
            cols = columns(name)
            model = Tabular((), smile_recipe(seed)).fit(x[train][:, cols], y[train], group[train])
            found[name][test] = model.predict_proba(x[test][:, cols])[:, 1]
        found["majority"][test] = y[train].mean()
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    table = pd.read_csv(Path(os.environ["DUCHENNE_DATA"]) / "data" / "uva_nemo" / "lip.csv")
    model = DescriptorModel(smile.EXPERT, family="smile", fps=smile.TABLE_FPS)
    x = model.from_columns({name: table[name] for name in table}, "lip.csv")
    y, group = table["genuine"].to_numpy(int), table["group"].astype(str).to_numpy()
    runs = Parallel(n_jobs=args.jobs)(delayed(one_seed)(x, y, group, seed) for seed in range(args.seeds))
    methods = {name: mean_of([metrics.score(r[name], y, group, n=1000) for r in runs]) for name in runs[0]}
    io.write_json(
        HERE / "uva_nemo.json",
        {
            "data": "UvA-NEMO, open part of the public lip table",
            "smiles": len(y),
            "groups": len(np.unique(group)),
            "protocol": f"10-fold by group of sex and age, nested, mean over {args.seeds} assignments of groups to folds",
            "methods": methods,
        },
    )


if __name__ == "__main__":
    main()
