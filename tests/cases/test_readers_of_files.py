"""Files are opened in `io` alone, where their size and kind are checked."""

import ast
from pathlib import Path

import duchenne

ROOT = Path(duchenne.__file__).parent
#: What opens a file, or reads text as data, without a bound.
OPENERS = {
    "np": {"load", "loadtxt", "genfromtxt", "fromregex"},
    "numpy": {"load", "loadtxt", "genfromtxt", "fromregex"},
    "json": {"load", "loads"},
    "csv": {"reader", "DictReader"},
    "pd": {"read_csv", "read_excel", "read_table", "read_json", "read_parquet", "read_pickle"},
    "zipfile": {"ZipFile"},
    "pickle": {"load", "loads"},
    "torch": {"load"},
}
#: Places outside `io` that may, and why.
EXEMPT = {
    "batch/state.py": "its own settings, as JSON gives them back",
    "checkpoints/parts.py": "the text that the model itself has just made",
    "checkpoints/tensors.py": "the text that the model itself has just made",
    "clipnets/published.py": "published weights that the user names, as tensors only",
    "preprocess/align.py": "a file of the package, on the floor of io",
    "workers/child.py": "lines of its own parent process, through a pipe",
    "workers/pool.py": "lines of its own child processes, whose length is limited",
}


def openers(source: str) -> list[str]:
    """Every use of one of `OPENERS`, also imported by name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found += [f"{node.value.id}.{node.attr}"] if node.attr in OPENERS.get(node.value.id, ()) else []
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{n.name}" for n in node.names if n.name in OPENERS.get(node.module or "", ())]
    return found


def test_files_of_strangers_are_opened_in_io():
    files = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py")}
    found = {name: openers(text) for name, text in files.items() if not name.startswith("io/")}
    used = {name for name, calls in found.items() if calls}
    assert used - set(EXEMPT) == set(), {name: found[name] for name in used - set(EXEMPT)}
    assert set(EXEMPT) - used == set(), "exempt without need"
    assert any(openers(text) for name, text in files.items() if name.startswith("io/"))


def test_the_rule_is_held_by_this_test():
    for source in ("import json\njson.loads('1')", "import numpy as np\nnp.load(p)", "from csv import reader"):
        assert openers(source)
    assert openers("torch.load_state_dict(x)\nmodel.load(p)") == []
