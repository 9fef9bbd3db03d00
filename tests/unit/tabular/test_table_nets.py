"""Networks on rows of numbers: heads against closed forms, what they learn, seeds, and training in two goes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from duchenne.errors import InputError, UsageError
from duchenne.learn.folds import person_folds
from duchenne.learn.loop import Schedule, fit
from duchenne.tabular.nets import KINDS, NetLearner, NetRecipe, TableNet, TableNets
from duchenne.tabular.rows import Reader
from duchenne.tabular.table_model import TableModel


def clips(n=120, seed=0):
    """Column 0 tells genuine, columns 1 and 2 the emotion; ten columns of noise in other units."""
    rng = np.random.default_rng(seed)
    y, what = rng.integers(0, 2, n), rng.integers(0, 3, n)
    x = rng.normal(size=(n, 13)) * 100 + 1000
    x[:, 0] += 300 * y
    x[:, 1] += 400 * (what == 1)
    x[:, 2] += 400 * (what == 2)
    return x, y, np.array([f"p{i % 10}" for i in range(n)]), np.array(["anger", "fear", "joy"])[what]


def made(kind):
    return TableNets(
        Reader("all"), NetRecipe(kind, learning_rate=1e-2, hidden_size=16, n_networks=3, epochs=25, batch_size=16)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_table_nets_separate_simulated_classes(kind):
    x, y, who, what = clips(240)
    train, test = np.arange(240) < 160, np.arange(240) >= 160
    model = made(kind).fit_table(x[train], y[train], who[train], what[train])
    p = model.predict_table(x[test])
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert roc_auc_score(y[test], p[:, 1]) > 0.9 and roc_auc_score(y[train], model.out_of_fold[:160]) > 0.9
    if kind == "binary":
        with pytest.raises(InputError, match="predicts no emotions"):
            model.emotions(x)
        return
    q = model.emotions(x[test])
    np.testing.assert_allclose(q.sum(axis=1), 1)
    assert (np.array(model.emotion_names)[q.argmax(axis=1)] == what[test]).mean() > 0.85
    again = made(kind).fit_table(x[train], y[train], who[train], what[train])
    np.testing.assert_array_equal(again.predict_table(x), model.predict_table(x))


def test_p_genuine_is_the_sum_over_twelve_classes():
    torch.manual_seed(0)
    net = TableNet(4, 6, NetRecipe("single")).eval()
    found = net(torch.randn(7, 4))
    classes = found["classes"].detach().double().numpy()
    softmax = np.exp(classes) / np.exp(classes).sum(axis=1, keepdims=True)
    genuine = softmax[:, 1::2].sum(axis=1)
    np.testing.assert_allclose(1 / (1 + np.exp(-found["authenticity"].detach().numpy())), genuine, rtol=1e-5)
    emotion = softmax.reshape(7, 6, 2).sum(axis=2)
    np.testing.assert_allclose(found["emotion"].softmax(dim=1).detach().numpy(), emotion, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_matches_numpy_and_reaches_every_weight(kind):
    torch.manual_seed(0)
    net = TableNet(4, 3, NetRecipe(kind, dropout=0.0))
    x, y, what = torch.randn(6, 4), torch.tensor([0.0, 1, 1, 0, 1, 0]), torch.tensor([0, 2, 1, -1, 2, 0])
    found = net(x)
    loss = net.loss(found, y, what)
    z = {name: tensor.detach().double().numpy() for name, tensor in found.items()}
    labels, known = y.numpy(), what.numpy() >= 0

    def crossed(logits, at):
        logits = logits - logits.max(axis=1, keepdims=True)
        return -(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))[np.arange(len(at)), at].mean()

    yes_no = np.mean(np.logaddexp(0, z["authenticity"]) - labels * z["authenticity"])
    expected = {
        "binary": lambda: yes_no,
        "single": lambda: crossed(z["classes"][known], (2 * what.numpy() + labels.astype(int))[known]),
        "multi": lambda: yes_no + crossed(z["emotion"][known], what.numpy()[known]),
    }[kind]()
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in net.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_net_overfits_eight_clips(kind):
    rng = np.random.default_rng(0)
    x, y, what = rng.normal(size=(8, 20)), np.arange(8) % 2, np.arange(8) // 2 % 2
    learner = NetLearner(
        NetRecipe(kind, dropout=0.0, learning_rate=1e-2, weight_decay=0.0), x, y, what, 2, np.arange(8)
    )
    learner.train = np.arange(8)
    fit(learner, Schedule(60, lr_patience=60))
    assert learner.score() < 0.05


def test_a_resumed_training_ends_with_the_same_weights(tmp_path):
    x, y, _, what = clips(60)
    x, what = (x - x.mean(axis=0)) / x.std(axis=0), np.searchsorted(["anger", "fear", "joy"], what)

    def learner():
        return NetLearner(NetRecipe("multi"), x, y, what, 3, np.arange(15))

    whole, first, second = learner(), learner(), learner()
    fit(whole, Schedule(6, keep="last"))
    fit(first, Schedule(3, keep="last"), tmp_path)
    fit(second, Schedule(6, keep="last"), tmp_path)
    for name, tensor in whole.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[name], tensor, rtol=0, atol=0)


def test_missing_numbers_are_replaced_by_the_training_median():
    x, y, who, what = clips()
    model = made("multi").fit_table(x, y, who, what)
    lame, filled = x[:3].copy(), x[:3].copy()
    lame[1, 4], filled[1, 4] = np.nan, np.median(x[:, 4])
    np.testing.assert_allclose(model.predict_table(lame), model.predict_table(filled))


def test_too_few_labels_people_or_emotions_are_refused():
    x, y, who, what = clips()
    with pytest.raises(UsageError, match="kind must be one of binary, single, multi, found 'triple'"):
        NetRecipe("triple")
    with pytest.raises(InputError, match="not been fitted"):
        made("multi").predict_table(x)
    with pytest.raises(InputError, match="fewer than 2"):
        made("single").fit_table(x, y, who)
    with pytest.raises(InputError, match="both labels"):
        made("binary").fit_table(x, np.ones(len(y), int), who, what)
    p = made("binary").fit_table(x, y, who).predict_table(x)  # needs no emotions
    assert np.isfinite(p).all()


def test_people_who_are_scored_have_not_stopped_the_training():
    """Other labels of theirs change no weight of the network that leaves them out; its scores are then honest."""
    rng, y, who = np.random.default_rng(0), np.arange(40) % 2, np.arange(40) // 4
    x, recipe = rng.normal(size=(40, 5)), NetRecipe("binary", epochs=3, n_networks=3)
    (_, held), *_ = person_folds(who, 3, 0)
    other = y.copy()
    other[held] = 1 - other[held]
    first, second = (TableNets(Reader("all"), recipe).fit_table(x, labels, who) for labels in (y, other))
    for a, b in zip(first.networks[0].parameters(), second.networks[0].parameters(), strict=True):
        assert torch.equal(a, b)


def test_boosted_svms_separate_what_one_line_cannot():
    """Genuine in an interval, posed on both sides of it."""
    rng = np.random.default_rng(0)
    x, who = rng.uniform(-3, 3, (300, 1)), np.arange(300) // 10
    y = (np.abs(x[:, 0]) < 1).astype(int)
    right = {
        name: float(((TableModel(Reader("all"), name).fit_table(x, y, who).predict_table(x)[:, 1] > 0.5) == y).mean())
        for name in ("linear-svm", "boosted-svm")
    }
    assert right["boosted-svm"] > 0.9 > 0.7 > right["linear-svm"]
