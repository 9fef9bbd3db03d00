"""Simulated people: individual traits of movement, and individual shapes of the face.

Shares of variance between people, and standard deviations of facial proportions at the start of each clip, are
measured on the happy clips of 41 people in PEDFE (experiments/smile_kinematics.json).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import betainc

from duchenne.datasets.portrait import CENTRE, FULL_PULL, IOD, LANDMARKS, smile, travel
from duchenne.types import Array

#: Number of individual traits, in the order of `kinematics.QUANTITIES`.
TRAITS = 9
#: How much people differ (standard deviation over mean) in six proportions of the face at rest.
SHAPES = {
    "jaw_width": 0.066,
    "chin_height": 0.11,
    "brow_height": 0.115,
    "eye_opening": 0.186,
    "nose_width": 0.081,
    "mouth_width": 0.108,
}
_MAX_SHAPE = 2.0  # standard deviations that a shape may lie from the mean face
_SETTLED = 1e-7  # portrait pixels

_NEUTRAL = LANDMARKS - smile()[:68]
_EYES = np.stack([LANDMARKS[36:42].mean(axis=0), LANDMARKS[42:48].mean(axis=0)])
_RIGHT = (_EYES[1] - _EYES[0]) / IOD
_AXES = np.stack([_RIGHT, [-_RIGHT[1], _RIGHT[0]]])  # along the eyes, and down the face


@dataclass(frozen=True, eq=False)
class Person:
    """One simulated person: `traits` (9,) and `shape` (6,), in standard deviations from the mean.

    Traits are what all smiles of the person share (`kinematics.draw`); shape is in the order of `SHAPES`.
    """

    name: str = ""
    traits: Array = field(default_factory=lambda: np.zeros(TRAITS))
    shape: Array = field(default_factory=lambda: np.zeros(len(SHAPES)))


def someone(rng: np.random.Generator, name: str = "") -> Person:
    """A random person; shapes beyond two standard deviations are drawn again."""
    traits, shape = rng.standard_normal(TRAITS), rng.standard_normal(len(SHAPES))
    while (far := np.abs(shape) > _MAX_SHAPE).any():
        shape[far] = rng.standard_normal(far.sum())
    return Person(name, traits, shape)


def reshape(points: Array, person: Person) -> Array:
    """float64 (..., 2): where points of the mean face (portrait pixels) lie in the person's face."""
    return np.asarray(points + _delta(np.asarray(points, float), person))


def mean_face(points: Array, person: Person) -> Array:
    """float64 (..., 2): the inverse of `reshape`, by fixed-point iteration."""
    at = np.asarray(points, float).reshape(-1, 2)
    mean, left = at.copy(), np.arange(len(at))
    for _ in range(40):  # most points stay after a few steps, and are left out of the others
        found = at[left] - _delta(mean[left], person)
        moved = np.abs(found - mean[left]).max(axis=1) > _SETTLED
        mean[left] = found
        left = left[moved]
    return mean.reshape(np.shape(points))


def own_pull(pull: Array, person: Person) -> Array:
    """float64 (T,): pull that the mean face must show so that the person's shows `pull` (lip widths)."""
    grid = np.linspace(-0.02, 0.6, 125)
    moved = (travel(grid) / travel(np.array(FULL_PULL)))[:, None, None] * smile()[[48, 54]]
    corners = reshape(_NEUTRAL[[48, 54]] + moved, person)
    rest = reshape(_NEUTRAL[[48, 54]], person)
    distances = np.linalg.norm(corners - rest.mean(axis=0), axis=2).sum(axis=1)
    return np.asarray(np.interp(pull, distances / (2 * np.linalg.norm(rest[1] - rest[0])) - 0.5, grid))


def _delta(at: Array, person: Person) -> Array:
    """float64 (..., 2): the person's face minus the mean face; zero outside the simulated region."""
    jaw, chin, brow, eye, nose, mouth = (person.shape * list(SHAPES.values())).tolist()
    middle = _EYES.mean(axis=0)
    x, y = np.moveaxis((at - middle) @ _AXES.T, -1, 0)  # from the middle between the eyes

    def within(centre: Array, wide: float, high: float) -> tuple[Array, Array, Array]:
        """Offsets from `centre`, and a weight that falls to 1/e at an ellipse round it."""
        dx, dy = np.moveaxis((at - centre) @ _AXES.T, -1, 0)
        return dx, dy, np.exp(-(((dx / wide) ** 2 + (dy / high) ** 2) ** 2))

    along, down = np.zeros(x.shape), np.zeros(x.shape)
    rim = np.hypot(x / 46.0, (y - 20.0) / 57.0)  # 1 on the jaw
    along += jaw * x * np.exp(-(((rim - 1) / 0.25) ** 2))
    down += chin * 22.0 * within(_NEUTRAL[8], 34.0, 17.0)[2]
    down += brow * np.minimum(y, 0.0) * np.exp(-((np.hypot(x / 60.0, y / 24.0)) ** 4))
    for centre in _EYES:
        _, dy, weight = within(centre, 11.0, 7.0)
        down += eye * dy * weight
    for share, centre, wide, high in (
        (nose, _NEUTRAL[33], 15.0, 13.0),
        (mouth, _NEUTRAL[[48, 54]].mean(axis=0), 40.0, 18.0),
    ):
        dx, _, weight = within(centre, wide, high)
        along += share * dx * weight
    radius = np.linalg.norm((at - CENTRE) / [66.0, 76.0], axis=-1)
    fade = 1 - betainc(3, 3, np.clip((radius - 0.85) / 0.15, 0.0, 1.0))
    return np.asarray(np.stack([along * fade, down * fade], axis=-1) @ _AXES)
