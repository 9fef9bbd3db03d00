"""Breuer & Kimmel's tables on the part of CK+ that is at hand, small: emotions, action units, and across data sets.

    DUCHENNE_DATA=<folder with data/ckplus and data/fer2013> python experiments/breuer_ckplus.py --work FOLDER

777 faces of 95 people (the last three images of each sequence with an emotion), 48×48 pixels, seven emotions: neutral,
their eighth, is the first image of a sequence, which is not at hand. Their split is not said to be person-disjoint; ours
is, in three folds instead of ten. Their network learns for 30 epochs of 32 images a step instead of 150 of 128; the units
are learned from the weights of `expression` instead of their network's, for 8 epochs of 30. Intensities are not at hand.
The protocols at full size are experiments/breuer_*.toml. A killed run resumes in FOLDER, which holds faces of people.
Writes breuer_ckplus.json.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from duchenne import io

PERSON = "(S[0-9]+)_"
PEOPLE = 10  # that show a unit, for it to be learned
_UNITS = ("mean_accuracy", "mean_accuracy_absent", "per_unit")
SCORES = ("rows", "people", "accuracy", "accuracy_interval", "uar", "uf1")


def lay_out(source: Path, folder: Path) -> None:
    """Images in a folder per emotion, and a table of units, as `duchenne train expression` and `finetune` read them."""
    with np.load(source) as found:
        known = {name: found[name] for name in found}
    people = [len(np.unique(known["subject"][present > 0])) for present in known["units"].T]
    rows, shown = [], np.array(people) >= PEOPLE
    for i, image in enumerate(known["images"]):
        emotion, name = str(known["emotion"][i]), f"{known['sequence'][i]}_{i:03d}.png"
        (folder / emotion).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / emotion / name)
        rows.append([f"{emotion}/{name}", known["subject"][i], *known["units"][i][shown]])
    with (folder / "units.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file", "subject", *known["unit_names"][shown]], *rows])


def duchenne(*words: object) -> None:
    """Run a command; exits where it fails."""
    if subprocess.run([sys.executable, "-m", "duchenne", *map(str, words)], check=False).returncode:
        sys.exit(f"duchenne {' '.join(map(str, words))} failed.")


def trained(folder: Path, *words: object) -> dict[str, Any]:
    """The card of a training, which is run where it is not there."""
    if not (folder / "card.json").exists():
        duchenne(*words, "-o", folder)
    return dict(io.read_json(folder / "card.json"))


def main() -> None:
    """Run all and write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for faces and models, outside the repository")
    work, root = parser.parse_args().work, Path(os.environ["DUCHENNE_DATA"]) / "data"
    faces = work / "faces"
    lay_out(root / "ckplus" / "units.npz", faces)
    own = trained(
        work / "paper", "train", "expression", "--data", faces, "--recipe", "paper", "--aligned", "--person", PERSON,
        "--folds", 3, "--epochs", 30, "--set", "batch_size=32",
    )  # fmt: skip
    units = trained(
        work / "units", "finetune", "--data", faces / "units.csv", "--head", "units", "--aligned", "--folds", 3,
        "--epochs", 8,
    )  # fmt: skip
    across = {}
    for name, model, data in (
        ("learned on CK+, FER2013's public test", work / "paper", root / "fer2013" / "original"),
        ("`expression`, learned on FER2013, CK+", "expression", faces),
    ):
        out = work / f"{Path(model).name}.json"
        if not out.exists():
            aligned = ("--aligned",) if data == faces else ()
            duchenne("evaluate-emotions", "--data", data, "-m", model, *aligned, "-o", out)
        across[name] = {key: io.read_json(out)[0][key] for key in ("images", "accuracy", "uar", "uf1")}
    io.write_json(
        Path(__file__).with_suffix(".json"),
        {
            "data": "CK+, 777 peak faces of 95 people, three person-disjoint folds",
            "emotions": {key: own[key] for key in SCORES if key in own},
            "units": {key: units[key] for key in ("rows", "people", "mean_f1", "mean_f1_interval", *_UNITS)},
            "across": across,
        },
    )


if __name__ == "__main__":
    main()
