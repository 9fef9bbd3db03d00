"""Labelled micro-expressions: CASME II, SAMM, SMIC, or a manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duchenne import io
from duchenne.datasets import coded, manifest
from duchenne.datasets.entry import Entry
from duchenne.errors import InputError, UsageError
from duchenne.video import is_untimed
from duchenne.video.timing import GIVE_RATE

#: Sets of classes.
CLASSES = ("emotions", "labelled", "three")
#: As in the Micro-Expression Grand Challenge of 2019; other labels are left out.
THREE = {
    **dict.fromkeys(("happiness", "positive"), "positive"),
    "surprise": "surprise",
    **dict.fromkeys(
        ("anger", "contempt", "disgust", "fear", "sadness", "repression", "negative"),
        "negative",
    ),
}
_LOADERS: tuple[Callable[[Path], list[Entry]], ...] = (coded.casme2, coded.samm, coded.smic)


@dataclass(frozen=True)
class Example:
    """One labelled micro-expression.

    `rate` in frames/s is that of a folder of images, None for a video, which has timestamps; `start` and `end` are
    seconds (None: the file's own ends); `apex` is the coded one, in seconds, None where there is none.
    """

    path: str
    subject: str
    label: str
    rate: float | None
    start: float | None
    end: float | None
    apex: float | None = None


def entries(data: str | Path) -> list[Entry]:
    """The rows of a folder with CASME II, SAMM or SMIC, or of a manifest CSV.

    Of SMIC only micro-expressions, by the fastest camera, as the others recorded the same. InputError for other `data`.
    """
    data = Path(data)
    if not data.is_dir():
        return [entry for _, entry in manifest.read_entries(data)]
    found = next((rows for rows in (loader(data) for loader in _LOADERS) if rows), None)
    if found is None:
        raise InputError(
            f"{data} is not a known copy of CASME II, SAMM or SMIC; see the layout in `duchenne datasets show casme2`, "
            "or pass a manifest CSV."
        )
    return [e for e in found if (e.facts.get("camera", "HS"), e.facts.get("kind", "micro")) == ("HS", "micro")]


def examples(data: str | Path, classes: str = "emotions", rate: float | None = None) -> tuple[list[Example], int]:
    """(the micro-expressions of `data` that have a class, how many have none), in the order of `entries`.

    classes  "emotions": the basic ones and contempt; "labelled": the coders' own words, in lower case; "three":
             positive, negative and surprise, see `THREE`
    rate     frames/s of folders of images whose row has none (a manifest's column `rate`)

    UsageError for other classes, InputError for a row without a subject or images, and for a folder without a rate.
    """
    if classes not in CLASSES:
        raise UsageError(f"Classes must be one of {', '.join(CLASSES)}, found '{classes}'.")
    rows = entries(data)
    found: list[Example] = []
    for entry in rows:
        label = _label(entry, classes)
        if label is not None:
            clip = entry.clip
            if clip.subject is None:
                raise InputError(f"{clip.path} has no subject, which person-disjoint tests need; fill in the column.")
            times = (frame_rate(entry, rate), clip.start, clip.end, _apex(entry))
            found.append(Example(clip.path, clip.subject, label, *times))
    return found, len(rows) - len(found)


def frame_rate(entry: Entry, rate: float | None) -> float | None:
    """Frames per second of a row's folder of images or bare stream, None for a video; errors as `examples`."""
    path = entry.clip.path
    if manifest.split_path(path)[1] is not None:
        raise InputError(f"{path}: expected a video or a folder of images, found a row of a table or of tracks.")
    known = manifest.rate_of(entry, rate)
    if known is None and is_untimed(path):
        raise InputError(f"{path} has no timestamps; {GIVE_RATE}.")
    return known


def _apex(entry: Entry) -> float | None:
    text = entry.facts.get("apex", "")
    try:
        seconds = io.number(text)
    except ValueError as error:
        raise InputError(f"{entry.clip.path}: expected the apex in seconds, found '{text}'; correct it.") from error
    return seconds if np.isfinite(seconds) else None


def _label(entry: Entry, classes: str) -> str | None:
    word = (entry.facts.get("emotion_as_labelled") or entry.clip.emotion or "").lower()
    if classes == "emotions":
        return entry.clip.emotion
    return THREE.get(word) if classes == "three" else word or None
