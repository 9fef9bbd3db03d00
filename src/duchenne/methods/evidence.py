"""Why a method leans to genuine or posed: by its numbers where they add up, else by what its parts say alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from duchenne.features import smile
from duchenne.features.descriptors import FAMILIES
from duchenne.learn.calibration import logit
from duchenne.methods.stack import Stack
from duchenne.methods.two_stage import TwoStage
from duchenne.tabular.evidence import describe_name
from duchenne.tabular.table_model import TableModel
from duchenne.types import Array

if TYPE_CHECKING:
    from duchenne.checkpoints.folder import Method

_MOST = 6


def method_evidence(model: Method, x: Array, name: str) -> tuple[dict[str, Any], ...]:
    """Items as `tabular.evidence` gives them, for one clip: x (1, ...) as the model's `table` has it.

    Contributions are to the log-odds of genuine: of curves where the method adds up what it reads, of the parts of a
    stack or the judges of two stages otherwise; of anything else the answer as it is, under the method's `name`.
    """
    if isinstance(model, Stack):
        found = _of_stack(model, x)
    elif isinstance(model, TwoStage) and model.how == "apart":
        found = _of_stages(model, x)
    elif isinstance(model, TwoStage):
        found = _of_told(model, x)
    else:
        found = _of_table(model, x, _names(model)) if isinstance(model, TableModel) else []
    found = sorted(found, key=lambda item: -abs(item["contribution"]))[:_MOST]
    return tuple(found or [_whole(name, float(model.predict_table(x)[0, 1]))])


def _of_stack(model: Stack, x: Array) -> list[dict[str, Any]]:
    found = []
    for number, (p, weight) in enumerate(zip(model.said(x), model.weights, strict=True), 1):
        if np.isfinite(p[0]):
            what = model.names[number - 1] if len(model.names) == len(model.members) else f"number {number}"
            text = f"The part {what} alone says P(genuine) = {p[0]:.2f}; its log-odds count {weight:.2f} times."
            pull = float(weight * logit(p)[0])
            found.append(_item(f"Part of the stack: {what}", f"stack.{number}", float(p[0]), pull, text))
    return found


def _of_stages(model: TwoStage, x: Array) -> list[dict[str, Any]]:
    assert model.stages is not None
    rows, seen = model.reader.parts(x)
    named, found = model.stages.emotions(rows)[0], []
    for emotion, share in zip(model.stages.names, named, strict=True):
        p = model.stages.judges[emotion].predict_table(seen)[:, 1]
        if np.isfinite(p[0]):
            text = f"P({emotion}) = {share:.2f}; its judge says P(genuine) = {p[0]:.2f}."
            pull = float(model.slope * share * logit(p)[0])
            found.append(_item(f"If it is {emotion}", f"two-stage.{emotion}", float(p[0]), pull, text))
    return found


def _of_told(model: TwoStage, x: Array) -> list[dict[str, Any]]:
    assert model.stages is not None
    judge = model.stages.judges[""]
    if not isinstance(judge, TableModel):
        return []
    rows, seen = model.reader.parts(x)
    told = np.hstack([seen, model.stages.emotions(rows)])
    found = _of_table(judge, told, (*_names(judge), *(f"emotion.{name}" for name in model.stages.names)))
    return [{**item, "contribution": model.slope * item["contribution"]} for item in found]


def _of_table(model: TableModel, x: Array, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The curves that moved the answer most, each with its most telling number; none where columns have no names."""
    terms = model.terms(x)
    if terms is None or len(names) != terms.shape[1]:
        return []
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        groups.setdefault(name.split(".")[0], []).append(i)
    found = []
    for index in groups.values():
        pull = float(terms[0, index].sum())
        i = max(index, key=lambda j: float(terms[0, j] * np.sign(pull)) if np.isfinite(x[0, j]) else -np.inf)
        words = describe_name(names[i])[0]
        toward = "neither" if pull == 0 else "spontaneous" if pull > 0 else "posed"
        whole = "The curve as a whole" if len(index) > 1 else "This"
        text = f"{whole} adds {pull:+.2f} to the log-odds and speaks for {toward}."
        found.append(_item(words, names[i], float(x[0, i]), pull, text))
    return found


def _names(model: TableModel) -> tuple[str, ...]:
    what = {"all": "dynamics", "peak intensity": "peak"}.get(model.reader.what, model.reader.what)
    if what == "smile":
        return tuple(smile.EXPERT)
    return tuple(FAMILIES[what].names) if what in FAMILIES else ()


def _whole(name: str, p: float) -> dict[str, Any]:
    text = f"The method {name} as a whole says P(genuine) = {p:.2f}; what of the clip made it say so cannot be told."
    return _item(f"Method {name}", "method", p, float(logit(np.array(p))), text)


def _item(feature: str, name: str, value: float, pull: float, text: str) -> dict[str, Any]:
    return {"feature": feature, "descriptor": name, "value": value, "unit": "", "contribution": pull, "text": text}
