"""What the cells of strangers' tables mean, alike in manifests, sheets, predictions and tables of other programs."""

from __future__ import annotations

import logging
import math
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from duchenne.errors import printable

#: How pandas, R, Excel, Python and databases write a missing value. A person may be called Na or Nan, so case counts.
_MISSING = frozenset(
    ("", "NA", "na", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN", "NaT", "NULL", "Null", "null", "None", "NONE")
)
#: … and in cells that hold a person, a word or a number.
_BLANK = frozenset((".", "-", "none", "#n/a", "-nan"))
#: NaN and infinity as C libraries print them: "-nan(ind)", "1.#IND", "-1.#QNAN00", "1.#INF".
_NAN = re.compile(r"[+-]?(?:nan(?:\(\w*\))?|1[.,]#(?:IND|[QS]NAN)\d*)", re.IGNORECASE)
_INFINITE = re.compile(r"([+-]?)(?:inf(?:inity)?|1[.,]#INF\d*)", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?")
_LOG = logging.getLogger("duchenne")


def is_missing(value: object) -> bool:
    """None, NaN, pandas' NA, blank text, and how other programs write a missing value."""
    if isinstance(value, str):
        return value.strip() in _MISSING or bool(_NAN.fullmatch(value.strip()))
    return value is None or value != value or str(value) == "<NA>"


def shown(text: object) -> str:
    """A cell as messages quote it: printable, and shortened."""
    return printable(text, 60)


def number(text: str) -> float:
    """The number in a cell, with a decimal point or comma; NaN where it is missing, ValueError for other text."""
    text = text.strip().replace("\u2212", "-")
    if is_missing(text) or text in _BLANK:
        return math.nan
    if found := _INFINITE.fullmatch(text):
        return float(f"{found[1]}inf")
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"'{shown(text)}' is not a number")
    return float(text.replace(",", "."))


def word(value: object) -> str:
    """A label or name of a class in lower case, "1" for 1.0 and TRUE as "true"; "" where it is missing."""
    text = "" if is_missing(value) else _text(value)
    return "" if text in _BLANK else text


def person(value: object) -> str:
    """The same text for every spelling of one person; "" where it is missing.

    Case, blanks around and repeated, and the forms of Unicode do not count; of a number only its size does: 1, 01 and
    1.0 are one person, as spreadsheets and pandas write them.
    """
    text = word(value)
    return text.lstrip("0") or "0" if text.isdecimal() and text.isascii() else text


def _text(value: object) -> str:
    text = " ".join(unicodedata.normalize("NFKC", str(value)).casefold().split())
    text = unicodedata.normalize("NFKC", text)
    return re.sub(r"(\d)[.,]0*", r"\1", text) if re.fullmatch(r"\d+[.,]0*", text) else text


def note_twins(names: Iterable[str], where: object) -> None:
    """Note on stderr of the first two names that are probably one person: "sub-01" and "sub1", "P 3" and "p3"."""
    first: dict[str, str] = {}
    for name in names:
        bare = re.sub(r"(?<!\d)[\W_]+|[\W_]+(?!\d)", "", person(name))
        bare = re.sub(r"(?<!\d)0+(?=\d)", "", bare)
        other = first.setdefault(bare, name)
        if bare and person(other) != person(name):
            _note(f"note: {where} has the persons '{other}' and '{name}', who count as two; give one person one name.")
            return


@lru_cache(maxsize=64)  # a file that is read twice is noted once
def _note(text: str) -> None:
    _LOG.warning(printable(text))
