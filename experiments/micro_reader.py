"""Which reader of faces finds brief smiles on rendered faces, and how near their moments are.

    python experiments/micro_reader.py [--clips 12]

Half of the clips show a smile of 0.2 to 0.5 s with an amplitude of 0.04 to 0.1 lip widths, half a face at rest, at 100
and 200 frames/s in turn; blinks, unrest and movements of the head are those of the simulator. Writes
experiments/micro_reader.json. One face in synthetic shapes: nothing of this is about people.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from duchenne.datasets import simulate
from duchenne.datasets.people import someone
from duchenne.faces import follow
from duchenne.features.spotting import spot
from duchenne.metrics.spotting import iou
from duchenne.registry import READERS
from duchenne.types import FaceTrack

SIZE = (480, 360)


def kinematics(rng: np.random.Generator, smiles: bool) -> simulate.SmileKinematics:
    """A brief smile, or the same seconds at rest."""
    onset, apex, offset = rng.uniform(0.08, 0.18), rng.uniform(0.02, 0.1), rng.uniform(0.1, 0.22)
    amplitude = rng.uniform(0.04, 0.1) if smiles else 0.0
    return simulate.SmileKinematics(
        onset=onset, apex=apex, offset=offset, amplitude=amplitude, neutral_before=0.8, neutral_after=0.8, peak=2.5,
        offset_peak=2.5, fluctuation=0.0,
    )  # fmt: skip


def tracks(kin: simulate.SmileKinematics, rate: float, seed: int) -> dict[str, FaceTrack]:
    """The face of one rendered clip by each reader."""
    who = someone(np.random.default_rng(seed))
    frames = [
        SimpleNamespace(
            time=i / rate, bgr=np.ascontiguousarray(picture[..., ::-1]), grey=cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        )
        for i, picture in enumerate(simulate.frames(kin, rate=rate, size=SIZE, seed=seed, person=who))
    ]
    return {reader: follow(frames, reader=reader, most=np.inf).tracks[0] for reader in READERS}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--clips", type=int, default=20)
    found: dict[str, dict[str, Any]] = {
        reader: {"hits": 0, "false": 0, "onset": [], "offset": []} for reader in READERS
    }
    smiles = 0
    for n in range(parser.parse_args().clips):
        kin = kinematics(np.random.default_rng(3000 + n), n % 2 == 0)
        start = kin.neutral_before
        stop = start + kin.onset + kin.apex + kin.offset
        smiles += n % 2 == 0
        for reader, track in tracks(kin, (100.0, 200.0)[n // 2 % 2], 3000 + n).items():
            row, hit = found[reader], False
            for each in spot(track):
                if n % 2 == 0 and not hit and iou((each.onset, each.offset), (start, stop)) >= 0.5:
                    hit = True
                    row["onset"].append(round(each.onset - start, 4))
                    row["offset"].append(round(each.offset - stop, 4))
                else:
                    row["false"] += 1
            row["hits"] += hit
            print(n, reader, hit, row["false"], flush=True)
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps({"smiles": smiles, "size": SIZE, "readers": found}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
