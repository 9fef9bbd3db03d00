"""An expression network for the inspection of its filters: from normalised images on, its layers by their own names.

The normalisation stays outside: standardising each image by its own mean would make every unit depend on every pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from duchenne.errors import ModelError, UsageError
from duchenne.expression.model import pixels
from duchenne.expression.network import ExpressionCNN
from duchenne.types import Array


class FeatureExtractor(nn.Module):
    """Normalised images (B, 1, side, side) → features; what `expression.filters` takes as a network.

    ModelError for a network that reads colour: faces are cropped in grey levels.
    """

    def __init__(self, network: ExpressionCNN) -> None:
        super().__init__()
        if network.config.channels != 1:
            raise ModelError("The model reads colour, and filters are shown for grey faces only; choose another.")
        self.network = network

    @property
    def layers(self) -> dict[str, nn.Module]:
        """As `ExpressionCNN.layers`."""
        return self.network.layers

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.network.trunk(x)
        return found

    def normalised(self, images: Array) -> Array:
        """float32 (N, 1, side, side) of faces uint8 (N, side, side); InputError for others."""
        x = pixels(images, 1, self.network.config.side)
        with torch.no_grad():
            found: Array = self.network.normalised(x.to(self.network.mean.device)).cpu().numpy()
        return found

    def choose(self, requested: Sequence[str]) -> list[str]:
        """Names of layers in the order in which they run: those requested, "all", or by default the last two that hold
        maps and end a stage. UsageError for an unknown layer."""
        known = list(self.layers)
        if "all" in requested:
            return known
        if unknown := [name for name in requested if name not in known]:
            raise UsageError(f"The network has no layer '{unknown[0]}'; choose from {', '.join(known)}, or all.")
        outer = [name for name in known if name != "full" and not name.endswith(".inner")]
        return [name for name in known if name in (requested or outer[-2:])]
