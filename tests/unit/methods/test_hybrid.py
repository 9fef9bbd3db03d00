"""Descriptors beside an LSTM-PB: mixed by what each said of people whom it had not seen."""

from dataclasses import replace

import numpy as np
import pytest

from duchenne.datasets import simulate
from duchenne.errors import InputError
from duchenne.features.descriptors import FAMILIES
from duchenne.learn import pieces
from duchenne.learn.boosting import Recipe
from duchenne.learn.calibration import logit, sigmoid
from duchenne.learn.loop import log_epochs
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.methods.hybrid import Hybrid, Mix
from duchenne.tabular.model import DescriptorModel
from duchenne.types import FaceTrack

SMALL = Recipe(candidates=("linear",), folds=3, C=0.01, n_estimators=2)
TINY = PBRecipe(
    "solved",
    hidden_size=8,
    num_layers=1,
    pb_size=3,
    context_size=4,
    epochs=3,
    batch_size=8,
    learning_rate=1e-2,
    n_networks=3,
    pose=True,
)
COLUMNS = 9
COUNT, EACH = 48, 6  # clips, and of each person


def unfitted(names=tuple(f"c{i}" for i in range(COLUMNS)), **changes):
    return Hybrid(DescriptorModel(names, recipe=SMALL), PBModel(replace(TINY, **changes)))


def pairs(seed=0):
    """(object (N,) of (row, sequence), labels, people): each look tells the label in part, by noise of its own."""
    rng, x, y = np.random.default_rng(seed), np.empty(COUNT, object), np.arange(COUNT) % 2
    for i in range(COUNT):
        row = rng.normal(size=COLUMNS) + 0.9 * y[i] * (np.arange(COLUMNS) == 0)
        speed = 0.5 + 0.3 * y[i] + 0.2 * rng.normal()
        phase = np.arange(9 + i % 5)[:, None] * speed + np.arange(86) / 9
        x[i] = (row, (0.3 * np.sin(phase) + 0.03 * rng.normal(size=phase.shape)).astype(np.float32))
    return x, y, np.array([f"p{i // EACH}" for i in range(COUNT)])


def without_sequence(x, *rows):
    x = x.copy()
    for i in rows:
        x[i] = (x[i][0], None)
    return x


@pytest.fixture(scope="module")
def fitted():
    """Fitted to pairs of which clip 7 has no sequence and clip 20 nothing."""
    x, y, who = pairs()
    x = without_sequence(x, 7)
    x[20] = None
    return unfitted().fit_table(x, y, who), x, y, who


# --- the mixture ----------------------------------------------------------------------------------------------------


def test_a_mix_finds_the_coefficients_that_made_the_labels():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(40_000, 2)) * [0.8, 0.5]
    y = (rng.uniform(size=len(z)) < sigmoid(0.9 * z[:, 0] + 1.6 * z[:, 1] - 0.4)).astype(int)
    p = sigmoid(z)
    p[::50, 1] = np.nan  # where one gives no answer nothing is learnt
    p[25::50, 0] = np.nan
    y[::25] = 1
    found = Mix.fit(p[:, 0], p[:, 1], y)
    # four standard errors of a logistic regression on so many are below 0.1
    assert (found.descriptors, found.other, found.bias) == pytest.approx((0.9, 1.6, -0.4), abs=0.1)
    mixed = sigmoid(found(*logit(p[np.isfinite(p).all(axis=1)]).T))
    right = (mixed > 0.5) == (y[np.isfinite(p).all(axis=1)] == 1)
    beyond = np.abs(mixed - 0.5) - found.margin
    assert right[(beyond > -0.05) & (beyond < 0)].mean() < 0.6 < right[(beyond > 0) & (beyond < 0.05)].mean()


def test_an_uninformative_model_gets_no_weight():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(20_000, 2))
    y = (rng.uniform(size=len(z)) < sigmoid(1.2 * z[:, 0])).astype(int)
    found = Mix.fit(*sigmoid(z).T, y)
    assert (found.descriptors, found.other, found.bias) == pytest.approx((1.2, 0.0, 0.0), abs=0.1)
    other = Mix.fit(*sigmoid(z[:, ::-1]).T, y)
    assert (other.descriptors, other.other) == pytest.approx((found.other, found.descriptors), abs=1e-3)


def test_without_an_lstm_pb_s_answer_the_descriptors_answer_alone():
    mix = Mix(0.5, 2.0, 0.3, 0.0)
    found = mix(np.array([1.0, 1.0, -2.0]), np.array([-1.0, np.nan, 0.0]))
    np.testing.assert_allclose(found, [0.5 - 2.0 + 0.3, 1.0, -1.0 + 0.3])


def test_log_odds_of_the_certain_are_finite():
    np.testing.assert_allclose(logit(np.array([0.5, sigmoid(np.array(2.0))])), [0, 2])
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all() and np.isnan(logit(np.array([np.nan]))).all()


# --- learning -------------------------------------------------------------------------------------------------------


def test_members_train_alone_and_the_mix_on_out_of_fold_predictions(fitted):
    model, x, y, who = fitted
    usable = np.arange(COUNT) != 20
    rows, sequences = np.array([each[0] for each in x[usable]]), np.empty(COUNT - 1, object)
    for i, each in enumerate(x[usable]):
        sequences[i] = each[1]
    alone = DescriptorModel(model.descriptors.names, recipe=SMALL).fit_table(rows, y[usable], who[usable])
    pb = PBModel(TINY).fit_table(sequences, y[usable], who[usable])
    np.testing.assert_array_equal(model.descriptors.predict_table(rows), alone.predict_table(rows))
    np.testing.assert_array_equal(model.other.predict_table(sequences), pb.predict_table(sequences))
    mine, other = alone.fitted.out_of_fold, pb.out_of_fold
    assert np.flatnonzero(np.isnan(other)).tolist() == [7] and np.isfinite(mine).all()
    assert model.mix == Mix.fit(mine, other, y[usable]) and model.margin == model.mix.margin
    both = np.delete(np.arange(COUNT - 1), 7)
    z = model.mix.descriptors * logit(mine) + model.mix.other * logit(other) + model.mix.bias
    np.testing.assert_allclose(model.out_of_fold[usable][both], sigmoid(z[both]), rtol=1e-12)
    assert model.out_of_fold[7] == pytest.approx(mine[7], rel=1e-9) and np.isnan(model.out_of_fold[20])


def test_out_of_fold_predictions_do_not_use_the_persons_clips():
    """Another label of all of p2's clips changes the three calibrations, and with them how far and by which look their
    clips are told apart, but no network, line or tree that judges them: their new log-odds are the old ones of both
    looks, in other proportions. In-sample answers are not."""
    x, y, who = pairs()
    mine, turned = who == "p2", np.where(who == "p2", 1 - y, y)
    before, after = (unfitted().fit_table(x, labels, who) for labels in (y, turned))
    looks = [logit(before.descriptors.fitted.out_of_fold[mine]), logit(before.other.out_of_fold[mine]), np.ones(EACH)]
    looks = np.column_stack(looks)

    def left(p):
        z = logit(p[mine])
        return np.abs(z - looks @ np.linalg.lstsq(looks, z, rcond=None)[0]).max()

    assert left(after.out_of_fold) < 1e-4
    assert np.abs(after.out_of_fold - before.out_of_fold)[mine].max() > 1e-3  # other proportions they are
    assert left(after.predict_table(x)[:, 1]) > 1e-2


def test_an_interrupted_fit_resumes_and_ends_the_same(fitted, tmp_path):
    whole, x, y, who = fitted
    reported = []

    def fit(stop):
        def report(line):
            reported.append(line)
            if line.startswith(stop):
                raise KeyboardInterrupt

        model = unfitted()
        model.other.on_epoch = log_epochs(TINY.epochs, report)
        with pieces.caching(tmp_path, report):
            return model.fit_table(x, y, who)

    for moment in ("descriptors: fold 2 of", "2: epoch 1 of"):
        with pytest.raises(KeyboardInterrupt):
            fit(moment)
    reported.clear()
    model = fit("never")
    assert [line[:10] for line in reported if "epoch" in line][:3] == ["2: epoch 2", "2: epoch 3", "3: epoch 1"]
    np.testing.assert_array_equal(model.predict_table(x), whole.predict_table(x))
    np.testing.assert_array_equal(model.out_of_fold, whole.out_of_fold)


def test_the_same_seed_gives_the_same_model(fitted):
    model, x, y, who = fitted
    again = unfitted().fit_table(x, y, who)
    np.testing.assert_array_equal(again.predict_table(x), model.predict_table(x))
    other = unfitted(seed=1).fit_table(x, y, who)
    assert np.nanmax(np.abs(other.predict_table(x) - model.predict_table(x))) > 1e-3
    assert other.mix.descriptors != model.mix.descriptors


def test_it_refuses_before_it_is_fitted_and_with_too_little(fitted):
    _, x, y, who = fitted
    fresh = unfitted()
    assert fresh.margin == 0.0 and fresh.mix is None
    with pytest.raises(InputError, match="not been fitted"):
        fresh.predict_table(x)
    with pytest.raises(InputError, match="not been fitted"):
        fresh.predict_table(x[:0])
    with pytest.raises(InputError, match="at least 4 people, found 1"):
        fresh.fit_table(x, y, np.full(COUNT, "p"))
    with pytest.raises(InputError, match="47 genuine of 47"):
        fresh.fit_table(x, np.ones(COUNT, int), who)
    with pytest.raises(InputError, match="found 0 people and 0 genuine of 0 clips"):
        fresh.fit_table(without_sequence(pairs()[0], *range(COUNT)), y, who)


# --- answers --------------------------------------------------------------------------------------------------------


def test_an_answer_is_both_log_odds_mixed(fitted):
    model, *_ = fitted
    x, _, _ = pairs(seed=3)
    p = model.predict_table(x)
    assert p.shape == (COUNT, 2)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    d = model.descriptors.predict_table(np.array([row for row, _ in x]))[:, 1]
    sequences = np.empty(COUNT, object)
    for i, (_, sequence) in enumerate(x):
        sequences[i] = sequence
    s = model.other.predict_table(sequences)[:, 1]
    m = model.mix
    expected = m.descriptors * np.log(d / (1 - d)) + m.other * np.log(s / (1 - s)) + m.bias
    np.testing.assert_allclose(np.log(p[:, 1] / p[:, 0]), expected, atol=1e-9)
    # each look has its say: without it the answers would be others
    assert np.abs(m.other * logit(s)).max() > 1e-2 and np.abs(m.descriptors * logit(d)).max() > 1e-2


def test_a_clip_is_judged_the_same_alone_and_in_company(fitted):
    model, x, *_ = fitted
    together = model.predict_table(x)
    for i in (0, 7, 20, 33):
        np.testing.assert_allclose(model.predict_table(x[i : i + 1])[0], together[i], atol=1e-5)
    assert np.flatnonzero(np.isnan(together).any(axis=1)).tolist() == [20]
    assert model.predict_table(x[:0]).shape == (0, 2)
    assert np.isnan(model.predict_table(x[20:21])).all()


def test_where_the_sequence_is_missing_the_descriptors_answer_alone(fitted):
    model, x, *_ = fitted
    found = model.predict_table(without_sequence(x, 3, 4))
    alone = model.descriptors.predict_table(np.array([x[i][0] for i in (3, 4, 7)]))
    np.testing.assert_allclose(found[[3, 4, 7]], alone, atol=1e-9)
    assert np.abs(found[[3, 4]] - model.predict_table(x)[[3, 4]]).max() > 1e-3


# --- tracks ---------------------------------------------------------------------------------------------------------


def frames(face, count):
    return FaceTrack(face.time[:count], face.points[:count], face.confidence[:count], face.box[:count], face.frame_size)


def test_tracks_are_read_as_both_read_them():
    """A track from its descriptors and its sequence; one too short for either is no answer."""
    tracks = [simulate.track(simulate.KINDS[("posed", "genuine")[i % 2]], 25.0, seed=i) for i in range(16)]
    y, who = np.arange(16) % 2, np.array([f"p{i // 4}" for i in range(16)])
    short = frames(tracks[0], 3)
    model = Hybrid(DescriptorModel.of_family("peak", recipe=SMALL), PBModel(replace(TINY, epochs=2)))
    table = model.table([*tracks, short])
    assert table.shape == (17,) and table[16] is None
    for i in (0, 5):
        row, sequence = table[i]
        np.testing.assert_array_equal(row, model.descriptors.table(tracks[i : i + 1])[0])
        np.testing.assert_array_equal(sequence, model.other.table(tracks[i : i + 1])[0])
        assert row.shape == (len(FAMILIES["peak"].names),) and sequence.shape[1] == 86
    p = model.fit([*tracks, short], np.append(y, 0), np.append(who, "p9")).predict_proba([*tracks, short])
    assert p.shape == (17, 2) and np.isnan(p[16]).all() and np.isfinite(p[:16]).all()
    np.testing.assert_array_equal(p, model.predict_table(table))
    assert model.needs == "points" and model.predict_proba([]).shape == (0, 2)
