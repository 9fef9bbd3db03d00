"""Phases of an expression: against closed formulas, in cut clips, across gaps, and on a real clip by eye."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duchenne import faces, video
from duchenne.datasets import simulate
from duchenne.datasets.simulate import KINDS, SmileKinematics, smile_curve
from duchenne.errors import UsageError
from duchenne.features.phases import activity, amplitude, main_phase, phases, smoothed
from duchenne.features.signals import face_signals
from duchenne.preprocess import align, clean
from duchenne.types import Phase, Signals

RATE = 50.0
NAMES = ("onset", "apex", "offset", "end")
SMILE = SmileKinematics(onset=0.8, apex=1.0, offset=0.9, amplitude=0.16, peak=4.0)


def curves_of(track):
    return face_signals(align.frontal(clean.resample(track, fps=RATE))[0])


def one_curve(values, rate=RATE, unit="iod"):
    values = np.asarray(values, float)
    return Signals(np.arange(len(values)) / rate, values[:, None], ("lip_corner_pull",), (unit,))


def bump(time, up, top, down, end, size=0.3):
    """Rise, plateau, fall along straight lines."""
    return np.interp(time, [up, top, down, end], [0.0, size, size, 0.0])


def moments(phase):
    return np.array([np.nan if getattr(phase, n) is None else getattr(phase, n) for n in NAMES])


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("seed", [0, 1])
def test_times_of_a_simulated_smile_are_the_level_crossings_of_its_formula(kind, seed):
    kin = KINDS[kind]
    (found,) = phases(curves_of(simulate.track(kin, 30.0, seed, jitter=0.4)))
    fine = np.arange(0, kin.duration, 1e-3)
    share = smile_curve(kin, fine) / kin.amplitude
    low, high = np.flatnonzero(share >= 0.06), np.flatnonzero(share >= 0.92)
    truth = fine[[low[0], high[0], high[-1], low[-1]]]
    assert moments(found) == pytest.approx(truth, abs=0.13)
    assert found.curve == "lip_corner_pull"


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    rate=st.sampled_from([25.0, 30.0, 50.0]),
    lead=st.integers(0, 50),
    tail=st.integers(0, 50),
    seed=st.integers(0, 10**6),
)
def test_neutral_frames_before_or_after_change_nothing(kind, rate, lead, tail, seed):
    """Threes of frames, so that the clip also falls on the same instants of the 50 Hz grid.

    One step of that grid is allowed: points are float32, and a crossing that ties to the seventh digit may round over.
    """
    kin, before, after = KINDS[kind], 3 * lead / rate, 3 * tail / rate
    plain = phases(curves_of(simulate.track(kin, rate, seed)))
    longer = phases(curves_of(simulate.track(kin, rate, seed, before=before, after=after)))
    assert len(plain) == len(longer) == 1
    assert moments(longer[0]) - before == pytest.approx(moments(plain[0]), abs=0.02 + 1e-6)


@settings(max_examples=40, deadline=None)
@given(start=st.floats(0.0, 3.9), stop=st.floats(0.0, 3.9), seed=st.integers(0, 10**6))
def test_a_cut_clip_names_only_the_moments_that_it_shows(start, stop, seed):
    """Moments outside of the clip are None; those well inside stay where they are."""
    if stop - start < 0.3:
        return
    time = np.arange(0, 4.0, 1 / RATE)
    truth = np.array([1.0, 1.6, 2.4, 3.2])
    values = bump(time, *truth) + np.random.default_rng(seed).normal(0, 0.004, len(time))
    inside = (time >= start) & (time <= stop)
    part = Signals(time[inside], values[inside, None], ("x",), ("iod",))
    for phase in phases(part, curve="x"):
        for name, moment in zip(NAMES, truth, strict=True):
            found = getattr(phase, name)
            if moment < start - 0.1 or moment > stop + 0.1:
                assert found is None
            elif start + 0.3 <= moment <= stop - 0.3 and (start <= 0.8 or stop >= 3.4):
                assert found == pytest.approx(moment, abs=0.12), name


@pytest.mark.parametrize(
    ("start", "stop", "known"),
    [
        (0.0, 4.0, "onset apex offset end"),
        (0.0, 2.0, "onset apex"),
        (0.0, 2.9, "onset apex offset"),
        (1.3, 4.0, "apex offset end"),
        (2.0, 4.0, "offset end"),
        (1.3, 2.0, "apex"),
        (1.7, 2.3, ""),
        (0.0, 0.9, ""),
    ],
)
def test_which_moments_a_cut_clip_knows(start, stop, known):
    time = np.arange(start, stop, 1 / RATE)
    noise = np.random.default_rng(0).normal(0, 0.004, len(time))
    found = phases(Signals(time, (bump(time, 1.0, 1.6, 2.4, 3.2) + noise)[:, None], ("x",), ("iod",)), curve="x")
    if not known:
        assert found == ()
        return
    (phase,) = found
    assert " ".join(n for n in NAMES if getattr(phase, n) is not None) == known


def test_two_smiles_are_two_phases_in_time_order_and_the_larger_is_the_main_one():
    time = np.arange(0, 8, 1 / RATE)
    curves = one_curve(bump(time, 1, 1.5, 2, 2.5, 0.2) + bump(time, 4, 4.5, 6, 7, 0.4))
    first, second = phases(curves)
    assert first.end < second.onset
    assert main_phase((first, second), curves) == second
    assert amplitude(first, curves) == pytest.approx(0.2, rel=0.1)
    assert amplitude(second, curves) == pytest.approx(0.4, rel=0.1)
    assert main_phase((), curves) is None


def test_a_dip_in_the_plateau_does_not_part_a_smile():
    time = np.arange(0, 6, 1 / RATE)
    (found,) = phases(one_curve(bump(time, 1, 1.5, 4, 4.5) - bump(time, 2.3, 2.6, 2.7, 3.0, 0.1)))
    assert moments(found) == pytest.approx([1, 1.5, 4, 4.5], abs=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_nothing_above_noise_gives_nothing(seed):
    kin = replace(SMILE, amplitude=0.0)
    assert phases(curves_of(simulate.track(kin, 30.0, seed, after=4.0, jitter=0.5))) == ()
    assert phases(one_curve(np.random.default_rng(seed).normal(0, 0.013, 500))) == ()
    assert phases(one_curve(np.full(100, np.nan))) == ()
    assert phases(one_curve([])) == () and phases(one_curve([0.7])) == ()


def test_lost_landmarks_are_not_an_expression():
    """Points that jump about behind a hand move far, and at random."""
    noise = np.random.default_rng(3).normal(0, 0.1, 300)
    assert phases(one_curve(noise)) == ()


def test_no_phase_spans_an_unseen_stretch():
    time = np.arange(0, 5, 1 / RATE)
    values = bump(time, 1, 1.6, 3, 3.6)
    values[(time > 2) & (time < 2.6)] = np.nan
    before, after = phases(one_curve(values))
    assert (before.offset, before.end, after.onset, after.apex) == (None,) * 4
    assert moments(before)[:2] == pytest.approx([1, 1.6], abs=0.1)
    assert moments(after)[2:] == pytest.approx([3, 3.6], abs=0.1)


def test_a_seen_stretch_is_measured_as_if_it_were_alone():
    """Rest and size are of one seen stretch: what is seen before or after a gap changes neither."""
    time = np.arange(0, 9, 1 / RATE)
    mouth = bump(time, 1, 1.5, 2.0, 2.5, 0.2) + bump(time, 4.6, 5.0, 7.0, 7.6, 0.1) + 0.3 * (time > 4)
    brows = bump(time, 5.0, 5.6, 6.8, 7.6, 0.1) + 0.2 * (time > 4)  # the face comes back turned, or another one
    values = np.column_stack([mouth, brows])
    values[(time > 3.2) & (time < 4.2)] = np.nan
    values[time > 7.2] = np.nan
    both = Signals(time, values, ("lip_corner_pull", "brow_height"), ("iod", "iod"))
    inside = time >= 4.2
    alone = replace(both, time=time[inside], values=values[inside])
    assert activity(both)[inside] == pytest.approx(activity(alone), nan_ok=True)
    assert activity(both)[inside][:10].max() < 0.01
    for curve in ("lip_corner_pull", "activity"):
        _, late = phases(both, curve=curve)
        (single,) = phases(alone, curve=curve)
        assert late == single and late.end is None
        assert (
            amplitude(late, both)
            == amplitude(single, alone)
            == pytest.approx(0.14 if curve == "activity" else 0.1, abs=0.02)
        )


def test_a_curve_that_falls_is_found_downwards_and_in_both():
    time = np.arange(0, 5, 1 / RATE)
    curves = one_curve(0.4 - bump(time, 1, 1.6, 3, 3.6, 0.1))
    (down,) = phases(curves, direction="down")
    assert moments(down) == pytest.approx([1, 1.6, 3, 3.6], abs=0.1)
    assert phases(curves, direction="both") == (down,)
    rising = phases(curves, direction="up")
    assert len(rising) == 2 and rising[0].onset is None and rising[1].end is None


def test_the_answer_does_not_depend_on_the_rate_of_the_curve():
    rng = np.random.default_rng(0)
    for time in (np.arange(0, 5, 0.01), np.arange(0, 5, 0.04), np.cumsum(rng.uniform(0.02, 0.05, 150))):
        curves = Signals(time, bump(time, 1, 1.6, 3, 3.6)[:, None], ("x",), ("iod",))
        (found,) = phases(curves, curve="x")
        assert moments(found) == pytest.approx([1, 1.6, 3, 3.6], abs=0.08)


def test_smoothing_keeps_straight_lines_to_the_ends_and_equals_weighted_least_squares():
    time = np.arange(60) / RATE
    line = 3 - 2 * time
    assert smoothed(time, line) == pytest.approx(line, abs=1e-9)
    values = np.random.default_rng(1).normal(size=60)
    for i in (0, 2, 30, 59):
        weight = np.exp(-0.25 * ((time - time[i]) / 0.1) ** 2)  # its square root
        design = np.column_stack([np.ones(60), time - time[i]]) * weight[:, None]
        fit = np.linalg.lstsq(design, values * weight, rcond=None)[0]
        assert smoothed(time, values, sigma=0.1)[i] == pytest.approx(fit[0], abs=5e-3)


def test_activity_rises_with_any_movement_and_has_the_phases_of_the_smile():
    curves = curves_of(simulate.track(SMILE, 30.0))
    movement = activity(curves)
    assert movement[:10].max() < 0.05 < 0.15 < movement.max()
    (lip,) = phases(curves)
    whole = main_phase(phases(curves, curve="activity"), curves)
    assert whole is not None and whole.curve == "activity"
    assert moments(whole) == pytest.approx(moments(lip), abs=0.25)
    hidden = replace(curves, values=np.where(np.arange(len(movement))[:, None] < 5, np.nan, curves.values))
    assert np.isnan(activity(hidden)[:5]).all() and np.isfinite(activity(hidden)[5:]).all()


def test_names_that_do_not_exist_are_refused():
    with pytest.raises(UsageError, match="no curve 'grin'"):
        phases(one_curve(np.zeros(50)), curve="grin")
    with pytest.raises(UsageError, match="direction"):
        phases(one_curve(np.zeros(50)), direction="sideways")


def test_phases_of_a_real_smile_are_what_the_eye_sees():
    """Seen frame by frame: lips first move at 0.50, the smile is full at 0.77, falls from 2.27 to the cut."""
    folder = os.environ.get("DUCHENNE_DATA")
    if not folder:
        pytest.skip("DUCHENNE_DATA does not name the folder with the shared clips.")
    track = faces.protagonist(faces.follow(video.frames(Path(folder) / "clips" / "single_face.mp4")).tracks)
    assert track is not None
    (found,) = phases(curves_of(track))
    assert found == Phase(*(pytest.approx(t, abs=0.05) for t in (0.50, 0.77, 2.27)), None, "lip_corner_pull")
