"""Tables of strangers are read alike, however written: separators, decimals, encodings, missing words, names."""

import logging
from pathlib import Path

import numpy as np
import pytest

from duchenne import io
from duchenne.datasets import manifest, splits
from duchenne.errors import InputError
from duchenne.evaluation import answers

HEAD = "path;subject;emotion;label;start;end\n"
ROW = "a.mp4;j;happiness;genuine;0,5;2\n"
POINTS = [f"{axis}_{i}" for axis in "xy" for i in range(68)]


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "t.csv"
    path.write_bytes(text.encode(encoding))
    return path


def openface(rows: int = 4) -> str:
    """An OpenFace table of one face, with decimals in every measured cell."""
    names = ["frame", "timestamp", "confidence", "success", *POINTS, "AU12_r", "AU12_c"]
    lines = [", ".join(names)]
    for k in range(rows):
        points = [f"{100.25 + 3 * i + k}" for i in range(136)]
        lines.append(", ".join([f"{k + 1}", f"{k / 25}", "0.98", "1", *points, "1.5", "1"]))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (HEAD + ROW, "utf-8-sig"),
        ("sep=;\r\n" + (HEAD + ROW).replace("\n", "\r\n"), "utf-8"),
        ((HEAD + ROW).replace(";", "\t"), "utf-16"),
        ((HEAD + ROW).replace(";", "\t"), "utf-16-le"),
        ((HEAD + ROW).replace(";", " | ").replace("0,5", "0.5"), "utf-8"),
        ((HEAD + ROW).replace("\n", ";\n"), "utf-8"),
        (HEAD + ROW.replace("\n", ";;\n"), "utf-8"),
        ("\n\n" + HEAD.replace(";", "; ") + "\n" + ROW, "utf-8"),
        (
            '"","path","subject","emotion","label","start","end"\n"1","a.mp4","j","happiness","TRUE","0,5","2"\n',
            "utf-8",
        ),
    ],
)
def test_a_manifest_is_read_however_it_was_saved(tmp_path: Path, text: str, encoding: str) -> None:
    (clip,) = manifest.read(write(tmp_path, text, encoding))
    assert (Path(clip.path).name, clip.subject, clip.emotion) == ("a.mp4", "j", "happiness")
    assert (clip.label, clip.start, clip.end) == ("genuine", 0.5, 2.0)


def test_decimal_commas_between_commas_are_ambiguous(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 2, has 8 cells for 6 columns; .* separate cells by semicolons"):
        manifest.read(write(tmp_path, HEAD.replace(";", ",") + "a.mp4,1,fear,1,0,5,2,0\n"))
    mixed = openface().split("\n", 1)
    with pytest.raises(InputError, match="line 2 has 1 cells where the header has 142; separate its cells by ';'"):
        io.load_tracks(write(tmp_path, mixed[0].replace(",", ";") + "\n" + mixed[1]))


@pytest.mark.parametrize("how", ["quoted", "row names", "semicolons", "tabs in UTF-16", "ends"])
def test_an_openface_table_is_read_however_it_was_saved(tmp_path: Path, how: str) -> None:
    plain = openface()
    lines = [line.split(", ") for line in plain.splitlines()]
    quoted = [[f'"{name}"' for name in lines[0]], *lines[1:]]
    named = [['""', *quoted[0]], *([f'"{k}"', *line] for k, line in enumerate(lines[1:], 1))]
    texts = {
        "quoted": ("\n".join(",".join(line) for line in quoted), "utf-8"),
        "row names": ("\n".join(",".join(line) for line in named), "utf-8"),
        "semicolons": (plain.replace(", ", ";").replace(".", ","), "utf-8-sig"),
        "tabs in UTF-16": (plain.replace(", ", "\t").replace(".", ",").replace("\n", "\r\n"), "utf-16"),
        "ends": (plain.replace("\n", ",\n"), "utf-8"),
    }
    (expected,) = io.load_tracks(write(tmp_path, plain))
    path = write(tmp_path, *texts[how])
    (track,) = io.load_tracks(path)
    np.testing.assert_array_equal(track.points, expected.points)
    np.testing.assert_allclose(track.time, [0, 0.04, 0.08, 0.12])
    (units,) = io.action_units(path)
    assert units.names == ("AU12", "AU12_c") and units["AU12"].tolist() == [1.5] * 4


@pytest.mark.parametrize("word", ["-nan(ind)", "1.#IND", "-1.#QNAN", "inf", "NA", "x"])
def test_what_stands_in_rows_without_a_face_is_not_read(tmp_path: Path, word: str) -> None:
    lines = openface().splitlines()
    cells = lines[3].split(", ")
    lost = [cells[0], cells[1], word, "0", *[word] * 138]
    path = write(tmp_path, "\n".join([*lines[:3], ", ".join(lost), lines[4]]))
    assert io.load_tracks(path)[0].seen.tolist() == [True, True, False, True]
    assert np.isnan(io.action_units(path)[0]["AU12"]).tolist() == [False, False, True, False]
    used = [cells[0], cells[1], "0.9", "1", word, *cells[5:]]
    path = write(tmp_path, "\n".join([*lines[:3], ", ".join(used), lines[4]]))
    try:
        assert not io.load_tracks(path)[0].seen[2]
    except InputError as error:
        assert "line 4: x_0" in str(error)


def test_labels_and_missing_words_are_alike_in_manifests_and_predictions(tmp_path: Path) -> None:
    labels = ["1.0", "0.0", "TRUE", "FALSE", "Genuine", " posed ", "1,0", "0"]
    rows = "".join(f"{k}.mp4;p;.;{label};;\n" for k, label in enumerate(labels))
    found = [clip.label for clip in manifest.read(write(tmp_path, HEAD + rows))]
    assert found == ["genuine", "posed"] * 4
    scores = "".join(f"{k}.mp4;{label};0,{k}\n" for k, label in enumerate(labels))
    (sheet,) = answers.read(write(tmp_path, "video;label;score\n" + scores))
    assert sheet.label.tolist() == [1, 0] * 4 and sheet.score is not None
    np.testing.assert_allclose(sheet.score, np.arange(8) / 10)
    for word in ("NA", "N/A", "nan", "None", "null", "", ".", "<NA>"):
        (clip,) = manifest.read(write(tmp_path, HEAD + f"a;{word};{word};{word};{word};{word}\n"), persons=False)
        assert {clip.subject, clip.emotion, clip.label, clip.start, clip.end} == {None}
        with pytest.raises(InputError, match="line 2, has no subject"):
            manifest.read(write(tmp_path, HEAD + f"a;{word};{word};1\n"))


def test_one_person_has_one_name_however_spelled(tmp_path: Path) -> None:
    for spellings in (("sim01", "SIM01", " Sim01 ", "ｓｉｍ01"), ("1", "1.0", "01"), ("Zoe\u0308", "Zoë")):
        rows = "".join(f"{k}.mp4;{name};;1;;\n" for k, name in enumerate(spellings))
        clips = manifest.read(write(tmp_path, HEAD + rows))
        assert {clip.subject for clip in clips} == {spellings[0].strip()}
        assert len({*splits.persons(spellings).tolist()}) == 1
    people = ["sim01", "SIM01", "sim02", "sim02 ", "Sim03", "sim03"]
    for train, test in splits.by_person(people, 3, 0):
        assert not {people[k].strip().lower() for k in train} & {people[k].strip().lower() for k in test}


def test_names_that_are_probably_one_person_are_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "duchenne"):
        manifest.read(write(tmp_path, HEAD + "a;sub-01;;1;;\nb;sub1;;0;;\n"))
        manifest.read(write(tmp_path, HEAD + "a;s1_1;;1;;\nb;s11;;0;;\n"))
    (note,) = caplog.messages
    assert note.startswith("note: ") and "'sub-01' and 'sub1'" in note and "\n" not in note


def test_cells_cannot_send_escape_codes(tmp_path: Path) -> None:
    for text in ("path,subject,emotion,la\x1b[31mbel\n", "path,subject,emotion,label\na,b,,\x1b]0;x\x07\n"):
        with pytest.raises(InputError) as caught:
            manifest.read(write(tmp_path, text))
        assert str(caught.value).isprintable() and "\\x1b" in str(caught.value)
