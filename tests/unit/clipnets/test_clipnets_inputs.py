"""Which frames of a clip a network reads, and what is refused; answers follow from the times by hand."""

import numpy as np
import pytest

from duchenne.clipnets.inputs import ClipReader, even_frames
from duchenne.datasets import simulate
from duchenne.errors import InputError
from duchenne.types import FaceTrack, Features


def track_of(time, crops=None, unseen=()):
    n = len(time)
    points = np.random.default_rng(0).normal(100, 20, (n, 68, 2))
    points[list(unseen)] = np.nan
    return FaceTrack(time, points, np.full(n, np.nan), np.zeros((n, 4)), (640, 480), crops, source="clip")


def pictures(n, side=16, channels=1):
    return np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, side, side, channels), np.uint8)


def test_frames_lie_evenly_in_seconds_whatever_the_rate():
    even = np.arange(101) / 100
    assert even_frames(even, 5, 0).tolist() == [0, 25, 50, 75, 100]
    # the second half at a tenth of the rate: the same seconds, other numbers
    mixed = np.concatenate([np.arange(51) / 100, 0.6 + np.arange(5) / 10])
    assert mixed[even_frames(mixed, 6, 0)].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert even[even_frames(even, 0, 10)].tolist() == pytest.approx(np.arange(11) / 10)


def test_the_middle_frames_of_a_longer_clip_are_read():
    time = np.arange(101) / 100
    found = time[even_frames(time, 5, 10)]
    assert found.tolist() == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7])


def test_a_short_clip_gives_each_frame_once():
    assert even_frames(np.array([0.0, 0.04, 0.08]), 20, 0).tolist() == [0, 1, 2]
    assert even_frames(np.array([0.5]), 20, 0).tolist() == [0]
    assert even_frames(np.zeros(0), 20, 0).tolist() == []


def test_times_in_a_gap_are_left_out():
    time = np.concatenate([np.arange(26) / 25, 3 + np.arange(26) / 25])  # two seconds without a face
    found = time[even_frames(time, 0, 5)]
    assert not ((found > 1.21) & (found < 2.79)).any() and len(found) >= 10


@pytest.mark.parametrize(("frames", "fps"), [(20, 0.0), (20, 12.5), (0, 12.5), (7, 25.0), (50, 30.0)])
def test_selecting_from_selected_frames_gives_all(frames, fps):
    rng = np.random.default_rng(1)
    for rate in (10, 24, 25, 30, 100):
        time = np.sort(np.arange(3 * rate) / rate + rng.uniform(-0.2, 0.2, 3 * rate) / rate)
        rows = even_frames(time, frames, fps)
        again = even_frames(time[rows], frames, fps)
        assert (np.diff(rows) > 0).all()
        # one at the end may be lost where a film's own rate is beside the asked one
        assert len(rows) - len(again) in ((0,) if not fps else (0, 1))
        assert again[: len(rows) - 1].tolist() == list(range(len(again[: len(rows) - 1])))


def test_crops_are_read_where_the_face_was_seen():
    reader = ClipReader(frames=4, side=16, channels=1)
    x = reader.table([track_of(np.arange(9) / 8, pictures(9), unseen=(0, 8))])
    assert x[0].rows.tolist() == [1, 3, 5, 7] and len(x[0]) == 4
    assert x[0].at(np.array([0, 2]))[:, 0, 0, 0].tolist() == [1, 5]
    assert reader.rows(track_of(np.arange(9) / 8)).tolist() == [0, 3, 5, 8]


def test_too_short_a_clip_is_none_and_wrong_crops_are_refused():
    time = np.arange(9) / 8
    reader = ClipReader(frames=4, side=16, channels=1)
    assert reader.table([track_of(time, pictures(9), unseen=range(6))])[0] is None
    assert ClipReader(frames=4, side=16, channels=1, least=1).table([track_of(time[:1], pictures(1))])[0] is not None
    for crops, said in ((None, "has no crops"), (pictures(9, 12), "expected uint8"), (pictures(9) * 1.0, "uint8")):
        with pytest.raises(InputError, match=said):
            reader.table([track_of(time, crops)])
    with pytest.raises(InputError, match="row of a table"):
        reader.table([Features(np.zeros(2), ("a", "b"))])
    with pytest.raises(InputError, match=r"\(16, 16, 3\)"):  # face and frame, grey
        ClipReader(frames=4, side=16, channels=1, scene=True).table([track_of(time, pictures(9))])


def test_points_are_resampled_to_a_number_or_a_rate():
    track = simulate.track(simulate.POSED, 25.0, seed=1)
    sparse, rate, middle = (
        ClipReader("points", frames, fps, pose=True).table([track])[0]
        for frames, fps in ((9, 0.0), (0, 12.5), (11, 12.5))
    )
    assert sparse.shape == (9, 86) and middle.shape == (11, 86) and sparse.dtype == rate.dtype == np.float32
    start = (len(rate) - 11) // 2
    np.testing.assert_array_equal(middle, rate[start : start + 11])
    full = ClipReader("points", 0, 25.0, pose=True).table([track])[0]
    np.testing.assert_array_equal(sparse[[0, -1]], full[[0, -1]])
