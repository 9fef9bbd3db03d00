"""How FER2013 frames its faces: the constants of `duchenne.faces.crops`, and what else was tried.

    DUCHENNE_DATA=<folder with data/fer2013/public_test.npz> python experiments/fer_framing.py

Public-test images are enlarged eightfold, given a margin (dlib's detector needs the whole head), and searched for
a face like any image. The constants are medians: the data set is not aligned, and some of its images are cropped
differently. `scale` and `centre` measure how well each candidate predicts the image's own frame: robust spread (1.4826
× the median absolute deviation) of the log of the frame's side over the candidate, and of the frame's centre, across
and along the face, in frame sides. `blind_…` compares the images in which a face was found with the others, whose points
are less reliable: they are framed a tenth tighter, which is the spread of frames within a group. Writes experiments/fer_framing.json; takes about a minute and a half.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np

from duchenne import io
from duchenne.faces.crops import EYES, SIDE, SPREAD, UPPER, find, measure
from duchenne.faces.landmarks import Dlib68, box_of
from duchenne.io.files import plain

OUT = Path(__file__).with_suffix(".json")
COUNT, SEED, LARGER, MARGIN = 400, 0, 8, 128


def points_of(image: np.ndarray) -> np.ndarray | None:
    """float64 (68, 2): the largest face's points in sides of the image, 0 0 its upper left corner."""
    large = cv2.resize(image, (SIDE * LARGER, SIDE * LARGER), interpolation=cv2.INTER_CUBIC)
    large = cv2.copyMakeBorder(large, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REPLICATE)
    found = find(large, reader="paper")
    return (found[0].points.astype(float) - MARGIN + 0.5) / (SIDE * LARGER) if found else None


def blind(image: np.ndarray) -> np.ndarray:
    """The same without face detection: dlib's points from the whole image as the box, three times."""
    large = cv2.resize(image, (SIDE * LARGER, SIDE * LARGER), interpolation=cv2.INTER_CUBIC)
    large = cv2.copyMakeBorder(large, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REPLICATE)
    box, fit = np.array([MARGIN, MARGIN, MARGIN + SIDE * LARGER, MARGIN + SIDE * LARGER], float), Dlib68().fit
    for _ in range(3):
        points = fit(large, box)
        box = box_of(points)
    return (points.astype(float) - MARGIN + 0.5) / (SIDE * LARGER)


def robust(values: np.ndarray) -> list[float] | float:
    return (1.4826 * np.median(np.abs(values - np.median(values, axis=0)), axis=0)).round(4).tolist()


def spread(points: np.ndarray) -> np.ndarray:
    """(N,): RMS distance of points (N, P, 2) from their centroids."""
    return np.sqrt(((points - points.mean(axis=1, keepdims=True)) ** 2).sum(axis=2).mean(axis=1))


def framing(points: np.ndarray, labels: np.ndarray) -> dict[str, object]:
    """The result for points (N, 68, 2) in image sides."""
    eyes, size, roll = (np.array(column) for column in zip(*map(measure, points), strict=True))
    along = np.stack([np.cos(roll), np.sin(roll)], axis=1)
    down = np.stack([-along[:, 1], along[:, 0]], axis=1)

    def level(at: np.ndarray) -> np.ndarray:
        return np.stack([((at - 0.5) * axis).sum(axis=1) for axis in (along, down)], axis=1) + 0.5

    left, right, mouth = points[:, 36:42].mean(1), points[:, 42:48].mean(1), points[:, 48:].mean(1)
    apart = np.linalg.norm(right - left, axis=1)
    opening = np.linalg.norm(points[:, 62] - points[:, 66], axis=1) / size
    scales = {
        "eyes apart": apart,
        "eyes to mouth": ((mouth - eyes) * down).sum(axis=1),
        "all points": spread(points),
        "points within the face": spread(points[:, 17:]),
        "points above mouth and chin": spread(points[:, UPPER]),
    }
    centres = {"eyes": eyes, "nose": points[:, 27:36].mean(1), "all points": points.mean(1)}
    logs = {name: np.log(value / np.median(value)) for name, value in scales.items()}
    return {
        "eyes": np.median(level(eyes), axis=0).round(4).tolist(),
        "spread": round(float(np.median(size)), 4),
        "eyes_apart": round(float(np.median(apart)), 4),
        "mouth": np.median(level(mouth), axis=0).round(4).tolist(),
        "chin": np.median(level(points[:, 8]), axis=0).round(4).tolist(),
        "roll_degrees": {str(q): round(float(np.degrees(np.percentile(roll, q))), 2) for q in (5, 25, 50, 75, 95)},
        "scale": {name: robust(value) for name, value in logs.items()},
        "scale_per_mouth_opening": {
            name: round(float(np.polyfit(opening, np.clip(value, -0.4, 0.4), 1)[0]), 3) for name, value in logs.items()
        },
        "centre": {name: robust(level(at)) for name, at in centres.items()},
        "scale_by_class": {str(k): round(float(np.median(size[labels == k])), 4) for k in np.unique(labels)},
    }


def main() -> None:
    with np.load(Path(os.environ["DUCHENNE_DATA"]) / "data" / "fer2013" / "public_test.npz") as data:
        images, labels = data["images"], data["labels"]
    rows = np.sort(np.random.default_rng(SEED).choice(len(images), COUNT, replace=False))
    points = [points_of(images[row]) for row in rows]
    there = np.array([each is not None for each in points])
    found = framing(np.array([each for each in points if each is not None]), labels[rows[there]])
    about = {"images": COUNT, "seed": SEED, "with_a_face": int(there.sum()), "unit": "sides of the image"}
    for name, which in (("blind_where_found", there), ("blind_where_not", ~there)):
        eyes, size, _ = zip(*(measure(blind(images[row])) for row in rows[which]), strict=True)
        found[name] = {"eyes": np.median(eyes, axis=0).round(4), "spread": round(float(np.median(size)), 4)}
    io.write_json(OUT, about | found)
    print(json.dumps(plain(about | found), indent=1))
    print(f"in use: EYES {EYES}, SPREAD {SPREAD}")


if __name__ == "__main__":
    main()
