"""What an expression network says of faces: of crops as they come, of one face over time, and of a clip as a whole."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duchenne import checkpoints
from duchenne.errors import InputError, ModelError, UsageError
from duchenne.io import Block
from duchenne.types import Array, FaceTrack, Json, Signals

if TYPE_CHECKING:
    from duchenne.expression.model import ExpressionModel

#: What the numbers of each head are; action units as `io.action_units` calls them.
UNITS = {"emotions": "1", "units": "0-1", "intensity": "0-5"}
#: Share of a clip's frames, those in which the face is least neutral, that name its emotion.
PEAK = 0.25
_AT_ONCE = 256  # crops that are held


@cache
def load(model: str | Path = "expression", device: str = "cpu") -> tuple[ExpressionModel, Json]:
    """(network on the device, its facts as of `checkpoint.load`), read once; `device` as for `device_of`.

    Raises ModelError for a model that is none, is damaged or reads other than grey levels, UsageError for a device
    that is not there.
    """
    from duchenne.expression.model import ExpressionModel

    network, about = checkpoints.load_as(model, ExpressionModel)
    if (channels := network.network.config.channels) != 1:
        raise ModelError(
            f"{model} reads faces in colour ({channels} channels), and faces are cropped in grey levels; "
            "train a network with channels = 1."
        )
    return network.on(device), about


class Listener:
    """A network's answers to the crops of several faces as they come, of which a few hundred are held at a time.

    Each face's crops are asked in the same portions however they come, so that the answers are the same to the last
    bit. `flips` takes the mean with what it says of the mirrored crop.
    """

    def __init__(self, model: ExpressionModel, *, flips: bool = True) -> None:
        self._model, self._flips = model, flips
        self._waiting: defaultdict[int, list[Array]] = defaultdict(list)
        self._said: defaultdict[int, list[Array]] = defaultdict(list)

    def hear(self, crop: Array, face: int = 0) -> None:
        """One more crop uint8 (48, 48) of a face."""
        self._waiting[face].append(crop)
        if len(self._waiting[face]) == _AT_ONCE:
            self._ask(face)

    def listen(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The same blocks without their crops, which have been heard and need not be kept."""
        for block in blocks:
            for row, crop in zip(block.looked.tolist(), block.crops if block.crops is not None else (), strict=True):
                self.hear(crop, int(block.face[row]))
            yield replace(block, crops=None)

    def answers(self, face: int = 0) -> Array:
        """float64 (N, classes): the answers to all crops of a face, in order."""
        if self._waiting[face]:
            self._ask(face)
        return np.concatenate([np.zeros((0, len(self._model.classes))), *self._said[face]])

    def _ask(self, face: int) -> None:
        self._said[face].append(self._model.predict(np.stack(self._waiting.pop(face)), flips=self._flips))

    def signals(self, face: int, time: Array) -> Signals:
        """The answers to a face's crops, which were taken at `time` (N,), as `over_time` gives them."""
        return _signals(time, self.answers(face), self._model)


def answers(model: ExpressionModel, faces: Iterable[Array], *, flips: bool = True) -> Array:
    """float64 (N, classes): what the network says of crops uint8 (48, 48); see `Listener`."""
    listener = Listener(model, flips=flips)
    for face in faces:
        listener.hear(face)
    return listener.answers()


def over_time(track: FaceTrack, model: ExpressionModel, *, flips: bool = True) -> Signals:
    """The network's answers at the track's times: of emotions probabilities, values (T, classes), names the classes.

    NaN where the face is not seen. The track needs crops as `faces.crops.crop` makes them; InputError without.
    """
    values = np.full((len(track), len(model.classes)), np.nan)
    seen = np.flatnonzero(track.seen)
    if len(seen):
        if track.crops is None:
            raise InputError(f"{track.source} has a track without crops; add them with faces.crops.of_track.")
        values[seen] = answers(model, (track.crops[row, ..., 0] for row in seen), flips=flips)
    return _signals(track.time, values, model)


def _signals(time: Array, values: Array, model: ExpressionModel) -> Signals:
    return Signals(time, values, model.classes, (UNITS[model.network.config.head],) * len(model.classes))


def clip_emotion(signals: Signals) -> dict[str, float]:
    """Class → probability for a whole clip, from `over_time`; {} where the face is seen in no frame.

    The mean over the quarter (`PEAK`, rounded up) of the seen frames in which the face is least neutral, brought to
    sum 1. A mean over all frames would call most clips neutral: an expression rises from rest and falls back to it,
    and how long the camera ran before and after must not decide. The one least neutral frame would do that too, but
    a blink, a syllable or a badly placed crop is enough to be it. A face that stays at rest stays neutral, as neutral
    is averaged like every class. Without a class "neutral" all seen frames count. UsageError for action units, of
    which several are there at once.
    """
    if wrong := sorted({*signals.units} - {UNITS["emotions"]}):
        raise UsageError(f"A clip's emotion needs probabilities of emotions, found curves in {wrong[0]}.")
    p = signals.values[np.isfinite(signals.values).all(axis=1)]
    if not len(p):
        return {}
    if "neutral" in signals.names:
        calm = p[:, signals.names.index("neutral")]
        p = p[np.argsort(calm, kind="stable")[: math.ceil(PEAK * len(p))]]
    mean = p.mean(axis=0)
    return dict(zip(signals.names, (mean / mean.sum()).tolist(), strict=True))
