"""Where training people lie, and a clip among them: quantiles that can be counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duchenne import checkpoints, video
from duchenne.checkpoints import reference
from duchenne.datasets import simulate
from duchenne.errors import ModelError
from duchenne.report.drawing import face_view
from duchenne.report.reference import position
from duchenne.tabular.evidence import evidence, turning
from duchenne.types import Array, FaceTrack


def test_answers_are_kept_as_quantiles_of_enough_clips_and_people_only() -> None:
    p = np.concatenate([np.linspace(0, 0.5, 100), np.linspace(0.5, 1, 100), [0.9] * 9])
    labels = np.r_[np.zeros(100, int), np.ones(109, int)]
    people = np.array([str(i % 20) for i in range(209)])
    emotions = np.array(["happiness"] * 200 + ["fear"] * 9)  # too few of fear, and all of one label
    found = reference.answers(p, labels, people, emotions)
    assert set(found) == {"all", "happiness"}
    posed = found["happiness"]["posed"]
    assert (posed["clips"], posed["people"], len(posed["quantiles"])) == (100, 20, 50)
    assert posed["quantiles"] == pytest.approx(np.linspace(0.005, 0.495, 50), abs=1e-3)
    lonely = reference.answers(p, labels, np.array(["a", "b", "c"] * 69 + ["a", "b"]), emotions)
    assert lonely == {}  # three people are too few
    nothing = np.where(labels == 1, np.nan, p)
    assert reference.answers(nothing, labels, people, emotions) == {}


def test_what_lies_beside_a_model_is_no_part_of_it_and_may_be_missing(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "model.json").write_text("{}")
    before = checkpoints.digest(folder)
    assert reference.read(folder) == {}
    kept = {"all": {label: {"clips": 12, "people": 4, "quantiles": [0.5] * 50} for label in ("posed", "genuine")}}
    reference.save(folder, kept)
    assert checkpoints.digest(folder) == before and reference.read(folder) == {"answers": kept}
    for wrong in ("{", "[]", '{"answers": {"all": {}}}', '{"answers": []}'):
        (folder / reference.FILE).write_text(wrong)
        with pytest.raises(ModelError, match=r"reference\.json is damaged; get or train the model again"):
            reference.read(folder)


@pytest.mark.parametrize("model", ["default", "descriptors", "lstm-pb", "smile"])
def test_shipped_models_have_references_without_names(model: str) -> None:
    found = reference.read(model)
    both = found["answers"]["all"]
    assert np.median(both["posed"]["quantiles"]) < np.median(both["genuine"]["quantiles"])
    assert both["posed"]["clips"] + both["genuine"]["clips"] <= checkpoints.card(model)["clips"] + 12
    text = json.dumps(found)
    assert "npz" not in text and "subject" not in text
    for labels in _leaves(found):
        assert labels["clips"] >= 10 and labels["people"] >= 4 and len(labels["quantiles"]) == 50


def _leaves(found: Any) -> list[dict[str, Any]]:
    if "quantiles" in found:
        return [found]
    return [leaf for value in found.values() for leaf in _leaves(value)]


def _reference() -> dict[str, Any]:
    def both(posed: list[float], genuine: list[float]) -> dict[str, Any]:
        return {k: {"clips": 40, "people": 9, "quantiles": q} for k, q in (("posed", posed), ("genuine", genuine))}

    low, high = np.linspace(0.05, 0.45, 50).tolist(), np.linspace(0.55, 0.95, 50).tolist()
    return {"answers": {"all": both(low, high), "happiness": both(low, low)}}


def test_a_clip_stands_between_the_posed_and_the_spontaneous() -> None:
    place = position(0.5, {"fear": 0.9}, _reference())
    assert place is not None and place["group"] == "all" and place["below"] == {"posed": 1.0, "genuine": 0.0}
    assert len(place["dots"]["posed"]) == 50 and place["share"] == "2%"
    assert all(dot["x"] < 50 for dot in place["dots"]["posed"]) and all(
        dot["x"] > 50 for dot in place["dots"]["genuine"]
    )
    among = position(0.25, {"happiness": 0.9}, _reference())
    assert among is not None and among["group"] == "happiness" and among["below"]["genuine"] == 0.5
    nearly = position(0.1, {}, _reference())
    assert (
        nearly is not None and nearly["beyond"]["genuine"] == 1.0 and nearly["beyond"]["posed"] == pytest.approx(0.86)
    )
    unsure = position(0.25, {"happiness": 0.4}, _reference())
    assert unsure is not None and unsure["group"] == "all"
    withheld = position(None, {}, _reference())
    assert withheld is not None and withheld["below"] == {}
    assert position(0.5, {}, {}) is None


def test_what_would_turn_a_verdict_does_turn_it() -> None:
    model = checkpoints.load("descriptors")[0]
    tracks = [
        simulate.track(kin, 25.0, seed=seed) for kin in (simulate.SPONTANEOUS, simulate.POSED) for seed in range(2)
    ]
    for row in model.table(tracks):
        z = float(model.fitted.logit(model.inputs(row[None]))[0])
        found = turning(model, row, None, z)
        side = -1 if z >= 0 else 1
        one, together = found["one"], found["together"]
        assert one["flips"] == ((one["p"] - 0.5) * side > 0) and together["flips"] == ((together["p"] - 0.5) * side > 0)
        assert (one["p"] - _p(z)) * side > 0  # at the least it goes that way
        assert together["curves"] and ("posed" if z >= 0 else "spontaneous") in together["text"]
        for item in evidence(model, row):
            assert "−" in item.text or not any(v < 0 for v in (item.value, *item.posed_range))
    # with hardly a verdict to turn, one measurement is enough, and weighing nothing none ever is
    assert turning(model, row, None, 1e-6)["one"]["flips"] and not turning(model, row, None, 1.0, 0.0)["one"]["flips"]


def _p(z: float) -> float:
    return float(1 / (1 + np.exp(-z)))


def _track(points: Array) -> FaceTrack:
    n = len(points)
    return FaceTrack(np.arange(n) / 25, points, np.ones(n), np.ones((n, 4)), (640, 480))


def test_a_film_is_cut_around_the_face_and_keeps_uneven_times(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform((300, 200), (360, 280), (4, 68, 2))
    frame = face_view(_track(points))
    assert 250 < frame.left < 300 and 360 < frame.right < 400 and 120 < frame.top < 200 and 280 < frame.bottom < 330
    assert frame.width % 2 == 0 and frame.height % 2 == 0
    np.testing.assert_allclose(frame.to_view(np.array([[frame.left, frame.top]])), [[0, 0]])
    times = [0.5, 0.54, 0.7, 1.1]
    pictures = [np.full((480, 640, 3), shade, np.uint8) for shade in (20, 90, 160, 230)]
    target = tmp_path / "film.mp4"
    target.write_bytes(
        video.encode(((t, frame.crop(p)) for t, p in zip(times, pictures, strict=True)), (frame.width, frame.height))
    )
    found = list(video.frames(target))
    assert [f.time for f in found] == pytest.approx([0.0, 0.04, 0.2, 0.6], abs=1e-4)
    assert [float(f.bgr.mean()) for f in found] == pytest.approx([20, 90, 160, 230], abs=6)
    assert found[0].bgr.shape[:2] == (frame.height, frame.width)


def test_a_film_of_nothing_is_empty_and_of_an_unseen_face_the_whole_picture() -> None:
    unseen = face_view(_track(np.full((3, 68, 2), np.nan)))
    assert (unseen.left, unseen.top, unseen.right, unseen.bottom) == (0, 0, 640, 480)
    assert video.encode([], (640, 480)) == b""
