"""Facts of a stranger's model, its hashes mended: a working model with finite probabilities, or one sentence before
anything is judged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import Completed
from duchenne import checkpoints, io, judging, pipeline
from duchenne.checkpoints import parts, reference
from duchenne.datasets import simulate
from duchenne.errors import DuchenneError, ModelError, UsageError
from duchenne.learn.recipes import Recipe
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.methods import names
from duchenne.micro.recipe import MicroRecipe
from duchenne.types import Opinion

ROWS = 6
HUGE = int("9" * 400)
HOSTILE = (None, True, -5, 0, 0.5, HUGE, 1e300, "x", "y" * 20_000, "\x1b[31m", "a\u202eb", [1], ["x", "x"], {"a": 1})


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the shipped models, side by side."""
    root = tmp_path_factory.mktemp("shipped")
    for name, folder in checkpoints.shipped().items():
        shutil.copytree(folder, root / name)
    return root


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear model on six numbers."""
    rng, y = np.random.default_rng(0), np.arange(32) % 2
    x = rng.normal(size=(32, ROWS)) + 2 * y[:, None]
    model = names.make("linear-svm").fit_table(x, y, np.array([f"p{i // 4}" for i in range(32)]))
    return checkpoints.save(model, tmp_path_factory.mktemp("small"), name="mine")


def changed(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """A copy of a JSON value with another one at a place."""
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = changed(value[place[0]] if place[1:] else None, place[1:], new)
    return copy


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, of a list the first."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, inside in items:
        yield (*place, key)
        yield from places(inside, (*place, key))


def sealed(folder: Path, about: Any) -> None:
    """Write `model.json`, with the stamp in the arrays and their hash made again."""
    with np.load(folder / "arrays.npz") as stored:
        arrays = dict(stored)
    stamp = parts.made_for(about.get("settings"), about.get("members"))
    np.savez(folder / "arrays.npz", **arrays | {"made_for": np.frombuffer(stamp.encode(), np.uint8)})
    if isinstance(about.get("files"), dict) and "arrays.npz" in about["files"]:
        about = changed(about, ("files", "arrays.npz"), io.sha256(folder / "arrays.npz"))
    (folder / "model.json").write_text(json.dumps(about))


def is_sentence(error: DuchenneError) -> bool:
    text = str(error)
    return text.endswith(".") and text.isprintable() and len(text) < 600


REFUSED = [
    ("default", ("facts", "smile_share"), "x", "facts.smile_share is 'x', expected a number from 0 to 1"),
    ("default", ("facts", "smile_share"), True, "facts.smile_share is True"),
    ("default", ("facts", "clips"), -1, "facts.clips is -1, expected a whole number from 0"),
    ("default", ("facts", "clips"), HUGE, r"the number 9+… is too large"),
    ("default/whole", ("mix", "margin"), -5, "margin is -5, expected a number from 0 to 0.5"),
    ("default", ("margin",), 0.7, "margin is 0.7, expected a number from 0 to 0.5"),
    ("default/whole", ("mix", "bias"), 1e300, "too large"),
    ("default/whole", ("mix", "bias"), 1e14, r"bias is 100000000000000.0, expected a number from -1000 to 1000"),
    ("default/whole", ("mix", "appearance"), "0.5", "appearance is '0.5', expected a number"),
    ("smile", ("classes",), ["genuine", "posed"], r"its classes are \['genuine', 'posed'\], expected posed, genuine"),
    ("default", ("id",), "a\u202eb", "control characters"),
    ("default", ("id",), "", "id is '', expected a printable name"),
    ("default", ("needs",), "pixels", "needs is 'pixels', expected points, crops or images"),
    ("default", ("version",), True, "version True"),
    ("default", ("pairs", "one_emotion", "margin"), 0.9, "pairs.one_emotion.margin is 0.9"),
    ("default", ("pairs", "one_emotion", "slope"), True, "pairs.one_emotion.slope is True"),
    ("default", ("pairs",), [1], r"pairs is \[1\], expected a table of scales"),
    ("smile", ("emotions",), ["fear", "anger"], "alphabetical order"),
    ("descriptors", ("emotions", 0), "disgust", "emotions holds a name twice"),
    ("smile", ("fps",), -50, "fps is -50, expected a number from 1 to 1000"),
    ("smile", ("boosters",), True, "it has True boosters"),
    ("smile", ("calibration", "slope"), "1", "slope is '1', expected a number"),
    ("lstm-pb", ("calibration", "intercept"), -1e9, "intercept is -1000000000.0"),
    ("expression", ("classes", 1), "anger", "classes holds a name twice"),
    ("expression", ("spread",), [-78.0], r"spread is \[-78.0\], expected grey levels"),
    ("expression", ("mean",), ["130"], r"mean is \['130'\], expected grey levels"),
]


@pytest.mark.parametrize(("model", "place", "value", "reason"), REFUSED)
def test_an_invalid_fact_of_a_model_is_named(
    shipped: Path, model: str, place: tuple[Any, ...], value: Any, reason: str
) -> None:
    path = shipped / model / "model.json"
    original = path.read_text()
    path.write_text(json.dumps(changed(json.loads(original), place, value)))
    try:
        with pytest.raises(ModelError, match=reason) as caught:
            checkpoints.load(shipped / model)
    finally:
        path.write_text(original)
    assert is_sentence(caught.value)


def test_every_fact_of_a_model_may_be_anything(small: Path, tmp_path: Path) -> None:
    about, rows = json.loads((small / "model.json").read_text()), np.zeros((2, ROWS))
    folder, worked = Path(shutil.copytree(small, tmp_path / "m")), 0
    for place in places(about):
        for value in HOSTILE if place[0] != "files" else ():
            sealed(folder, changed(about, place, value))
            try:
                p = checkpoints.load(folder)[0].predict_table(rows)
                assert np.isfinite(p).all() and np.allclose(p.sum(axis=1), 1), (place, value)
                worked += 1
            except ModelError as error:
                assert is_sentence(error), (place, value)
    assert worked > 10


CARD = [
    ("abstain_band", [1]),
    ("abstain_band", [0.9, 0.1]),
    ("abstain_band", [None, 0.5]),
    ("accuracy", HUGE),
    ("accuracy", -0.5),
    ("accuracy", True),
    ("accuracy_interval", [0.5, 0.6, 0.7]),
    ("auc", "high"),
    ("people", -3),
    ("limits", "x" * 10_000_000),
    ("limits", [1]),
    ("title", ["a"]),
    ("data", "\x1b]8;;http://evil.example\x07"),
    ("human", {"accuracy": 7}),
    ("per_emotion", {"fear": {"accuracy": 9}}),
    ("risk_coverage", [{"coverage": 2}]),
    ("risk_coverage", {"coverage": 1}),
    ("cuts", {"whole": {"accuracy": 0.7}}),
    ("clips_per_second", -1),
    ("anything", [[[[[[[[[[[[[1]]]]]]]]]]]]]),
]


@pytest.mark.parametrize(("name", "value"), CARD)
def test_an_invalid_fact_of_a_card_is_refused(shipped: Path, tmp_path: Path, name: str, value: Any) -> None:
    card = json.loads((shipped / "default" / "card.json").read_text())
    (tmp_path / "model.json").write_text("{}")
    (tmp_path / "card.json").write_text(json.dumps(card))
    assert checkpoints.card(tmp_path) == card
    (tmp_path / "card.json").write_text(json.dumps({**card, name: value}))
    with pytest.raises(ModelError, match=r"card\.json is damaged \(.*; get or train the model again") as caught:
        checkpoints.card(tmp_path)
    assert is_sentence(caught.value)


def test_every_quantile_of_a_reference_may_be_anything(shipped: Path, tmp_path: Path) -> None:
    found = json.loads((shipped / "smile" / "reference.json").read_text())
    (tmp_path / "model.json").write_text("{}")
    wrong = [*HOSTILE, [], {}, [0.5, 0.1, *[0.6] * 48], [2.0] * 50, "1" * 50]
    for place in list(places(found))[:40]:
        for value in wrong:
            if isinstance(value, dict | list) and not value and place in (("answers",), ("movements",)):
                continue  # nothing known is legal
            (tmp_path / "reference.json").write_text(json.dumps(changed(found, place, value)))
            try:
                reference.read(tmp_path)
                assert value in (0, 0.5) and place[-1] == 0, (place, value)
            except ModelError as error:
                assert is_sentence(error)


def test_a_probability_that_is_not_finite_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "opinion", lambda *_: Opinion(float("nan")))
    with pytest.raises(ModelError, match=r"Model default-0\.1 gives a probability that is not finite") as caught:
        pipeline.judge(simulate.track(simulate.POSED, 25.0), judging.load_model("default"), explain=False)
    assert is_sentence(caught.value)


def test_a_network_of_enormous_weights_is_refused(shipped: Path) -> None:
    model = checkpoints.load(shipped / "expression")[0]
    with torch.no_grad():
        for each in model.network.parameters():
            each.fill_(3e38)
    with pytest.raises(ModelError, match="not finite") as caught:
        model.predict(np.full((1, 48, 48), 200, np.uint8))
    assert is_sentence(caught.value)


@pytest.mark.parametrize("command", ["analyze", "models list", "models apply"])
def test_commands_refuse_it_before_anything_is_judged(
    small: Path, tmp_path: Path, command: str, duchenne: Callable[..., Completed]
) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "mine"))
    (tmp_path / "empty.mp4").touch()
    words: list[Any] = {"analyze": [tmp_path / "empty.mp4", "--model", folder], "models list": [folder]}.get(
        command, [folder, "missing.csv"]
    )
    (folder / "card.json").write_text(json.dumps({"abstain_band": [1]}))
    sentence = duchenne(*command.split(), *words).sentence
    assert "card.json is damaged (abstain_band is [1], expected two numbers from 0 to 1" in sentence


@pytest.mark.parametrize(
    "value",
    [
        "nan",
        "-inf",
        "1e300",
        "-1",
        "true",
        "[1]",
        "'x'",
        "9" * 400,
        "9" * 5000,
        "0x" + "f" * 5000,
        f"'{'x' * 900_000}'",
    ],
)
@pytest.mark.parametrize("recipe", [PBRecipe, MicroRecipe])
def test_a_setting_of_a_recipe_may_be_anything(recipe: type[Recipe], value: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    for name in ("learning_rate", "epochs"):
        path.write_text(f"fps = 12.5\n{name} = {value}\n" if recipe is PBRecipe else f"{name} = {value}\n")
        with pytest.raises(DuchenneError) as caught:
            recipe.read(path)
        assert is_sentence(caught.value) and str(path) in str(caught.value)


def test_an_unknown_key_is_quoted_in_short(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    for key in ("k" * 100_000, "\\u001b[31m\\u202e"):
        path.write_text(f'"{key}" = 1\n')
        with pytest.raises(UsageError, match="unknown key") as caught:
            MicroRecipe.read(path)
        assert is_sentence(caught.value)
