"""Which parts of a face are seen: mouth and eyes, by a small network on the crops of the expression network.

dlib places a mouth and eyes also where there are none, on a mask or a hand, and no score of its own shows that. The
shipped network `visibility` learned from faces with drawn covers (experiments/visibility.py).
"""

from __future__ import annotations

import numpy as np

from duchenne.expression import reading
from duchenne.preprocess.clean import runs
from duchenne.types import Array, FaceTrack, Signals

#: Part → its points.
PARTS = {"mouth": np.r_[48:68], "eyes": np.r_[36:48]}
#: Mean probability of being seen, over `_WINDOW` looks, below which a part is covered.
_SEEN = 0.5
_WINDOW = 5  # looks
_LEAST = 0.3  # s

#: (part, start, end in seconds) of every stretch in which a part of a face is covered.
Covered = tuple[tuple[str, float, float], ...]


def predictor() -> reading.CropPredictor:
    """Reads crops as they come; `covered` takes its signals."""
    return reading.CropPredictor(reading.load("visibility")[0])


def covered(signals: Signals, track: FaceTrack) -> Covered:
    """The stretches of at least 0.3 s in which mouth or eyes are covered; `signals` are those of `predictor`."""
    found: list[tuple[str, float, float]] = []
    if not len(signals.time):
        return ()
    middles = (signals.time[1:] + signals.time[:-1]) / 2
    edges = np.concatenate([track.time[:1], middles, track.time[-1:]])
    for part in PARTS:
        hidden = _mean(signals[part]) < _SEEN
        stretches = [(part, float(edges[first]), float(edges[stop])) for first, stop in runs(hidden)]
        found += [each for each in stretches if each[2] - each[1] >= _LEAST or hidden.all()]
    return tuple(found)


def _mean(p: Array) -> Array:
    """Running mean over `_WINDOW` looks, fewer at the ends."""
    window = np.ones(min(_WINDOW, len(p)))
    return np.asarray(np.convolve(p, window, "same") / np.convolve(np.ones(len(p)), window, "same"))


def hidden(track: FaceTrack, stretches: Covered) -> FaceTrack:
    """The track without the points of the parts that are covered, which are invented."""
    if not stretches:
        return track
    points = track.points.copy()
    for part, start, end in stretches:
        rows = (track.time >= start) & (track.time <= end)
        points[np.ix_(rows, PARTS[part])] = np.nan
    names = ", ".join(f"{part} {start:.2f}–{end:.2f} s" for part, start, end in stretches)
    return track.evolve(f"visibility: covered {names}", points=points)
