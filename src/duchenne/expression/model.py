"""A trained expression network: predictions for images, and the features behind them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from duchenne.errors import InputError, ModelError, UsageError
from duchenne.expression.network import ExpressionCNN
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.learn.optim import device_of
from duchenne.types import Array, Json
from duchenne.workers.resources import on_threads

LEVELS = 5  # of an action unit's intensity, from 0
AT_ONCE = 256  # images per batch of a prediction; a CPU is 1.5 times as fast where they stay in its cache
_IN_CACHE = 32
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def pixels(images: Array, channels: int = 1, side: int = 48) -> Tensor:
    """uint8 (N, side, side), or (N, side, side, 3) for RGB → uint8 (N, channels, side, side); InputError for others.

    Of RGB a grey network reads the luma (ITU-R BT.601).
    """
    images = np.asarray(images)
    if images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] == 3 and channels == 1:
        images = (images @ _LUMA).round().astype(np.uint8)
    if images.ndim == 3 and channels == 3:
        raise InputError("The network reads faces in colour, found grey ones; train one with --channels 1.")
    shape = (side, side) if channels == 1 else (side, side, channels)
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        raise InputError(
            f"The network reads faces as uint8 (N, {', '.join(map(str, shape))}), found {images.dtype} {images.shape}; "
            "crop and scale them first."
        )
    if channels == 1:
        images = images[..., None]
    # torch warns of read-only arrays
    return torch.from_numpy(np.require(images.transpose(0, 3, 1, 2), requirements=["C", "W"]))


def answers(logits: Tensor, head: str) -> Tensor:
    """Logits (B, K) to probabilities of emotions, the probability of each unit, or its intensity 0 to 5."""
    if head == "emotions":
        return logits.softmax(dim=1)
    return logits.sigmoid() * (LEVELS if head == "intensity" else 1)


@dataclass
class ExpressionModel:
    """A trained network. `facts` are of its training, as in its card and `model.json`."""

    format: ClassVar[str] = "duchenne-expression"

    network: ExpressionCNN
    recipe: ExpressionRecipe
    facts: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return self.network.config.classes

    @property
    def head(self) -> str:
        """What the outputs are, see `expression.network.HEADS`."""
        return self.network.config.head

    def on(self, device: str) -> ExpressionModel:
        """Itself, its network moved to a device (see `device_of`)."""
        self.network.to(device_of(device))
        return self

    def second(self) -> ExpressionModel:
        """The same network with its second set of labels (`ExpressionConfig.second`) as its classes; UsageError where
        it has none."""
        if not (second := self.network.config.second):
            raise UsageError(f"The network has one set of labels, {', '.join(self.classes)}; ask for no second.")
        network = copy.deepcopy(self.network)
        network.config, network.head = replace(network.config, classes=second, second=()), network.second
        del network.second
        return ExpressionModel(network, self.recipe, self.facts)

    def predict(self, images: Array, *, flips: bool = False) -> Array:
        """float64 (N, classes): predictions for images as of `pixels`; with `flips` the mean with the mirrored ones."""
        head = self.network.config.head
        predicted = self._batched(images, lambda x: answers(self.network(x).cpu().double(), head))
        if not flips:
            return predicted
        return (predicted + self._batched(images, lambda x: answers(self.network(x.flip(-1)).cpu().double(), head))) / 2

    def logits(self, images: Array) -> Array:
        """float64 (N, classes): the network's outputs."""
        return self._batched(images, lambda x: self.network(x).cpu().double())

    def features(self, images: Array) -> Array:
        """float32 (N, width): the input of the output layer (`ExpressionCNN.features`)."""
        return self._batched(images, self.network.features)

    @torch.no_grad()
    def _batched(self, images: Array, function: Callable[[Tensor], Tensor]) -> Array:
        config, device = self.network.config, self.network.mean.device
        x = pixels(images, config.channels, config.side)
        if not len(x):
            return np.zeros((0, len(function(torch.zeros(1, *x.shape[1:], device=device))[0])))
        if device.type == "cpu":
            each = torch.no_grad()(function)  # which is a thread's own
            parts = on_threads(each, torch.split(x, _IN_CACHE), torch.get_num_threads())
        else:
            parts = [function(some.to(device)).cpu() for some in torch.split(x, AT_ONCE)]
        found = torch.cat(parts).numpy()
        if not np.isfinite(found).all():
            raise ModelError("The expression network gives numbers that are not finite; get or train its model again.")
        return found
