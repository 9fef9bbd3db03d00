"""Quality of a clip, the part of it that is judged, and when to abstain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from duchenne.expression import visibility
from duchenne.faces import crops, deformation
from duchenne.features import coherence, descriptors
from duchenne.features.descriptors import FACE, longest_seen, prepare
from duchenne.features.phases import ACTIVITY, activity, amplitude, moments, phases
from duchenne.preprocess import clean
from duchenne.types import Array, FaceTrack, Light, Phase, Quality, Reason, Signals

FPS = 50.0  # of the curves that phases are found in and the report shows
MIN_SEEN = 0.6  # s without a gap, the shortest clips that the default model was trained on
MIN_SIZE = 20.0  # px between the eyes; the training faces start at 30
MIN_RATE = 10.0  # frames/s
MIN_CONTRAST = 8.0  # grey levels of the face; with fewer, its points are over 3 % of the eye distance off
MAX_CLIPPED = 0.4  # share of the face that is plain white or black; with more, they are over 4 % off
MIN_SPAN = 0.04  # iod, three times the jitter of the landmarks
LONG = 15.0  # s: longer than any training clip; then only the largest expression is judged
MAX_COVERED = 0.5  # share of the frames in which mouth or eyes are covered
_BEFORE, _AFTER = 1.5, 1.0  # s around that expression
_COMPARABLE = 0.5  # of the largest expression's amplitude, from which on it matters more how long a stretch is


@dataclass(frozen=True, eq=False)
class Stretch:
    """The part of a clip that is judged: one in which the face is seen without a gap.

    window  its frames, in pixels: what models read; all of the track where no stretch is long enough
    curves  of the window alone
    span    first and last second of the movement in it (`features.descriptors.around_movement`); None without any
    reason  why to abstain; None where it can be judged
    """

    window: FaceTrack
    curves: Signals
    span: tuple[float, float] | None
    reason: Reason | None


def quality(
    track: FaceTrack,
    curves: Signals,
    blur: float | None,
    light: Light | None = None,
    parts: visibility.Covered = (),
) -> Quality:
    """Quality of the part of a track with reliable landmarks, with head pose and warnings about the rest.

    `parts` are those that are covered, as for `covered`.
    """
    trusted = clean.distrust(track)
    found = clean.assess(trusted, blur=blur, light=light)
    yaw, pitch, roll = (_median(curves[f"head_{name}"]) for name in ("yaw", "pitch", "roll"))
    found = replace(found, yaw=yaw, pitch=pitch, roll=roll)
    if parts and not found.seen_frames:  # a face was found, but not all of it
        found = replace(found, warnings=())
    for sentence in visibility.sentences(parts):
        found = warned(found, sentence)
    if trusted is track:
        return found
    return warned(
        found,
        "Where the points of the lower face trembled too much, as when a hand covers the mouth, the face counts as "
        f"lost ({trusted.history[-1].removeprefix('distrust: points trembled too much in ')}).",
    )


def warned(found: Quality, warning: str) -> Quality:
    """With one more warning."""
    return replace(found, warnings=(*found.warnings, warning))


def _median(x: Array) -> float | None:
    seen = x[np.isfinite(x)]
    return float(np.median(seen)) if seen.size else None


def choose(
    track: FaceTrack,
    curves: Signals,
    found: Quality,
    parts: Sequence[tuple[str, float, float]] = (),
    looks: FaceTrack | None = None,
) -> Stretch:
    """The stretch of a track that is judged: of `stretches` the first that nothing speaks against, else the first.

    Everything is measured on a stretch as if it were a clip of its own, except `found`'s light and sharpness, and
    covered `parts`, which count around it too. `looks` as for `lifeless`.
    """
    made = (_stretch(track, window, curves, found, parts, looks) for window in stretches(track, curves))
    first = next(made)
    return first if first.reason is None else next((each for each in made if each.reason is None), first)


def _stretch(
    track: FaceTrack,
    window: FaceTrack,
    curves: Signals,
    found: Quality,
    parts: Sequence[tuple[str, float, float]],
    looks: FaceTrack | None,
) -> Stretch:
    if window is not track:
        curves, found = prepare(window, FPS)[1], _part(found, window)
    reason = (
        covered(parts, _near(track, window))
        or _lost(found, curves)
        or lifeless(found, curves, window, looks)
        or too_poor(found, curves)
    )
    return Stretch(window, curves, descriptors.span(curves, FPS), reason)


def stretches(track: FaceTrack, curves: Signals) -> list[FaceTrack]:
    """The parts of a track in which the face is seen without a gap for at least `MIN_SEEN`, the preferred first.

    Those whose largest expression is at least half as large as any in the clip come before the others, and of these
    the longest. Of a stretch longer than `LONG` the seconds around its largest expression are taken. The track itself
    where it has no gap, or where no part is long enough.
    """
    moved = Signals(curves.time, activity(curves)[:, None], (ACTIVITY,), ("iod",))  # once for all its phases
    found = [(main, amplitude(main, moved)) for main in phases(moved, curve=ACTIVITY)]
    largest, ranked = max((size for _, size in found), default=0.0), []
    for start, stop in clean.runs(np.asarray(np.isfinite(curves.values).all(axis=1))):
        low, high = float(curves.time[start]), float(curves.time[stop - 1])
        if (stop - start) / FPS >= MIN_SEEN:
            own = max((f for f in found if low <= moments(f[0])[0] <= high), key=lambda f: f[1], default=None)
            size = own[1] if own else 0.0
            rank = (size >= _COMPARABLE * largest, min(high - low, LONG), size)
            ranked.append((rank, _window(track, low, high, own[0] if own else None)))
    ranked.sort(key=lambda each: each[0], reverse=True)
    return [window for _, window in ranked] or [track]


def _window(track: FaceTrack, low: float, high: float, main: Phase | None) -> FaceTrack:
    """The frames from `low` to `high` (s), of more than `LONG` those around an expression, or in their middle."""
    # the grid of the curves begins and ends within a step of the frames that are seen
    inside = (track.time > low - 1 / FPS + 1e-6) & (track.time < high + 1 / FPS - 1e-6)
    words = "without a gap"
    if _duration(track.time[inside]) > LONG:
        known = [(low + high) / 2] if main is None else moments(main)
        middle = (min(known) + max(known)) / 2
        low = max(min(known) - _BEFORE, middle - LONG / 2, low)
        high = min(max(known) + _AFTER, low + LONG)
        inside &= (track.time >= low) & (track.time <= high)
        words = "around its largest expression"
    if inside.all():
        return track
    step = f"focus: {low:.2f} s to {high:.2f} s of a {track.duration:.0f} s clip, {words}"
    return track.take(step, inside, None if track.crops is None else track.crops[inside])


def _duration(time: Array) -> float:
    """As `FaceTrack.duration`."""
    return float(time[-1] - time[0] + np.median(np.diff(time))) if len(time) > 1 else 0.0


def _part(found: Quality, window: FaceTrack) -> Quality:
    """The quality of a part of a clip; light, sharpness and the share of frames with a face are the clip's."""
    own = clean.assess(clean.distrust(window))
    names = ("coverage", "blur", "contrast", "overexposed", "underexposed")
    return replace(own, **{name: getattr(found, name) for name in names})


def _near(track: FaceTrack, window: FaceTrack) -> FaceTrack:
    """The frames within half of `LONG` of the middle of a window, with it: where a face is covered now and then, it
    may also be where that was not noticed."""
    if track.duration <= LONG or not len(window):
        return track
    first, last = float(window.time[0]), float(window.time[-1])
    middle = (first + last) / 2
    inside = (track.time >= min(first, middle - LONG / 2)) & (track.time <= max(last, middle + LONG / 2))
    return track.take("near", inside)


def within(signals: Signals, window: FaceTrack) -> Signals:
    """Curves during the part that is judged."""
    inside = (signals.time >= window.time[:1]) & (signals.time <= window.time[-1:])
    return replace(signals, time=signals.time[inside], values=signals.values[inside])


def too_poor(found: Quality, curves: Signals) -> Reason | None:
    """Why to abstain at this quality, with these curves of the part that is judged; None if it can be judged."""
    seen = longest_seen(curves)
    if found.frames == 1:
        return Reason(
            "single_frame",
            "A single frame: genuine and posed differ in how a face moves; record a clip of 1 s or more.",
        )
    if found.rate is not None and round(found.rate, 3) < MIN_RATE:
        rate = f"{found.rate:.3g} per second; at least {MIN_RATE:.0f} are needed to see movement"
        return Reason("low_rate", f"Too few frames: {rate}.")
    if len(seen) / FPS < MIN_SEEN or found.face_size is None:
        length = f"{len(seen) / FPS:.2f} s without a gap; at least {MIN_SEEN} s are needed"
        return Reason("too_short", f"Too short: the face is seen for {length}.")
    if found.face_size < MIN_SIZE:
        size = f"{found.face_size:.0f} px between the eyes"
        return Reason("too_small", f"The face is too small: {size}; at least {MIN_SIZE:.0f} are needed.")
    if reason := _too_dark(found):
        return reason
    return None


def _lost(found: Quality, curves: Signals) -> Reason | None:
    """Why to abstain where little is left of a clip; None also where that is too short for any verdict."""
    if found.coverage < 0.5 and MIN_SEEN <= len(longest_seen(curves)) / FPS < 2 * MIN_SEEN:
        share = f"{100 * (1 - found.coverage):.0f} % of the frames"
        return Reason("lost", f"The face is lost in {share}; record it from the front.")
    return None


def _too_dark(found: Quality) -> Reason | None:
    if found.contrast is not None and found.contrast < MIN_CONTRAST:
        levels = f"{found.contrast:.0f} of 255 grey levels"
        sentence = f"The face has too little contrast: {levels}, expected {MIN_CONTRAST:.0f}; film in more light."
        return Reason("too_little_contrast", sentence)
    if found.overexposed is not None and found.overexposed > MAX_CLIPPED:
        share = f"{100 * found.overexposed:.0f} % of it"
        return Reason("overexposed", f"The face is overexposed: {share} is plain white; film with less light.")
    if found.underexposed is not None and found.underexposed > MAX_CLIPPED:
        share = f"{100 * found.underexposed:.0f} % of it"
        return Reason("underexposed", f"The face is underexposed: {share} is plain black; film in more light.")
    return None


def covered(stretches: Sequence[tuple[str, float, float]], window: FaceTrack) -> Reason | None:
    """Why to abstain where a part of the face, "mouth" or "eyes", is covered from `start` to `end` in seconds."""
    for part in dict.fromkeys(part for part, _, _ in stretches):
        inside = [(window.time >= start) & (window.time <= end) for name, start, end in stretches if name == part]
        share = float(np.any(inside, axis=0).mean()) if len(window) else 0.0
        if share > MAX_COVERED:
            verb = "is" if part == "mouth" else "are"
            many = f"{100 * share:.0f} % of the frames"
            return Reason("covered", f"The {part} {verb} covered in {many}; show the whole face.")
    return None


def lifeless(found: Quality, curves: Signals, window: FaceTrack, looks: FaceTrack | None) -> Reason | None:
    """Why the part that is judged does not show a living face that moves: by its curves, its landmarks
    (`features.coherence`), and its pixels (`faces.deformation`), where `looks` are frames with crops.

    None also where the face is seen too badly to tell, for which `too_poor` has the reason.
    """
    small = found.face_size is not None and found.face_size < MIN_SIZE
    if found.rate is None or round(found.rate, 3) < MIN_RATE or small or _too_dark(found):
        return None
    steady, seen = longest_seen(curves), _crops(window, looks)
    moves, changes = deformation.deformation(seen[0]) if seen else (np.nan, np.nan)
    if len(steady) / FPS >= MIN_SEEN and _span(steady) < MIN_SPAN and not moves > deformation.MOVES:
        least = f"{100 * MIN_SPAN:.0f} % of the eye distance"
        return Reason("still", f"Nothing moves: no part of the face changes by more than {least}.")
    # where the face is lost in most frames, those that are left tell nothing of its movement
    reason = coherence.disorder(window) if len(window) and window.seen.mean() >= 0.5 else None
    if changes < deformation.NOISE and (reason or moves < deformation.STILL):
        return deformation.PHOTOGRAPH
    return reason or (deformation.blended(*seen) if seen else None)


def _crops(window: FaceTrack, looks: FaceTrack | None) -> tuple[Array, Array] | None:
    """Crops uint8 (N, S, S) of the part that is judged, and their corners (N, 3, 2)."""
    if looks is None or looks.crops is None or not len(window):
        return None
    inside = np.flatnonzero((looks.time >= window.time[0]) & (looks.time <= window.time[-1]))
    if not len(inside):
        return None
    return looks.crops[inside, ..., 0], np.stack([crops.corners(points) for points in looks.points[inside]])


def _span(values: Array) -> float:
    """Largest 5–95 % range of any curve of the face in eye distances, without left–right differences."""
    return float(np.ptp(np.percentile(values[:, FACE], [5, 95], axis=0), axis=0).max())


def too_close(p: float, margin: float) -> Reason | None:
    """Why to abstain from a probability this close to one half; None otherwise, and for NaN."""
    if not abs(p - 0.5) < margin:
        return None
    leans = "genuine" if p >= 0.5 else "posed"
    return Reason(
        "too_close",
        f"Too close to call: it leans {leans}, but the model's probability of genuine is {p:.2f}, and of answers "
        f"between {0.5 - margin:.2f} and {0.5 + margin:.2f} for people left out fewer than six in ten were right.",
    )
