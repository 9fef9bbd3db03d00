"""The LSTM over a movement's features: against torch's own, by hand; killed it ends the same; files are checked."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from duchenne import checkpoints
from duchenne.errors import InputError, ModelError, UsageError
from duchenne.expression.model import ExpressionModel
from duchenne.expression.network import ExpressionCNN
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.learn.loop import fit
from duchenne.micro.learner import MicroLearner, train
from duchenne.micro.model import MicroModel, movement, predict
from duchenne.micro.network import MicroConfig, MicroLSTM
from duchenne.micro.recipe import MicroRecipe

NAMES = ("happiness", "surprise")
SMALL = MicroRecipe(frames=5, hidden_size=6, epochs=4, batch_size=4, learning_rate=0.01)
CNN = ExpressionRecipe(widths=(4, 4, 8, 8), blocks=(1, 1, 1, 1), precision="float32")


def seeing() -> ExpressionModel:
    torch.manual_seed(0)
    config = CNN.config(["anger", "fear"], [127.5], [60.0])
    return ExpressionModel(ExpressionCNN(config), CNN)


@pytest.fixture(scope="module")
def data():
    """(movements (12, 5, 8), labels (12,)): features that rise or fall, each about a level of its own."""
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 2
    slopes = np.where(labels == 0, 1.0, -1.0)[:, None, None] * np.linspace(0, 1, 5)[:, None] * np.ones(8)
    return (rng.normal(0, 3, (12, 1, 8)) + slopes + rng.normal(0, 0.05, (12, 5, 8))).astype(np.float32), labels


@pytest.fixture(scope="module")
def fitted(data):
    network, _ = train(SMALL, *data, NAMES)
    return MicroModel(network, seeing(), SMALL, {"people": 2})


def test_the_network_is_torchs_lstm_over_scaled_differences_to_the_first_moment(data):
    x = torch.from_numpy(data[0])
    network = MicroLSTM(MicroConfig(NAMES, 8, frames=5, hidden_size=6)).eval()
    network.measure(x)
    plain = torch.nn.LSTM(8, 6, batch_first=True)
    cell = {f"{name}_l0": value for name, value in network.cell.state_dict().items()}
    plain.load_state_dict(cell)
    moved = data[0] - data[0][:, :1]
    flat = moved.reshape(-1, 8)
    scaled = torch.from_numpy((moved - flat.mean(0)) / flat.std(0))
    with torch.no_grad():
        expected = network.head(plain(scaled)[1][0][0])
        torch.testing.assert_close(network(x), expected, atol=1e-5, rtol=1e-4)


def test_identity_does_not_matter_for_relative_features(data):
    x = torch.from_numpy(data[0])
    other = x + torch.randn(12, 1, 8, generator=torch.Generator().manual_seed(0))
    for relative in (True, False):
        torch.manual_seed(0)
        network = MicroLSTM(MicroConfig(NAMES, 8, 5, 6, relative)).eval()
        with torch.no_grad():
            same = torch.allclose(network(x), network(other), atol=1e-5)
        assert same is relative


def test_recurrent_dropout_has_one_mask_per_movement_and_none_in_use():
    """With every weight but the forgetting ones 0, what is dropped can be told from what the cell is given."""
    config = MicroConfig(NAMES, 3, 4, hidden_size=500, dropout=0.0, recurrent_dropout=0.4)
    network = MicroLSTM(config).train()
    given = []
    network.cell.register_forward_hook(lambda module, args, out: given.append((args[1][0].detach(), out[0].detach())))
    torch.manual_seed(0)
    network(torch.randn(2, 4, 3))
    shares = [(now / before) for (_, before), (now, _) in pairwise(given)]
    for share in shares:  # kept parts are larger by 1 / 0.6, so that their sum stays
        kept = share.abs() > 1e-6
        torch.testing.assert_close(share[kept], torch.full_like(share[kept], 1 / 0.6), atol=1e-4, rtol=1e-4)
        assert 0.5 < kept.float().mean() < 0.7
        assert torch.equal(kept, shares[0].abs() > 1e-6)
    network.eval()
    given.clear()
    network(torch.randn(2, 4, 3))
    assert all(torch.equal(now, before) for (_, before), (now, _) in pairwise(given))


def test_movement_is_interpolated_between_frames():
    seen = np.array([[0.0, 5.0], [2.0, 5.0], [6.0, 5.0]])
    found = movement(np.array([1.0, 1.1, 1.2]), seen, 5)  # at 1, 1.05, 1.1, 1.15, 1.2 s
    np.testing.assert_allclose(found, [[0, 5], [1, 5], [2, 5], [4, 5], [6, 5]], atol=1e-5)
    assert found.dtype == np.float32
    with pytest.raises(InputError, match=r"at least 2 frames, found 1"):
        movement(np.array([1.0]), seen[:1], 5)


def test_training_separates_rising_from_falling(data):
    network, curve = train(replace(SMALL, epochs=30), *data, NAMES)
    assert (predict(network, data[0]).argmax(axis=1) == data[1]).all()
    assert curve[-1]["loss"] < 0.5 * curve[0]["loss"] and len(curve) == 30


def test_gradients_reach_every_weight(data):
    learner = MicroLearner(SMALL, *data, NAMES)
    list(learner.epoch(np.random.default_rng(0), 1.0))
    assert all(each.grad is not None and bool(each.grad.abs().sum() > 0) for each in learner.network.parameters())


def test_rare_classes_weigh_as_much_as_frequent_ones(data):
    """9 against 3 clips: frequency to the power −1, brought to 1 on average over the clips: 12/2/9 and 12/2/3."""
    labels = np.array([0] * 9 + [1] * 3)
    weights = MicroLearner(SMALL, data[0], labels, NAMES).weights
    np.testing.assert_allclose(weights, [12 / 2 / 9, 12 / 2 / 3], rtol=1e-6)
    even = MicroLearner(replace(SMALL, class_weight_power=0.0), data[0], labels, NAMES).weights
    np.testing.assert_allclose(even, [1, 1])


def test_killed_training_resumes_to_the_same_weights(data, tmp_path):
    whole = MicroLearner(SMALL, *data, NAMES)
    fit(whole, SMALL.schedule)
    begun = MicroLearner(SMALL, *data, NAMES)

    def kill(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(begun, SMALL.schedule, tmp_path, kill)
    again = MicroLearner(SMALL, *data, NAMES)
    told = []
    fit(again, SMALL.schedule, tmp_path, told.append)
    assert [row["epoch"] for row in told] == [3, 4]
    one, other = whole.state(), again.state()
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_unfinished_training_of_other_settings_is_refused(data, tmp_path):
    train(SMALL, *data, NAMES, folder=tmp_path)
    with pytest.raises(UsageError, match=r"other movements or settings"):
        train(replace(SMALL, hidden_size=7), *data, NAMES, folder=tmp_path)
    assert len(train(replace(SMALL, epochs=5), *data, NAMES, folder=tmp_path)[1]) == 5  # longer is no other


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x, y: (x, np.zeros(12, int)), r"of one class"),
        (lambda x, y: (x[:, 0], y), r"with N labels"),
        (lambda x, y: (x[:5], y), r"with N labels"),
        (lambda x, y: (np.full_like(x, np.nan), y), r"Expected finite movements"),
    ],
)
def test_invalid_movements_are_refused(data, change, told):
    with pytest.raises(InputError, match=told):
        MicroLearner(SMALL, *change(*data), NAMES)


def test_another_shape_is_refused(fitted, data):
    with pytest.raises(InputError, match=r"5 moments and 8 features, found 4×8"):
        fitted.predict(data[0][:, :4])
    for wrong in ({"classes": ("one",)}, {"classes": ("a", "a")}, {"frames": 1}, {"hidden_size": 0}):
        with pytest.raises(UsageError):
            MicroConfig(**{"classes": NAMES, "inputs": 8, **wrong})


# --- recipes -------------------------------------------------------------------------------------------------------


def test_shipped_recipes_are_read():
    assert set(MicroRecipe.shipped()) == {"ours", "paper"}
    ours, paper = MicroRecipe.read("ours"), MicroRecipe.read("paper")
    assert (ours.relative, paper.relative) == (True, False)
    assert MicroRecipe.read("ours", epochs=3, seed=None) == replace(ours, epochs=3)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"width": 3}, r"unknown key 'width'"),
        ({"hidden_size": 3.5}, r"hidden_size must be int"),
        ({"relative": 1}, r"relative must be bool"),
        ({"hidden_size": True}, r"hidden_size must be int"),
        ({"dropout": 1}, r"dropout must lie between 0 and 0.9"),
        ({"frames": 1}, r"frames must lie between 2 and 1000"),
    ],
)
def test_invalid_recipes_are_refused(settings, told):
    with pytest.raises(UsageError, match=told):
        MicroRecipe.of(settings, "mine.toml")


def test_unknown_recipe_is_refused():
    with pytest.raises(UsageError, match=r"no recipe 'mine'; choose one of ours, paper"):
        MicroRecipe.read("mine")


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(fitted, tmp_path):
    return checkpoints.save(fitted, tmp_path / "mine", name="mine")


def test_saved_model_predicts_the_same(fitted, folder, data):
    found, facts = checkpoints.load(folder)
    # weights of the LSTM are stored as they are, those of the network it sees through in half precision
    np.testing.assert_array_equal(found.predict(data[0]), fitted.predict(data[0]))
    assert (found.classes, found.recipe, facts["people"], facts["id"]) == (NAMES, SMALL, 2, "mine")
    crops = np.random.default_rng(0).integers(0, 256, (7, 48, 48)).astype(np.uint8)
    time = np.arange(7) / 100
    p = found.recognise(time, crops)
    assert list(p) == list(NAMES) and sum(p.values()) == pytest.approx(1)
    assert list(p.values()) == pytest.approx(list(fitted.recognise(time, crops).values()), abs=0.01)


def test_expression_network_is_a_model_folder_of_its_own(folder):
    found, facts = checkpoints.load(folder / "expression")
    assert found.classes == ("anger", "fear") and facts["id"] == "expression"


def test_models_of_other_kinds_are_refused(folder):
    with pytest.raises(ModelError, match=r"^smile is a duchenne-descriptors model, expected duchenne-micro; choose"):
        checkpoints.load_as("smile", MicroModel)
    with pytest.raises(ModelError, match=r"is a duchenne-expression model, expected duchenne-micro"):
        checkpoints.load_as(folder / "expression", MicroModel)
    with pytest.raises(ModelError, match=r"does not tell genuine from posed"):
        checkpoints.load_classifier(folder)
    with pytest.raises(ModelError, match=r"is a duchenne-micro model, expected duchenne-expression"):
        checkpoints.load_as(folder, ExpressionModel)


def changed(folder, **changes):
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(about | changes))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda f: (f / "weights.safetensors").write_bytes(b"no"), r"weights.safetensors is not the file"),
        (lambda f: (f / "weights.safetensors").unlink(), r"weights.safetensors is missing"),
        (lambda f: shutil.rmtree(f / "expression"), r"its member expression is missing"),
        (lambda f: changed(f / "expression", id="other"), r"its member expression is not the model"),
        (lambda f: changed(f, classes=["a", "b", "c"]), r"does not hold the network"),
        (lambda f: changed(f, classes=["surprise", "happiness"]), r"trained with other settings or classes"),
        (lambda f: changed(f, classes="ab"), r"not a list of names"),
        (lambda f: changed(f, inputs=9), r"it reads 9 features, but its expression network has 8"),
        (lambda f: changed(f, recipe={"hidden_size": -1}), r"hidden_size must lie between"),
        (lambda f: changed(f, members={}), r"another member than an expression network"),
        (lambda f: changed(f, version=2), r"version 2"),
    ],
)
def test_damaged_folders_are_refused_in_one_sentence(folder, damage, told):
    damage(folder)
    with pytest.raises(ModelError, match=told) as error:
        checkpoints.load(folder)
    assert str(error.value).count(". ") == 0


def test_weights_that_are_not_finite_are_refused(folder, fitted):
    path = folder / "weights.safetensors"
    tensors = load_file(str(path))
    tensors["mean"][0] = float("nan")
    save_file(tensors, str(path), {"made_for": json.dumps(asdict(fitted.network.config))})
    changed(folder, files={path.name: hashlib.sha256(path.read_bytes()).hexdigest()})
    with pytest.raises(ModelError, match=r"weights that are not finite"):
        checkpoints.load(folder)
