import numpy as np

from duchenne.datasets import simulate
from duchenne.features.points40 import KEPT, MIDPOINTS, points40, scaled


def test_selection_is_the_papers():
    # each point carries its own number, so that the selection can be read off
    numbered = np.stack([np.arange(68.0), -np.arange(68.0)], axis=1)[None]
    found = points40(numbered)
    assert found.shape == (1, 40, 2)
    inner_lip, jaw, bridge = set(range(60, 68)), set(range(17)), {27, 28, 29}
    assert not set(KEPT) & (inner_lip | jaw | bridge)
    np.testing.assert_array_equal(found[0, :36, 0], KEPT)
    np.testing.assert_array_equal(found[0, 36:, 0], [(a + b) / 2 for a, b in MIDPOINTS])
    np.testing.assert_array_equal(found[..., 1], -found[..., 0])


def test_scaling_follows_the_box():
    track = simulate.track(simulate.POSED, rate=30.0)
    points = scaled(track)
    assert points.shape == (len(track), 80)
    assert np.abs(points).max() < 1.6
    box = track.box.copy()
    moved = track.evolve("move and enlarge", points=track.points * 2 + 7, box=box * 2 + 7)
    np.testing.assert_allclose(scaled(moved), points, atol=1e-3)
