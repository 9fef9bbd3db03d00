"""Names of files, cells and models are shown on a terminal and never obeyed by it; files keep them as they are."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Completed
from duchenne import checkpoints, cli
from duchenne.cli.app import bar, progress

pytestmark = pytest.mark.usefixtures("read_once")
#: Colours, a link, the window's title, C1's CSI, a bell, text that runs backwards, a new line; rich's markup.
NASTY = (
    "\x1b[31m\x1b]8;;http://evil.example\x07\x9b2J\u202egpj\u2066\nduchenne: ok [red]x[/red] [link=http://evil.example]"
)
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def check(done: Completed, *, files: bool = True) -> None:
    text = done.out + done.err
    assert text and not OBEYED.search(text) and "\nduchenne: ok" not in text
    if files:
        assert r"\x1b[31m" in text.replace("\\\\", "\\") and "[red]" in text


def nasty(name: str = "") -> str:
    return NASTY.replace("/", "\u2215") + name  # a name has no slash


@pytest.mark.parametrize(
    "words",
    [
        ["analyze", "{}.mp4"],
        ["analyze", "{}"],
        ["emotions", "{}.png"],
        ["micro-expressions", "{}.mp4"],
        ["extract", "{}", "--out", "o"],
        ["rank", "{}.mp4", "{}.avi"],
        ["models", "list", "{}"],
        ["models", "apply", "default", "{}.csv"],
        ["analyze", "a.mp4", "--model", "{}"],
        ["convert", "{}.csv", "o.csv"],
        ["score", "{}.csv"],
        ["evaluate", "--manifest", "{}.csv", "--out", "o"],
        ["summary", "{}"],
        ["summary", "{}", "--by", "{}"],
        ["export", "{}", "--to", "{}"],
        ["datasets", "show", "{}"],
        ["datasets", "check", "casme2", "{}"],
        ["analyze", "--{}"],
        ["{}"],
        ["analyze", "a.mp4", "--rate", "{}"],
        ["app", "--origin", "{}"],
    ],
    ids=" ".join,
)
def test_a_missing_file_or_option_is_quoted(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, duchenne: Callable[..., Completed]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = duchenne(*(word.format(nasty()) for word in words))
    check(done, files=False)
    assert done.code in (1, 2) and "Traceback" not in done.err


def test_a_table_with_nasty_cells_is_refused(tmp_path: Path, duchenne: Callable[..., Completed]) -> None:
    name = NASTY.replace("\n", "")
    (tmp_path / "m.csv").write_text(f'path,subject,emotion,label\na.mp4,p,fear,"{name}"\n', encoding="utf-8")
    (tmp_path / "h.csv").write_text(f'"{name}",label\na.mp4,genuine\n', encoding="utf-8")
    for table in ("m.csv", "h.csv"):
        done = duchenne("evaluate", "--manifest", tmp_path / table, "--out", tmp_path / "o")
        check(done)
        assert done.code in (1, 2)


def test_results_show_names_and_keep_them(tmp_path: Path, smile: Path, duchenne: Callable[..., Completed]) -> None:
    clip = Path(shutil.copy(smile, tmp_path / nasty(".mp4")))
    done = duchenne("analyze", clip, "--out", tmp_path / nasty())
    assert done.code == 0
    check(done)
    assert json.loads((tmp_path / nasty() / "verdict.json").read_text())["source"] == str(clip)
    shown = json.loads(duchenne("analyze", clip, "--json").out)
    assert shown["source"] == str(clip)


def test_a_model_cannot_command_a_terminal(tmp_path: Path, duchenne: Callable[..., Completed]) -> None:
    folder = Path(shutil.copytree(checkpoints.shipped()["expression"], tmp_path / nasty()))
    about = json.loads((folder / "model.json").read_text())
    for change in ({"family": "[red]x"}, {"id": "a\x1b[31m"}):
        (folder / "model.json").write_text(json.dumps(about | change))
        done = duchenne("models", "list", folder)
        check(done)
        assert done.code == (0 if "family" in change else 1)


def test_a_fault_of_duchenne_is_printed_line_by_line(
    monkeypatch: pytest.MonkeyPatch, duchenne: Callable[..., Completed]
) -> None:
    def fault() -> None:
        raise RuntimeError(NASTY)

    monkeypatch.setattr("duchenne.checkpoints.shipped", fault)
    done = duchenne("models", "list")
    check(done)
    assert done.code == 1 and "Traceback" in done.err and "RuntimeError" in done.err


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo terminal")
def test_progress_has_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    parent, child = os.openpty()
    with os.fdopen(child, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "400")
        with progress(NASTY) as tick:
            tick(1)
        with bar() as shown:
            shown.add_task("[red]x", total=2)
    written = os.read(parent, 1 << 20).decode()
    os.close(parent)
    assert r"\x1b[31m" in written and "[link=http:" in written and "[red]x" in written
    assert not re.search("\x1b]|\x9b|\u202e|\x07", written)


def test_commands_print_in_one_place() -> None:
    for path in sorted(Path(cli.__file__).parent.glob("*.py")):
        if path.name != "app.py":
            found = re.findall(r"typer\.(?:s?echo)\((?!json\.dumps)|(?<![\w.])print\(", path.read_text("utf-8"))
            assert not found, (path.name, found)


def test_a_clip_in_a_folder_of_images_is_named(tmp_path: Path, duchenne: Callable[..., Completed]) -> None:
    folder = tmp_path / nasty()
    folder.mkdir()
    (folder / "a.png").write_bytes(b"x")
    done = duchenne("analyze", folder, "--rate", "25")
    check(done)
    assert done.code == 1
