import numpy as np

from duchenne.features.points40 import KEPT, MIDPOINTS, points40


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
