"""The 40 points of the LSTM-PB paper: brows, nose base, eyes, outer lip, and four midpoints on the cheeks.

Huynh & Kim, "Discrimination between genuine versus fake emotion using long-short term memory with parametric
bias and facial landmarks", ICCV Workshops 2017, section 2.2 and figure 2.
"""

from __future__ import annotations

import numpy as np

from duchenne.types import Array

#: dlib's points (from 0) that are used as they are …
KEPT = (*range(17, 27), *range(30, 36), *range(36, 48), 48, 50, 51, 52, 54, 56, 57, 58)
#: … and pairs whose midpoints are added: brow ends and cheeks.
MIDPOINTS = ((0, 17), (26, 16), (2, 29), (14, 29))


def points40(points: Array) -> Array:
    """float (T, 40, 2) from dlib's points (T, 68, 2), in the same unit; NaN stays NaN."""
    middle = np.stack([(points[:, a] + points[:, b]) / 2 for a, b in MIDPOINTS], axis=1)
    return np.concatenate([points[:, KEPT], middle], axis=1)
