"""A model of action units: one logistic regression per unit, on the shape and the look of a face."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from duchenne.learn.linear import Linear
from duchenne.types import Array, Json
from duchenne.units import features


@dataclass(eq=False)
class UnitsModel:
    """Calibrated log-odds of K units.

    names   the units, AU06 and AU12 first
    shape   of `features.shape`, with the bias of all
    look    of `features.look`
    rest    float64 (K,): log-odds that are typical of a face without the unit
    facts   of its training, as in `model.json`
    """

    format: ClassVar[str] = "duchenne-units"

    names: tuple[str, ...]
    shape: Linear
    look: Linear
    rest: Array
    facts: Json = field(default_factory=dict)

    def by_shape(self, points: Array, coefficients: Array) -> Array:
        """float64 (N, K): what the points (N, 68, 2) and coefficients (N, 52) add to the log-odds; NaN where some are
        missing."""
        found = self.shape.logits(features.shape(points, coefficients))
        unknown = ~np.isfinite(np.concatenate([np.reshape(points, (len(points), -1)), coefficients], axis=1))
        found[unknown.any(axis=1)] = np.nan
        return found

    def by_look(self, crops: Array) -> Array:
        """float64 (N, K): what the crops uint8 (N, 48, 48) add."""
        return self.look.logits(features.look(crops))

    def log_odds(self, points: Array, coefficients: Array, crops: Array) -> Array:
        """float64 (N, K) of faces, each with its points, coefficients and crop."""
        return self.by_shape(points, coefficients) + self.by_look(crops)
