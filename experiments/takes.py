"""Two takes of one person against two encodings of one: the threshold of `features.takes` for faces read by the mesh.

    DUCHENNE_DATA=<folder with data/ and clips/> python experiments/takes.py

Writes experiments/takes.json: of PEDFE's clips of one person and emotion the nearest by dlib's points (all pairs), and
these pairs read by the mesh; and clips encoded again, read by the mesh, each with its original.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from functools import cache
from itertools import combinations, groupby, islice
from pathlib import Path

import av
import cv2
import numpy as np

from duchenne import io, video
from duchenne.faces import join, protagonist
from duchenne.faces.reading import read_faces
from duchenne.features import takes
from duchenne.types import FaceTrack

HERE = Path(__file__).parent
NEAREST, COPIED = 60, 12  # pairs read by the mesh; clips encoded again, one of each of as many people
#: What is done to a copy: scale, CRF, every how many frames, mirrored.
COPIES = {
    "CRF 28": (1.0, 28, 1, False),
    "0.75 of the size, CRF 23": (0.75, 23, 1, False),
    "half the rate, CRF 23": (1.0, 23, 2, False),
    "mirrored, CRF 23": (1.0, 23, 1, True),
    "half the size, CRF 35": (0.5, 35, 1, False),
}


def encode(source: Path, target: Path, scale: float, crf: int, every: int = 1, flip: bool = False) -> Path:
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=round((video.info(source).rate or 30) / every))
        stream.options = {"crf": str(crf)}
        for number, frame in enumerate(islice(video.frames(source), 0, None, every)):
            picture = cv2.resize(frame.bgr[:, ::-1] if flip else frame.bgr, None, fx=scale, fy=scale, interpolation=3)
            height, width = (side - side % 2 for side in picture.shape[:2])
            if number == 0:
                stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            picture = np.ascontiguousarray(picture[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return target


def read(path: Path) -> FaceTrack:
    track = protagonist(join(read_faces(path, reader="mesh"), str(path)).tracks)
    assert track is not None
    return track


def kind(name: str) -> tuple[str, str]:
    """Person and emotion of a clip, by its name."""
    person, emotion, _ = name.split("_")
    return person, emotion[0]


def nearest(tracks: list[FaceTrack]) -> list[tuple[float, str, str]]:
    """Distances of all pairs of one person and emotion, the least first."""
    courses = {t.source: takes.course(t) for t in sorted(tracks, key=lambda t: kind(t.source))}
    found = []
    for _, group in groupby(courses, key=kind):
        for a, b in combinations(group, 2):
            one, other = courses[a], courses[b]
            if one is not None and other is not None:
                mirrored = replace(other, x=takes.flip(other.x))
                found.append((min(takes.apart(one, other), takes.apart(one, mirrored)), a, b))
    return sorted(found)


def main() -> None:
    root = Path(os.environ["DUCHENNE_DATA"]) / "data" / "pedfe"
    by_points = nearest(list(io.load_tracks(root / "points.npz")))
    mesh = cache(lambda name: read(root / "clips" / f"{name}.avi"))
    pairs = [(takes.distance(mesh(a), mesh(b)), a, b) for _, a, b in by_points[:NEAREST]]
    pairs.sort()
    people = dict.fromkeys(kind(a)[0] for _, a, _ in by_points)
    chosen = [next(a for _, a, _ in by_points if kind(a)[0] == person) for person in list(people)[:COPIED]]
    copies: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as tmp:
        for name, how in COPIES.items():
            clips = [encode(root / "clips" / f"{each}.avi", Path(tmp) / f"{each}.mp4", *how) for each in chosen]
            copies[name] = [takes.distance(read(c), mesh(each)) for c, each in zip(clips, chosen, strict=True)]
            print(name, np.round(copies[name], 3), flush=True)
    io.write_json(
        HERE / "takes.json",
        {
            "data": "PEDFE, open part: 1,070 clips of 42 people",
            "threshold": takes.SAME_TAKE,
            "pairs of one person and emotion": len(by_points),
            "nearest by dlib's points": [[round(d, 3), a, b] for d, a, b in by_points[:5]],
            "nearest by the mesh, of the pairs nearest by dlib's points": {
                "pairs": len(pairs),
                "nearest": [[round(d, 3), a, b] for d, a, b in pairs[:5]],
            },
            "encoded again": {
                name: {
                    "clips": len(d),
                    "taken for one": sum(each <= takes.SAME_TAKE for each in d),
                    "median": round(float(np.median(d)), 3),
                    "farthest": round(max(d), 3),
                }
                for name, d in copies.items()
            },
        },
    )


if __name__ == "__main__":
    main()
