"""How a face looks, relative to itself: the expression network's features of its crops, as one row per clip.

Landmarks tell where a face moves, these features also what they miss: wrinkles, cheeks, the lids' edge. Only their
changes count, as their levels are those of a person and a recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from duchenne import checkpoints
from duchenne.errors import InputError
from duchenne.expression import reading
from duchenne.faces.reading import LOOK
from duchenne.features.descriptors import prepare, span
from duchenne.types import Array, CropReader, Cutter, FaceTrack, Reader, Sample

NETWORK = "expression"
WIDTH = 384  # features of the network
#: Of each feature over the clip; speeds are logs per second.
STATISTICS = ("spread", "rise", "depth", "first_median", "last_first", "speed_mean", "speed_max")
NAMES = tuple(f"look {i}.{each}" for each in STATISTICS for i in range(WIDTH))
_LEAST = 3  # looks that tell a change
_FLOOR = 1e-3  # per second, added before the log of a speed


@dataclass(frozen=True)
class Appearance(CropReader):
    """Reads how a face looks every `faces.reading.LOOK` seconds while it moves; `fps` as for the descriptors, by which
    the movement is found. Tracks without images have no row (NaN)."""

    fps: float = 25.0
    side: int = 48
    channels: int = 1
    scene: bool = False

    @property
    def crop_readers(self) -> tuple[CropReader, ...]:
        """Itself."""
        return (self,)

    @property
    def is_optional(self) -> bool:
        """Tracks without images are read."""
        return True

    @property
    def identity(self) -> str:
        """With the network's sha256."""
        return f"{self!r} {checkpoints.digest(checkpoints.locate(NETWORK))}"

    def rows(self, track: FaceTrack) -> Array:
        """int64 (n,): the frames that are read, those of which the reader of faces cuts crops."""
        found, last = [], -np.inf
        for i in np.flatnonzero(track.seen):
            if track.time[i] - last >= LOOK - 5e-4:
                found.append(i)
                last = track.time[i]
        return np.array(found, np.int64)

    def with_cutter(self, cut: Cutter) -> Reader:
        """The same, with crops from `cut`."""
        return _Looking(self, cut)

    def table(self, samples: Sequence[Sample]) -> Array:
        """float64 (N, D): nothing is known of samples without images."""
        return np.full((len(samples), len(NAMES)), np.nan)


@dataclass(frozen=True)
class _Looking(Reader):
    reader: Appearance
    cut: Cutter = field(compare=False)

    def table(self, samples: Sequence[Sample]) -> Array:
        """float64 (N, D): a row per clip, NaN where too little is seen."""
        return np.array([self._row(i, each) for i, each in enumerate(samples)]).reshape(len(samples), len(NAMES))

    def _row(self, i: int, track: Sample) -> Array:
        moving = span(prepare(track, self.reader.fps)[1], self.reader.fps) if isinstance(track, FaceTrack) else None
        if moving is not None:
            looks = self.cut(i, track, self.reader)
            inside = (looks.time >= moving[0] - LOOK) & (looks.time <= moving[1] + LOOK)
            if looks.crops is not None and inside.sum() >= _LEAST:
                return describe(looks.time[inside], look(np.asarray(looks.crops)[inside, ..., 0]))
        return np.full(len(NAMES), np.nan)


def look(crops: Array) -> Array:
    """float64 (T, 384): the network's features of crops uint8 (T, 48, 48), the same for mirrored ones.

    InputError where the network has another number of features.
    """
    network = reading.shipped(NETWORK)[0]
    found = (network.features(crops).astype(float) + network.features(np.ascontiguousarray(crops[:, :, ::-1]))) / 2
    if found.shape[1] != WIDTH:
        raise InputError(f"The network {NETWORK} has {found.shape[1]} features, expected {WIDTH}; install its model.")
    return np.asarray(found)


def describe(time: Array, values: Array) -> Array:
    """float64 (D,): statistics of features (T, F) at `time` (T,) in seconds, T >= 3, in the order of `NAMES`."""
    low, middle, high = np.percentile(values, [5, 50, 95], axis=0)
    first, last = values[:3].mean(axis=0), values[-3:].mean(axis=0)
    speed = np.abs(np.diff(values, axis=0)) / np.diff(time)[:, None]
    rows = [values.std(axis=0), high - middle, middle - low, first - middle, last - first]
    rows += [np.log(speed.mean(axis=0) + _FLOOR), np.log(speed.max(axis=0) + _FLOOR)]
    return np.concatenate(rows)
