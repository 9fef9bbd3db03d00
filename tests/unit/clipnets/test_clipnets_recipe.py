"""Recipes of clip networks: the shipped ones are sound, and what makes no sense is told in one sentence."""

import pytest

from duchenne.clipnets import recipe
from duchenne.errors import InputError, UsageError


@pytest.mark.parametrize("name", recipe.shipped())
def test_a_shipped_recipe_makes_its_network(name):
    found = recipe.read(name)
    assert found.config(6).inputs == found.inputs
    assert found.reader.needs == found.inputs and hash(found.reader) == hash(recipe.read(name).reader)
    assert recipe.read(name, seed=3, epochs=None).seed == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"magic": 1}, "unknown key 'magic'"),
        ({"kind": "tree"}, "kind must be one of lstm"),
        ({"rate": "fast"}, "rate must be float"),
        ({"rate": 0.0}, "rate must lie between"),
        ({"layers": 1.5}, "layers must be int"),
        ({"flip": 1}, "flip must be bool"),
        ({"weights": [1.0]}, "list of 2 numbers"),
        ({"weights": [1.0, -1.0]}, "weights must lie between"),
        ({"frames": 2}, "needs 4 frames"),
        ({"frames": 0}, "needs 4 frames"),
        ({"channels": 2}, "channels must be one of 1, 3"),
        ({"backbone": "resnet51"}, "no backbone 'resnet51'"),
        ({"backbone": "vgg16", "side": 31}, "at least 32 pixels a side, found 31"),
        ({"backbone": "cnn3d", "kind": "volume", "side": 16}, "at least 17 pixels a side, found 16"),
        ({"loss": "hinge"}, "loss must be one of"),
        ({"inputs": "points", "kind": "context"}, "whole frame"),
        ({"own": True}, "points read as a movement"),
        ({"inputs": "points", "kind": "frames", "speed": True}, "points read as a movement"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(settings, said):
    with pytest.raises(UsageError, match=said) as caught:
        recipe.recipe(settings, "my.toml")
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_recipe_may_be_a_file(tmp_path):
    (tmp_path / "mine.toml").write_text('kind = "frames"\nframes = 1\nrate = 1\n')
    found = recipe.read(tmp_path / "mine.toml")
    assert (found.kind, found.frames, found.rate, found.reader.least) == ("frames", 1, 1.0, 1)
    with pytest.raises(InputError, match="no recipe"):
        recipe.read(tmp_path / "yours.toml")
