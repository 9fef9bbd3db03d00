"""FER+: how raters divide is read, learned, turned into what most say, and scored; FER2013's own labels beside it."""

import csv
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from duchenne import checkpoints
from duchenne.datasets import fer2013, fer_plus
from duchenne.errors import InputError, UsageError
from duchenne.expression import data as expression_data
from duchenne.expression.augment import augmented, equalized
from duchenne.expression.learner import UNKNOWN, ExpressionLearner, loss, second_loss, targets
from duchenne.expression.learner import train as learn
from duchenne.expression.majority import to_majority
from duchenne.expression.model import ExpressionModel
from duchenne.expression.network import ExpressionCNN
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.expression.training import scores, train
from makers import pattern

TINY = ExpressionRecipe(
    widths=(4, 4, 8, 8), blocks=(1, 1, 1, 1), epochs=2, batch_size=8, precision="float32", second_weight=0.5
)
COLUMNS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt", "unknown", "NF")
ANGRY, TORN, NOBODY = (9, 0, 0, 0, 0, 0, 1, 0, 0, 0), (0, 0, 4, 0, 4, 0, 0, 1, 1, 0), (0,) * 9 + (10,)
HAPPY = (0, 0, 0, 7, 0, 0, 3, 0, 0, 0)


def copy(root, votes, folds, pixels=None):
    """fer2013.csv and fer2013new.csv with these votes, of faces that are patterns; all labelled angry or happy."""
    rng = np.random.default_rng(0)
    pixels = [pattern(i % 3, rng) for i in range(len(votes))] if pixels is None else pixels
    with (root / "fer2013.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["emotion", "pixels", "Usage"])
        for i, (image, fold) in enumerate(zip(pixels, folds, strict=True)):
            rows.writerow([(0, 3)[i % 2], " ".join(map(str, image.ravel().tolist())), fold])
    with (root / "fer2013new.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Usage", "Image name", *COLUMNS])
        for i, (row, fold) in enumerate(zip(votes, folds, strict=True)):
            rows.writerow([fold, "" if row is NOBODY and i == 3 else f"fer{i:07}.png", *row])
    return root


def test_votes_beside_the_published_table_are_read(tmp_path):
    folds = ["Training"] * 4 + ["PublicTest", "PrivateTest"]
    faces = expression_data.emotions(copy(tmp_path, [ANGRY, TORN, NOBODY, NOBODY, HAPPY, HAPPY], folds))
    assert faces.classes == (*fer2013.CLASSES, "contempt") and faces.second_classes == fer2013.CLASSES
    assert [Path(each).name for each in faces.files] == [f"fer2013.csv#{i}" for i in (0, 1, 4, 5)]
    np.testing.assert_allclose(faces.shares[1], [0, 0, 0.4, 0, 0.4, 0, 0, 0.1])  # of all ten: one saw none of them
    assert faces.labels.tolist() == [0, 2, 3, 3] and faces.second.tolist() == [0, 3, 0, 3]
    assert faces.roles.tolist() == ["train", "train", "validation", "test"]
    assert "1 images in which half of the raters see no face" in faces.notes[0]
    part = faces.of(np.array([2, 0]))
    assert part.second.tolist() == [0, 0] and part.shares.argmax(1).tolist() == [3, 0]


def sheets(root, votes, order=COLUMNS, size=(2400, 960)):
    rng = np.random.default_rng(1)
    pixels = [rng.integers(0, 256, (48, 48), np.uint8) for _ in votes]
    sheet = np.zeros((20, 48, 50, 48), np.uint8)
    for i, image in enumerate(pixels[:1000]):
        sheet[i // 50, :, i % 50] = image
    Image.fromarray(sheet.reshape(960, 2400)).resize(size).save(root / "train-00.webp", lossless=True)
    named = {"vote_names": list(order), "train_votes": np.array(votes, np.uint8), "train_labels": np.zeros(len(votes))}
    np.savez(root / "labels.npz", **named)
    return pixels


def test_votes_beside_sheets_are_read_in_any_order(tmp_path):
    turned = [row[::-1] for row in (ANGRY, HAPPY, *[TORN] * 60)]
    pixels = sheets(tmp_path, turned, COLUMNS[::-1])
    faces = expression_data.emotions(tmp_path)
    assert faces.labels.tolist() == [0, 3, *[2] * 60]
    assert np.array_equal(faces.images, pixels)  # lossless, the 51st in the second row


@pytest.mark.parametrize(
    ("votes", "fault"),
    [
        ([ANGRY, (9, 0, 0, 3, 0, 0, 0, 0, 0, 0)], "train image 1: expected 1 to 10 votes in all, found 9+0+0+3"),
        ([ANGRY, (0,) * 10], "expected 1 to 10 votes in all, found 0+0"),
    ],
)
def test_votes_that_do_not_add_up_are_refused(tmp_path, votes, fault):
    sheets(tmp_path, votes)
    with pytest.raises(InputError) as told:
        expression_data.emotions(tmp_path)
    assert fault in str(told.value)


def test_sheets_and_tables_that_do_not_belong_together_are_refused(tmp_path):
    sheets(tmp_path, [ANGRY, HAPPY], size=(2400, 480))
    with pytest.raises(InputError, match="has 2400×480 pixels; expected 2400×960"):
        fer_plus.read(tmp_path)
    sheets(tmp_path, [ANGRY] * 1001)
    with pytest.raises(InputError, match="has 1000 images of train, expected 1001"):
        fer_plus.read(tmp_path)
    sheets(tmp_path, [ANGRY], order=("joy", *COLUMNS[1:]))
    with pytest.raises(InputError, match="has votes for joy, disgust"):
        fer_plus.read(tmp_path)
    copy(tmp_path, [ANGRY, HAPPY], ["Training"] * 2)
    lines = (tmp_path / "fer2013new.csv").read_text().splitlines()
    (tmp_path / "fer2013new.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(InputError, match="has 1 rows, expected the 2 of the images' table"):
        fer_plus.read(tmp_path)
    (tmp_path / "fer2013new.csv").write_text("\n".join([*lines[:-1], lines[-1].replace(",7,", ",7.5,")]))
    with pytest.raises(InputError, match=r"line 3: expected a number of votes, found '7\.5'"):
        fer_plus.read(tmp_path)


def test_the_loss_of_shares_by_hand():
    shares = targets(np.array([[0.5, 0.25, 0.0], [0.0, 0.0, 1.0]]), "emotions", ("a", "b", "c"), 2)
    logits = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 2.0]])
    p = logits.softmax(1)
    expected = -(0.5 * p[0, 0].log() + 0.25 * p[0, 1].log() + p[1, 2].log()) / 2
    assert loss(logits, shares, ExpressionRecipe()).item() == pytest.approx(expected.item(), rel=1e-6)
    y = torch.tensor([2, UNKNOWN])
    assert second_loss(logits, y).item() == pytest.approx(-p[0, 2].log().item(), rel=1e-6)
    assert second_loss(logits, y * 0 + UNKNOWN).item() == 0


@pytest.mark.parametrize(
    ("shares", "fault"),
    [
        ([[0.9, 0.2]], "add up to more than 1"),
        ([[-0.1, 0.2]], "must not be negative"),
        ([[0.5, 0.2, 0.1]], r"of shape \(1, 2\)"),
    ],
)
def test_impossible_shares_are_refused(shares, fault):
    with pytest.raises(InputError, match=fault):
        targets(np.array(shares), "emotions", ("a", "b"), 1)


def test_equalisation_is_opencvs_and_light_keeps_order_and_range():
    rng = np.random.default_rng(2)
    images = np.stack([rng.integers(60, 120, (48, 48), np.uint8), np.full((48, 48), 7, np.uint8), pattern(0, rng)])
    x = torch.from_numpy(images)[:, None].float()
    found = equalized(x)[:, 0].numpy()
    for i in (0, 2):
        assert np.abs(found[i] - cv2.equalizeHist(images[i])).max() <= 1  # it rounds
    recipe = ExpressionRecipe(gamma=0.5, contrast=0.5, horizontal_flip=False)
    lit = augmented(x, recipe, torch.Generator().manual_seed(0))
    assert lit.min() >= 0 and lit.max() <= 255 and not torch.allclose(lit, x, atol=5)
    order = images[0].ravel().argsort(kind="stable")
    assert (lit[0].flatten()[order.tolist()].diff() >= -1e-3).all()  # brighter stays brighter
    assert torch.allclose(augmented(x, recipe, torch.Generator().manual_seed(0), strength=0.0), x, atol=1e-3)


def test_smaller_images_cost_less_and_only_training_takes_them():
    assert augmented(torch.zeros(2, 1, 48, 48), TINY, torch.Generator(), side=32).shape == (2, 1, 32, 32)
    net = ExpressionCNN(TINY.config("ab", [0.0], [1.0])).train()
    assert net(torch.zeros(2, 1, 32, 32)).shape == (2, 2)
    with pytest.raises(InputError, match="reads faces of 1×48×48"):
        net.eval()(torch.zeros(2, 1, 32, 32))
    with pytest.raises(UsageError, match="small_images is read only where kind"):
        ExpressionRecipe.of({"kind": "paper", "small_images": 0.5}, "recipe")


@pytest.fixture(scope="module")
def voted():
    """(images, shares, second labels) of 24 patterns of three kinds, each seen as another kind by some raters."""
    rng = np.random.default_rng(0)
    kinds = np.arange(24) % 3
    shares = 0.6 * np.eye(3)[kinds] + 0.3 * np.eye(3)[(kinds + 1) % 3]
    return np.stack([pattern(kind, rng) for kind in kinds]), shares, np.where(kinds == 2, UNKNOWN, kinds)


def test_votes_and_second_labels_are_learned_saved_and_scored(voted, tmp_path):
    images, shares, second = voted
    recipe = replace(TINY, epochs=25, learning_rate=1e-2, small_images=0.3, per_image_standardization=True)
    model, _ = learn(recipe, images, shares, "abc", second=(second, "de"), device="cpu")
    p = model.predict(images)
    assert np.abs(p - shares / 0.9).mean() < 0.1  # how raters divide
    assert (model.second().predict(images).argmax(1) == second)[second != UNKNOWN].all()
    opened, _ = checkpoints.load(checkpoints.save(model, tmp_path / "m", name="m"))
    assert opened.network.config.second == ("d", "e")
    assert opened.second().predict(images, flips=True) == pytest.approx(
        model.second().predict(images, flips=True), abs=0.01
    )
    temperature = to_majority(model, images, shares)
    sharper = model.predict(images)
    assert temperature < 0.8 and (sharper.max(1) > p.max(1)).all() and (sharper.argmax(1) == p.argmax(1)).all()


def test_a_network_of_one_set_of_labels_has_no_second():
    model = ExpressionModel(ExpressionCNN(TINY.config("ab", [0.0], [1.0])), TINY)
    with pytest.raises(UsageError, match="has one set of labels, a, b"):
        model.second()


def test_a_recipe_without_weight_for_second_labels_leaves_them_out(voted):
    images, shares, second = voted
    learner = ExpressionLearner(replace(TINY, second_weight=0.0), images, shares, "abc", second=(second, "de"))
    assert learner.network.config.second == ()


def test_scores_are_of_the_images_on_which_half_agree(tmp_path):
    faces = expression_data.emotions(copy(tmp_path, [ANGRY, TORN, HAPPY, HAPPY], ["Training"] * 4))
    p = np.full((4, 8), 0.01)
    p[0, 0] = p[1, 1] = p[2, 3] = p[3, 6] = 0.93
    found = scores("emotions", p, faces)
    assert (found["rows"], found["undecided"]) == (3, 1) and found["accuracy"] == pytest.approx(2 / 3)
    log = -np.log([0.93, 0.01])
    each = [0.9 * log[0] + 0.1 * log[1], 0.9 * log[1], 0.7 * log[0] + 0.3 * log[1], 0.7 * log[1] + 0.3 * log[0]]
    assert found["cross_entropy"] == pytest.approx(np.mean(each))
    assert found["ece"] == pytest.approx(abs(2 / 3 - 0.93))


def test_a_training_on_votes_ends_with_a_card(tmp_path):
    votes, folds = [ANGRY, HAPPY] * 12 + [TORN], ["Training"] * 20 + ["PublicTest"] * 5
    (tmp_path / "data").mkdir()
    card = train(copy(tmp_path / "data", votes, folds), tmp_path / "m", TINY, device="cpu", log=lambda _: None)
    assert "tested on public test, not used in training" in card["protocol"]
    assert {"cross_entropy", "accuracy_flips", "second_accuracy_flips"} <= {*card} and card["undecided"] == 1
    model, _ = checkpoints.load(tmp_path / "m")
    assert model.network.config.second == fer2013.CLASSES and model.facts["temperature"] > 0


def test_real_votes_and_images():
    root = Path(os.environ.get("DUCHENNE_DATA", ""), "data", "fer2013", "original")
    if not (root / "labels.npz").is_file():
        pytest.skip("FER2013 with votes is not at hand; set DUCHENNE_DATA to the folder of data/fer2013/original.")
    found = fer_plus.read(root)
    test = found.folds == "public_test"
    assert (test.sum(), (~test).sum()) == (3579, 28558)
    clear = test & fer_plus.agreed(found.shares) & (found.own >= 0)
    assert (found.own == found.shares.argmax(1))[clear].mean() == pytest.approx(0.671, abs=0.001)
    # they are the pictures as published: equalising them changes much
    some = found.images[test][:200]
    assert np.mean([np.abs(cv2.equalizeHist(i).astype(int) - i).mean() for i in some]) > 20
