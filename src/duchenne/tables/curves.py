"""The table of a clip's curves: what `curves.csv` holds, 50 rows per second and face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from duchenne.features.phases import ACTIVITY, activity
from duchenne.tables.columns import FACS, UNITS, Column
from duchenne.types import Array, Signals

if TYPE_CHECKING:
    import pandas as pd

_EYES = "eye distances"
_IS_UP = "; up is positive"
#: Columns of `curves.csv`. Distances are in the frontal face, after the pose of the head was removed.
CURVES: dict[str, Column] = {
    "face": Column("", "as in the table of clips"),
    "time": Column("s", "from the start of the clip"),
    "lip_corner_pull": Column(_EYES, "distance between the mouth's corners", "Schmidt et al. 2009"),
    "lip_corner_height": Column(_EYES, f"mouth's corners above the base of the nose{_IS_UP}"),
    "mouth_opening": Column(_EYES, "distance between the inner lips"),
    "upper_lip_raise": Column(_EYES, f"upper lip above the base of the nose{_IS_UP}"),
    "lower_lip_drop": Column(_EYES, f"lower lip above the base of the nose{_IS_UP}"),
    "upper_lip_thickness": Column(_EYES, "thickness of the upper lip"),
    "lower_lip_thickness": Column(_EYES, "thickness of the lower lip"),
    "lip_corner_curl": Column(_EYES, f"mouth's corners above the middle of the mouth{_IS_UP}"),
    "jaw_drop": Column(_EYES, "chin below the base of the nose"),
    "jaw_width": Column(_EYES, "width of the jaw"),
    "eye_aperture": Column(_EYES, "distance between the lids, mean of both eyes"),
    "brow_height": Column(_EYES, "brows above the line of the eyes"),
    "inner_brow_height": Column(_EYES, "inner ends of the brows above it"),
    "outer_brow_height": Column(_EYES, "outer ends of the brows above it"),
    "brow_gap": Column(_EYES, "distance between the brows"),
    "brow_to_lid": Column(_EYES, "brows above the upper lids"),
    "lower_lid_height": Column(_EYES, f"lower lids above the line of the eyes{_IS_UP}"),
    "nose_length": Column(_EYES, "base of the nose below the line of the eyes"),
    "nose_width": Column(_EYES, "width of the nostrils"),
    "nose_to_lip": Column(_EYES, "upper lip below the base of the nose"),
    "lip_corner_asymmetry": Column(_EYES, "height of the right corner less that of the left; sides of the image"),
    "lip_pull_asymmetry": Column(_EYES, "how far out the right corner is, less the left"),
    "eye_asymmetry": Column(_EYES, "opening of the right eye less that of the left"),
    "brow_asymmetry": Column(_EYES, "height of the right brow less that of the left"),
    "head_yaw": Column("degrees", "head turned to the side"),
    "head_pitch": Column("degrees", "head turned up or down"),
    "head_roll": Column("degrees", "head tilted"),
    "head_x": Column(_EYES, "head sideways in the image"),
    "head_y": Column(_EYES, "head up or down in the image"),
    "head_size": Column("natural logarithm", "size of the face in the image"),
    ACTIVITY: Column(_EYES, "movement of the face as a whole away from rest", "features.phases"),
    **{
        unit: Column("0–1", f"probability of {unit}, of the frames interpolated; empty without a mesh", FACS)
        for unit in UNITS
    },
}


def curves_table(faces: Mapping[int, tuple[Signals, Signals | None]]) -> pd.DataFrame:
    """`CURVES` of face → its curves, and its action units at the times of its frames; empty where it was not seen."""
    import pandas as pd

    parts = []
    for face, (curves, units) in faces.items():
        part = {"face": np.full(len(curves.time), face), "time": curves.time.round(4)}
        part |= {name: curves[name].round(5) for name in curves.names}
        part[ACTIVITY] = activity(curves).round(5)
        if units is not None:
            part |= {name: between(units.time, units[name], curves.time).round(4) for name in units.names}
        parts.append(pd.DataFrame(part).reindex(columns=list(CURVES)))
    return pd.concat(parts, ignore_index=True)


def between(time: Array, values: Array, at: Array) -> Array:
    """float64 (N,): values (T,) interpolated at other times (N,); NaN outside, and where a neighbour is NaN."""
    inside = (at >= time[0] - 1e-9) & (at <= time[-1] + 1e-9)
    return np.where(inside, np.interp(at, time, values), np.nan)
