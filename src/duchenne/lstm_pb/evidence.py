"""Why an LSTM-PB leans to genuine or posed, in words: what went otherwise than expected, or numbers of a PB vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from duchenne.features.sequences import padded
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.solved_network import SolvedBag
from duchenne.types import Array

_MOST = 4  # numbers of a PB vector that are shown
#: What a frame's numbers are of, two per point (`features.points40`), then the head's six (`align.HEAD_NAMES`).
REGIONS = {
    "Brows": range(20),
    "Nose": range(20, 32),
    "Eyes": range(32, 56),
    "Mouth": range(56, 72),
    "Cheeks": range(72, 80),
    "Head": range(80, 86),
}


def pb_evidence(model: PBModel, x: Array, where: Array) -> tuple[dict[str, Any], ...]:
    """Items as `tabular.evidence` gives them, for one clip: x object (1,) with a sequence, where (1,) its network.

    Reading solved: the regions of the face, with their exact shares of the log-odds and when they spoke. The others:
    the numbers of the PB vector that weighed most, which mean nothing that a person could name.
    """
    network = model.networks[where[0]]
    if isinstance(network, SolvedBag):
        return _regions(model, network, x)
    values, parts = model.vectors(x, where)[0], model.contributions(x, where)[0]
    typical = model.typical[where[0]].numpy()
    order = [int(i) for i in np.argsort(-np.abs(parts), kind="stable")[:_MOST]]
    return tuple(_number(model, i, float(values[i]), float(parts[i]), typical[:, i]) for i in order)


def _regions(model: PBModel, network: SolvedBag, x: Array) -> tuple[dict[str, Any], ...]:
    shares = model.slope * network.shares(*map(torch.from_numpy, padded(list(x))))[0].double().numpy()
    found = [
        _region(name, shares[:, list(at)], model.recipe.fps) for name, at in REGIONS.items() if at[-1] < x[0].shape[1]
    ]
    return tuple(sorted(found, key=lambda item: -abs(item["contribution"])))


def _region(name: str, shares: Array, fps: float) -> dict[str, Any]:
    over_time = shares.sum(axis=1)
    pull, at = float(over_time.sum()), int(np.argmax(np.sign(over_time.sum()) * over_time))
    text = (
        f"How the {name.lower()} went on, against what the networks expect of any face, speaks for {_toward(pull)}, "
        f"most at {at / fps:.1f} s of what was judged."
    )
    return _item(f"{name}: movement against expectation", f"lstm-pb.{name.lower()}", pull, pull, text)


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
