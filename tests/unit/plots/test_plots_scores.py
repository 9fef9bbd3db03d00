"""The pictures of an evaluation show the right numbers, in the same bytes every time, whatever they are given."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score, roc_curve

from duchenne import metrics, plots
from duchenne.errors import OutputError, UsageError

ROWS = [
    {"name": "clip length", "kind": "baseline", "accuracy": 0.55, "interval": (0.5, 0.6)},
    {"name": "default", "kind": "method", "accuracy": 0.72, "interval": (0.69, 0.75)},
    {"name": "no persons", "kind": "method", "accuracy": 0.6, "interval": None},
    {"name": "clip nets", "kind": "method", "accuracy": None, "interval": None},
]


def answers(n=200, seed=0):
    """(p, y) with ties and unanswered rows."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    p = np.round(1 / (1 + np.exp(-rng.normal(2 * y - 1))), 2)
    p[rng.random(n) < 0.05] = np.nan
    return p, y


def every():
    p, y = answers()
    q, _ = answers(seed=1)
    return {
        "forest": plots.forest(ROWS, human=0.62),
        "roc": plots.roc({"fear": (p, y), "anger": (q, y), "joy": (p[:40], y[:40])}, "ROC", human=(0.46, 0.72)),
        "reliability": plots.reliability({"a": p, "b": q}, y),
        "coverage": plots.risk_coverage({"a": p, "b": q}, y, abstain={"a": (0.8, 0.9)}),
    }


def words(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def line(figure, gid):
    (found,) = figure.findobj(lambda artist: artist.get_gid() == gid)
    return found.get_xdata(), found.get_ydata()


def test_every_plot_is_written_twice_and_in_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        for name, figure in every().items():
            svg, png = plots.save(figure, tmp_path / folder / name)
            assert ElementTree.parse(svg).getroot().tag.endswith("svg")
            with Image.open(png) as picture:
                shades = np.asarray(picture.convert("L"))
            assert shades.shape[1] == 960 and shades.min() < 60 and shades[:, -1].min() == 255
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(names) == 8
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_another_process_with_other_settings_writes_the_same_bytes(tmp_path):
    p, y = answers()
    svg, png = plots.save(plots.roc({"all": (p, y)}, "ROC"), tmp_path / "here")
    np.savez(tmp_path / "answers.npz", p=p, y=y)
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nlines.linewidth: 9\naxes.facecolor: black\n")
    code = "import sys, numpy as np; from duchenne import plots; a = np.load('answers.npz')\n"
    code += "plots.save(plots.roc({'all': (a['p'], a['y'])}, 'ROC'), 'there')\n"
    code += "assert 'matplotlib.pyplot' not in sys.modules"
    environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"} | {"PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "there.svg").read_bytes() == svg.read_bytes()
    assert (tmp_path / "there.png").read_bytes() == png.read_bytes()


def test_the_users_own_settings_stay_as_they_were(tmp_path):
    with matplotlib.rc_context({"font.size": 3.0, "svg.hashsalt": "mine"}):
        before = dict(matplotlib.rcParams)
        plots.save(plots.forest(ROWS), tmp_path / "forest")
        assert dict(matplotlib.rcParams) == before


def test_a_name_may_hold_dollars_breaks_and_letters_that_the_font_lacks(tmp_path):
    name = "$x_ \n<b>\x1b[31m 笑顔 " + "long " * 30
    p, y = answers()
    rows = [{"name": name, "kind": "method", "accuracy": 0.5, "interval": (0.4, 0.6)}]
    figures = [plots.forest(rows), plots.roc({name: (p, y)}, name), plots.reliability({name: p}, y)]
    for i, figure in enumerate([*figures, plots.risk_coverage({name: p}, y)]):
        plots.save(figure, tmp_path / str(i))
        assert any(text.lstrip().startswith("$x_ <b> [31m 笑顔") for text in words(figure))


def test_an_unwritable_place_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        plots.save(plots.forest(ROWS), tmp_path / "file" / "forest")


def test_the_forest_is_sorted_and_states_every_number():
    figure = plots.forest(ROWS, human=0.62)
    found = words(figure)
    assert [text for text in found if text in ("default", "no persons", "clip length")] == [
        "default",
        "no persons",
        "clip length",
    ]
    assert {"72.0 %", "69–75", "55.0 %", "60.0 %", "chance 50 %", "a single rater 62 %", "No score: clip nets"} <= set(
        found
    )
    (ax,) = figure.axes
    dots = {float(each.get_xdata()[0]): each.get_color() for each in ax.lines if each.get_marker() == "o"}
    assert list(dots) == [0.72, 0.6, 0.55]
    assert dots[0.72] == plots.BLUE and dots[0.55] != plots.BLUE
    spans = [tuple(each.get_xdata()) for each in ax.lines if each.get_marker() != "o"]
    assert {(0.69, 0.75), (0.6, 0.6), (0.5, 0.6)} <= set(spans)
    assert not any("rater" in text for text in words(plots.forest(ROWS)))


@settings(deadline=None, max_examples=25)
@given(human=st.floats(0, 1), chance=st.floats(0, 1), best=st.floats(0, 1))
def test_the_names_of_chance_and_rater_never_overlap_and_stay_inside(human, chance, best):
    figure = plots.forest(
        [{"name": "x", "kind": "method", "accuracy": best, "interval": None}], human=human, chance=chance
    )
    figure.draw_without_rendering()
    boxes = [t.get_window_extent() for t in figure.axes[0].texts if t.get_text().startswith(("chance", "a single"))]
    first, second = sorted(boxes, key=lambda box: box.x0)
    assert first.x1 < second.x0
    assert first.x0 >= 0 and second.x1 <= figure.bbox.x1


def test_the_roc_agrees_with_scikit_learn_and_the_label_its_area():
    p, y = answers()
    figure = plots.roc({"fear": (p, y)}, "ROC")
    answered = ~np.isnan(p)
    fpr, tpr, _ = roc_curve(y[answered], p[answered], drop_intermediate=False)
    x, height = line(figure, "roc-fear")
    np.testing.assert_allclose(x, fpr)
    np.testing.assert_allclose(height, tpr)
    found = words(figure)
    assert f"AUC {roc_auc_score(y[answered], p[answered]):.3f}" in found
    assert f"{answered.sum()} clips" in found


def test_a_panel_without_both_classes_states_it(tmp_path):
    p, y = answers()
    figure = plots.roc({"both": (p, y), "one": (p[y == 1], y[y == 1]), "none": (np.array([]), np.array([]))}, "ROC")
    plots.save(figure, tmp_path / "roc")
    assert words(figure).count("one class only") == 1
    assert {"no answers", "0 clips", f"{np.isfinite(p).sum()} clips"} <= set(words(figure))


def test_reliability_has_a_dot_per_bin_that_holds_a_clip_and_the_ece_of_the_metrics():
    # by hand: bin 0.1–0.2 holds 0.1 and 0.14 (one of two genuine), the last bin 0.95 and 1.0 (both genuine)
    p, y = np.array([0.1, 0.14, 0.95, 1.0, np.nan]), np.array([0, 1, 1, 1, 0])
    figure = plots.reliability({"a": p}, y)
    x, height = line(figure, "reliability-a")
    np.testing.assert_allclose(x, [0.12, 0.975])
    np.testing.assert_allclose(height, [0.5, 1.0])
    assert [t.get_text() for t in figure.axes[1].texts][:10] == ["0", "2", *"0000000", "2"]
    assert any(f"ECE {(2 * 0.38 + 2 * 0.025) / 4:.3f}, 4 clips" in text for text in words(figure))
    p, y = answers()
    assert any(f"ECE {metrics.ece(p, y):.3f}" in text for text in words(plots.reliability({"a": p}, y)))


def test_risk_and_coverage_is_that_of_the_metrics_from_20_clips_on():
    p, y = answers()
    figure = plots.risk_coverage({"a": p}, y, abstain={"a": (0.8, 0.9), "nobody": (0.1, 0.1)})
    share, right = metrics.risk_coverage(p, y)
    kept = np.round(share * len(p)) >= 20
    x, height = line(figure, "coverage-a")
    np.testing.assert_allclose(x, share[kept])
    np.testing.assert_allclose(height, right[kept])
    assert 0 < kept.sum() < len(share)
    assert any("90.0 % where it answers 80 %" in text for text in words(figure))
    rings = [each for each in figure.axes[0].lines if each.get_marker() == "o"]
    assert [(each.get_xdata()[0], each.get_ydata()[0]) for each in rings] == [(0.8, 0.9)]
    base = max(y.mean(), 1 - y.mean())
    assert any(np.allclose(each.get_ydata(), base) for each in figure.axes[0].lines if each is not rings[0])
    assert f"always “{'genuine' if y.mean() >= 0.5 else 'posed'}”" in words(figure)


def test_a_method_that_answered_nothing_is_drawn_as_such(tmp_path):
    p, y = np.full(30, np.nan), np.arange(30) % 2
    figure = plots.risk_coverage({"silent": p}, y)
    plots.save(figure, tmp_path / "coverage")
    assert any("too few answers" in text for text in words(figure))
    figure = plots.reliability({"silent": p}, y)
    plots.save(figure, tmp_path / "reliability")
    assert any("ECE –, 0 clips" in text for text in words(figure))


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda: plots.roc({}, "x"), "at least one emotion"),
        (lambda: plots.reliability({}, np.ones(3)), "at least one method"),
        (lambda: plots.risk_coverage({}, np.ones(3)), "at least one method"),
        (lambda: plots.forest(ROWS[-1:]), "with an accuracy"),
        (lambda: plots.roc({"x": (np.ones(3), np.ones(4))}, "x"), r"one length, found the shapes \(3,\) and \(4,\)"),
        (lambda: plots.roc({"x": (np.ones(3), np.array([0, 1, 2]))}, "x"), "must be 1 .genuine. or 0 .posed."),
        (lambda: plots.reliability({"x": np.array([0.5, 7.0])}, np.array([0, 1])), "between 0 and 1, found 0.5 to 7"),
    ],
)
def test_invalid_input_raises_one_sentence(draw, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        draw()
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_the_plots_module_loads_without_matplotlib():
    code = "import sys, duchenne.plots; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_another_answer_changes_the_figure(tmp_path):
    p, y = answers()
    pictures = []
    for i, each in enumerate((p, 1 - p)):
        pictures += [plots.save(plots.roc({"all": (each, y)}, "ROC"), tmp_path / str(i))[1].read_bytes()]
    assert hashlib.sha256(pictures[0]).digest() != hashlib.sha256(pictures[1]).digest()
