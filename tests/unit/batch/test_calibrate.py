"""P(genuine) moved to the level of a recording: `duchenne.calibrate` and `analyze --calibrate`."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from duchenne import analyze, batch, calibrate, io, judging
from duchenne.errors import InputError, UsageError
from duchenne.learn.calibration import logit, sigmoid
from duchenne.tables import columns
from duchenne.tables.results import read as results_of
from makers import here, make_video

pytestmark = pytest.mark.usefixtures("read_once")
SHA = judging.load_model("default").about["sha256"]


def results(folder, z, subject=None, sha=SHA):
    """Results of `analyze` with these log-odds."""
    rows = [
        {"file": f"{i}.mp4", "subject": subject and subject[i], "p_raw": float(sigmoid(np.array(each)))}
        for i, each in enumerate(z)
    ]
    rows += [{"file": "dark.mp4", "p_raw": 0.001, "code": "underexposed"}, {"file": "none.mp4", "code": "failed"}]
    folder.mkdir()
    io.write_table(folder / "clips.csv", columns.frame(rows, columns.VERDICTS))
    io.write_json(folder / "summary.json", {"options": {"model": {"id": "default", "sha256": sha}}})
    return folder


def test_a_calibration_centres_a_recording_and_its_persons(tmp_path):
    z = [1.0, 2.0, 3.0] * 10
    found = calibrate(results(tmp_path / "out", z))
    assert (found.clips, found.persons) == (30, {}) and found.shift == pytest.approx(-2.0 * 30 / 40, abs=1e-4)
    slope, steeper = judging.Calibration.SLOPES
    assert logit(np.array(found.moved(0.5, "ann"))) == pytest.approx(slope * found.shift, abs=1e-4)
    people = ["ANN" if i < 20 else None for i in range(30)]
    z = [2.0] * 20 + [0.0] * 10
    found = calibrate(results(tmp_path / "persons", z, people))
    assert found.shift == pytest.approx(-1.5, abs=1e-4) and found.persons["ann"] == pytest.approx(-1 / 3, abs=1e-4)
    own, other = (logit(np.array(found.moved(0.5, who))) for who in (" Ann", "bob"))
    assert own == pytest.approx(steeper * (-1.5 - 1 / 3), abs=1e-4) and other == pytest.approx(slope * -1.5, abs=1e-4)
    assert math.isnan(found.moved(float("nan"), None))


def test_the_slopes_are_those_measured():
    rates = io.read_json(Path(__file__).parents[3] / "experiments" / "verdict.json")["rates"]
    alone = [its["slope"] for name, its in rates.items() if name.endswith(", calibrated")]
    persons = [its["slope"] for name, its in rates.items() if "each person" in name]
    measured = (np.mean(alone), np.mean(persons))
    assert len(alone) == len(persons) == 2 and pytest.approx(measured, abs=0.006) == judging.Calibration.SLOPES


def test_what_cannot_be_a_calibration_gets_a_sentence(tmp_path, pictures):
    with pytest.raises(InputError, match="needs 10 clips of the recording that can be judged, found 9"):
        calibrate(results(tmp_path / "few", [1.0] * 9))
    with pytest.raises(UsageError, match="verdicts of another model than default"):
        calibrate(results(tmp_path / "other", [1.0] * 20, sha="0" * 64))
    (results(tmp_path / "mute", [1.0] * 20) / "summary.json").write_text("{}")
    with pytest.raises(InputError, match="does not say which model judged"):
        calibrate(tmp_path / "mute")
    make_video(tmp_path / "short.mp4", pictures[:5], rate=25)
    with pytest.raises(InputError, match="found 0"):
        calibrate([tmp_path / "short.mp4"], workers=1, progress=False)
    with pytest.raises(UsageError, match="another model"):
        analyze(tmp_path / "short.mp4", calibration=judging.Calibration("0" * 64, 20, 1.0))


def test_analyze_moves_what_it_says_of_a_clip_and_of_a_batch(duchenne, smile, tmp_path):
    before = json.loads(duchenne("analyze", smile, "--json").out)
    out = results(tmp_path / "out", [-1.0] * 30, ["ann"] * 30)
    after = json.loads(duchenne("analyze", smile, "--json", "--calibrate", out, "--subject", "ann").out)
    assert after["p_raw"] == before["p_raw"]
    moved = float(sigmoid(judging.Calibration.SLOPES[1] * (logit(np.array(before["p_raw"])) + 0.75 + 0.25 * 0.75)))
    note = next(each for each in after["quality"]["warnings"] if "was moved" in each)
    assert f"from {before['p_raw']:.2f} to {moved:.2f}, the level of 30 clips" in note
    assert after["p_genuine"] in (None, pytest.approx(moved, abs=1e-4))
    assert after["label"] == (after["p_genuine"] and ("genuine" if moved >= 0.5 else "posed"))

    (tmp_path / "m.csv").write_text(f"path,subject,emotion,label\n{smile},Ann,,\n")
    task = batch.analyze_task(report=False, calibration=calibrate(out))
    batch.process([], tmp_path / "moved", task, manifest=tmp_path / "m.csv", runner=here(task))
    (row,) = results_of(tmp_path / "moved").to_dict("records")
    assert row["p_raw"] == pytest.approx(before["p_raw"], abs=1e-4) and note in row["warnings"]
    (tmp_path / "m.csv").write_text(f"path,subject,emotion,label\n{smile},Bob,,\n")
    batch.process([], tmp_path / "moved", task, manifest=tmp_path / "m.csv", runner=here(task))
    (row,) = results_of(tmp_path / "moved").to_dict("records")
    assert note not in row["warnings"] and "was moved" in row["warnings"]
    assert batch.process([], tmp_path / "moved", task, manifest=tmp_path / "m.csv", runner=here(task)).clips == 0
    assert duchenne("analyze", smile, "--subject", "ann").code == 2
