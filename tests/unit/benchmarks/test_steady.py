"""benchmarks/steady.py: what each change keeps of a clip, and how changed verdicts are counted."""

import json
from itertools import pairwise
from pathlib import Path

import changes
import cv2
import judged
import numpy as np
import pytest
import steady
from judged import Answer, Known

from duchenne import video

RATE = 25.0


@pytest.fixture(scope="module")
def clip():
    """12 frames (40, 60, 3) of a bright ellipse on black that wanders, and their times."""
    frames = [np.zeros((40, 60, 3), np.uint8) for _ in range(12)]
    for i, frame in enumerate(frames):
        cv2.ellipse(frame, (25 + i, 20), (9, 13), 0, 0, 360, (90, 120, 150), -1)
    return frames, np.arange(12) / RATE


#: Change → (frames, first and last time in s, height and width) of the changed clip.
EXPECTED = {
    "1.5 s of rest before": (12 + 38, (0, 11 / RATE + 38 / RATE), (40, 60)),
    "3 s of rest before": (12 + 75, (0, 11 / RATE + 3), (40, 60)),
    "1.5 s of rest after": (12 + 38, (0, 11 / RATE + 38 / RATE), (40, 60)),
    "three frames lost": (9, (0, 11 / RATE), (40, 60)),
    "0.75 × the size": (12, (0, 11 / RATE), (30, 44)),
    "1.5 × the size": (12, (0, 11 / RATE), (60, 90)),
    "black border of 20 %": (12, (0, 11 / RATE), (56, 84)),
    "half the rate": (6, (0, 10 / RATE), (40, 60)),
    "twice the rate": (23, (0, 11 / RATE), (40, 60)),
}


def applied(name, clip):
    frames, times = changes.CHANGES[name][0](*clip, np.random.default_rng(0))
    return list(frames), times


@pytest.mark.parametrize("name", changes.CHANGES)
def test_times_and_sizes(name, clip):
    frames, times = applied(name, clip)
    many, ends, shape = EXPECTED.get(name, (12, (0, 11 / RATE), (40, 60)))
    assert len(frames) == len(times) == many
    assert times[[0, -1]] == pytest.approx(ends) and (np.diff(times) > 0).all()
    assert {frame.shape for frame in frames} == {(*shape, 3)} and {frame.dtype for frame in frames} == {np.dtype("u1")}


def test_rest_keeps_the_clip_and_is_not_a_still(clip):
    before, after = applied("1.5 s of rest before", clip)[0], applied("1.5 s of rest after", clip)[0]
    assert np.array_equal(before[38:], clip[0]) and np.array_equal(after[:12], clip[0])
    for still, held in ((before[:38], clip[0][0]), (after[12:], clip[0][-1])):
        assert all(not np.array_equal(a, b) for a, b in pairwise(still))
        assert max(np.abs(frame.mean() - held.mean()) for frame in still) < 2


def test_what_pixels_become(clip):
    first = clip[0][0]
    assert np.array_equal(applied("mirrored", clip)[0][0][:, ::-1], first)
    assert np.array_equal(applied("half the rate", clip)[0][1], clip[0][2])
    between = applied("twice the rate", clip)[0][1].astype(float)
    assert np.abs(between - (first.astype(float) + clip[0][1]) / 2).max() <= 0.5
    assert set(applied("20 levels brighter", clip)[0][0][20, 25]) == {110, 140, 170}
    assert set(applied("20 levels darker", clip)[0][0][20, 25]) == {70, 100, 130}
    assert applied("20 levels darker", clip)[0][0][0, 0].tolist() == [0, 0, 0]
    assert applied("contrast × 0.8", clip)[0][0][0, 0].tolist() == [26, 26, 26]
    inner, outer = (frame[..., 2] > 0 for frame in (applied("outline cut closer", clip)[0][0], first))
    assert 0.8 < inner.sum() / outer.sum() < 1 and not (inner & ~outer).any()


def test_files_keep_the_times_of_frames(clip, tmp_path):
    source = video.write(tmp_path / "a.mp4", [frame[..., ::-1] for frame in clip[0]], RATE)
    target = changes.changed(source, "three frames lost", tmp_path)
    number = np.array([frame.time for frame in video.frames(target)]) * RATE
    assert number == pytest.approx(number.round(), abs=0.02) and len(number) == 9
    assert number[0] == 0 and number[-1] == pytest.approx(11, abs=0.02)
    stamp = target.stat().st_mtime_ns
    assert changes.changed(source, "three frames lost", tmp_path).stat().st_mtime_ns == stamp


def test_changed_verdicts_are_counted():
    before = [
        Answer(0.9, "genuine", ""),
        Answer(0.6, "genuine", ""),
        Answer(0.52, "", "close"),
        Answer(0.2, "posed", ""),
    ]
    after = [
        Answer(0.8, "genuine", ""),
        Answer(0.4, "posed", ""),
        Answer(0.62, "genuine", ""),
        Answer(np.nan, "", "no"),
    ]
    found = steady.row(before, after, ["a", "a", "b", "b"])
    assert (found["clips"], found["unread"], found["labelled"]) == (4, 1, 2)
    assert found["mean_abs"] == pytest.approx((0.1 + 0.2 + 0.1) / 3, abs=1e-4)
    assert found["mean"] == pytest.approx((-0.1 - 0.2 + 0.1) / 3, abs=1e-4)
    assert found["flipped"] == 0.5 and found["crossed"] == 0.5
    assert found["crossed_interval"] == [0.0, 1.0]  # both clips of one person, none of the other's
    assert steady.misses(found) == {"mean_abs", "mean", "flipped"}
    same = steady.row(before, before, ["a", "a", "b", "b"])
    assert not steady.misses(same) and same["mean_abs"] == same["flipped"] == same["crossed"] == 0


def test_clips_are_of_all_people_and_labels():
    names = [f"{who}_{kind}{label}_{n}.avi" for who in range(5) for kind in "fds" for label in "gs" for n in (1, 2)]
    found = steady.chosen([Known(Path(name)) for name in names], 12, 0)
    assert len(set(found)) == 12 and {clip.subject for clip in found} == set("01234")
    assert sorted({(clip.emotion, clip.genuine) for clip in found}) == sorted(
        (emotion, genuine) for emotion in ("happiness", "disgust", "surprise") for genuine in (True, False)
    )
    assert found == steady.chosen([Known(Path(name)) for name in names], 12, 0)


def test_each_person_is_judged_by_the_model_without_them(tmp_path):
    file = tmp_path / "folds.json"
    file.write_text(json.dumps({"a": ["1", 2], "b": ["3"]}))
    assert judged.left_out(file) == {"1": str(tmp_path / "a"), "2": str(tmp_path / "a"), "3": str(tmp_path / "b")}
    file.write_text(json.dumps({"a": ["1"], "b": ["1"]}))
    with pytest.raises(SystemExit, match="left out by two models"):
        judged.left_out(file)
