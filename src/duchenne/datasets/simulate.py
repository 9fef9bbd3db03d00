"""Short face videos made from one public-domain portrait, with the timing of a spontaneous or a posed smile.

The portrait is NASA's picture of Eileen Collins, which scikit-image ships (`skimage.data.astronaut`). She
smiles in it: a smooth displacement field takes the smile back to a closed mouth, and lets it return along a
chosen curve. So a machine without network and without data can run everything from video to verdict.

**A simulation proves mechanics and is no evidence about people.** That a clip with "the kinematics of a posed
smile" is judged posed shows that speeds and durations survive decoding, tracking and measuring. It does not
show that any model is right about a person.

Durations, speeds and amplitudes are the class medians of the public UvA-NEMO smile descriptors
(Dibeklioğlu, Salah & Gevers, "Are you really smiling at me?", ECCV 2012, and "Recognition of genuine smiles",
IEEE Transactions on Multimedia 17(3), 2015). How the rest of the face goes along, how the head moves, how often
the eyes blink and how much a face stirs at rest are medians over the happy clips of PEDFE (Miolla, Cardaioli &
Scarpazza, Behavior Research Methods 55, 2023). Nothing is set by what a classifier answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.optimize import brentq
from scipy.special import beta, betainc

from duchenne import video
from duchenne.datasets import portrait
from duchenne.datasets.portrait import CENTRE, FOLDS, FULL_PULL, IOD, LANDMARKS, MOUTH, SHUT, travel
from duchenne.errors import UsageError
from duchenne.types import Array, FaceTrack

_LIMITS = {"onset": (0.05, 60.0), "apex": (0.0, 600.0), "offset": (0.05, 60.0), "amplitude": (0.0, 0.2)}
_LIMITS |= {"neutral_before": (0.0, 600.0), "neutral_after": (0.0, 600.0), "fluctuation": (0.0, 1.0)}
_LIMITS |= {"peak": (1.9, 8.0), "asymmetry": (-1.0, 1.0), "lid": (0.0, 0.5), "head_motion": (0.0, 5.0)}
_LIMITS |= {"unrest": (0.0, 5.0), "offset_peak": (1.9, 8.0)}


@dataclass(frozen=True)
class SmileKinematics:
    """How one smile moves. Durations in seconds, `amplitude` in lip widths of the neutral face.

    `amplitude` is the rise of Dibeklioğlu's D(t) = (|c₀−r| + |c₀−l|) / (2|r₀−l₀|) with r, l the lip corners
    and c₀ their midpoint in the first frame. `peak` is largest over mean speed of the onset, `offset_peak` of
    the offset. `fluctuation` is the share of the amplitude that sags in the middle of the apex. `asymmetry`
    (−1 to 1) gives the lip corner on the right of the picture more and the other less, the mean unchanged.
    `lid` is the share of the eye opening that the lower lid takes beyond the usual narrowing of the eyes.
    `head_motion` and `unrest` scale how the head moves, and how brows and jaw stir (1: the medians of real
    clips). UsageError on values no face can have.
    """

    onset: float
    apex: float
    offset: float
    amplitude: float
    neutral_before: float = 1.0
    neutral_after: float = 0.8
    peak: float = 5.0
    offset_peak: float = 5.0
    fluctuation: float = 0.04
    asymmetry: float = 0.0
    lid: float = 0.0
    head_motion: float = 1.0
    unrest: float = 1.0

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(
                    f"SmileKinematics.{name} must lie between {low:g} and {high:g}, found "
                    f"{getattr(self, name)!r}; choose another value."
                )

    @property
    def duration(self) -> float:
        """Length of a clip of this smile in seconds, with its neutral beginning and end."""
        return self.neutral_before + self.onset + self.apex + self.offset + self.neutral_after

    @property
    def max_speed(self) -> float:
        """Largest onset speed in lip widths per second."""
        return self.peak * self.amplitude / self.onset


#: In their tracks `features.smile.describe` finds the medians of 462 spontaneous and 501 posed smiles. To find
#: phases takes 0.6 s of rest, so the fastest movement comes 0.4 s later than in PEDFE's closely cut clips.
SPONTANEOUS = SmileKinematics(
    onset=1.37, apex=1.3, offset=1.95, amplitude=0.139, neutral_before=0.6, peak=7.6, offset_peak=7.9,
    fluctuation=0.11, asymmetry=0.1,
)  # fmt: skip
POSED = SmileKinematics(
    onset=0.75, apex=1.0, offset=1.25, amplitude=0.167, neutral_before=0.6, peak=5.6, offset_peak=7.9,
    fluctuation=0.05, asymmetry=0.1,
)  # fmt: skip
KINDS = {"genuine": SPONTANEOUS, "posed": POSED}

_FOLD_FADE = 0.8  # share of the folds that is gone on the neutral face
_VISIBLE = 218.0  # portrait rows that fill the height of the frame
_CREEP = 0.5  # share of a rise that is a slow minimum-jerk creep; fits the tables' spread of speeds
_SHADOW = (122.0, 62.0, 58.0)  # colour between closed lips, RGB
_BLINK = 0.4  # s, for the 0.18 s at half depth of PEDFE's blinks
_BLINK_EVERY = 3.2  # s
_SEEN_SHUT = 0.38  # share of the eye opening by which dlib's landmarks close in a blink
#: What moves by itself: brows and jaw (interocular distances), yaw, pitch, roll (degrees), x, y (interocular
#: distances) and log size of the head. Standard deviations at 0.3 to 1 and at 1 to 4 Hz, and how far it goes
#: along with a smile, to a side that differs by clip.
_UNREST = np.fromstring(
    """
    0.0050 0.0045 0.014  0.0040 0.0060 0.000  0.35 0.30 1.4  0.60 0.60 3.0  0.25 0.23 1.0
    0.0015 0.0010 0.011  0.0020 0.0005 0.022  0.0070 0.0045 0.0
    """,
    sep=" ",
).reshape(8, 3)
_UNEVEN = 0.45  # by how much more or less one brow moves by itself than both do
_SHRINK = -0.022  # log size with the smile: the eyes and the nose, by which size is measured, draw together
#: Trembling of landmarks on jaw, brows, nose, eyes and mouth against the mean: their second differences in PEDFE.
_TREMBLE = np.repeat([1.4, 1.0, 0.75, 0.66, 0.9], [17, 10, 9, 12, 20])[:, None]
_NOISE = 1.5  # standard deviation of the sensor noise in grey levels
_STEP = 0.5  # spacing of the displacement fields in portrait pixels


def _burst_exponent(peak: float) -> float:
    """Exponent n of the speed u^n (1−u)^n whose sum with the creep has `peak` as largest over mean speed."""

    def excess(n: float) -> float:
        return float(_CREEP * 1.875 + (1 - _CREEP) * 0.25**n / beta(n + 1, n + 1) - peak)

    return float(brentq(excess, 2.0, 400.0))


def _rise(time: Array, duration: float, peak: float) -> Array:
    """float64 (T,): 0 before, 1 after `duration`, second derivative continuous; burst on creep."""
    u, n = np.clip(time / duration, 0.0, 1.0), _burst_exponent(peak)
    return np.asarray(_CREEP * betainc(3, 3, u) + (1 - _CREEP) * betainc(n + 1, n + 1, u))


def smile_curve(kin: SmileKinematics, time: Array) -> Array:
    """Lip-corner pull in lip widths, float64 (T,), for `time` in seconds from the start of the clip.

    Zero while neutral and `kin.amplitude` at both ends of the apex; never negative, with continuous second
    derivative. Like the tables' smiles it is a burst on a slow creep: the largest speed, in the middle of
    onset and of offset, is `kin.peak` and `kin.offset_peak` times the mean one.
    """
    t = np.asarray(time, np.float64) - kin.neutral_before
    up = _rise(t, kin.onset, kin.peak)
    down = _rise(t - kin.onset - kin.apex, kin.offset, kin.offset_peak)
    u = np.clip((t - kin.onset) / kin.apex, 0.0, 1.0) if kin.apex else np.zeros_like(t)
    sag = kin.fluctuation * 64.0 * (u * (1 - u)) ** 3
    return np.asarray(kin.amplitude * (up - down - sag))


@dataclass(frozen=True)
class _Movement:
    """Everything that moves, per frame: pull of the lip corners, lid, blink (0 to 1), unrest, and head pose."""

    pull: Array
    lid: Array
    blink: Array
    unrest: Array  # (T, 5), in the order of `portrait.unrest`
    pose: Array  # (T, 2, 3), portrait pixels to frame pixels


def _wander(rng: np.random.Generator, time: Array, spread: Array) -> Array:
    """float64 (T, K): smooth wandering of standard deviations (K, 2), of three slow and six fast sines each."""
    rates = np.concatenate([rng.uniform(0.3, 1.0, (len(spread), 3)), rng.uniform(1.0, 4.0, (len(spread), 6))], axis=1)
    sizes = np.repeat(spread * np.sqrt([2 / 3, 2 / 6]), (3, 6), axis=1)
    angles = 2 * np.pi * rates * time[:, None, None] + rng.uniform(0, 2 * np.pi, rates.shape)
    return np.asarray((sizes * np.sin(angles)).sum(axis=2))


def _blinks(rng: np.random.Generator, time: Array, duration: float) -> Array:
    """float64 (T,): 0 open to 1 shut; one blink in every full 3.2 s, quick to shut and slower to open."""
    slots = max(1, int(duration / _BLINK_EVERY))
    starts = (np.arange(slots) + rng.uniform(0.15, 0.8, slots)) * duration / slots
    u = np.clip((time[:, None] - starts) / _BLINK, 0.0, 1.0)
    return np.asarray((u**2 * (1 - u) ** 3).sum(axis=1) / (0.4**2 * 0.6**3))


def _clock(duration: float, rate: float) -> Array:
    if not 0 < rate < np.inf or not 0 <= duration < np.inf:
        raise UsageError(f"A simulation needs a rate above 0 and seconds of at least 0, not {rate}, {duration}.")
    return np.arange(round(duration * rate)) / rate


def _movement(kin: SmileKinematics, time: Array, size: tuple[int, int], seed: int) -> _Movement:
    """The movement at any `time`; before 0 and after `kin.duration` the face is neutral, without blinks."""
    rng, scale = np.random.default_rng(seed), size[1] / _VISIBLE
    pull = smile_curve(kin, time)
    smile = pull[:, None] / max(kin.amplitude, 1e-9)
    stir = _wander(rng, time, _UNREST[:, :2]) + smile * _UNREST[:, 2] * rng.choice([-1.0, 1.0], len(_UNREST))
    brow = _UNEVEN * _wander(rng, time, _UNREST[:1, :2])
    face = kin.unrest * np.concatenate([stir[:, :1] + brow, stir[:, :1] - brow, stir[:, 1:2]], axis=1)
    head = kin.head_motion * (stir[:, 2:] + smile * [0, 0, 0, 0, 0, _SHRINK])
    angle, zoom = np.radians(head[:, 2]), scale * np.exp(head[:, 5])
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.stack([cos, -sin, sin, cos], axis=1).reshape(-1, 2, 2)
    shift = np.asarray(size) / 2 - 0.5 + scale * IOD * head[:, 3:5] - linear @ CENTRE
    return _Movement(
        pull=pull,
        lid=kin.lid * smile[:, 0],
        blink=_blinks(rng, time, kin.duration),
        unrest=np.concatenate([face, head[:, :2]], axis=1),
        pose=np.concatenate([linear, shift[:, :, None]], axis=2),
    )


@cache
def _fields() -> tuple[tuple[int, int], Array, Array]:
    """Corner (x, y) of the face's region, float32 (9, h, w, 2) fields relax, widen, lid, blink and the five of
    `portrait.unrest`; side (h, w).

    A field holds, for each pixel of the moved face, the way back to where it lies in the portrait, through
    the anchored points and faded to zero at the ring. The kernel is linear: thin plates overshoot where lips
    meet.
    """
    at = portrait.anchors()
    low, high = np.floor(at.min(axis=0)).astype(int), np.ceil(at.max(axis=0)).astype(int)
    x, y = np.meshgrid(*(np.arange(low[i], high[i] + _STEP, _STEP) for i in (0, 1)))
    grid = np.stack([x, y], axis=-1).reshape(-1, 2).astype(float)
    radius = np.linalg.norm((grid - (low + high) / 2) / ((high - low) / 2), axis=1)
    fade = 1 - betainc(3, 3, np.clip((radius - 0.85) / 0.15, 0.0, 1.0))
    used = np.r_[:60, 68 : len(at)]  # the edges of the mouth replace the eight inner lip landmarks
    lids = portrait.lids(0.0, 0.5), portrait.lids(SHUT, 0.0)
    ways = ((portrait.closing(), 1.0), (portrait.smile(), 1.0), (lids[0], 2.0), (lids[1], 1.0))
    fields = [
        RBFInterpolator((at + way)[used], -way[used], kernel="linear")(grid) * (factor * fade)[:, None]
        for way, factor in (*ways, *((way, 1.0) for way in portrait.unrest()))
    ]
    shape = (len(fields), *x.shape, 2)
    side = portrait.side(x).astype(np.float32)
    return (int(low[0]), int(low[1])), np.asarray(fields, np.float32).reshape(shape), side


def _displacement(kin: SmileKinematics, smile: float, lid: float, blink: float, unrest: Array | None = None) -> Array:
    """float32 (h, w, 2): way back to the portrait for the pixels of the face, in portrait pixels."""
    _, (relax, widen, lower, upper, *others), side = _fields()
    pull = (smile * (1.0 + kin.asymmetry * side))[..., None]
    way = np.maximum(1.0 - pull, 0.0) * relax + np.maximum(pull - 1.0, 0.0) * widen
    way += lid * lower + blink * (1 - lid) * upper
    for size, other in zip(np.zeros(5) if unrest is None else unrest, others, strict=True):
        way += np.float32(size) * other
    return np.asarray(way, np.float32)


def _soft(draw: Callable[[Array], object], shape: tuple[int, ...], blur: float) -> Array:
    """float32 (h, w, 1): what `draw` paints on an eight times finer uint8 mask, 0 to 1 with a soft edge."""
    mask = np.zeros((shape[0] * 8, shape[1] * 8), np.uint8)
    draw(mask)
    small = cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return np.asarray(cv2.GaussianBlur(small, (0, 0), blur)[..., None])


@cache
def _portraits() -> tuple[Array, tuple[slice, slice], Array, Array]:
    """The portrait, uint8 (512, 512, 3); where the smile marks it; that part without marks, and weight.

    On a neutral face the folds beside the mouth are faint and the teeth lie in the shadow of the lips.
    """
    from skimage.data import astronaut  # slow to import

    portrait = np.asarray(astronaut())
    outline = np.concatenate([LANDMARKS[[60]], MOUTH[:, [0, 1]], LANDMARKS[[64]], MOUTH[::-1, [0, 2]]])
    edges = [np.rint((line + 0.5) * 8).astype(np.int32) for line in (outline, *FOLDS)]
    mouth = _soft(lambda m: cv2.fillPoly(m, edges[:1], 255), portrait.shape, 0.6)
    folds = _soft(lambda m: cv2.polylines(m, edges[1:], False, 255, 32), portrait.shape, 1.0)
    hole = np.uint8(cv2.dilate(folds, np.ones((3, 3))) > 0.05)
    bare = cv2.inpaint(portrait, hole, 5.0, cv2.INPAINT_TELEA)
    bare = bare * (1 - mouth) + np.array(_SHADOW, np.float32) * mouth
    weight = np.maximum(mouth, _FOLD_FADE * folds)
    where = (slice(120, 156), slice(190, 256))  # rows and columns of mouth and folds, with their soft edges
    return portrait, where, bare[where], weight[where]


def frames(
    kin: SmileKinematics, *, rate: float = 30.0, size: tuple[int, int] = (640, 480), seed: int = 0
) -> Iterator[Array]:
    """The clip's pictures, uint8 (height, width, 3) RGB, one by one; equal for equal arguments.

    `rate` in frames per second, `size` as (width, height) in pixels; `seed` fixes blinks, unrest,
    movement of the head and sensor noise. UsageError on an impossible rate.
    """
    move = _movement(kin, _clock(kin.duration, rate), size, seed)
    smiling, where, bare, weight = _portraits()
    corner, pixels = np.array(_fields()[0], float), size[0] * size[1] * 3
    rng = np.random.default_rng([seed, 1])
    noise = np.rint(_NOISE * rng.standard_normal(2 * pixels, np.float32)).astype(np.int16)
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32))
    steps = zip(move.pull / FULL_PULL, move.lid, move.blink, move.unrest, move.pose, strict=True)
    for smile, lid, blink, unrest, pose in steps:
        local = np.column_stack([_STEP * pose[:, :2], pose[:, 2] + pose[:, :2] @ corner])
        way = cv2.warpAffine(_displacement(kin, smile, lid, blink, unrest), local, size, flags=cv2.INTER_LINEAR)
        (a, b, e), (c, d, f) = cv2.invertAffineTransform(pose).astype(np.float32)
        way += np.stack([a * x + b * y + e, c * x + d * y + f], axis=-1)
        share, shown = weight * np.float32(max(0.0, 1.0 - smile)) ** 2, smiling.copy()
        shown[where] = np.rint(smiling[where] * (1 - share) + bare * share)
        picture = cv2.remap(shown, way, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        start = rng.integers(pixels)  # a stretch of one long noise, as new noise takes half of the time
        grain = noise[start : start + pixels].reshape(picture.shape)
        yield np.asarray(cv2.add(picture, grain, dtype=cv2.CV_8U))


def smile_clip(path: Path | str, kind: str | SmileKinematics, *, rate: float = 30.0, seed: int = 0) -> Path:
    """Write the clip of a "genuine" or "posed" smile, or of your own kinematics, and return its path.

    UsageError on an unknown kind; OutputError if the file cannot be written.
    """
    if isinstance(kind, str) and kind not in KINDS:
        raise UsageError(f"There is no simulated smile '{kind}'; choose one of: {', '.join(KINDS)}.")
    kin = KINDS[kind] if isinstance(kind, str) else kind
    video.write(Path(path), frames(kin, rate=rate, seed=seed), rate)
    return Path(path)


def track(
    kin: SmileKinematics,
    rate: float,
    seed: int = 0,
    *,
    before: float = 0.0,
    after: float = 0.0,
    jitter: float = 0.5,
    size: tuple[int, int] = (640, 480),
) -> FaceTrack:
    """The same movement as landmarks only, for tests that need no pixels.

    `before` and `after` add neutral seconds around the clip, which itself stays the same (exactly so where
    `before * rate` is whole). `jitter` is the standard deviation, in pixels, of an independent error on every
    coordinate, more on the jaw and less on the eyes; the default is that of real landmarks in this `size`.
    Confidence is NaN, as nothing was tracked. UsageError on an impossible rate or time.
    """
    lead, core, tail = (_clock(seconds, rate) for seconds in (before, kin.duration, after))
    time = np.arange(len(lead) + len(core) + len(tail)) / rate
    move, rest = _movement(kin, time - len(lead) / rate, size, seed), LANDMARKS
    smile = (travel(move.pull) / travel(np.array(FULL_PULL)))[:, None, None]
    smile = smile * (1.0 + kin.asymmetry * portrait.side(rest[:, :1]))
    lid, shut = move.lid[:, None, None], (move.blink * (1 - move.lid))[:, None, None]
    still = rest + lid * portrait.lids(0.0, 1.0)[:68] + shut * portrait.lids(_SEEN_SHUT, 0.0)[:68]
    still += (smile - 1.0) * portrait.smile()[:68] + np.einsum("tk,kpi->tpi", move.unrest, portrait.unrest()[:, :68])
    points = np.einsum("tij,tpj->tpi", move.pose[:, :, :2], still) + move.pose[:, None, :, 2]
    error = np.random.default_rng([seed, 2]).normal(0.0, jitter, points.shape)
    points += np.roll(_TREMBLE * error, len(lead), axis=0)  # the smile has the same errors whatever stands before it
    return FaceTrack(
        time=time,
        points=points,
        confidence=np.full(len(points), np.nan),
        box=np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1),
        frame_size=size,
        source="simulation",
        history=(f"simulate.track: rate={rate:g} seed={seed} jitter={jitter:g} px",),
    )
