"""The house rule: import only from a lower floor, never from a neighbour room, and packages where they belong."""

import ast
import sys
from pathlib import Path

import pytest

import duchenne

ROOT = Path(duchenne.__file__).parent
#: Room (a file or folder of the package) → floor. Files inside one folder may import one another.
FLOORS = {
    **dict.fromkeys(("__init__", "types", "errors"), 0.0),
    "registry": 0.5,  # its one import is the error for a name that nobody knows
    **dict.fromkeys(("video", "io", "clean", "align", "reel"), 1.0),
    "film": 1.5,  # it writes what video reads
    **dict.fromkeys(("faces", "features", "models", "datasets"), 2.0),
    **dict.fromkeys(("learn", "evaluate", "drawing", "sketch", "samples"), 3.0),
    # they read fitted classifiers and scores, so they stand above learn and evaluate
    **dict.fromkeys(("explain", "plots"), 3.5),
    "pages": 3.5,  # their templates write numbers as drawing does
    "placing": 3.5,  # it compares in the words of drawing
    "clip_crops": 3.5,  # it cuts what samples has read
    **dict.fromkeys(("report", "doctor", "judges", "expressions", "expression_data"), 4.0),
    **dict.fromkeys(("filters_page", "corpus_page"), 4.0),
    **dict.fromkeys(("pipeline", "training", "evaluation", "generation", "emotions", "filter_report"), 5.0),
    **dict.fromkeys(("clip_training", "expression_training", "micro"), 5.0),
    "corpus": 5.5,  # it composes the pipeline
    "experiment": 5.5,  # an evaluation that is written down
    "overlay": 5.5,  # it draws what the pipeline found
    "ranking": 5.5,  # it judges both clips by the pipeline
    "pb_space": 5.5,  # it takes the models that generation takes
    "web": 5.9,  # the other door, which the command line opens
    "cli": 6.0,
    "__main__": 7.0,  # `python -m duchenne` is the street outside the door
}
PIXELS, TABLES = (
    ("video", "film", "reel", "faces", "datasets.simulate", "datasets.fer2013"),
    ("io", "pipeline", "training", "samples", "datasets", "evaluation", "generation", "emotions"),
)
#: Package → the only places that may import it, lazily or not; packages that are not listed are not used.
PACKAGES = {
    **dict.fromkeys(("cv2", "av", "dlib"), PIXELS),
    **dict.fromkeys(("torch", "safetensors"), ("models", "learn", "explain")),
    **dict.fromkeys(("xgboost", "sklearn"), ("learn",)),
    **dict.fromkeys(("typer", "rich"), ("cli",)),
    **dict.fromkeys(("distributed", "dask_jobqueue"), ("corpus.cluster",)),
    "jinja2": ("pages", "web"),
    **dict.fromkeys(("starlette", "uvicorn"), ("web",)),
    "PIL": ("report", "sketch", "faces", "filters_page", "overlay"),
    "pandas": TABLES,
    "pyarrow": ("io",),
    "skimage": ("datasets.simulate",),
    "matplotlib": ("plots",),
    **dict.fromkeys(("joblib", "threadpoolctl"), ("evaluation", "corpus")),
    "filelock": ("corpus", "web"),
    **dict.fromkeys(("numpy", "scipy"), tuple(FLOORS)),
}


def imports(source: str) -> list[str]:
    """Dotted names of everything that is imported anywhere in the source, inside functions as well."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
    return found


def faults(module: str, source: str) -> list[str]:
    """What the house rule forbids in `source` as the module `module` ("features.smile"), in words."""
    room, wrong = module.split(".")[0], []
    for name in imports(source):
        top, _, inner = name.partition(".")
        target = inner.split(".")[0]
        if top == "duchenne":
            target = target if target in FLOORS else "__init__"  # a name of the package itself
            if target != room and FLOORS[target] >= FLOORS[room]:
                wrong.append(f"{module} (floor {FLOORS[room]:g}) imports {name} (floor {FLOORS[target]:g})")
        elif name.startswith("."):
            wrong.append(f"{module} imports {name}: name the whole path")
        elif top not in sys.stdlib_module_names and not any(
            f"{module}.".startswith(f"{place}.") for place in PACKAGES.get(top, ())
        ):
            wrong.append(f"{module} imports {top}, which belongs in {PACKAGES.get(top, 'no room yet')}")
    return wrong


FILES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(ROOT.rglob("*.py"))}


@pytest.mark.parametrize("module", FILES)
def test_every_file_imports_only_what_its_room_may(module):
    assert module.split(".")[0] in FLOORS, f"{module} stands on no floor; give it one"
    assert faults(module, FILES[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("types", "from duchenne import io"),
        ("faces.follow", "def f():\n    from duchenne.features.signals import join"),
        ("learn.fit", "import duchenne.evaluate.splits"),
        ("training", "from duchenne.pipeline import judge"),
        ("pipeline", "from duchenne import cli"),
        ("features.smile", "from .signals import join"),
        ("clean", "if True:\n    import cv2"),
        ("pipeline", "import torch.nn as nn"),
        ("learn.fit", "import requests"),
    ],
)
def test_the_rule_is_held_by_this_test(module, source):
    assert len(faults(module, source)) == 1
