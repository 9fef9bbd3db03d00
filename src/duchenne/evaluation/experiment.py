"""Experiments as TOML files, which `duchenne run` evaluates, or whose commands it runs."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path

from duchenne import io
from duchenne.datasets import catalog, manifest
from duchenne.errors import UsageError
from duchenne.evaluation import Plan
from duchenne.types import Json

_PLAN = {field.name: field.type for field in fields(Plan)} | {"data": "list"}
_TYPES = {"str": str, "int": int, "bool": bool, "float": float}
_DATA = ("corpus", "root", "layout", "manifest")
_PUBLISHED = ("name", "score", "protocol", "problem", "source")
_HUMAN = ("text", "accuracy", "auc")


def plan(path: str | Path, out: str | Path) -> Plan:
    """The plan that an experiment's TOML describes; manifests of catalogued data sets are written below `out`.

    Keys: those of `Plan`, with [[data]] in place of manifests: either `manifest`, or `corpus` and `root` (and
    `layout`). Paths are relative to the TOML; those with environment variables ($DUCHENNE_DATA/data/pedfe) are not.
    [[published]] has name, score, protocol, problem, source; [human] has text, accuracy, auc. Raises UsageError for
    unknown keys, values of the wrong kind and variables that are not set, InputError for a missing or invalid file.
    """
    path = Path(path)
    table = io.read_toml(path, f"There is no experiment {path}; give a TOML file.")
    known = [name for name in _PLAN if name != "manifests"]
    _check(path, "experiment", table, known)
    for name, value in table.items():
        kind = _TYPES.get(str(_PLAN[name]))
        if kind is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise UsageError(f"{path}: {name} must be {kind.__name__}, found {value!r}.")
        if name in ("models", "notes") and not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            raise UsageError(f"{path}: {name} must be a list of strings, found {value!r}.")
    for name, keys in (("published", _PUBLISHED), ("data", _DATA)):
        if not isinstance(table.get(name, []), list) or not all(isinstance(row, dict) for row in table.get(name, [])):
            raise UsageError(f"{path}: {name} must be tables, written [[{name}]].")
        for row in table.get(name, []):
            _check(path, f"[[{name}]]", row, keys)
            if wrong := [key for key in row if not isinstance(row[key], str) and (name, key) != ("published", "score")]:
                raise UsageError(f"{path}: {wrong[0]} in [[{name}]] must be a string, found {row[wrong[0]]!r}.")
    if "human" in table:
        _check_human(path, table["human"])
    data = table.pop("data", [])
    if not data:
        raise UsageError(f"{path} names no data; add a [[data]] table with manifest, or with corpus and root.")
    lists: Json = {name: tuple(table.pop(name)) for name in ("models", "notes", "published") if name in table}
    settings: Json = {"title": path.stem, **table, **lists}
    checked = Plan((), **settings)  # before anything is written
    return replace(checked, manifests=tuple(_manifest(path, row, Path(out)) for row in data))


def commands(path: str | Path, out: str | Path) -> list[list[str]]:
    """The words of each command of an experiment of `commands`, without "duchenne"; [] for one of a plan.

    Each is a line of a shell, in which {out} is the folder of the results and environment variables are replaced.
    Beside them only title and notes are read. Errors as of `plan`.
    """
    path = Path(path)
    table = io.read_toml(path, f"There is no experiment {path}; give a TOML file.")
    if "commands" not in table:
        return []
    _check(path, "experiment", table, ("title", "notes", "commands"))
    lines = table["commands"]
    if not isinstance(lines, list) or not lines or not all(isinstance(line, str) for line in lines):
        raise UsageError(f"{path}: commands must be a list of strings, found {lines!r}.")
    found = [[_filled(path, word, Path(out)) for word in shlex.split(line)] for line in lines]
    if wrong := [words for words in found if not words or words[0] in ("run", "duchenne")]:
        raise UsageError(f"{path}: {' '.join(wrong[0])!r} is not a command of duchenne; write it without 'duchenne'.")
    return found


def _filled(path: Path, word: str, out: Path) -> str:
    full = os.path.expandvars(word)
    if "$" in full:
        raise UsageError(
            f"{path}: {word} uses an environment variable that is not set; set it to the folder of the data."
        )
    return full.replace("{out}", str(out))


def _check(path: Path, where: str, table: object, known: Collection[str]) -> None:
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {where} must be a table, found {table!r}.")
    if unknown := [name for name in table if name not in known]:
        raise UsageError(f"{path}: {where} has the unknown key '{unknown[0]}'; known are: {', '.join(known)}.")


def _check_human(path: Path, human: object) -> None:
    _check(path, "[human]", human, _HUMAN)
    assert isinstance(human, dict)
    for name in ("text", *human):
        value, kind = human.get(name), "a string" if name == "text" else "a number"
        if not isinstance(value, str) if name == "text" else type(value) not in (int, float):
            raise UsageError(f"{path}: {name} in [human] must be {kind}, found {value!r}.")


def _manifest(path: Path, row: Json, out: Path) -> str:
    if ("manifest" in row) == ("corpus" in row) or ("corpus" in row and "root" not in row):
        raise UsageError(f"{path}: expected in [[data]] either manifest, or corpus and root.")
    if "manifest" in row:
        return str(_place(path, row["manifest"]))
    entries = catalog.entries(row["corpus"], _place(path, row["root"]), layout=row.get("layout"))
    return str(manifest.write(out / ".work" / f"{row['corpus']}.csv", entries))


def _place(path: Path, text: str) -> Path:
    full = _filled(path, text, Path("{out}"))
    return Path(full) if full != text else path.parent / full
