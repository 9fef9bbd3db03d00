"""Train the shipped model `units`, and measure it: on CK+ by people left out, and on PEDFE's open clips.

    DUCHENNE_DATA=<folder with data/> python experiments/units.py ckplus|pedfe|light|ship --work FOLDER [--clips N]

ckplus   Neutral faces, which CK+ does not have, are added to the training: FER2013's, as FER+'s raters see them.
         CK+'s 777 peak faces of 95 people, 48×48 pixels, are enlarged, put on a plain ground and read by the mesh, as they
         are (variant 0), darkened and with less contrast (1), and with random size, turn, gamma, contrast, blur and noise
         (2 and on). Faces are trained on in all variants and judged as they are. Ten folds of people, three times; the
         calibration and the threshold of F1 come from the training people of each fold. Every part of the features by
         itself and added, and the features of the expression network. Intervals (95 %) resample people.
pedfe    N clips of each emotion, read as `duchenne analyze` does: AU06 and AU12 of happiness against the raters'
         intensity, and per emotion and unit the highest second less the lowest, with `--neutral lowest` and without.
light    a few of these clips darkened, with less contrast, smaller, and turned by 10°: how far each unit moves.
ship     the model on all people into src/duchenne/weights/units, with its card, and the tables of docs/units.md.

What was read lies in the folder `--work`. The rule for a unit to be shipped, set before looking at the intervals: at least
ten people show it, the lower end of the AUC's interval is at least 0.8, and F1 is above that of always predicting it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import units_texts as texts
from PIL import Image
from scipy.stats import rankdata

from duchenne import checkpoints, io, metrics, video
from duchenne.expression import reading as network
from duchenne.faces import crops, join, light, protagonist
from duchenne.faces.detect import by_prominence
from duchenne.faces.follow import follow_blocks
from duchenne.faces.reading import LOOK, read_faces
from duchenne.learn.calibration import platt, sigmoid
from duchenne.learn.folds import person_folds
from duchenne.mesh import FaceMesh
from duchenne.metrics.intervals import draws, percentiles
from duchenne.types import Array, FaceTrack, Signals
from duchenne.units import features, learner, reading
from duchenne.units.model import UnitsModel

HERE = Path(__file__)
RANDOM = 2  # variants with random changes
NEUTRAL = 600  # pictures of neutral faces
LEAST_PEOPLE, LEAST_AUC = 10, 0.8
REPEATS, FOLDS, DRAWS = 3, 10, 1000
FIRST = ("AU06", "AU12")
SECOND = 1.0  # s: the part of a clip at its highest and lowest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("ckplus", "pedfe", "light", "ship"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=12)
    options = parser.parse_args()
    root = os.environ.get("DUCHENNE_DATA")
    if not root:
        sys.exit("Set DUCHENNE_DATA to the folder that holds data/ckplus and data/pedfe.")
    cv2.setNumThreads(1)
    data, out = Path(root) / "data", HERE.with_suffix(".json")
    options.work.mkdir(parents=True, exist_ok=True)
    found = io.read_json(out) if out.is_file() else {}
    if options.what == "ckplus":
        found |= measured(*coded(data, options.work))
    elif options.what == "pedfe":
        found["pedfe"] = on_pedfe(data, options.work, options.clips, found)
    elif options.what == "light":
        found["light"] = in_light(data, options.work, options.clips)
    else:
        ship(found, *coded(data, options.work))
        return
    text = re.sub(r"\[\s+([^][{}]*?)\s+\]", lambda row: f"[{' '.join(row[1].split())}]", json.dumps(found, indent=1))
    io.write_text(out, text + "\n")


# --- CK+ ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Read:
    """Faces that were read, in every variant: `row` (N,) of the picture, `variant` (N,)."""

    shape: Array
    look: Array
    crops: Array
    row: Array
    variant: Array


def coded(data: Path, work: Path) -> tuple[Read, Array, Array, list[str]]:
    """(faces, labels (M, K), people (M,), names) of CK+'s pictures and, behind them, the neutral ones, which show no unit;
    these have the variant −1."""
    stored = dict(np.load(data / "ckplus" / "units.npz"))
    file, calm = work / "ckplus.npz", work / "neutral.npz"
    if not file.is_file():
        np.savez(file, **read_pictures(stored["images"], 2 + RANDOM))
    if not calm.is_file():
        np.savez(calm, **read_pictures(neutral(data), 1))
    read, more, count = dict(np.load(file)), dict(np.load(calm)), len(stored["images"])
    more |= {"row": more["row"] + count, "variant": np.full(len(more["row"]), -1)}
    read = {name: np.concatenate([read[name], more[name]]) for name in read}
    shape, look = features.shape(read["points"], read["coefficients"]), features.look(read["crops"])
    names = [str(name) for name in stored["unit_names"]]
    people, labels = stored["subject"], stored["units"].astype(float)
    used = [k for k in range(len(names)) if len(set(people[labels[:, k] == 1])) >= LEAST_PEOPLE]
    used.sort(key=lambda k: (names[k] not in FIRST, names[k]))
    labels = np.concatenate([labels[:, used], np.zeros((NEUTRAL, len(used)))])
    people = np.concatenate([people, [f"neutral {k}" for k in range(NEUTRAL)]])
    faces = Read(shape, look, read["crops"], read["row"], read["variant"])
    return faces, labels, people, [names[k] for k in used]


def neutral(data: Path) -> Array:
    """uint8 (NEUTRAL, 48, 48): FER2013's training pictures that at least nine of ten raters of FER+ call neutral."""
    folder = data / "fer2013" / "original"
    votes = np.load(folder / "labels.npz")["train_votes"]
    rows = np.random.default_rng(0).permutation(np.flatnonzero(votes[:, 0] >= 9))[:NEUTRAL]
    sheets = [np.asarray(Image.open(file).convert("L")) for file in sorted(folder.glob("train-*.webp"))]
    cut = [sheet.reshape(20, 48, 50, 48).transpose(0, 2, 1, 3).reshape(-1, 48, 48) for sheet in sheets]
    return np.concatenate(cut)[rows]


def read_pictures(images: Array, variants: int) -> dict[str, Array]:
    """Every picture in every variant, where its face is found."""
    mesh = FaceMesh()
    found: dict[str, list[Any]] = {name: [] for name in ("points", "coefficients", "crops", "row", "variant")}
    for variant in range(variants):
        rng = np.random.default_rng(5 + variant)
        for row, image in enumerate(images):
            change = [{}, {"gamma": 1.8, "gain": 0.5, "shift": -30.0}][variant] if variant < 2 else drawn(rng)
            face = read_picture(mesh, shown(image, rng, **change))
            if face is not None:
                for name, value in zip(found, (*face, row, variant), strict=True):
                    found[name].append(value)
    return {name: np.array(values) for name, values in found.items()}


def drawn(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "mirror": bool(rng.integers(2)),
        "scale": float(np.exp(rng.uniform(np.log(2), np.log(8)))),
        "angle": float(rng.uniform(-15, 15)),
        "gamma": float(np.exp(rng.uniform(-0.7, 0.7))),
        "gain": float(rng.uniform(0.35, 1.3)),
        "shift": float(rng.uniform(-30, 30)),
        "blur": float(rng.choice([0, rng.uniform(0, 1.0)])),
        "noise": float(rng.choice([0, rng.uniform(0, 8)])),
    }


def shown(
    image: Array, rng: np.random.Generator, *, scale: float = 4.0, angle: float = 0.0, gamma: float = 1.0,
    gain: float = 1.0, shift: float = 0.0, blur: float = 0.0, noise: float = 0.0, mirror: bool = False,
) -> Array:  # fmt: skip
    """uint8 (H, W): a picture enlarged `scale` times, changed, on a plain ground a third wider on each side."""
    side, margin = round(len(image) * scale), round(16 * scale)
    big = cv2.resize(
        np.ascontiguousarray(image[:, ::-1] if mirror else image), (side, side), interpolation=cv2.INTER_CUBIC
    )
    x = 255 * (big.astype(np.float32) / 255) ** gamma
    x = (x - 127) * gain + 127 + shift
    if blur:
        x = cv2.GaussianBlur(x, (0, 0), blur * scale)
    x = cv2.copyMakeBorder(np.clip(x, 0, 255), *[margin] * 4, cv2.BORDER_CONSTANT, value=127)
    if angle:
        turn = cv2.getRotationMatrix2D((len(x) / 2, len(x) / 2), angle, 1)
        x = cv2.warpAffine(x, turn, x.shape[::-1], borderMode=cv2.BORDER_CONSTANT, borderValue=127)
    if noise:
        x = x + rng.normal(0, noise, x.shape)
    return np.clip(np.round(x), 0, 255).astype(np.uint8)


def read_picture(mesh: FaceMesh, image: Array) -> tuple[Array, Array, Array] | None:
    """Points, coefficients and crop of the most prominent face, read three times."""
    grey = light.clearer(image, light.levels(image), light.FRAME)
    bgr = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    faces = mesh.detect(bgr)
    for k in by_prominence(faces.boxes, grey.shape).tolist():
        found = mesh.read(bgr, faces.region(k))
        for _ in range(2):
            found = mesh.read(bgr, found.following)
        if found.presence >= 0.5:
            return found.points_68, found.coefficients, crops.crop(image, found.points_68)
    return None


def measured(faces: Read, labels: Array, people: Array, names: list[str]) -> dict[str, Any]:
    plain = faces.variant == 0
    y, who = labels[faces.row[plain]], people[faces.row[plain]]
    probability, called, calm = left_out(faces, labels, people, names)
    alone = without_neutral(faces, labels, people, names)
    units: dict[str, Any] = {}
    for k, name in enumerate(names):
        truth, auc = y[:, k], interval(probability[:, :, k].mean(axis=0), y[:, k], who)
        base, f1 = truth.mean(), f1_of(called[:, :, k], truth, who)
        units[name] = {
            "faces": int(truth.sum()),
            "people": len(set(who[truth == 1])),
            "base_rate": round(float(base), 3),
            "auc": auc,
            "f1": f1,
            "f1_always": round(float(2 * base / (1 + base)), 3),
            "ece": round(float(np.mean([metrics.ece(p, truth) for p in probability[:, :, k]])), 3),
            "false_alarms": [round(float((p[..., k] >= 0.5).mean()), 3) for p in (calm, alone)],
            "shipped": bool(auc[1] >= LEAST_AUC and f1[0] > 2 * base / (1 + base)),
        }
        print(name, units[name], flush=True)
    kept = [name for name in names if units[name]["shipped"]]
    mean = {key: round(float(np.mean([units[name][key][0] for name in kept])), 3) for key in ("auc", "f1")}
    return {
        "faces": int(plain.sum()),
        "people": len(set(who)),
        "variants": int(faces.variant.max()) + 1,
        "neutral": int((faces.variant < 0).sum()),
        "units": units,
        "shipped": kept,
        "mean": mean,
        "parts": parts(faces, labels, people, names),
    }


def without_neutral(faces: Read, labels: Array, people: Array, names: list[str]) -> Array:
    """Probabilities (neutral faces, K) by a model of CK+ alone."""
    own, calm = np.flatnonzero(faces.variant >= 0), faces.variant < 0
    model = learner.fit(faces.shape[own], faces.look[own], labels[faces.row[own]], people[faces.row[own]], names)
    return sigmoid(model.shape.logits(faces.shape[calm]) + model.look.logits(faces.look[calm]))


def left_out(faces: Read, labels: Array, people: Array, names: list[str]) -> tuple[Array, Array, Array]:
    """(probabilities, whether above the threshold), both (REPEATS, faces as they are, K), and probabilities of the
    neutral faces (REPEATS, N, K), of people left out."""
    plain, who = np.flatnonzero(faces.variant == 0), people[faces.row]
    probability = np.empty((REPEATS, len(plain), len(names)))
    called, neutral_rows = np.empty(probability.shape, bool), np.flatnonzero(faces.variant < 0)
    calm = np.empty((REPEATS, len(neutral_rows), len(names)))
    for repeat in range(REPEATS):
        for train, test in person_folds(who, FOLDS, repeat):
            truth, x = labels[faces.row[train]], (faces.shape[train], faces.look[train])
            scores = learner.left_out(*x, truth, who[train], seed=repeat)
            model = learner.calibrated(learner.fit_parts(*x, truth), scores, truth, names)
            at = np.isin(plain, test)
            score = model.shape.logits(faces.shape[plain[at]]) + model.look.logits(faces.look[plain[at]])
            probability[repeat, at] = sigmoid(score)
            out = np.isin(neutral_rows, test)
            rows = neutral_rows[out]
            calm[repeat, out] = sigmoid(model.shape.logits(faces.shape[rows]) + model.look.logits(faces.look[rows]))
            as_is, slope = faces.variant[train] == 0, [platt(z, y) for z, y in zip(scores.T, truth.T, strict=True)]
            inside = scores * [a for a, _ in slope] + [b for _, b in slope]
            columns = zip(inside[as_is].T, truth[as_is].T, strict=True)
            called[repeat, at] = score >= [best_f1(z, y) for z, y in columns]
        print("repeat", repeat, flush=True)
    return probability, called, calm


def best_f1(score: Array, y: Array) -> float:
    order = np.argsort(-score)
    hits = np.cumsum(y[order])
    f1 = 2 * hits / (np.arange(1, len(y) + 1) + y.sum())
    at = int(f1.argmax())
    return float((score[order][at] + score[order][min(at + 1, len(y) - 1)]) / 2)


def parts(faces: Read, labels: Array, people: Array, names: list[str]) -> dict[str, Any]:
    """AUC per unit of each part of the features, and of sums of them; the last with the expression network's."""
    plain, who = np.flatnonzero(faces.variant == 0), people[faces.row]
    model, about = network.load()
    images = faces.crops
    seen = (model.features(images) + model.features(np.ascontiguousarray(images[:, :, ::-1]))) / 2
    wide = features.points_wide()
    columns = {
        "points": (faces.shape[:, :wide], 0.01), "coefficients": (faces.shape[:, wide:], 1.0),
        "look": (faces.look, 3.0), "network": (seen.astype(float), 1.0),
    }  # fmt: skip
    score = {part: np.empty((REPEATS, len(plain), len(names))) for part in columns}
    for repeat in range(REPEATS):
        for train, test in person_folds(who, FOLDS, repeat):
            at = np.isin(plain, test)
            for part, (x, penalty) in columns.items():
                fitted = learner.ridge(x[train], labels[faces.row[train]], penalty)
                score[part][repeat, at] = fitted.logits(x[plain[at]])
    sums = ("coefficients", "points", "look", "network", "points coefficients", "points coefficients look",
            "points coefficients look network")  # fmt: skip
    y, found = labels[faces.row[plain]], {"network": about["sha256"]}
    several: dict[str, Array] = {}
    for each in sums:
        total = np.mean([score[part] for part in each.split()], axis=(0, 1))
        aucs, several[each] = aucs_of(total, y, who[plain])
        found[each] = {"mean": round(float(aucs.mean()), 4)} | dict(zip(names, aucs.round(3).tolist(), strict=True))
        print(each, found[each], flush=True)
    base = several["points coefficients look"]
    found["differences"] = {
        f"{other} less points coefficients look": [round(v, 4) for v in (
            found[other]["mean"] - found["points coefficients look"]["mean"],
            *percentiles((several[other] - base).mean(axis=1)))]
        for other in sums if other != "points coefficients look"
    }  # fmt: skip
    return found


def aucs_of(score: Array, y: Array, who: Array) -> tuple[Array, Array]:
    """AUC of each unit (K,), and in draws of people (DRAWS, K)."""
    _, person = np.unique(who, return_inverse=True)
    counts = np.concatenate(list(draws(person.max() + 1, DRAWS, 0)))[:, person]
    columns = list(zip(score.T, y.T, strict=True))
    return (np.array([float(metrics.auc(z, t)) for z, t in columns]),
            np.column_stack([np.atleast_1d(metrics.auc(z, t, counts)) for z, t in columns]))  # fmt: skip


def interval(score: Array, y: Array, who: Array) -> list[float]:
    value, several = aucs_of(score[:, None], y[:, None], who)
    return [round(float(each), 3) for each in (value[0], *percentiles(several[:, 0]))]


def f1_of(called: Array, y: Array, who: Array) -> list[float]:
    """Mean F1 over the repeats, and its interval."""
    _, person = np.unique(who, return_inverse=True)
    counts = np.concatenate([np.ones((1, len(y))), *(each[:, person] for each in draws(person.max() + 1, DRAWS, 0))])
    each = [2 * counts @ (c & (y == 1)) / np.maximum(counts @ c + counts @ y, 1) for c in called]
    mean = np.mean(each, axis=0)
    return [round(float(v), 3) for v in (mean[0], *percentiles(mean[1:]))]


# --- PEDFE ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Seen:
    """The face of a clip, and what is known about it."""

    track: FaceTrack
    looks: FaceTrack
    about: dict[str, Any]


def clips(data: Path, work: Path, each: int) -> Iterator[Seen]:
    """`each` clips of every emotion, half of them genuine, of as many people as possible; eight times as many of
    happiness."""
    stored = np.load(data / "pedfe" / "points.npz")
    about = {name: stored[name] for name in ("clip", "subject", "emotion", "genuine", "rated_intensity")}
    rng = np.random.default_rng(0)
    for emotion in np.unique(about["emotion"]).tolist():
        for genuine in (0, 1):
            rows = rng.permutation(np.flatnonzero((about["emotion"] == emotion) & (about["genuine"] == genuine)))
            turns = np.array(
                [(about["subject"][rows[:n]] == about["subject"][row]).sum() for n, row in enumerate(rows)]
            )
            count = each * (8 if emotion == "happiness" else 1) // 2
            for row in rows[np.argsort(turns, kind="stable")][:count].tolist():
                name = str(about["clip"][row])
                track, looks = read_clip(data / "pedfe" / "clips" / f"{name}.avi", work / "pedfe" / f"{name}.npz")
                yield Seen(track, looks, {key: values[row].item() for key, values in about.items()})


def read_clip(path: Path, kept: Path, change: Any = None) -> tuple[FaceTrack, FaceTrack]:
    """(track, its frames with crops) of the most prominent face, read once; `change` alters each frame first."""
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        if change is None:
            blocks = read_faces(path, allow_truncated=True)
        else:
            frames = (Changed(f, change) for f in video.frames(path, allow_truncated=True))
            blocks = follow_blocks(frames, reader="mesh", look=crops.crop, every=LOOK)
        found = join(blocks, str(path))
        track = protagonist(found.tracks)
        looks = next(look for each, look in zip(found.tracks, found.looks, strict=True) if each is track)
        save(kept, track, looks)
    return load(kept, path)


class Changed:
    """A frame whose pixels are altered."""

    def __init__(self, frame: video.Frame, change: Any) -> None:
        self.time, self.index = frame.time, frame.index
        self.bgr = change(frame.bgr)
        self.grey = np.asarray(cv2.cvtColor(self.bgr, cv2.COLOR_BGR2GRAY))


def save(file: Path, track: FaceTrack, looks: FaceTrack) -> None:
    at = np.searchsorted(track.time, looks.time)
    np.savez(file, time=track.time, points=track.points, coefficients=track.filled("coefficients"),
             at=at, crops=looks.crops)  # fmt: skip


def load(file: Path, path: Path) -> tuple[FaceTrack, FaceTrack]:
    d = np.load(file)
    n = len(d["time"])
    track = FaceTrack(
        d["time"],
        d["points"],
        np.ones(n),
        np.full((n, 4), np.nan),
        (0, 0),
        coefficients=d["coefficients"],
        source=str(path),
    )
    return track, track.take("looks", d["at"], d["crops"])


def second(signals: Signals) -> tuple[Array, Array]:
    """(highest, lowest) mean (K,) of each unit over `SECOND` of a clip."""
    step = float(np.median(np.diff(signals.time)))
    size = min(len(signals.time), max(1, round(SECOND / step)))
    kernel = np.ones(size) / size
    values = np.array([np.convolve(v, kernel, "valid") for v in signals.values.T])
    return np.nanmax(values, axis=1), np.nanmin(values, axis=1)


def on_pedfe(data: Path, work: Path, each: int, found: dict[str, Any]) -> dict[str, Any]:
    model = trained(found, *coded(data, work))
    rows, about = [], []
    for seen in clips(data, work, each):
        curves = reading.over_time(seen.track, seen.looks, model)
        if curves is None or not np.isfinite(curves.values).any():
            continue
        own = reading.relative(curves.values, curves.time, model.rest, "lowest")
        both = [second(Signals(curves.time, v, curves.names, curves.units)) for v in (curves.values, own)]
        rows.append([*both[0], *both[1]])
        about.append(seen.about)
        print(len(rows), seen.about["clip"], both[0][0][:2].round(2), both[0][1][:2].round(2), flush=True)
    x = np.array(rows)  # clips, (high, low, high relative, low relative), units
    what = {key: np.array([each[key] for each in about]) for key in about[0]}
    happy = what["emotion"] == "happiness"
    table = {
        emotion: {
            name: [round(float(v), 3) for v in (np.nanmean(x[at, 1, k]), np.nanmean(x[at, 0, k]))]
            for k, name in enumerate(model.names)
        }
        for emotion in np.unique(what["emotion"]).tolist()
        for at in [what["emotion"] == emotion]
    }
    smiles: dict[str, Any] = {"clips": int(happy.sum()), "people": len(set(what["subject"][happy].tolist()))}
    for name in FIRST:
        k = model.names.index(name)
        for label, high, low in (("as read", 0, 1), ("relative", 2, 3)):
            here = {
                "intensity": (x[happy, high, k], what["rated_intensity"][happy]),
                "intensity, rise": (x[happy, high, k] - x[happy, low, k], what["rated_intensity"][happy]),
            }
            smiles[f"{name} {label}"] = {key: spearman(*pair, what["subject"][happy]) for key, pair in here.items()} | {
                "genuine_auc": interval(x[happy, high, k], what["genuine"][happy].astype(float), what["subject"][happy])
            }
    genuine = what["genuine"][happy] == 1
    for kind, at in (("genuine", genuine), ("posed", ~genuine)):
        smiles[kind] = {
            name: [round(float(v), 3) for v in (x[happy, 1, k][at].mean(), x[happy, 0, k][at].mean())]
            for name in FIRST for k in [model.names.index(name)]
        }  # fmt: skip
    return {"clips": len(rows), "people": len(set(what["subject"].tolist())), "lowest_highest": table, "smiles": smiles}


def spearman(a: Array, b: Array, who: Array) -> list[float]:
    """Rank correlation and its interval over people."""
    people, groups = np.unique(who), {p: np.flatnonzero(who == p) for p in np.unique(who)}
    rng = np.random.default_rng(0)

    def rho(rows: Array) -> float:
        return float(np.corrcoef(rankdata(a[rows]), rankdata(b[rows]))[0, 1])

    several = [rho(np.concatenate([groups[p] for p in rng.choice(people, len(people))])) for _ in range(DRAWS)]
    return [round(v, 3) for v in (rho(np.arange(len(a))), *percentiles(np.array(several)))]


def trained(found: dict[str, Any], faces: Read, labels: Array, people: Array, names: list[str]) -> UnitsModel:
    """The model of the units that are shipped, on all people."""
    kept = [k for k, name in enumerate(names) if name in found["shipped"]]
    facts = {
        "data": "CK+ and neutral faces of FER2013",
        "images": found["faces"] + found["neutral"],
        "people": found["people"],
        "variants": found["variants"],
    }
    return learner.fit(
        faces.shape, faces.look, labels[faces.row][:, kept], people[faces.row], [names[k] for k in kept], facts=facts
    )


# --- light, size and turn -------------------------------------------------------------------------------------------

CHANGES = {
    "darker (× 0.35)": lambda x: np.round(x * 0.35).astype(np.uint8),
    "less contrast (× 0.4)": lambda x: np.clip(np.round((x - 127.0) * 0.4 + 127), 0, 255).astype(np.uint8),
    "smaller (× 0.35)": lambda x: np.asarray(cv2.resize(x, None, fx=0.35, fy=0.35, interpolation=cv2.INTER_AREA)),
    "turned by 10°": lambda x: np.asarray(
        cv2.warpAffine(x, cv2.getRotationMatrix2D((x.shape[1] / 2, x.shape[0] / 2), 10, 1), x.shape[1::-1])
    ),
}


def in_light(data: Path, work: Path, each: int) -> dict[str, Any]:
    """Mean over the clips of the mean absolute change of each unit, frame by frame."""
    found = io.read_json(HERE.with_suffix(".json"))
    model = trained(found, *coded(data, work))
    moved: dict[str, list[Array]] = {name: [] for name in CHANGES}
    chosen = [seen for k, seen in enumerate(clips(data, work, each)) if k % 11 == 0][:8]
    for seen in chosen:
        before = reading.over_time(seen.track, seen.looks, model)
        for n, (name, change) in enumerate(CHANGES.items()):
            kept = work / "light" / f"{seen.about['clip']}-{n}.npz"
            after = reading.over_time(*read_clip(Path(seen.track.source), kept, change), model)
            if before is not None and after is not None:
                moved[name].append(np.nanmean(np.abs(after.values - before.values), axis=0))
        print(seen.about["clip"], {name: rows[-1][:2].round(3).tolist() for name, rows in moved.items()}, flush=True)
    return {"clips": len(chosen)} | {
        name: dict(zip(model.names, np.mean(rows, axis=0).round(3).tolist(), strict=True))
        for name, rows in moved.items()
    }


# --- the shipped model ------------------------------------------------------------------------------------------------


def ship(found: dict[str, Any], faces: Read, labels: Array, people: Array, names: list[str]) -> None:
    """The model, card.json and CARD.md."""
    folder = HERE.parent.parent / "src" / "duchenne" / "weights" / "units"
    folder.mkdir(exist_ok=True)
    checkpoints.save(trained(found, faces, labels, people, names), folder, name=folder.name)
    card = {
        "title": "which action units a face shows",
        "data": "CK+ (Lucey et al. 2010), peak faces with FACS codes, and neutral faces of FER2013; research use",
        "images": found["faces"] + found["neutral"],
        "people": found["people"],
        "human": None,
        "accuracy": None,
        "auc": found["mean"]["auc"],
        "protocol": f"people left out, {FOLDS} folds, {REPEATS} times; mean over the {len(found['shipped'])} shipped units",
        "per_class": {name: {key: found["units"][name][key][0] for key in ("auc", "f1")} for name in found["shipped"]},
        "limits": texts.limits(found),
    }
    io.write_json(folder / "card.json", card)
    io.write_text(folder / "CARD.md", texts.card(card, found))
    texts.write_tables(found)


if __name__ == "__main__":
    main()
