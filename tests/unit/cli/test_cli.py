"""The command line as a person or a script meets it: files, streams, exit codes."""

import contextlib
import csv
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from conftest import BRIEF, RATE, command
from duchenne import __version__, checkpoints, io, pipeline
from duchenne.datasets import kinematics as kinematics_of
from duchenne.datasets import simulate
from duchenne.metrics.scores import auc
from duchenne.types import EMOTIONS
from makers import make_video

QUICK = replace(BRIEF, neutral_before=0.2, onset=0.3, apex=0.3, offset=0.3, neutral_after=0.2)
pytestmark = pytest.mark.usefixtures("read_once")
KEYS = {
    *("p_genuine", "label", "abstained", "reason", "emotion", "phases", "evidence", "quality", "familiarity"),
    *("model", "frames", "duration", "device", "source", "face", "reader", "limits", "history", "turning", "units"),
    *("judged", "judged_phase", "measures", "p_raw", "code", "begins", "signs", "record", "spread"),
}


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def python(code):
    """Run code in a fresh interpreter; its stdout."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


# --- light to start -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["analyze", "--help"], ["--version"], ["models", "--help"]])
def test_help_loads_no_heavy_package(words):
    code = f"""
import sys
sys.argv = ["duchenne", *{words!r}]
import duchenne
from duchenne.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
print("loaded:", *sorted({{m.split(".")[0] for m in sys.modules}}))
"""
    out, _, loaded = python(code).partition("loaded:")
    assert "duchenne" in out or __version__ in out
    heavy = {"torch", "cv2", "dlib", "av", "xgboost", "sklearn", "pandas", "scipy", "skimage", "jinja2", "numpy"}
    assert not (heavy | {"starlette", "uvicorn"}) & set(loaded.split())


@pytest.mark.parametrize("told", [None, "2"])
def test_commands_sum_on_one_thread_unless_told_otherwise(told):
    code = """
import sys
import duchenne.cli
def run(**_):
    import numpy, threadpoolctl
    print(max(each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"))
sys.modules["duchenne.cli.app"]._command = lambda: run
duchenne.cli.program()
"""
    known = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    env = known if told is None else known | {"OPENBLAS_NUM_THREADS": told}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert int(done.stdout) == min(int(told or 1), os.cpu_count())


def test_version(duchenne):
    result = duchenne("--version")
    assert (result.code, result.out, result.err) == (0, __version__ + "\n", "")


def test_module_runs():
    done = subprocess.run([sys.executable, "-m", "duchenne", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == __version__


# --- analyze ------------------------------------------------------------------------------------------------


def test_json_is_alone_on_stdout_with_all_keys(duchenne, smile):
    result = duchenne("analyze", smile, "--json")
    assert (result.code, result.err) == (0, "")
    found = json.loads(result.out, parse_constant=lambda name: pytest.fail(name))
    assert set(found) == KEYS
    assert all(set(phase) == {"onset", "apex", "offset", "end", "curve"} for phase in found["phases"])
    assert found["phases"] and {"id", "sha256"} <= set(found["model"])
    assert (found["frames"], found["device"]) == (60, "cpu")
    assert found["duration"] == pytest.approx(2.4)
    assert sum(found["emotion"].values()) == pytest.approx(1)


def test_text_shows_verdict_and_limits(duchenne, smile):
    result = duchenne("analyze", smile)
    assert (result.code, result.err) == (0, "")
    for words in (
        "smile.mp4",
        "P(genuine) = ",
        "judged    0.",
        "onset",
        "judged rightly",
        "60 frames, 2.40 s",
        "it is not lying",
    ):
        assert words in result.out or (words in ("P(genuine) = ", "judged rightly") and "No verdict" in result.out)


def test_folder_holds_verdict_table_and_report(duchenne, smile, tmp_path):
    result = duchenne("analyze", smile, "-o", tmp_path / "out", "--json")
    assert result.code == 0
    files = ["curves.csv", "emotions.csv", "frames.csv", "report.html", "verdict.json"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == files
    assert json.loads((tmp_path / "out" / "verdict.json").read_text(encoding="utf-8")) == json.loads(result.out)
    table = rows(tmp_path / "out" / "frames.csv")
    assert [int(r["frame"]) for r in table] == list(range(60))
    np.testing.assert_allclose([float(r["time"]) for r in table], np.arange(60) / RATE, atol=1e-6)
    looks = rows(tmp_path / "out" / "emotions.csv")
    assert [float(r["time"]) for r in looks] == pytest.approx(np.arange(0, 60, 3) / RATE)  # ten a second
    assert all(sum(float(r[name]) for name in (*EMOTIONS, "neutral")) == pytest.approx(1, abs=1e-3) for r in looks)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "smile.mp4" in page and "data:image/jpeg;base64," in page
    again = duchenne("analyze", smile, "-o", tmp_path / "out")  # a second run takes the place of the first
    assert again.code == 0 and len(list((tmp_path / "out").iterdir())) == len(files)


def test_each_frame_and_face_has_a_row(duchenne, clips, pictures, tmp_path):
    two = make_video(clips / "pair.mp4", [np.hstack([p, p[:, ::-1]]) for p in pictures[:25]], rate=RATE)
    result = duchenne("analyze", two, "--all-faces", "--json", "-o", tmp_path)
    found = json.loads(result.out)
    assert result.code == 0 and [face["face"] for face in found["faces"]] == [0, 1]
    assert all(set(face) == KEYS for face in found["faces"])
    keys = [(int(r["frame"]), int(r["face"])) for r in rows(tmp_path / "frames.csv")]
    assert keys == [(frame, face) for frame in range(25) for face in (0, 1)]
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["curves.csv", "emotions.csv", "frames.csv", "report-face1.html", "report.html", "verdict.json"]
    assert "face 2" in duchenne("analyze", two, "--all-faces").out


def test_several_clips_get_a_folder_each_and_one_list(duchenne, smile, clips, pictures, tmp_path):
    (clips / "more").mkdir()
    other = make_video(clips / "more" / "smile.mp4", pictures[:30], rate=RATE)
    result = duchenne("analyze", smile, other, "--json", "-o", tmp_path)
    assert [found["frames"] for found in json.loads(result.out)] == [60, 30]
    assert [json.loads((tmp_path / n / "verdict.json").read_text())["frames"] for n in ("smile", "smile-2")] == [60, 30]


def test_one_bad_clip_does_not_stop_the_others(duchenne, smile, empty_room, clips, tmp_path):
    missing = clips / "missing.mp4"
    result = duchenne("analyze", missing, smile, empty_room, "--json", "-o", tmp_path)
    assert result.code == 1 and "Traceback" not in result.err
    first, good, last = json.loads(result.out)
    assert "There is no file" in first["error"] and good["frames"] == 60 and "shows no face" in last["error"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clips.csv", "smile"]
    listed = rows(tmp_path / "clips.csv")
    assert [row["file"] for row in listed] == [str(missing), str(smile), str(empty_room)]
    assert listed[0]["verdict"] == listed[2]["verdict"] == "failed" and listed[1]["frames"] == "60"
    *sentences, count, one, two = result.err.splitlines()
    assert len(sentences) == 2 and count == "2 of 3 inputs failed:"
    assert [one.strip(), two.strip()] == [str(missing), str(empty_room)]


def test_options_reach_the_verdict(duchenne, smile):
    result = duchenne("analyze", smile, "--json", "--emotion", "surprise", "--start", "0.4", "--end", "2")
    found = json.loads(result.out)
    assert found["emotion"]["surprise"] == 1 and found["frames"] == 40


def test_folder_of_images_with_rate_is_a_clip(duchenne, pictures, tmp_path):
    from makers import make_image

    (tmp_path / "in").mkdir()
    for i, picture in enumerate(pictures[::2]):
        make_image(tmp_path / "in" / f"{i}.png", picture)
    result = duchenne("analyze", tmp_path / "in", "--rate", "12.5", "--json", "-o", tmp_path / "out")
    found = json.loads(result.out)
    assert (found["frames"], found["duration"]) == (30, pytest.approx(2.4))
    assert "data:image/jpeg" in (tmp_path / "out" / "report.html").read_text()


# --- demo, doctor, models -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [dict.fromkeys(simulate.KINDS, QUICK), pytest.param({}, marks=pytest.mark.slow)])
def test_demo_writes_two_reports(kinds, duchenne, tmp_path, monkeypatch):
    for kind, kinematics in kinds.items():
        monkeypatch.setitem(kinematics_of.CLEAR, kind, kinematics)
    result = duchenne("demo", "-o", tmp_path / "new" / "demo")
    assert result.code == 0 and "no evidence about people" in result.out
    for kind in ("spontaneous", "posed"):
        folder = tmp_path / "new" / "demo" / kind
        assert folder.with_suffix(".mp4").stat().st_size > 10_000
        assert f"{kind}.mp4" in (folder / "report.html").read_text(encoding="utf-8")
        found = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
        assert set(found) == KEYS and found["quality"]["coverage"] > 0.95
        assert found["emotion"]["happiness"] == max(found["emotion"].values())
        assert len(rows(folder / "frames.csv")) == found["frames"] > 30
        assert kinds or found["label"] == {"spontaneous": "genuine"}.get(kind, kind)


def test_doctor_finds_no_problem(duchenne):
    result = duchenne("doctor")
    assert result.code == 0 and "PROBLEM" not in result.out
    for name, folder in checkpoints.shipped().items():
        assert f"model {name}" in result.out and checkpoints.digest(folder) in result.out


def test_models_are_listed_and_verified(duchenne):
    listed, verified = duchenne("models", "list"), duchenne("models", "verify")
    assert listed.code == verified.code == 0
    assert len(listed.out.splitlines()) == len(verified.out.splitlines()) == len(checkpoints.shipped())
    for name, folder in checkpoints.shipped().items():
        assert any(line.startswith(name) for line in listed.out.splitlines())
        assert f"sha256 {checkpoints.digest(folder)}" in verified.out


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder with tracks of eight people, each smiling twice in earnest and twice for show, and a manifest."""
    folder = tmp_path_factory.mktemp("corpus")
    tracks, lines = [], ["path,subject,emotion,label"]
    for i in range(32):
        kind = ("genuine", "posed")[i % 2]
        rng = np.random.default_rng(i)
        kin = simulate.KINDS[kind]
        kin = replace(kin, onset=kin.onset * rng.uniform(0.9, 1.1), apex=kin.apex * rng.uniform(0.8, 1.2))
        tracks.append(replace(simulate.track(kin, 25.0, seed=i), source=f"clip{i}"))
        lines.append(f"tracks.npz#{i},p{i // 4},{('happiness', 'sadness')[i // 2 % 2]},{kind}")
    io.save_tracks(folder / "tracks.npz", tracks)
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def trained(corpus):
    """A model trained on that corpus through the command line, and the output of the command."""
    words = ["train", "descriptors", "--manifest", "manifest.csv", "-o", "model", "--family", "movement", "--seed", "1"]
    with contextlib.chdir(corpus):
        return corpus / "model", command(*words)


def test_training_writes_a_model_with_its_people(trained):
    folder, done = trained
    assert "8 people, 32 clips" in done.out and "32 of 32 clips read" in done.err
    card = json.loads((folder / "card.json").read_text())
    assert (card["people"], card["clips"], card["genuine"]) == (8, 32, 16)
    assert card["auc"] > 0.9 and set(card["per_emotion"]) >= {"happiness", "sadness"}
    assert json.loads((folder / "model.json").read_text())["id"] == "model"
    beside = json.loads((folder / "reference.json").read_text())  # where these people lie, for reports
    assert beside["answers"]["all"]["posed"]["clips"] == beside["answers"]["all"]["genuine"]["clips"] == 16


def test_trained_model_judges_a_clip(duchenne, trained, smile):
    result = duchenne("analyze", smile, "--model", trained[0], "--json")
    found = json.loads(result.out)
    assert result.code == 0 and found["model"]["id"] == "model"
    assert max(found["emotion"], key=found["emotion"].get) == "happiness"  # seen, not guessed from the movement
    assert found["model"]["sha256"] == checkpoints.digest(trained[0])


def test_trained_model_is_applied_to_new_people(duchenne, trained, tmp_path):
    faces = [simulate.track(simulate.KINDS[k], 25.0, seed=100 + i) for i, k in enumerate(["posed", "genuine"] * 6)]
    io.save_tracks(tmp_path / "new.npz", faces)
    result = duchenne("models", "apply", trained[0], tmp_path / "new.npz", "-o", tmp_path / "p.csv")
    assert result.code == 0 and result.out == "" and "12 rows" in result.err
    table = rows(tmp_path / "p.csv")
    p = np.array([float(r["p_raw"]) for r in table])
    assert [int(r["row"]) for r in table] == list(range(12)) and ((p >= 0) & (p <= 1)).all()
    assert auc(p, np.arange(12) % 2) > 0.9


def test_packed_data_without_labels_is_accepted(duchenne, tmp_path):
    faces = [simulate.track(kin, 30.0, seed=i) for i, kin in enumerate(simulate.KINDS.values())]
    bare = {"points": np.concatenate([f.points for f in faces]), "offset": np.cumsum([0, *map(len, faces)])}
    np.savez(tmp_path / "bare.npz", **bare, fps=np.full(2, 30.0))
    full = io.save_tracks(tmp_path / "full.npz", faces)
    for source in (tmp_path / "bare.npz", full):
        assert duchenne("models", "apply", "default", source, "-o", source.with_suffix(".csv")).code == 0
    one, two = (rows(tmp_path / f"{n}.csv") for n in ("bare", "full"))
    assert [float(r["p_raw"]) for r in one] == pytest.approx([float(r["p_raw"]) for r in two], abs=1e-6)
    assert one[1]["file"] == "bare.npz#1"


def test_frames_and_descriptor_tables_are_accepted(duchenne, smile, tmp_path):
    assert duchenne("analyze", smile, "-o", tmp_path).code == 0
    assert duchenne("models", "apply", "default", tmp_path / "frames.csv", "-o", tmp_path / "a.csv").code == 0
    (row,) = rows(tmp_path / "a.csv")
    (seen,) = pipeline.examine(smile)
    blind = pipeline.judge(seen.track, pipeline.load_model("default"))  # as a table has no images
    assert float(row["p_raw"]) == pytest.approx(blind.p_raw, abs=0.05)  # points in a table are rounded
    model = pipeline.load_model("default").descriptors
    lines = [",".join(model.names), *(",".join([str(v)] * len(model.names)) for v in (0.0, 0.1, ""))]
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    assert duchenne("models", "apply", "default", tmp_path / "d.csv", "-o", tmp_path / "b.csv").code == 0
    p = [float(r["p_raw"]) for r in rows(tmp_path / "b.csv")]
    assert len(p) == 3 and all(0 <= x <= 1 for x in p)


# --- refusals -----------------------------------------------------------------------------------------------


def test_training_needs_one_source(duchenne, corpus, tmp_path):
    assert duchenne("train", "descriptors", "-o", tmp_path / "m").code == 2
    both = ("--manifest", corpus / "manifest.csv", "--table", corpus / "manifest.csv")
    assert duchenne("train", "descriptors", "-o", tmp_path / "m", *both).code == 2
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,subject,emotion,label\ntracks.npz#0,p,,genuine\n", "at least 4 people"),
        ("path,subject,emotion,label\nnone.npz#0,p,,genuine\n", "add clips to train on"),
        ("path,subject,emotion,label\ntracks.npz#0,p,,\n", "no labelled clip"),
        ("path,subject\n", "lacks the columns"),
        ("", "lacks the columns"),
    ],
)
def test_too_small_manifest_is_rejected_and_writes_nothing(duchenne, corpus, tmp_path, text, words):
    manifest = corpus / "poor.csv"
    manifest.write_text(text)
    result = duchenne("train", "descriptors", "--manifest", manifest, "-o", tmp_path / "m")
    assert result.code == 1 and words in result.err.splitlines()[-1] and "Traceback" not in result.err
    assert not (tmp_path / "m").exists()


def test_unknown_family_is_rejected(duchenne, corpus, tmp_path):
    words = ("train", "descriptors", "--manifest", corpus / "manifest.csv", "-o", tmp_path / "m", "--family", "magic")
    result = duchenne(*words)
    assert result.code == 2 and "movement" in result.sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read"),
        ("a,b\n1,2\n", "genuine"),
        ("genuine,subject\nmaybe,p\n", "1 or 0"),
        ("genuine,subject\n1,p\n", "lacks"),
    ],
)
def test_too_small_table_is_rejected(duchenne, tmp_path, text, words):
    (tmp_path / "t.csv").write_text(text)
    result = duchenne("train", "descriptors", "--table", tmp_path / "t.csv", "-o", tmp_path / "m")
    assert result.code == 1 and words in result.sentence and not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.npz", None, "There is no file"),
        ("none.csv", None, "cannot be read"),
        ("empty.csv", b"", "cannot be read"),
        ("some.csv", b"a,b\n1,2\n", "lacks"),
        ("broken.npz", b"PK\x03\x04nothing", "is not an .npz archive"),
        ("folder", "folder", "holds no .npz"),
    ],
)
def test_source_without_tracks_is_rejected(duchenne, tmp_path, name, content, words):
    source = tmp_path / name
    if content == "folder":
        source.mkdir()
    elif content is not None:
        source.write_bytes(content)
    result = duchenne("models", "apply", "default", source, "-o", tmp_path / "p.csv")
    assert result.code == 1 and words in result.sentence
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize(
    "words", [["analyze"], ["analyse", "x.mp4"], ["analyze", "x.mp4", "--rate", "fast"], ["models", "apply", "default"]]
)
def test_unknown_command_is_wrong_usage(duchenne, words):
    result = duchenne(*words)
    assert result.code == 2 and result.out == "" and result.err and "Traceback" not in result.err
