"""Results of an evaluation: scores, comparisons with every baseline, tables, plots, files."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import duchenne
from duchenne import io, metrics, plots
from duchenne.errors import UsageError
from duchenne.evaluation import tables
from duchenne.evaluation.crossval import Answers, Truth
from duchenne.metrics import paired
from duchenne.types import Array, Json, JsonMap

#: Method → one set of answers per repeat.
Repeats = Mapping[str, Sequence[Answers]]
_PACKAGES = ("numpy", "scipy", "scikit-learn", "xgboost-cpu", "xgboost", "opencv-contrib-python-headless", "dlib-bin")
_PLOTS = ("accuracy.*", "roc-*.*", "reliability*.*", "risk-coverage*.*")
#: What of a plan decides its results.
_DECIDES = ("manifests", "models", "protocol", "folds", "repeats", "seed", "baselines", "reader")
_MAX_LINES = 4  # methods in one figure: more cannot be distinguished
_PAIR_DRAWS = 500  # per method and baseline; a verdict in words needs no third decimal
COLUMNS = (
    *("method", "repeat", "video", "label", "predicted", "score", "pair_score", "sure"),
    *("subject", "emotion", "fold"),
)


def scores(repeats: Sequence[Answers], truth: Truth, draws: int, seed: int) -> tuple[Json, Any]:
    """(score, answered): means over repeats of every score, and of scores without abstentions."""
    tested = repeats[0].fold >= 0
    y, person, emotion = truth.y[tested], truth.person[tested], truth.emotion[tested]
    each, answered = [], []
    for a in repeats:
        p = a.p[tested]
        each.append(
            metrics.score(p, y, person, emotion if any(emotion) else None, rank=a.rank[tested], n=draws, seed=seed)
        )
        kept = np.where(a.sure[tested], p, np.nan)
        coverage = float(np.isfinite(kept).mean())
        answered.append({"coverage": coverage, "accuracy": metrics.accuracy(kept, y), "auc": metrics.auc(kept, y)})
    mean = mean_of(answered)
    return mean_of(each), mean if mean["coverage"] < 1 else None


def comparisons(methods: Repeats, baselines: Repeats, truth: Truth, seed: int) -> dict[str, Json]:
    """Method → baseline → {"accuracy", "auc"}: difference, interval and p over people, means over repeats."""

    def pair(a: Answers, b: Answers) -> Json:
        tested = a.fold >= 0
        found = paired.compare(
            a.p[tested], b.p[tested], truth.y[tested], truth.person[tested],
            metrics=("accuracy", "auc"), n=_PAIR_DRAWS, seed=seed,
        )  # fmt: skip
        return {key: found[key] for key in ("accuracy", "auc")}

    return {
        name: {
            other: mean_of([pair(a, b) for a, b in zip(repeats, answers, strict=True)])
            for other, answers in baselines.items()
        }
        for name, repeats in methods.items()
    }


def mean_of(each: Sequence[Any]) -> Any:
    """The mean of every number in equal structures, missing ones left out; else the first."""
    first = each[0]
    if isinstance(first, dict):
        return {key: mean_of([e[key] for e in each]) for key in first if all(key in e for e in each)}
    if isinstance(first, list | tuple):
        equal = all(isinstance(e, list | tuple) and len(e) == len(first) for e in each)
        return [mean_of(list(parts)) for parts in zip(*each, strict=True)] if equal else list(first)
    if isinstance(first, bool) or not any(isinstance(e, int | float | np.number) for e in each):
        return first
    known = [float(e) for e in each if e is not None and np.isfinite(e)]
    mean = float(np.mean(known)) if known else float("nan")
    return int(mean) if all(isinstance(e, int) for e in each) and mean == int(mean) else mean


def predictions(answers: Repeats, truth: Truth, names: Sequence[str], folds: Mapping[str, str]) -> str:
    """predictions.csv: one row per method, repeat and tested clip (`COLUMNS`); text for `io.write_text`."""
    import pandas as pd

    parts = []
    for method, repeats in answers.items():
        for repeat, a in enumerate(repeats):
            at = np.flatnonzero(a.fold >= 0)
            p = a.p[at]
            called = np.where(np.isfinite(p), np.where(p >= 0.5, "genuine", "posed"), "")
            separate = bool((np.isfinite(p) & (a.rank[at] != p)).any())
            fold = [folds.get(method) or str(f) for f in a.fold[at].tolist()]
            columns = (
                method, repeat, np.array(names, object)[at], np.where(truth.y[at] == 1, "genuine", "posed"), called,
                p, a.rank[at] if separate else np.full(len(at), np.nan), a.sure[at].astype(int),
                truth.person[at], truth.emotion[at], fold,
            )  # fmt: skip
            parts.append(pd.DataFrame(dict(zip(COLUMNS, columns, strict=True))))
    return io.table_csv(pd.concat(parts))


def provenance() -> Json:
    """Commit of a source checkout (with "+" where it was changed) and the versions that decide a number."""
    found = {"duchenne": duchenne.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"commit": _commit(), "versions": found}


def _commit() -> str | None:
    root = Path(duchenne.__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + "+" * bool(git("status", "--porcelain", "--", str(root)))
    except (OSError, subprocess.SubprocessError):  # installed from a wheel, or no git here
        return None


def check_same(out: Path, plan: JsonMap, data: str | None = None) -> None:
    """UsageError where `out` holds results of another plan, or of clips with another sha256 than `data`."""
    try:
        earlier = io.read_json(out / "results.json")
        there, found = earlier["plan"], earlier["data"][0]["sha256"]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return
    here = io.plain(dict(plan))
    differ = [f"{name} {io.shown(there.get(name))} there and {io.shown(here[name])} here"
              for name in _DECIDES if there.get(name) != here[name]]  # fmt: skip
    if data is not None and data != found:
        differ.append("other clips")
    if differ:
        raise UsageError(
            f"{out} holds the results of another evaluation ({differ[0]}); choose another folder, or replace them with "
            "--force."
        )


def write(out: Path, results: JsonMap, answers: Repeats, truth: Truth, names: Sequence[str]) -> None:
    """Results as JSON and Markdown, predictions, and the plots; the JSON, which names the rest, comes last."""
    text = predictions(answers, truth, names, {name: m["run"] for name, m in results["methods"].items() if m["run"]})
    for pattern in _PLOTS:  # of earlier results
        for old in out.glob(pattern):
            old.unlink()
    io.write_text(out / "predictions.csv", text)
    draw(out, results, answers, truth)
    io.write_text(out / "results.md", tables.markdown(results))
    digest = hashlib.sha256(text.encode()).hexdigest()
    io.write_json(out / "results.json", {**results, "predictions": {"file": "predictions.csv", "sha256": digest}})


def draw(out: Path, results: JsonMap, answers: Repeats, truth: Truth) -> None:
    """Accuracy of all, and of the methods ROC per emotion, reliability and risk–coverage (first repeat)."""
    scored = {name: m for name, m in results["methods"].items() if m["score"]}
    human = results.get("human") or {}
    rows = [
        {"name": n, "kind": m["kind"], "accuracy": m["score"]["accuracy"], "interval": m["score"]["accuracy_interval"]}
        for n, m in scored.items()
    ]
    if not any(np.isfinite(row["accuracy"]) for row in rows):
        return  # nothing was answered
    plots.save(plots.forest(rows, human=human.get("accuracy")), out / "accuracy")
    for run in dict.fromkeys(m["run"] for m in scored.values()):
        own = [name for name, m in scored.items() if m["kind"] == "method" and m["run"] == run]
        tested = answers[own[0]][0].fold >= 0
        y = truth.y[tested]
        p: dict[str, Array] = {name: answers[name][0].p[tested] for name in own}
        few = {name: p[name] for name in own[:_MAX_LINES]}
        tail = f"-{_slug(run)}" if run else ""
        abstaining = {
            name: (scored[name]["answered"]["coverage"], scored[name]["answered"]["accuracy"])
            for name in few
            if scored[name]["answered"]
        }
        plots.save(plots.reliability(few, y), out / f"reliability{tail}")
        plots.save(plots.risk_coverage(few, y, abstain=abstaining), out / f"risk-coverage{tail}")
        for name in p:
            curves = {e: (p[name][m], y[m]) for e, m in _per_emotion(truth.emotion[tested]).items()}
            plots.save(plots.roc(curves, name), out / f"roc-{_slug(name)}")


def _per_emotion(emotion: Array) -> dict[str, Array]:
    names = [name for name in np.unique(emotion).tolist() if name]
    return {name: emotion == name for name in names} or {"all clips": np.ones(len(emotion), bool)}


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name).strip("-")
