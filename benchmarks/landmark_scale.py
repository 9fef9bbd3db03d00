"""Why the face is enlarged to 400 px before dlib places its points: jitter and step by crop size.

    DUCHENNE_DATA=FOLDER python benchmarks/landmark_scale.py

The clip (a neutral face that smiles and stops, FOLDER/clips/single_face.mp4) is reduced to a 150 px face.
The same boxes then go to dlib on crops of several face heights.
Writes landmark_scale.json and landmark_scale.svg beside itself.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from duchenne import video
from duchenne.faces import follow
from duchenne.faces.landmarks import Dlib68
from duchenne.types import Array, FaceTrack

HEIGHTS = (100, 150, 200, 300, 400, 600)
FACE = 150  # pixels, as in a 480-line video
USED = 400


def main() -> None:
    root = os.environ.get("DUCHENNE_DATA")
    if not root:
        sys.exit("Set DUCHENNE_DATA to the folder that holds clips/single_face.mp4.")
    greys, track = reduced(Path(root) / "clips" / "single_face.mp4")
    fits = {h: fit_all(greys, track.box, h) for h in HEIGHTS}
    result = summary(track, fits)
    here = Path(__file__).parent
    (here / "landmark_scale.json").write_text(json.dumps(result, indent=1) + "\n")
    draw(result, here / "landmark_scale.svg")
    print(json.dumps(result, indent=1))


def reduced(path: Path) -> tuple[list[Array], FaceTrack]:
    """The clip's frames with a `FACE` px face, and the track (for its boxes) on the same scale."""
    track = follow(video.frames(path)).tracks[0]
    factor = FACE / float(np.median(track.box[:, 3] - track.box[:, 1]))
    greys = [cv2.resize(f.grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) for f in video.frames(path)]
    return greys, track.evolve("reduced", box=track.box * factor, points=track.points * factor)


def fit_all(greys: list[Array], boxes: Array, height: int) -> tuple[Array, float]:
    """(points (T, 68, 2), median ms per frame) with the face box scaled to `height` px."""
    landmarker = Dlib68(face_height=height)
    points, milliseconds = [], []
    for grey, box in zip(greys, boxes, strict=True):
        start = time.process_time()
        points.append(landmarker.fit(grey, box))
        milliseconds.append(1000 * (time.process_time() - start))
    return np.stack(points), float(np.median(milliseconds))


def interocular(points: Array) -> float:
    eyes = points[:, 36:42].mean(axis=1) - points[:, 42:48].mean(axis=1)
    return float(np.median(np.linalg.norm(eyes, axis=1)))


def quiet(width: Array) -> Array:
    """bool (T - 2,): the third of the frames in which the smoothed mouth width changes least."""
    smooth = np.convolve(np.pad(width, 3, mode="edge"), np.ones(7) / 7, mode="valid")
    speed = np.abs(smooth[2:] - smooth[:-2])
    return np.asarray(speed <= np.quantile(speed, 1 / 3))


def summary(track: FaceTrack, fits: dict[int, tuple[Array, float]]) -> dict[str, Any]:
    """Everything in % of the interocular distance; jitter is the |second difference| of a point;
    cost is the time of a fit as a ratio to that at the height that duchenne uses, in the same run.

    Its mean is more informative than its median: with coarse steps most points stand still and some jump.
    """
    unit = interocular(fits[USED][0]) / 100
    width = np.linalg.norm(fits[USED][0][:, 48] - fits[USED][0][:, 54], axis=1)
    calm = quiet(width)
    side = float(np.median(track.box[:, 3] - track.box[:, 1]))
    rows = []
    for height, (points, ms) in fits.items():
        jump = np.linalg.norm(points[2:] - 2 * points[1:-1] + points[:-2], axis=2)[calm] / unit
        row = {"face_height": height, "jitter": jump.mean(), "jitter_median": np.median(jump)}
        row |= {"step": side / height / unit, "cost": ms / fits[USED][1]}
        rows.append({k: round(float(v), 3) for k, v in row.items()})
    rise = np.diff(np.convolve(width, np.ones(3) / 3, mode="valid")).max()
    return {
        "clip": "single_face.mp4",
        "face_px": round(side, 1),
        "interocular_px": round(unit * 100, 1),
        "unit": "% of interocular distance; jitter: |second difference| of points, quiet third of frames",
        "heights": rows,
        "smile_each_lip_corner": round(float(np.ptp(width)) / unit / 2, 2),
        "fastest_rise_each_lip_corner_per_frame": round(float(rise) / unit / 2, 2),
    }


def draw(result: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "duchenne"
    from matplotlib import pyplot as plt

    rows = result["heights"]
    x = [r["face_height"] for r in rows]
    figure, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    axis.plot(x, [r["jitter"] for r in rows], "o-", label="jitter (mean)")
    axis.plot(x, [r["step"] for r in rows], "s--", label="step: one pixel of the crop")
    rise = result["fastest_rise_each_lip_corner_per_frame"]
    axis.axhline(rise, color="grey", lw=1, label="a lip corner in the smile's fastest frame")
    axis.axvline(USED, color="black", lw=0.5, ls=":")
    axis.set(xlabel="height of the face box in the crop (px)", ylabel="% of interocular distance", ylim=(0, None))
    axis.set_title(f"dlib's points on a {FACE} px face", loc="left")
    axis.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
