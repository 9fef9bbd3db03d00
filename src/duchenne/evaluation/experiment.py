"""Experiments as data: one TOML per table, from which `duchenne run` makes it again."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

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
    """The plan that an experiment's TOML describes; manifests of catalogued corpora are written below `out`.

    Keys: those of `Plan`, with [[data]] in place of manifests: either `manifest`, or `corpus` and `root` (and
    `layout`). Paths are relative to the TOML; those that hold environment variables ($DUCHENNE_DATA/data/pedfe), which
    whoever calls has set, to where one stands.
    [[published]] has name, score, protocol, problem, source; [human] has text, accuracy, auc. Raises UsageError for
    unknown keys, values of the wrong kind and variables that are not set, InputError for no such file or no TOML.
    """
    path = Path(path)
    found = io.read_toml(path, f"There is no experiment {path}; expected a TOML file.")
    known = [name for name in _PLAN if name != "manifests"]
    _check(path, "experiment", found, known)
    for name, value in found.items():
        kind = _TYPES.get(str(_PLAN[name]))
        if kind is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise UsageError(f"{path}: {name} must be {kind.__name__}, found {value!r}.")
        if name in ("models", "notes") and not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            raise UsageError(f"{path}: {name} must be a list of strings, found {value!r}.")
    for name, keys in (("published", _PUBLISHED), ("data", _DATA)):
        if not isinstance(found.get(name, []), list) or not all(isinstance(row, dict) for row in found.get(name, [])):
            raise UsageError(f"{path}: {name} must be tables, written [[{name}]].")
        for row in found.get(name, []):
            _check(path, f"[[{name}]]", row, keys)
            if wrong := [key for key in row if not isinstance(row[key], str) and (name, key) != ("published", "score")]:
                raise UsageError(f"{path}: {wrong[0]} in [[{name}]] must be a string, found {row[wrong[0]]!r}.")
    _check_human(path, found.get("human"))
    data = found.pop("data", [])
    if not data:
        raise UsageError(f"{path} names no data; add a [[data]] table with a manifest, or a corpus and its root.")
    lists: Json = {name: tuple(found.pop(name)) for name in ("models", "notes", "published") if name in found}
    settings: Json = {"title": path.stem, **found, **lists}
    checked = Plan((), **settings)  # before anything is written
    return replace(checked, manifests=tuple(_manifest(path, row, Path(out)) for row in data))


def _check(path: Path, where: str, table: Any, known: Any) -> None:
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {where} must be a table, found {table!r}.")
    if unknown := [name for name in table if name not in known]:
        raise UsageError(f"{path}: {where} has the unknown key '{unknown[0]}'; known are: {', '.join(known)}.")


def _check_human(path: Path, human: Any) -> None:
    if human is None:
        return
    _check(path, "[human]", human, _HUMAN)
    for name in ("text", *human):
        value, kind = human.get(name), "a string" if name == "text" else "a number"
        if not isinstance(value, str) if name == "text" else type(value) not in (int, float):
            raise UsageError(f"{path}: {name} in [human] must be {kind}, found {value!r}.")


def _manifest(path: Path, row: Json, out: Path) -> str:
    if ("manifest" in row) == ("corpus" in row) or ("corpus" in row and "root" not in row):
        raise UsageError(f"{path}: [[data]] must name either a manifest, or a corpus and its root.")
    if "manifest" in row:
        return str(_place(path, row["manifest"]))
    entries = catalog.entries(row["corpus"], _place(path, row["root"]), layout=row.get("layout"))
    return str(manifest.write(out / ".work" / f"{row['corpus']}.csv", entries))


def _place(path: Path, text: str) -> Path:
    full = os.path.expandvars(text)
    if "$" in full:
        raise UsageError(f"{path}: {text} names an environment variable that is not set; set it to where the data is.")
    return Path(full) if full != text else path.parent / full
