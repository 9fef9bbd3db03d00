"""Recipes of clip networks: the shipped ones are sound, and what makes no sense is told in one sentence."""

import pytest

from duchenne.clipnets.recipe import ClipRecipe
from duchenne.errors import InputError, UsageError


@pytest.mark.parametrize("name", ClipRecipe.shipped())
def test_a_shipped_recipe_makes_its_network(name):
    found = ClipRecipe.read(name)
    assert found.config(6).inputs == found.inputs
    assert found.reader.needs == found.inputs and hash(found.reader) == hash(ClipRecipe.read(name).reader)
    assert ClipRecipe.read(name, seed=3, epochs=None).seed == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"magic": 1}, "unknown key 'magic'"),
        ({"kind": "tree"}, "kind must be one of lstm"),
        ({"learning_rate": "fast"}, "learning_rate must be float"),
        ({"learning_rate": 0.0}, "learning_rate must lie between"),
        ({"num_layers": 1.5}, "num_layers must be int"),
        ({"horizontal_flip": 1}, "horizontal_flip must be bool"),
        ({"task_weights": [1.0]}, "list of 2 numbers"),
        ({"task_weighting": "fixed", "task_weights": [1.0, -1.0]}, "task_weights must lie between"),
        ({"frames": 2}, "needs 4 frames"),
        ({"frames": 0}, "needs 4 frames"),
        ({"channels": 2}, "channels must be one of 1, 3"),
        ({"backbone": "resnet51"}, "no backbone 'resnet51'"),
        ({"backbone": "vgg16", "image_size": 31}, "at least 32 pixels a side, found 31"),
        ({"backbone": "cnn3d", "kind": "volume", "image_size": 16}, "at least 17 pixels a side, found 16"),
        ({"loss": "hinge"}, "loss must be one of"),
        ({"inputs": "points", "kind": "context"}, "whole frame"),
        ({"subtract_mean": True}, 'subtract_mean is read only where inputs is "points", found "crops"'),
        ({"inputs": "points", "kind": "frames", "velocity": False}, 'velocity is read only where kind is "lstm" or'),
        ({"gamma": 2.0}, "gamma is read only where loss is"),
        ({"inputs": "points", "image_size": 112}, "image_size is read only where inputs is"),
        ({"inputs": "points", "rest": 1.5}, "rest is read only where fps is above 0, found 0.0"),
        (
            {"n_networks": 3, "validation_fraction": 0.2},
            "validation_fraction is read only where n_networks is 1, found 3",
        ),
        ({"trunk": 0.1}, "trunk is now backbone_lr_scale; rename it"),
    ],
)
def test_invalid_settings_are_refused_in_a_sentence(settings, said):
    with pytest.raises(UsageError, match=said) as caught:
        ClipRecipe.of(settings, "my.toml")
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_recipe_may_be_a_file(tmp_path):
    (tmp_path / "mine.toml").write_text('kind = "frames"\nframes = 1\nlearning_rate = 1\n')
    found = ClipRecipe.read(tmp_path / "mine.toml")
    assert (found.kind, found.frames, found.learning_rate, found.reader.least) == ("frames", 1, 1.0, 1)
    with pytest.raises(InputError, match="no recipe"):
        ClipRecipe.read(tmp_path / "yours.toml")
