"""What is common to all readers of faces: who is who, cuts, when to search, and rows that become blocks."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import cv2
import numpy as np

from duchenne.faces import light
from duchenne.faces.boxes import changed, distance, overlap, region
from duchenne.faces.landmarks import cut
from duchenne.faces.person import ONE_PERSON, ONE_PERSON_LOST, Person, Scene, Sight
from duchenne.io.followed import Block, End
from duchenne.types import EXTRA, Array

VERIFY = 0.5  # s between two verifications of a face, and two samples of its sharpness and light
_EAGER = 2.0  # s without a face in which a search runs on every frame
_PATIENT = 0.2  # s between two searches after that
SLOW = 1.0  # s between two searches for further faces, and between two searches by costlier means
_CUT = 12.0  # mean difference of thumbnails, in grey levels, that means a new scene, which is searched at once
_COMPARE = 1.0  # s between two comparisons of the person of one face, at first; each that it passes doubles them …
_SELDOM = 4.0  # … up to this
_BRIEF, _NEAR = 0.3, 0.3  # s and box sides: a face that was lost so briefly and found so near is not compared
_WAIT = 1.0  # s for which a lost face is waited for when another is found near it without a cut …
_RETRY = 0.25  # … and between two comparisons meanwhile
_ONE_CUT = 0.1  # s: two cuts that are nearer are one
_BREAK = 0.2  # s after a cut in which the same person counts as unseen: no movement leads across it
_SHARP = 128  # px, side of the face crop on which sharpness is measured


class Frame(Protocol):
    """What is needed of a video frame: seconds, uint8 (H, W) luma and, by some readers, uint8 (H, W, 3) colour."""

    @property
    def time(self) -> float: ...
    @property
    def grey(self) -> Array: ...
    @property
    def bgr(self) -> Array: ...


class Row(NamedTuple):
    """One face in one frame, as in `types.FaceTrack`; `more` is what the reader gives beyond that of all readers."""

    points: Array
    confidence: float
    box: Array
    change: float
    more: dict[str, Array]


@dataclass(frozen=True, eq=False)
class Found:
    """A face that a search found: box float64 (4,), points (68, 2)."""

    box: Array
    points: Array


@dataclass(eq=False)
class Face:
    """One face while it is followed; rows are kept by frame number until they are yielded."""

    person: Person
    box: Array
    rows: dict[int, Row] = field(default_factory=dict)
    crops: dict[int, Array] = field(default_factory=dict)
    held: bool = True
    confidence: float = np.nan  # in the last frame
    seen: float = 0.0  # time of the last row
    sure: int = -1  # the last frame in which a face was verified: later rows may be withdrawn
    compared: int = -1  # the last frame with a check of the person …
    trusted: int = -1  # … and the one before: later rows are withdrawn when it is another person
    compare: float = -np.inf  # time from which persons are compared again
    pause: float = _COMPARE
    sighted: float = -np.inf  # time of the last such check
    scene: Scene = field(default_factory=Scene)
    cut: bool = False  # lost by a cut, or a cut followed
    quiet: float = -np.inf  # time up to which it counts as unseen
    detections: int = 0
    yielded: int = 0  # rows
    sharpness: array[float] = field(default_factory=lambda: array("d"))
    light: array[float] = field(default_factory=lambda: array("d"))  # three numbers a sample
    sharpened: float = -np.inf  # time of the last sample of it
    looked: float = -np.inf  # time of the last crop


F = TypeVar("F", bound=Face)
C = TypeVar("C", bound=Found)


class Follower(ABC, Generic[F, C]):
    """The state between frames: the faces, and when to search again.

    A reader says how faces are searched, how one begins to be followed, and how it is followed from frame to frame.
    """

    version: str  # goes into the tracks' history
    gives: tuple[str, ...] = ()  # of `types.EXTRA`, beyond what all readers give

    def __init__(self, many: bool) -> None:
        self.many = many
        self.faces: list[F] = []
        self.missed: float | None = None  # when the last loss (or the clip) began
        self.searched = self.retry = -np.inf
        self.cuts: list[float] = []
        self.thumb: Array | None = None
        self.original = self.before = np.zeros((0, 0), np.uint8)  # this frame and the last, without more contrast
        self.grey = self.original  # this frame with enough contrast, or the same object where it has

    @abstractmethod
    def candidates(self, time: float, frame: Frame, grey: Array) -> list[C]:
        """Faces that are sure and that no held face covers; uint8 (H, W) `grey` is the frame with enough contrast."""

    @abstractmethod
    def create(self, found: C, sight: Sight) -> F:
        """A new face."""

    @abstractmethod
    def begin(self, face: F, n: int, time: float, grey: Array, found: C) -> None:
        """Follow the face from where it was found, and write its row of this frame."""

    @abstractmethod
    def advance(self, face: F, n: int, time: float, frame: Frame, grey: Array) -> bool:
        """Write the face's row for this frame; False when it is no longer there."""

    def looked(self, face: F, row: Row) -> None:
        """Add to the face's row what is measured only in frames that are cropped; nothing, by default."""

    def step(self, n: int, time: float, frame: Frame) -> None:
        """One frame: follow every held face, then search where one is missing or a search is due."""
        self.before, self.original = self.original, frame.grey
        grey = self.grey = light.clearer(self.original, light.levels(self.original), light.FRAME)
        if self.missed is None:
            self.missed = time
        for face in self.faces:
            if face.held:
                if self.advance(face, n, time, frame, grey):
                    self._sample(face, time, grey)
                else:
                    face.held, self.missed, self.searched = False, time, -np.inf
        self._drop_duplicates(n)
        if new := self._new_scene(grey):
            self._cut(time, [face for face in self.faces if not face.held])
        if not new and (time - self.searched < self._pause(time) or time < self.retry):
            return
        self.searched = time
        for found in self._search(time, frame, grey):
            if self._join(n, time, grey, found) and not self.many:
                break

    def look(self, n: int, time: float, grey: Array, crop: Callable[[Array, Array], Array], every: float) -> None:
        """Crops of the seen faces that have not been cropped for `every` seconds."""
        for face in self.faces:
            # half a millisecond of tolerance, as files round times
            if n in face.rows and time - face.looked >= every - 5e-4 and np.isfinite(points := face.rows[n][0]).all():
                face.crops[n], face.looked = crop(grey, points), time
                self.looked(face, face.rows[n])

    def settled(self, n: int) -> int:
        """The last frame, up to `n`, whose rows are final: of a held face those since `sure`, `trusted` may go."""
        return min((min(face.sure, face.trusted) for face in self.faces if face.held), default=n)

    def take(self, first: int, time: list[float]) -> Block:
        """Remove and return the rows of the frames from `first` on with these times."""
        stop = first + len(time)
        frame, number_of, crops, looked = [], [], [], []
        rows: list[Row] = []
        for number, face in enumerate(self.faces):
            for n in sorted(n for n in face.rows if n < stop):
                if n in face.crops:
                    looked.append(len(rows))
                    crops.append(face.crops[n])
                frame.append(n)
                number_of.append(number)
                rows.append(face.rows.pop(n))
                face.yielded += 1
            face.crops = {n: crop for n, crop in face.crops.items() if n >= stop}  # of withdrawn rows as well
        block = Block(
            first,
            np.array(time, np.float64),
            np.array(frame, np.int64),
            np.array(number_of, np.int32),
            np.array([row.points for row in rows], np.float32).reshape(-1, 68, 2),
            np.array([row.confidence for row in rows], np.float32),
            np.array([row.box for row in rows], np.float32).reshape(-1, 4),
            np.array([row.change for row in rows], np.float32),
            np.array(looked, np.int64),
            np.stack(crops) if crops else np.zeros((0, 0, 0), np.uint8),
        )
        more: dict[str, Any] = {
            name: np.array([row.more[name] for row in rows], np.float32).reshape(-1, *EXTRA[name])
            for name in self.gives
        }
        return replace(block, **more)

    def end(self, frames: int, size: tuple[int, int], looks: bool) -> End:
        """What is known after the last frame, when every row has been taken."""
        history = (
            f"faces.follow: {self.version}; {f.detections} detections, {f.yielded} of {frames} frames seen"
            for f in self.faces
        )
        sharpness = (float(np.median(f.sharpness)) if f.sharpness else np.nan for f in self.faces)
        lit = tuple(light.median(f.light) for f in self.faces)
        return End(size, tuple(sharpness), lit, tuple(history), looks, tuple(self.cuts))

    # --- for readers ------------------------------------------------------------------------------------------------

    def write(self, face: F, n: int, time: float, points: Array, confidence: float, **more: Array) -> Row:
        """The face's row of this frame, which is not kept where it counts as unseen after a cut."""
        change = changed(self.before, self.original, face.box)
        row = Row(points, confidence, face.box.astype(np.float32), change, more)
        if time > face.quiet + 5e-4:
            face.rows[n] = row
        face.confidence, face.seen = confidence, time
        return row

    def is_cut(self, face: F, time: float, shift: Array) -> bool:
        """Whether the scene changes in the face, whose box has moved by whole pixels `shift` (2,); a cut is noted."""
        if face.scene.is_cut(region(self.before, face.box), region(self.original, face.box + np.tile(shift, 2))):
            self._cut(time, [face])
            return True
        return False

    def is_same(self, face: F, n: int, time: float, grey: Array, points: Array) -> bool:
        """False, and its rows withdrawn, where a held face has become another person, for example in a dissolve."""
        if time - face.sighted < VERIFY:
            return True
        face.sighted = time
        sight = Sight(grey, points)
        if not face.person.looks_like(sight):
            if time < face.compare:
                return True
            face.compare, face.pause = time + face.pause, min(2 * face.pause, _SELDOM)
            if not face.person.shows(sight):
                self._cut(time, [face])
                withdraw(face, face.trusted, n)
                return False
        face.trusted, face.compared = face.compared, n
        return True

    def held_boxes(self) -> list[Array]:
        """The boxes of all held faces."""
        return [face.box for face in self.faces if face.held]

    # --- searches ---------------------------------------------------------------------------------------------------

    def _search(self, time: float, frame: Frame, grey: Array) -> list[C]:
        found = self.candidates(time, frame, grey)
        last = max(self.faces, key=lambda face: face.seen, default=None)
        if last is not None and not last.cut and not self.many:
            found.sort(key=lambda item: distance(item.box, last.box))
        return found

    def _join(self, n: int, time: float, grey: Array, found: C) -> bool:
        """Assign a detected face to the lost track of its person, or a new one; False while a lost one is awaited."""
        lost = sorted((f for f in self.faces if not f.held), key=lambda f: distance(f.box, found.box))
        sight = Sight(grey, found.points)
        face = self._recognise(time, found.box, sight, lost)
        if face is None:
            near = lost[0] if lost else None
            far = self.many and near is not None and distance(near.box, found.box) > 1
            if near and not near.cut and time - near.seen < _WAIT and not far:
                self.retry = time + _RETRY
                return False
            face = self.create(found, sight)
            self.faces.append(face)
        if face.cut:
            face.quiet, face.scene = face.seen + _BREAK, Scene()
        face.held, face.box, face.cut = True, found.box, False
        face.compared = face.trusted = face.sure = n
        face.sighted = time
        face.detections += 1
        self.begin(face, n, time, grey, found)
        return True

    def _recognise(self, time: float, box: Array, sight: Sight, lost: list[F]) -> F | None:
        """Which of the lost faces, the nearest first, is seen again; None for another person."""
        near = [face for face in lost if not self.many or distance(face.box, box) < 1.0]
        if near and not near[0].cut and time - near[0].seen < _BRIEF and distance(near[0].box, box) < _NEAR:
            return near[0]
        apart = [(face.person.distance(sight), face) for face in lost]
        known = [(d, i) for i, (d, face) in enumerate(apart) if d is not None and d < self._limit(face)]
        if known:
            return apart[min(known)[1]][1]
        unknown = near and apart[0][0] is None and not near[0].cut  # the network is missing
        return near[0] if unknown else None

    @staticmethod
    def _limit(face: Face) -> float:
        return ONE_PERSON if face.cut else ONE_PERSON_LOST

    def _cut(self, time: float, faces: Iterable[F]) -> None:
        """Note a cut, after which these faces must be recognised."""
        if self.faces and (not self.cuts or time - self.cuts[-1] > _ONE_CUT):
            self.cuts.append(time)
        self.retry = -np.inf
        for face in faces:
            face.cut = True

    def _drop_duplicates(self, n: int) -> None:
        """Of two tracks on one face, the one with the lower confidence has lost its own."""
        for a, b in itertools.combinations([f for f in self.faces if f.held], 2):
            if a.held and b.held and overlap(a.box, b.box) > 0.5:
                worse = a if a.confidence < b.confidence else b
                worse.held = False
                worse.rows.pop(n, None)

    def _pause(self, time: float) -> float:
        """Seconds between two searches in the present state."""
        eager = self.missed is not None and time - self.missed <= _EAGER
        if not any(f.held for f in self.faces):
            return 0.0 if eager else _PATIENT
        if not self.many:
            return np.inf
        return _PATIENT if eager and not all(f.held for f in self.faces) else SLOW

    def _new_scene(self, grey: Array) -> bool:
        """Whether camera or scene changed since the last frame (False while the one face is held)."""
        if not self.many and any(f.held for f in self.faces):
            return False
        step = max(1, min(grey.shape) // 64)
        thumb = cv2.resize(grey[::step, ::step], (32, 18), interpolation=cv2.INTER_AREA).astype(np.float32)
        before = self.thumb
        self.thumb = thumb
        return before is None or float(np.abs(thumb - before).mean()) > _CUT

    def _sample(self, face: F, time: float, grey: Array) -> None:
        """Sharpness and light of a face, when they are due."""
        if time - face.sharpened >= VERIFY:
            face.sharpened = time
            crop = cut(grey, face.box, (_SHARP, _SHARP), cv2.BORDER_REPLICATE)
            face.sharpness.append(float(cv2.Laplacian(crop, cv2.CV_64F).std()))
            face.light.extend(light.measure(self.original, face.box))


def withdraw(face: Face, after: int, before: int) -> None:
    """Take back the face's rows between two frames."""
    for n in range(after + 1, before):
        face.rows.pop(n, None)
