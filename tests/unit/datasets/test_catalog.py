"""Copies of data sets are found under their real names, and what is missing or odd in them is reported."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from duchenne.datasets import catalog
from duchenne.datasets.layouts import copies
from duchenne.datasets.manifest import read, write
from duchenne.errors import InputError, UsageError

CODES = ("N2A", "N2C", "N2D", "N2H", "N2S", "N2Sur", "H2N2A", "H2N2C", "H2N2D", "S2N2H", "H2N2S", "D2N2Sur")
SHEET = "genuine,group,gender,age,onset_duration_full\n0,10,0,10,1.8\n1,1009,1,9,2.25\n"


def tree(root: Path, files: Mapping[str, bytes | str]) -> Path:
    """Files with their contents below `root`."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def sase(root: Path, people: tuple[str, ...] = ("7", "8")) -> Path:
    return tree(root, {f"FakeTrue_DB/{who}/{code}.MP4": f"{who} {code}" for who in people for code in CODES})


def found(name: str, root: Path, layout: str | None = None) -> dict[str, tuple[str | None, str | None, str | None]]:
    """Person, emotion and label by the path below `root`."""
    base = root if root.is_dir() else root.parent
    rows = catalog.entries(name, root, layout=layout)
    return {
        Path(row.clip.path).relative_to(base).as_posix(): (row.clip.subject, row.clip.emotion, row.clip.label)
        for row in rows
    }


@pytest.mark.parametrize("inside", ["", "FakeTrue_DB"])
def test_sase_fe_codes_give_person_emotion_and_label(tmp_path: Path, inside: str) -> None:
    clips = found("sase-fe", sase(tmp_path, ("Eve", "8")) / inside)
    lead = "" if inside else "FakeTrue_DB/"
    # science of the set: N2x is genuine, y2N2x is x acted after y
    assert clips[f"{lead}8/N2Sur.MP4"] == ("8", "surprise", "genuine")
    assert clips[f"{lead}8/N2S.MP4"] == ("8", "sadness", "genuine")
    assert clips[f"{lead}Eve/D2N2Sur.MP4"] == ("Eve", "surprise", "posed")
    assert clips[f"{lead}Eve/H2N2C.MP4"] == ("Eve", "contempt", "posed")
    assert len(clips) == 24 and list(clips) == sorted(clips)
    assert sorted(label for *_, label in clips.values()) == ["genuine"] * 12 + ["posed"] * 12


def test_sase_fe_other_spellings_are_read(tmp_path: Path) -> None:
    root = tree(tmp_path, {"Train/3/d2n2s.avi": "a", "Train/3/N2SUR .mp4": "b", "Train/3/.DS_Store": "c"})
    assert found("sase-fe", root) == {
        "Train/3/N2SUR .mp4": ("3", "surprise", "genuine"),
        "Train/3/d2n2s.avi": ("3", "surprise", "posed"),
    }
    assert {row.facts["code"] for row in catalog.entries("sase-fe", root)} == {"N2Sur", "D2N2Sur"}


def test_check_of_a_complete_copy_is_ok(tmp_path: Path) -> None:
    report = catalog.check("SASE_FE", sase(tmp_path))
    assert report.ok and (report.layout, report.clips, report.people) == ("videos as released", 24, 2)
    assert report.labels == {"genuine": 12, "posed": 12}
    assert report.emotions == dict.fromkeys(("anger", "contempt", "disgust", "happiness", "sadness", "surprise"), 4)


def test_known_byte_identical_files_are_reported_with_the_known_fault(tmp_path: Path) -> None:
    root = sase(tmp_path)
    same = {f"FakeTrue_DB/8/{code}.MP4": "same" for code in ("H2N2A", "H2N2C", "H2N2D")}
    report = catalog.check("sase-fe", tree(root, same))
    assert report.missing == () and len(report.odd) == 1
    assert report.odd[0].startswith(f"byte-identical: {', '.join(same)} (known fault of the set: H2N2A, H2N2C")
    notes = {Path(row.clip.path).name: row.facts.get("note") for row in catalog.entries("sase-fe", root)}
    assert notes["H2N2C.MP4"] == "byte-identical with FakeTrue_DB/8/H2N2A.MP4, FakeTrue_DB/8/H2N2D.MP4"
    assert notes["N2A.MP4"] is None


def test_other_byte_identical_files_are_reported_without_it(tmp_path: Path) -> None:
    root = tree(sase(tmp_path), {"FakeTrue_DB/7/N2A.MP4": "x", "FakeTrue_DB/8/N2A.MP4": "x"})
    assert catalog.check("sase-fe", root).odd == ("byte-identical: FakeTrue_DB/7/N2A.MP4, FakeTrue_DB/8/N2A.MP4",)


def test_missing_empty_repeated_and_unmatched_files_are_reported(tmp_path: Path) -> None:
    root = sase(tmp_path)
    (root / "FakeTrue_DB/7/N2A.MP4").unlink()
    (root / "FakeTrue_DB/7/S2N2H.MP4").unlink()
    new = {"FakeTrue_DB/8/N2D.MP4": "", "FakeTrue_DB/8/n2h.avi": "again", "FakeTrue_DB/8/N2X.mp4": "?", "note.txt": "-"}
    report = catalog.check("sase-fe", tree(root, new))
    assert report.missing == ("person 7 lacks N2A, S2N2H",)
    assert report.odd == (
        "person 8 has N2H more than once",
        "FakeTrue_DB/8/N2D.MP4 is empty",
        "names that do not match this layout: FakeTrue_DB/8/N2X.mp4",
    )
    assert not report.ok and report.clips == 23


def test_challenge_clips_have_neither_person_nor_label(tmp_path: Path) -> None:
    root = tree(tmp_path, {"Val/17_CONTENTMENT.mp4": "a", "Val/2_Happiness.MP4": "b"})
    assert found("sase-fe", root) == {
        "Val/17_CONTENTMENT.mp4": (None, "contempt", None),
        "Val/2_Happiness.MP4": (None, "happiness", None),
    }
    report = catalog.check("sase-fe", root)
    assert (report.people, report.labels, report.ok) == (0, {"unknown": 2}, True)


def test_pedfe_letters_give_emotion_and_label(tmp_path: Path) -> None:
    # Italian: disgusto, felicità, paura, rabbia, sorpresa, tristezza; genuina or simulata
    emotions = {"d": "disgust", "f": "happiness", "p": "fear", "r": "anger", "s": "surprise", "t": "sadness"}
    kinds = {"g": "genuine", "s": "posed"}
    expected = {
        f"PEDFE_set_clips/10_{letter}{kind}_1.avi": ("10", emotion, label)
        for letter, emotion in emotions.items()
        for kind, label in kinds.items()
    }
    root = tree(tmp_path, {name: name for name in expected})
    assert found("pedfe", root) == expected
    report = catalog.check("pedfe", root)
    assert report.missing == ("a complete copy has 1458 clips, found 12", "a complete copy has 56 people, found 1")


def test_pedfe_landmarks_count_before_the_raw_clips_beside_them(tmp_path: Path) -> None:
    tree(tmp_path, {"clips/3_ps_1.avi": "a", "clips/9_tg_2.avi": "b"})
    pack(tmp_path / "points.npz", subject=[3], genuine=[0], emotion=["fear"])
    raw = {"3_ps_1.avi": ("3", "fear", "posed"), "9_tg_2.avi": ("9", "sadness", "genuine")}
    assert found("pedfe", tmp_path) == {"points.npz#0": ("3", "fear", "posed")} and catalog.check("pedfe", tmp_path).ok
    assert found("pedfe", tmp_path / "clips") == raw
    assert found("pedfe", tmp_path, "videos as released") == {f"clips/{name}": said for name, said in raw.items()}


def test_uva_nemo_names_give_person_and_label(tmp_path: Path) -> None:
    root = tree(tmp_path, {"videos/001_deliberate_smile_2.mp4": "a", "videos/057_spontaneous_smile_3.mp4": "b"})
    assert found("uva-nemo", root) == {
        "videos/001_deliberate_smile_2.mp4": ("001", "happiness", "posed"),
        "videos/057_spontaneous_smile_3.mp4": ("057", "happiness", "genuine"),
    }


def test_the_file_list_of_uva_nemo_gives_the_person(tmp_path: Path) -> None:
    row = "{}_smile_1.mp4\t{}\tfemale\t31\t{}\r\n"
    rows = [("001_deliberate", "207", "deliberate"), ("002_spontaneous", "207", "spontaneous"), ("3_x", "9", "posed")]
    text = "UvA-NEMO\r\n\r\nFilename\tSubject Code\tGender\tAge\tSmile\r\n" + "".join(row.format(*r) for r in rows)
    name = "UvA-NEMO_Smile_Database_File_Details.txt"
    root = tree(tmp_path, {name: text, "v/001_deliberate_smile_1.mp4": "a", "v/002_spontaneous_smile_1.mp4": "b"})
    assert found("uva-nemo", root) == {
        "v/001_deliberate_smile_1.mp4": ("207", "happiness", "posed"),
        "v/002_spontaneous_smile_1.mp4": ("207", "happiness", "genuine"),
    }
    assert catalog.entries("uva-nemo", root)[0].facts == {"gender": "female", "age": "31"}
    tree(root, {name: text.replace("\tfemale\t31\tspontaneous", "")})
    with pytest.raises(InputError, match=r"File_Details\.txt, line 5, has 2 cells"):
        catalog.entries("uva-nemo", root)


def test_tables_of_smile_descriptors_are_read(tmp_path: Path) -> None:
    tree(tmp_path, {"lip.csv": SHEET, "eye.csv": SHEET.replace("1009", "77")})
    assert found("uva-nemo", tmp_path) == {
        "lip.csv#0": ("10", "happiness", "posed"),
        "lip.csv#1": ("1009", "happiness", "genuine"),
    }
    eyes = {"eye.csv#0": ("10", "happiness", "posed"), "eye.csv#1": ("77", "happiness", "genuine")}
    assert found("uva-nemo", tmp_path / "eye.csv") == eyes
    assert found("uva-nemo", tmp_path, "eyelid descriptors") == eyes
    assert catalog.check("uva-nemo", tmp_path / "eye.csv").layout == "eyelid descriptors"


def test_rows_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    tree(tmp_path, {"lip.csv": SHEET + "1,3,0,3,1.0\n" * 10})
    assert [row.clip.path.rpartition("#")[2] for row in catalog.entries("uva-nemo", tmp_path)] == [
        str(i) for i in range(12)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("genuine,age\n1,2\n", r"lip\.csv lacks the columns group; found age, genuine\."),
        (SHEET + "2,10,0,10,1\n", r"lip\.csv, line 4, has the label '2'; expected one of genuine"),
        (SHEET + "1,10\n", r"lip\.csv, line 4, has 2 cells for 5 columns"),
        (SHEET + "1,10,0,10,1,9\n", r"lip\.csv, line 4, has 6 cells for 5 columns"),
        (b"genuine,group\n\xff,1\n", r"lip\.csv is not UTF-8 text"),
        ("a,b\n1,2\n", "holds no copy of UvA-NEMO"),
    ],
)
def test_damaged_tables_raise(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        catalog.entries("uva-nemo", tree(tmp_path, {"lip.csv": text}))


def pack(path: Path, **arrays: object) -> Path:
    np.savez(path, **{name: np.asarray(values) for name, values in arrays.items()})
    return path


def test_packed_files_are_read(tmp_path: Path) -> None:
    names = {"emotion": ["fear", "contentment"], "clip": ["3_ps_1", "9_x"]}
    pack(tmp_path / "points.npz", subject=[3, 9], genuine=[0, 1], rated_genuine=[np.nan, 1 / 3], **names)
    assert found("pedfe", tmp_path) == {
        "points.npz#0": ("3", "fear", "posed"),
        "points.npz#1": ("9", "contempt", "genuine"),
    }
    facts = [row.facts for row in catalog.entries("pedfe", tmp_path.parent / tmp_path.name / "points.npz")]
    assert facts == [{"clip": "3_ps_1", "rated_genuine": ""}, {"clip": "9_x", "rated_genuine": "0.333333"}]


def test_other_packed_files_are_not_taken_for_a_data_set(tmp_path: Path) -> None:
    pack(tmp_path / "train.npz", images=np.zeros((2, 4, 4)), labels=[0, 1])
    with pytest.raises(InputError, match="holds no copy of SASE-FE"):
        catalog.entries("sase-fe", tmp_path)


def test_damaged_packed_files_raise(tmp_path: Path) -> None:
    path = tmp_path / "points.npz"
    valid = {"subject": [1, 2], "emotion": ["fear", "anger"], "genuine": [0, 1]}
    damaged = {
        "lacks the arrays emotion": {"subject": [1], "genuine": [0]},
        "one value per clip": {**valid, "genuine": [0]},
        "row 1, has the emotion 'bored'": {**valid, "emotion": ["fear", "bored"]},
        "cannot be read as a packed": {**valid, "emotion": np.array(["fear", None], object)},
    }
    for message, arrays in damaged.items():
        pack(path, **arrays)
        with pytest.raises(InputError, match=message):
            catalog.entries("pedfe", tmp_path)
    whole = pack(path, **valid).read_bytes()
    for content in (b"", b"no npz at all", whole[: len(whole) // 2], whole[:60] + b"\0" * 40 + whole[100:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"points\.npz cannot be read as a packed \.npz file"):
            catalog.entries("pedfe", tmp_path)


def test_the_other_data_sets_are_read(tmp_path: Path) -> None:
    tree(tmp_path / "bbc", {"genuine/03.mp4": "a", "fake/01.mp4": "b"})
    assert found("bbc", tmp_path / "bbc") == {
        "fake/01.mp4": (None, "happiness", "posed"),
        "genuine/03.mp4": (None, "happiness", "genuine"),
    }
    tree(tmp_path / "spos", {"VIS/s1/spontaneous/happy/2.avi": "a", "NIR/s1/posed/fear/2.avi": "b"})
    assert found("spos", tmp_path / "spos") == {
        "NIR/s1/posed/fear/2.avi": ("s1", "fear", "posed"),
        "VIS/s1/spontaneous/happy/2.avi": ("s1", "happiness", "genuine"),
    }
    tree(tmp_path / "mmi", {"Sessions/224/S002-106.avi": "a", "Sessions/224/session.xml": "<x/>"})
    assert found("mmi", tmp_path / "mmi") == {"Sessions/224/S002-106.avi": ("S002", None, None)}
    assert catalog.check("mmi", tmp_path / "mmi").ok


def test_copies_groups_equal_files(tmp_path: Path) -> None:
    long = b"x" * 5000
    files = {"a": b"1", "b": b"1", "c": b"2", "d": long + b"1", "e": long + b"2", "f": long + b"1", "g": b"", "h": b""}
    root = tree(tmp_path, files)
    groups = copies([*(str(root / name) for name in files), str(root / "a"), f"{root / 'a'}#1", str(root / "gone")])
    assert [[Path(path).name for path in group] for group in groups] == [["a", "b"], ["d", "f"]]


def test_entries_make_a_manifest_that_reads_back(tmp_path: Path) -> None:
    rows = catalog.entries("sase-fe", sase(tmp_path))
    path = write(tmp_path / "m.csv", rows)
    assert read(path) == [row.clip for row in rows]
    assert path.read_text().splitlines()[:2] == [
        "path,subject,emotion,label,start,end,fold,code",
        "FakeTrue_DB/7/D2N2Sur.MP4,7,surprise,posed,,,,D2N2Sur",
    ]


def test_unknown_names_raise(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no data set 'ckx' in the catalogue; choose one of: .*pedfe"):
        catalog.load("ckx")
    with pytest.raises(UsageError, match=r"PEDFE has no layout 'x'; choose one of: packed landmarks, videos as"):
        catalog.entries("pedfe", tmp_path, layout="x")
    with pytest.raises(InputError, match=r"no folder .*gone; expected points.npz .*; or clips named .*its authors"):
        catalog.check("pedfe", tmp_path / "gone")
    with pytest.raises(InputError, match=r"other\.npz holds no copy of PEDFE"):
        catalog.entries("pedfe", pack(tmp_path / "other.npz", a=[1]))


@pytest.mark.parametrize(
    ("name", "place", "clips", "people"),
    [
        ("pedfe", "pedfe", 1070, 42),
        ("uva-nemo", "uva_nemo/lip.csv", 963, 88),
        ("uva-nemo", "uva_nemo/eye.csv", 963, 88),
        ("sase-fe", "sase_fe_features", 480, 40),
    ],
)
def test_shared_packed_files_are_complete(name: str, place: str, clips: int, people: int) -> None:
    data = os.environ.get("DUCHENNE_DATA")
    if not data:
        pytest.skip("DUCHENNE_DATA names no folder with the packed data sets")
    report = catalog.check(name, Path(data) / "data" / place)
    assert (report.clips, report.people, report.ok) == (clips, people, True)
    assert "unknown" not in report.labels and "unknown" not in report.emotions


def test_pedfe_file_names_agree_with_the_packed_file(tmp_path: Path) -> None:
    data = os.environ.get("DUCHENNE_DATA")
    if not data:
        pytest.skip("DUCHENNE_DATA names no folder with the packed data sets")
    rows = catalog.entries("pedfe", Path(data) / "data" / "pedfe")
    packed = {row.facts["clip"]: (row.clip.subject, row.clip.emotion, row.clip.label) for row in rows}
    named = found("pedfe", tree(tmp_path, {f"{clip}.avi": clip for clip in packed}))
    assert {name.removesuffix(".avi"): said for name, said in named.items()} == packed
