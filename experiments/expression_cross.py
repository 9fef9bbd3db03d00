"""Emotions across data sets: trained on each, tested on every other, in one table.

    python experiments/expression_cross.py NAME=FOLDER NAME=FOLDER ... [-o FILE.json] [--recipe ours|my.toml]
                                           [--model ID|FOLDER] [--aligned] [--person PATTERN] [--device auto]

FOLDER is any emotion data that `duchenne finetune` reads: FER2013 in any form, CK+, class folders, a table. Only the
emotions that all data sets share are used. Each is tested on its own test fold, else on its validation fold, else on a
held-out fifth, by person where people are known; the test images are the same for all networks. Test images that are
identical to a training image are left out, and counted. Networks are trained from scratch, as initial weights from
another data set have seen it; --model uses such weights anyway, and the table says so.

Writes FILE.json and FILE.md; after a kill the same command resumes.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import checkpoints, io
from duchenne.clips.cache import Cache
from duchenne.datasets import fer2013
from duchenne.errors import InputError, UsageError
from duchenne.expression import data, learner
from duchenne.expression.faces import Faces, Reader
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.expression.split import held_back
from duchenne.metrics.classes import score_classes

HELD = 0.2  # of a set without folds


def common(sets: dict[str, Faces]) -> dict[str, Faces]:
    """The data sets reduced to their shared emotions, with the same class indices; InputError for fewer than two."""
    first, *others = sets.values()
    names = tuple(name for name in first.classes if all(name in faces.classes for faces in others))
    if len(names) < 2:
        raise InputError(f"The sets share {len(names)} emotions; at least two are needed: name their folders alike.")
    found = {}
    for name, faces in sets.items():
        shared = faces.of(np.flatnonzero(np.isin(np.array(faces.classes)[faces.labels], names)))
        labels = np.array([names.index(shared.classes[k]) for k in shared.labels], np.int64)
        found[name] = Faces(shared.images, labels, names, shared.files, shared.subjects, shared.folds, shared.notes)
    return found


def parts(faces: Faces, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows for training, for choosing the epoch, and for testing."""
    roles = faces.roles
    learn, held, test = (np.flatnonzero(roles == role) for role in ("train", "validation", "test"))
    if not len(test):
        test, held = held, test
    if not len(test):
        learn, test = held_back(faces, learn, seed + 1, HELD)
    if not len(held):
        learn, held = held_back(faces, learn, seed)
    if not len(test):
        raise InputError("A set is too small to hold images back; give more, or a folder test beside train.")
    return learn, held, test


def row(name: str, sets: dict[str, Faces], args: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """One network, trained on the data set `name`, tested on all."""
    recipe = ExpressionRecipe.read(args.recipe, epochs=args.epochs, seed=args.seed)
    start = checkpoints.load(args.model)[0] if args.model else None
    faces, (learn, held, _) = sets[name], parts(sets[name], recipe.seed)
    pair = (faces.images[held], faces.labels[held]) if len(held) else None
    model, curve = learner.train(
        *(recipe, faces.images[learn], faces.labels[learn], faces.classes, pair),
        folder=work / name,
        device=args.device,
        start=start,
        on_epoch=lambda row: print(
            f"{name}: epoch {row['epoch']} of {recipe.epochs}, loss {row['loss']:.4f}", flush=True
        ),
    )
    seen, cells = faces.images[np.concatenate([learn, held])], []
    for other, target in sets.items():
        rows = parts(target, recipe.seed)[2]
        copies = np.unique(fer2013.duplicates(seen, target.images[rows])[:, 1])
        part = target.of(np.delete(rows, copies))
        names = np.array(part.classes, object)
        predicted = names[model.predict(part.images).argmax(axis=1)]
        scores = score_classes(predicted, names[part.labels], part.subjects, classes=part.classes)
        largest = float(np.bincount(part.labels).max() / len(part))
        cells.append({"learnt": name, "judged": other, "left_out": len(copies), "largest_class": largest, **scores})
    print(
        f"{name}: {len(learn)} images, best epoch {model.facts['best_epoch']} of {len(curve)}, {model.facts['device']}"
    )
    return cells


def markdown(found: dict[str, Any]) -> str:
    """The table: accuracy and, in brackets, macro F1."""
    names, cells = found["sets"], {(cell["learnt"], cell["judged"]): cell for cell in found["cells"]}
    lines = [f"| trained on | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for name in names:
        shown = [f"{cells[name, other]['accuracy']:.3f} ({cells[name, other]['uf1']:.3f})" for other in names]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    always = [f"{cells[other, other]['largest_class']:.3f}" for other in names]
    lines.append(f"| always the most frequent class | {' | '.join(always)} |")
    began = f"from the weights of {found['model']}" if found["model"] else "from nothing"
    note = f"Accuracy (macro F1) on images that were not used for training; {', '.join(found['classes'])}; trained {began}."
    return "\n".join([*lines, "", note, ""])


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("-o", "--out", type=Path, default=Path("expression_cross.json"))
    parser.add_argument("--recipe", default="ours")
    parser.add_argument("--model")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--aligned", action="store_true")
    parser.add_argument("--person")
    parser.add_argument("--skip-missing-faces", action="store_true")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(words)
    places = dict(each.partition("=")[::2] for each in args.sets)
    if len(places) < 2 or not all(places.values()):
        parser.error("name at least two sets, each as NAME=FOLDER with a name of its own")
    work = args.out.parent / f".{args.out.stem}.work"
    reader = Reader(args.aligned, args.skip_missing_faces, args.person, cache=Cache())
    sets = common({name: data.emotions(place, reader, classes=None) for name, place in places.items()})
    if any(set(name) & set("/\\") for name in sets):
        raise UsageError("A set's name becomes a folder's; choose one without slashes.")
    cells = [cell for name in sets for cell in row(name, sets, args, work / "networks")]
    classes = next(iter(sets.values())).classes
    found = {"sets": list(sets), "classes": list(classes), "recipe": Path(args.recipe).stem, "model": args.model}
    found["cells"] = cells
    io.write_json(args.out, found)
    io.write_text(args.out.with_suffix(".md"), markdown(found))
    shutil.rmtree(work, ignore_errors=True)
    print(markdown(found))


if __name__ == "__main__":
    main()
