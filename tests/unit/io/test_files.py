"""Files appear whole or not at all; JSON and tables are plain."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from duchenne import io
from duchenne.errors import OutputError


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_atomic_replaces_only_on_success(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    with io.atomic(target) as part:
        assert part.parent == target.parent
        part.write_text("first")
        assert not target.exists()
    with pytest.raises(ZeroDivisionError), io.atomic(target) as part:
        part.write_text("second")
        raise ZeroDivisionError
    assert target.read_text() == "first"
    assert names(target.parent) == ["a.txt"]


def test_atomic_unwritable_target_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "file" / "a.txt", tmp_path / "folder"):
        with pytest.raises(OutputError, match=r"cannot be written.*; choose a"):
            io.write_text(target, "x")
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_is_reported(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"No space left.*free space"),
        io.atomic(tmp_path / "a"),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x" * 10)
        full.flush()


def test_json_has_plain_types(tmp_path: Path) -> None:
    value = {
        "z": np.float32(0.5),
        "a": np.array([[1, 2], [3, 4]]),
        "nan": [float("nan"), np.inf, np.float64("nan")],
        3: (np.int64(3), np.bool_(True), None),
        "path": Path("x") / "y",
        "text": "é \udcff",
    }
    text = io.write_json(tmp_path / "a.json", value).read_text("utf-8")
    back = json.loads(text)
    assert text.endswith("}\n") and "é" in text
    assert list(back) == ["z", "a", "nan", "3", "path", "text"]
    assert back["a"] == [[1, 2], [3, 4]] and back["nan"] == [None, None, None] and back["3"] == [3, True, None]
    with pytest.raises(TypeError):
        io.write_json(tmp_path / "b.json", {"x": object()})
    assert names(tmp_path) == ["a.json"]


def test_table_is_csv(tmp_path: Path) -> None:
    path = io.write_table(tmp_path / "a.csv", pd.DataFrame({"å": [1.5, np.nan], "b": ["x,y", "z"]}))
    assert path.read_bytes() == 'å,b\n1.5,"x,y"\n,z\n'.encode()


def test_staged_files_replace_files_in_existing_folders(tmp_path):
    for said in ("old", "new"):
        with io.staged(tmp_path / "out") as part:
            io.write_text(part / "inner" / "a.txt", said)
            io.write_text(part / "b.txt", said)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert {p.relative_to(tmp_path / "out").as_posix(): p.read_text() for p in (tmp_path / "out").rglob("*.txt")} == {
        "b.txt": "new",
        "inner/a.txt": "new",
    }
