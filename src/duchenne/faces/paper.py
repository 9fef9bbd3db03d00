"""The reader of the LSTM-PB paper: Haar, MOSSE and dlib's 68 points; HOG verifies, and finds what Haar does not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from duchenne.faces.boxes import distance, overlap, plausible
from duchenne.faces.detect import Detector, Verifier
from duchenne.faces.follower import SLOW, VERIFY, Face, Follower, Found, Frame, withdraw
from duchenne.faces.landmarks import Landmarker, Shape, box_of
from duchenne.faces.person import Person, Sight
from duchenne.faces.track import Tracker
from duchenne.registry import DETECTORS, LANDMARKERS, TRACKERS
from duchenne.types import Array

_SMOOTH = 0.3  # s, time constant of the box that dlib starts from
_DRIFT = 0.12  # of the box's side: the tracker restarts when it and the points disagree by more
_JUMP = 0.15  # of the box's side: points this far from HOG's or the tracker's box are doubtful
_STILL, _STEADY = 0.02, 0.8  # of the box's side, of the usual PSR: with less movement and at least such a peak …
_REST = 0.06  # … s for which the tracker is skipped
_DIP = 0.5  # of the usual PSR: below this the face is verified at once
_ACQUIRE, _KEEP = 0.0, -0.3  # dlib HOG scores for accepting, and for keeping, a face


@dataclass(eq=False, kw_only=True)
class TrackedFace(Face):
    """A face with its tracker, whose PSR is its confidence; dlib starts from its smoothed `box`."""

    tracker: Tracker
    anchor: Array  # the tracker's box in the last frame: only its movement counts
    next_update: float = -np.inf  # time from which the tracker is updated again
    tracked: int = -1  # the last row for which it was updated
    usual: float = np.nan  # running mean of the PSR
    verified: float = 0.0  # time of the last verification that it passed


class PaperFollower(Follower[TrackedFace, Found]):
    """Detect once, track, 68 points on every frame, detect again when the face is lost."""

    def __init__(self, detector: str, fallback: str | None, tracker: str, landmarker: str, many: bool) -> None:
        super().__init__(many)
        self.detector: Detector = DETECTORS.load(detector)()
        self.fallback: Detector | None = DETECTORS.load(fallback)() if fallback else None
        self.new_tracker: Callable[[], Tracker] = TRACKERS.load(tracker)
        self.landmarker: Landmarker = LANDMARKERS.load(landmarker)()
        self.verifier = Verifier()
        self.fell_back = -np.inf
        self.version = " / ".join((self.detector.version, self.new_tracker().version, self.landmarker.version))

    def candidates(self, time: float, frame: Frame, grey: Array) -> list[Found]:
        """Verified faces, the tracked one first."""
        found: list[Found] = []
        self._verify(found, [f.box for f in self.faces if not f.held], grey)
        if not found or self.many:
            self._verify(found, self.detector.detect(grey), grey)
        due = self.many or not found
        if due and self.fallback is not None and time - self.fell_back >= SLOW:
            self.fell_back = time
            self._verify(found, self.fallback.detect(grey), grey)
        return found

    def _verify(self, found: list[Found], boxes: Iterable[Array], grey: Array) -> None:
        """Add to `found` the boxes that hold a face, moved to where HOG and the points locate it, none twice."""
        taken = [*self.held_boxes(), *(each.box for each in found)]
        for start in boxes:
            if any(overlap(start, other) > 0.3 for other in taken):
                continue
            box = box_of(self.landmarker.fit(grey, np.asarray(start, np.float64)))
            score, hog = self.verifier.look(grey, box)
            if score < _ACQUIRE:
                score, hog = self.verifier.look(grey, start)
            box = box_of(self.landmarker.fit(grey, hog))
            points = self.landmarker.fit(grey, box)
            good = score >= _ACQUIRE and plausible(Shape(points), grey.shape)
            if good and not any(overlap(box, other) > 0.3 for other in taken):
                found.append(Found(box, points))
                taken.append(box)

    def create(self, found: Found, sight: Sight) -> TrackedFace:
        """A new face, with a tracker that has not started."""
        return TrackedFace(Person(sight), found.box, tracker=self.new_tracker(), anchor=found.box)

    def begin(self, face: TrackedFace, n: int, time: float, grey: Array, found: Found) -> None:
        """Start the tracker."""
        face.tracker.start(grey, found.box)
        face.anchor, psr = face.tracker.update(grey)
        face.next_update = time
        face.verified, face.usual = time, np.nan
        self._write(face, n, time, found.points, psr)

    def advance(self, face: TrackedFace, n: int, time: float, frame: Frame, grey: Array) -> bool:
        """Track the box, and fit the points in it."""
        moved, psr = face.anchor, face.confidence  # the points move the box where the tracker is skipped
        if updated := time >= face.next_update:
            moved, psr = face.tracker.update(grey)
            still = psr >= _STEADY * face.usual and distance(moved, face.anchor) < _STILL
            face.next_update = time + _REST if still else time
        face.confidence = psr
        box = face.box + (moved - face.anchor)
        if self.is_cut(face, time, np.round(box[:2] - face.box[:2])):
            return False
        lost = psr < face.tracker.lost
        located = self._locate(face, n, time, grey, box, lost)
        if located is None:
            return False
        box, implied, points = located
        face.tracked = n if updated else face.tracked
        face.box = box + (1 - math.exp(-(time - face.seen) / _SMOOTH)) * (implied - box)
        face.anchor = moved
        if lost or distance(face.box, moved) > _DRIFT:
            face.tracker.start(grey, face.box)
            face.anchor = face.box
        self._write(face, n, time, points, psr)
        return True

    def _locate(
        self, face: TrackedFace, n: int, time: float, grey: Array, box: Array, lost: bool
    ) -> tuple[Array, Array, Array] | None:
        """(box, box implied by the points, points) of a face near `box`, verified when due or doubtful; None, and its
        doubtful rows withdrawn, where it is gone."""
        points = self.landmarker.fit(grey, box)
        shape = Shape(points)
        implied = shape.box
        complete = plausible(shape, grey.shape)
        doubtful = lost or face.confidence < _DIP * face.usual or distance(implied, box) > _JUMP
        due = doubtful or time - face.verified >= VERIFY
        if not due and complete:
            return box, implied, points
        if not (complete and self.verifier.glance(grey, implied, shape.roll)):
            score, hog = self.verifier.look(grey, implied, shape.roll)
            if score >= _KEEP and distance(hog, implied) > _JUMP:
                refitted = self.landmarker.fit(grey, box_of(self.landmarker.fit(grey, hog)))
                if distance(hog, box_of(refitted)) < distance(hog, implied):
                    points = refitted
                    box = implied = box_of(refitted)
            if score < _KEEP or not plausible(Shape(points), grey.shape):
                # rows since the last verification are doubtful if the face faded slowly, else since the last update
                slowly = score < _KEEP and not lost
                withdraw(face, face.sure if slowly else max(face.sure, face.tracked), n)
                return None
        if not self.is_same(face, n, time, grey, points):
            return None
        face.verified, face.sure = time, n
        return box, implied, points

    def _write(self, face: TrackedFace, n: int, time: float, points: Array, psr: float) -> None:
        self.write(face, n, time, points, psr)
        face.usual = psr if np.isnan(face.usual) else 0.9 * face.usual + 0.1 * psr
