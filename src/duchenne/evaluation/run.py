"""One evaluation from manifests to a folder of results."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from duchenne import checkpoints, io
from duchenne.datasets.splits import Split
from duchenne.errors import InputError, UsageError
from duchenne.evaluation import leaks, tables, work
from duchenne.evaluation import plan as plans
from duchenne.evaluation import results as report
from duchenne.evaluation.crossval import Answers, Truth, join, represent
from duchenne.evaluation.plan import Plan, PlannedClips
from duchenne.evaluation.work import Read, Task
from duchenne.faces import identity
from duchenne.methods import names as methods
from duchenne.progress import StepTick
from duchenne.types import Array, Classifier, Json

WORK = ".work"


def evaluate(
    plan: Plan,
    out: str | Path,
    *,
    jobs: int = 1,
    skip_missing: bool = False,
    force: bool = False,
    tick: StepTick = lambda *_: None,
) -> Json:
    """Evaluate all methods of a plan on the same folds, write `out`, and return what results.json holds.

    Files: results.json, results.md, predictions.csv, and as PNG and SVG accuracy, roc-<method>, reliability and
    risk-coverage. Finished folds are cached in `out`/.work: an interrupted run resumes. Raises InputError
    before any work for an invalid manifest (see `plan.gather`), where no clip can be read, and where a method cannot
    read such clips; UsageError where `out` holds results of another plan or other clips, unless `force` replaces them.
    """
    out, start = Path(out), time.perf_counter()
    device = _device(plan)
    planned = plans.gather(plan, skip_missing=skip_missing)
    truth = Truth.of(planned.clips)
    runs = list(plans.runs(plan, planned))
    io.check_folder(out)
    shown = {**asdict(plan), "manifests": [Path(m).name for m in plan.manifests]}
    if not force:
        report.check_same(out, shown)
    baselines = tuple(methods.BASELINES) if plan.baselines else ()
    models: dict[str, Classifier] = {name: methods.make(name) for name in plan.models}
    models |= {name: methods.BASELINES[name](0) for name in baselines}
    read = work.read(planned.clips, [m.reader for m in models.values()], jobs, tick)
    for name in plan.models:
        if models[name].reader in read.refused:
            raise InputError(f"Method '{name}' cannot read these clips: {read.refused[models[name].reader]}")
    if len(read.failed) == len(planned.clips):
        raise InputError(f"None of {len(planned.clips)} clips could be read; the first: {read.failed[0]}")
    able = [name for name in models if models[name].reader in read.tables]
    data = _data_hash(planned, ["" if found is None else found.digest for found in read.signatures])
    if not force:
        report.check_same(out, shown, data)
    made_by = report.provenance() | {"device": device}
    sources = {text: digest for name in plan.models for text, digest in methods.sources(name).items()}
    made_of = json.dumps([data, made_by, sources])  # another commit, library, model or weights are fitted again
    answers, runs_of = _answers(plan, able, models, read, truth, runs, made_of, out / WORK, jobs, tick)
    results = {
        "title": plan.title,
        "protocol": plan.words,
        "plan": shown,
        "data": _about(plan, planned, truth, data),
        "repeats": plan.repeats,
        "folds": max(len(splits) for _, _, splits in runs),
        "notes": [*plan.notes, *planned.notes],
        "warnings": _warnings(planned, read, runs, plan.models),
        "published": list(plan.published),
        "human": plan.human,
        "methods": _scored(plan, able, models, read, answers, runs_of, truth, tick),
    }
    seconds = time.perf_counter() - start
    seconds_of = {key: sum(getattr(a, key) for each in answers.values() for a in each) for key in ("fit", "predict")}
    useful = sum(seconds_of.values()) + read.seconds
    results["run"] = {
        "clips": len(truth), "unread": len(read.failed), "seconds": seconds, **seconds_of, "describe": read.seconds,
        "jobs": jobs, "overhead_share": max(0.0, 1 - useful / (jobs * seconds)), "seed": plan.seed, **made_by,
    }  # fmt: skip
    report.write(out, results, answers, truth, planned.names)
    return results


def _device(plan: Plan) -> str:
    """The devices that the methods use; UsageError, before any work, for an unknown method or device, and for a device
    that no method can use."""
    used = {methods.make(name).on(plan.device) for name in plan.models}
    if used == {"cpu"} and plan.device not in ("auto", "cpu"):
        raise UsageError(f"Device '{plan.device}' cannot be used: these methods run on the CPU; pass auto or cpu.")
    return ", ".join(sorted(used))


def _answers(
    plan: Plan, able: Sequence[str], models: Mapping[str, Classifier], read: Read, truth: Truth,
    runs: Sequence[tuple[str, int, list[Split]]], data: str, folder: Path, jobs: int, tick: StepTick,
) -> tuple[dict[str, list[Answers]], dict[str, tuple[str, str]]]:  # fmt: skip
    """Row of the table → answers of each repeat, and row → (method, run)."""
    rows = {name: represent(models[name], read.tables[models[name].reader], truth.person) for name in able}
    splits = {(run, repeat): found for run, repeat, found in runs}
    tasks = [
        Task(
            name, name not in plan.models, run, repeat, fold, plan.seed + repeat, repr(models[name].recipe), plan.device
        )
        for run, repeat, found in runs
        for name in able
        for fold in range(len(found))
    ]
    done = work.run(
        tasks, lambda t: rows[t.method], truth, lambda t: splits[t.run, t.repeat][t.fold],
        data=data, work=folder, jobs=jobs, tick=tick,
    )  # fmt: skip
    parts: dict[tuple[str, int], list[tuple[Array, Answers]]] = {}
    of: dict[str, tuple[str, str]] = {}
    for task, answer in zip(tasks, done, strict=True):
        row = f"{task.method} | {task.run}" if task.run else task.method
        of[row] = (task.method, task.run)
        parts.setdefault((row, task.repeat), []).append((splits[task.run, task.repeat][task.fold][1], answer))
    return {row: [join(parts[row, r], len(truth)) for r in range(plan.repeats)] for row in of}, of


def _scored(
    plan: Plan, able: Sequence[str], models: Mapping[str, Classifier], read: Read, answers: dict[str, list[Answers]],
    of: dict[str, tuple[str, str]], truth: Truth, tick: StepTick,
) -> Json:  # fmt: skip
    """Row → kind, run, scores, and against the baselines of its run a sentence and the numbers behind it."""
    out: Json = {}
    for done, (row, (method, run)) in enumerate(of.items(), 1):
        kind = "method" if method in plan.models else "baseline"
        score, answered = report.scores(answers[row], truth, plan.draws, plan.seed)
        out[row] = {"kind": kind, "run": run, "available": True, "why": None, "score": score}
        out[row] |= {"answered": answered if kind == "method" else None, "verdict": None}
        tick("scoring", done, len(of))
    for run in dict.fromkeys(run for _, run in of.values()):
        ours, baselines = (
            {row: answers[row] for row in of if of[row][1] == run and out[row]["kind"] == kind}
            for kind in ("method", "baseline")
        )
        for row, found in report.comparisons(ours, baselines, truth, plan.seed).items():
            out[row] |= {"against": found, "verdict": tables.verdict(row, found)}
    for name, model in models.items():
        if name not in able:
            why = read.refused[model.reader]
            out[name] = {"kind": "baseline", "run": "", "available": False, "why": why}
            out[name] |= dict.fromkeys(("score", "answered", "verdict"))
    return out


def _data_hash(planned: PlannedClips, prints: Sequence[str]) -> str:
    """sha256 over content, person, emotion, label and fold of every clip, in order."""
    total = hashlib.sha256()
    for clip, found in zip(planned.clips, prints, strict=True):
        total.update("\0".join([found, str(clip.subject), str(clip.emotion), str(clip.label), str(clip.fold)]).encode())
        total.update(b"\n")
    return total.hexdigest()


def _about(plan: Plan, planned: PlannedClips, truth: Truth, data: str) -> list[Json]:
    if len(plan.manifests) == 1:
        groups = {Path(plan.manifests[0]).stem: np.ones(len(truth), bool)}
    else:
        groups = {name: np.array(planned.data_set) == name for name in dict.fromkeys(planned.data_set)}
    return [
        {
            "name": name,
            "clips": int(mask.sum()),
            "people": len(np.unique(truth.person[mask])),
            "genuine": int(truth.y[mask].sum()),
            "sha256": data,
        }
        for name, mask in groups.items()
    ]


def _two_names(planned: PlannedClips, faces: Sequence[Array | None]) -> list[str]:
    """Persons of the manifest with the same face, known for videos only."""
    by_person: dict[str, list[Array]] = {}
    for clip, face in zip(planned.clips, faces, strict=True):
        if face is not None:
            by_person.setdefault(str(clip.subject), []).append(face)
    return [
        f"Persons '{a}' and '{b}' look like one person under two names (face distance {gap:.2f}, different people are "
        f"rarely below {identity.SAME_PERSON:g}): check their clips, and if so give them one name."
        for a, b, gap in identity.same_person({who: np.array(rows) for who, rows in by_person.items()})
    ]


def _warnings(
    planned: PlannedClips, read: Read, runs: Sequence[tuple[str, int, list[Split]]], names: Sequence[str]
) -> list[str]:
    """Unread clips, duplicates across folds, tables fitted before the split, models trained on these clips."""
    lines = [f"Not read, so not answered: {why}" for why in list(read.failed.values())[:10]]
    if len(read.failed) > 10:
        lines.append(f"{len(read.failed) - 10} more clips could not be read.")
    readable = [i for i in range(len(planned.clips)) if i not in read.failed]
    where = {row: i for i, row in enumerate(readable)}
    splits = [
        tuple(np.array([where[i] for i in side.tolist() if i in where], np.int64) for side in split)
        for _, repeat, found in runs
        if repeat == 0
        for split in found
    ]
    clips = [planned.clips[i] for i in readable]
    lines += leaks.warnings(
        [found for found in read.signatures if found is not None],
        [planned.names[i] for i in readable],
        [clip.subject for clip in clips],
        [clip.label for clip in clips],
        [clip.emotion for clip in clips],
        splits,  # type: ignore[arg-type]
    )
    lines += _two_names(planned, read.faces)
    if any(found is not None and found.values is not None for found in read.signatures):
        scaled = leaks.standardised_before_split(np.array([f.values for f in read.signatures if f is not None]))
        lines += [scaled] if scaled else []
    for name in names:
        if name.startswith(methods.AS_IS):
            data = checkpoints.card(name.removeprefix(methods.AS_IS)).get("data") or "data that its card does not name"
            lines.append(f"`{name}` was fitted to {data}; if it includes any of these people, the score is too high.")
    return lines
