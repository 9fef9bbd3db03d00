"""What a loader yields: a clip, and annotations beyond the columns of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from duchenne.types import Clip


@dataclass(frozen=True)
class Entry:
    """One row of a data set.

    `facts` become further columns of its manifest, which readers may ignore: onset, apex, offset (seconds from
    the start of the clip, as text), action_units ("4+12" or, with intensities, "4:b+12:3"), note, and the like.
    """

    clip: Clip
    facts: Mapping[str, str] = field(default_factory=dict)
