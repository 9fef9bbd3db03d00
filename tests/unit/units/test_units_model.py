"""The model of action units: what it reads, how it is fitted and saved, and the shipped one on real faces."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

from duchenne import checkpoints, metrics
from duchenne.errors import InputError, ModelError
from duchenne.faces import crops, join
from duchenne.faces.reading import read_faces
from duchenne.learn.calibration import sigmoid
from duchenne.preprocess.align import template
from duchenne.types import COEFFICIENTS, Array
from duchenne.units import features, learner, reading
from duchenne.units.model import UnitsModel

ROOT = Path(__file__).parents[3]
RNG = np.random.default_rng(0)
#: In a mirror, the 68 points change places with those of the other side.
MIRROR = np.r_[16:-1:-1, 26:16:-1, 27:31, 35:30:-1, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40, 54:47:-1, 59:54:-1,
               64:59:-1, 67, 66, 65]  # fmt: skip
OTHER = [
    COEFFICIENTS.index(n.replace("Left", "*").replace("Right", "Left").replace("*", "Right")) for n in COEFFICIENTS
]


def faces(count: int) -> tuple[Array, Array, Array]:
    """Points, coefficients and crops, each face different."""
    points = template()[:, :2] * 80 + 200 + RNG.normal(0, 0.5, (count, 68, 2))
    return points, RNG.uniform(0, 1, (count, 52)), RNG.integers(0, 256, (count, 48, 48)).astype(np.uint8)


def mirrored(points: Array, coefficients: Array, images: Array) -> tuple[Array, Array, Array]:
    flipped = points[:, MIRROR] * (-1, 1) + (400, 0)
    return flipped, coefficients[:, OTHER], np.ascontiguousarray(images[:, :, ::-1])


@pytest.fixture(scope="module")
def fitted() -> tuple[UnitsModel, dict[str, Array]]:
    """120 faces of 12 people: the first unit is a wide mouth, in points and coefficients, the second is chance."""
    points, coefficients, images = faces(120)
    smile = RNG.uniform(0, 1, 120)
    points[:, [48, 54], 0] += 20 * smile[:, None] * (-1, 1)
    coefficients[:, [COEFFICIENTS.index(f"mouthSmile{side}") for side in ("Left", "Right")]] = smile[:, None]
    labels = np.column_stack([smile > 0.5, RNG.random(120) < 0.5]).astype(float)
    data = {"shape": features.shape(points, coefficients), "look": features.look(images), "labels": labels}
    return learner.fit(**data, people=np.arange(120) % 12, names=("AU12", "AU99")), data


def test_a_face_and_its_mirror_image_are_read_alike() -> None:
    face = faces(4)
    for read, which in ((features.shape, slice(0, 2)), (features.look, slice(2, 3))):
        np.testing.assert_allclose(read(*face[which]), read(*mirrored(*face)[which]), atol=1e-4)


def test_size_place_and_turn_of_a_face_change_nothing() -> None:
    points, coefficients, _ = faces(4)
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    np.testing.assert_allclose(
        features.shape(points, coefficients), features.shape(1.7 * points @ turn.T + 30, coefficients), atol=1e-3
    )


def test_what_determines_a_unit_is_found_and_chance_is_not(fitted: tuple[UnitsModel, dict[str, Array]]) -> None:
    _, data = fitted
    scores = learner.left_out(**data, people=np.arange(120) % 12)
    aucs = [float(metrics.auc(z, y)) for z, y in zip(scores.T, data["labels"].T, strict=True)]
    assert aucs[0] > 0.9 and 0.3 < aucs[1] < 0.7


def test_at_rest_a_unit_is_unlikely_where_it_can_be_told(fitted: tuple[UnitsModel, dict[str, Array]]) -> None:
    model, data = fitted
    assert sigmoid(model.rest)[0] < 0.4
    p = sigmoid(model.shape.logits(data["shape"]) + model.look.logits(data["look"]))
    assert abs(p.mean() - data["labels"].mean()) < 0.1


@pytest.mark.parametrize(("cell", "words"), [(0.5, "must be 0 or 1"), (None, "all faces or by none")])
def test_labels_that_cannot_be_learned_from_are_refused(
    fitted: tuple[UnitsModel, dict[str, Array]], cell: float | None, words: str
) -> None:
    data = fitted[1]
    labels = np.zeros_like(data["labels"]) if cell is None else np.full_like(data["labels"], cell)
    with pytest.raises(InputError, match=words):
        learner.fit(data["shape"], data["look"], labels, np.arange(120) % 12, ("AU12", "AU99"))


def test_a_saved_model_answers_the_same_and_a_damaged_one_is_refused(
    fitted: tuple[UnitsModel, dict[str, Array]], tmp_path: Path
) -> None:
    model, _ = fitted
    folder = checkpoints.save(model, tmp_path / "mine", name="mine")
    face = faces(3)
    assert (checkpoints.load(folder)[0].log_odds(*face) == model.log_odds(*face)).all()
    about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps(about | {"classes": ["AU12"]}), encoding="utf-8")
    with pytest.raises(ModelError, match="wrong shapes"):
        checkpoints.load(folder)


def test_missing_points_give_no_answer(fitted: tuple[UnitsModel, dict[str, Array]]) -> None:
    points, coefficients, images = faces(2)
    points[0, 50] = np.nan
    assert np.isnan(fitted[0].log_odds(points, coefficients, images)).all(axis=1).tolist() == [True, False]


# --- relative to the person at rest -----------------------------------------------------------------------------------


def test_relative_to_rest_the_rest_is_a_typical_one() -> None:
    rest, time = np.array([-2.0, -1.0]), np.arange(10) / 10
    log_odds = np.where(time[:, None] < 0.5, [[1.0, -3.0]], [[3.0, -3.0]])  # a face that seems to show the first unit
    found = reading.relative(sigmoid(log_odds), time, rest, (0.0, 0.4))
    np.testing.assert_allclose(found[:5], np.tile(sigmoid(rest), (5, 1)), atol=1e-6)
    np.testing.assert_allclose(found[5:], np.tile(sigmoid(rest + np.array([2, 0])), (5, 1)), atol=1e-6)
    np.testing.assert_allclose(reading.relative(sigmoid(log_odds), time, rest, "lowest"), found, atol=1e-6)
    assert np.isnan(reading.relative(sigmoid(log_odds), time, rest, (5.0, 6.0))).all()


# --- the shipped model ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> UnitsModel:
    return reading.load()[0]


def test_the_card_and_the_model_hold_the_units_that_the_experiment_kept(shipped: UnitsModel) -> None:
    found = json.loads((ROOT / "experiments" / "units.json").read_text(encoding="utf-8"))
    assert list(shipped.names) == found["shipped"] and shipped.names[:2] == ("AU06", "AU12")
    card = checkpoints.card("units")
    assert card["auc"] == found["mean"]["auc"] and set(card["per_class"]) == set(shipped.names)
    for name, unit in found["units"].items():
        useful = unit["people"] >= 10 and unit["auc"][1] >= 0.8 and unit["f1"][0] > unit["f1_always"]
        assert (name in shipped.names) == useful, name


def test_a_photograph_of_a_smile_and_its_mirror_image(shipped: UnitsModel) -> None:
    grey = astronaut().mean(axis=2).astype(np.uint8)
    answers = []
    for image in (grey, np.ascontiguousarray(grey[:, ::-1])):
        face = crops.find(image)[0]
        assert face.coefficients is not None
        answers.append(sigmoid(shipped.log_odds(face.points[None], face.coefficients[None], face.crop[None]))[0])
    at = dict(zip(shipped.names, answers[0].tolist(), strict=True))
    assert at["AU12"] > 0.8 and at["AU06"] > 0.5 and at["AU25"] > 0.8 and at["AU04"] < 0.3 and at["AU27"] < 0.3
    np.testing.assert_allclose(*answers, atol=0.15)


def test_a_real_smile_raises_cheeks_and_lip_corners(shipped: UnitsModel) -> None:
    folder = os.environ.get("DUCHENNE_DATA")
    if not folder:
        pytest.skip("DUCHENNE_DATA is not set: it names the folder of clips")
    found = join(read_faces(Path(folder) / "clips" / "single_face.mp4", end=1.6))
    curves = reading.over_time(found.tracks[0], found.looks[0], shipped)
    assert curves is not None and np.isfinite(curves.values).all()
    rest, smile = (curves.time < 0.4), (curves.time > 1.0)
    for name, low, high in (("AU12", 0.1, 0.8), ("AU06", 0.15, 0.5)):
        assert curves[name][rest].max() < low and curves[name][smile].min() > high, name
    best = reading.peaks(curves)["AU12"]
    assert best["peak"] > 0.9 and best["time"] > 0.6
    again = reading.over_time(found.tracks[0], found.looks[0], shipped)
    assert again is not None and (again.values == curves.values).all()
    assert reading.over_time(found.tracks[0].evolve("no mesh", coefficients=None), found.looks[0], shipped) is None
