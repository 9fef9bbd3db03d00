"""An expression network tuned to the people of a training, as Breuer & Kimmel do before their LSTM.

arXiv:1705.01842, section 4: the network first learns the emotions of the frames at onset, apex and offset, and of the
first and last frame of the sequence, which are neutral; then its features feed the LSTM. Here it begins with weights
for single faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duchenne import video
from duchenne.clips.cache import Cache, content
from duchenne.errors import InputError
from duchenne.expression.model import ExpressionModel
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.micro.data import Example
from duchenne.micro.model import movement
from duchenne.micro.recipe import MicroRecipe
from duchenne.micro.spotting import READER, SEEN, cropped, face, steady
from duchenne.types import Array, Json

NEUTRAL = "neutral"
_BESIDE = 0.5  # s before onset and after offset in which the first and the last frame lie


@dataclass(frozen=True, eq=False)
class Filmed:
    """The crops of a clip around its movement: time float64 (N,), crops uint8 (N, 48, 48), inside bool (N,), whether a
    frame is from onset to offset; apex, the row of the strongest moment."""

    time: Array
    crops: Array
    inside: Array
    apex: int

    def movement(self, network: ExpressionModel, steps: int) -> Array:
        """float32 (steps, width), see `micro.model.movement`."""
        return movement(self.time[self.inside], network.features(self.crops[self.inside]), steps)

    def frames(self, label: str) -> tuple[list[int], list[str]]:
        """(rows, labels) of the frames to learn from: onset, apex, offset, and the neutral ones outside, if any."""
        moving = np.flatnonzero(self.inside)
        rows = [int(moving[0]), self.apex, int(moving[-1])]
        calm = [row for row in (0, len(self.time) - 1) if not self.inside[row]]
        return rows + calm, [label] * len(rows) + [NEUTRAL] * len(calm)


def filmed(row: Example, cache: Cache) -> Filmed:
    """A clip's crops, from the cache where it was read before; InputError where the face is hardly seen.

    The apex is the coded one, else the frame halfway.
    """
    start = None if row.start is None else max(0.0, row.start - _BESIDE)
    stretch: Json = {"rate": row.rate, "start": start, "end": None if row.end is None else row.end + _BESIDE}
    base = start or 0.0
    low, high = (row.start or 0.0) - base, np.inf if row.end is None else row.end - base

    def read() -> dict[str, Array]:
        track, _ = face(cache.read_faces(row.path, reader=READER, most=np.inf, **stretch), row.path, **stretch)
        within = _within(track.time, low, high)
        seen = track.seen[within]
        if not len(seen) or seen.mean() < SEEN or seen.sum() < 2:
            share = 100 * seen.mean() if len(seen) else 0
            raise InputError(f"{row.path} shows the face in only {share:.0f} % of {len(seen)} frames.")
        time, crops = cropped(steady(track), video.frames(row.path, **stretch))
        return {"time": time, "crops": crops}

    path = Path(row.path)
    if not path.exists():
        found = read()  # raises the error
    else:
        found = cache.arrays(["filmed", content(path), path.suffix.lower(), stretch, low, high], read)
    time, inside = found["time"], _within(found["time"], low, high)
    middle = (time[inside][0] + time[inside][-1]) / 2 if row.apex is None else row.apex - base
    apex = int(np.where(inside, np.abs(time - middle), np.inf).argmin())
    return Filmed(time, found["crops"], inside, apex)


def tuned(
    start: ExpressionModel,
    clips: Sequence[Filmed],
    labels: Sequence[str],
    recipe: MicroRecipe,
    folder: Path,
    device: str,
) -> ExpressionModel:
    """`start` trained for `recipe.tune_epochs` on five frames of each of these clips, and on no other."""
    from duchenne.expression import learner

    images, names = [], []
    for clip, label in zip(clips, labels, strict=True):
        rows, words = clip.frames(label)
        images.append(clip.crops[rows])
        names += words
    classes = tuple(sorted({*names}))
    # every frame once an epoch, and too few steps to warm up or average weights over
    steps = {"images_per_epoch": 0, "warmup_steps": 0, "ema_decay": 0.0}
    chosen = ExpressionRecipe.read("transfer", epochs=recipe.tune_epochs, seed=recipe.seed, **steps)
    numbers = np.array([classes.index(name) for name in names], np.int64)
    found, _ = learner.train(
        chosen, np.concatenate(images), numbers, classes, folder=folder, device=device, start=start
    )
    return found.on(device)


def _within(time: Array, low: float, high: float) -> Array:
    return np.asarray((time >= low - 1e-6) & (time <= high + 1e-6))
