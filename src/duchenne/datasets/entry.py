"""What a loader yields: a clip of a corpus, and what its annotators say about it beyond a manifest's columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from duchenne.types import Clip


@dataclass(frozen=True)
class Entry:
    """One row of a corpus.

    `facts` become further columns of its manifest, which readers may ignore: onset, apex, offset (seconds from
    the start of the clip, as text), action_units ("4+12" or, with intensities, "4:b+12:3"), note, and the like.
    """

    clip: Clip
    facts: Mapping[str, str] = field(default_factory=dict)
