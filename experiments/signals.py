"""What each kind of signal adds to the default model, on people left out and on recordings of another rate.

    DUCHENNE_DATA=<folder with data/pedfe/clips> python experiments/signals.py [--cache FOLDER]
    python experiments/signals.py --texts

PEDFE's raw clips of the 42 open people, read by the mesh. One booster of the shipped recipe for each table, ten folds of
people, `SEEDS` assignments, whose log-odds are averaged (a mix is the mean of log-odds, so nothing is fitted to it); the
LSTM-PB `solved` by its own five folds. Then the other source: the people recorded at 24–25 frames/s and those at 30 sat in
two places; a booster learns from one and judges the other. Intervals (95 %) resample people; differences are paired with the
row above that is named. Writes signals.json and, between its marker, the table of docs/decisions/0013-relative.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import io, metrics
from duchenne.learn.boosting import Recipe, boost
from duchenne.learn.calibration import logit, platt, sigmoid
from duchenne.learn.folds import person_folds
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.metrics import paired
from duchenne.tabular.model import APPEARANCE, DescriptorModel
from duchenne.training import data
from duchenne.types import Array

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import judged
import verdict

OUT = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[1] / "docs" / "decisions" / "0013-relative.md"
FAMILIES = ("mesh", "mesh-relative", APPEARANCE)
SEEDS, FOLDS = (0, 1), 10
#: Row of the table → what is mixed, and the row it is compared with.
ROWS: dict[str, tuple[tuple[str, ...], str]] = {
    "points, coefficients and head, with levels (descriptors of the default before)": (("mesh",), ""),
    "the same relative to itself, alike in a mirror": (("mesh-relative",), "mesh"),
    "look of the face": ((APPEARANCE,), "mesh"),
    "**movement and look (the default)**": (("mesh-relative", APPEARANCE), "mesh"),
    "LSTM-PB `solved`": (("lstm-pb",), "mesh"),
    "all three": (("mesh-relative", APPEARANCE, "lstm-pb"), "mesh-relative+appearance"),
}


def read(cache: Path | None) -> tuple[dict[str, Array], data.TrainingData, Array]:
    """Family → its table, the clips, and which of them were recorded at 24–25 frames/s."""
    clips = judged.clips()
    readers = [DescriptorModel.of_family(family).reader for family in FAMILIES]
    pb = PBModel(PBRecipe.read("lstm-pb"))
    with tempfile.TemporaryDirectory() as folder:
        manifest = verdict.manifest(clips, set(), Path(folder) / "pedfe.csv")
        found = data.read(manifest, (*readers, pb.reader), data.cache_in(cache))
    usable = np.isfinite(found.tables[0]).any(axis=1)
    found = found.of(usable)
    slow = verdict.slow_people(clips)
    tables = dict(zip((*FAMILIES, "lstm-pb"), found.tables, strict=True))
    return tables, found, np.array([person in slow for person in found.people])


def fitted(x: Array, y: Array, train: Array, test: Array) -> Array:
    """Log-odds (M,) of the rows `test` by a booster that learned from the rows `train`."""
    return boost(x[train], y[train], Recipe()).log_odds(x[test])


def left_out(x: Array, y: Array, people: Array) -> Array:
    """float64 (N,): calibrated log-odds of people left out, the mean of all assignments."""
    found = np.zeros((len(SEEDS), len(y)))
    for k, seed in enumerate(SEEDS):
        for train, test in person_folds(people, FOLDS, seed):
            found[k, test] = fitted(x, y, train, test)
    z = found.mean(axis=0)
    slope, intercept = platt(z, y)
    return np.asarray(slope * z + intercept)


def elsewhere(x: Array, y: Array, slow: Array) -> Array:
    """float64 (N,): log-odds by a booster that learned from the clips of the other rate."""
    z = np.zeros(len(y))
    for test in (slow, ~slow):
        z[test] = fitted(x, y, np.flatnonzero(~test), np.flatnonzero(test))
    return z


def lstm_pb(x: Array, truth: data.Truth) -> Array:
    """float64 (N,): log-odds of people left out by the networks of the shipped recipe."""
    model = PBModel(PBRecipe.read("lstm-pb")).fit_table(x, *truth)
    assert model.out_of_fold is not None
    return logit(model.out_of_fold)


def measured(cache: Path | None) -> dict[str, Any]:
    """The content of the JSON."""
    tables, found, slow = read(cache)
    y, people, emotions = found.truth
    within = {family: left_out(tables[family], y, people) for family in FAMILIES}
    across = {family: elsewhere(tables[family], y, slow) for family in FAMILIES}
    within["lstm-pb"] = lstm_pb(tables["lstm-pb"], found.truth)
    mixes = {"+".join(mixed): np.mean([within[each] for each in mixed], axis=0) for mixed, _ in ROWS.values()}
    rows = {}
    for words, (mixed, other) in ROWS.items():
        p = sigmoid(mixes["+".join(mixed)])
        score = metrics.score(p, y, people, emotions)
        rows[words] = {name: score[name] for name in ("accuracy", "auc", "auc_interval", "forced_pairs")}
        if other:
            test = paired.compare(p, sigmoid(mixes[other]), y, people, emotion=emotions)
            rows[words]["against"] = {"row": other, "auc": test["auc"]}
        if "lstm-pb" not in mixed:
            z = np.mean([across[each] for each in mixed], axis=0)
            rows[words]["elsewhere"] = [
                {
                    "judged": name,
                    "clips": int(part.sum()),
                    "auc": float(metrics.auc(sigmoid(z[part]), y[part])),
                    "called_genuine": float((z[part] >= 0).mean()),
                    "genuine": float(y[part].mean()),
                }
                for name, part in (("30 frames/s", ~slow), ("24-25 frames/s", slow))
            ]
    counts = {"clips": len(y), "people": len(np.unique(people)), "slow_people": len(np.unique(people[slow]))}
    return {**counts, "folds": FOLDS, "assignments": len(SEEDS), "rows": rows}


def table(found: dict[str, Any]) -> str:
    """The rows as Markdown."""
    lines = [
        "| what is read | accuracy | AUC (95 %) | pairs | AUC gained (95 %) | AUC at 30, learned at 24–25 | and back |",
        "|---|---|---|---|---|---|---|",
    ]
    for words, its in found["rows"].items():
        low, high = its["auc_interval"]
        gain = "–"
        if "against" in its:
            difference = its["against"]["auc"]
            a, b = difference["interval"]
            gain = f"{difference['difference']:+.3f} ({a:+.3f} to {b:+.3f})"
        other = [f"{each['auc']:.3f}" for each in its.get("elsewhere", ())] or ["–", "–"]
        lines.append(
            f"| {words} | {its['accuracy']:.3f} | {its['auc']:.3f} ({low:.3f}–{high:.3f}) | {its['forced_pairs']:.3f} "
            f"| {gain} | {other[0]} | {other[1]} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--cache", type=Path, help="folder for what is read, outside of the repository")
    parser.add_argument("--texts", action="store_true")
    words = parser.parse_args()
    if not words.texts:
        io.write_json(OUT, measured(words.cache))
    before, rest = PAGE.read_text(encoding="utf-8").split("<!-- signals -->\n")
    after = rest.split("<!-- /signals -->")[1]
    io.write_text(PAGE, f"{before}<!-- signals -->\n{table(io.read_json(OUT))}<!-- /signals -->{after}")


if __name__ == "__main__":
    main()
