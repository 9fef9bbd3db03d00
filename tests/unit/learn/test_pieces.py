"""What was finished is found again, in the same folder and by all that decides it, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from duchenne.errors import UsageError
from duchenne.learn import pieces
from duchenne.learn.boosting import Recipe, boost
from makers import cut

X, Y = np.random.default_rng(0).normal(size=(40, 5)), np.arange(40) % 2


def made(calls, value=1.0):
    calls.append(value)
    return {"a": np.array([value])}


def test_a_piece_is_made_once_in_its_folder_and_always_outside(tmp_path):
    calls = []
    for folder in ("one", "one", "two"):
        with pieces.caching(tmp_path / folder):
            for key, arrays in ((["k"], (X,)), (["k"], (X + 1,)), (["other"], (X,))):
                assert pieces.once(key, arrays, lambda: made(calls))["a"] == 1
    assert len(calls) == 6
    for _ in range(2):
        pieces.once(["k"], (X,), lambda: made(calls))
    assert len(calls) == 8 and pieces.network_folder("network", ["k"], (X,)) is None


@pytest.mark.parametrize("part", [0.0, 0.5])
def test_a_truncated_piece_is_computed_again(part, tmp_path):
    calls = []
    pieces.cached(tmp_path, ["k"], lambda: made(calls, 1.0))
    cut(next(tmp_path.iterdir()), part)
    assert pieces.cached(tmp_path, ["k"], lambda: made(calls, 2.0))["a"] == 2 and calls == [1.0, 2.0]


def test_a_booster_from_its_piece_is_the_booster(tmp_path):
    plain = boost(X, Y, Recipe(n_estimators=20))
    for _ in range(2):
        with pieces.caching(tmp_path):
            again = boost(X, Y, Recipe(n_estimators=20))
        assert again.source == plain.source
        np.testing.assert_array_equal(again.log_odds(X), plain.log_odds(X))
    assert len(list((tmp_path / "pieces").iterdir())) == 1


def test_another_training_is_refused(tmp_path):
    pieces.check_same(tmp_path, {"seed": 1})
    pieces.check_same(tmp_path, {"seed": 1})
    with pytest.raises(UsageError, match=r"with other rows or settings; .* --fresh\.$"):
        pieces.check_same(tmp_path, {"seed": 2}, "rows")
