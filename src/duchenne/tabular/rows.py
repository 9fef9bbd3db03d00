"""One row of numbers per clip, from a track or a feature table: what a tabular model reads. Nothing here is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duchenne.errors import InputError, UsageError
from duchenne.features import smile
from duchenne.features.descriptors import FAMILIES, describe, gap_free, prepare
from duchenne.learn.recipes import Settings, setting
from duchenne.types import Array, FaceTrack, Features, JsonMap, Sample
from duchenne.types import Reader as AnyReader

#: Names of the clip length in feature tables.
LENGTHS = ("clip_length", "duration", "length", "seconds")
_PEAK = ("onset_net_amplitude", "onset_total_amplitude_positive")


@dataclass(frozen=True)
class Reader(Settings, AnyReader):
    """What of a clip is read.

    what  a family of `features.descriptors.FAMILIES`; "smile", the smile expert's descriptors; "nothing";
          "clip length"; "peak intensity"; or "all", every column of a feature table, which for tracks means
          the family "dynamics"
    fps   frames per second that tracks are resampled to
    """

    what: str = "all"
    fps: float = setting(25.0, 1, 1000)

    def __post_init__(self) -> None:
        super().__post_init__()
        known = (*FAMILIES, "smile", "nothing", "clip length", "peak intensity", "all")
        if self.what not in known:
            raise UsageError(f"There is no kind of descriptors named '{self.what}'; choose one of: {', '.join(known)}.")

    def table(self, samples: Sequence[Sample]) -> Array:
        """float64 (N, D): a row per clip, NaN where it is too short. InputError where a feature table lacks columns, or
        tables and tracks are mixed."""
        if samples and all(isinstance(sample, Features) for sample in samples):
            return self._columns([sample for sample in samples if isinstance(sample, Features)])
        rows = [self._row(sample) for sample in samples]
        return np.array(rows) if rows else np.empty((0, 0))

    def _row(self, sample: Sample) -> Array:
        if isinstance(sample, Features):
            raise InputError(
                f"{sample.source} is a row of a table and others are face tracks; evaluate them separately."
            )
        if self.what == "nothing":
            return np.zeros(1)
        if self.what == "clip length":
            return np.array([sample.duration])
        return row(sample, {"all": "dynamics", "peak intensity": "peak"}.get(self.what, self.what), self.fps)

    def _columns(self, samples: list[Features]) -> Array:
        names, source = samples[0].names, samples[0].source
        if any(sample.names != names for sample in samples):
            raise InputError(f"{source} and other rows have different columns; evaluate one feature table at a time.")
        values = np.array([sample.values for sample in samples])
        if self.what in ("all", "nothing"):
            return values if self.what == "all" else np.zeros((len(values), 1))
        columns = dict(zip(names, values.T, strict=True))
        if self.what == "clip length" and (found := [name for name in LENGTHS if name in columns]):
            return np.asarray(columns[found[0]][:, None])
        if self.what in ("clip length", "peak intensity") and not set(smile.COLUMNS) <= set(columns):
            raise InputError(f"{Path(source).name} has no column for the {self.what}; add one.")
        if self.what in ("smile", "clip length", "peak intensity"):
            needed = {"clip length": ("smile_duration_total",), "peak intensity": _PEAK}.get(self.what, smile.EXPERT)
            return from_columns(columns, needed, source, family="smile")
        if not set(FAMILIES[self.what].names) <= set(names):
            raise InputError(f"{Path(source).name} holds no landmarks, which '{self.what}' needs; pass tracks.")
        return from_columns(columns, FAMILIES[self.what].names, source)


def row(track: FaceTrack, family: str, fps: float) -> Array:
    """float64 (D,): descriptors of a track's longest stretch with a face, around its movement; NaN where too short."""
    if family == "smile":
        found = smile.expert_features(smile.describe(prepare(track, fps)[0])[0])
        return np.array([float(found[name]) for name in smile.EXPERT])
    return describe(gap_free(track, fps, family), fps, family)


def from_columns(columns: JsonMap, names: Sequence[str], source: str, *, family: str = "") -> Array:
    """float64 (N, D) from named columns; the family "smile" also reads those of the public UvA-NEMO table."""
    table = family == "smile" and not set(names) <= set(columns)
    needed = smile.COLUMNS if table else names
    missing = [name for name in needed if name not in columns]
    if missing:
        raise InputError(
            f"{source} lacks {len(missing)} of the {len(needed)} descriptors that this model reads "
            f"({missing[0]}, ...); pass a table with these columns, or tracks."
        )
    try:
        if table:
            columns = smile.expert_features(smile.from_table(columns))
        return np.column_stack([np.asarray(columns[name], float) for name in names])
    except ValueError as error:
        raise InputError(f"{source} holds a cell that is not a number ({error}); correct it.") from error
