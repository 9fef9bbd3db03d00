"""Expression networks on disk: small, with the same answers; refused is all that was not saved by us as it stands."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from duchenne import checkpoints, io
from duchenne.datasets import fer2013
from duchenne.errors import ModelError
from duchenne.expression import store
from duchenne.expression.learner import ExpressionLearner, train
from duchenne.expression.model import ExpressionModel
from duchenne.expression.network import ExpressionCNN
from duchenne.expression.recipe import ExpressionRecipe

NAMES = ("anger", "fear", "happiness")
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (12, 48, 48)).astype(np.uint8), np.arange(12) % 3
SIZES = {
    "ours": {"kind": "ours", "widths": (4, 4, 8, 8), "blocks": (1, 1, 1, 1)},
    "paper": {"kind": "paper", "widths": (4, 6, 8), "fc_size": 16},
}


def learnt(kind="ours", **changes):
    recipe = replace(ExpressionRecipe(), **SIZES[kind], epochs=2, batch_size=4, precision="float32", **changes)
    labels = LABELS if recipe.head == "emotions" else np.column_stack([i == LABELS for i in range(3)])
    images = np.repeat(IMAGES[..., None], 3, axis=3) if recipe.channels == 3 else IMAGES
    return train(recipe, images, labels, NAMES, device="cpu")[0], images


@pytest.fixture(scope="module")
def fitted():
    return learnt()[0]


@pytest.fixture
def folder(fitted, tmp_path):
    return checkpoints.save(fitted, tmp_path / "mine", name="mine")


def read(folder):
    return checkpoints.load(folder)[0]


def as_stored(model):
    """The network with weights as half precision has them."""
    network = ExpressionCNN(model.network.config)
    halves = {k: v.half().float() if v.ndim > 1 else v for k, v in model.network.state_dict().items()}
    network.load_state_dict(halves)
    return ExpressionModel(network, model.recipe, model.facts)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("ours", {}),
        ("ours", {"per_image_standardization": True, "channels": 3}),
        ("paper", {"padding": False}),
        ("paper", {"head": "units", "activity_regularization": (0.1, 0.1)}),
        ("ours", {"head": "intensity"}),
    ],
)
def test_saved_network_predicts_as_in_half_precision(tmp_path, kind, changes):
    model, images = learnt(kind, **changes)
    loaded = read(checkpoints.save(model, tmp_path / "m", name="m"))
    expected = as_stored(model)
    np.testing.assert_array_equal(loaded.predict(images, flips=True), expected.predict(images, flips=True))
    np.testing.assert_array_equal(loaded.features(images), expected.features(images))
    assert (loaded.recipe, loaded.facts) == (model.recipe, model.facts)
    assert loaded.network.config == model.network.config and loaded.classes == NAMES
    assert not loaded.network.training
    again = read(checkpoints.save(loaded, tmp_path / "n", name="n"))  # saving once more loses nothing more
    np.testing.assert_array_equal(again.predict(images), loaded.predict(images))


def test_ours_is_a_small_file(tmp_path):
    recipe = ExpressionRecipe()
    model = ExpressionLearner(recipe, IMAGES, LABELS, NAMES, device="cpu").model()
    folder = checkpoints.save(model, tmp_path / "m", name="m")
    weights = sum(each.numel() for each in model.network.parameters())
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert 2 * weights < size < 2 * weights + 40_000 < 8e6
    assert {file.name for file in folder.iterdir()} == {"model.json", store.WEIGHTS}


@pytest.mark.slow
def test_half_precision_changes_no_prediction_for_real_faces(tmp_path):
    """On faces that the network has learnt by heart, whose answers are as sharp as they get, and on their mirrors."""
    root = Path(os.environ.get("DUCHENNE_DATA", ""), "data", "fer2013")
    if not (root / "public_test.npz").is_file():
        pytest.skip("FER2013 is not at hand; set DUCHENNE_DATA to a folder with data/fer2013/public_test.npz.")
    entries = [entry for entry in fer2013.packed(root) if entry.clip.fold == "public_test"]
    entries = entries[:: len(entries) // 64][:64]
    images = fer2013.images(entries)
    labels = np.array([fer2013.CLASSES.index(entry.clip.emotion) for entry in entries])
    recipe = ExpressionRecipe(
        widths=(8, 8, 16, 32), blocks=(1, 1, 1, 1), learning_rate=4e-3, batch_size=32, epochs=10, images_per_epoch=512
    )
    recipe = replace(recipe, dropout=0.0, horizontal_flip=False, per_image_standardization=True, precision="float32")
    model, _ = train(recipe, images, labels, fer2013.CLASSES, device="cpu")
    loaded = read(checkpoints.save(model, tmp_path / "m", name="m"))
    faces = np.concatenate([images, images[:, :, ::-1]])
    before, after = model.predict(faces), loaded.predict(faces)
    assert (before[:64].argmax(axis=1) == labels).mean() > 0.9 and before.max() > 0.95
    assert 0 < np.abs(after - before).max() < 0.01
    first, second = np.sort(before, axis=1)[:, ::-1].T[:2]
    agree = after.argmax(axis=1) == before.argmax(axis=1)
    assert agree[first - second > 0.02].all() and (first - second > 0.02).mean() > 0.9


def test_weights_beyond_half_precision_are_not_stored(tmp_path):
    model = learnt()[0]
    with torch.no_grad():
        model.network.head.weight[0, 0] = 1e5
    with pytest.raises(ModelError, match=r"head\.weight of the network are not finite float16"):
        checkpoints.save(model, tmp_path / "m", name="m")
    assert not (tmp_path / "m" / "model.json").exists()


# --- damage --------------------------------------------------------------------------------------------------------


def rewritten(folder, **changes):
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(about | changes))


def rehashed(folder):
    """Somebody who changes the weights can also change their hash."""
    rewritten(folder, files={store.WEIGHTS: io.sha256(folder / store.WEIGHTS)})


def with_weights(folder, change):
    loaded = read(folder)
    made_for = store._made_for(loaded.recipe, loaded.network.config)
    tensors = change(load_file(folder / store.WEIGHTS))
    save_file(tensors, folder / store.WEIGHTS, {"made_for": made_for})
    rehashed(folder)


def flip(folder, at):
    path = folder / store.WEIGHTS
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def cut(folder):
    path = folder / store.WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])


_OURS = ("blocks", "small_images")
OTHER = replace(ExpressionRecipe(), **SIZES["ours"], epochs=2, batch_size=4, precision="float32").stored()
PAPER = {key: value for key, value in OTHER.items() if key not in _OURS} | {"kind": "paper", "widths": []}
DAMAGE = {
    "a flipped bit": (lambda f: flip(f, -50), "sha256 differs"),
    "cut short": (cut, "sha256 differs"),
    "cut short and hashed anew": (lambda f: (cut(f), rehashed(f)), "not a safetensors file"),
    "no weights": (lambda f: (f / store.WEIGHTS).unlink(), "is missing"),
    "no safetensors": (
        lambda f: ((f / store.WEIGHTS).write_bytes(b"\x80\x04pickle"), rehashed(f)),
        "not a safetensors file",
    ),
    "classes in another order": (lambda f: rewritten(f, classes=list(NAMES[::-1])), "other settings or classes"),
    "another class": (lambda f: rewritten(f, classes=[*NAMES, "sadness"]), "does not hold the network"),
    "one class twice": (lambda f: rewritten(f, classes=["fear"] * 3), "holds a name twice"),
    "classes that are no names": (lambda f: rewritten(f, classes=[1, 2, 3]), "not a list of names"),
    "another mean": (lambda f: rewritten(f, mean=[0.0]), "other settings or classes"),
    "a spread of nothing": (lambda f: rewritten(f, spread=[0.0]), "above 0"),
    "means of three channels": (lambda f: rewritten(f, mean=[1.0, 2.0, 3.0]), "each with a mean"),
    "another head": (
        lambda f: rewritten(f, head="units"),
        "expected the head emotions and faces of 48 pixels, found 'units'",
    ),
    "another size": (lambda f: rewritten(f, side=64), "found 'emotions', 64"),
    "another kind": (lambda f: rewritten(f, recipe=PAPER), "does not hold"),
    "another width": (lambda f: rewritten(f, recipe=OTHER | {"widths": [4, 4, 8, 9]}), "does not hold"),
    "a width beyond all memory": (lambda f: rewritten(f, recipe=OTHER | {"widths": [4096] * 4}), "does not hold"),
    "an impossible width": (lambda f: rewritten(f, recipe=OTHER | {"widths": [10**12] * 4}), "must lie between"),
    "another scale": (lambda f: rewritten(f, recipe=OTHER | {"per_image_standardization": True}), "other settings"),
    "an unknown setting": (lambda f: rewritten(f, recipe=OTHER | {"magic": 1}), "unknown key"),
    "a weight that is no number": (
        lambda f: with_weights(f, lambda t: t | {"head.bias": torch.full((3,), torch.nan)}),
        "not finite",
    ),
    "full precision": (
        lambda f: with_weights(f, lambda t: {k: v.float() for k, v in t.items()}),
        "not in half precision",
    ),
    "a weight too many": (lambda f: with_weights(f, lambda t: t | {"more": torch.zeros(1)}), "does not hold"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_folder_is_refused(folder, kind):
    read(folder)
    damage, fault = DAMAGE[kind]
    damage(folder)
    with pytest.raises(ModelError, match=fault):
        read(folder)


@pytest.mark.parametrize("key", ["recipe", "classes", "mean", "spread", "head", "side", "facts"])
def test_incomplete_model_json_is_refused(folder, key):
    about = checkpoints.describe(folder)
    for changed in ({**about, key: None}, {k: v for k, v in about.items() if k != key}):
        io.write_json(folder / "model.json", changed)
        with pytest.raises(ModelError, match="is damaged"):
            read(folder)
