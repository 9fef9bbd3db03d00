"""One schema of all tables of clips, and its codebook."""

import copy
import csv
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import duchenne
from duchenne import pipeline
from duchenne.batch import tables
from duchenne.datasets import simulate
from duchenne.features.phases import ACTIVITY
from duchenne.tables import codebook, columns
from duchenne.tables.curves import CURVES, curves_table
from duchenne.types import CODES, EMOTIONS, Reason, Signals
from duchenne.units import reading
from makers import make_video

PAGE = Path(__file__).parents[3] / "docs" / "codebook.md"


@pytest.fixture(scope="module")
def judged():
    """A simulated smile with AU12 that rises to 0.8 in frame 30, and is not seen in the ten after it."""
    track = simulate.track(simulate.KINDS["posed"], 25.0, seed=1)
    values = np.full((len(track), 2), 0.2)
    values[30, 1], values[31:41, 1] = 0.8, np.nan
    units = Signals(track.time, values, ("AU06", "AU12"), ("0-1",) * 2)
    return pipeline.judge(track, pipeline.load_model("default"), units=units)


def test_every_column_is_in_the_codebook(judged):
    written = [row["column"] for row in csv.DictReader(codebook.table().splitlines())]
    row = judged.verdict.to_row()
    assert set(row) | {*columns.CLIP, "p_neutral"} == set(columns.VERDICTS) <= set(written)
    assert {*(name for names in tables.COLUMNS.values() for name in names), *columns.APPLIED, *CURVES} <= set(written)
    assert all(each["meaning"] and each["column"] for each in csv.DictReader(codebook.table().splitlines()))
    assert list(curves_table({0: (judged.curves, judged.units)})) == list(CURVES)
    assert {*judged.curves.names, ACTIVITY} <= set(CURVES) and reading.load()[0].names == columns.UNITS


def test_the_page_of_the_codebook_is_made_from_the_code(duchenne):
    assert PAGE.read_text(encoding="utf-8") == codebook.page()
    assert duchenne("codebook").out == codebook.table()


def test_a_column_of_a_manifest_keeps_its_name_or_gets_another():
    more = columns.manifest_names([{"rate": "25"}, {"condition": "a", "rate": "30"}])
    assert more == {"rate": "manifest_rate", "condition": "condition"}
    (one, two) = codebook.rows(more.values(), more)
    assert "column rate of the manifest" in one[2] and two[0] == "condition"


def test_numbers_are_those_of_the_judged_phase(judged):
    row, (low, high) = judged.verdict.to_row(), judged.verdict.judged
    assert row["rise"] == pytest.approx(row["apex"] - row["onset"], abs=2e-3)
    assert row["fall"] == pytest.approx(row["end"] - row["offset"], abs=2e-3)
    pull = judged.curves["lip_corner_pull"]
    at = {name: pull[np.abs(judged.curves.time - row[name]).argmin()] for name in ("onset", "apex")}
    assert row["amplitude"] == pytest.approx(100 * (at["apex"] - at["onset"]), abs=3) and row["top_speed"] > 0
    assert low < judged.track.time[30] < high and (row["AU12_peak"], row["AU06_mean"]) == (0.8, 0.2)
    assert 0.2 < row["AU12_mean"] < 0.3 and row["AU27_peak"] is None
    later = replace(judged.verdict, begins=7.5).to_row()
    assert later["judged_start_file"] == pytest.approx(row["judged_start"] + 7.5) and later["onset"] == row["onset"]


def test_curves_are_empty_where_units_were_not_seen(judged):
    table = curves_table({0: (judged.curves, judged.units)})
    gap = table["time"].between(judged.track.time[31], judged.track.time[40])
    assert table.loc[gap, "AU12"].isna().all() and (table["AU06"].dropna() == 0.2).all()
    assert table["lip_corner_pull"].to_numpy() == pytest.approx(judged.curves["lip_corner_pull"], abs=1e-5)


def test_every_reason_has_a_code(judged):
    source = "".join(path.read_text(encoding="utf-8") for path in Path(duchenne.__file__).parent.rglob("*.py"))
    used = set(re.findall(r'Reason\(\s*"(\w+)"', source))
    assert used == set(CODES) - {"failed"} and replace(judged.verdict, reason="No.").code == "not_measured"
    reason = Reason("still", "Nothing moves.")
    for again in (pickle.loads(pickle.dumps(reason)), copy.deepcopy(reason)):
        assert (again, again.code) == ("Nothing moves.", "still")
    assert (judged.verdict.code, replace(judged.verdict, reason=reason).code) == (None, "still")
    with pytest.raises(KeyError):
        Reason("bored", "The face yawns.")


def test_emotions_have_columns():
    assert {f"p_{name}" for name in EMOTIONS} <= set(columns.VERDICTS)


def test_a_clip_that_starts_later_gives_times_of_the_file(pictures, tmp_path):
    found = pipeline.examine(make_video(tmp_path / "a.mp4", [*pictures[:1] * 15, *pictures], rate=25), start=0.4)
    row = found[0].verdict.to_row()
    assert row["judged_start_file"] == pytest.approx(row["judged_start"] + 0.4)
