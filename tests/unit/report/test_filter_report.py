"""`duchenne filters`: from a model and images to the page and its sheets, and what is refused before any work."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import Completed
from duchenne import checkpoints
from duchenne.expression import filters
from duchenne.expression.layers import FeatureExtractor
from duchenne.expression.model import ExpressionModel
from duchenne.expression.network import ExpressionCNN
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.report import filters as filter_report
from duchenne.types import Array

IMAGES = np.random.default_rng(0).integers(0, 256, (70, 48, 48)).astype(np.uint8)
OURS = ("stem", "block1a.inner", "block1a", "block2a.inner", "block2a", "block3a.inner", "block3a", "block4a.inner")
Call = Callable[..., Completed]


def expert(kind: str = "ours", **changes: object) -> ExpressionModel:
    """A network with drawn weights, its residual blocks and batch norms as after some learning."""
    sizes = {"widths": (4, 4, 6, 8), "blocks": (1, 1, 1, 1)} if kind == "ours" else {"widths": (3, 4, 5), "fc_size": 8}
    recipe = replace(ExpressionRecipe(), kind=kind, **sizes, **changes)
    torch.manual_seed(1)
    network = ExpressionCNN(recipe.config(("joy", "anger"), (127.5,), (64.0,)))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
    return ExpressionModel(network, recipe, {"images": 70})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save(expert(), tmp_path_factory.mktemp("model") / "mine", name="mine")


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    np.savez(tmp_path / "faces.npz", images=IMAGES)
    return tmp_path / "faces.npz"


def folder_of(images: Array, folder: Path) -> Path:
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


# --- the network as it is looked at -------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "per_image"), [("ours", True), ("ours", False), ("paper", True)])
def test_layers_match_the_network(kind: str, per_image: bool) -> None:
    network = expert(kind, per_image_standardization=per_image).network
    extractor = FeatureExtractor(network)
    names = list(network.layers)
    found = filters.search(extractor, names, (extractor.normalised(IMAGES[i : i + 9]) for i in range(0, 70, 9)), n=3)
    with torch.no_grad():
        maps = network.maps(torch.from_numpy(IMAGES[:, None]))
    for name in names:
        strongest = maps[name].flatten(2).amax(-1) if maps[name].ndim == 4 else maps[name]
        requested = strongest.sort(0, descending=True).values[:3].T.numpy()
        np.testing.assert_allclose(np.nan_to_num(found[name].value), requested, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found[name].mean, strongest.mean(0).numpy(), rtol=1e-4, atol=1e-5)
        alive = ~found[name].dead
        ratio = requested.sum(1) / (requested > 0).sum(1).clip(1) / strongest.mean(0).numpy().clip(1e-9)
        np.testing.assert_allclose(found[name].stands_out[alive], ratio[alive], rtol=1e-3)
        assert found[name].layer == name
    assert list(filters.layers(extractor, extractor.normalised(IMAGES[:1])[0])) == names


def test_receptive_field_is_exact_despite_mean_removal() -> None:
    """A stem of 3×3 filters; two more of them behind a pooling see 3 + 1 + 2·2·2 = 12 pixels."""
    extractor = FeatureExtractor(expert(per_image_standardization=True).network)
    found = filters.search(extractor, ["stem", "block1a"], [extractor.normalised(IMAGES)], n=2)
    for name, side in (("stem", 3), ("block1a", 12)):
        box = found[name].box[found[name].image >= 0]
        assert (box[:, 2:] - box[:, :2]).max() == side


def test_layers_are_randomised_by_name() -> None:
    extractor = FeatureExtractor(expert().network)
    found = filters.excite(extractor, "block2a", [extractor.normalised(IMAGES)], n=1)
    before = {name: value.clone() for name, value in extractor.state_dict().items()}
    steps = filters.randomise(extractor, found, seed=2)
    down = ["block2a", "block2a.inner", "block1a", "block1a.inner", "stem"]
    assert [step.layers for step in steps] == [tuple(down[: k + 1]) for k in range(5)]
    assert all(torch.equal(value, before[name]) for name, value in extractor.state_dict().items())
    own = filters.randomise(extractor, replace(found, layer="block1a.inner"), seed=2)
    assert len(own) == 2
    assert np.nanmedian(steps[-1].deconvnet) < np.nanmedian(steps[0].deconvnet) < 1
    assert (np.abs(steps[-1].guided_size) <= 1).all() and not np.allclose(steps[-1].guided_size, steps[-1].guided)


def test_default_layers_are_the_last_maps() -> None:
    assert FeatureExtractor(expert().network).choose(()) == ["block3a", "block4a"]
    assert FeatureExtractor(expert("paper").network).choose(()) == ["conv2", "conv3"]
    assert FeatureExtractor(expert("paper").network).choose(["full", "conv1"]) == ["conv1", "full"]
    assert FeatureExtractor(expert().network).choose(["all"]) == [*OURS, "block4a"]


# --- the page -----------------------------------------------------------------------------------------------


def test_report_writes_a_page_and_a_sheet_per_layer(duchenne: Call, model: Path, packed: Path, tmp_path: Path) -> None:
    with (tmp_path / "units.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "emotion", "AU12", "AU4"])
        table.writerows([f"faces.npz#{i}", "joy", i % 2, "" if i % 3 else 0] for i in range(60))
    out = tmp_path / "new" / "filters.html"
    words = ("filters", "--model", model, "--images", packed, "--layers", "block4a,stem", "--top", 5)
    result = duchenne(*words, "--units", tmp_path / "units.csv", "-o", out)
    assert (
        (result.code, result.err) == (0, "") and "stem: 4 filters" in result.out and "70 images searched" in result.out
    )
    assert re.search(
        r"stem: .*; \d of 4 filters with coded images \(\d+ %\) unanimous for an action unit, \d+ % by", result.out
    )
    names = {"filters.html", "filters-stem.png", "filters-block4a.png"}
    assert {path.name for path in out.parent.iterdir()} == names
    page = out.read_text(encoding="utf-8")
    assert not re.search(r"<script|https?://|src=\"(?!data:)", page)
    assert page.index('id="stem"') < page.index('id="block4a"') and "Not for lie detection" in page
    anchors = re.findall(r'id="stem-(\d+)"', page)
    extractor = FeatureExtractor(checkpoints.load(model)[0].network)
    found = filters.excite(extractor, "stem", [extractor.normalised(IMAGES)], n=5)
    strength = np.nanmean(found.value, axis=1)
    assert [int(j) for j in anchors] == np.flatnonzero(~found.dead)[np.argsort(-strength[~found.dead])].tolist()
    assert "AU12" in page and "AU4" in page and "permutations" in page and "only its own" in page


def test_p_is_corrected_over_all_layers_at_once(model: Path, packed: Path, tmp_path: Path) -> None:
    (tmp_path / "units.csv").write_text(
        "file,AU12\n" + "".join(f"faces.npz#{i},{int(i < 9)}\n" for i in range(70)), encoding="utf-8"
    )
    ask = {"units": tmp_path / "units.csv", "top": 4}
    both = filter_report.report(model, packed, tmp_path / "a.html", layers=["stem", "block4a"], **ask)["units"]
    alone = filter_report.report(model, packed, tmp_path / "b.html", layers=["stem"], **ask)["units"]
    np.testing.assert_array_equal(both["stem"].p, alone["stem"].p)
    assert both["stem"].share.shape == (4, 1) and both["block4a"].share.shape == (8, 1)
    assert both["stem"].adjusted.min() > alone["stem"].adjusted.min()  # more was looked at


def test_sheet_has_the_given_name(model: Path, packed: Path, tmp_path: Path) -> None:
    ask = {"top": 2, "sheet": tmp_path / "sheet.png"}
    assert filter_report.report(model, packed, tmp_path / "a.html", layers=["stem"], **ask)["sheets"] == [ask["sheet"]]
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width == 2160


def test_images_without_a_face_are_skipped_and_reported(
    duchenne: Call, model: Path, pictures: list[Array], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i, picture in enumerate([pictures[0], np.zeros_like(pictures[0]), pictures[20]]):
        Image.fromarray(picture).save(folder / f"{i}.png")
    (tmp_path / "units.csv").write_text("file,AU12\n0.png,0\n2.png,1\n", encoding="utf-8")
    words = ("filters", "--model", model, "--images", folder, "--layer", "block4a")
    result = duchenne(*words, "--units", tmp_path / "units.csv", "-o", tmp_path / "a.html")
    assert result.code == 1 and "1 images were skipped" in result.err and "1.png shows no face" in result.err
    assert "2 images searched" in result.out
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "1 of 3 images were skipped" in page and "are few" in page


def test_images_are_read_one_batch_at_a_time(tmp_path: Path) -> None:
    source = filter_report.faces(folder_of(IMAGES, tmp_path / "in"), is_aligned=True)
    ticks: list[int] = []
    stream = source.batches(ticks.append)
    assert next(stream).shape == (64, 48, 48) and max(ticks, default=0) <= 64 and len(source.used) == 64
    np.testing.assert_array_equal(next(stream), IMAGES[64:])


@pytest.mark.parametrize("form", ["npz", "csv", "folders"])
def test_copies_of_fer2013(form: str, tmp_path: Path) -> None:
    few = IMAGES[:4]
    if form == "npz":
        np.savez(tmp_path / "public_test.npz", images=few, labels=np.arange(4))
    elif form == "csv":
        rows = [f"{i},{' '.join(map(str, image.ravel()))},Training" for i, image in enumerate(few)]
        (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    else:
        for i, image in enumerate(few):
            place = tmp_path / "train" / ("angry", "happy")[i // 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{i}.png")
    source = filter_report.faces(tmp_path)
    np.testing.assert_array_equal(np.concatenate(list(source.batches())), few)
    name = {"npz": "public_test.npz#3", "csv": "fer2013.csv#3", "folders": "train/happy/3.png"}[form]
    assert source.names[name] == 3 and source.count == 4


# --- refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--layer", "conv9"), 2, "no layer 'conv9'; choose from stem, block1a.inner,"),
        (("--model", "default"), 1, "default is a duchenne-cuts model, expected duchenne-expression"),
        (("--device", "abacus"), 2, "no device 'abacus'"),
        (("--images", "nowhere"), 1, "no folder nowhere"),
        (("--images", "nowhere.npz"), 1, "cannot be read as .npz"),
        (("--images", ".."), 1, "folder without images"),
        (("--out", "."), 2, "ends in .html"),
        (("--out", "units.csv"), 2, "ends in .html"),
        (("--sheet", "a.jpg"), 2, "ends in .png"),
        (("--images", ".", "--sheet", "1.png"), 2, "holds the images"),
    ],
)
def test_invalid_options_are_rejected(
    duchenne: Call, model: Path, words: tuple[str, ...], code: int, sentence: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    np.savez(tmp_path / "faces.npz", images=IMAGES)
    asked = {"--model": str(model), "--images": "../faces.npz", "--out": "a.html"}
    asked |= dict(zip(words[::2], words[1::2], strict=True))
    result = duchenne("filters", *itertools.chain(*asked.items()))
    assert sentence in result.sentence and result.code == code and not any(place.iterdir())


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("file,AU12\nother.png,1\n", "line 2, names 'other.png', which is not among the images"),
        ("file,AU12\nfaces.npz#1,1\nfaces.npz#1,0\n", "line 3, names 'faces.npz#1' a second time"),
        ("file,AU12\nfaces.npz#1,3\n", "line 2, has AU12 = '3'; expected 1 (present), 0 (absent)"),
        ("file,AU12\nfaces.npz#1,\n", "codes none of the images"),
        ("file,joy\nfaces.npz#1,1\n", "the column file and one for each action unit"),
        ("", "the column file and one for each action unit"),
    ],
)
def test_invalid_units_are_rejected(
    duchenne: Call, model: Path, packed: Path, rows: str, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "units.csv").write_text(rows, encoding="utf-8")
    words = ("filters", "--model", model, "--images", packed, "--units", tmp_path / "units.csv")
    result = duchenne(*words, "-o", tmp_path / "a.html")
    assert sentence in result.sentence and result.code == 1 and not (tmp_path / "a.html").exists()


@pytest.mark.parametrize(
    ("images", "sentence"),
    [(IMAGES.astype(float), "float64"), (IMAGES[:, :40], "(70, 40, 48)"), (IMAGES[:0], "at least one")],
)
def test_invalid_packed_images_are_rejected(
    duchenne: Call, model: Path, images: Array, sentence: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "faces.npz", images=images)
    result = duchenne("filters", "--model", model, "--images", tmp_path / "faces.npz", "-o", tmp_path / "a.html")
    assert sentence in result.sentence and result.code == 1


def test_cropped_faces_without_aligned_stop_early(duchenne: Call, model: Path, tmp_path: Path) -> None:
    folder = folder_of(IMAGES[:20], tmp_path / "in")
    result = duchenne("filters", "--model", model, "--images", folder, "-o", tmp_path / "a.html")
    assert "None of the first 16 images" in result.sentence and "--aligned" in result.sentence and result.code == 1


def test_network_that_reads_colour_is_rejected(duchenne: Call, packed: Path, tmp_path: Path) -> None:
    recipe = replace(ExpressionRecipe(), kind="ours", widths=(4, 4, 6, 8), blocks=(1, 1, 1, 1), channels=3)
    network = ExpressionCNN(recipe.config(("joy", "anger"), (127.5,) * 3, (64.0,) * 3))
    checkpoints.save(ExpressionModel(network, recipe, {}), tmp_path / "rgb", name="rgb")
    result = duchenne("filters", "--model", tmp_path / "rgb", "--images", packed, "-o", tmp_path / "a.html")
    assert "reads colour" in result.sentence and result.code == 1
