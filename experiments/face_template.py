"""The mean face with depth that `preprocess.align.frontal` fits frames to, from PEDFE's tracks.

    DUCHENNE_DATA=<folder with data/pedfe/points.npz> python experiments/face_template.py

x and y: symmetrised mean of the points after aligning every frame to the mean by its stable points. z: how far a point
moves against the stable points per unit of yaw (in x) and pitch (in y), by alternating least squares on every frame
minus its clip's median; scaled so that nose tip and eye corners are 0.5 interocular distances
apart in depth. Writes src/duchenne/preprocess/face_template.json.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np

from duchenne import io
from duchenne.preprocess.align import STABLE

OUT = Path(__file__).parents[1] / "src" / "duchenne" / "preprocess" / "face_template.json"
#: Which point is which in a mirror.
MIRROR = [
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36,
    41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
]  # fmt: skip


def similar(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Every frame (T, 68, 2) rotated, scaled and shifted so that its stable points match the target's."""
    centre, middle = points[:, STABLE].mean(axis=1, keepdims=True), target[STABLE].mean(axis=0)
    q, t = points[:, STABLE] - centre, target[STABLE] - middle
    zq, zt = q[..., 0] + 1j * q[..., 1], t[:, 0] + 1j * t[:, 1]
    a = (np.conj(zq) * zt).sum(axis=1) / (np.abs(zq) ** 2).sum(axis=1)
    z = a[:, None] * ((points - centre)[..., 0] + 1j * (points - centre)[..., 1])
    return np.stack([z.real, z.imag], axis=-1) + middle


def eyes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres of both eyes."""
    return points[..., 36:42, :].mean(axis=-2), points[..., 42:48, :].mean(axis=-2)


def mean_face(points: np.ndarray) -> np.ndarray:
    """float (68, 2) in interocular distances, origin between the eyes."""
    left, right = eyes(points)
    scale = np.linalg.norm(right - left, axis=1)[:, None, None]
    mean = np.median((points - (left + right)[:, None] / 2) / scale, axis=0)
    for _ in range(10):
        mean = similar(points, mean).mean(axis=0)
        mean = (mean + mean[MIRROR] * [-1, 1]) / 2
        left, right = eyes(mean)
        mean = (mean - (left + right) / 2) / np.linalg.norm(right - left)
    return mean


def depth(points: np.ndarray, mean: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """float (68,): towards the camera, in interocular distances."""
    rest = similar(points, mean)
    for start, stop in itertools.pairwise(offset):
        rest[start:stop] -= np.median(rest[start:stop], axis=0)
    z = np.zeros(68)
    z[[29, 30, 33]] = 0.3, 0.45, 0.3
    for _ in range(200):
        stable = z[STABLE] - z[STABLE].mean()
        pose = np.einsum("tpc,p->tc", rest[:, STABLE], stable) / (stable @ stable)
        new = np.einsum("tpc,tc->p", rest, pose) / (pose**2).sum()
        new -= new[STABLE].mean()
        new = (new + new[MIRROR]) / 2
        if np.abs(new - z).max() < 1e-6:
            break
        z = new / (new[30] - new[[36, 39, 42, 45]].mean()) * 0.5
    return z


def main() -> None:
    with np.load(Path(os.environ["DUCHENNE_DATA"]) / "data" / "pedfe" / "points.npz") as data:
        points, offset = data["points"].astype(float), data["offset"]
    mean = mean_face(points)
    xyz = np.column_stack([mean, depth(points, mean, offset)]).round(4)
    about = {
        "layout": "dlib68",
        "unit": "iod",
        "origin": "midpoint between the eyes",
        "axes": "x right, y down, z towards the camera",
        "made_by": "experiments/face_template.py",
        "xyz": xyz.tolist(),
    }
    io.write_json(OUT, about)


if __name__ == "__main__":
    main()
