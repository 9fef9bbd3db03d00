"""How far a verdict moves when nothing that matters moves: PEDFE's raw clips as they are and changed (changes.py).

    DUCHENNE_DATA=<folder with data/pedfe/clips> python benchmarks/steady.py --work FOLDER [--clips 60] [--seed 0]
        [--model default | --people-out FILE] [--only CHANGE ...] [--jobs 2] [-o FILE]
    python benchmarks/steady.py --texts

The clips are of all 42 people in turn, emotions and labels alike as far as there are. Each change is written as H.264
and examined as by `duchenne analyze`. Of every change: the mean of |Δp| and of Δp of P(genuine), abstained or not; the
share of labels that flip, of clips with a label before and after; and the share of clips that get or lose their label.
Intervals (95 %) resample people. The goals are set before measuring: mean |Δp| up to .03, mean Δp within ±.02, flipped
labels up to 4 %. PEDFE shows faces cut out on black: "outline cut closer" stands for blackening what is around a face.

The shipped models have learned from these people. With --people-out, JSON {model folder: [people it left out]} as
experiments/verdict.py --train writes it, each clip is judged by the model that has not seen its person.

FOLDER, outside the repository, keeps changed clips, readings and verdicts (they show faces): a run resumes, and another
model reads no face again. Writes steady.json and the table of docs/science/measured.md; --texts the table alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import changes
import judged
import numpy as np
from changes import CHANGES
from joblib import Parallel, delayed
from judged import Answer, Known

from duchenne import io
from duchenne.learn.calibration import logit
from duchenne.types import Array

OUT = Path(__file__).with_suffix(".json")
GOALS = {"mean_abs": 0.03, "mean": 0.02, "flipped": 0.04}
TITLE = "When nothing that matters changes"
WORDS = (
    "The same clips, changed in ways that leave the expression as it is, written as H.264 and examined again. Δp is\n"
    "the change of P(genuine), abstained or not; a label flips where there is one before and after. Goals, set before\n"
    "measuring: mean |Δp| up to 0.03, mean Δp within ±0.02, flipped labels up to 4 %; **bold** misses its goal.\n"
    "Source: `benchmarks/steady.json`."
)


def chosen(clips: Sequence[Known], many: int, seed: int) -> list[Known]:
    """So many clips: people in turn, of each the one whose emotion and label have been chosen least often."""
    rng = np.random.default_rng(seed)
    left = [clips[i] for i in rng.permutation(len(clips))]
    people, count, found = list(dict.fromkeys(clip.subject for clip in left)), Counter[Any](), list[Known]()
    while left and len(found) < many:
        for person in people[: many - len(found)]:
            if own := [clip for clip in left if clip.subject == person]:
                best = min(own, key=lambda clip: (count[clip.emotion, clip.genuine], count[clip.genuine]))
                count.update([(best.emotion, best.genuine), best.genuine])
                left.remove(best)
                found.append(best)
    return found


def row(before: Sequence[Answer], after: Sequence[Answer], subject: Sequence[str]) -> dict[str, Any]:
    """What a change does to the answers of clips (N,) of these people."""
    p, q = (np.array([answer.p for answer in each]) for each in (before, after))
    read = np.isfinite(p) & np.isfinite(q)
    labels = [(a.label, b.label) for a, b in zip(before, after, strict=True)]
    both = np.array([bool(a and b) for a, b in labels])
    flipped = both & np.array([a != b for a, b in labels])
    crossed = np.array([bool(a) != bool(b) for a, b in labels])
    delta = np.where(read, q - p, 0.0)
    found: dict[str, Any] = {"clips": len(p), "unread": int((~read).sum()), "labelled": int(both.sum())}
    shares: dict[str, tuple[Array, Array]] = {
        "mean_abs": (np.abs(delta), read),
        "mean": (delta, read),
        "flipped": (flipped, both),
        "crossed": (crossed, np.ones(len(p))),
    }
    for name, (part, whole) in shares.items():
        found[name], found[f"{name}_interval"] = judged.share(part, whole, subject)
    return found


def spread(before: Sequence[Answer], after: Sequence[Sequence[Answer]]) -> float:
    """How far the log-odds of genuine move in nine of ten changes, all kinds and clips alike."""
    p, q = (logit(np.array([[answer.p for answer in each] for each in answers])) for answers in ([before], after))
    moved = np.abs(q - p)
    return round(float(np.quantile(moved[np.isfinite(moved)], 0.9)), 4)


def misses(its: dict[str, Any]) -> set[str]:
    """The goals that a change's row does not reach."""
    return {name for name, goal in GOALS.items() if its[name] is None or abs(its[name]) > goal}


def table(found: dict[str, Any]) -> str:
    """The table of docs/science/measured.md."""
    what = f"{found['clips']} clips of {found['people']} people, {found['judge']}"
    lines = [
        f"| {what} | mean \\|Δp\\| (95 %) | mean Δp | label flips | gets or loses a label |",
        "|---|---|---|---|---|",
    ]
    for name, its in found["changes"].items():
        missed, cells = misses(its), [name]
        for key, digits, factor, unit in (
            ("mean_abs", 3, 1, ""), ("mean", 3, 1, ""), ("flipped", 1, 100, " %"), ("crossed", 1, 100, " %")
        ):  # fmt: skip
            value = "–" if its[key] is None else f"{factor * its[key]:{'+' * (key == 'mean')}.{digits}f}{unit}"
            value = f"**{value}**" if key in missed else value
            if key != "mean" and (ends := its[f"{key}_interval"]):
                value += f" ({factor * ends[0]:.{digits}f}–{factor * ends[1]:.{digits}f})"
            cells.append(value)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def answers(clip: Known, model: str, version: str, work: Path, names: Sequence[str]) -> list[Answer]:
    """The answer to a clip as it is, and to each change."""
    folder = changes.kept(work)
    paths = [clip.path, *(changes.changed(clip.path, name, folder) for name in names)]
    found = [judged.judge(path, model, version, work) for path in paths]
    print(clip.path.stem, *(f"{answer.p:.2f}{answer.label[:1]}" for answer in found), file=sys.stderr, flush=True)
    return found


def measured(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """The content of the JSON."""
    clips = chosen(judged.clips(), args.clips, args.seed)
    by_person = judged.left_out(args.people_out) if args.people_out else {}
    if args.people_out and (unknown := {clip.subject for clip in clips} - set(by_person)):
        sys.exit(f"{args.people_out}: no model left out the people {', '.join(sorted(unknown))}; train one.")
    models = [by_person.get(clip.subject, args.model) for clip in clips]
    version = judged.versions(set(models))
    names = args.only or list(CHANGES)
    tasks = (
        delayed(answers)(clip, model, version[model], work, names) for clip, model in zip(clips, models, strict=True)
    )
    each = list(zip(*Parallel(args.jobs)(tasks), strict=True))
    subject = [clip.subject for clip in clips]
    first = each[0]
    labelled = [
        (answer.label == "genuine") == clip.genuine for answer, clip in zip(first, clips, strict=True) if answer.label
    ]
    return {
        "clips": len(clips), "people": len(set(subject)), "seed": args.seed, "goals": GOALS,
        "judge": "by models without the person" if args.people_out else f"`{args.model}`, which was trained on them",
        "models": sorted(version.values()),
        "answered": round(len(labelled) / len(clips), 4),
        "right": round(float(np.mean(labelled)), 4) if labelled else None,
        "spread": spread(first, each[1:]),
        "changes": {name: row(first, after, subject) for name, after in zip(names, each[1:], strict=True)},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--work", type=Path, help="folder for changed clips, readings and verdicts")
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="default")
    parser.add_argument("--people-out", type=Path, help="JSON {model folder: [people it left out]}")
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), metavar="CHANGE")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--texts", action="store_true", help="write the table alone")
    parser.add_argument("-o", "--output", type=Path, default=OUT)
    args = parser.parse_args()
    if not args.texts:
        with tempfile.TemporaryDirectory() as folder:
            io.write_json(args.output, measured(args, args.work or Path(folder)))
    if args.texts or args.output == OUT:
        judged.put("steady", TITLE, WORDS, table(json.loads(args.output.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
