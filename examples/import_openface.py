"""Judge what OpenFace (or py-feat) tracked, without the video: python examples/import_openface.py openface.csv

Where the table holds no times, pass the frames per second: python examples/import_openface.py pyfeat.csv 30
"""

import sys

import numpy as np

from duchenne import io, judging, pipeline
from duchenne.errors import InputError

table = sys.argv[1]
rate = float(sys.argv[2]) if len(sys.argv) > 2 else None
model = judging.load_model("default")
for face, track in enumerate(io.load_tracks(table, rate=rate)):
    verdict = pipeline.judge(track, model).verdict
    said = verdict.reason if verdict.abstained else f"{verdict.label}, P(genuine) = {verdict.p_genuine:.2f}"
    print(f"face {face}: {len(track)} frames, {track.duration:.1f} s: {said}")
try:
    found = io.action_units(table, rate=rate)
except InputError as error:  # of faces alone: OpenFace was run without action units
    found = []
    print(error)
for face, units in enumerate(found):
    for name, unit in zip(units.names, units.units, strict=True):
        print(f"face {face}: {name} ({unit}) at most {np.nanmax(units[name]):.2f}")
