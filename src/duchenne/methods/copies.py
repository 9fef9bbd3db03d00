"""Copies of clips for training, cut as people cut their recordings: without their start, and after a rest.

Both are made of the track and its crops, so that no video is read again; each track has the same copies each time.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from duchenne.faces.reading import LOOK
from duchenne.features.filtering import gaussian
from duchenne.tabular.groups import noise
from duchenne.types import Array, CropReader, Cutter, FaceTrack, Reader, Sample, readable

#: The share of a clip's duration that is cut away at its start, at least and at most; s of rest before a clip.
CUT_AWAY, REST = (0.1, 0.4), 1.5
#: Of a rest: px that the face wanders, over so many frames; share of the trembling of the points; grey levels of a
#: sensor's noise.
_WANDER, _OVER, _TREMBLING, _GRAIN = 0.5, 10, 0.8, 1.5


def without_start(track: FaceTrack) -> FaceTrack:
    """The track from a time on that is drawn by its points."""
    share = CUT_AWAY[0] + _drawn(track) / 2**32 * (CUT_AWAY[1] - CUT_AWAY[0])
    rows = track.time >= track.time[0] + share * track.duration
    return track.take(f"copies: the first {100 * share:.0f} % left out", rows)


def after_rest(track: FaceTrack) -> FaceTrack:
    """The track from where the face is first seen, after `REST` seconds as it is there, trembling and wandering."""
    found, random = _held(track, track, float(np.median(np.diff(track.time)))), np.random.default_rng(_drawn(track))
    still = found.time < REST
    changes = {}
    for name in ("points", "coefficients", "pose"):
        if (values := getattr(found, name)) is not None:
            trembling = _TREMBLING * noise(getattr(track, name)) * random.standard_normal(values.shape)
            changes[name] = values + trembling * still.reshape(-1, *(1,) * (values.ndim - 1))
    wander = gaussian(random.standard_normal((len(found), 2)), _OVER)
    changes["points"] += (_WANDER / wander.std(axis=0) * wander * still[:, None])[:, None]
    return replace(found, **changes)


def _held(track: FaceTrack, whole: FaceTrack, step: float) -> FaceTrack:
    """The rows from where the face is first seen in `whole`, after rows like the first of them every `step` s from 0 on
    to `REST`."""
    start = whole.time[np.flatnonzero(whole.seen)[0]]
    rows, before = np.flatnonzero(track.time >= start), np.arange(0, REST - step / 2, step)
    at = np.r_[np.full(len(before), rows[0]), rows]
    crops = None if track.crops is None else track.crops[at]
    return track.take(f"copies: after {REST} s of rest", at, crops, np.r_[before, track.time[rows] - start + REST])


def _drawn(track: FaceTrack) -> int:
    """A number of 32 bits, the same for the same track."""
    return zlib.crc32(np.round(np.nan_to_num(track.points)).astype(np.int32).tobytes())


@dataclass(frozen=True)
class CopyReader(Reader):
    """What `reader` reads of a clip after a rest, and of the clip without its start; nothing of what is no track."""

    reader: Reader
    cut: Cutter | None = field(default=None, compare=False, repr=False)

    @property
    def identity(self) -> str:
        """With that of what it reads."""
        return " ".join([repr(self), *(each.identity for each in self.reader.inner)])

    @property
    def crop_readers(self) -> tuple[CropReader, ...]:
        """Those of the reader."""
        return self.reader.crop_readers

    @property
    def is_optional(self) -> bool:
        """As the reader."""
        return self.reader.is_optional

    def with_cutter(self, cut: Cutter) -> Reader:
        """The same, with the crops of whole clips from `cut`."""
        return CopyReader(self.reader, cut)

    def table(self, samples: Sequence[Sample]) -> Array:
        """object (N,): of each clip what is read of both copies, in a tuple, None in it for what cannot be read."""
        out = np.empty(len(samples), object)
        for i, sample in enumerate(samples):
            if isinstance(sample, FaceTrack) and sample.seen.any() and len(sample) > 1:
                out[i] = self._rested(i, sample), self._started(i, sample)
        return out

    def _rested(self, i: int, track: FaceTrack) -> object:
        def looks(cropped: FaceTrack) -> FaceTrack:
            found = _held(cropped, track, LOOK)
            if found.crops is None:
                return found
            grain = np.random.default_rng(_drawn(track)).normal(0, _GRAIN, found.crops.shape)
            grain[found.time >= REST] = 0
            return replace(found, crops=np.clip(np.round(found.crops + grain), 0, 255).astype(np.uint8))

        return self._read(i, track, after_rest(track), looks)

    def _started(self, i: int, track: FaceTrack) -> object:
        part = without_start(track)

        def looks(cropped: FaceTrack) -> FaceTrack:
            rows = cropped.time >= part.time[0]
            return cropped.take("", rows, None if cropped.crops is None else np.asarray(cropped.crops)[rows])

        return self._read(i, track, part, looks)

    def _read(self, i: int, track: FaceTrack, copy: FaceTrack, looks: Callable[[FaceTrack], FaceTrack]) -> object:
        reader, cut = self.reader, self.cut
        if cut is not None:
            reader = reader.with_cutter(lambda _, __, each: looks(cut(i, track, each)))
        found = reader.table([copy])
        return found[0] if readable(found)[0] else None
