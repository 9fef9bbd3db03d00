"""The predictions of an expression network: for a stream of crops, for one face over time, and for a whole clip."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from duchenne import checkpoints
from duchenne.errors import InputError, ModelError, UsageError
from duchenne.expression import plain
from duchenne.expression.plain import PlainNetwork
from duchenne.io import Block
from duchenne.types import Array, FaceTrack, Json, Signals

if TYPE_CHECKING:
    from duchenne.expression.model import ExpressionModel

#: Units of each head's outputs; of action units as in `io.action_units`.
UNITS = {"emotions": "1", "units": "0-1", "intensity": "0-5"}
#: Share of a clip's frames, those in which the face is least neutral, that determine its emotion.
PEAK = 0.25
_BATCH = 256  # crops that are held


class Network(Protocol):
    """What predicts classes for crops: an `ExpressionModel`, or a `PlainNetwork`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the outputs."""
        ...

    @property
    def head(self) -> str:
        """What the outputs are, see `UNITS`."""
        ...

    def predict(self, images: Array, *, flips: bool = False) -> Array:
        """float64 (N, classes) of images uint8 (N, 48, 48)."""
        ...


@cache
def load(
    model: str | Path = "expression", device: str = "cpu", *, in_colour: bool = False
) -> tuple[ExpressionModel, Json]:
    """(network on the device, its facts as of `checkpoint.load`), read once; `device` as for `device_of`.

    ModelError for a model of another kind, a damaged one, or, unless `in_colour`, one that reads colour; UsageError for
    a device that is not available.
    """
    from duchenne.expression.model import ExpressionModel

    network, about = checkpoints.load_as(model, ExpressionModel)
    if network.network.config.channels != 1 and not in_colour:
        raise ModelError(
            f"{model} reads faces in colour, which only the command emotions crops; train one with --channels 1."
        )
    return network.on(device), about


@cache
def shipped(name: str = "expression") -> tuple[PlainNetwork, Json]:
    """(A network of the package that reads a clip's crops on the CPU, its facts as of `checkpoints.load`)."""
    return checkpoints.load(name, plain.load)


@cache
def of_clips() -> PlainNetwork:
    """The shipped network with FER2013's own labels, by which the emotion of a clip is named.

    They are the words by which pictures were searched. Most raters of FER+, whose votes are the network's first labels,
    call faint expressions neutral; of PEDFE's clips that hides more than half (docs/emotions.md).
    """
    return shipped()[0].second()


class CropPredictor:
    """A network's predictions for a stream of crops of several faces, of which a few hundred are held at a time.

    Each face's crops are predicted in the same batches however they arrive, so that results are bit-identical. `flips`
    takes the mean with the prediction for the mirrored crop.
    """

    def __init__(self, model: Network, *, flips: bool = True) -> None:
        self._model, self._flips = model, flips
        self._pending: defaultdict[int, list[Array]] = defaultdict(list)
        self._done: defaultdict[int, list[Array]] = defaultdict(list)

    def add(self, crop: Array, face: int = 0) -> None:
        """One more crop uint8 (48, 48) of a face."""
        self._pending[face].append(crop)
        if len(self._pending[face]) == _BATCH:
            self._flush(face)

    def predictions(self, face: int = 0) -> Array:
        """float64 (N, classes): the predictions for all crops of a face, in order."""
        if self._pending[face]:
            self._flush(face)
        return np.concatenate([np.zeros((0, len(self._model.classes))), *self._done[face]])

    def _flush(self, face: int) -> None:
        self._done[face].append(self._model.predict(np.stack(self._pending.pop(face)), flips=self._flips))

    def signals(self, face: int, time: Array) -> Signals:
        """The predictions for a face's crops, which were taken at `time` (N,), as `over_time` gives them."""
        return _signals(time, self.predictions(face), self._model)


class Receiver(Protocol):
    """What reads crops as they come."""

    def add(self, crop: Array, face: int = 0) -> None:
        """One more crop uint8 (48, 48) of a face."""
        ...


class Kept:
    """The crops of each face, thinned where they are more than `MOST`, so that memory is bounded."""

    MOST = 8192

    def __init__(self) -> None:
        self._crops: defaultdict[int, list[tuple[int, Array]]] = defaultdict(list)
        self._count: defaultdict[int, int] = defaultdict(int)
        self._every: defaultdict[int, int] = defaultdict(lambda: 1)

    def add(self, crop: Array, face: int = 0) -> None:
        """One more crop."""
        if self._count[face] % self._every[face] == 0:
            self._crops[face].append((self._count[face], crop))
        self._count[face] += 1
        if len(self._crops[face]) > self.MOST:
            self._every[face] *= 2
            self._crops[face] = self._crops[face][::2]

    def of(self, face: int, looks: FaceTrack) -> FaceTrack:
        """The rows of `looks`, a face's frames that were cropped, whose crops are kept, with them."""
        kept = self._crops[face]
        crops = np.stack([crop for _, crop in kept])[..., None] if kept else None
        return looks.take("reading: crops kept", np.array([row for row, _ in kept], np.int64), crops)


def consume(blocks: Iterable[Block], *receivers: Receiver) -> Iterator[Block]:
    """The same blocks without their crops, which every receiver is given."""
    for block in blocks:
        for row, crop in zip(block.looked.tolist(), block.crops if block.crops is not None else (), strict=True):
            for receiver in receivers:
                receiver.add(crop, int(block.face[row]))
        yield replace(block, crops=None)


def predict_crops(model: Network, crops: Iterable[Array], *, flips: bool = True) -> Array:
    """float64 (N, classes): the predictions for crops uint8 (48, 48); see `CropPredictor`."""
    predictor = CropPredictor(model, flips=flips)
    for crop in crops:
        predictor.add(crop)
    return predictor.predictions()


def over_time(track: FaceTrack, model: Network, *, flips: bool = True) -> Signals:
    """The network's predictions at the track's times: values (T, classes), probabilities if of emotions.

    NaN where the face is not seen. The track needs crops as `faces.crops.crop` makes them; InputError without.
    """
    values = np.full((len(track), len(model.classes)), np.nan)
    seen = np.flatnonzero(track.seen)
    if len(seen):
        if track.crops is None:
            raise InputError(f"{track.source} has a track without crops; add them with faces.crops.of_track.")
        values[seen] = predict_crops(model, (track.crops[row, ..., 0] for row in seen), flips=flips)
    return _signals(track.time, values, model)


def _signals(time: Array, values: Array, model: Network) -> Signals:
    return Signals(time, values, model.classes, (UNITS[model.head],) * len(model.classes))


def clip_emotion(signals: Signals) -> dict[str, float]:
    """Class → probability for a whole clip, from `over_time`; {} where the face is seen in no frame.

    The mean over the quarter (`PEAK`, rounded up) of the seen frames in which the face is least neutral, normalised to
    sum 1. A mean over all frames would call most clips neutral, depending on how long the camera ran before onset and
    after offset; the single least neutral frame is often a blink, a syllable or a badly placed crop. A face at rest
    stays neutral, as neutral is averaged like every class. Without a class "neutral" all seen frames count. UsageError
    for action units, of which several may be present at once.
    """
    if wrong := sorted({*signals.units} - {UNITS["emotions"]}):
        raise UsageError(f"A clip's emotion needs probabilities of emotions, found curves in {wrong[0]}; pass those.")
    p = signals.values[np.isfinite(signals.values).all(axis=1)]
    if not len(p):
        return {}
    if "neutral" in signals.names:
        calm = p[:, signals.names.index("neutral")]
        p = p[np.argsort(calm, kind="stable")[: math.ceil(PEAK * len(p))]]
    mean = p.mean(axis=0)
    return dict(zip(signals.names, (mean / mean.sum()).tolist(), strict=True))
