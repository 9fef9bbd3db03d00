"""Write `reference.json` of the shipped models, the distributions of their training people; nothing else changes.

    DUCHENNE_DATA=<folder with data/> python experiments/reference.py --runs <folder>

<folder> holds what `duchenne run` wrote of experiments/default_0_1.toml, lstm_pb.toml and lstm_pb_solved.toml, under these names;
their predictions must be those of the JSON here. They are for held-out people. The smile expert is fitted again, must
equal the shipped one, and gives its own predictions.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import checkpoints, io
from duchenne.checkpoints import reference
from duchenne.methods import training

HERE = Path(__file__).parent
#: Shipped model → the experiment with its predictions.
RUNS = {"default-0.1": "default_0_1", "descriptors": "lstm_pb", "lstm-pb": "lstm_pb_solved"}

METHODS = {"default-0.1": "default:dynamics"}


def answers(model: str, runs: Path) -> dict[str, Any]:
    """Quantiles of a method's predictions in an evaluation."""
    name = RUNS[model]
    file, expected = runs / name / "predictions.csv", json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    if io.sha256(file) != expected["predictions"]["sha256"]:
        raise SystemExit(f"{file} is not what {name}.json was made of; run experiments/{name}.toml again.")
    with file.open(newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["method"] == METHODS.get(model, model)]
    p = np.array([float(row["score"] or "nan") for row in rows])
    labels = np.array([row["label"] == "genuine" for row in rows], int)
    return reference.answers(p, labels, *(np.array([row[key] for row in rows]) for key in ("subject", "emotion")))


def smile(table: Path) -> None:
    """Fit the shipped model again and store its predictions for held-out people."""
    folder = checkpoints.locate("smile")
    with tempfile.TemporaryDirectory() as place:
        again = Path(place) / "smile"
        training.train_table(table, again, log=lambda _: None)
        if checkpoints.describe(again)["files"] != checkpoints.describe(folder)["files"]:
            raise SystemExit(f"{table} gives another model than the smile expert that is shipped.")
        io.write_json(folder / reference.FILE, json.loads((again / reference.FILE).read_text(encoding="utf-8")))


def main() -> None:
    """All four."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True)
    runs, data = parser.parse_args().runs, Path(os.environ["DUCHENNE_DATA"]) / "data"
    for model in RUNS:
        reference.save(checkpoints.locate(model), answers(model, runs))
    smile(data / "uva_nemo" / "lip.csv")


if __name__ == "__main__":
    main()
