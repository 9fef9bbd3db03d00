"""Telling duplicate clips from two takes: thresholds of duchenne.evaluation.leaks and faces.identity on real data.

    DUCHENNE_DATA=<folder with data/ and clips/> python experiments/leaks.py

Writes experiments/leaks.json: the nearest real pairs of PEDFE, how many planted copies are found after each kind of
change, duplicate rows of public tables, and distances between faces of the same and of different people.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from takes import encode

from duchenne import io, video
from duchenne.datasets import simulate
from duchenne.evaluation import leaks
from duchenne.faces import follow, identity, protagonist
from duchenne.types import FaceTrack, Features

HERE = Path(__file__).parent
Change = Callable[[FaceTrack, np.random.Generator], FaceTrack]


def made(points: np.ndarray, time: np.ndarray) -> FaceTrack:
    n = len(time)
    return FaceTrack(time, points, np.full(n, np.nan), np.full((n, 4), np.nan), (0, 0))


def jitter(pixels: float) -> Change:
    return lambda t, rng: made(t.points + rng.normal(0, pixels, t.points.shape), t.time)


def trim(start: float, end: float) -> Change:
    def cut(t: FaceTrack, rng: np.random.Generator) -> FaceTrack:
        a, b = round(start * len(t)), len(t) - round(end * len(t))
        return made(t.points[a:b], t.time[a:b] - t.time[a])

    return cut


def rate(fps: float) -> Change:
    def resampled(t: FaceTrack, rng: np.random.Generator) -> FaceTrack:
        grid = np.arange(t.time[0], t.time[-1] + 1e-9, 1 / fps)
        flat = [np.interp(grid, t.time, column) for column in t.points.reshape(len(t), -1).T]
        return made(np.stack(flat, axis=1).reshape(-1, 68, 2), grid)

    return resampled


def chain(*changes: Change) -> Change:
    def all_of(t: FaceTrack, rng: np.random.Generator) -> FaceTrack:
        for change in changes:
            t = change(t, rng)
        return t

    return all_of


CHANGES: dict[str, Change] = {
    "jitter 0.5 px": jitter(0.5),
    "jitter 1 px": jitter(1.0),
    "twice the size": lambda t, rng: made(2 * t.points, t.time),
    "half the size, whole pixels": lambda t, rng: made(np.round(t.points / 2), t.time),
    "5 % cut off the start": trim(0.05, 0),
    "5 % cut off both ends": trim(0.05, 0.05),
    "10 % cut off the start": trim(0.1, 0),
    "20 % cut off the start": trim(0.2, 0),
    "15 % cut off the start": trim(0.15, 0),
    "30 frames/s": rate(30),
    "15 frames/s": rate(15),
    "played 1.2 times as fast": lambda t, rng: made(t.points, t.time / 1.2),
    "5 % off the start, 30 frames/s, jitter 0.5 px": chain(trim(0.05, 0), rate(30), jitter(0.5)),
    "5 % off the start, 30 frames/s, jitter 1 px": chain(trim(0.05, 0), rate(30), jitter(1.0)),
    "mirrored, jitter 0.5 px": chain(lambda t, rng: mirrored(t), jitter(0.5)),
}


def mirrored(track: FaceTrack) -> FaceTrack:
    order = np.r_[16:-1:-1, 26:16:-1, 27:31, 35:30:-1, 45:41:-1, 47, 46, 39:35:-1, 41, 40]
    order = np.r_[order, 54:47:-1, 59:54:-1, 64:59:-1, 67:64:-1]
    return made(track.points[:, order] * np.array([-1, 1]) + np.array([854, 0]), track.time)


def takes(tracks: list[FaceTrack], subject: np.ndarray) -> dict[str, object]:
    """The nearest pairs of the data set."""
    pairs = leaks.near_duplicates(tracks, threshold=0.99)
    rows = [
        {
            "clips": [tracks[p.i].source, tracks[p.j].source],
            "distance": round(p.distance, 3),
            "same person": bool(subject[p.i] == subject[p.j]),
            "exact": p.exact,
            "mirrored": p.mirrored,
        }
        for p in pairs
    ]
    others = [r for r in rows if not r["same person"]]
    called = leaks.near_duplicates(tracks)
    return {
        "clips": len(tracks),
        "called one clip": [[tracks[p.i].source, tracks[p.j].source] for p in called],
        "nearest": rows[:8],
        "nearest of two people": others[:4],
    }


def planted(tracks: list[FaceTrack], copies: int = 200) -> dict[str, object]:
    """Changed copies of some clips among all others: how many are found, and what else is."""
    rng = np.random.default_rng(0)
    long = [k for k, t in enumerate(tracks) if len(t) >= 13]
    chosen = rng.choice(long, copies, replace=False).tolist()
    out: dict[str, object] = {"copies each": copies}
    for name, change in CHANGES.items():
        pairs = leaks.near_duplicates([*tracks, *(change(tracks[k], rng) for k in chosen)])
        right = {(k, len(tracks) + n) for n, k in enumerate(chosen)}
        hits = {(p.i, p.j) for p in pairs} & right
        twins = {tracks.index(t) for t in tracks if t.source in ("36_ss_2", "36_ss_3")}
        wrong = [p for p in pairs if (p.i, p.j) not in right and not _twin(p, chosen, len(tracks), twins)]
        out[name] = {"found": round(len(hits) / copies, 3), "wrong pairs": len(wrong)}
        print(name, out[name], flush=True)
    return out


def _twin(pair: leaks.Pair, chosen: list[int], count: int, twins: set[int]) -> bool:
    """Whether both come from the one duplicate clip of PEDFE."""
    return {k if k < count else chosen[k - count] for k in (pair.i, pair.j)} <= twins


def followed(path: Path) -> FaceTrack:
    track = protagonist(follow(video.frames(path), source=path.name).tracks)
    assert track is not None
    return track


def real_files(root: Path, tmp: Path) -> dict[str, object]:
    """Two real videos, re-encoded and tracked again; and the distances between their faces."""
    encodings, people = {}, {}
    for name in ("single_face.mp4", "WolfgangLanger_Pexels.mp4"):
        path = root / "clips" / name
        track = followed(path)
        for what, how in {
            "same size, crf 28": (1.0, 28),
            "half the size, crf 35": (0.5, 35),
            "mirrored, crf 20": (1.0, 20, 1, True),
        }.items():
            copy = followed(encode(path, tmp / "copy.mp4", *how))
            pairs = leaks.near_duplicates([track, copy], threshold=0.99)
            encodings[f"{name}: {what}"] = round(pairs[0].distance, 3) if pairs else None
        half = len(track) // 2
        for part, span in {"first half": slice(0, half), "second half": slice(half, None)}.items():
            points = track.points.copy()
            keep = np.zeros(len(track), bool)
            keep[span] = True
            points[~keep] = np.nan
            people[f"{name}, {part}"] = identity.embed_clip(path, replace(track, points=points))[None]
    for kind in simulate.KINDS:
        clip = simulate.smile_clip(tmp / f"{kind}.mp4", kind, rate=15, seed=len(kind))
        people[f"portrait, {kind}"] = identity.embed_clip(clip, followed(clip))[None]
    frame = next(iter(video.frames(root / "clips" / "multi_face.jpg")))
    for k, face in enumerate(follow([frame], all_faces=True).tracks):
        people[f"multi_face.jpg, {k}"] = identity.embed(frame.bgr[:, :, ::-1], face.points[0])[None]
    apart = identity.same_person(people, threshold=9)
    return {"encoded again": encodings, "nearest faces": [[a, b, round(d, 3)] for a, b, d in apart[:10]]}


def tables(root: Path) -> dict[str, object]:
    out: dict[str, object] = {}
    with np.load(root / "data" / "sase_fe_features" / "train.npz") as z:
        x, about = z["features"], {k: z[k] for k in ("subject", "emotion", "genuine")}
    names = tuple(map(str, range(x.shape[1])))
    pairs = leaks.near_duplicates([Features(row, names) for row in x])
    duplicates = [
        [f"person {about['subject'][k]}, {about['emotion'][k]}, genuine {about['genuine'][k]}" for k in (p.i, p.j)]
        for p in pairs
    ]
    out["sase_fe_features"] = {"rows": len(x), "twins": duplicates, "standardised": leaks.standardised_before_split(x)}
    for part in ("lip", "eye"):
        x = pd.read_csv(root / "data" / "uva_nemo" / f"{part}.csv").iloc[:, 4:].to_numpy(float)
        pairs = leaks.near_duplicates([Features(row, tuple(map(str, range(x.shape[1])))) for row in x])
        out[f"uva_nemo {part}"] = {
            "rows": len(x),
            "twins": len(pairs),
            "standardised": leaks.standardised_before_split(x),
        }
    return out


def main() -> None:
    root = Path(os.environ["DUCHENNE_DATA"])
    file = root / "data" / "pedfe" / "points.npz"
    tracks = io.load_tracks(file)
    with np.load(file) as z:
        subject = z["subject"]
    found: dict[str, object] = {"threshold": leaks.SAME_TAKE, "same person": identity.SAME_PERSON}
    with tempfile.TemporaryDirectory() as tmp:
        found |= {"real files": real_files(root, Path(tmp)), "tables": tables(root)}
    found |= {"pedfe": takes(tracks, subject), "planted": planted(tracks)}
    io.write_json(HERE / "leaks.json", found)


if __name__ == "__main__":
    main()
