"""Clip networks: the shapes of their answers, padding, eight clips by heart, and the order of frames.

What is learnt here is made up and proves mechanics only: noise by heart, and levels that rise or fall.
"""

import numpy as np
import pytest
import torch

from duchenne.clipnets.learner import ClipLearner, Task, predict
from duchenne.clipnets.network import ClipConfig, ClipNet
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.errors import InputError
from duchenne.learn.loop import fit
from duchenne.methods import names
from duchenne.metrics.scores import auc
from families import CLIP_NETS as NAMES
from families import FRAMES, clip_recipe_of, clip_task, noise, table_of

#: Which differ from others by their backbone alone, whose shapes are tested: they take long to train.
LARGE = ("resnet50-lstm", "se-resnet50-lstm", "resnet50-single", "resnet50-multi", "vgg16-lstm", "resnet3d-18")
TEMPORAL = ("resnet50-lstm", "expression-lstm", "cnn3d", "resnet3d-18", "points-lstm", "points-cnn")


def each_of(names):
    """The large ones are slow."""
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in names]


def network_of(name):
    torch.manual_seed(0)
    return ClipNet(clip_recipe_of(name).config(2)).eval()


def tensors_of(recipe, frames):
    x = torch.from_numpy(frames)
    return x if recipe.inputs == "points" else x.permute(0, 1, 4, 2, 3)


def told(network, x, mask):
    with torch.no_grad():
        return {name: value.numpy() for name, value in network(x, mask).items()}


@pytest.mark.parametrize("name", NAMES)
def test_outputs_have_the_shapes_of_the_task(name):
    recipe, network = clip_recipe_of(name), network_of(name)
    x = tensors_of(recipe, noise(recipe, np.random.default_rng(1), 3))
    said = told(network, x, torch.ones(3, FRAMES, dtype=torch.bool))
    shapes = {"authenticity": {"authenticity": (3,)}, "multi": {"authenticity": (3,), "emotion": (3, 2)}}
    shapes["classes"] = {"classes": (3, 4), **shapes["multi"]}
    assert {key: value.shape for key, value in said.items()} == shapes[recipe.task]
    assert all(np.isfinite(value).all() for value in said.values())


@pytest.mark.parametrize("name", NAMES)
def test_padding_anywhere_changes_nothing(name):
    recipe, network = clip_recipe_of(name), network_of(name)
    x = tensors_of(recipe, noise(recipe, np.random.default_rng(1), 2))
    alone = [told(network, x[i : i + 1, :n], torch.ones(1, n, dtype=torch.bool)) for i, n in ((0, FRAMES), (1, 2))]
    rubbish = torch.full((2, 3, *x.shape[2:]), 255).to(x.dtype)
    mask = torch.zeros(2, FRAMES + 3, dtype=torch.bool)
    mask[0, :FRAMES] = mask[1, :2] = True
    behind = told(network, torch.cat([x, rubbish], 1), mask)
    inside = torch.cat([x[:, :1], rubbish, x[:, 1:]], 1)  # one frame, three that are none, then the rest
    holes = told(network, inside, mask[:, [0, 6, 6, 6, 1, 2, 3]])
    for said in (behind, holes):
        for key in said:
            for i in range(2):
                np.testing.assert_allclose(said[key][i], alone[i][key][0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", each_of(NAMES))
def test_a_network_overfits_eight_clips(name):
    # VGG16 has no norms: faster, it dies
    rate = 1e-2 if name.startswith("points") else 1e-4 if name.startswith("vgg16") else 1e-3
    recipe = clip_recipe_of(name, epochs=100, learning_rate=rate, weight_decay=0.0)
    learner = ClipLearner(recipe, clip_task(name), 0)
    for epoch in range(100):
        list(learner.epoch(np.random.default_rng(epoch), 1.0))
        if epoch % 5 == 4:
            said = predict(learner.average, learner.loader, np.arange(8), recipe)
            right = (said["authenticity"] > 0) == learner.task.y
            if recipe.task != "authenticity":
                right &= said["emotion"].argmax(1) == learner.task.emotion
            if right.all():
                return
    pytest.fail(f"{right.sum()} of 8 after 100 epochs")


# --- order ------------------------------------------------------------------------------------------------------------


def rising(recipe, rng, n):
    """Half of the clips rise and half fall, over the same levels: but for the order of frames all are alike."""
    y = np.arange(n) % 2
    level = np.linspace(-1, 1, FRAMES) + rng.normal(0, 0.1, (n, FRAMES))
    level = np.where(y[:, None] == 1, level, level[:, ::-1])
    x = noise(recipe, rng, n).astype(float)
    shape = (n, FRAMES, *[1] * (x.ndim - 2))
    if recipe.inputs == "points":
        return (0.3 * x + level.reshape(shape)).astype(np.float32), y
    return np.clip(127 + 90 * level.reshape(shape) + 0.1 * (x - 127), 0, 255).astype(np.uint8), y


def told_order(name, **changes):
    """(AUC on new clips, AUC on the same with their frames shuffled, all answers) after learning rising from falling.

    A large trunk stays as it began, as features of anything, so that the LSTM above it is what learns.
    """
    rng = np.random.default_rng(3)
    recipe = clip_recipe_of(
        name, weight_decay=0.0, checkpoint="last", per_image_standardization=False, task="authenticity", **changes
    )
    x, y = rising(recipe, rng, 32)
    learner = ClipLearner(recipe, Task(list(table_of(recipe, x)), y, np.full(32, -1), 0, np.zeros(0, int)), 0)
    fit(learner, recipe.schedule)
    new, truth = rising(recipe, rng, 32)
    shuffled = np.stack([clip[rng.permutation(FRAMES)] for clip in new])
    found = []
    for clips in (new, shuffled):
        learner.loader.x = list(table_of(recipe, clips))
        found.append(predict(learner.average, learner.loader, np.arange(32), recipe)["authenticity"])
    return auc(found[0], truth), auc(found[1], truth), found


@pytest.mark.parametrize("name", each_of(TEMPORAL))
def test_a_temporal_network_reads_the_order_of_frames(name):
    large = name == "resnet50-lstm"
    rate = 1e-2 if large or name.startswith("points") else 2e-3
    right, shuffled, found = told_order(
        name, freeze_backbone=large, epochs=3 if name == "resnet3d-18" else 10, learning_rate=rate
    )
    assert right > 0.9
    assert shuffled < 0.9 and np.abs(found[0] - found[1]).max() > 0.1  # it changes its mind


@pytest.mark.parametrize("name", ["points-multi", "resnet50-single", "context"])
def test_a_network_of_single_frames_ignores_the_order(name):
    changes = {} if name == "points-multi" else {"backbone": "expression", "channels": 1}
    right, _, found = told_order(name, epochs=10, learning_rate=2e-3, **changes)
    assert right < 0.8
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)  # the order plays no part at all


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_every_network_is_a_method_by_its_name():
    assert set(names.CLIP_NETS) == set(NAMES)
    for name in NAMES:
        model = names.make(name, 3)
        assert model.recipe == ClipRecipe.read(name, seed=3) and model.needs == model.recipe.inputs
    assert names.make("single:vgg16", 1).recipe == ClipRecipe.read("resnet50-single", backbone="vgg16", seed=1)
    assert names.make("multi:expression").recipe.backbone == "expression"


def test_a_clip_without_frames_or_of_another_size_is_refused():
    network = ClipNet(ClipConfig(inputs="points", width=4, hidden_size=4))
    with pytest.raises(InputError, match="has no frames"):
        network(torch.zeros(1, 3, 80), torch.zeros(1, 3, dtype=torch.bool))
    with pytest.raises(InputError, match="frames of 80"):
        network(torch.zeros(1, 3, 86), torch.ones(1, 3, dtype=torch.bool))
