"""Analyze every video of a folder, one row each: python examples/folder_to_table.py clips/ verdicts.csv

A clip that cannot be read becomes a row with its error; the others are still analyzed.
"""

import sys
from pathlib import Path

import pandas as pd

import duchenne

folder, target = Path(sys.argv[1]), Path(sys.argv[2])
rows = []
for clip in sorted(path for path in folder.iterdir() if path.suffix.lower() in (".mp4", ".mov", ".avi", ".mkv")):
    try:
        verdict = duchenne.analyze(clip)
    except duchenne.DuchenneError as error:
        rows.append({"clip": clip.name, "error": str(error)})
        continue
    rows.append({"clip": clip.name, **verdict.to_row()})  # p_genuine is empty where it abstains
table = pd.DataFrame(rows)
table.to_csv(target, index=False, float_format="%.4f")
print(table.to_string(index=False, float_format="%.2f"))
