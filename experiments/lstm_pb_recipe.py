"""The LSTM-PB paper's training recipe on unseen people, beside a face that stands still.

    DUCHENNE_DATA=<folder with data/pedfe> python experiments/lstm_pb_recipe.py

Readings `paper` and `rnnpb`, small (two layers of 64, PB and context of 32, 12.5 frames per second), trained on the angry clips of four
fifths of PEDFE's open people and measured on those of the others: the mean squared error of the next frame, with PB at
zero in every epoch, and at the end with the PB vector that each unseen clip is recognised by. "A face that stands still" is
the same error where the next frame is predicted to be this one. `VARIANTS` change one thing at a time; the paper's own is
"one clip per step". Writes lstm_pb_recipe.json and docs/lstm-pb-recipe.svg;
experiments/sources.py writes the table of docs/lstm-pb.md from it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from duchenne import io
from duchenne.datasets import splits
from duchenne.features.sequences import padded
from duchenne.learn import loop
from duchenne.lstm_pb.learner import PBLearner
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.network import prediction_error, recognise
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.types import Array

HERE = Path(__file__)
EMOTION = "anger"
SIZE = {"hidden_size": 64, "num_layers": 2, "pb_size": 32, "context_size": 32, "fps": 12.5, "head": False}
ADAM = {"batch_size": 32, "optimizer": "adam", "learning_rate": 3e-3, "momentum": 0.0}
#: Words of the table → settings that differ from the paper's recipe.
VARIANTS: dict[str, dict[str, Any]] = {
    "one clip per step (the paper)": {},
    "eight clips at once, their steps summed": {"batch_size": 8, "summed": True},
    "eight summed, a layer after the grid (W_g)": {"batch_size": 8, "summed": True, "grid_layer": True},
    "eight summed, context of the output (Jordan)": {"batch_size": 8, "summed": True, "context": "output"},
    "eight summed, both": {"batch_size": 8, "summed": True, "grid_layer": True, "context": "output"},
    "batches of 32, their mean, no momentum (recipe before)": {"batch_size": 32, "momentum": 0.0},
    "Adam, rate 0.003, batches of 32": ADAM,
    "reading `rnnpb`, eight summed": {"reading": "rnnpb", "batch_size": 8, "summed": True},
    "reading `rnnpb`, Adam, rate 0.003, batches of 32": {"reading": "rnnpb", **ADAM},
}


class Watched(PBLearner):
    """Training that never looks at the people left out: neither the rates nor the epoch kept depend on them."""

    def score(self) -> float:
        """NaN: the training loss is watched."""
        return float("nan")


def sequences(recipe: PBRecipe, emotion: str) -> tuple[Array, Array, Array, Array]:
    """(sequences, labels, people) of all clips of PEDFE's open people, and the rows of the emotion that can be read."""
    root = Path(os.environ["DUCHENNE_DATA"]) / "data" / "pedfe"
    with np.load(root / "points.npz") as stored:
        people, y = stored["subject"].astype(str), stored["genuine"].astype(int)
        shown = stored["emotion"].astype(str)
    x = PBModel(recipe).table(list(io.load_tracks(root / "points.npz")))
    return x, y, people, np.array([i for i in np.flatnonzero(shown == emotion) if x[i] is not None])


def clips() -> tuple[list[Array], Array, Array]:
    """(sequences, labels, rows of unseen people) of the emotion's clips."""
    x, y, people, rows = sequences(PBRecipe.read("lstm-pb-paper", **SIZE), EMOTION)
    _, test = next(iter(splits.by_person(people, 5, 0)))
    return [x[i] for i in rows], y[rows], np.flatnonzero(np.isin(rows, test))


def still(x: list[Array], rows: Array) -> float:
    """Mean over clips of the error of predicting that nothing moves."""
    return float(np.mean([((x[i][1:] - x[i][:-1]) ** 2).mean() for i in rows]))


def recognised(learner: PBLearner, rows: Array) -> float:
    """Mean error over the clips `rows` with the PB vector that each is recognised by, steps that raise it undone."""
    x, mask = map(torch.from_numpy, padded([learner.sequences[i] for i in rows]))
    pb, _ = recognise(learner.network, x, mask, steps=20, learning_rate=learner.recipe.pb_learning_rate)
    with torch.no_grad():
        return float(prediction_error(learner.network(x, pb)[0], x, mask).mean())


def trained(x: list[Array], y: Array, unseen: Array, changes: dict[str, Any]) -> dict[str, Any]:
    """Learning curve and last errors of one variant, as multiples of standing still on the unseen clips."""
    learner = Watched(PBRecipe.read(PBRecipe.read("lstm-pb-paper", **SIZE), **changes), x, y, unseen)
    rest, curve, began = still(x, unseen), [], time.process_time()

    def note(row: loop.Row) -> None:
        curve.append([row["loss"] / still(x, learner.train), PBLearner.score(learner) / rest])

    rows = loop.fit(learner, learner.recipe.schedule, on_epoch=note)
    seconds = time.process_time() - began
    return {
        "epochs": len(rows),
        "learning_rate_at_the_end": learner.recipe.learning_rate * rows[-1]["lr_scale"],
        "training_clips": curve[-1][0],
        "unseen_pb_zero": PBLearner.score(learner) / rest,
        "unseen_pb_recognised": recognised(learner, unseen) / rest,
        "cpu_seconds_per_epoch": seconds / len(rows),
        "curve": [[float(f"{value:.4g}") for value in pair] for pair in curve],
    }


def figure(found: dict[str, Any], path: Path) -> None:
    """Errors of unseen clips by epoch, one line per variant, against standing still."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "duchenne"
    import matplotlib.pyplot as plt

    drawn, axes = plt.subplots(figsize=(7.5, 5.4), layout="constrained")
    for name, variant in found["variants"].items():
        axes.semilogy(
            range(1, variant["epochs"] + 1), [pair[1] for pair in variant["curve"]], lw=1.4, label=name.replace("`", "")
        )
    axes.axhline(1.0, color="black", lw=1, ls="--", label="a face that stands still")
    axes.set(xlabel="epoch", ylabel="error on unseen clips, as a multiple")
    drawn.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    drawn.savefig(path, metadata={"Date": None})


def table(found: dict[str, Any]) -> str:
    """The table of docs/lstm-pb.md."""
    lines = [
        f"| {EMOTION}: {found['clips']['trained']} clips to train on, {found['clips']['unseen']} of unseen people; "
        "multiples of the error of standing still | training clips | unseen, PB zero | unseen, PB recognised "
        "| CPU s an epoch |",
        "|---|---|---|---|---|",
    ]
    for name, v in found["variants"].items():
        errors = " | ".join(f"{v[key]:.1f}" for key in ("training_clips", "unseen_pb_zero", "unseen_pb_recognised"))
        lines.append(f"| {name} | {errors} | {v['cpu_seconds_per_epoch']:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train all variants, the slowest last."""
    torch.set_num_threads(1)
    x, y, unseen = clips()
    found: dict[str, Any] = {
        "data": f"PEDFE, open part, {EMOTION}; the first of five person-disjoint folds",
        "clips": {"trained": len(x) - len(unseen), "unseen": len(unseen)},
        "error_of_standing_still": still(x, unseen),
        "variants": {},
    }
    done = {}
    for name in reversed(VARIANTS):
        done[name] = trained(x, y, unseen, VARIANTS[name])
        print(name, {key: value for key, value in done[name].items() if key != "curve"}, flush=True)
        found["variants"] = {name: done[name] for name in VARIANTS if name in done}
        io.write_json(HERE.with_suffix(".json"), found)
    figure(found, HERE.parents[1] / "docs" / "lstm-pb-recipe.svg")


if __name__ == "__main__":
    main()
