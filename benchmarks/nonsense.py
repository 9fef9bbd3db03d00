"""Inputs that hold no expression, and how many of them get a verdict: videos made of photographs, frames in random
order, covered faces, and frozen landmarks that jitter.

    python benchmarks/nonsense.py [--people 20] [--skip 8] [--pedfe 0] [--jobs 2] [--reader mesh]
        [--keep FOLDER] [-o FILE]

The faces are those of PEDFE's raw clips in the folder `DUCHENNE_DATA`, one clip per person in turn, without the first
`--skip` people, by whom the thresholds were set. Each case is written as an H.264 video and examined with the default
model, or judged as a track. Counted is how many abstain, and how many of the reasons are true ones (`KINDS`). PEDFE's
own clips are judged in the same way: how many abstain, and why; --pedfe 0 is all of them. Writes nonsense.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from joblib import Parallel, delayed

from duchenne import DuchenneError, pipeline, video
from duchenne.faces.follow import follow
from duchenne.judging import load_model
from duchenne.types import Array, FaceTrack, Verdict

RATE, FRAMES, SIZE = 30.0, 75, (640, 360)
Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class _Still:
    bgr: Array
    time: float

    @property
    def grey(self) -> Array:
        return np.asarray(cv2.cvtColor(self.bgr, cv2.COLOR_BGR2GRAY))


@dataclass(frozen=True, eq=False)
class Source:
    """A real clip: its RGB frames uint8 (T, H, W, 3), and its face track."""

    name: str
    images: Array
    track: FaceTrack

    @classmethod
    def of(cls, path: Path, reader: str = "mesh", most: int = 90) -> Source:
        frames = [frame for frame, _ in zip(video.frames(path, allow_truncated=True), range(most), strict=False)]
        images = [cv2.resize(frame.bgr[..., ::-1], SIZE, interpolation=cv2.INTER_AREA) for frame in frames]
        small = [
            _Still(np.ascontiguousarray(image[..., ::-1]), frame.time)
            for image, frame in zip(images, frames, strict=True)
        ]
        return cls(path.stem, np.stack(images), follow(small, reader=reader).tracks[0])

    def photo(self, rng: Rng) -> Array:
        """One of its frames in which the face is seen."""
        return np.asarray(self.images[rng.choice(np.flatnonzero(self.track.seen))])


def noise(rng: Rng, one: Source, _: Source) -> Iterator[Array]:
    """A photo with pixel noise."""
    photo, sigma = one.photo(rng).astype(np.float32), rng.choice([2.0, 5.0, 10.0, 20.0])
    for _ in range(FRAMES):
        yield _byte(photo + _grain(rng, photo, sigma))


def poster(rng: Rng, one: Source, _: Source) -> Iterator[Array]:
    """A photo panned, zoomed, rolled and tilted by a hand-held camera with a little noise."""
    photo = one.photo(rng)
    height, width = photo.shape[:2]
    path = [_smooth(rng, scale) for scale in (0.06 * width, 0.06 * height, 0.08, np.radians(8), 0.08, 0.08)]
    which = rng.random(6) < 0.6
    which[rng.integers(6)] = True
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    middle = corners.mean(axis=0)
    for x, y, zoom, roll, tilt, turn in (np.stack(path, axis=1) * which).tolist():
        z = (corners - middle) @ np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]).T * (1 + zoom)
        depth = 1 + (z / middle) @ (turn, tilt)
        there = (z / depth[:, None] + middle + (x, y)).astype(np.float32)
        moved = cv2.warpPerspective(
            photo, cv2.getPerspectiveTransform(corners, there), (width, height), borderMode=cv2.BORDER_REPLICATE
        )
        yield _byte(moved + _grain(rng, moved))


def shaken(rng: Rng, one: Source, _: Source) -> Iterator[Array]:
    """A photo that jitters by 0.3 to 4 pixels, white or wandering."""
    photo, shift = one.photo(rng), _jitter(rng, FRAMES, 2)
    for x, y in shift.tolist():
        matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
        yield cv2.warpAffine(photo, matrix, photo.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def cut(rng: Rng, one: Source, other: Source) -> Iterator[Array]:
    """Two photos of one person, or of two, one after the other."""
    pair = _pair(rng, one, other)
    at = rng.integers(FRAMES // 4, 3 * FRAMES // 4)
    for n in range(FRAMES):
        yield _byte(pair[int(n >= at)] + _grain(rng, pair[0]))


def fade(rng: Rng, one: Source, other: Source) -> Iterator[Array]:
    """Two photos of one person, or of two, cross-faded."""
    a, b = (each.astype(np.float32) for each in _pair(rng, one, other))
    start, length = rng.integers(5, 30), rng.integers(8, 40)
    for n in range(FRAMES):
        share = np.clip((n - start) / length, 0, 1)
        yield _byte((1 - share) * a + share * b + _grain(rng, a))


def shuffled(rng: Rng, one: Source, _: Source) -> Iterator[Array]:
    """The frames of a clip in random order."""
    yield from one.images[rng.permutation(len(one.images))]


def mask(rng: Rng, one: Source, _: Source) -> Iterator[Array]:
    """The lower face under a mask that moves with the head."""
    outline = [1, 3, 5, 7, 8, 9, 11, 13, 15, 28 + int(rng.integers(2))]
    yield from _painted(rng, one, lambda points: [points[outline]])


def hand(rng: Rng, one: Source, _: Source) -> Iterator[Array]:
    """Mouth and chin behind fingers, in the colour of the forehead."""
    turn, skin = rng.uniform(-0.4, 0.4), True

    def fingers(points: Array) -> list[Array]:
        iod = float(np.linalg.norm(points[36:42].mean(axis=0) - points[42:48].mean(axis=0)))
        middle = points[48:68].mean(axis=0)
        shapes = []
        for k in (-0.66, -0.22, 0.22, 0.66):
            centre = middle + iod * np.array([0.1 * k, k])
            box = (centre.tolist(), (2.3 * iod, 0.5 * iod), float(np.degrees(turn) + 8 * k))
            shapes.append(cv2.boxPoints(box))
        return shapes

    yield from _painted(rng, one, fingers, skin)


def glasses(rng: Rng, one: Source, _: Source) -> Iterator[Array]:
    """Both eyes behind a dark bar."""

    def bar(points: Array) -> list[Array]:
        left, right = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
        along, across = right - left, (right - left)[::-1] * (-1, 1)
        return [np.array([left - 0.6 * along - 0.35 * across, right + 0.6 * along - 0.35 * across,
                          right + 0.6 * along + 0.35 * across, left - 0.6 * along + 0.35 * across])]  # fmt: skip

    yield from _painted(rng, one, bar, dark=True)


def frozen(rng: Rng, one: Source, _: Source) -> FaceTrack:
    """The landmarks of one frame with 0.3 to 4 pixels of white or wandering jitter, each point its own."""
    track = one.track
    row = rng.choice(np.flatnonzero(track.seen))
    points = track.points[row] + _jitter(rng, FRAMES, 136).reshape(FRAMES, 68, 2)
    box, psr = np.repeat(track.box[[row]], FRAMES, axis=0), np.full(FRAMES, 20.0)
    return FaceTrack(np.arange(FRAMES) / RATE, points, psr, box, track.frame_size, source=one.name)


def _pair(rng: Rng, one: Source, other: Source) -> tuple[Array, Array]:
    first = one.photo(rng)
    second = (one if rng.random() < 0.5 else other).photo(rng)
    return first, second


def _smooth(rng: Rng, scale: float) -> Array:
    """float64 (FRAMES,): a camera's path between −scale and scale, from some slow waves."""
    t = np.arange(FRAMES) / RATE
    waves = sum(rng.normal() * np.sin(2 * np.pi * (rng.uniform(0.1, 1.2) * t + rng.random())) for _ in range(3))
    path = np.asarray(waves) - np.asarray(waves)[0]
    return np.asarray(scale * rng.uniform(0.3, 1) * path / max(np.abs(path).max(), 1e-9))


def _jitter(rng: Rng, n: int, columns: int) -> Array:
    """float64 (n, columns): 0.3 to 4 pixels (standard deviation) of white or wandering noise."""
    size, white = np.exp(rng.uniform(np.log(0.3), np.log(4))), rng.random() < 0.5
    steps = rng.normal(0, 1, (n, columns))
    if not white:
        keep = rng.uniform(0.8, 0.97)
        for i in range(1, n):
            steps[i] = keep * steps[i - 1] + np.sqrt(1 - keep**2) * steps[i]
    return np.asarray(size * steps)


def _painted(
    rng: Rng, one: Source, shapes: Callable[[Array], Sequence[Array]], skin: bool = False, dark: bool = False
) -> Iterator[Array]:
    colour, stripes = rng.integers(20, 240, 3), rng.random() < 0.4
    if dark:
        colour, stripes = rng.integers(5, 50, 3), False
    points = one.track.points.astype(float)
    seen = one.track.seen
    for image, p, good in zip(one.images, points, seen, strict=True):
        if not good:
            continue
        if skin:
            x, y = (p[27] + 0.6 * (p[27] - p[30])).round().astype(int)
            patch = image[max(0, y - 8) : y + 8, max(0, x - 8) : x + 8]
            colour, stripes = patch.reshape(-1, 3).mean(axis=0) if patch.size else colour, False
        out = image.copy()
        for k, shape in enumerate(shapes(p)):
            hull = cv2.convexHull(shape.astype(np.float32)).round().astype(np.int32)
            shade = np.asarray(colour) * (1 - 0.08 * (k % 2))
            cv2.fillConvexPoly(out, hull, shade.astype(int).tolist(), cv2.LINE_AA)
            if skin:
                cv2.polylines(out, [hull], True, (0.7 * shade).astype(int).tolist(), 2, cv2.LINE_AA)
            if stripes:
                for y in range(int(hull[..., 1].min()), int(hull[..., 1].max()), 9):
                    x0, x1 = int(hull[..., 0].min()) + 12, int(hull[..., 0].max()) - 12
                    cv2.line(out, (x0, y), (x1, y), (0.8 * shade).astype(int).tolist(), 2, cv2.LINE_AA)
        yield _byte(cv2.GaussianBlur(out, (0, 0), 0.7) + _grain(rng, out))


def _grain(rng: Rng, image: Array, sigma: float = 1.5) -> Array:
    """float32 (H, W, 1): a sensor's noise."""
    return np.asarray(np.float32(sigma) * rng.standard_normal((*image.shape[:2], 1), np.float32))


def _byte(image: Array) -> Array:
    return np.asarray(image.clip(0, 255).round().astype(np.uint8))


#: Kind → (the maker, what a true reason speaks of).
KINDS: dict[str, tuple[Callable[..., Any], str]] = {
    "photo with noise": (noise, "photo|image|still|moves|jitter"),
    "poster filmed": (poster, "photo|image|still|moves"),
    "photo that jitters": (shaken, "photo|image|still|moves"),
    "two photos, cut": (cut, "photo|image|still|moves|cut|short"),
    "two photos, cross-faded": (fade, "photo|image|fade|still|moves"),
    "frames in random order": (shuffled, "order|follow|short"),
    "mouth under a mask": (mask, "mouth"),
    "mouth behind a hand": (hand, "mouth"),
    "eyes behind a bar": (glasses, "eyes"),
    "frozen landmarks that jitter": (frozen, "jitter|tremble|moves"),
}


def outcome(verdict: Verdict | str, truth: str) -> str:
    """judged, true reason, no face (none is found at all), other reason."""
    reason = verdict if isinstance(verdict, str) else verdict.reason
    if reason is None:
        return "judged"
    if isinstance(verdict, str):
        return "no face" if "shows no face" in verdict else "other reason"
    return "true reason" if re.search(truth, reason, re.IGNORECASE) else "other reason"


def examined(path: Path, reader: str) -> Verdict | str:
    """The verdict on a video, or the error in a sentence."""
    try:
        return pipeline.examine(path, reader=reader)[0].verdict
    except DuchenneError as error:
        return str(error)


def nonsense(sources: Sequence[Source], folder: Path, jobs: int, reader: str) -> dict[str, dict[str, Any]]:
    """Kind → counts of outcomes, and the reasons of those that are not true."""
    found: dict[str, dict[str, Any]] = {}
    others = [*sources[1:], sources[0]]
    for j, (kind, (_, truth)) in enumerate(KINDS.items()):
        pairs = enumerate(zip(sources, others, strict=True))
        verdicts = Parallel(jobs)(delayed(case)(kind, one, other, [k, j], folder, reader) for k, (one, other) in pairs)
        counts = Counter(outcome(verdict, truth) for verdict in verdicts)
        wrong = (verdict for verdict in verdicts if outcome(verdict, truth) == "other reason")
        texts = (verdict if isinstance(verdict, str) else str(verdict.reason) for verdict in wrong)
        reasons = Counter(re.sub(r"^.*\.mp4 ", "", text)[:40] for text in texts)
        found[kind] = {"cases": len(sources), **counts, "other": reasons}
        print(kind, found[kind], file=sys.stderr, flush=True)
    return found


def case(kind: str, one: Source, other: Source, seed: list[int], folder: Path, reader: str) -> Verdict | str:
    """The verdict on one case, or the error in a sentence."""
    make = KINDS[kind][0]
    made = make(np.random.default_rng(seed), one, other)
    if isinstance(made, FaceTrack):
        return pipeline.judge(made, load_model("default"), explain=False).verdict
    return examined(video.write(folder / f"{one.name} {make.__name__}.mp4", made, RATE), reader)


def real(paths: Sequence[Path], jobs: int, reader: str) -> dict[str, Any]:
    """Abstentions on real clips, by the first words of their reasons."""
    reasons: Counter[str] = Counter()
    verdicts = Parallel(jobs)(delayed(examined)(path, reader) for path in paths)
    for path, verdict in zip(paths, verdicts, strict=True):
        if reason := verdict if isinstance(verdict, str) else verdict.reason:
            reasons[" ".join(reason.replace(str(path), "The clip").split()[:4])] += 1
    abstained = sum(reasons.values())
    share = round(abstained / len(paths), 4)
    return {"clips": len(paths), "abstained": abstained, "share": share, "reasons": dict(reasons.most_common())}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--skip", type=int, default=8, help="people left out, by whom the thresholds were set")
    parser.add_argument("--pedfe", type=int, default=0, help="real clips to judge; 0: all")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--reader", choices=("mesh", "paper"), default="mesh", help="reader of faces")
    parser.add_argument("--keep", type=Path, help="folder for the videos")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    words = parser.parse_args()
    paths = sorted((Path(os.environ["DUCHENNE_DATA"]) / "data" / "pedfe" / "clips").glob("*.avi"))
    np.random.default_rng(0).shuffle(paths)  # type: ignore[arg-type]
    first = {path.name.split("_")[0]: path for path in reversed(paths)}
    sources = [Source.of(path, words.reader) for path in list(first.values())[words.skip :][: words.people]]
    with tempfile.TemporaryDirectory() as folder:
        kept = words.keep or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        kinds = nonsense(sources, kept, words.jobs, words.reader)
    cases = sum(each["cases"] for each in kinds.values())
    judged = sum(each.get("judged", 0) for each in kinds.values())
    found = {
        "reader": words.reader, "people": len(sources), "skipped": words.skip,
        "cases": cases, "judged": judged, "abstained": round(1 - judged / cases, 4),
        "true_reason": round(sum(each.get("true reason", 0) for each in kinds.values()) / cases, 4),
        "kinds": kinds, "pedfe": real(paths[: words.pedfe or None], words.jobs, words.reader),
    }  # fmt: skip
    words.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
