"""How well each statistic of a clip repeats when the clip is shown otherwise: weights of the kernel of the default model.

    DUCHENNE_DATA=<folder with data/pedfe/clips> python experiments/reliability.py --work FOLDER [--clips 240] [--jobs 2]

Clips of PEDFE's 42 open people, of each one copy to which three of the changes of benchmarks/changes.py were made, drawn
by chance, as an H.264 file of a drawn quality. Of each statistic the reliability is 1 − var(difference) / 2 / var. No label
is used. FOLDER, outside the repository, keeps copies and readings. Writes reliability.json (quartiles) and the table of
all statistics that ships, src/duchenne/weights/reliability.npz.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from duchenne import io
from duchenne.tabular.model import APPEARANCE, DescriptorModel
from duchenne.training import data
from duchenne.types import Array

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import changes
import judged
import steady
import verdict

OUT = Path(__file__).with_suffix(".json")
SHIPPED = Path(__file__).parents[1] / "src" / "duchenne" / "weights" / "reliability.npz"
FAMILIES, CHANGES = ("mesh-relative", APPEARANCE), 3


def copy(clip: Path, target: Path) -> None:
    """Write the changed copy where it is missing; what is drawn depends on the clip's name alone."""
    if target.exists():
        return
    rng = np.random.default_rng(zlib.crc32(clip.name.encode()))
    names = rng.choice(list(changes.CHANGES), CHANGES, replace=False)
    made, times = changes.altered(clip, names.tolist(), rng)
    frames = list(made)  # which draw from rng as well
    changes.write(target, iter(frames), times, int(rng.integers(18, 30)))


def tables(clips: list[judged.Known], target: Path, cache: Path, jobs: int) -> dict[str, dict[str, Array]]:
    """Family → name of the clip → its statistics (D,)."""
    readers = [DescriptorModel.of_family(family).reader for family in FAMILIES]
    found = data.read(verdict.manifest(clips, set(), target), readers, data.cache_in(cache), jobs=jobs)
    names = [Path(clip.path).stem for clip in found.clips]
    return {family: dict(zip(names, table, strict=True)) for family, table in zip(FAMILIES, found.tables, strict=True)}


def reliability(before: Array, after: Array) -> Array:
    """float64 (D,): of statistics (N, D) of clips and of their copies, 0 to 1."""
    known = np.isfinite(before).all(axis=1) & np.isfinite(after).all(axis=1)
    a, b = before[known], after[known]
    varies = (a.var(axis=0) + b.var(axis=0)) / 2
    return np.clip(1 - (a - b).var(axis=0) / 2 / np.maximum(varies, 1e-12), 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--work", type=Path, required=True, help="folder outside of the repository")
    parser.add_argument("--clips", type=int, default=240)
    parser.add_argument("--jobs", type=int, default=2)
    words = parser.parse_args()
    clips = steady.chosen(judged.clips(), words.clips, 1)
    folder = words.work / "copies"
    folder.mkdir(parents=True, exist_ok=True)
    copies = [judged.Known(folder / f"{clip.path.stem}.mp4") for clip in clips]
    Parallel(words.jobs)(delayed(copy)(clip.path, to.path) for clip, to in zip(clips, copies, strict=True))
    before, after = (
        tables(each, words.work / f"{name}.csv", words.work / "readings", words.jobs)
        for name, each in (("clips", clips), ("copies", copies))
    )
    about, found = {}, {}
    for family in FAMILIES:
        both = sorted(set(before[family]) & set(after[family]))
        found[family] = reliability(*(np.array([each[family][name] for name in both]) for each in (before, after)))
        about[family] = {
            "clips": len(both),
            "quartiles": np.quantile(found[family], (0.25, 0.5, 0.75)).round(3).tolist(),
        }
    with io.atomic(SHIPPED) as part, part.open("wb") as file:
        np.savez_compressed(file, **{family: values.astype(np.float16) for family, values in found.items()})
    io.write_json(OUT, about)


if __name__ == "__main__":
    main()
