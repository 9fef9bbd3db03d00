"""A model on tables of descriptors or on saved tracks, without video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duchenne import gates, io
from duchenne.errors import InputError, UsageError
from duchenne.judging import load_model
from duchenne.pipeline import judge
from duchenne.tables import columns
from duchenne.tabular.model import DescriptorModel
from duchenne.types import Array, Json, Reason

if TYPE_CHECKING:
    import pandas as pd


def apply(model: str | Path, source: str | Path, *, rate: float | None = None) -> pd.DataFrame:
    """Run a model on a table of its descriptors or on saved tracks, row for row.

    `source` is a CSV with the model's descriptor columns (the smile expert also reads the column names of the
    public UvA-NEMO lip table), a frames.csv, a table of OpenFace or py-feat (`rate` in frames/s where it holds
    no times), an .npz of tracks, or a folder of them. Columns as `tables.columns.APPLIED`.
    """
    if Path(source).suffix.lower() not in (".csv", ".npz") and Path(source).is_file():
        raise InputError(f"{source} is neither a CSV table nor an .npz of tracks; use `duchenne analyze` for a video.")
    loaded = load_model(model)
    table = None if loaded.borrows_descriptors else _descriptor_table(loaded.descriptors, Path(source))
    if table is None:
        tracks = io.load_tracks(source, rate=rate)
        verdicts = [judge(track, loaded, explain=False).verdict for track in tracks]
        rows = [{"file": each.source, **each.to_row()} for each in verdicts]
    elif rate is not None:
        raise UsageError(f"{source} holds descriptors, which have no frame rate; leave out the rate.")
    else:  # a hybrid's descriptor model alone
        margin, model_id = loaded.descriptors.margin, loaded.about["id"]
        rows = [_alone(float(p), margin) | {"model": model_id} for p in loaded.descriptors.predict_table(table)[:, 1]]
    return columns.frame(({"row": i, **row} for i, row in enumerate(rows)), columns.APPLIED)


_UNREADABLE = Reason("not_measured", "Nothing to judge: the row lacks the descriptors that the model reads.")


def _alone(p: float, margin: float) -> Json:
    """The cells that a probability alone fills."""
    reason = _UNREADABLE if np.isnan(p) else gates.too_close(p, margin)
    label = "genuine" if p >= 0.5 else "posed"
    return {
        "verdict": "abstained" if reason else label,
        "p_genuine": None if reason else round(p, 6),
        "p_raw": round(p, 6),
        "abstained": int(reason is not None),
        "code": getattr(reason, "code", None),
        "reason": reason,
    }


def _descriptor_table(model: DescriptorModel, source: Path) -> Array | None:
    """float64 (N, D) from a CSV of descriptors; None when the source holds tracks."""
    if source.suffix.lower() != ".csv":
        return None
    try:
        if io.dialect(io.read_names(source)):
            return None
        table = io.read_table(source)
    except (OSError, ValueError) as error:
        raise InputError(f"{source} cannot be read as a CSV table ({error}); pass descriptors or tracks.") from error
    return model.from_columns({name: table[name] for name in table.columns}, str(source))
