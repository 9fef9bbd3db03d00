"""Which rows of a table show the same face, by its place from frame to frame; other programs' numbers are hints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from duchenne.types import Array

#: A face may be this far from where its track leads (in sizes of the face, and as `_cost` adds), …
_REACH = 0.8
#: … and this much more for each further frame without it, up to …
_REACH_PER_FRAME, _REACH_MOST = 0.1, 1.5
_BRIEF = 10  # frames in which nobody comes back elsewhere
_RECENT = 40  # tracks that are compared with a new frame
_SHORT = 0.2  # share of the longest track below which a track comes after the others


@dataclass(eq=False)
class _Track:
    place: Array  # (x, y, size) where it was last
    first: int  # frame
    frame: int  # the last one
    score: float
    speed: Array  # of x and y per frame
    rows: list[int] = field(default_factory=list)

    def add(self, row: int, frame: int, place: Array, score: float) -> None:
        if self.rows:
            self.speed = 0.5 * self.speed + 0.5 * (place - self.place)[:2] / (frame - self.frame)
            self.score = 0.9 * self.score + 0.1 * score if score == score else self.score
        self.rows.append(row)
        self.place, self.frame = place, frame


def link(frame: Array, box: Array, score: Array, names: Sequence[object]) -> Array:
    """int64 (R,): the number of the face in each row, -1 where `box` (R, 4: x0 y0 x1 y1) is NaN.

    A face stays one while it moves on smoothly, also past another; a weak detection (`score`, or NaN) elsewhere is a
    face of its own. `names` (R,; None where unknown) decide between equals, and join the parts of a face that was lost.
    Long tracks come first, in order of time and from left to right.
    """
    sides = box[:, 2:] - box[:, :2]
    place = np.column_stack([(box[:, :2] + box[:, 2:]) / 2, np.sqrt(np.abs(sides.prod(axis=1)))])
    rows = np.flatnonzero(np.isfinite(place).all(axis=1) & (place[:, 2] > 0))
    rows = rows[np.lexsort((box[rows, 0], frame[rows]))]
    tracks: list[_Track] = []
    for part in np.split(rows, np.flatnonzero(np.diff(frame[rows])) + 1) if len(rows) else ():
        _extend(tracks, part, int(frame[part[0]]), place, score, names)
    tracks = _joined(tracks, names)
    longest = max((len(track.rows) for track in tracks), default=0)
    tracks.sort(key=lambda t: (len(t.rows) < _SHORT * longest, int(frame[t.rows[0]]), float(box[t.rows[0], 0])))
    faces = np.full(len(frame), -1, np.int64)
    for number, track in enumerate(tracks):
        faces[track.rows] = number
    return faces


def trusted(frame: Array, faces: Array, names: Sequence[object]) -> Array | None:
    """int64 (R,): `names` as numbers (-1: none) in order of their text, where they agree with `faces` as `link` found
    them: every face is named, no frame has a name twice, no face changes its name, and no name jumps to another face.
    Else None."""
    rows = [row for row in np.argsort(frame, kind="stable").tolist() if names[row] is not None]
    if len({(int(frame[row]), names[row]) for row in rows}) < len(rows) or (faces >= 0).sum() > len(rows):
        return None
    name_of: dict[int, object] = {}
    last: dict[object, int] = {}
    for row in rows:
        name, face = names[row], int(faces[row])
        if face < 0:
            continue
        before = last.setdefault(name, row)
        jumps = int(faces[before]) != face and frame[row] - frame[before] <= _BRIEF
        if name_of.setdefault(face, name) != name or jumps:
            return None
        last[name] = row
    order = {name: k for k, name in enumerate(sorted({names[row] for row in rows}, key=_order))}
    return np.array([-1 if name is None else order[name] for name in names], np.int64)


def _order(name: object) -> tuple[float, str]:
    return (float(name), "") if isinstance(name, int | float) else (0.0, str(name))


def _extend(tracks: list[_Track], rows: Array, frame: int, place: Array, score: Array, names: Sequence[object]) -> None:
    """Add the rows of one frame to the tracks that they continue, or as new ones."""
    from scipy.optimize import linear_sum_assignment  # a slow import that few commands need

    recent = sorted(tracks, key=lambda track: track.frame)[-_RECENT:]
    cost = np.array([[_cost(t, place[i], score[i], names[i], names, frame) for i in rows] for t in recent])
    taken = set()
    if cost.size:
        for k, i in zip(*linear_sum_assignment(cost), strict=True):
            reach = min(_REACH + _REACH_PER_FRAME * (frame - recent[k].frame - 1), _REACH_MOST)
            if cost[k, i] <= reach:
                recent[k].add(int(rows[i]), frame, place[rows[i]], float(score[rows[i]]))
                taken.add(int(rows[i]))
    for row in rows.tolist():
        if row not in taken:
            tracks.append(_Track(place[row], frame, frame, float(score[row]), np.zeros(2)))
            tracks[-1].add(row, frame, place[row], float(score[row]))


def _cost(track: _Track, place: Array, score: float, name: object, names: Sequence[object], frame: int) -> float:
    """Distance from where the track leads, in sizes of its face, and more for another size, weaker score or name."""
    gap = min(frame - track.frame, 5)  # no face moves on like that for longer
    ahead = track.place[:2] + track.speed * gap
    near = min(np.hypot(*(place[:2] - ahead)), np.hypot(*(place[:2] - track.place[:2])) + 0.05 * place[2])
    weaker = max(0.0, track.score - score) if score == score and track.score == track.score else 0.0
    renamed = 0.1 * (name is not None and name != names[track.rows[-1]])
    return float(near / track.place[2] + 0.5 * abs(np.log2(place[2] / track.place[2])) + 0.5 * weaker + renamed)


def _joined(tracks: list[_Track], names: Sequence[object]) -> list[_Track]:
    """Tracks of one name, one after another in time, as one; a name counts where nearly all rows of a track have it."""
    out: dict[object, _Track] = {}
    for number, track in enumerate(tracks):
        name, count = Counter(names[row] for row in track.rows).most_common(1)[0]
        own = name if name is not None and count > 0.8 * len(track.rows) and not track.score < 0.5 else f"\0{number}"
        earlier = out.get(own)
        if earlier is None:
            out[own] = track
        elif track.first > earlier.frame:
            earlier.rows += track.rows
            earlier.frame = track.frame
        else:
            out[f"\0{number}"] = track
    return list(out.values())
