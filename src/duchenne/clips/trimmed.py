"""Copies of a clip's track with landmarks found again on trimmed boxes, read from the cache where they are known."""

from __future__ import annotations

import hashlib

from duchenne import video
from duchenne.clips import load
from duchenne.clips.cache import Cache
from duchenne.errors import InputError
from duchenne.faces.trimmed import trimmed
from duchenne.registry import LANDMARKERS
from duchenne.types import Clip, FaceTrack, Sample


def tracks(clip: Clip, sample: Sample, n: int, most: float, cache: Cache) -> list[FaceTrack]:
    """`n` copies of a clip's track, see `faces.trimmed`; InputError for a clip without images."""
    if not load.is_video(clip) or not isinstance(sample, FaceTrack):
        raise InputError(f"{clip.path} holds no images, on which landmarks could be found again; pass the video.")
    landmarker = LANDMARKERS.load("dlib68")()
    where = hashlib.sha256(sample.points.tobytes()).hexdigest()
    found = cache.arrays(
        ["trimmed", load.identity(clip), where, landmarker.version, n, most],
        lambda: {"points": trimmed(sample, video.frames(clip.path, **clip.stretch), landmarker, n, most)},
    )
    step = f"faces.trimmed: landmarks found again, up to {most:g} of the box cut off at each edge"
    return [sample.evolve(step, points=each) for each in found["points"]]
