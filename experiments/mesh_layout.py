"""Which mesh point lies where dlib places each of its 68, over people who show six emotions.

    DUCHENNE_DATA=FOLDER python experiments/mesh_layout.py

Reads FOLDER/data/pedfe: three frames each of six clips of every person, dlib's points as stored with them. Writes
mesh_layout.json: for each of the 68 points, the mean distance to the mesh point of `POINTS_68` in interocular distances,
people weighted equally, and which point of the same contour would be nearest if both sides of the face are treated alike.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from duchenne import io, video
from duchenne.mesh import POINTS_68, FaceMesh
from duchenne.types import Array

CLIPS, MOMENTS = 6, (0.1, 0.5, 0.8)
#: The mesh points of each contour, by the 68 points that lie on it.
CONTOURS = {
    range(
        17
    ): "10 338 297 332 284 251 389 356 454 323 361 288 397 365 379 378 400 377 152 148 176 149 150 136 172 58 132"
    " 93 234 127 162 21 54 103 67 109",
    range(17, 27): "46 53 52 65 55 70 63 105 66 107 276 283 282 295 285 300 293 334 296 336",
    range(27, 36): " ".join(map(str, range(468))),
    range(
        36, 48
    ): "33 7 163 144 145 153 154 155 133 246 161 160 159 158 157 173 263 249 390 373 374 380 381 382 362 466 388"
    " 387 386 385 384 398",
    range(48, 60): "61 146 91 181 84 17 314 405 321 375 291 185 40 39 37 0 267 269 270 409",
    range(60, 68): "78 95 88 178 87 14 317 402 318 324 308 191 80 81 82 13 312 311 310 415",
}
#: The point on the other side of the face, of each of the 68.
OTHER = [
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36,
    41, 40, *range(54, 47, -1), 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
]  # fmt: skip


def main() -> None:
    root = os.environ.get("DUCHENNE_DATA")
    if not root:
        sys.exit("Set DUCHENNE_DATA to the folder that holds data/pedfe/.")
    cv2.setNumThreads(1)
    mesh = FaceMesh()
    dlib, points, people = read(mesh, Path(root) / "data" / "pedfe")
    apart = distances(dlib, points[:, :468, :2], people)
    # the mirrored point of the mesh: where the mean face's own mirror image has it
    faces = mesh.model.canonical
    mirror = [int(np.argmin(((faces - each * (-1, 1, 1)) ** 2).sum(axis=1))) for each in faces]
    even = (apart + apart[OTHER][:, mirror]) / 2
    rows = []
    for point, chosen in enumerate(POINTS_68):
        contour = next(text for numbers, text in CONTOURS.items() if point in numbers)
        allowed = [n for n in map(int, contour.split()) if OTHER[point] != point or mirror[n] == n]
        nearest = allowed[int(np.argmin(even[point, allowed]))]
        rows.append(
            [point, chosen, round(float(apart[point, chosen]), 3), nearest, round(float(apart[point, nearest]), 3)]
        )
    chosen = apart[range(68), POINTS_68]
    found = {
        "people": len(set(people)),
        "frames": len(people),
        "mean_distance": round(float(chosen.mean()), 4),
        "mean_distance_without_jaw_and_brows": round(float(chosen[27:].mean()), 4),
        "columns": ["point", "mesh_point", "distance", "nearest", "its_distance"],
        "rows": rows,
    }
    text = re.sub(r"\[\s+([^][]*?)\s+\]", lambda row: f"[{' '.join(row[1].split())}]", json.dumps(found, indent=1))
    io.write_text(Path(__file__).with_suffix(".json"), text + "\n")


def read(mesh: FaceMesh, folder: Path) -> tuple[Array, Array, list[str]]:
    """(dlib's points (N, 68, 2), mesh points (N, 478, 3), whose)."""
    stored, draw = dict(np.load(folder / "points.npz")), np.random.default_rng(0)
    dlib, points, people = [], [], []
    for person in np.unique(stored["subject"]):
        clips: Sequence[int] = np.flatnonzero(stored["subject"] == person)
        for clip in draw.choice(clips, min(CLIPS, len(clips)), replace=False):
            first, stop = stored["offset"][clip : clip + 2]
            wanted = {int((stop - first) * share) for share in MOMENTS}
            for frame in video.frames(folder / "clips" / f"{stored['clip'][clip]}.avi"):
                if frame.index > max(wanted):
                    break
                if frame.index not in wanted or not len(faces := mesh.detect(frame.bgr)):
                    continue
                reading = mesh.read(frame.bgr, mesh.read(frame.bgr, faces.region(0)).following)
                stands = stored["points"][first + frame.index]
                if reading.presence >= 0.5 and np.isfinite(stands).all():
                    dlib.append(stands)
                    points.append(reading.points)
                    people.append(str(person))
    return np.array(dlib, float), np.array(points, float), people


def distances(dlib: Array, points: Array, people: list[str]) -> Array:
    """(68, 468): mean distance of each of dlib's points to each mesh point, in interocular distances."""
    _, who, many = np.unique(people, return_inverse=True, return_counts=True)
    share = 1 / many[who] / len(many)
    eyes = np.linalg.norm(dlib[:, 36:42].mean(axis=1) - dlib[:, 42:48].mean(axis=1), axis=1)[:, None, None]
    apart = np.linalg.norm(dlib[:, :, None] - points[:, None], axis=-1) / eyes
    return np.asarray(np.tensordot(share, apart, 1))


if __name__ == "__main__":
    main()
