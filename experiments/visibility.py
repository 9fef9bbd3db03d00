"""Train the shipped network `visibility`, which says whether mouth and eyes of a face crop are seen or covered.

    DUCHENNE_DATA=<folder with data/> python experiments/visibility.py [--epochs 12] [-o FOLDER]

Faces: FER2013's original training pictures, CK+, and PEDFE's raw clips, cropped by `faces.crops`, as in use. The covers
are drawn on them (`covered`): masks, scarves, hands in the grey of the forehead, cups, patches of other pictures,
blurred and pixelated regions, dark glasses, bars. A part is seen where at most `SOME` of its box is covered, hidden
from `MOST` on, and unlabelled between. People of every fifth PEDFE and CK+ person, and FER2013's public test, are held
back for the figures in visibility.json.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from duchenne import checkpoints, io, metrics, video
from duchenne.expression.learner import train
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.faces import crops
from duchenne.types import Array

HERE = Path(__file__).parent
SIDE, FINE = 48, 4  # covers are drawn at four times the size, and averaged
CLASSES = ("mouth", "eyes")
#: Part → its boxes x0 y0 x1 y1, in shares of the crop.
BOXES = {"mouth": ((0.32, 0.76, 0.68, 0.92),), "eyes": ((0.21, 0.34, 0.41, 0.45), (0.59, 0.34, 0.79, 0.45))}
SOME, MOST = 0.25, 0.65
RECIPE = ExpressionRecipe(
    head="units", widths=(12, 24, 48, 64), blocks=(1, 1, 1, 1), epochs=10, batch_size=128, learning_rate=2e-3,
    weight_decay=1e-3, ema_decay=0.998, dropout=0.2, rotation=12, translation=0.07, scale=0.15, per_image_standardization=True,
)  # fmt: skip
Rng = np.random.Generator


def fer2013(data: Path, fold: str) -> Array:
    """uint8 (N, 48, 48): the pictures of a fold in which most raters saw a face."""
    stored = np.load(data / "fer2013" / "original" / "labels.npz")
    votes = stored[f"{fold}_votes"]
    sheets = sorted((data / "fer2013" / "original").glob(f"{fold}-*.webp"))
    faces = np.concatenate([
        np.asarray(Image.open(file).convert("L")).reshape(20, SIDE, 50, SIDE).transpose(0, 2, 1, 3).reshape(-1, SIDE, SIDE)
        for file in sheets
    ])  # fmt: skip
    faces = faces[: len(votes)]
    doubted = votes[:, -2:].sum(axis=1) > 0  # "unknown", "no face"
    return faces[~doubted]


def ckplus(data: Path) -> tuple[Array, Array]:
    """Pictures uint8 (N, 48, 48) and people (N,)."""
    stored = np.load(data / "ckplus" / "units.npz")
    return stored["images"], stored["subject"].astype(str)


def pedfe(data: Path, each: int = 5) -> tuple[Array, Array]:
    """`each` crops of every raw clip uint8 (N, 48, 48), with the published points, and people (N,)."""
    stored = np.load(data / "pedfe" / "points.npz")
    found, people = [], []
    for name, subject, low, high in zip(
        stored["clip"], stored["subject"], stored["offset"][:-1], stored["offset"][1:], strict=True
    ):
        points = stored["points"][low:high]
        rows = set(np.linspace(0, len(points) - 1, each).astype(int).tolist())
        for frame in video.frames(data / "pedfe" / "clips" / f"{name}.avi", allow_truncated=True):
            if frame.index in rows and np.isfinite(points[frame.index]).all():
                found.append(crops.crop(frame.grey, points[frame.index]))
                people.append(str(subject))
    return np.stack(found), np.array(people)


def covered(rng: Rng, face: Array, others: Array) -> tuple[Array, tuple[float, float]]:
    """A face with something drawn over part of it, and 1, 0 or NaN for mouth and eyes: seen, hidden, between."""
    big = cv2.resize(face, (SIDE * FINE, SIDE * FINE), interpolation=cv2.INTER_CUBIC)
    kind = rng.choice(["mask", "fingers", "object", "blur", "bar", "aside"], p=[0.26, 0.24, 0.16, 0.08, 0.16, 0.10])
    shape = np.zeros_like(big)
    for outline in _outlines(rng, kind):
        cv2.fillPoly(shape, [(outline * SIDE * FINE).round().astype(np.int32)], 255, cv2.LINE_AA)
    share = cv2.GaussianBlur(shape, (0, 0), rng.uniform(0.3, 3)).astype(np.float32)[..., None] / 255
    fill = _blurred(rng, big) if kind == "blur" else _surface(rng, big, others, kind)
    mixed = (share[..., 0] * fill + (1 - share[..., 0]) * big).clip(0, 255)
    hidden = {part: np.mean([_mean(share[..., 0], box) for box in boxes]) for part, boxes in BOXES.items()}
    labels = tuple(1.0 if x <= SOME else 0.0 if x >= MOST else np.nan for x in hidden.values())
    return cv2.resize(mixed, (SIDE, SIDE), interpolation=cv2.INTER_AREA).round().astype(np.uint8), labels


def _mean(share: Array, box: tuple[float, ...]) -> float:
    x0, y0, x1, y1 = (round(v * SIDE * FINE) for v in box)
    return float(share[y0:y1, x0:x1].mean())


def _outlines(rng: Rng, kind: str) -> Iterator[Array]:
    """Polygons (N, 2) in shares of the crop."""
    at = rng.uniform
    if kind == "mask" or (kind == "blur" and rng.random() < 0.7):
        top, dip, side = at(0.52, 0.74), at(-0.06, 0.1), at(0.02, 0.2)
        yield np.array([[side, top + at(0, 0.12)], [0.5, top - dip], [1 - side, top + at(0, 0.12)],
                        [1 - side * at(0.5, 1.5), 1.0], [0.5, at(1.0, 1.25)], [side * at(0.5, 1.5), 1.0]])  # fmt: skip
    elif kind == "fingers":
        turn, wide, eyes = at(-1.6, 1.6), at(0.09, 0.16), rng.random() < 0.25
        middle = np.array([at(0.42, 0.58), at(0.36, 0.44) if eyes else at(0.78, 0.9)])
        along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
        count = rng.integers(3, 6)
        for k in range(count):
            centre = middle + (k - (count - 1) / 2) * wide * at(0.95, 1.1) * across + at(-0.1, 0.1) * along
            half, bend = at(0.35, 0.8) * along, 0.04 * (k - (count - 1) / 2) * across
            ends = [centre - half, centre + half + bend]
            yield np.concatenate([
                [ends[0] - wide / 2 * across, ends[1] - wide / 2 * across],
                [ends[1] + wide / 2 * (np.cos(a) * across * 1 + np.sin(a) * along) for a in np.linspace(-1.5, 1.5, 5)],
                [ends[0] + wide / 2 * across],
            ])  # fmt: skip
    elif kind == "bar":
        y, high = at(0.37, 0.42), at(0.07, 0.16)
        if rng.random() < 0.5:  # glasses: two lenses and a bridge
            for x in (0.31, 0.69):
                a = np.linspace(0, 2 * np.pi, 20)
                r = np.array([at(0.13, 0.18), high])
                yield np.array([x, y]) + np.stack([np.cos(a), np.sin(a)], 1) * r
            yield np.array([[0.4, y - 0.02], [0.6, y - 0.02], [0.6, y + 0.02], [0.4, y + 0.02]])
        else:
            yield np.array([[at(-0.1, 0.15), y - high], [at(0.85, 1.1), y - high], [at(0.85, 1.1), y + high],
                            [at(-0.1, 0.15), y + high]])  # fmt: skip
    else:
        low = {"aside": rng.choice([0.1, 0.62]), "object": 0.84, "blur": 0.4}[kind]
        x = rng.choice([at(-0.05, 0.1), at(0.9, 1.05)]) if kind == "aside" else at(0.4, 0.6)
        sides, a0 = rng.integers(4, 12), at(0, 6.3)
        a = a0 + np.linspace(0, 2 * np.pi, sides, endpoint=False)
        r = np.array([at(0.18, 0.4), at(0.12, 0.3)]) if kind != "blur" else np.array([0.4, 0.14])
        if kind == "aside":
            r = np.array([at(0.08, 0.18), at(0.1, 0.3)])
        yield np.array([x, low + at(-0.06, 0.06)]) + np.stack([np.cos(a), np.sin(a)], 1) * r


def _surface(rng: Rng, big: Array, others: Array, kind: str) -> Array:
    """float32 (S, S): what the cover looks like."""
    side = len(big)
    y, x = np.mgrid[0:side, 0:side] / side
    skin = float(np.median(big[int(0.1 * side) : int(0.25 * side), int(0.35 * side) : int(0.65 * side)]))
    level = rng.uniform(10, 250)
    if kind == "fingers" or (kind in ("object", "aside") and rng.random() < 0.5):
        level = np.clip(skin * rng.uniform(0.75, 1.25), 5, 250)
    elif kind == "bar":
        level = rng.choice([rng.uniform(0, 50), rng.uniform(0, 255)], p=[0.7, 0.3])
    turn = rng.uniform(0, 6.3)
    slope = np.cos(turn) * (x - 0.5) + np.sin(turn) * (y - 0.5)
    fill = level * (1 + rng.uniform(0, 0.6) * slope)
    if rng.random() < 0.6:  # pleats, gaps between fingers, a pattern
        waves = np.sin(
            2 * np.pi * rng.uniform(3, 14) * (np.cos(turn := rng.uniform(0, 6.3)) * x + np.sin(turn) * y) + turn
        )
        fill = fill * (1 + rng.uniform(0.02, 0.25) * (waves if rng.random() < 0.6 else -(np.abs(waves) ** 8)))
    if kind in ("object", "mask", "aside") and rng.random() < 0.3:
        patch = others[rng.integers(len(others))]
        n = rng.integers(12, 30)
        a, b = rng.integers(0, SIDE - n, 2)
        fill = cv2.resize(patch[a : a + n, b : b + n], (side, side), interpolation=cv2.INTER_CUBIC).astype(float)
    if rng.random() < 0.4:
        fill = fill + cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), rng.uniform(1, 12)) * rng.uniform(5, 120)
    return np.asarray(fill + rng.normal(0, rng.uniform(0, 5), (side, side)), np.float32)


def _blurred(rng: Rng, big: Array) -> Array:
    if rng.random() < 0.5:
        n = int(rng.integers(3, 7))
        return cv2.resize(
            cv2.resize(big, (n, n), interpolation=cv2.INTER_AREA), big.shape, interpolation=cv2.INTER_NEAREST
        ).astype(np.float32)
    return cv2.GaussianBlur(big, (0, 0), rng.uniform(9, 20) * FINE / 4).astype(np.float32)


def varied(rng: Rng, face: Array) -> Array:
    """Another contrast, brightness and sharpness, so that poor pictures are not taken for covers."""
    x = face.astype(np.float32)
    if rng.random() < 0.3:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.2))
    if rng.random() < 0.4:
        x = (x - 128) * rng.uniform(0.3, 1.1) + 128 + rng.uniform(-50, 50)
    return np.asarray((x + rng.normal(0, rng.uniform(0, 6), x.shape)).clip(0, 255).astype(np.uint8))


def labelled(rng: Rng, faces: Array, copies: int) -> tuple[Array, Array]:
    """Images and labels (N, 2): every face as it is, and `copies` covered ones."""
    images, labels = [varied(rng, face) for face in faces], [(1.0, 1.0)] * len(faces)
    for _ in range(copies):
        for face in faces:
            image, label = covered(rng, face, faces)
            images.append(varied(rng, image))
            labels.append(label)
    return np.stack(images), np.array(labels, np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs)
    parser.add_argument("-o", "--out", type=Path, default=HERE.parent / "src" / "duchenne" / "weights" / "visibility")
    words = parser.parse_args()
    data, rng = Path(os.environ["DUCHENNE_DATA"]) / "data", np.random.default_rng(0)
    sets = {"CK+": ckplus(data), "PEDFE": pedfe(data)}
    held = {name: np.isin(people, np.unique(people)[::5]) for name, (_, people) in sets.items()}
    fer = fer2013(data, "train")
    own = np.concatenate([fer, *(np.repeat(faces[~held[name]], 2, axis=0) for name, (faces, _) in sets.items())])
    images, labels = labelled(rng, own, 1)
    print(len(images), "images", flush=True)
    tests = {name: labelled(rng, faces[held[name]], 1) for name, (faces, _) in sets.items()}
    tests["FER2013 public test"] = labelled(rng, fer2013(data, "public_test"), 1)
    some = tuple(np.concatenate([test[i][:1500] for test in tests.values()]) for i in (0, 1))
    recipe = ExpressionRecipe(**{**RECIPE.__dict__, "epochs": words.epochs})
    model, curve = train(
        recipe, images, labels, CLASSES, some, device="cpu", on_epoch=lambda *row: print(*row, flush=True)
    )
    model = replace(model, facts=model.facts | {"data": "FER2013, CK+ and PEDFE with drawn covers"})
    checkpoints.save(model, words.out, name=words.out.name)
    figures = {name: scored(model.predict(x, flips=True), y) for name, (x, y) in tests.items()}
    io.write_json(HERE / "visibility.json", {"images": len(images), "epochs": len(curve), "held_back": figures})
    write_cards(words.out)


def write_cards(folder: Path) -> None:
    """card.json and CARD.md from visibility.json."""
    found = json.loads((HERE / "visibility.json").read_text(encoding="utf-8"))
    weights = json.loads((folder / "model.json").read_text(encoding="utf-8"))["facts"]["weights"]
    pedfe = found["held_back"]["PEDFE"]
    limits = [
        "Trained and measured on drawn covers; real hands, masks, cups and hair differ from them.",
        "A part that is half covered may count as seen or as covered.",
        "Mouth and eyes only; nothing is said of brows, cheeks and chin.",
        "Not for lie or credibility detection, hiring, schooling, policing, border control, insurance or medical use.",
    ]
    card = {
        "title": "whether mouth and eyes of a face are seen",
        "data": "FER2013 (original pictures), CK+ and PEDFE's open raw clips, with drawn covers; research use",
        "images": found["images"],
        "people": None,
        "human": None,
        "accuracy": None,
        "auc": pedfe["mouth"]["auc"],
        "protocol": "people of CK+ and PEDFE who are not in training, and FER2013's public test; the epoch was chosen on some of them, which is slightly optimistic",
        "held_back": found["held_back"],
        "limits": limits,
    }
    io.write_json(folder / "card.json", card)
    rows = [
        f"| {name}, {each['images']:,} images, half of them covered | "
        + " | ".join(
            f"{each[part]['auc']:.3f} | {each[part]['hidden_found']:.1%} | {each[part]['seen_lost']:.1%}"
            for part in CLASSES
        )
        + " |"
        for name, each in found["held_back"].items()
    ]
    text = f"""# Model card: `visibility`

**What it does.** Says for one grey crop of a face, 48×48 pixels, how probably its mouth and its eyes are seen, and not
covered by a mask, a hand, a cup, dark glasses or a blur. Points of covered parts count as not seen.

**How it was made.** `experiments/visibility.py`, recipe in `model.json`; {weights:,} weights.

**Data.** {card["data"]}. {found["images"]:,} images: every face as it is, and with something drawn over a part of it.

**Accuracy.** On {card["protocol"]}. AUC; share of the covered parts that are found; share of the seen parts taken for
covered, at 0.5.

| held back | mouth: AUC | found | lost | eyes: AUC | found | lost |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

**Human figure.** None: what is covered was drawn, and is known.

**Limits.**

{chr(10).join(f"- {limit}" for limit in limits)}
"""
    io.write_text(folder / "CARD.md", text)


def scored(p: Array, labels: Array) -> dict[str, object]:
    """Per part: AUC, and shares called hidden at 0.5 among hidden and among seen ones."""
    out: dict[str, object] = {"images": len(p)}
    for k, part in enumerate(CLASSES):
        known = np.isfinite(labels[:, k])
        seen, q = labels[known, k] == 1, p[known, k]
        out[part] = {"auc": round(float(metrics.auc(q, seen.astype(int))), 4), "hidden_found": round(float((q[~seen] < 0.5).mean()), 4), "seen_lost": round(float((q[seen] < 0.5).mean()), 4)}  # fmt: skip
    return out


if __name__ == "__main__":
    main()
