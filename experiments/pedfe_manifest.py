"""Write the manifest of PEDFE's open people, from which the default model is trained.

DUCHENNE_DATA=<folder with data/> python experiments/pedfe_manifest.py pedfe.csv
"""

import os
import sys
from pathlib import Path

import numpy as np

from duchenne.datasets.manifest import write
from duchenne.types import Clip

file = Path(os.environ["DUCHENNE_DATA"]).resolve() / "data" / "pedfe" / "points.npz"
with np.load(file) as data:
    rows = zip(data["subject"], data["emotion"], data["genuine"], strict=True)
    clips = [Clip(f"{file}#{i}", str(s), str(e), "genuine" if g else "posed") for i, (s, e, g) in enumerate(rows)]
print(write(sys.argv[1], clips), len(clips))
