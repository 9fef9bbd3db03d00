"""Quality in numbers and plain sentences; gaps, and the even grid."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duchenne.preprocess import clean
from duchenne.types import FaceTrack, Quality


def make_track(time: Any, unseen: Any = (), between: float = 60.0, noise: float = 0.0) -> FaceTrack:
    """A still face with `between` px between the eye centres; `unseen` are frame numbers."""
    time = np.asarray(time, float)
    rng = np.random.default_rng(0)
    face = np.random.default_rng(1).uniform(100, 200, (68, 2))
    face[36:42], face[42:48] = (100, 120), (100 + between, 120)
    points = face + noise * rng.normal(size=(len(time), 68, 2))
    box, confidence = np.tile([90.0, 90, 210, 210], (len(time), 1)), np.full(len(time), 12.0)
    for array in (points, box, confidence):
        array[list(unseen)] = np.nan
    return FaceTrack(time, points, confidence, box, (640, 480))


def grid(seconds: float, rate: float = 25.0) -> Any:
    return np.arange(round(seconds * rate)) / rate


# --- assess -------------------------------------------------------------------------------------------------


def test_a_good_clip_has_no_warning() -> None:
    quality = clean.assess(make_track(grid(2)), blur=80.0)
    assert (quality.warnings, quality.lost, quality.yaw) == ((), (), None)
    expected = Quality(
        50, 50, 1.0, 2.0, 25.0, (), 0.0, face_size=60.0, jitter=0.0, confidence=12.0, blur=80.0, stored_rate=25.0
    )
    for name, value in asdict(expected).items():
        assert asdict(quality)[name] == (value if isinstance(value, tuple | None) else pytest.approx(value, abs=1e-4))


def test_lost_stretches_are_reported_in_seconds() -> None:
    track = make_track(grid(4), unseen=[*range(10, 20), *range(50, 75), 99])
    quality = clean.assess(track)
    np.testing.assert_allclose(quality.lost, [[0.4, 0.8], [2.0, 3.0], [3.96, 4.0]])
    assert quality.longest_gap == pytest.approx(1.0)
    assert quality.coverage == pytest.approx(0.64)
    expected = "The face was lost for 1.44 s in 3 stretches; the longest from 2.00 s to 3.00 s."
    assert quality.warnings == (expected,)


def test_single_stretch_is_reported_and_a_short_loss_is_ignored() -> None:
    (note,) = clean.assess(make_track(grid(4), unseen=range(10, 20))).warnings
    assert note == "The face was lost for 0.40 s, from 0.40 s to 0.80 s."
    short = clean.assess(make_track(grid(4), unseen=[10, 11]))
    assert short.warnings == () and short.longest_gap == pytest.approx(0.08)


def test_a_hole_in_the_timestamps_is_a_stretch_without_a_face() -> None:
    time = np.r_[grid(2), 22 + grid(2), 26 + grid(2)]
    quality = clean.assess(make_track(time, unseen=[*range(45, 50), *range(100, 103)]))
    # the frames before the first hole are unseen, as are those after the second
    np.testing.assert_allclose(quality.lost, [[1.8, 22.0], [24.0, 26.12]])
    assert quality.longest_gap == pytest.approx(20.2) and quality.coverage == pytest.approx(142 / 150)
    seen = clean.assess(make_track(np.r_[grid(2), 22 + grid(2)]))
    np.testing.assert_allclose(seen.lost, [[2.0, 22.0]])
    assert seen.warnings == (
        "The face was lost for 20.00 s, from 2.00 s to 22.00 s.",
        "Frames are missing: up to 20.04 s lie between two consecutive frames.",
    )
    assert clean.assess(make_track(np.arange(5) / 0.7)).lost == ()  # slow, but without a hole


@given(st.lists(st.floats(0.01, 0.3), min_size=2, max_size=30), st.sets(st.integers(0, 29)))
def test_lost_time_adds_up_on_uneven_clips(steps: list[float], unseen: set[int]) -> None:
    track = make_track(np.cumsum(steps), [i for i in unseen if i < len(steps)])
    quality = clean.assess(track)
    between = np.diff(track.time)
    step = np.median(between)
    lasts = np.append(between, step)
    hole = np.append(between > max(clean.MAX_GAP, 2.5 * step), False)
    expected = np.where(track.seen, np.where(hole, lasts - step, 0.0), lasts)
    assert sum(b - a for a, b in quality.lost) == pytest.approx(expected.sum())
    assert quality.rate == pytest.approx(1 / np.median(np.diff(track.time)))
    json.dumps(asdict(quality), allow_nan=False)


@pytest.mark.parametrize(
    ("track", "note"),
    [
        (
            make_track(grid(2), between=24),
            "The face is small: 24 px between the eyes; 40 px or more is advised.",
        ),
        (make_track(grid(2, 12)), "Only 12 frames per second; 20 or more is advised."),
        (make_track(grid(0.4)), "The clip lasts only 0.4 s; 1 s or more is advised."),
        (make_track([0.0]), "There is a single frame: movement cannot be judged from it."),
    ],
)
def test_each_weakness_has_a_warning(track: FaceTrack, note: str) -> None:
    assert clean.assess(track).warnings == (note,)


def test_jitter_is_the_second_difference_in_percent() -> None:
    # a second difference of white noise has deviation σ√6; the median length of a 2-D normal is σ√(2 ln 2)
    quality = clean.assess(make_track(grid(40), noise=0.3))
    expected = 100 * 0.3 * np.sqrt(6 * 2 * np.log(2)) / 60
    assert quality.jitter == pytest.approx(expected, rel=0.03) and quality.warnings == ()
    (note,) = clean.assess(make_track(grid(40), noise=3.0)).warnings
    assert note.startswith("The points jitter by 14")


def test_even_movement_is_not_jitter() -> None:
    track = make_track(grid(2))
    moved = track.evolve("move", points=track.points + 3 * np.arange(50)[:, None, None])
    assert clean.assess(moved).jitter == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 30])
def test_a_face_never_seen(frames: int) -> None:
    quality = clean.assess(make_track(grid(1, frames), unseen=range(frames)))
    assert quality.warnings == (f"No face was found: 0 of {frames} frames show one.",)
    assert quality.coverage == 0 and len(quality.lost) == 1
    assert quality.face_size is quality.jitter is quality.confidence is None


def test_no_frame_at_all_and_a_face_without_size() -> None:
    assert clean.assess(make_track([])).lost == ()
    assert clean.assess(make_track(grid(2), between=0)).jitter is None


def test_a_track_that_is_not_in_pixels_has_no_size() -> None:
    track = make_track(grid(2)).evolve("frontal", unit="iod", points=make_track(grid(2)).points / 60)
    quality = clean.assess(track)
    assert quality.face_size is None and quality.warnings == ()


# --- repair and resample ------------------------------------------------------------------------------------


def test_repair_fills_short_gaps_by_a_line_and_leaves_long_ones() -> None:
    track = make_track(grid(2), unseen=[0, 5, 6, *range(20, 30), 49])
    moved = track.evolve("move", points=track.points + np.arange(50)[:, None, None])
    fixed = clean.repair(moved, max_gap=0.2)
    assert np.flatnonzero(~fixed.seen).tolist() == [0, *range(20, 30), 49]
    np.testing.assert_allclose(fixed.points[5], moved.points[4] + 1, atol=1e-3)
    assert "2 frames" in fixed.history[-1]


def test_resample_hits_the_grid_and_keeps_gaps() -> None:
    time = np.cumsum(np.random.default_rng(0).uniform(0.03, 0.05, 60)) - 0.03
    track = make_track(time, unseen=range(20, 30))
    moved = track.evolve("move", points=track.points + 10 * time[:, None, None].astype(np.float32))
    even = clean.resample(moved, fps=25.0)
    np.testing.assert_allclose(np.diff(even.time), 0.04)
    expected = make_track(even.time).points + 10 * even.time[:, None, None]
    np.testing.assert_allclose(even.points[even.seen], expected[even.seen], atol=1e-3)
    gap = (even.time > time[19] + 1e-6) & (even.time < time[30] - 1e-6)
    assert (even.seen == ~gap).all()


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_so_few_frames_that_the_smoothing_is_longer_are_resampled(frames: int) -> None:
    time = np.arange(frames) / 50
    even = clean.resample(make_track(time), fps=12.5)
    np.testing.assert_allclose(
        even.points, make_track(even.time).points, atol=1e-3
    )  # still, so smoothing moves nothing


@given(st.lists(st.booleans(), max_size=30))
def test_runs_name_every_true_stretch(mask: list[bool]) -> None:
    found = clean.runs(np.array(mask, bool))
    assert [i for a, b in found for i in range(a, b)] == np.flatnonzero(mask).tolist()
    assert all(b < c for (_, b), (c, _) in pairwise(found))
