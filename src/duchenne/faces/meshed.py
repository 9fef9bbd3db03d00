"""The mesh reader: a network finds a face; another reads its points in every frame, and says if it is still there."""

from __future__ import annotations

from dataclasses import dataclass

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
_DOUBTED = 2  # of so many crops one is measured by `FaceMesh.doubt`, which reads the face three times
_UNKNOWN = np.array(np.nan, np.float32)


@dataclass(frozen=True, eq=False)
class MeshFound(Found):
    """With what the networks say of it."""

    reading: Reading


@dataclass(eq=False, kw_only=True)
class MeshFace(Face):
    """With what the networks said of it in the last frame, which is where it is read in the next."""

    reading: Reading
    looks: int = 0


class MeshFollower(Follower[MeshFace, MeshFound]):
    """The confidence of a row is the presence of the face; `whole` keeps all 478 points as well."""

    def __init__(self, many: bool, whole: bool = False) -> None:
        super().__init__(many)
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
        self._write(face, n, time, found.reading, found.points)

    def advance(self, face: MeshFace, n: int, time: float, frame: Frame, grey: Array) -> bool:
        """Read it where its points were in the frame before."""
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
        self.write(face, n, time, points, reading.presence, **{name: more[name] for name in self.gives})

    def looked(self, face: MeshFace, row: Row) -> None:
        """Measure in every second crop whether the mouth is seen."""
        if face.looks % _DOUBTED == 0:
            row.more["doubt"] = np.array(self.mesh.doubt(self.bgr, face.reading), np.float32)
        face.looks += 1

    def _clear(self, frame: Frame) -> Array:
        """uint8 (H, W, 3): the frame with enough contrast for the networks; where that is raised without colours, which
        are noise there."""
        raised = self.grey is not self.original
        self.bgr = np.asarray(cv2.cvtColor(self.grey, cv2.COLOR_GRAY2BGR)) if raised else frame.bgr
        return self.bgr
