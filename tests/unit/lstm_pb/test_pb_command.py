"""`duchenne pb`: PB vectors of clips as a table and as pictures, with models of every kind."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from duchenne import checkpoints, io
from duchenne.clips import load
from duchenne.datasets import manifest, simulate
from duchenne.lstm_pb import space
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.methods import training

pytestmark = pytest.mark.usefixtures("read_once")
TINY = PBRecipe(
    reading="rnnpb", hidden_size=8, num_layers=2, pb_size=4, context_size=4, epochs=2, batch_size=8, recognition_steps=4
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder with 16 tracks of four people, one too short, and a manifest; of two, label or person are unknown."""
    folder = tmp_path_factory.mktemp("corpus")
    tracks, lines = [], ["path,subject,emotion,label"]
    for i in range(17):
        kind = ("genuine", "posed")[i % 2]
        tracks.append(replace(simulate.track(simulate.KINDS[kind], 25.0, seed=i), source=f"clip{i}"))
        label = "" if i == 3 else kind
        lines.append(f"tracks.npz#{i},{'' if i == 4 else f'p{i // 4}'},{('happiness', 'sadness')[i // 2 % 2]},{label}")
    cut = {name: getattr(tracks[16], name)[:4] for name in ("time", "points", "confidence", "box")}
    io.save_tracks(folder / "tracks.npz", [*tracks[:16], replace(tracks[16], **cut)])
    (folder / "all.csv").write_text("\n".join(lines) + "\n")
    (folder / "known.csv").write_text("\n".join([*lines[:4], *lines[6:-1]]) + "\n")
    return folder


@pytest.fixture(scope="module")
def models(corpus):
    """Folders of models: one network for all, one per emotion, and ours."""
    made = {
        "pooled": TINY,
        "emotions": replace(TINY, per_emotion=True),
        "solved": replace(PBRecipe.read("lstm-pb"), hidden_size=8, pb_size=4, context_size=4, epochs=1, n_networks=2),
    }
    for name, recipe in made.items():
        training.train_pb(corpus / "known.csv", corpus / name, recipe, log=str)
    return {name: corpus / name for name in made}


def table(folder):
    with (folder / "pb.csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def names(folder):
    return {file.name for file in folder.iterdir()}


def test_a_manifest_becomes_a_table_and_pictures(duchenne, corpus, models, tmp_path):
    out, kind = tmp_path / "out", "solved"
    said = duchenne("pb", "--manifest", corpus / "all.csv", "-m", models[kind], "-o", out)
    assert said.code == 0 and "16 of 17 clips" in said.out
    (left,) = said.err.splitlines()
    assert "tracks.npz#16 is left out" in left and "too short" in left
    rows, clips = table(out), manifest.read(corpus / "all.csv", persons=False)[:16]
    model = checkpoints.load(models[kind])[0]
    for row, clip in zip(rows, clips, strict=True):
        facts = (clip.path, clip.subject or "", clip.label or "", clip.emotion)
        assert (row["clip"], row["subject"], row["label"], row["emotion"]) == facts
        vector = [float(value) for name, value in row.items() if name.startswith("pb_")]
        np.testing.assert_allclose(vector, model.recognise(load.read(clip)), rtol=1e-3, atol=1e-4)
    drawn = {"pb_space", *(f"prediction-tracks-{i}" for i in range(12))}
    assert names(out) == {"pb.csv", *(f"{name}.{kind}" for name in drawn for kind in ("png", "svg"))}


def test_one_video_is_drawn_beside_the_means(duchenne, models, smile, tmp_path):
    out = tmp_path / "out"
    said = duchenne("pb", smile, "-m", models["solved"], "-o", out)
    assert said.code == 0 and said.err == "" and "2 plots" in said.out
    (row,) = table(out)
    assert (row["clip"], row["subject"], row["label"], row["emotion"]) == (str(smile), "", "", "")
    assert names(out) == {"pb.csv"} | {f"{n}.{k}" for n in ("pb_space", "prediction-smile") for k in ("png", "svg")}


@pytest.mark.slow
def test_networks_of_emotions_are_not_mixed(duchenne, corpus, models, tmp_path):
    clips = manifest.read(corpus / "all.csv", persons=False)
    model = checkpoints.load(models["emotions"])[0]
    found = space.pb(models["emotions"], clips[:8], tmp_path / "own", most=0, log=str)
    assert found["networks"] == [clip.emotion for clip in clips[:8]]
    for clip, vector in zip(clips[:8], found["vectors"], strict=True):
        np.testing.assert_allclose(vector, model.recognise(load.read(clip), clip.emotion), rtol=1e-3, atol=1e-5)
    spaces = {f"pb_space-{emotion}.{kind}" for emotion in ("happiness", "sadness") for kind in ("png", "svg")}
    assert names(tmp_path / "own") == {"pb.csv", *spaces} == {"pb.csv", *(file.name for file in found["pictures"])}
    space.pb(models["emotions"], clips[:8], tmp_path / "told", emotion="sadness", most=0, log=str)
    rows = table(tmp_path / "told")
    assert {row["network"] for row in rows} == {"sadness"} and {row["emotion"] for row in rows} > {"sadness"}
    assert "pb_space.png" in names(tmp_path / "told")


@pytest.mark.slow
def test_clips_of_one_name_and_stretches_of_one_file_are_kept_apart(duchenne, corpus, models, smile, tmp_path):
    track = f"{corpus / 'tracks.npz'}#clip1"
    assert duchenne("pb", track, track, "-m", models["pooled"], "-o", tmp_path / "two").code == 0
    assert {"prediction-tracks-clip1.png", "prediction-tracks-clip1-2.png"} <= names(tmp_path / "two")
    (tmp_path / "m.csv").write_text(
        f"path,subject,emotion,label,start,end\n{smile},a,,,,1.2\n{smile},a,,posed,1.2,\n", encoding="utf-8"
    )
    said = duchenne("pb", "--manifest", tmp_path / "m.csv", "-m", models["pooled"], "-o", tmp_path / "parts")
    assert said.code == 0
    assert [(row["start"], row["end"]) for row in table(tmp_path / "parts")] == [("", "1.2"), ("1.2", "")]


def test_a_model_of_one_network_notes_that_the_emotion_changes_nothing(duchenne, models, corpus, tmp_path):
    track = f"{corpus / 'tracks.npz'}#0"
    said = duchenne("pb", track, "-m", models["pooled"], "--emotion", "fear", "-o", tmp_path / "out")
    assert said.code == 0 and "one network for all emotions" in said.err


@pytest.mark.parametrize(
    ("words", "code", "wanted"),
    [
        (("-m", "{pooled}"), 2, "either clips or a --manifest, not both"),
        (("x.mp4", "--manifest", "{corpus}/all.csv", "-m", "{pooled}"), 2, "either clips or a --manifest, not both"),
        (("--manifest", "{corpus}/none.csv", "-m", "{pooled}"), 1, "There is no manifest"),
        (("none.mp4", "-m", "{pooled}"), 1, "none.mp4"),
        (("{corpus}/tracks.npz#16", "-m", "{pooled}"), 1, "too short"),
        (("{corpus}/tracks.npz#99", "-m", "{pooled}"), 1, "no row '99'"),
        (("{corpus}/tracks.npz#0", "-m", "smile"), 2, "lstm-pb"),
        (("{corpus}/tracks.npz#0", "-m", "nowhere"), 2, "no model 'nowhere'"),
        (("{corpus}/tracks.npz#0", "-m", "{emotions}"), 2, "set --emotion"),
        (("{corpus}/tracks.npz#0", "-m", "{emotions}", "--emotion", "fear"), 2, "found 'fear'"),
    ],
)
def test_invalid_calls_are_one_sentence_and_write_nothing(duchenne, corpus, models, tmp_path, words, code, wanted):
    filled = [word.format(corpus=corpus, **models) for word in words]
    said = duchenne("pb", *filled, "-o", tmp_path / "out")
    assert wanted in said.sentence and said.code == code and not list(tmp_path.iterdir())


def test_unreadable_clips_are_named_and_nothing_is_written(duchenne, models, empty_room, tmp_path):
    said = duchenne("pb", empty_room, "none.mp4", "-m", models["pooled"], "-o", tmp_path / "out")
    first, second, last = said.err.splitlines()
    assert said.code == 1 and "empty_room" in first and "none.mp4" in second and "None of 2 clips" in last
    assert not list(tmp_path.iterdir())


def test_existing_files_are_not_overwritten(duchenne, corpus, models, tmp_path):
    (tmp_path / "file").write_text("mine")
    said = duchenne("pb", f"{corpus / 'tracks.npz'}#0", "-m", models["pooled"], "-o", tmp_path / "file")
    assert said.sentence and (tmp_path / "file").read_text() == "mine"
    mine = tmp_path / "pb.csv"
    mine.write_text((corpus / "all.csv").read_text())
    said = duchenne("pb", "--manifest", mine, "-m", models["pooled"], "-o", tmp_path)
    assert "pb.csv would be overwritten" in said.sentence and mine.read_text() == (corpus / "all.csv").read_text()
    assert names(tmp_path) == {"file", "pb.csv"}
