"""Which of PEDFE's six elicited emotions a clip shows, as `duchenne analyze` names it and as learned person-disjointly.

    DUCHENNE_DATA=<folder with data/pedfe/clips> python experiments/pedfe_emotions.py --work FOLDER [--before MODEL]

Every raw clip of the 42 open people is read by the mesh, ten times a second: crop of 48×48 pixels, 52 coefficients. --work
keeps these readings, outside the repository; --before is the model folder of an earlier expression network. Then:

named    what `clip_emotion` of the shipped expression network gives the highest probability, by either set of its labels,
         with and without the classes that PEDFE does not have (neutral, contempt)
learned  multinomial logistic regression, ten folds of people. Inputs:
         means over the clip (mean), means of the least neutral quarter (peak), both with spreads (pooled), or means of four
         quarters of the clip one after the other (quarters: what a small temporal model can know) of the network's
         probabilities, its features, the coefficients, the action units

Posed and genuine clips count alike. Intervals (95 %) resample people. Writes pedfe_emotions.json and, between their markers,
the tables of docs/emotions.md; with --texts the tables alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from duchenne import checkpoints, io
from duchenne.errors import DuchenneError
from duchenne.expression import reading
from duchenne.faces import join, protagonist
from duchenne.faces.reading import read_faces
from duchenne.learn.calibration import sigmoid
from duchenne.metrics.classes import score_classes
from duchenne.types import Array, Signals
from duchenne.units.model import UnitsModel

LETTERS = {"f": "happiness", "d": "disgust", "t": "sadness", "s": "surprise", "r": "anger", "p": "fear"}
OUT, PAGE = Path(__file__).with_suffix(".json"), Path(__file__).parents[1] / "docs" / "emotions.md"
EMOTIONS = tuple(sorted(LETTERS.values()))
NAMES = ("as `analyze` names it, by FER2013's own labels", "by the votes of FER+", "by version 0.1")
READINGS = 12  # per second, more than the crops
FOLDS, STRENGTH = 10, 0.01  # strength set before looking


def read(clips: Path, work: Path) -> list[Path]:
    """The readings of the clips, made where they are missing."""
    work.mkdir(parents=True, exist_ok=True)
    found = []
    for path in sorted(clips.glob("*.avi")):
        kept = work / f"{path.stem}.npz"
        if not kept.exists():
            crops = reading.Kept()
            try:
                followed = join(reading.consume(read_faces(path, reader="mesh", most=READINGS), crops), str(path))
            except DuchenneError as error:
                print(f"left out: {error}", flush=True)
                continue
            track = protagonist(followed.tracks)
            if track is None:
                print(f"left out: {path.name} shows no face", flush=True)
                continue
            place = followed.tracks.index(track)
            looks = crops.of(place, followed.looks[place])
            arrays = {"points": looks.points, "coefficients": looks.coefficients, "crops": looks.crops[..., 0]}
            with io.atomic(kept) as part, part.open("wb") as file:
                np.savez(file, time=looks.time, **arrays)
        found.append(kept)
    return found


def curves(files: list[Path], models: dict[str, Any]) -> list[dict[str, Array]]:
    """Of each clip: time, and the values of every network over it."""
    network, units = models["expression"], models["units"]
    found = []
    for path in files:
        kept = dict(np.load(path))
        seen = np.isfinite(kept["coefficients"]).all(axis=1)
        points, coefficients, crops = (kept[name][seen] for name in ("points", "coefficients", "crops"))
        rows = {"time": kept["time"][seen], "probabilities": network.predict(crops, flips=True)}
        rows |= {"features": network.features(crops), "coefficients": coefficients}
        rows["second"] = models["second"].predict(crops, flips=True)
        rows["units"] = sigmoid(units.log_odds(points, coefficients, crops))
        if "before" in models:
            rows["before"] = models["before"].predict(crops, flips=True)
        found.append(rows)
    return found


def named(clip: dict[str, Array], key: str, classes: tuple[str, ...], only: tuple[str, ...] | None = None) -> str:
    """The likeliest emotion of a clip as `analyze` names it; `only` of these."""
    signals = Signals(clip["time"], clip[key], classes, ("1",) * len(classes))
    p = reading.clip_emotion(signals)
    return max((name for name in p if only is None or name in only), key=p.__getitem__)


def pooled(clip: dict[str, Array], parts: tuple[str, ...], how: str, calm: Array) -> Array:
    """(D,) of a clip; `calm` (T,) is the probability of a neutral face."""
    x = np.concatenate([clip[part] for part in parts], axis=1)
    mean, peak = x.mean(axis=0), x[np.argsort(calm, kind="stable")[: max(1, round(len(x) * reading.PEAK))]].mean(axis=0)
    if how == "quarters":
        bounds = np.linspace(0, len(x), 5).astype(int)
        return np.concatenate([x[min(a, len(x) - 1) : max(b, a + 1)].mean(axis=0) for a, b in pairwise(bounds)])
    return {"mean": mean, "peak": peak, "pooled": np.concatenate([mean, peak, x.std(axis=0)])}[how]


def learned(x: Array, y: Array, people: Array) -> Array:
    """The emotions told for people left out."""
    found = np.empty(len(y), object)
    for train, test in GroupKFold(FOLDS, shuffle=True, random_state=0).split(x, y, people):
        line = LogisticRegression(C=STRENGTH, max_iter=300, class_weight="balanced")
        found[test] = make_pipeline(StandardScaler(), line).fit(x[train], y[train]).predict(x[test])
    return found


def score(told: Any, y: Array, people: Array, classes: tuple[str, ...] = EMOTIONS) -> dict[str, Any]:
    found = score_classes(list(told), list(y), people, classes=classes)
    return {key: found[key] for key in ("rows", "classes", "accuracy", "accuracy_interval", "uar", "uf1", "confusion")}


def table(found: dict[str, Any]) -> str:
    """The table of docs/emotions.md."""
    rows = ["| emotion of a clip | right (95 %) | mean recall |", "|---|---|---|"]

    def row(words: str, its: dict[str, Any]) -> None:
        low, high = its["accuracy_interval"]
        share = f"{100 * its['accuracy']:.1f} % ({100 * low:.1f}–{100 * high:.1f})"
        rows.append(f"| {words} | {share} | {its['uar']:.3f} |")

    for name, its in found["named"].items():
        row(f"{name}, any class", its["any"])
        row("… the likeliest of the six", its["six"])
    for name, its in found["learned"].items():
        row(f"learned: {name}", its)
    return "\n".join(rows) + "\n"


def confusion(found: dict[str, Any]) -> str:
    """The confusion table of what `analyze` names, in per cent of the clips of each elicited emotion."""
    its = found["named"][NAMES[0]]["any"]
    shown = [name for i, name in enumerate(its["classes"]) if any(row[i] for row in its["confusion"])]
    lines = [f"| elicited | clips | {' | '.join(shown)} |", "|---" * (len(shown) + 2) + "|"]
    for name, row in zip(its["classes"], its["confusion"], strict=True):
        if total := sum(row):
            cells = (f"{100 * row[its['classes'].index(each)] / total:.0f}" for each in shown)
            lines.append(f"| {name} | {total} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--before")
    parser.add_argument("--texts", action="store_true")
    args = parser.parse_args()
    if not args.texts:
        io.write_json(OUT, measured(args.work, args.before))
    found, page = json.loads(OUT.read_text(encoding="utf-8")), PAGE.read_text(encoding="utf-8")
    for name, text in (("pedfe", table(found)), ("pedfe-confusion", confusion(found))):
        page = re.sub(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m, t=text: m[1] + t + m[2], page, flags=re.S)
    io.write_text(PAGE, page)


def measured(work: Path | None, before: str | None) -> dict[str, Any]:
    """The content of the JSON."""
    root = Path(os.environ.get("DUCHENNE_DATA", ".")) / "data" / "pedfe" / "clips"
    if not root.is_dir() or work is None:
        sys.exit("Set DUCHENNE_DATA to the folder that holds data/pedfe/clips, and name a folder with --work.")
    files = read(root, work)
    names = [path.stem.split("_") for path in files]
    people, y = np.array([name[0] for name in names]), np.array([LETTERS[name[1][0]] for name in names], object)
    network, about = reading.load()
    models = {"expression": network, "second": reading.of_clips(), "units": checkpoints.load_as("units", UnitsModel)[0]}
    if before:
        models["before"] = reading.load(before)[0]
    clips = curves(files, models)
    found: dict[str, Any] = {"model": about["sha256"], "clips": len(clips), "people": len(set(people)), "named": {}}
    for key, words in (("second", NAMES[0]), ("probabilities", NAMES[1]), ("before", NAMES[2])):
        if key in models or key == "probabilities":
            model = models.get(key, network)
            every = [named(clip, key, model.classes) for clip in clips]
            seven = tuple(dict.fromkeys((*EMOTIONS, *model.classes)))
            six = [named(clip, key, model.classes, EMOTIONS) for clip in clips]
            found["named"][words] = {"any": score(every, y, people, seven), "six": score(six, y, people)}
    calm = [clip["probabilities"][:, network.classes.index("neutral")] for clip in clips]
    everything = ("probabilities", "features", "coefficients", "units")
    found["learned"] = {}
    for parts in (*((part,) for part in everything), ("coefficients", "units"), everything):
        for how in ("mean", "peak", "pooled", "quarters"):
            x = np.stack([pooled(clip, parts, how, rest) for clip, rest in zip(clips, calm, strict=True)])
            its = score(learned(x, y, people), y, people)
            found["learned"][f"{' + '.join(parts)}, {how}"] = its
            print(parts, how, round(its["accuracy"], 3), round(its["uar"], 3), flush=True)
    return found


if __name__ == "__main__":
    main()
