"""Closed-loop generation of landmarks by an LSTM-PB under a fixed PB vector.

Huynh & Kim (ICCV Workshops 2017) and Tani (Neural Networks 16, 2003): each prediction of the network is its next input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from duchenne.datasets.manifest import emotion_named
from duchenne.errors import InputError, ModelError, UsageError
from duchenne.features.sequences import LEAST, SequenceReader
from duchenne.preprocess import align
from duchenne.types import LABELS, Array, FaceTrack

if TYPE_CHECKING:
    from duchenne.lstm_pb.model import PBModel

#: Eye distances; in 150 clips of PEDFE no point moves farther from its place in the first frame than 0.46, with the
#: head's movement 0.63.
STRAY = 1.0
_LIMIT = 1.2  # of a coordinate, in the network's scale
_EYES = (slice(16, 22), slice(22, 28))


@dataclass(frozen=True, eq=False)
class Movement:
    """Landmarks over time: `time` float64 (T,), seconds from 0, and `points` float64 (T, 40, 2), those of
    `features.points40` in eye distances of the first frame, x right, y down, origin between its eyes.

    `notes` are warnings, in sentences.
    """

    time: Array
    points: Array
    notes: tuple[str, ...] = ()

    @property
    def farthest(self) -> float:
        """Largest distance of a point from its place in the first frame, in eye distances."""
        return float(np.linalg.norm(self.points - self.points[:1], axis=2).max())

    def at(self, rate: float, seconds: float) -> Movement:
        """The same movement resampled to round(seconds · rate) frames by monotone cubics."""
        from scipy.interpolate import PchipInterpolator

        time = np.arange(max(1, round(seconds * rate))) / rate
        points = PchipInterpolator(self.time, self.points, axis=0)(np.minimum(time, self.time[-1]))
        return Movement(time, np.asarray(points), self.notes)


def class_vectors(model: PBModel, emotion: str | None) -> tuple[str, Tensor, tuple[str, ...]]:
    """(name of the network, PB vectors (2, pb) of posed and genuine, notes) that generate `emotion`.

    The vectors are `PBModel.typical`. UsageError for an emotion that the model has no network for.
    """
    names = sorted(model.networks)
    if not names:
        raise InputError("This model has not been fitted; call fit or load a trained one.")
    emotion = None if emotion is None else emotion_named(emotion)
    name = "" if "" in names else emotion or ""
    if name not in names:
        found = f"'{emotion}'" if emotion else "no emotion"
        raise UsageError(f"This model has a network for each of {', '.join(names)}, found {found}; set --emotion.")
    vectors = model.typical[name].detach()
    if not torch.isfinite(vectors).all():
        raise ModelError("This model's PB vectors are not finite; train it again.")
    note = f"This model has one network for all emotions; the generated face is not specific to {emotion}."
    return name, vectors, (note,) * bool(emotion and not name)


def neutral(reader: SequenceReader) -> Array:
    """float32 (D,): the mean face (`align.template`), still and frontal, as `reader` reads it."""
    n, size = 2 * LEAST, 100.0  # frames, and px between the eyes
    points = np.repeat(align.template()[None, :, :2] * size + 3 * size, n, axis=0)
    box = np.repeat([[*points[0].min(axis=0), *points[0].max(axis=0)]], n, axis=0)
    track = FaceTrack(np.arange(n) / reader.fps, points, np.full(n, np.nan), box, (int(6 * size), int(6 * size)))
    return np.asarray(reader.table([track])[0][0])


def move(
    model: PBModel,
    label: str,
    seconds: float,
    *,
    emotion: str | None = None,
    mix: float = 0.0,
    seed: Array | None = None,
) -> Movement:
    """Generate `seconds` of movement at the model's own frame rate; frame 0 is the seed.

    `mix` goes from the PB vector of `label` (0) to that of the other class (1); `seed` float (D,) is the first frame in
    the network's scale, by default `neutral`. UsageError as in `class_vectors` and for an invalid argument.
    """
    if label not in LABELS:
        raise UsageError(f"There is no label '{label}'; choose one of: {', '.join(LABELS)}.")
    if not 0 < seconds <= 600:
        raise UsageError(f"seconds must lie between 0 and 600, found {seconds:g}.")
    if not 0 <= mix <= 1:
        raise UsageError(f"mix must lie between 0 (the label itself) and 1 (the other one), found {mix:g}.")
    name, vectors, notes = class_vectors(model, emotion)
    own = LABELS.index(label)
    pb = (1 - mix) * vectors[own] + mix * vectors[1 - own]
    start = neutral(model.reader) if seed is None else np.asarray(seed, np.float32)
    steps = max(1, math.ceil(round(seconds * model.recipe.fps, 6)))
    frames = (
        model.networks[name].cpu().generate(pb[None], torch.from_numpy(start)[None, None], steps)[0].double().numpy()
    )
    if not np.isfinite(frames).all():
        raise ModelError("The generated movement is not finite, the model's weights are damaged; train it again.")
    raw = np.concatenate([start[None].astype(float), frames])[:, :80].reshape(-1, 40, 2)
    left, right = (raw[0, eye].mean(axis=0) for eye in _EYES)
    points = (raw - (left + right) / 2) / np.linalg.norm(right - left)
    movement = Movement(np.arange(steps + 1) / model.recipe.fps, points, notes)
    return replace(movement, notes=(*notes, *_divergence(movement, raw)))


def _divergence(movement: Movement, raw: Array) -> list[str]:
    if np.abs(raw[1:]).max() <= _LIMIT and movement.farthest <= STRAY:
        return []
    far = np.linalg.norm(movement.points - movement.points[:1], axis=2).max(axis=1)
    first = int(np.argmax((far > STRAY) | (np.abs(raw).max(axis=(1, 2)) > _LIMIT)))
    return [
        f"The closed loop diverges after {movement.time[first]:.2f} s: a point moves {movement.farthest:.2f} eye "
        f"distances, and in recorded faces less than {STRAY:g}; try another mix, seed clip or training."
    ]
