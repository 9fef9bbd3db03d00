"""Why a model leans to genuine or posed: its largest contributions, in words with numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from duchenne.features import smile
from duchenne.features.descriptors import CURVES, STATISTICS
from duchenne.learn.classifiers import DescriptorModel
from duchenne.types import Array

_UNITS = {"head_yaw": "°", "head_pitch": "°", "head_roll": "°", "head_size": "log units"}
_CURVES = {"head_x": "Head sideways", "head_y": "Head up or down", "head_size": "Head towards the camera"}
#: "iod" spelt out for people: the distance between the eyes.
_IOD = "eye distances"


def evidence(
    model: DescriptorModel, row: Array, told: Mapping[str, float] | None = None, *, most: int = 6
) -> tuple[dict[str, Any], ...]:
    """The curves that moved the verdict most, each with its most telling descriptor.

    `row` float64 (D,) are the clip's descriptors, `told` the emotions' probabilities as for
    `DescriptorModel.inputs`. Each item: feature, value,
    unit, contribution (log-odds of the whole curve, + genuine), text, posed_range and genuine_range (quartiles of
    the training people).
    """
    parts = model.fitted.contributions(model.inputs(row[None], told))[0][: len(model.names)]
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(model.names):
        groups.setdefault(name.split(".")[0] if "." in name else name, []).append(i)
    sums = {group: float(parts[index].sum()) for group, index in groups.items()}
    ranked = sorted(sums, key=lambda group: -abs(sums[group]))[:most]
    return tuple(_item(model, row, parts, groups[group], sums[group]) for group in ranked)


def _item(model: DescriptorModel, row: Array, parts: Array, index: list[int], total: float) -> dict[str, Any]:
    i = max(index, key=lambda j: parts[j] * np.sign(total) if np.isfinite(row[j]) else -np.inf)
    name = model.names[i]
    words, unit = describe_name(name)
    value, posed, genuine = (
        _plain(name, v) for v in (row[i], model.typical["posed"][:, i], model.typical["genuine"][:, i])
    )
    toward = "spontaneous" if total > 0 else "posed"
    text = (
        f"{_say(value)}{unit} in this clip; half of the posed clips lie between {_say(posed[0])} and "
        f"{_say(posed[1])}, half of the spontaneous ones between {_say(genuine[0])} and {_say(genuine[1])}. "
        f"{'The curve as a whole' if len(index) > 1 else 'This'} speaks for {toward}."
    )
    return {
        "feature": words,
        "descriptor": name,
        "value": float(value),
        "unit": unit.strip(),
        "contribution": total,
        "text": text,
        "posed_range": [float(v) for v in posed],
        "genuine_range": [float(v) for v in genuine],
    }


def describe_name(name: str) -> tuple[str, str]:
    """(words, " unit") of a descriptor, for a sentence."""
    if name in smile.EXPERT:
        unit = smile.uneven(name, np.zeros(1))[1]
        return _readable(name), f" {unit}" if unit else ""
    curve, _, statistic = name.partition(".")
    if curve not in CURVES or statistic not in STATISTICS:
        return _readable(name), ""
    text, unit = STATISTICS[statistic]
    unit = unit.removeprefix("log ").replace("u", _UNITS.get(curve, _IOD))
    return f"{_CURVES.get(curve) or _readable(curve)}, {text}", f" {unit}" if unit else ""


def _readable(name: str) -> str:
    return name.replace("_", " ").replace(".", ", ").capitalize()


def _plain(name: str, value: Array) -> Any:
    """A stored value on its plain scale: speeds and smile descriptors are kept as logarithms."""
    if name in smile.EXPERT:
        return smile.uneven(name, value)[0]
    statistic = name.partition(".")[2]
    return np.exp(value) if STATISTICS.get(statistic, ("", ""))[1].startswith("log ") else value


def _say(value: float) -> str:
    return "unknown" if not np.isfinite(value) else f"{value:.3g}"
