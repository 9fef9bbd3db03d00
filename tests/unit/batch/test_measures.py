"""Emotions, action units and micro-expressions of a folder of videos, as of single files."""

import csv
import json

import pytest

from duchenne import batch, micro
from duchenne.batch.plan import holds_videos
from duchenne.expression import emotions
from duchenne.tables import codebook, columns
from duchenne.units import table as units
from makers import here, make_image, make_video

pytestmark = pytest.mark.usefixtures("read_once")


def rows(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def manifest(pictures, tmp_path_factory):
    """A smile, and a text that calls itself a video, with a condition."""
    top = tmp_path_factory.mktemp("measures")
    make_video(top / "smile.mp4", pictures, rate=25)
    (top / "text.mp4").write_text("This is no video.\n")
    lines = ["path,subject,emotion,label,condition", "smile.mp4,ann,,posed,a", "text.mp4,bob,,,b", ""]
    (top / "m.csv").write_text("\n".join(lines))
    return top / "m.csv"


@pytest.mark.parametrize("kind", ["emotions", "units", "micro-expressions"])
def test_a_batch_gives_what_single_clips_give_and_resumes(kind, manifest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tasks = {"emotions": batch.emotions_task, "units": batch.units_task, "micro-expressions": batch.micro_task}
    task, out, smile = tasks[kind](), tmp_path / "out", manifest.parent / "smile.mp4"
    found = batch.process([], out, task, manifest=manifest, runner=here(task))
    assert (found.clips, found.failed) == (2, 1)
    first, failed = rows(out / "clips.csv")
    assert (first["subject"], first["condition"], first["label"], first["face"]) == ("ann", "a", "posed", "0")
    assert failed["condition"] == "b" and "is a text file" in failed["reason"]
    assert [row["column"] for row in rows(out / "codebook.csv")] == list(first)
    made = rows(out / kind / "smile.mp4.csv")
    if kind == "emotions":
        alone = emotions.table(smile)
        assert float(first["p_happiness"]) == pytest.approx(alone["happiness"].mean(), abs=1e-3)
        names = [name for name in alone if name not in emotions.COLUMNS]
        assert len(made) == len(alone) and first["shows"] == alone[names].mean().idxmax()
    elif kind == "units":
        alone = units.table(smile)
        assert float(first["AU12_peak"]) == pytest.approx(alone["AU12"].max(), abs=1e-3) and len(made) == len(alone)
    else:
        assert first["spots"] == str(len(micro.examine(smile).spots)) and int(first["frames"]) == 60
    assert batch.process([], out, task, manifest=manifest, runner=here(task)).clips == 0
    assert json.loads((out / "summary.json").read_text())["task"] == kind


def test_a_folder_of_videos_is_many_clips_and_one_of_images_is_not(duchenne, pictures, tmp_path):
    (tmp_path / "clips" / "day1").mkdir(parents=True)
    make_video(tmp_path / "clips" / "day1" / "a.mp4", pictures[:3], rate=25)
    assert holds_videos(tmp_path / "clips")
    make_image(tmp_path / "clips" / "a.png", pictures[0])
    assert not holds_videos(tmp_path / "clips") and holds_videos(tmp_path / "clips" / "day1")
    for command in ("emotions", "units", "micro-expressions"):
        assert "need --out FOLDER" in duchenne(command, tmp_path / "clips" / "day1").sentence
        assert "name a folder" in duchenne(command, tmp_path / "clips" / "day1", "-o", tmp_path / "t.csv").sentence


def test_columns_of_the_networks_are_in_the_schema():
    assert set(emotions.reading.load()[0].classes) == {name[2:] for name in columns.EMOTIONS_SEEN if name[:2] == "p_"}
    assert {*columns.EMOTIONS_SEEN, *columns.UNITS_SEEN, *columns.SPOTS} <= {
        row[0] for row in codebook.rows(columns.ALL)
    }
