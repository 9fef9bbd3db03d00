"""PEDFE clips cut differently: scores of all descriptors and of two smaller families.

    DUCHENNE_DATA=<folder with data/pedfe/points.npz> python experiments/cuts.py [--seeds 5]

Writes experiments/cuts.json, with the human scores on these clips. Folds are person-disjoint and everything is selected
on training people, as in experiments/pedfe.toml, which compares methods on whole clips.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from duchenne import io, metrics
from duchenne.datasets import splits
from duchenne.evaluation.results import mean_of
from duchenne.features.descriptors import FAMILIES, around_movement, describe, longest_seen, prepare
from duchenne.features.filtering import lowpass
from duchenne.learn.boosting import Recipe, Tabular
from duchenne.tabular.model import DescriptorModel

HERE = Path(__file__).parent
FPS = 25.0
ONE = Recipe(n_boosters=1, candidates=("boosting",), n_estimators=200, learning_rate=0.08, folds=3)
COMPARED = ("uncut", "movement")
CUTS = ("whole", "start_0.2s_cut", "ends_cut_0-25%", "start_30%_cut", "rest_1.5s_before")


def trims(values: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Ways in which other clips may be cut differently from the data set's."""
    n = len(values)
    a, b = int(rng.uniform(0, 0.25) * n), n - int(rng.uniform(0, 0.25) * n)
    cuts = {
        "whole": values,
        "start_0.2s_cut": values[5:],
        "ends_cut_0-25%": values[a:b],
        "start_30%_cut": values[int(0.3 * n) :],
    }
    cuts = {name: cut if len(cut) >= 12 else values for name, cut in cuts.items()}
    return {**cuts, "rest_1.5s_before": np.concatenate([rest(values, 1.5, rng), values])}


def rest(values: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """The face as in the first frames, with slow movement of 0.7 % of the interocular distance (or of a degree)."""
    unrest = lowpass(rng.normal(0, 0.012, (round(seconds * FPS), values.shape[1])), FPS, 4.0)
    return values[:3].mean(axis=0) + unrest


def load(root: Path) -> dict[str, np.ndarray]:
    """Descriptors of every clip under every cut, and the facts about the clips."""
    file = root / "data" / "pedfe" / "points.npz"
    with np.load(file) as stored:
        data = {
            key: stored[key]
            for key in ("subject", "emotion", "genuine", "rated_genuine", "hit_rate_type", "fps", "offset")
        }
    rng = np.random.default_rng(0)
    rows: dict[str, list[np.ndarray]] = {}
    for track in io.load_tracks(file):
        seen = longest_seen(prepare(track, FPS)[1])
        for name, cut in (trims(seen, rng) if len(seen) >= 8 else dict.fromkeys(CUTS, seen)).items():
            rows.setdefault(name, []).append(describe(around_movement(cut, FPS), FPS, "dynamics"))
    table = {name: np.array(values) for name, values in rows.items()}
    keep = np.all([np.isfinite(values).all(axis=1) for values in table.values()], axis=0)
    known = {key: data[key][keep] for key in ("subject", "emotion", "genuine", "rated_genuine", "hit_rate_type")}
    known["row"] = np.flatnonzero(keep)
    return {**known, **{f"x:{name}": values[keep] for name, values in table.items()}}


def columns(family: str) -> list[int]:
    """Columns of a family's descriptors in the widest table."""
    where = {name: i for i, name in enumerate(FAMILIES["dynamics"].names)}
    return [where[name] for name in FAMILIES[family].names]


def one_seed(d: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Out-of-fold P(genuine) of every method for one assignment of people to ten folds."""
    y, subject = d["genuine"].astype(int), d["subject"]
    found: dict[str, np.ndarray] = {}

    def put(name: str, rows: np.ndarray, value: np.ndarray) -> None:
        found.setdefault(name, np.full(len(y), np.nan))[rows] = value

    for train, test in splits.by_person(subject, 10, seed):
        cols = columns("dynamics")
        model = DescriptorModel.of_family("dynamics", recipe=Recipe(seed=seed))
        model.fit_table(d["x:whole"][train][:, cols], y[train], subject[train], d["emotion"][train])
        x = d["x:whole"][test][:, cols]
        p = model.fitted.predict_proba(model.inputs(x))[:, 1]
        given = [model.inputs(row[None], {emotion: 1.0}) for row, emotion in zip(x, d["emotion"][test], strict=True)]
        put("descriptors, told the emotion", test, model.fitted.predict_proba(np.vstack(given))[:, 1])
        put("descriptors", test, p)
        for cut in CUTS[1:]:
            z = model.inputs(d[f"x:{cut}"][test][:, cols])
            put(f"descriptors | {cut}", test, model.fitted.predict_proba(z)[:, 1])
        guesses = model.emotions(x)
        put(
            "emotion_right",
            test,
            np.array([max(g, key=g.__getitem__) for g in guesses]) == d["emotion"][test],
        )
        put("p_happiness", test, np.array([g["happiness"] for g in guesses]))
        for family in COMPARED:
            cols = columns(family)
            m = Tabular((), ONE).fit(d["x:whole"][train][:, cols], y[train], subject[train])
            for cut in (k for k in d if k.startswith("x:")):
                put(f"{family} | {cut[2:]}", test, m.predict_proba(d[cut][test][:, cols])[:, 1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="also save out-of-fold predictions here (not for committing)")
    args = parser.parse_args()
    d = load(Path(os.environ["DUCHENNE_DATA"]))
    runs = Parallel(n_jobs=args.jobs)(delayed(one_seed)(d, seed) for seed in range(args.seeds))
    if args.keep:
        np.savez(args.keep, kept_rows=d["row"], **{f"{k}#{s}": v for s, run in enumerate(runs) for k, v in run.items()})
    io.write_json(HERE / "cuts.json", summary(d, runs))


def summary(d: dict[str, np.ndarray], runs: list[dict[str, np.ndarray]]) -> dict[str, object]:
    """Mean of the scores over seeds; intervals from the people, on the seed-mean prediction."""
    y = d["genuine"].astype(int)
    methods: dict[str, object] = {}
    for name in runs[0]:
        if name in ("emotion_right", "p_happiness"):
            continue
        each = [
            metrics.score(r[name], y, d["subject"], d["emotion"], n=1000 if name == "descriptors" else 200)
            for r in runs
        ]
        methods[name] = mean_of(each)
    crowd = d["rated_genuine"]
    good = np.isfinite(crowd)
    return {
        "data": "PEDFE, open part: clips with at least 8 frames at 25 per second",
        "people": len(np.unique(d["subject"])),
        "clips": len(y),
        "protocol": f"person-disjoint 10-fold, nested, mean over {len(runs)} assignments of people to folds",
        "emotion_accuracy": float(np.mean([r["emotion_right"].mean() for r in runs])),
        "human": {
            "crowd_auc": metrics.auc(crowd[good], y[good]),
            "single_rater_accuracy": float(np.nanmean(d["hit_rate_type"])) / 100,
            "source": "PEDFE raters; mean hit rate of single raters, and AUC of the raters' mean, on these clips (doi 10.3758/s13428-022-01914-4)",
        },
        "methods": methods,
    }


if __name__ == "__main__":
    main()
