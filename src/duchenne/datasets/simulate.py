"""Short face videos rendered from one public-domain portrait, with the timing of a spontaneous or a posed smile.

The portrait is NASA's photograph of Eileen Collins, which scikit-image ships (`skimage.data.astronaut`). She smiles in
it: a smooth displacement field closes the mouth, and the smile returns along a given curve. So everything from video to
verdict runs without network and data.

**A simulation tests mechanics and is no evidence about people.** That a clip with "the kinematics of a posed smile" is
classified as posed shows that speeds and durations survive decoding, tracking and measuring, not that a model is right
about a person.

Sources of durations, speeds and amplitudes are in `kinematics`. Movement of the rest of the face and of the head,
blinks and unrest are medians over the happy clips of PEDFE (Miolla, Cardaioli & Scarpazza, Behavior Research Methods
55, 2023). Nothing is tuned to a classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.special import betainc

from duchenne import video
from duchenne.datasets import portrait
from duchenne.datasets.kinematics import KINDS, POSED, SPONTANEOUS, SmileKinematics, smile_curve
from duchenne.datasets.people import Person, mean_face, own_pull, reshape
from duchenne.datasets.portrait import CENTRE, FOLDS, FULL_PULL, IOD, LANDMARKS, MOUTH, SHUT, travel
from duchenne.errors import UsageError
from duchenne.types import Array, FaceTrack

__all__ = ["KINDS", "POSED", "SPONTANEOUS", "SmileKinematics", "frames", "smile_clip", "smile_curve", "track"]

_FOLD_FADE = 0.8  # share of the folds removed on the neutral face
_VISIBLE = 218.0  # portrait rows that fill the height of the frame
_SHADOW = (122.0, 62.0, 58.0)  # colour between closed lips, RGB
_BLINK = 0.4  # s, for the 0.18 s at half depth of PEDFE's blinks
_BLINK_EVERY = 3.2  # s
_SEEN_SHUT = 0.38  # share of the eye opening by which dlib's landmarks close in a blink
#: Unrest of brows and jaw (interocular distances), yaw, pitch, roll (degrees), x, y (interocular distances) and
#: log size of the head. Standard deviations at 0.3 to 1 and at 1 to 4 Hz, and displacement with a smile, its
#: direction differing by clip.
_UNREST = np.fromstring(
    """
    0.0050 0.0045 0.014  0.0040 0.0060 0.000  0.35 0.30 1.4  0.60 0.60 3.0  0.25 0.23 1.0
    0.0015 0.0010 0.011  0.0020 0.0005 0.022  0.0070 0.0045 0.0
    """,
    sep=" ",
).reshape(8, 3)
_UNEVEN = 0.45  # difference between the brows' own movement
_SHRINK = -0.022  # log size with the smile: the eyes and the nose, by which size is measured, draw together
#: Jitter of landmarks on jaw, brows, nose, eyes and mouth against the mean: their second differences in PEDFE.
_JITTER = np.repeat([1.4, 1.0, 0.75, 0.66, 0.9], [17, 10, 9, 12, 20])[:, None]
_NOISE = 1.5  # standard deviation of the sensor noise in grey levels
_STEP = 0.5  # spacing of the displacement fields in portrait pixels


@dataclass(frozen=True)
class _Movement:
    """All movement per frame: pull of the lip corners, lid, blink (0 to 1), unrest, and head pose."""

    pull: Array
    lid: Array
    blink: Array
    unrest: Array  # (T, 5), in the order of `portrait.unrest`
    pose: Array  # (T, 2, 3), portrait pixels to frame pixels


def _wander(rng: np.random.Generator, time: Array, spread: Array) -> Array:
    """float64 (T, K): smooth noise of standard deviations (K, 2), three slow and six fast sines each."""
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
        raise UsageError(
            f"A simulation needs a rate above 0 and seconds from 0, found {rate} and {duration}; choose others."
        )
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

    A field holds, for each pixel of the moved face, the displacement back to the portrait, interpolated between anchors
    and faded to zero at the ring. The kernel is linear: thin plates overshoot where lips meet.
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


@cache
def _grid() -> Array:
    """float64 (h, w, 2): the pixels of the fields in the portrait."""
    low, fields, _ = _fields()
    height, width = fields.shape[1:3]
    return np.asarray(low + _STEP * np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1))


def _displacement(kin: SmileKinematics, smile: float, lid: float, blink: float, unrest: Array | None = None) -> Array:
    """float32 (h, w, 2): displacement back to the portrait for the pixels of the face, in portrait pixels."""
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
    """The portrait, uint8 (512, 512, 3); the region of the smile's marks; that region without marks, and
    weight. On a neutral face the folds beside the mouth are faint and the teeth are in the shadow of the lips.
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
    kin: SmileKinematics,
    *,
    rate: float = 30.0,
    size: tuple[int, int] = (640, 480),
    seed: int = 0,
    person: Person | None = None,
) -> Iterator[Array]:
    """The clip's frames, uint8 (height, width, 3) RGB; deterministic.

    `rate` in frames per second, `size` as (width, height) in pixels; `seed` fixes blinks, unrest,
    movement of the head and sensor noise; the face takes the shape of `person`. UsageError on an impossible rate.
    """
    move = _movement(kin, _clock(kin.duration, rate), size, seed)
    pull = move.pull if person is None else own_pull(move.pull, person)
    corner = np.array(_fields()[0], float)
    home = shift = None
    if person is not None:
        mean = mean_face(_grid(), person)
        home, shift = ((mean - corner) / _STEP).astype(np.float32), (mean - _grid()).astype(np.float32)
    smiling, where, bare, weight = _portraits()
    pixels = size[0] * size[1] * 3
    rng = np.random.default_rng([seed, 1])
    noise = np.rint(_NOISE * rng.standard_normal(2 * pixels, np.float32)).astype(np.int16)
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32))
    steps = zip(pull / FULL_PULL, move.lid, move.blink, move.unrest, move.pose, strict=True)
    for smile, lid, blink, unrest, pose in steps:
        local = np.column_stack([_STEP * pose[:, :2], pose[:, 2] + pose[:, :2] @ corner])
        way = _displacement(kin, smile, lid, blink, unrest)
        if home is not None:  # from the person's face to the mean face, and on to the portrait
            way = cv2.remap(way, home, None, cv2.INTER_LINEAR) + shift
        way = cv2.warpAffine(way, local, size, flags=cv2.INTER_LINEAR)
        (a, b, e), (c, d, f) = cv2.invertAffineTransform(pose).astype(np.float32)
        way += np.stack([a * x + b * y + e, c * x + d * y + f], axis=-1)
        share, shown = weight * np.float32(max(0.0, 1.0 - smile)) ** 2, smiling.copy()
        shown[where] = np.rint(smiling[where] * (1 - share) + bare * share)
        image = cv2.remap(shown, way, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        start = rng.integers(pixels)  # a part of one long noise: new noise would take half of the time
        grain = noise[start : start + pixels].reshape(image.shape)
        yield np.asarray(cv2.add(image, grain, dtype=cv2.CV_8U))


def smile_clip(
    path: Path | str,
    kind: str | SmileKinematics,
    *,
    rate: float = 30.0,
    seed: int = 0,
    person: Person | None = None,
) -> Path:
    """Write the clip of a "genuine" or "posed" smile, or of given kinematics, and return its path.

    UsageError on an unknown kind; OutputError if the file cannot be written.
    """
    if isinstance(kind, str) and kind not in KINDS:
        raise UsageError(f"There is no simulated smile '{kind}'; choose one of: {', '.join(KINDS)}.")
    kin = KINDS[kind] if isinstance(kind, str) else kind
    video.write(Path(path), frames(kin, rate=rate, seed=seed, person=person), rate)
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
    person: Person | None = None,
) -> FaceTrack:
    """The same movement as landmarks only.

    `before` and `after` add neutral seconds around the clip, which itself stays the same (exactly so where
    `before * rate` is whole). `jitter` is the standard deviation, in pixels, of an independent error on every
    coordinate, more on the jaw and less on the eyes; the default is that of real landmarks in this `size`.
    The face takes the shape of `person`, in which the smile has the same size in lip widths. Confidence is
    NaN, as nothing is tracked. UsageError on an impossible rate or time.
    """
    lead, core, tail = (_clock(seconds, rate) for seconds in (before, kin.duration, after))
    time = np.arange(len(lead) + len(core) + len(tail)) / rate
    move, rest = _movement(kin, time - len(lead) / rate, size, seed), LANDMARKS
    pull = move.pull if person is None else own_pull(move.pull, person)
    smile = (travel(pull) / travel(np.array(FULL_PULL)))[:, None, None]
    smile = smile * (1.0 + kin.asymmetry * portrait.side(rest[:, :1]))
    lid, shut = move.lid[:, None, None], (move.blink * (1 - move.lid))[:, None, None]
    still = rest + lid * portrait.lids(0.0, 1.0)[:68] + shut * portrait.lids(_SEEN_SHUT, 0.0)[:68]
    still += (smile - 1.0) * portrait.smile()[:68] + np.einsum("tk,kpi->tpi", move.unrest, portrait.unrest()[:, :68])
    still = still if person is None else reshape(still, person)
    points = np.einsum("tij,tpj->tpi", move.pose[:, :, :2], still) + move.pose[:, None, :, 2]
    error = np.random.default_rng([seed, 2]).normal(0.0, jitter, points.shape)
    points += np.roll(_JITTER * error, len(lead), axis=0)  # the smile has the same errors whatever comes before it
    return FaceTrack(
        time=time,
        points=points,
        confidence=np.full(len(points), np.nan),
        box=np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1),
        frame_size=size,
        source="simulation",
        history=(f"simulate.track: rate={rate:g} seed={seed} jitter={jitter:g} px",),
    )
