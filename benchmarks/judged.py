"""Shared by the measurements of whole verdicts: PEDFE's raw clips, which model judges which person, and verdicts as of
`duchenne analyze`, kept in a folder so that a run resumes and another model needs no second reading of the faces."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import duchenne
from duchenne import DuchenneError, checkpoints, io, pipeline
from duchenne.clips import cache
from duchenne.metrics.intervals import percentiles, person_draws
from duchenne.metrics.ratios import ratio
from duchenne.types import Array

LETTERS = {"f": "happiness", "d": "disgust", "t": "sadness", "s": "surprise", "r": "anger", "p": "fear"}
PAGE = Path(__file__).parents[1] / "docs" / "science" / "measured.md"
LAST = "## Limits of these figures"


@dataclass(frozen=True)
class Known:
    """A clip of PEDFE; its name holds who is seen, the elicited emotion, and the label."""

    path: Path

    @property
    def subject(self) -> str:
        return self.path.stem.split("_")[0]

    @property
    def emotion(self) -> str:
        return LETTERS[self.path.stem.split("_")[1][0]]

    @property
    def genuine(self) -> bool:
        return self.path.stem.split("_")[1][1] == "g"


@dataclass(frozen=True)
class Answer:
    """P(genuine), also where the model abstains (NaN where no face was read), the label ("" without), the reason."""

    p: float
    label: str
    reason: str


def clips() -> list[Known]:
    """All raw clips of the 42 open people, in order of name."""
    found = sorted((Path(os.environ.get("DUCHENNE_DATA", ".")) / "data" / "pedfe" / "clips").glob("*.avi"))
    if not found:
        sys.exit("No clip was found; set DUCHENNE_DATA to the folder that holds data/pedfe/clips.")
    return [Known(path) for path in found]


def left_out(file: Path) -> dict[str, str]:
    """Person → the model folder that left the person out, from JSON {model folder: [people it left out]}; folders are
    relative to the file."""
    found: dict[str, str] = {}
    for folder, people in json.loads(file.read_text(encoding="utf-8")).items():
        for person in map(str, people):
            if person in found:
                sys.exit(f"{file}: person '{person}' is left out by two models; name the person once.")
            found[person] = str((file.parent / folder).resolve())
    return found


def versions(models: set[str]) -> dict[str, str]:
    """Model → a digest of its folder and of all shipped weights, on which verdicts depend."""
    shipped = Path(duchenne.__file__).parent / "weights"
    folders = {model: [checkpoints.locate(model), shipped] for model in models}
    return {model: _digest(*each) for model, each in folders.items()}


def readings(work: Path) -> Path:
    """The folder for faces as they were read, and verdicts."""
    return work / "readings"


@lru_cache
def _kept(work: Path) -> cache.Cache:
    """One cache for all clips: each looks through its folder once."""
    return cache.Cache(readings(work), limit=float("inf"))


def judge(path: Path, model: str, version: str, work: Path, **options: Any) -> Answer:
    """The verdict of `pipeline.examine`, or the one in `work` by the same code and model on the same bytes."""
    kept = _kept(work)

    def made() -> dict[str, Array]:
        try:
            found = pipeline.examine(path, model=model, read=kept.read_faces, **options)[0]
        except DuchenneError as error:
            return {"p": np.array(np.nan), "label": np.array(""), "reason": np.array(str(error).replace(str(path), ""))}
        label, reason = found.verdict.label or "", found.verdict.reason or ""
        return {"p": np.array(found.p_raw), "label": np.array(label), "reason": np.array(reason)}

    found = kept.arrays(["judged", cache.content(path), version, options], made)
    return Answer(float(found["p"]), str(found["label"]), str(found["reason"]))


def share(part: Array, whole: Array, subject: Sequence[str], n: int = 2000) -> tuple[float | None, list[float] | None]:
    """Σ part / Σ whole of rows (N,), and its 95 % interval, persons resampled; None where not known."""
    sums = np.stack([part, whole], axis=1).astype(float)
    total = sums.sum(axis=0)
    drawn = np.concatenate(list(person_draws(sums, subject, n, 0)))
    low, high = percentiles(ratio(drawn[:, 0], drawn[:, 1]))
    ends = [round(low, 4), round(high, 4)] if np.isfinite(low) else None
    return round(total[0] / total[1], 4) if total[1] else None, ends


def put(name: str, title: str, words: str, table: str, target: Path = PAGE) -> None:
    """Write a table between its marks in `target`; the section, where `PAGE` lacks it, before its last."""
    page = target.read_text(encoding="utf-8")
    if f"<!-- {name} -->" not in page:
        section = f"## {title}\n\n{words}\n\n<!-- {name} -->\n<!-- /{name} -->\n\n"
        page = page.replace(LAST, section + LAST)
    marks = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    io.write_text(target, re.sub(marks, lambda m: m[1] + table + m[2], page, flags=re.DOTALL))


def _digest(*folders: Path) -> str:
    found = hashlib.sha256()
    for folder in folders:
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            found.update(f"{file.relative_to(folder)} {io.sha256(file)}\n".encode())
    return found.hexdigest()
