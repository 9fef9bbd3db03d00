"""Filters against action units, and the pictures of them, each against a second way of finding it out."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import zoom
from torch import nn

from duchenne.errors import InputError, UsageError
from duchenne.expression.filter_units import filter_units
from duchenne.expression.filters import Excited, excite, randomise, views_of
from duchenne.plots.filters import BEYOND, BRIGHT, DARK, Tile, contact_sheet, overlay, sprite
from duchenne.report import filters_page

IMAGES = np.random.default_rng(0).normal(size=(40, 1, 12, 12)).astype(np.float32)


def network() -> nn.Sequential:
    torch.manual_seed(3)
    first: list[nn.Module] = [nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())


# --- action units -------------------------------------------------------------------------------------------


def test_the_table_of_units_against_all_ways_to_draw() -> None:
    labels = np.array([[1, 1], [1, 0], [0, 0], [1, np.nan], [0, 1], [0, 0], [0, 0]])
    image = np.array([[0, 1, 3], [2, 5, -1], [-1, -1, -1]])
    table = filter_units(image, labels, ("AU6", "AU12"), draws=50)
    np.testing.assert_array_equal(table.share, [[1, 1 / 2], [0, 0], [np.nan, np.nan]])
    np.testing.assert_array_equal(table.count, [[3, 2], [2, 2], [0, 0]])
    np.testing.assert_allclose(table.base, [3 / 7, 2 / 6])
    np.testing.assert_allclose(table.lift[0], [7 / 3, 3 / 2])
    draws = [labels[list(each), 0].sum() for each in combinations(range(7), 3)]
    coded = labels[~np.isnan(labels[:, 1]), 1]
    pairs = [coded[list(each)].sum() for each in combinations(range(6), 2)]
    requested = [[np.mean(np.array(draws) >= 3), np.mean(np.array(pairs) >= 1)], [1, 1], [np.nan, np.nan]]
    np.testing.assert_allclose(table.p, requested)
    np.testing.assert_allclose(table.luck[:2], [[1 / 35, 1 / 15], [3 / 21, 1 / 15]])  # 3 of 3, 2 of 2, 2 of 2, 2 of 2
    np.testing.assert_array_equal(table.unanimous, [True, False, False])  # for AU6; of the last nothing is known
    assert np.isnan(table.by_chance[2])
    assert next((row["filter"], row["unit"]) for row in table.rows()) == (0, "AU6") and len(table.rows()) == 4


def test_the_correction_is_the_smallest_p_over_all_permutations() -> None:
    labels = np.array([[1, 1], [1, 0], [0, 0], [0, 1], [0, 0], [0, 0]], float)
    image = np.array([[0, 1], [1, 3], [4, 0]])
    table = filter_units(image, labels, ("AU1", "AU2"), draws=4000)
    assert table.p[0, 0] == pytest.approx(1 / 15)
    least = [
        filter_units(np.array(order)[image], labels, ("AU1", "AU2"), draws=1).p.min()
        for order in permutations(range(6))
    ]
    requested = (np.array(least)[:, None, None] <= table.p + 1e-9).mean(axis=0)
    np.testing.assert_allclose(table.adjusted, requested, atol=0.03)
    assert (table.adjusted >= table.p - 0.03).all()


def test_filters_unanimous_by_chance_over_all_permutations() -> None:
    """A filter counts once, however many of its units are unanimous."""
    labels = np.array([[1, 1], [1, 1], [1, 0], [0, 1], [0, 0], [1, 0]], float)
    image = np.array([[0, 1], [1, 3], [4, 0]])
    table = filter_units(image, labels, ("AU1", "AU2"), draws=4000)
    np.testing.assert_array_equal(table.unanimous, [True, True, False])
    agreed = [labels[list(order)][image].all(axis=1).any(axis=1) for order in permutations(range(6))]
    np.testing.assert_allclose(table.by_chance, np.mean(agreed, axis=0), atol=0.03)


def test_chance_rarely_gives_a_corrected_finding() -> None:
    rng = np.random.default_rng(4)
    finds = plain = 0
    for _ in range(100):
        labels = (rng.random((60, 6)) < (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)).astype(float)
        image = np.stack([rng.permutation(60)[:5] for _ in range(20)])
        table = filter_units(image, labels, tuple("abcdef"), draws=99)
        finds, plain = finds + bool((table.adjusted <= 0.05).any()), plain + bool((table.p <= 0.05).any())
    assert finds <= 12 and plain > 50  # at 5 %, twelve or more of 100 come once in 250 such tests


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.zeros((3, 2)), "Image 4 has no labels; expected a row for each image, found 3"),
        (np.full((5, 2), 3.0), "must be 1"),
        (np.zeros((5, 1)), r"\(images, 2 units\), found \(5, 1\)"),
    ],
)
def test_invalid_labels_are_rejected(labels: np.ndarray, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        filter_units(np.array([[0, 4]]), labels, ("AU1", "AU2"))


# --- pictures -----------------------------------------------------------------------------------------------


def test_colours_of_an_overlay() -> None:
    view = np.array([[2.0, -2.0], [0.0, np.nan]])
    made = overlay(np.full((2, 2), 200, np.uint8), view)
    assert made.tolist() == [[list(BRIGHT), list(DARK)], [[235, 235, 235], list(BEYOND)]]


def shown() -> tuple[Excited, list[Tile]]:
    net = network()
    found = excite(net, "3", [IMAGES], n=4)
    return found, filters_page.tiles(found, views_of(net, found), most=3)


def test_tiles_hold_the_patches_of_their_filters() -> None:
    found, tiles = shown()
    high, wide = (found.box[..., 2:] - found.box[..., :2]).reshape(-1, 2).max(axis=0)
    tile, j = tiles[0], int(tiles[0].name)
    assert tile.patches.shape == (3, high, wide) and len(tiles) == (~found.dead).sum()
    top, left, bottom, right = found.box[j, 0]
    inside = np.isfinite(tile.guided[0])
    assert inside.sum() == (bottom - top) * (right - left)
    image = found.images[found.image[j, 0]][0, top:bottom, left:right]
    order = np.argsort(image, axis=None, kind="stable")
    assert (np.diff(tile.patches[0][inside].astype(int)[order]) >= 0).all()  # grey levels keep the image's order
    sides = set()
    for tile in tiles:  # what lies beyond the image's edge is left free on that side
        for view, (top, left, bottom, right) in zip(tile.deconvnet, found.box[int(tile.name)], strict=False):
            rows, columns = np.nonzero(np.isfinite(view))
            free = (top == 0) * (high - bottom + top), (left == 0) * (wide - right + left)
            assert (rows.min(), columns.min()) == free
            sides |= {(bool(free[0]), bool(free[1])), (bottom == 12, right == 12)}
    assert len(sides) > 2
    picture = sprite(tiles[0], 20, most=2, gap=4)
    assert picture.shape == (68, 44, 3)
    np.testing.assert_array_equal(picture[:, 20:24], 255)


def test_contact_sheet_is_one_deterministic_png(tmp_path: Path) -> None:
    _, tiles = shown()
    paths = [contact_sheet(tmp_path / name, tiles, "Filters", "a note") for name in ("a.png", "b.png")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0]) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[1] == 2160
    picture = sprite(tiles[0], (483 + 4) // 4 - 4, most=4)
    top, left = 210 + 38, 60
    there = pixels[top : top + picture.shape[0], left : left + picture.shape[1]]
    np.testing.assert_array_equal(there, picture)  # drawn pixel by pixel, not blurred
    with pytest.raises(UsageError, match="at least one active filter"):
        contact_sheet(tmp_path / "c.png", [], "", "")


class Page(HTMLParser):
    """Holds every tag with its attributes and the text; fails on tags closed out of order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_is_complete_safe_and_self_contained() -> None:
    found, tiles = shown()
    hostile = '<script>alert("x")</script>'
    labels = np.random.default_rng(2).integers(0, 2, (40, 2)).astype(float)
    labels[:, 1] = np.isin(np.arange(40), found.image[int(tiles[0].name)])
    units = filter_units(found.image, labels, (hostile, "AU12"), draws=200)
    tiles = filters_page.tiles(found, views_of(network(), found), units, most=3)
    steps = randomise(network(), found)
    part = filters_page.section(found, tiles, units=units, sanity=steps)
    html = filters_page.render([part], model=hostile, facts={"model": hostile}, notes=[hostile])
    page = Page(html)
    names = [tag for tag, _ in page.tags]
    assert "script" not in names and "link" not in names and page.text.count(hostile) >= 4
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    places = {a["id"] for _, a in page.tags if "id" in a}
    assert all(a["href"][1:] in places for tag, a in page.tags if tag == "a" and a["href"] != "")
    sources = [a["src"] for tag, a in page.tags if tag == "img"]
    assert len(sources) == 1 + len(tiles) and all(re.match("data:image/webp;base64,", src or "") for src in sources)
    with Image.open(io.BytesIO(base64.b64decode((sources[1] or "").partition(",")[2]))) as image:
        assert image.size == (3 * 54 + 2 * 4, 3 * 54 + 2 * 4)
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    assert (alpha[:, 54:58] == 0).all() and (alpha[54:58] == 0).all() and (alpha == 255).sum() == 9 * 54**2
    assert f"{len(tiles)} of 6 filters respond" in page.text
    assert units.adjusted[int(tiles[0].name), 1] < 0.05 and "AU12 100%" in page.text
    assert "3: with its own weights shuffled" in page.text and "down to the pixels" in page.text


def test_page_without_units_and_checks() -> None:
    found, tiles = shown()
    page = Page(filters_page.render([filters_page.section(found, []), filters_page.section(found, tiles[:1])]))
    assert "action units" not in page.text and "shuffled" not in page.text and "Layer 3" in page.text
    with pytest.raises(UsageError, match="All filters are dead"):
        filters_page.render([filters_page.section(found, [])])


def test_scaling_matches_scipy() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
    expected = zoom(picture.astype(float), (20 / 14, 20 / 14, 1), order=3, mode="nearest", grid_mode=True).clip(0, 255)
    assert expected.shape == (13, 20, 3)
    flat = np.zeros((1, 9, 14))
    found = sprite(Tile("1", "", picture[None], flat, flat), 20)[3:16, :20]  # 9 rows become 13, not 12.86
    np.testing.assert_allclose(found.astype(float), expected, atol=1)
