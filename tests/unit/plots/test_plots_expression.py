"""Pictures of an expression network show the numbers they are given; the same bytes every time."""

import hashlib

import matplotlib
import numpy as np
import pytest

from duchenne import plots
from duchenne.errors import UsageError
from duchenne.plots import expression as pictures

NAMES = ("anger", "fear", "happiness")
MATRIX = np.array([[6, 3, 1], [0, 4, 0], [2, 0, 14]])
ROWS = [
    {"epoch": 1, "loss": 1.8, "accuracy": 0.4},
    {"epoch": 2, "loss": 1.2, "accuracy": 0.62},
    {"epoch": 3, "loss": 0.9, "accuracy": 0.6},
]
BINS = [
    {"images": 0, "claimed": None, "right": None},
    {"images": 30, "claimed": 0.4, "right": 0.5},
    {"images": 9, "claimed": 0.6, "right": 0.6},
    {"images": 10, "claimed": 0.9, "right": 0.7},
]


def words(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def line(figure, gid):
    (found,) = figure.findobj(lambda artist: artist.get_gid() == gid)
    return np.column_stack([found.get_xdata(), found.get_ydata()])


def sheet():
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48), np.uint8)
    return pictures.mistakes(
        images, ["fear", "anger", "fear"], ["anger", "fear", "happiness"], np.array([0.9, 0.8, 0.7])
    )


def every():
    return {
        "confusion": pictures.confusion(NAMES, MATRIX),
        "training": pictures.training({"ours": ROWS}, reference=("paper", 0.721)),
        "certainty": pictures.certainty({"as answered": BINS}),
        "mistakes": sheet(),
    }


def test_every_figure_has_the_same_bytes(tmp_path):
    def digests(folder):
        files = [file for name, figure in every().items() for file in plots.save(figure, tmp_path / folder / name)]
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]

    first = digests("a")
    assert len(set(first)) == 8 and first == digests("b")


def test_cells_are_shares_of_the_row_and_f1_is_beside():
    said = words(pictures.confusion(NAMES, MATRIX))
    # by hand: 6 of 10, 3 of 10, 1 of 10; 4 of 4; 2 of 16, 14 of 16 = 12.5 and 87.5 %
    cells = [text for text in said if text.isdigit()]
    assert cells == ["60", "30", "10", "0", "100", "0", "12", "0", "88", "10", "4", "16"]
    # 2 TP / (row + column): 12 / (10 + 8), 8 / (4 + 7), 28 / (16 + 15); 24 of 30 right
    assert [text for text in said if text.startswith("0.")] == ["0.67", "0.73", "0.90"]
    assert "80.0% of 30 correct" in said
    assert "–" in words(pictures.confusion(("a", "b"), [[3, 0], [0, 0]]))  # no F1 of a class that is nowhere


def test_right_cells_are_blue_wrong_ones_orange_and_none_white():
    (cells,) = pictures.confusion(NAMES, MATRIX).axes[0].images
    tints = np.asarray(cells.get_array())
    assert tints[1, 1].tolist() == [0, 114, 178] and tints[1, 0].tolist() == [255, 255, 255]
    assert tints[0, 1][0] > tints[0, 1][2] and tints[0, 1][2] < tints[0, 2][2] < 255


def test_the_curve_is_the_rows_and_the_ring_the_best():
    figure = pictures.training({"ours": ROWS, "none held": [{"epoch": 1, "loss": 2.0, "accuracy": None}]})
    assert line(figure, "accuracy-ours").tolist() == [[1, 0.4], [2, 0.62], [3, 0.6]]
    assert line(figure, "loss-ours").tolist() == [[1, 1.8], [2, 1.2], [3, 0.9]]
    assert line(figure, "best-ours").tolist() == [[2, 0.62]]
    said = words(figure)
    assert "ours: 62.0 % after 2 of 3 epochs" in said and "none held, 1 epochs" in said
    assert (
        line(pictures.training({"ours": ROWS}, reference=("paper", 0.721)), "reference")[:, 1].tolist() == [0.721] * 2
    )


def test_certainty_leaves_out_empty_bins_draws_no_line_to_small_ones_and_states_the_ece():
    figure = pictures.certainty({"as answered": BINS})
    assert line(figure, "certainty-as answered").tolist() == [[0.4, 0.5], [0.9, 0.7]]
    assert len(figure.axes[0].collections) == 3
    # by hand: (30 · 0.1 + 9 · 0 + 10 · 0.2) / 49
    assert "as answered   ECE 0.102, 49 images" in words(figure)


def test_the_sheet_names_label_and_answer_of_each_image():
    figure = sheet()
    assert len(figure.axes) == 3
    assert {"anger 90 %", "fear 80 %", "happiness 70 %"} <= set(words(figure))
    assert [ax.get_title() for ax in figure.axes] == ["fear", "anger", "fear"]


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda: pictures.confusion(NAMES, np.zeros((3, 3))), "Expected counts of 3 × 3 classes"),
        (lambda: pictures.confusion(NAMES, np.ones((2, 3))), "Expected counts of 3 × 3 classes"),
        (lambda: pictures.training({"ours": []}), "at least one epoch"),
        (lambda: pictures.certainty({"ours": BINS[:1]}), "needs predictions, found none"),
        (lambda: pictures.mistakes(np.zeros((0, 48, 48), np.uint8), [], [], np.zeros(0)), "found 0, 0, 0 and 0"),
    ],
)
def test_invalid_input_raises_one_sentence(draw, sentence):
    with pytest.raises(UsageError, match=sentence):
        draw()
