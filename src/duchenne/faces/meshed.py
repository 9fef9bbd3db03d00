"""The mesh reader: a network finds a face; another reads its points in every frame, and says if it is still there."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from duchenne.faces.boxes import overlap, plausible
from duchenne.faces.detect import by_prominence
from duchenne.faces.follower import SLOW, Face, Follower, Found, Frame, Row
from duchenne.faces.landmarks import Shape
from duchenne.faces.person import Person, Sight
from duchenne.mesh import FaceMesh, Reading
from duchenne.types import Array

_ACQUIRE, _KEEP = 0.5, 0.5  # presence for accepting, and for keeping, a face
READINGS = 50.0  # of a face per second: what a verdict measures is not faster (`gates.FPS`)
#: `FaceMesh.doubt`, which costs two readings, is measured in one of `_SELDOM` crops where it is low, as on clear faces.
_CLEAR, _SELDOM = 0.01, 6
_UNKNOWN = np.array(np.nan, np.float32)


@dataclass(frozen=True, eq=False)
class MeshFound(Found):
    """With what the networks say of it."""

    reading: Reading


@dataclass(eq=False, kw_only=True)
class MeshFace(Face):
    """With what the networks said of it when it was last read, which is where it is read next.

    last, read   its row and time of that reading
    due          time of the next
    waiting      (frame, time) since then
    """

    reading: Reading
    looks: int = 0  # crops …
    doubted: int = 0  # … from which doubt is measured again
    last: Row | None = None
    read: float = -np.inf
    due: float = -np.inf
    waiting: list[tuple[int, float]] = field(default_factory=list)


class MeshFollower(Follower[MeshFace, MeshFound]):
    """The confidence of a row is the presence of the face; `whole` keeps all 478 points as well, `most` is as for
    `follow.follow_blocks`."""

    def __init__(self, many: bool, whole: bool = False, most: float = READINGS) -> None:
        super().__init__(many)
        self.pause = 1 / most
        self.mesh = FaceMesh()
        self.version = self.mesh.version
        self.fell_back = -np.inf
        self.gives = ("coefficients", "pose", "doubt", "mesh") if whole else ("coefficients", "pose", "doubt")
        self.bgr = np.zeros((0, 0, 3), np.uint8)  # this frame, with enough contrast

    def candidates(self, time: float, frame: Frame, grey: Array) -> list[MeshFound]:
        """Faces by their prominence."""
        bgr, taken, found = self._clear(frame), self.held_boxes(), list[MeshFound]()
        due = time - self.fell_back >= SLOW
        faces = self.mesh.search(bgr, every=self.many) if due else self.mesh.detect(bgr)
        self.fell_back = time if due else self.fell_back
        for k in by_prominence(faces.boxes, grey.shape).tolist():
            if any(overlap(faces.boxes[k], other) > 0.3 for other in taken):
                continue
            reading = self.mesh.settle(bgr, faces.region(k))
            shape = Shape(reading.points_68)
            if reading.presence < _ACQUIRE or not plausible(shape, grey.shape):
                continue
            if not any(overlap(shape.box, other) > 0.3 for other in taken):
                found.append(MeshFound(shape.box, shape.points, reading))
                taken.append(shape.box)
        return found

    def create(self, found: MeshFound, sight: Sight) -> MeshFace:
        """A new face."""
        return MeshFace(Person(sight), found.box, reading=found.reading)

    def begin(self, face: MeshFace, n: int, time: float, grey: Array, found: MeshFound) -> None:
        """It is where it was found."""
        face.waiting, face.due = [], time
        self._write(face, n, time, found.reading, found.points)

    def advance(self, face: MeshFace, n: int, time: float, frame: Frame, grey: Array) -> bool:
        """Read it where its points were when it was last read; where frames are more frequent, it has moved evenly."""
        if not (self._wait if time < face.due - 5e-4 else self._read)(face, n, time, frame, grey):
            for k, _ in face.waiting:
                face.rows.pop(k, None)
            return False
        return True

    def _wait(self, face: MeshFace, n: int, time: float, frame: Frame, grey: Array) -> bool:
        assert face.last is not None
        if self.is_cut(face, time, np.zeros(2)):
            return False
        more = face.last.more | {"doubt": _UNKNOWN}
        self.write(face, n, time, face.last.points, face.last.confidence, **more)
        face.waiting.append((n, time))
        return True

    def _read(self, face: MeshFace, n: int, time: float, frame: Frame, grey: Array) -> bool:
        reading = self.mesh.read(self._clear(frame), face.reading.following)
        shape = Shape(reading.points_68)
        present = reading.presence >= _KEEP and plausible(shape, grey.shape)
        shift = (shape.box - face.box).reshape(2, 2).mean(axis=0) if present else np.zeros(2)
        if self.is_cut(face, time, np.round(shift)) or not present:
            return False
        if not self.is_same(face, n, time, grey, shape.points):
            return False
        face.box, face.sure = shape.box, n
        self._write(face, n, time, reading, shape.points)
        return True

    def _write(self, face: MeshFace, n: int, time: float, reading: Reading, points: Array) -> None:
        face.reading = reading
        more = {"coefficients": reading.coefficients, "pose": reading.pose, "mesh": reading.points, "doubt": _UNKNOWN}
        row = self.write(face, n, time, points, reading.presence, **{name: more[name] for name in self.gives})
        for k, at in face.waiting:
            if k in face.rows and face.last is not None:
                face.rows[k] = _between(face.last, row, (at - face.read) / (time - face.read), face.rows[k])
        face.last, face.read, face.waiting = row, time, []
        face.due = max(face.due + self.pause, time)

    def looked(self, face: MeshFace, row: Row) -> None:
        """Measure in some crops whether the mouth is seen."""
        if face.looks >= face.doubted:
            doubt = self.mesh.doubt(self.bgr, face.reading)
            row.more["doubt"] = np.array(doubt, np.float32)
            face.doubted = face.looks + (1 if doubt > _CLEAR else _SELDOM)
        face.looks += 1

    def _clear(self, frame: Frame) -> Array:
        """uint8 (H, W, 3): the frame with enough contrast for the networks; where that is raised without colours, which
        are noise there."""
        raised = self.grey is not self.original
        self.bgr = np.asarray(cv2.cvtColor(self.grey, cv2.COLOR_GRAY2BGR)) if raised else frame.bgr
        return self.bgr


def _between(before: Row, after: Row, share: float, row: Row) -> Row:
    """The row of a frame at this share of the time between two readings, with its own change and doubt."""

    def mixed(first: Array, second: Array) -> Array:
        return (first + (second - first) * share).astype(np.float32)

    more = {name: mixed(first, after.more[name]) for name, first in before.more.items()} | {"doubt": row.more["doubt"]}
    confidence = before.confidence + (after.confidence - before.confidence) * share
    points, box = mixed(before.points, after.points), mixed(before.box, after.box)
    return row._replace(points=points, confidence=confidence, box=box, more=more)
