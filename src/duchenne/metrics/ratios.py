"""Shares and means of counts, NaN where there is nothing to divide by."""

from __future__ import annotations

from typing import Any

import numpy as np

from duchenne.types import Array

#: A float, or float64 (...) where many are scored at once.
Score = Any


def ratio(part: Score, whole: Score) -> Score:
    """part / whole, NaN where whole is 0; a float where both are scalars."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    out = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)
    return out if out.ndim else float(out)


def mean_of_known(values: Array) -> Score:
    """Mean over the last axis of what is not NaN."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(-1), known.sum(-1))
