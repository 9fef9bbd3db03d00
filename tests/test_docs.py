"""README's and the pages' examples run: Python blocks as they stand, commands as far as they need no files of the
reader's."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from duchenne.datasets import simulate

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]}


def blocks(language: str) -> list[str]:
    return [block for page in PAGES.values() for block in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)]


def commands() -> list[list[str]]:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("duchenne ")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    for name in ("clip.mp4", "a.mp4", "b.mp4"):
        simulate.smile_clip(folder / name, "posed", rate=30.0)
    row = "clip.mp4,ann,happiness,,0.5,0.9,"
    (folder / "samm-long.csv").write_text(f"path,subject,emotion,label,start,end,rate\n{row}\n", encoding="utf-8")
    return folder


def test_python_blocks_run(place, monkeypatch):
    monkeypatch.chdir(place)
    assert blocks("python")
    for block in blocks("python"):
        if "torchvision" in block:  # which is no dependency, and its weights are not at hand
            continue
        subprocess.run([sys.executable, "-c", block], cwd=place, check=True, capture_output=True)


def test_commands_exist():
    wanted: dict[tuple[str, ...], set[str]] = {}
    for words in commands():
        names = [w for w in words[1:3] if re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)*", w)]
        depth = 2 if names[0] in ("models", "train", "datasets") and len(names) > 1 else 1
        wanted.setdefault(tuple(names[:depth]), set()).update(w for w in words if w.startswith("--"))
    assert len(wanted) >= 20
    for names, options in wanted.items():
        done = subprocess.run(
            [sys.executable, "-m", "duchenne", *names, "--help"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (names, done.stderr)
        assert not [option for option in options if option not in done.stdout], names


def test_analyze_commands_run(place):
    done = subprocess.run(
        [sys.executable, "-m", "duchenne", "analyze", "clip.mp4", "-o", "out"],
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (place / "out").iterdir()} == {"verdict.json", "frames.csv", "emotions.csv", "report.html"}


def test_the_share_of_false_alarms_is_what_the_arithmetic_says():
    right, false = 0.01 * 0.8, 0.99 * 0.2
    assert f"{round(100 * false / (right + false))} % of alarms are false" in " ".join(README.replace(">", "").split())


def test_limits_are_said_everywhere():
    """Lie detection, hiring, schooling and policing are ruled out in README, cards, command line and report."""
    from duchenne.learn import checkpoint
    from duchenne.pipeline import LIMITS

    root = Path(__file__).parents[1]
    texts = {"README": README, "verdict": LIMITS}
    texts |= {name: (folder / "CARD.md").read_text(encoding="utf-8") for name, folder in checkpoint.shipped().items()}
    texts["report"] = (root / "src/duchenne/templates/report.html.j2").read_text(encoding="utf-8")
    texts["help"] = subprocess.run(
        [sys.executable, "-m", "duchenne", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for where, text in texts.items():
        flat = " ".join(text.lower().split())
        for word in ("lie", "hiring", "schooling", "policing"):
            assert word in flat, (where, word)
