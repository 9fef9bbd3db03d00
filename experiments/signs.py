"""How posed and spontaneous expressions of PEDFE differ in what a FACS reader looks at: the quartiles in reports.

    DUCHENNE_DATA=<folder with data/pedfe/clips> python experiments/signs.py --work FOLDER
    python experiments/signs.py --texts

Of every raw clip the largest expression is measured by `features.signs`, as `duchenne analyze` does, by the elicited
emotion and the curve in which it was found. Quartiles of at least ten clips and four people; AUC of higher values for genuine, with its
95 % interval over people. --work, outside the repository, keeps the faces as they were read ($DUCHENNE_CACHE otherwise).
Writes signs.json of the room `report` and the tables of docs/science/signs.md; --texts the tables alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import DuchenneError, gates, io, metrics
from duchenne.checkpoints import reference
from duchenne.clips.cache import Cache
from duchenne.faces import join, protagonist
from duchenne.features import signs as measured
from duchenne.features.descriptors import prepare
from duchenne.features.phases import ACTIVITY, expression_curve, main_phase, phases
from duchenne.metrics.intervals import percentiles, person_draws
from duchenne.report import signs
from duchenne.types import EMOTIONS, LABELS, Array
from duchenne.units import reading as units

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import judged

PAGE = Path(__file__).parents[1] / "docs" / "science" / "signs.md"
QUARTILES = (0.25, 0.5, 0.75)


def measure(clip: judged.Known, kept: Cache) -> tuple[str, dict[str, float]]:
    """The curve of the clip's largest expression, and its signs; "" and {} without one."""
    try:
        faces = join(kept.read_faces(clip.path), source=str(clip.path))
    except DuchenneError as error:
        print(error, file=sys.stderr)
        return "", {}
    main = protagonist(faces.tracks)
    looks = next(each for track, each in zip(faces.tracks, faces.looks, strict=True) if track is main)
    curves = prepare(main, gates.FPS)[1]
    phase = main_phase(phases(curves, curve=expression_curve(curves)), curves)
    if phase is None:
        return "", {}
    return phase.curve, measured.measure(curves, phase, units.over_time(main, looks, units.load()[0]))


def area(values: Array, labels: Array, people: Array) -> dict[str, Any]:
    """AUC of a sign, and its 95 % interval over people."""
    known = np.isfinite(values)
    x, y, who = values[known], labels[known], people[known]
    p = np.searchsorted(np.sort(x), x) / len(x)
    draws = np.concatenate(list(person_draws(np.eye(len(x)), who, 2000, 0)))
    low, high = percentiles(metrics.auc(p, y, draws))
    return {"auc": round(float(metrics.auc(p, y)), 3), "interval": [round(low, 3), round(high, 3)]}


def tables(clips: list[judged.Known], rows: list[tuple[str, dict[str, float]]]) -> dict[str, Any]:
    """kind → sign → emotion or "all" → quartiles of both labels, AUC, interval."""
    labels, people, emotions = (
        np.array([getattr(clip, key) for clip in clips]) for key in ("genuine", "subject", "emotion")
    )
    found: dict[str, Any] = {}
    for kind in measured.KINDS:
        for name in (*signs.WORDS, *sorted({unit for each in measured.UNITS.values() for unit in each})):
            values = np.array([its.get(name, np.nan) if curve == kind else np.nan for curve, its in rows])
            both = reference.by_emotion(values, labels.astype(int), people, emotions, QUARTILES)
            for emotion, each in both.items():
                own = np.ones(len(clips), bool) if emotion == reference.ALL else emotions == emotion
                found.setdefault(kind, {}).setdefault(name, {})[emotion] = each | area(
                    np.where(own, values, np.nan), labels.astype(int), people
                )
    return found


def page(found: dict[str, Any]) -> str:
    """The table of docs/science/signs.md: quartiles, and which signs tell the two apart."""
    lines = ["| expression | sign | posed | spontaneous | clips | AUC (95 %) |", "|---|---|---|---|---|---|"]
    for emotion in (*EMOTIONS[3:4], *EMOTIONS[:3], *EMOTIONS[4:]):
        kind = next(iter(measured.KINDS)) if emotion == "happiness" else ACTIVITY
        named = (name for name in signs.WORDS if name != "eyes" or kind != ACTIVITY)
        for name in (*named, *measured.UNITS.get(emotion, ())):
            if both := found["signs"][kind].get(name, {}).get(emotion):
                low, high = both["interval"]
                area = f"{both['auc']:.2f} ({low:.2f}–{high:.2f})"
                ranges = (" – ".join(f"{both[label]['quantiles'][k]:.2f}" for k in (0, 2)) for label in LABELS)
                many = "/".join(str(both[label]["clips"]) for label in LABELS)
                cells = (emotion, title(name), *ranges, many, area if low <= 0.5 <= high else f"**{area}**")
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def title(name: str) -> str:
    """A sign with its unit."""
    words = signs.words(name)
    return f"{words.title}{f', {words.unit}' if words.unit else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--texts", action="store_true", help="write the table alone")
    args = parser.parse_args()
    if not args.texts:
        clips = judged.clips()
        kept = Cache(args.work, limit=float("inf"))
        rows = [measure(clip, kept) for clip in clips]
        about = {"clips": len(clips), "people": len({clip.subject for clip in clips}), "data": "PEDFE"}
        io.write_json(signs.FILE, about | {"signs": tables(clips, rows)})
    judged.put("signs", "", "", page(io.read_json(signs.FILE)), PAGE)


if __name__ == "__main__":
    main()
