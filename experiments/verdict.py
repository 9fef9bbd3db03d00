"""The whole verdict on people left out: emotion as seen in the clip, smile expert and abstention as `duchenne analyze` has
them, from raw clips.

    DUCHENNE_DATA=<folder with data/pedfe/clips> python experiments/verdict.py --models FOLDER --work FOLDER
        [--train] [--folds 5] [--seed 0] [--command "train hybrid --smile-share 0.15"]
        [--every 1] [--every-changed 1] [--jobs 2] [-o FILE]
    python experiments/verdict.py --texts

--train makes the models by a public command, to which `--manifest` and `-o` are added: one for each fold of people, and of
people recorded at 24–25 and at 30 frames/s (two places) one each for those of the other. It resumes. FOLDER then holds
folds.json and rates.json: which people each model left out; benchmarks/steady.py --people-out reads these too.

Every raw clip of the 42 open people is judged by the model that left its person out: as it is, without its first quarter,
and with 1.5 s of rest before; and as it is by the model of the other frame rate. Answers are also moved as by `--calibrate`,
to the level of all clips of the place, and of each person's, without labels; `slope` is the factor of their log-odds that
would have been the likeliest, whose means are `judging.Calibration.SLOPES`. Scores are of P(genuine) of all clips,
abstained or not; "of these right" are those with a label. Bands count clips that have no other reason to abstain than a close call.
Intervals (95 %) resample people. --work, outside the repository, keeps changed clips, readings and verdicts; --every 100
judges each hundredth clip, and of those --every-changed 3 each third where they are changed. Writes verdict.json and the tables of docs/science/measured.md; --texts the tables alone.
"""

from __future__ import annotations

import argparse
import csv
import io as memory
import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from joblib import Parallel, delayed
from scipy.optimize import minimize_scalar

from duchenne import gates, io, judging, metrics
from duchenne.datasets import splits
from duchenne.learn.calibration import logit
from duchenne.types import Array

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import changes
import judged
from judged import Answer, Known

HERE = Path(__file__).parent
OUT = Path(__file__).with_suffix(".json")
VIEWS = ("as it is", "first 25 % cut away", "1.5 s of rest before")
EDGES = (0.0, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5)  # of |p − 0.5|
LEAST = 0.6  # accuracy under which no label should be given
SLOW = 27.5  # frames/s between the two places' cameras
TITLE = "The whole verdict"
WORDS = (
    "Raw clips judged as `duchenne analyze` does, with the emotion as seen in the clip, the smile expert and abstention, by\n"
    'models that left the person out. Scores are of all clips, abstained or not; "of these right" counts those with a label.\n'
    "Source: `experiments/verdict.json`."
)


def train(folder: Path, readings: Path, folds: int, seed: int, command: str) -> None:
    """The models of all folds, and of both frame rates, where they are missing; faces are read into `readings`."""
    folder.mkdir(parents=True, exist_ok=True)
    about, kept = {"folds": folds, "seed": seed, "command": command}, folder / "about.json"
    if kept.exists() and json.loads(kept.read_text(encoding="utf-8")) != about:
        sys.exit(f"{folder} holds models of other settings ({kept.name}); choose another folder.")
    io.write_json(kept, about)
    clips = judged.clips()
    subject = np.array([clip.subject for clip in clips])
    tests = [np.unique(subject[test]) for _, test in splits.by_person(subject.tolist(), folds, seed)]
    plans = {"folds.json": {f"fold-{i}": people.tolist() for i, people in enumerate(tests)}}
    slow = slow_people(clips)
    fast = sorted(set(subject.tolist()) - slow)
    environment = os.environ | {"DUCHENNE_CACHE": str(readings.resolve()), "DUCHENNE_CACHE_LIMIT": "1 TB"}
    plans["rates.json"] = {"trained-at-24-25": fast, "trained-at-30": sorted(slow)}
    for name, plan in plans.items():
        for model, people in plan.items():
            if not (folder / model / "model.json").is_file():
                words = [
                    "--manifest",
                    str(manifest(clips, set(people), folder / f"{model}.csv")),
                    "-o",
                    f"{folder / model}",
                ]
                print(model, "leaves out", *people, file=sys.stderr, flush=True)
                subprocess.run(
                    [sys.executable, "-m", "duchenne", *shlex.split(command), *words], env=environment, check=True
                )
        io.write_json(folder / name, plan)


def manifest(clips: Sequence[Known], without: set[str], target: Path) -> Path:
    """The manifest of the clips of all other people."""
    text = memory.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "subject", "emotion", "label"])
    rows.writerows(
        [clip.path.resolve(), clip.subject, clip.emotion, "genuine" if clip.genuine else "posed"]
        for clip in clips
        if clip.subject not in without
    )
    io.write_text(target, text.getvalue())
    return target


def slow_people(clips: Sequence[Known]) -> set[str]:
    """Those most of whose clips were recorded at 24–25 frames/s."""
    rates: dict[str, list[float]] = {}
    for clip in clips:
        with av.open(str(clip.path)) as file:
            rates.setdefault(clip.subject, []).append(float(file.streams.video[0].average_rate or np.nan))
    return {person for person, found in rates.items() if np.median(found) < SLOW}


def answer(clip: Known, view: str, model: str, version: str, work: Path) -> Answer:
    """The verdict on a clip as a view shows it."""
    if view == VIEWS[1]:
        with av.open(str(clip.path)) as file:
            start = round(float(file.duration or 0) / av.time_base / 4, 3)
        return judged.judge(clip.path, model, version, work, start=start)
    path = changes.changed(clip.path, view, changes.kept(work)) if view in changes.CHANGES else clip.path
    return judged.judge(path, model, version, work)


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """The content of the JSON."""
    clips = judged.clips()[:: args.every]
    shown = {view: clips[:: args.every_changed] if i else clips for i, view in enumerate(VIEWS)}

    def answers(plan: str, view: str) -> list[Answer]:
        models, chosen = judged.left_out(args.models / plan), shown[view]
        version = judged.versions({models[clip.subject] for clip in chosen})
        tasks = ((clip, view, models[clip.subject], version[models[clip.subject]], args.work) for clip in chosen)
        found = list(Parallel(args.jobs, verbose=1)(delayed(answer)(*task) for task in tasks))
        print(
            plan,
            view,
            f"{sum(bool(each.label) for each in found)} of {len(found)} answered",
            file=sys.stderr,
            flush=True,
        )
        return found

    found: dict[str, Any] = {"clips": len(clips), "people": len({clip.subject for clip in clips})}
    found["models"] = json.loads((args.models / "about.json").read_text(encoding="utf-8"))
    every = {view: answers("folds.json", view) for view in VIEWS}
    found["views"] = {view: summary(shown[view], every[view]) for view in VIEWS}
    across = answers("rates.json", VIEWS[0])
    slow = {who for who, model in judged.left_out(args.models / "rates.json").items() if model.endswith("-at-30")}
    for name, inside in (("trained at 30, tested at 24–25", True), ("trained at 24–25, tested at 30", False)):
        rows = [i for i, clip in enumerate(clips) if (clip.subject in slow) is inside]
        there, of_them = [clips[i] for i in rows], [across[i] for i in rows]
        found.setdefault("rates", {})[name] = summary(there, of_them)
        for persons, words in enumerate(("calibrated", "calibrated, by each person's clips too")):
            moved = calibrated(there, of_them, judged.left_out(args.models / "rates.json"), bool(persons))
            its = found["rates"][f"{name}, {words}"] = summary(there, moved)
            slope = judging.Calibration.SLOPES[persons] * steepness(moved, np.array([clip.genuine for clip in there]))
            its["slope"] = round(slope, 3)
    return found


def steepness(answers: Sequence[Answer], y: Array) -> float:
    """The factor by which log-odds would be the likeliest, of clips that are judged or too close to call."""
    fits = np.array([not each.reason or each.reason.startswith("Too close") for each in answers])
    z = logit(np.array([each.p for each in answers]))[fits]
    found = minimize_scalar(
        lambda b: np.mean(np.logaddexp(0, b * z) - y[fits] * b * z), bounds=(0.05, 5), method="bounded"
    )
    return float(found.x)


def calibrated(
    clips: Sequence[Known], answers: Sequence[Answer], models: dict[str, str], persons: bool
) -> list[Answer]:
    """The answers to all clips of a place, moved to its level, and with `persons` to each person's, without labels."""
    fits = [not each.reason or each.reason.startswith("Too close") for each in answers]
    known = [
        (each.p, clip.subject if persons else None) for clip, each, fit in zip(clips, answers, fits, strict=True) if fit
    ]
    calibration = judging.Calibration.of([p for p, _ in known], [who for _, who in known], "")
    margins = {model: judging.load_model(model).model.margin for model in set(models.values())}
    found = []
    for clip, each, fit in zip(clips, answers, fits, strict=True):
        if fit:
            p = calibration.moved(each.p, clip.subject)
            reason = gates.too_close(p, margins[models[clip.subject]])
            each = Answer(p, "" if reason else "genuine" if p >= 0.5 else "posed", str(reason or ""))
        found.append(each)
    return found


def summary(clips: Sequence[Known], answers: Sequence[Answer]) -> dict[str, Any]:
    """Scores of the answers to these clips."""
    y, subject = np.array([clip.genuine for clip in clips], int), [clip.subject for clip in clips]
    p, given = np.array([each.p for each in answers]), np.array([bool(each.label) for each in answers])
    right = np.array([each.label == ("genuine" if true else "posed") for each, true in zip(answers, y, strict=True)])
    all_of_them = metrics.score(p, y, subject, [clip.emotion for clip in clips])
    names = ("rows", "unanswered", "persons", "accuracy", "auc", "forced_pairs", "pairs", "ece", "brier")
    ends = ("accuracy_interval", "auc_interval", "forced_pairs_interval")
    close = np.array([each.reason.startswith("Too close") for each in answers])
    bands = by_band(p, y, subject, given | close)
    return {
        **{name: all_of_them[name] for name in (*names, *ends)},
        "per_emotion": {
            name: {key: its[key] for key in ("rows", "auc", "auc_interval", "accuracy", "accuracy_interval")}
            for name, its in all_of_them["per_emotion"].items()
        },
        "answered": judged.share(given, np.ones(len(given)), subject),
        "right": judged.share(right & given, given, subject),
        "reasons": dict(Counter(" ".join(each.reason.split()[:4]) for each in answers if each.reason).most_common()),
        "bands": bands,
        "silence": silence(bands),
    }


def by_band(p: Array, y: Array, subject: Sequence[str], counted: Array) -> list[dict[str, Any]]:
    """Of each band of |p − 0.5|: its edges, the clips that are counted, the share called right with its interval."""
    distance, right = np.abs(p - 0.5), (p >= 0.5) == (y == 1)
    found = []
    for low, high in pairwise(EDGES):
        inside = counted & (distance >= low) & ((distance < high) | (high == EDGES[-1]))
        share, ends = judged.share(right & inside, inside, subject)
        found.append({"from": low, "to": high, "clips": int(inside.sum()), "accuracy": share, "interval": ends})
    return found


def silence(bands: Sequence[dict[str, Any]], least: float = LEAST) -> float:
    """The end of the bands, from the closest to one half on, whose accuracy is under `least`; 0 where there is none."""
    end = 0.0
    for band in bands:
        if band["accuracy"] is None or band["accuracy"] >= least:
            break
        end = band["to"]
    return end


def table(found: dict[str, Any]) -> str:
    """The tables of docs/science/measured.md."""
    head = f"| clips of {found['people']} people, how many"
    lines = [
        f"{head} | answered | of these right (95 %) | accuracy (95 %) | AUC (95 %) | forced pairs | ECE |",
        "|---" * 7 + "|",
    ]
    for name, its in (found["views"] | found["rates"]).items():
        (answered, _), (right, ends) = its["answered"], its["right"]
        cells = [f"{name}, {its['rows']}", f"{100 * answered:.0f} %", with_ends(right, ends)]
        cells += [with_ends(its[key], its[f"{key}_interval"]) for key in ("accuracy", "auc")]
        lines.append(f"| {' | '.join(cells)} | {with_ends(its['forced_pairs'])} | {with_ends(its['ece'])} |")
    its = found["views"][VIEWS[0]]
    lines += ["", "| P(genuine) from 0.5 | clips | right (95 %) |", "|---|---|---|"]
    for band in its["bands"]:
        share = with_ends(band["accuracy"], band["interval"])
        lines.append(f"| {band['from']:g} to {band['to']:g} | {band['clips']} | {share} |")
    lines += ["", "| elicited emotion | clips | accuracy (95 %) | AUC (95 %) |", "|---|---|---|---|"]
    for name, one in its["per_emotion"].items():
        cells = [with_ends(one[key], one[f"{key}_interval"]) for key in ("accuracy", "auc")]
        lines.append(f"| {name} | {one['rows']} | {' | '.join(cells)} |")
    if its["reasons"]:
        lines += ["", "| reason to abstain, first words | clips |", "|---|---|"]
    return "\n".join([*lines, *(f"| {reason} … | {many} |" for reason, many in its["reasons"].items())]) + "\n"


def with_ends(value: float | None, ends: Sequence[float | None] | None = None) -> str:
    """A share with its interval, as far as they are known."""
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" ({ends[0]:.3f}–{ends[1]:.3f})" if ends and None not in ends else "")


def main() -> None:
    chosen = json.loads((HERE / "smile_share.json").read_text(encoding="utf-8"))["chosen"]
    parser = argparse.ArgumentParser(description=" ".join((__doc__ or "").split("\n\n", 1)[0].split()))
    parser.add_argument("--models", type=Path, help="folder of the models and of who they left out")
    parser.add_argument("--train", action="store_true", help="first train the models that are missing")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", default=f"train hybrid --smile-share {chosen}")
    parser.add_argument("--work", type=Path, help="folder for changed clips, readings and verdicts")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--every-changed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--texts", action="store_true", help="write the tables alone")
    parser.add_argument("-o", "--output", type=Path, default=OUT)
    args = parser.parse_args()
    if not args.texts:
        if args.models is None or args.work is None:
            sys.exit("Expected --models and --work, or --texts; name both folders.")
        if args.train:
            train(args.models, judged.readings(args.work), args.folds, args.seed, args.command)
        io.write_json(args.output, measured(args))
    if args.texts or args.output == OUT:
        judged.put("verdict", TITLE, WORDS, table(json.loads(args.output.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
