"""`duchenne train expression` and `duchenne finetune` as a person calls them; the experiment's table across sets."""

import importlib.util
import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import command
from duchenne import checkpoints
from duchenne.cli import options
from duchenne.errors import UsageError
from makers import WORDS, class_folders, unit_table

ROOT = Path(__file__).parents[3]
TINY = """widths = [4, 4, 8, 8]
blocks = [1, 1, 1, 1]
per_image_standardization = true
epochs = 4
batch_size = 8
learning_rate = 3e-3
precision = "float32"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with class folders, a table of units of four people, and a recipe."""
    place = tmp_path_factory.mktemp("place")
    class_folders(place / "data", 8)
    rows = [f"{i}.png,p{i % 4},{i // 2 % 2},{i // 4 % 2}" for i in range(16)]
    unit_table(place / "units.csv", rows)
    (place / "levels.csv").write_text((place / "units.csv").read_text().replace(",1", ",3"))
    (place / "tiny.toml").write_text(TINY)
    return place


@pytest.fixture(scope="module")
def trained(place):
    """A trained model, and the output of the command."""
    words = ("train", "expression", "--data", place / "data", "-o", place / "model", "--recipe", place / "tiny.toml")
    return place / "model", command(*words, "--device", "cpu")


def test_training_reports_progress_and_result(trained):
    out, done = trained
    assert done.out.startswith(f"{out}: emotions from 21 images on cpu; accuracy ") and done.out.count("\n") == 1
    lines = done.err.splitlines()
    assert lines[:2] == ["24 of 24 images read", "24 faces: anger 8, happiness 8, sadness 8"]
    assert lines[2].endswith("held back by image, as subjects are not known; on cpu")
    assert [line.split(":")[0] for line in lines[3:]] == [f"epoch {i} of 4" for i in range(1, 5)]
    assert all("share wrong of those held back" in line for line in lines[3:])
    assert checkpoints.load(out)[0].classes == ("anger", "happiness", "sadness")


@pytest.mark.slow
def test_killed_training_resumes_to_the_same_weights(trained, place, tmp_path):
    out, words = tmp_path / "model", ("--recipe", str(place / "tiny.toml"), "--device", "cpu", "--data")
    command = [sys.executable, "-m", "duchenne", "train", "expression", *words, str(place / "data"), "-o", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as started:
        assert started.stderr is not None
        next(line for line in started.stderr if line.startswith("epoch 2"))
        started.kill()
        assert started.wait() == -signal.SIGKILL
    assert not out.exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "epoch 4 of 4" in done.stderr and "epoch 2 of 4" not in done.stderr
    assert (out / "weights.safetensors").read_bytes() == (trained[0] / "weights.safetensors").read_bytes()
    assert not (tmp_path / ".model.work").exists()


def test_options_override_the_recipe(duchenne, place, tmp_path):
    result = duchenne(
        *("train", "expression", "--data", place / "data", "-o", tmp_path / "model", "--recipe", place / "tiny.toml"),
        *("--epochs", 2, "--images-per-epoch", 8, "--seed", 5, "--device", "cpu", "--person", "(p[0-9])_"),
        *("--set", "optimizer.learning_rate=0.002", "--set", "seed=4"),
    )
    assert (
        result.code == 0 and "epoch 2 of 2" in result.err and "of 3 people" in result.err and "by person" in result.err
    )
    about = json.loads((tmp_path / "model" / "model.json").read_text())["recipe"]
    assert (about["epochs"], about["images_per_epoch"], about["seed"], about["learning_rate"]) == (2, 8, 5, 2e-3)


def test_finetuning_units_levels_and_emotions(duchenne, trained, place, tmp_path):
    common = ("--model", trained[0], "--recipe", place / "tiny.toml", "--device", "cpu", "--epochs", 1)
    words = ("finetune", "--data", place / "units.csv", "-o", tmp_path / "units", "--head", "units", "--folds", 2)
    result = duchenne(*words, *common, "--freeze-backbone")
    assert (
        result.code == 0
        and "units from" in result.out
        and "mean F1 " in result.out
        and "person-disjoint 2-fold" in result.out
    )
    assert "fold 2 of 2: epoch 1 of 1" in result.err
    assert re.search(
        r"^  AU12 +\d+ images +base rate 0\.\d+ +F1 \S+ +accuracy 0\.\d+ \(always absent: 0", result.out, re.M
    )
    model, _ = checkpoints.load(tmp_path / "units")
    assert (model.recipe.head, model.recipe.freeze_backbone, model.classes) == ("units", True, ("AU1", "AU12"))
    words = ("finetune", "--data", place / "levels.csv", "-o", tmp_path / "levels", "--head", "intensity")
    result = duchenne(*words, *common, "--folds", 0, "--units", "AU12")
    assert result.code == 0 and "mean ICC(3,1) " in result.out and "fold 1" not in result.err
    assert checkpoints.load(tmp_path / "levels")[0].classes == ("AU12",)
    result = duchenne("finetune", "--data", place / "data", "-o", tmp_path / "emotions", *common)
    assert result.code == 0 and "accuracy " in result.out
    listed = json.loads((tmp_path / "levels" / "card.json").read_text())
    assert {"icc", "mae", "mse", "accuracy", "accuracy_absent"} <= set(listed["per_unit"]["AU12"])
    assert {"mean_icc", "mean_accuracy", "mean_mse", "mean_mse_absent"} <= set(listed) and "accuracy" not in listed


def test_a_network_is_tested_on_other_data_by_names_of_classes(duchenne, trained, tmp_path):
    """Sad and happy faces are known to the network by other words; of four surprised ones it knows nothing."""
    other = class_folders(tmp_path / "other", 4, ("sad", "joy", "surprised"), seed=3)
    words = ("evaluate-emotions", "--data", other, "-m", trained[0], "--device", "cpu", "-o")
    result = duchenne(*words, tmp_path / "a.json")
    assert result.code == 0 and f"{trained[0]} on {other}, all, 8 images" in result.out
    assert "4 images of surprise in" in result.err and "has no anger: where" in result.err
    (found,) = json.loads((tmp_path / "a.json").read_text())
    faces = [cv2.imread(str(path), 0) for word in ("sad", "joy") for path in sorted((other / word).iterdir())]
    p = checkpoints.load(trained[0])[0].predict(np.stack(faces), flips=True)
    truth = np.repeat([2, 1], 4)  # of anger, happiness, sadness
    assert found["accuracy"] == pytest.approx((p.argmax(axis=1) == truth).mean())
    assert found["accuracy_shared"] == pytest.approx((p[:, 1:].argmax(axis=1) + 1 == truth).mean())
    assert found["shared"] == ["happiness", "sadness"] and {"uf1", "uar", "ece", "confusion"} <= set(found)
    assert [sum(row) for row in found["confusion"]] == [0, 4, 4]
    assert duchenne(*words, tmp_path / "a.csv", "-m", trained[0]).code == 0
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0].endswith("as anger,as happiness,as sadness") and len(lines) == 1 + 2 * 3


@pytest.mark.parametrize(
    ("words", "code", "fault"),
    [
        (("train", "expression", "--data", "nowhere", "-o", "x"), 1, "There is no folder nowhere"),
        (("train", "expression", "--data", "data", "-o", "x", "--recipe", "best"), 2, "There is no recipe 'best'"),
        (("train", "expression", "--data", "data", "-o", "x", "--device", "tpu"), 2, "There is no device 'tpu'"),
        (("train", "expression", "--data", "data", "-o", "units.csv"), 1, "units.csv is a file; choose a folder"),
        (("train", "expression", "--data", "data", "-o", "x", "--epochs", "0"), 2, "epochs must lie between 1"),
        (
            ("finetune", "--data", "units.csv", "-o", "x", "--model", "default"),
            1,
            "default is a duchenne-cuts model, expected duchenne-expression",
        ),
        (("finetune", "--data", "units.csv", "-o", "x"), 1, "units.csv lacks the column emotion"),
        (("finetune", "--data", "units.csv", "-o", "x", "--units", "AU1"), 2, "--units needs --head units"),
        (("finetune", "--data", "units.csv", "-o", "x", "--head", "units"), 2, "shows 4 people, expected 5 or more"),
        (("train", "expression", "--data", "data", "-o", "x", "--folds", "4"), 1, "does not name its people"),
        (("evaluate-emotions", "--data", "data", "--fold", "late"), 2, "has no folds, expected the fold 'late'"),
        (("evaluate-emotions", "--data", "data", "-o", "x.txt"), 2, "x.txt: the table is written as CSV or JSON"),
        (("evaluate-emotions", "--data", "data", "-m", "default"), 1, "default is a duchenne-cuts model"),
        (("finetune", "--data", "levels.csv", "-o", "x", "--head", "units"), 1, "(not coded) as AU1, found '3'"),
        (("finetune", "--data", "data", "-o", "x", "--head", "units"), 1, "data is not a known copy of CK+ or DISFA"),
    ],
)
def test_errors_are_reported_before_training(duchenne, place, monkeypatch, words, code, fault):
    monkeypatch.chdir(place)
    result = duchenne(*words)
    assert result.code == code and fault in result.err.splitlines()[-1]
    assert "epoch 1 of" not in result.err
    assert not (place / "x").exists()


def test_page_names_commands_that_exist(duchenne, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # narrow help pages abbreviate long options
    page = (ROOT / "docs" / "expression-training.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    commands = [shlex.split(line.split("#")[0]) for line in lines if line.startswith("duchenne ")]
    assert {words[1] for words in commands} == {"train", "finetune", "evaluate-emotions"}
    for name, depth in (("train", 2), ("finetune", 1), ("evaluate-emotions", 1)):
        mine = [words for words in commands if words[1] == name]
        shown = duchenne(*mine[0][1 : 1 + depth], "--help").out
        for option in {word for words in mine for word in words if word.startswith("--")}:
            assert option in shown, option


def test_table_across_data_sets(tmp_path):
    """Two disjoint sets of class folders and one in the form of FER2013: rows learnt from, columns judged on."""
    spec = importlib.util.spec_from_file_location("expression_cross", ROOT / "experiments" / "expression_cross.py")
    assert spec is not None and spec.loader is not None
    cross = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cross)
    class_folders(tmp_path / "one", 9, seed=1)
    for seed, fold in ((2, "train"), (3, "test")):
        class_folders(tmp_path / "two" / fold, 8, (*WORDS, "fear"), seed)
    # a picture of the first set in the second: who has learnt it must not be judged on it
    twin = cv2.imread(str(tmp_path / "one" / "sad" / "p0_0.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(tmp_path / "two" / "test" / "sad" / "twin.png"), twin)
    (tmp_path / "tiny.toml").write_text(TINY)
    out = tmp_path / "cross.json"
    words = [f"one={tmp_path / 'one'}", f"two={tmp_path / 'two'}", "-o", str(out), "--device", "cpu"]
    cross.main([*words, "--recipe", str(tmp_path / "tiny.toml")])
    found = json.loads(out.read_text())
    assert found["classes"] == ["anger", "happiness", "sadness"]
    cells = {(cell["learnt"], cell["judged"]): cell for cell in found["cells"]}
    assert set(cells) == {(a, b) for a in ("one", "two") for b in ("one", "two")}
    assert cells["two", "two"]["rows"] == 25 and cells["one", "two"]["rows"] in (24, 25)
    assert cells["one", "two"]["left_out"] == 25 - cells["one", "two"]["rows"]
    for cell in cells.values():
        matrix = np.array(cell["confusion"])
        assert cell["accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum()) and matrix.sum() == cell["rows"]
    table = out.with_suffix(".md").read_text()
    assert "| trained on | one | two |" in table and f"{cells['one', 'two']['accuracy']:.3f}" in table
    with pytest.raises(SystemExit):
        cross.main([words[0], "-o", str(out)])


def test_settings_of_a_recipe_are_read_as_toml_and_options_come_first():
    given = options.settings(["optimizer.learning_rate=1e-3", "kind=ours", "seed = 4"], {"seed": 5, "epochs": None})
    assert given == {"learning_rate": 1e-3, "kind": "ours", "seed": 5}
    with pytest.raises(UsageError, match="--set must be NAME=VALUE"):
        options.settings(["learning_rate"], {})
