"""Evidence of an LSTM-PB: movement that the network did not expect, or numbers of a PB vector."""

from __future__ import annotations

import numpy as np

from duchenne.plots.text import toward
from duchenne.types import Array, Evidence

_MOST = 4  # numbers of a PB vector that are shown
#: The regions of a frame's numbers, two per point (`features.points40`), then the head's six (`align.HEAD_NAMES`).
REGIONS = {
    "Brows": range(20),
    "Nose": range(20, 32),
    "Eyes": range(32, 56),
    "Mouth": range(56, 72),
    "Cheeks": range(72, 80),
    "Head": range(80, 86),
}


def of_regions(shares: Array, fps: float) -> tuple[Evidence, ...]:
    """Evidence by region of the face: shares (T, D) of the log-odds by frame and number, `fps` frames/s."""
    items = [_region(name, shares[:, list(at)], fps) for name, at in REGIONS.items() if at[-1] < shares.shape[1]]
    return tuple(sorted(items, key=lambda item: -abs(item.contribution)))


def _region(name: str, shares: Array, fps: float) -> Evidence:
    over_time = shares.sum(axis=1)
    pull, at = float(over_time.sum()), int(np.argmax(np.sign(over_time.sum()) * over_time))
    text = (
        f"How the {name.lower()} moved, compared with what the networks expect of any face, speaks for {toward(pull)}, "
        f"most at {at / fps:.1f} s."
    )
    feature, key = f"{name}: movement against expectation", f"lstm-pb.{name.lower()}"
    return Evidence(feature=feature, descriptor=key, value=pull, contribution=pull, text=text)


def of_numbers(values: Array, shares: Array, typical: Array | None, classifier: str) -> tuple[Evidence, ...]:
    """The numbers of a PB vector with the largest shares; they have no meaning on the face. values (D,), shares (D,)
    of the log-odds, `typical` (2, D) of posed and spontaneous training clips, None where the vector was read from the
    first two frames; `classifier` in words."""
    order = [int(i) for i in np.argsort(-np.abs(shares), kind="stable")[:_MOST]]
    return tuple(
        _number(i, float(values[i]), float(shares[i]), None if typical is None else typical[:, i], classifier)
        for i in order
    )


def _number(i: int, value: float, pull: float, typical: Array | None, classifier: str) -> Evidence:
    basis = "read from the clip's first two frames alone"
    if typical is not None:
        basis = (
            f"the value with which the network predicts this clip best; {typical[0]:.3g} on average in the posed "
            f"training clips and {typical[1]:.3g} in the spontaneous ones"
        )
    text = f"{value:.3g}, {basis}. It is weighed by {classifier} and speaks for {toward(pull)}."
    feature = f"Parametric bias, number {i + 1}"
    return Evidence(feature=feature, descriptor=f"lstm-pb.{i}", value=value, contribution=pull, text=text)
