"""LSTM-PB on disk, its recipes, and what is refused: everything that was not saved by us as it stands."""

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from duchenne import checkpoints, io
from duchenne.errors import InputError, ModelError, UsageError
from duchenne.lstm_pb import store
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.recipe import READINGS, PBRecipe
from duchenne.tabular.model import DescriptorModel

SIZES = {"hidden_size": 8, "num_layers": 2, "pb_size": 4, "context_size": 4, "epochs": 2, "batch_size": 4}
OWN = {"solved": {"n_networks": 3}, "published-code": {}}


def recipe(reading, **changes):
    """A recipe that fits in a second."""
    return PBRecipe(reading, **SIZES | OWN.get(reading, {"recognition_steps": 4}) | changes)


@pytest.fixture(scope="module")
def movements():
    """(sequences, labels, people, emotions) of 16 clips: waves, fast ones genuine; one clip is too short to be read."""
    rng, x = np.random.default_rng(0), np.empty(16, object)
    for i in range(16):
        phase = np.arange(8 + i % 5)[:, None] * (0.4 + 0.5 * (i % 2)) + np.arange(80) / 9
        x[i] = (0.3 * np.sin(phase) + 0.01 * rng.normal(size=phase.shape)).astype(np.float32)
    x[7] = None
    emotions = np.where(np.arange(16) % 4 < 2, "happiness", "anger")
    return x, np.arange(16) % 2, np.repeat([f"p{i}" for i in range(8)], 2), emotions


@pytest.fixture(scope="module")
def fitted(movements):
    return PBModel(recipe("rnnpb")).fit_table(*movements)


def test_copies_on_trimmed_boxes_are_for_training_alone(movements, tmp_path):
    x, y, people, emotions = movements
    asked = recipe("paper", trimmed_boxes=2, classifier="boosting", n_estimators=5, epochs=1, recognition_steps=1)
    copies = np.array([None if each is None else (each, each + 0.1, each[1:] - 0.1) for each in x] + [0], object)[:-1]
    model = PBModel(asked).fit_table(copies, y, people, emotions)
    plain = PBModel(replace(asked, trimmed_boxes=0)).fit_table(x, y, people, emotions)
    same = [torch.equal(a, b) for a, b in zip(*(m.networks[""].parameters() for m in (model, plain)), strict=True)]
    assert not all(same)  # the network is trained on them
    assert asked.config == plain.recipe.config and model.facts["clips"] == plain.facts["clips"] == 15
    p = model.predict_table(x)
    np.testing.assert_array_equal(model.predict_table(copies), p)
    loaded, _ = checkpoints.load(checkpoints.save(model, tmp_path / "m", name="m"))
    np.testing.assert_array_equal(loaded.predict_table(x), p)
    with pytest.raises(InputError, match="trimmed_boxes needs videos"):
        PBModel(asked).fit_table(x, y, people, emotions)


@pytest.fixture
def folder(fitted, tmp_path):
    return checkpoints.save(fitted, tmp_path / "mine", name="mine")


CLASSIFIERS = ({"classifier": "logistic"}, {"classifier": "boosting", "n_estimators": 5}, {"classifier": "nearest"})
EACH = [
    ("solved", {}),
    *((name, {"augmented_copies": 2, **how}) for name in READINGS[:-1] for how in CLASSIFIERS),
    ("paper", {"grid_layer": True, "context": "output", "pb_per_class": True, "classifier": "nearest"}),
    ("rnnpb", {"pb_per_class": True, "recognition": "fixed", "summed": True}),
]


@pytest.mark.parametrize(("reading", "how"), EACH)
@pytest.mark.parametrize("per_emotion", [False, True])
def test_a_saved_model_predicts_bit_for_bit_the_same(movements, tmp_path, reading, per_emotion, how):
    x, *_, emotions = movements
    asked = recipe(reading, per_emotion=per_emotion, **how)
    model = PBModel(asked).fit_table(*movements)
    loaded, about = checkpoints.load(checkpoints.save(model, tmp_path / "m", name="m"))
    p = model.predict_table(x, emotions)
    np.testing.assert_array_equal(loaded.predict_table(x, emotions), p)
    assert np.isnan(p[7]).all() and np.isfinite(np.delete(p, 7, axis=0)).all()
    where = emotions[:3] if per_emotion else None
    np.testing.assert_array_equal(loaded.contributions(x[:3], where), model.contributions(x[:3], where))
    assert np.isfinite(loaded.predict_table(x[:1], emotions[:1])).all()  # networks of other emotions have no row
    assert np.isfinite(loaded.contributions(x[:1], where if where is None else where[:1])).all()
    assert (loaded.recipe, loaded.margin, loaded.facts) == (model.recipe, model.margin, model.facts)
    for name in model.networks:
        assert torch.equal(loaded.typical[name], model.typical[name])
        assert torch.equal(loaded.class_pb[name], model.class_pb[name])
    assert about["id"] == "m" and about["clips"] == 15 and about["sha256"] == checkpoints.digest(tmp_path / "m")
    assert {f.suffix for f in (tmp_path / "m").iterdir()} <= {".json", ".safetensors"}


def test_the_shipped_network_is_small(movements, tmp_path):
    shipped = PBRecipe.read("lstm-pb", epochs=1)
    assert (shipped.reading, shipped.inputs, shipped.n_networks) == ("solved", 86, 5)
    x, *rest = movements
    posed = np.array([each if each is None else np.pad(each, ((0, 0), (0, 6))) for each in x], object)
    model = PBModel(shipped).fit_table(posed, *rest)
    folder = checkpoints.save(model, tmp_path / "m", name="m")
    weights = sum(each.numel() for each in model.networks[""].state_dict().values())
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert 4 * weights < size < 4 * weights + 30_000 < 4e6


def test_a_card_and_a_curve_do_not_change_the_model(folder):
    before = checkpoints.digest(folder)
    (folder / "card.json").write_text("{}")
    (folder / "curve.json").write_text("{}")
    assert checkpoints.digest(folder) == before
    (folder / store.WEIGHTS).write_bytes(b"")
    assert checkpoints.digest(folder) != before


# --- damage -------------------------------------------------------------------------------------------------


def rewritten(folder, **changes):
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(about | changes))


def rehashed(folder):
    """Somebody who changes the weights can also change their hash."""
    rewritten(folder, files={store.WEIGHTS: io.sha256(folder / store.WEIGHTS)})


def with_weights(folder, change):
    tensors = load_file(folder / store.WEIGHTS)
    with safe_open(folder / store.WEIGHTS, framework="pt") as stored:
        made_for = stored.metadata()["made_for"]
    save_file(change(tensors), folder / store.WEIGHTS, {"made_for": made_for})
    rehashed(folder)


def flip(folder, at):
    path = folder / store.WEIGHTS
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def cut(folder):
    path = folder / store.WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])


OTHER = recipe("rnnpb").stored()
DAMAGE = {
    "a flipped bit": lambda f: flip(f, -50),
    "cut short": cut,
    "cut short and hashed anew": lambda f: (cut(f), rehashed(f)),
    "missing weights": lambda f: (f / store.WEIGHTS).unlink(),
    "no list of files": lambda f: rewritten(f, files={}),
    "not safetensors": lambda f: ((f / store.WEIGHTS).write_bytes(b"\x80\x04pickle"), rehashed(f)),
    "another version": lambda f: rewritten(f, version=99),
    "another format": lambda f: rewritten(f, format="something"),
    "another rate": lambda f: rewritten(f, fps=25.0),
    "another rate throughout": lambda f: rewritten(f, fps=25.0, recipe=OTHER | {"fps": 25.0}),
    "another layout": lambda f: rewritten(f, layout="478 points"),
    "another reading": lambda f: rewritten(f, recipe=OTHER | {"reading": "paper"}),
    "another width": lambda f: rewritten(f, recipe=OTHER | {"hidden_size": 9}),
    "a width beyond all memory": lambda f: rewritten(f, recipe=OTHER | {"hidden_size": 8192, "num_layers": 64}),
    "an impossible width": lambda f: rewritten(f, recipe=OTHER | {"hidden_size": 10**30}),
    "an earlier name": lambda f: rewritten(f, recipe={**OTHER, "rate": 0.1}),
    "a setting that is not read": lambda f: rewritten(f, recipe=OTHER | {"dropout": 0.2}),
    "an unknown setting": lambda f: rewritten(f, recipe=OTHER | {"magic": 1}),
    "no recipe": lambda f: rewritten(f, recipe=None),
    "two networks where one is": lambda f: rewritten(f, emotions=["", "fear"]),
    "a network of a name": lambda f: rewritten(f, emotions=["fear"]),
    "no calibration": lambda f: rewritten(f, calibration={}),
    "a lost tensor": lambda f: with_weights(f, lambda t: {k: v for k, v in t.items() if "typical" not in k}),
    "half precision": lambda f: with_weights(f, lambda t: {k: v.half() for k, v in t.items()}),
    "weights that are no numbers": lambda f: with_weights(f, lambda t: {k: v * np.nan for k, v in t.items()}),
    "no JSON": lambda f: (f / "model.json").write_text("{"),
    "JSON without end": lambda f: (f / "model.json").write_text("[" * 2_000_000),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_model_is_refused_in_one_sentence(what, folder):
    checkpoints.load(folder)
    DAMAGE[what](folder)
    with pytest.raises(ModelError) as caught:
        checkpoints.load(folder)
    said = str(caught.value)
    assert str(folder) in said and "\n" not in said and said.endswith(".") and ". " not in said


# --- several networks -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bag(movements):
    """A model of three networks of reading `solved`."""
    return PBModel(recipe("solved")).fit_table(*movements)


@pytest.fixture
def bag_folder(bag, tmp_path):
    return checkpoints.save(bag, tmp_path / "bag", name="bag")


def of(member, tensors):
    return {key: value for key, value in tensors.items() if f".members.{member}." in key}


def renumbered(tensors, member, number):
    moved = {key.replace(f".members.{member}.", f".members.{number}."): v for key, v in of(member, tensors).items()}
    return {key: value for key, value in tensors.items() if key not in of(member, tensors)} | moved


def more(tensors, count):
    """So many copies of the first network beside the three, and PB vectors to match: whole but for their number."""
    copies = [renumbered(of(0, tensors), 0, 3 + i) for i in range(count)]
    typical = torch.cat([tensors["0.typical"], torch.zeros(2, 4 * count)], dim=1)
    return {key: value.clone() for each in (tensors, *copies) for key, value in each.items()} | {"0.typical": typical}


BAG_DAMAGE = {
    "a network lost": lambda t: {key: value for key, value in t.items() if key not in of(2, t)},
    "the first network lost": lambda t: {key: value for key, value in t.items() if key not in of(0, t)},
    "a network of another number": lambda t: renumbered(t, 1, 7),
    "no networks": lambda t: {key: value for key, value in t.items() if "members" not in key},
    "more networks than were asked for": lambda t: more(t, 1),
    "a hundred networks": lambda t: more(t, 100),
    "PB vectors of fewer networks": lambda t: t | {"0.typical": t["0.typical"][:, :4].clone()},
    "a network without its ridge": lambda t: {k: v for k, v in t.items() if k != "0.network.members.1.log_ridge"},
    "no directions": lambda t: {key: value for key, value in t.items() if "basis" not in key},
    "directions of fewer parts": lambda t: {k: v[:, :3].clone() if "basis" in k else v for k, v in t.items()},
}


@pytest.mark.parametrize("what", BAG_DAMAGE)
def test_a_changed_bag_is_refused_in_one_sentence(what, bag_folder):
    with_weights(bag_folder, BAG_DAMAGE[what])
    with pytest.raises(ModelError) as caught:
        checkpoints.load(bag_folder)
    said = str(caught.value)
    assert str(bag_folder) in said and "\n" not in said and said.endswith(".") and ". " not in said


def test_an_unchanged_bag_saved_again_loads(bag_folder, bag, movements):
    with_weights(bag_folder, lambda tensors: tensors)
    loaded, _ = checkpoints.load(bag_folder)
    np.testing.assert_array_equal(loaded.predict_table(movements[0]), bag.predict_table(movements[0]))
    assert len(loaded.networks[""].members) == 3 and loaded.facts == bag.facts
    for a, b in zip(loaded.networks[""].members, bag.networks[""].members, strict=True):
        assert all(torch.equal(a.state_dict()[name], value) for name, value in b.state_dict().items())
    rewritten(bag_folder, recipe=recipe("solved", n_networks=5).stored())
    with pytest.raises(ModelError, match="other settings"):
        checkpoints.load(bag_folder)


def test_a_bag_of_fewer_networks_than_requested_loads(movements, tmp_path):
    x, y, people, emotions = (each[:8] for each in movements)  # four people
    model = PBModel(recipe("solved", n_networks=6)).fit_table(x, y, people, emotions)
    loaded, _ = checkpoints.load(checkpoints.save(model, tmp_path / "m", name="m"))
    assert len(loaded.networks[""].members) == len(model.networks[""].members) == 4
    np.testing.assert_array_equal(loaded.predict_table(x), model.predict_table(x))
    np.testing.assert_array_equal(loaded.vectors(x[:3]), model.vectors(x[:3]))
    assert loaded.vectors(x[:3]).shape == (3, 16)


def test_unchanged_weights_saved_again_load(folder, fitted, movements):
    with_weights(folder, lambda tensors: tensors)  # so that the damage above is what is refused, not the saving
    loaded, _ = checkpoints.load(folder)
    np.testing.assert_array_equal(loaded.predict_table(movements[0]), fitted.predict_table(movements[0]))


def test_boosters_of_other_vectors_are_refused(movements, tmp_path):
    small, large = (PBModel(recipe("paper", **CLASSIFIERS[1], pb_size=pb)).fit_table(*movements) for pb in (4, 5))
    folders = [checkpoints.save(m, tmp_path / n, name="m") for m, n in ((small, "a"), (large, "b"))]
    (folders[0] / "scorer-0.xgb.json").write_bytes((folders[1] / "scorer-0.xgb.json").read_bytes())
    about = json.loads((folders[0] / "model.json").read_text())
    about["files"]["scorer-0.xgb.json"] = io.sha256(folders[0] / "scorer-0.xgb.json")
    (folders[0] / "model.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match=r"scorer-0\.xgb\.json is not a valid booster \(it does not read 4 columns\)"):
        checkpoints.load(folders[0])


def test_a_descriptor_model_is_not_an_lstm_pb(folder):
    assert checkpoints.load_as("smile", DescriptorModel)[0].family == "smile"
    with pytest.raises(ModelError, match="is a duchenne-lstm-pb model, expected duchenne-descriptors"):
        checkpoints.load_as(folder, DescriptorModel)


def test_a_model_from_before_a_setting_existed_loads(folder, fitted, movements):
    """Its model.json and its weights lack the settings at their defaults."""
    about = json.loads((folder / "model.json").read_text())
    for name in ("summed", "pb_per_class", "recognition"):
        del about["recipe"][name]
    (folder / "model.json").write_text(json.dumps(about))
    loaded, _ = checkpoints.load(folder)
    np.testing.assert_array_equal(loaded.predict_table(movements[0]), fitted.predict_table(movements[0]))


# --- recipes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PBRecipe.shipped())
def test_every_key_of_a_shipped_recipe_is_read(name):
    told = tomllib.loads(PBRecipe.shipped()[name].read_text(encoding="utf-8"))
    found = PBRecipe.read(name)
    assert {key: list(v) if isinstance(v := getattr(found, key), tuple) else v for key in told} == told


def test_the_papers_recipe_has_the_papers_settings():
    """Section 2.3 and 2.4 of the paper."""
    r = PBRecipe.read("lstm-pb-paper")
    assert (r.reading, r.optimizer, r.learning_rate, r.epochs) == ("paper", "sgd", 0.01, 100)
    assert (r.pb_learning_rate, r.lr_patience) == (0.9, 10)
    assert (r.hidden_size, r.pb_size, r.context_size, r.per_emotion) == (512, 64, 64, True)
    assert (r.classifier, r.n_estimators, r.batch_size, r.by_class) == ("boosting", 5000, 1, True)
    assert r.recognition == "fixed"


def test_options_override_the_recipe():
    base = PBRecipe.read("lstm-pb-paper")
    assert PBRecipe.read("lstm-pb-paper", hidden_size=16, seed=None, epochs=3) == replace(
        base, hidden_size=16, epochs=3
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fps = 25.0\nhiden = 3", "unknown key 'hiden'"),
        ("hidden_size = 3", "lacks fps; add it"),
        ("fps = nan", "fps must lie"),
        ("fps = 25.0\nreading = 'mine'", "reading must be one of paper"),
        ("fps = 25.0\nhead = true\npose = true", "head and pose both give the head's movement"),
        ("fps = 25.0\njitter = [1]", "jitter must be a list of 2 numbers"),
        ("fps = 25.0\naugmented_copies = 2\njitter = [2.0, 0.0]", "jitter must lie between 0 and 1"),
        ("fps = 25.0\nrounds = 3", "unknown key 'rounds'"),
        ("fps = 25.0\nadam = true", "adam is now optimizer; rename it"),
        (
            "fps = 25.0\nreading = 'solved'\nrecognition_steps = 20",
            'recognition_steps is read only where reading is "paper" or "rnnpb", found "solved"; leave',
        ),
        ("fps = 25.0\nreading = 'solved'\nn_estimators = 9", 'n_estimators is read only where reading is "paper" or'),
        (
            "fps = 25.0\nreading = 'rnnpb'\ndropout = 0.2",
            'dropout is read only where reading is "solved", found "rnnpb"',
        ),
        ("fps = 25.0\njitter = [0.1, 0.1]", "jitter is read only where augmented_copies is above 1, found 1"),
    ],
)
def test_an_invalid_recipe_is_refused_in_one_sentence(tmp_path, text, words):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        PBRecipe.read(tmp_path / "r.toml")
    assert "r.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_a_recipe_is_refused(tmp_path):
    with pytest.raises(UsageError, match="lstm-pb-paper"):
        PBRecipe.read("no-such-recipe")
    (tmp_path / "r.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"r\.toml is not valid TOML"):
        PBRecipe.read(tmp_path / "r.toml")


@pytest.mark.parametrize("reading", READINGS)
def test_a_recipe_sets_what_is_read(reading):
    assert PBRecipe.of(recipe(reading).stored(), "here") == recipe(reading)
