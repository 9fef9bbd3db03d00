"""Many clips from Python: the table of a batch as a DataFrame."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from duchenne import judging
from duchenne.batch.run import Meter, analyze_task, process
from duchenne.errors import UsageError
from duchenne.judging import Calibration
from duchenne.tables import results

if TYPE_CHECKING:
    import pandas as pd


def analyze_many(
    clips: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    model: str | Path = "default",
    emotion: str | None = None,
    reader: str | None = None,
    all_faces: bool = False,
    device: str = "auto",
    rate: float | None = None,
    workers: int | None = None,
    retry: bool = False,
    report: bool = False,
    cache: bool = True,
    calibration: Calibration | None = None,
    progress: bool | Callable[[Meter], None] = True,
) -> pd.DataFrame:
    """A verdict on each of many clips: one row per clip and face, also of clips that failed; `duchenne codebook`
    explains the columns.

    clips     a manifest (.csv), a folder, or a list of files and folders
    out       folder of results, in which an interrupted run resumes; None: only the table is kept
    workers   processes, by default one per core; scripts that start them need `if __name__ == "__main__"`
    report    write a page for each clip, with pictures of the face, into `out`
    calibration  by which P(genuine) is moved to the level of the clips' recording (`calibrate`)
    progress  on stderr, or a function that is called with the progress; False: none
    others    as `duchenne.analyze`, `batch.process`

    UsageError and InputError as `batch.process`.
    """
    if not isinstance(clips, str | Path) and not all(isinstance(each, str | Path) for each in clips):
        raise UsageError("analyze_many takes a manifest, a folder or a list of paths, found other things in the list.")
    single = isinstance(clips, str | Path)
    manifest = Path(str(clips)) if single and str(clips).lower().endswith(".csv") else None
    sources = [] if manifest else [str(clips)] if single else [str(each) for each in clips]  # type: ignore[union-attr]
    task = analyze_task(
        model=model, emotion=emotion, reader=reader, all_faces=all_faces, device=device, report=report, faces=report,
        cache=cache, calibration=calibration,
    )  # fmt: skip
    watch = progress if callable(progress) else _lines() if progress else lambda _: None
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "out" if out is None else Path(out)
        process(sources, target, task, manifest=manifest, rate=rate, workers=workers, retry=retry, watch=watch)
        return results.read(target)


def calibrate(
    clips: str | Path | Sequence[str | Path],
    *,
    model: str | Path = "default",
    reader: str | None = None,
    workers: int | None = None,
    cache: bool = True,
    progress: bool | Callable[[Meter], None] = True,
) -> Calibration:
    """The level of a recording's clips, without labels, by which `analyze` then moves P(genuine) of other clips of it.

    clips   as for `analyze_many`, or a folder of its results, or of `duchenne analyze`, with the same model; persons
            are the subjects of a manifest
    others  as for `analyze_many`

    InputError where too few of them can be judged, and as `analyze_many`; UsageError for results of another model.
    """
    about = judging.load_model(model, reader).about
    folder = Path(clips) if isinstance(clips, str | Path) else None
    if folder is not None and (folder / results.TABLE).is_file():
        if results.model_of(folder).get("sha256") != about["sha256"]:
            raise UsageError(f"{folder} holds verdicts of another model than {about['id']}; judge its clips again.")
        table = results.read(folder)
    else:
        table = analyze_many(clips, model=model, reader=reader, workers=workers, cache=cache, progress=progress)
    judged = table[table["p_raw"].notna() & (table["code"].isna() | (table["code"] == "too_close"))]
    return judging.Calibration.of(judged["p_raw"].tolist(), judged["subject"].tolist(), str(about["sha256"]))


def _lines(every: float = 5.0) -> Callable[[Meter], None]:
    """Writes how far a run is to stderr, at intervals and at its end."""
    last = time.monotonic()

    def show(meter: Meter) -> None:
        nonlocal last
        if meter.done == meter.total or time.monotonic() - last >= every:
            last = time.monotonic()
            print(f"{meter.done} of {meter.total} clips, {meter.failed} failed", file=sys.stderr)

    return show
