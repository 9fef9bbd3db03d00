"""From how raters divide to what most of them say."""

from __future__ import annotations

import numpy as np
import torch
from scipy import optimize, special

from duchenne.datasets import fer_plus
from duchenne.expression.model import ExpressionModel
from duchenne.types import Array


def to_majority(model: ExpressionModel, images: Array, shares: Array) -> float:
    """Divide the logits of a network that learned shares of raters by a temperature, and return it.

    Such a network says how the raters divide. After it, its probabilities (means with the mirrored image's) are those
    of what at least half of them say: the temperature has the least log loss on the images that have such a majority,
    which should not be those of training.
    """
    has_one = fer_plus.agreed(shares)
    if not has_one.any():
        return 1.0
    images, y = images[has_one], shares[has_one].argmax(axis=1)
    both = np.stack([model.logits(each) for each in (images, images[..., ::-1])])

    def log_loss(logarithm: float) -> float:
        p = special.softmax(both / np.exp(logarithm), axis=2).mean(axis=0)
        return float(-np.log(p[np.arange(len(y)), y]).mean())

    temperature = float(np.exp(optimize.minimize_scalar(log_loss, bounds=(-2, 2), method="bounded").x))
    with torch.no_grad():
        for each in model.network.head.parameters():
            each.div_(temperature)
    return temperature
