"""What a clip network reads of a clip: so many pictures of the face, or the face's points, even in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from duchenne.clips.crops import Cutting
from duchenne.errors import InputError
from duchenne.features.descriptors import MAX_GAP
from duchenne.features.sequences import LEAST, SequenceReader
from duchenne.types import Array, CropReader, Cutter, FaceTrack, Reader, Sample

__all__ = ["LEAST", "ClipReader", "Pictures", "moments"]

_FINE = 25.0  # frames per second at which points are read before so many of them are taken


def moments(time: Array, frames: int, fps: float) -> Array:
    """int64 (n,): which of the frames at `time` (T,), seconds, come nearest to even moments; none of them twice.

    `fps` 0: `frames` moments from the first frame to the last. Otherwise `fps` in a second, of more than `frames` (0:
    any number) the middle ones. A moment farther than `MAX_GAP` and half a step from every frame has none. Of the
    frames that are found all are found again, so that they may be taken before and after pictures are cut.
    """
    if len(time) < 2:
        return np.arange(len(time))
    first, last = float(time[0]), float(time[-1])
    if fps:
        count = int((last - first) * fps + 0.5) + 1
        if frames and count > frames:
            count = frames
            first = float(time[np.abs(time - ((first + last) / 2 - (frames - 1) / 2 / fps)).argmin()])
        at, step = first + np.arange(count) / fps, 1 / fps
    else:
        at, step = np.linspace(first, last, frames), (last - first) / max(1, frames - 1)
    right = np.searchsorted(time, at).clip(1, len(time) - 1)
    rows = np.where(at - time[right - 1] <= time[right] - at, right - 1, right)
    return np.unique(rows[np.abs(time[rows] - at) <= max(MAX_GAP, step / 2) + 1e-9])


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of one clip's face where they lie: `crops` uint8 (T, S, S, C), in memory or whatever reads such rows
    from a file, and `rows` int64 (n,), those which are read."""

    crops: Any
    rows: Array

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, some: Array) -> Array:
        """uint8 (m, S, S, C): these of the pictures that are read."""
        return np.asarray(self.crops[self.rows[some]])


@dataclass(frozen=True)
class ClipReader(CropReader):
    """What is read of a clip. Hashable, so that methods that read the same share one table.

    needs           "crops": `Pictures` of the clip; "points": float32 (T, 80 or 86), see `features.sequences`
    frames, fps     how many and at which rate, see `moments`
    side, channels  of the pictures; with `scene` there are twice the channels: the face's, then the whole frame's
    pose            with the head's own curves beside the points
    least           seen frames without which there is nothing to read
    """

    needs: str = "crops"
    frames: int = 20
    fps: float = 0.0
    side: int = 112
    channels: int = 3
    scene: bool = False
    pose: bool = False
    least: int = LEAST

    def rows(self, track: FaceTrack) -> Array:
        """int64 (n,): the frames of a whole track whose pictures are read; none where too little is seen."""
        seen = np.flatnonzero(track.seen)
        found = seen[moments(track.time[seen], self.frames, self.fps)]
        return found if len(found) >= self.least else found[:0]

    @property
    def crop_readers(self) -> tuple[CropReader, ...]:
        """Itself, if it reads crops."""
        return (self,) if self.needs == "crops" else ()

    def with_cutter(self, cut: Cutter) -> Reader:
        """Itself, given crops on the way if it reads them."""
        return Cutting(self, cut) if self.needs == "crops" else self

    def table(self, samples: Sequence[Sample]) -> Array:
        """object (N,): `Pictures` or float32 (T, D) of each clip, None where too little of the face is seen.

        InputError for a row of a table, and for a track without crops, or with others, where they are needed.
        """
        out = np.empty(len(samples), object)
        if self.needs == "points":
            found = SequenceReader(self.fps or _FINE, pose=self.pose).table(samples)
            for i, sequence in enumerate(found):
                out[i] = None if sequence is None else self._some(sequence)
            return out
        for i, sample in enumerate(samples):
            out[i] = self._pictures(sample)
        return out

    def _some(self, sequence: Array) -> Array:
        if self.fps:
            start = max(0, len(sequence) - self.frames) // 2 if self.frames else 0
            return sequence[start:][: self.frames or None]
        at = np.linspace(0, len(sequence) - 1, self.frames)
        low = np.minimum(at.astype(int), len(sequence) - 2)
        share = (at - low)[:, None]
        return np.asarray(sequence[low] * (1 - share) + sequence[low + 1] * share, np.float32)

    def _pictures(self, sample: Sample) -> Pictures | None:
        if not isinstance(sample, FaceTrack):
            raise InputError(f"{sample.source} is a row of a table; this method reads pictures of faces.")
        rows = self.rows(sample)
        if not len(rows):
            return None
        crops: Any = sample.crops
        if crops is None:
            raise InputError(f"{sample.source} is a track without pictures of the face; this method needs the video.")
        shape = (self.side, self.side, self.channels * (2 if self.scene else 1))
        if tuple(crops.shape[1:]) != shape or getattr(crops, "dtype", np.uint8) != np.uint8:
            raise InputError(
                f"{sample.source} has pictures of {tuple(crops.shape[1:])}, expected uint8 {shape}; cut them anew."
            )
        return Pictures(crops, rows)
