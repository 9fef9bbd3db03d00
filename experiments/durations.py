"""How rise, plateau and fall as `features.phases` measures them relate to other definitions, on simulated smiles.

    python experiments/durations.py

Smiles of both kinds with drawn timing (`datasets.simulate`), as landmarks with noise, a second of rest before and after.
Of each duration: medians of the measured one over that of the smile as simulated, from the first movement to full height,
and over that of the noise-free curve from 10 to 90 % of its height, as the literature often has it. Writes durations.json
and the table of docs/science/signs.md. A simulation tests the measurement and is no evidence about people.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import gates, io
from duchenne.datasets import simulate
from duchenne.datasets.kinematics import SmileKinematics, draw, smile_curve
from duchenne.features.descriptors import prepare
from duchenne.features.phases import main_phase, phases
from duchenne.types import Array

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import judged

OUT = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[1] / "docs" / "science" / "signs.md"
SMILES = 100  # of each kind
PARTS = ("rise", "plateau", "fall")


def lengths(kin: SmileKinematics, seed: int) -> Array | None:
    """float64 (3, 3): each part as measured, as simulated, and from 10 to 90 %, in seconds; None where one is not found."""
    curves = prepare(simulate.track(kin, 30.0, seed, before=1.0, after=1.0), gates.FPS)[1]
    found = main_phase(phases(curves, curve="lip_corner_pull"), curves)
    if found is None or None in (found.onset, found.apex, found.offset, found.end):
        return None
    time = np.arange(0, kin.duration, 0.001)
    share = smile_curve(kin, time) / kin.amplitude
    middle = time[int(np.argmax(time >= kin.moments[1]))]
    up, down = time < middle + kin.apex / 2, time >= middle + kin.apex / 2
    low, high = (time[up & (share >= level)][0] for level in (0.1, 0.9))
    late_high, late_low = (time[down & (share >= level)][-1] for level in (0.9, 0.1))
    measured = np.diff([found.onset, found.apex, found.offset, found.end])
    return np.array([measured, np.diff(kin.moments), np.diff([low, high, late_high, late_low])])


def table(found: dict[str, Any]) -> str:
    """The table of docs/science/signs.md."""
    lines = [f"| {found['smiles']} simulated smiles | " + " | ".join(PARTS) + " |", "|---|---|---|---|"]
    for key, words in (
        ("simulated", "measured ÷ from the first movement to full height, and back"),
        ("tenths", "measured ÷ from 10 to 90 % of the height"),
    ):
        cells = (
            f"{its['median']:.2f} ({its['quartiles'][0]:.2f}–{its['quartiles'][1]:.2f})" for its in found[key].values()
        )
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    random = np.random.default_rng(0)
    each = [lengths(draw(kind, random), seed) for seed in range(SMILES) for kind in simulate.KINDS]
    rows = np.array([row for row in each if row is not None])
    found: dict[str, Any] = {"smiles": len(rows), "drawn": len(each)}
    for k, key in ((1, "simulated"), (2, "tenths")):
        ratios = rows[:, 0] / rows[:, k]
        found[key] = {
            part: {
                "median": round(float(np.median(its)), 3),
                "quartiles": np.round(np.quantile(its, (0.25, 0.75)), 3).tolist(),
            }
            for part, its in zip(PARTS, ratios.T, strict=True)
        }
    io.write_json(OUT, found)
    judged.put("durations", "", "", table(found), PAGE)


if __name__ == "__main__":
    main()
