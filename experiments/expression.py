"""Evaluation of the expression network: the votes on FER2013's public test, FER2013's own labels, duplicates, calibration,
half precision.

    DUCHENNE_DATA=<folder with data/fer2013/original> python experiments/expression.py [--model ID|FOLDER] [--texts]
                                       [--training FOLDER] [--before FOLDER] [--paper FOLDER] [--pictures FOLDER]

The images are FER2013's as published, the votes those of FER+ (ten raters). An image counts where at least half of the raters
give one emotion, which is its label. The public test was used neither in training nor to choose anything. FER2013 does not
identify people: intervals resample images.

Writes expression.json, the figures of docs/expression and, between their markers, the tables of
docs/expression.md and docs/science/measured.md, and the model's card. With --texts nothing is measured: texts and figures are made
from the JSON of this script and of benchmarks/expression.py. --training is the training folder (`learn.loop`) of the
network, whose curve goes into the JSON and whose float32 weights are compared with half precision, or its model folder with
the curve alone. --before is the model
folder of the network of version 0.1, which learned FER2013's own labels from equalised copies; --paper that of `duchenne
train expression --recipe paper`, whose scores and curve are shown beside ours. What is left out stays as it is in the
JSON. --pictures writes the most confident errors to a folder outside the repository: images of FER2013 may not be
redistributed.
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
from scipy.special import softmax

from duchenne import checkpoints, io, plots
from duchenne.checkpoints import tensors
from duchenne.datasets import fer2013, fer_plus
from duchenne.errors import DuchenneError, InputError, UsageError
from duchenne.expression import data
from duchenne.expression.faces import Faces
from duchenne.expression.model import ExpressionModel
from duchenne.metrics import intervals
from duchenne.metrics.classes import score_classes
from duchenne.plots import expression as pictures

ROOT = Path(__file__).parents[1]
OUT = Path(__file__).with_suffix(".json")
BINS, FOLDS, DRAWS, WORST = 10, 10, 1000, 40
#: Correlation of thumbnails (12×12, mean and size taken out) from which two images are one photograph. Of 7 pairs drawn
#: from each hundredth and looked at, all from .95 upwards were, 6 from .94 to .95, and fewer below.
SAME = 0.95
BLANK = 2.0  # grey levels: an image whose levels spread less shows nothing


def read(root: Path) -> Faces:
    """FER2013 with votes; InputError if it is missing."""
    if not (root / "labels.npz").is_file() and not (root / "fer2013new.csv").is_file():
        raise InputError(f"There are no votes in {root}; set DUCHENNE_DATA to the folder with data/fer2013/original.")
    return data.emotions(root)


def evaluated(p: np.ndarray, y: np.ndarray, classes: tuple[str, ...] = fer2013.CLASSES) -> dict[str, Any]:
    """Scores of probabilities (N, K) against labels (N,); intervals resample images."""
    names = np.array(classes)
    return score_classes(names[p.argmax(1)], names[y], range(len(y)), classes=classes, n=DRAWS)


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
    clean = (
        evaluated(p[~seen], y[~seen], fer_plus.CLASSES)
        if not seen.all()
        else {"accuracy": None, "accuracy_interval": None}
    )
    return {
        "pairs": len(pairs),
        "pairs_of_two_labels": int(other.sum()),
        "test_images": int(seen.sum()),
        "accuracy_of_these": hit[seen].mean() if seen.any() else None,
        **{f"{key}_without": clean[key] for key in ("accuracy", "accuracy_interval")},
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
        if "expression" in saved:  # of a model folder
            return {"epochs_planned": len(saved["expression"]), "rows": curve(saved["expression"])}
        return {"epochs_planned": saved["schedule"]["epochs"], "rows": curve(saved["curve"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} holds no learning curve of a training (curve.json); name another.") from error


def curve(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A curve from `learn.loop`, as the figure takes it."""
    return [
        {"epoch": row["epoch"], "loss": row["loss"], "accuracy": None if row["score"] is None else 1 - row["score"]}
        for row in rows
    ]


def as_the_paper(folder: Path, test: Faces) -> dict[str, Any]:
    """Scores and curve of the paper's network, from its model folder."""
    rows = json.loads((folder / "curve.json").read_text(encoding="utf-8"))["expression"]
    return {"rows": curve(rows), "public_test": by_labels(checkpoints.load(folder)[0], test)}


def by_labels(network: ExpressionModel, test: Faces, flips: bool = True) -> dict[str, Any]:
    """Scores of a network by the majority of the votes and by FER2013's own labels, of the classes that it has."""
    clear = np.flatnonzero(fer_plus.agreed(test.shares))
    p, names, found = network.predict(test.images, flips=flips), network.classes, {}
    known = clear[test.labels[clear] < len(names)]
    found["votes"] = evaluated(p[known], test.labels[known], names)
    seven = clear[test.labels[clear] < len(fer2013.CLASSES)]
    found["votes_seven"] = evaluated(p[seven, : len(fer2013.CLASSES)], test.labels[seven])
    own = np.flatnonzero(test.second >= 0)
    has_own = bool(network.network.config.second)
    answers = p[own, : len(fer2013.CLASSES)]
    if has_own:
        answers = network.second().predict(test.images[own], flips=flips)
    found["own"] = evaluated(answers, test.second[own])
    if len(names) == test.shares.shape[1]:
        share = test.shares / test.shares.sum(axis=1, keepdims=True)
        found["cross_entropy"] = -(share * np.log(p.clip(1e-12))).sum(axis=1).mean()
        found["entropy_of_votes"] = -(share * np.log(share.clip(1e-12))).sum(axis=1).mean()
    return found


def untempered(network: ExpressionModel, test: Faces) -> float:
    """Cross-entropy to the votes of the network as it learned them, before its logits were divided by a temperature."""
    logits = [network.logits(images) * network.facts["temperature"] for images in (test.images, test.images[..., ::-1])]
    p = softmax(np.stack(logits), axis=2).mean(axis=0)
    share = test.shares / test.shares.sum(axis=1, keepdims=True)
    return float(-(share * np.log(p)).sum(axis=1).mean())


def half_precision(model: ExpressionModel, folder: Path, epochs: int, images: Any, y: Any) -> dict[str, Any]:
    """The best averaged weights of a training in float32 against those that `expression.store` saves."""
    try:
        stored = load_file(str(folder / f"epoch-{epochs}.safetensors"))
        network = copy.deepcopy(model.network)
        network.load_state_dict({k[10:]: value for k, value in stored.items() if k.startswith("best.kept.")})
        with torch.no_grad():
            for each in network.head.parameters():
                each.div_(model.facts.get("temperature", 1.0))
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


def measure(
    model: str, training: Path | None, before: Path | None, paper: Path | None, shown: Path | None
) -> dict[str, Any]:
    """The content of the JSON; writes the image of errors to the folder `shown`."""
    faces = read(Path(os.environ.get("DUCHENNE_DATA", ".")) / "data" / "fer2013" / "original")
    network, about = checkpoints.load(model)
    if network.classes != fer_plus.CLASSES:
        raise UsageError(f"{model} tells {', '.join(network.classes)}; expected {', '.join(fer_plus.CLASSES)}.")
    test, train = (faces.of(np.flatnonzero(faces.roles == role)) for role in ("test", "train"))
    clear = np.flatnonzero(fer_plus.agreed(test.shares))
    images, y = test.images[clear], test.labels[clear]
    weights, p = checkpoints.locate(model) / tensors.NAME, network.predict(images, flips=True)
    own = (test.second == test.labels)[clear][test.second[clear] >= 0]
    found: dict[str, Any] = {
        "model": {
            **about,
            "kind": network.network.config.kind,
            "weights": sum(each.numel() for each in network.network.parameters()),
            "bytes": weights.stat().st_size,
        },
        "protocol": "FER2013's public test, images on which at least half of ten raters agree; used for nothing else",
        "train_images": len(train),
        "test_images": len(test),
        "agreed_images": len(clear),
        "own_labels_are_the_majoritys": own.mean(),
        "public_test": {name: by_labels(network, test, flips) for name, flips in (("plain", False), ("flips", True))},
        "calibration": calibration(p, y),
        "cross_entropy_before_temperature": untempered(network, test),
    }
    kinds, blank = {"exact": fer2013.duplicates, "near": near}, train.images.std(axis=(1, 2)) < BLANK
    found["leaks"] = {kind: leaked(pairs(train.images, images), p, y, train.labels) for kind, pairs in kinds.items()}
    found["blank_training_images"] = int(blank.sum())
    rows = np.flatnonzero(~blank & (train.second >= 0))
    found["doubles"] = {
        kind: doubles(pairs(train.images[rows], train.images[rows]), train.second[rows])
        for kind, pairs in kinds.items()
    }
    found["bfloat16"] = in_bfloat16(network, images, y, p)
    if training is not None:
        found["learning"] = learning_curve(training)
        epochs = len(found["learning"]["rows"])
        if any(training.glob("epoch-*.safetensors")):
            found["half_precision"] = half_precision(network, training, epochs, images, y)
    if before is not None:
        found["before"] = by_labels(checkpoints.load(before)[0], test)
    if paper is not None:
        found["paper"] = as_the_paper(paper, test)
    if shown is not None:
        rows = np.flatnonzero(p.argmax(1) != y)
        rows = rows[np.argsort(-p[rows].max(1))][:WORST]
        names = np.array(fer_plus.CLASSES)
        sheet = pictures.mistakes(images[rows], names[y[rows]], names[p[rows].argmax(1)], p[rows].max(1))
        plots.save(sheet, shown / "mistakes")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", default="expression")
    parser.add_argument("--training", type=Path)
    parser.add_argument("--before", type=Path)
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
            kept = json.loads(args.output.read_text(encoding="utf-8")) if args.output.is_file() else {}
            kept = {key: kept[key] for key in ("before", "paper") if key in kept}
            new = measure(args.model, args.training, args.before, args.paper, args.pictures)
            io.write_json(args.output, kept | new)
        found = json.loads(args.output.read_text(encoding="utf-8"))
        if args.output == OUT:
            expression_texts.write(found, ROOT)
    except DuchenneError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
