"""Render the gallery: real program, simulated faces. `python docs/make_gallery.py FOLDER`; Sphinx calls `make`.

Each function makes the images of one section and returns their names; its docstring is the text of the section.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import itertools
import json
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image, ImageOps

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from browser import NAMES, Browser

EXAMPLES = Path(__file__).parents[1] / "examples"
PAPER = {"width": 688, "height": 1740, "media": "print"}  # px at 96 per inch: A4 within its margins, uncut
KINDS = {"posed": "posed", "genuine": "spontaneous"}
HEAD = """# Gallery

Every figure on this page was made by duchenne when these pages were built, from **simulated** faces: a public-domain
portrait (NASA), warped along smiles drawn from measured distributions. They show the output and are not evidence about
people.
"""


def example(name: str) -> ModuleType:
    """A script of examples/ as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Studio:
    """The output folder, and the two clips that the figures show, each analyzed once."""

    def __init__(self, folder: Path, work: Path) -> None:
        self.folder, self.work = folder, work

    @cache  # noqa: B019
    def clip(self, kind: str) -> Path:
        from duchenne.datasets import simulate

        return simulate.smile_clip(self.work / f"{KINDS[kind]}.mp4", kind, rate=30.0)

    @cache  # noqa: B019
    def analyses(self, kind: str):
        from duchenne import pipeline

        return pipeline.examine(self.clip(kind))

    @cache  # noqa: B019
    def data_set(self) -> Path:
        """The manifest of a small simulated data set of tracks."""
        from duchenne.datasets import simulated

        return simulated.data_set(self.work / "data", people=24, clips=4, rate=25.0, seed=5)


def reports(studio: Studio) -> list[str]:
    """## The report

    What `duchenne analyze clip.mp4 -o out/` writes, one file that works offline: a smile with the timing of a
    <a href="spontaneous.html">spontaneous</a> one and one with that of a <a href="posed.html">posed</a> one. It
    prints on a few pages; `--no-faces` leaves the video out.
    """
    from duchenne import judging, pipeline

    card = judging.load_model("default").card
    shots = []
    for kind, words in KINDS.items():
        out = studio.work / words
        pipeline.save(studio.analyses(kind), out, card)
        shutil.copy(out / "report.html", studio.folder / f"{words}.html")
    page = studio.folder / "spontaneous.html"
    for name, how in (
        ("report", {}),
        ("report-dark", {"scheme": "dark"}),
        ("report-phone", {"width": 390}),
        ("report-on-paper", PAPER),
    ):
        shots += photograph(page, studio.folder / f"{name}.png", **how)
    if "report-on-paper.png" in shots:
        with Image.open(studio.folder / "report-on-paper.png") as sheet:
            framed = ImageOps.expand(ImageOps.expand(sheet.convert("RGB"), (53, 57), "white"), 1, "#dcd8ce")
        framed.save(studio.folder / "report-on-paper.png")
    pipeline.save(studio.analyses("posed"), studio.work / "points", card, faces=False)
    points = studio.work / "points" / "report.html"
    return shots + photograph(points, studio.folder / "report-without-faces.png")


def batches(studio: Studio) -> list[str]:
    """## The page of a batch

    What `duchenne analyze clips/ -o out/` writes beside its tables: P(genuine) per group, emotions, abstentions, and
    every clip with a link to its report.
    """
    from duchenne.batch import analyze_task, process
    from duchenne.datasets import simulate

    clips = studio.work / "clips"
    for n, kind in enumerate(KINDS):
        (clips / "day1").mkdir(parents=True, exist_ok=True)
        shutil.copy(studio.clip(kind), clips / "day1" / f"take{n}.mp4")
        simulate.smile_clip(clips / "day2" / f"take{n}.mp4", kind, rate=25.0)
    (clips / "day2" / "notes.mp4").write_text("no video", encoding="utf-8")
    process([clips], studio.work / "results", analyze_task(cache=False), workers=1)
    return photograph(studio.work / "results" / "index.html", studio.folder / "batch.png", height=1900)


def photograph(page: Path, out: Path, *, width: int = 1000, height: int = 1500, **how: Any) -> list[str]:
    """The name of a screenshot of a page in headless Chromium; empty where Chromium is not available."""
    if any(map(shutil.which, NAMES)):
        with contextlib.suppress(OSError, AssertionError), Browser(width, height) as tab:
            tab.look(width, height, **how)
            tab.open(page)
            return [tab.shoot(out, whole=False).name]
    return []


def curves(studio: Studio) -> list[str]:
    """## Curves, phases, emotions

    Lip corners, eyes and mouth after head pose was removed, in interocular distances; rise, plateau and fall of the
    smile; and below the emotions according to the expression network, ten times per second.
    `examples/plot_curves.py` draws it.
    """
    plot = example("plot_curves")
    for kind, words in KINDS.items():
        plot.draw(studio.analyses(kind)[0], f"A simulated smile with {words} timing").savefig(
            studio.folder / f"curves-{words}.png", dpi=110
        )
    return [f"curves-{words}.png" for words in KINDS.values()]


def overlay(studio: Studio) -> list[str]:
    """## The overlay

    A frame of what `duchenne overlay clip.mp4 -o seen.mp4` writes: points, phase, the running P(genuine) and curves.
    """
    from duchenne import judging, video
    from duchenne.overlay import Painter, running

    (analysis,) = studio.analyses("genuine")
    apex = next(
        (phase.apex for phase in analysis.verdict.phases if phase.apex is not None), analysis.track.duration / 2
    )
    frame = next(f for f in video.frames(studio.clip("genuine")) if f.time >= apex)
    height, width = frame.grey.shape
    painter = Painter([analysis], [running(analysis, judging.load_model("default"))], (width, height))
    picture = painter.paint(frame.bgr[..., ::-1], frame.index, frame.time)
    Image.fromarray(picture).save(studio.folder / "overlay.png")
    return ["overlay.png"]


def pb(studio: Studio) -> list[str]:
    """## Where clips lie in PB space

    `duchenne pb` with the shipped LSTM-PB: the vector under which the network predicts a clip best, for 48 simulated
    clips, between the vectors typical of the posed and of the genuine training clips; and for one clip the predicted
    beside the observed movement.
    """
    from duchenne.datasets import manifest
    from duchenne.lstm_pb import space

    out = studio.work / "pb"
    result = space.pb("lstm-pb", manifest.read(studio.data_set())[:48], out, most=1, log=lambda text: None)
    names = []
    for path in (path for path in result["pictures"] if path.suffix == ".png"):
        names.append(f"pb-{len(names)}.png")
        shutil.copy(path, studio.folder / names[-1])
    return names


def filters(studio: Studio) -> list[str]:
    """## What filters respond to

    `duchenne filters` on frames of eight simulated people: for each of the strongest filters of one layer the images
    that activate it most, and the pixels that do so. All eight share one portrait, so real photographs are far more
    informative; [that page](../filters.md) explains the views.
    """
    from duchenne.datasets import simulate, simulated
    from duchenne.datasets.kinematics import draw
    from duchenne.report import filters as filter_report

    faces = studio.work / "faces"
    faces.mkdir()
    for i, person in enumerate(simulated.cast(8, seed=1)):
        kin = draw("genuine", np.random.default_rng(i), person)
        shown = simulate.frames(kin, rate=2.0, size=(320, 240), seed=i, person=person)
        for k, picture in enumerate(itertools.islice(shown, 6)):
            Image.fromarray(picture).save(faces / f"{person.name}-{k}.png")
    page = studio.work / "filters.html"
    result = filter_report.report("expression", faces, page, layers=("block3b",), top=4)
    with Image.open(result["sheets"][0]) as sheet:
        sheet.crop((0, 0, sheet.width, min(sheet.height, round(sheet.width * 0.9)))).resize((1440, 1296)).save(
            studio.folder / "filters.png"
        )
    return ["filters.png"]


def scores(studio: Studio) -> list[str]:
    """## An evaluation

    `duchenne evaluate` on 96 simulated clips of 24 people, each classified by a model that has not seen that person:
    ROC, reliability, and accuracy when only the most certain clips are answered. The clips are drawn from the measured
    distributions of posed and spontaneous smiles: the scores show how far these lie apart, and nothing about accuracy
    on people, which is on [another page](../science/measured.md).
    """
    from duchenne.evaluation import Plan, evaluate

    plan = Plan((str(studio.data_set()),), ("boosting:movement",), folds=4, baselines=False, draws=200)
    evaluate(plan, studio.work / "evaluation")
    names = []
    for path in sorted((studio.work / "evaluation").glob("*.png")):
        names.append(f"evaluation-{path.name}")
        shutil.copy(path, studio.folder / names[-1])
    return names


SECTIONS: tuple[Callable[[Studio], list[str]], ...] = (reports, batches, curves, overlay, pb, filters, scores)


def make(folder: Path) -> Path:
    """Render everything into `folder` and write its index.md last; returns that page."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as work:
        studio = Studio(folder, Path(work))
        parts = [HEAD, *(_section(section, section(studio)) for section in SECTIONS), _scripts()]
    notebook(folder)
    (folder / "index.md").write_text("\n".join(parts), encoding="utf-8")
    return folder / "index.md"


def _section(section: Callable[[Studio], list[str]], pictures: list[str]) -> str:
    words = inspect.getdoc(section) or ""
    title = words.partition("\n")[0].lstrip("# ")
    drawn = (f"![{title}, {name.removesuffix('.png').replace('-', ' ')}]({name})" for name in pictures)
    return "\n\n".join([words, *drawn]) + "\n"


def _scripts() -> str:
    blocks = [
        f"### {path.name}\n\n```{{literalinclude}} ../../examples/{path.name}\n:language: python\n```\n"
        for path in sorted(EXAMPLES.glob("*.py"))
    ]
    about = "Short scripts to start from, in `examples/`; the tests run them. [The tour](tour.md) is a notebook."
    return "\n".join(["## Example scripts\n", about + "\n", *blocks])


def notebook(folder: Path, run: bool = True) -> Path:
    """examples/tour.ipynb as a page, tour.md: every cell with its output and figures if it is `run` here."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    folder, names = folder.resolve(), {"__name__": "tour"}
    parts = []
    with tempfile.TemporaryDirectory() as work, contextlib.chdir(work), warnings.catch_warnings(action="ignore"):
        for number, cell in enumerate(json.loads((EXAMPLES / "tour.ipynb").read_text(encoding="utf-8"))["cells"]):
            text, output = "".join(cell["source"]), io.StringIO()
            code = cell["cell_type"] == "code"
            parts.append(f"```python\n{text}\n```" if code else text)
            if code and run:
                pyplot.close("all")
                with contextlib.redirect_stdout(output):
                    exec(compile(text, f"cell {number}", "exec"), names)
                parts += [f"```text\n{output.getvalue()}```"] if output.getvalue() else []
                for figure in pyplot.get_fignums():
                    pyplot.figure(figure).savefig(folder / f"tour-{number}-{figure}.png", dpi=110, bbox_inches="tight")
                    parts.append(f"![Figure of the cell above](tour-{number}-{figure}.png)")
    about = "*The notebook `examples/tour.ipynb`, run when these pages were built.*"
    parts.insert(1, about if run else "*The notebook `examples/tour.ipynb`, not run by this build.*")
    (folder / "tour.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return folder / "tour.md"


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
