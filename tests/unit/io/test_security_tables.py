"""Tables, archives, JSON and TOML of strangers in, and tables that no spreadsheet runs out."""

from __future__ import annotations

import csv
import io as streams
import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import duchenne as package
from duchenne import io
from duchenne.datasets import manifest
from duchenne.datasets.entry import Entry
from duchenne.errors import DuchenneError, InputError
from duchenne.evaluation import answers
from duchenne.expression import data as expression_data
from duchenne.types import Clip

#: What spreadsheets take for the beginning of a formula, as OWASP lists it, also behind blanks.
FORMULAS = (
    '=HYPERLINK("http://x","y")', "+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(1+1)*cmd", "\t=1+1", "\r=1+1",
    "\n=1", "  =1+1", "\ufeff=1", "\xa0=1", "＝1+1", "＋1", "－1", "＠a", "-dash.mp4", "-",
    "'=1", "''=1",
)  # fmt: skip
PLAIN = ("a", "", "a=b", "clip 1.mp4", "'a", "it's", "-1", "+1.5", "-1e-5", "1", "-.5", "ü", "~/x")


@pytest.mark.parametrize("text", FORMULAS)
def test_formula_is_escaped_and_read_back(text):
    said = io.neutral(text)
    assert said == f"'{text}" and io.original(said) == text


@pytest.mark.parametrize("text", PLAIN)
def test_other_cells_are_unchanged(text):
    assert io.neutral(text) == text == io.original(text)


@given(st.text(alphabet=st.sampled_from("'=+-@\t\r\n 1.eax\ufeff＝"), max_size=8))
def test_written_cells_are_read_back(text):
    assert io.original(io.neutral(text)) == text


def test_numbers_are_not_escaped():
    assert [io.neutral(each) for each in (-1, -1.5, None, True)] == [-1, -1.5, None, True]
    table = pd.DataFrame({"n": [-1, 2], "x": [-1.5, np.nan], "on": [True, False]})
    assert io.table_csv(table) == "n,x,on\n-1,-1.5,True\n2,,False\n"


def test_table_has_no_formula_in_cells_headers_or_categories(tmp_path):
    table = pd.DataFrame({"=a": ["=1", "b", None], "c": pd.Categorical(["@x", "y", "y"]), "n": [-1.0, 2.0, np.nan]})
    path = io.write_table(tmp_path / "t.csv", table)
    assert path.read_text() == "'=a,c,n\n'=1,'@x,-1.0\nb,y,2.0\n,y,\n"
    assert io.rows_csv([["a", "=b"], ["=1", -1]]) == "a,'=b\n'=1,-1\n"


@pytest.mark.parametrize("name", ["=cmd.mp4", "-dash.mp4", "@a.mp4", "'=x.mp4", "+1.mp4"])
def test_manifest_is_read_back(name, tmp_path):
    clips = [Entry(Clip(str(tmp_path / name), subject="=who", fold="@1"), {"=note": "+x", "rate": "-5"})]
    path = manifest.write(tmp_path / "m.csv", clips)
    cells = [cell for row in csv.reader(streams.StringIO(path.read_text())) for cell in row]
    assert not any(cell and cell[0] in "=+@\t\r" for cell in cells)
    (found,) = [entry for _, entry in manifest.read_entries(path)]
    assert found == clips[0]


def test_answers_match_their_clips(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(io.rows_csv([["video", "label", "score"], ["=a.mp4", "genuine", 0.9], ["b.mp4", "posed", 0.2]]))
    assert "'=a.mp4" in path.read_text()
    (sheet,) = answers.load(path)
    assert sheet.video[0] == "=a.mp4"


def test_no_other_file_writes_csv():
    files = [path for path in Path(package.__file__).parent.rglob("*.py") if path.name != "table.py"]
    writes = re.compile(r"csv\.(writer|DictWriter)\(|\w\.to_csv\(")
    assert len(files) > 100
    assert [path.name for path in files if writes.search(path.read_text(encoding="utf-8"))] == []


# --- in ---------------------------------------------------------------------------------------------------------

HEAD = b"path,subject,emotion,label\n"
#: A table that cannot be read → what is wrong with it.
TABLES = {
    "a giant field": HEAD + b"a" * 300_000 + b",p,,\n",
    "an open quote": HEAD + b'"' + b"a,b\n" * 100_000,
    "UTF-32": (HEAD.decode() + "a,b,,\n").encode("utf-32"),
    "Latin-1": HEAD + "jürgen.mp4,p,,\n".encode("latin-1"),
    "NUL": HEAD + b"a\0b.mp4,p,,\n",
    "a million columns": b"path,subject,emotion,label" + b",x" * 1_000_000 + b"\n" + b"a,b,,\n",
    "ragged": HEAD + b"a,b,,,,,x\n",
    "twice": b"path,path,subject,emotion,label\na,b,c,,\n",
    "a fact twice": b"path,subject,emotion,label,x,x\na,b,,,1,2\n",
    "nothing": b"",
    "noise": np.random.default_rng(0).bytes(10_000),
    "a zip": b"PK\x03\x04" + bytes(200),
}
READERS = {
    "manifest": manifest.read,
    "answers": answers.load,
    "emotions": expression_data.emotions,
    "units": expression_data.units,
    "tracks": io.load_tracks,
}


@pytest.mark.parametrize("name", TABLES)
def test_malformed_table_is_refused_in_one_sentence(name, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(TABLES[name])
    for reader, read in READERS.items():
        with pytest.raises(DuchenneError) as caught:
            read(path)
        sentence = str(caught.value)
        assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 1000, reader
        assert "t.csv" in sentence, reader


def test_table_with_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf" + HEAD + b"a.mp4,p,,\n")
    assert manifest.read(path)[0].subject == "p"


@pytest.mark.parametrize("mark", [",", ";", "\t", ", "])
def test_delimiter_is_comma_semicolon_or_tab(mark, tmp_path):
    path = tmp_path / "t.csv"
    header = mark.join(['"a,b;c"', " Name", "'=x"])
    path.write_text(
        f"{header}\r\n" + mark.join(['"1, ""2"""', "'=1", "ü "]) + f"\r\n\r\n{mark}{mark}\n" + mark.join("xyz")
    )
    table = io.Table(path, ("name",))
    assert table.names == ["a,b;c", "name", "=x"]
    first, last = table
    assert first == (0, 2, f"{path}, line 2", {"a,b;c": '1, "2"', "name": "=1", "=x": "ü"})
    assert (last.number, last.line, [*last.cells.values()]) == (2, 5, [*"xyz"])  # as pandas counts rows


def test_short_row_is_filled_where_allowed(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1\n")
    assert [row.cells for row in io.Table(tmp_path / "t.csv", short=True)] == [{"a": "1", "b": ""}]
    with pytest.raises(InputError, match="line 2, has 1 cells for 2 columns"):
        list(io.Table(tmp_path / "t.csv"))


def test_endless_line_is_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n" + b"," * (1 << 22))
    with pytest.raises(InputError, match="line 2, is longer than"):
        list(io.Table(tmp_path / "t.csv"))


def test_giant_manifest_is_refused(tmp_path):
    with (tmp_path / "m.csv").open("wb") as file:
        file.write(HEAD)
        file.truncate(2**34)
    with pytest.raises(InputError, match="larger than 256 MB"):
        manifest.read(tmp_path / "m.csv")


def test_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "m.csv")
    with pytest.raises(InputError, match="not a file"):
        manifest.read(tmp_path / "m.csv")


@pytest.mark.parametrize("name", ["a giant field", "UTF-32", "NUL", "a million columns", "noise"])
def test_commands_report_a_bad_table_in_one_sentence(name, duchenne, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(TABLES[name])
    for words in (("evaluate", path), ("score", path), ("models", "apply", "smile", path), ("convert", path)):
        out = ("-o", tmp_path / ("out.csv" if words[0] in ("models", "convert") else "out"))
        said = duchenne(*words, *(out if words[0] != "score" else ()))
        assert said.code in (1, 2) and "Traceback" not in said.err and said.out == "", (words, said)


# --- archives of arrays -------------------------------------------------------------------------------------------


def packed(path, **members):
    """An .npz of whatever bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def array_bytes(header: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + body


def described(shape: str, kind: str = "'<f4'") -> str:
    return f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}"


ARRAYS = {
    "asks for a terabyte": array_bytes(described("(1000000000000,)"), bytes(64)),
    "overflows": array_bytes(described("(9223372036854775807, 9223372036854775807)"), bytes(64)),
    "negative": array_bytes(described("(-1,)"), bytes(64)),
    "objects": array_bytes(described("(1,)", "'|O'"), b"\x80\x04cos\nsystem\n"),
    "records": array_bytes(described("(1,)", "[('a', '<f4'), ('b', '|O')]"), bytes(64)),
    "of nothing": array_bytes(described("(1000000000000,)", "'|V0'")),
    "deep": array_bytes("(" * 5000),
    "signs": array_bytes("-" * 9000 + "1"),
    "a program": array_bytes("__import__('os').system('true')"),
    "version 9": array_bytes(described("(1,)"), bytes(4), b"\x09\x00"),
    "cut short": array_bytes(described("(100,)"), bytes(8)),
    "no array": b"hello",
    "empty": b"",
}


@pytest.mark.parametrize("name", ARRAYS)
def test_array_with_false_size_is_refused_before_allocation(name, tmp_path):
    path = packed(tmp_path / "t.npz", points=ARRAYS[name])
    with pytest.raises(ValueError):
        io.read_arrays(path)
    with pytest.raises(InputError, match=r"t\.npz"):
        io.load_tracks(path)


def test_zip_bomb_is_refused(tmp_path):
    path = tmp_path / "t.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("points.npy", "w") as member:
        for _ in range(64):
            member.write(bytes(2**20))
    assert path.stat().st_size < 2**17
    with pytest.raises(ValueError, match="larger than 32 MB"):
        io.read_arrays(path, most=2**25)


def test_false_archive_size_is_refused_in_both_directions(tmp_path):
    whole = streams.BytesIO()
    np.save(whole, np.zeros(1000, np.float32))
    path = packed(tmp_path / "t.npz", points=whole.getvalue())
    data, size = path.read_bytes(), len(whole.getvalue()).to_bytes(4, "little")
    at = data.rindex(size)
    for lie in (10, 2**32 - 2):
        path.write_bytes(data[:at] + lie.to_bytes(4, "little") + data[at + 4 :])
        with pytest.raises(ValueError):
            io.read_arrays(path)


def test_valid_arrays_are_read_back(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "t": np.array(["x", "yz"]), "e": np.zeros((0, 4)), "s": np.array(1)}
    arrays["f"] = np.asfortranarray(np.arange(6).reshape(2, 3))
    np.savez_compressed(tmp_path / "t.npz", **arrays)
    found = io.read_arrays(tmp_path / "t.npz")
    assert found.keys() == arrays.keys() and all(np.array_equal(found[name], arrays[name]) for name in arrays)
    assert io.read_arrays(tmp_path / "t.npz", ("a",)).keys() == {"a"}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": "duchenne-tracks", "version": 1}', "NaN", "9" * 5000, ""])
def test_invalid_meta_of_tracks_is_refused(text, tmp_path):
    arrays = {"points": np.zeros((2, 68, 2), np.float32), "time": np.arange(2.0), "box": np.zeros((2, 4), np.float32)}
    arrays |= {"confidence": np.zeros(2, np.float32), "offset": np.array([0, 2]), "frame_size": np.array([[9, 9]])}
    np.savez(tmp_path / "t.npz", **arrays, source=np.array(["a"]), meta=np.array(text))
    with pytest.raises(InputError, match="not a valid tracks file"):
        io.load_tracks(tmp_path / "t.npz")


# --- JSON and TOML ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "NaN", '{"a": Infinity}', "{", "\ud800"]
)
def test_invalid_json_is_a_value_error(text, tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError):
        io.read_json(path)


def test_valid_json_is_read(tmp_path):
    path = io.write_json(tmp_path / "x.json", {"a": [1, None, "ü"]})
    assert io.read_json(path) == {"a": [1, None, "ü"]} == json.loads(path.read_text())


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 50_000, "a = " + "9" * 5000, "a = 1\x00", "a = '\xff'", "a.a=1x"],
)
def test_invalid_toml_is_reported_in_one_sentence(text, tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="is not valid TOML") as caught:
        io.read_toml(path, "There is none.")
    assert "\n" not in str(caught.value)


def test_giant_toml_is_refused(tmp_path):
    with (tmp_path / "x.toml").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(InputError, match="larger than 1 MB"):
        io.read_toml(tmp_path / "x.toml", "There is none.")
