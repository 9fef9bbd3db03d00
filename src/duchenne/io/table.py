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
from typing import TYPE_CHECKING, NamedTuple, TextIO
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

import numpy as np

from duchenne.errors import InputError, printable
from duchenne.io.bounded import check_archive, check_size
from duchenne.io.cells import is_missing, shown
from duchenne.io.files import write_text

if TYPE_CHECKING:
    import pandas as pd

#: No table of clips, frames or measurements has more; pandas takes minutes and gigabytes for a million.
_MOST_COLUMNS = 20_000
_MOST_LINE = 2**21  # characters
_MOST_TEXT = 2**28  # bytes: some million rows of a manifest
_MOST_NUMBERS = 2**32  # bytes: hours of OpenFace
_DELIMITERS = ",;\t|"
_DECIMAL = re.compile(r"\s*[+-]?\d*\.\d+(?:[eE][+-]?\d+)?\s*")
#: East Asian spreadsheets treat the full-width signs like the ASCII ones.
_FORMULA = re.compile(r"'*(?:[\t\r\n]|[\s\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20])")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


# --- in -----------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One row that is not blank.

    number  from 0, as pandas counts rows     line   on which the row ends, from 1
    where   "path, line n", for messages      cells  column → text, unescaped and stripped, "" where missing
    """

    number: int
    line: int
    where: str
    cells: dict[str, str]


class Table:
    """An untrusted CSV: the `names` of its columns at once, its rows by iterating over it, once, one at a time.

    UTF-8 or UTF-16; cells are separated by commas, semicolons, tabs or bars, with or without spaces after them and a
    separator at the end of a line; Excel's first line "sep=;" is understood.

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
        header = _without_end(next((cells for _, cells in self._rows if any(cells)), []), 0)
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
            where, cells = f"{self._path}, line {line}", _without_end(cells, width)
            if len(cells) > width or (len(cells) < width and not self._short):
                fault = f"has {len(cells)} cells for {width} columns"
                cure = "in quotes where it holds a comma, or separate cells by semicolons"
                raise InputError(f"{where}, {fault}; give each column one cell, {cure}.")
            cells += [""] * (width - len(cells))
            known = ("" if is_missing(cell) else cell for cell in cells)
            yield Row(number, line, where, dict(zip(self.names, known, strict=True)))


def _without_end(cells: list[str], width: int) -> list[str]:
    """Without the empty cells after the first `width`, which separators at the end of a line make."""
    count = len(cells)
    while count > width and not cells[count - 1].strip():
        count -= 1
    return cells[:count]


class _Form(NamedTuple):
    """How a CSV is written; `skip` lines stand before its header."""

    encoding: str
    delimiter: str
    skip: int


def _form(path: Path, marker: str = "") -> _Form:
    """Of a CSV whose header is its first line that contains `marker` (any case)."""
    with path.open("rb") as file:
        start = file.read(1000)
    encoding = "utf-8-sig"
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif len(start) > 3 and start[1::2].count(0) > 0.4 * len(start) and not start[::2].count(0):
        encoding = "utf-16-le"  # without a mark
    with path.open(encoding=encoding, newline="") as file:
        lines = _lines(file, path)
        for skip, line in enumerate(lines):
            if skip == 0 and (given := re.fullmatch(r"\W*sep=([,;\t|])\W*", line, re.IGNORECASE)):
                return _Form(encoding, given[1], 1)
            if line.strip() and marker in line.lower():
                return _Form(encoding, max(_DELIMITERS, key=lambda each: _count(line, each)), 0 if marker else skip)
    return _Form(encoding, ",", 0)


def _count(line: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), []))
    except csv.Error:  # reported when the row is read
        return 0


def _split(path: Path, form: _Form) -> Iterator[tuple[int, list[str]]]:
    """(line on which it ends, cells as they are) of every row, blank ones too; InputError for what is not CSV."""
    with path.open(encoding=form.encoding, newline="") as file:
        lines = _lines(file, path)
        for _ in range(form.skip):
            next(lines)
        reader = csv.reader(lines, delimiter=form.delimiter, skipinitialspace=True)
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                line = form.skip + reader.line_num
                raise InputError(f"{path}, line {line}, is not CSV ({error}); write the file again.") from error
            if row is None:
                return
            yield form.skip + reader.line_num, row


def _read_cells(
    path: Path, *, kind: str = "table", marker: str = "", most: int = _MOST_TEXT
) -> Iterator[tuple[int, list[str]]]:
    """(line on which it ends, cells, unescaped and stripped) of every row of a CSV, blank ones too.

    Raises InputError as `Table`.
    """
    if not path.exists():
        raise InputError(f"There is no {kind} {path}; check the path.")
    try:
        check_size(path, most)
        for line, row in _split(path, _form(path, marker)):
            yield line, [original(cell).strip() for cell in row]
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


def read_sheet(path: Path, marker: str) -> list[list[str]]:
    """Every row of an .xlsx or of text (see `Table`; its header contains `marker`), blank ones too, as stripped text.

    InputError for what cannot be read.
    """
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        return [cells for _, cells in _read_cells(path, kind="sheet", marker=marker)]
    import pandas as pd

    try:
        check_archive(path)
        with warnings.catch_warnings():  # openpyxl warns about what Excel stores beside the cells
            warnings.simplefilter("ignore", UserWarning)
            frame = pd.read_excel(path, header=None, dtype=str, keep_default_na=False, engine="openpyxl")
    except (OSError, ValueError, KeyError, BadZipFile, ParseError) as error:
        raise InputError(f"{path} cannot be read as a sheet (.xlsx); copy it again.") from error
    return [[str(cell).strip() for cell in row] for row in frame.to_numpy().tolist()]


def read_names(path: Path) -> list[str]:
    """The names in the header of a CSV; raises as `read_table`."""
    return next(_survey(path))[1]


def read_table(path: Path, use: Callable[[str], bool] = lambda _: True) -> pd.DataFrame:
    """A large CSV of numbers as pandas reads it, of the columns whose name `use` chooses.

    The index is the line (from 1) on which a row ends.

    ValueError or OSError, in words, where it cannot be read; the caller adds the file and what to do. InputError, with
    the line, for rows that have other cells than the header.
    """
    import pandas as pd

    rows = _survey(path)
    form, names, _ = next(rows)
    if twice := next((name for name, n in Counter(filter(use, names)).items() if n > 1 and name), None):
        raise ValueError(f"it has two columns {shown(twice)}")
    at = [i for i, name in enumerate(names) if use(name)]
    lines, filled, comma, point = list[int](), list[bool](), False, False
    for _, row, line in rows:
        lines.append(line)
        filled.append(len(row) > 1 or any(map(str.strip, row)))  # as `Row.number` counts
        used = [row[i] for i in at] if row and not point else []
        point = point or any(_DECIMAL.fullmatch(cell) for cell in used if "." in cell)
        comma = comma or any(_DECIMAL.fullmatch(cell.replace(",", ".")) for cell in used if "," in cell)
    try:
        table = pd.read_csv(
            path,
            compression=None,
            encoding=form.encoding,
            sep=form.delimiter,
            decimal="," if comma and not point else ".",
            skiprows=form.skip,
            header=0,
            names=[f"{i}" for i in range(len(names))],
            usecols=at,
            index_col=False,
            low_memory=False,
            skipinitialspace=True,
            skip_blank_lines=False,  # each row of `lines` has its row
        )
    except (MemoryError, OverflowError, RecursionError) as error:
        raise ValueError("it needs more memory than there is") from error
    if len(table) != len(lines):
        raise ValueError("its rows cannot be told apart; write it without line breaks in cells")
    table.columns = pd.Index([names[int(i)] for i in table.columns])
    table.index = pd.Index(lines, name="line")
    return table[np.array(filled, bool)]


def _survey(path: Path) -> Iterator[tuple[_Form, list[str], int]]:
    """(form, stripped cells, line) of the header and of every row of a CSV, after checks of both."""
    if not path.exists():
        raise FileNotFoundError(2, "no such file", str(path))
    check_size(path, _MOST_NUMBERS)
    form = _form(path)
    rows = _split(path, form)
    header = next(rows, (0, []))[1]
    names = _without_end([name.strip() for name in header], 0)
    if len(names) > _MOST_COLUMNS:
        raise ValueError(f"it has more than {_MOST_COLUMNS} columns")
    if not names:
        raise ValueError("it has no header")
    yield form, names, 1
    for line, row in rows:
        cells = _without_end(row, len(names))
        if cells and len(cells) != len(names) and any(map(str.strip, cells)):
            found = f"{len(cells)} cells where the header has {len(names)}"
            cure = f"separate its cells by '{form.delimiter}' as in the header, other than decimals, or delete the line"
            raise InputError(f"{path}, line {line} has {found}; {cure}.")
        yield form, cells, line


def check_columns(table: pd.DataFrame, needed: Iterable[str], what: str, cure: str) -> None:
    """InputError, with the first missing ones, where a table lacks columns."""
    if missing := [name for name in needed if name not in table.columns]:
        listed = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
        raise InputError(f"{what} lacks the columns {listed}; {cure}.")


def original(cell: str) -> str:
    """The inverse of `neutral`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


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
