"""Descriptors against slow plain loops, and against what must not change them: camera, frame rate, head pose."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from duchenne.datasets import simulate
from duchenne.errors import InputError
from duchenne.features import activity
from duchenne.features.descriptors import (
    CURVES,
    CUT,
    FAMILIES,
    STATISTICS,
    describe,
    longest_seen,
    mesh_curves,
    prepare,
)
from duchenne.features.filtering import lowpass
from duchenne.features.signals import SIGNAL_NAMES
from duchenne.preprocess import align
from duchenne.tabular import rows
from duchenne.types import COEFFICIENTS, Signals

FPS = 25.0


def curves(n=90, seed=0):
    """Three wandering curves, float64 (n, 3)."""
    return np.cumsum(np.random.default_rng(seed).normal(size=(n, 3)), axis=0)


def track(rate=25.0, jitter=0.0, seed=0, kin=simulate.SPONTANEOUS):
    return simulate.track(kin, rate, seed, jitter=jitter)


def moved(face, scale=1.0, angle=0.0, shift=(0.0, 0.0)):
    """The track after an in-plane similarity; `angle` in degrees, clockwise in the picture."""
    a = math.radians(angle)
    turn = scale * np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    return replace(face, points=face.points.astype(float) @ turn.T + shift)


def row(face, family="face"):
    return describe(longest_seen(prepare(face, FPS)[1]), FPS, family)


# --- statistics of activity ---------------------------------------------------------------------------------


def slow_lowpass(x, fps, cutoff):
    """First-order Butterworth by the bilinear transform, forwards and backwards, on an end held for a second."""
    k = math.tan(math.pi * cutoff / fps)
    b, a = k / (1 + k), (k - 1) / (k + 1)
    pad = min(len(x) - 1, round(fps))

    def once(values):
        out, before, last = [], values[0], values[0]
        for value in values:
            last = b * value + b * before - a * last
            before = value
            out.append(last)
        return out

    held = [x[0]] * pad + list(x) + [x[-1]] * pad
    there_and_back = once(once(held)[::-1])[::-1]
    return np.array(there_and_back[pad : pad + len(x)])


def slow_statistics(x, fps):
    """The 17 statistics of one curve by plain loops, in the order of the paper's list."""
    n, low, high = len(x), min(x), max(x)
    mean = sum(x) / n
    ordered = sorted(x)

    def quantile(q):
        at = q * (n - 1)
        i = int(at)
        return ordered[i] + (at - i) * (ordered[min(i + 1, n - 1)] - ordered[i])

    def segments(level):
        above = [v > level for v in x]
        return math.ceil(sum(a != b for a, b in pairwise(above)) / 2)

    area = sum(v - low for v in x) / fps
    peak = list(x).index(high)
    first = next((i for i in range(1, n) if (x[i] > mean) != (x[i - 1] > mean)), None)
    return [
        mean, quantile(0.5), low, high, high - low, math.sqrt(sum((v - mean) ** 2 for v in x) / n),
        quantile(0.75) - quantile(0.25), quantile(0.9) - quantile(0.1), sum(abs(v - mean) for v in x) / n,
        peak / fps, sum(v > mean for v in x) / n, sum(v > (low + high) / 2 for v in x) / n,
        segments(mean), segments((low + high) / 2), area, area / (high - low),
        0.0 if first is None else (peak - first) / fps,
    ]  # fmt: skip


@pytest.mark.parametrize(("fps", "cutoff"), [(25.0, 1.0), (50.0, 4.0), (30.0, 0.3)])
def test_the_filter_is_butterworths(fps, cutoff):
    x = curves()
    expected = np.column_stack([slow_lowpass(x[:, i], fps, cutoff) for i in range(3)])
    np.testing.assert_allclose(lowpass(x, fps, cutoff), expected, atol=1e-9)


def test_the_filter_halves_power_twice_at_its_cutoff():
    time = np.arange(2000) / 50.0
    wave = np.sin(2 * np.pi * 2.0 * time)[:, None]
    passed = lowpass(wave, 50.0, 2.0)[500:1500]
    assert np.ptp(passed) / 2 == pytest.approx(0.5, abs=5e-3)
    np.testing.assert_array_equal(lowpass(wave, 50.0, 30.0), wave)  # nothing above half the rate


def test_activity_statistics_against_plain_loops():
    x = curves()
    found = dict(zip(activity.names(("a", "b", "c")), activity.activity(x, FPS), strict=True))
    for i, name in enumerate("abc"):
        s = slow_lowpass(x[:, i], FPS, 1.0)
        v = slow_lowpass(np.diff(s) * FPS, FPS, 1.0)
        a = slow_lowpass(np.diff(v) * FPS, FPS, 1.0)
        for level, curve in zip("sva", (s, v, a), strict=True):
            expected = slow_statistics(curve, FPS)
            mine = [found[f"{name}.{level}.{stat}"] for stat in activity.STATISTICS]
            np.testing.assert_allclose(mine, expected, rtol=1e-6, atol=1e-9)
        for stat in activity.SQUARED:
            assert found[f"{name}.s.{stat}^2"] == pytest.approx(found[f"{name}.s.{stat}"] ** 2)


def test_a_flat_curve_has_no_activity_and_no_nan():
    found = dict(zip(activity.names(("a",)), activity.activity(np.full((40, 1), 3.0), FPS), strict=True))
    assert np.isfinite(list(found.values())).all()
    assert found["a.s.mean"] == pytest.approx(3) and found["a.s.range"] == pytest.approx(0)
    assert found["a.v.segments_mean"] <= 1 and found["a.v.sd"] == pytest.approx(0)


def test_sixty_two_values_a_curve():
    assert len(activity.names(CURVES)) == 62 * len(CURVES) == len(set(activity.names(CURVES)))
    assert activity.activity(curves(), FPS).shape == (62 * 3,)


# --- descriptors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_one_finite_number_per_name(family):
    names = FAMILIES[family].names
    face = track(jitter=0.3)
    if FAMILIES[family].of_mesh:
        with pytest.raises(InputError, match="read it with the reader mesh"):
            rows.row(face, family, FPS)
        rest = np.random.default_rng(0).uniform(0.1, 0.9, (len(face), 55)).cumsum(axis=0) / len(face)
        face = replace(face, coefficients=rest[:, :52], pose=20 * rest[:, 52:])
    values = rows.row(face, family, FPS)
    assert values.shape == (len(names),) == (len(set(names)),)
    assert np.isfinite(values).all()
    short = describe(np.zeros((7, 60)), FPS, family)
    assert short.shape == values.shape and np.isnan(short).all()


def test_curves_of_a_mesh_are_roots_of_both_sides_together_and_apart():
    face = track(jitter=0.0)
    given = np.zeros((len(face), 52), np.float32)
    left, right, jaw = (COEFFICIENTS.index(name) for name in ("mouthSmileLeft", "mouthSmileRight", "jawOpen"))
    given[:, left], given[:, right], given[:, jaw] = 0.359, 0.159, 0.249  # and a thousandth
    face = replace(face, coefficients=given, pose=np.tile([10, -5, 2], (len(face), 1)))
    curves = mesh_curves(face, FPS)
    told = {
        "mouthSmile": 0.5,
        "mouthSmile_asymmetry": 0.2,
        "jawOpen": 0.5,
        "browDown": 0.001**0.5,
        "yaw": 10.0,
        "pitch": -5.0,
    }
    for name, expected in told.items():
        np.testing.assert_allclose(curves[name], expected, atol=1e-6)
    columns = dict(zip(FAMILIES["mesh"].names, rows.row(face, "mesh", FPS), strict=True))
    assert columns["mouthSmile.p50"] == pytest.approx(0.5, abs=1e-6)
    # in the stretch in which the points move, which the mesh's curves share
    plain = dict(zip(FAMILIES["dynamics"].names, rows.row(face, "dynamics", FPS), strict=True))
    assert {name: columns[name] for name in plain} == plain
    apart = dict(zip(FAMILIES["coefficients"].names, rows.row(face, "coefficients", FPS), strict=True))
    assert apart == {name: columns[name] for name in apart}


def test_statistics_of_a_known_curve():
    values = np.zeros((101, len(CURVES)))
    values[:, CURVES.index("jaw_drop")] = np.linspace(0.0, 4.0, 101)  # 4 s, one unit a second
    found = dict(zip(FAMILIES["dynamics"].names, describe(values, FPS), strict=True))
    told = {stat: found[f"jaw_drop.{stat}"] for stat in STATISTICS}
    for stat, expected in {
        "p05": 0.2, "p25": 1.0, "p50": 2.0, "p95": 3.8, "first": 0.04, "last": 3.96, "depth": -1.8, "rise": 1.8,
        "last_first": 3.92, "high_first": 3.76, "rising_quick": 1.0,
    }.items():  # fmt: skip
        assert told[stat] == pytest.approx(expected), stat
    assert math.exp(told["speed_typical_quick"]) == pytest.approx(1.0, abs=0.01)
    assert math.exp(told["speed_max_calm"]) == pytest.approx(1.0, abs=0.01)
    assert found["brow_height.p50"] == 0 and math.exp(found["brow_height.speed_max_quick"]) == pytest.approx(1e-3)


def test_the_movement_family_cannot_see_levels_or_where_the_clip_was_cut():
    values = np.random.default_rng(1).normal(size=(80, len(CURVES))).cumsum(axis=0) * 0.01
    np.testing.assert_allclose(describe(values + 7, FPS, "movement"), describe(values, FPS, "movement"), atol=1e-6)
    assert not {name.split(".")[1] for name in FAMILIES["movement"].names} & {*CUT, "p05", "p50", "p95"}


@pytest.mark.parametrize(
    "change", [{"scale": 0.25}, {"scale": 3.0}, {"shift": (400.0, -90.0)}, {"angle": 20.0}, {"angle": -35.0}]
)
def test_the_camera_does_not_change_what_the_face_does(change):
    face = track(jitter=0.3)  # without jitter a still curve is fastest wherever rounding says
    difference = np.abs(row(moved(face, **change)) - row(face))
    counted = np.array([".rising_" in name for name in FAMILIES["face"].names])  # in whole frames
    assert difference[~counted].max() < 1e-3 and difference[counted].max() < 2.5 / len(face)


@pytest.mark.parametrize("rate", [30.0, 50.0, 59.94, 100.0])
def test_the_frame_rate_hardly_changes_what_the_face_does(rate):
    names = FAMILIES["face"].names
    slow, fast = row(track(25.0)), row(track(rate))
    posed = row(track(25.0, kin=simulate.POSED))
    # the median of a smile lies on its slope, where a frame more or less moves it
    for stat, near in {"p05": 4e-3, "p50": 0.02, "p95": 4e-3, "high_first": 0.01, "first": 0.01, "last": 0.01}.items():
        at = [i for i, name in enumerate(names) if name.endswith(f".{stat}")]
        np.testing.assert_allclose(fast[at], slow[at], atol=near, err_msg=stat)
    at = [names.index(f"lip_corner_pull.{s}_{b}") for s in ("speed_mean", "speed_max") for b in ("quick", "calm")]
    assert (np.abs(fast[at] - slow[at]) < 0.2 * np.abs(posed[at] - slow[at])).all()


def test_unseen_frames_are_left_out_and_short_gaps_closed():
    face = track()
    gap, hole = face.points.copy(), face.points.copy()
    gap[40:43] = np.nan
    hole[60:90] = np.nan
    seen = [longest_seen(prepare(replace(face, points=p), FPS)[1]) for p in (face.points, gap, hole)]
    assert len(seen[0]) == len(seen[1]) == len(face)
    face_only = slice(0, len(SIGNAL_NAMES))  # the head's place is in units of the clip's median scale
    np.testing.assert_allclose(seen[2][:, face_only], seen[0][:60, face_only], atol=1e-6)
    lost = longest_seen(prepare(replace(face, points=np.full_like(hole, np.nan)), FPS)[1])
    assert lost.shape == (0, len(CURVES))


def test_the_longest_stretch_is_chosen():
    values = np.zeros((20, 1))
    values[[3, 15]] = np.nan
    values[4:15] = 1.0
    stretch = longest_seen(Signals(np.arange(20.0), values, ("a",), ("iod",)))
    np.testing.assert_array_equal(stretch, np.ones((11, 1)))


# --- head pose ----------------------------------------------------------------------------------------------


def test_in_plane_similarity_is_undone_exactly_and_reported():
    face = track(jitter=0.3)
    other = moved(face, scale=1.7, angle=25.0, shift=(31.0, -12.0))
    (plain, head), (same, turned) = align.frontal(face), align.frontal(other)
    np.testing.assert_allclose(same.points, plain.points, atol=2e-4)
    np.testing.assert_allclose(turned["head_roll"] - head["head_roll"], 25.0, atol=1e-2)
    np.testing.assert_allclose(turned["head_size"], head["head_size"], atol=1e-4)  # within the clip only
    np.testing.assert_allclose(turned["head_yaw"], head["head_yaw"], atol=1e-2)


@pytest.mark.parametrize("axis", [0, 1], ids=["yaw", "pitch"])
@pytest.mark.parametrize("degrees", [-20.0, -8.0, 8.0, 20.0])
def test_a_turned_head_comes_out_more_frontal(axis, degrees):
    model, a = align.template(), math.radians(degrees)
    points = model[:, :2].copy()
    points[:, axis] = model[:, axis] * math.cos(a) + model[:, 2] * math.sin(a)  # turned in depth
    face = track()
    turned = replace(face, points=np.tile(100 * points + 300, (len(face), 1, 1)))
    straight, head = align.frontal(turned)
    eyes = np.linalg.norm(points[36:42].mean(axis=0) - points[42:48].mean(axis=0))
    before = points - points[align.STABLE].mean(axis=0)
    flat = model[:, :2] - model[align.STABLE, :2].mean(axis=0)
    left = np.abs(straight.points[0] - model[:, :2]).max()
    assert left < 0.5 * np.abs(before / eyes - flat).max()
    told = head["head_yaw" if axis == 0 else "head_pitch"]
    assert told == pytest.approx(np.full(len(face), degrees), abs=max(2.0, 0.25 * abs(degrees)))


def test_frontal_keeps_unseen_frames_unseen_and_fits_nothing_over_time():
    face = track(jitter=0.3)
    points = face.points.copy()
    points[10:20] = np.nan
    holed, _ = align.frontal(replace(face, points=points))
    whole, _ = align.frontal(face)
    assert (~holed.seen == np.isin(np.arange(len(face)), np.arange(10, 20))).all()
    np.testing.assert_array_equal(holed.points[20:], whole.points[20:])
    assert holed.unit == "iod" and len(SIGNAL_NAMES) == 24
