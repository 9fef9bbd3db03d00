"""Whether the face mesh says the same of a face that is cut out on black, and of a face in one form.

    DUCHENNE_DATA=<folder with clips/> python experiments/mesh_mask.py

PEDFE's public clips show an oval of the face on black. Every third frame of a smile and every eighth of a longer clip is
masked in the same way, by the outline of its own points, 6 % larger than `Reading.oval`. Both are followed and read as
they are, and in one form (`FaceMesh.read(…, oval=…)`), which hides what is outside of the oval in either.
Writes mesh_mask.json: mean and largest difference of the coefficients that move at all, their correlation over time, and
the difference of the points in shares of the distance between the pupils.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from duchenne import io, video
from duchenne.mesh import COEFFICIENTS, FaceMesh, Reading
from duchenne.types import Array

CLIPS = {"single_face.mp4": 3, "WolfgangLanger_Pexels.mp4": 8}
LARGER, HEIGHT = 1.06, 480
ALIVE, VARIES = 0.05, 0.02  # what a coefficient reaches in one of a hundred frames; its standard deviation


def main() -> None:
    root = os.environ.get("DUCHENNE_DATA")
    if not root:
        sys.exit("Set DUCHENNE_DATA to the folder that holds clips/.")
    cv2.setNumThreads(1)
    mesh, found = FaceMesh(), {}
    for name, step in CLIPS.items():
        frames = [scaled(each.bgr) for each in video.frames(Path(root) / "clips" / name) if each.index % step == 0]
        whole = followed(mesh, frames, alone=False)
        cut = [masked(frame, reading) for frame, reading in zip(frames, whole, strict=True)]
        alone = followed(mesh, frames, alone=True)
        found[name] = {
            "frames": len(frames),
            "as_they_are": compared(whole, followed(mesh, cut, alone=False)),
            "in_one_form": compared(alone, followed(mesh, cut, alone=True)),
            "whole_face_against_its_one_form": compared(whole, alone),
        }
        print(name, json.dumps(found[name], indent=1), flush=True)
    io.write_text(Path(__file__).with_suffix(".json"), json.dumps(found, indent=1) + "\n")


def scaled(frame: Array) -> Array:
    """The frame at most `HEIGHT` high."""
    factor = min(1.0, HEIGHT / frame.shape[0])
    return cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else frame


def followed(mesh: FaceMesh, frames: list[Array], alone: bool) -> list[Reading]:
    """The face of every frame."""
    readings: list[Reading] = []
    for frame in frames:
        if readings:
            last = readings[-1]
            readings.append(mesh.read(frame, last.following, last.oval if alone else None))
        else:
            readings.append(mesh.settle(frame, mesh.search(frame).region(0), alone))
    return readings


def masked(frame: Array, reading: Reading) -> Array:
    """The frame, black outside of the face."""
    middle = reading.points_68[30]
    inside = np.zeros(frame.shape[:2], np.uint8)
    cv2.fillPoly(inside, [(middle + LARGER * (reading.oval - middle)).round().astype(np.int32)], 1)
    return frame * inside[..., None]


def compared(a: list[Reading], b: list[Reading]) -> dict[str, Any]:
    """The difference of two readings of the same frames."""
    x, y = (np.array([each.coefficients for each in readings], float) for readings in (a, b))
    p, q = (np.array([each.points[:, :2] for each in readings], float) for readings in (a, b))
    alive = np.flatnonzero(np.quantile(x, 0.99, axis=0) > ALIVE)
    apart = np.abs(x - y)[:, alive]
    most = alive[np.argsort(-apart.mean(axis=0), kind="stable")[:3]]
    moving = alive[x[:, alive].std(axis=0) > VARIES]
    eyes = np.linalg.norm(p[:, 468] - p[:, 473], axis=1)[:, None]
    return {
        "coefficients_mean": round(float(apart.mean()), 4),
        "coefficients_max": round(float(apart.max()), 3),
        "most": {COEFFICIENTS[column]: round(float(np.abs(x - y)[:, column].mean()), 3) for column in most},
        "correlation": round(float(np.mean([np.corrcoef(x[:, each], y[:, each])[0, 1] for each in moving])), 3),
        "points": round(float((np.linalg.norm(p - q, axis=2) / eyes).mean()), 4),
    }


if __name__ == "__main__":
    main()
