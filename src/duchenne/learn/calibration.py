"""From scores to calibrated probabilities: Platt scaling, and where to abstain."""

from __future__ import annotations

import numpy as np

from duchenne.types import Array


def platt(z: Array, y: Array) -> tuple[float, float]:
    """(slope, intercept) of P = sigmoid(slope * z + intercept), by maximum likelihood (Platt 1999).

    Targets are smoothed as Platt proposes, so that separable predictions keep a finite slope.
    """
    from scipy.optimize import minimize

    positive, negative = y.sum(), len(y) - y.sum()
    target = np.where(y == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    found = minimize(
        lambda w: np.logaddexp(0, w[0] * z + w[1]).mean() - (target * (w[0] * z + w[1])).mean(),
        np.array([1.0, 0.0]),
    )
    return float(found.x[0]), float(found.x[1])


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)), safe at large |z|."""
    return np.asarray(0.5 * (1 + np.tanh(z / 2)))


#: Accuracy that predictions as close to ½ must have on people left out; closer ones abstain.
LEAST_ACCURACY = 0.6


def abstention_margin(p: Array, y: Array, least: float = LEAST_ACCURACY) -> float:
    """The m such that predictions with |p − 0.5| = m are right in a share `least` (0: never abstain).

    From predictions (N,) for people left out, by logistic regression of being right on the distance from one half;
    always keeps at least half.
    """
    distance = np.abs(p - 0.5)
    slope, intercept = platt(distance, ((p >= 0.5) == (y == 1)).astype(int))
    short = float(logit(np.array(least))) - intercept  # of the log-odds at a distance of 0
    if short <= 0 and slope >= 0:
        return 0.0
    return min(short / slope if slope > 0 else np.inf, float(np.median(distance)))


def calibrate(z: Array, y: Array) -> tuple[float, float, float, Array]:
    """(slope, intercept, abstention margin, P(genuine) (N,)) from log-odds z (N,) of people left out; NaN: unknown."""
    known = np.isfinite(z)
    slope, intercept = platt(z[known], y[known])
    p = sigmoid(slope * z + intercept)
    return slope, intercept, abstention_margin(p[known], y[known]), p


def averaged(z: Array, y: Array, n: int) -> float:
    """By which factor calibrated log-odds of the mean of `n` classifiers exceed those of a single one: from 1 to n.

    z (N, 2) are uncalibrated log-odds by one or two of the classifiers, of people left out of them; NaN: unknown. Where
    both are known their difference gives the variance s² that differs from classifier to classifier, of which the mean
    has s²/n. Of normal scores with the variance v within each label log-odds are proportional to 1/v (Fisher's
    discriminant), so the factor is v / (v − s² (1 − 1/n)).
    """
    both = np.isfinite(z).all(axis=1)
    if n < 2 or both.sum() < 2:
        return 1.0
    within = [each[np.isfinite(each)] for each in (z[y == 0, 0], z[y == 1, 0])]
    v = float(sum(each.var() * len(each) for each in within if len(each)) / sum(map(len, within)))
    differs = min(float(((z[both, 0] - z[both, 1]) ** 2).mean()) / 2, v)
    return v / (v - differs * (1 - 1 / n)) if v else 1.0


def logit(p: Array) -> Array:
    """Log-odds of probabilities, which may be 0 or 1."""
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(p / (1 - p)))
