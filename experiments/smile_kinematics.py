"""Measure the distributions from which the simulator draws smiles and people.

    DUCHENNE_DATA=<folder> python experiments/smile_kinematics.py

From the open UvA-NEMO lip table, per class: medians, spreads and correlations of a smile's six numbers on the log
scale, robustly: half the distance from the 16th to the 84th percentile, and 2 sin(πρ/6) of Spearman's ρ, which is Pearson's
correlation under a normal copula. The table names no people, and its left-right difference is in raw units. So from
the happy clips of PEDFE's open people: asymmetry, spontaneous movement of head and face, which share of
the variance lies between people (one-way analysis of variance, classes centred, outer 5 % winsorised), and how much
people's proportions differ. Writes experiments/smile_kinematics.json: aggregates only, no row of either set.
`found` has the same measures on tracks of 400 simulated smiles per class, as a check of the simulator.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from duchenne import io
from duchenne.datasets import simulate
from duchenne.datasets.kinematics import KINDS, draw
from duchenne.datasets.people import SHAPES
from duchenne.features import smile
from duchenne.features.descriptors import prepare
from duchenne.features.filtering import lowpass
from duchenne.types import Array, FaceTrack

HERE = Path(__file__).parent
NUMBERS = ("onset", "apex", "offset", "amplitude", "speed", "offset_speed")
CLEAR = 0.08  # lip widths: the least smile whose asymmetry is measured
STIR = {"head_motion": ("head_pitch", "head_yaw"), "unrest": ("brow_height", "jaw_drop")}


def numbers(plain: Mapping[str, Array]) -> Array:
    """float64 (N, 6): a smile's `NUMBERS` from plain descriptors; NaN where not above 0."""
    columns = [plain[f"{part}_duration_total"] for part in smile.PARTS] + [plain["onset_net_amplitude"]]
    columns += [plain["onset_maximum_speed_positive"], plain["offset_maximum_speed_negative"]]
    x = np.column_stack([np.atleast_1d(np.asarray(column, float)) for column in columns])
    return np.where(x > 0, x, np.nan)


def spread(x: Array) -> Array:
    """float64 (K,): half the distance from the 16th to the 84th percentile of each column."""
    low, high = np.nanpercentile(x, [16, 84], axis=0)
    return np.asarray((high - low) / 2)


def distribution(x: Array) -> dict[str, object]:
    """Medians (plain scale), spreads (logs) and the upper triangle of the correlations of x (N, 6)."""
    whole = x[np.isfinite(x).all(axis=1)]
    rho = 2 * np.sin(np.pi / 6 * spearmanr(whole).statistic)
    return {
        "smiles": len(whole),
        "median": dict(zip(NUMBERS, np.median(whole, axis=0).round(3), strict=True)),
        "spread": dict(zip(NUMBERS, spread(np.log(whole)).round(3), strict=True)),
        "correlation": rho[np.triu_indices(len(NUMBERS), 1)].round(2),
    }


def between(x: Array, who: Array, kind: Array) -> float:
    """Share of the variance of x (N,) that lies between persons within classes."""
    ok = np.isfinite(x)
    x, who, kind = np.clip(x[ok], *np.quantile(x[ok], [0.05, 0.95])), who[ok], kind[ok]
    x = x - np.array([x[kind == k].mean() for k in kind])
    parts = [x[who == name] for name in np.unique(who)]
    count = np.array([len(part) for part in parts])
    above = sum(len(part) * part.mean() ** 2 for part in parts) / (len(parts) - 1)
    inside = sum(((part - part.mean()) ** 2).sum() for part in parts) / (len(x) - len(parts))
    variance = max(0.0, (above - inside) / ((len(x) - (count**2).sum() / len(x)) / (len(parts) - 1)))
    return round(float(variance / (variance + inside)), 2)


def clip(track: FaceTrack) -> tuple[Array, Array, Array]:
    """(6,) numbers, (3,) asymmetry and log of head and face movement, (6,) proportions in the first 0.1 s."""
    face, curves = prepare(track, smile.TABLE_FPS)
    plain, phase = smile.describe(face)
    uneven = np.nan
    if phase is not None:
        rest = phase.onset if phase.onset is not None else phase.end + 0.2 if phase.end is not None else None
        lips = smile.lip_curve(face, rest=rest)
        low, high = (-np.inf, np.inf) if phase.apex is None else (phase.apex, np.inf)
        high = high if phase.offset is None else phase.offset
        top = (lips.time >= low) & (lips.time <= high)
        left, right = (np.nanmedian(lips[name][top]) - 0.5 for name in ("lip_left", "lip_right"))
        uneven = (right - left) / (right + left) if (right + left) / 2 > CLEAR else np.nan
    seen = np.isfinite(curves.values).all(axis=1)
    stir = []
    for names in STIR.values():
        values = np.column_stack([curves[name][seen] for name in names])
        slow = lowpass(values, smile.TABLE_FPS, 1.0) - lowpass(values, smile.TABLE_FPS, 0.3)
        stir.append(np.log(slow.std(axis=0)).mean() if len(values) > 30 else np.nan)
    return numbers(plain)[0], np.array([uneven, *stir]), proportions(face.points[seen][:5])


def proportions(points: Array) -> Array:
    """float64 (6,): what `people.SHAPES` names, in interocular distances, from frontal points (t, 68, 2)."""
    p = np.median(points.astype(float), axis=0) if len(points) else np.full((68, 2), np.nan)
    wide, high = (lambda a, b: p[b, 0] - p[a, 0]), (lambda a, b: p[b, 1] - p[a, 1])
    eyes = (high(37, 41) + high(38, 40) + high(43, 47) + high(44, 46)) / 4
    brows = p[36:48, 1].mean() - p[17:27, 1].mean()
    return np.array([wide(3, 13), high(57, 8), brows, eyes, wide(31, 35), wide(48, 54)])


def measure(tracks: list[FaceTrack]) -> tuple[Array, Array, Array]:
    """`clip` of each track, stacked."""
    rows = [clip(track) for track in tracks]
    a, b, c = (np.array(part) for part in zip(*rows, strict=True))
    return a, b, c


def pedfe(file: Path) -> dict[str, object]:
    """What the table lacks, from the happy clips of PEDFE's open people."""
    with np.load(file) as data:
        happy = np.flatnonzero(data["emotion"] == "happiness")
        who, kind = data["subject"][happy], data["genuine"][happy]
    tracks = io.load_tracks(file)
    x, others, face = measure([tracks[i] for i in happy])
    share = [between(column, who, kind) for column in np.log(x).T]
    names = ("asymmetry", *STIR)
    own = np.array([np.nanmedian(face[who == name], axis=0) for name in np.unique(who)])
    return {
        "clips": len(happy),
        "people": len(own),
        "spread": dict(zip(names, spread(others).round(3), strict=True)),
        "median_asymmetry": np.nanmedian(others[:, 0]).round(3),
        "between_people": dict(zip(NUMBERS, share, strict=True))
        | {name: between(column, who, 0 * kind) for name, column in zip(names, others.T, strict=True)},
        "between_people_smile": round(float(np.median(share)), 2),
        "shapes": dict(zip(SHAPES, (own.std(axis=0, ddof=1) / own.mean(axis=0)).round(3), strict=True)),
    }


def drawn(kind: str, count: int = 400) -> dict[str, object]:
    """The same measures on simulated tracks."""
    rng = np.random.default_rng(0)
    x, others, _ = measure([simulate.track(draw(kind, rng), 30.0, seed) for seed in range(count)])
    found = distribution(x)
    return found | {"others": dict(zip(("asymmetry", *STIR), spread(others).round(3), strict=True))}


def main() -> None:
    data = Path(os.environ["DUCHENNE_DATA"]) / "data"
    table = pd.read_csv(data / "uva_nemo" / "lip.csv")
    x, genuine = numbers(smile.from_table({name: table[name] for name in table})), table["genuine"].to_numpy()
    classes = {"posed": x[genuine == 0], "genuine": x[genuine == 1]}
    io.write_json(
        HERE / "smile_kinematics.json",
        {
            "data": "UvA-NEMO, open part of the public lip table; PEDFE, happy clips of the open people",
            "uva_nemo": {kind: distribution(rows) for kind, rows in classes.items()},
            "amplitude_above": {
                kind: {str(limit): round(float((rows[:, 3] > limit).mean()), 3) for limit in (0.2, 0.3)}
                for kind, rows in classes.items()
            },
            "pedfe": pedfe(data / "pedfe" / "points.npz"),
            "found": {kind: drawn(kind) for kind in KINDS},
        },
    )


if __name__ == "__main__":
    main()
