"""Faces of clips as networks read them: cut out of the video once, kept as plain bytes, read where they are needed.

A face is followed through its video first (`clips.load.read`); the few frames that a network wants of it are then cut
in a second reading, so that neither frames nor crops of a whole video are ever held.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from duchenne import io, video
from duchenne.clips import load
from duchenne.errors import InputError
from duchenne.faces.crops import along, crop, whole
from duchenne.types import Array, Clip, CropReader, Cutter, FaceTrack, Reader, Sample


@dataclass(frozen=True)
class Kept:
    """Crops of one clip in a file, uint8 `shape` (T, S, S, C), which stands for them wherever an array would.

    `kept[rows]` reads these rows alone, `np.asarray(kept)` all. The file is open while it is read and no longer: a
    corpus has more clips than a process may have files open, and the memory is the system's, which may take it back.
    """

    path: str
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8"""
        return np.dtype(np.uint8)

    def __getitem__(self, rows: SupportsIndex | slice | Array) -> Array:
        return np.array(self._mapped()[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self._mapped(), dtype)

    @property
    def digest(self) -> str:
        """Names the crops: of the same file, frames and framing it is the same."""
        return Path(self.path).stem

    @property
    def sound(self) -> bool:
        """Whether the file is there, and is what it should be."""
        try:
            self._mapped()
        except InputError:
            return False
        return True

    def _mapped(self) -> Array:
        try:
            found = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{self.path} held crops of a clip and is gone or cut short; run this again.") from error
        if found.shape != self.shape or found.dtype != np.uint8:
            raise InputError(f"{self.path} held crops of a clip and holds others now; run this again.")
        return np.asarray(found)


def cut(track: FaceTrack, frames: Iterable[Any], reader: CropReader) -> FaceTrack:
    """The rows of a followed track that are read, with crops uint8 (T, S, S, C); None where no row is.

    frames   of the file that the track was followed in, over the same stretch (`video.frames`), not read to the end
             where the rows do not reach it

    C is 1 (grey) or 3 (RGB), twice that with the scene: the face, then the whole frame. InputError as `crops.along`.
    """
    at = np.asarray(reader.rows(track), np.int64)
    with closing(along(track, frames, at, partial(_look, reader))) as looks:
        found = [face for _, face in looks]
    return _thinned(track, at, reader, np.stack(found) if found else None)


def kept(clip: Clip, sample: Sample, reader: CropReader, folder: Path) -> FaceTrack:
    """As `cut`, of a clip's face, followed before; its crops are `Kept` in `folder`, and are cut when they are not.

    InputError for a clip that is no video file.
    """
    key = load.file_key(clip)
    if key is None or not isinstance(sample, FaceTrack):
        raise InputError(f"{clip.path} holds no pictures, and this model reads pixels; pass it the video itself.")
    at = np.asarray(reader.rows(sample), np.int64)
    if not len(at):
        return _thinned(sample, at, reader, None)
    shape = (len(at), reader.side, reader.side, reader.channels * (2 if reader.scene else 1))
    named = hashlib.sha256(json.dumps([key, shape, reader.scene]).encode() + at.tobytes())
    named.update(sample.points[at].tobytes())  # another tracker puts the face elsewhere
    found = Kept(str(folder / f"{named.hexdigest()[:32]}.npy"), shape)
    if not found.sound:
        crops = cut(sample, video.frames(clip.path, start=clip.start, end=clip.end), reader).crops
        with io.atomic(found.path) as part, part.open("wb") as handle:
            np.save(handle, np.asarray(crops))
    return _thinned(sample, at, reader, found)


def read(clip: Clip, reader: CropReader, folder: Path) -> FaceTrack:
    """As `kept`, the face followed first; `folder` holds the track as well, for other networks."""
    return kept(clip, load.kept(clip, folder / "tracks"), reader, folder / "crops")


@dataclass(frozen=True)
class Cutting(Reader):
    """A reader of crops that is given whole tracks: `how` gives them crops on the way, see `Reader.fed`."""

    reader: CropReader
    how: Cutter = field(compare=False)

    def table(self, samples: Sequence[Sample]) -> Array:
        """What the reader makes of the tracks once they have crops."""
        return self.reader.table([self.how(i, sample, self.reader) for i, sample in enumerate(samples)])


def _thinned(track: FaceTrack, at: Array, reader: CropReader, crops: Any) -> FaceTrack:
    return track.evolve(
        f"clip_crops: {len(at)} of {len(track)} frames, {reader.side}×{reader.side}, {reader.channels} channels",
        time=track.time[at],
        points=track.points[at],
        confidence=track.confidence[at],
        box=track.box[at],
        crops=crops,
    )


def _look(reader: CropReader, frame: Any, points: Array) -> Array:
    colour = reader.channels == 3
    picture = frame.bgr if colour else frame.grey
    parts = [crop(picture, points, reader.side), *([whole(picture, reader.side)] if reader.scene else ())]
    return np.concatenate([each[..., ::-1] if colour else each[..., None] for each in parts], axis=-1)
