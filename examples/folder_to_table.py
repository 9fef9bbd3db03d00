"""Judge every video of a folder, one row each: python examples/folder_to_table.py clips/ verdicts.csv

A clip that cannot be read becomes a row with its error; the others are judged all the same.
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
    whole = next((p for p in verdict.phases if None not in (p.onset, p.apex, p.offset, p.end)), None)
    rows.append(
        {
            "clip": clip.name,
            "p_genuine": verdict.p_genuine,  # empty where it abstains
            "label": verdict.label,
            "reason": verdict.reason,
            "emotion": max(verdict.emotion, key=verdict.emotion.__getitem__, default=None),
            "rise_s": whole.apex - whole.onset if whole else None,
            "fall_s": whole.end - whole.offset if whole else None,
            "coverage": verdict.quality["coverage"],
            "seconds": verdict.duration,
        }
    )
table = pd.DataFrame(rows)
table.to_csv(target, index=False, float_format="%.4f")
print(table.to_string(index=False, float_format="%.2f"))
