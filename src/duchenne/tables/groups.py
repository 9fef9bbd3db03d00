"""Groups of a results folder compared: counts, distributions, the same people in several, scripts for R and Python."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duchenne import io
from duchenne.errors import InputError, UsageError
from duchenne.plots import figures, groups
from duchenne.tables import columns, results
from duchenne.types import Json

if TYPE_CHECKING:
    import pandas as pd

#: Measures that are compared unless others are named.
MEASURES = (
    *("p_genuine", "rise", "plateau", "fall", "amplitude", "top_speed", "asymmetry", "eye_narrowing", "AU06_peak"),
    "AU12_peak",
)
_SCRIPTS = {"compare.R": "compare.R", "compare.py": "compare.py.txt"}
_VERDICTS = ("genuine", "posed", "abstained", "failed")
_MOST_GROUPS = 12
_PERSON = "subject"


def summarise(
    folder: str | Path, by: Sequence[str], out: str | Path | None = None, measures: Sequence[str] = MEASURES
) -> pd.DataFrame:
    """Compare the groups of a results folder, and write into `out` (by default `folder`/summary): groups.csv, which is
    returned, long.csv, figures as PDF and SVG, and scripts that read long.csv.

    by  columns of clips.csv; all but `subject` make the groups, `subject` the people

    groups.csv  one row per group and measure: faces, people, verdicts, and n, mean, sd, quartiles of the measure
    long.csv    one row per face and measure: the columns of `by`, file, face, measure, value; for mixed models
    groups, people  figures of distributions, and of the means of people who are in several groups

    InputError without results, or where a column is missing; UsageError for columns that make no or too many groups.
    """
    table = results.read(folder)
    _check(table, by, measures, folder)
    names = [name for name in by if name != _PERSON]
    table["group"] = table[names].astype(object).fillna("(empty)").astype(str).agg(", ".join, axis=1)
    ordered = sorted(set(table["group"]))
    if len(ordered) > _MOST_GROUPS:
        raise UsageError(
            f"--by {','.join(by)} makes {len(ordered)} groups, at most {_MOST_GROUPS} are drawn; name a column with "
            "fewer values."
        )
    used = [name for name in measures if table[name].notna().any()]
    found = _statistics(table, ordered, used)
    target = Path(out) if out is not None else Path(folder) / "summary"
    io.write_table(target / "groups.csv", found)
    io.write_table(target / "long.csv", _long(table, by, used))
    for name, stored in _SCRIPTS.items():
        text = (files("duchenne") / "tables" / "scripts" / stored).read_text(encoding="utf-8")
        io.write_text(target / name, text)
    _figures(table, ordered, used, by, target)
    return found


def _check(table: pd.DataFrame, by: Sequence[str], measures: Sequence[str], folder: str | Path) -> None:
    if not [name for name in by if name != _PERSON]:
        raise UsageError(
            "--by must name a column that makes groups, such as label or condition; subject alone makes none."
        )
    if missing := [name for name in (*by, *measures) if name not in table]:
        known = ", ".join(name for name in table.columns if name in columns.CLIP or name not in columns.ALL)
        raise InputError(f"{folder}/clips.csv has no column '{missing[0]}'; groups can be made of: {known}.")
    for name in measures:
        if name in columns.TEXT or table[name].dtype == object:
            raise UsageError(f"Column '{name}' holds text; name measures that are numbers, such as p_genuine or rise.")


def _statistics(table: pd.DataFrame, ordered: Sequence[str], measures: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    rows: list[Json] = []
    for group in ordered:
        own = table[table["group"] == group]
        counts: Json = {"group": group, "faces": int((own["verdict"] != "failed").sum())}
        counts |= {"people": int(own[_PERSON].nunique()) if _PERSON in own else None}
        counts |= {name: int((own["verdict"] == name).sum()) for name in _VERDICTS}
        for name in measures:
            values = own[name].to_numpy(float)
            seen = values[np.isfinite(values)]
            row: Json = {"measure": name, "unit": columns.ALL[name].unit if name in columns.ALL else "", "n": len(seen)}
            if len(seen):
                low, middle, high = np.quantile(seen, (0.25, 0.5, 0.75)).round(4)
                row |= {"mean": round(float(seen.mean()), 4), "q25": low, "median": middle, "q75": high}
                row |= {"sd": round(float(seen.std(ddof=1)), 4) if len(seen) > 1 else None}
            rows.append(counts | row)
    names = ("group", "faces", "people", *_VERDICTS, "measure", "unit", "n", "mean", "sd", "q25", "median", "q75")
    return pd.DataFrame(rows, columns=list(names))


def _long(table: pd.DataFrame, by: Sequence[str], measures: Sequence[str]) -> pd.DataFrame:
    who = [_PERSON] if _PERSON in table and _PERSON not in by else []
    kept = ["group", *who, *by, "file", *(name for name in ("clip_start", "face") if name in table)]
    long = table.melt(id_vars=kept, value_vars=list(measures), var_name="measure", value_name="value")
    return long[long["value"].notna()].sort_values(["measure", "group", "file"], kind="stable", ignore_index=True)


def _title(name: str) -> str:
    unit = columns.ALL[name].unit if name in columns.ALL else ""
    short = unit.replace("of the eye distance", "eye distance").replace("of the opening at rest", "of rest")
    return f"{name.replace('_', ' ')}{f' ({short})' if short else ''}"


def _figures(
    table: pd.DataFrame, ordered: Sequence[str], measures: Sequence[str], by: Sequence[str], target: Path
) -> None:
    titles = {name: _title(name) for name in measures}
    title = f"By {', '.join(name for name in by if name != _PERSON)}"
    values = {
        name: {group: table.loc[table["group"] == group, name].to_numpy(float) for group in ordered}
        for name in measures
    }
    drawn = {"groups": groups.distributions(values, titles, title)} if measures else {}
    if _PERSON in by and len(ordered) > 1 and measures:
        means = table.pivot_table(index=_PERSON, columns="group", values=list(measures), aggfunc="mean", dropna=False)
        people = {
            name: (ordered, means[name].reindex(columns=list(ordered)).to_numpy(float))
            for name in measures
            if name in means.columns.get_level_values(0)
        }
        drawn["people"] = groups.paired(people, titles, f"{title}, of the same people")
    for name, figure in drawn.items():
        figures.save(figure, target / name, kinds=("svg", "pdf"))
