"""Results are read back from Excel, SPSS, Parquet, ELAN and BORIS, and groups are compared by R and by Python alike."""

import csv
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from duchenne import io
from duchenne.errors import InputError, UsageError
from duchenne.tables import codebook, columns, elan, groups, results

NAMES = [*columns.CLIP, "condition", *(name for name in columns.VERDICTS if name not in columns.CLIP)]


def row(i: int, condition: str, **more: object) -> list[object]:
    """Face i of person i // 2, whose rise is 0.1 s longer in condition b than in a."""
    p = round(0.2 + 0.05 * (i // 2) + (0.3 if condition == "b" else 0.0), 3)
    found = {
        "file": f"{condition}/{i}.mp4", "subject": f"P{i // 2}", "condition": condition, "verdict": "genuine",
        "face": 0, "p_genuine": p, "abstained": 0, "rise": round(0.4 + 0.01 * i + 0.1 * (condition == "b"), 3),
        "reason": "", "warnings": "Ümläuts, \"quotes\"",
    } | more  # fmt: skip
    return [found.get(name) for name in NAMES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A results folder: 12 faces of 6 people in both conditions, one that abstained, one that failed, and one with
    phases and units."""
    top = tmp_path_factory.mktemp("results") / "out"
    rows = [row(i, condition) for condition in "ab" for i in range(12)]
    rows += [row(12, "a", verdict="abstained", p_genuine=None, abstained=1, code="still", reason="=Nothing moves.")]
    rows += [row(13, "b", **columns.failed("It is a text."), face=None, p_genuine=None, rise=None)]
    io.write_text(top / "clips.csv", io.rows_csv([NAMES, *rows]))
    phases = [
        {"onset": None, "apex": 0.4, "offset": 0.8, "end": 1.2},
        {"onset": 2.0, "apex": 2.5, "offset": None, "end": None},
    ]
    verdict = {"source": "b/0.mp4", "duration": 3.0, "begins": 1.5, "phases": phases, "judged": [0.2, 1.4]}
    io.write_json(top / "b/0.mp4" / "verdict.json", verdict | {"label": "genuine", "face": 0})
    time = np.arange(0, 3, 0.02)
    smiles = np.where((time > 0.395) & (time < 0.81), 0.9, 0.1)
    io.write_table(top / "b/0.mp4" / "curves.csv", pd.DataFrame({"face": 0, "time": time, "AU12": smiles}))
    return top


def test_a_results_folder_is_read_as_it_was_written(folder):
    table = results.read(folder)
    assert len(table) == 26 and table["p_genuine"].isna().sum() == 2 and table["subject"][0] == "P0"
    assert table["reason"][24] == "=Nothing moves." and table["verdict"][25] == "failed"
    with pytest.raises(InputError, match="holds no clips"):
        results.read(folder / "b")


def test_excel_has_the_table_and_its_codebook(folder):
    (path,) = results.export(folder, "xlsx")
    found = pd.read_excel(path, sheet_name=None)
    assert list(found["clips"]["rise"][:2]) == [0.4, 0.41] and found["clips"]["reason"][24] == "'=Nothing moves."
    assert list(found["codebook"]["column"]) == NAMES == [each[0] for each in codebook.rows(NAMES)]


def test_spss_has_numbers_text_and_labels(folder):
    pyreadstat = pytest.importorskip("pyreadstat", reason="pyreadstat is not installed")
    (path,) = results.export(folder, "sav")
    found, about = pyreadstat.read_sav(str(path))
    assert list(found["rise"][:2]) == [0.4, 0.41] and np.isnan(found["p_genuine"][24]) and len(found) == 26
    assert found["warnings"][0] == 'Ümläuts, "quotes"' and found["condition"][25] == "b"
    labels = dict(zip(about.column_names, about.column_labels, strict=True))
    assert labels["rise"] == "from onset to apex (s)" and about.variable_value_labels["abstained"] == {
        0: "no",
        1: "yes",
    }


def test_parquet_has_clips_and_curves(folder):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    written = {path.name: pd.read_parquet(path) for path in results.export(folder, "parquet")}
    assert len(written["clips.parquet"]) == 26 and set(written["curves.parquet"]["file"]) == {"b/0.mp4"}
    assert len(written["curves.parquet"]) == 150


def test_elan_has_phases_and_units_in_the_time_of_the_file(folder):
    (path,) = results.export(folder, "eaf")
    root = ET.parse(path).getroot()
    slots = {each.get("TIME_SLOT_ID"): int(each.get("TIME_VALUE")) for each in root.iter("TIME_SLOT")}
    found = {
        tier.get("TIER_ID"): [
            (slots[one.get("TIME_SLOT_REF1")], slots[one.get("TIME_SLOT_REF2")], one.findtext("ANNOTATION_VALUE"))
            for one in tier.iter("ALIGNABLE_ANNOTATION")
        ]
        for tier in root.iter("TIER")
    }
    assert found["phases"] == [
        (1500, 1900, "rise"), (1900, 2300, "plateau"), (2300, 2700, "fall"),
        (3500, 4000, "rise"), (4000, 4500, "plateau"),
    ]  # fmt: skip
    assert found["judged"] == [(1700, 2900, "genuine")] and found["AU12"] == [(1900, 2300, "0.90")]
    assert root.find("HEADER/MEDIA_DESCRIPTOR").get("RELATIVE_MEDIA_URL") == "./0.mp4"
    assert elan.document({"a": [(0, 1, "<&>")]}, "a.mp4", "2026-01-01T00:00:00+00:00").count("&lt;&amp;&gt;") == 1


def test_boris_has_paired_state_events_of_known_behaviours(folder):
    (path,) = results.export(folder, "boris")
    project = io.read_json(path)
    (name, observation), = project["observations"].items()  # fmt: skip
    assert name == observation["file"]["1"][0] == "b/0.mp4"
    assert [each["name"] for each in project["subjects_conf"].values()] == ["face 1"]
    codes = [each["code"] for each in project["behaviors_conf"].values()]
    assert codes == ["rise", "plateau", "fall", "AU12", "judged"]
    events = observation["events"]
    assert [event[0] for event in events] == sorted(event[0] for event in events)
    pairs = {code: [event[0] for event in events if event[1:4] == ["face 1", code, ""]] for code in codes}
    assert pairs == {
        "rise": [1.5, 1.9, 3.5, 4.0], "plateau": [1.9, 2.3, 4.0, 4.5], "fall": [2.3, 2.7],
        "AU12": [1.9, 2.3], "judged": [1.7, 2.9],
    }  # fmt: skip
    assert [1.7, "face 1", "judged", "", "genuine"] in events and [1.9, "face 1", "AU12", "", "0.90"] in events


def test_tensorboard_has_the_curve_of_each_network(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    io.write_text(tmp_path / "curve.csv", "network,epoch,loss,score\n1,1,0.5,\n1,2,0.25,\n2,1,0.75,0.5\n")
    for _ in range(2):  # the second replaces the first
        written = results.export(tmp_path, "tensorboard")
    assert [path.parent.name for path in written] == ["1", "2"]
    found = [EventAccumulator(str(path.parent)).Reload() for path in written]
    assert [(each.step, each.value) for each in found[0].Scalars("loss")] == [(1, 0.5), (2, 0.25)]
    assert found[0].Tags()["scalars"] == ["loss"] and found[1].Scalars("score")[0].value == 0.5


def test_tensorboard_is_named_where_it_is_missing(tmp_path):
    if find_spec("tensorboard") is None:
        with pytest.raises(UsageError, match="pip install tensorboard"):
            results.export(tmp_path, "tensorboard")
    else:
        with pytest.raises(InputError, match=r"holds no curve\.csv"):
            results.export(tmp_path, "tensorboard")


def test_what_cannot_be_exported_is_refused_in_a_sentence(duchenne, folder, tmp_path):
    assert (
        "choose one of: xlsx, sav, parquet, eaf, boris, tensorboard"
        in duchenne("export", folder, "--to", "ods").sentence
    )
    for kind in ("eaf", "boris"):
        assert "holds no verdict.json" in duchenne("export", tmp_path, "--to", kind).sentence
    assert "no column 'mood'" in duchenne("summary", folder, "--by", "mood").sentence
    assert "subject alone" in duchenne("summary", folder, "--by", "subject").sentence
    with pytest.raises(UsageError, match="makes 26 groups"):
        groups.summarise(folder, ["file"])
    with pytest.raises(UsageError, match="holds text"):
        groups.summarise(folder, ["condition"], measures=["reason"])


# --- groups -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def summary(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("summary")
    return groups.summarise(folder, ["condition", "subject"], out), out


def test_groups_are_counted_and_described(summary):
    table, out = summary
    first = table[(table["group"] == "a") & (table["measure"] == "rise")].iloc[0]
    assert (first["faces"], first["people"], first["genuine"], first["abstained"], first["n"]) == (13, 7, 12, 1, 13)
    values = [0.4 + 0.01 * i for i in range(13)]
    assert first["median"] == pytest.approx(np.median(values)) and first["mean"] == pytest.approx(np.mean(values))
    assert set(table["measure"]) == {"p_genuine", "rise"}  # the others are empty
    long = pd.read_csv(out / "long.csv")
    assert len(long) == 24 + 25 and list(long) == [
        "group",
        "condition",
        "subject",
        "file",
        "clip_start",
        "face",
        "measure",
        "value",
    ]
    for name in ("groups", "people"):
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF") and "<svg" in (out / f"{name}.svg").read_text()


def difference(text):
    return re.search(r"b minus a, (\d+) people: (\S+) \(95% (\S+) to (\S+)\), p = (\S+)", text).groups()


def test_the_script_for_python_runs(summary):
    out = summary[1]
    done = subprocess.run([sys.executable, "compare.py", "rise"], cwd=out, capture_output=True, text=True, check=True)
    assert "fewer than two" in done.stdout or float(difference(done.stdout)[1]) == pytest.approx(0.1)
    assert (out / "compare-python.pdf").exists() and "a: 13, " in done.stdout


def test_the_script_for_r_runs_and_agrees(summary):
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed, so compare.R is not run.")
    out = summary[1]
    table = list(csv.DictReader((out / "long.csv").read_text().splitlines()))
    for i, each in enumerate(table):  # differences that are not all alike
        each["value"] = str(float(each["value"]) + 0.01 * (i % 5))
    io.write_text(out / "long.csv", io.rows_csv([list(table[0]), *([*each.values()] for each in table)]))
    r = subprocess.run(["Rscript", "compare.R", "rise"], cwd=out, capture_output=True, text=True, check=True)
    python = subprocess.run([sys.executable, "compare.py", "rise"], cwd=out, capture_output=True, text=True, check=True)
    assert [float(a) for a in difference(r.stdout)] == pytest.approx(
        [float(a) for a in difference(python.stdout)], rel=1e-3
    )
    assert (out / "compare-R.pdf").exists()
