"""`duchenne units` as a person or a script meets it: table, streams, exit codes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut

from conftest import Completed
from duchenne.units import reading

pytestmark = pytest.mark.usefixtures("read_once")
Call = Callable[..., Completed]


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "a.png"
    Image.fromarray(astronaut()).save(path)
    return path


def test_a_folder_gives_a_table_with_cheeks_and_lip_corners_first(duchenne: Call, photo: Path) -> None:
    (photo.parent / "none.png").write_bytes(photo.read_bytes()[:3000])
    result = duchenne("units", photo.parent)
    rows = table(result.out)
    names = reading.load()[0].names
    assert result.code == 0 and list(rows[0]) == ["file", "face", *names, "problem"] and names[:2] == ("AU06", "AU12")
    assert [row["file"] for row in rows] == ["a.png", "none.png"]
    assert float(rows[0]["AU12"]) > 0.8 and rows[0]["problem"] == ""
    assert rows[1]["AU12"] == "" and "cut short or damaged" in rows[1]["problem"]
    assert result.err.startswith(f"Model units ({len(names)} action units: AU06, AU12, ")
    assert duchenne("units", photo.parent).out == result.out


def test_a_video_is_read_over_time_and_relative_to_rest(duchenne: Call, smile: Path, tmp_path: Path) -> None:
    plain = duchenne("units", smile, "--every", "0.2", "-o", tmp_path / "u.csv")
    assert (plain.code, plain.out) == (0, "")
    rows = table((tmp_path / "u.csv").read_text(encoding="utf-8"))
    assert [float(row["time"]) for row in rows] == pytest.approx([0.2 * k for k in range(12)], abs=0.04)
    related = table(duchenne("units", smile, "--every", "0.2", "--neutral", "0-0.5").out)
    log_odds = reading.load()[0].rest
    middle = sorted(float(row["AU12"]) for row in related[:3])[1]
    assert middle == pytest.approx(1 / (1 + 2.718281828 ** -log_odds[1]), abs=1e-4)
    order = [sorted(range(12), key=lambda k: float(some[k]["AU12"])) for some in (rows, related)]
    assert order[0] == order[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--neutral", "3-1"), "--neutral must be START-END in seconds, as 0-1.5, or lowest, found '3-1'; correct it."),
        (("--neutral", "lowest"), "--neutral is for videos, of which none was given; leave it out."),
        (("--every", "-1"), "--every must be a number of seconds, or 0 for every frame, found -1.0; correct it."),
    ],
)
def test_wrong_options_are_one_sentence(duchenne: Call, photo: Path, words: tuple[str, ...], sentence: str) -> None:
    result = duchenne("units", photo, *words)
    assert (result.code, result.out, result.sentence) == (2, "", sentence)


def test_no_face_and_no_rest_are_one_sentence(duchenne: Call, empty_room: Path, smile: Path, tmp_path: Path) -> None:
    result = duchenne("units", empty_room, "-o", tmp_path / "u.csv")
    assert result.code == 1 and "shows no face" in result.sentence
    result = duchenne("units", smile, "--neutral", "8-9", "-o", tmp_path / "u.csv")
    assert result.code == 1 and "is not seen during --neutral 8.0-9.0 s" in result.sentence
    assert not list(tmp_path.iterdir())
