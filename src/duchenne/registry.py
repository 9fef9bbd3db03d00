"""Names for interchangeable parts: a name maps to `"module:object"`, imported only when it is requested."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from duchenne.errors import UsageError, meant


class Registry(dict[str, str]):
    """Parts of one kind by name; `registry.load(name)` imports and returns the object."""

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        super().__init__(entries)
        self.kind = kind

    def load(self, name: str) -> Any:
        """Import and return the object registered under `name`; UsageError, with the known names, for another."""
        if name not in self:
            raise UsageError(
                f"There is no {self.kind} named '{name}'{meant(name, self)}; choose one of: {', '.join(sorted(self))}."
            )
        module, _, attribute = self[name].partition(":")
        return getattr(import_module(module), attribute)


DETECTORS = Registry(
    "detector",
    {"haar": "duchenne.faces.detect:HaarDetector", "hog": "duchenne.faces.detect:HogDetector"},
)
TRACKERS = Registry(
    "tracker",
    {"mosse": "duchenne.faces.track:MosseTracker", "mosse-opencv": "duchenne.faces.track:OpenCvMosse"},
)
LANDMARKERS = Registry("landmarker", {"dlib68": "duchenne.faces.landmarks:Dlib68"})


#: Readers of faces; the first is used where nothing else is said.
READER_WORDS = {
    "mesh": "the face mesh: 478 points, 52 coefficients, the head's pose",
    "paper": "Haar cascade, MOSSE tracker, 68 points of dlib (Huynh & Kim 2017)",
}
READERS = tuple(READER_WORDS)


def check_reader(reader: str, detector: str = "haar", mesh: bool = False) -> str:
    """The reader; UsageError for an unknown one, for an unknown detector, for one that it does not use, and for a
    `mesh` that it does not have."""
    if reader not in READERS:
        raise UsageError(f"There is no reader of faces named '{reader}'{meant(reader, READERS)}; choose mesh or paper.")
    DETECTORS.load(detector)
    if reader == "mesh" and detector != "haar":
        raise UsageError(f"The mesh reader has its own detector; leave out {detector}, or choose the reader paper.")
    if mesh and reader != "mesh":
        raise UsageError("Only the reader mesh has a mesh; choose it, or leave the mesh out.")
    return reader
