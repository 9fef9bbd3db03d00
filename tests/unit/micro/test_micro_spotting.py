"""Spotting: planted movements whose times follow from how they were made; nothing at rest, in a blink or a smile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from duchenne.datasets import simulate
from duchenne.datasets.people import someone
from duchenne.errors import InputError
from duchenne.features import spotting
from duchenne.features.spotting import LONGEST, PARTS, SHORTEST, contrast, difference, spot
from duchenne.metrics.spotting import spotting_f1

#: A smile of 0.34 s that peaks at 1.25 s, and a face that only stirs and blinks.
BRIEF = simulate.SmileKinematics(
    onset=0.14, apex=0.04, offset=0.16, amplitude=0.07, neutral_before=1.1, neutral_after=1.0,
    peak=2.5, offset_peak=2.5, fluctuation=0.0,
)  # fmt: skip
CORNERS = PARTS["left lip corner"] + PARTS["right lip corner"]
REST = replace(BRIEF, amplitude=0.0, neutral_after=2.0)


def times(found):
    return [(each.onset, each.offset) for each in found]


def lifted(height, shape, points=CORNERS, rate=200, seconds=2.0, still=None):
    """A still face of which the `points` are raised by `height` (IOD) as `shape(time)` says."""
    track = simulate.track(replace(REST, unrest=0.0, head_motion=0.0), rate, jitter=0.0)
    time = np.arange(round(seconds * rate)) / rate
    face = track.points[:1].astype(float)
    between = np.linalg.norm(face[0, 36:42].mean(axis=0) - face[0, 42:48].mean(axis=0))
    moved = np.repeat(face, len(time), axis=0)
    moved[:, list(points), 1] -= height * between * np.asarray(shape(time))[:, None]
    if still is not None:
        moved[still(time)] = np.nan
    n = len(time)
    return replace(track, time=time, points=moved, confidence=np.full(n, np.nan), box=np.repeat(track.box[:1], n, 0))


def bump(middle, width):
    """Rises and falls as a cosine, `width` seconds from foot to foot."""
    return lambda t: np.where(np.abs(t - middle) < width / 2, 0.5 + 0.5 * np.cos(2 * np.pi * (t - middle) / width), 0.0)


def test_the_difference_is_to_the_mean_of_a_quarter_second_before_and_after():
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(200, 3, 2))
    k = 50  # a quarter second at 200 per second
    found = difference(parts)
    for t in (0, 10, 60, 150, 199):  # beyond the ends the first and the last moment stand in
        before, after = parts[max(t - k, 0)], parts[min(t + k, 199)]
        np.testing.assert_allclose(found[t], parts[t] - (before + after) / 2)
    # what moves evenly is no difference, however fast
    steady = np.arange(200.0)[:, None, None] * np.ones((1, 3, 2))
    np.testing.assert_allclose(difference(steady)[k:-k], 0, atol=1e-12)


def test_what_stands_out_is_the_two_parts_that_moved_most_less_a_quarter_second_before_and_after():
    moved = np.random.default_rng(1).random((200, 4))
    top = np.array([sum(sorted(row)[-2:]) / 2 for row in moved])
    for t in (60, 100, 140):
        assert contrast(moved)[t] == pytest.approx(top[t] - (top[t - 50] + top[t + 50]) / 2)


def test_every_part_is_of_points_that_a_lid_does_not_have_and_none_is_in_two():
    points = [number for numbers in PARTS.values() for number in numbers]
    assert len(points) == len(set(points)) and not set(points) & set(range(36, 48))


@pytest.mark.parametrize("width", [0.1, 0.2, 0.4])
def test_a_bump_without_noise_is_found_where_it_is(width):
    """A cosine is at a tenth of its height 0.102 of its width from its feet; smoothing adds some hundredths."""
    (found,) = spot(lifted(0.06, bump(1.0, width)))
    assert found.apex == pytest.approx(1.0, abs=0.006)
    assert (found.onset, found.offset) == pytest.approx((1 - 0.398 * width, 1 + 0.398 * width), abs=0.02)
    assert set(found.parts) == {"left lip corner", "right lip corner"} and found.clear > 1
    assert SHORTEST <= found.duration <= LONGEST


def test_its_size_is_how_far_the_part_went():
    """All four points of a part rise by 0.05 eye distances; smoothing by 15 ms takes off little."""
    (found,) = spot(lifted(0.05, bump(1.0, 0.3), points=PARTS["left lip corner"]))
    assert found.parts == ("left lip corner",) and found.size == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize(
    "shape",
    [
        bump(1.0, 1.4),  # too long
        lambda t: np.clip((t - 0.9) / 0.1, 0, 1),  # stays
        lambda t: np.clip((t - 0.5) / 0.5, 0, 1) - np.clip((t - 1.2) / 0.6, 0, 1),  # comes and goes slowly
    ],
)
def test_lasting_or_slow_movements_are_not_spotted(shape):
    assert spot(lifted(0.08, shape)) == ()


def test_small_movements_are_not_spotted_and_two_are_two():
    assert spot(lifted(0.01, bump(1.0, 0.2))) == ()
    found = spot(lifted(0.06, lambda t: bump(0.7, 0.2)(t) + bump(1.5, 0.3)(t), seconds=2.4))
    assert [round(each.apex, 1) for each in found] == [0.7, 1.5]


def test_spotting_is_invariant_to_position_scale_and_rotation():
    track = lifted(0.06, bump(1.0, 0.2))
    angle, scale = 0.2, 1.7
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    (one,), (other,) = spot(track), spot(replace(track, points=track.points @ turn.T + 40.0))
    assert (one.onset, one.apex, one.offset, one.parts) == (other.onset, other.apex, other.offset, other.parts)
    assert other.size == pytest.approx(one.size, rel=1e-3)


def test_nothing_is_spotted_across_a_gap_and_stretches_are_searched_by_themselves():
    track = lifted(0.06, bump(1.0, 0.2), still=lambda t: np.abs(t - 1.0) < 0.03)
    assert spot(track) == ()
    beside = lifted(0.06, bump(1.4, 0.2), still=lambda t: np.abs(t - 0.6) < 0.03)
    assert [each.apex for each in spot(beside)] == pytest.approx([1.4], abs=0.006)


@pytest.mark.parametrize("rate", [100, 200])
def test_smiles_of_ten_people_among_rest_and_blinks(rate):
    """Landmarks with the errors that dlib's have: of ten brief smiles nine at least, within 0.06 s at apex and 0.1 s
    at the ends, and no more than one false alarm in them and in ten clips of rest, 34 s."""
    spotted, truth, errors = [], [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        who = someone(rng)
        smile = replace(
            BRIEF, onset=rng.uniform(0.08, 0.18), offset=rng.uniform(0.1, 0.22), amplitude=rng.uniform(0.05, 0.1),
            neutral_before=rng.uniform(0.8, 1.8),
        )  # fmt: skip
        onset, apex, fall, end = smile.moments
        found = spot(simulate.track(smile, rate, seed, person=who))
        spotted += [times(found), times(spot(simulate.track(REST, rate, seed + 50, person=who)))]
        truth += [[(onset, end)], []]
        errors += [np.abs([f.onset - onset, f.apex - (apex + fall) / 2, f.offset - end]) for f in found[:1]]
    scores = spotting_f1(spotted, truth)
    assert scores["tp"] >= 9 and scores["fp"] <= 1, scores
    assert (np.median(errors, axis=0) < (0.06, 0.03, 0.06)).all() and (np.max(errors, axis=0) < (0.1, 0.06, 0.1)).all()


def test_lasting_smiles_are_not_spotted():
    long = replace(simulate.POSED, neutral_after=1.0)
    assert [len(spot(simulate.track(long, 100, seed))) for seed in range(8)].count(0) >= 7


def test_blinks_are_not_spotted():
    """The brows sink by 0.03 eye distances while the lids close."""
    track = lifted(0.0, bump(1.0, 0.2))
    shut = bump(1.0, 0.3)(track.time)[:, None]
    points = track.points.astype(float)
    low, high = np.array([40, 41, 46, 47]), np.array([38, 37, 44, 43])
    points[:, high] += 0.7 * shut[..., None] * (points[:, low] - points[:, high])
    between = np.linalg.norm(points[0, 36:42].mean(axis=0) - points[0, 42:48].mean(axis=0))
    points[:, 17:27, 1] += 0.03 * between * shut
    assert spot(replace(track, points=points)) == ()
    brows = track.points.astype(float)
    brows[:, 17:27, 1] += 0.03 * between * shut
    assert len(spot(replace(track, points=brows))) == 1  # with open eyes it is one


def test_too_short_and_too_slow_are_refused():
    track = lifted(0.06, bump(1.0, 0.2))
    with pytest.raises(InputError, match=r"for 0\.40 s without a gap.*needs 0\.5 s\.$"):
        spot(replace(track, time=track.time[:81], points=track.points[:81], confidence=track.confidence[:81],
                     box=track.box[:81], source="a.mp4"))  # fmt: skip
    slow = slice(None, None, 25)
    with pytest.raises(InputError, match=r"8 frames per second.*record it at 100 or 200\.$"):
        spot(replace(track, time=track.time[slow], points=track.points[slow], confidence=track.confidence[slow],
                     box=track.box[slow]))  # fmt: skip
    unseen = replace(track, points=np.full_like(track.points, np.nan))
    with pytest.raises(InputError, match=r"for 0\.00 s"):
        spot(unseen)


def test_uneven_times_are_read_as_they_are():
    """Every third frame left out, the rest jittered: the apex stays."""
    whole = lifted(0.06, bump(1.0, 0.2))
    keep = np.flatnonzero(np.arange(len(whole.time)) % 3 != 1)
    thin = replace(whole, time=whole.time[keep], points=whole.points[keep], confidence=whole.confidence[keep],
                   box=whole.box[keep])  # fmt: skip
    (found,) = spot(thin)
    assert found.apex == pytest.approx(1.0, abs=0.006)
    assert spotting.FEWEST == 50
