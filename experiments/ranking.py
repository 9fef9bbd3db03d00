"""Which of two clips of one person is the genuine one: the best method, and its calibration.

    duchenne run experiments/default_0_1.toml -o DEFAULT
    duchenne run experiments/lstm_pb.toml -o LSTM_PB
    duchenne run experiments/pedfe.toml -o PEDFE
    python experiments/ranking.py --default DEFAULT --lstm-pb LSTM_PB --pedfe PEDFE [--ship]
    python experiments/ranking.py --texts

Reads the predictions for held-out people of these runs (predictions.csv, first assignment of people to folds) and
writes experiments/ranking.json. What is fitted here (a slope, weights) is fitted on pairs of the people of other
folds. With --ship the calibration of `default` on pairs is written into the shipped model. With --texts only the tables of
docs/ranking.md, docs/two-stage.md and docs/clip-networks.md are written, from ranking.json, two_stage.json, sase_fe.json
and points.json.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ship
from sklearn.linear_model import LogisticRegression

from duchenne import checkpoints, io, metrics
from duchenne.checkpoints import pairs
from duchenne.learn import rank_svm
from duchenne.learn.calibration import logit
from duchenne.metrics import paired

HERE = Path(__file__).parent
#: Row of the table → the columns that are mixed for it.
MIXES = {
    "default": ("default",),
    "descriptors": ("descriptors",),
    "lstm-pb": ("lstm-pb",),
    "rank-svm:activity": ("rank",),
    "rank-svm:activity, its plain SVM": ("svm",),
    "boosting:activity": ("boosting:activity",),
    "first frame": ("first frame",),
    "default + rank-svm": ("default", "rank"),
    "descriptors + lstm-pb": ("descriptors", "lstm-pb"),
    "stack: descriptors + lstm-pb + rank-svm": ("descriptors", "lstm-pb", "rank"),
}
KIND_WORDS = {
    "one_emotion": "one person, one emotion",
    "two_emotions": "one person, two emotions",
    "two_people": "two people",
}
POINTS = {
    "descriptors": "descriptors, boosted: what networks must beat",
    "points-cnn": "`points-cnn`: filters over time",
    "points-lstm": "`points-lstm`",
    "points-multi": "`points-multi`: single faces, two tasks",
}
SURE = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


def answers(folder: Path, method: str) -> pd.DataFrame:
    """A method's predictions in the first repeat, one row per clip in the same order for all runs."""
    table = pd.read_csv(folder / "predictions.csv", dtype={"subject": str, "fold": str}, low_memory=False)
    table = table[(table["method"] == method) & (table["repeat"] == 0)]
    if table.empty:
        raise SystemExit(f"{folder} has no predictions of {method}.")
    number = table["video"].str.extract(r"#(\d+)$")[0].astype(int)
    return table.assign(number=number).sort_values("number").reset_index(drop=True)


def columns(default: Path, lstm_pb: Path, pedfe: Path) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """(facts of each clip, scores of each method, higher = more genuine)."""
    truth = answers(default, "default:dynamics")
    found = {
        "default": truth,
        "descriptors": answers(pedfe, "descriptors"),
        "lstm-pb": answers(lstm_pb, "lstm-pb"),
        "svm": answers(pedfe, "rank-svm:activity"),
        "boosting:activity": answers(pedfe, "boosting:activity"),
        "first frame": answers(pedfe, "first frame"),
    }
    for name, table in found.items():
        same = [(table[key] == truth[key]).all() for key in ("number", "label", "subject", "emotion")]
        if not all(same):
            raise SystemExit(f"The predictions of {name} are for other clips.")
    z = {name: logit(table["score"].to_numpy(float)) for name, table in found.items()}
    return truth, z | {"rank": found["svm"]["pair_score"].to_numpy(float)}


def mixed(x: np.ndarray, truth: pd.DataFrame) -> np.ndarray:
    """float64 (N,): differences are log-odds of pairs; weights are fitted on pairs of the other folds' people."""
    y, who, what = (truth[key].to_numpy() for key in ("label", "subject", "emotion"))
    better, worse = rank_svm.pairs(y == "genuine", who, what)
    gaps, fold = x[better] - x[worse], truth["fold"].to_numpy()
    usable, out = np.isfinite(gaps).all(axis=1), np.full(len(x), np.nan)
    for each in np.unique(fold):
        some = gaps[usable & (fold[better] != each)]
        spread = np.sqrt((some**2).mean(axis=0))
        first = np.arange(len(some)) % 2 == 0
        model = LogisticRegression(C=1e3, fit_intercept=False)
        model.fit(some / spread * np.where(first, 1, -1)[:, None], first)
        out[fold == each] = x[fold == each] @ (model.coef_[0] / spread)
    return out


def row(score: np.ndarray, best: np.ndarray, truth: pd.DataFrame) -> dict[str, Any]:
    """Accuracy on pairs, calibration, and the difference to `best`, over people."""
    y, who, what = (truth[key].to_numpy() for key in ("label", "subject", "emotion"))
    y = (y == "genuine").astype(int)
    p = 1 / (1 + np.exp(-score))
    s = metrics.score(p, y, who, what, rank=score, n=1000)
    better, worse = rank_svm.pairs(y, who, what)
    gap = (score[better] - score[worse])[np.isfinite(score[better] - score[worse])]
    turn = np.where(np.arange(len(gap)) % 2 == 0, 1, -1)  # half of the pairs the other way round, for a fair share of 0
    sure, right = 1 / (1 + np.exp(-gap * turn)), (turn > 0).astype(int)
    shown = paired.compare(p, 1 / (1 + np.exp(-best)), y, who, emotion=what, rank_a=score, rank_b=best, n=1000)
    return {
        **{key: s[key] for key in ("forced_pairs", "forced_pairs_interval", "pairs", "persons")},
        "per_emotion": {
            name: {key: v[key] for key in ("forced_pairs", "forced_pairs_interval", "pairs")}
            for name, v in s["per_emotion"].items()
        },
        "log_loss": float(np.logaddexp(0, -gap).mean()),
        "ece": float(metrics.ece(sure, right)),
        "by_sureness": [
            {"from": low, "to": high, "pairs": int(m.sum()), "right": float((gap[m] > 0).mean()) if m.any() else None}
            for low, high in pairwise(SURE)
            for m in [(np.maximum(sure, 1 - sure) >= low) & (np.maximum(sure, 1 - sure) < high + (high == 1))]
        ],
        "against_default": {key: shown["forced_pairs"][key] for key in ("difference", "interval", "p")},
    }


def texts() -> None:
    """The tables of the two pages."""
    found = ship.result("ranking")
    rows = [
        "| what decides | pairs right (95 % by person) | log loss | ECE | against `default` |",
        "|---|---|---|---|---|",
    ]
    for name, each in found["methods"].items():
        low, high = each["against_default"]["interval"]
        change = (
            "" if name == "default" else f"{each['against_default']['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
        )
        shown = ship.spread(each, "forced_pairs")
        rows.append(
            f"| {name} | {shown} | {each['log_loss']:.3f} | {each['ece']:.3f} | {change} |".replace("-0.", "−0.")
        )
    sure = ["| probability | pairs | right |", "|---|---|---|"]
    sure += [
        f"| {each['from']:.2f} to {each['to']:.2f} | {each['pairs']} | {each['right']:.3f} |"
        for each in found["methods"]["default"]["by_sureness"]
    ]
    kinds = ["| pair | slope | too close to call | pairs | right |", "|---|---|---|---|---|"]
    for kind, s in found["scales"].items():
        band = f"{0.5 - s['margin']:.2f} to {0.5 + s['margin']:.2f}"
        kinds.append(f"| {KIND_WORDS[kind]} | {s['slope']:.2f} | {band} | {s['pairs']} | {s['accuracy']:.3f} |")
    page = HERE.parent / "docs" / "ranking.md"
    text = page.read_text(encoding="utf-8")
    for name, table in (("pairs", rows), ("sureness", sure), ("kinds", kinds)):
        text = ship.put(text, name, "\n".join(table) + "\n")
    io.write_text(page, text)
    page = HERE.parent / "docs" / "two-stage.md"
    text = page.read_text(encoding="utf-8")
    names = {"linear-svm": "linear SVM", **ship.TASKS}
    pedfe = task_table(ship.result("two_stage"), "PEDFE, unseen people", names)
    sase = task_table(ship.result("sase_fe"), "SASE-FE training features", {**ship.SASE, **ship.TASKS})
    io.write_text(page, ship.put(ship.put(text, "pedfe", pedfe), "sase", sase))
    page = HERE.parent / "docs" / "clip-networks.md"
    points = task_table(ship.result("points"), "PEDFE, unseen people", {**POINTS, **ship.BASELINES})
    io.write_text(page, ship.put(page.read_text(encoding="utf-8"), "points", points))


def task_table(run: dict[str, Any], head: str, names: dict[str, str]) -> str:
    """Single clips and pairs separately, with intervals over people."""
    rows = [f"| {head} | single clips: accuracy | AUC | ECE | forced pairs |", "|---|---|---|---|---|"]
    for key, words in names.items():
        s = run["methods"][key]["score"]
        shown = [ship.spread(s, name) for name in ("accuracy", "auc", "forced_pairs")]
        rows.append(f"| {words} | {shown[0]} | {shown[1]} | {s['ece']:.3f} | {shown[2]} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("default", "lstm-pb", "pedfe"):
        ask.add_argument(f"--{name}", type=Path, metavar="FOLDER")
    ask.add_argument("--ship", action="store_true")
    ask.add_argument("--texts", action="store_true")
    args = ask.parse_args()
    if args.texts:
        texts()
    elif None in (args.default, args.lstm_pb, args.pedfe):
        ask.error("name the folders of all three runs, or --texts")
    else:
        scales = measure({"default": args.default, "lstm_pb": args.lstm_pb, "pedfe": args.pedfe})
        if args.ship:
            pairs.save(checkpoints.locate("default-0.1"), scales)


def measure(runs: dict[str, Path]) -> dict[str, Any]:
    """Write ranking.json; return the calibration of `default` for each kind of pair."""
    truth, scored = columns(**runs)
    scores = {name: mixed(np.column_stack([scored[c] for c in used]), truth) for name, used in MIXES.items()}
    y, who, what = (truth[key].to_numpy() for key in ("label", "subject", "emotion"))
    scales = pairs.calibrated(truth["score"].to_numpy(float), (y == "genuine").astype(int), who, what)
    better, worse = rank_svm.pairs(y == "genuine", who, what)
    gaps = scores["default"][better] - scores["default"][worse]
    gaps = gaps[np.isfinite(gaps)]
    answered = np.abs(1 / (1 + np.exp(-gaps)) - 0.5) >= scales["one_emotion"]["margin"]
    found = {
        "data": "PEDFE, open part",
        "protocol": "pairs of a genuine and a posed clip of one person and emotion; answers about people left out (ten "
        "folds, of lstm-pb five), slopes and mixes from the pairs of other folds' people",
        "made_of": {
            key: json.loads((folder / "results.json").read_text())["predictions"]["sha256"]
            for key, folder in runs.items()
            if (folder / "results.json").is_file()
        },
        "methods": {name: row(score, scores["default"], truth) for name, score in scores.items()},
        "scales": scales,
        "answered": {"coverage": float(answered.mean()), "forced_pairs": float((gaps[answered] > 0).mean())},
    }
    io.write_json(HERE / "ranking.json", found)
    return scales


if __name__ == "__main__":
    main()
