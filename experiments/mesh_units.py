"""Which coefficient of the face mesh stands for which action unit, and which do nothing: on CK+'s peak faces.

    DUCHENNE_DATA=<folder with data/> python experiments/mesh_units.py

CK+: 777 peak faces of 95 people, 48×48 pixels, units coded by FACS coders. A face is enlarged fourfold, put on a plain
ground, detected and read twice, the second time in the region of its own points. Left and right coefficients are averaged.

For every unit that at least 10 people show: the AUC of each coefficient by itself, which needs no training; the coefficient
with the name that fits the unit (`NAMED`, set before looking); the coefficient and direction that are best on the other
people, in five folds of people; and logistic regression on all of them in the same folds. Intervals (95 %) resample people.
Writes mesh_units.json.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from duchenne import io, metrics
from duchenne.mesh import COEFFICIENTS, FaceMesh
from duchenne.metrics.intervals import draws, percentiles
from duchenne.types import Array

LARGER, MARGIN, GROUND = 4, 64, 127
FOLDS, DRAWS, LEAST = 5, 1000, 10
#: Unit → the coefficient whose description is nearest to FACS's.
NAMED = {
    "AU01": "browInnerUp", "AU02": "browOuterUp", "AU04": "browDown", "AU05": "eyeWide", "AU06": "cheekSquint",
    "AU07": "eyeSquint", "AU09": "noseSneer", "AU10": "mouthUpperUp", "AU12": "mouthSmile", "AU14": "mouthDimple",
    "AU15": "mouthFrown", "AU16": "mouthLowerDown", "AU17": "mouthShrugLower", "AU18": "mouthPucker",
    "AU20": "mouthStretch", "AU23": "mouthRollLower", "AU24": "mouthPress", "AU25": "jawOpen", "AU26": "jawOpen",
    "AU27": "jawOpen",
}  # fmt: skip
DEAD = 0.05  # a coefficient that reaches this in fewer than one of a hundred faces says nothing


def main() -> None:
    root = os.environ.get("DUCHENNE_DATA")
    if not root:
        sys.exit("Set DUCHENNE_DATA to the folder that holds data/ckplus.")
    cv2.setNumThreads(1)
    stored = dict(np.load(Path(root) / "data" / "ckplus" / "units.npz"))
    values, seen = read(stored["images"])
    people, units = stored["subject"][seen], stored["units"][seen].astype(bool)
    names, values = merged(values[seen])
    share = {name: float(np.quantile(values[:, column], 0.99)) for column, name in enumerate(names)}
    found: dict[str, Any] = {
        "faces": int(seen.sum()),
        "not_read": int((~seen).sum()),
        "people": len(set(people)),
        "p99": {name: round(each, 4) for name, each in share.items()},
        "dead": [name for name, each in share.items() if each < DEAD],
        "units": {},
    }
    for column, unit in enumerate(stored["unit_names"]):
        y = units[:, column]
        if len(set(people[y == 1])) >= LEAST:
            found["units"][str(unit)] = measured(values, y, people, names, NAMED[str(unit)])
            print(unit, found["units"][str(unit)], flush=True)
    text = re.sub(r"\[\s+([^][]*?)\s+\]", lambda row: f"[{' '.join(row[1].split())}]", json.dumps(found, indent=1))
    io.write_text(Path(__file__).with_suffix(".json"), text + "\n")


def read(images: Array) -> tuple[Array, Array]:
    """(coefficients (N, 52), whether the face was read (N,))."""
    mesh, values, seen = FaceMesh(), np.zeros((len(images), len(COEFFICIENTS))), np.zeros(len(images), bool)
    for row, image in enumerate(images):
        large = cv2.resize(image, None, fx=LARGER, fy=LARGER, interpolation=cv2.INTER_CUBIC)
        large = cv2.copyMakeBorder(large, *[MARGIN] * 4, cv2.BORDER_CONSTANT, value=GROUND)
        frame = cv2.cvtColor(large, cv2.COLOR_GRAY2BGR)
        faces = mesh.detect(frame)
        if len(faces):
            reading = mesh.read(frame, mesh.read(frame, faces.region(0)).following)
            values[row], seen[row] = reading.coefficients, reading.presence >= 0.5
    return values, seen


def merged(values: Array) -> tuple[list[str], Array]:
    """Names and values with left and right averaged, where both sides have one; `_neutral` is left out."""
    groups: dict[str, list[int]] = {}
    for column, name in enumerate(COEFFICIENTS):
        bare = re.sub("(Left|Right)$", "", name)
        paired = bare != name and {f"{bare}Left", f"{bare}Right"} <= set(COEFFICIENTS) and bare not in ("jaw", "mouth")
        if name != "_neutral":
            groups.setdefault(bare if paired else name, []).append(column)
    return list(groups), np.column_stack([values[:, columns].mean(axis=1) for columns in groups.values()])


def measured(values: Array, y: Array, people: Array, names: list[str], named: str) -> dict[str, Any]:
    """Of one unit."""
    apart = [metrics.auc(values[:, column], y) for column in range(len(names))]
    order = np.argsort([-abs(float(each) - 0.5) for each in apart], kind="stable")
    picked, scores, chosen = np.zeros(len(y)), np.zeros(len(y)), []
    fold_aucs: list[tuple[float, float]] = []
    for train, test in GroupKFold(FOLDS, shuffle=True, random_state=0).split(values, y, people):
        inside = [metrics.auc(values[train, column], y[train]) for column in range(len(names))]
        best = int(np.argmax([abs(float(each) - 0.5) for each in inside]))
        sign = 1 if inside[best] >= 0.5 else -1
        chosen.append(("" if sign > 0 else "−") + names[best])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))
        picked[test] = sign * values[test, best]
        scores[test] = model.fit(values[train], y[train]).decision_function(values[test])
        if 0 < y[test].sum() < len(test):
            fold_aucs.append((float(metrics.auc(picked[test], y[test])), float(metrics.auc(scores[test], y[test]))))
    return {
        "faces": int(y.sum()),
        "people": len(set(people[y == 1])),
        "named": named,
        "named_auc": interval(values[:, names.index(named)], y, people),
        "best": [names[column] if apart[column] >= 0.5 else f"−{names[column]}" for column in order[:3]],
        "best_auc": [round(max(float(apart[column]), 1 - float(apart[column])), 3) for column in order[:3]],
        "chosen_in_folds": chosen,
        "chosen_auc": round(float(np.mean([each for each, _ in fold_aucs])), 3),
        "all_auc": round(float(np.mean([each for _, each in fold_aucs])), 3),
    }


def interval(score: Array, y: Array, people: Array) -> list[float]:
    """AUC and its 95 % interval over people."""
    _, who = np.unique(people, return_inverse=True)
    several = []
    for counts in draws(who.max() + 1, DRAWS, 0):
        several += np.atleast_1d(metrics.auc(score, y, counts[:, who])).tolist()
    low, high = percentiles(np.array(several))
    return [round(each, 3) for each in (float(metrics.auc(score, y)), low, high)]


if __name__ == "__main__":
    main()
