"""Why an LSTM-PB leans to genuine or posed, in words: two prediction errors, or the numbers of a PB vector."""

from __future__ import annotations

from typing import Any

import numpy as np

from duchenne.learn.pb import PBModel
from duchenne.learn.sequences import HALF_FACE
from duchenne.types import Array

_MOST = 4  # numbers of a PB vector that are shown


def pb_evidence(model: PBModel, x: Array, where: Array) -> tuple[dict[str, Any], ...]:
    """Items as `explain.evidence` gives them, for one clip: x object (1,) with a sequence, where (1,) its network.

    Reading contrast: one item with the two errors. The others: the numbers of the PB vector that weighed most, which
    mean nothing that a person could name.
    """
    values, parts = model.vectors(x, where)[0], model.contributions(x, where)[0]
    if model.recipe.reading == "contrast":
        return (_errors(values, float(parts[0]), model.recipe.head),)
    typical = model.typical[where[0]].numpy()
    order = [int(i) for i in np.argsort(-np.abs(parts), kind="stable")[:_MOST]]
    return tuple(_number(model, i, float(values[i]), float(parts[i]), typical[:, i]) for i in order)


def _errors(values: Array, pull: float, head: bool) -> dict[str, Any]:
    # of mean squares their roots, and what one is in the network's scale (`learn.sequences`)
    scale, unit = (75, "% of the face's size") if head else (HALF_FACE, "eye distances")
    posed, genuine = scale * np.exp(values[1:] / 2)
    less, gain = ("genuine", posed / genuine - 1) if genuine < posed else ("posed", genuine / posed - 1)
    text = (
        f"Told that the clip is posed, the network misses the next frame's points by {posed:.4g} {unit}; told genuine, "
        f"by {genuine:.4g}. It predicts better as {less}, by {100 * gain:.2g} %, which speaks for {_toward(pull)}."
    )
    return _item("Prediction as posed or as genuine", "lstm-pb.errors", float(posed / genuine), pull, text)


def _number(model: PBModel, i: int, value: float, pull: float, typical: Array) -> dict[str, Any]:
    judge = "boosted trees" if model.recipe.classifier == "boosting" else "a linear model"
    if model.recipe.reading == "published-code":
        basis = "read from the clip's first two frames alone"
    else:
        basis = (
            f"the value with which the network predicts this clip best; {typical[0]:.3g} on average in the posed "
            f"training clips and {typical[1]:.3g} in the spontaneous ones"
        )
    text = f"{value:.3g}, {basis}. It was judged by {judge} and speaks for {_toward(pull)}."
    return _item(f"Parametric bias, number {i + 1}", f"lstm-pb.{i}", value, pull, text)


def _toward(pull: float) -> str:
    return "neither" if pull == 0 else "spontaneous" if pull > 0 else "posed"


def _item(feature: str, name: str, value: float, pull: float, text: str) -> dict[str, Any]:
    return {"feature": feature, "descriptor": name, "value": value, "unit": "", "contribution": pull, "text": text}
