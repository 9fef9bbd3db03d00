"""Coded data sets are read as released; every answer is worked out by hand from the tree written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from duchenne.datasets import coded
from duchenne.datasets.entry import Entry
from duchenne.errors import InputError
from duchenne.types import Clip
from duchenne.video import frames, image_files

CASME2 = ["Subject", "Filename", "", "OnsetFrame", "ApexFrame", "OffsetFrame", "", "Action Units", "Estimated Emotion"]
SAMM = [
    "Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration", "Micro",
    "Action Units", "Estimated Emotion", "Objective Classes", "Notes",
]  # fmt: skip
ROW = ["1", "EP02_01f", "", "46", "59", "86", "", "12", "happiness"]


def touch(folder: Path, names: Iterable[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def workbook(path: Path, rows: list[list[object]]) -> None:
    width = max(map(len, rows))
    padded = [[*row, *[None] * (width - len(row))] for row in rows]
    pd.DataFrame(padded).to_excel(path, header=False, index=False)


def casme2(root: Path, *rows: Iterable[object], header: Iterable[object] = CASME2) -> Path:
    workbook(root / "CASME2-coding-20140508.xlsx", [list(header), *map(list, rows)])
    return root


def test_casme2_counts_seconds_from_the_first_image(tmp_path: Path) -> None:
    folder = touch(tmp_path / "CASME2-RAW" / "sub01" / "EP02_01f", (f"img{i}.jpg" for i in range(26, 127)))
    touch(tmp_path / "CASME2-RAW" / "sub17" / "EP05_09", (f"img{i}.jpg" for i in range(1, 60)))
    casme2(
        tmp_path,
        [17, "EP05_09", None, 1, "/", 41, None, "4 + L10", "repression"],
        [1, "EP02_01f", None, 46, 59, 86, None, 12, "happiness"],
    )
    one, other = coded.casme2(tmp_path)
    # (46 − 26) / 200, (59 − 26) / 200, (86 − 26) / 200, and the clip ends with frame 86: (87 − 26) / 200.
    assert one == Entry(
        Clip(str(folder), "sub01", "happiness", start=0.1, end=0.305),
        {
            "rate": "200",
            "action_units": "12",
            "emotion_as_labelled": "happiness",
            "onset": "0.100",
            "apex": "0.165",
            "offset": "0.300",
        },
    )
    assert (other.clip.subject, other.clip.emotion, other.clip.start, other.clip.end) == ("sub17", None, 0.0, 0.205)
    assert other.facts == {
        "rate": "200", "action_units": "4+L10", "emotion_as_labelled": "repression",
        "onset": "0.000", "offset": "0.200",
    }  # fmt: skip


def test_clip_seconds_match_the_coded_frames(tmp_path: Path) -> None:
    import cv2

    folder = touch(tmp_path / "Cropped" / "sub01" / "EP02_01f", ())
    for i in range(40, 95):  # every picture shows its own number
        cv2.imwrite(str(folder / f"reg_img{i}.png"), np.full((16, 16), i, np.uint8))
    (entry,) = coded.casme2(casme2(tmp_path, ROW))
    shown = [int(frame.bgr.mean()) for frame in frames(folder, rate=200.0, start=entry.clip.start, end=entry.clip.end)]
    assert shown == list(range(46, 87))
    assert image_files(folder)[0].name == "reg_img40.png"


def test_the_fuller_of_raw_and_cropped_copies_is_used(tmp_path: Path) -> None:
    casme2(tmp_path, ROW, ["2", "EP01_11f", "", "46", "91", "118", "", "4", "disgust"])
    for name in ("EP02_01f", "EP01_11f"):
        touch(tmp_path / "Cropped" / f"sub0{1 + (name == 'EP01_11f')}" / name, ["reg_img46.jpg"])
    touch(tmp_path / "CASME2-RAW" / "sub01" / "EP02_01f", ["img1.jpg"])
    assert {Path(entry.clip.path).parents[1].name for entry in coded.casme2(tmp_path)} == {"Cropped"}
    touch(tmp_path / "CASME2-RAW" / "sub02" / "EP01_11f", ["img1.jpg"])
    assert {Path(entry.clip.path).parents[1].name for entry in coded.casme2(tmp_path)} == {"CASME2-RAW"}


def test_missing_and_cut_clips_are_kept_with_a_note(tmp_path: Path) -> None:
    touch(tmp_path / "sub16" / "EP01_08", (f"reg_img{i}.jpg" for i in range(73, 97)))
    touch(tmp_path / "sub16" / "EP01_09", ["img1.jpg", "img3.jpg"])
    rows = [["16", name, "", "73", "94", "110", "", "4", "others"] for name in ("EP01_08", "EP01_10")]
    cut, late, missing = coded.casme2(
        casme2(tmp_path, *rows, ["16", "EP01_09", "", "1", "2", "3", "", "", "Happiness"])
    )
    assert cut.facts["note"] == "coded are frames 73 to 110, there are 73 to 96"
    assert (late.facts["note"], late.clip.emotion) == (
        "1 images between the first and the last are missing",
        "happiness",
    )
    assert missing.clip == Clip(str(tmp_path / "sub16" / "EP01_10"), "sub16")
    assert missing.facts["note"] == "no images, so no times"
    assert "onset" not in missing.facts


@pytest.mark.parametrize(
    ("column", "cell", "fault"),
    [
        ("OnsetFrame", "early", "'early' as Onset Frame"),
        ("OnsetFrame", "46.5", "'46.5' as Onset Frame"),
        ("OffsetFrame", "", "'' as Offset Frame"),
        ("ApexFrame", "-3", "'-3' as Apex Frame"),
        ("ApexFrame", "90", "apex at frame 90, outside onset 46 and offset 86"),
        ("OffsetFrame", "0", "offset at frame 0, before its onset at 46"),
        ("Subject", "anna", "the subject 'anna'"),
        ("Filename", "", "has no Filename"),
    ],
)
def test_an_invalid_row_raises_with_its_number(tmp_path: Path, column: str, cell: str, fault: str) -> None:
    broken = [cell if name == column else value for name, value in zip(CASME2, ROW, strict=True)]
    with pytest.raises(InputError) as caught:
        coded.casme2(casme2(tmp_path, ROW, broken))
    assert "CASME2-coding-20140508.xlsx, row 3, " in str(caught.value)
    assert fault in str(caught.value)


def test_an_invalid_sheet_raises(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks the column Apex Frame;"):
        coded.casme2(casme2(tmp_path, ROW, header=[name.replace("Apex", "Top") for name in CASME2]))
    with pytest.raises(InputError, match="lists no clips"):
        coded.casme2(casme2(tmp_path))
    (tmp_path / "CASME2-coding-20140508.xlsx").write_bytes(b"PK not a zip")
    with pytest.raises(InputError, match="cannot be read as a sheet"):
        coded.casme2(tmp_path)
    (tmp_path / "CASME2-coding-20190701.csv").write_bytes("Subject,Filename\n1,\xff".encode("latin-1"))
    with pytest.raises(InputError, match=r"20190701\.csv is not UTF-8 text"):
        coded.casme2(tmp_path)


SAMM_ROWS = [
    ["006", "006_1_2", "1", "5562", "5575", "5607", "46", "Micro - 1/2", "12A or R12A, 4", "Happiness", "2", ""],
    ["028", "028_4_1", "4", "100", "300", "150", "51", "Micro - 1/2", "4", "Other", "7", ""],
]


def samm_csv(root: Path, mark: str) -> None:
    quoted = (mark.join(f'"{cell}"' for cell in row) for row in [SAMM, *SAMM_ROWS])
    lines = ["Codes of SAMM, with commas, many, many, and ; one", "", *quoted, ""]
    write(root / "SAMM_Micro_FACS_Codes_v2.csv", "\ufeff" + "\n".join(lines))


def samm_xlsx(root: Path) -> None:
    rows: list[list[object]] = [["SAMM"], *[[None]] * 12, list(SAMM)]
    rows += [[int(row[0]), row[1], *(int(c) if c.isdigit() else c for c in row[2:])] for row in SAMM_ROWS]
    workbook(root / "SAMM_Micro_FACS_Codes_v2.xlsx", rows)


@pytest.mark.parametrize("put", [samm_xlsx, lambda r: samm_csv(r, ","), lambda r: samm_csv(r, ";")])
def test_samm_is_read_below_its_explanation_and_as_csv(tmp_path: Path, put: Callable[[Path], None]) -> None:
    put(tmp_path)
    folder = touch(tmp_path / "SAMM" / "006" / "006_1_2", (f"006_{i:05}.jpg" for i in range(5562, 5608)))
    touch(tmp_path / "SAMM" / "028" / "028_4_1", (f"028_{i:04}.jpg" for i in range(100, 151)))
    happy, other = coded.samm(tmp_path)
    # (5575 − 5562) / 200, (5607 − 5562) / 200, (5608 − 5562) / 200
    assert happy == Entry(
        Clip(str(folder), "006", "happiness", start=0.0, end=0.23),
        {
            "rate": "200", "action_units": "12A or R12A, 4", "emotion_as_labelled": "Happiness",
            "onset": "0.000", "apex": "0.065", "offset": "0.225",
        },
    )  # fmt: skip
    # A fault of the sheet as released, so not an error.
    assert other.facts["note"] == "left out: apex at frame 300, outside onset 100 and offset 150"
    assert "apex" not in other.facts
    assert (other.clip.emotion, other.facts["emotion_as_labelled"], other.clip.end) == (None, "Other", 0.255)


def test_samm_rows_are_numbered_as_in_the_sheet(tmp_path: Path) -> None:
    rows: list[list[object]] = [["about"], [None], list(SAMM), ["007", "007_3_1", "3", "9", "10", "x", *[""] * 6]]
    workbook(tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx", rows)
    with pytest.raises(InputError, match=r"xlsx, row 4, has 'x' as Offset Frame; expected the number"):
        coded.samm(tmp_path)


def test_smic_is_read(tmp_path: Path) -> None:
    touch(tmp_path / "HS" / "s1" / "micro" / "positive" / "s1_po_01", ["image090823.bmp"])
    touch(tmp_path / "HS" / "s18" / "micro" / "surprise" / "s18_sur_03", ())
    touch(tmp_path / "VIS" / "s11" / "non_micro" / "s11_n1", ["image000001.bmp"])
    assert coded.smic(tmp_path) == [
        Entry(
            Clip(str(tmp_path / "HS/s1/micro/positive/s1_po_01"), "s1"),
            {"camera": "HS", "rate": "100", "kind": "micro", "emotion_as_labelled": "positive"},
        ),
        Entry(
            Clip(str(tmp_path / "HS/s18/micro/surprise/s18_sur_03"), "s18"),
            {"camera": "HS", "rate": "100", "kind": "micro", "emotion_as_labelled": "surprise", "note": "no images"},
        ),
        Entry(
            Clip(str(tmp_path / "VIS/s11/non_micro/s11_n1"), "s11"),
            {"camera": "VIS", "rate": "25", "kind": "non-micro"},
        ),
    ]
    moved = touch(tmp_path / "HS" / "s1" / "micro" / "negative" / "s2_ne_01", ["image1.bmp"])
    with pytest.raises(InputError, match="s2_ne_01 lies in the folder of s1"):
        coded.smic(tmp_path)
    moved.rename(touch(tmp_path / "HS" / "s1" / "micro" / "happy", ()) / "s1_ha_01")
    with pytest.raises(InputError, match="named 'happy'; expected positive, negative or surprise"):
        coded.smic(tmp_path)


def ck(root: Path, emotion: str | None = "   3.0000000e+00\n", facs: str | None = None) -> Path:
    touch(root / "cohn-kanade-images" / "S005" / "001", (f"S005_001_{i:08}.png" for i in range(1, 12)))
    if emotion is not None:
        write(root / "Emotion" / "S005" / "001" / "S005_001_00000011_emotion.txt", emotion)
    facs = "   9.0000000e+00   4.0000000e+00\n   1.7000000e+01   0.0000000e+00\n" if facs is None else facs
    write(root / "FACS" / "S005" / "001" / "S005_001_00000011_facs.txt", facs)
    return root


def test_ck_plus_is_read(tmp_path: Path) -> None:
    touch(tmp_path / "cohn-kanade-images" / "S010" / "002", ["S010_002_00000001.png"])
    touch(tmp_path / "Emotion" / "S010" / "002", ())  # the release has empty folders for sequences without emotion
    (tmp_path / "cohn-kanade-images" / ".DS_Store").touch()
    images = tmp_path / "cohn-kanade-images"
    assert coded.ck_plus(ck(tmp_path)) == [
        Entry(
            Clip(str(images / "S005/001"), "S005", "disgust", "posed"),
            {"emotion_as_labelled": "disgust", "action_units": "9:4+17"},
        ),
        Entry(Clip(str(images / "S010/002"), "S010", None, "posed"), {}),
    ]


def test_ck_plus_is_read_as_unpacked_from_its_archives(tmp_path: Path) -> None:
    ck(tmp_path)
    for name in ("Emotion", "FACS"):
        (tmp_path / f"{name}_labels").mkdir()
        (tmp_path / name).rename(tmp_path / f"{name}_labels" / name)
    (entry,) = coded.ck_plus(tmp_path)
    assert (entry.clip.emotion, entry.facts["action_units"]) == ("disgust", "9:4+17")


@pytest.mark.parametrize(
    ("emotion", "facs", "fault"),
    [
        ("8.0", None, "emotion.txt, line 1, has the emotion 8; expected a number from 0 to 7"),
        ("happy", None, "emotion.txt, line 1, is 'happy'; expected 1 numbers"),
        ("", None, "emotion.txt has 0 lines with numbers; expected 1"),
        ("3", "9.0 4.0\n17.0\n", "facs.txt, line 2, is '17.0'; expected 2 numbers"),
        ("3", "9.0 nan\n", "facs.txt, line 1, is '9.0 nan'"),
    ],
)
def test_invalid_ck_plus_labels_raise(tmp_path: Path, emotion: str, facs: str | None, fault: str) -> None:
    with pytest.raises(InputError) as caught:
        coded.ck_plus(ck(tmp_path, emotion, facs))
    assert fault in str(caught.value)


def test_two_emotion_files_for_one_sequence_raise(tmp_path: Path) -> None:
    write(ck(tmp_path) / "Emotion/S005/001/S005_001_00000010_emotion.txt", "1")
    with pytest.raises(InputError, match="holds 2 emotion files"):
        coded.ck_plus(tmp_path)


def disfa(root: Path, subject: str = "SN001") -> np.ndarray:
    """Intensities of four frames, written as they are released: unit k of frame i has (i * k) mod 6."""
    values = np.arange(4)[:, None] * np.arange(12) % 6
    for k, unit in enumerate(coded.DISFA_UNITS):
        lines = "".join(f"{i + 1},{values[i, k]}\n" for i in range(4))
        write(root / "ActionUnit_Labels" / subject / f"{subject}_au{unit}.txt", lines)
    return values


def test_disfa_is_read(tmp_path: Path) -> None:
    values = disfa(tmp_path)
    frames_, units, found = coded.disfa_intensities(tmp_path, "SN001")
    np.testing.assert_array_equal(frames_, [1, 2, 3, 4])
    np.testing.assert_array_equal(found, values)
    assert units == (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
    assert (frames_.dtype, found.dtype) == (np.int64, np.float64)

    left = touch(tmp_path / "Videos_LeftCamera", ["LeftVideoSN001_comp.avi"]) / "LeftVideoSN001_comp.avi"
    right = touch(tmp_path / "Video_RightCamera", ["RightVideoSN001_Comp.avi"]) / "RightVideoSN001_Comp.avi"
    disfa(tmp_path, "SN002")
    entries = coded.disfa(tmp_path)
    # Highest of 0, k, 2k, 3k modulo 6 for k = 0 … 11; unit 1 (k = 0) and unit 12 (k = 6) stay at 0.
    highest = "2:3+4:4+5:3+6:4+9:5+15:3+17:4+20:3+25:4+26:5"
    lost = tmp_path / "Videos_LeftCamera" / "LeftVideoSN002_comp.avi"
    assert [(e.clip, dict(e.facts)) for e in entries] == [
        (Clip(str(right), "SN001"), {"action_units": highest, "camera": "right"}),
        (Clip(str(left), "SN001"), {"action_units": highest, "camera": "left"}),
        (Clip(str(lost), "SN002"), {"action_units": highest, "camera": "left"}),
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1,0\n2;0\n", "SN001_au6.txt, line 2, is '2;0'"),
        ("1,0\n2,6\n", "SN001_au6.txt, line 2, is '2,6'; expected a frame and 0 to 5"),
        ("1,0\n2,0\n3,0\n", "SN001_au6.txt lists other frames than SN001_au1.txt"),
        ("", "SN001_au6.txt lists no frame"),
        (None, "SN001_au6.txt cannot be read"),
    ],
)
def test_invalid_disfa_labels_raise(tmp_path: Path, text: str | None, fault: str) -> None:
    disfa(tmp_path)
    path = tmp_path / "ActionUnit_Labels" / "SN001" / "SN001_au6.txt"
    path.unlink() if text is None else path.write_text(text)
    for call in (lambda: coded.disfa(tmp_path), lambda: coded.disfa_intensities(tmp_path, "SN001")):
        with pytest.raises(InputError) as caught:
            call()
        assert fault in str(caught.value)


@pytest.mark.parametrize("load", [coded.casme2, coded.samm, coded.smic, coded.ck_plus, coded.disfa])
def test_loaders_find_nothing_in_another_folder(tmp_path: Path, load: Callable[[Path], list[Entry]]) -> None:
    touch(tmp_path / "sub01", ["clip.mp4"])
    touch(tmp_path, ["notes.xlsx", "table.csv"])
    assert load(tmp_path) == []
    assert load(tmp_path / "nowhere") == []
