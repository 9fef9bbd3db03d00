"""Tables of text (CSV): one reader, which never trusts what it reads, and one writer, which no spreadsheet runs.

A cell that begins with = + - @, a tab or a line's end, also behind blanks, gets an apostrophe before it, as OWASP
advises (https://owasp.org/www-community/attacks/CSV_Injection); numbers stay as they are. A cell that begins with
apostrophes and then so gets one more, so that `original` gives back exactly what `neutral` was given.
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

from duchenne.errors import InputError
from duchenne.io.bounded import check_size
from duchenne.io.files import write_text

if TYPE_CHECKING:
    import pandas as pd

#: More than this is no table of clips, frames or measurements; pandas takes minutes and gigabytes for a million.
MOST_COLUMNS = 20_000
_MOST_LINE = 2**21  # characters
_MOST_TEXT = 2**28  # bytes: some million rows of a manifest
#: The wide signs are what East Asian spreadsheets take for the narrow ones.
_FORMULA = re.compile(r"'*(?:[\t\r\n]|[\s\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20])")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


# --- in -----------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One row of a table that is not blank.

    number  from 0, as pandas counts rows     line   on which the row ends, from 1
    where   "path, line n", for messages      cells  column → text, unescaped and stripped
    """

    number: int
    line: int
    where: str
    cells: dict[str, str]


class Table:
    """A CSV of a stranger: the `names` of its columns at once, its rows when it is iterated over, once.

    Cells are parted by commas, semicolons or tabs, with spaces after them or without; rows are read one by one.

    needed     columns that must be there            kind   what messages call the file
    lower      names of columns in lower case        short  rows may leave out their last cells, which are then ""
    distinct   columns that must not come twice, by default all      most  bytes that the file may have

    Raises InputError, one sentence with the file and where possible the line, for whatever is wrong with it.
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
        self._rows = read_cells(Path(path), kind=kind, most=most)
        header = next(self._rows, (1, []))[1]
        self.names = [name.lower() for name in header] if lower else header
        self.found = ", ".join(shown(name) for name in self.names[:12] if name) or "nothing"
        if missing := [name for name in needed if name not in self.names]:
            fault = f"lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
            raise InputError(f"{path} {fault}; its first line must name {', '.join(needed)}, found {self.found}.")
        if len(self.names) > MOST_COLUMNS:
            raise InputError(f"{path} has more than {MOST_COLUMNS} columns; keep those that are needed.")
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


def read_cells(
    path: Path, *, kind: str = "table", marker: str = "", most: int = _MOST_TEXT
) -> Iterator[tuple[int, list[str]]]:
    """(line on which it ends, its cells, unescaped and stripped) of every row of a CSV, blank ones too.

    The delimiter is what cuts the header, the first line that holds `marker` in any case, into most cells. Raises
    InputError as `Table`.
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
        raise InputError(f"{path} is no {kind}: {error}.") from error


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
        except csv.Error:  # said when the row is read
            return 0

    return max(",;\t", key=cells)


def read_sheet(path: Path, marker: str) -> list[list[str]]:
    """Every row of an .xlsx or a .csv (see `read_cells`), blank ones too, as stripped text; InputError."""
    if path.suffix.lower() == ".csv":
        return [cells for _, cells in read_cells(path, kind="sheet", marker=marker)]
    import pandas as pd

    try:
        with warnings.catch_warnings():  # openpyxl warns of what Excel stores beside the cells
            warnings.simplefilter("ignore", UserWarning)
            frame = pd.read_excel(path, header=None, dtype=str, keep_default_na=False, engine="openpyxl")
    except (OSError, ValueError, KeyError, BadZipFile, ParseError) as error:
        raise InputError(f"{path} cannot be read as a sheet (.xlsx); copy it again.") from error
    return [[str(cell).strip() for cell in row] for row in frame.to_numpy().tolist()]


def read_table(path: Path, **options: Any) -> pd.DataFrame:
    """A large CSV of numbers as pandas reads it with these options, once its encoding and width have been looked at.

    ValueError or OSError, in words, where it cannot; who reads says which file it is and what to do.
    """
    import pandas as pd

    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    with path.open("rb") as file:
        head = file.readline(_MOST_LINE + 1)
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise ValueError("it is UTF-16; save it as CSV in UTF-8")
        if len(head) > _MOST_LINE or head.count(b",") >= MOST_COLUMNS:
            raise ValueError(f"it has more than {MOST_COLUMNS} columns")
        if b"\0" in head or any(b"\0" in block for block in iter(lambda: file.read(1 << 20), b"")):
            raise ValueError("it holds NUL bytes, so it is damaged or no CSV")
    try:
        return pd.read_csv(path, compression=None, **{"encoding": "utf-8-sig", **options})
    except (MemoryError, OverflowError, RecursionError) as error:
        raise ValueError("it needs more memory than there is") from error


def original(cell: str) -> str:
    """What `neutral` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def shown(text: str, most: int = 60) -> str:
    """What a cell holds as part of one printable line."""
    line = "".join(c if c.isprintable() else " " for c in text[: most + 1])
    return line if len(line) <= most else line[:most] + "…"


# --- out ----------------------------------------------------------------------------------------------------------


def neutral(cell: Any) -> Any:
    """The cell as a table may hold it: text that a spreadsheet would run begins with an apostrophe."""
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def row_writer(file: TextIO) -> Callable[[Sequence[Any]], Any]:
    """What writes one row of cells into an open file as CSV."""
    writer = csv.writer(file, lineterminator="\n")
    return lambda row: writer.writerow([neutral(cell) for cell in row])


def rows_csv(rows: Iterable[Sequence[Any]]) -> str:
    """Rows of cells, the header first, as CSV."""
    text = StringIO()
    put = row_writer(text)
    for row in rows:
        put(row)
    return text.getvalue()


def table_csv(table: pd.DataFrame, *, header: bool = True) -> str:
    """A DataFrame as CSV: no index, missing = empty."""
    safe = table.rename(columns=neutral)
    for place, kind in enumerate(table.dtypes):
        if kind.kind not in "biuf":
            safe.isetitem(place, table.iloc[:, place].map(neutral))
    return str(safe.to_csv(index=False, header=header, lineterminator="\n"))


def write_table(path: str | Path, table: pd.DataFrame) -> Path:
    """Write a DataFrame as CSV (UTF-8, no index, missing = empty) in one step; OutputError where it cannot."""
    return write_text(path, table_csv(table))
