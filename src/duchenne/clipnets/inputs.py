"""What a clip network reads of a clip: crops of the face or the face's points, evenly spaced in time."""

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

__all__ = ["LEAST", "ClipReader", "FaceCrops", "even_frames"]

_DENSE = 25.0  # frames per second at which points are read before a fixed number is interpolated


def even_frames(time: Array, frames: int, fps: float) -> Array:
    """int64 (n,): indices of the frames at `time` (T,), seconds, nearest to evenly spaced times, each at most once.

    `fps` 0: `frames` times from the first frame to the last. Otherwise `fps` per second, of more than `frames` (0: any
    number) the middle ones. Times farther than `MAX_GAP` and half a step from every frame are left out. Applied to its
    own result it selects all, so that it works before and after crops are cut.
    """
    if len(time) < 2:
        return np.arange(len(time))
    first, last = float(time[0]), float(time[-1])
    if fps:
        count = int((last - first) * fps + 0.5) + 1
        if frames and count > frames:
            count = frames
            first = float(time[np.abs(time - ((first + last) / 2 - (frames - 1) / 2 / fps)).argmin()])
        number = np.arange(count) if count < 10**6 else _near(time - first, fps)
        at, step = first + number / fps, 1 / fps
    else:
        at, step = np.linspace(first, last, frames), (last - first) / max(1, frames - 1)
    right = np.searchsorted(time, at).clip(1, len(time) - 1)
    rows = np.where(at - time[right - 1] <= time[right] - at, right - 1, right)
    return np.unique(rows[np.abs(time[rows] - at) <= max(MAX_GAP, step / 2) + 1e-9])


def _near(time: Array, fps: float) -> Array:
    """The numbers of the grid points next to each frame: all that matter where years lie between two frames."""
    return np.unique(np.concatenate([np.floor(time * fps), np.ceil(time * fps)]))


@dataclass(frozen=True, eq=False)
class FaceCrops:
    """Crops of one clip's face: `crops` uint8 (T, S, S, C), in memory or read from a file by row, and `rows` int64
    (n,), those which are used."""

    crops: Any
    rows: Array

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, some: Array) -> Array:
        """uint8 (m, S, S, C): some of the crops that are used."""
        return np.asarray(self.crops[self.rows[some]])


@dataclass(frozen=True)
class ClipReader(CropReader):
    """See `types.Reader`.

    needs           "crops": `FaceCrops` of the clip; "points": float32 (T, 80 or 86), see `features.sequences`
    frames, fps     how many and at which rate, see `even_frames`
    side, channels  of the crops; with `scene` there are three times the channels: of the face, the body and the whole
                    frame
    pose            with the head's own curves beside the points
    least           fewest seen frames
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
        """int64 (n,): the frames of a whole track whose crops are read; empty where too few are seen."""
        seen = np.flatnonzero(track.seen)
        rows = seen[even_frames(track.time[seen], self.frames, self.fps)]
        return rows if len(rows) >= self.least else rows[:0]

    @property
    def crop_readers(self) -> tuple[CropReader, ...]:
        """Itself if it reads crops."""
        return (self,) if self.needs == "crops" else ()

    def with_cutter(self, cut: Cutter) -> Reader:
        """Itself, with crops cut on the way if it reads them."""
        return Cutting(self, cut) if self.needs == "crops" else self

    def table(self, samples: Sequence[Sample]) -> Array:
        """object (N,): `FaceCrops` or float32 (T, D) of each clip, None where too little of the face is seen.

        InputError for a row of a table, and for a track without crops, or with others, where they are needed.
        """
        out = np.empty(len(samples), object)
        sequences = () if self.needs == "crops" else SequenceReader(self.fps or _DENSE, pose=self.pose).table(samples)
        for i, sequence in enumerate(sequences):
            out[i] = None if sequence is None else self._resampled(sequence)
        for i, sample in enumerate(samples if self.needs == "crops" else ()):
            out[i] = self._crops(sample)
        return out

    def _resampled(self, sequence: Array) -> Array:
        if self.fps:
            start = max(0, len(sequence) - self.frames) // 2 if self.frames else 0
            return sequence[start:][: self.frames or None]
        at = np.linspace(0, len(sequence) - 1, self.frames)
        low = np.minimum(at.astype(int), len(sequence) - 2)
        share = (at - low)[:, None]
        return np.asarray(sequence[low] * (1 - share) + sequence[low + 1] * share, np.float32)

    def _crops(self, sample: Sample) -> FaceCrops | None:
        if not isinstance(sample, FaceTrack):
            raise InputError(
                f"{sample.source} is a row of a table, and this method reads crops of faces; give it videos."
            )
        rows = self.rows(sample)
        if not len(rows):
            return None
        crops: Any = sample.crops
        if crops is None:
            raise InputError(f"{sample.source} has no crops of the face; this method needs the video.")
        shape = (self.side, self.side, self.channels * (3 if self.scene else 1))
        if tuple(crops.shape[1:]) != shape or getattr(crops, "dtype", np.uint8) != np.uint8:
            raise InputError(
                f"{sample.source} has crops of {tuple(crops.shape[1:])}, expected uint8 {shape}; cut them again."
            )
        return FaceCrops(crops, rows)
