"""How a clip network learns: steps of several batches, threads that read ahead, a training that is killed, and answers
about people by an epoch that was not chosen for them. Random clips; mechanics only."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from duchenne.clipnets.inputs import FaceCrops
from duchenne.clipnets.learner import ClipLearner, Objective, Task
from duchenne.clipnets.loader import Loader
from duchenne.clipnets.model import ClipModel
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.learn import pieces
from duchenne.learn.loop import Diverged, fit
from duchenne.learn.losses import cross_entropy
from families import SMALL_CONTEXT

POINTS = ClipRecipe(
    inputs="points",
    fps=25.0,
    frames=0,
    width=8,
    hidden_size=8,
    epochs=4,
    learning_rate=1e-2,
    batch_size=4,
    ema_decay=0.9,
)
CROPS = ClipRecipe(
    backbone="expression",
    image_size=16,
    channels=1,
    frames=4,
    hidden_size=8,
    epochs=2,
    batch_size=2,
    precision="float32",
)


def points(n=12, t=9, seed=0):
    out = np.empty(n, object)
    for i, each in enumerate(np.random.default_rng(seed).normal(0, 1, (n, t, 80)).astype(np.float32)):
        out[i] = each[: t - i % 3]
    return out


def crops(n=6):
    out = np.empty(n, object)
    for i, each in enumerate(np.random.default_rng(0).integers(0, 256, (n, 4, 16, 16, 1), np.uint8)):
        out[i] = FaceCrops(each, np.arange(4 - i % 2))
    return out


def task(x, held=()):
    n = len(x)
    return Task(list(x), np.arange(n) % 2, np.full(n, -1), 0, np.array(held, int))


def test_several_batches_are_one_step_of_their_mean():
    # this network has no batch norm, so that without dropout only the order of sums differs
    one = replace(POINTS, batch_size=12, dropout=0.0, augment_movement=False, epochs=1, ema_decay=0.0)
    many = replace(one, batch_size=4, accumulate_steps=3)
    weights = []
    for recipe in (one, many):
        learner = ClipLearner(recipe, task(points()), 0)
        # Adam's step would be the same for a sum
        learner.optimiser = torch.optim.SGD([{"params": list(learner.network.parameters()), "share": 1.0}], lr=1.0)
        assert len(list(learner.epoch(np.random.default_rng(0), 1.0))) == 12 // recipe.batch_size
        assert learner.step == 1
        weights.append(torch.cat([each.detach().flatten() for each in learner.network.parameters()]))
    torch.testing.assert_close(*weights, rtol=0, atol=1e-6)


def test_threads_read_the_same_as_none():
    rows = [np.array([0, 3]), np.array([5, 1, 2]), np.array([4])]
    recipe = replace(CROPS, kind="frames", hidden_size=256, frames_per_step=2)
    found = [list(Loader(recipe, list(crops()), workers)(rows, 7)) for workers in (0, 3)]
    for (a, x, mask), (b, again, same) in zip(*found, strict=True):
        assert a is b and torch.equal(x, again) and torch.equal(mask, same)
    assert found[0][1][1].shape == (3, 2, 1, 16, 16)
    # what is not drawn is the same each time, and padding is only where a clip has ended
    x, mask = next(Loader(CROPS, list(crops()), 2)([np.array([0, 1])], None))[1:]
    assert mask.tolist() == [[True] * 4, [True] * 3 + [False]] and not x[~mask].any()


@pytest.mark.parametrize("kind", ["lstm", "frames", "context"])
def test_bfloat16_gives_about_the_same(kind):
    size = 256 if kind == "frames" else CROPS.hidden_size
    backbones = SMALL_CONTEXT if kind == "context" else {}
    recipe = replace(CROPS, kind=kind, hidden_size=size, dropout=0.0, horizontal_flip=False, **backbones)
    x = crops()
    if kind == "context":
        x = [FaceCrops(np.repeat(clip.crops, 3, axis=-1), clip.rows) for clip in x]
    losses = []
    for precision in ("float32", "bfloat16"):
        learner = ClipLearner(replace(recipe, precision=precision), task(x), 0)
        assert learner.bf16 == (precision == "bfloat16")
        losses.append(next(learner.epoch(np.random.default_rng(0), 1.0)))
        assert all(each.dtype == torch.float32 for each in learner.network.parameters())
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], abs=0.05)


class Killed(Exception):
    pass


@pytest.mark.parametrize(("recipe", "x"), [(POINTS, points()), (replace(CROPS, epochs=4, dropout=0.5), crops())])
def test_a_killed_training_ends_the_same(recipe, x, tmp_path):
    def kill(row):
        if row["epoch"] == 2:
            raise Killed

    people = np.array([f"p{i // 2}" for i in range(len(x))])
    held = [0, 1, 2, 3]
    whole = ClipLearner(recipe, task(x, held), 0)
    fit(whole, recipe.schedule)
    with pytest.raises(Killed):
        fit(ClipLearner(recipe, task(x, held), 0), recipe.schedule, tmp_path, kill)
    again = ClipLearner(recipe, task(x, held), 0)
    fit(again, recipe.schedule, tmp_path)
    for name, tensor in whole.state().items():
        assert torch.equal(tensor, again.state()[name]), name
    np.testing.assert_array_equal(whole.held_out_logits(people[held]), again.held_out_logits(people[held]))


def test_nobody_chooses_their_own_epoch():
    learner = ClipLearner(replace(POINTS, epochs=1), task(points(), [0, 1, 2, 3]), 0)
    # of two epochs the first is right about a, the second about b; labels are 0 1 0 1
    learner.epoch_logits = [np.array([-3.0, 3, 3, -3]), np.array([3.0, -3, -3, 3])]
    people = np.array(["a", "a", "b", "b"])
    assert learner.held_out_logits(people).tolist() == [
        3,
        -3,
        3,
        -3,
    ]  # by the epoch that the others chose
    learner.recipe = replace(learner.recipe, checkpoint="last")
    assert learner.held_out_logits(people).tolist() == [3, -3, -3, 3]


def test_a_training_resumes_only_with_its_own_clips(tmp_path):
    x, y, people = points(), np.arange(12) % 2, np.array([f"p{i // 2}" for i in range(12)])
    recipe = replace(POINTS, n_networks=2)
    seen = []
    with pieces.caching(tmp_path):
        first = ClipModel(recipe, on_epoch=seen.append).fit_table(x, y, people)
    assert {row["network"] for row in seen} == {"1", "2"} and len(seen) == 8
    assert np.isfinite(first.out_of_fold).all() and len(first.networks) == 2
    with pieces.caching(tmp_path):
        again = ClipModel(recipe, on_epoch=seen.append).fit_table(x, y, people)
        assert len(seen) == 8  # nothing was left to do
        ClipModel(recipe, on_epoch=seen.append).fit_table(points(seed=1), y, people)
        assert len(seen) == 16
    np.testing.assert_array_equal(again.predict_table(x), first.predict_table(x))


def test_one_network_predicts_only_held_out_people_out_of_fold():
    x, y, people = points(), np.arange(12) % 2, np.array([f"p{i // 2}" for i in range(12)])
    x[4] = None
    model = ClipModel(replace(POINTS, validation_fraction=0.5)).fit_table(x, y, people)
    answered = np.isfinite(model.out_of_fold)
    assert len(np.unique(people[answered])) == 3 and not answered[4] and model.facts["clips"] == 11
    assert model.reader.needs == "points" and model.emotions(x[:1]) == [{}]


def test_the_objective_is_the_sum_of_its_labelled_tasks():
    said = {"authenticity": torch.tensor([0.3, -1.0]), "emotion": torch.tensor([[0.2, 1.0], [3.0, -1.0]])}
    y, emotion = torch.tensor([1.0, 0.0]), torch.tensor([1, -1])
    both = cross_entropy(said["authenticity"], y) + cross_entropy(said["emotion"][:1], emotion[:1])
    recipe = ClipRecipe(task="multi")
    torch.testing.assert_close(Objective(recipe, 2)(said, y, emotion), both)
    none = Objective(recipe, 2)(said, y, torch.tensor([-1, -1]))
    torch.testing.assert_close(none, cross_entropy(said["authenticity"], y))
    # posed and genuine of each emotion in turn: genuine of the second is the fourth class
    classes = {"classes": torch.tensor([[0.1, 0.2, 0.3, 2.0], [9.0, 9, 9, 9]])}
    found = Objective(ClipRecipe(task="classes"), 2)(classes, y, emotion)
    torch.testing.assert_close(found, cross_entropy(classes["classes"][:1], torch.tensor([3])))


def test_divergence_is_raised():
    x, y, people = points(), np.arange(12) % 2, np.array([f"p{i // 2}" for i in range(12)])
    x[5] = x[5] * np.float32(np.nan)
    with pytest.raises(Diverged, match="diverged"):
        ClipModel(POINTS).fit_table(x, y, people)
