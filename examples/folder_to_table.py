"""Analyze every video of a folder, one row each: python examples/folder_to_table.py clips/ verdicts.csv

A clip that cannot be read becomes a row with its reason; the others are still analyzed. The columns are those of
`duchenne analyze clips/ -o out/`, which uses every core and resumes: `duchenne codebook` explains them.
"""

import sys
from pathlib import Path

import pandas as pd

import duchenne
from duchenne.tables import columns

folder, target = Path(sys.argv[1]), Path(sys.argv[2])
rows = []
for clip in sorted(path for path in folder.iterdir() if path.suffix.lower() in (".mp4", ".mov", ".avi", ".mkv")):
    try:
        row = duchenne.analyze(clip).to_row()  # p_genuine is empty where it abstains
    except duchenne.DuchenneError as error:
        row = columns.failed(str(error))
    rows.append({"file": clip.name, **row})
table = pd.DataFrame(rows, columns=list(columns.VERDICTS))
table.to_csv(target, index=False, float_format="%.4f")
print(table[["file", "verdict", "p_genuine", "code", "shows", "rise", "fall"]].to_string(index=False))
