"""Crops of faces for networks: cut from the video once, and read from the cache where they are needed.

A face is tracked through its video first (`clips.load.read`); the few frames that a network reads are then cropped in a
second pass, so that neither frames nor crops of a whole video are ever held.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from duchenne import video
from duchenne.clips import load
from duchenne.clips.cache import Cache
from duchenne.errors import InputError
from duchenne.faces.crops import along, body, crop, whole
from duchenne.types import Array, Clip, CropReader, Cutter, FaceTrack, Reader, Sample


def cut(track: FaceTrack, frames: Iterable[Any], reader: CropReader) -> FaceTrack:
    """The rows of a track that a reader of crops uses, with crops uint8 (T, S, S, C); None where no row is.

    frames   of the file of the track, over the same stretch (`video.frames`), read up to the last of the rows

    C is 1 (grey) or 3 (RGB), three times that with the scene: the face, the body, the whole frame. InputError as
    `crops.along`.
    """
    at = np.asarray(reader.rows(track), np.int64)
    with closing(along(track, frames, at, partial(_crop_frame, reader))) as looks:
        found = [face for _, face in looks]
    return _thinned(track, at, reader, np.stack(found) if found else None)


def cached(clip: Clip, sample: Sample, reader: CropReader, cache: Cache) -> FaceTrack:
    """As `cut`, of a clip's track, with crops from the `cache` (see `Cache.stored`).

    InputError for a clip without images.
    """
    if not load.is_video(clip) or not isinstance(sample, FaceTrack):
        raise InputError(f"{clip.path} holds no images, and this model reads pixels; pass the video.")
    at = np.asarray(reader.rows(sample), np.int64)
    if not len(at):
        return _thinned(sample, at, reader, None)
    shape = (len(at), reader.side, reader.side, reader.channels * (3 if reader.scene else 1))
    # crops depend on where the tracker puts the face
    where = hashlib.sha256(at.tobytes() + sample.points[at].tobytes()).hexdigest()
    frames = partial(video.frames, clip.path, **clip.stretch)
    key = ["crops", load.identity(clip), where, reader.scene]
    crops = cache.stored(key, shape, lambda: np.asarray(cut(sample, frames(), reader).crops))
    return _thinned(sample, at, reader, crops)


def read(clip: Clip, reader: CropReader, cache: Cache) -> FaceTrack:
    """As `cached`, after tracking the face."""
    return cached(clip, load.read(clip, cache.read_faces), reader, cache)


@dataclass(frozen=True)
class Cutting(Reader):
    """A reader of crops for whole tracks: `how` gives them crops on the way, see `Reader.with_cutter`."""

    reader: CropReader
    how: Cutter = field(compare=False)

    def table(self, samples: Sequence[Sample]) -> Array:
        """What the reader makes of the tracks once they have crops."""
        return self.reader.table([self.how(i, sample, self.reader) for i, sample in enumerate(samples)])


def _thinned(track: FaceTrack, at: Array, reader: CropReader, crops: Any) -> FaceTrack:
    step = f"clip_crops: {len(at)} of {len(track)} frames, {reader.side}×{reader.side}, {reader.channels} channels"
    return track.take(step, at, crops)


def _crop_frame(reader: CropReader, frame: Any, points: Array) -> Array:
    colour = reader.channels == 3
    picture = frame.bgr if colour else frame.grey
    parts = [crop(picture, points, reader.side)]
    if reader.scene:
        parts += [whole(part, reader.side) for part in (body(picture, points), picture)]
    return np.concatenate([each[..., ::-1] if colour else each[..., None] for each in parts], axis=-1)
