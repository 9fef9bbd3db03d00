"""`duchenne train lstm-pb` and what its model says of a clip: trained, killed, resumed, used and refused."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from conftest import command
from duchenne import checkpoints, io, pipeline
from duchenne.datasets import simulate
from duchenne.errors import UsageError
from duchenne.learn.loop import Diverged
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.methods import training
from duchenne.plots import learning

pytestmark = pytest.mark.usefixtures("read_once")
TINY = """reading = "rnnpb"
fps = 12.5
hidden_size = 8
num_layers = 2
pb_size = 4
context_size = 4
epochs = 6
batch_size = 8
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder with tracks of six people, each smiling twice in earnest and twice for show, a manifest, a recipe."""
    folder = tmp_path_factory.mktemp("corpus")
    tracks, lines = [], ["path,subject,emotion,label"]
    for i in range(24):
        kind = ("genuine", "posed")[i % 2]
        tracks.append(replace(simulate.track(simulate.KINDS[kind], 25.0, seed=i), source=f"clip{i}"))
        lines.append(f"tracks.npz#{i},p{i // 4},{('happiness', 'sadness')[i // 2 % 2]},{kind}")
    io.save_tracks(folder / "tracks.npz", tracks)
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    (folder / "tiny.toml").write_text(TINY)
    return folder


def words(corpus, out, *more):
    recipe = ("--recipe", corpus / "tiny.toml")
    return ("train", "lstm-pb", "--manifest", corpus / "manifest.csv", "-o", out, *recipe, *more)


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """A model trained through the command line, and the output of the command."""
    out = tmp_path_factory.mktemp("trained") / "model"
    return out, command(*words(corpus, out))


@pytest.fixture(scope="module")
def solved(corpus, tmp_path_factory):
    """A model of our reading, three networks for all emotions, and the output of its training."""
    out, result = tmp_path_factory.mktemp("solved") / "mine", []
    recipe = PBRecipe.read(corpus / "tiny.toml", reading="solved", pose=True, n_networks=3, num_layers=1)
    training.train_pb(corpus / "manifest.csv", out, recipe, log=result.append)
    return out, result


@pytest.fixture(scope="module")
def per_emotion(corpus, tmp_path_factory):
    """A model with a network per emotion."""
    out = tmp_path_factory.mktemp("emotions") / "mine"
    training.train_pb(corpus / "manifest.csv", out, PBRecipe.read(corpus / "tiny.toml", per_emotion=True), log=str)
    return out


# --- training -----------------------------------------------------------------------------------------------


def test_training_reports_every_epoch_and_writes_model_and_curve(trained):
    folder, done = trained
    lines = done.err.splitlines()
    assert lines[0] == "24 of 24 clips read, of 6 people"
    assert [line.split(":")[0] for line in lines[1:]] == [f"epoch {i} of 6" for i in range(1, 7)]
    assert "6 people, 24 clips" in done.out and "without labels" in done.out
    names = {file.name for file in folder.iterdir()}
    model = {"model.json", "weights.safetensors", "card.json"}
    assert names == model | {"curve.csv", "curve.json", "curve.png", "curve.svg", "reference.json"}
    assert [file.name for file in folder.parent.iterdir()] == ["model"]  # nothing to resume is left behind
    curve = json.loads((folder / "curve.json").read_text())[""]
    assert [row["epoch"] for row in curve] == list(range(1, 7)) and curve[-1]["loss"] < curve[0]["loss"]
    logged = list(csv.DictReader((folder / "curve.csv").read_text().splitlines()))
    assert [float(row["loss"]) for row in logged] == [row["loss"] for row in curve]
    card = json.loads((folder / "card.json").read_text())
    assert (card["people"], card["clips"], card["genuine"], card["reading"]) == (6, 24, 12, "rnnpb")
    assert 0 <= card["accuracy"] <= 1 and set(card["per_emotion"]) >= {"happiness", "sadness"}


@pytest.mark.slow
def test_each_of_several_networks_reports_its_epochs(solved):
    folder, result = solved
    assert [line.split(": loss")[0] for line in result if "epoch" in line] == [
        f"{network}: epoch {epoch} of 6" for network in (1, 2, 3) for epoch in range(1, 7)
    ]
    curves = json.loads((folder / "curve.json").read_text())
    assert list(curves) == ["1", "2", "3"]
    for rows in curves.values():  # held-out people are reported, and nothing is chosen by them
        assert all(0 <= row["score"] <= 1 and row["best"] for row in rows)
    card = json.loads((folder / "card.json").read_text())
    assert "by the network that left them out" in card["protocol"] and card["reading"] == "solved"
    assert {file.name for file in folder.glob("curve.*")} == {"curve.csv", "curve.json", "curve.png", "curve.svg"}


@pytest.mark.slow
def test_several_networks_resume(corpus, solved, tmp_path):
    out, recipe = (
        tmp_path / "mine",
        PBRecipe.read(corpus / "tiny.toml", reading="solved", pose=True, n_networks=3, num_layers=1),
    )

    def stop(text):
        if text.startswith("2: epoch 3 of"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train_pb(corpus / "manifest.csv", out, recipe, log=stop)
    result = []
    training.train_pb(corpus / "manifest.csv", out, recipe, log=result.append)
    lines = [line.split(": loss")[0] for line in result if "epoch" in line]
    assert lines[0] == "2: epoch 4 of 6" and len(lines) == 3 + 6
    assert checkpoints.digest(out) == checkpoints.digest(solved[0])


def test_other_settings_do_not_resume(duchenne, corpus, trained, tmp_path):
    out = tmp_path / "model"
    recipe = PBRecipe.read(corpus / "tiny.toml")

    def stop(text):
        if "epoch 2 of" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train_pb(corpus / "manifest.csv", out, recipe, log=stop)
    result = duchenne(*words(corpus, out, "--seed", 5))
    assert result.code == 2 and "--fresh" in result.err.splitlines()[-1] and not out.exists()
    anew = duchenne(*words(corpus, out, "--fresh"))
    assert anew.code == 0 and "epoch 1 of" in anew.err and "resuming" not in anew.err
    assert checkpoints.digest(out) == checkpoints.digest(trained[0])


def test_a_finished_model_is_replaced_only_if_forced(duchenne, corpus, tmp_path):
    out = tmp_path / "model"
    shutil.copytree(checkpoints.locate("smile"), out)
    refused = duchenne(*words(corpus, out))
    assert refused.code == 2 and "holds a finished model" in refused.sentence and "--force" in refused.sentence
    assert checkpoints.digest(out) == checkpoints.digest(checkpoints.locate("smile"))


@pytest.mark.slow
def test_files_of_an_older_model_are_removed(duchenne, corpus, trained, tmp_path):
    out = tmp_path / "model"
    shutil.copytree(checkpoints.locate("smile"), out)
    assert duchenne(*words(corpus, out, "--force")).code == 0
    assert checkpoints.digest(out) == checkpoints.digest(trained[0])


@pytest.mark.slow
def test_options_override_the_recipe(duchenne, corpus, tmp_path):
    out = tmp_path / "m"
    more = ("--reading", "solved", "--per-emotion", "--epochs", 1, "--hidden-size", 6, "--seed", 3)
    result = duchenne(*words(corpus, out, *more))
    assert (
        result.code == 0
        and "by the network that left them out" in result.out
        and "sadness-5: epoch 1 of 1" in result.err
    )
    model, _ = checkpoints.load(out)
    r = model.recipe
    assert (r.reading, r.per_emotion, r.epochs, r.hidden_size, r.seed) == ("solved", True, 1, 6, 3)
    assert list(model.networks) == ["happiness", "sadness"]


def test_divergence_reports_the_last_epoch_and_can_be_finished(corpus, tmp_path, monkeypatch):
    def wild_rate(optimiser, rate):
        optimiser.param_groups[0]["lr"] = 1e38

    monkeypatch.setattr("duchenne.learn.optim.set_learning_rate", wild_rate)
    # one step an epoch: the first makes weights near 1e36, whose products in the second are infinite
    wild = replace(PBRecipe.read(corpus / "tiny.toml"), reading="paper", optimizer="sgd", batch_size=100)
    out, work = tmp_path / "m", tmp_path / ".m.work"
    with pytest.raises(Diverged, match=r"epoch 2: .* repeat with epochs = 1\.") as caught:
        training.train_pb(corpus / "manifest.csv", out, wild, log=str)
    assert str(work) in str(caught.value) and work.is_dir() and not out.exists()
    with pytest.raises(Diverged) as again:  # the same call goes on from the epoch before, and ends as before
        training.train_pb(corpus / "manifest.csv", out, wild, log=str)
    assert str(again.value) == str(caught.value)
    damaged = work / "networks" / "damaged" / "curve.json"
    damaged.parent.mkdir()
    damaged.write_text("{")
    with pytest.raises(Diverged, match=r"Lower the learning rate\.$"):
        training.train_pb(corpus / "manifest.csv", out, wild, log=str)
    damaged.unlink()
    training.train_pb(corpus / "manifest.csv", out, replace(wild, epochs=1), log=str)
    assert len(json.loads((out / "curve.json").read_text())[""]) == 1 and not work.exists()


@pytest.mark.parametrize(
    ("text", "more", "requested"),
    [
        ("path,subject,emotion,label\ntracks.npz#0,p,,genuine\n", (), "at least 4 people, found 1"),
        ("path,subject,emotion,label\nnone.npz#0,p,,genuine\n", (), "add clips to train on"),
        ("path,subject,emotion,label\ntracks.npz#0,p,,\n", (), "no labelled clip"),
        ("path,subject\n", (), "lacks the columns"),
        (
            "path,subject,emotion,label\n"
            + "".join(f"tracks.npz#{i},p{i},,{('genuine', 'posed')[i % 2]}\n" for i in range(8)),
            ("--per-emotion",),
            "clips without an emotion",
        ),
        (
            "path,subject,emotion,label\n"
            + "".join(f"tracks.npz#{i},p{i},{['happiness', 'fear'][i % 2]},{i % 2}\n" for i in range(8)),
            ("--per-emotion",),
            "clips of fear with one label only",
        ),
    ],
)
def test_too_small_manifest_is_rejected(duchenne, corpus, tmp_path, text, more, requested):
    poor = corpus / "poor.csv"
    poor.write_text(text)
    recipe = ("--recipe", corpus / "tiny.toml")
    result = duchenne("train", "lstm-pb", "--manifest", poor, "-o", tmp_path / "m", *recipe, *more)
    assert result.code == 1 and requested in result.err.splitlines()[-1] and "Traceback" not in result.err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("more", "requested"),
    [
        (("--reading", "mine"), "reading must be one of paper"),
        (("--hidden-size", 0), "hidden_size must lie"),
        (("--epochs", 0), "epochs must lie"),
        (("--reading", "contrast"), "reading must be one of paper, published-code, rnnpb, solved"),
        (("--recipe", "nowhere"), "There is no recipe 'nowhere'"),
    ],
)
def test_wrong_options_are_rejected_in_one_sentence(duchenne, corpus, tmp_path, more, requested):
    result = duchenne(*words(corpus, tmp_path / "m", *more))
    assert requested in result.sentence and not list(tmp_path.iterdir())


# --- use ----------------------------------------------------------------------------------------------------


def test_lstm_pb_judges_a_clip_and_names_other_models(duchenne, trained, smile, tmp_path):
    result = duchenne("analyze", smile, "--model", trained[0], "--json", "-o", tmp_path / "out")
    found = json.loads(result.out)
    assert result.code == 0 and found["model"]["id"] == "model"
    assert found["model"]["sha256"] == checkpoints.digest(trained[0])
    steps = " ".join(found["history"])
    assert "reading rnnpb" in steps and "default descriptor model" in steps
    assert found["emotion"]["happiness"] == max(found["emotion"].values()) and found["phases"]
    assert found["familiarity"]["text"].startswith("By the default descriptor model")
    assert len(found["evidence"]) == 4 and all(
        "weighed by a linear model" in item["text"] for item in found["evidence"]
    )
    pulls = [abs(item["contribution"]) for item in found["evidence"]]
    assert pulls == sorted(pulls, reverse=True)
    assert "Parametric bias" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_regions_of_several_networks_sum_to_the_answer(duchenne, solved, smile, tmp_path):
    loaded = pipeline.load_model(solved[0])
    a = pipeline.judge(simulate.track(simulate.SPONTANEOUS, 30.0, seed=50), loaded)
    regions = {"Brows", "Nose", "Eyes", "Mouth", "Cheeks", "Head"}
    features = {f"{name}: movement against expectation" for name in regions}
    assert {item.feature for item in a.verdict.evidence} == features
    pulls = [item.contribution for item in a.verdict.evidence]
    assert sorted(pulls, key=abs, reverse=True) == pulls
    bias = np.mean([float(member.judge.bias.detach()) for member in loaded.model.networks[""].members])
    z = sum(pulls) + loaded.model.slope * bias + loaded.model.intercept
    assert a.p_raw == pytest.approx(1 / (1 + np.exp(-z)), abs=1e-5)
    result = duchenne("analyze", smile, "--model", solved[0], "--json", "-o", tmp_path / "out")
    found = json.loads(result.out)
    assert result.code == 0 and "reading solved" in " ".join(found["history"]) and len(found["evidence"]) == 6
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert all(feature in page for feature in features)


def test_contributions_sum_to_the_answer(trained, solved, per_emotion):
    faces = [simulate.track(simulate.KINDS[k], 25.0, seed=60 + i) for i, k in enumerate(["posed", "genuine"])]
    for folder, name in ((trained[0], ""), (solved[0], ""), (per_emotion, "sadness")):
        model = pipeline.load_model(folder).model
        x, where = model.table(faces), np.full(2, name)
        p = model.predict_table(x, where)[:, 1]
        rest = np.log(p / (1 - p)) - model.contributions(x, where).sum(axis=1)
        np.testing.assert_allclose(rest, rest[0], atol=1e-4)


@pytest.mark.slow
def test_model_per_emotion_uses_the_given_emotion(duchenne, per_emotion, smile, tmp_path, monkeypatch):
    faces = [json.loads(duchenne("analyze", smile, "--model", per_emotion, "--json", "--emotion", e).out)
             for e in ("happiness", "sadness", "anger")]  # fmt: skip
    values = [[item["value"] for item in face["evidence"]] for face in faces]
    assert values[0] != values[1] and values[2] == []
    assert faces[2]["abstained"] and "covers happiness, sadness; the clip shows anger" in faces[2]["reason"]


def test_model_is_applied_to_tracks_row_by_row(duchenne, trained, tmp_path):
    faces = [simulate.track(simulate.KINDS[k], 25.0, seed=100 + i) for i, k in enumerate(["posed", "genuine"])]
    faces.append(blind(faces[0], 0, None))
    io.save_tracks(tmp_path / "new.npz", faces)
    result = duchenne("models", "apply", trained[0], tmp_path / "new.npz", "-o", tmp_path / "p.csv")
    assert result.code == 0 and "3 rows" in result.err
    with (tmp_path / "p.csv").open(newline="") as handle:
        table = list(csv.DictReader(handle))
    assert all(0 <= float(row["p_raw"]) <= 1 for row in table[:2])
    assert (table[2]["p_raw"], table[2]["verdict"], table[2]["code"]) == ("", "abstained", "too_short")


def test_table_of_descriptors_is_rejected(duchenne, trained, tmp_path):
    (tmp_path / "d.csv").write_text("a,b\n1,2\n")
    result = duchenne("models", "apply", trained[0], tmp_path / "d.csv", "-o", tmp_path / "p.csv")
    assert result.sentence and not (tmp_path / "p.csv").exists()


def blind(face, start, stop):
    points = face.points.copy()
    points[start:stop] = np.nan
    return replace(face, points=points)


def frames(face, n):
    return replace(face, **{name: getattr(face, name)[:n] for name in ("time", "points", "confidence", "box")})


FACE = simulate.track(simulate.SPONTANEOUS, 30.0, seed=1)
UNUSABLE = {
    "one frame": frames(FACE, 1),
    "a moment": frames(FACE, 6),
    "no face in any frame": blind(FACE, 0, None),
    "a face between long gaps": blind(blind(FACE, 4, 60), 64, None),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_unusable_clip_abstains_with_one_sentence(trained, solved, per_emotion, what):
    for folder in (trained[0], solved[0], per_emotion):
        verdict = pipeline.judge(UNUSABLE[what], pipeline.load_model(folder)).verdict
        assert verdict.abstained and verdict.p_genuine is None and verdict.label is None
        assert verdict.reason and verdict.reason.endswith(".") and "\n" not in verdict.reason


# --- the picture --------------------------------------------------------------------------------------------


def row(epoch, loss, score, *, lr_scale=1.0, best=False):
    return {"epoch": epoch, "loss": loss, "score": score, "watched": score, "lr_scale": lr_scale, "best": best}


def test_curve_shows_losses_best_epoch_and_rate_drops():
    rows = [row(1, 3.0, 2.0, best=True), row(2, 2.0, 1.0, best=True), row(3, 1.0, 1.5), row(4, 0.5, 1.6, lr_scale=0.1)]
    panel, other = learning({"": rows, "fear": [row(1, 1.0, None, best=False)]}).axes
    lines = {line.get_gid(): line for line in panel.lines}
    np.testing.assert_array_equal(lines["loss-all"].get_xydata(), [[1, 3], [2, 2], [3, 1], [4, 0.5]])
    np.testing.assert_array_equal(lines["score-all"].get_ydata(), [2, 1, 1.5, 1.6])
    np.testing.assert_array_equal(lines["kept"].get_xydata(), [[2, 1.0]])
    assert list(lines["slower"].get_xdata()) == [4, 4]
    assert [line.get_gid() for line in other.lines] == ["loss-fear"]


def test_curve_without_epochs_is_rejected():
    with pytest.raises(UsageError, match="at least one epoch"):
        learning({"": []})
