"""`duchenne datasets`, `simulate`, `convert` and `models apply` on tables of others, as a person types them."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import Completed
from duchenne import io, pipeline, video
from duchenne.datasets import catalog, manifest, simulate
from duchenne.types import FaceTrack, Signals

Command = Callable[..., Completed]
DATA = Path(os.environ.get("DUCHENNE_DATA", ""))
shared = pytest.mark.skipif("DUCHENNE_DATA" not in os.environ, reason="DUCHENNE_DATA does not name the shared data")
#: DataSet → folder of the shared data, clips, people (None: nobody is named), a line that its check must print.
SHARED = {
    "pedfe": ("pedfe", 1070, 42, "in all     PEDFE has 1,458 clips of 56 people"),
    "uva-nemo": ("uva_nemo", 963, 88, "holds      963 clips of 88 groups of people"),
    "sase-fe": ("sase_fe_features", 480, 40, "ok         complete for this layout, nothing unexpected"),
    "fer2013": ("fer2013", 32298, None, "missing    a complete copy has 35887 clips, found 32298"),
}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def sase(tmp_path: Path) -> Path:
    """A copy of SASE-FE with two people, by the names that the set has; every file has its own bytes."""
    codes = next(way for way in catalog.load("sase-fe").layouts if "complete" in way.rules).rules["complete"]
    for person in ("1", "2"):
        folder = tmp_path / "sase" / "FakeTrue_DB" / person
        folder.mkdir(parents=True)
        for code in codes:
            (folder / f"{code}.MP4").write_text(f"{person} {code}")
    return tmp_path / "sase"


# --- datasets: list and show ---------------------------------------------------------------------------------


def test_list_has_one_short_line_per_data_set_with_authenticity_first(duchenne: Command) -> None:
    result = duchenne("datasets")
    assert result.code == 0 and "show NAME" in result.err
    head, *lines = result.out.splitlines()
    assert head.split() == ["NAME", "TITLE", "TASK", "ACCESS", "CLIPS", "PEOPLE"]
    assert max(map(len, [head, *lines])) <= 80
    known = catalog.data_sets()
    assert sorted(line.split()[0] for line in lines) == sorted(known)
    tasks = [known[line.split()[0]].task for line in lines]
    first = tasks.count("authenticity")
    assert set(tasks[:first]) == {"authenticity"} and tasks[first:] == sorted(tasks[first:])
    for line in lines:
        corpus = known[line.split()[0]]
        place = head.index("TASK")
        assert line[head.index("TITLE") :].startswith(corpus.title) and line[place:].startswith(corpus.task)
        counts = [f"{n:,}" if n else "-" for n in (corpus.clips, corpus.people)]
        assert line.split()[-3:] == [corpus.access, *counts]


def test_list_as_json(duchenne: Command) -> None:
    result = duchenne("datasets", "--json")
    found = json.loads(result.out)
    assert (result.code, result.err) == (0, "") and list(found) == list(catalog.data_sets())
    assert found["pedfe"]["clips"] == 1458 and found["spos"]["people"] is None
    assert [way["name"] for way in found["fer2013"]["layouts"]] == ["table", "packed", "class folders"]


@pytest.mark.parametrize(("name", "columns"), [*((name, 60) for name in catalog.data_sets()), ("pedfe", 300)])
def test_show_prints_everything_in_short_lines(
    duchenne: Command, monkeypatch: pytest.MonkeyPatch, name: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = duchenne("datasets", "show", name)
    corpus = catalog.load(name)
    assert (result.code, result.err) == (0, "")
    shown, texts = (
        " ".join(result.out.split()),
        " ".join(w for line in result.out.splitlines() for w in line[11:].split()),
    )
    facts = (corpus.title, corpus.about, corpus.task, corpus.citation, corpus.access, corpus.terms, corpus.how_to_get)
    more = [corpus.doi or "", corpus.url or "", *corpus.faults, *corpus.sources]
    more += [f'"{way.name}": {way.expects}' for way in corpus.layouts]
    for text in (*facts, *more, ", ".join(corpus.emotions)):
        assert " ".join(text.split()) in texts
    assert (f"rate {corpus.rate:g} frames/s" in shown) if corpus.rate else ("\nrate " not in result.out)
    for line in result.out.splitlines():  # only a single long word, such as an address, may stick out
        assert len(line) <= min(columns, 100) or len(line[11:].split()) == 1


@pytest.mark.parametrize("name", ["SASE-FE", "sase_fe", " Sase-Fe "])
def test_names_match_in_any_case(duchenne: Command, name: str) -> None:
    assert duchenne("datasets", "show", name).out == duchenne("datasets", "show", "sase-fe").out != ""


@pytest.mark.parametrize("words", [("show", "ck"), ("check", "ck", "."), ("manifest", "ck", ".")])
def test_unknown_name_lists_known_ones(duchenne: Command, words: tuple[str, ...]) -> None:
    result = duchenne("datasets", *words)
    assert result.code == 2 and result.out == ""
    assert "'ck'" in result.sentence and all(name in result.sentence for name in catalog.data_sets())


# --- datasets: check -----------------------------------------------------------------------------------------


def test_complete_copy_is_reported_ok(duchenne: Command, sase: Path) -> None:
    result = duchenne("datasets", "check", "sase-fe", sase)
    assert (result.code, result.err) == (0, "")
    lines = [(line[:10].rstrip(), line[11:]) for line in result.out.splitlines()]
    # 2 people with 12 codes each, half of them genuine, two of every emotion
    assert ("holds", "24 clips of 2 people") in lines and ("labels", "genuine 12, posed 12") in lines
    assert ("in all", "SASE-FE has 643 clips of 54 people") in lines
    assert lines[-1] == ("ok", "every person has all clips, nothing unexpected")
    found = json.loads(duchenne("datasets", "check", "SASE-FE", sase, "--json").out)
    assert found["ok"] is True and (found["clips"], found["people"]) == (24, 2)
    assert found["emotions"] == dict.fromkeys(("anger", "contempt", "disgust", "happiness", "sadness", "surprise"), 4)


def test_missing_and_unexpected_files_are_listed_and_fail(duchenne: Command, sase: Path) -> None:
    (sase / "FakeTrue_DB" / "2" / "N2Sur.MP4").unlink()
    (sase / "FakeTrue_DB" / "2" / "N2A.MP4").write_bytes(b"")
    shutil.copy(sase / "FakeTrue_DB" / "1" / "N2H.MP4", sase / "FakeTrue_DB" / "1" / "N2S.MP4")
    result = duchenne("datasets", "check", "sase-fe", sase)
    assert result.code == 1 and "not a complete, valid copy of SASE-FE" in result.sentence
    assert "missing    person 2 lacks N2Sur" in result.out
    assert "odd        FakeTrue_DB/2/N2A.MP4 is empty" in result.out and "byte-identical" in result.out
    assert "\nok " not in result.out
    plain = duchenne("datasets", "check", "sase-fe", sase, "--json")
    assert plain.code == 1 and plain.sentence == result.sentence
    found = json.loads(plain.out)
    assert found["ok"] is False and found["missing"] == ["person 2 lacks N2Sur"] and len(found["odd"]) == 2


def test_long_list_is_cut_and_json_is_complete(duchenne: Command, sase: Path) -> None:
    for i in range(30):  # people with one clip of twelve
        folder = sase / "FakeTrue_DB" / f"x{i}"
        folder.mkdir()
        (folder / "N2H.MP4").write_text(f"x{i}")
    result = duchenne("datasets", "check", "sase-fe", sase)
    lines = [line for line in result.out.splitlines() if line.startswith("missing")]
    assert len(lines) == 21 and lines[-1].endswith("… and 10 more (all with --json)")
    assert len(json.loads(duchenne("datasets", "check", "sase-fe", sase, "--json").out)["missing"]) == 30


@pytest.mark.parametrize("name", ["sase-fe", "uva-nemo", "disfa"])  # by pattern, as a table, by a function
def test_wrong_folder_reports_expected_layout_and_access(duchenne: Command, tmp_path: Path, name: str) -> None:
    (tmp_path / "holiday.txt").write_text("sun")
    asked = catalog.load(name).how_to_get.strip().rstrip(".")[1:]
    for place, fault in ((tmp_path, "holds no copy of"), (tmp_path / "none", "There is no folder")):
        for words in (("check", name, place), ("manifest", name, place)):
            result = duchenne("datasets", *words)
            assert result.code == 1 and result.out == ""
            assert fault in result.sentence and str(place) in result.sentence and asked in result.sentence


def test_unknown_layout_lists_known_ones(duchenne: Command, sase: Path) -> None:
    result = duchenne("datasets", "check", "sase-fe", sase, "--layout", "scrolls")
    assert result.code == 2 and "videos as released" in result.sentence
    other = duchenne("datasets", "check", "sase-fe", sase, "--layout", "features of the training videos")
    assert other.code == 1 and "holds no copy" in other.sentence


@shared
@pytest.mark.parametrize("name", list(SHARED))
def test_shared_copies_are_described_correctly(duchenne: Command, name: str) -> None:
    place, clips, people, line = SHARED[name]
    result = duchenne("datasets", "check", name, DATA / "data" / place)
    assert line in result.out.splitlines()
    assert result.code == (1 if name == "fer2013" else 0)
    assert (f"holds      {clips:,} clips, no people named" in result.out) == (people is None)


# --- datasets: manifest --------------------------------------------------------------------------------------


def test_manifest_on_stdout_and_in_a_file_is_read_back(duchenne: Command, sase: Path, tmp_path: Path) -> None:
    result = duchenne("datasets", "manifest", "SASE-FE", sase)
    assert (result.code, result.err) == (0, "")
    (tmp_path / "m.csv").write_text(result.out, encoding="utf-8")
    filed = duchenne("datasets", "manifest", "sase-fe", sase, "-o", tmp_path / "n.csv")
    assert (filed.code, filed.out) == (0, "") and filed.err == f"24 rows written to {tmp_path / 'n.csv'}\n"
    assert manifest.read(tmp_path / "m.csv") == manifest.read(tmp_path / "n.csv")
    assert manifest.read(tmp_path / "m.csv") == [entry.clip for entry in catalog.entries("sase-fe", sase)]
    assert rows(tmp_path / "n.csv")[0]["path"].startswith("sase/")  # relative to the manifest's own folder


def test_folder_that_is_a_file_is_rejected(duchenne: Command, sase: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    result = duchenne("datasets", "manifest", "sase-fe", sase, "-o", tmp_path / "file" / "m.csv")
    assert result.code == 1 and "cannot be written" in result.sentence


@shared
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "fer2013")) for name in SHARED]
)
def test_manifests_of_the_shared_copies_are_read_back(duchenne: Command, tmp_path: Path, name: str) -> None:
    place, clips, people, _ = SHARED[name]
    result = duchenne("datasets", "manifest", name, DATA / "data" / place)
    (tmp_path / "m.csv").write_text(result.out, encoding="utf-8")
    assert result.code == 0 and ("have no subject" in result.err) == (people is None)
    found = manifest.read(tmp_path / "m.csv", persons=people is not None)
    assert len(found) == clips and len({clip.subject for clip in found} - {None}) == (people or 0)
    assert not manifest.missing(manifest.read_rows(tmp_path / "m.csv", persons=False))


# --- simulate ------------------------------------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_simulation_writes_manifest_and_tracks(duchenne: Command, tmp_path: Path) -> None:
    out = tmp_path / "new" / "sim"
    result = duchenne("simulate", "-o", out, "--people", "3", "--clips", "2", "--rate", "20", "--seed", "5")
    assert result.code == 0 and result.err == "" and "6 simulated smiles of 3 people" in result.out
    assert "nothing about people" in result.out and names(out) == ["manifest.csv", "tracks_001.npz"]
    clips, tracks = manifest.read(out / "manifest.csv"), io.load_tracks(out / "tracks_001.npz")
    assert [clip.label for clip in clips] == ["posed", "genuine"] * 3
    assert len({clip.subject for clip in clips}) == 3 and len(tracks) == 6
    assert all(np.allclose(np.diff(track.time), 1 / 20) for track in tracks)


@pytest.mark.slow
def test_simulation_replaces_its_own_output(duchenne: Command, tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_text("")
    size = ("--people", "1", "--clips", "2", "--rate", "4")
    assert duchenne("simulate", "-o", tmp_path, *size, "--video").code == 0
    pictures = ["sim01_1.mp4", "sim01_2.mp4"]
    assert names(tmp_path) == [".DS_Store", "manifest.csv", *pictures]
    (row, *_) = rows(tmp_path / "manifest.csv")
    count = sum(1 for _ in video.frames(tmp_path / row["path"]))
    assert count / 4 == pytest.approx(float(row["smile_end"]) + simulate.POSED.neutral_after, abs=0.5)
    assert duchenne("simulate", "-o", tmp_path, *size).code == 0  # landmarks take the place of the videos
    assert names(tmp_path) == [".DS_Store", "manifest.csv", "tracks_001.npz"]
    before = (tmp_path / "manifest.csv").read_bytes()
    assert duchenne("simulate", "-o", tmp_path, *size).code == 0
    assert (tmp_path / "manifest.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("thesis.docx", "mine"),
        ("manifest.csv", "path,subject,emotion,label\na.mp4,p,happiness,posed\n"),
        ("manifest.csv", "path,subject,emotion,label,note\na.mp4,p,,posed,simulated\nb.mp4,p,,posed,mine\n"),
        ("manifest.csv", ""),
        ("manifest.csv", f"path,note\n{'a' * 140_000},simulated\n"),
    ],
    ids=["file", "manifest", "own row", "empty", "huge cell"],
)
def test_simulation_rejects_a_folder_with_other_files(duchenne: Command, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    result = duchenne("simulate", "-o", tmp_path, "--people", "1", "--clips", "2")
    assert result.code == 2 and name in result.sentence and str(tmp_path) in result.sentence
    assert names(tmp_path) == [name] and (tmp_path / name).read_text() == text


def test_simulation_rejects_a_clip_added_to_its_output(duchenne: Command, tmp_path: Path) -> None:
    assert duchenne("simulate", "-o", tmp_path, "--people", "1", "--clips", "2").code == 0
    for i in range(5):
        (tmp_path / f"own{i}.mp4").write_text("mine")
    result = duchenne("simulate", "-o", tmp_path, "--people", "1", "--clips", "2")
    assert result.code == 2 and "own0.mp4, own1.mp4, own2.mp4 and 2 more" in result.sentence


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--clips", "3"), "clips=3"),
        (("--clips", "0"), "clips=0"),
        (("--clips", "5", "--video"), "clips=5"),
        (("--people", "0"), "people=0"),
        (("--rate", "0"), "rate"),
        (("--rate", "nan"), "rate"),
        (("--seed", "-1"), "seed"),
    ],
)
def test_simulation_rejects_invalid_numbers(
    duchenne: Command, tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    result = duchenne("simulate", "-o", tmp_path / "sim", *words)
    assert result.code == 2 and expected in result.sentence and result.out == ""
    assert names(tmp_path) == []


def test_simulation_needs_a_folder(duchenne: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    result = duchenne("simulate", "-o", tmp_path / "file", "--people", "1", "--clips", "2")
    assert result.code == 1 and "is a file" in result.sentence


# --- convert -------------------------------------------------------------------------------------------------


@pytest.fixture
def face() -> FaceTrack:
    """A smile of 25 frames per second whose third frame shows no face."""
    track = simulate.track(simulate.POSED, 25.0, seed=3)
    points, box = track.points.copy(), track.box.copy()
    points[2], box[2] = np.nan, np.nan
    return replace(track, points=points, box=box, source="smile")


def test_tracks_survive_conversion_through_every_format(duchenne: Command, face: FaceTrack, tmp_path: Path) -> None:
    at = io.save_tracks(tmp_path / "0.npz", [face])
    steps = (("1.csv", "openface"), ("2.csv", "py-feat"), ("3.csv", "duchenne"), ("4.npz", "duchenne"))
    for name, dialect in steps:
        result = duchenne("convert", at, tmp_path / name, "--to", dialect)
        assert (result.code, result.out) == (0, "")
        assert result.err == f"1 face, {len(face)} rows written to {tmp_path / name}\n"
        at = tmp_path / name
        if name.endswith(".csv"):
            assert io.dialect(pd.read_csv(at, nrows=0).columns) == dialect
        (found,) = io.load_tracks(at)
        np.testing.assert_allclose(found.time, face.time, atol=1e-6)
        np.testing.assert_allclose(found.points, face.points, atol=0.0051)  # two decimals, NaN where NaN was
    assert at.suffix == ".npz"  # the last is tracks again, and the default dialect needs no word
    assert duchenne("convert", at, tmp_path / "5.csv").code == 0
    assert (tmp_path / "5.csv").read_bytes() == (tmp_path / "3.csv").read_bytes()


def test_action_units_are_kept_only_within_their_format(duchenne: Command, face: FaceTrack, tmp_path: Path) -> None:
    values = np.column_stack([np.linspace(0, 5, len(face)), np.arange(len(face)) % 2.0])
    units = Signals(face.time, values, ("AU12", "AU12_c"), ("0-5", "0/1"))
    source = io.write_as(tmp_path / "of.csv", [face], "openface", [units])
    same = duchenne("convert", source, tmp_path / "again.csv", "--to", "openface")
    assert same.code == 0 and "left out" not in same.err
    (found,) = io.action_units(tmp_path / "again.csv")
    assert found.names == units.names and found.units == units.units
    np.testing.assert_allclose(found.values[face.seen], values[face.seen])
    for dialect in ("py-feat", "duchenne"):
        result = duchenne("convert", source, tmp_path / f"{dialect}.csv", "--to", dialect)
        assert result.code == 0 and result.err.startswith("note: action units are left out: ")
        with pytest.raises(Exception, match="no action units"):
            io.action_units(tmp_path / f"{dialect}.csv")
    back = duchenne("convert", tmp_path / "py-feat.csv", tmp_path / "back.csv", "--to", "openface")
    assert back.code == 0 and "left out" not in back.err  # there are none to lose


def test_one_clip_of_many_is_selected(duchenne: Command, face: FaceTrack, tmp_path: Path) -> None:
    other = simulate.track(simulate.SPONTANEOUS, 30.0, seed=4)
    source = io.save_tracks(tmp_path / "many.npz", [face, replace(other, source="laugh")])
    for dialect in ("duchenne", "openface", "py-feat"):
        result = duchenne("convert", source, tmp_path / "x.csv", "--to", dialect)
        assert result.code == 2 and "holds 2 clips" in result.sentence and f"{source}#0" in result.sentence
    for place in (tmp_path, source):
        assert f"{source}#0" in duchenne("convert", place, tmp_path / "x.csv").sentence
    for which in ("1", "laugh"):
        assert duchenne("convert", f"{source}#{which}", tmp_path / "x.csv").code == 0
        assert len(rows(tmp_path / "x.csv")) == len(other) != len(face)
    assert duchenne("convert", source, tmp_path / "copy.npz").code == 0  # tracks hold as many as one likes
    assert [t.source for t in io.load_tracks(tmp_path / "copy.npz")] == ["smile", "laugh"]
    assert "no row '7'" in duchenne("convert", f"{source}#7", tmp_path / "y.csv").sentence
    assert "contains times" in duchenne("convert", f"{source}#1", tmp_path / "y.csv", "--rate", "30").sentence
    np.savez(tmp_path / "f.npz", features=np.zeros((2, 3)))
    assert "not face tracks" in duchenne("convert", f"{tmp_path / 'f.npz'}#1", tmp_path / "y.csv").sentence
    assert not (tmp_path / "y.csv").exists()


def still(face: FaceTrack, path: Path) -> Path:
    """An OpenFace table of `face` without times, as of a folder of pictures: every timestamp is 0."""
    table = io.to_openface([face])
    table["timestamp"] = 0.0
    table.to_csv(path, index=False)
    return path


def test_openface_without_times_needs_a_rate(duchenne: Command, face: FaceTrack, tmp_path: Path) -> None:
    source = still(face, tmp_path / "of.csv")
    for words in ((), ("--rate", "0"), ("--rate", "-5"), ("--rate", "nan")):
        result = duchenne("convert", source, tmp_path / "x.csv", *words)
        assert result.code in (1, 2) and "--rate" in result.sentence and not (tmp_path / "x.csv").exists()
    assert duchenne("convert", source, tmp_path / "x.csv", "--rate", "50").code == 0
    (found,) = io.load_tracks(tmp_path / "x.csv")
    np.testing.assert_allclose(found.time, np.arange(len(face)) / 50, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "out", "words", "code", "expected"),
    [
        ("0.npz", "x.csv", ("--to", "mediapipe"), 2, "choose duchenne, openface or py-feat"),
        ("0.npz", "x.npz", ("--to", "openface"), 2, "use a name that ends in .csv"),
        ("0.npz", "x.xlsx", (), 2, "use a name that ends in .csv"),
        ("0.npz", "x", (), 2, "use a name that ends in .csv"),
        ("0.npz", "x.csv", ("--rate", "25"), 2, "leave out the rate"),
        ("none.npz", "x.csv", (), 1, "There is no file"),
        ("none.npz#1", "x.csv", (), 1, "There is no file"),
        ("text.csv", "x.csv", (), 1, "not a table of face tracks"),
        ("0.npz", "text.csv/x.csv", (), 1, "cannot be written"),
    ],
)
def test_invalid_conversion_is_one_sentence(
    duchenne: Command,
    face: FaceTrack,
    tmp_path: Path,
    source: str,
    out: str,
    words: tuple[str, ...],
    code: int,
    expected: str,
) -> None:
    io.save_tracks(tmp_path / "0.npz", [face])
    (tmp_path / "text.csv").write_text("a,b\n1,2\n")
    result = duchenne("convert", tmp_path / source, tmp_path / out, *words)
    assert result.code == code and expected in result.sentence and result.out == ""
    assert names(tmp_path) == ["0.npz", "text.csv"]


# --- models apply on tables of others ------------------------------------------------------------------------


def apply(duchenne: Command, source: Path, out: Path, *words: str) -> dict[str, str]:
    result = duchenne("models", "apply", "default", source, "-o", out, *words)
    assert result.code == 0, result.err
    (row,) = rows(out)
    return row


def test_model_gives_the_same_probability_in_every_format(duchenne: Command, face: FaceTrack, tmp_path: Path) -> None:
    """The npz holds the points as they are, tables round them to 0.01 px."""
    plain = apply(duchenne, io.save_tracks(tmp_path / "0.npz", [face]), tmp_path / "p.csv")
    sources = [io.write_as(tmp_path / f"{who}.csv", [face], who) for who in ("duchenne", "openface", "py-feat")]
    for source in sources:
        found = apply(duchenne, source, tmp_path / "p.csv")
        assert float(found["p_raw"]) == pytest.approx(float(plain["p_raw"]), abs=0.02)
        assert found["shows"] == plain["shows"] != ""
    timed = apply(duchenne, still(face, tmp_path / "still.csv"), tmp_path / "p.csv", "--rate", "25")
    assert timed["p_raw"] == apply(duchenne, sources[1], tmp_path / "p.csv")["p_raw"]
    slow = apply(duchenne, tmp_path / "still.csv", tmp_path / "p.csv", "--rate", "5")
    assert slow["abstained"] == "1" and "5 per second" in slow["reason"]


def test_apply_needs_a_rate_only_without_times(duchenne: Command, face: FaceTrack, tmp_path: Path) -> None:
    result = duchenne("models", "apply", "default", still(face, tmp_path / "of.csv"), "-o", tmp_path / "p.csv")
    assert result.code == 1 and "--rate" in result.sentence
    table = io.to_pyfeat([face]).drop(columns="approx_time")
    table.to_csv(tmp_path / "pf.csv", index=False)
    result = duchenne("models", "apply", "default", tmp_path / "pf.csv", "-o", tmp_path / "p.csv")
    assert result.code == 2 and "--rate" in result.sentence
    columns = pipeline.load_model("default").descriptors.names
    (tmp_path / "d.csv").write_text(",".join(columns) + "\n" + ",".join(["0"] * len(columns)) + "\n")
    for own in (io.save_tracks(tmp_path / "0.npz", [face]), tmp_path / "d.csv"):
        result = duchenne("models", "apply", "default", own, "-o", tmp_path / "p.csv", "--rate", "25")
        assert result.code == 2 and "leave out the rate" in result.sentence
    assert not (tmp_path / "p.csv").exists()


@shared
def test_real_openface_table_is_judged_with_times_or_rate(duchenne: Command, tmp_path: Path) -> None:
    source = DATA / "clips" / "openface_output.csv"
    times = pd.read_csv(source, skipinitialspace=True)["timestamp"]
    own = apply(duchenne, source, tmp_path / "p.csv")
    given = apply(duchenne, source, tmp_path / "p.csv", "--rate", "30")
    assert own["abstained"] == given["abstained"] == "1"
    assert times.iloc[-1] < 0.6 and own["reason"].startswith("Too short")  # the file's clock stands almost still
    assert given["reason"].startswith("Nothing moves")  # 100 frames of a face at rest
