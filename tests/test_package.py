"""The contents and metadata of a release."""

import tomllib
from pathlib import Path

import yaml

import duchenne

ROOT = Path(__file__).parents[1]
ABOUT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_version_is_written_once():
    assert "version" not in ABOUT["project"] and ABOUT["project"]["dynamic"] == ["version"]
    source = ROOT / ABOUT["tool"]["hatch"]["version"]["path"]
    assert source.read_text(encoding="utf-8").count(f'"{duchenne.__version__}"') == 1
    assert f"## [{duchenne.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_types_are_declared():
    assert (Path(duchenne.__file__).parent / "py.typed").is_file()
    assert "Typing :: Typed" in ABOUT["project"]["classifiers"]


def test_the_source_release_has_no_experiments_and_no_images():
    included = ABOUT["tool"]["hatch"]["build"]["targets"]["sdist"]["only-include"]
    assert all((ROOT / name).exists() for name in included)
    assert not {"experiments", "benchmarks", "docs"} & {Path(name).parts[0] for name in included}


def test_data_of_others_come_with_their_licences():
    about = ABOUT["project"]
    assert about["license"] == "MIT AND Apache-2.0" and all((ROOT / name).is_file() for name in about["license-files"])
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for name in ("face_landmarker.task", "LICENSE", "CARD.md"):
        path = f"src/duchenne/weights/face-mesh/{name}"
        assert path in notice and (ROOT / path).is_file()


def test_the_citation_is_valid():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited) and cited["cff-version"] == "1.2.0"
    assert cited["license"] == ABOUT["project"]["license"].split(" AND ")[0] and "version" not in cited


def test_forms_ask_for_versions_and_never_for_faces():
    for name in ("bug", "verdict", "feature"):
        text = (ROOT / f".github/ISSUE_TEMPLATE/{name}.yml").read_text(encoding="utf-8")
        form = yaml.safe_load(text)
        assert {"name", "description", "body"} <= set(form), name
        assert name == "feature" or ("duchenne doctor" in text and "attach no video" in text), name
