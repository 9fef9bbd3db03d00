"""Learning networks whose PB is solved for: resumed, averaged, and never shown the people that they judge."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from duchenne import checkpoints
from duchenne.datasets import simulate
from duchenne.errors import InputError
from duchenne.features.points40 import KEPT, MIDPOINTS, points40
from duchenne.features.sequences import padded
from duchenne.learn.calibration import platt
from duchenne.learn.folds import person_folds
from duchenne.learn.loop import Diverged, fit
from duchenne.lstm_pb.evidence import REGIONS
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.lstm_pb.solved_learner import SolvedLearner
from duchenne.preprocess import align

TINY = PBRecipe(
    "solved",
    hidden_size=8,
    num_layers=1,
    pb_size=3,
    context_size=4,
    epochs=3,
    batch_size=4,
    learning_rate=1e-2,
    n_networks=3,
    dropout=0.3,
    head=True,
)
ALL = np.array([""])


def waves(n=18, seed=0, inputs=80):
    """(sequences, labels, people) of n clips of n/3 people: waves over the face, fast ones genuine."""
    rng, x = np.random.default_rng(seed), np.empty(n, object)
    for i in range(n):
        phase = np.arange(8 + i % 5)[:, None] * (0.4 + 0.5 * (i % 2)) + np.arange(inputs) / 9
        x[i] = (0.3 * np.sin(phase) + 0.03 * rng.normal(size=phase.shape)).astype(np.float32)
    return x, np.arange(n) % 2, np.array([f"p{i // 3}" for i in range(n)])


def learner(held=(0, 1, 2, 3), recipe=TINY, **changes):
    x, y, _ = waves()
    given = {"sequences": list(x), "labels": y, **changes}
    return SolvedLearner(recipe, given["sequences"], given["labels"], np.array(held), recipe.seed)


def bits(state):
    return {name: tensor.numpy().tobytes() for name, tensor in state.items()}


def logits(member, x):
    """float64 (N,): log-odds by one network, each clip alone."""
    with torch.no_grad():
        return np.array([float(member.logit(member(*map(torch.from_numpy, padded([s]))).pb)[0]) for s in x])


@pytest.fixture(scope="module")
def model():
    return PBModel(TINY).fit_table(*waves())


# --- one network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_resumed_training_ends_with_the_same_weights(tmp_path, epochs):
    whole, broken, again = learner(), learner(), learner()
    curve = fit(whole, TINY.schedule)

    def stop(row):
        if row["epoch"] == epochs:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(broken, TINY.schedule, tmp_path, stop)
    assert bits(broken.state()) != bits(whole.state())
    torch.manual_seed(12345)  # as a fresh process would stand anywhere
    assert fit(again, TINY.schedule, tmp_path) == curve
    assert bits(again.state()) == bits(whole.state()) and again.step == whole.step == 3 * 4


def test_the_averaged_weights_are_a_running_average_of_all_steps():
    it, rng = learner(recipe=replace(TINY, learning_rate=0.1)), np.random.default_rng(0)
    mean = {name: weight.detach().clone() for name, weight in it.network.named_parameters()}
    step = 0
    for _ in range(3):
        for _ in it.epoch(rng, 1.0):
            step += 1
            old = step / (step + 9)  # the first step weighs .9, the second 9/11, …
            for name, weight in it.network.named_parameters():
                mean[name] = old * mean[name] + (1 - old) * weight.detach()
    assert step == 12
    for name, weight in it.average.named_parameters():
        torch.testing.assert_close(weight.detach(), mean[name], rtol=1e-5, atol=1e-6)
    assert any((mean[name] - weight).abs().max() > 1e-3 for name, weight in it.network.named_parameters())
    # and it is they that answer and that are judged
    x, y, _ = waves()
    rows = np.array([3, 0, 2, 1])
    np.testing.assert_allclose(it.logits(rows), logits(it.average, x[rows]), atol=1e-5)
    assert it.score() == pytest.approx(1 - roc_auc_score(y[:4], logits(it.average, x[:4])))


def test_held_out_clips_change_no_weight():
    """Neither labels nor movements of the people left out; those of one that is learnt from do."""
    x, y, _ = waves()

    def learnt(change, labels=y, sequences=x):
        labels, sequences = labels.copy(), sequences.copy()
        for i in change:
            labels[i], sequences[i] = 1 - labels[i], sequences[i][::-1] * 3
        it = learner(labels=labels, sequences=list(sequences))
        fit(it, TINY.schedule)
        return it

    plain, held, other = learnt(()), learnt((0, 1, 2, 3)), learnt((4,))
    assert bits(plain.state()) == bits(held.state())
    assert bits(plain.state()) != bits(other.state())
    assert np.abs(held.logits(np.arange(4)) - plain.logits(np.arange(4))).max() > 1e-3  # but judged they are


def test_training_lowers_the_loss_and_keeps_the_last_epoch():
    recipe = replace(TINY, epochs=12, dropout=0.0)
    it = learner(recipe=recipe)
    curve = fit(it, recipe.schedule)
    assert np.mean([row["loss"] for row in curve[-3:]]) < 0.9 * np.mean([row["loss"] for row in curve[:3]])
    assert all(row["best"] and row["lr_scale"] == 1.0 for row in curve) and it.step == 12 * 4
    # the rate falls to nothing along half a cosine
    assert it.optimiser.param_groups[0]["lr"] == pytest.approx(
        recipe.learning_rate * 1.0 * (0.5 + 0.5 * np.cos(np.pi * 47 / 48)), rel=1e-9
    )


def test_a_learning_rate_that_is_too_high_diverges():
    """The weights are numbers still, but what they make of a clip is none."""
    recipe = replace(TINY, learning_rate=1e6, weight_decay=1e6, batch_size=100)
    with pytest.raises(Diverged, match=r"diverged in epoch \d: the loss is not finite; .* Lower the learning rate\.$"):
        fit(learner(recipe=recipe), recipe.schedule)


# --- the bag --------------------------------------------------------------------------------------------------------


def test_out_of_fold_predictions_are_by_networks_of_other_people(model):
    x, y, who = waves()
    members = model.networks[""].members
    assert len(members) == 3 and list(model.curves) == ["1", "2", "3", "4"]  # the last calibrates the bag
    judged = np.full(len(y), np.nan)
    for i, (train, test) in enumerate(person_folds(who, 3, TINY.seed)):
        assert not set(who[train]) & set(who[test])
        judged[test] = logits(members[i], x[test])
        # other clips of these people leave their network as it is, bit for bit, and change all others
        labels, sequences = y.copy(), x.copy()
        for k in test:
            labels[k], sequences[k] = 1 - labels[k], sequences[k][::-1] * 3
        if i == 1:
            other = PBModel(TINY).fit_table(sequences, labels, who).networks[""].members
            same = [bits(a.state_dict()) == bits(b.state_dict()) for a, b in zip(members, other, strict=True)]
            assert same == [False, True, False]
    p = model.out_of_fold
    single = np.log(p / (1 - p))
    surer = model.slope / platt(judged, y)[0]  # of the bag than of one network
    assert 1 < surer <= 3
    np.testing.assert_allclose(single * surer, model.slope * judged + model.intercept, atol=1e-4)


def test_a_prediction_is_the_mean_of_all_networks(model):
    x, _, _ = waves(seed=5)
    each = np.array([logits(member, x) for member in model.networks[""].members])
    assert each.std(axis=0).min() > 1e-4
    p = model.predict_table(x)[:, 1]
    np.testing.assert_allclose(np.log(p / (1 - p)), model.slope * each.mean(axis=0) + model.intercept, atol=1e-4)
    w, b = model.networks[""].weights
    vectors = model.vectors(x)
    assert vectors.shape == (18, 9)
    np.testing.assert_allclose(vectors @ w + b, each.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(model.contributions(x), model.slope * vectors * w, atol=1e-6)
    alone = [model.predict_table(x[i : i + 1])[0, 1] for i in range(18)]
    np.testing.assert_allclose(p, alone, atol=1e-5)


def test_typical_vectors_are_the_mean_of_each_label(model):
    x, y, _ = waves()
    vectors = model.vectors(x)
    expected = [vectors[y == label].mean(axis=0) for label in (0, 1)]
    np.testing.assert_allclose(model.typical[""], expected, atol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 1e-2


def test_fewer_people_than_networks_make_fewer_networks():
    x, y, who = waves(12)
    model = PBModel(replace(TINY, n_networks=9, epochs=1)).fit_table(x, y, who)
    assert len(np.unique(who)) == len(model.networks[""].members) == 4
    assert np.isfinite(model.out_of_fold).all() and model.typical[""].shape == (2, 12)


def test_a_fold_without_both_labels_has_no_network():
    x, _, who = waves(12)
    y = (who == "p2").astype(int) * (np.arange(12) % 2)
    model = PBModel(replace(TINY, n_networks=4, epochs=1)).fit_table(x, y, who)
    assert len(model.networks[""].members) == 3
    np.testing.assert_array_equal(np.isnan(model.out_of_fold), who == "p2")


def test_a_bag_for_each_emotion_learns_from_its_own_clips():
    x, y, who = waves(24)
    what = np.array(["fear", "anger"])[np.arange(24) // 2 % 2]
    x[5] = None
    recipe = replace(TINY, epochs=1, n_networks=2, per_emotion=True)
    model = PBModel(recipe).fit_table(x, y, who, what)
    assert list(model.networks) == ["anger", "fear"] and list(model.curves) == [
        "anger-1",
        "anger-2",
        "anger-3",
        "fear-1",
        "fear-2",
        "fear-3",
    ]
    # as the one network of fear alone
    fear = (what == "fear") & (np.arange(24) != 5)
    alone = PBModel(replace(recipe, per_emotion=False)).fit_table(x[fear], y[fear], who[fear])
    assert bits(alone.networks[""].state_dict()) == bits(model.networks["fear"].state_dict())
    assert bits(model.networks["anger"].state_dict()) != bits(model.networks["fear"].state_dict())
    p = model.predict_table(x, what)[:, 1]
    np.testing.assert_array_equal(np.isnan(p), np.arange(24) == 5)
    np.testing.assert_array_equal(np.isnan(model.out_of_fold), np.arange(24) == 5)
    assert np.isnan(model.predict_table(x[:2], np.array(["joy", ""]))).all()


def test_an_emotion_that_few_people_show_has_a_smaller_bag(tmp_path):
    x, y, who = waves(27)
    what = np.where(np.isin(who, ["p0", "p1", "p2"]) & (np.arange(27) % 3 < 2), "fear", "happiness")
    recipe = replace(TINY, epochs=1, n_networks=5, per_emotion=True)
    model = PBModel(recipe).fit_table(x, y, who, what)
    assert {name: len(bag.members) for name, bag in model.networks.items()} == {"fear": 3, "happiness": 5}
    assert {name: tuple(pb.shape) for name, pb in model.typical.items()} == {"fear": (2, 9), "happiness": (2, 15)}
    fear = what == "fear"
    p = model.predict_table(x, what)[:, 1]
    for name, mine in (("fear", fear), ("happiness", ~fear)):
        z = np.mean([logits(member, x[mine]) for member in model.networks[name].members], axis=0)
        np.testing.assert_allclose(np.log(p / (1 - p))[mine], model.slope * z + model.intercept, atol=1e-4)
    loaded, _ = checkpoints.load(checkpoints.save(model, tmp_path / "m", name="m"))
    np.testing.assert_array_equal(loaded.predict_table(x, what)[:, 1], p)
    np.testing.assert_array_equal(loaded.contributions(x, what), model.contributions(x, what))
    # of one person alone nobody could be judged
    with pytest.raises(InputError, match="Clips of fear with both labels are needed from two people or more"):
        PBModel(recipe).fit_table(x, y, who, np.where(who == "p0", "fear", "joy"))


# --- one track ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def posed():
    """A model of six simulated people that reads the head's curves too, and a clip of somebody else."""
    tracks = [simulate.track(simulate.KINDS[("posed", "genuine")[i % 2]], 25.0, seed=i) for i in range(12)]
    people = np.array([f"p{i // 2}" for i in range(12)])
    model = PBModel(replace(TINY, head=False, pose=True, epochs=2)).fit(tracks, np.arange(12) % 2, people)
    return model, simulate.track(simulate.SPONTANEOUS, 30.0, seed=50)


def test_the_pb_vector_and_the_predictions_of_a_track(posed):
    model, face = posed
    (x,) = model.table([face])
    pb = model.recognise(face)
    assert x.shape[1] == 86 and pb.shape == (9,)
    np.testing.assert_array_equal(pb, model.vectors(model.table([face]))[0])
    read, said = model.predictions(face)
    np.testing.assert_array_equal(read, x)
    values, mask = map(torch.from_numpy, padded([x]))
    rows = [0, 7, len(x) - 1]
    expected = np.zeros((3, 86))
    for i, member in enumerate(model.networks[""].members):  # each with its own PB, from the frames before alone
        own = torch.from_numpy(pb[None, 3 * i : 3 * i + 3]).float()
        torch.testing.assert_close(member(values, mask).pb, own, rtol=0, atol=1e-6)
        expected += np.array([member.generate(own, values[:, : t + 1], 1)[0, 0].numpy() for t in rows]) / 3
    assert said.shape == x.shape
    np.testing.assert_allclose(said[rows], expected, atol=1e-5)


def test_a_bag_generates_with_all_its_networks(posed):
    """Its first frame is the mean of theirs, and each goes on from that mean, not from its own."""
    model, face = posed
    bag, start = model.networks[""], torch.from_numpy(model.table([face])[0][:1])[None]
    pb = torch.from_numpy(model.recognise(face))[None].float()
    own = pb.split(3, dim=1)
    first = torch.stack([each.generate(p, start, 1) for each, p in zip(bag.members, own, strict=True)]).mean(dim=0)
    found = bag.generate(pb, start, 2)
    torch.testing.assert_close(found[:, :1], first)
    seed = torch.cat([start, first], dim=1)
    second = torch.stack([each.generate(p, seed, 1) for each, p in zip(bag.members, own, strict=True)]).mean(dim=0)
    torch.testing.assert_close(found[:, 1:], second)


def test_too_short_a_track_has_no_pb_vector(posed):
    model, face = posed
    short = replace(face, **{name: getattr(face, name)[:3] for name in ("time", "points", "confidence", "box")})
    for ask in (model.recognise, model.predictions):
        with pytest.raises(InputError, match=r"is too short: expected 0\.32 s without a gap; use a longer clip\.$"):
            ask(short)


# --- evidence -------------------------------------------------------------------------------------------------------


def test_regions_are_those_of_the_forty_points():
    columns = [column for name in REGIONS for column in REGIONS[name]]
    assert columns == list(range(86))
    # dlib's numbers of brows, nose base, eyes and lips; a point's number told through both its coordinates
    parts = {"Brows": (17, 26), "Nose": (30, 35), "Eyes": (36, 47), "Mouth": (48, 59)}
    told = points40(np.repeat(np.arange(68.0)[None, :, None], 2, axis=2)).reshape(80)
    for name, (low, high) in parts.items():
        mine = told[list(REGIONS[name])]
        assert ((mine >= low) & (mine <= high)).all(), name
        assert len(mine) == 2 * sum(low <= point <= high for point in KEPT)
    np.testing.assert_array_equal(told[list(REGIONS["Cheeks"])], np.repeat([np.mean(pair) for pair in MIDPOINTS], 2))
    assert len(REGIONS["Head"]) == len(align.HEAD_NAMES)


@pytest.mark.parametrize("pose", [True, False])
def test_contributions_of_regions_and_the_bias_sum_to_the_log_odds(posed, model, pose):
    model, x = (posed[0], posed[0].table([posed[1]])) if pose else (model, waves(seed=5)[0][:1])
    items = model.evidence(x)
    names = [item.descriptor.removeprefix("lstm-pb.") for item in items]
    assert sorted(names) == sorted(name.lower() for name in REGIONS if pose or name != "Head")
    pulls = np.array([item.contribution for item in items])
    assert (np.diff(np.abs(pulls)) <= 0).all() and np.abs(pulls).min() > 0
    p = model.predict_table(x)[0, 1]
    rest = np.log(p / (1 - p)) - model.slope * model.networks[""].weights[1] - model.intercept
    assert pulls.sum() == pytest.approx(rest, abs=1e-4) and abs(rest) > 1e-3
    values, mask = map(torch.from_numpy, padded(list(x)))
    shares = model.slope * torch.stack([each.shares(values, mask)[0] for each in model.networks[""].members]).mean(
        dim=0
    )
    for item, name in zip(items, names, strict=True):
        over_time = shares[:, list(REGIONS[name.capitalize()])].sum(dim=1)
        assert item.contribution == pytest.approx(float(over_time.sum()), abs=1e-5)
        at = int((over_time * over_time.sum().sign()).argmax())
        assert f"most at {at / 12.5:.1f} s" in item.text
        assert ("spontaneous" if item.contribution > 0 else "posed") in item.text
