"""Names for interchangeable parts: a name maps to `"module:object"`, imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from duchenne.errors import UsageError


class Registry(Mapping[str, str]):
    """A family of parts by name; `registry.load(name)` imports and returns the object behind it."""

    def __init__(self, family: str, entries: dict[str, str]) -> None:
        self.family = family
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> str:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def load(self, name: str) -> Any:
        """Import and return the object registered under `name`; UsageError names the known ones."""
        if name not in self._entries:
            known = ", ".join(sorted(self._entries))
            raise UsageError(f"There is no {self.family} named '{name}'; choose one of: {known}.")
        module, _, attribute = self._entries[name].partition(":")
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
