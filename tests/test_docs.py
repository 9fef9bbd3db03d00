"""The examples of README and pages run: Python blocks, and cheap commands on files made here; of other commands the
names and options are checked. TOML and JSON are parsed, and the pages are built if Sphinx is installed."""

import contextlib
import importlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import duchenne
from conftest import RATE
from duchenne import video
from duchenne.datasets import catalog, simulate
from duchenne.evaluation import experiment
from duchenne.io import write_as
from duchenne.types import Signals
from makers import make_video
from test_architecture import HOUSE

pytestmark = pytest.mark.usefixtures("read_once")
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    if "gallery" not in path.parts  # made and run by a build
}
#: Commands of the pages that are run, in this order, in one folder. The others need a data set, train for minutes, or
#: repeat one of these.
RUN = """
duchenne doctor
duchenne models list
duchenne models verify
duchenne datasets
duchenne datasets show sase-fe
duchenne datasets show uva-nemo
duchenne datasets check sase-fe SASE-FE/
duchenne datasets manifest sase-fe SASE-FE/ -o sase.csv
duchenne score predictions.csv --json
duchenne simulate -o simulated/ --people 12 --clips 4
duchenne evaluate --manifest simulated/manifest.csv -m boosting:movement -m linear-svm:movement --folds 4 -o scores/
duchenne compare scores/results.json scores/results.json --method-a boosting:movement --method-b linear-svm:movement
duchenne train method boosting:movement --manifest simulated/manifest.csv -o mine/
duchenne analyze --model mine/ clip.mp4
duchenne rank --model mine/ a.mp4 b.mp4
duchenne models apply default openface.csv -o predictions.csv
duchenne convert openface.csv tracks.npz
duchenne convert tracks.npz pyfeat.csv --to py-feat
duchenne convert pyfeat.csv again.npz --rate 25
duchenne models apply default again.npz -o predictions.csv
duchenne analyze clip.mp4 -o out/
duchenne analyze frames/ --rate 25
duchenne extract clips/ -o tracks/
duchenne overlay clip.mp4 -o seen.mp4
duchenne emotions portrait.jpg
duchenne emotions clip.mp4 --every 0.2 -o clip.csv
duchenne micro-expressions clip.mp4 -o spotted.csv
"""
#: Pages whose commands are all in `RUN`; the tests of the command line run `demo`.
COMPLETE = ("docs/start.md", "docs/howto/own-data.md", "docs/howto/import.md")


def blocks(language: str) -> list[str]:
    return [block for page in PAGES.values() for block in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)]


def commands(page: str = "") -> list[list[str]]:
    found = re.findall(r"```sh\n(.*?)```", PAGES[page], re.DOTALL) if page else blocks("sh")
    lines = [line.split("#")[0].strip() for block in found for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("duchenne ")]


@pytest.fixture(scope="module")
def files(tmp_path_factory, pictures):
    folder = tmp_path_factory.mktemp("readme")
    few = pictures[::2]  # as reading takes its time per picture
    make_video(folder / "a.mp4", few, rate=RATE // 2)
    make_video(folder / "b.mp4", few[::-1], rate=RATE // 2)
    shutil.copy(folder / "a.mp4", folder / "clip.mp4")
    (folder / "clips").mkdir()
    shutil.copy(folder / "a.mp4", folder / "clips/a.mp4")
    row = "clip.mp4,ann,happiness,,0.5,0.9,"
    (folder / "samm-long.csv").write_text(f"path,subject,emotion,label,start,end,rate\n{row}\n", encoding="utf-8")
    (folder / "people.csv").write_text("path,subject,emotion,label\nclip.mp4,ann,happiness,posed\n", encoding="utf-8")
    (folder / "frames").mkdir()
    for frame in list(video.frames(folder / "clip.mp4"))[8:28]:
        Image.fromarray(frame.bgr[..., ::-1]).save(folder / f"frames/{frame.index}.png")
    Image.open(folder / "frames/20.png").save(folder / "portrait.jpg")
    track = simulate.track(simulate.KINDS["posed"], 25.0, seed=1)
    write_as(folder / "openface.csv", [track], "openface")
    units = Signals(track.time, np.full((len(track), 2), 1.0), ("AU06", "AU12"), ("0-5", "0-5"))
    write_as(folder / "openface_units.csv", [track], "openface", [units])
    layout = catalog.load("sase-fe").layouts[0]
    (folder / "SASE-FE/1").mkdir(parents=True)
    for code in layout.rules["complete"]:
        (folder / f"SASE-FE/1/{code}.MP4").write_text(code, encoding="utf-8")
    rows = [f"{i}.mp4,{'genuine' if i % 2 else 'posed'},{i / 9},p{i // 2}" for i in range(10)]
    (folder / "predictions.csv").write_text("\n".join(["video,label,score,subject", *rows]) + "\n", encoding="utf-8")
    return folder


def test_python_blocks_run(files, monkeypatch):
    """Each in its own namespace; in this process, so that torch is imported once."""
    found = [block for block in dict.fromkeys(blocks("python")) if "torchvision" not in block]  # not a dependency
    assert found
    monkeypatch.chdir(files)
    for number, block in enumerate(found):
        print(block)  # shown where it fails
        exec(compile(block, f"block {number}", "exec"), {"__name__": "block"})


def test_toml_and_json_blocks_parse(tmp_path):
    for block in blocks("json"):
        json.loads(block)
    for i, block in enumerate(blocks("toml")):
        if "models" in tomllib.loads(block):
            (tmp_path / f"{i}.toml").write_text(block, encoding="utf-8")
            assert experiment.plan(tmp_path / f"{i}.toml", tmp_path).models


def test_commands_exist(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # narrow help pages abbreviate long options
    used: dict[tuple[str, ...], set[str]] = {}
    for words in commands():
        names = [w for w in words[1:3] if re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)*", w)]
        depth = 2 if names[0] in ("models", "train", "datasets") and len(names) > 1 else 1
        used.setdefault(tuple(names[:depth]), set()).update(w for w in words if w.startswith("--"))
    assert len(used) >= 20
    for names, options in used.items():
        code, output = command([*names, "--help"])
        assert code == 0, (names, output)
        assert not [option for option in options if option not in output], names


def command(words: list[str]) -> tuple[object, str]:
    """Exit code and output of the command line in this process, so that torch is imported once."""
    from duchenne.cli import main

    output = io.StringIO()
    before, sys.argv = sys.argv, ["duchenne", *words]
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            main()
        code: object = 0
    except SystemExit as leave:
        code = leave.code or 0
    finally:
        sys.argv = before
    return code, output.getvalue()


def test_commands_of_the_pages_run(files, tmp_path, monkeypatch):
    work = shutil.copytree(files, tmp_path / "work")
    monkeypatch.chdir(work)
    run = [shlex.split(line) for line in RUN.split("\n") if line]
    for words in run:
        assert words in commands(), f"{shlex.join(words)} is not on any page"
        code, output = command(words[1:])
        assert code == 0, f"{shlex.join(words)}\n{output}"
        assert output.strip()
        if "-o" in words:
            assert (work / words[words.index("-o") + 1]).exists(), words
    left = [words for page in COMPLETE for words in commands(page) if words not in run and words[1] != "demo"]
    assert not left
    assert {p.name for p in (work / "out").iterdir()} == {
        "verdict.json",
        "frames.csv",
        "curves.csv",
        "emotions.csv",
        "report.html",
    }


def test_tables_match_their_json(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import expression_texts
    import pedfe_emotions
    import ship
    import sources

    tables = ship.tables()
    for page, parts in sources.tables().items():
        tables[page] = tables.get(page, {}) | parts
    known = json.loads((ROOT / "experiments/expression.json").read_text(encoding="utf-8"))
    tables["docs/science/measured.md"]["expression"] = expression_texts.headline(known)
    told = json.loads((ROOT / "experiments/pedfe_emotions.json").read_text(encoding="utf-8"))
    tables["docs/emotions.md"] = {
        "pedfe": pedfe_emotions.table(told),
        "pedfe-confusion": pedfe_emotions.confusion(told),
    }
    for page, parts in tables.items():
        for name, table in parts.items():
            assert f"<!-- {name} -->\n{table}<!-- /{name} -->" in PAGES[page], f"{page}, {name}: run the script"


def test_the_card_has_the_record_of_clips_cut_otherwise(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import ship

    from duchenne import checkpoints

    assert ship.cuts().items() <= checkpoints.card("default").items(), "run experiments/ship.py --texts"


def test_counts_of_copies_match_their_json():
    found = json.loads((ROOT / "experiments/takes.json").read_text(encoding="utf-8"))
    page = " ".join((ROOT / "docs/ranking.md").read_text(encoding="utf-8").split())
    whole, smaller, slower, mirrored, worst = found["encoded again"].values()
    assert f"at most {100 * found['threshold']:.0f} % of their movement" in page
    assert f"Among {found['pairs of one person and emotion']:,} pairs" in page
    assert (
        f"the nearest are {100 * found[next(k for k in found if k.startswith('nearest by dlib'))][1][0]:.0f} %" in page
    )
    assert (
        f"Of {whole['clips']} clips encoded again, {whole['taken for one']} at CRF 28, {smaller['taken for one']} at"
        in page
    )
    assert f"{slower['taken for one']} at half the rate, {mirrored['taken for one']} mirrored and none at" in page
    assert worst["taken for one"] == 0


def test_tables_of_action_units_match_their_json(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import units_texts

    from duchenne import checkpoints

    known = json.loads((ROOT / "experiments/units.json").read_text(encoding="utf-8"))
    for name, table in units_texts.tables(known).items():
        assert f"<!-- {name} -->\n{table}<!-- /{name} -->" in PAGES["docs/units.md"], f"{name}: run the script"
    card = checkpoints.locate("units") / "CARD.md"
    assert card.read_text(encoding="utf-8") == units_texts.card(checkpoints.card("units"), known)


@pytest.mark.parametrize(
    ("file", "page"),
    [
        ("benchmarks/steady.json", "science/measured.md"),
        ("experiments/verdict.json", "science/measured.md"),
        ("experiments/smile_share.json", "science/measured.md"),
        ("experiments/signals.json", "decisions/0013-relative.md"),
        ("experiments/smile_measures.json", "science/which-measure.md"),
        ("benchmarks/reasons.json", "science/signs.md"),
        ("experiments/durations.json", "science/signs.md"),
    ],
)
def test_tables_of_verdicts_match_their_json(file, page, monkeypatch):
    source = ROOT / file
    if not source.exists():
        pytest.skip(f"{file} has not been measured")
    monkeypatch.syspath_prepend(str(source.parent))
    table = importlib.import_module(source.stem).table(json.loads(source.read_text(encoding="utf-8")))
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert f"<!-- {source.stem} -->\n{table}<!-- /{source.stem} -->" in text


def test_table_of_signs_matches_its_json(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import signs

    table = signs.page(json.loads(signs.signs.FILE.read_text(encoding="utf-8")))
    assert f"<!-- signs -->\n{table}<!-- /signs -->" in PAGES["docs/science/signs.md"]


def test_smile_table_matches_its_json():
    source = json.loads((ROOT / "experiments/smile_kinematics.json").read_text(encoding="utf-8"))["uva_nemo"]
    table = PAGES["docs/science/smiles.md"].split("<!-- smiles -->")[1]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    assert [re.findall(r"\d+", cell)[0] for cell in rows[0][1:]] == [
        str(source[label]["smiles"]) for label in ("posed", "genuine")
    ]
    names = ("onset", "apex", "offset", "amplitude", "speed", "offset_speed")
    for name, row in zip(names, rows[2:8], strict=True):
        assert [float(cell) for cell in row[1:]] == [source[label]["median"][name] for label in ("posed", "genuine")]


def test_everything_of_the_package_is_on_an_api_page():
    listed = "".join(text for name, text in PAGES.items() if name.startswith("docs/api/"))
    for name in set(duchenne.__all__) - {"__version__"}:
        assert re.search(rf":: (duchenne|duchenne\.\w+)\.{name}\n", listed), name


def test_pages_build_without_a_warning(tmp_path):
    pytest.importorskip("furo", reason='building the pages needs pip install ".[docs]"')
    words = ["-m", "sphinx", "-q", "-W", "-b", "html", "-D", "render_gallery=0", "-d", tmp_path / "trees"]
    done = subprocess.run(
        [sys.executable, *words, ROOT / "docs", tmp_path / "html"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "html/api/types.html").read_text(encoding="utf-8")
    assert "float32 (T, 68, 2)" in page
    tour = (tmp_path / "html/gallery/tour.html").read_text(encoding="utf-8")
    assert "A tour of duchenne" in tour and "smile_clip" in tour
    assert "0.734" in (tmp_path / "html/science/measured.html").read_text(encoding="utf-8")


def test_the_share_of_false_alarms_is_computed_right():
    right, false = 0.01 * 0.8, 0.99 * 0.2
    assert f"{round(100 * false / (right + false))} % of alarms are false" in " ".join(README.replace(">", "").split())


def test_limits_of_use_are_stated_everywhere():
    """Lie detection, hiring, schooling and policing are ruled out in README, cards, command line and report."""
    from duchenne import checkpoints, limits

    texts = {"README": README, "pages": PAGES["docs/index.md"], "verdict": limits.VERDICT}
    texts |= {name: (folder / "CARD.md").read_text(encoding="utf-8") for name, folder in checkpoints.shipped().items()}
    template = (ROOT / "src/duchenne/report/templates/page.html.j2").read_text(encoding="utf-8")
    texts["report"] = template.replace("{{ limits.NOT_FOR_USE }}", limits.NOT_FOR_USE)
    texts["help"] = subprocess.run(
        [sys.executable, "-m", "duchenne", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for where, text in texts.items():
        flat = " ".join(text.lower().split())
        for word in ("lie", "hiring", "schooling", "policing"):
            assert word in flat, (where, word)


def test_files_named_on_the_pages_exist():
    found = {
        name
        for page in PAGES.values()
        for name in re.findall(r"`((?:tests|experiments|benchmarks|examples|src)/[\w/.-]+\.\w+)`", page)
    }
    assert len(found) > 20
    assert not [name for name in sorted(found) if not (ROOT / name).exists()]


def test_the_documented_house_matches_its_test():
    rows = re.findall(r"^\| \d+ \| (.*?) \|", PAGES["docs/decisions/0010-house.md"], re.MULTILINE)
    assert [tuple(re.findall(r"`(\w+)`", row)) for row in rows] == list(HOUSE)
    listed = set(
        re.findall(r"`(\w+)/?`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## What a change")[0])
    )
    assert {room for floor in HOUSE for room in floor if not room.startswith("__")} <= listed


def test_links_resolve():
    for page in ("README.md", "CONTRIBUTING.md", *PAGES):
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)\s#:]+\.\w+)(?:#[^)]*)?\)", text):
            there = (ROOT / page).parent / target
            assert there.exists() or "gallery/" in target, f"{page}: {target}"  # made by a build
