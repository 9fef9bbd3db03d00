"""The house rule: import only from a lower floor, never from a neighbour room, and packages where they belong."""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import duchenne

ROOT = Path(duchenne.__file__).parent
MOST_ROOMS, MOST_FILES = 40, 20
#: Rooms (a file or folder of the package), from the lowest floor up.
HOUSE = (
    ("__init__", "types", "errors", "limits", "progress"),
    ("registry", "io", "preprocess", "workers"),
    ("video", "learn", "mesh"),
    ("faces", "features", "datasets"),
    ("clips", "checkpoints", "metrics"),
    ("plots",),
    ("training",),
    ("lstm_pb", "expression", "units"),
    ("tabular", "clipnets", "micro"),  # which read what the expression network sees
    ("methods",),
    ("report", "judging", "gates", "evaluation", "tables"),
    ("pipeline",),
    ("ranking", "overlay", "batch"),
    ("web",),
    ("cli",),
    ("__main__",),
)
FLOORS = {room: floor for floor, rooms in enumerate(HOUSE) for room in rooms}
SYSTEMS = ("tabular", "lstm_pb", "expression", "units", "clipnets", "micro", "methods")
PIXELS = ("video", "mesh", "faces", "datasets.simulate", "datasets.fer2013")
TABLES = (
    "io",
    "clips",
    "datasets",
    "evaluation",
    "methods",
    "lstm_pb",
    "expression",
    "units",
    "micro",
    "pipeline",
    "tables",
    "types",
    "batch",
)
#: Package → the only places that may import it, lazily or not; packages that are not listed are not used.
PACKAGES = {
    **dict.fromkeys(("cv2", "av", "dlib"), PIXELS),
    **dict.fromkeys(("torch", "safetensors"), ("learn", "checkpoints", *SYSTEMS)),
    **dict.fromkeys(("xgboost", "sklearn"), ("learn", "checkpoints", *SYSTEMS)),
    **dict.fromkeys(("typer", "rich"), ("cli",)),
    **dict.fromkeys(("distributed", "dask_jobqueue"), ("batch.cluster",)),
    "jinja2": ("report", "web"),
    **dict.fromkeys(("starlette", "uvicorn"), ("web",)),
    "PIL": ("video", "report", "plots", "overlay", "datasets"),
    "pandas": TABLES,
    **dict.fromkeys(("pyarrow", "csv"), ("io",)),
    "pyreadstat": ("tables",),
    "skimage": ("datasets.simulate",),
    "matplotlib": ("plots", "types.verdicts"),
    "xarray": ("types.data",),
    **dict.fromkeys(("joblib", "threadpoolctl"), ("evaluation", "workers", "batch")),
    "platformdirs": ("clips.cache",),
    "filelock": ("batch", "web"),
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
                wrong.append(f"{module} (floor {FLOORS[room]}) imports {name} (floor {FLOORS[target]})")
        elif name.startswith("."):
            wrong.append(f"{module} imports {name}: name the whole path")
        elif (top in PACKAGES or top not in sys.stdlib_module_names) and not any(
            f"{module}.".startswith(f"{place}.") for place in PACKAGES.get(top, ())
        ):
            wrong.append(f"{module} imports {top}, which belongs in {PACKAGES.get(top, 'no room yet')}")
    return wrong


def circle(files: dict[str, Path]) -> list[str]:
    """Modules that import one another, in turn; none where there is no such circle."""
    graph = {}
    for module, path in files.items():
        names = [name.removeprefix("duchenne.") for name in imports(path.read_text(encoding="utf-8"))]
        graph[module] = {
            found for name in names if (found := next((m for m in (name, name.rpartition(".")[0]) if m in files), None))
        } - {module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_the_house():
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(ROOT.rglob("*.py"))}
    rooms = {module.split(".")[0] for module in files}
    assert rooms <= set(FLOORS), f"{rooms - set(FLOORS)} stand on no floor; give them one"
    assert len(rooms) <= MOST_ROOMS
    full = [f"{room}: {n} files" for room in rooms if (n := sum(m.startswith(f"{room}.") for m in files)) > MOST_FILES]
    wrong = [each for module, path in files.items() for each in faults(module, path.read_text(encoding="utf-8"))]
    mute = [p.parent.name for p in ROOT.rglob("__init__.py") if not ast.get_docstring(ast.parse(p.read_text("utf-8")))]
    assert (full, wrong, circle(files), mute) == ([], [], [], [])


def test_the_rule_is_held_by_this_test():
    for module, source in (
        ("types", "from duchenne import io"),
        ("faces.follow", "def f():\n    from duchenne.features.signals import join"),
        ("learn.loop", "import duchenne.datasets.splits"),
        ("batch.run", "from duchenne.ranking import rank"),
        ("pipeline", "from duchenne import cli"),
        ("features.smile", "from .signals import join"),
        ("preprocess.clean", "if True:\n    import cv2"),
        ("pipeline", "import torch.nn as nn"),
        ("learn.loop", "import requests"),
        ("datasets.manifest", "import csv"),
    ):
        assert len(faults(module, source)) == 1, module
