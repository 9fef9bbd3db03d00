"""A micro-expression network that has learnt: what a brief movement of the face was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from duchenne.errors import InputError
from duchenne.expression.model import ExpressionModel
from duchenne.micro.network import MicroLSTM
from duchenne.micro.recipe import MicroRecipe
from duchenne.types import Array, Json


def movement(time: Array, seen: Array, steps: int) -> Array:
    """float32 (steps, width): features (N, width) at `time` (N,), at `steps` even moments from the first to the last.

    Between frames they are mixed. InputError for fewer than two frames, as one shows no movement.
    """
    if len(time) < 2:
        raise InputError(f"A movement needs at least 2 frames, found {len(time)}; film at a higher rate.")
    at = np.linspace(time[0], time[-1], steps)
    return np.stack([np.interp(at, time, column) for column in np.asarray(seen, float).T], axis=1).astype(np.float32)


@dataclass
class MicroModel:
    """An LSTM that has learnt, and the expression network through which it sees. `facts` tell of the learning."""

    format: ClassVar[str] = "duchenne-micro"

    network: MicroLSTM
    seeing: ExpressionModel
    recipe: MicroRecipe
    facts: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network.eval()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the answers' columns."""
        return self.network.config.classes

    def predict(self, movements: Array) -> Array:
        """float64 (N, classes): probabilities of movements (N, steps, width), as `movement` makes them."""
        return answers(self.network, movements)

    def recognise(self, time: Array, crops: Array) -> dict[str, float]:
        """Class → probability, of the crops uint8 (N, 48, 48) of one movement at their seconds (N,)."""
        seen = movement(time, self.seeing.features(crops), self.recipe.frames)
        return dict(zip(self.classes, self.predict(seen[None])[0].tolist(), strict=True))


@torch.no_grad()
def answers(network: MicroLSTM, movements: Array) -> Array:
    """float64 (N, classes): the probabilities that a network gives movements (N, steps, width)."""
    network.eval()
    logits: Tensor = network(torch.from_numpy(np.asarray(movements, np.float32)))
    return np.asarray(logits.double().softmax(dim=1).numpy())
