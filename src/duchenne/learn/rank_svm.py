"""Learning to rank authenticity from pairs of one person's clips (Saxen, Werner & Al-Hamadi 2017).

"Real vs. Fake Emotion Challenge: Learning to Rank Authenticity From Facial Activity Descriptors", ICCV
Workshops 2017: a linear SVM tells x_i − x_j from x_j − x_i, with i the genuine and j the posed clip of one
person and one emotion. The authors append the emotion's one-hot code to every pair; both orders of a pair carry
the same code, so a linear SVM cannot give it any weight, and it is left out here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duchenne.errors import InputError
from duchenne.types import Array

#: C is the paper's 1 for each order of a pair. Without an intercept both orders have the same loss, so
#: one is used, with twice the weight; the loose tolerance changes the weights in the sixth digit.
_SETTINGS = {"C": 2.0, "loss": "hinge", "dual": True, "max_iter": 20000, "fit_intercept": False, "tol": 0.01}


@dataclass
class RankSVM:
    """Bagged linear SVMs on differences; being linear, they add up to one weight vector.

    members  number of SVMs, each on a random `share` of the pairs (75 and a half in the paper)
    weights  float64 (D,) once fitted: w·(x_i − x_j) > 0 says that clip i is the more genuine of the two
    """

    members: int = 75
    share: float = 0.5
    seed: int = 0
    weights: Array | None = None

    def fit(self, x: Array, y: Array, persons: Array, emotions: Array | None = None) -> RankSVM:
        """Fit on descriptors (N, D) without NaN, labels (N,) 1 = genuine, persons and emotions (N,).

        InputError where no person has both a genuine and a posed clip of one emotion.
        """
        from sklearn.svm import LinearSVC

        better, worse = pairs(y, persons, emotions)
        if not len(better):
            raise InputError(
                "A rank SVM is trained on pairs, but no person has a genuine and a posed clip of the same emotion; "
                "add such clips or choose another method."
            )
        differences = x[better] - x[worse]
        # over both orders of each pair the mean is zero, so z-scores need only the spread
        spread = np.sqrt((differences**2).mean(axis=0))
        spread = np.where(spread > 0, spread, 1.0)
        rng, total = np.random.default_rng(self.seed), np.zeros(x.shape[1])
        for _ in range(self.members):
            some = rng.choice(len(differences), max(1, round(self.share * len(differences))), replace=False)
            first = np.arange(len(some)) % 2 == 0  # LinearSVC needs both classes
            z = differences[some] / spread * np.where(first, 1, -1)[:, None]
            total += LinearSVC(**_SETTINGS, random_state=self.seed).fit(z, first).coef_[0]
        self.weights = total / self.members / spread
        return self

    def scores(self, x: Array) -> Array:
        """float64 (N,): the higher of two clips of one person and emotion is the more genuine; on no scale."""
        if self.weights is None:
            raise InputError("This rank SVM has not been fitted; call fit first.")
        return np.asarray(x @ self.weights)


def pairs(y: Array, persons: Array, emotions: Array | None = None) -> tuple[Array, Array]:
    """(genuine, posed) rows, each int64 (P,), of all pairs of one person and emotion."""
    y, keys = np.asarray(y) == 1, np.asarray(persons).astype(str)
    what = np.full(len(y), "") if emotions is None else np.asarray(emotions).astype(str)
    found: list[tuple[int, int]] = []
    for person, emotion in sorted(set(zip(keys.tolist(), what.tolist(), strict=True))):
        here = (keys == person) & (what == emotion)
        found += [(i, j) for i in np.flatnonzero(here & y).tolist() for j in np.flatnonzero(here & ~y).tolist()]
    rows = np.array(found, np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]
