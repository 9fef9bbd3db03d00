"""How well each measure of a smile alone tells posed from spontaneous smiles.

    DUCHENNE_DATA=<folder> python experiments/smile_measures.py

From the open UvA-NEMO lip table, corrected (`features.smile`): per measure the medians of both classes, the AUC (below 0.5:
smaller in spontaneous smiles) and Cohen's d of the logarithms, each with the 95 % interval of 1,000 draws of the table's
groups of people. Writes experiments/smile_measures.json: aggregates only.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from smile_kinematics import NUMBERS, numbers

from duchenne import io, metrics
from duchenne.features import smile
from duchenne.types import Array

HERE = Path(__file__).parent
WORDS = {
    "onset": "rise (`rise`), s",
    "apex": "plateau (`plateau`), s",
    "offset": "fall (`fall`), s",
    "amplitude": "size (`amplitude`), lip widths",
    "speed": "top speed of the rise (`top_speed`), lip widths/s",
    "offset_speed": "top speed of the fall, lip widths/s",
}


def effect(x: Array, y: Array) -> tuple[float, float]:
    """(AUC, Cohen's d of the logarithms) of one measure, genuine against posed."""
    a, b = np.log(x[y == 1]), np.log(x[y == 0])
    pooled = np.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2))
    return float(metrics.auc(x, y)), float((a.mean() - b.mean()) / pooled)


def drawn(x: Array, y: Array, people: Array, draws: int = 1000, seed: int = 0) -> Array:
    """float64 (draws, 2): `effect` of groups of people drawn with replacement."""
    rng, names = np.random.default_rng(seed), np.unique(people)
    places = {name: np.flatnonzero(people == name) for name in names}
    rows = (np.concatenate([places[name] for name in rng.choice(names, len(names))]) for _ in range(draws))
    return np.array([effect(x[row], y[row]) for row in rows])


def table(found: dict[str, Any]) -> str:
    """The measures as a table in Markdown."""
    lines = [
        "| measure | posed, median | spontaneous, median | AUC (95 % by group) | Cohen's d (95 %) |",
        "|---|---|---|---|---|",
    ]
    for name, words in WORDS.items():
        each = found["measures"][name]
        cells = [f"{each['posed']:g}", f"{each['genuine']:g}"]
        cells += [
            f"{each[key]:.2f} ({each[f'{key}_interval'][0]:.2f} to {each[f'{key}_interval'][1]:.2f})"
            for key in ("auc", "d")
        ]
        lines.append("| " + " | ".join([words, *cells]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write the JSON and print the table."""
    source = pd.read_csv(Path(os.environ["DUCHENNE_DATA"]) / "data" / "uva_nemo" / "lip.csv")
    x = numbers(smile.from_table({name: source[name] for name in source}))
    y, people = source["genuine"].to_numpy(int), source["group"].to_numpy()
    whole = np.isfinite(x).all(axis=1)
    found: dict[str, Any] = {
        "data": "UvA-NEMO, open part of the public lip table, corrected",
        "smiles": {"posed": int((y[whole] == 0).sum()), "genuine": int((y[whole] == 1).sum())},
        "groups": len(np.unique(people)),
        "measures": {},
    }
    for i, name in enumerate(NUMBERS):
        own, labels = x[whole, i], y[whole]
        area, size = effect(own, labels)
        low, high = np.quantile(drawn(own, labels, people[whole]), (0.025, 0.975), axis=0).round(3)
        found["measures"][name] = {
            "posed": round(float(np.median(own[labels == 0])), 3),
            "genuine": round(float(np.median(own[labels == 1])), 3),
            "auc": round(area, 3),
            "auc_interval": [low[0], high[0]],
            "d": round(size, 3),
            "d_interval": [low[1], high[1]],
        }
    io.write_json(HERE / "smile_measures.json", found)
    print(table(found))


if __name__ == "__main__":
    main()
