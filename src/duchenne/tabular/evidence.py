"""Why a model leans to genuine or posed: its largest contributions, in words with numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from duchenne.features import smile
from duchenne.features.descriptors import CURVES, STATISTICS
from duchenne.plots.text import measured
from duchenne.tabular.model import DescriptorModel
from duchenne.types import Array

_UNITS = {"head_yaw": "°", "head_pitch": "°", "head_roll": "°", "head_size": "log units"}
_CURVES = {"head_x": "Head sideways", "head_y": "Head up or down", "head_size": "Head towards the camera"}
#: "iod" spelt out for people: the distance between the eyes.
_IOD = "eye distances"
_WEIGHTY, _STEPS = 40, 17  # measurements that are moved one by one, and values that are tried of each
_MOST_CURVES = 6  # that are changed together
_Ask = Callable[[Array], Array]


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
        f"{_say(value, unit)} in this clip; half of the posed clips lie between {_bare(posed[0], unit)} and "
        f"{_bare(posed[1], unit)}, half of the spontaneous ones between {_bare(genuine[0], unit)} and "
        f"{_bare(genuine[1], unit)}. "
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


def turning(
    model: DescriptorModel,
    row: Array,
    told: Mapping[str, float] | None,
    z: float,
    weight: float = 1.0,
) -> dict[str, Any]:
    """What would turn a verdict: {"one": …, "together": …}, asked of the model itself.

    `z` are the log-odds of the verdict, of which those of `model` count `weight` times; the rest stays as it is.
    one       of the measurements that weigh most that which turns it by the shortest way within what 99 % of the
              training clips show, or else brings it nearest: feature, unit, value, to, p, flips, text
    together  the fewest curves, strongest first and six at most, which as in a typical clip of the other kind turn it:
              curves, p, flips, text
    """
    parts = model.fitted.contributions(model.inputs(row[None], told))[0][: len(row)]
    columns = [int(i) for i in np.argsort(-np.abs(parts), kind="stable")[:_WEIGHTY] if np.isfinite(row[i])]
    base = float(model.fitted.logit(model.inputs(row[None], told))[0])

    def again(rows: Array) -> Array:
        """Log-odds of the whole verdict, had the clip been one of these rows."""
        return np.asarray(z + weight * (model.fitted.logit(model.inputs(rows, told)) - base))

    return {"one": _one(model, row, columns, z, again), "together": _together(model, row, z, again)}


def _one(model: DescriptorModel, row: Array, columns: list[int], z: float, again: _Ask) -> dict[str, Any]:
    assert model.envelope is not None
    low, high = model.envelope[:, columns]
    to = np.linspace(low, high, _STEPS).T  # (C, S)
    moved = np.repeat(row[None], to.size, axis=0)
    moved[np.arange(to.size), np.repeat(columns, _STEPS)] = to.ravel()
    after = again(moved).reshape(to.shape)
    turns = (after < 0) if z >= 0 else (after >= 0)
    way = np.abs(to - row[columns, None]) / np.maximum(high - low, 1e-9)[:, None]
    cost = np.where(turns, way, np.inf) if turns.any() else after * (1 if z >= 0 else -1)
    c, s = np.unravel_index(int(np.argmin(cost)), to.shape)
    name, i = model.names[columns[c]], columns[c]
    words, unit = describe_name(name)
    value, goal, p = float(_plain(name, row[i])), float(_plain(name, to[c, s])), _p(after[c, s])
    start = f"If “{words}” were {_bare(goal, unit)} instead of {_say(value, unit)}, and all else as it was, "
    end = f"the same model would say {_other(z)}" if turns.any() else "it would still say the same"
    text = f"{start}{end} (P(genuine) {p:.2f})."
    return {"feature": words, "unit": unit.strip(), "value": value, "to": goal, "p": p, "flips": bool(turns.any()),
            "text": text}  # fmt: skip


def _together(model: DescriptorModel, row: Array, z: float, again: _Ask) -> dict[str, Any]:
    typical = model.typical["posed" if z >= 0 else "genuine"].mean(axis=0)
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(model.names):
        if np.isfinite(row[i]) and np.isfinite(typical[i]):
            groups.setdefault(name.split(".")[0], []).append(i)
    now, sign, value = row.copy(), 1 if z >= 0 else -1, z
    chosen: list[str] = []
    while groups and len(chosen) < _MOST_CURVES and sign * value >= 0:
        tried = np.repeat(now[None], len(groups), axis=0)
        for n, index in enumerate(groups.values()):
            tried[n, index] = typical[index]
        after = again(tried)
        best = int(np.argmin(sign * after))
        if sign * after[best] >= sign * value:
            break
        now, value, name = tried[best], float(after[best]), list(groups)[best]
        chosen.append(describe_name(name + ".p50")[0].split(",")[0].lower())
        del groups[name]
    turned = bool(chosen) and (value < 0 if z >= 0 else value >= 0)
    listed = " and ".join(filter(None, (", ".join(chosen[:-1]), chosen[-1]))) if chosen else "no curve"
    end = f"the same model would say {_other(z)}" if turned else "it would still say the same"
    text = f"Had {listed} moved as in a typical {_other(z)} clip, {end} (P(genuine) {_p(value):.2f})."
    return {"curves": chosen, "p": _p(value), "flips": turned, "text": text}


def _p(z: float) -> float:
    return float(1 / (1 + np.exp(-z)))


def _other(z: float) -> str:
    return "posed" if z >= 0 else "spontaneous"


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


def _say(value: float, unit: str) -> str:
    return measured(float(value), unit.strip()) if np.isfinite(value) else "unknown"


def _bare(value: float, unit: str) -> str:
    """As `_say`, for a place where the unit was told just before."""
    return _say(value, unit).replace(" of the eye distance", "")
