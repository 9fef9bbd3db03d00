"""Pictures of an LSTM-PB against scikit-learn and numbers counted by hand."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from sklearn.decomposition import PCA

from duchenne import plots
from duchenne.errors import UsageError
from duchenne.plots.pb import SHOWN, along, plane, share_between


def words(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def line(figure, gid):
    (found,) = figure.findobj(lambda artist: artist.get_gid() == gid)
    return np.column_stack([found.get_xdata(), found.get_ydata()])


def vectors(n=40, d=6, seed=0):
    """PB vectors of n/5 people, of whom each has a place of its own; labels, people."""
    rng = np.random.default_rng(seed)
    who, y = np.arange(n) // 5, rng.integers(0, 2, n)
    return rng.normal(size=(n, d)) * np.arange(d, 0, -1) + 3 * rng.normal(size=(n // 5, d))[who], y, who


# --- PB space -------------------------------------------------------------------------------------------------------


def test_the_plane_agrees_with_scikit_learn():
    x = vectors()[0]
    flat, shown = plane(x)
    pca = PCA(2).fit(x)
    np.testing.assert_allclose(shown, pca.explained_variance_ratio_)
    np.testing.assert_allclose(np.abs(flat), np.abs(pca.transform(x)), atol=1e-9)
    np.testing.assert_allclose(plane(x[::-1])[0], flat[::-1], atol=1e-9)  # not even a sign depends on the order
    one, share = plane(x[:, :1])  # one dimension, and none that varies
    assert one.shape == (40, 2) and share.tolist() == [1.0, 0.0]
    np.testing.assert_array_equal(plane(np.ones((5, 3)))[0], 0)


def test_the_share_between_groups_by_hand():
    # by hand: groups (0, 2) and (4, 6) of the mean 3: total 20, within 4, so 1 − (4 / 2) / (20 / 3)
    x = np.array([[0.0], [2.0], [4.0], [6.0]])
    assert share_between(x, np.array(["a", "a", "b", "b"])) == pytest.approx(1 - 2 / (20 / 3))
    rng = np.random.default_rng(0)
    noise, groups = rng.normal(size=(4000, 3)), rng.integers(0, 400, 4000)
    assert share_between(noise, groups) < 0.02  # where the plain share would be 400 / 4000
    assert share_between(noise + 1000 * groups[:, None], groups) > 0.999
    assert np.isnan(share_between(np.ones((4, 2)), groups[:4])) and np.isnan(share_between(x, np.arange(4)))


def test_every_clip_lies_in_its_place_and_label():
    x, y, who = vectors()
    x[7, 3] = np.nan
    keep = np.arange(40) != 7
    figure = plots.pb_space(x, y, who, "Mine")
    flat, shown = plane(x[keep])
    for value, label in enumerate(("posed", "genuine")):
        np.testing.assert_allclose(line(figure, f"pb-{label}"), flat[y[keep] == value])
        assert f"{label}, {(y[keep] == value).sum()}" in words(figure)
    said = " ".join(words(figure))
    assert "Mine" in said and "39 clips of 8 people" in said
    assert f"{sum(shown):.0%} of the variance in 6 dimensions" in said
    assert f"{share_between(x[keep], who[keep]):.0%} lies between people" in said
    for i in range(8):  # named at the mean of the person's clips
        (name,) = (t for t in figure.findobj(matplotlib.text.Annotation) if t.get_text() == str(i))
        np.testing.assert_allclose(name.xy, flat[who[keep] == i].mean(axis=0))


def test_many_people_are_not_named_but_joined():
    x, y, who = vectors(100)
    figure = plots.pb_space(x, y, [f"person {i}" for i in who])
    assert not any(text.startswith("person ") for text in words(figure))
    assert len([each for each in figure.axes[0].lines if not each.get_gid()]) == 100


def test_one_label_and_one_person_are_drawn(tmp_path):
    x, _, _ = vectors()
    figure = plots.pb_space(x, np.ones(40), ["a"] * 40)
    said = words(figure)
    assert "genuine, 40" in said and not any("posed" in text or "between" in text for text in said)
    plots.save(figure, tmp_path / "pb")


def test_unknown_labels_and_people_are_drawn_apart_and_not_counted():
    x, y, who = vectors()
    y, people = y.astype(object), who.astype(object)
    y[::4], people[:6] = None, None
    figure = plots.pb_space(x, y, people)
    known, seen = y != None, people != None  # noqa: E711 (element by element)
    np.testing.assert_allclose(line(figure, "pb-unlabelled"), plane(x)[0][~known])
    said = " ".join(words(figure))
    assert "no label, 10" in said and "40 clips, 34 of them of 7 people" in said and "None" not in said
    by_person, by_label = share_between(x[seen], who[seen]), share_between(x[known], y[known].astype(int))
    assert f"{by_person:.0%} lies between people (of 34 clips) and {by_label:.0%} between labels (of 30 clips)" in said
    nobody = " ".join(words(plots.pb_space(x, [None] * 40, [None] * 40)))
    assert "no label, 40" in nobody and "people" not in nobody and "between" not in nobody


def test_typical_vectors_do_not_change_the_plane():
    x, y, who = vectors()
    typical = np.stack([x[y == 0].mean(axis=0), x[y == 1].mean(axis=0)])
    figure = plots.pb_space(x, y, who, typical=typical, of_typical="learnt for {}")
    flat, _ = plane(x)
    np.testing.assert_allclose(line(figure, "pb-genuine"), flat[y == 1])
    for label, name in enumerate(("posed", "genuine")):  # a projection of a mean is the mean of projections
        np.testing.assert_allclose(line(figure, f"typical-{name}")[0], flat[y == label].mean(axis=0))
        assert f"learnt for {name}" in words(figure)


def test_one_clip_beside_the_typical_vectors_keeps_all_its_distances():
    rng = np.random.default_rng(5)
    x, typical = rng.normal(size=(1, 9)), rng.normal(size=(2, 9))
    flat, shown = along(x, typical)
    far = [[np.linalg.norm(a - b) for a in rows] for rows in [np.concatenate([x, typical])] for b in rows]
    np.testing.assert_allclose([[np.linalg.norm(a - b) for a in flat] for b in flat], np.reshape(far, (3, 3)))
    assert shown.sum() == pytest.approx(1) and flat[1, 0] == pytest.approx(-flat[2, 0]) and flat[2, 0] > 0 < flat[0, 1]
    figure = plots.pb_space(x, [None], [None], typical=typical, names=["mine.mp4"])
    np.testing.assert_allclose(line(figure, "pb-unlabelled"), flat[:1])
    assert {"1 clip", "mine.mp4", "no label, 1"} <= set(words(figure)) and "not a verdict" in " ".join(words(figure))
    same, _ = along(x, typical[[0, 0]])  # classes that do not differ
    assert np.isfinite(same).all()


def test_names_do_not_overlap_and_within_the_axes():
    rng = np.random.default_rng(1)
    x, typical = rng.normal(size=(12, 5)) * [1, 0.1, 0.1, 0.1, 0.1], rng.normal(size=(2, 5))
    figure = plots.pb_space(x, [None] * 12, [None] * 12, typical=typical, names=[f"holiday {i}.mp4" for i in range(12)])
    texts = [text for text in figure.findobj(matplotlib.text.Annotation) if "holiday" in text.get_text()]
    boxes = [text.get_window_extent() for text in texts]
    assert len(boxes) == 12 and not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    (inside,) = (ax.get_window_extent() for ax in figure.axes)
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)
    assert all(inside.y0 <= box.y0 and box.y1 <= inside.y1 for box in boxes)


def test_an_outlier_does_not_compress_the_others():
    x, y, who = vectors()
    wide = np.ptp(plots.pb_space(x, y, who).axes[0].get_xlim())
    x[3] = 1e4
    figure = plots.pb_space(x, y, who)
    assert "1 far off, drawn hollow at the edge." in " ".join(words(figure))
    assert np.ptp(figure.axes[0].get_xlim()) < 4 * wide


# --- prediction -----------------------------------------------------------------------------------------------------


def movement(frames=20):
    rng = np.random.default_rng(3)
    return rng.normal(size=(frames, 80)).cumsum(axis=0), np.arange(frames) / 12.5


def test_a_prediction_is_drawn_at_its_frame():
    x, time = movement()
    predicted = np.roll(x, -1, axis=0) + 0.25  # every next frame, a quarter too high
    figure = plots.prediction(x, predicted, time)
    for column in SHOWN.values():
        np.testing.assert_array_equal(line(figure, f"target-{column}"), np.column_stack([time, x[:, column]]))
        expected = np.column_stack([time[1:], x[1:, column] + 0.25])
        np.testing.assert_allclose(line(figure, f"predicted-{column}"), expected)
    ratio = 0.25**2 / ((x[1:] - x[:-1]) ** 2).mean()
    assert f"squared error {ratio:.2g} × no movement’s; no movement: each frame repeats" in words(figure)


def test_the_error_of_predicting_no_movement_is_1(tmp_path):
    x, time = movement()
    figure = plots.prediction(x, x, time)
    assert sum("1 × no movement’s" in text for text in words(figure)) == 1 + len(SHOWN)
    still = plots.prediction(np.ones((5, 80)), np.zeros((5, 80)), time[:5])
    assert any("nothing moves" in text for text in words(still))
    plots.save(still, tmp_path / "still")


def test_the_same_bytes_every_time(tmp_path):
    x, time = movement()
    for name in "ab":
        plots.save(plots.prediction(x, x * 0.9, time), tmp_path / name)
        plots.save(plots.pb_space(*vectors()), tmp_path / f"{name}-pb")
    for kind in ("svg", "png"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
        assert (tmp_path / f"a-pb.{kind}").read_bytes() == (tmp_path / f"b-pb.{kind}").read_bytes()


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda: plots.pb_space(np.zeros((2, 4)), [0, 1], ["a", "b"]), "At least 3 PB vectors are needed"),
        (lambda: plots.pb_space(np.full((5, 4), np.nan), [0] * 5, ["a"] * 5), "found 0"),
        (lambda: plots.pb_space(np.zeros((5, 4)), [0] * 4, ["a"] * 5), r"found \(5, 4\), 4 and 5"),
        (lambda: plots.pb_space(np.zeros((0, 4)), [], [], typical=np.ones((2, 4))), "At least 1 PB vector is needed"),
        (lambda: plots.pb_space(np.zeros((5, 4)), [0] * 5, ["a"] * 5, typical=np.ones(4)), r"must be \(2, 4\)"),
        (lambda: plots.pb_space(np.zeros(5), [0] * 5, ["a"] * 5), r"\(N, D\)"),
        (lambda: plots.prediction(np.zeros((5, 80)), np.zeros((4, 80)), np.arange(5)), r"\(5, 80\), \(4, 80\)"),
        (lambda: plots.prediction(np.zeros((1, 80)), np.zeros((1, 80)), np.arange(1)), "at least 2"),
        (lambda: plots.prediction(np.zeros((5, 4)), np.zeros((5, 4)), np.arange(5)), "no column 64"),
    ],
)
def test_invalid_input_raises_one_sentence(draw, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        draw()
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
