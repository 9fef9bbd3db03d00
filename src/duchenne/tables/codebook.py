"""The codebook: what every column of a table holds, its unit, and the source that it follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from duchenne.io import rows_csv
from duchenne.tables import columns, curves
from duchenne.tables.columns import Column

HEADER = ("column", "unit", "meaning", "source")


def entry(name: str, more: Mapping[str, str]) -> Column:
    """What is known of a column; `more` names those of a manifest, as `columns.manifest_names`."""
    if known := {**curves.CURVES, **columns.ALL}.get(name):
        return known
    own = next((original for original, shown in more.items() if shown == name), name)
    return Column("", f"column {own} of the manifest", "the manifest")


def rows(names: Iterable[str], more: Mapping[str, str] | None = None) -> list[tuple[str, ...]]:
    """One row (`HEADER`) for each of these columns."""
    return [(name, *entry(name, more or {})) for name in names]


def table(names: Iterable[str] | None = None, more: Mapping[str, str] | None = None) -> str:
    """The codebook of these columns, or of all, as CSV."""
    return rows_csv([HEADER, *rows({**columns.ALL, **curves.CURVES} if names is None else names, more)])


def page() -> str:
    """The codebook of all columns as a page of the documentation, in Markdown."""
    parts = (
        ("The clip", columns.CLIP),
        ("The face and its frames", {**columns.FACE, **columns.FRAME, **columns.QUALITY}),
        ("The verdict", {**columns.ANSWER, "p_contempt": columns.EMOTIONS_SEEN["p_contempt"]}),
        ("The expression that was judged, and action units", columns.MEASURES),
        ("Others", {"row": columns.APPLIED["row"], "spots": columns.SPOTS["spots"], **columns.LAST}),
        ("`curves.csv` of a clip: 50 rows per second and face", curves.CURVES),
    )
    lines = ["# Codebook", "", _INTRODUCTION]
    for title, some in parts:
        lines += ["", f"## {title}", "", "| column | unit | meaning | source |", "|---|---|---|---|"]
        lines += [
            "| " + " | ".join([f"`{name}`", *(cell or "–" for cell in about)]) + " |" for name, about in some.items()
        ]
    return "\n".join(lines) + "\n"


_INTRODUCTION = """\
The columns of every table of clips: `clips.csv` of a batch, the app's CSV, `duchenne models apply`, and `analyze_many`
and `Verdict.to_frame` in Python. One row per clip and face; a clip that failed is a row too. An empty cell is a value
that could not be measured. Columns of a manifest are kept; one that has the name of a column below is called
`manifest_NAME`. `duchenne codebook` prints this as CSV, and every batch writes the codebook of its own table beside it
(`codebook.csv`). This page is made from the code: `duchenne codebook --page`."""
