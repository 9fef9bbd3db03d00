"""One clip of a batch, as it is sent to a worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from duchenne.types import Json, JsonMap

if TYPE_CHECKING:
    from duchenne.clips.cache import Cache

Options = JsonMap
Row = Json


@dataclass(frozen=True)
class ClipJob:
    """One clip, as it is sent to a worker.

    `path` is below `root`, `name` is its name in tables; results are made at `place` below `scratch` and then moved to
    `place` below `out`.
    """

    root: str
    path: str
    name: str
    out: str
    place: str
    scratch: str
    start: float | None = None
    end: float | None = None
    rate: float | None = None
    subject: str | None = None

    @property
    def unfinished(self) -> Path:
        """Where results are made."""
        return Path(self.scratch) / self.place

    @property
    def stretch(self) -> dict[str, float | None]:
        """The arguments `start`, `end` and `rate` of `video.frames`."""
        return {"start": self.start, "end": self.end, "rate": self.rate}


def cache_of(options: Options) -> Cache:
    """The cache of faces, which may be switched off."""
    from duchenne.clips.cache import Cache

    return Cache() if options["cache"] else Cache(limit=0)
