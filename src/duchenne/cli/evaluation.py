"""Evaluation: `duchenne evaluate`, `run`, `score`, `compare`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from duchenne.cli import options
from duchenne.cli.app import EVALUATE, app, bar, echo, limit_memory, log
from duchenne.errors import DuchenneError
from duchenne.registry import READERS

Jobs = Annotated[int, typer.Option(help="Number of processes; 0 for one per core.", min=0)]
Force = Annotated[bool, typer.Option("--force", help="Replace the results of another evaluation.")]
SkipMissing = Annotated[bool, typer.Option("--skip-missing", help="Leave out clips whose file is missing.")]


@app.command(rich_help_panel=EVALUATE)
def evaluate(
    manifest: Annotated[list[str], typer.Option("--manifest", help="CSV of clips; repeat for several data sets.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results, predictions and plots.")],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Method to fit on each fold, or as-is:MODEL; repeat for several."),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="loso, kfold, fixed, or cross: train on one data set, test on another.")
    ] = "kfold",
    folds: Annotated[int, typer.Option(help="Number of folds of kfold.")] = 10,
    repeats: Annotated[int, typer.Option(help="Number of random assignments of people to folds.")] = 1,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    baselines: Annotated[
        bool, typer.Option(help="Also evaluate majority, clip length, first frame, peak and identity.")
    ] = True,
    reader: options.Reader = READERS[0],
    device: options.Device = "auto",
    jobs: Jobs = 1,
    skip_missing: SkipMissing = False,
    force: Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Evaluate methods and baselines on the same person-disjoint folds; an interrupted run resumes."""
    from duchenne.evaluation import Plan

    plan = Plan(
        tuple(manifest), tuple(model or ["default"]), protocol, folds, repeats, seed, baselines,
        reader=reader, device=device, title=f"Evaluation on {', '.join(Path(m).stem for m in manifest)}",
    )  # fmt: skip
    _evaluate(plan, out, jobs, skip_missing, force, as_json)


@app.command(rich_help_panel=EVALUATE)
def run(
    experiment: Annotated[Path, typer.Argument(help="TOML file of an experiment.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the results.")] = None,
    jobs: Jobs = 1,
    skip_missing: SkipMissing = False,
    force: Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Reproduce a table of results from the TOML of an experiment; an interrupted run resumes."""
    from duchenne.evaluation import experiment as experiments

    out = out or Path(experiment.stem)
    if steps := experiments.commands(experiment, out):
        _run_steps(steps, out)
        return
    _evaluate(experiments.plan(experiment, out), out, jobs, skip_missing, force, as_json)


def _run_steps(steps: list[list[str]], out: Path) -> None:
    """Run the commands that `out` does not record as done."""
    from duchenne import io

    record = out / "commands.json"
    done = io.read_json(record) if record.is_file() else []
    for number, words in enumerate(steps, 1):
        if words in done:
            continue
        log(f"{number} of {len(steps)}: duchenne {' '.join(words)}")
        code = typer.main.get_command(app).main(args=words, standalone_mode=False)
        if code:
            raise DuchenneError(f"duchenne {' '.join(words)} failed; see above. The same command resumes here.")
        done.append(words)
        io.write_json(record, done)


def _evaluate(plan: Any, out: Path, jobs: int, skip_missing: bool, force: bool, as_json: bool) -> None:
    from duchenne.evaluation import evaluate, tables
    from duchenne.io import plain

    with _stages() as tick:
        count = jobs or os.cpu_count() or 1
        results = evaluate(plan, out, jobs=count, skip_missing=skip_missing, force=force, tick=tick)
    if as_json:
        typer.echo(json.dumps(plain(results), indent=2, allow_nan=False))
    else:
        echo(*tables.terminal(results).split("\n"))
        echo("", f"written: {out / 'results.md'}, results.json, predictions.csv and plots")
    unread = results["run"]["unread"]
    if unread and not skip_missing:
        raise DuchenneError(
            f"{unread} of {results['run']['clips']} clips could not be read and have no prediction; see results.md."
        )


@contextmanager
def _stages() -> Iterator[Any]:
    """A progress bar per stage on a terminal, else a line per tenth."""
    if not sys.stderr.isatty():
        tenths: dict[str, int] = {}

        def line(stage: str, done: int, total: int) -> None:
            tenth = 10 * done // max(total, 1)
            if tenths.setdefault(stage, -1) < tenth:
                tenths[stage] = tenth
                log(f"{stage}: {done} of {total}")

        yield line
        return
    with bar() as shown:
        tasks: dict[str, Any] = {}

        def update(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=total)
            shown.update(tasks[stage], completed=done, total=total)

        yield update


@app.command(rich_help_panel=EVALUATE)
def score(
    predictions: Annotated[Path, typer.Argument(help="CSV: video, label, score or predicted, subject, …")],
    as_json: Annotated[bool, typer.Option("--json", help="Print all scores as JSON.")] = False,
    threshold: Annotated[float | None, typer.Option(help="Threshold of genuine, by default 0.5.")] = None,
    method: Annotated[str | None, typer.Option(help="Method to score, if the file holds several.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    memory: options.Memory = None,
) -> None:
    """Score the predictions of any tool, with intervals over people."""
    limit_memory(memory)
    from duchenne.evaluation import answers, tables
    from duchenne.evaluation.results import mean_of
    from duchenne.io import plain

    sheets = answers.load(predictions)
    names = list(dict.fromkeys(sheet.method for sheet in sheets)) if method is None else [method]
    scores = {
        name: mean_of(
            [answers.score(s, threshold=threshold, seed=seed) for s in answers.choose(sheets, name, predictions)]
        )
        for name in names
    }
    first = scores[names[0]]
    if as_json:
        more = {"method": names[0], "methods": scores} if len(names) > 1 else {}
        typer.echo(json.dumps(plain({**first, **more}), indent=2, allow_nan=False))
        return
    echo(*tables.scores(scores).split("\n"))


@app.command(rich_help_panel=EVALUATE)
def compare(
    a: Annotated[Path, typer.Argument(help="results.json of an evaluation, or a CSV of predictions.")],
    b: Annotated[Path, typer.Argument(help="The other one; may be the same file.")],
    method_a: Annotated[str | None, typer.Option(help="Method in A; by default the first.")] = None,
    method_b: Annotated[str | None, typer.Option(help="Method in B; by default the first.")] = None,
    as_json: options.AsJson = False,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    memory: options.Memory = None,
) -> None:
    """Test whether A is better than B: a paired test over people on the clips that both predict."""
    limit_memory(memory)
    from duchenne.evaluation import answers
    from duchenne.evaluation.results import mean_of
    from duchenne.io import plain

    one = answers.choose(answers.load(a), method_a, a)
    other = answers.choose(answers.load(b), method_b, b)
    result = mean_of(answers.compare(one, other, seed=seed))
    if as_json:
        typer.echo(json.dumps(plain(result), indent=2, allow_nan=False))
        return
    echo(f"{result['rows']} clips of {result['persons']} people, predicted by both")
    left = {"only in A": "only_in_a", "only in B": "only_in_b", "not predicted by one": "unanswered"}
    if parts := [f"{result[key]} {words}" for words, key in left.items() if result[key]]:
        echo(f"left out: {', '.join(parts)}")
    for text in answers.summary(result):
        echo(text)
