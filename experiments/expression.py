"""Evaluation of the expression network: FER2013's public test, its labels and duplicates, calibration, half precision.

    DUCHENNE_DATA=<folder with data/fer2013> python experiments/expression.py [--model ID|FOLDER] [--training FOLDER]
                                                            [--paper FOLDER] [--pictures FOLDER] [--texts]

Writes expression.json, the figures of docs/expression and, between their markers, the tables of
docs/expression.md and docs/science/measured.md, and the model's card. With --texts nothing is measured: texts and figures are made
from the JSON of this script and of benchmarks/expression.py. --training is the training folder (`learn.loop`) of the
network: its curve goes into the JSON, and its float32 weights are compared with half precision. --paper is the model
folder of `duchenne train expression --recipe paper`, whose scores and curve are shown beside ours. --pictures writes the
most confident errors to a folder outside the repository: images of FER2013 may not be redistributed.

The best epoch was chosen on the public test, so its figures are slightly optimistic. FER2013 does not identify people:
intervals resample images.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import expression_texts
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy.optimize import minimize_scalar
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from duchenne import checkpoints, io, plots
from duchenne.checkpoints import tensors
from duchenne.datasets import fer2013
from duchenne.errors import DuchenneError, InputError, UsageError
from duchenne.expression.model import ExpressionModel
from duchenne.metrics import intervals
from duchenne.metrics.classes import score_classes
from duchenne.plots import expression as pictures

ROOT = Path(__file__).parents[1]
OUT = Path(__file__).with_suffix(".json")
SURE = 0.8  # P of another class above which a label looks wrong
BINS, FOLDS, DRAWS, WORST = 10, 10, 1000, 40
#: Correlation of thumbnails (12×12, mean and size taken out) from which two images are one photograph. Of 7 pairs drawn
#: from each hundredth and looked at, all from .95 upwards were, 6 from .94 to .95, and fewer below.
SAME = 0.95
BLANK = 2.0  # grey levels: an image whose levels spread less shows nothing


def fold(root: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 (N, 48, 48), labels (N,)) of a fold of FER2013 as packed; InputError if it is missing."""
    entries = [entry for entry in fer2013.packed(root) if entry.clip.fold == name]
    if not entries:
        raise InputError(f"There is no {name}.npz in {root}; set DUCHENNE_DATA to the folder with data/fer2013.")
    labels = [fer2013.CLASSES.index(str(entry.clip.emotion)) for entry in entries]
    return fer2013.images(entries), np.array(labels, np.int64)


def evaluated(p: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Scores of probabilities (N, 7) against labels (N,); intervals resample images."""
    names = np.array(fer2013.CLASSES)
    return score_classes(names[p.argmax(1)], names[y], range(len(y)), classes=fer2013.CLASSES, n=DRAWS)


def log_loss(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(N,): −log P of the label."""
    return -np.log(np.clip(p[np.arange(len(y)), y], 1e-12, None))


def cooled(p: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / temperature) (N, K)."""
    logits = np.log(np.clip(p, 1e-12, None)) / temperature
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=1, keepdims=True))


def fitted(p: np.ndarray, y: np.ndarray) -> float:
    """The maximum-likelihood temperature of p."""
    found = minimize_scalar(lambda t: log_loss(cooled(p, np.exp(t)), y).mean(), bounds=(-2, 2), method="bounded")
    return float(np.exp(found.x))


def trust(p: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """ECE of the predicted class's P, log loss, Brier score (sum over classes), and the bins of the figure."""
    sure, right = p.max(1), (p.argmax(1) == y).astype(int)
    count, claimed, share, ece = plots.calibration(sure, right, BINS)
    rows = [{"images": int(n), "claimed": c, "right": r} for n, c, r in zip(count, claimed, share, strict=True)]
    brier = np.square(p - np.eye(p.shape[1])[y]).sum(1).mean()
    return {"ece": ece, "log_loss": log_loss(p, y).mean(), "brier": brier, "mean_p": sure.mean(), "bins": rows}


def calibration(p: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """As predicted, and with a temperature fitted on nine tenths of the images and applied to the last."""
    part = np.random.default_rng(0).permutation(len(y)) % FOLDS
    after, found = np.empty_like(p), []
    for each in range(FOLDS):
        found.append(fitted(p[part != each], y[part != each]))
        after[part == each] = cooled(p[part == each], found[-1])
    change = log_loss(after, y) - log_loss(p, y)
    drawn = np.concatenate([block @ change / len(y) for block in intervals.draws(len(y), DRAWS, 0)])
    low, high = intervals.percentiles(drawn)
    return {
        "as_answered": trust(p, y),
        "with_temperature": trust(after, y),
        "temperature": {"all": fitted(p, y), "least": min(found), "most": max(found)},
        "log_loss_change": change.mean(),
        "log_loss_change_interval": [low, high],
        "temperature_helps": high < 0,
    }


def thumbnails(images: np.ndarray) -> np.ndarray:
    """float32 (N, 144): each image at a quarter of its size, mean removed, of length 1 (0 if it is flat)."""
    small = images.reshape(-1, 12, 4, 12, 4).mean((2, 4), dtype=np.float32).reshape(len(images), -1)
    small -= small.mean(axis=1, keepdims=True)
    return np.asarray(small / np.linalg.norm(small, axis=1, keepdims=True).clip(1e-6))


def near(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """int64 (K, 2): pairs (i, j) for which a[i] and b[j] are one photograph (`SAME`), by j, then i."""
    first, second, found = thumbnails(a), thumbnails(b), [np.empty((0, 2), np.int64)]
    for start in range(0, len(b), 1024):
        j, i = np.nonzero(second[start : start + 1024] @ first.T >= SAME)
        found.append(np.stack([i, j + start], axis=1))
    return np.concatenate(found)


def doubles(pairs: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """How often the labels of a fold's duplicate photographs differ; `pairs` as of (fold, fold).

    `surely_wrong` counts labels that are not the most common of their photograph: a lower bound of wrong labels.
    """
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(y), len(y)))
    group = connected_components(links, directed=False)[1]
    counts = np.zeros((group.max() + 1, len(fer2013.CLASSES)), np.int64)
    np.add.at(counts, (group, y), 1)
    counts = counts[counts.sum(1) > 1]
    images, wrong = int(counts.sum()), int((counts.sum(1) - counts.max(1, initial=0)).sum())
    return {
        "pairs": len(pairs),
        "pairs_of_two_labels": int((y[pairs[:, 0]] != y[pairs[:, 1]]).sum()),
        "photographs": len(counts),
        "photographs_of_several_labels": int(((counts > 0).sum(1) > 1).sum()),
        "images": images,
        "surely_wrong": wrong,
        "share_surely_wrong": wrong / images if images else None,
    }


def leaked(pairs: np.ndarray, p: np.ndarray, y: np.ndarray, train_y: np.ndarray) -> dict[str, Any]:
    """Test images that are also among the training images, and the accuracy without them."""
    seen = np.isin(np.arange(len(y)), pairs[:, 1])
    hit, other = p.argmax(1) == y, train_y[pairs[:, 0]] != y[pairs[:, 1]]
    clean = evaluated(p[~seen], y[~seen]) if not seen.all() else {"accuracy": None, "accuracy_interval": None}
    return {
        "pairs": len(pairs),
        "pairs_of_two_labels": int(other.sum()),
        "test_images": int(seen.sum()),
        "accuracy_of_these": hit[seen].mean() if seen.any() else None,
        **{f"{key}_without": clean[key] for key in ("accuracy", "accuracy_interval")},
    }


def looks_wrong(p: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Share of the images with P ≥ `SURE` for another class than the label."""
    sure = p.max(1) >= SURE
    other = sure & (p.argmax(1) != y)
    most = [other & (y == label) for label in range(len(fer2013.CLASSES))]
    return {
        "p_from": SURE,
        "sure_of_another": int(other.sum()),
        "share": other.mean(),
        "sure": sure.mean(),
        "right_where_sure": 1 - other.sum() / sure.sum() if sure.any() else None,
        "by_label": {name: int(rows.sum()) for name, rows in zip(fer2013.CLASSES, most, strict=True)},
    }


def in_bfloat16(model: ExpressionModel, images: np.ndarray, y: np.ndarray, p: np.ndarray) -> dict[str, Any]:
    """The effect of inference in bfloat16."""
    with torch.autocast(model.network.mean.device.type, torch.bfloat16):
        other = model.predict(images, flips=True)
    return changed(other, p, y)


def changed(other: np.ndarray, p: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """How `other` probabilities differ from p."""
    return {
        "accuracy": (other.argmax(1) == y).mean(),
        "accuracy_change": (other.argmax(1) == y).mean() - (p.argmax(1) == y).mean(),
        "answers_changed": (other.argmax(1) != p.argmax(1)).mean(),
        "largest_change_of_p": np.abs(other - p).max(),
    }


def learning_curve(folder: Path) -> dict[str, Any]:
    """The learning curve of a training folder, as plain rows."""
    try:
        saved = json.loads((folder / "curve.json").read_text(encoding="utf-8"))
        return {"epochs_planned": saved["schedule"]["epochs"], "rows": curve(saved["curve"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} holds no learning curve of a training (curve.json); name another.") from error


def curve(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A curve from `learn.loop`, as the figure takes it."""
    return [
        {"epoch": row["epoch"], "loss": row["loss"], "accuracy": None if row["score"] is None else 1 - row["score"]}
        for row in rows
    ]


def as_the_paper(folder: Path, images: Any, y: Any) -> dict[str, Any]:
    """Scores and curve of the paper's network, from its model folder."""
    network = checkpoints.load(folder)[0]
    rows = json.loads((folder / "curve.json").read_text(encoding="utf-8"))["expression"]
    return {
        "rows": curve(rows),
        "public_test": {
            name: evaluated(network.predict(images, flips=flips), y)
            for name, flips in (("plain", False), ("flips", True))
        },
    }


def half_precision(model: ExpressionModel, folder: Path, epochs: int, images: Any, y: Any) -> dict[str, Any]:
    """The best averaged weights of a training in float32 against those that `expression.store` saves."""
    try:
        stored = load_file(str(folder / f"epoch-{epochs}.safetensors"))
        network = copy.deepcopy(model.network)
        network.load_state_dict({k[10:]: value for k, value in stored.items() if k.startswith("best.kept.")})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{folder} holds no weights of a training of this network; name another.") from error
    with tempfile.TemporaryDirectory() as place:
        kept = checkpoints.save(ExpressionModel(network, model.recipe), Path(place) / "half", name="half")
        half = checkpoints.load(kept)[0]
        size = (kept / tensors.NAME).stat().st_size
    pairs = zip(half.network.state_dict().values(), model.network.state_dict().values(), strict=True)
    full = ExpressionModel(network, model.recipe).predict(images, flips=True)
    return {
        "bytes": size,
        "is_the_models": all(torch.equal(a, b) for a, b in pairs),
        "float32_accuracy": (full.argmax(1) == y).mean(),
        **changed(half.predict(images, flips=True), full, y),
    }


def measure(model: str, training: Path | None, paper: Path | None, shown: Path | None) -> dict[str, Any]:
    """The content of the JSON; writes the image of errors to the folder `shown`."""
    root = Path(os.environ.get("DUCHENNE_DATA", ".")) / "data" / "fer2013"
    network, about = checkpoints.load(model)
    if network.classes != fer2013.CLASSES:
        raise UsageError(f"{model} tells {', '.join(network.classes)}; expected {', '.join(fer2013.CLASSES)}.")
    (images, y), (train_images, train_y) = fold(root, "public_test"), fold(root, "train")
    weights = checkpoints.locate(model) / tensors.NAME
    plain, p = (network.predict(images, flips=flips) for flips in (False, True))
    found: dict[str, Any] = {
        "model": {
            **about,
            "kind": network.network.config.kind,
            "weights": sum(each.numel() for each in network.network.parameters()),
            "bytes": weights.stat().st_size,
        },
        "protocol": "FER2013's public test, by which the best epoch was chosen: a little too kind",
        "train_images": len(train_y),
        "public_test": {"plain": evaluated(plain, y), "flips": evaluated(p, y)},
        "calibration": calibration(p, y),
        "looks_wrong": looks_wrong(p, y),
    }
    kinds, blank = {"exact": fer2013.duplicates, "near": near}, train_images.std(axis=(1, 2)) < BLANK
    found["leaks"] = {kind: leaked(pairs(train_images, images), p, y, train_y) for kind, pairs in kinds.items()}
    found["blank_training_images"] = int(blank.sum())
    rows = np.flatnonzero(~blank)
    found["doubles"] = {
        kind: doubles(pairs(train_images[rows], train_images[rows]), train_y[rows]) for kind, pairs in kinds.items()
    }
    found["bfloat16"] = in_bfloat16(network, images, y, p)
    if training is not None:
        found["learning"] = learning_curve(training)
        epochs = len(found["learning"]["rows"])
        found["half_precision"] = half_precision(network, training, epochs, images, y)
    if paper is not None:
        found["paper"] = as_the_paper(paper, images, y)
    if shown is not None:
        rows = np.flatnonzero(p.argmax(1) != y)
        rows = rows[np.argsort(-p[rows].max(1))][:WORST]
        names = np.array(fer2013.CLASSES)
        sheet = pictures.mistakes(images[rows], names[y[rows]], names[p[rows].argmax(1)], p[rows].max(1))
        plots.save(sheet, shown / "mistakes")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", default="expression")
    parser.add_argument("--training", type=Path)
    parser.add_argument("--paper", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--texts", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=OUT)
    args = parser.parse_args()
    if args.pictures is not None and args.pictures.resolve().is_relative_to(ROOT.resolve()):
        sys.exit(
            f"{args.pictures} is in the repository, where images of FER2013 are not allowed; choose another folder."
        )
    try:
        if not args.texts:
            io.write_json(args.output, measure(args.model, args.training, args.paper, args.pictures))
        found = json.loads(args.output.read_text(encoding="utf-8"))
        if args.output == OUT:
            expression_texts.write(found, ROOT)
    except DuchenneError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
