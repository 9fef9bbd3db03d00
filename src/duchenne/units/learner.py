"""Training of a model of action units: three ridge regressions per unit, added, and calibrated on people left out.

Points, coefficients and look differ much in their number of columns, and each needs its own penalty; added, their
answers rank faces better than one regression on all columns (experiments/units.py). Their sum is one linear model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from duchenne.errors import InputError
from duchenne.learn.calibration import platt
from duchenne.learn.folds import person_folds
from duchenne.learn.linear import Linear, as_stored, quantiles
from duchenne.types import Array
from duchenne.units import features
from duchenne.units.model import UnitsModel

#: Part → its ridge penalty, as a share of the variance of a standardised column.
PENALTIES = {"points": 0.01, "coefficients": 1.0, "look": 3.0}
_LEAST = 0.01  # standard deviation below which a column counts as constant: some coefficients never leave 0
_FOLDS = 5


def fit(
    shape: Array,
    look: Array,
    labels: Array,
    people: Array,
    names: Sequence[str],
    *,
    seed: int = 0,
    facts: dict[str, Any] | None = None,
) -> UnitsModel:
    """A model of K units from N faces.

    shape    float64 (N, D), `features.shape`           look    float64 (N, 900), `features.look`
    labels   (N, K) 1 where a unit is shown, else 0     people  (N,) who is seen: all rows of a person stay together

    InputError for labels that are not 0 or 1, and a unit that all faces show, or none.
    """
    labels = np.asarray(labels, float)
    if not np.isin(labels, (0, 1)).all():
        raise InputError("Labels of action units must be 0 or 1; leave out faces that are not coded.")
    if constant := [name for name, share in zip(names, labels.mean(axis=0), strict=True) if share in (0, 1)]:
        raise InputError(f"The unit {constant[0]} is shown by all faces or by none; leave it out.")
    scores = left_out(shape, look, labels, people, seed=seed)
    return calibrated(fit_parts(shape, look, labels), scores, labels, names, facts)


def left_out(shape: Array, look: Array, labels: Array, people: Array, *, seed: int = 0) -> Array:
    """float64 (N, K): scores of faces by models that have not seen their person, not calibrated."""
    scores = np.empty(labels.shape)
    for train, test in person_folds(people, _FOLDS, seed):
        parts = fit_parts(shape[train], look[train], labels[train])
        scores[test] = parts[0].logits(shape[test]) + parts[1].logits(look[test])
    return scores


def calibrated(
    parts: tuple[Linear, Linear],
    scores: Array,
    labels: Array,
    names: Sequence[str],
    facts: dict[str, Any] | None = None,
) -> UnitsModel:
    """A model of the `parts`, as of `fit_parts`, calibrated by `scores` (N, K) of people left out."""
    slope, intercept = np.array([platt(z, y) for z, y in zip(scores.T, labels.T, strict=True)]).T
    rest = [np.median(z[y == 0]) for z, y in zip((scores * slope + intercept).T, labels.T, strict=True)]
    return UnitsModel(
        tuple(names),
        _scaled(parts[0], slope, intercept),
        _scaled(parts[1], slope, np.zeros(len(names))),
        as_stored(np.array(rest)),
        dict(facts or {}),
    )


def fit_parts(shape: Array, look: Array, labels: Array) -> tuple[Linear, Linear]:
    """Linear models of shape and look, whose sum is that of what each part predicts, not calibrated."""
    points = features.points_wide()
    blocks = {"points": shape[:, :points], "coefficients": shape[:, points:], "look": look}
    found = [ridge(x, labels, PENALTIES[part]) for part, x in blocks.items()]
    median, spread = (np.concatenate([getattr(each, name) for each in found[:2]]) for name in ("median", "spread"))
    weights = np.concatenate([each.weights for each in found[:2]], axis=1)
    return Linear(median, spread, weights, found[0].bias + found[1].bias), found[2]


def ridge(x: Array, y: Array, penalty: float) -> Linear:
    """Least squares with a penalty on the weights: x (N, D), squashed as `Linear` does, to y (N, K)."""
    low, median, high = quantiles(x, (0.1, 0.5, 0.9))
    spread = np.maximum((high - low) / 2.56, _LEAST) * 2
    units, columns = y.shape[1], x.shape[1]
    squashed = Linear(median, spread, np.zeros((units, columns)), np.zeros(units)).squash(x)
    mean, target = squashed.mean(axis=0), y.mean(axis=0)
    centred = squashed - mean
    gram = centred.T @ centred / len(x) + penalty * np.eye(columns)
    weights = np.linalg.solve(gram, centred.T @ (y - target) / len(x)).T
    return Linear(median, spread, weights.reshape(units, columns), target - weights @ mean)


def _scaled(part: Linear, slope: Array, intercept: Array) -> Linear:
    return Linear(
        *map(as_stored, (part.median, part.spread, part.weights * slope[:, None], part.bias * slope + intercept))
    )
