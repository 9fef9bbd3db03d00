"""Emotions across data sets: learnt on each, judged on every other, in one table.

    python experiments/expression_cross.py NAME=FOLDER NAME=FOLDER ... [-o FILE.json] [--recipe ours|my.toml]
                                           [--model ID|FOLDER] [--aligned] [--person PATTERN] [--device auto]

FOLDER is whatever `duchenne finetune` takes for emotions: FER2013 in any form, CK+, class folders, a table. Only the
emotions that all sets have are learnt and judged. A set is judged on its own test fold, else on its validation fold,
else on a fifth held back, whole persons where these are known; the same images are judged whoever has learnt. Pictures
that are pixel for pixel among those learnt from are left out, and counted. Networks learn from nothing, as one that
begins with weights of another set is no longer strange to that set; --model does so all the same, and it is said.

Writes FILE.json and FILE.md; killed, the same call goes on.
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
from duchenne.expression.data import Faces, Reader
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.expression.training import held_back
from duchenne.metrics.classes import score_classes

HELD = 0.2  # of a set without folds


def common(sets: dict[str, Faces]) -> dict[str, Faces]:
    """The sets with the emotions that all of them have, numbered alike; InputError for fewer than two."""
    first, *others = sets.values()
    names = tuple(name for name in first.classes if all(name in faces.classes for faces in others))
    if len(names) < 2:
        raise InputError(f"The sets share {len(names)} emotions; at least two are needed: name their folders alike.")
    found = {}
    for name, faces in sets.items():
        wanted = faces.of(np.flatnonzero(np.isin(np.array(faces.classes)[faces.labels], names)))
        labels = np.array([names.index(wanted.classes[k]) for k in wanted.labels], np.int64)
        found[name] = Faces(wanted.images, labels, names, wanted.files, wanted.subjects, wanted.folds, wanted.notes)
    return found


def parts(faces: Faces, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows to learn from, to choose the epoch by, and to judge on."""
    roles = faces.roles
    learn, held, judge = (np.flatnonzero(roles == role) for role in ("train", "validation", "test"))
    if not len(judge):
        judge, held = held, judge
    if not len(judge):
        learn, judge = held_back(faces, learn, seed + 1, HELD)
    if not len(held):
        learn, held = held_back(faces, learn, seed)
    if not len(judge):
        raise InputError("A set is too small to hold images back; give more, or a folder test beside train.")
    return learn, held, judge


def row(name: str, sets: dict[str, Faces], asked: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """One network, learnt on the set `name`, judged on all."""
    recipe = ExpressionRecipe.read(asked.recipe, epochs=asked.epochs, seed=asked.seed)
    start = checkpoints.load(asked.model)[0] if asked.model else None
    faces, (learn, held, _) = sets[name], parts(sets[name], recipe.seed)
    pair = (faces.images[held], faces.labels[held]) if len(held) else None
    model, curve = learner.train(
        *(recipe, faces.images[learn], faces.labels[learn], faces.classes, pair),
        folder=work / name,
        device=asked.device,
        start=start,
        on_epoch=lambda told: print(
            f"{name}: epoch {told['epoch']} of {recipe.epochs}, loss {told['loss']:.4f}", flush=True
        ),
    )
    seen, cells = faces.images[np.concatenate([learn, held])], []
    for other, judged in sets.items():
        rows = parts(judged, recipe.seed)[2]
        copies = np.unique(fer2013.duplicates(seen, judged.images[rows])[:, 1])
        part = judged.of(np.delete(rows, copies))
        names = np.array(part.classes, object)
        said = names[model.predict(part.images).argmax(axis=1)]
        scores = score_classes(said, names[part.labels], part.subjects, classes=part.classes)
        largest = float(np.bincount(part.labels).max() / len(part))
        cells.append({"learnt": name, "judged": other, "left_out": len(copies), "largest_class": largest, **scores})
    print(
        f"{name}: {len(learn)} images, best epoch {model.facts['best_epoch']} of {len(curve)}, {model.facts['device']}"
    )
    return cells


def markdown(found: dict[str, Any]) -> str:
    """The table: accuracy and, in brackets, macro F1."""
    names, cells = found["sets"], {(cell["learnt"], cell["judged"]): cell for cell in found["cells"]}
    lines = [f"| learnt from | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for name in names:
        shown = [f"{cells[name, other]['accuracy']:.3f} ({cells[name, other]['uf1']:.3f})" for other in names]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    always = [f"{cells[other, other]['largest_class']:.3f}" for other in names]
    lines.append(f"| always the most frequent class | {' | '.join(always)} |")
    began = f"from the weights of {found['model']}" if found["model"] else "from nothing"
    note = f"Accuracy (macro F1) on images that were not learnt from; {', '.join(found['classes'])}; learnt {began}."
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
    asked = parser.parse_args(words)
    places = dict(each.partition("=")[::2] for each in asked.sets)
    if len(places) < 2 or not all(places.values()):
        parser.error("name at least two sets, each as NAME=FOLDER with a name of its own")
    work = asked.out.parent / f".{asked.out.stem}.work"
    reader = Reader(asked.aligned, asked.skip_missing_faces, asked.person, cache=Cache())
    sets = common({name: data.emotions(place, reader, classes=None) for name, place in places.items()})
    if any(set(name) & set("/\\") for name in sets):
        raise UsageError("A set's name becomes a folder's; choose one without slashes.")
    cells = [cell for name in sets for cell in row(name, sets, asked, work / "networks")]
    classes = next(iter(sets.values())).classes
    found = {"sets": list(sets), "classes": list(classes), "recipe": Path(asked.recipe).stem, "model": asked.model}
    found["cells"] = cells
    io.write_json(asked.out, found)
    io.write_text(asked.out.with_suffix(".md"), markdown(found))
    shutil.rmtree(work, ignore_errors=True)
    print(markdown(found))


if __name__ == "__main__":
    main()
