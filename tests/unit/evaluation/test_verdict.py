"""experiments/verdict.py: bands of P(genuine), what is counted of verdicts, and who is left out of a training."""

from pathlib import Path

import numpy as np
import pytest
from judged import Answer, Known

from duchenne.datasets import manifest


@pytest.fixture
def verdict(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "experiments"))
    import verdict

    return verdict


def test_bands_hold_their_clips_and_the_share_right(verdict):
    p = np.array([0.49, 0.51, 0.524, 0.56, 0.44, 0.0, 1.0, 0.9, np.nan])
    y = np.array([1, 1, 0, 1, 1, 0, 0, 1, 1])
    counted = np.array([True] * 7 + [False, True])
    found = verdict.by_band(p, y, list("aabbccddd"), counted)
    assert {(band["from"], band["to"]): (band["clips"], band["accuracy"]) for band in found if band["clips"]} == {
        (0.0, 0.025): (3, pytest.approx(1 / 3, abs=1e-4)),
        (0.05, 0.075): (2, 0.5),
        (0.3, 0.5): (2, 0.5),
    }
    assert found[0]["interval"] == [0.0, 0.5]  # of a one of two, of b none of one


@pytest.mark.parametrize(
    ("accuracies", "end"), [((0.7, 0.5), 0), ((0.5, 0.59, 0.6, 0.4), 0.05), ((0.5, None, 0.5), 0.025), ((), 0)]
)
def test_silence_ends_where_answers_are_right_often_enough(accuracies, end, verdict):
    edges = verdict.EDGES
    bands = [{"to": edges[i + 1], "accuracy": share} for i, share in enumerate(accuracies)]
    assert verdict.silence(bands) == end


def test_what_is_counted_of_verdicts(verdict):
    names = [f"{who}_f{label}_1.avi" for who in "123" for label in "gs"]
    close = "Too close to call: the model's probability of genuine is 0.52, and so on."
    answers = [
        Answer(0.9, "genuine", ""), Answer(0.2, "posed", ""),
        Answer(0.7, "genuine", ""), Answer(0.8, "genuine", ""),
        Answer(0.52, "", close), Answer(np.nan, "", " shows no face: none was found in 9 frames."),
    ]  # fmt: skip
    found = verdict.summary([Known(Path(name)) for name in names], answers)
    assert found["answered"][0] == pytest.approx(4 / 6, abs=1e-4) and found["right"][0] == 0.75
    assert found["unanswered"] == 1 and found["accuracy"] == 0.8  # the close call counts, as it has a probability
    assert found["pairs"] == 2 and found["forced_pairs"] == 0.5
    assert found["reasons"] == {"Too close to call:": 1, "shows no face: none": 1}
    assert sum(band["clips"] for band in found["bands"]) == 5
    page = verdict.table({"clips": 6, "people": 3, "views": {verdict.VIEWS[0]: found}, "rates": {}})
    assert "| as it is, 6 | 67 % | 0.750 (" in page and "| Too close to call: … | 1 |" in page


def test_nobody_left_out_is_trained_on(verdict, tmp_path):
    clips = [Known(tmp_path / f"{who}_{letter}g_1.avi") for who in (1, 11, 2) for letter in "fd"]
    found = manifest.read(verdict.manifest(clips, {"1"}, tmp_path / "m.csv"))
    assert {clip.subject for clip in found} == {"11", "2"} and len(found) == 4
    assert {(clip.emotion, clip.label) for clip in found} == {("happiness", "genuine"), ("disgust", "genuine")}
