"""A trained micro-expression recogniser: the class of a brief movement of the face."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from duchenne.errors import InputError, ModelError
from duchenne.expression.model import ExpressionModel
from duchenne.micro.network import MicroLSTM
from duchenne.micro.recipe import MicroRecipe
from duchenne.types import Array, Json


def movement(time: Array, features: Array, steps: int) -> Array:
    """float32 (steps, width): features (N, width) at `time` (N,), linearly interpolated at `steps` evenly spaced
    moments from the first to the last. InputError for fewer than two frames.
    """
    if len(time) < 2:
        raise InputError(f"A movement needs at least 2 frames, found {len(time)}; film at a higher rate.")
    at = np.linspace(time[0], time[-1], steps)
    curves = [np.interp(at, time, column) for column in np.asarray(features, float).T]
    return np.stack(curves, axis=1).astype(np.float32)


@dataclass
class MicroModel:
    """A trained LSTM and the expression network whose features it reads. `facts` are of its training."""

    format: ClassVar[str] = "duchenne-micro"

    network: MicroLSTM
    expression: ExpressionModel
    recipe: MicroRecipe
    facts: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network.eval()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return self.network.config.classes

    def predict(self, movements: Array) -> Array:
        """float64 (N, classes): probabilities of movements (N, steps, width), as `movement` makes them."""
        return predict(self.network, movements)

    def recognise(self, time: Array, crops: Array) -> dict[str, float]:
        """Class → probability, of the crops uint8 (N, 48, 48) of one movement at their seconds (N,)."""
        features = movement(time, self.expression.features(crops), self.recipe.frames)
        return dict(zip(self.classes, self.predict(features[None])[0].tolist(), strict=True))


@torch.no_grad()
def predict(network: MicroLSTM, movements: Array) -> Array:
    """float64 (N, classes): a network's probabilities for movements (N, steps, width)."""
    network.eval()
    logits: Tensor = network(torch.from_numpy(np.asarray(movements, np.float32)))
    found = np.asarray(logits.double().softmax(dim=1).numpy())
    if not np.isfinite(found).all():
        raise ModelError("The network gives numbers that are not finite; get or train its model again.")
    return found
