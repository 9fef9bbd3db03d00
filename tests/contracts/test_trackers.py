"""Every tracker and every detector in the registry keeps its family's promises."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from duchenne.errors import UsageError
from duchenne.registry import DETECTORS, TRACKERS

PHOTO = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY)
FACE = np.array([172.0, 66.0, 276.0, 170.0])  # forehead to chin and ear to ear, read off the photograph
NOISE = np.random.default_rng(1).integers(0, 256, PHOTO.shape, dtype=np.uint8)


def moved(dx: float, dy: float) -> np.ndarray:
    matrix = np.array([[1, 0, dx], [0, 1, dy]], float)
    return cv2.warpAffine(PHOTO, matrix, (512, 512), borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_follows_a_known_movement(name):
    tracker = TRACKERS.load(name)()
    tracker.start(PHOTO, FACE)
    for step in range(1, 16):
        shift = np.array([4.0 * step, 2.5 * step])
        box, psr = tracker.update(moved(*shift))
        assert box.shape == (4,) and box.dtype == np.float32
        assert not psr < tracker.lost
        # OpenCV's boxes are whole pixels
        np.testing.assert_allclose(box, FACE + np.tile(shift, 2), atol=1.0 if name == "mosse" else 2.0)


@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.parametrize("nothing", [NOISE, np.zeros_like(NOISE)], ids=["noise", "black"])
def test_a_lost_tracker_reports_it(name, nothing):
    tracker = TRACKERS.load(name)()
    tracker.start(PHOTO, FACE)
    assert not tracker.update(moved(1, 1))[1] < tracker.lost
    assert tracker.update(nothing)[1] < tracker.lost


@pytest.mark.parametrize("name", TRACKERS)
def test_a_restarted_tracker_gives_the_same_result(name):
    tracker = TRACKERS.load(name)()
    answers = []
    for _ in range(2):
        tracker.start(PHOTO, FACE)
        answers.append(tracker.update(moved(5, -3)))
    np.testing.assert_array_equal(answers[0][0], answers[1][0])
    np.testing.assert_equal(answers[0][1], answers[1][1])


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_a_detector_finds_the_face_at_any_image_size(name, scale):
    image = cv2.resize(PHOTO, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    boxes = DETECTORS.load(name)().detect(image)
    assert boxes.dtype == np.float32 and boxes.ndim == 2 and boxes.shape[1] == 4
    centre = (boxes[0, :2] + boxes[0, 2:]) / 2 / scale
    np.testing.assert_allclose(centre, (FACE[:2] + FACE[2:]) / 2, atol=15)
    assert 70 < (boxes[0, 2] - boxes[0, 0]) / scale < 160


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_puts_the_largest_face_first(name):
    image = np.full((300, 560), 60, np.uint8)
    image[:, :250] = PHOTO[:300, 100:350]
    image[20:275, 300:512] = cv2.resize(PHOTO[:300, 100:350], (212, 255), interpolation=cv2.INTER_AREA)
    boxes = DETECTORS.load(name)().detect(image)
    assert boxes[0, 2] < 250  # HOG may report a face twice
    assert (boxes[1:, 0] > 300).any()


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (1, 500), (40, 40)])
def test_a_detector_finds_nothing_where_nothing_is(name, shape):
    assert DETECTORS.load(name)().detect(NOISE[: shape[0], : shape[1]]).shape == (0, 4)


@pytest.mark.parametrize("family", [DETECTORS, TRACKERS])
def test_an_unknown_name_is_answered_with_the_known_ones(family):
    with pytest.raises(UsageError, match=next(iter(family))):
        family.load("no such part")
