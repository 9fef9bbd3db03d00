"""An experiment is a file: what it may say, what is refused by name, and that it makes its table."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import duchenne as package
from duchenne.cli import app
from duchenne.datasets import simulated
from duchenne.errors import InputError, UsageError
from duchenne.evaluation import experiment
from duchenne.io import load_tracks

TABLE = """
title = "Two ways to read a mouth"
models = ["linear-svm"]
protocol = "kfold"
folds = 2
seed = 3
draws = 100
baselines = false
notes = ["made for a test"]

[human]
text = "A single rater"
accuracy = 0.625

[[data]]
manifest = "lists/m.csv"

[[published]]
name = "Somebody (2001)"
score = "91 %"
protocol = "leave one clip out"
problem = "people on both sides"
source = "their table 2"
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A folder with lists/m.csv: 6 people, two clips each, as rows of numbers."""
    (tmp_path / "lists").mkdir()
    rng, rows, clips = np.random.default_rng(0), ["a,b"], ["path,subject,emotion,label"]
    for i in range(12):
        rows.append(f"{i % 2 + rng.normal():.3f},{rng.normal():.3f}")
        clips.append(f"t.csv#{i},p{i // 2},fear,{i % 2}")
    (tmp_path / "lists" / "t.csv").write_text("\n".join(rows))
    (tmp_path / "lists" / "m.csv").write_text("\n".join(clips))
    return tmp_path


def toml(folder: Path, text: str = TABLE, name: str = "x.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_an_experiment_writes_its_table_and_provenance(
    table: Path, duchenne: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    path = toml(table)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # paths are relative to the file, results to where one stands
    said = duchenne("run", path, "--json")
    assert said.code == 0, said.err
    out = tmp_path / "elsewhere" / "x"
    results = json.loads((out / "results.json").read_text())
    assert json.loads(said.out) == {key: value for key, value in results.items() if key != "predictions"}
    assert results["title"] == "Two ways to read a mouth" and results["notes"] == ["made for a test"]
    run = results["run"]
    assert run["seed"] == 3 and run["versions"]["duchenne"] == package.__version__
    assert run["versions"]["numpy"] == np.__version__ and "commit" in run
    assert run["commit"] is None or len(run["commit"].removesuffix("+")) == 12
    assert len(results["data"][0]["sha256"]) == 64
    text = (out / "results.md").read_text()
    assert "| Somebody (2001) | 91 % | leave one clip out | people on both sides | their table 2 |" in text
    assert "A single rater (accuracy 0.625)" in text and "made for a test" in text
    for words in ("seed", "commit", "SHA-256", results["data"][0]["sha256"], np.__version__):
        assert words in text


def test_paths_with_variables_are_relative_to_the_working_directory(
    table: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    text = TABLE.replace("lists/m.csv", "$MY_LISTS/m.csv")
    (tmp_path / "elsewhere").mkdir()
    path = toml(tmp_path / "elsewhere", text)
    monkeypatch.chdir(table)
    monkeypatch.setenv("MY_LISTS", "lists")
    assert text != TABLE and experiment.plan(path, tmp_path / "out").manifests == ("lists/m.csv",)


def test_the_data_hash_changes_with_what_is_in_the_data(table: Path, duchenne: Callable[..., Any], tmp_path: Path):
    def digest(name: str) -> str:
        said = duchenne("run", toml(table), "-o", tmp_path / name, "--json")
        return str(json.loads(said.out)["data"][0]["sha256"])

    first, listed, rows = digest("a"), table / "lists" / "m.csv", table / "lists" / "t.csv"
    assert digest("b") == first
    text = listed.read_text()
    listed.write_text(text.replace("p5,fear,1", "p5,anger,1"))
    assert digest("c") != first
    listed.write_text(text)
    lines = rows.read_text().splitlines()
    rows.write_text("\n".join([*lines[:-1], "9,9"]))
    assert digest("d") != first


def test_defaults_are_those_of_a_plan(table: Path, tmp_path: Path):
    plan = experiment.plan(toml(table, '[[data]]\nmanifest = "lists/m.csv"\n', "name.toml"), tmp_path)
    assert (plan.title, plan.models, plan.protocol, plan.folds, plan.seed) == ("name", ("default",), "kfold", 10, 0)
    assert plan.baselines and plan.human is None and plan.published == () and len(plan.manifests) == 1


def test_paths_with_variables_and_absolute_paths(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOME_CLIPS", str(table / "lists"))
    for text in ("$SOME_CLIPS/m.csv", "${SOME_CLIPS}/m.csv", (table / "lists" / "m.csv").as_posix()):
        (found,) = experiment.plan(toml(table, f'[[data]]\nmanifest = "{text}"'), tmp_path).manifests
        assert Path(found).samefile(table / "lists" / "m.csv")


def test_a_catalogued_data_set_is_found_listed_and_judged(tmp_path: Path, duchenne: Callable[..., Any]):
    """PEDFE's packed layout, filled with simulated faces."""
    listed = simulated.data_set(tmp_path / "sim", people=4, clips=2, rate=25, seed=1)
    tracks = load_tracks(tmp_path / "sim" / "tracks_001.npz")
    with listed.open() as file:
        known = list(csv.DictReader(file))
    (tmp_path / "pedfe").mkdir()
    np.savez(
        tmp_path / "pedfe" / "points.npz",
        points=np.concatenate([track.points for track in tracks]),
        offset=np.cumsum([0, *map(len, tracks)]),
        fps=np.full(8, 25.0),
        subject=np.array([row["subject"] for row in known]),
        emotion=np.array([row["emotion"] for row in known]),
        genuine=np.array([int(row["label"] == "genuine") for row in known]),
        clip=np.array([track.source for track in tracks]),
    )
    text = 'models = ["linear-svm:peak"]\nfolds = 2\ndraws = 50\n[[data]]\ncorpus = "pedfe"\nroot = "pedfe"\n'
    said = duchenne("run", toml(tmp_path, text), "-o", tmp_path / "out", "--json")
    assert said.code == 0, said.err
    results = json.loads(said.out)
    about = results["data"][0]
    assert (about["name"], about["clips"], about["people"], about["genuine"]) == ("pedfe", 8, 4, 4)
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "linear-svm:peak"]
    assert [(row["subject"], row["label"]) for row in rows] == [(row["subject"], row["label"]) for row in known]


DATA = '[[data]]\nmanifest = "lists/m.csv"\n'
ONE = 'name = "x"\nscore = "1"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"fold = 3\n{DATA}", "experiment has the unknown key 'fold'; known are: models,"),
        (f"manifests = ['a.csv']\n{DATA}", "unknown key 'manifests'"),
        (f"{DATA}path = 'x'\n", r"\[\[data\]\] has the unknown key 'path'; known are: corpus, root, layout, manifest"),
        (f"{DATA}[human]\nf1 = 1\n", r"\[human\] has the unknown key 'f1'"),
        (f"folds = '3'\n{DATA}", "folds must be int, found '3'"),
        (f"seed = true\n{DATA}", "seed must be int, found True"),
        (f"models = 'default'\n{DATA}", "models must be a list of strings, found 'default'"),
        ("[data]\nmanifest = 'm.csv'", r"data must be tables, written \[\[data\]\]"),
        (f"human = 0.6\n{DATA}", r"\[human\] must be a table, found 0.6"),
        (f"{DATA}[human]\naccuracy = 0.6\n", r"text in \[human\] must be a string, found None"),
        (f"{DATA}[human]\ntext = 'a'\naccuracy = '62 %'\n", r"accuracy in \[human\] must be a number, found '62 %'"),
        ("[[data]]\nmanifest = 3\n", r"manifest in \[\[data\]\] must be a string, found 3"),
        ("title = 'x'", r"names no data; add a \[\[data\]\] table"),
        (
            f"{DATA}corpus = 'pedfe'\nroot = '.'\n",
            r"expected in \[\[data\]\] either manifest, or corpus and root",
        ),
        ("[[data]]\ncorpus = 'pedfe'\n", r"expected in \[\[data\]\] either manifest"),
        ("[[data]]\nmanifest = '$NOT_SET_ANYWHERE/m.csv'\n", r"\$NOT_SET_ANYWHERE/m.csv uses an environment variable"),
        ("[[data]]\ncorpus = 'pedfy'\nroot = '.'\n", "There is no data set 'pedfy' in the catalogue"),
        (f"folds = 1\n{DATA}", "Expected at least 2 folds, found 1"),
        (f"repeats = 0\n{DATA}", "Expected at least 1 repeats, found 0"),
        (f"models = []\n{DATA}", "No model was given"),
    ],
)
def test_invalid_experiments_raise(
    table: Path, duchenne: Callable[..., Any], text: str, says: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    said = duchenne("run", toml(table, text), "-o", table / "out")
    with pytest.raises(UsageError, match=says):
        raise UsageError(said.sentence)
    assert said.code == 2 and not (table / "out").exists()


def test_a_missing_experiment_raises(table: Path, duchenne: Callable[..., Any]):
    for path, says in (
        (table / "gone.toml", "There is no experiment"),
        (toml(table, "title = 'a' 'b'"), "x.toml is not valid TOML (Expected newline"),
        (table / "lists", "is not valid TOML"),
    ):
        said = duchenne("run", path, "-o", table / "out")
        assert says in said.sentence and str(path) in said.sentence
        assert said.code == 1 and not (table / "out").exists()
    (table / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"bytes\.toml is not valid TOML"):
        experiment.plan(table / "bytes.toml", table)


def test_an_invalid_plan_leaves_no_manifest_of_a_data_set_behind(tmp_path: Path, duchenne: Callable[..., Any]):
    (tmp_path / "pedfe").mkdir()
    for fault, says in (
        ("folds = 1\n", "Expected at least 2 folds"),
        ("", "pedfe"),
    ):  # the second: an empty folder is no PEDFE
        text = f"{fault}[[data]]\ncorpus = 'pedfe'\nroot = 'pedfe'\n"
        said = duchenne("run", toml(tmp_path, text), "-o", tmp_path / "out")
        assert says in said.sentence and not (tmp_path / "out").exists()


ROOT = Path(__file__).parents[3] / "experiments"


COMMANDS = sorted(ROOT.glob("breuer_*.toml"))


@pytest.mark.parametrize("path", sorted({*ROOT.glob("*.toml")} - {*COMMANDS}), ids=lambda path: path.stem)
def test_every_experiment_of_this_repository_can_be_read(path: Path, tmp_path: Path):
    if not os.environ.get("DUCHENNE_DATA"):
        pytest.skip("set DUCHENNE_DATA to a folder that holds the data sets to read this experiment's data")
    videos = re.search(r"\$([A-Z_]+_VIDEOS)", path.read_text(encoding="utf-8"))
    if videos and not os.environ.get(videos[1]):
        pytest.skip(f"set {videos[1]} to a copy of this data set's videos, which may not be passed on")
    plan = experiment.plan(path, tmp_path)
    assert plan.models and plan.title != path.stem and all(Path(file).is_file() for file in plan.manifests)


# --- experiments of commands --------------------------------------------------------------------------------------


def test_an_experiment_of_commands_runs_each_once(tmp_path: Path, duchenne: Callable[..., Any]):
    out = tmp_path / "out"
    path = toml(tmp_path, 'commands = ["simulate --people 2 --clips 2 -o {out}/a", "simulate --people 0 -o {out}/b"]')
    first = duchenne("run", path, "-o", out)
    assert first.code and (out / "a" / "manifest.csv").is_file()  # the second command is refused
    fixed = toml(tmp_path, path.read_text().replace("--people 0", "--people 2 --clips 2"))
    again = duchenne("run", fixed, "-o", out)
    assert again.code == 0 and (out / "b" / "manifest.csv").is_file()
    assert "2 of 2" in again.err and "1 of 2" not in again.err
    third = duchenne("run", fixed, "-o", out)
    assert third.code == 0 and third.out == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("commands = []", "commands must be a list of strings"),
        ('commands = ["run x.toml"]', "'run x.toml' is not a command"),
        ('commands = ["simulate -o $NOT_SET_HERE"]', "uses an environment variable that is not set"),
        ('folds = 3\ncommands = ["simulate -o a"]', "unknown key 'folds'"),
    ],
)
def test_invalid_commands_are_refused(tmp_path: Path, text: str, words: str):
    with pytest.raises(UsageError, match=words):
        experiment.commands(toml(tmp_path, text), tmp_path)


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_the_commands_of_papers_have_options_that_exist(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("CKPLUS", "FER2013", "CASME2"):
        monkeypatch.setenv(name, str(tmp_path))
    steps = experiment.commands(path, tmp_path)
    assert steps
    for words in steps:
        command, name, rest = typer.main.get_command(app), "", list(words)
        context = command.make_context("duchenne", [], resilient_parsing=True)
        while hasattr(command, "commands"):
            name, command, rest = command.resolve_command(context, rest)
        command.make_context(name, rest, parent=context).close()  # UsageError for an unknown or missing option
