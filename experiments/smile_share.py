"""The share of the smile expert in the verdict on a smile, chosen on held-out people of PEDFE.

    DUCHENNE_DATA=<folder> python experiments/cuts.py --keep oof.npz
    DUCHENNE_DATA=<folder> python experiments/smile_share.py oof.npz

Log-odds of a smile = (1 − share) · default + share · expert. The expert comes from UvA-NEMO people only; the
default's predictions are for held-out people. Clips count as smiles when the default model (also held-out) predicts
happiness and a smile is found; parts of it that lie outside the clip are missing
values. Writes experiments/smile_share.json.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from duchenne import checkpoints, io, metrics

HERE = Path(__file__).parent
SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)


def main() -> None:
    file = Path(os.environ["DUCHENNE_DATA"]) / "data" / "pedfe" / "points.npz"
    with np.load(sys.argv[1]) as kept, np.load(file) as data:
        rows = kept["kept_rows"]
        seeds = len([k for k in kept.files if k.startswith("default#")])
        p = np.array([kept[f"default#{s}"] for s in range(seeds)])
        happy = np.array([kept[f"p_happiness#{s}"] for s in range(seeds)])
        y, subject = data["genuine"][rows].astype(int), data["subject"][rows]
    expert, about = checkpoints.load("smile")
    x = expert.table(io.load_tracks(file))[rows]
    full = np.isfinite(x).all(axis=1)
    z_smile = np.where(full, expert.fitted.logit(x), 0.0)
    z = np.log(p / (1 - p))
    groups = {"whole smiles": full, "any smile found": np.isfinite(x).any(axis=1)}
    out = {}
    for name, mask in groups.items():
        zs = np.where(np.isfinite(x).any(axis=1), expert.fitted.logit(x), 0.0) if name != "whole smiles" else z_smile
        rows_ = []
        for share in SHARES:
            each = [score(share, z[s], zs, y, subject, mask & (happy[s] > 0.5)) for s in range(seeds)]
            rows_.append({"share": share, **{k: round(float(np.mean([e[k] for e in each])), 4) for k in each[0]}})
        out[name] = rows_
    best = min(out["any smile found"], key=lambda r: r["log_loss"])
    io.write_json(
        HERE / "smile_share.json", {"expert": about["sha256"], "seeds": seeds, **out, "chosen": best["share"]}
    )


def score(
    share: float, z: np.ndarray, zs: np.ndarray, y: np.ndarray, subject: np.ndarray, use: np.ndarray
) -> dict[str, float]:
    """Scores on the smiles of one assignment of people to folds."""
    mixed = (1 - share) * z[use] + share * zs[use]
    q = 1 / (1 + np.exp(-mixed))
    return {
        "clips": int(use.sum()),
        "people": len(np.unique(subject[use])),
        "accuracy": metrics.accuracy(q, y[use]),
        "auc": metrics.auc(q, y[use]),
        "log_loss": float(np.mean(np.logaddexp(0, mixed) - y[use] * mixed)),
    }


if __name__ == "__main__":
    main()
