"""The shipped networks in numpy: torch's answers, whatever else is in a batch."""

import subprocess
import sys

import numpy as np
import pytest

from duchenne.expression import plain, reading


@pytest.fixture(scope="module")
def crops():
    """Blurred noise: 21 images, so that the last batch is not full."""
    noise = np.random.default_rng(0).normal(size=(21, 60, 60)).cumsum(axis=1).cumsum(axis=2)[:, 12:, 12:]
    low, high = noise.min(axis=(1, 2), keepdims=True), noise.max(axis=(1, 2), keepdims=True)
    return (255 * (noise - low) / (high - low)).astype(np.uint8)


def test_the_answers_are_those_of_torch(crops):
    ours, theirs = reading.shipped()[0], reading.load()[0]
    assert ours.classes == theirs.classes and ours.head == theirs.head == "emotions"
    np.testing.assert_allclose(ours.features(crops), theirs.features(crops), atol=1e-5)
    np.testing.assert_allclose(ours.predict(crops, flips=True), theirs.predict(crops, flips=True), atol=1e-5)
    second = theirs.second()
    assert ours.second().classes == second.classes != ours.classes
    np.testing.assert_allclose(reading.of_clips().predict(crops), second.predict(crops), atol=1e-5)
    seen = reading.shipped("visibility")[0]
    assert seen.head == "units"
    np.testing.assert_allclose(seen.predict(crops), reading.load("visibility")[0].predict(crops), atol=1e-5)


def test_an_answer_does_not_depend_on_the_other_images(crops, monkeypatch):
    network = reading.shipped()[0]
    monkeypatch.setattr(plain, "_KEPT", 0)  # so that nothing is remembered
    network.kept.clear()
    together = network.features(crops)
    np.testing.assert_array_equal(together, network.features(crops[::-1])[::-1])
    np.testing.assert_array_equal(together, np.concatenate([network.features(crop[None]) for crop in crops]))
    assert not network.kept and network.features(crops[:0]).shape == (0, 384)


def test_features_are_kept_up_to_a_bound(crops, monkeypatch):
    network = reading.shipped()[0]
    network.kept.clear()
    monkeypatch.setattr(plain, "_KEPT", 8)
    first = network.features(crops[:5])
    monkeypatch.setattr(plain.PlainNetwork, "_computed", None)
    np.testing.assert_array_equal(network.second().features(crops[:5]), first)  # read once for both sets of labels
    monkeypatch.undo()
    monkeypatch.setattr(plain, "_KEPT", 8)
    assert len(network.features(crops)) == 21 and len(network.kept) <= 8


def test_a_verdict_needs_no_torch(smile):
    code = f"import sys, duchenne; duchenne.analyze({str(smile)!r}); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
