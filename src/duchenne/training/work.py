"""Training that can be killed at any moment: the same call resumes it and ends with the same bytes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from duchenne import io
from duchenne.errors import InputError, UsageError
from duchenne.learn import loop, pieces
from duchenne.progress import Log


@contextmanager
def work_folder(out: str | Path, log: Log, *, resume: bool = True) -> Iterator[Path]:
    """`.NAME.work` beside the model folder `out`, where fits inside are cached; removed at the end.

    `resume=False` discards an unfinished training, and replaces a finished model. Before any work OutputError where
    `out` cannot be written, and UsageError where it holds a finished model that is not to be replaced.
    """
    io.check_folder(out)
    target = Path(out).absolute()
    folder = target.parent / f".{target.name}.work"
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    elif (target / "model.json").exists() and not folder.is_dir():
        raise UsageError(f"{out} holds a finished model; choose another folder, or replace it with --force.")
    if folder.is_dir():
        log(f"resuming the training in {folder}")
    try:
        with pieces.caching(folder, log):
            yield folder
    except loop.Diverged as error:
        try:
            shortest = min(len(io.read_json(path)["curve"]) for path in folder.glob("networks/*/curve.json"))
        except (OSError, ValueError, LookupError, TypeError):  # no checkpoint, or one that is damaged
            raise error from None
        raise loop.Diverged(
            f"{error} Or finish with the checkpoints in {folder}: repeat with epochs = {shortest}."
        ) from error
    except InputError:
        if folder.is_dir() and [path.name for path in folder.iterdir()] == [pieces.STAMP]:  # nothing was fitted yet
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
