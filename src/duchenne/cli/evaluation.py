"""Numbers that can be believed: `duchenne evaluate`, `run`, `score`, `compare`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from duchenne.cli.app import app, bar
from duchenne.errors import DuchenneError

Jobs = Annotated[int, typer.Option(help="Processes; 0 = one per core.", min=0)]
SkipMissing = Annotated[bool, typer.Option("--skip-missing", help="Leave out clips whose file is not there.")]


@app.command()
def evaluate(
    manifest: Annotated[list[str], typer.Option("--manifest", help="CSV of clips; again for further corpora.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results.json, results.md, predictions, plots.")],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Method fitted anew on each fold, or as-is:MODEL; again for more."),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="loso, kfold, fixed, or cross: train on one corpus, test on another.")
    ] = ("kfold"),
    folds: Annotated[int, typer.Option(help="Folds of kfold.")] = 10,
    repeats: Annotated[int, typer.Option(help="Assignments of people to folds; scores are means.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of folds, methods and intervals.")] = 0,
    baselines: Annotated[
        bool, typer.Option(help="Also judge majority, clip length, first frame, peak, identity.")
    ] = True,
    jobs: Jobs = 1,
    skip_missing: SkipMissing = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what results.json holds, alone, on stdout.")] = False,
) -> None:
    """Judge methods on the same person-disjoint folds, beside every baseline; goes on where a killed run was."""
    from duchenne.evaluation import Plan

    plan = Plan(
        tuple(manifest), tuple(model or ["default"]), protocol, folds, repeats, seed, baselines,
        title=f"Evaluation on {', '.join(Path(m).stem for m in manifest)}",
    )  # fmt: skip
    _evaluate(plan, out, jobs, skip_missing, as_json)


@app.command()
def run(
    experiment: Annotated[Path, typer.Argument(help="TOML that describes one table.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the results; default: its name.")] = None,
    jobs: Jobs = 1,
    skip_missing: SkipMissing = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what results.json holds, alone, on stdout.")] = False,
) -> None:
    """Reproduce one table: data, methods, protocol and seeds from an experiment's TOML."""
    from duchenne.evaluation import experiment as experiments

    out = out or Path(experiment.stem)
    _evaluate(experiments.plan(experiment, out), out, jobs, skip_missing, as_json)


def _evaluate(plan: Any, out: Path, jobs: int, skip_missing: bool, as_json: bool) -> None:
    from duchenne.evaluation import evaluate, tables
    from duchenne.io import plain

    with _stages() as tick:
        results = evaluate(plan, out, jobs=jobs or os.cpu_count() or 1, skip_missing=skip_missing, tick=tick)
    if as_json:
        typer.echo(json.dumps(plain(results), indent=2, allow_nan=False))
    else:
        typer.echo(tables.terminal(results))
        typer.echo(f"\nwritten: {out / 'results.md'}, results.json, predictions.csv and plots")
    unread = results["run"]["unread"]
    if unread and not skip_missing:
        raise DuchenneError(
            f"{unread} of {results['run']['clips']} clips could not be read and stay unanswered; results.md names them."
        )


@contextmanager
def _stages() -> Iterator[Any]:
    """A bar per stage where a person watches, a line now and then in a log."""
    if not sys.stderr.isatty():
        said: dict[str, int] = {}

        def line(stage: str, done: int, total: int) -> None:
            tenth = 10 * done // max(total, 1)
            if said.setdefault(stage, -1) < tenth:
                said[stage] = tenth
                typer.echo(f"{stage}: {done} of {total}", err=True)

        yield line
        return
    with bar() as shown:
        tasks: dict[str, Any] = {}

        def update(stage: str, done: int, total: int) -> None:
            task = tasks.get(stage)
            if task is None:
                task = tasks[stage] = shown.add_task(stage, total=total)
            shown.update(task, completed=done, total=total)

        yield update


@app.command()
def score(
    predictions: Annotated[Path, typer.Argument(help="CSV: video, label, score or predicted, subject, …")],
    as_json: Annotated[bool, typer.Option("--json", help="Print every score as JSON, alone, on stdout.")] = False,
    threshold: Annotated[float | None, typer.Option(help="Scores from here on mean genuine (default 0.5).")] = None,
    method: Annotated[str | None, typer.Option(help="Which method, if the file holds several.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the intervals.")] = 0,
) -> None:
    """Score any tool's answers with the metrics that duchenne uses for its own."""
    from duchenne.evaluation import answers, tables
    from duchenne.evaluation.results import mean_of
    from duchenne.io import plain

    sheets = answers.load(predictions)
    names = list(dict.fromkeys(sheet.method for sheet in sheets)) if method is None else [method]
    found = {
        name: mean_of(
            [answers.score(s, threshold=threshold, seed=seed) for s in answers.choose(sheets, name, predictions)]
        )
        for name in names
    }
    first = found[names[0]]
    if as_json:
        more = {"method": names[0], "methods": found} if len(names) > 1 else {}
        typer.echo(json.dumps(plain({**first, **more}), indent=2, allow_nan=False))
        return
    typer.echo(tables.scores(found))


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="results.json of an evaluation, or a predictions CSV.")],
    b: Annotated[Path, typer.Argument(help="The other one; may be the same file with another method.")],
    method_a: Annotated[str | None, typer.Option(help="Method in A; default: its first.")] = None,
    method_b: Annotated[str | None, typer.Option(help="Method in B; default: its first.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON, alone, on stdout.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of draws and exchanges.")] = 0,
) -> None:
    """Is A better than B? A paired test over people, with its interval, on the clips that both answer."""
    from duchenne.evaluation import answers
    from duchenne.evaluation.results import mean_of
    from duchenne.io import plain

    one = answers.choose(answers.load(a), method_a, a)
    other = answers.choose(answers.load(b), method_b, b)
    found = mean_of(answers.compare(one, other, seed=seed))
    if as_json:
        typer.echo(json.dumps(plain(found), indent=2, allow_nan=False))
        return
    typer.echo(f"{found['rows']} clips of {found['persons']} people, answered by both")
    left = {"only in A": "only_in_a", "only in B": "only_in_b", "not answered by one": "unanswered"}
    if parts := [f"{found[key]} {words}" for words, key in left.items() if found[key]]:
        typer.echo(f"left out: {', '.join(parts)}")
    for text in answers.summary(found):
        typer.echo(text)
