"""Bad input through the command line: one clear sentence, the right exit code, nothing half-written."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import RATE
from duchenne import checkpoints, io, pipeline
from makers import cut, make_audio, make_image, make_retimed, make_video


def scene(pictures, faces, count):
    """`count` pictures in which only frames 3 to 3 + `faces` show a face, hard cuts around."""
    grey = np.full_like(pictures[0], 90)
    return [pictures[i] if 3 <= i < 3 + faces else grey for i in range(count)]


def not_a_video(folder, pictures):
    path = folder / "noise.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    return path


def text(folder, pictures):
    path = folder / "notes.mp4"
    path.write_text("This is no video.\n" * 20)
    return path


def empty(folder, pictures):
    (folder / "empty.mp4").touch()
    return folder / "empty.mp4"


def without_index(folder, pictures):
    return cut(make_video(folder / "cut.mp4", pictures[:30], rate=RATE), 0.6)


def without_end(folder, pictures):
    muxer = {"movflags": "faststart"}
    return cut(make_video(folder / "end.mp4", pictures[:30], rate=RATE, muxer=muxer), 0.6)


def cut_matroska(folder, pictures):
    return cut(make_video(folder / "cut.mkv", pictures[:30], rate=RATE), 0.6)


def no_face(folder, pictures):
    return make_video(folder / "wall.mp4", scene(pictures, 0, 10), rate=RATE)


def one_pixel(folder, pictures):
    dot = np.full((1, 1, 3), 128, np.uint8)
    return make_video(folder / "dot.mkv", [dot] * 5, codec="ffv1", pix_fmt="bgr0", rate=RATE)


def jumps_back(folder, pictures):
    return make_retimed(folder / "back.mkv", [(0, 0), (10, 80), (20, 60), (30, 90)])


def changes_size(folder, pictures):
    (folder / "sizes").mkdir()
    for i, side in enumerate((64, 32)):
        make_image(folder / "sizes" / f"{i}.png", np.zeros((side, side, 3), np.uint8))
    return folder / "sizes"


def no_images(folder, pictures):
    (folder / "bare").mkdir()
    (folder / "bare" / "readme.md").write_text("nothing")
    return folder / "bare"


def broken_image(folder, pictures):
    return cut(make_image(folder / "torn.jpg", pictures[0]), 0.5)


#: How to make it → what the sentence must say.
REFUSED = {
    not_a_video: "is not a video",
    text: "is a text file",
    empty: "is empty (0 bytes)",
    without_index: "cut short",
    without_end: "cut short",
    cut_matroska: "cut short",
    lambda folder, _: make_audio(folder / "song.m4a"): "holds audio but no video",
    lambda folder, _: folder / "missing.mp4": "There is no file",
    lambda folder, _: folder / ("long" * 90 + ".mp4"): "too long",
    no_face: "shows no face: none was found in 10 frames",
    one_pixel: "shows no face: none was found in 5 frames",
    jumps_back: "timestamps must rise",
    broken_image: "copy it again",
}


def id_of(make):
    return make.__name__.replace("_", " ")


@pytest.mark.parametrize(("make", "words"), REFUSED.items(), ids=lambda v: v if isinstance(v, str) else id_of(v))
def test_bad_file_is_rejected_in_one_sentence_and_writes_nothing(make, words, duchenne, pictures, tmp_path):
    path = make(tmp_path, pictures)
    before = sorted(tmp_path.iterdir())
    result = duchenne("analyze", path, "-o", tmp_path / "out", "--json")
    assert result.code == 1 and result.out == ""
    assert words in result.sentence and path.name[:40] in result.sentence
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("make", "words", "code"),
    [(changes_size, "resize all images to one size", 1), (no_images, "without images", 1)],
    ids=["sizes", "bare"],
)
def test_bad_folder_is_rejected(make, words, code, duchenne, pictures, tmp_path):
    folder = make(tmp_path, pictures)
    result = duchenne("analyze", folder, "--rate", "25", "-o", tmp_path / "out")
    assert result.code == code and words in result.sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words", "code"),
    [
        (["--model", "nonsense"], "There is no model 'nonsense'", 2),
        (["--emotion", "joyous"], "Emotion 'joyous' is not known", 2),
        (["--device", "cuda"], "Device 'cuda' cannot be used", 2),
        (["--detector", "magic"], "no detector named 'magic'", 2),
        (["--rate", "30"], "--rate is for bare streams and folders of images only", 2),
        (["--start", "-1"], "must be 0 seconds or later", 2),
        (["--start", "3", "--end", "2"], "must be later than --start", 2),
        (["--start", "60"], "has no frame between", 1),
    ],
)
def test_invalid_option_is_rejected(options, words, code, duchenne, smile, tmp_path):
    result = duchenne("analyze", smile, "-o", tmp_path / "out", *options)
    assert result.code == code and result.out == "" and words in result.sentence
    assert not (tmp_path / "out").exists()


def test_folder_of_images_needs_a_rate(duchenne, pictures, tmp_path):
    make_image(tmp_path / "0.png", pictures[0])
    result = duchenne("analyze", tmp_path)
    assert result.code == 2 and "pass --rate" in result.sentence
    assert duchenne("analyze", tmp_path, "--rate", "0").code == 2


@pytest.mark.parametrize("words", [("--allow-truncated",), ("--allow-truncated", "--json")])
def test_truncated_file_is_judged_on_request(words, duchenne, pictures, tmp_path):
    result = duchenne("analyze", without_end(tmp_path, pictures), "-o", tmp_path / "out", *words)
    assert result.code == 0 and result.err == ""
    assert json.loads((tmp_path / "out" / "verdict.json").read_text())["frames"] < 30
    assert (tmp_path / "out" / "report.html").exists()


# --- sound but too poor to judge ----------------------------------------------------------------------------


def alpha(folder, pictures):
    """A transparent PNG: colour type 6, made from the pixels of a face."""
    from PIL import Image

    image = Image.fromarray(pictures[0]).convert("RGBA")
    image.putalpha(200)
    image.save(folder / "alpha.png")
    return folder / "alpha.png"


def tiny_face(folder, pictures):
    from PIL import Image

    small = [np.asarray(Image.fromarray(p).resize((96, 72))) for p in pictures]
    large = [np.pad(p, ((84, 84), (112, 112), (0, 0)), mode="edge") for p in small]
    return make_video(folder / "tiny.mp4", large, rate=RATE, options={"crf": "10"})


def huge(folder, pictures):
    large = [np.pad(p.repeat(18, 0).repeat(18, 1), ((0, 0), (960, 960), (0, 0))) for p in pictures[:2]]
    return make_video(folder / "8k.mp4", large, codec="mjpeg", pix_fmt="yuvj420p", rate=RATE)


#: How to make it → what the reason must say.
UNJUDGED = {
    "three frames": (lambda d, p: make_video(d / "a.mp4", p[:3], rate=RATE), "Too short"),
    "one frame a second": (lambda d, p: make_video(d / "a.mp4", p[::10], rate=1), "Too few frames: 1 per second"),
    "a face in two frames": (lambda d, p: make_video(d / "a.mp4", scene(p, 2, 20), rate=RATE), "Too short"),
    "nothing moves": (lambda d, p: make_video(d / "a.mp4", [p[0]] * 40, rate=RATE), "Nothing moves"),
    "a JPEG": (lambda d, p: make_image(d / "a.jpg", p[0]), "A single frame"),
    "a PNG with alpha": (alpha, "A single frame"),
    "8K": (huge, "Too short"),
}


@pytest.mark.parametrize("name", UNJUDGED)
def test_poor_clip_abstains_with_reason(name, duchenne, pictures, tmp_path):
    make, words = UNJUDGED[name]
    result = duchenne("analyze", make(tmp_path, pictures), "--json", "-o", tmp_path / "out")
    assert (result.code, result.err) == (0, "")
    found = json.loads(result.out)
    assert (found["abstained"], found["p_genuine"], found["label"]) == (True, None, None)
    assert found["reason"].startswith(words) and found["reason"].endswith(".")
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["curves.csv", "emotions.csv", "frames.csv", "report.html", "verdict.json"]
    assert len((tmp_path / "out" / "frames.csv").read_text().splitlines()) == found["frames"] + 1


def test_small_face_is_reported(duchenne, pictures, tmp_path):
    result = duchenne("analyze", tiny_face(tmp_path, pictures), "--json")
    if result.code == 0:  # found at all
        assert "too small" in json.loads(result.out)["reason"]
    else:
        assert "shows no face" in result.sentence


# --- where nothing can be written ---------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/duchenne", "n" * 300])
def test_unwritable_folder_is_rejected_before_any_work(place, duchenne, smile, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(pipeline, "examine", lambda *_, **__: pytest.fail("worked for nothing"))
    result = duchenne("analyze", smile, "-o", tmp_path / place)
    assert result.code == 1 and "cannot be written" in result.sentence and "choose" in result.sentence
    assert str(tmp_path / place) in result.sentence
    assert (tmp_path / "file").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def in_a_process(words, **options):
    return subprocess.run(
        [sys.executable, "-m", "duchenne", *map(str, words)], capture_output=True, text=True, check=False, **options
    )


def full_disk():
    """No file may grow beyond 60 kB from here on: the table fits, the page does not."""
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # byte code that is cut short would stay
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))


def test_full_disk_keeps_earlier_results_and_leaves_no_partial_file(duchenne, pictures, clips, tmp_path):
    smile = make_video(clips / "five.mp4", pictures[:5], rate=RATE)
    assert duchenne("analyze", smile, "-o", tmp_path / "out").code == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    done = in_a_process(["analyze", smile, "-o", tmp_path / "out"], preexec_fn=full_disk)
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert str(tmp_path / "out") in line and ".part" not in line and "space" in line
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_unwritable_stdout_is_reported_in_one_sentence():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "duchenne", "datasets", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert "space" in line


def test_closed_stdout_is_silent():
    command = f"'{sys.executable}' -m duchenne datasets --json | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_process_prints_one_sentence_and_exits_with_1(tmp_path):
    done = in_a_process(["analyze", tmp_path / "none.mp4", "-o", tmp_path / "out"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"duchenne: There is no file {tmp_path / 'none.mp4'}; check the path.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["sp ace.mp4", "ünï-表.mp4", "a:b%03d.mp4", "-dash.mp4", "[bold]x.mp4"])
def test_unusual_names_are_accepted(name, duchenne, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "in.mp4", pictures[:5], rate=RATE).rename(tmp_path / name)
    result = duchenne("analyze", "-o", f"out {name}", "--", name)
    assert result.code == 0 and name in result.out
    assert json.loads((tmp_path / f"out {name}" / "verdict.json").read_text())["source"] == name


def test_undecodable_name_is_accepted(pictures, tmp_path):
    clip, out = (tmp_path / os.fsdecode(name) for name in (b"caf\xe9.mp4", b"o\xff"))
    make_video(tmp_path / "in.mp4", pictures[:5], rate=RATE).rename(clip)
    command = [sys.executable, "-m", "duchenne", "analyze", clip, "-o", out]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"") and b"caf" in done.stdout
    assert len(list(out.iterdir())) == 5


# --- models -------------------------------------------------------------------------------------------------


@pytest.fixture
def own_model(tmp_path):
    """A copy of the default model and its members in a folder of one's own."""
    return shutil.copytree(checkpoints.locate("default"), tmp_path / "model")


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda m: flip(m / "detector" / "arrays.npz"), "its member detector is not the model"),
        (lambda m: flip(m / "late" / "appearance" / "arrays.npz"), "its member appearance is not the model"),
        (lambda m: (m / "detector" / "genuine-0.xgb.json").unlink(), "its member detector is not the model"),
        (lambda m: shutil.rmtree(m / "late"), "its member late is missing"),
        (lambda m: (m / "model.json").write_text("{" * 9), "damaged"),
        (lambda m: (m / "model.json").unlink(), "There is no model"),
        (lambda m: (m / "card.json").write_text("{" * 9), "card.json"),
        (lambda m: io.write_json(m / "model.json", {**io.read_json(m / "model.json"), "version": 7}), "version 7"),
    ],
    ids=[
        "flipped bit",
        "other weights",
        "missing file",
        "missing member",
        "no JSON",
        "no model.json",
        "card",
        "version",
    ],
)
def test_damaged_model_is_rejected(damage, words, duchenne, smile, own_model, tmp_path):
    damage(own_model)
    result = duchenne("analyze", smile, "--model", own_model, "-o", tmp_path / "out")
    assert result.code == 1 and words in result.sentence
    assert not (tmp_path / "out").exists()
