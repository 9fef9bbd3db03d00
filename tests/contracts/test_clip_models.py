"""One contract for every clip network: shapes, padding, order, gradients, seeds, files, refusals.

What is learnt here is made up and proves mechanics only: noise by heart, and levels that rise or fall.
"""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from duchenne import checkpoints
from duchenne.clipnets import recipe as clip_recipe
from duchenne.clipnets.backbones import LEAST
from duchenne.clipnets.inputs import Pictures
from duchenne.clipnets.learner import ClipLearner, Objective, Task, answers
from duchenne.clipnets.model import ClipModel
from duchenne.clipnets.network import ClipConfig, ClipNet
from duchenne.errors import InputError, ModelError
from duchenne.learn.loop import fit
from duchenne.methods import names
from duchenne.metrics.scores import auc

NAMES = tuple(clip_recipe.shipped())
LARGE = ("vgg16-lstm", "resnet50-lstm", "se-resnet50-lstm")
TEMPORAL = (*LARGE, "expression-lstm", "cnn3d", "resnet3d-18", "points-lstm", "points-cnn")
FRAMES = 4
PLAIN = {"flip": False, "turn": 0.0, "shift": 0.0, "scale": 0.0, "vary": False, "rest": 0.0, "smoothing": 0.0}
TINY = {"frames": FRAMES, "fps": 0.0, "width": 16, "depth": 2, "hidden": 16, "dropout": 0.0, "ema": 0.0, "warm": 0}


def recipe_of(name, **changes):
    """The shipped network on four frames of 16 pixels, or of the least that it can learn from; its backbone stays as it
    is, but for context, which has two."""
    shipped = clip_recipe.read(name, backbone="expression" if name == "context" else None)
    small = {**TINY, **PLAIN, "accumulate": 1, "batch": 8, "trunk": 1.0, "taken": 0, "stop": 0, "precision": "float32"}
    return replace(shipped, side=max(16, LEAST[shipped.backbone]), **{**small, **changes})


def network_of(name, emotions=2, **changes):
    torch.manual_seed(0)
    return ClipNet(recipe_of(name, **changes).config(emotions)).eval()


def frames_of(recipe, rng, n, t=FRAMES):
    """Pictures uint8 (n, t, S, S, C), or points float32 (n, t, F): noise."""
    if recipe.inputs == "points":
        return rng.normal(0, 1, (n, t, recipe.config(2).numbers)).astype(np.float32)
    channels = recipe.channels * (2 if recipe.kind == "context" else 1)
    return rng.integers(0, 256, (n, t, recipe.side, recipe.side, channels), np.uint8)


def table_of(recipe, frames):
    out = np.empty(len(frames), object)
    for i, each in enumerate(frames):
        out[i] = each if recipe.inputs == "points" else Pictures(each, np.arange(len(each)))
    return out


def tensors_of(recipe, frames):
    x = torch.from_numpy(frames)
    return x if recipe.inputs == "points" else x.permute(0, 1, 4, 2, 3)


@cache
def eight(name):
    """Eight clips of noise as the network reads them, labels, people and emotions."""
    recipe = recipe_of(name)
    x = table_of(recipe, frames_of(recipe, np.random.default_rng(0), 8))
    y, people = np.arange(8) % 2, np.array([f"p{i // 2}" for i in range(8)])
    return x, y, people, np.array(["happiness", "happiness", "sadness", "sadness"] * 2)


def task_of(name, held=()):
    x, y, _, emotions = eight(name)
    return Task(list(x), y, (emotions == "sadness").astype(int), 2, np.array(held, int))


def told(network, x, mask):
    with torch.no_grad():
        return {name: value.numpy() for name, value in network(x, mask).items()}


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_in_the_shapes_that_its_task_has(name):
    recipe, network = recipe_of(name), network_of(name)
    x = tensors_of(recipe, frames_of(recipe, np.random.default_rng(1), 3))
    said = told(network, x, torch.ones(3, FRAMES, dtype=torch.bool))
    shapes = {"authenticity": {"authenticity": (3,)}, "multi": {"authenticity": (3,), "emotion": (3, 2)}}
    shapes["classes"] = {"classes": (3, 4), **shapes["multi"]}
    assert {key: value.shape for key, value in said.items()} == shapes[recipe.task]
    assert all(np.isfinite(value).all() for value in said.values())


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing_wherever_it_stands(name):
    recipe, network = recipe_of(name), network_of(name)
    x = tensors_of(recipe, frames_of(recipe, np.random.default_rng(1), 2))
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


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_weight(name):
    recipe, network = recipe_of(name), network_of(name).train()
    objective = Objective(recipe, 2)
    x = tensors_of(recipe, frames_of(recipe, np.random.default_rng(1), 4))
    mask, y, emotion = torch.ones(4, FRAMES, dtype=torch.bool), torch.tensor([0.0, 1, 0, 1]), torch.tensor([0, 0, 1, 1])
    optimiser = torch.optim.SGD([*network.parameters(), *objective.parameters()], lr=1e-3)
    for _ in range(2):  # what ends a residual block is 0 at the beginning: nothing reaches what stands before it
        optimiser.zero_grad()
        objective(network(x, mask), y, emotion).backward()
        optimiser.step()
    parts = {**dict(network.named_parameters()), **dict(objective.named_parameters())}
    assert [key for key, weight in parts.items() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_eight_clips_by_heart(name):
    # VGG16 has no norms: faster, it dies
    rate = 1e-2 if name.startswith("points") else 1e-4 if name.startswith("vgg16") else 1e-3
    recipe = recipe_of(name, epochs=100, rate=rate, decay=0.0)
    learner = ClipLearner(recipe, task_of(name), 0)
    for epoch in range(100):
        list(learner.epoch(np.random.default_rng(epoch), 1.0))
        if epoch % 5 == 4:
            said = answers(learner.kept, learner.loader, np.arange(8), recipe)
            right = (said["authenticity"] > 0) == learner.task.y
            if recipe.task != "authenticity":
                right &= said["emotion"].argmax(1) == learner.task.emotion
            if right.all():
                return
    pytest.fail(f"{right.sum()} of 8 after 100 epochs")


def fitted(name, **changes):
    recipe = recipe_of(name, epochs=1, bag=1, held_out=0.5, **changes)
    x, y, people, emotions = eight(name)
    return ClipModel(recipe).fit_table(x, y, people, emotions)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_is_the_same_file_which_answers_the_same(name, tmp_path):
    x = eight(name)[0]
    model, again = fitted(name), fitted(name)
    folders = [checkpoints.save(m, tmp_path / n, name="same") for m, n in ((model, "a"), (again, "b"))]
    assert checkpoints.digest(folders[0]) == checkpoints.digest(folders[1])
    p = model.predict_table(x)
    assert p.shape == (8, 2) and (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    loaded, about = checkpoints.load_judge(folders[0])
    np.testing.assert_array_equal(loaded.predict_table(x), p)
    assert loaded.emotions(x) == model.emotions(x)
    assert (loaded.recipe, loaded.margin, loaded.reader) == (model.recipe, model.margin, model.reader)
    assert about["sha256"] == checkpoints.digest(folders[0]) and about["people"] == 4 and about["clips"] == 8
    # alone and in company, and a clip that cannot be read
    some = x[2:4].copy()
    some[1] = None
    few = model.predict_table(some)
    np.testing.assert_allclose(few[0], p[2], atol=1e-4)
    assert np.isnan(few[1]).all() and model.emotions(some)[1] == {}


# --- order ------------------------------------------------------------------------------------------------------------


def rising(recipe, rng, n):
    """Half of the clips rise and half fall, over the same levels: but for the order of frames all are alike."""
    y = np.arange(n) % 2
    level = np.linspace(-1, 1, FRAMES) + rng.normal(0, 0.1, (n, FRAMES))
    level = np.where(y[:, None] == 1, level, level[:, ::-1])
    x = frames_of(recipe, rng, n).astype(float)
    shape = (n, FRAMES, *[1] * (x.ndim - 2))
    if recipe.inputs == "points":
        return (0.3 * x + level.reshape(shape)).astype(np.float32), y
    return np.clip(127 + 90 * level.reshape(shape) + 0.1 * (x - 127), 0, 255).astype(np.uint8), y


def told_order(name, **changes):
    """(AUC on new clips, AUC on the same with their frames shuffled, all answers) after learning rising from falling.

    The large trunks stay as they began, as features of anything, so that the LSTM above them is what learns.
    """
    rng = np.random.default_rng(3)
    recipe = recipe_of(name, batch=8, decay=0.0, keep="last", per_image=False, task="authenticity", **changes)
    x, y = rising(recipe, rng, 32)
    learner = ClipLearner(recipe, Task(list(table_of(recipe, x)), y, np.full(32, -1), 0, np.zeros(0, int)), 0)
    fit(learner, recipe.schedule)
    new, truth = rising(recipe, rng, 32)
    shuffled = np.stack([clip[rng.permutation(FRAMES)] for clip in new])
    found = []
    for clips in (new, shuffled):
        learner.loader.x = list(table_of(recipe, clips))
        found.append(answers(learner.kept, learner.loader, np.arange(32), recipe)["authenticity"])
    return auc(found[0], truth), auc(found[1], truth), found


@pytest.mark.parametrize("name", TEMPORAL)
def test_a_temporal_network_reads_the_order_of_frames(name):
    large = name in LARGE
    rate = 1e-2 if large or name.startswith("points") else 2e-3
    right, shuffled, found = told_order(name, frozen=large, epochs=6 if name == "resnet3d-18" else 10, rate=rate)
    assert right > 0.9
    assert shuffled < 0.9 and np.abs(found[0] - found[1]).max() > 0.1  # it changes its mind


@pytest.mark.parametrize("name", ["points-multi", "resnet50-single", "context"])
def test_a_network_of_single_faces_cannot(name):
    changes = {} if name == "points-multi" else {"backbone": "expression", "channels": 1}
    right, _, found = told_order(name, epochs=10, rate=2e-3, **changes)
    assert right < 0.8
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)  # the order plays no part at all


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_every_network_is_a_method_by_its_name():
    assert set(names.CLIP_NETS) == set(NAMES)
    for name in NAMES:
        model = names.make(name, 3)
        assert model.recipe == clip_recipe.read(name, seed=3) and model.needs == model.recipe.inputs
    assert names.make("single:vgg16", 1).recipe == clip_recipe.read("resnet50-single", backbone="vgg16", seed=1)
    assert names.make("multi:expression").recipe.backbone == "expression"


def test_it_refuses_before_it_is_fitted_and_with_too_little():
    x, y, people, emotions = eight("points-multi")
    fresh = ClipModel(recipe_of("points-multi"))
    with pytest.raises(InputError, match="not been fitted"):
        fresh.predict_table(x)
    with pytest.raises(InputError, match="at least 4 people, found 1"):
        fresh.fit_table(x, y, np.full(8, "p"), emotions)
    with pytest.raises(InputError, match="8 genuine of 8"):
        fresh.fit_table(x, np.ones(8, int), people, emotions)
    with pytest.raises(InputError, match="2 or more named emotions, found 0"):
        fresh.fit_table(x, y, people)
    assert fresh.table([]).shape == (0,)


def test_a_clip_without_frames_or_of_another_size_is_refused():
    network = ClipNet(ClipConfig(inputs="points", width=4, hidden=4))
    with pytest.raises(InputError, match="without a single frame"):
        network(torch.zeros(1, 3, 80), torch.zeros(1, 3, dtype=torch.bool))
    with pytest.raises(InputError, match="frames of 80"):
        network(torch.zeros(1, 3, 86), torch.ones(1, 3, dtype=torch.bool))


def rewritten(folder, **changes):
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(about | changes))


DAMAGE = {
    "a missing file": lambda f: (f / "weights.safetensors").unlink(),
    "a file cut short": lambda f: (f / "weights.safetensors").write_bytes(b""),
    "another version": lambda f: rewritten(f, version=99),
    "an unknown setting": lambda f: rewritten(f, recipe={"magic": 1}),
    "another network": lambda f: rewritten(
        f, recipe={**json.loads((f / "model.json").read_text())["recipe"], "hidden": 9}
    ),
    "another bag": lambda f: rewritten(f, networks=7),
    "other emotions": lambda f: rewritten(f, emotions=["anger", "fear"]),
    "another layout": lambda f: rewritten(f, layout="something"),
    "no calibration": lambda f: rewritten(f, calibration={}),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_model_is_refused_in_one_sentence(what, tmp_path):
    folder = checkpoints.save(fitted("points-multi"), tmp_path / "mine", name="mine")
    checkpoints.load(folder)
    DAMAGE[what](folder)
    with pytest.raises(ModelError) as caught:
        checkpoints.load(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
