"""`duchenne emotions` as a person or a script meets it: table, streams, exit codes; and what its page says of it."""

from __future__ import annotations

import csv
import io
import re
import shlex
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from conftest import Completed
from duchenne.datasets import fer_plus
from duchenne.types import Array

pytestmark = pytest.mark.usefixtures("read_once")
Call = Callable[..., Completed]
PAGE = (Path(__file__).parents[3] / "docs" / "emotions.md").read_text(encoding="utf-8")
PHOTO = astronaut()
COLUMNS = ["file", "face", "emotion", *fer_plus.CLASSES, "problem"]


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def save(path: Path, picture: Array, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, **options)
    return path


def claims(path: Path, side: int) -> Path:
    """A PNG that claims to be that large and holds one row."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(side + 1))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("photo") / "a.png", PHOTO)


def test_table_is_alone_on_stdout_without_out(duchenne: Call, photo: Path) -> None:
    result = duchenne("emotions", photo, "--device", "cpu")
    (row,) = table(result.out)
    assert result.code == 0 and list(row) == COLUMNS and row["emotion"] == "happiness"
    assert (row["file"], row["face"], row["problem"]) == (str(photo), "0", "")
    assert result.err.splitlines() == [f"Model expression (emotions: {', '.join(fer_plus.CLASSES)}) on cpu."]
    (other,) = table(duchenne("emotions", photo, "--second", "--device", "cpu").out)  # FER2013's own seven labels
    assert [*other] == [name for name in COLUMNS if name != "contempt"] and other["emotion"] == "happiness"


def test_folder_with_failures_gives_a_complete_table_and_a_summary(duchenne: Call, tmp_path: Path) -> None:
    """An animated GIF, 20,000 × 20,000 pixels, a file cut short and a camera held sideways, end to end."""
    folder = tmp_path / "in"
    save(folder / "happy" / "1.gif", PHOTO, save_all=True, append_images=[Image.fromarray(255 - PHOTO)])
    exif = Image.Exif()
    exif[0x0112] = 8
    save(folder / "happy" / "2.jpg", np.rot90(PHOTO, -1).copy(), exif=exif, quality=95)
    claims(folder / "huge.png", 20_000)
    (folder / "none.jpg").write_bytes((folder / "happy" / "2.jpg").read_bytes()[:2000])
    result = duchenne("emotions", folder, "-o", tmp_path / "new" / "out.csv")
    rows = table((tmp_path / "new" / "out.csv").read_text(encoding="utf-8"))
    assert (result.code, result.out) == (0, "") and [r["file"] for r in rows] == [
        "happy/1.gif", "happy/2.jpg", "huge.png", "none.jpg",
    ]  # fmt: skip
    assert [r["emotion"] for r in rows] == ["happiness", "happiness", "", ""]
    assert all(r[name] == "" for r in rows[2:] for name in ("face", *fer_plus.CLASSES))
    assert "has 20000×20000 pixels" in rows[2]["problem"] and "cut short or damaged" in rows[3]["problem"]
    lines = result.err.splitlines()
    assert "1.gif holds several images" in lines[1] and lines[2].startswith("4 rows written to ")
    assert lines[3] == f"2 of 4 files failed, see the column problem; the first: {rows[2]['problem']}"
    assert len(lines) == 4 and [p.name for p in (tmp_path / "new").iterdir()] == ["out.csv"]


def test_folder_of_failures_fails(duchenne: Call, tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"no picture")
    result = duchenne("emotions", tmp_path)
    assert result.code == 1 and [r["emotion"] for r in table(result.out)] == ["", ""]
    assert "2 of 2 files failed" in result.err and "Traceback" not in result.err


def test_named_file_that_fails_is_a_failure(duchenne: Call, photo: Path) -> None:
    result = duchenne("emotions", photo, photo.with_name("none.png"))
    assert result.code == 1 and [r["emotion"] for r in table(result.out)] == ["happiness", ""]
    assert "There is no file" in result.err


def test_single_failure_is_one_sentence(duchenne: Call, tmp_path: Path, empty_room: Path) -> None:
    wall = save(tmp_path / "wall.png", np.tile(np.linspace(40, 160, 320).astype(np.uint8), (240, 1)))
    assert "pass --aligned" in duchenne("emotions", wall).sentence
    assert duchenne("emotions", wall, "--aligned").code == 0
    result = duchenne("emotions", empty_room, "-o", tmp_path / "out.csv")
    assert result.code == 1 and "shows no face" in result.sentence and not (tmp_path / "out.csv").exists()
    assert "There is no file" in duchenne("emotions", tmp_path / "none.mp4").sentence


def test_video_has_a_row_per_time(duchenne: Call, smile: Path, tmp_path: Path) -> None:
    result = duchenne("emotions", smile, "--every", "0.4", "--all-faces", "--no-flips", "-o", tmp_path / "out.csv")
    rows = table((tmp_path / "out.csv").read_text(encoding="utf-8"))
    assert result.code == 0 and list(rows[0]) == [COLUMNS[0], "time", *COLUMNS[1:]]
    assert [float(r["time"]) for r in rows] == pytest.approx([0, 0.4, 0.8, 1.2, 1.6, 2.0], abs=1e-3)
    assert {r["face"] for r in rows} == {"0"} and all(r["emotion"] in fer_plus.CLASSES for r in rows)
    twice = duchenne("emotions", smile, "--every", "0.4")  # flips are on unless forbidden
    assert [r["happiness"] for r in table(twice.out)] != [r["happiness"] for r in rows]


def test_wrong_usage_is_reported_before_any_work(duchenne: Call, photo: Path, tmp_path: Path) -> None:
    before = photo.read_bytes()
    assert "would be overwritten" in duchenne("emotions", photo, "-o", photo).sentence
    assert photo.read_bytes() == before
    assert "is a folder" in duchenne("emotions", photo, "-o", tmp_path).sentence
    (tmp_path / "file").write_text("")
    assert "is a file" in duchenne("emotions", photo, "-o", tmp_path / "file" / "out.csv").sentence
    result = duchenne("emotions", photo, "--model", "smile")
    assert result.code == 1 and "smile is a duchenne-descriptors model, expected duchenne-expression" in result.sentence
    for words in (["--every", "-1"], ["--device", "abacus"]):
        result = duchenne("emotions", photo, *words)
        assert result.code == 2 and result.sentence


# ---- the page


def test_commands_of_the_page_exist(duchenne: Call) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    helped = duchenne("emotions", "--help").out
    assert len(lines) >= 5
    for words in lines:
        assert words[:2] == ["duchenne", "emotions"], words
        for option in (word for word in words if word.startswith("-")):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", helped), option


def test_page_names_classes_columns_and_limits() -> None:
    flat = " ".join(PAGE.split())
    for word in (*COLUMNS, "time", "lie detection", "hiring", "schooling", "policing"):
        assert word in flat, word
    assert ", ".join(fer_plus.CLASSES) in flat and "(expression.md)" in PAGE
