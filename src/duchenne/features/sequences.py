"""A clip as the sequence of 40 points of the LSTM-PB paper, on an even grid and in one scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from duchenne.errors import InputError
from duchenne.features.descriptors import even, prepare
from duchenne.features.points40 import points40
from duchenne.preprocess import clean
from duchenne.preprocess.align import HEAD_NAMES
from duchenne.types import Array, FaceTrack, Reader, Sample

#: Half the width of a frontal face in interocular distances: scales the points to about [-1, 1].
HALF_FACE = 1.6
LEAST = 4  # frames


@dataclass(frozen=True)
class SequenceReader(Reader):
    """What a sequence model reads of a clip: the longest seen stretch, float32 (T, 80), x0 y0 x1 y1 …

    fps   frames per second
    head  include head movement: points in the first face box of the stretch, as in the paper; otherwise head pose is
          removed (`preprocess.align.frontal`)
    pose  append the six head curves (`preprocess.align.HEAD_NAMES`) to the frontal points, float32 (T, 86)
    trims see `types.Reader.trims`
    """

    fps: float = 12.5
    head: bool = False
    pose: bool = False
    trims: tuple[int, float] = (0, 0.0)

    def table(self, samples: Sequence[Sample]) -> Array:
        """object (N,): float32 (T, 80 or 86) per clip, None where fewer than `LEAST` consecutive frames are seen."""
        out = np.empty(len(samples), object)
        for i, sample in enumerate(samples):
            if not isinstance(sample, FaceTrack):
                raise InputError(f"{sample.source} is a row of a table; this method reads face tracks.")
            out[i] = self._sequence(sample)
        return out

    def _sequence(self, track: FaceTrack) -> Array | None:
        face, curves = (even(track, self.fps), None) if self.head else prepare(track, self.fps)
        start, stop = clean.longest_run(face.seen)
        if stop - start < LEAST:
            return None
        points = points40(face.points[start:stop].astype(float))
        if self.head:
            low, high = points[0].min(axis=0), points[0].max(axis=0)
            points = (points - (low + high) / 2) / ((high - low).max() * 0.75)
        else:
            points = points / HALF_FACE
        sequence = points.reshape(stop - start, 80)
        if self.pose and curves is not None:
            sequence = np.column_stack([sequence, curves.values[start:stop, -len(HEAD_NAMES) :] / _POSE])
        return np.asarray(sequence, np.float32)


def padded(sequences: Sequence[Array]) -> tuple[Array, Array]:
    """(x float32 (B, T, D), mask bool (B, T)): a batch of sequences, shorter ones padded with their last frame."""
    longest = max(map(len, sequences))
    x = np.stack([np.concatenate([s, np.repeat(s[-1:], longest - len(s), axis=0)]) for s in sequences])
    mask = np.arange(longest) < np.array([len(s) for s in sequences])[:, None]
    return x.astype(np.float32), mask


def in_batches(sequences: Sequence[Array], rows: Array, size: int, rng: np.random.Generator) -> Iterator[Array]:
    """Rows in random batches of about equal length, to save padding."""
    length = np.array([len(sequences[i]) for i in rows]) * rng.uniform(0.9, 1.1, len(rows))
    parts = np.array_split(rows[np.argsort(length)], max(1, round(len(rows) / size)))
    for i in rng.permutation(len(parts)):
        yield parts[i]


def jittered(sequence: Array, rng: np.random.Generator, spread: tuple[float, float]) -> Array:
    """A copy that is shifted and scaled as a whole: all frames by the same offset up to ± `spread` (x, y), and size.

    Not the paper's augmentation, which finds the landmarks again in a trimmed box: see `faces.trimmed`."""
    dx, dy = rng.uniform(-1, 1, 2) * spread
    scale = 1 + rng.uniform(-1, 1) * max(spread) / 2
    points = sequence[:, :80].reshape(-1, 40, 2) * scale + np.array([dx, dy])
    return np.asarray(np.column_stack([points.reshape(-1, 80), sequence[:, 80:]]), np.float32)


#: Indices of the 40 points (`features.points40`) in a mirror image.
_MIRROR = (
    *(9, 8, 7, 6, 5, 4, 3, 2, 1, 0),  # brows
    *(10, 15, 14, 13, 12, 11),  # nose: tip, then its base from left to right
    *(25, 24, 23, 22, 27, 26, 19, 18, 17, 16, 21, 20),  # eyes
    *(32, 31, 30, 29, 28, 35, 34, 33),  # outer lip
    *(37, 36, 39, 38),  # midpoints
)

_TURNS = np.array([-1, 1, -1, -1, 1, 1])  # signs of the head's curves in a mirror image
_POSE = np.array([25, 25, 15, 0.15, 0.15, 0.2])  # scales of the head's curves: degrees, interocular distances, log
_RESTS = 0.25  # probability; without it rest before a clip changes three verdicts in ten (experiments/LOG.md)


def varied(sequence: Array, rng: np.random.Generator, rest: int = 0) -> Array:
    """Augmentation: cut by up to a sixth at each end, 0.85 to 1.18 times as long, mirrored half of the time, with
    slightly different proportions and landmark jitter; sometimes up to `rest` frames of rest are put before it."""
    n = len(sequence)
    if n >= 12:
        sequence = sequence[rng.integers(0, n // 6 + 1) : n - rng.integers(0, n // 6 + 1)]
    at = np.linspace(0, len(sequence) - 1, max(LEAST, round(len(sequence) * rng.uniform(0.85, 1.18))))
    low = np.minimum(at.astype(int), len(sequence) - 2)
    share = (at - low)[:, None]
    sequence = sequence[low] * (1 - share) + sequence[low + 1] * share
    if rest > 2 and rng.random() < _RESTS:
        from scipy.ndimage import gaussian_filter1d  # a slow import, needed in training alone

        noise = gaussian_filter1d(rng.normal(0, 0.003, (rng.integers(2, rest), sequence.shape[1])), 2.0, axis=0)
        sequence = np.concatenate([sequence[:3].mean(axis=0) + noise, sequence])
    points, head = sequence[:, :80].reshape(-1, 40, 2), sequence[:, 80:]
    if rng.random() < 0.5:
        points, head = points[:, _MIRROR] * np.array([-1, 1]), head * _TURNS[: head.shape[1]]
    points = points * rng.uniform(0.96, 1.04, 2) + rng.normal(0, 0.02, (1, 40, 2)) + rng.normal(0, 0.003, points.shape)
    head = head * rng.uniform(0.9, 1.1, head.shape[1])
    return np.asarray(np.column_stack([points.reshape(-1, 80), head]), np.float32)
