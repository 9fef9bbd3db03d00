"""Text in tables that a spreadsheet opens: what would run there as a formula is written as text, and read back.

A cell that begins with = + - @, a tab or a line's end, also behind blanks, gets an apostrophe before it, as OWASP
advises (https://owasp.org/www-community/attacks/CSV_Injection); numbers stay as they are. A cell that begins with
apostrophes and then so gets one more, so that `original` gives back exactly what `neutral` was given.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import pandas as pd

#: The wide signs are what East Asian spreadsheets take for the narrow ones.
_FORMULA = re.compile(r"'*(?:[\t\r\n]|[\s\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20])")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def neutral(cell: Any) -> Any:
    """The cell as a table may hold it: text that a spreadsheet would run begins with an apostrophe."""
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def original(cell: str) -> str:
    """What `neutral` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def rows_csv(rows: Iterable[Sequence[Any]]) -> str:
    """Rows of cells, the header first, as CSV."""
    text = StringIO()
    put = row_writer(text)
    for row in rows:
        put(row)
    return text.getvalue()


def row_writer(file: TextIO) -> Callable[[Sequence[Any]], Any]:
    """What writes one row of cells into an open file as CSV."""
    writer = csv.writer(file, lineterminator="\n")
    return lambda row: writer.writerow([neutral(cell) for cell in row])


def table_csv(table: pd.DataFrame, *, header: bool = True) -> str:
    """A DataFrame as CSV: no index, missing = empty."""
    safe = table.rename(columns=neutral)
    for place, kind in enumerate(table.dtypes):
        if kind.kind not in "biuf":
            safe.isetitem(place, table.iloc[:, place].map(neutral))
    return str(safe.to_csv(index=False, header=header, lineterminator="\n"))
