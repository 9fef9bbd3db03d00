"""Speed of the mesh reader from video to points, coefficients and pose, beside its lower bound and other readers.

    DUCHENNE_DATA=FOLDER python benchmarks/mesh_speed.py [--mediapipe PYTHON] [--runs 5] [--quick] [-o FILE]

FOLDER/clips/single_face.mp4, forwards and backwards in turns, at 640x360 and enlarged at 1920x1080, stamped at its own
30 and at 100 frames/s; and WolfgangLanger_Pexels.mp4 at 640x360, in which hands hide the face, which is lost and found
again. All chains of one clip run in one process and take turns (`extract.Turns`); counted is the CPU time of each, with
its search for the face and without the loading of models. Ratios are medians over the runs, with minimum and maximum.

    decode     PyAV alone, one thread
    floor      decode, and the networks of points and coefficients at most 50 times a second, each in the region of the
               points before: the lower bound for any chain of these parts
    mesh       what `extract` does: faces.follow with the reader mesh, and crops for the expression network
    paper      the same with the reader paper
    mediapipe  MediaPipe's public class in video mode on decoded frames, in its own environment (`mesh_mediapipe.py`),
               and decoding

Then two processes of `duchenne extract` against one (`extract.scaling`), and what is lost by reading no more than 50
times a second: a simulated smile at 100 frames/s, read 50 and 100 times a second. Writes mesh_speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import mesh
import numpy as np
from extract import CLIP, LOOK, SIZES, Tick, Turns, crop, decode, follow, machine, scaling, spread

from duchenne import pipeline, video
from duchenne.datasets import simulate
from duchenne.faces.meshed import READINGS
from duchenne.faces.reading import read_faces
from duchenne.mesh import FaceMesh, layout
from duchenne.types import Array

STEADY = "single_face.mp4"
RATES = (30, 100)
_SHARE = 0.5  # of its amplitude, for the moment of a rise


def floor(path: Path, frames: int, tick: Tick) -> None:
    model, reader, region, due = FaceMesh().model, FaceMesh(), None, 0.0
    for n, frame in enumerate(islice(video.frames(path), frames)):
        if frame.time >= due - 5e-4:
            bgr, due = frame.bgr, max(due + 1 / READINGS, frame.time)
            region = region or reader.detect(bgr).region(0)
            raw, _ = model.landmarks(cv2.dnn.blobFromImage(region.crop(bgr, 256), 1 / 255, swapRB=True))
            points = raw.reshape(478, 3).copy()
            points[:, :2] = region.to_frame(points[:, :2], 256)
            model.coefficients(points[layout.FOR_COEFFICIENTS, :2][None].astype(np.float32))
            region = type(region).of_points(points)
        tick(n + 1)


def followed(reader: str, path: Path, frames: int, tick: Tick) -> None:
    follow(islice(video.frames(path), frames), reader=reader, look=crop, every=LOOK, on_frame=tick)


CHAINS: dict[str, Callable[[Path, int, Tick], Any]] = {
    "decode": decode,
    "floor": floor,
    "mesh": partial(followed, "mesh"),
    "paper": partial(followed, "paper"),
}


def mediapipe(python: str, path: Path, frames: int) -> float:
    """CPU milliseconds a frame, without decoding."""
    found = list(islice(video.frames(path), frames))
    times, images = np.array([each.time for each in found]), np.array([each.bgr for each in found])
    return 1000 * float(mesh.mediapipe(python, times, images)["video_cpu"]) / len(found)


def speeds(path: Path, runs: int, frames: int, python: str | None) -> dict[str, Any]:
    """CPU milliseconds a second of video, and ratios."""
    seconds = frames / (video.info(path).rate or 30.0)
    ms: list[dict[str, float]] = []
    for _ in range(runs):
        turns = Turns({name: partial(chain, path, frames) for name, chain in CHAINS.items()})
        assert set(turns.results) == set(CHAINS), "a chain failed; see above"
        ms.append({name: 1000 * spent / seconds for name, spent in turns.spent.items()})
        if python:
            theirs = mediapipe(python, path, min(frames, 150)) * frames / seconds
            ms[-1]["mediapipe"] = theirs + ms[-1]["decode"]
        print({name: round(value) for name, value in ms[-1].items()}, file=sys.stderr, flush=True)
    others = [name for name in ms[0] if name != "mesh"]
    return {
        "frames": frames,
        "seconds": round(seconds, 2),
        "cpu_ms_per_second": {name: spread([run[name] for run in ms]) for name in ms[0]},
        "speed_of_mesh_over": {name: spread([run[name] / run["mesh"] for run in ms]) for name in others},
    }


def stamped(clip: Path, size: tuple[int, int], rate: int, frames: int, folder: Path) -> Path:
    """So many frames of the clip, forwards and backwards in turns, at this size and rate."""
    once = [cv2.resize(f.bgr, size)[..., ::-1] for f in video.frames(clip)]
    images = islice(cycle([*once, *once[::-1]]), frames)
    return video.write(folder / f"{clip.stem}-{size[1]}-{rate}.mp4", images, float(rate))


def lost(folder: Path, seeds: int) -> dict[str, Any]:
    """Simulated smiles at 100 frames/s, read 50 and 100 times a second: how far points, the moment of the rise, and
    P(genuine) differ."""
    apart: dict[str, list[float]] = {"points": [], "coefficients": [], "rise": [], "p_genuine": []}
    for seed in range(seeds):
        for kind in ("genuine", "posed"):
            path = simulate.smile_clip(folder / f"{kind}{seed}.mp4", kind, rate=100.0, seed=seed)
            ways = [partial(read_faces, most=most) for most in (READINGS, np.inf)]
            read = [pipeline.examine(path, reader="mesh", read=way)[0] for way in ways]
            few, all_ = (each.track for each in read)
            unit = np.linalg.norm(all_.points[:, 36:42].mean(1) - all_.points[:, 42:48].mean(1), axis=1)
            away = np.linalg.norm(few.points - all_.points, axis=2).mean(1) / unit
            apart["points"].append(float(np.nanmean(away)))
            apart["coefficients"].append(
                float(np.nanmax(np.abs(few.filled("coefficients") - all_.filled("coefficients"))))
            )
            apart["rise"].append(abs(risen(few.time, few.points) - risen(all_.time, all_.points)))
            apart["p_genuine"].append(abs(read[0].p_raw - read[1].p_raw))
    table = {name: {"mean": float(np.mean(v)), "largest": float(np.max(v))} for name, v in apart.items()}
    return {"clips": 2 * seeds, **table}


def risen(time: Array, points: Array) -> float:
    """Seconds until the mouth has half of its largest width beyond that of the start."""
    width = np.linalg.norm(points[:, 54] - points[:, 48], axis=1)
    level = width[:10].mean() + _SHARE * (np.nanmax(width) - width[:10].mean())
    return float(time[np.flatnonzero(width >= level)[0]])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--mediapipe", help="Python with mediapipe 0.10.21")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="few frames, which is meaningless; writes only with -o")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    root = os.environ.get("DUCHENNE_DATA") or sys.exit("Set DUCHENNE_DATA to the folder that holds clips/.")
    cv2.setNumThreads(1)
    runs, frames = (1, 24) if options.quick else (options.runs, 360)
    found: dict[str, Any] = {"machine": machine(), "runs": runs, "clips": {}}
    with TemporaryDirectory() as made:
        folder, clips = Path(made), Path(root) / "clips"
        measured = {f"{name}, {rate} frames/s": (STEADY, name, rate) for name in SIZES for rate in RATES}
        for name, (clip, size, rate) in (measured | {"with hands, 360p, 30 frames/s": (CLIP, "360p", 30)}).items():
            path = stamped(clips / clip, SIZES[size], rate, frames, folder)
            for reader in ("mesh", "paper"):
                follow(islice(video.frames(path), 2), reader=reader)  # loads every model
            found["clips"][name] = speeds(path, runs, frames, options.mediapipe)
        found["two_processes"] = scaling(folder / f"{Path(STEADY).stem}-360-30.mp4", runs, frames)
        found["read_50_of_100"] = lost(folder, 1 if options.quick else 5)
    text = json.dumps(found, indent=1) + "\n"
    if out := options.output or (None if options.quick else Path(__file__).with_suffix(".json")):
        out.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
