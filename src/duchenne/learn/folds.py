"""Person-disjoint folds inside the training people."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from duchenne.types import Array


def person_folds(groups: Array, k: int, seed: int) -> Iterator[tuple[Array, Array]]:
    """Person-disjoint (train, test) index arrays: at most `k`, of about as many people each.

    `datasets.splits.by_person` weighs people by their rows; shipped models were fitted on these folds.
    """
    people = np.random.default_rng(seed).permutation(np.unique(groups))
    for part in np.array_split(people, min(k, len(people))):
        held = np.isin(groups, part)
        yield np.flatnonzero(~held), np.flatnonzero(held)
