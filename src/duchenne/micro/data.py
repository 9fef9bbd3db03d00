"""Whose micro-expressions there are, where they lie and what they are called: CASME II, SAMM, SMIC, or a manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from duchenne.datasets import coded, manifest
from duchenne.datasets.entry import Entry
from duchenne.errors import InputError, UsageError

#: How clips are sorted into classes.
CLASSES = ("emotions", "labelled", "three")
#: As the Micro-Expression Grand Challenge of 2019 joins CASME II, SAMM and SMIC; what is not named is left out.
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
    """One micro-expression: what it is called, who shows it, and where it lies.

    `rate` in frames/s is that of a folder of images, None for a video, which has its own times; `start` and `end` are
    seconds (None: the file's own ends).
    """

    path: str
    subject: str
    label: str
    rate: float | None
    start: float | None
    end: float | None


def entries(data: str | Path) -> list[Entry]:
    """The rows of a folder with CASME II, SAMM or SMIC, or of a manifest CSV.

    Of SMIC only micro-expressions, seen by the fastest camera, as the others saw the same. InputError where `data` is
    none of these.
    """
    data = Path(data)
    if not data.is_dir():
        return [entry for _, entry in manifest.read_entries(data)]
    found = next((rows for rows in (loader(data) for loader in _LOADERS) if rows), None)
    if found is None:
        raise InputError(
            f"{data} holds no copy of CASME II, SAMM or SMIC that is known here; `duchenne datasets show casme2` says "
            "how each lies on disk, and a manifest CSV will do as well."
        )
    return [e for e in found if (e.facts.get("camera", "HS"), e.facts.get("kind", "micro")) == ("HS", "micro")]


def examples(data: str | Path, classes: str = "emotions", rate: float | None = None) -> tuple[list[Example], int]:
    """(the micro-expressions of `data` that have a class, how many have none), in the order of `entries`.

    classes  "emotions": the basic ones and contempt; "labelled": the coders' own words, in lower case; "three":
             positive, negative and surprise, see `THREE`
    rate     frames/s of folders of images whose row does not tell it (a manifest's column `rate`)

    UsageError for other classes, InputError where a row names nobody or no pictures, and for a folder without a rate.
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
                raise InputError(f"{clip.path} names no person; who is tested must not have been learnt from.")
            found.append(Example(clip.path, clip.subject, label, pictures_rate(entry, rate), clip.start, clip.end))
    return found, len(rows) - len(found)


def pictures_rate(entry: Entry, rate: float | None) -> float | None:
    """Frames per second at which a row's pictures are to be read, None for a video; see `examples` for errors."""
    path = entry.clip.path
    if manifest.split_path(path)[1] is not None:
        raise InputError(f"{path} is a row of a table or of tracks; micro-expressions are read from pictures.")
    if not Path(path).is_dir():
        return None
    known = manifest.rate_of(entry) or rate
    if known is None:
        raise InputError(
            f"{path} is a folder of images, which have no times; tell its frames per second in a column rate of the "
            "manifest, or with --rate."
        )
    return known


def _label(entry: Entry, classes: str) -> str | None:
    word = (entry.facts.get("emotion_as_labelled") or entry.clip.emotion or "").lower()
    if classes == "emotions":
        return entry.clip.emotion
    return THREE.get(word) if classes == "three" else word or None
