"""Drawn smiles against the measured distributions, made-up faces against geometry, both as the same tools see them."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu, spearmanr

from duchenne.datasets import kinematics, people, portrait, simulate
from duchenne.datasets.kinematics import KINDS, SmileKinematics, draw, smile_curve
from duchenne.datasets.people import Person, mean_face, reshape, someone
from duchenne.datasets.portrait import LANDMARKS
from duchenne.errors import UsageError
from duchenne.features import smile
from duchenne.features.descriptors import prepare

MEASURED = json.loads((Path(__file__).parents[3] / "experiments" / "smile_kinematics.json").read_text("utf-8"))
SMILE = kinematics.QUANTITIES[:6]
both = pytest.mark.parametrize("kind", sorted(KINDS))


def row(kin):
    times = [kin.onset, kin.apex, kin.offset, kin.amplitude, kin.max_speed, kin.max_offset_speed]
    return [*times, kin.asymmetry, kin.head_motion, kin.unrest]


def spread(x):
    low, high = np.nanpercentile(x, [16, 84], axis=0)
    return (high - low) / 2


def measured(kind, name):
    return np.array([MEASURED["uva_nemo"][kind][name][key] for key in SMILE])


@pytest.fixture(scope="module")
def drawn():
    rngs = {kind: np.random.default_rng(i) for i, kind in enumerate(KINDS)}
    return {kind: np.array([row(draw(kind, rngs[kind])) for _ in range(2000)]) for kind in KINDS}


def test_the_constants_are_those_that_the_experiment_measured():
    found, shares = MEASURED["pedfe"], MEASURED["pedfe"]["between_people"]
    for kind in KINDS:
        assert dict(zip(SMILE, kinematics.SPREADS[kind], strict=True)) == MEASURED["uva_nemo"][kind]["spread"]
        assert list(kinematics.CORRELATIONS[kind]) == MEASURED["uva_nemo"][kind]["correlation"]
    others = kinematics.QUANTITIES[6:]
    assert dict(zip(others, kinematics.OTHER_SPREADS, strict=True)) == found["spread"]
    assert list(kinematics.BETWEEN) == [found["between_people_smile"], *(shares[name] for name in others)]
    assert found["shapes"] == people.SHAPES
    assert len(kinematics.QUANTITIES) == people.TRAITS


def test_the_experiment_agrees_with_the_table():
    folder = os.environ.get("DUCHENNE_DATA")
    if not folder:
        pytest.skip("DUCHENNE_DATA does not name the folder with the shared data.")
    table = pd.read_csv(Path(folder) / "data" / "uva_nemo" / "lip.csv")
    plain = smile.from_table(table)
    for kind, genuine in (("posed", 0), ("genuine", 1)):
        amplitude = plain["onset_net_amplitude"][table["genuine"] == genuine]
        above = MEASURED["amplitude_above"][kind]
        assert (amplitude > 0.2).mean() == pytest.approx(above["0.2"], abs=1e-3)
        onset = plain["onset_duration_total"][(table["genuine"] == genuine) & (plain["onset_net_amplitude"] > 0)]
        assert np.median(onset) == pytest.approx(MEASURED["uva_nemo"][kind]["median"]["onset"], abs=1e-3)
        assert spread(np.log(onset)) == pytest.approx(MEASURED["uva_nemo"][kind]["spread"]["onset"], abs=2e-3)


# Standard errors for normal logs, of draws (n = 2000) and table (n > 460) together: 1.25 s √(1/2000 + 1/461) = 0.065 s
# of a median, 0.96 times the root, 5 %, of a spread. What the limits cut off adds to that.
@both
def test_draws_are_centred_and_spread_as_measured(drawn, kind):
    x, kin = drawn[kind], KINDS[kind]
    centre = np.array(row(kin)[:6])
    aside = np.abs(np.log(np.median(x[:, :6], axis=0) / centre))
    assert (aside < 2 * 0.065 * measured(kind, "spread")).all()
    assert spread(np.log(x[:, :6])) == pytest.approx(measured(kind, "spread"), rel=0.1)
    others = np.column_stack([x[:, 6], np.log(x[:, 7:])])
    assert spread(others) == pytest.approx(list(kinematics.OTHER_SPREADS), rel=0.1)
    error = 1.25 * np.array(kinematics.OTHER_SPREADS) / np.sqrt(2000)
    assert (np.abs(np.median(others, axis=0)) < 3 * error).all()


@both
def test_draws_correlate_as_measured(drawn, kind):
    upper = np.triu_indices(6, 1)
    found, meant = spearmanr(drawn[kind][:, :6]).statistic[upper], np.array(MEASURED["uva_nemo"][kind]["correlation"])
    assert found == pytest.approx(meant, abs=0.15)
    clear = np.abs(meant) > 0.1
    assert clear.sum() >= 7 and (np.sign(found[clear]) == np.sign(meant[clear])).all()


def test_posed_smiles_are_faster_and_shorter(drawn):
    posed, genuine = drawn["posed"], drawn["genuine"]
    for column in (0, 1, 2):
        assert mannwhitneyu(posed[:200, column], genuine[:200, column], alternative="less").pvalue < 1e-3
    for column in (4, 5):
        assert mannwhitneyu(posed[:200, column], genuine[:200, column], alternative="greater").pvalue < 1e-3


def test_a_persons_smiles_are_alike_by_the_stated_share():
    """One-way analysis of variance over 300 people of 6 smiles gives back the shares; none without traits."""
    rng = np.random.default_rng(0)
    rows = np.array([[row(draw("posed", rng, who)) for _ in range(6)] for who in (someone(rng) for _ in range(300))])
    x = np.concatenate([np.log(rows[..., :6]), rows[..., 6:7], np.log(rows[..., 7:])], axis=-1)
    inside = x.var(axis=1, ddof=1).mean(axis=0)
    between = x.mean(axis=1).var(axis=0, ddof=1) - inside / 6
    share = between / (between + inside)
    assert share[:6] == pytest.approx(kinematics.BETWEEN[0], abs=0.08)
    assert share[6:] == pytest.approx(list(kinematics.BETWEEN[1:]), abs=0.08)


def test_a_person_far_from_the_mean_smiles_far_from_the_mean():
    rng, far = np.random.default_rng(0), np.zeros(people.TRAITS)
    far[3] = 2.0
    big, usual = ([draw("genuine", rng, Person(traits=t)).amplitude for _ in range(200)] for t in (far, 0 * far))
    lift = np.log(np.median(big) / np.median(usual))
    # two deviations of the between-person part, a little less as the largest smiles are drawn again
    assert 0.5 < lift / (2 * np.sqrt(kinematics.BETWEEN[0]) * kinematics.SPREADS["genuine"][3]) < 1.2


def test_no_drawn_smile_folds_the_portrait():
    rng, wide = np.random.default_rng(0), Person(shape=np.array([0, 0, 0, 0, 0, 2.0]))
    smiles = [draw("posed", rng, wide) for _ in range(300)]
    shown = [people.own_pull(np.array(kin.amplitude), wide) * (1 + abs(kin.asymmetry)) for kin in smiles]
    assert 0.3 < np.max(shown) <= 0.38 and max(kin.amplitude for kin in smiles) < 0.32


def test_equal_generators_draw_equal_smiles_and_unknown_kinds_raise():
    one, again = (draw("posed", np.random.default_rng(3)) for _ in range(2))
    assert one == again != draw("posed", np.random.default_rng(4))
    with pytest.raises(UsageError, match="choose one of: genuine, posed"):
        draw("fake", np.random.default_rng(0))
    with pytest.raises(UsageError, match="use smaller ones"):
        draw("posed", np.random.default_rng(0), Person("giant", traits=np.full(people.TRAITS, 1e3)))


def test_a_smile_too_wide_for_the_portrait_raises():
    with pytest.raises(UsageError, match="more even smile"):
        SmileKinematics(0.5, 0.5, 0.5, amplitude=0.3, asymmetry=0.5)


def test_moments_add_up_to_the_durations():
    kin = SmileKinematics(0.5, 0.25, 1.0, 0.1, neutral_before=0.5, neutral_after=0.75)
    assert kin.moments == (0.5, 1.0, 1.25, 2.25) and kin.duration == 3.0
    assert kin.max_offset_speed == pytest.approx(kin.offset_peak * 0.1)


@both
def test_tracks_of_drawn_smiles_measure_as_the_table_does(kind):
    rng, found = np.random.default_rng(0), []
    for seed in range(120):
        numbers = smile.describe(prepare(simulate.track(draw(kind, rng), 30.0, seed), 50.0)[0])[0]
        names = [f"{part}_duration_total" for part in smile.PARTS] + ["onset_net_amplitude"]
        found.append([numbers[n] for n in (*names, "onset_maximum_speed_positive", "offset_maximum_speed_negative")])
    assert np.isfinite(found).all(axis=1).mean() > 0.95
    # three standard errors of 120 smiles; what is measured spreads less than the table's own mistakes let it
    aside = np.log(np.nanmedian(found, axis=0) / measured(kind, "median"))
    assert (np.abs(aside) < 3 * 1.25 * measured(kind, "spread") / np.sqrt(120)).all()
    share = spread(np.log(np.array(found) + 1e-3)) / measured(kind, "spread")
    assert (share > 0.5).all() and (share < 1.3).all()


def crossing(time, curve, level):
    return time[np.flatnonzero(curve >= level)[0]]


@both
def test_the_phases_found_are_those_that_are_known(kind):
    """A phase starts at 6 % and stands from 92 % of the rise (features.phases); both moments are read off the
    known curve, backwards for the fall."""
    rng, aside = np.random.default_rng(1), []
    for seed in range(40):
        kin = replace(draw(kind, rng, someone(rng)), neutral_after=1.2)
        phase = smile.describe(prepare(simulate.track(kin, 50.0, seed, jitter=0.1), 50.0)[0])[1]
        if phase is None or None in (phase.onset, phase.apex, phase.offset, phase.end):
            continue
        time = np.arange(0, kin.duration, 0.01)
        curve = smile_curve(kin, time) / (kin.amplitude * (1 - kin.fluctuation / 2))
        up, down = (
            [crossing(t, c, level) for level in (0.06, 0.92)] for t, c in ((time, curve), (-time[::-1], curve[::-1]))
        )
        meant = [up[0], up[1], -down[1], -down[0]]
        aside.append(np.subtract([phase.onset, phase.apex, phase.offset, phase.end], meant))
        onset, _, _, end = kin.moments
        assert onset - 0.15 < phase.onset and phase.end < end + 0.15
    assert len(aside) > 30
    assert np.median(np.abs(aside), axis=0).max() < 0.12


corners = np.array([[a, b, c, a, b, c] for a in (-2.0, 2.0) for b in (-2.0, 0.0, 2.0) for c in (-2.0, 2.0)])


@pytest.mark.parametrize("shape", corners)
def test_no_simulated_face_is_folded_and_mean_face_inverts_it(shape):
    who = Person(shape=shape)
    grid = np.stack(np.meshgrid(np.arange(150, 300, 1.0), np.arange(40, 205, 1.0)), axis=-1)
    at = reshape(grid, who)
    (xx, xy), (yx, yy) = (np.gradient(at[..., i], axis=(1, 0)) for i in (0, 1))
    assert (xx * yy - xy * yx).min() > 0
    assert mean_face(at, who) == pytest.approx(grid, abs=1e-3)
    edge = np.abs(at - grid)[[0, -1]].max()
    assert edge == 0


def test_a_shape_changes_the_proportion_it_is_named_after():
    rest = LANDMARKS - portrait.smile()[:68]

    def sizes(points):
        p = points - points[36:48].mean(axis=0)
        eyes = np.mean([p[41, 1] - p[37, 1], p[40, 1] - p[38, 1], p[47, 1] - p[43, 1], p[46, 1] - p[44, 1]])
        wide = [np.hypot(*(p[b] - p[a])) for a, b in ((3, 13), (31, 35), (48, 54))]
        return np.array([wide[0], p[8, 1] - p[57, 1], -p[17:27, 1].mean(), eyes, wide[1], wide[2]])

    for i, (name, deviation) in enumerate(people.SHAPES.items()):
        change = sizes(reshape(rest, Person(shape=np.eye(6)[i]))) / sizes(rest) - 1
        assert change[i] == pytest.approx(deviation, rel=0.35), name
        assert np.abs(change).argmax() == i, name


def test_every_person_smiles_as_widely_as_the_kinematics_say():
    kin = replace(KINDS["posed"], head_motion=0.0, unrest=0.0, asymmetry=0.0, amplitude=0.3)
    for shape in ([0, 0, 0, 0, 0, 2.0], [0, 0, 0, 0, 0, -2.0], [2.0, 2.0, 0, 0, -2.0, 1.0]):
        track = simulate.track(kin, 50.0, jitter=0.0, person=Person(shape=np.array(shape)))
        right, left = track.points[:, 48].astype(float), track.points[:, 54].astype(float)
        centre, width = (right[0] + left[0]) / 2, np.hypot(*(right[0] - left[0]))
        ways = np.linalg.norm(right - centre, axis=1) + np.linalg.norm(left - centre, axis=1)
        assert ways / (2 * width) - 0.5 == pytest.approx(smile_curve(kin, track.time), abs=1e-3)


def test_people_differ_and_nobody_is_farther_than_two_deviations():
    rng = np.random.default_rng(0)
    shapes = np.array([someone(rng).shape for _ in range(500)])
    assert np.abs(shapes).max() <= 2.0
    # a normal distribution cut off at 2 has a standard deviation of 0.88
    assert shapes.std(axis=0) == pytest.approx(0.88, abs=0.08)
    assert (reshape(LANDMARKS, Person(shape=shapes[0])) != reshape(LANDMARKS, Person(shape=shapes[1]))).any()
