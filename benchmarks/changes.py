"""Changes of a clip that leave its expression as it is, each written as an H.264 file: the camera's rate, light and
size, rest before and after, what a codec or a lossy link does.

A change gets all frames of a clip, uint8 (H, W, 3) BGR, their times in seconds (T,), and a generator of random numbers,
and gives the frames (an iterator, as a clip of 1.5 × the size is large) and times of the changed clip.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from duchenne import io, video
from duchenne.features.filtering import lowpass
from duchenne.types import Array

Frames = Sequence[Array]
Rng = np.random.Generator
Change = Callable[[Frames, Array, Rng], tuple[Iterator[Array], Array]]
UNREST, GRAIN = 0.5, 1.5  # of rest: px that the picture wanders, grey levels of a sensor's noise
FAINT = 20  # grey levels from which a pixel belongs to a face on black
TICK = Fraction(1, 90_000)  # s


def pixels(of: Callable[[Array], Array]) -> Change:
    """The change that does the same to every frame."""
    return lambda frames, times, _: (map(of, frames), times)


def rest(seconds: float, after: bool, frames: Frames, times: Array, rng: Rng) -> tuple[Iterator[Array], Array]:
    """The first (or last) frame held for so long, with a sensor's noise, wandering by half a pixel: not a still."""
    step = float(np.median(np.diff(times)))
    many = round(seconds / step)
    path = lowpass(rng.normal(0, 1, (many + 30, 2)), 1 / step, 2.0)[15 : many + 15]
    path *= UNREST / path.std(axis=0) * np.minimum(1, np.arange(many, 0, -1) / 10)[:, None]  # none at the clip
    held = frames[-1] if after else frames[0]
    still = (_grained(_moved(held, shift), GRAIN, rng) for shift in (path[::-1] if after else path))
    if after:
        return chain(frames, still), np.concatenate([times, times[-1] + step * np.arange(1, many + 1)])
    return chain(still, frames), np.concatenate([times[0] + step * np.arange(many), times + many * step])


def lost(many: int, frames: Frames, times: Array, rng: Rng) -> tuple[Iterator[Array], Array]:
    """Without some frames between the first and the last; the others keep their times, as of a camera."""
    gone = rng.choice(np.arange(1, len(frames) - 1), min(many, max(len(frames) - 2, 0)), replace=False)
    kept = np.setdiff1d(np.arange(len(frames)), gone)
    return (frames[i] for i in kept), times[kept]


def noise(levels: float, frames: Frames, times: Array, rng: Rng) -> tuple[Iterator[Array], Array]:
    return (_grained(frame, levels, rng) for frame in frames), times


def halved(frames: Frames, times: Array, _: Rng) -> tuple[Iterator[Array], Array]:
    return iter(frames[::2]), times[::2]


def doubled(frames: Frames, times: Array, _: Rng) -> tuple[Iterator[Array], Array]:
    """A frame more between every two, their mean."""

    def all_of_them() -> Iterator[Array]:
        for one, two in pairwise(frames):
            yield one
            yield cv2.addWeighted(one, 0.5, two, 0.5, 0)
        yield frames[-1]

    return all_of_them(), np.interp(np.arange(2 * len(times) - 1) / 2, np.arange(len(times)), times)


def levels(gain: float, more: float, frame: Array) -> Array:
    """Grey levels scaled about the middle, and raised."""
    return cv2.convertScaleAbs(np.maximum((frame.astype(np.float32) - 128) * gain + 128 + more, 0))


def turned(degrees: float, frame: Array) -> Array:
    height, width = frame.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR)


def scaled(factor: float, frame: Array) -> Array:
    """Other sides, even as 4:2:0 needs them."""
    height, width = (2 * round(side * factor / 2) for side in frame.shape[:2])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)


def framed(share: float, frame: Array) -> Array:
    """A black border of this share of each side, on all sides."""
    y, x = (round(side * share) for side in frame.shape[:2])
    return cv2.copyMakeBorder(frame, y, y, x, x, cv2.BORDER_CONSTANT)


def closer(factor: float, frame: Array) -> Array:
    """A face on black, cut again along its outline (hull of its largest part) made smaller about its middle."""
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    outlines, _ = cv2.findContours((grey > FAINT).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return frame
    hull = cv2.convexHull(max(outlines, key=cv2.contourArea))[:, 0].astype(np.float32)
    low, high = hull.min(axis=0), hull.max(axis=0)
    smaller = (hull - (low + high) / 2) * factor + (low + high) / 2
    inside = cv2.fillConvexPoly(np.zeros_like(grey), smaller.round().astype(np.int32), 1)
    return frame * inside[..., None]


#: Name → (the change, quality of its H.264 file, lower is better).
CHANGES: dict[str, tuple[Change, int]] = {
    "written again as H.264": (pixels(lambda frame: frame), 18),
    "mirrored": (pixels(lambda frame: np.ascontiguousarray(frame[:, ::-1])), 18),
    "1.5 s of rest before": (partial(rest, 1.5, False), 18),
    "3 s of rest before": (partial(rest, 3.0, False), 18),
    "1.5 s of rest after": (partial(rest, 1.5, True), 18),
    "contrast × 0.8": (pixels(partial(levels, 0.8, 0)), 18),
    "20 levels brighter": (pixels(partial(levels, 1.0, 20)), 18),
    "20 levels darker": (pixels(partial(levels, 1.0, -20)), 18),
    "rotated by 3°": (pixels(partial(turned, 3.0)), 18),
    "three frames lost": (partial(lost, 3), 18),
    "noise of 4 levels": (partial(noise, 4.0), 18),
    "compressed more (CRF 28)": (pixels(lambda frame: frame), 28),
    "0.75 × the size": (pixels(partial(scaled, 0.75)), 18),
    "1.5 × the size": (pixels(partial(scaled, 1.5)), 18),
    "black border of 20 %": (pixels(partial(framed, 0.2)), 18),
    "half the rate": (halved, 18),
    "twice the rate": (doubled, 18),
    "outline cut closer": (pixels(partial(closer, 0.94)), 18),
}


def changed(clip: Path, name: str, folder: Path) -> Path:
    """The file of a changed clip, written where it is missing; random numbers depend on both names alone."""
    target = folder / f"{clip.stem} {name}.mp4"
    if not target.exists():
        rng = np.random.default_rng(zlib.crc32(target.name.encode()))
        write(target, *altered(clip, [name], rng), CHANGES[name][1])
    return target


def altered(clip: Path, names: Sequence[str], rng: Rng) -> tuple[Iterator[Array], Array]:
    """Frames and times of a clip to which changes are made one after another."""
    found = list(video.frames(clip))
    frames, times = iter([frame.bgr for frame in found]), np.array([frame.time for frame in found])
    for name in names:
        frames, times = CHANGES[name][0](list(frames), times, rng)
    return frames, times


def kept(work: Path) -> Path:
    """The folder for changed clips as this file makes them."""
    found = work / f"changed-{io.sha256(Path(__file__))[:8]}"
    found.mkdir(parents=True, exist_ok=True)
    return found


def write(target: Path, frames: Iterator[Array], times: Array, quality: int) -> None:
    """An MP4 of frames uint8 (H, W, 3) BGR shown at these times, an odd side repeated once; atomically."""
    with io.atomic(target) as part, av.open(str(part), "w", format="mp4") as out:
        stream: Any = None
        for frame, time in zip(frames, times.tolist(), strict=True):
            bgr = np.pad(frame, [(0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)], mode="edge")
            if stream is None:
                stream = out.add_stream("libx264", options={"crf": f"{quality}", "preset": "veryfast"})
                stream.height, stream.width, stream.pix_fmt = *bgr.shape[:2], "yuv420p"
                stream.codec_context.time_base, stream.codec_context.thread_count = TICK, 1
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(bgr), format="bgr24")
            image.pts, image.time_base = round((time - float(times[0])) / TICK), TICK
            out.mux(stream.encode(image))
        out.mux(stream.encode(None))


def _moved(frame: Array, shift: Array) -> Array:
    """Shifted by a part of a pixel."""
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    return cv2.warpAffine(frame, matrix, frame.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def _grained(frame: Array, levels: float, rng: Rng) -> Array:
    """With a sensor's noise, alike in all colours."""
    grain = np.float32(levels) * rng.standard_normal((*frame.shape[:2], 1), np.float32)
    return (frame + grain).clip(0, 255).round().astype(np.uint8)
