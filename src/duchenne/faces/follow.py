"""From frames to tracks: detect once, track, 68 points on every frame, detect again when the face is lost."""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import cv2
import numpy as np

from duchenne.faces import light
from duchenne.faces.boxes import changed, distance, overlap, plausible, region
from duchenne.faces.detect import Detector, Verifier
from duchenne.faces.joined import Followed, join
from duchenne.faces.landmarks import Landmarker, Shape, box_of, cut
from duchenne.faces.person import ONE_PERSON, ONE_PERSON_LOST, Person, Scene, Sight
from duchenne.faces.track import Tracker
from duchenne.io.followed import Block, End
from duchenne.progress import Tick
from duchenne.registry import DETECTORS, LANDMARKERS, TRACKERS
from duchenne.types import Array

_VERIFY = 0.5  # s between two verifications of the face
_SMOOTH = 0.3  # s, time constant of the box that dlib starts from
_EAGER = 2.0  # s without a face in which the detector runs on every frame
_PATIENT = 0.2  # s between two detections after that
_SLOW = 1.0  # s between two searches for further faces, and between two runs of the fallback detector
_CUT = 12.0  # mean difference of thumbnails, in grey levels, that means a new scene, which is searched at once
_DRIFT = 0.12  # of the box's side: the tracker restarts when it and the points disagree by more
_JUMP = 0.15  # of the box's side: points this far from HOG's or the tracker's box are doubtful
_STILL, _STEADY = 0.02, 0.8  # of the box's side, of the usual PSR: with less movement and at least such a peak …
_REST = 0.06  # … s for which the tracker is skipped
_DIP = 0.5  # of the usual PSR: below this the face is verified at once
_ACQUIRE, _KEEP = 0.0, -0.3  # dlib HOG scores for accepting, and for keeping, a face
_COMPARE = 1.0  # s between two comparisons of the person of one face, at first; each that it passes doubles them …
_SELDOM = 4.0  # … up to this
_BRIEF, _NEAR = 0.3, 0.3  # s and box sides: a face that was lost so briefly and found so near is not compared
_WAIT = 1.0  # s for which a lost face is waited for when another is found near it without a cut …
_RETRY = 0.25  # … and between two comparisons meanwhile
_ONE_CUT = 0.1  # s: two cuts that are nearer are one
_BREAK = 0.2  # s after a cut in which the same person counts as unseen: no movement leads across it
_SHARP = 128  # px, side of the face crop on which sharpness is measured


class Frame(Protocol):
    """What is needed of a video frame: seconds and uint8 (H, W) luma."""

    @property
    def time(self) -> float: ...
    @property
    def grey(self) -> Array: ...


@dataclass(eq=False)
class _Face:
    """One face while it is tracked; rows hold (points, psr, box, change) by frame number until they are yielded."""

    tracker: Tracker
    person: Person
    box: Array  # smoothed; dlib starts from it
    anchor: Array  # the tracker's box in the last frame: only its movement counts
    rows: dict[int, tuple[Array, float, Array, float]] = field(default_factory=dict)
    crops: dict[int, Array] = field(default_factory=dict)
    held: bool = True
    psr: float = np.nan  # the tracker's last
    next_update: float = -np.inf  # time from which the tracker is updated again
    tracked: int = -1  # the last row for which it was updated
    seen: float = 0.0  # time of the last row
    usual: float = np.nan  # running mean of the PSR
    verified: float = 0.0  # time of the last verification that it passed
    sure: int = -1  # the frame of that verification
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


class _Follower:
    """The state between frames: the faces, and when to search again."""

    def __init__(self, detector: str, fallback: str | None, tracker: str, landmarker: str, many: bool) -> None:
        self.detector: Detector = DETECTORS.load(detector)()
        self.fallback: Detector | None = DETECTORS.load(fallback)() if fallback else None
        self.new_tracker: Callable[[], Tracker] = TRACKERS.load(tracker)
        self.landmarker: Landmarker = LANDMARKERS.load(landmarker)()
        self.verifier = Verifier()
        self.many = many
        self.faces: list[_Face] = []
        self.missed: float | None = None  # when the last loss (or the clip) began
        self.searched = self.fell_back = self.retry = -np.inf
        self.cuts: list[float] = []
        self.thumb: Array | None = None
        self.original = self.before = np.zeros((0, 0), np.uint8)  # this frame and the last, without more contrast

    def step(self, n: int, time: float, grey: Array) -> None:
        """One frame: track every held face, then search where one is missing or a search is due."""
        self.before, self.original = self.original, grey
        grey = light.clearer(grey, light.levels(grey), light.FRAME)
        if self.missed is None:
            self.missed = time
        for face in self.faces:
            if face.held and not self._follow(face, n, time, grey):
                face.held, self.missed, self.searched = False, time, -np.inf
        self._drop_duplicates(n)
        if new := self._new_scene(grey):
            self._cut(time, [face for face in self.faces if not face.held])
        if not new and (time - self.searched < self._pause(time) or time < self.retry):
            return
        self.searched = time
        for box, points in self._search(time, grey):
            if self._join(n, time, grey, box, points) and not self.many:
                break

    def _cut(self, time: float, faces: list[_Face]) -> None:
        """Note a cut, after which these faces must be recognised."""
        if self.faces and (not self.cuts or time - self.cuts[-1] > _ONE_CUT):
            self.cuts.append(time)
        self.retry = -np.inf
        for face in faces:
            face.cut = True

    def look(self, n: int, time: float, grey: Array, crop: Callable[[Array, Array], Array], every: float) -> None:
        """Crops of the seen faces that have not been cropped for `every` seconds."""
        for face in self.faces:
            # half a millisecond of tolerance, as files round times
            if n in face.rows and time - face.looked >= every - 5e-4 and np.isfinite(points := face.rows[n][0]).all():
                face.crops[n], face.looked = crop(grey, points), time

    def settled(self, n: int) -> int:
        """The last frame, up to `n`, whose rows are final: of a held face those since `sure`, `trusted` may go."""
        return min((min(face.sure, face.trusted) for face in self.faces if face.held), default=n)

    def take(self, first: int, time: list[float]) -> Block:
        """Remove and return the rows of the frames from `first` on with these times."""
        stop = first + len(time)
        rows: list[tuple[int, int, Array, float, Array, float]] = []
        crops, looked = [], []
        for number, face in enumerate(self.faces):
            for n in sorted(n for n in face.rows if n < stop):
                if n in face.crops:
                    looked.append(len(rows))
                    crops.append(face.crops[n])
                rows.append((n, number, *face.rows.pop(n)))
                face.yielded += 1
            face.crops = {n: crop for n, crop in face.crops.items() if n >= stop}  # of withdrawn rows as well
        frame, number_of, points, psr, box, change = zip(*rows, strict=True) if rows else ((),) * 6
        return Block(
            first,
            np.array(time, np.float64),
            np.array(frame, np.int64),
            np.array(number_of, np.int32),
            np.array(points, np.float32).reshape(-1, 68, 2),
            np.array(psr, np.float32),
            np.array(box, np.float32).reshape(-1, 4),
            np.array(change, np.float32),
            np.array(looked, np.int64),
            np.stack(crops) if crops else np.zeros((0, 0, 0), np.uint8),
        )

    def end(self, frames: int, size: tuple[int, int], looks: bool) -> End:
        """What is known after the last frame, when every row has been taken."""
        names = " / ".join((self.detector.version, self.new_tracker().version, self.landmarker.version))
        history = (
            f"faces.follow: {names}; {f.detections} detections, {f.yielded} of {frames} frames seen" for f in self.faces
        )
        sharpness = (float(np.median(f.sharpness)) if f.sharpness else np.nan for f in self.faces)
        lit = tuple(light.median(f.light) for f in self.faces)
        return End(size, tuple(sharpness), lit, tuple(history), looks, tuple(self.cuts))

    def _drop_duplicates(self, n: int) -> None:
        """Of two tracks on one face, the one with the lower PSR has lost its own."""
        for a, b in itertools.combinations([f for f in self.faces if f.held], 2):
            if a.held and b.held and overlap(a.box, b.box) > 0.5:
                worse = a if a.psr < b.psr else b
                worse.held = False
                worse.rows.pop(n, None)

    def _pause(self, time: float) -> float:
        """Seconds between two searches in the present state."""
        eager = self.missed is not None and time - self.missed <= _EAGER
        if not any(f.held for f in self.faces):
            return 0.0 if eager else _PATIENT
        if not self.many:
            return np.inf
        return _PATIENT if eager and not all(f.held for f in self.faces) else _SLOW

    def _new_scene(self, grey: Array) -> bool:
        """Whether camera or scene changed since the last frame (False while the one face is held)."""
        if not self.many and any(f.held for f in self.faces):
            return False
        step = max(1, min(grey.shape) // 64)
        thumb = cv2.resize(grey[::step, ::step], (32, 18), interpolation=cv2.INTER_AREA).astype(np.float32)
        before = self.thumb
        self.thumb = thumb
        return before is None or float(np.abs(thumb - before).mean()) > _CUT

    def _search(self, time: float, grey: Array) -> list[tuple[Array, Array]]:
        """Verified (box, points) of faces that no held face covers, the tracked one first."""
        found: list[tuple[Array, Array]] = []
        self._verify(found, [f.box for f in self.faces if not f.held], grey)
        if not found or self.many:
            self._verify(found, self.detector.detect(grey), grey)
        due = self.many or not found
        if due and self.fallback is not None and time - self.fell_back >= _SLOW:
            self.fell_back = time
            self._verify(found, self.fallback.detect(grey), grey)
        last = max(self.faces, key=lambda face: face.seen, default=None)
        if last is not None and not last.cut and not self.many:
            found.sort(key=lambda item: distance(item[0], last.box))
        return found

    def _verify(self, found: list[tuple[Array, Array]], boxes: Iterable[Array], grey: Array) -> None:
        """Add to `found` the boxes that hold a face, moved to where HOG and the points locate it, none twice."""
        taken = [f.box for f in self.faces if f.held] + [box for box, _ in found]
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
                found.append((box, points))
                taken.append(box)

    def _join(self, n: int, time: float, grey: Array, box: Array, points: Array) -> bool:
        """Assign a detected face to the lost track of its person, or a new one; False while a lost one is awaited."""
        lost = sorted((f for f in self.faces if not f.held), key=lambda f: distance(f.box, box))
        sight = Sight(grey, points)
        face = self._recognise(time, box, sight, lost)
        if face is None:
            near = lost[0] if lost else None
            if near and not near.cut and time - near.seen < _WAIT and not (self.many and distance(near.box, box) > 1):
                self.retry = time + _RETRY
                return False
            face = _Face(self.new_tracker(), Person(sight), box, box)
            self.faces.append(face)
        if face.cut:
            face.quiet, face.scene = face.seen + _BREAK, Scene()
        face.held, face.box, face.cut = True, box, False
        face.compared = face.trusted = n
        face.sighted = time
        face.detections += 1
        face.tracker.start(grey, box)
        face.anchor, psr = face.tracker.update(grey)
        face.next_update = time
        face.verified, face.sure, face.usual = time, n, np.nan
        self._write(face, n, time, points, psr)
        return True

    def _recognise(self, time: float, box: Array, sight: Sight, lost: list[_Face]) -> _Face | None:
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
    def _limit(face: _Face) -> float:
        return ONE_PERSON if face.cut else ONE_PERSON_LOST

    def _is_same(self, face: _Face, n: int, time: float, grey: Array, points: Array) -> bool:
        """False where a held face has become another person, for example in a dissolve."""
        if time - face.sighted < _VERIFY:
            return True
        face.sighted = time
        sight = Sight(grey, points)
        if not face.person.looks_like(sight):
            if time < face.compare:
                return True
            face.compare, face.pause = time + face.pause, min(2 * face.pause, _SELDOM)
            if not face.person.shows(sight):
                return False
        face.trusted, face.compared = face.compared, n
        return True

    def _follow(self, face: _Face, n: int, time: float, grey: Array) -> bool:
        """Write the face's row for this frame; False when it is no longer there."""
        moved = face.anchor  # the points move the box where the tracker is skipped
        if updated := time >= face.next_update:
            moved, face.psr = face.tracker.update(grey)
            still = face.psr >= _STEADY * face.usual and distance(moved, face.anchor) < _STILL
            face.next_update = time + _REST if still else time
        box = face.box + (moved - face.anchor)
        shift = np.round(box[:2] - face.box[:2])
        if face.scene.is_cut(region(self.before, face.box), region(self.original, face.box + np.tile(shift, 2))):
            self._cut(time, [face])
            return False
        lost = face.psr < face.tracker.lost
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
        self._write(face, n, time, points, face.psr)
        if time - face.sharpened >= _VERIFY:
            face.sharpened = time
            crop = cut(grey, face.box, (_SHARP, _SHARP), cv2.BORDER_REPLICATE)
            face.sharpness.append(float(cv2.Laplacian(crop, cv2.CV_64F).std()))
            face.light.extend(light.measure(self.original, face.box))
        return True

    def _locate(
        self, face: _Face, n: int, time: float, grey: Array, box: Array, lost: bool
    ) -> tuple[Array, Array, Array] | None:
        """(box, box implied by the points, points) of a face near `box`, verified when due or doubtful; None, and its
        doubtful rows withdrawn, where it is gone."""
        points = self.landmarker.fit(grey, box)
        shape = Shape(points)
        implied = shape.box
        complete = plausible(shape, grey.shape)
        doubtful = lost or face.psr < _DIP * face.usual or distance(implied, box) > _JUMP
        due = doubtful or time - face.verified >= _VERIFY
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
                for i in range((face.sure if slowly else max(face.sure, face.tracked)) + 1, n):
                    face.rows.pop(i, None)
                return None
        if not self._is_same(face, n, time, grey, points):
            self._cut(time, [face])
            for i in range(face.trusted + 1, n):
                face.rows.pop(i, None)
            return None
        face.verified, face.sure = time, n
        return box, implied, points

    def _write(self, face: _Face, n: int, time: float, points: Array, psr: float) -> None:
        if time > face.quiet + 5e-4:
            face.rows[n] = points, psr, face.box.astype(np.float32), changed(self.before, self.original, face.box)
        face.usual = psr if np.isnan(face.usual) else 0.9 * face.usual + 0.1 * psr
        face.seen = time


def follow(frames: Iterable[Frame], *, source: str = "", **options: Any) -> Followed:
    """Track the most prominent face (or all) through `frames`, which are read once; every track has one row per frame.

    Options as for `follow_blocks`; `source` is the tracks' name.
    """
    return join(follow_blocks(frames, **options), source)


def follow_blocks(
    frames: Iterable[Frame],
    *,
    detector: str = "haar",
    fallback: str | None = "hog",
    tracker: str = "mosse",
    landmarker: str = "dlib68",
    all_faces: bool = False,
    on_frame: Tick | None = None,
    look: Callable[[Array, Array], Array] | None = None,
    every: float = 0.0,
    rows: int = 1000,
) -> Iterator[Block]:
    """The same in blocks, each as soon as its rows are final, in constant memory.

    frames     objects with `.time` (s, increasing) and `.grey` uint8 (H, W); read once; where `.index` jumps, the rows
               between are of frames that were not kept
    fallback   detector for frames where the first finds nothing (at most once a second); None: no other
    on_frame   called with the number of frames done, for progress bars
    look       makes a grey crop uint8 (S, S) of a frame and points (68, 2), as `faces.crops.crop`, of each seen face at
               most once in `every` seconds, for `Followed.looks`; None makes none
    rows       least frames of a block; only the last, which has the `end`, may have fewer, even none
    """
    cv2.setNumThreads(1)  # the same results on every machine; clips, not frames, run in parallel
    follower = _Follower(detector, fallback, tracker, landmarker, all_faces)
    times: list[float] = []  # of the frames that are not yielded, which begin at `first`
    first, size, n, before = 0, (0, 0), -1, 0.0
    for frame in frames:
        grey, time = frame.grey, float(frame.time)
        step = getattr(frame, "index", n + 1) - n
        times += [before + (time - before) * k / step for k in range(1, step)]  # of frames that were not kept
        times.append(time)
        n, before = n + step, time
        size = (grey.shape[1], grey.shape[0])
        follower.step(n, time, grey)
        if look is not None:
            follower.look(n, time, grey, look, every)
        if on_frame is not None:
            on_frame(n + 1)
        if (done := follower.settled(n) + 1 - first) >= rows:
            yield follower.take(first, times[:done])
            del times[:done]
            first += done
    last = follower.take(first, times)
    yield replace(last, end=follower.end(first + len(times), size, look is not None))
