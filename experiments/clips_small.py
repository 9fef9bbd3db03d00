"""The clip networks of the thesis on real crops, at sizes that two cores can train, beside descriptors and peak intensity.

    DUCHENNE_DATA=<folder with data/pedfe/clips> python experiments/clips_small.py [--only NAME ...]
    python experiments/clips_small.py --texts

PEDFE's raw clips of its open people; three person-disjoint folds, one assignment. Every network reads `FRAMES` crops of
`SIDE` pixels (the shipped recipes 20 of 112) and is trained for as many epochs as its row says, from random weights or, where
it says so, from those of `expression`; all else as in its recipe. The epoch is chosen on a fifth of the training people.
Accuracies are of clips, not of frames. "Both" is the share of clips whose emotion (of six) and whose label are right.
Writes clips_small.json after each row, so that a killed run resumes, and the table of docs/clip-networks.md.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import ship
import torch

from duchenne import io, metrics
from duchenne.clipnets.model import ClipModel
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.clips.cache import Cache
from duchenne.learn.folds import person_folds
from duchenne.methods import names
from duchenne.training import data
from duchenne.types import Classifier

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import judged

OUT = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[1] / "docs" / "clip-networks.md"
FRAMES, SIDE, FOLDS = 8, 48, 3


@dataclass(frozen=True)
class Row:
    """A network: its recipe, epochs, and what else is changed in it."""

    recipe: str
    epochs: int
    weights: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def made(self) -> ClipRecipe:
        """The recipe at the small size."""
        small = {"frames": FRAMES, "image_size": SIDE, "batch_size": 16, "accumulate_steps": 1}
        changes = small | {"epochs": self.epochs, "early_stopping_patience": 0} | self.changes
        return replace(ClipRecipe.read(self.recipe), **changes)


#: The backbone of the expression network, as it is, which reads grey images.
_OURS: dict[str, Any] = {"backbone": "expression", "channels": 1, "per_image_standardization": True}
_OURS |= {"freeze_backbone": True, "backbone_lr_scale": 1.0, "learning_rate": 1e-3}
_FAST: dict[str, Any] = {"learning_rate": 1e-3}


def _loss(name: str) -> dict[str, Any]:
    return _OURS | {"loss": name, "label_smoothing": 0.0}


ROWS = {
    "`expression-lstm`, from `expression`": Row("expression-lstm", 12, "expression"),
    "… its backbone frozen": Row(
        "expression-lstm", 15, "expression", {"freeze_backbone": True, "backbone_lr_scale": 1.0}
    ),
    "`multi:expression`, from `expression`, frozen; cross-entropy": Row("resnet50-multi", 4, "expression", _OURS),
    "… Euclidean": Row("resnet50-multi", 4, "expression", _loss("euclidean")),
    "… focal": Row("resnet50-multi", 4, "expression", _loss("focal")),
    "… multi-label focal": Row("resnet50-multi", 4, "expression", _loss("multilabel-focal")),
    "`single:expression`, from `expression`, frozen; cross-entropy": Row("resnet50-single", 4, "expression", _OURS),
    "… its loss focal": Row("resnet50-single", 4, "expression", _loss("focal")),
    "`cnn3d`": Row("cnn3d", 8),
    "`resnet50-single`": Row("resnet50-single", 2, None, _FAST),
    "`resnet50-multi`": Row("resnet50-multi", 2, None, _FAST),
    "`resnet50-lstm`": Row("resnet50-lstm", 1, None, _FAST),
    "`se-resnet50-lstm`": Row("se-resnet50-lstm", 1, None, _FAST),
    "`resnet3d-18`": Row("resnet3d-18", 1, None, _FAST),
    "`vgg16-lstm`": Row("vgg16-lstm", 1),
}
BASE = {"descriptors of the same clips": "descriptors", "baseline: peak intensity": "peak intensity"}


def clips(reader: Any, work: Path) -> data.TrainingData:
    """What is read of PEDFE's raw clips."""
    manifest = work / "clips.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "subject", "emotion", "label"])
        for clip in judged.clips():
            rows.writerow([clip.path, clip.subject, clip.emotion, "genuine" if clip.genuine else "posed"])
    return data.read(manifest, (reader,), Cache())


def fitted(make: Any, found: data.TrainingData) -> dict[str, Any]:
    """Scores on people left out; of networks that name emotions also how often these, and both, are right."""
    p, named = np.full(len(found.y), np.nan), np.full(len(found.y), "", object)
    y, people, emotions = found.truth
    for train, test in person_folds(people, FOLDS, 0):
        model: Classifier = make()
        model.fit_table(found.x[train], y[train], people[train], emotions[train])
        p[test] = model.predict_table(found.x[test], emotions[test] if model.needs_emotions else None)[:, 1]
        if isinstance(model, ClipModel) and model.emotion_names:
            named[test] = [max(its, key=its.__getitem__) if its else "" for its in model.emotions(found.x[test])]
    scores = metrics.score(p, y, people, emotions, n=1000)
    names = ("rows", "persons", "accuracy", "accuracy_interval", "auc", "auc_interval", "forced_pairs", "ece")
    out = {name: scores[name] for name in names}
    if (named != "").any():
        right = named == emotions
        out["emotion"] = float(right.mean())
        out["both"] = float((right & ((p >= 0.5) == y)).mean())
    return out


def measured(name: str, work: Path, known: dict[Any, data.TrainingData]) -> dict[str, Any]:
    """A row of the JSON."""
    row = ROWS.get(name)
    reader = names_of(name).reader if row is None else row.made.reader
    if reader not in known:
        known.clear()  # one table of crops at a time
        known[reader] = clips(reader, work)
    if row is None:
        return fitted(lambda: names_of(name), known[reader])
    made = row.made
    found = fitted(lambda: ClipModel(made, device="auto", weights=row.weights), known[reader])
    return {
        **found,
        "epochs": row.epochs,
        "input": f"{FRAMES} frames {SIDE}×{SIDE} {'grey' if made.channels == 1 else 'RGB'}",
    }


def names_of(name: str) -> Classifier:
    """A method that reads no crops."""
    method = BASE[name]
    return names.BASELINES[method](0) if method in names.BASELINES else names.make(method)


def table(found: dict[str, Any]) -> str:
    """The table of docs/clip-networks.md."""
    lines = [
        "| PEDFE's raw clips, unseen people | epochs | accuracy (95 %) | AUC (95 %) | forced pairs | emotion | both |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, its in found["rows"].items():
        more = [f"{its[key]:.3f}" if key in its else "–" for key in ("forced_pairs", "emotion", "both")]
        cells = [name, str(its.get("epochs", "–")), ship.spread(its, "accuracy"), ship.spread(its, "auc"), *more]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--only", nargs="+", choices=(*ROWS, *BASE), metavar="NAME")
    parser.add_argument("--texts", action="store_true", help="write the table alone")
    args = parser.parse_args()
    found: dict[str, Any] = io.read_json(OUT) if OUT.exists() else {}
    if not args.texts:
        found["data"] = f"PEDFE, open part, raw clips; {FOLDS} person-disjoint folds, one assignment"
        found["device"] = "cuda" if torch.cuda.is_available() else f"{torch.get_num_threads()} thread"
        rows, known = found.setdefault("rows", {}), dict[Any, data.TrainingData]()
        with tempfile.TemporaryDirectory() as work:
            for name in [each for each in args.only or (*BASE, *ROWS) if each not in rows]:
                rows[name] = measured(name, Path(work), known)
                print(name, rows[name], flush=True)
                found["rows"] = {each: rows[each] for each in (*BASE, *ROWS) if each in rows}
                io.write_json(OUT, found)
    judged.put("clips_small", "", "", table(found), PAGE)


if __name__ == "__main__":
    main()
