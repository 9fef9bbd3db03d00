"""Reads the tables of a results folder again, and writes them for other programs: Excel, SPSS, Parquet, ELAN,
BORIS; and the curves of a training for TensorBoard."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from duchenne import io
from duchenne.errors import InputError, UsageError
from duchenne.tables import boris, codebook, columns, elan
from duchenne.types import Json

if TYPE_CHECKING:
    import pandas as pd

TABLE, CURVES, VERDICT, TRAINING = "clips.csv", "curves.csv", "verdict.json", "curve.csv"
_SPSS_LABEL = 240  # bytes of a variable's label (SPSS allows 256)


def read(folder: str | Path) -> pd.DataFrame:
    """clips.csv of a results folder: numbers as numbers, other columns as text; None where a cell is empty.

    InputError where there is none, or it is not one of duchenne.
    """
    import pandas as pd

    path = Path(folder) / TABLE
    if not path.is_file():
        raise InputError(f"{folder} holds no {TABLE}; give the folder that `duchenne analyze clips/ -o FOLDER` wrote.")
    found = io.Table(path, ("file",), lower=False, kind="table of clips")
    rows = [row.cells for row in found]
    cells = {name: [row[name] for row in rows] for name in found.names if name}
    return pd.DataFrame({name: _typed(name, texts) for name, texts in cells.items()})


def model_of(folder: Path) -> Json:
    """Id and sha256 of the model whose verdicts a results folder holds; InputError where it does not say."""
    try:
        found: Json = dict(io.read_json(folder / "summary.json")["options"]["model"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{folder} does not say which model judged its clips; judge them again.") from error
    return found


def _typed(name: str, cells: list[str]) -> pd.Series:
    """The cells as numbers, or where one is not a number as text, None where empty."""
    import pandas as pd

    if name not in columns.TEXT and (any(cells) or name in columns.ALL):
        with suppress(ValueError):
            return pd.Series([io.number(cell) for cell in cells], dtype=float)
    return pd.Series([cell or None for cell in cells], dtype=object)


def export(folder: str | Path, kind: str) -> list[Path]:
    """Write the results in a folder in another format beside them; the files written.

    kind  xlsx         clips.xlsx, with the codebook as a second sheet
          sav          clips.sav for SPSS, with the codebook as labels; needs pyreadstat
          parquet      clips.parquet, and curves.parquet with the curves of all clips; needs pyarrow
          eaf          phases.eaf for ELAN beside each verdict.json
          boris        clips.boris, a project of BORIS with an observation per clip
          tensorboard  of a model folder: the learning curves as tensorboard/; needs tensorboard

    InputError without results; UsageError for another kind, or where its package is missing.
    """
    folder = Path(folder)
    if kind not in KINDS:
        raise UsageError(f"Format '{kind}' is not known; choose one of: {', '.join(KINDS)}.")
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; give one that `duchenne analyze` wrote.")
    return KINDS[kind](folder)


def _xlsx(folder: Path) -> list[Path]:
    import pandas as pd

    table = read(folder)
    explained = pd.DataFrame(codebook.rows(table.columns), columns=list(codebook.HEADER))
    buffer = BytesIO()
    with pd.ExcelWriter(buffer, engine="openpyxl") as book:
        for name, sheet in (("clips", table), ("codebook", explained)):
            safe = sheet.map(io.neutral).rename(columns=io.neutral)  # no cell is a formula
            safe.to_excel(book, sheet_name=name, index=False, freeze_panes=(1, 1))
    return [_write(folder / "clips.xlsx", buffer.getvalue())]


def _sav(folder: Path) -> list[Path]:
    if find_spec("pyreadstat") is None:
        raise UsageError("SPSS files need the package pyreadstat, which is missing; pip install pyreadstat.")
    import pyreadstat

    table = read(folder)
    names = _spss_names(table.columns)
    labels = [_label(name, unit, text) for name, unit, text, _ in codebook.rows(table.columns)]
    table = table.rename(columns=names)
    for name in table.select_dtypes("object").columns:
        table[name] = table[name].fillna("")
    words = {name: {0: "no", 1: "yes"} for name in ("abstained", "familiar") if name in table}
    target = folder / "clips.sav"
    with io.atomic(target) as part:
        pyreadstat.write_sav(table, str(part), column_labels=labels, variable_value_labels=words)
    return [target]


def _label(name: str, unit: str, text: str) -> str:
    label = f"{text} ({unit})" if unit and len(unit) < 60 else text
    return label.encode()[:_SPSS_LABEL].decode(errors="ignore") or name


def _spss_names(names: pd.Index) -> dict[str, str]:
    """Column → a name that SPSS takes: letters, digits and _, 60 bytes at most, unique whatever the case."""
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII)[:60]
        plain = plain if plain[:1].isalpha() else f"v_{plain}"
        taken = {each.lower() for each in found.values()}
        found[name] = next(
            each for each in (plain, *(f"{plain}_{n}" for n in range(2, 999))) if each.lower() not in taken
        )
    return found


def _parquet(folder: Path) -> list[Path]:
    import pandas as pd

    io.check_parquet()
    parts = [pd.DataFrame(_curves(place)).assign(file=verdict["source"]) for place, verdict in _verdicts(folder)]
    tables = {"curves.parquet": pd.concat(parts, ignore_index=True)} if parts else {}
    if (folder / TABLE).is_file():
        tables["clips.parquet"] = read(folder)
    if not tables:
        raise InputError(f"{folder} holds no results; give a folder that `duchenne analyze` wrote.")
    written = []
    for name, table in tables.items():
        first = [each for each in ("file",) if each in table]
        buffer = BytesIO()
        table[[*first, *(each for each in table.columns if each not in first)]].to_parquet(buffer, index=False)
        written.append(_write(folder / name, buffer.getvalue()))
    return written


def _eaf(folder: Path) -> list[Path]:
    written = []
    for place, verdict, faces in _tiers(folder):
        many = len(faces) > 1
        found = {f"{face} {tier}" if many else tier: some for face, own in faces.items() for tier, some in own.items()}
        text = elan.document(found, PurePath(verdict["source"]).name, _date(place))
        written.append(io.write_text(place / "phases.eaf", text))
    return written


def _boris(folder: Path) -> list[Path]:
    clips, dates = {}, []
    for place, verdict, faces in _tiers(folder):
        name = place.relative_to(folder).as_posix() if place != folder else PurePath(verdict["source"]).name
        clips[name] = (verdict["source"], faces)
        dates.append(_date(place))
    return [io.write_json(folder / "clips.boris", boris.project(clips, max(dates)))]


def _tiers(folder: Path) -> Iterator[tuple[Path, Json, dict[str, dict[str, list[elan.Interval]]]]]:
    """(folder, verdict.json, face → `elan.tiers`) of every clip; InputError where there is none."""
    place = None
    for place, verdict in _verdicts(folder):
        curves, found = _curves(place), {}
        for each in verdict.get("faces") or [verdict]:
            own = {name: values[curves["face"] == each["face"]] for name, values in curves.items()}
            found[f"face {each['face'] + 1}"] = elan.tiers(each, own)
        yield place, verdict, found
    if place is None:
        raise InputError(f"{folder} holds no {VERDICT}; give a folder that `duchenne analyze` wrote.")


def _tensorboard(folder: Path) -> list[Path]:
    if find_spec("tensorboard") is None:
        raise UsageError("TensorBoard's logs need the package tensorboard, which is missing; pip install tensorboard.")
    from duchenne.learn.loop import write_events

    path = folder / TRAINING
    if not path.is_file():
        raise InputError(f"{folder} holds no {TRAINING}; give a model folder that `duchenne train` wrote.")
    with io.staged(folder / "tensorboard") as part:
        write_events((row.cells for row in io.Table(path, ("epoch", "loss"), kind="learning curve")), part)
    return sorted((folder / "tensorboard").rglob("events.*"))


def _date(place: Path) -> str:
    return datetime.fromtimestamp((place / VERDICT).stat().st_mtime, UTC).isoformat(timespec="seconds")


def _verdicts(folder: Path) -> Iterator[tuple[Path, Json]]:
    """(folder, verdict.json) of every clip in a results folder that has its curves."""
    for path in sorted(folder.rglob(VERDICT)):
        if (path.parent / CURVES).is_file():
            try:
                yield path.parent, io.read_json(path)
            except (OSError, ValueError) as error:
                raise InputError(f"{path} is damaged; analyze the clip again.") from error


def _curves(place: Path) -> Mapping[str, pd.Series]:
    try:
        table = io.read_table(place / CURVES)
    except (OSError, ValueError) as error:
        raise InputError(f"{place / CURVES} cannot be read ({error}); analyze the clip again.") from error
    return {name: table[name].to_numpy(float) for name in table.columns}


def _write(path: Path, content: bytes) -> Path:
    with io.atomic(path) as part:
        part.write_bytes(content)
    return path


#: Format → what writes it.
KINDS = {"xlsx": _xlsx, "sav": _sav, "parquet": _parquet, "eaf": _eaf, "boris": _boris, "tensorboard": _tensorboard}
