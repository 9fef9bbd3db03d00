"""Whoever sees no red, no green or no blue still tells apart what colours stand for: by the colours, or by a shape.

Sight as in Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision deficiency"
(2009), at its full severity, on linear RGB. Distances are those of CIE Lab, in which about 2 can just be seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from itertools import combinations

import numpy as np
import pytest
from skimage.color import rgb2lab

from duchenne import overlay
from duchenne.plots import figures, pb
from duchenne.types import Array

SIGHTS = {
    "all colours": np.eye(3),
    "no red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "no blue": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
APART = 60.0  # the two answers of everything
ALONE = 20.0  # enough by itself; what is nearer needs a shape, a pattern or a word as well
SOME = 9.0  # below which a colour is no help


def css(name: str) -> str:
    return (files("duchenne") / name).read_text(encoding="utf-8")


def schemes(name: str) -> list[dict[str, str]]:
    """The colours of each :root of a style sheet: light, dark, and where there is one, paper."""
    return [
        dict(re.findall(r"--([\w-]+): (#\w+);", block)) for block in re.findall(r":root \{(.*?)\}", css(name), re.S)
    ]


def seen(colour: str, sight: str) -> Array:
    """uint8-like sRGB (3,) of a colour as somebody sees it."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    rgb = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    linear = np.clip(SIGHTS[sight] @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4), 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def apart(one: str, other: str) -> float:
    """How far two colours are from one another for whom they are nearest."""
    labs = [(rgb2lab(seen(one, sight) / 255), rgb2lab(seen(other, sight) / 255)) for sight in SIGHTS]
    return min(float(np.linalg.norm(a - b)) for a, b in labs)


def near(colours: Mapping[str, str], limit: float) -> list[tuple[str, str]]:
    """Names of those that are nearer to one another than `limit` for somebody."""
    return [(a, b) for a, b in combinations(colours, 2) if apart(colours[a], colours[b]) < limit]


def test_simulated_colour_vision_is_as_in_the_paper() -> None:
    # of red 0.152286 and 0.114503 of the light are left where no red is seen, and less than nothing of blue
    np.testing.assert_allclose(seen("#f00", "no red"), [109.0, 95.3, 0], atol=0.5)
    for sight in SIGHTS:
        np.testing.assert_allclose(seen("#888888", sight), 0x88, atol=0.1)  # grey stays grey
    assert (
        apart("#009e73", "#868686") < 10 < 40 < float(np.linalg.norm(rgb2lab([0, 0.62, 0.45]) - rgb2lab([0.525] * 3)))
    )


@pytest.mark.parametrize("sheet", ["report/templates/page.css", "web/static/app.css"])
def test_posed_and_genuine_are_never_taken_for_one_another(sheet: str) -> None:
    found = schemes(sheet)
    assert len(found) == (3 if "report" in sheet else 2)
    for scheme in found:
        assert apart(scheme["posed"], scheme["genuine"]) > APART
        assert apart(scheme["posed-ink"], scheme["genuine-ink"]) > APART
        for ground in ("paper", "panel"):
            assert not near({"posed": scheme["posed"], "genuine": scheme["genuine"], "ground": scheme[ground]}, ALONE)


def test_video_and_plots_use_the_same_distinct_colours() -> None:
    film = {"genuine": overlay._GENUINE, "posed": overlay._POSED, "open": overlay._OPEN, "panel": overlay._PANEL}
    assert apart(film["genuine"], film["posed"]) > APART and not near(film, ALONE)
    assert apart(figures.BLUE, figures.VERMILLION) > APART
    assert not near(
        {"posed": figures.VERMILLION, "genuine": figures.BLUE, "other": figures.GREY, "paper": "#fff"}, ALONE
    )
    marks = dict(re.findall(r"\.(bright|dark|beyond) \{ background: (#\w+)", css("report/templates/filters_page.css")))
    assert len(marks) == 3 and apart(marks["bright"], marks["dark"]) > APART and not near(marks, ALONE)


def test_posed_and_genuine_have_shapes_of_their_own_as_well() -> None:
    report, app = css("report/templates/page.css"), css("web/static/app.css")
    assert ".dot-genuine { fill: var(--genuine); }" in report and ".dot-posed { fill: none; stroke:" in report
    assert "border-radius: 50%" in re.findall(r"\.mark::before.*", app)[0]
    assert "border-radius: 1px" in re.findall(r"\.is-posed::before.*", app)[0]
    assert len({mark for _, mark in pb._LABEL_MARKS}) == 3


def test_phases_and_gaps_have_patterns_where_colours_come_near() -> None:
    drawn = re.findall(r'<pattern id="(\w+)".*?/>(.*?)</pattern>', css("report/templates/page.html.j2"))
    shapes = {name: re.sub(r'(stroke|fill)="[^"]*"', "", shape) for name, shape in drawn}
    assert set(shapes) == {"rise", "plateau", "fall", "lost", "doubted"} and len(set(shapes.values())) == 5
    for scheme in schemes("report/templates/page.css"):
        bands = {name: scheme[name] for name in ("rise", "plateau", "fall", "lost")}
        for one, other in near(bands, ALONE):
            assert shapes[one] != shapes[other]
        assert not near(bands, SOME)
    assert not near(overlay._PHASES, SOME)  # their names are written beside them, in the same colours


def test_methods_differ_by_mark_or_dash_where_colours_come_near() -> None:
    looks = [figures.look(i) for i in range(2 * len(figures.COLOURS))]
    for (colour, dash, mark), (other, its_dash, its_mark) in combinations(looks, 2):
        assert apart(colour, other) > ALONE or (dash, mark) != (its_dash, its_mark)
        assert colour != other or dash != its_dash
    assert not near({colour: colour for colour in figures.COLOURS}, SOME)
