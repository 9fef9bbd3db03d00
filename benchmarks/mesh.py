"""Whether the face mesh says what MediaPipe's own Python says of the same frames.

    DUCHENNE_DATA=FOLDER python benchmarks/mesh.py --mediapipe PYTHON

PYTHON is the interpreter of a separate environment with mediapipe 0.10.21 (`mesh_mediapipe.py` runs there, since
mediapipe and duchenne need different packages). The clips are those of FOLDER/clips and skimage's astronaut; both
sides read the same decoded pixels. Writes mesh.json beside itself: differences of points as shares of the distance
between the pupils, of coefficients, and of the head's angles in degrees.

`image`  the face is searched in every frame, by MediaPipe's public class in image mode and by `detect` and `read`
`same`   it is read without smoothing in the regions of MediaPipe's own graph, which made each from the frame before:
         the two readers on the same region
`track`  the same, but each side follows the face by its own regions (`Reading.following`), so that differences add up
`video`  MediaPipe's public class in video mode, which smooths points, against the same unsmoothed readings: how far
         smoothing moves them
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from skimage.data import astronaut

from duchenne import video
from duchenne.mesh import FaceMesh, Reading, Region
from duchenne.mesh.model import find_model
from duchenne.mesh.pose import angles, pose
from duchenne.types import Array

CLIPS = ("single_face.mp4", "WolfgangLanger_Pexels.mp4", "face_noface.mov", "noface_face.mov", "no_face.mp4")
STILLS = ("single_face.jpg", "multi_face.jpg")
PUPILS = (468, 473)
LEAST = 0.5  # presence below which the face is sought again


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--mediapipe", required=True, help="Python with mediapipe 0.10.21")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    root = os.environ.get("DUCHENNE_DATA")
    if not root:
        sys.exit("Set DUCHENNE_DATA to the folder that holds clips/.")
    cv2.setNumThreads(1)
    mesh, result = FaceMesh(), {}
    for name in ("astronaut", *CLIPS, *STILLS):
        times, frames = pixels(name, Path(root) / "clips")
        theirs = mediapipe(options.mediapipe, times, frames)
        result[name] = compared(mesh, frames, theirs)
        print(name, json.dumps(result[name]), flush=True)
    about = {"opencv": cv2.__version__, "mediapipe": str(theirs["version"]), "sha256": mesh.model.sha256}
    options.output.write_text(json.dumps({"about": about, "clips": result}, indent=1) + "\n", encoding="utf-8")


def pixels(name: str, folder: Path) -> tuple[Array, Array]:
    """(times (T,), frames uint8 (T, H, W, 3) BGR)."""
    if name == "astronaut":
        return np.zeros(1), astronaut()[None, :, :, ::-1]
    found = list(video.frames(folder / name))
    return np.array([each.time for each in found]), np.array([each.bgr for each in found])


def mediapipe(python: str, times: Array, frames: Array) -> dict[str, Array]:
    """What `mesh_mediapipe.py` writes about the frames."""
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        np.save(there / "frames.npy", frames[..., ::-1])
        np.save(there / "times.npy", times)
        script = Path(__file__).with_name("mesh_mediapipe.py")
        words = [there / "frames.npy", there / "times.npy", find_model(), there / "result.npz"]
        subprocess.run([python, script, *words], check=True, stderr=subprocess.DEVNULL)
        with np.load(there / "result.npz") as stored:
            return dict(stored)


def compared(mesh: FaceMesh, frames: Array, theirs: dict[str, Array]) -> dict[str, Any]:
    """The differences over the frames of one clip, each way."""
    searched, followed, same = [], [], []
    region = None
    for frame, given in zip(frames, theirs["track_regions"], strict=True):
        faces = mesh.detect(frame)
        first = mesh.read(frame, faces.region(0)) if len(faces) else None
        searched.append(first if first is not None and first.presence >= LEAST else None)
        now = mesh.read(frame, region) if region is not None else first
        followed.append(now if now is not None and now.presence >= LEAST else None)
        region = followed[-1].following if followed[-1] is not None else None
        again = mesh.read(frame, Region(*given.tolist())) if np.isfinite(given).all() else None
        same.append(again if again is not None and again.presence >= LEAST else None)
    found: dict[str, Any] = {"frames": len(frames)}
    size = (frames.shape[2], frames.shape[1])
    found["image"] = differences(mesh, searched, theirs, "image", size)
    if len(frames) > 1:
        found["same"] = differences(mesh, same, theirs, "track", size)
        found["track"] = differences(mesh, followed, theirs, "track", size)
        found["video"] = differences(mesh, followed, theirs, "video", size)
    return found


def differences(
    mesh: FaceMesh, ours: list[Reading | None], theirs: dict[str, Array], way: str, size: tuple[int, int]
) -> dict[str, Any]:
    """Largest and mean difference over the frames in which both see a face, and in how many only one does."""
    there = np.isfinite(theirs[f"{way}_points"]).all(axis=(1, 2))
    seen = {frame: each for frame, each in enumerate(ours) if each is not None and there[frame]}
    here = np.array([each is not None for each in ours])
    found: dict[str, Any] = {"both": len(seen), "only_one": int((here != there).sum())}
    if not seen:
        return found
    both, readings = list(seen), list(seen.values())
    a = np.array([each.points for each in readings], float)
    # MediaPipe measures depth along the frame's sides, so that it grows as a head rolls in a frame that is not square
    a[..., 2] *= np.array([stretch(each.region, size) for each in readings])[:, None]
    b = theirs[f"{way}_points"][both]
    eyes = np.linalg.norm(b[:, PUPILS[0], :2] - b[:, PUPILS[1], :2], axis=1)[:, None]
    found["points_of_eye_distance"] = spread(np.linalg.norm(a[..., :2] - b[..., :2], axis=2) / eyes, 0.005)
    found["depth_of_eye_distance"] = spread(np.abs(a[..., 2] - b[..., 2]) / eyes)
    coefficients = np.array([each.coefficients for each in readings])
    found["coefficients"] = spread(np.abs(coefficients - theirs[f"{way}_coefficients"][both]), 0.02)
    if f"{way}_matrices" in theirs:
        matrices = theirs[f"{way}_matrices"][both][:, :3, :3]
        turns = np.array([angles(each / np.cbrt(np.linalg.det(each))) for each in matrices])
        face = (mesh.model.canonical, mesh.model.rigid)
        found["pose_degrees"] = spread(np.abs([pose(each, size, *face) for each in a] - turns))
        found["pose_degrees_by_true_depth"] = spread(np.abs([each.pose for each in readings] - turns))
    return found


def stretch(region: Region, size: tuple[int, int]) -> float:
    """MediaPipe's depth over true depth."""
    return math.hypot(math.cos(region.angle), math.sin(region.angle) * size[0] / size[1])


def spread(values: Array, most: float = np.inf) -> dict[str, float]:
    """Mean, 99th percentile of the frames' largest, largest, and in how many frames the largest is above `most`."""
    worst = values.max(axis=1)
    return {
        "frames_above": int((worst > most).sum()),
        "mean": float(f"{values.mean():.3g}"),
        "p99_of_frames": float(f"{np.quantile(worst, 0.99):.3g}"),
        "max": float(f"{worst.max():.3g}"),
    }


if __name__ == "__main__":
    main()
