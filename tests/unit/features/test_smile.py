"""Smile descriptors: against a slow second computation, against closed formulas, and against the tables."""

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duchenne.datasets import simulate
from duchenne.datasets.simulate import KINDS
from duchenne.errors import InputError
from duchenne.features import smile
from duchenne.features.smile import COLUMNS, DESCRIPTORS, PARTS, SHARED, TABLE_FPS
from duchenne.preprocess import align, clean
from duchenne.types import Phase, Signals

FPS = 50.0


def prepared(track, fps=FPS):
    return align.frontal(clean.resample(track, fps=fps))[0]


def curves_of(mean, left=None, right=None, fps=FPS):
    mean = np.asarray(mean, float)
    sides = [mean if side is None else np.asarray(side, float) for side in (left, right)]
    return Signals(np.arange(len(mean)) / fps, np.column_stack([mean, *sides]), ("a", "b", "c"), ("lip widths",) * 3)


def slow(curve, fps):
    """Every descriptor that both readings share, frame by frame, in plain Python; None where undefined."""
    rises, falls = [], []
    for before, after in pairwise(curve):
        if after > before:
            rises.append(after - before)
        if after < before:
            falls.append(before - after)
    n, net = len(rises) + len(falls), curve[-1] - curve[0]
    return {
        "duration_positive": len(rises) / fps,
        "duration_negative": len(falls) / fps,
        "duration_full": n / fps,
        "duration_total": (len(curve) - 1) / fps,
        "duration_ratio_positive": len(rises) / n,
        "duration_ratio_negative": len(falls) / n,
        "total_amplitude_positive": sum(rises),
        "total_amplitude_negative": sum(falls),
        "net_amplitude": net,
        "amplitude_ratio_positive": sum(rises) / (sum(rises) + sum(falls)),
        "amplitude_ratio_negative": sum(falls) / (sum(rises) + sum(falls)),
        "maximum_speed_positive": max(rises, default=0.0) * fps,
        "maximum_speed_negative": max(falls, default=0.0) * fps,
        "mean_speed_positive": sum(rises) / len(rises) * fps if rises else 0.0,
        "mean_speed_negative": sum(falls) / len(falls) * fps if falls else 0.0,
        "net_amplitude_duration_ratio": net / (n / fps),
    }


def stepped(rng):
    """A noisy smile in coarse steps, so that some rise, some fall and some are flat; and its phase."""
    time = np.arange(0, 4, 1 / FPS)
    curve = np.interp(time, [0.6, 1.4, 2.2, 3.4], [0.5, 0.7, 0.68, 0.5]) + rng.normal(0, 0.004, len(time))
    return np.round(curve, 2) + 0.0, Phase(0.5, 1.3, 2.3, 3.5)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_descriptors_equal_a_slow_second_computation(seed):
    curve, phase = stepped(np.random.default_rng(seed))
    found = smile.smile_descriptors(curves_of(curve), phase, window=0.0)
    inside = curve[25:176]
    # the longest stretch without a fall, then the longest later one without a rise, by trying them all
    runs = [
        [
            (j - i, -i, i, j)
            for i in range(151)
            for j in range(i + 1, 151)
            if (sign * np.diff(inside[i : j + 1]) >= 0).all()
        ]
        for sign in (1, -1)
    ]
    top = max(runs[0])[3]
    fall = max(run for run in runs[1] if run[2] > top)[2]
    for part, (a, b) in zip(PARTS, ((0, top), (top, fall), (fall, 150)), strict=True):
        for name, value in slow(list(inside[a : b + 1]), FPS).items():
            assert found[f"{part}_{name}"] == pytest.approx(value, abs=1e-9), (part, name)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_table_is_converted_to_plain_units(seed):
    curve, phase = stepped(np.random.default_rng(seed))
    curves = curves_of(curve)
    plain = smile.smile_descriptors(curves, phase)
    table = smile.smile_descriptors(curves, phase, table=True)
    assert tuple(table) == COLUMNS
    back = smile.from_table(table)
    assert set(back) == {f"{part}_{name}" for part in PARTS for name in SHARED}
    for name, value in back.items():
        if name.endswith("duration_total") and abs(plain[name.replace("duration_total", "net_amplitude")]) < 1e-6:
            continue  # the flat steps are lost where the mean step is zero
        assert float(value) == pytest.approx(plain[name], abs=1e-9, nan_ok=True), name


def test_the_readings_differ_as_the_tables_do():
    """Counted by hand: steps 0 2 −1 3 0 (hundredths) of an onset, in plain units and as a table has it."""
    onset = 0.5 + np.array([0, 0, 2, 1, 4, 4]) / 100
    phase = Phase(0.0, 0.02, None, None)
    part = smile._plain(np.stack([onset - 0.5] * 3), FPS)
    table = smile._as_table(np.stack([onset, onset + np.array([0, 0, 0, 0, 0, 0.05]), onset]), FPS)
    assert (part["duration_positive"], part["duration_full"], part["duration_total"]) == pytest.approx(
        (0.04, 0.06, 0.1)
    )
    assert (table["duration_positive"], table["duration_full"]) == pytest.approx((0.08, 0.12))
    assert part["maximum_amplitude"] == pytest.approx(0.04) and part["mean_amplitude_full"] == pytest.approx(0.022)
    assert table["maximum_amplitude"] == pytest.approx(0.03) and table["mean_amplitude_full"] == pytest.approx(0.008)
    assert table["std_amplitude"] == pytest.approx(np.std([0, 2, -1, 3, 0], ddof=1) / 100)
    # changes of the step: 2 −3 4 −3; the second is at the falling step
    assert table["maximum_acceleration_positive"] == pytest.approx(4 / 100 * FPS)
    assert table["mean_acceleration_positive"] == pytest.approx((2 + 4 - 3) / 3 / 100 * FPS)
    assert table["maximum_acceleration_negative"] == pytest.approx(-3 / 100 * FPS)
    assert part["maximum_acceleration_positive"] == pytest.approx(4 / 100 * FPS**2)
    assert part["mean_acceleration_positive"] == pytest.approx((2 + 4) / 2 / 100 * FPS**2)
    assert part["maximum_acceleration_negative"] == pytest.approx(3 / 100 * FPS**2)
    assert table["left_right_amplitude_difference"] == pytest.approx(0.01)
    assert phase.offset is None


def test_the_lip_curve_is_a_half_at_rest_and_grows_by_the_movement_of_the_corners():
    still = prepared(simulate.track(replace(KINDS["posed"], amplitude=0.0, head_motion=0.0), 50.0, jitter=0.0))
    moved = still.points.copy()
    width = np.linalg.norm(moved[0, 48] - moved[0, 54])
    moved[60:, 54, 0] += 0.2 * width
    curves = smile.lip_curve(still.evolve("move", points=moved))
    assert curves["lip"][:60] == pytest.approx(0.5, abs=1e-4)
    assert curves["lip"][60:] == pytest.approx(0.6, abs=1e-4)
    assert curves["lip_left"][60:] == pytest.approx(0.5, abs=1e-4)
    assert curves["lip_right"][60:] == pytest.approx(0.7, abs=1e-4)
    late = smile.lip_curve(still.evolve("move", points=moved), rest=float(still.time[-1]))
    assert late["lip"][60:] == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_simulated_smile_is_measured_as_it_was_made(kind):
    kin = KINDS[kind]
    found, phase = smile.describe(prepared(simulate.track(kin, 50.0, seed=2, jitter=0.1)))
    assert None not in (phase.onset, phase.apex, phase.offset, phase.end)
    assert found["onset_net_amplitude"] == pytest.approx(kin.amplitude, rel=0.12)
    assert found["offset_net_amplitude"] == pytest.approx(-kin.amplitude, rel=0.15)
    assert found["onset_maximum_speed_positive"] == pytest.approx(kin.max_speed, rel=0.25)
    total = sum(found[f"{part}_duration_total"] for part in PARTS)
    assert total == pytest.approx(phase.end - phase.onset + 0.2, abs=0.03)


def test_spontaneous_kinematics_are_slower_and_longer_than_posed_ones():
    (real, _), (posed, _) = (
        smile.describe(prepared(simulate.track(KINDS[k], 30.0, seed=1))) for k in ("genuine", "posed")
    )
    assert real["onset_mean_speed_positive"] < 0.8 * posed["onset_mean_speed_positive"]
    assert real["onset_duration_full"] > posed["onset_duration_full"]


@settings(max_examples=15, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    lead=st.integers(0, 100),
    tail=st.integers(0, 100),
    seed=st.integers(0, 10**6),
)
def test_neutral_frames_before_or_after_change_nothing(kind, lead, tail, seed):
    kin, rate = KINDS[kind], 25.0
    plain, _ = smile.describe(prepared(simulate.track(kin, rate, seed)))
    longer, _ = smile.describe(prepared(simulate.track(kin, rate, seed, before=lead / rate, after=tail / rate)))
    for name in ("onset_net_amplitude", "onset_maximum_speed_positive", "offset_net_amplitude"):
        assert longer[name] == pytest.approx(plain[name], rel=0.05)
    for part in PARTS:
        assert longer[f"{part}_duration_total"] == pytest.approx(plain[f"{part}_duration_total"], abs=0.045)


def test_cut_parts_are_missing_and_no_smile_is_all_missing():
    track = prepared(simulate.track(KINDS["posed"], 50.0, seed=0))
    stop = int(2.0 * FPS)
    cut = track.evolve(
        "cut",
        time=track.time[:stop],
        points=track.points[:stop],
        box=track.box[:stop],
        confidence=track.confidence[:stop],
    )
    found, phase = smile.describe(cut)
    assert phase.onset is not None and phase.end is None
    assert all(np.isfinite(found[f"onset_{name}"]) for name in DESCRIPTORS)
    assert all(np.isnan(found[f"{part}_{name}"]) for part in ("apex", "offset") for name in DESCRIPTORS)
    still, nothing = smile.describe(prepared(simulate.track(replace(KINDS["posed"], amplitude=0.0), 50.0)))
    assert nothing is None and np.isnan(list(still.values())).all() and set(still) == set(found)
    table, _ = smile.describe(cut, table=True)
    assert tuple(table) == COLUMNS


def test_smoothing_keeps_gaps_and_steps():
    values = np.r_[np.zeros(40), np.ones(40), np.full(5, np.nan), np.ones(20)]
    assert smile.smoothed(values, FPS) == pytest.approx(values, nan_ok=True)
    spiky = values.copy()
    spiky[20] = 9.0
    assert smile.smoothed(spiky, FPS)[:40] == pytest.approx(0)


def test_an_uneven_grid_and_a_short_table_are_refused():
    curves = curves_of(np.linspace(0.5, 0.7, 60))
    uneven = replace(curves, time=np.r_[curves.time[:30], curves.time[30:] + 0.5])
    with pytest.raises(InputError, match="even time grid"):
        smile.smile_descriptors(uneven, Phase(0.1, 0.5, None, None))
    with pytest.raises(InputError, match="onset_duration_positive"):
        smile.from_table({"genuine": [1]})


def test_the_public_table_obeys_the_reading():
    """Identities that hold in all rows only if the tables were made as `_as_table` says."""
    folder = os.environ.get("DUCHENNE_DATA")
    if not folder:
        pytest.skip("DUCHENNE_DATA does not name the folder with the shared data.")
    table = pd.read_csv(Path(folder) / "data" / "uva_nemo" / "lip.csv")
    plain = smile.from_table(table)
    for part in PARTS:
        raw = {name: table[f"{part}_{name}"].to_numpy() for name in DESCRIPTORS}
        got = {name: plain[f"{part}_{name}"] for name in SHARED}
        for name in ("duration_positive", "duration_negative", "duration_full", "duration_total"):
            frames = got[name] * TABLE_FPS
            assert frames == pytest.approx(np.round(frames), abs=2e-2), name
        assert (got["duration_total"] > got["duration_full"] - 1e-3).all()
        for sign in ("positive", "negative"):
            way = got[f"mean_speed_{sign}"] * got[f"duration_{sign}"]
            assert way == pytest.approx(got[f"total_amplitude_{sign}"], abs=1e-6)
            assert raw[f"mean_amplitude_{sign}"] * TABLE_FPS == pytest.approx(got[f"mean_speed_{sign}"], abs=1e-6)
        speed = got["net_amplitude"] / got["duration_full"]
        assert speed == pytest.approx(got["net_amplitude_duration_ratio"], abs=1e-6)
        rising = raw["maximum_amplitude"] > 0
        peak = raw["maximum_amplitude"][rising] * TABLE_FPS
        assert peak == pytest.approx(got["maximum_speed_positive"][rising], abs=1e-6)
        # accelerations are differences of two speeds of the part, so none exceeds their range
        span = got["maximum_speed_positive"] + got["maximum_speed_negative"]
        assert (raw["maximum_acceleration_positive"] <= span + 1e-6).all()
