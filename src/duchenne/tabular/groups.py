"""What a model went by, in groups: mouth, eyes, brows, head, the clip's ends, the look of the face.

A group's pull is what its descriptors add to the log-odds of genuine, against those of typical training clips.
Hundreds of descriptors overlap, so that single ones tell little of a clip; those of one part of the face together can
be checked: benchmarks/reasons.py takes them away in other ways.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from duchenne.features.descriptors import CUT
from duchenne.learn.calibration import sigmoid
from duchenne.plots.text import percent
from duchenne.tabular.evidence import Descriptors
from duchenne.types import Array, Evidence, FaceTrack

#: Group → its name on a page. Those of the smile expert alone are the parts of a smile.
GROUPS: dict[str, str] = {
    "mouth": "Mouth",
    "eyes": "Eyes",
    "brows": "Brows",
    "cheeks": "Cheeks and nose",
    "head": "Head",
    "ends": "Start and end of the clip",
    "look": "Look of the face",
    "smile": "Smile dynamics",
    "sequence": "Movement as a sequence",
    "emotion": "Emotion shown",
    "onset": "Rise",
    "apex": "Plateau",
    "offset": "Fall",
}
#: (log-odds of genuine that a group adds, how far the trembling of the clip's points moves that)
Pull = tuple[float, float]

_PARTS = {
    "head": "head|yaw$|pitch$|roll$",
    "brows": "brow|inner_brow|outer_brow",
    "eyes": "eye|lower_lid",
    "cheeks": "cheek|nose(?!_to_lip)",
}
_LEAST, _VISIBLE = 0.1, 0.01  # log-odds, and P(genuine); less is not named
_SHAKEN = 4  # copies of a track by which its trembling is measured
_STEP = 0.6745 * 6**0.5  # median of |second differences| of noise with deviation 1


def group_of(column: str) -> str:
    """The group of a descriptor by its name."""
    curve, *_, statistic = column.split(".") if "." in column else (column.split("_")[0], "")
    if curve in GROUPS and curve != "head":  # of an emotion, and of the smile expert, as "onset_duration_full"
        return curve
    if curve.startswith("look "):
        return "look"
    if statistic in CUT:
        return "ends"
    return next((part for part, names in _PARTS.items() if re.match(names, curve)), "mouth")


def columns(names: Iterable[str]) -> dict[str, list[int]]:
    """Group → indices of its columns."""
    found: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        found.setdefault(group_of(name), []).append(i)
    return found


def pulls(
    model: Descriptors, row: Array, emotions: Mapping[str, float] | None = None, shaken: Array | None = None
) -> dict[str, Pull]:
    """The pull of each group that is known in a clip's descriptors (D,); `shaken` (K, D) are those of its `copies`.

    A group is held at the lower and at the upper quartile of posed and of genuine people, and the four changes of the
    log-odds are averaged: trees answer in steps, so that one place in the middle tells less (experiments/LOG.md).
    """
    inputs = model.inputs(np.vstack([row[None], *([] if shaken is None else [shaken])]), emotions)
    many = inputs.shape[1] - len(row)  # of emotions, of which a typical clip shows all alike
    typical = np.vstack([model.typical["posed"], model.typical["genuine"]])
    typical = np.hstack([typical, np.full((len(typical), many), 1 / max(1, many))])
    names = [*model.names, *(f"emotion.{k}" for k in range(many))]
    known = {group: index for group, index in columns(names).items() if np.isfinite(inputs[0, index]).any()}
    held = np.tile(inputs, (len(known), len(typical), 1, 1))  # (groups, 4, 1 + K, D + E)
    for each, index in zip(held, known.values(), strict=True):
        each[:, :, index] = typical[:, None, index]
    without = model.fitted.logit(held.reshape(-1, inputs.shape[1])).reshape(held.shape[:3]).mean(axis=1)
    added = model.fitted.logit(inputs) - without
    noise = np.sqrt(np.mean((added[:, 1:] - added[:, :1]) ** 2, axis=1)) if len(inputs) > 1 else np.zeros(len(known))
    return {group: (float(own), float(its)) for group, own, its in zip(known, added[:, 0], noise, strict=True)}


def scaled(found: Mapping[str, Pull], weight: float) -> dict[str, Pull]:
    """The pulls in a mix in which the log-odds count so much."""
    return {group: (weight * pull, abs(weight) * noise) for group, (pull, noise) in found.items()}


def added(first: Mapping[str, Pull], second: Mapping[str, Pull]) -> dict[str, Pull]:
    """The pulls of two models together; what trembling adds to both it adds alike."""
    whole = {**first, **second}
    for group in first.keys() & second.keys():
        whole[group] = (first[group][0] + second[group][0], first[group][1] + second[group][1])
    return whole


def evidence(found: Mapping[str, Pull], z: float) -> tuple[Evidence, ...]:
    """A sentence for each group that changes the verdict by more than trembling does, strongest first; `z` are the
    log-odds of the verdict."""
    whole = sum(abs(pull) for pull, _ in found.values())
    p = float(sigmoid(np.array(z)))
    items = []
    for group, (pull, noise) in sorted(found.items(), key=lambda each: -abs(each[1][0])):
        without = float(sigmoid(np.array(z - pull)))
        if abs(pull) < max(_LEAST, noise) or abs(p - without) < _VISIBLE:
            continue
        text = f"{percent(abs(pull) / whole)} of what counted; P(genuine) without it: {without:.2f}."
        items.append(Evidence(feature=GROUPS[group], value=without, contribution=pull, text=text))
    return tuple(items)


def copies(track: FaceTrack, many: int = _SHAKEN) -> list[FaceTrack]:
    """The track with noise added that is as large as its own, to see what depends on it."""
    random = np.random.default_rng(0)

    def shaken(values: Array | None) -> Array | None:
        return None if values is None else values + noise(values) * random.standard_normal(values.shape)

    return [
        replace(
            track,
            points=np.asarray(shaken(track.points)),
            coefficients=shaken(track.coefficients),
            pose=shaken(track.pose),
        )
        for _ in range(many)
    ]


def noise(values: Array) -> Array:
    """Standard deviation of the noise of curves (T, ...) from frame to frame; 0 where fewer than three were seen."""
    jumps = np.abs(values[2:] - 2.0 * values[1:-1] + values[:-2])
    jumps = jumps[np.isfinite(jumps).all(axis=tuple(range(1, jumps.ndim)))]
    return np.asarray(np.median(jumps, axis=0)) / _STEP if len(jumps) else np.zeros(values.shape[1:])
