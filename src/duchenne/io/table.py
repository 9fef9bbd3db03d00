"""CSV tables: one reader for untrusted files, and one writer whose cells no spreadsheet runs as formulas.

A cell that begins with = + - @, a tab or a line break, also after blanks, gets an apostrophe before it, as OWASP
advises (https://owasp.org/www-community/attacks/CSV_Injection); numbers stay as they are. A cell that already begins
with apostrophes before such a character gets one more, so that `original` exactly undoes `neutral`.
"""

from __future__ import annotations

import csv
import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

from duchenne.errors import InputError, printable
from duchenne.io.bounded import check_size
from duchenne.io.files import write_text

if TYPE_CHECKING:
    import pandas as pd

#: No table of clips, frames or measurements has more; pandas takes minutes and gigabytes for a million.
_MOST_COLUMNS = 20_000
_MOST_LINE = 2**21  # characters
_MOST_TEXT = 2**28  # bytes: some million rows of a manifest
#: East Asian spreadsheets treat the full-width signs like the ASCII ones.
_FORMULA = re.compile(r"'*(?:[\t\r\n]|[\s\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20])")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


# --- in -----------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One row that is not blank.

    number  from 0, as pandas counts rows     line   on which the row ends, from 1
    where   "path, line n", for messages      cells  column → text, unescaped and stripped
    """

    number: int
    line: int
    where: str
    cells: dict[str, str]


class Table:
    """An untrusted CSV: the `names` of its columns at once, its rows by iterating over it, once, one at a time.

    Cells are separated by commas, semicolons or tabs, with or without spaces after them.

    needed     required columns                      kind   what messages call the file
    lower      column names in lower case            short  rows may omit their last cells, which are then ""
    distinct   columns that must be unique, by default all      most  bytes that the file may have

    Raises InputError, with the file and where possible the line, for whatever is wrong with it.
    """

    def __init__(
        self,
        path: str | Path,
        needed: Sequence[str] = (),
        *,
        kind: str = "table",
        lower: bool = True,
        short: bool = False,
        distinct: Collection[str] | None = None,
        most: int = _MOST_TEXT,
    ) -> None:
        self._path, self._short = path, short
        self._rows = _read_cells(Path(path), kind=kind, most=most)
        header = next(self._rows, (1, []))[1]
        self.names = [name.lower() for name in header] if lower else header
        self.found = ", ".join(shown(name) for name in self.names[:12] if name) or "nothing"
        if missing := [name for name in needed if name not in self.names]:
            fault = f"lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
            raise InputError(f"{path} {fault}; its first line must name {', '.join(needed)}, found {self.found}.")
        if len(self.names) > _MOST_COLUMNS:
            raise InputError(f"{path} has more than {_MOST_COLUMNS} columns; keep those that are needed.")
        for name, times in Counter(self.names).items():
            if name and times > 1 and (distinct is None or name in distinct):
                raise InputError(f"{path} has the column {shown(name)} more than once; keep one.")

    def __iter__(self) -> Iterator[Row]:
        number, width = -1, len(self.names)
        for line, cells in self._rows:
            number += len(cells) > 1 or any(cells)
            if not any(cells):
                continue
            where = f"{self._path}, line {line}"
            if len(cells) > width or (len(cells) < width and not self._short):
                fault = f"has {len(cells)} cells for {width} columns"
                raise InputError(f"{where}, {fault}; give each column one cell, in quotes where it holds a comma.")
            cells += [""] * (width - len(cells))
            yield Row(number, line, where, dict(zip(self.names, cells, strict=True)))


def _read_cells(
    path: Path, *, kind: str = "table", marker: str = "", most: int = _MOST_TEXT
) -> Iterator[tuple[int, list[str]]]:
    """(line on which it ends, cells, unescaped and stripped) of every row of a CSV, blank ones too.

    The delimiter is the one that splits the header, the first line that contains `marker` (any case), into the most
    cells. Raises InputError as `Table`.
    """
    if not path.exists():
        raise InputError(f"There is no {kind} {path}; check the path.")
    try:
        check_size(path, most)
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next((line for line in _lines(file, path) if marker in line.lower()), "")
            file.seek(0)
            reader = csv.reader(_lines(file, path), delimiter=_delimiter(header), skipinitialspace=True)
            while True:
                try:
                    row = next(reader, None)
                except csv.Error as error:
                    raise InputError(f"{path}, line {reader.line_num}, is not CSV ({error}).") from error
                if row is None:
                    return
                yield reader.line_num, [original(cell).strip() for cell in row]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text; save it as CSV in UTF-8.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    except ValueError as error:
        raise InputError(f"{path} cannot be read as a {kind}: {error}.") from error


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    number = 0
    while line := file.readline(_MOST_LINE + 1):
        number += 1
        if "\0" in line:
            raise InputError(f"{path}, line {number}, has a NUL byte; save it as CSV in UTF-8.")
        if len(line) > _MOST_LINE:
            raise InputError(f"{path}, line {number}, is longer than {_MOST_LINE:,} characters; expected a CSV.")
        yield line


def _delimiter(header: str) -> str:
    def cells(delimiter: str) -> int:
        try:
            return len(next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), []))
        except csv.Error:  # reported when the row is read
            return 0

    return max(",;\t", key=cells)


def read_sheet(path: Path, marker: str) -> list[list[str]]:
    """Every row of an .xlsx or a .csv (see `_read_cells`), blank ones too, as stripped text; InputError."""
    if path.suffix.lower() == ".csv":
        return [cells for _, cells in _read_cells(path, kind="sheet", marker=marker)]
    import pandas as pd

    try:
        with warnings.catch_warnings():  # openpyxl warns about what Excel stores beside the cells
            warnings.simplefilter("ignore", UserWarning)
            frame = pd.read_excel(path, header=None, dtype=str, keep_default_na=False, engine="openpyxl")
    except (OSError, ValueError, KeyError, BadZipFile, ParseError) as error:
        raise InputError(f"{path} cannot be read as a sheet (.xlsx); copy it again.") from error
    return [[str(cell).strip() for cell in row] for row in frame.to_numpy().tolist()]


def read_table(path: Path, **options: Any) -> pd.DataFrame:
    """A large CSV of numbers as pandas reads it with these options, after its encoding and width have been checked.

    ValueError or OSError, in words, where it cannot be read; the caller adds the file and what to do.
    """
    import pandas as pd

    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    with path.open("rb") as file:
        head = file.readline(_MOST_LINE + 1)
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise ValueError("it is UTF-16; save it as CSV in UTF-8")
        if len(head) > _MOST_LINE or head.count(b",") >= _MOST_COLUMNS:
            raise ValueError(f"it has more than {_MOST_COLUMNS} columns")
        if b"\0" in head or any(b"\0" in block for block in iter(lambda: file.read(1 << 20), b"")):
            raise ValueError("it holds NUL bytes, so it is damaged or not a CSV")
    try:
        return pd.read_csv(path, compression=None, **{"encoding": "utf-8-sig", **options})
    except (MemoryError, OverflowError, RecursionError) as error:
        raise ValueError("it needs more memory than there is") from error


def check_columns(table: pd.DataFrame, needed: Iterable[str], what: str, cure: str) -> None:
    """InputError, with the first missing ones, where a table lacks columns."""
    if missing := [name for name in needed if name not in table.columns]:
        listed = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
        raise InputError(f"{what} lacks the columns {listed}; {cure}.")


def original(cell: str) -> str:
    """The inverse of `neutral`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def shown(text: str, most: int = 60) -> str:
    """The text of a cell as part of one printable line, shortened to `most` characters."""
    return printable(text, most)


def quoted(value: object, most: int = 60) -> str:
    """A stranger's value as Python writes it, in one printable line of `most` characters."""
    try:
        return printable(repr(value), most)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of thousands of digits"


# --- out ----------------------------------------------------------------------------------------------------------


def neutral(cell: object) -> object:
    """The cell as it is written: text that a spreadsheet would run as a formula gets an apostrophe before it."""
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def row_writer(file: TextIO) -> Callable[[Sequence[object]], object]:
    """A function that writes one row of cells into an open file as CSV."""
    writer = csv.writer(file, lineterminator="\n")
    return lambda row: writer.writerow(map(neutral, row))


def rows_csv(rows: Iterable[Sequence[object]]) -> str:
    """Rows of cells, the header first, as CSV."""
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(neutral, row) for row in rows)
    return text.getvalue()


def table_csv(table: pd.DataFrame, *, header: bool = True) -> str:
    """A DataFrame as CSV: no index, missing = empty."""
    safe = table.rename(columns=neutral)
    for column, dtype in enumerate(table.dtypes):
        if dtype.kind not in "biuf":
            safe.isetitem(column, table.iloc[:, column].map(neutral))
    return str(safe.to_csv(index=False, header=header, lineterminator="\n"))


def write_table(path: str | Path, table: pd.DataFrame) -> Path:
    """Write a DataFrame as CSV (UTF-8, no index, missing = empty) atomically; OutputError where it cannot."""
    return write_text(path, table_csv(table))
