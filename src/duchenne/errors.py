"""Errors for users: one sentence with what was expected, what was found and what to do."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

#: Control characters, line separators, marks that change the direction of writing, and undecodable bytes.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def printable(text: object, most: int = 10_000) -> str:
    r"""`text` in one line that no terminal runs: escape codes, line breaks and undecodable bytes become \x1b, \n, \xe9.

    Longer text than `most` characters is cut, with "…" at its end.
    """
    line = str(text)
    if len(line) > most:
        line = f"{line[:most]}…"
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode().replace("\\udc", "\\x"), line)


def meant(name: object, known: Iterable[object]) -> str:
    """ " (did you mean 'happiness'?)" where a name is close to one that is known, for a message; else ""."""
    names = [str(each) for each in known]
    lower = {each.lower(): each for each in names}
    close = get_close_matches(str(name).lower(), lower, n=1)
    return f" (did you mean '{lower[close[0]]}'?)" if close else ""


class DuchenneError(Exception):
    """Base of all errors of duchenne; the command line prints them without a traceback.

    `exit_code` is 1 when an input failed and 2 when the command itself was used wrongly. The message is `printable`,
    whatever file names and cells it quotes.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class InputError(DuchenneError):
    """A clip, table or folder cannot be read or holds something unexpected."""


class UsageError(DuchenneError):
    """An option or argument is invalid (unknown name, contradictory options)."""

    exit_code = 2


class ModelError(DuchenneError):
    """A model folder is missing, damaged, or of another kind."""


class OutputError(DuchenneError):
    """A result cannot be written (folder not writable, disk full)."""
