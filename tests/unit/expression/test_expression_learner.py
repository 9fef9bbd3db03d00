"""Learning expressions: augmentation, losses, rates and averages by hand; killed it ends the same; it does learn."""

import math
import os
import tomllib
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from duchenne.datasets import fer2013
from duchenne.errors import InputError, UsageError
from duchenne.expression import learner as expression
from duchenne.expression.augment import augmented
from duchenne.expression.learner import ExpressionLearner, loss, targets, train
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.learn.loop import fit

TINY = ExpressionRecipe(
    widths=(4, 4, 8, 8),
    blocks=(1, 1, 1, 1),
    epochs=3,
    batch_size=8,
    learning_rate=1e-3,
    precision="float32",
    horizontal_flip=False,
)
PAPER = replace(TINY, kind="paper", widths=(4, 6, 8), blocks=(), fc_size=16)
MOVED = {"horizontal_flip": True, "rotation": 20.0, "translation": 0.1, "scale": 0.2, "shear": 10.0}
NAMES = ("anger", "fear", "happiness")


@pytest.fixture(scope="module")
def stripes():
    """(images, labels) of 24 noisy patterns of three kinds: stripes across, along, and none."""
    rng, at = np.random.default_rng(0), np.arange(48)
    wave = (np.sin(at)[:, None] + np.zeros(48)) * 60
    images = np.stack([np.array([wave, wave.T, 0 * wave])[i % 3] + rng.normal(128, 20, (48, 48)) for i in range(24)])
    return images.clip(0, 255).astype(np.uint8), np.arange(24) % 3


@pytest.fixture(scope="module")
def faces():
    """(images, labels) of 21 real faces, three of each emotion, of FER2013."""
    root = Path(os.environ.get("DUCHENNE_DATA", ""), "data", "fer2013")
    if not (root / "public_test.npz").is_file():
        pytest.skip("FER2013 is not at hand; set DUCHENNE_DATA to a folder with data/fer2013/public_test.npz.")
    entries = [entry for entry in fer2013.packed(root) if entry.clip.fold == "public_test"]
    some = [entry for name in fer2013.CLASSES for entry in [e for e in entries if e.clip.emotion == name][:3]]
    return fer2013.images(some), np.repeat(np.arange(7), 3)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def state_of(learner):
    return {name: tensor.clone() for name, tensor in learner.state().items()}


# --- augmentation --------------------------------------------------------------------------------------------------


def test_random_erasing_fills_one_box_with_the_mean():
    x = torch.rand(400, 1, 48, 48, generator=torch.Generator().manual_seed(0)) * 255
    found = augmented(x, replace(TINY, horizontal_flip=False, random_erasing=0.5), torch.Generator().manual_seed(1))
    same = augmented(x, replace(TINY, horizontal_flip=False), torch.Generator().manual_seed(1))
    covered = found != same
    erased = covered.flatten(1).any(1)
    assert 0.4 < erased.float().mean() < 0.6
    for picture, mask in zip(found[erased], covered[erased], strict=True):
        rows, columns = mask[0].any(1), mask[0].any(0)
        box = int(rows.sum() * columns.sum())
        assert torch.equal(mask[0], rows[:, None] & columns[None]) and 0.01 * 48**2 < box < 0.3 * 48**2
        assert len(picture[mask].unique()) == 1


def test_augmentation_without_ranges_changes_nothing(stripes):
    x = torch.from_numpy(stripes[0][:4])[:, None].float()
    torch.testing.assert_close(augmented(x, TINY, torch.Generator()), x, atol=1e-2, rtol=0)


def test_half_are_flipped_and_strength_zero_moves_nothing(stripes):
    x = torch.from_numpy(stripes[0])[:, None].float()
    found = augmented(x, replace(TINY, **MOVED), torch.Generator().manual_seed(0), strength=0.0)
    as_is, mirrored = ([(a - b).abs().max() < 1e-2 for a, b in zip(found, y, strict=True)] for y in (x, x.flip(-1)))
    assert all(a ^ b for a, b in zip(as_is, mirrored, strict=True)) and 6 <= sum(mirrored) <= 18


@pytest.mark.parametrize("only", [*MOVED, "all"])
def test_affine_transform_matches_its_geometry(only):
    """Of a picture whose levels rise evenly, bilinear sampling is exact: each pixel is x and y of where it was seen."""
    recipe = replace(TINY, **(MOVED if only == "all" else {only: MOVED[only]}))
    side, n = 48, 6
    at = (2 * np.arange(side) + 1) / side - 1  # centres of pixels, in the picture's own units
    x, y = np.meshgrid(at, at)
    picture = torch.from_numpy(np.stack([x, y])).float().expand(n, -1, -1, -1)
    found = augmented(picture, recipe, torch.Generator().manual_seed(5), strength=0.5).numpy()
    draws = torch.rand(n, 6, generator=torch.Generator().manual_seed(5)).double().numpy()
    moved = 0.5 * (2 * draws - 1)
    for i in range(n):
        turn = np.radians(recipe.rotation * moved[i, 0])
        size = (1 + recipe.scale) ** moved[i, 2]
        matrix = size * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        matrix = matrix @ [[1, np.tan(np.radians(recipe.shear * moved[i, 1]))], [0, 1]]
        matrix = matrix @ np.diag([-1 if recipe.horizontal_flip and draws[i, 5] < 0.5 else 1, 1])
        seen = np.einsum("ij,jyx->iyx", matrix, np.stack([x, y])) + 2 * recipe.translation * moved[i, 3:5, None, None]
        np.testing.assert_allclose(found[i], seen.clip(at[0], at[-1]), atol=1e-5)  # outside it is as the rim


def test_draws_depend_on_the_seed_alone(stripes):
    x = torch.from_numpy(stripes[0])[:, None].float()
    a, b, c = (augmented(x, replace(TINY, **MOVED), torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


# --- losses and labels ---------------------------------------------------------------------------------------------


def test_the_sparse_loss_by_hand():
    z, y = torch.tensor([[0.0, 2.0], [-1.0, 3.0]]), torch.tensor([[1.0, 0.0], [0.0, math.nan]])

    def p(v):
        return 1 / (1 + math.exp(-v))

    entropy = -(math.log(p(0)) + math.log(1 - p(2)) + math.log(1 - p(-1))) / 3
    l1 = (p(0) + p(2) + p(-1) + p(3)) / 4
    l2 = (p(0) ** 2 + p(2) ** 2 + p(-1) ** 2 + p(3) ** 2) / 4
    recipe = replace(TINY, head="units", activity_regularization=(0.3, 0.7))
    assert float(loss(z, y, recipe)) == pytest.approx(entropy + 0.3 * l1 + 0.7 * l2, rel=1e-6)
    assert float(loss(z, y, replace(recipe, activity_regularization=(0.0, 0.0)))) == pytest.approx(entropy, rel=1e-6)
    weighted = -(5 * math.log(p(0)) + math.log(1 - p(2)) + math.log(1 - p(-1))) / 3
    found = loss(z, y, replace(recipe, activity_regularization=(0.0, 0.0)), torch.tensor([5.0, 1.0]))
    assert float(found) == pytest.approx(weighted, rel=1e-6)
    levels = replace(recipe, head="intensity")
    squares = ((5 * p(0) - 1) ** 2 + (5 * p(2) - 0) ** 2 + (5 * p(-1) - 0) ** 2) / 3
    assert float(loss(z, y, levels)) == pytest.approx(squares + 0.3 * l1 + 0.7 * l2, rel=1e-6)


def test_uncoded_units_have_no_gradient():
    z = torch.zeros(2, 2, requires_grad=True)
    loss(z, torch.tensor([[1.0, math.nan], [math.nan, math.nan]]), replace(TINY, head="units")).backward()
    assert z.grad is not None and z.grad.isfinite().all() and z.grad.count_nonzero() == 1


def test_softened_and_weighted_emotions_by_hand(stripes):
    z = torch.tensor([[1.0, 0.0, -1.0]])
    p = z[0].softmax(0).tolist()
    expected = -sum((0.7 * (k == 2) + 0.1) * math.log(p[k]) for k in range(3))
    assert float(loss(z, torch.tensor([2]), replace(TINY, label_smoothing=0.3))) == pytest.approx(expected, rel=1e-6)
    images, rare = stripes[0], np.array([0] * 16 + [1] * 8)
    learner = ExpressionLearner(replace(TINY, class_weight_power=1.0), images, rare, NAMES, device="cpu")
    # 1/16 and 1/8, so scaled that 24 pictures weigh 24; nobody shows the third
    torch.testing.assert_close(learner.weights, torch.tensor([0.75, 1.5, 0.0]))
    units = np.column_stack([rare, 1 - rare, np.zeros(24)])
    learner = ExpressionLearner(replace(TINY, class_weight_power=0.5, head="units"), images, units, NAMES, device="cpu")
    torch.testing.assert_close(learner.weights, torch.tensor([math.sqrt(2), math.sqrt(0.5), 1.0]))


def test_selection_error_by_hand():
    p = torch.tensor([[0.9, 0.2], [0.6, 0.4], [0.1, 0.3]])
    assert expression.selection_error(p, torch.tensor([0, 1, 1]), "emotions") == pytest.approx(1 / 3)
    y = torch.tensor([[1.0, math.nan], [0.0, 0.0], [1.0, 0.0]])
    assert expression.selection_error(p, y, "units") == pytest.approx(1 - 2 / 4)  # the second is not defined
    assert expression.selection_error(5 * p, y, "intensity") == pytest.approx(
        np.mean([3.5**2, 3.0**2, 2.0**2, 0.5**2, 1.5**2]), rel=1e-6
    )


@pytest.mark.parametrize(
    ("head", "labels", "fault"),
    [
        ("emotions", [0, 1, 3], "Expected labels from 0 to 2 for the 3 classes anger, fear, happiness, found 3."),
        ("emotions", [0, -1, 1], "found -1."),
        ("emotions", [0.0, 1.0, 2.0], "must be whole numbers of shape (3,), found float64 (3,)."),
        ("emotions", [0, 1], "found int64 (2,)."),
        ("emotions", ["anger", "fear", "fear"], "must be whole numbers"),
        ("units", [0, 1, 1], "must be numbers of shape (3, 3)"),
        ("units", [[0, 1, 2]] * 3, "Expected labels of action units of 1 (present), 0 (absent) or missing, found 2."),
        ("intensity", [[0, 5, 5.5]] * 3, "of 0 to 5 or missing, found 5.5."),
        ("intensity", [[0, 1, np.inf]] * 3, "found inf"),
    ],
)
def test_invalid_labels_are_refused_in_one_sentence(head, labels, fault):
    with pytest.raises(InputError) as caught:
        targets(np.array(labels), head, NAMES, 3)
    assert fault in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("images", "fault"),
    [
        (np.zeros((24, 40, 48), np.uint8), r"uint8 \(N, 48, 48\), found uint8 \(24, 40, 48\); crop and scale"),
        (np.zeros((24, 48, 48)), "found float64"),
        (np.zeros((24, 48, 48, 4), np.uint8), r"found uint8 \(24, 48, 48, 4\)"),
        (np.zeros((23, 48, 48), np.uint8), "Labels for emotions of 23 images"),
    ],
)
def test_images_of_another_kind_are_refused(stripes, images, fault):
    with pytest.raises(InputError, match=fault):
        ExpressionLearner(TINY, images, stripes[1], NAMES, device="cpu")


def test_a_single_class_no_images_and_missing_devices_are_refused(stripes):
    images, labels = stripes
    with pytest.raises(InputError, match="All labels are the same"):
        ExpressionLearner(TINY, images, 0 * labels, NAMES, device="cpu")
    with pytest.raises(InputError, match="All labels are the same"):
        ExpressionLearner(TINY, images[:0], labels[:0], NAMES, device="cpu")
    with pytest.raises(UsageError, match="no device 'tpu'"):
        ExpressionLearner(TINY, images, labels, NAMES, device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match=r"no device 'cuda' .* choose auto or one of cpu"):
            ExpressionLearner(TINY, images, labels, NAMES, device="cuda")
    assert ExpressionLearner(TINY, images, labels, NAMES, device="cpu").facts["device"] == "cpu"


# --- the steps -----------------------------------------------------------------------------------------------------


def test_every_pass_has_every_image_once(stripes):
    """24 pictures, batches of 5, epochs of 10: seen are two whole passes in another order each, whatever the parts."""
    learner = ExpressionLearner(replace(TINY, batch_size=5, images_per_epoch=10), *stripes, NAMES, device="cpu")
    rows = []
    for _ in range(10):
        rows += learner._next().tolist()
        learner.seen += 5
    assert sorted(rows[:24]) == sorted(rows[24:48]) == list(range(24)) and rows[:24] != rows[24:48]
    learner.seen, learner._passes = 20, {}  # as after a fresh start
    assert learner._next().tolist() == rows[20:25]
    assert learner.steps == 2
    assert ExpressionLearner(TINY, *stripes, NAMES, device="cpu").steps == 3
    assert ExpressionLearner(replace(TINY, batch_size=500), *stripes, NAMES, device="cpu").batch_size == 24


def test_learning_rate_schedule_by_hand(stripes):
    learner = ExpressionLearner(
        replace(TINY, learning_rate=1e-3, warmup_steps=3, epochs=4), *stripes, NAMES, device="cpu"
    )
    rates = [
        learner.optimiser.param_groups[0]["lr"] for _ in range(4) for _ in learner.epoch(np.random.default_rng(0), 1)
    ]
    cosine = [0.5 + 0.5 * math.cos(math.pi * step / 12) for step in range(12)]
    np.testing.assert_allclose(rates, [1e-3 * c * min(1, (i + 1) / 4) for i, c in enumerate(cosine)])
    learner.recipe = replace(learner.recipe, cosine_decay=False, warmup_steps=0, inverse_time_decay=0.5)
    learner.seen = 8 * 6
    next(learner.epoch(np.random.default_rng(0), 1))
    assert learner.optimiser.param_groups[0]["lr"] == 1e-3 / (1 + 0.5 * 6)


@pytest.mark.parametrize(
    "recipe", [replace(TINY, ema_decay=0.8), replace(PAPER, ema_decay=0.8), replace(TINY, ema_decay=0.0)]
)
def test_saved_weights_are_the_running_average(stripes, recipe):
    learner = ExpressionLearner(recipe, *stripes, NAMES, device="cpu")
    mean = {name: each.double() for name, each in learner.network.state_dict().items()}
    step = 0
    for epoch in range(6):
        for _ in learner.epoch(np.random.default_rng(epoch), 1.0):
            step += 1
            share = 1 - min(recipe.ema_decay, step / (step + 9))
            for name, now in learner.network.state_dict().items():
                mean[name] = mean[name] + share * (now - mean[name])
    assert step == 18
    assert same(learner.network.state_dict(), learner.model().network.state_dict()) != bool(recipe.ema_decay)
    for name, kept in learner.average.state_dict().items():
        if kept.is_floating_point():
            torch.testing.assert_close(kept.double(), mean[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_step_is_adams(stripes, frozen):
    """Adam's first step moves every weight that learns by the rate against its gradient's sign."""
    recipe = replace(PAPER, conv_dropout=0.0, dropout=0.0, batch_size=24, learning_rate=1e-3)
    start = ExpressionLearner(recipe, *stripes, NAMES, device="cpu").model()
    learner = ExpressionLearner(replace(recipe, freeze_backbone=frozen), *stripes, NAMES, device="cpu", start=start)
    before = state_of(learner)
    x = torch.from_numpy(stripes[0])[:, None]
    functional.cross_entropy(start.network(x), torch.from_numpy(stripes[1])).backward()
    list(islice(learner.epoch(np.random.default_rng(0), 1.0), 1))
    for name, weight in start.network.named_parameters():
        moved = learner.state()[f"network.{name}"] - before[f"network.{name}"]
        clear = weight.grad.abs() > 1e-4
        expected = -1e-3 * weight.grad.sign() * (not frozen or name.startswith("head."))
        torch.testing.assert_close(moved[clear], expected[clear], atol=2e-5, rtol=0)


# --- killed --------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The end of the process, as far as the loop can tell."""


@pytest.mark.parametrize("kind", [TINY, PAPER])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resumed_training_is_bit_identical(stripes, tmp_path, kind, precision):
    recipe = replace(
        kind,
        **MOVED,
        precision=precision,
        ema_decay=0.9,
        images_per_epoch=16,
        batch_size=6,
        warmup_steps=2,
        weight_decay=0.05,
        augmentation_ramp=0.5,
    )
    images, labels = stripes
    held = (images[:6], labels[:6])

    def learner():
        return ExpressionLearner(recipe, images, labels, NAMES, held, device="cpu")

    whole = learner()
    curve = fit(whole, recipe.schedule)
    for at in (2, 5):  # steps, of which an epoch has three
        folder, broken = tmp_path / str(at), learner()
        step = broken.optimiser.step
        count = iter(range(100))

        def dies(step=step, count=count, at=at):
            if next(count) == at:
                raise Killed
            return step()

        broken.optimiser.step = dies
        with pytest.raises(Killed):
            fit(broken, recipe.schedule, folder)
        again = learner()
        assert repr(fit(again, recipe.schedule, folder)) == repr(curve)
        assert same(again.state(), whole.state())
    assert len(curve) == 3 and all(0 <= row["score"] <= 1 for row in curve)


def test_folder_of_another_training_is_refused(stripes, tmp_path):
    images, labels = stripes
    _, curve = train(replace(TINY, epochs=1), images, labels, NAMES, folder=tmp_path, device="cpu")
    model, longer = train(replace(TINY, epochs=2), images, labels, NAMES, folder=tmp_path, device="cpu")
    assert repr(longer[:1]) == repr(curve) and len(longer) == 2
    assert model.facts["epochs"] == 2 and model.facts["images"] == 24
    for other in (
        (replace(TINY, learning_rate=2e-3), images, labels, NAMES),
        (TINY, 255 - images, labels, NAMES),
        (TINY, images, labels[::-1], NAMES),
        (TINY, images, labels, NAMES[::-1]),
    ):
        with pytest.raises(UsageError, match="an unfinished training with other images or settings"):
            train(*other, folder=tmp_path, device="cpu")
    with pytest.raises(UsageError, match="an unfinished training"):
        train(TINY, images, labels, NAMES, folder=tmp_path, device="cpu", start=model)


# --- it learns -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ours", "paper"])
def test_small_set_of_real_faces_is_overfitted(faces, kind):
    ours = {"widths": (8, 8, 16, 32), "blocks": (1, 1, 1, 1)}
    own = ours if kind == "ours" else {"widths": (8, 12, 16), "fc_size": 64, "conv_dropout": 0.0}
    recipe = ExpressionRecipe(kind=kind, dropout=0.0, horizontal_flip=False, per_image_standardization=True, **own)
    recipe = replace(
        recipe,
        learning_rate=4e-3,
        batch_size=21,
        epochs=6,
        images_per_epoch=21 * 10,
        precision="float32",
    )
    model, curve = train(recipe, *faces, fer2013.CLASSES, faces, device="cpu")
    p = model.predict(faces[0])
    assert p.dtype == np.float64 and p.shape == (21, 7)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (p.argmax(axis=1) == faces[1]).all() and curve[-1]["loss"] < 0.5 < curve[0]["loss"]
    mirrored = model.predict(faces[0][:, :, ::-1].copy())
    np.testing.assert_allclose(model.predict(faces[0], flips=True), (p + mirrored) / 2)


@pytest.mark.parametrize("head", ["units", "intensity"])
def test_units_are_trained_jointly(stripes, head):
    images, kind = stripes
    labels = np.column_stack([kind == 0, kind != 1]) * (1.0 if head == "units" else 4.0)
    labels[::5, 0] = np.nan
    recipe = replace(
        TINY,
        head=head,
        learning_rate=1e-2,
        epochs=4,
        batch_size=12,
        images_per_epoch=240,
        activity_regularization=(1e-3, 1e-3),
    )
    model, _ = train(recipe, images, labels, ("AU6", "AU12"), (images, labels), device="cpu")
    found, coded = model.predict(images), np.isfinite(labels)
    assert np.abs(found - labels)[coded].max() < (0.5 if head == "units" else 1.5)
    assert found.min() >= 0 and found.max() <= (1 if head == "units" else 5)


# --- transfer ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known(stripes):
    return train(replace(TINY, per_image_standardization=True), *stripes, NAMES, device="cpu")[0]


def test_frozen_backbone_stays_the_same(stripes, known):
    images, labels = stripes
    recipe = replace(TINY, freeze_backbone=True, head="units", ema_decay=0.9, weight_decay=0.1, **MOVED)
    units = np.column_stack([labels == 0, labels == 1]).astype(int)
    learner = ExpressionLearner(recipe, images, units, ("AU4", "AU6"), device="cpu", start=known)
    fit(learner, recipe.schedule)
    for network in (learner.network, learner.average):
        assert same(network.trunk.state_dict(), known.network.trunk.state_dict())
    np.testing.assert_array_equal(learner.model().features(images), known.features(images))
    assert learner.network.head.weight.shape == (2, 8) and learner.optimiser.state


def test_start_weights_are_copied_and_trained(stripes, known):
    images, labels = stripes
    recipe = replace(TINY, widths=(), blocks=())  # the weights say what they are
    learner = ExpressionLearner(recipe, 255 - images // 2, labels, NAMES, device="cpu", start=known)
    assert learner.network.config == known.network.config and learner.recipe.per_image_standardization
    assert same(learner.network.state_dict(), known.network.state_dict())
    other = ExpressionLearner(recipe, images, labels, NAMES[::-1], device="cpu", start=known)
    assert same(other.network.trunk.state_dict(), known.network.trunk.state_dict())
    assert not torch.equal(other.network.head.weight, known.network.head.weight)
    fit(other, replace(recipe, epochs=1).schedule)
    assert not same(other.network.trunk.state_dict(), known.network.trunk.state_dict())
    with pytest.raises(UsageError, match=r"weights to start from have widths .*; leave widths out\.$"):
        ExpressionLearner(replace(TINY, widths=(4, 4, 8, 9)), images, labels, NAMES, device="cpu", start=known)
    with pytest.raises(UsageError, match="name a model to start from"):
        ExpressionLearner(replace(TINY, freeze_backbone=True), images, labels, NAMES, device="cpu")


# --- recipes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ExpressionRecipe.shipped())
def test_shipped_recipes_are_valid(name):
    told = tomllib.loads(ExpressionRecipe.shipped()[name].read_text(encoding="utf-8"))
    found = ExpressionRecipe.read(name)
    assert told and {key: list(v) if isinstance(v := getattr(found, key), tuple) else v for key in told} == told
    assert ExpressionRecipe.read(name, epochs=7, learning_rate=None) == replace(found, epochs=7)


def test_paper_recipe_matches_the_paper():
    assert {"paper", "ours"} <= set(ExpressionRecipe.shipped())
    found = ExpressionRecipe.read("paper")
    assert (found.kind, found.widths, found.fc_size) == ("paper", (64, 128, 256), 512)
    assert (found.conv_dropout, found.dropout) == (0.25, 0.5)
    assert (found.learning_rate, found.inverse_time_decay, found.cosine_decay) == (1e-3, 1e-5, False)
    assert (found.weight_decay, found.ema_decay) == (0.0, 0.0)
    assert found.horizontal_flip and min(found.rotation, found.translation, found.scale, found.shear) > 0


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("magic = 1", "unknown key 'magic'"),
        ("learning_rate = 0.0", "learning_rate must lie between"),
        ("learning_rate = nan", "learning_rate must lie between"),
        ("learning_rate = 'quick'", "learning_rate must be float, found 'quick'"),
        ("epochs = 2.5", "epochs must be int"),
        ("horizontal_flip = 1", "horizontal_flip must be bool"),
        ("activity_regularization = 0.5", "activity_regularization must be a list of 2 numbers"),
        ("fc_size = 512", 'fc_size is read only where kind is "paper", found "ours"'),
        ("head = 'units'\nlabel_smoothing = 0.1", 'label_smoothing is read only where head is "emotions"'),
        ("warm = 3", "warm is now warmup_steps; rename it"),
        ("widths = [8, 8]", "widths must be a list of 4 numbers"),
        ("widths = [8, 8, 8]", "has 4 stages"),
        ("widths = [8, 8, 8, 0]", "widths must lie between 1 and 4096"),
        ("kind = 'vgg'", "kind must be one of paper, ours"),
        ("channels = 2", "channels must be one of 1, 3"),
        ("precision = 'half'", "precision must be one of auto, float32, bfloat16"),
    ],
)
def test_impossible_recipes_are_refused_in_one_sentence(tmp_path, line, fault):
    path = tmp_path / "mine.toml"
    path.write_text(line)
    with pytest.raises(UsageError) as caught:
        ExpressionRecipe.read(path)
    assert fault in str(caught.value) and str(caught.value).endswith(".")


def test_predictions_for_no_images_and_read_only_images(stripes, known):
    locked = stripes[0].copy()
    locked.setflags(write=False)
    np.testing.assert_array_equal(known.on("cpu").predict(locked), known.predict(stripes[0]))
    assert known.predict(locked[:0], flips=True).shape == (0, 3) and known.features(locked[:0]).shape == (0, 8)
    with pytest.raises(UsageError, match="no device 'tpu'"):
        known.on("tpu")


def test_unknown_recipe_is_refused():
    with pytest.raises(UsageError, match=r"no recipe 'yours'.* choose one of .*ours, paper"):
        ExpressionRecipe.read("yours")
