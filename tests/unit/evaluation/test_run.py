"""A whole evaluation: the numbers are those of the answers it writes, whoever asks, however often it was killed."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from duchenne import checkpoints
from duchenne.datasets import simulated
from duchenne.errors import DuchenneError, InputError, UsageError
from duchenne.evaluation import Plan, evaluate
from duchenne.evaluation import results as results_of
from duchenne.io import load_tracks, save_tracks
from duchenne.methods import names as methods
from duchenne.types import Array
from makers import cut, make_video

#: Little work: one method on a table, two folds, few draws, no baselines.
LITTLE: dict[str, Any] = {"models": ("linear-svm",), "folds": 2, "draws": 50, "baselines": False}
Columns = Sequence[str]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def table(
    folder: Path, people: int = 6, each: int = 4, *, seed: int = 0, tell: float = 2.0, name: str = "m", width: int = 3
) -> Path:
    """A feature table with a length, and its manifest; the first column tells genuine by `tell` of its spread."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(people * each, width))
    x[:, 0] += tell * (np.arange(len(x)) % 2)
    head = ["duration", *(f"f{i}" for i in range(1, width))]
    np.savetxt(folder / f"{name}_rows.csv", x, delimiter=",", header=",".join(head), comments="")
    lines = [
        f"{name}_rows.csv#{i},p{i // each},{('fear', 'anger')[i // 2 % 2]},{('posed', 'genuine')[i % 2]}"
        for i in range(len(x))
    ]
    (folder / f"{name}.csv").write_text("\n".join(["path,subject,emotion,label", *lines, ""]))
    return folder / f"{name}.csv"


def column(manifest: Path, name: str, values: Iterable[object]) -> Path:
    """Add a column to a manifest, or replace one."""
    rows = rows_of(manifest)
    for row, value in zip(rows, values, strict=True):
        row[name] = str(value)
    with manifest.open("w", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        out.writeheader()
        out.writerows(rows)
    return manifest


def judged(manifest: Path | Sequence[Path], out: Path, **settings: Any) -> dict[str, Any]:
    names = ("jobs", "skip_missing", "tick", "force")
    given = {"force": True} | {name: settings.pop(name) for name in names if name in settings}
    files = [manifest] if isinstance(manifest, Path) else manifest
    return evaluate(Plan(tuple(map(str, files)), **{**LITTLE, **settings}), out, **given)


def steady(results: dict[str, Any]) -> dict[str, Any]:
    """Results without what a clock says."""
    clock = ("seconds", "fit", "predict", "describe", "overhead_share", "jobs")
    return json.loads(json.dumps({**results, "run": {k: v for k, v in results["run"].items() if k not in clock}}))


def folds_on_disk(out: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in (out / ".work" / "folds").glob("*.npz")}


@pytest.fixture
def unplotted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are most of a small run, and other tests here make them."""
    monkeypatch.setattr(results_of, "draw", lambda *_: None)


bare = pytest.mark.usefixtures("unplotted")


# --- one evaluation of tracks -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 8 simulated people with 4 clips each."""
    return simulated.data_set(tmp_path_factory.mktemp("faces") / "c", people=8, clips=4, rate=25, seed=0)


@pytest.fixture(scope="module")
def done(faces: Path) -> Path:
    """The folder of an evaluation of those with every baseline, in two assignments of people to folds."""
    out = faces.parent.parent / "out"
    models = ("linear-svm:activity", "rank-svm:peak")
    judged(faces, out, models=models, folds=4, repeats=2, seed=7, draws=1000, baselines=True)
    return out


def test_everything_is_written(done: Path):
    results = json.loads((done / "results.json").read_text())
    plots = ["accuracy", "reliability", "risk-coverage", "roc-linear-svm-activity", "roc-rank-svm-peak"]
    expected = {f"{name}.{kind}" for name in plots for kind in ("png", "svg")}
    assert {file.name for file in done.iterdir()} == expected | {
        ".work",
        "results.json",
        "results.md",
        "predictions.csv",
    }
    assert all(file.stat().st_size > 500 for file in done.iterdir())
    assert list(results["methods"]) == ["linear-svm:activity", "rank-svm:peak", *methods.BASELINES]
    assert (results["folds"], results["repeats"], results["run"]["clips"], results["run"]["seed"]) == (4, 2, 32, 7)
    assert results["data"][0] | {"sha256": ""} == {
        "name": "manifest",
        "clips": 32,
        "people": 8,
        "genuine": 16,
        "sha256": "",
    }
    text = (done / "results.md").read_text()
    for name in results["methods"]:
        assert f"| {name} |" in text or f"| **{name}** |" in text
    assert "person-disjoint 4-fold" in text


def test_the_scores_agree_with_scikit_learn(done: Path):
    results = json.loads((done / "results.json").read_text())
    for name, method in results["methods"].items():
        right, auc = [], []
        for repeat in ("0", "1"):
            rows = [
                row for row in rows_of(done / "predictions.csv") if (row["method"], row["repeat"]) == (name, repeat)
            ]
            assert len({row["video"] for row in rows}) == len(rows) == 32
            home: dict[str, set[str]] = {}
            for row in rows:
                home.setdefault(row["subject"], set()).add(row["fold"])
            assert len(home) == 8 and all(len(folds) == 1 for folds in home.values())
            assert all(row["predicted"] == ("genuine" if float(row["score"]) >= 0.5 else "posed") for row in rows)
            right.append(np.mean([row["predicted"] == row["label"] for row in rows]))
            auc.append(roc_auc_score([row["label"] == "genuine" for row in rows], [float(r["score"]) for r in rows]))
            assert any(row["pair_score"] for row in rows) == (name == "rank-svm:peak")
        assert method["score"]["accuracy"] == pytest.approx(np.mean(right))
        assert method["score"]["auc"] == pytest.approx(np.mean(auc))


def test_score_gives_the_numbers_of_the_results(done: Path, duchenne: Callable[..., Any]):
    results = json.loads((done / "results.json").read_text())
    said = duchenne("score", done / "predictions.csv", "--json", "--seed", 7)
    scored = json.loads(said.out)["methods"]
    assert list(scored) == list(results["methods"])
    for name, method in results["methods"].items():
        assert scored[name] == method["score"]


def test_every_baseline_is_compared_and_reported(done: Path):
    results = json.loads((done / "results.json").read_text())
    for name, method in results["methods"].items():
        assert method["kind"] == ("baseline" if name in methods.BASELINES else "method")
        if method["kind"] == "method":
            assert set(method["against"]) == set(methods.BASELINES)
            assert method["verdict"] in (done / "results.md").read_text()
    identity = results["methods"]["identity"]["score"]
    assert identity["forced_pairs"] == 0.5  # one answer for all clips of a person: every pair is a tie


@bare
def test_the_answers_are_those_of_a_loop_written_by_hand(tmp_path: Path):
    """Fitted on the rows of the other people in the very table, by a loop that knows nothing of an evaluation."""
    manifest = table(tmp_path)
    judged(manifest, tmp_path / "out", folds=3, seed=5)
    x = np.loadtxt(tmp_path / "m_rows.csv", delimiter=",", skiprows=1)
    y, who = np.arange(24) % 2, np.array([f"p{i // 4}" for i in range(24)])
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    for row_number, row in enumerate(rows):
        fold = [other["subject"] for other in rows if other["fold"] == row["fold"]]
        train = ~np.isin(who, fold)
        p = methods.make("linear-svm", 5).fit_table(x[train], y[train], who[train]).predict_table(x[row_number][None])
        assert float(row["score"]) == pytest.approx(p[0, 1], abs=1e-9)


# --- protocols ----------------------------------------------------------------------------------------------


@bare
def test_leave_one_person_out_has_as_many_folds_as_people(tmp_path: Path):
    results = judged(table(tmp_path, people=5), tmp_path / "out", protocol="loso")
    assert results["folds"] == 5 and results["protocol"].startswith("leave one person out")
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    assert len(rows) == 20 and len({(row["subject"], row["fold"]) for row in rows}) == 5


@bare
@pytest.mark.parametrize("names", ["abc", ("train", "train", "test"), ("Training", "dev", "test")])
def test_fixed_folds_are_those_of_the_manifest(tmp_path: Path, names: Columns):
    manifest = table(tmp_path)
    column(manifest, "fold", [names[i // 8] for i in range(24)])
    results = judged(manifest, tmp_path / "out", protocol="fixed")
    tested = {row["subject"] for row in rows_of(tmp_path / "out" / "predictions.csv")}
    people = {name: {f"p{2 * i}", f"p{2 * i + 1}"} for i, name in reversed(list(enumerate(names)))}
    people |= {"train": {"p0", "p1", "p2", "p3"}} if names[:2] == ("train", "train") else {}
    learnt = [name for name in people if name.lower().startswith("train")]
    assert tested == {f"p{i}" for i in range(6)} - set().union(*(people[name] for name in learnt))
    assert results["methods"]["linear-svm"]["score"]["rows"] == 4 * len(tested)


@bare
def test_across_two_manifests(tmp_path: Path):
    """The same person's name in both is two people; each data set tells genuine by another sign."""
    a = table(tmp_path, people=4, name="a", seed=1, tell=5.0)
    b = table(tmp_path, people=3, name="b", seed=2, tell=-5.0)
    results = judged((a, b), tmp_path / "out", protocol="cross")
    assert list(results["methods"]) == ["linear-svm | a → b", "linear-svm | b → a"]
    for run, clips in (("a → b", 12), ("b → a", 16)):
        method = results["methods"][f"linear-svm | {run}"]
        assert method["run"] == run and method["score"]["rows"] == clips
        assert method["score"]["auc"] < 0.1  # trained on the other data set, whose sign is the opposite
    assert [(d["name"], d["clips"], d["people"]) for d in results["data"]] == [("a", 16, 4), ("b", 12, 3)]
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    assert {(row["fold"], row["subject"][:2]) for row in rows} == {("a → b", "b/"), ("b → a", "a/")}


def test_across_the_data_sets_that_one_manifest_names(tmp_path: Path, duchenne: Callable[..., Any]):
    manifest = column(table(tmp_path), "fold", ["lab"] * 12 + ["film"] * 12)
    results = judged(manifest, tmp_path / "out", protocol="cross", baselines=True)
    for run in ("film → lab", "lab → film"):
        against = results["methods"][f"linear-svm | {run}"]["against"]
        assert set(against) == {f"{name} | {run}" for name in ("majority", "clip length", "identity")}
    assert (tmp_path / "out" / "reliability-lab---film.svg").exists()
    said = duchenne("score", tmp_path / "out" / "predictions.csv", "--json")
    assert json.loads(said.out)["accuracy"] == next(iter(results["methods"].values()))["score"]["accuracy"]


# --- the same again -----------------------------------------------------------------------------------------


@bare
def test_the_same_seed_gives_the_same_bytes_and_results_with_any_number_of_processes(faces: Path, tmp_path: Path):
    outs = [tmp_path / name for name in "ab"]
    found = [
        judged(faces, out, models=("linear-svm:peak", "boosting:peak"), jobs=jobs)
        for out, jobs in zip(outs, (1, 2), strict=True)
    ]
    texts = [(out / "predictions.csv").read_bytes() for out in outs]
    assert texts[0] == texts[1] and steady(found[0]) == steady(found[1])
    written = [json.loads((out / "results.json").read_text()) for out in outs[:2]]
    assert steady(written[0]) == steady(written[1])


KILLED = """
import os, signal, sys
from duchenne.evaluation import Plan, evaluate
def tick(stage, done, total):
    if stage == "fitting and predicting" and done == 3:
        os.kill(os.getpid(), signal.SIGKILL)
plan = Plan((sys.argv[1],), ("linear-svm",), "loso", draws=50, baselines=False)
evaluate(plan, sys.argv[2], tick=tick)
"""


@bare
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill a process without a word")
def test_a_killed_evaluation_resumes(tmp_path: Path):
    manifest, out = table(tmp_path), tmp_path / "out"
    dead = subprocess.run([sys.executable, "-c", KILLED, manifest, out], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert dead.returncode == -signal.SIGKILL
    before = folds_on_disk(out)
    assert len(before) == 3 and not (out / "results.json").exists() and not (out / "predictions.csv").exists()
    judged(manifest, out, protocol="loso")
    judged(manifest, tmp_path / "fresh", protocol="loso")
    assert (out / "predictions.csv").read_bytes() == (tmp_path / "fresh" / "predictions.csv").read_bytes()
    after = folds_on_disk(out)
    assert len(after) == 6 and {name: after[name] for name in before} == before  # not made a second time
    assert set(after) == set(folds_on_disk(tmp_path / "fresh"))


@bare
def test_what_is_on_disk_is_not_fitted_again_unless_something_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[str] = []
    make = methods.make
    monkeypatch.setattr(methods, "make", lambda name, seed=0: made.append(name) or make(name, seed))
    manifest, out = table(tmp_path), tmp_path / "out"

    def fitted(**settings: Any) -> int:
        made.clear()
        judged(manifest, out, **settings)
        return len(made) - 2 * len(settings.get("models", ("",)))  # once to check the name, once to read the clips

    assert fitted() == 2 and fitted() == 0
    first = (out / "predictions.csv").read_bytes()
    assert fitted(folds=3) == 3
    assert fitted(seed=1) == 2 and (out / "predictions.csv").read_bytes() != first
    assert fitted(models=("linear-svm", "boosting")) == 2  # only the new method's folds
    assert fitted(draws=60) == 0
    text = manifest.read_text()
    manifest.write_text(text.replace("p0,fear,posed", "p0,fear,genuine", 1))
    assert fitted() == 2  # a label
    manifest.write_text(text)
    assert fitted() == 0 and (out / "predictions.csv").read_bytes() == first
    lines = (tmp_path / "m_rows.csv").read_text().splitlines()
    (tmp_path / "m_rows.csv").write_text("\n".join([*lines[:-1], "9,9,9"]))
    assert fitted() == 2  # a measurement


# --- sequences ----------------------------------------------------------------------------------------------

#: As little LSTM-PB as can be; PB vectors of so small a network say nothing, and nothing here asks what they say.
SMALL_PB = """
reading = "rnnpb"
fps = 12.5
hidden_size = 4
num_layers = 1
pb_size = 2
context_size = 2
epochs = 1
recognition_steps = 1
"""


@pytest.fixture
def small_pb(tmp_path: Path) -> str:
    """The name of a tiny LSTM-PB as a method."""
    (tmp_path / "small.toml").write_text(SMALL_PB)
    return f"lstm-pb:{tmp_path / 'small.toml'}"


@pytest.fixture
def with_short(faces: Path, tmp_path: Path) -> Path:
    """A manifest of the simulated people's clips, of which rows 2 and 9 have three frames, and row 5 is not there."""
    tracks = load_tracks(faces.parent / "tracks_001.npz")
    for i in (2, 9):
        part = {name: getattr(tracks[i], name)[:3] for name in ("time", "points", "confidence", "box")}
        tracks[i] = tracks[i].evolve("cut", **part)
    save_tracks(tmp_path / "t.npz", tracks)
    lines = [f"t.npz#{i if i != 5 else 99},{row['subject']},{row['emotion']},{row['label']}"
             for i, row in enumerate(rows_of(faces))]  # fmt: skip
    (tmp_path / "short.csv").write_text("\n".join(["path,subject,emotion,label", *lines, ""]))
    return tmp_path / "short.csv"


@pytest.mark.slow
@bare
def test_an_lstm_pb_is_judged_beside_other_methods_with_any_number_of_processes(
    with_short: Path, small_pb: str, tmp_path: Path
):
    models = (small_pb, "linear-svm:peak")
    found = [judged(with_short, tmp_path / f"out{jobs}", models=models, jobs=jobs) for jobs in (1, 2)]
    texts = [(tmp_path / f"out{jobs}" / "predictions.csv").read_bytes() for jobs in (1, 2)]
    assert texts[0] == texts[1] and steady(found[0]) == steady(found[1])
    rows = [row for row in rows_of(tmp_path / "out1" / "predictions.csv") if row["method"] == small_pb]
    unanswered = [i for i, row in enumerate(rows) if not row["score"]]
    assert len(rows) == 32 and unanswered == [2, 5, 9]  # too short twice, and not there
    table = methods.make(small_pb).table(load_tracks(tmp_path / "t.npz"))
    labels = np.array([row["label"] == "genuine" for row in rows]).astype(int)
    people = np.array([row["subject"] for row in rows])
    table[5] = None
    fold = np.array([row["fold"] for row in rows])
    for name in np.unique(fold):  # by hand, on one thread as there
        train, test = np.flatnonzero(fold != name), np.flatnonzero(fold == name)
        model = methods.make(small_pb).fit_table(table[train], labels[train], people[train])
        expected = model.predict_table(table[test])[:, 1]
        scores = [float(rows[i]["score"] or "nan") for i in test]
        np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.slow
@bare
def test_a_model_of_networks_per_emotion_is_given_them(faces: Path, small_pb: str, tmp_path: Path):
    emotions = [("fear", "anger")[i // 2 % 2] for i in range(32)]
    manifest = column(shutil.copytree(faces.parent, tmp_path / "c") / faces.name, "emotion", emotions)
    recipe = Path(small_pb.removeprefix("lstm-pb:"))
    recipe.write_text(SMALL_PB + "per_emotion = true\n")
    judged(manifest, tmp_path / "out", models=(small_pb,))
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    assert len(rows) == 32 and all(row["score"] for row in rows)
    before = folds_on_disk(tmp_path / "out")
    judged(manifest, tmp_path / "out", models=(small_pb,))
    assert folds_on_disk(tmp_path / "out") == before and len(before) == 2
    recipe.write_text(SMALL_PB.replace("hidden_size = 4", "hidden_size = 5"))  # the same name, another method
    judged(manifest, tmp_path / "out", models=(small_pb,))
    assert len(folds_on_disk(tmp_path / "out")) == 4


@bare
def test_an_lstm_pb_cannot_read_a_table_of_features(tmp_path: Path, small_pb: str):
    with pytest.raises(InputError, match=r"cannot read these clips: .* this method reads face tracks"):
        judged(table(tmp_path), tmp_path / "out", models=(small_pb,))


def test_work_with_torch_is_on_one_thread_and_leaves_the_number_as_it_was():
    import torch

    from duchenne.workers.resources import torch_on_one_thread

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch_on_one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_items_on_threads_come_in_order_and_each_on_one_thread_of_torch():
    import torch

    from duchenne.workers.resources import on_threads

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = on_threads(lambda k: (k, torch.get_num_threads(), threading.get_ident()), range(40), 3)
        assert [k for k, _, _ in found] == list(range(40)) and {count for _, count, _ in found} == {1}
        assert threading.get_ident() not in {thread for _, _, thread in found} and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_processes_that_grow_are_replaced_without_a_warning():
    from duchenne.workers.resources import in_order

    pytest.importorskip("psutil")  # without it joblib does not look at their memory
    keep = "vars(builtins).setdefault('kept', []).append(bytes([1]) * 350_000_000)"
    grow = f"import builtins, time; {keep}; time.sleep(1.1)"
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert list(in_order(exec, [(grow,)] * 8, 2)) == [None] * 8
    assert [str(each.message) for each in seen] == []


@pytest.mark.slow
@bare
def test_another_model_folder_of_the_same_name_is_evaluated_again(faces: Path, tmp_path: Path):
    """A finished model may be trained again between two runs."""
    folder = tmp_path / "model"
    shutil.copytree(checkpoints.locate("smile"), folder)
    name = f"as-is:{folder}"
    first = judged(faces, tmp_path / "out", models=(name,))["methods"][name]["score"]["brier"]
    about = json.loads((folder / "model.json").read_text())
    about["calibration"]["intercept"] += 2.0
    (folder / "model.json").write_text(json.dumps(about))
    again = judged(faces, tmp_path / "out", models=(name,))
    assert again["methods"][name]["score"]["brier"] != first


@bare
@pytest.mark.parametrize("part", [0.0, 0.4, 0.95])
def test_a_truncated_cache_file_is_computed_again(tmp_path: Path, part: float):
    manifest, out = table(tmp_path), tmp_path / "out"
    judged(manifest, out)
    before = (out / "predictions.csv").read_bytes()
    broken = sorted((out / ".work" / "folds").glob("*.npz"))[0]
    whole = broken.stat().st_size
    cut(broken, part)
    judged(manifest, out)
    assert (out / "predictions.csv").read_bytes() == before and broken.stat().st_size >= whole - 8


def test_results_of_another_plan_or_of_other_clips_are_not_replaced_unless_forced(
    tmp_path: Path, duchenne: Callable[..., Any]
):
    manifest, out = table(tmp_path), tmp_path / "out"
    words = ("--manifest", manifest, "-o", out, "-m", "linear-svm", "--no-baselines", "--folds")
    assert duchenne("evaluate", *words, 2).code == 0 and duchenne("evaluate", *words, 2).code == 0
    before = (out / "predictions.csv").read_bytes()
    (out / "roc-old.svg").write_text("of a method that is no longer compared")
    refused = duchenne("evaluate", *words, 3)
    assert refused.code == 2 and "folds 2 there and 3 here" in refused.sentence and "--force" in refused.sentence
    changed("p0,fear,posed", "p0,fear,genuine")(manifest)
    refused = duchenne("evaluate", *words, 2)
    assert refused.code == 2 and "(other clips); choose another folder" in refused.err
    assert (out / "predictions.csv").read_bytes() == before
    assert duchenne("evaluate", *words, 3, "--force").code == 0
    assert json.loads((out / "results.json").read_text())["folds"] == 3 and not (out / "roc-old.svg").exists()


# --- manifests at fault -------------------------------------------------------------------------------------


def changed(old: str, new: str) -> Callable[[Path], None]:
    def change(manifest: Path) -> None:
        text = manifest.read_text()
        assert old in text
        manifest.write_text(text.replace(old, new))

    return change


def folds_by(pattern: str) -> Callable[[Path], None]:
    return lambda manifest: column(manifest, "fold", [pattern[i % len(pattern)] for i in range(24)]) and None


FAULTS: dict[str, tuple[Callable[[Path], None], list[str], int, str]] = {
    "missing file": (
        changed("m_rows.csv#1,", "gone.csv#1,"),
        [],
        1,
        r"m\.csv, line 3, names the missing file .*gone\.csv",
    ),
    "three files": (changed("m_rows.csv#1", "gone.csv#1"), [], 1, r"m\.csv, line 3, names .* \(and 10 more\)"),
    "unknown label": (changed("p1,fear,posed", "p1,fear,maybe"), [], 1, r"m\.csv, line 6, has the label 'maybe'"),
    "a person in two folds": (
        folds_by("ab"),
        ["--protocol", "fixed"],
        1,
        r"m\.csv, line 3, puts person 'p0' into fold 'b', but .*m\.csv, line 2 into 'a'",
    ),
    "a row without fold": (lambda manifest: None, ["--protocol", "fixed"], 1, r"m\.csv, line 2, has no fold"),
    "a data set without name": (lambda manifest: None, ["--protocol", "cross"], 1, r"m\.csv, line 2, has no fold"),
    "one data set": (folds_by("a"), ["--protocol", "cross"], 2, "At least 2 data sets"),
    "one fold": (folds_by("a"), ["--protocol", "fixed"], 2, "At least 2 folds"),
    "a person in two data sets": (folds_by("aab"), ["--protocol", "cross"], 2, "Person 'p0' is in the data sets"),
    "no label": (
        lambda manifest: column(manifest, "label", [""] * 24) and None,
        [],
        1,
        r"m\.csv: expected genuine and posed clips, found no label; add labels",
    ),
    "one label": (changed("genuine", "posed"), [], 1, r"m\.csv: .* found posed only; add labels"),
    "too many folds": (lambda manifest: None, ["--folds", "7"], 2, "7 folds need as many persons, found 6"),
    "no such method": (lambda manifest: None, ["--model", "svm"], 2, "There is no method 'svm'"),
    "no such descriptors": (
        lambda manifest: None,
        ["--model", "boosting:ears"],
        2,
        "no kind of descriptors named 'ears'",
    ),
    "a smile expert of something else": (lambda manifest: None, ["--model", "smile:peak"], 2, "no method 'smile:peak'"),
    "no such model": (lambda manifest: None, ["--model", "as-is:nowhere"], 2, "There is no model 'nowhere'"),
    "no such protocol": (lambda manifest: None, ["--protocol", "loo"], 2, "There is no protocol 'loo'"),
    "a method twice": (lambda manifest: None, ["-m", "boosting", "-m", "boosting"], 2, "A model is repeated"),
    "one manifest twice": (lambda manifest: None, ["--manifest", "TWICE"], 2, "Two manifests have the same name"),
    "no manifest": (lambda manifest: manifest.unlink(), [], 1, r"There is no manifest .*m\.csv"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_invalid_input_raises_before_any_work(tmp_path: Path, duchenne: Callable[..., Any], fault: str):
    change, words, code, says = FAULTS[fault]
    manifest = table(tmp_path)
    change(manifest)
    words = [str(manifest) if word == "TWICE" else word for word in words]
    said = duchenne("evaluate", "--manifest", manifest, "-o", tmp_path / "out", "--folds", 2, *words)
    with pytest.raises(DuchenneError, match=says):
        raise DuchenneError(said.sentence)
    assert said.code == code and said.out == "" and not (tmp_path / "out").exists()


def test_a_fold_with_one_label_is_named_before_any_work(tmp_path: Path, duchenne: Callable[..., Any]):
    manifest = table(tmp_path)
    column(manifest, "label", ["genuine" if 8 <= i < 16 else ("posed", "genuine")[i % 2] for i in range(24)])
    column(manifest, "fold", ["abc"[i // 8] for i in range(24)])
    said = duchenne("evaluate", "--manifest", manifest, "-o", tmp_path / "out", "--protocol", "fixed")
    assert "m.csv, line 10: fold 'b' holds genuine clips only; add the other label" in said.sentence
    said = duchenne("evaluate", "--manifest", manifest, "-o", tmp_path / "out", "--protocol", "cross")
    assert "Data set 'b' has only genuine clips of 2 people to train on" in said.sentence
    assert said.code == 2 and not (tmp_path / "out").exists()


def test_too_few_training_clips_raise_before_any_work(tmp_path: Path, duchenne: Callable[..., Any]):
    two = table(tmp_path, people=2)
    said = duchenne("evaluate", "--manifest", two, "-o", tmp_path / "out", "--protocol", "loso")
    assert "To test fold 1 of 2, protocol loso leaves only genuine and posed clips of 1 person" in said.sentence
    halves = column(table(tmp_path, people=4), "label", ["posed"] * 12 + ["genuine"] * 4)
    said = duchenne("evaluate", "--manifest", halves, "-o", tmp_path / "out", "--protocol", "loso")
    assert "To test fold 4 of 4, protocol loso leaves only posed clips of 3 people" in said.sentence
    assert said.code == 2 and not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_raises(tmp_path: Path, duchenne: Callable[..., Any]):
    (tmp_path / "out").write_text("mine")
    said = duchenne("evaluate", "--manifest", table(tmp_path), "-o", tmp_path / "out", "--folds", 2)
    assert said.code == 1 and "out is a file; choose a folder" in said.sentence
    assert (tmp_path / "out").read_text() == "mine"


def test_missing_files_can_be_left_out_and_are_listed(tmp_path: Path, duchenne: Callable[..., Any]):
    manifest = table(tmp_path)
    column(manifest, "label", ["" if i == 20 else ("posed", "genuine")[i % 2] for i in range(24)])
    changed("m_rows.csv#7,", "gone.csv#7,")(manifest)
    words = ("--manifest", manifest, "-o", tmp_path / "out", "-m", "linear-svm", "--folds", 2, "--no-baselines")
    assert duchenne("evaluate", *words).code == 1
    said = duchenne("evaluate", *words, "--skip-missing", "--json")
    results = json.loads(said.out)
    assert said.code == 0 and results["run"]["clips"] == 22
    gone, unlabelled = results["notes"]
    assert gone.startswith("Left out: ") and gone.endswith("gone.csv does not exist.") and "m.csv, line 9: " in gone
    assert unlabelled.startswith("Left out: 1 clips of ") and unlabelled.endswith(" without a label.")
    assert len(rows_of(tmp_path / "out" / "predictions.csv")) == 22


@bare
def test_tables_and_tracks_are_not_mixed(tmp_path: Path, faces: Path):
    manifest = table(tmp_path, name="a")
    tracks = "\n".join(f"{faces.parent / 'tracks_001.npz'}#{i},q{i},,{i % 2}" for i in range(4))
    other = table(tmp_path, people=2, name="b", width=5)
    for text, says in (
        (tracks, "3 columns and .* gives face tracks"),
        (other.read_text(), "3 columns and .* 5 columns"),
    ):
        mixed = tmp_path / "mixed.csv"
        mixed.write_text(manifest.read_text() + text.removeprefix("path,subject,emotion,label\n"))
        with pytest.raises(InputError, match=f"{says}; evaluate them separately"):
            judged(mixed, tmp_path / "out")
    renamed = tmp_path / "c_rows.csv"
    renamed.write_text((tmp_path / "a_rows.csv").read_text().replace("f1", "speed"))
    mixed.write_text(manifest.read_text() + "c_rows.csv#0,q,,1\n")
    with pytest.raises(
        InputError, match=r"3 columns and .* gives 3 columns with other names; evaluate them separately"
    ):
        judged(mixed, tmp_path / "out")


# --- clips that cannot be read ------------------------------------------------------------------------------


@pytest.fixture
def spoilt(tmp_path: Path, faces: Path, pictures: list[Array]) -> Path:
    """A manifest of 12 packed tracks, one sound video, and one that is none."""
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    make_video(tmp_path / "smile.mp4", pictures[::4], rate=6)
    rows = rows_of(faces)[:12]
    lines = [f"{faces.parent / row['path']},{row['subject']},{row['emotion']},{row['label']}" for row in rows]
    more = ["smile.mp4,sim01,happiness,posed", "broken.mp4,sim02,happiness,genuine"]
    (tmp_path / "m.csv").write_text("\n".join(["path,subject,emotion,label", *lines, *more]))
    return tmp_path / "m.csv"


@bare
def test_a_video_that_cannot_be_read_is_named_and_stays_unanswered(
    spoilt: Path, duchenne: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    out, cache = spoilt.parent / "out", spoilt.parent / "cache"
    monkeypatch.setenv("DUCHENNE_CACHE", str(cache))
    monkeypatch.setenv("DUCHENNE_CACHE_LIMIT", "1 GB")
    words = ("--manifest", spoilt, "-o", out, "-m", "linear-svm:peak", "--folds", 3, "--json")
    said = duchenne("evaluate", *words)
    assert said.code == 1 and "1 of 14 clips could not be read and have no prediction" in said.err
    results = json.loads((out / "results.json").read_text())
    (warning,) = (text for text in results["warnings"] if "broken" in text)
    assert warning.startswith("Not read, so not answered: ") and "broken.mp4" in warning
    assert warning in (out / "results.md").read_text() and results["run"]["unread"] == 1
    for row in rows_of(out / "predictions.csv"):  # of every baseline, too
        empty = row["video"] == "broken.mp4"
        assert (row["score"] == "") == (row["predicted"] == "") == empty and (not empty or row["sure"] == "0")
    for method in results["methods"].values():
        assert (method["score"]["rows"], method["score"]["unanswered"]) == (14, 1)
    # the face in the video was followed once and kept; what was kept and then cut short is followed again
    (kept,) = cache.glob("*.followed")
    before, written = (out / "predictions.csv").read_bytes(), kept.read_bytes()
    said = duchenne("evaluate", *words, "--skip-missing")
    assert said.code == 0 and {*cache.glob("*.followed")} == {kept}
    cut(kept, 0.5)
    said = duchenne("evaluate", *words, "--skip-missing")
    assert (out / "predictions.csv").read_bytes() == before and kept.read_bytes() == written
    assert json.loads(said.out)["run"]["unread"] == 1


def test_unreadable_clips_only_raise(tmp_path: Path):
    for i in range(4):
        (tmp_path / f"{i}.mp4").write_bytes(b"nothing")
    lines = [f"{i}.mp4,p{i},,{i % 2}" for i in range(4)]
    (tmp_path / "m.csv").write_text("\n".join(["path,subject,emotion,label", *lines]))
    with pytest.raises(InputError, match=r"^None of 4 clips could be read; the first: .*0\.mp4"):
        judged(tmp_path / "m.csv", tmp_path / "out", models=("linear-svm:peak",), protocol="kfold")
    assert not (tmp_path / "out" / "results.json").exists()


@bare
def test_a_method_that_cannot_read_a_table_raises_and_a_baseline_gives_the_reason(tmp_path: Path):
    manifest = table(tmp_path)
    with pytest.raises(InputError, match=r"^Method 'boosting:activity' cannot read these clips: "):
        judged(manifest, tmp_path / "out", models=("boosting:activity",))
    results = judged(manifest, tmp_path / "out", baselines=True)
    assert not results["methods"]["first frame"]["available"] and results["methods"]["first frame"]["why"]
    assert results["methods"]["clip length"]["available"]
    assert "first frame has no score: " in (tmp_path / "out" / "results.md").read_text()


# --- what must be told --------------------------------------------------------------------------------------


@bare
def test_one_clip_under_two_persons_is_reported_with_both_names(faces: Path, tmp_path: Path):
    tracks = load_tracks(faces.parent / "tracks_001.npz")[:12]
    save_tracks(tmp_path / "t.npz", [*tracks, tracks[5].evolve("copied", source="borrowed")])
    lines = [
        f"t.npz#{t.source},{row['subject']},,{row['label']}" for t, row in zip(tracks, rows_of(faces), strict=False)
    ]
    lines.append(f"t.npz#borrowed,stranger,,{rows_of(faces)[5]['label']}")
    (tmp_path / "m.csv").write_text("\n".join(["path,subject,emotion,label", *lines]))
    results = judged(tmp_path / "m.csv", tmp_path / "out", models=("linear-svm:peak",), protocol="loso")
    (warning,) = results["warnings"]
    assert f"t.npz#{tracks[5].source} (person {rows_of(faces)[5]['subject']})" in warning
    assert "t.npz#borrowed (person stranger)" in warning and "both sides of the split" in warning
    assert warning in (tmp_path / "out" / "results.md").read_text()


@bare
def test_noise_does_not_beat_a_baseline_and_a_signal_does(tmp_path: Path):
    noise = judged(table(tmp_path, people=12, tell=0.0), tmp_path / "noise", baselines=True, folds=4)["methods"]
    assert "does not beat `" in noise["linear-svm"]["verdict"] or "is worse than `" in noise["linear-svm"]["verdict"]
    assert "beats every baseline" not in noise["linear-svm"]["verdict"]
    manifest = table(tmp_path, people=12, tell=0.0, seed=1)
    x = np.loadtxt(tmp_path / "m_rows.csv", delimiter=",", skiprows=1)
    x[:, 1] += 4 * (np.arange(len(x)) % 2)  # in another column than the length
    np.savetxt(tmp_path / "m_rows.csv", x, delimiter=",", header="duration,f1,f2", comments="")
    clear = judged(manifest, tmp_path / "clear", baselines=True, folds=4)["methods"]["linear-svm"]
    assert clear["score"]["accuracy"] > 0.9 and "beats every baseline" in clear["verdict"]


@bare
def test_a_table_that_was_scaled_before_the_split_is_reported(tmp_path: Path):
    manifest = table(tmp_path)
    assert judged(manifest, tmp_path / "raw")["warnings"] == []
    x = np.loadtxt(tmp_path / "m_rows.csv", delimiter=",", skiprows=1)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    np.savetxt(tmp_path / "m_rows.csv", x, delimiter=",", header="duration,f1,f2", comments="", fmt="%.12g")
    (warning,) = judged(manifest, tmp_path / "scaled")["warnings"]
    assert warning.startswith("3 of 3 columns have mean 0 and standard deviation 1 over the whole table")


@pytest.mark.slow
@bare
def test_a_finished_model_is_evaluated_as_it_is_with_a_warning(faces: Path, tmp_path: Path):
    results = judged(faces, tmp_path / "out", models=("as-is:default-0.1", "linear-svm:peak"))
    (warning,) = (text for text in results["warnings"] if "as-is" in text)
    assert warning.startswith("`as-is:default-0.1` was fitted to PEDFE (")
    model = methods.make("as-is:default-0.1")
    tracks = load_tracks(faces.parent / "tracks_001.npz")
    rows = [row for row in rows_of(tmp_path / "out" / "predictions.csv") if row["method"] == "as-is:default-0.1"]
    np.testing.assert_allclose([float(row["score"]) for row in rows], model.predict_proba(tracks)[:, 1], atol=1e-9)


@bare
def test_a_method_is_fitted_on_every_fold(faces: Path, tmp_path: Path):
    """Not the shipped model, which knows other people: its answers are other ones."""
    results = judged(faces, tmp_path / "out", models=("descriptors",))
    score = results["methods"]["descriptors"]["score"]
    assert score["rows"] == 32 and score["unanswered"] == 0 and score["auc"] > 0.5
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    shipped = methods.make("as-is:default-0.1").predict_proba(load_tracks(faces.parent / "tracks_001.npz"))[:, 1]
    assert np.abs(shipped - [float(row["score"]) for row in rows]).max() > 0.05


def test_invalid_plans_raise():
    for settings, says in (
        ({"protocol": "none"}, "There is no protocol"),
        ({"folds": 1}, "Expected at least 2 folds"),
        ({"repeats": 0}, "at least 1 repeats"),
        ({"draws": 0}, "at least 1 draws"),
        ({"models": ()}, "No model was given"),
    ):
        with pytest.raises(UsageError, match=says):
            Plan(("m.csv",), **settings)
