"""Which parts of a face are seen: mouth and eyes, by a small network on the crops of the expression network.

dlib and the face mesh place a mouth and eyes also where there are none, on a mask or a hand, and no score of theirs
shows that. The shipped network `visibility` was trained on faces with drawn covers (experiments/visibility.py). Where a
real hand hides half of a mouth, it is less certain than of a clear mouth, but still certain; there the doubt of the
mesh reader (`mesh.FaceMesh.doubt`) decides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from duchenne.expression import reading
from duchenne.io import Block
from duchenne.mesh.layout import EYES, IRISES, LIPS
from duchenne.preprocess.clean import runs
from duchenne.types import COEFFICIENTS, Array, FaceTrack, Signals

#: Part → its points, its mesh points, and how the names of its coefficients begin.
PARTS = {
    "mouth": (np.r_[48:68], np.array(LIPS), ("mouth", "jaw", "cheekPuff")),
    "eyes": (np.r_[36:48], np.array([*EYES, *IRISES]), ("eye",)),
}
#: A part is covered where its mean probability of being seen, over `_WINDOW` looks, is below one half.
_WINDOW = 5  # looks
#: Looks over which doubt is averaged: at least one measurement of it, and all where it is high.
_LONGER = 7
#: Mean doubt, below which most clear mouths are, and the log-odds of being seen that each distance
#: of the eyes' outer corners above it subtracts.
_DOUBT, _LESS = 0.012, 500.0
_LEAST = 0.3  # s
_INVENTED = ("points", "coefficients", "mesh")  # what `hidden` removes

#: (part, start, end in seconds) of every stretch in which a part of a face is covered.
Covered = tuple[tuple[str, float, float], ...]


def predictor() -> reading.CropPredictor:
    """Reads crops as they come; `covered` takes its signals."""
    return reading.CropPredictor(reading.shipped("visibility")[0])


def covered(signals: Signals, track: FaceTrack) -> Covered:
    """The stretches of at least 0.3 s in which mouth or eyes are covered; `signals` are those of `predictor`."""
    doubt = track.filled("doubt")[np.searchsorted(track.time, signals.time)]
    return _stretches(signals, doubt, track.time[:1], track.time[-1:])


class Watch:
    """Notes of a clip's blocks as they come which parts of its faces are covered, in a few numbers per look."""

    def __init__(self) -> None:
        self._parts = predictor()
        self._looks: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        self._ends: list[Array] = []

    def of(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The same blocks."""
        for block in blocks:
            for row, crop in zip(block.looked.tolist(), block.crops if block.crops is not None else (), strict=True):
                face, doubt = int(block.face[row]), np.nan if block.doubt is None else float(block.doubt[row])
                self._looks[face].append((block.time[block.frame[row] - block.first], doubt))
                self._parts.add(crop, face)
            self._ends = [*(self._ends[:1] or [block.time[:1]]), block.time[-1:]]
            yield block

    def covered(self, face: int) -> Covered:
        """See `covered`; after the last block."""
        time, doubt = np.array(self._looks[face]).reshape(-1, 2).T
        return _stretches(self._parts.signals(face, time), doubt, self._ends[0], self._ends[-1])


def sentences(stretches: Covered) -> list[str]:
    """What to say of them."""
    verbs = {"mouth": "is", "eyes": "are"}
    return [
        f"The {part} {verbs[part]} covered from {start:.2f} s to {end:.2f} s, and counted as not seen."
        for part, start, end in stretches
    ]


def _stretches(signals: Signals, doubt: Array, first: Array, last: Array) -> Covered:
    """See `covered`: `doubt` at the times of the signals, `first` and `last` time of the clip (1,)."""
    found: list[tuple[str, float, float]] = []
    if not len(signals.time):
        return ()
    edges = np.concatenate([first, (signals.time[1:] + signals.time[:-1]) / 2, last])
    doubt = np.nan_to_num(_mean(doubt, _LONGER))
    for part in PARTS:
        seen = np.clip(_mean(signals[part]), 1e-6, 1 - 1e-6)
        less = _LESS * np.maximum(0, doubt - _DOUBT) if part == "mouth" else 0.0
        hidden = np.log(seen / (1 - seen)) < less
        stretches = [(part, float(edges[first]), float(edges[stop])) for first, stop in runs(hidden)]
        found += [each for each in stretches if each[2] - each[1] >= _LEAST or hidden.all()]
    return tuple(found)


def _mean(p: Array, looks: int = _WINDOW) -> Array:
    """Running mean over so many looks, fewer at the ends, of those that are known; NaN where there is none."""
    window, known = np.ones(min(looks, len(p))), np.isfinite(p)
    count = np.convolve(known.astype(float), window, "same")
    total = np.convolve(np.where(known, p, 0.0), window, "same")
    return np.asarray(np.divide(total, count, out=np.full(len(p), np.nan), where=count > 0.5))


def hidden(track: FaceTrack, stretches: Covered) -> FaceTrack:
    """The track without the points and coefficients of the parts that are covered, which are invented."""
    if not stretches:
        return track
    changed = {name: values.copy() for name in _INVENTED if (values := getattr(track, name)) is not None}
    for part, start, end in stretches:
        rows = (track.time >= start) & (track.time <= end)
        points, mesh, prefixes = PARTS[part]
        named = np.array([name.startswith(prefixes) for name in COEFFICIENTS])
        columns = dict(zip(_INVENTED, (points, np.flatnonzero(named), mesh), strict=True))
        for name, values in changed.items():
            values[np.ix_(rows, columns[name])] = np.nan
    names = ", ".join(f"{part} {start:.2f}–{end:.2f} s" for part, start, end in stretches)
    return track.evolve(f"visibility: covered {names}", **changed)
