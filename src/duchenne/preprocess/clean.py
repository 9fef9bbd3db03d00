"""Assess a track's quality, fill its short gaps, resample it to an even time grid. Seconds everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from duchenne.preprocess.align import STABLE
from duchenne.preprocess.repeats import repeated, shifts
from duchenne.types import Array, FaceTrack, Light, Quality

#: Where `assess` begins to warn: what is advised for fine movement from 68 points.
MIN_COVERAGE = 0.95  # share of frames with a face
MAX_GAP = 0.2  # s without a face, or without a frame
MIN_FACE_SIZE = 40.0  # px between the eye centres
MIN_RATE = 20.0  # frames/s
MIN_DURATION = 1.0  # s
MAX_JITTER = 5.0  # % of the interocular distance
MIN_CONTRAST = 20.0  # grey levels of the face
MAX_CLIPPED = 0.25  # share of the face that is plain white or black

#: Of holes longer than this (s) only an edge on either side is in an even grid, so that no clip's is without bound.
_LONG_HOLE, _HOLE_EDGE = 2.0, 0.5
#: Jitter (see `distrust`) that no real face showed for half a second: % of the interocular distance …
_JITTER = 3.0
#: … and the ratio to that of the eyes.
_JITTER_RATIO = 1.3
_MOVING = ("coefficients", "pose", "mesh")  # of a mesh reader, resampled like points


def assess(track: FaceTrack, *, blur: float | None = None, light: Light | None = None) -> Quality:
    """How well a clip shows its face; `blur` and `light` are passed on, and head pose is measured by `align`."""
    gauge = Gauge()
    gauge.add(track)
    return gauge.result(blur, light)


class Gauge:
    """`assess` of a track that comes in consecutive pieces; only measurements are stored per frame."""

    def __init__(self) -> None:
        self.px = True
        self.of_mesh = False
        self.seen_frames = 0
        self._last = np.empty((0, 68, 2))
        self._parts: list[tuple[Array, ...]] = []

    def add(self, piece: FaceTrack) -> None:
        """The next frames."""
        points = np.concatenate([self._last, piece.points.astype(float)])
        eyes = points[:, 36:42].mean(axis=1) - points[:, 42:48].mean(axis=1)
        between = np.hypot(eyes[:, 0], eyes[:, 1])
        bend = np.hypot(*np.moveaxis(np.diff(points[:, STABLE], 2, axis=0), -1, 0))
        jitter = 100 * bend / np.where(between > 0, between, np.nan)[1:-1, None]
        jitter = jitter[np.isfinite(jitter)].astype(np.float32)
        shift, change = shifts(points)[len(self._last) :], piece.filled("change")
        self._parts.append(
            (piece.time, piece.seen, between[len(self._last) :], jitter, piece.confidence, change, shift)
        )
        self._last = points[-2:]
        self.px = piece.unit == "px"
        self.of_mesh = piece.coefficients is not None
        self.seen_frames += int(piece.seen.sum())

    def breaks(self, cuts: Sequence[float]) -> list[str]:
        """As the function `breaks`, of all pieces."""
        return breaks(
            np.concatenate([part[0] for part in self._parts]), np.concatenate([p[1] for p in self._parts]), cuts
        )

    def result(self, blur: float | None = None, light: Light | None = None) -> Quality:
        """The quality of all pieces together."""
        parts = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        time, seen, between, jitter, confidence, change, shift = parts
        same, frozen = repeated(time, change, shift, self.of_mesh)
        seen = seen & ~frozen
        step = float(np.median(np.diff(time))) if len(time) > 1 else None
        duration = 0.0 if step is None else float(time[-1] - time[0] + step)
        lost = _lost(time, seen, duration, step)
        quality = Quality(
            frames=len(time),
            seen_frames=int(seen.sum()),
            coverage=float(seen.mean()) if len(time) else 0.0,
            duration=duration,
            rate=_rate(time[~same], step) if same.any() else 1 / step if step else None,
            stored_rate=1 / step if step else None,
            lost=lost,
            longest_gap=max((end - start for start, end in lost), default=0.0),
            face_size=_median(between) if self.px else None,
            jitter=_median(jitter),
            confidence=_median(confidence),
            blur=blur,
            **({} if light is None else light._asdict()),
        )
        return replace(quality, warnings=(*_warnings(quality, np.diff(time)), *_repeats(quality, time, frozen)))


def _rate(time: Array, step: float | None) -> float | None:
    """Frames per second of distinct pictures at these times; pauses, in which nothing moves, are left out."""
    gaps = np.diff(time)
    if step is None or not len(gaps):
        return 1 / step if step else None
    return 1 / float(gaps[gaps < max(2.1 * step, 1.5 * float(np.median(gaps)))].mean())


def _repeats(q: Quality, time: Array, frozen: Array) -> list[str]:
    notes = []
    if q.rate and q.stored_rate and q.rate < 0.9 * q.stored_rate:
        notes.append(f"Pictures are repeated: of {q.stored_rate:.3g} frames per second about {q.rate:.3g} differ.")
    if frozen.any():
        stretches = ", ".join(f"{time[a]:.2f}–{time[b - 1]:.2f} s" for a, b in runs(frozen))
        notes.append(f"The video is frozen in {stretches}, where the face counts as lost.")
    return notes


def breaks(time: Array, seen: Array, cuts: Sequence[float]) -> list[str]:
    """A sentence on each cut (s) while a face is followed: what `repair` does not fill, no movement is read across."""
    begin, end = time[seen][[0, -1]] if seen.any() else (0.0, 0.0)
    cut = (cut for cut in cuts if begin < cut <= end)
    return [f"The scene or the person changes at {at:.2f} s; no movement is read across it." for at in cut]


def _lost(time: Array, seen: Array, duration: float, step: float | None) -> tuple[tuple[float, float], ...]:
    """(start, end) in seconds of each unseen stretch: up to the next frame, the last up to the clip's end.

    A hole in the timestamps is unseen once the frame before it has lasted a `step`.
    """
    if not len(time):
        return ()
    if step is not None:
        at = np.flatnonzero(holes(time) & (np.diff(time) > 1.5 * step)) + 1
        time, seen = np.insert(time, at, time[at - 1] + step), np.insert(seen, at, False)
    ends = np.append(time[1:], time[0] + duration)
    return tuple((float(time[a]), float(ends[b - 1])) for a, b in runs(~seen))


def _median(values: Array) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else None


def _warnings(q: Quality, steps: Array) -> tuple[str, ...]:
    """A sentence with numbers for everything that makes a verdict less certain."""
    if not q.seen_frames:
        return (f"No face was found: 0 of {q.frames} frames show one.",)
    notes = []
    if q.longest_gap > MAX_GAP or q.coverage < MIN_COVERAGE:
        total, count = sum(end - start for start, end in q.lost), len(q.lost)
        start, end = max(q.lost, key=lambda stretch: stretch[1] - stretch[0])
        where = f" in {count} stretches; the longest" if count > 1 else ","
        notes.append(f"The face was lost for {total:.2f} s{where} from {start:.2f} s to {end:.2f} s.")
    if q.frames == 1:
        notes.append("There is a single frame: movement cannot be judged from it.")
    elif q.duration < MIN_DURATION:
        notes.append(f"The clip lasts only {q.duration:.1f} s; {MIN_DURATION:.0f} s or more is advised.")
    if q.face_size is not None and q.face_size < MIN_FACE_SIZE:
        size = f"{q.face_size:.0f} px between the eyes"
        notes.append(f"The face is small: {size}; {MIN_FACE_SIZE:.0f} px or more is advised.")
    if q.rate is not None and q.rate < MIN_RATE:
        notes.append(f"Only {q.rate:.3g} frames per second; {MIN_RATE:.0f} or more is advised.")
    if len(steps) and steps.max() > max(MAX_GAP, 2.5 * np.median(steps)):
        notes.append(f"Frames are missing: up to {steps.max():.2f} s lie between two consecutive frames.")
    if q.jitter is not None and q.jitter > MAX_JITTER:
        jitter = f"{q.jitter:.1f} % of the distance between the eyes"
        notes.append(f"The points jitter by {jitter}; up to {MAX_JITTER:.0f} % is usual.")
    if q.contrast is not None and q.contrast < MIN_CONTRAST:
        levels = f"{q.contrast:.0f} of 255 grey levels"
        notes.append(f"The face has little contrast: {levels}; {MIN_CONTRAST:.0f} or more is advised.")
    for share, colour in ((q.overexposed, "white"), (q.underexposed, "black")):
        if share is not None and share > MAX_CLIPPED:
            notes.append(f"{100 * share:.0f} % of the face is plain {colour}; its points are less exact.")
    return tuple(notes)


@lru_cache(maxsize=2)  # called for one track by the quality, the curves and every model
def distrust(track: FaceTrack) -> FaceTrack:
    """Remove stretches in which the points of the lower face jitter far more than those of the eyes.

    dlib also places a mouth on a hand that covers it, and neither its score nor the tracker's shows that; but such
    points jump. Per half second: the median second difference of both mouth and jaw points above `_JITTER` % of the
    interocular distance and above `_JITTER_RATIO` times that of the eyes.
    """
    covered = _covered(track)
    if not covered:
        return track
    points = track.points.copy()
    for start, stop in covered:
        points[start:stop] = np.nan
    stretches = ", ".join(f"{track.time[a]:.2f}–{track.time[b - 1]:.2f} s" for a, b in covered)
    return track.evolve(f"distrust: points trembled too much in {stretches}", points=points)


def _covered(track: FaceTrack) -> list[tuple[int, int]]:
    """Half-open row ranges that `distrust` removes."""
    if len(track) < 5:
        return []
    points, step = track.points.astype(float), float(np.median(np.diff(track.time)))
    between = np.linalg.norm(points[:, 36:42].mean(axis=1) - points[:, 42:48].mean(axis=1), axis=1)
    if step > 0.1 or not np.isfinite(between).any():
        return []  # below 10 frames per second any movement looks like jitter
    bend = 100 * np.linalg.norm(np.diff(points, 2, axis=0), axis=2) / np.nanmedian(between)
    mouth, jaw, eyes = (
        _rolling_median(np.median(bend[:, part], axis=1), round(0.5 / step))
        for part in (slice(48, 68), slice(4, 13), slice(36, 48))
    )
    lower = np.minimum(mouth, jaw)
    jitters = np.pad((lower > _JITTER) & (lower > _JITTER_RATIO * eyes), 1)
    least, margin = round(0.4 / step), round(0.25 / step)
    wide = np.zeros(len(track), bool)
    for start, stop in runs(jitters):
        if stop - start >= max(least, 3):
            wide[max(0, start - margin) : stop + margin] = True
    return runs(wide)


def _rolling_median(x: Array, width: int) -> Array:
    """Centred median over an odd window of about `width` values, NaN left out; windows shrink at the ends."""
    half = max(1, width // 2)
    padded = np.pad(x, half, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    some = np.isfinite(windows).any(axis=1)
    out = np.full(len(x), np.nan)
    out[some] = np.nanmedian(windows[some], axis=1)
    return out


def repair(track: FaceTrack, *, max_gap: float) -> FaceTrack:
    """Interpolate unseen stretches of at most `max_gap` seconds linearly; longer ones stay NaN."""
    seen = track.seen
    if seen.all() or seen.sum() < 2:
        return track
    points = track.points.astype(float).copy()
    flat = points.reshape(len(track), -1)
    filled = 0
    for start, stop in runs(~seen):
        if start == 0 or stop == len(track) or track.time[stop] - track.time[start - 1] > max_gap + 1e-9:
            continue
        share = (track.time[start:stop] - track.time[start - 1]) / (track.time[stop] - track.time[start - 1])
        flat[start:stop] = flat[start - 1] + share[:, None] * (flat[stop] - flat[start - 1])
        filled += stop - start
    return track.evolve(f"repair: {filled} frames in gaps of at most {max_gap:g} s", points=points)


def runs(mask: Array) -> list[tuple[int, int]]:
    """[(start, stop), ...]: half-open index ranges of consecutive True values."""
    edges = np.flatnonzero(np.diff(np.r_[0, mask.astype(np.int8), 0]))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def longest_run(mask: Array) -> tuple[int, int]:
    """(start, stop) of the longest run of True; (0, 0) where there is none."""
    return max(runs(mask), key=lambda run: run[1] - run[0], default=(0, 0))


def holes(time: Array) -> Array:
    """bool (T - 1,): between which frames nothing was recorded for longer than a few frame steps."""
    steps = np.diff(time)
    return np.asarray(steps > min(max(MAX_GAP, 2.5 * float(np.median(steps))), 1.0) if len(steps) else steps > 0)


def stretches(track: FaceTrack) -> list[tuple[int, int]]:
    """Half-open row ranges in which the face is seen without a gap or a hole in time."""
    parts = np.split(np.arange(len(track)), np.flatnonzero(holes(track.time)) + 1)
    return [(int(part[0]) + a, int(part[0]) + b) for part in parts if len(part) for a, b in runs(track.seen[part])]


def resample(track: FaceTrack, *, fps: float) -> FaceTrack:
    """Resample a track to an even grid of `fps` per second by linear interpolation of seen neighbours.

    Frames of a faster clip are averaged over one grid step first, against aliasing. A grid point between a seen and an
    unseen frame, or in a hole (`holes`), is NaN. Of a long hole the grid has the first and last half second only.
    """
    if len(track) < 2:
        return track
    hole = holes(track.time)
    grid = _grid(track.time, fps)
    names = ("points", "box", "confidence", *(name for name in _MOVING if getattr(track, name) is not None))
    parts = [getattr(track, name) for name in names]
    rows = np.column_stack([part.reshape(len(track), -1) for part in parts]).astype(float)
    step = float(np.median(np.diff(track.time)))
    if (width := round(1.0 / fps / step)) > 1:
        rows = np.concatenate([_box_mean(part, width) for part in np.split(rows, np.flatnonzero(hole) + 1)])
    at = np.clip(np.searchsorted(track.time, grid, side="right") - 1, 0, len(track) - 2)
    left, right = track.time[at], track.time[at + 1]
    share = np.clip((grid - left) / (right - left), 0.0, 1.0)[:, None]
    a, b = rows[at], rows[at + 1]
    mixed = np.where(share < 1e-6, a, np.where(share > 1 - 1e-6, b, a + share * (b - a)))
    mixed[hole[at] & (grid - left > 1e-6) & (right - grid > 1e-6)] = np.nan
    ends = np.cumsum([part[0].size for part in parts])[:-1]
    values = {
        name: columns.reshape(len(grid), *part.shape[1:])
        for name, part, columns in zip(names, parts, np.split(mixed, ends, axis=1), strict=True)
    }
    return track.evolve(f"resample: {fps:g} per second", time=grid, crops=None, change=None, doubt=None, **values)


def _grid(time: Array, fps: float) -> Array:
    """float64: every 1 / `fps` s from the first frame to the last, without the inside of long holes."""
    long = np.flatnonzero(np.diff(time) > _LONG_HOLE)
    if not len(long):
        return np.arange(time[0], time[-1] + 1e-9, 1.0 / fps)
    starts = np.r_[time[0], time[long + 1] - _HOLE_EDGE]
    stops = np.r_[time[long] + _HOLE_EDGE, time[-1] + 1e-9]
    parts = [np.arange(*np.ceil((np.array([a, b]) - time[0]) * fps)) for a, b in zip(starts, stops, strict=True)]
    return np.asarray(time[0] + np.concatenate(parts) / fps)


def _box_mean(rows: Array, width: int) -> Array:
    """Centred moving mean over `width` rows of what is finite; NaN stays NaN."""
    good = np.isfinite(rows)
    # an even width would lag by half a frame: split its last weight over both ends
    kernel = np.ones(width) if width % 2 else np.r_[0.5, np.ones(width - 1), 0.5]
    # not mode="same", whose result is as long as the kernel where that is longer
    middle = slice(len(kernel) // 2, len(kernel) // 2 + len(rows))
    total = np.apply_along_axis(np.convolve, 0, np.where(good, rows, 0.0), kernel)[middle]
    count = np.apply_along_axis(np.convolve, 0, good.astype(float), kernel)[middle]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(good & (count > 0), total / count, np.nan))
