"""Any method from a manifest to a model folder, a verdict, a table, a ranking and an evaluation, by commands.

Simulated smiles: every step does what it should, which says nothing about people.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from duchenne import checkpoints, io, judging, pipeline
from duchenne.datasets import manifest, simulate
from duchenne.errors import InputError
from duchenne.features.descriptors import FAMILIES
from duchenne.learn.calibration import logit
from duchenne.methods import names, training

pytestmark = pytest.mark.usefixtures("read_once")
NAMES = (
    "linear-svm:movement",
    *("conditioned:linear-svm:movement", "stack:descriptors:peak+rank-svm:movement"),
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            *("boosting:movement", "rank-svm:movement", "extra-trees:peak", "table-multi:movement"),
            "two-stage:linear-svm:movement",
        )
    ),
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A manifest of sixteen people, each smiling twice in earnest and twice for show."""
    folder = tmp_path_factory.mktemp("corpus")
    tracks, lines = [], ["path,subject,emotion,label"]
    for i in range(64):
        label = ("genuine", "posed")[i % 2]
        rng = np.random.default_rng(i)
        kin = simulate.KINDS[label]
        kin = replace(kin, onset=kin.onset * rng.uniform(0.9, 1.1), apex=kin.apex * rng.uniform(0.8, 1.2))
        tracks.append(replace(simulate.track(kin, 25.0, seed=i), source=f"clip{i}"))
        lines.append(f"tracks.npz#{i},p{i // 4},{('happiness', 'sadness')[i // 2 % 2]},{label}")
    io.save_tracks(folder / "tracks.npz", tracks)
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


@pytest.fixture(scope="module", params=NAMES)
def trained(request, corpus, tmp_path_factory):
    """(name, folder, card) of each."""
    out = tmp_path_factory.mktemp("model") / "mine"
    return request.param, out, training.train_method(request.param, corpus, out, log=lambda _: None)


def test_card_reports_held_out_people(trained):
    name, folder, card = trained
    assert (card["people"], card["clips"], card["genuine"], card["method"]) == (16, 64, 32, name)
    assert card["auc"] > 0.8 and card["accuracy_interval"] and "without its person" in card["protocol"]
    about = json.loads((folder / "model.json").read_text())
    assert {"one_emotion", "two_people"} <= set(about["pairs"]) and about["pairs"]["one_emotion"]["people"] == 16
    assert about["id"] == "mine" and name in about["family"] and about["facts"]["reader"] == "paper"
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]  # what was learnt on the way is gone


def test_model_judges_a_track_and_is_named(trained, corpus):
    name, folder, _ = trained
    judging._load.cache_clear()
    loaded = judging.load_model(folder)
    for track in io.load_tracks(corpus.parent / "tracks.npz")[:2]:
        found = pipeline.judge(track, loaded)
        p = float(checkpoints.load(folder)[0].predict_proba([track])[0, 1])
        assert found.p_raw == pytest.approx(p, abs=1e-12)
        sure = found.verdict.reason is None
        assert sure == (abs(p - 0.5) >= loaded.model.margin) or found.verdict.reason
        assert f"method '{name}'" in " ".join(found.verdict.history)
        assert found.verdict.evidence and all(item.text.endswith(".") for item in found.verdict.evidence)
    if "two-stage" in name:
        model, p = (
            checkpoints.load(folder)[0],
            [pipeline.judge(track, loaded, emotion=e).p_raw for e in ("happiness", "sadness")],
        )
        assert (
            p == [model.with_emotion(e).predict_proba([track])[0, 1] for e in ("happiness", "sadness")] and p[0] != p[1]
        )
    short = track.evolve("cut", **{key: getattr(track, key)[:1] for key in ("time", "points", "confidence", "box")})
    assert pipeline.judge(short, loaded).verdict.abstained


def test_contributions_of_additive_models_sum_up(corpus):
    track = io.load_tracks(corpus.parent / "tracks.npz")[:4]
    y, who = np.arange(64) % 2, np.arange(64) // 4
    tracks = io.load_tracks(corpus.parent / "tracks.npz")
    for name in ("linear-svm:peak", "boosting:peak"):
        model = names.make(name).fit(tracks, y, who)
        x = model.table(track)
        rest = logit(model.predict_table(x)[:, 1]) - model.terms(x).sum(axis=1)
        np.testing.assert_allclose(rest, rest[0], atol=1e-4)
        items = model.evidence(x[:1])
        curve = [name.split(".")[0] for name in FAMILIES["peak"].names]
        whole = {each: model.terms(x[:1])[0, np.array(curve) == each].sum() for each in curve}
        for item, pull in zip(items, sorted(whole.values(), key=abs, reverse=True), strict=False):
            assert item.contribution == pytest.approx(whole[item.descriptor.split(".")[0]])
            assert abs(item.contribution) == pytest.approx(abs(pull))


def test_commands_train_analyze_rank_apply_list_and_evaluate(duchenne, corpus, smile, clips, pictures, tmp_path):
    from makers import make_video

    out, name = tmp_path / "mine", "two-stage:linear-svm:movement"
    result = duchenne("train", "method", name, "--manifest", corpus, "-o", out)
    assert result.code == 0 and "16 people, 64 clips; on held-out people accuracy" in result.out
    found = json.loads(duchenne("analyze", smile, "--model", out, "--json", "-o", tmp_path / "a").out)
    assert found["model"]["sha256"] == checkpoints.digest(out) and found["model"]["method"] == name
    assert name in (tmp_path / "a" / "report.html").read_text()
    other = make_video(tmp_path / "other.mp4", [*pictures[:20], *pictures], rate=25)
    ranked = json.loads(duchenne("rank", smile, other, "--model", out, "--json").out)
    assert ranked["measured"]["pairs"] >= 30
    assert duchenne("models", "apply", out, corpus.parent / "tracks.npz", "-o", tmp_path / "p.csv").code == 0
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 65
    assert f"method {name}" in duchenne("models", "list", out).out
    words = ("--no-baselines", "--folds", 5, "-m", f"as-is:{out}", "-o", tmp_path / "e")
    assert duchenne("evaluate", "--manifest", corpus, *words).code == 0
    results = json.loads((tmp_path / "e" / "results.json").read_text())
    assert set(results["methods"]) == {f"as-is:{out}"}


@pytest.mark.slow
def test_another_method_replaces_all_files(duchenne, corpus, tmp_path):
    for name in ("stack:boosting:peak+linear-svm:peak", "linear-svm:peak"):
        assert duchenne("train", "method", name, "--manifest", corpus, "-o", tmp_path / "m", "--force").code == 0
        assert checkpoints.load(tmp_path / "m")[1]["method"] == name
    assert not list((tmp_path / "m").glob("*.xgb.json"))


def test_table_trains_a_model_that_rejects_tracks(duchenne, corpus, tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(64) % 2
    np.savez(tmp_path / "t.npz", features=np.column_stack([y + rng.normal(size=64), rng.normal(size=(64, 4))]))
    lines = [f"t.npz#{i},p{i // 4},,{('posed', 'genuine')[y[i]]}" for i in range(64)]
    (tmp_path / "m.csv").write_text("path,subject,emotion,label\n" + "\n".join(lines) + "\n")
    result = duchenne("train", "method", "linear-svm", "--manifest", tmp_path / "m.csv", "-o", tmp_path / "m")
    assert result.code == 0 and "16 people, 64 clips" in result.out
    refused = duchenne("models", "apply", tmp_path / "m", corpus.parent / "tracks.npz", "-o", tmp_path / "p.csv")
    assert "trained on 5 numbers per clip" in refused.sentence
    mixed = [*manifest.read(tmp_path / "m.csv")[:8], *manifest.read(corpus)[8:16]]
    with pytest.raises(InputError, match="different kinds"):
        training.train_method("boosting", manifest.write(tmp_path / "x.csv", mixed), tmp_path / "x", log=lambda _: None)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("oracle", "no method 'oracle'"),
        ("as-is:default", "is a trained model"),
        ("conditioned:descriptors", "can read emotion probabilities"),
    ],
)
def test_untrainable_method_is_rejected(duchenne, corpus, tmp_path, name, sentence):
    result = duchenne("train", "method", name, "--manifest", corpus, "-o", tmp_path / "m")
    assert result.code == 2 and sentence in result.sentence and not (tmp_path / "m").exists()
