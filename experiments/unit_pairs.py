"""Rank SVM on activity descriptors of action units, as Saxen, Werner & Al-Hamadi (2017) had them, beside landmark curves.

    DUCHENNE_DATA=<folder with data/pedfe/clips> python experiments/unit_pairs.py [--cache FOLDER]

PEDFE's raw clips of the 42 open people, read by the mesh; five person-disjoint folds; pairs are a genuine and a posed clip of
one person and one emotion. The units are those of the model `units` as log-odds over time (`duchenne units`): no published
tool's intensities, which are imported by `duchenne.io.action_units` and go through the same function. Writes unit_pairs.json.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import io
from duchenne.learn.folds import person_folds
from duchenne.learn.rank_svm import RankSVM, pairs
from duchenne.tabular.appearance import Appearance
from duchenne.tabular.rows import Reader
from duchenne.training import data
from duchenne.types import Array, Cutter, FaceTrack, Sample
from duchenne.units import activity, reading
from duchenne.units.model import UnitsModel

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import judged
import verdict

FPS = 25.0
SAXEN = ("AU01", "AU02", "AU04", "AU06", "AU09", "AU12", "AU25")


@dataclass(frozen=True)
class Units(Appearance):
    """Reads activity descriptors of action units."""

    names: tuple[str, ...] = ()

    def with_cutter(self, cut: Cutter) -> Any:
        """The same, with crops from `cut`."""
        return _Units(self, cut)


@dataclass(frozen=True)
class _Units(Appearance):
    reader: Units = field(default_factory=Units)
    cut: Any = field(default=None, compare=False)

    def __init__(self, reader: Units, cut: Cutter) -> None:
        object.__setattr__(self, "reader", reader)
        object.__setattr__(self, "cut", cut)

    def table(self, samples: Sequence[Sample]) -> Array:
        """float64 (N, 62 K)."""
        model: UnitsModel = reading.load()[0]
        rows = []
        for i, track in enumerate(samples):
            assert isinstance(track, FaceTrack)
            signals = reading.over_time(track, self.cut(i, track, self.reader), model)
            wide = 62 * len(self.reader.names)
            rows.append(np.full(wide, np.nan) if signals is None else activity.row(signals, self.reader.names, FPS))
        return np.array(rows)


def ordered(x: Array, truth: data.Truth) -> tuple[int, int, Array]:
    """(pairs, right, right of each pair's person) of people left out."""
    y, people, emotions = truth
    right: list[tuple[str, bool]] = []
    for train, test in person_folds(people, 5, 0):
        ranked = RankSVM(members=25).fit(x[train], y[train], people[train], emotions[train])
        scores = ranked.scores(x[test])
        better, worse = pairs(y[test], people[test], emotions[test])
        right += zip(people[test][better], (scores[better] > scores[worse]).tolist(), strict=True)
    return len(right), sum(each for _, each in right), np.array(right, object)


def scored(x: Array, truth: data.Truth) -> dict[str, Any]:
    """Share of pairs in the right order, 95 % over people."""
    count, right, each = ordered(x, truth)
    who, hits = each[:, 0].astype(str), each[:, 1].astype(float)
    rng, people = np.random.default_rng(0), np.unique(who)
    sums = np.array([[hits[who == p].sum(), (who == p).sum()] for p in people])
    draws = np.array([sums[rng.integers(0, len(people), len(people))].sum(axis=0) for _ in range(1000)])
    low, high = np.percentile(draws[:, 0] / draws[:, 1], [2.5, 97.5])
    return {"pairs": count, "right": right / count, "interval": [float(low), float(high)], "columns": x.shape[1]}


def main() -> None:
    """Read the clips, rank by each table, and write the JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    every = tuple(reading.load()[0].names)
    named = tuple(name for name in SAXEN if name in every)
    readers = (Units(names=every), Units(names=named), Reader("activity"))
    with tempfile.TemporaryDirectory() as folder:
        manifest = verdict.manifest(judged.clips(), set(), Path(folder) / "pedfe.csv")
        found = data.read(manifest, readers, data.cache_in(given.cache))
    usable = np.all([np.isfinite(table).all(axis=1) for table in found.tables], axis=0)
    found = found.of(usable)
    words = (f"{len(every)} action units", f"the {len(named)} of Saxen's 7 that the model has", "30 landmark curves")
    rows = {text: scored(x, found.truth) for text, x in zip(words, found.tables, strict=True)}
    both = np.concatenate([found.tables[0], found.tables[2]], axis=1)
    rows["action units and landmark curves"] = scored(both, found.truth)
    result = {
        "data": "PEDFE's raw clips, 42 open people",
        "clips": int(usable.sum()),
        "units": list(every),
        "rows": rows,
    }
    io.write_json(Path(__file__).with_suffix(".json"), result)


if __name__ == "__main__":
    main()
