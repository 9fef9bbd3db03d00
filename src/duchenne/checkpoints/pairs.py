"""Calibrated ranking of two clips by the difference of their log-odds of genuine.

What a model gets wrong of a whole person (a face that looks posed at rest) cancels in the difference, so two clips of
one person are ranked better than their single predictions suggest, and clips of two people are not:
P = sigmoid(slope · difference), with a slope for each kind of pair.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import checkpoints, io
from duchenne.learn.calibration import logit, sigmoid
from duchenne.types import NO_EMOTION, Array, Json

#: Kind of pair → (same person, same emotion; None: either).
KINDS: dict[str, tuple[bool, bool | None]] = {
    "one_emotion": (True, True),
    "two_emotions": (True, False),
    "two_people": (False, None),
}
#: Pairs with a cumulative accuracy below this, from the closest on, are too close to call.
LEAST_RIGHT = 0.6
_PAIRS, _PEOPLE = 30, 4  # fewer are too few to calibrate on


@dataclass(frozen=True)
class PairScale:
    """Calibration of differences of log-odds, on pairs of a genuine and a posed clip of people left out.

    slope     of the log-odds of the pair in the difference of the two clips' log-odds
    margin    |P − 0.5| below which accuracy is under `LEAST_RIGHT`
    accuracy  of all `pairs`, of `people` people
    """

    slope: float = 1.0
    margin: float = 0.0
    accuracy: float = float("nan")
    pairs: int = 0
    people: int = 0

    def __call__(self, difference: Any) -> Any:
        """P(the first is the more genuine) of log-odds of the first minus those of the second."""
        return sigmoid(self.slope * np.asarray(difference, float))

    @classmethod
    def fit(cls, difference: Array, people: int) -> PairScale:
        """From differences (P,), genuine minus posed, of people left out."""
        from scipy.optimize import minimize_scalar

        n = len(difference)
        target = (n + 1) / (n + 2)  # smoothed as in Platt scaling, so that separable pairs keep a finite slope
        found = minimize_scalar(
            lambda k: np.logaddexp(0, -k * difference).mean() + (1 - target) * k * difference.mean(),
            bounds=(0.0, 20.0),
            method="bounded",
        )
        slope, right = float(found.x), np.where(difference == 0, 0.5, difference > 0)
        nearness = np.abs(sigmoid(slope * difference) - 0.5)
        order = np.argsort(nearness, kind="stable")
        so_far = np.cumsum(right[order]) / np.arange(1, n + 1)
        close = np.flatnonzero((so_far < LEAST_RIGHT) & (np.arange(1, n + 1) >= _PAIRS))
        margin = float(nearness[order][close[-1]]) if len(close) else 0.0
        return cls(slope, margin, float(right.mean()), n, people)


def differences(z: Array, y: Array, persons: Array, emotions: Array, kind: str) -> tuple[Array, int]:
    """(log-odds of genuine minus posed clips, (P,), of all pairs of a kind; number of people in them)."""
    one_person, one_emotion = KINDS[kind]
    known = np.isfinite(z)
    i, j = np.flatnonzero(known & (y == 1)), np.flatnonzero(known & (y != 1))
    match = (persons[i][:, None] == persons[j]) == one_person
    if one_emotion is not None:
        named = ~np.isin(emotions, NO_EMOTION)
        match &= ((emotions[i][:, None] == emotions[j]) == one_emotion) & named[i][:, None] & named[j]
    a, b = np.nonzero(match)
    people = np.union1d(persons[i[a]], persons[j[b]])
    return np.asarray(z[i[a]] - z[j[b]]), len(people)


def calibrated(p: Array, y: Array, persons: Array, emotions: Array) -> Json:
    """Kind → its `PairScale` as a dictionary, from P(genuine) (N,) of people left out; without kinds that
    have too few pairs."""
    persons, emotions = np.asarray(persons).astype(str), np.asarray(emotions).astype(str)
    z, found = np.where(np.isfinite(p), logit(p), np.nan), {}
    for kind in KINDS:
        gaps, people = differences(z, np.asarray(y), persons, emotions, kind)
        if len(gaps) >= _PAIRS and people >= _PEOPLE:
            found[kind] = asdict(PairScale.fit(gaps, people))
    return found


def save(folder: Path, found: Json) -> None:
    """Add the result of `calibrated` to the model.json of a saved model, for `scale`."""
    io.write_json(folder / "model.json", {**checkpoints.describe(folder), "pairs": found})


def scale(model: str | Path, kind: str) -> PairScale | None:
    """The scale of a kind of pair, None where it was not measured; ModelError where it is damaged."""
    found = checkpoints.describe(checkpoints.locate(model)).get("pairs", {}).get(kind)
    return None if found is None else PairScale(**found)
