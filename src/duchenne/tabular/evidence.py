"""Single descriptors with large contributions to a verdict, in words with numbers; groups are in `tabular.groups`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from duchenne.features import smile
from duchenne.features.descriptors import CURVES, FAMILIES, MESH_CURVES, SIDES, STATISTICS
from duchenne.learn.boosting import Tabular
from duchenne.learn.calibration import logit
from duchenne.plots.text import measured, toward
from duchenne.types import Array, Classifier, Evidence, Json, Opinion, Question, readable

_UNITS = dict.fromkeys(("head_yaw", "head_pitch", "head_roll", "yaw", "pitch", "roll"), "°")
_UNITS |= {"head_size": "log units", **dict.fromkeys(MESH_CURVES[:-3], "")}
_CURVES = {"head_x": "Head sideways", "head_y": "Head up or down", "head_size": "Head towards the camera"}
_CURVES |= {"jaw": "Jaw sideways", "mouth": "Mouth sideways"}
#: "iod" spelt out for people: the distance between the eyes.
_IOD = "eye distances"
_WEIGHTY, _STEPS = 40, 17  # descriptors that are changed one by one, and values tried of each
_SIDES = dict(zip(SIDES, ("more", "less"), strict=True))
_MOST_CURVES = 6  # that are changed together
_MOST = 6
_Ask = Callable[[Array], Array]


class Descriptors(Protocol):
    """The part of `tabular.model.DescriptorModel` that is used here."""

    if TYPE_CHECKING:

        @property
        def names(self) -> tuple[str, ...]: ...
        @property
        def typical(self) -> Mapping[str, Array]: ...
        @property
        def envelope(self) -> Array | None: ...
        @property
        def fitted(self) -> Tabular: ...

    def inputs(self, x: Array, emotions: Mapping[str, float] | None = None) -> Array:
        """float64 (N, D + E): descriptors with the probabilities of the emotions."""
        ...


def evidence(
    model: Descriptors,
    row: Array,
    emotions: Mapping[str, float] | None = None,
    *,
    weight: float = 1.0,
    most: int = _MOST,
) -> tuple[Evidence, ...]:
    """The curves with the largest contributions, each with its strongest descriptor.

    `row` float64 (D,) are the clip's descriptors, `emotions` probabilities as for `inputs`; the model's log-odds count
    `weight` times in the verdict.
    """
    parts = weight * model.fitted.contributions(model.inputs(row[None], emotions))[0][: len(model.names)]
    groups = _curves(model.names, np.isfinite(row))
    sums = {group: float(parts[index].sum()) for group, index in groups.items()}
    ranked = sorted(sums, key=lambda group: -abs(sums[group]))[:most]
    return tuple(_item(model, row, parts, groups[group], sums[group]) for group in ranked)


def _curves(names: Sequence[str], use: Array | None = None) -> dict[str, list[int]]:
    """Curve → indices of its descriptors, those of `use` (N,) only."""
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        if use is None or use[i]:
            groups.setdefault(name.split(".")[0], []).append(i)
    return groups


def _item(model: Descriptors, row: Array, parts: Array, index: list[int], total: float) -> Evidence:
    i = max(index, key=lambda j: parts[j] * np.sign(total) if np.isfinite(row[j]) else -np.inf)
    name = model.names[i]
    words, unit = describe_name(name)
    value, posed, genuine = (
        _plain(name, v) for v in (row[i], model.typical["posed"][:, i], model.typical["genuine"][:, i])
    )
    toward = "spontaneous" if total > 0 else "posed"
    text = (
        f"{_with_unit(value, unit)} in this clip; half of the posed clips lie between {_bare(posed[0], unit)} and "
        f"{_bare(posed[1], unit)}, half of the spontaneous ones between {_bare(genuine[0], unit)} and "
        f"{_bare(genuine[1], unit)}. "
        f"{'The curve as a whole' if len(index) > 1 else 'This'} speaks for {toward}."
    )
    return Evidence(
        feature=words,
        descriptor=name,
        value=float(value),
        unit=unit.strip(),
        contribution=total,
        text=text,
        posed_range=(float(posed[0]), float(posed[1])),
        genuine_range=(float(genuine[0]), float(genuine[1])),
    )


def opinion_of(model: Classifier, question: Question) -> Opinion:
    """The opinion of any model: its prediction with its evidence, or else the prediction itself as evidence."""
    x = model.reader.with_cutter(lambda _, __, reader: question.cut(reader)).table([question.track])
    p = float(model.predict_table(x)[0, 1]) if readable(x)[0] else np.nan
    name = str(model.facts.get("method", question.model))
    steps = (f"judge: method '{name}' of model '{question.model}'",)
    if not np.isfinite(p):
        return Opinion(p, f"Too short for this model: the method '{name}' cannot read the clip.", steps=steps)
    found = strongest(model.evidence(x)) if question.explain else ()
    if question.explain and not found:
        text = f"The method {name} as a whole gives P(genuine) = {p:.2f}; it has no contributions of single features."
        pull = float(logit(np.array(p)))
        found = (Evidence(feature=f"Method {name}", descriptor="method", value=p, contribution=pull, text=text),)
    return Opinion(p, None, found, steps)


def strongest(items: Iterable[Evidence], most: int = _MOST) -> tuple[Evidence, ...]:
    """The items with the largest contributions, in order."""
    return tuple(sorted(items, key=lambda item: -abs(item.contribution))[:most])


def columns_of(what: str) -> tuple[str, ...]:
    """Names of the columns that a `tabular.rows.Reader` reads of tracks; () where they have none."""
    family = {"all": "dynamics", "peak intensity": "peak"}.get(what, what)
    if family == "smile":
        return tuple(smile.EXPERT)
    return tuple(FAMILIES[family].names) if family in FAMILIES else ()


def of_columns(terms: Array, row: Array, names: tuple[str, ...]) -> tuple[Evidence, ...]:
    """As `evidence`, from terms (D,) of the log-odds of a row (D,); empty where its columns have no names."""
    if len(names) != len(terms):
        return ()
    found = []
    for index in _curves(names).values():
        pull = float(terms[index].sum())
        i = max(index, key=lambda j: float(terms[j] * np.sign(pull)) if np.isfinite(row[j]) else -np.inf)
        whole = "The curve as a whole" if len(index) > 1 else "This"
        text = f"{whole} adds {pull:+.2f} to the log-odds and speaks for {toward(pull)}."
        words = describe_name(names[i])[0]
        found.append(Evidence(feature=words, descriptor=names[i], value=float(row[i]), contribution=pull, text=text))
    return strongest(found)


def turning(
    model: Descriptors,
    row: Array,
    emotions: Mapping[str, float] | None,
    z: float,
    weight: float = 1.0,
) -> Json:
    """Counterfactuals of a verdict: {"one": …, "together": …}, computed with the model itself.

    `z` are the log-odds of the verdict, in which those of `model` count `weight` times.
    one       the strong descriptor whose smallest change within the range of 99 % of the training clips flips the
              verdict, or else brings it closest: feature, unit, value, to, p, flips, text
    together  the fewest curves, at most six, that flip it when set to those of a typical clip of the other label:
              curves, p, flips, text
    """
    parts = model.fitted.contributions(model.inputs(row[None], emotions))[0][: len(row)]
    columns = [int(i) for i in np.argsort(-np.abs(parts), kind="stable")[:_WEIGHTY] if np.isfinite(row[i])]
    base = float(model.fitted.logit(model.inputs(row[None], emotions))[0])

    def again(rows: Array) -> Array:
        """Log-odds of the verdict for each of these rows in place of the clip's."""
        return np.asarray(z + weight * (model.fitted.logit(model.inputs(rows, emotions)) - base))

    return {"one": _one(model, row, columns, z, again), "together": _together(model, row, z, again)}


def _one(model: Descriptors, row: Array, columns: list[int], z: float, again: _Ask) -> Json:
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
    start = f"If “{words}” were {_bare(goal, unit)} instead of {_with_unit(value, unit)}, and all else the same, "
    end = f"the verdict would be {_other(z)}" if turns.any() else "the verdict would stay the same"
    text = f"{start}{end} (P(genuine) {p:.2f})."
    return {"feature": words, "unit": unit.strip(), "value": value, "to": goal, "p": p, "flips": bool(turns.any()),
            "text": text}  # fmt: skip


def _together(model: Descriptors, row: Array, z: float, again: _Ask) -> Json:
    typical = model.typical["posed" if z >= 0 else "genuine"].mean(axis=0)
    groups = _curves(model.names, np.isfinite(row) & np.isfinite(typical))
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
    end = f"the verdict would be {_other(z)}" if turned else "the verdict would stay the same"
    text = f"If {listed} moved as in a typical {_other(z)} clip, {end} (P(genuine) {_p(value):.2f})."
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
    curve, side, statistic = _split(name)
    if curve not in (*CURVES, *MESH_CURVES) or statistic not in STATISTICS:
        return _readable(name), ""
    text, unit = STATISTICS[statistic]
    unit = unit.removeprefix("log ").replace("u", _UNITS.get(curve, _IOD))
    where = f", to the side with {_SIDES[side]}" if side else ""
    return f"{_CURVES.get(curve) or _readable(curve)}, {text}{where}", f" {unit}" if unit else ""


def _split(name: str) -> tuple[str, str, str]:
    """Curve, one of `SIDES` or "", and statistic of a descriptor."""
    curve, _, rest = name.partition(".")
    side, _, statistic = rest.partition(".")
    return (curve, side, statistic) if side in SIDES else (curve, "", rest)


def _readable(name: str) -> str:
    words = re.sub("(?<=[a-z])(?=[A-Z])", " ", name)  # of coefficients
    return words.replace("_", " ").replace(".", ", ").capitalize()


def _plain(name: str, value: Array) -> Any:
    """A stored value on its plain scale: speeds and smile descriptors are kept as logarithms."""
    if name in smile.EXPERT:
        return smile.uneven(name, value)[0]
    statistic = _split(name)[2]
    return np.exp(value) if STATISTICS.get(statistic, ("", ""))[1].startswith("log ") else value


def _with_unit(value: float, unit: str) -> str:
    return measured(float(value), unit.strip()) if np.isfinite(value) else "unknown"


def _bare(value: float, unit: str) -> str:
    """As `_with_unit`, without a unit that was given just before."""
    return _with_unit(value, unit).replace(" of the eye distance", "")
