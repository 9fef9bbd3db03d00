"""How sure differences of log-odds are: against double loops, against pairs drawn with a known slope, and on disk."""

from __future__ import annotations

import json

import numpy as np
import pytest

from duchenne import checkpoints
from duchenne.checkpoints import pairs
from duchenne.checkpoints.pairs import KINDS, LEAST_RIGHT, PairScale
from duchenne.errors import ModelError
from duchenne.learn.calibration import logit, sigmoid


def clips(n=160, seed=0):
    rng = np.random.default_rng(seed)
    y, who = rng.integers(0, 2, n), np.array([f"p{i}" for i in rng.integers(0, 8, n)])
    what = np.array(["fear", "anger", ""])[rng.integers(0, 3, n)]
    z = rng.normal(size=n) + y
    z[5] = np.nan
    return z, y, who, what


def test_differences_are_those_of_a_double_loop():
    z, y, who, what = clips()
    wanted = {kind: [] for kind in KINDS}
    for i in range(len(z)):
        for j in range(len(z)):
            if y[i] != 1 or y[j] != 0 or np.isnan(z[i]) or np.isnan(z[j]):
                continue
            if who[i] != who[j]:
                wanted["two_people"].append(z[i] - z[j])
            elif what[i] and what[j]:
                wanted["one_emotion" if what[i] == what[j] else "two_emotions"].append(z[i] - z[j])
    for kind, gaps in wanted.items():
        found, people = pairs.differences(z, y, who, what, kind)
        np.testing.assert_allclose(np.sort(found), np.sort(gaps))
        assert len(gaps) > 30 and people == 8


def drawn(slope, n=20000, seed=0):
    """Differences that are right with probability sigmoid(slope · size)."""
    rng = np.random.default_rng(seed)
    size = np.abs(rng.normal(0, 1.5, n))
    return np.where(rng.random(n) < sigmoid(slope * size), size, -size)


@pytest.mark.parametrize("slope", [0.4, 1.7])
def test_the_slope_is_the_one_that_the_pairs_were_drawn_with(slope):
    found = PairScale.fit(drawn(slope), 50)
    assert found.slope == pytest.approx(slope, abs=0.06)
    assert found(2.0) == pytest.approx(1 / (1 + np.exp(-2 * found.slope)))
    assert found(1.3) + found(-1.3) == pytest.approx(1)
    assert (found.pairs, found.people) == (20000, 50)
    assert found.accuracy == pytest.approx((drawn(slope) > 0).mean())


def test_pairs_inside_the_margin_were_right_too_seldom_and_those_outside_often():
    gaps = drawn(1.7)
    found = PairScale.fit(gaps, 50)
    near = np.abs(found(gaps) - 0.5) <= found.margin
    assert 0 < found.margin < 0.5
    assert (gaps[near] > 0).mean() < LEAST_RIGHT < (gaps[~near] > 0).mean()
    assert PairScale.fit(np.abs(gaps) + 1, 50).margin == 0  # always right: nothing is too close
    assert np.isfinite(PairScale.fit(np.abs(gaps) + 1, 50).slope)


def test_pairs_that_are_too_few_have_no_scale():
    z, y, who, what = clips()
    assert set(pairs.calibrated(sigmoid(z), y, who, what)) == {"one_emotion", "two_emotions", "two_people"}
    assert pairs.calibrated(sigmoid(z), y, who, np.full(len(y), "")).keys() == {"two_people"}
    assert pairs.calibrated(sigmoid(z[:6]), y[:6], who[:6], what[:6]) == {}


def test_a_model_folder_keeps_it_and_says_none_where_it_was_not_measured(tmp_path):
    z, y, who, what = clips()
    (tmp_path / "model.json").write_text(json.dumps({"format": "any", "id": "mine"}))
    assert pairs.scale(tmp_path, "one_emotion") is None
    pairs.save(tmp_path, pairs.calibrated(sigmoid(z), y, who, what))
    gaps, people = pairs.differences(logit(sigmoid(z)), y, who, what, "two_emotions")
    assert pairs.scale(tmp_path, "two_emotions") == PairScale.fit(gaps, people)
    assert checkpoints.describe(tmp_path)["id"] == "mine"


@pytest.mark.parametrize(
    "kept",
    [
        "much",
        {"one_emotion": 1.4},
        {"one_emotion": {"slope": 1.0, "power": 2}},
        {"one_emotion": {"slope": "steep", "accuracy": 0.8}},
        {"one_emotion": {"slope": -1.0, "accuracy": 0.8}},
        {"one_emotion": {"slope": 1.0, "margin": 0.7, "accuracy": 0.8}},
        {"one_emotion": {"slope": 1.0}},
    ],
)
def test_damage_is_refused_in_one_sentence(kept, tmp_path):
    (tmp_path / "model.json").write_text(json.dumps({"format": "any", "pairs": kept}))
    with pytest.raises(ModelError, match="damaged") as caught:
        pairs.scale(tmp_path, "one_emotion")
    assert "\n" not in str(caught.value)


def test_the_shipped_default_has_pair_scales():
    for kind in KINDS:
        found = pairs.scale("default", kind)
        assert found.accuracy > 0.75 and found.pairs > 1000 and found.people > 40 and 0 < found.margin < 0.3
    assert pairs.scale("default", "one_emotion").slope > pairs.scale("default", "two_people").slope
