"""Do the smile descriptors that we measure in clips match the table that the smile expert was trained on?

    DUCHENNE_DATA=<folder with data/> python experiments/smile_match.py

For every descriptor: medians of posed and genuine in the UvA-NEMO lip table and in PEDFE's happiness clips as measured
by our code, and the Kolmogorov–Smirnov distance per class. The people and the videos differ, so a perfect match is not
expected. The length of the median filter and the margins around a phase were chosen with these distances in view (see
features/smile.py), so the match is partly fitted. Writes experiments/smile_match.json.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from duchenne import io
from duchenne.features import smile
from duchenne.features.descriptors import prepare

HERE = Path(__file__).parent


def main() -> None:
    data = Path(os.environ["DUCHENNE_DATA"]) / "data"
    table = pd.read_csv(data / "uva_nemo" / "lip.csv")
    uva = smile.from_table({name: table[name] for name in table})
    with np.load(data / "pedfe" / "points.npz") as stored:
        happy = np.flatnonzero(stored["emotion"] == "happiness")
        genuine = stored["genuine"][happy]
    tracks = io.load_tracks(data / "pedfe" / "points.npz")
    rows = [smile.describe(prepare(tracks[i], smile.TABLE_FPS)[0])[0] for i in happy]
    ours = pd.DataFrame(rows)
    found = {}
    for name in uva:
        entry: dict[str, object] = {}
        for label, value in (("posed", 0), ("genuine", 1)):
            a = uva[name][(table["genuine"] == value).to_numpy()]
            b = ours[name].to_numpy(float)[genuine == value]
            a, b = a[np.isfinite(a)], b[np.isfinite(b)]
            entry[label] = {
                "uva_median": round(float(np.median(a)), 4),
                "pedfe_median": round(float(np.median(b)), 4),
                "pedfe_clips": len(b),
                "ks": round(float(ks_2samp(a, b).statistic), 3),
            }
        found[name] = entry
    io.write_json(HERE / "smile_match.json", {"pedfe_happiness_clips": len(happy), "descriptors": found})


if __name__ == "__main__":
    main()
