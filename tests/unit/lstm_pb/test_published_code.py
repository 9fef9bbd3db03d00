"""experiments/published_code.py: its measures against cases whose answer is known, and its page against its JSON."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from duchenne.lstm_pb.network import LSTMPB, LSTMPBConfig, first_step

ROOT = Path(__file__).parents[3]
spec = importlib.util.spec_from_file_location("published_code", ROOT / "experiments" / "published_code.py")
assert spec is not None and spec.loader is not None
measured = importlib.util.module_from_spec(spec)
spec.loader.exec_module(measured)
FOUND = json.loads((ROOT / "experiments" / "published_code.json").read_text(encoding="utf-8"))


def network(reading):
    torch.manual_seed(0)
    return LSTMPB(LSTMPBConfig(reading, inputs=80, pb_size=4, context_size=4, hidden_size=8, num_layers=2))


def clips(*lengths):
    rng = np.random.default_rng(0)
    x = np.empty(len(lengths), object)
    x[:] = [rng.uniform(-1, 1, (n, 80)).astype(np.float32) for n in lengths]
    return x


def vectors(net, x):
    return np.stack([first_step(net, torch.from_numpy(each)[None])[0].numpy() for each in x])


def test_the_published_vector_depends_on_both_of_the_first_two_frames():
    net, x, other = network("published-code"), clips(6, 9, 7), np.array([1, 2, 0])
    change = measured.swapped(x, other)
    assert [len(each) for each in change] == [9, 7, 6]
    assert measured.moved(vectors(net, x), vectors(net, change), other)["largest"] == 0
    for frame in (0, 1):
        x_new = x.copy()
        x_new[0] = x[0].copy()
        x_new[0][frame] += 0.1
        assert measured.moved(vectors(net, x), vectors(net, x_new), other)["largest"] > 0


def test_how_far_vectors_moved():
    before, after = np.array([[0.0, 0], [3, 4], [0, 0]]), np.array([[0.0, 2], [3, 5], [0, 1]])
    # steps 2, 1, 1; every vector's partner is 5 away but the last's, whose partner is itself
    found = measured.moved(before, after, np.array([1, 0, 2]))
    assert found == pytest.approx({"largest": 2, "median": 1, "median_in_distances_between_clips": 1 / 5})


@pytest.mark.parametrize("reading", ["published-code", "paper", "rnnpb"])
def test_only_the_published_recurrence_is_the_same_for_every_video(reading):
    a, b = clips(6, 9)
    difference, size = measured.trace_difference(network(reading), a, b, np.array([[0.0] * 4, [1.0] * 4]))
    assert size > 0
    assert (difference == 0) == (reading == "published-code")


def test_eta_squared_by_hand():
    rows, group = np.array([[1.0, 0], [3, 0], [5, 0], [7, 0]]), np.array(["a", "a", "b", "b"])
    # mean 4, group means 2 and 6: between 4 · 2² = 16 of 9 + 1 + 1 + 9 = 20; two groups of four rows: 1/3 by chance
    assert measured.eta_squared(rows, group) == pytest.approx({"share": 0.8, "by_chance": 1 / 3})


def test_what_shuffled_groups_share_on_average():
    rng = np.random.default_rng(0)
    rows, group = rng.normal(size=(40, 3)), np.repeat(np.arange(8), 5)
    shares = [measured.eta_squared(rows, rng.permutation(group))["share"] for _ in range(2000)]
    assert np.mean(shares) == pytest.approx(measured.eta_squared(rows, group)["by_chance"], abs=0.003)


def test_what_a_ridge_regression_predicts_of_unseen_people():
    rng = np.random.default_rng(0)
    x, who = rng.normal(size=(300, 4)), np.repeat(np.arange(10), 30)
    rows = x @ rng.normal(size=(4, 2))
    assert measured.predicted_share(x, rows, who) > 0.999
    # noise as large as the signal leaves half
    noisy = rows + rng.normal(size=rows.shape) * rows.std(axis=0)
    assert measured.predicted_share(x, noisy, who) == pytest.approx(0.5, abs=0.1)
    # what is a person's own cannot be told from what is not
    assert measured.predicted_share(x, rng.normal(size=(10, 2))[who], who) < 0.05


def test_partners_are_other_people():
    who = np.array(["a", "a", "b", "c", "c", "c"])
    assert (who[measured.partners(who, np.random.default_rng(0))] != who).all()


def test_the_published_score_contains_chance():
    # Wilson's formula, z = 1.96: centre (p + z²/2n) / (1 + z²/n), half width z sqrt(pq/n + z²/4n²) / (1 + z²/n)
    n, p, z = 30, 20 / 30, 1.959964
    centre, half = (p + z**2 / (2 * n)), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = [(centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)]
    found = measured.published_score()
    assert found["wilson"] == pytest.approx(expected, abs=1e-6)
    assert found["wilson"][0] < 0.5 and measured.rounded(found) == FOUND["published_score"]


def test_the_page_equals_the_json():
    page = measured.PAGE.read_text(encoding="utf-8")
    assert measured.table(FOUND) in page
    low, high = FOUND["published_score"]["wilson"]
    assert f"{100 * low:.1f} to {100 * high:.1f} %" in " ".join(page.split())


@pytest.mark.slow
@pytest.mark.skipif("DUCHENNE_DATA" not in os.environ, reason="Set DUCHENNE_DATA to the folder with data/pedfe.")
def test_on_real_clips_the_vector_depends_on_the_first_two_frames_alone():
    data = measured.load()
    assert (len(data["x"]), len(np.unique(data["subject"]))) == (FOUND["clips"], FOUND["people"])
    some = np.arange(0, len(data["x"]), 40)
    x, other = data["x"][some], measured.partners(data["subject"][some], np.random.default_rng(0))
    net = network("published-code")
    assert measured.moved(vectors(net, x), vectors(net, measured.swapped(x, other)), other)["largest"] == 0
    assert measured.trace_difference(net, x[0], x[other[0]], np.array([[0.0] * 4, [1.0] * 4]))[0] == 0
