"""When a clip network made up its mind: what its answer would be had nothing moved for a while."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from duchenne.clipnets.inputs import Pictures
from duchenne.learn.calibration import logit
from duchenne.plots.text import toward
from duchenne.types import Array, Classifier, Evidence

_PARTS = ("first", "second", "third", "last")


def clip_evidence(model: Classifier, x: Array) -> tuple[Evidence, ...]:
    """Of one clip, x object (1,) as the model's `table` has it.

    Each quarter of what was read is stood still in turn, at the last frame before it (the first quarter at the first
    after it), as `still` does; its contribution is by how much the log-odds of genuine then fall. Of one frame there
    is nothing to stand still: no items.
    """
    n = len(x[0])
    if n < len(_PARTS):
        return ()
    parts = np.array_split(np.arange(n), len(_PARTS))
    asked = np.empty(1 + len(parts), object)
    asked[:] = [x[0], *(still(x[0], part) for part in parts)]
    p = np.asarray(model.predict_table(asked))[:, 1]
    z = logit(p)
    found = [_item(name, float(p[i]), float(z[0] - z[i])) for i, name in enumerate(_PARTS, 1)]
    return tuple(sorted(found, key=lambda item: -abs(item.contribution)))


def still(read: Pictures | Array, part: Array) -> Pictures | Array:
    """`read`, pictures or points (T, F) of a clip, with the frames of `part` (one run of places) all alike."""
    at = np.arange(len(read))
    at[part] = part[0] - 1 if part[0] else part[-1] + 1
    return replace(read, rows=read.rows[at]) if isinstance(read, Pictures) else read[at]


def _item(name: str, without: float, pull: float) -> Evidence:
    text = (
        f"What the {name} quarter of the clip shows speaks for {toward(pull)}: had the face stood still there, "
        f"P(genuine) would be {without:.2f}."
    )
    feature = f"The {name} quarter of the clip"
    return Evidence(feature=feature, descriptor=f"clip.{name}", value=without, contribution=pull, text=text)
