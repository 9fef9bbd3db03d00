"""Evidence of a clip network: its log-odds with a quarter of the clip held still."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from duchenne.clipnets.inputs import FaceCrops
from duchenne.learn.calibration import logit
from duchenne.plots.text import toward
from duchenne.types import Array, Classifier, Evidence

_PARTS = ("first", "second", "third", "last")


def clip_evidence(model: Classifier, x: Array) -> tuple[Evidence, ...]:
    """Of one clip, x object (1,) from the model's `table`; empty for fewer than four frames.

    Each quarter in turn is held still (`held_still`); its contribution is the decrease of the log-odds of genuine.
    """
    n = len(x[0])
    if n < len(_PARTS):
        return ()
    parts = np.array_split(np.arange(n), len(_PARTS))
    table = np.empty(1 + len(parts), object)
    table[:] = [x[0], *(held_still(x[0], part) for part in parts)]
    p = np.asarray(model.predict_table(table))[:, 1]
    z = logit(p)
    items = [_item(name, float(p[i]), float(z[0] - z[i])) for i, name in enumerate(_PARTS, 1)]
    return tuple(sorted(items, key=lambda item: -abs(item.contribution)))


def held_still(clip: FaceCrops | Array, part: Array) -> FaceCrops | Array:
    """Crops or points (T, F) of a clip with the frames of `part` (consecutive indices) replaced by the frame before
    it, or after it where it comes first."""
    at = np.arange(len(clip))
    at[part] = part[0] - 1 if part[0] else part[-1] + 1
    return replace(clip, rows=clip.rows[at]) if isinstance(clip, FaceCrops) else clip[at]


def _item(name: str, without: float, pull: float) -> Evidence:
    text = (
        f"What the {name} quarter of the clip shows speaks for {toward(pull)}: with the face held still there, "
        f"P(genuine) would be {without:.2f}."
    )
    feature = f"The {name} quarter of the clip"
    return Evidence(feature=feature, descriptor=f"clip.{name}", value=without, contribution=pull, text=text)
