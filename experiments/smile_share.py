"""Smiles across sources, and the smile expert's share in the verdict on a smile, on people left out.

    DUCHENNE_DATA=<folder with data/> python experiments/verdict.py --models FOLDER --work FOLDER --train
    DUCHENNE_DATA=<folder with data/> python experiments/smile_share.py --models FOLDER --work FOLDER [--jobs 2]
    python experiments/smile_share.py --texts

Log-odds of a smile = (1 − share) · default + share · expert. The expert comes from UvA-NEMO's people only; PEDFE's clips
of happiness are judged whole, from the raw clip, by the model that left the person out, and count where a smile is seen
(P(happiness) > 0.5) and measured. Chosen is the largest share that costs at most `COST` of log-loss. Simulated are 48 smiles of the kinematics that the literature reports, as videos.

The same descriptors of a smile (features.smile) are learned on one source and judged on the other; within a source on
people left out. Intervals (95 %) resample people. Writes smile_share.json and the table of docs/science/measured.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from duchenne import io, judging, metrics, pipeline
from duchenne.checkpoints import load_as
from duchenne.clips.cache import Cache
from duchenne.datasets import simulate, splits
from duchenne.datasets.kinematics import draw
from duchenne.learn.calibration import logit, sigmoid
from duchenne.tabular.model import DescriptorModel
from duchenne.types import Array

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import judged

HERE = Path(__file__).parent
OUT = Path(__file__).with_suffix(".json")
SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
COST = 0.005  # log-loss that textbook kinematics may cost: less than people differ by
SIMULATED = 48
TITLE = "Smiles of another source"
WORDS = (
    "What is learned from the smiles of one source says of those of another. *Smile descriptors* are the 53 of the model `smile`,\n"
    "from the lip corners alone; `default` reads the whole face. Source: `experiments/smile_share.json`."
)


def judge(path: Path, model: str, work: Path) -> tuple[float, float, Array]:
    """(log-odds by the model without the smile expert, P(happiness) as named, the smile's descriptors) of a clip."""
    rows = []
    expert = load_as("smile", DescriptorModel)[0]

    def none(_: judging.Loaded, question: Any) -> None:
        rows.append(expert.table([question.track])[0])

    judging._expert, kept = none, Cache(judged.readings(work), limit=float("inf"))
    found = pipeline.examine(path, model=model, read=kept.read_faces)[0]
    return float(logit(np.array(found.p_raw))), found.verdict.emotion.get("happiness", 0.0), rows[0]


def simulated(number: int, work: Path) -> tuple[Path, int]:
    """A simulated smile as a video, and whether its kinematics are spontaneous."""
    genuine, path = number % 2, work / "simulated" / f"{number}.mp4"
    if not path.exists():
        kinematics = draw("genuine" if genuine else "posed", np.random.default_rng(number))
        simulate.smile_clip(path, kinematics, rate=25.0, seed=number)
    return path, genuine


def left_out(x: Array, y: Array, people: Array) -> Array:
    """Log-odds of rows by smile models of the other people, ten folds."""
    z = np.full(len(y), np.nan)
    for train, test in splits.by_person(people.tolist(), 10, 0):
        z[test] = learn(x[train], y[train], people[train]).fitted.logit(x[test])
    return z


def learn(x: Array, y: Array, people: Array) -> DescriptorModel:
    """A smile model."""
    return DescriptorModel.of_family("smile").fit_table(x, y, people)


def score(z: Array, y: Array, people: Array) -> dict[str, Any]:
    """AUC and accuracy of log-odds, with intervals."""
    found = metrics.score(sigmoid(z), y, people.tolist())
    names = ("auc", "auc_interval", "accuracy", "accuracy_interval")
    return {"clips": len(y), "people": len(np.unique(people)), **{name: found[name] for name in names}}


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """The content of the JSON."""
    clips = [clip for clip in judged.clips() if clip.emotion == "happiness"]
    models = judged.left_out(args.models / "folds.json")
    found = Parallel(args.jobs)(delayed(judge)(clip.path, models[clip.subject], args.work) for clip in clips)
    z, happy, rows = np.array([f[0] for f in found]), np.array([f[1] for f in found]), np.array([f[2] for f in found])
    y, people = np.array([clip.genuine for clip in clips], int), np.array([clip.subject for clip in clips])
    expert = load_as("smile", DescriptorModel)[0]
    smiles = (happy > 0.5) & np.isfinite(rows).any(axis=1) & np.isfinite(z)
    e = np.full(len(y), np.nan)
    e[smiles] = expert.fitted.logit(rows[smiles])
    shares = []
    for share in SHARES:
        mixed = ((1 - share) * z + share * e)[smiles]
        loss = float(np.mean(np.logaddexp(0, mixed) - y[smiles] * mixed))
        shares.append({"share": share, **score(mixed, y[smiles], people[smiles]), "log_loss": round(loss, 4)})

    lip = pd.read_csv(Path(os.environ["DUCHENNE_DATA"]) / "data" / "uva_nemo" / "lip.csv")
    there = expert.from_columns({name: lip[name].to_numpy() for name in lip}, "lip.csv")
    uva = json.loads((HERE / "uva_nemo.json").read_text(encoding="utf-8"))["methods"]["smile"]["score"]
    genuine, groups = lip["genuine"].to_numpy(int), lip["group"].to_numpy(str)
    usable = np.isfinite(there).any(axis=1)
    own = learn(rows[smiles], y[smiles], people[smiles])
    made = [simulated(number, args.work) for number in range(SIMULATED)]
    textbook = Parallel(args.jobs)(delayed(judge)(path, "default", args.work) for path, _ in made)
    truth, seeds = np.array([kind for _, kind in made]), np.array([str(i) for i in range(SIMULATED)])
    across = {
        "UvA-NEMO, people left out": {"clips": uva["rows"], "people": uva["persons"]}
        | {name: uva[name] for name in ("auc", "auc_interval", "accuracy", "accuracy_interval")},
        "PEDFE, people left out": score(left_out(rows[smiles], y[smiles], people[smiles]), y[smiles], people[smiles]),
        "learned on UvA-NEMO, judged on PEDFE": score(e[smiles], y[smiles], people[smiles]),
        "learned on PEDFE, judged on UvA-NEMO": score(
            own.fitted.logit(there[usable]), genuine[usable], groups[usable]
        ),
        "learned on UvA-NEMO, judged on simulated smiles": score(
            expert.fitted.logit(np.array([row for _, _, row in textbook])), truth, seeds
        ),
        "`default`, PEDFE, people left out": score(z[smiles], y[smiles], people[smiles]),
        "`default`, simulated smiles": score(np.array([z for z, _, _ in textbook]), truth, seeds),
    }  # fmt: skip
    least = min(row["log_loss"] for row in shares)
    return {
        "shares": shares,
        "chosen": max(row["share"] for row in shares if row["log_loss"] <= least + COST),
        "across": across,
    }


def table(found: dict[str, Any]) -> str:
    """The table of docs/science/measured.md."""
    lines = ["| smile descriptors, and `default` | smiles | AUC (95 %) | accuracy (95 %) |", "|---|---|---|---|"]
    for name, its in found["across"].items():
        cells = [
            f"{its[key]:.3f} ({its[f'{key}_interval'][0]:.3f}–{its[f'{key}_interval'][1]:.3f})"
            for key in ("auc", "accuracy")
        ]
        lines.append(f"| {name} | {its['clips']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--models", type=Path, help="folder of the models and of who they left out")
    parser.add_argument("--work", type=Path, help="folder for readings and simulated clips")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--texts", action="store_true", help="write the table alone")
    args = parser.parse_args()
    if not args.texts:
        if args.models is None or args.work is None:
            sys.exit("Expected --models and --work, or --texts; name both folders.")
        io.write_json(OUT, measured(args))
    judged.put("smile_share", TITLE, WORDS, table(json.loads(OUT.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
