"""The example scripts run as their docstrings say, on rendered clips; the notebook runs from start to end."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pandas as pd
import pytest

from conftest import BRIEF, RATE
from duchenne import io
from duchenne.datasets import simulate, simulated
from makers import make_video

pytestmark = pytest.mark.usefixtures("read_once")
EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))
#: A part of the expected output of each.
EXPECTED = {
    "analyze_clip.py": "Not for lie detection",
    "compare_clips.py": "more genuine",
    "folder_to_table.py": "bad.mp4",
    "import_openface.py": "face 0: ",
    "own_model.py": "baseline: clip length",
    "plot_curves.py": "written curves.png",
}


@pytest.fixture(scope="module")
def work(tmp_path_factory, pictures):
    folder = tmp_path_factory.mktemp("examples")
    (folder / "clips").mkdir()
    make_video(folder / "a.mp4", pictures, rate=RATE)
    # held at its height, so that it is another take; the smile backwards is nearly the smile
    make_video(folder / "b.mp4", [*pictures[:30], *pictures[30:31] * 30], rate=RATE)
    (folder / "clip.mp4").write_bytes((folder / "a.mp4").read_bytes())
    (folder / "clips/good.mp4").write_bytes((folder / "a.mp4").read_bytes())
    (folder / "clips/bad.mp4").write_text("no video", encoding="utf-8")
    manifest = simulated.data_set(folder / "made", people=8, clips=4, rate=25.0, seed=1)
    track = simulate.track(simulate.KINDS["posed"], 25.0, seed=1)
    io.write_as(folder / "openface.csv", [track], "openface")
    lines = manifest.read_text(encoding="utf-8").splitlines()
    rows = [lines[0], *(f"made/{line}" for line in lines[1:])]
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def run(work, monkeypatch, capsys):
    """Run a script in this process, so that libraries and models are loaded once: `run(name, *arguments)`."""
    monkeypatch.chdir(work)
    monkeypatch.setenv("MPLBACKEND", "agg")

    def call(name, *words):
        monkeypatch.setattr(sys, "argv", [name, *words])
        capsys.readouterr()
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return call


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_run(name, run):
    usage = next(
        line.split("python ")[1]
        for line in (EXAMPLES / name).read_text(encoding="utf-8").splitlines()
        if f"python examples/{name}" in line
    )
    assert EXPECTED[name] in run(name, *shlex.split(usage.rstrip('"'))[1:])


def test_the_folder_becomes_a_table(work, run):
    if not (work / "verdicts.csv").exists():  # by the test above
        run("folder_to_table.py", "clips", "verdicts.csv")
    table = pd.read_csv(work / "verdicts.csv").set_index("file")
    assert "is a text file" in table.loc["bad.mp4", "reason"]
    assert table.loc["good.mp4", "seconds"] == pytest.approx(BRIEF.duration, abs=0.07)


def test_the_notebook_runs(work, monkeypatch):
    notebook = json.loads((EXAMPLES / "tour.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    monkeypatch.syspath_prepend(EXAMPLES.parent / "docs")
    from make_gallery import notebook as run_notebook

    page = run_notebook(work).read_text(encoding="utf-8")
    for cell in notebook["cells"]:
        assert "".join(cell["source"]) in page
    assert "P(genuine) = " in page or "Too close" in page
    assert re.search(r"```text\nAUC, 95 % over people: 0\.\d\d to [01]\.\d\d\n```", page)
    pictures = re.findall(r"!\[.+\]\((tour-.+\.png)\)", page)
    assert len(pictures) == 1 and (work / pictures[0]).stat().st_size > 5000
