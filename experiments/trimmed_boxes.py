"""The LSTM-PB paper's augmentation, landmarks found again on trimmed face boxes, beside shifting and scaling the points.

    DUCHENNE_DATA=<folder with data/pedfe> python experiments/trimmed_boxes.py

The angry clips of PEDFE's open people (dlib's points, every second frame, and the raw videos), reading `paper` of LSTM-PB,
small, boosting on PB vectors; three person-disjoint folds. Each variant trains the network and the trees on the same
clips: without copies, with three copies shifted and scaled as a whole (in use too: an answer is their mean), and with
three copies whose landmarks dlib found again in trimmed boxes (training clips alone). `movement` is how far the landmarks of a copy are from
the clip's own once both are as the network reads them, in halves of a face, and how much of that a shift and scale of the
whole clip explains. The landmarks are cached, so that a killed run resumes. Writes trimmed_boxes.json.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from duchenne import io, metrics
from duchenne.clips import trimmed
from duchenne.clips.cache import Cache
from duchenne.features.sequences import SequenceReader
from duchenne.learn.folds import person_folds
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.types import Array, Clip

EMOTION, FOLDS, COPIES, TRIM = "anger", 3, 3, 0.1
SAME: dict[str, Any] = {"classifier": "boosting", "head": True}
READER = SequenceReader(12.5, head=True)
VARIANTS: dict[str, dict[str, Any]] = {
    "no copies": {},
    f"{COPIES} copies, shifted and scaled": {"augmented_copies": 1 + COPIES},
    f"{COPIES} copies, landmarks found again in trimmed boxes": {"trimmed_boxes": COPIES},
}


def recipe(changes: dict[str, Any]) -> PBRecipe:
    """The shipped small recipe of the paper's reading, with boosting and the head's movement."""
    return PBRecipe.read("lstm-pb-small", **SAME, **changes)


def clips() -> tuple[Array, Array, Array]:
    """(x object (N,) of tuples: a clip's own sequence and its copies; labels; people)."""
    root, cache = Path(os.environ["DUCHENNE_DATA"]) / "data" / "pedfe", Cache()
    with np.load(root / "points.npz") as stored:
        names, people, y = stored["clip"].astype(str), stored["subject"].astype(str), stored["genuine"].astype(int)
        at = np.flatnonzero(stored["emotion"].astype(str) == EMOTION)
    known, found = list(io.load_tracks(root / "points.npz")), {}
    for done, i in enumerate(at, 1):
        track = known[i].take("every second frame", np.arange(0, len(known[i]), 2))
        clip = Clip(str(root / "clips" / f"{names[i]}.avi"), reader="paper")
        table = READER.table([track, *trimmed.tracks(clip, track, COPIES, TRIM, cache)])
        if table[0] is not None:
            found[i] = tuple(each for each in table if each is not None)
        print(done, "of", len(at), end="\r", flush=True)
    x = np.empty(len(found), object)
    x[:] = list(found.values())
    return x, y[list(found)], people[list(found)]


def movement(x: Array) -> dict[str, float]:
    """Mean distance of a point of a copy from the clip's own, and the share of its square that one shift and scale for
    the whole clip explains (least squares)."""
    far, explained = [], []
    for own, *copies in x:
        for copy in (each for each in copies if each.shape == own.shape):
            a, b = (each[:, :80].reshape(-1, 2).astype(float) for each in (own, copy))
            far.append(np.linalg.norm(b - a, axis=1).mean())
            centred = a - a.mean(axis=0)
            scale = ((b - b.mean(axis=0)) * centred).sum() / (centred**2).sum()
            rest = b - b.mean(axis=0) - scale * centred
            explained.append(1 - (rest**2).sum() / ((b - a) ** 2).sum())
    return {"of_half_a_face": float(np.mean(far)), "explained_by_shift_and_scale": float(np.mean(explained))}


def judged(changes: dict[str, Any], x: Array, y: Array, people: Array) -> dict[str, Any]:
    """Scores on people left out."""
    p, made = np.full(len(y), np.nan), recipe(changes)
    for train, test in person_folds(people, FOLDS, 0):
        given = x if made.trimmed_boxes else own(x)
        p[test] = PBModel(made).fit_table(given[train], y[train], people[train]).predict_table(own(x)[test])[:, 1]
    found = metrics.score(p, y, people, np.full(len(y), EMOTION), n=500)
    keys = ("rows", "persons", "accuracy", "accuracy_interval", "auc", "auc_interval", "ece")
    return {key: found[key] for key in keys}


def own(x: Array) -> Array:
    """The clips without copies."""
    out = np.empty(len(x), object)
    out[:] = [item[0] for item in x]
    return out


def main() -> None:
    """Read, measure all variants, and write the JSON."""
    torch.set_num_threads(1)
    x, y, people = clips()
    found: dict[str, Any] = {
        "data": f"PEDFE, open part, raw clips of {EMOTION}; {FOLDS} person-disjoint folds, one assignment",
        "movement": movement(x),
        "variants": {},
    }
    for name, changes in VARIANTS.items():
        found["variants"][name] = judged(changes, x, y, people)
        print(name, found["variants"][name], flush=True)
        io.write_json(Path(__file__).with_suffix(".json"), found)


if __name__ == "__main__":
    main()
