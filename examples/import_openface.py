"""Analyze faces tracked by OpenFace or py-feat, without the video: python examples/import_openface.py openface.csv

For a table without timestamps, pass the frames per second: python examples/import_openface.py pyfeat.csv 30
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
    result = verdict.reason if verdict.abstained else f"{verdict.label}, P(genuine) = {verdict.p_genuine:.2f}"
    print(f"face {face}: {len(track)} frames, {track.duration:.1f} s: {result}")
try:
    units_of_faces = io.action_units(table, rate=rate)
except InputError as error:  # OpenFace was run without action units
    units_of_faces = []
    print(error)
for face, units in enumerate(units_of_faces):
    for name, unit in zip(units.names, units.units, strict=True):
        print(f"face {face}: {name} ({unit}) at most {np.nanmax(units[name]):.2f}")
