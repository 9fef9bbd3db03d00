"""What `model.json`, `card.json` and `reference.json` of a stranger may hold: known facts have a type and a range, and
everything is bounded. Whatever is wrong is a ValueError in words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from duchenne.io import quoted
from duchenne.registry import READERS

_MOST_TEXT, _MOST_NAME = 10_000, 200  # characters
_MOST_NUMBER = 1e15
_MOST_ITEMS, _MOST_LEVELS = 200_000, 12
_MOST_ROWS = 1000
_SHARES = ("accuracy", "auc", "coverage", "risk", "recall", "precision", "f1")  # cells of tables of scores
_HASH = re.compile(r"[0-9a-f]{64}")
#: Control characters that could steer a terminal, characters that turn the direction of writing, half characters.
_UNREADABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Fact(NamedTuple):
    """What is expected, in words, and whether a value is that."""

    expected: str
    holds: Callable[[Any], bool]


def within(value: Any, low: float, high: float) -> bool:
    """Whether a JSON value is a number from `low` to `high`; true and false are not numbers."""
    return type(value) in (int, float) and low <= value <= high


def named(value: Any) -> bool:
    """Whether a JSON value can be a name: short, printable text."""
    return isinstance(value, str) and 0 < len(value) <= _MOST_NAME and value.isprintable()


def _is_share(value: Any) -> bool:
    return value is None or within(value, 0, 1)


def _is_interval(value: Any) -> bool:
    """Two shares, the lower first; null where they were not measured."""
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_share, value)):
        return value is None
    return None in value or value[0] <= value[1]


def _is_band(value: Any) -> bool:
    return value is None or (_is_interval(value) and None not in value)


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _are_texts(value: Any) -> bool:
    return _is_text(value) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def _is_human(value: Any) -> bool:
    if isinstance(value, dict):
        return _is_share(value.get("accuracy")) and _is_text(value.get("text"))
    return _is_share(value) or isinstance(value, str)


def _are_rows(value: Any) -> bool:
    if not isinstance(value, list) or len(value) > _MOST_ROWS:
        return value is None
    return all(isinstance(each, dict) and _is_row(each) for each in value)


def _are_scores(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) > _MOST_ROWS:
        return value is None
    return all(_is_row(each) if isinstance(each, dict) else _is_share(each) for each in value.values())


def _is_row(row: dict[str, Any]) -> bool:
    """A row of a table of scores: shares are shares, and no cell holds a table."""
    shares = all(_is_share(row.get(name)) for name in _SHARES)
    return shares and not any(isinstance(cell, dict) for cell in row.values())


def _are_cuts(value: Any) -> bool:
    if not isinstance(value, dict) or not all(isinstance(value.get(cut), dict) for cut in ("whole", "late", "rest")):
        return value is None
    rows, cut = value.values(), (value["late"], value["rest"])
    known = all(isinstance(row.get("clips"), str) and within(row.get("accuracy"), 0, 1) for row in rows)
    known = known and all(_is_interval(row.get("accuracy_interval")) for row in rows)
    known = known and all(isinstance(row.get("by"), str) and within(row.get("uncut"), 0, 1) for row in cut)
    return known and within(value["rest"].get("seconds"), 0, _MOST_NUMBER)


def _are_hashes(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) and _HASH.fullmatch(each) for each in value.values())


_COUNT = Fact("a whole number from 0", lambda value: type(value) is int and 0 <= value <= _MOST_NUMBER)
_KNOWN = Fact("a whole number from 0", lambda value: value is None or _COUNT.holds(value))
_SHARE = Fact("a number from 0 to 1", _is_share)
_INTERVAL = Fact("two numbers from 0 to 1, the lower first", _is_interval)
_TEXT = Fact("a text", _is_text)
_NAME = Fact(f"a printable name of up to {_MOST_NAME} characters", named)
_MODEL = {
    "id": _NAME,
    "family": _NAME,
    "needs": Fact("points, crops or images", lambda value: value in ("points", "crops", "images")),
    "files": Fact("names with their sha256", _are_hashes),
    "facts": Fact("a table of facts", lambda value: isinstance(value, dict)),
    "pairs": Fact("a table of scales", lambda value: isinstance(value, dict)),
}
_TRAINING = {
    **dict.fromkeys(("people", "clips", "genuine", "images"), _COUNT),
    "smile_share": Fact("a number from 0 to 1", lambda value: within(value, 0, 1)),
    "method": _NAME,
    "reader": Fact(" or ".join(READERS), lambda value: value in READERS),
}
_PAIR = {
    "slope": Fact("a number from 0 to 100", lambda value: within(value, 0, 100)),
    "margin": Fact("a number from 0 to 0.5", lambda value: within(value, 0, 0.5)),
    "accuracy": Fact("a number from 0 to 1", lambda value: within(value, 0, 1)),
    **dict.fromkeys(("pairs", "people"), _COUNT),
}
_CARD = {
    **dict.fromkeys(("title", "data", "protocol", "input", "licence", "device", "elsewhere"), _TEXT),
    **dict.fromkeys(
        ("people", "clips", "genuine", "images"), Fact(_COUNT.expected, lambda v: v is None or _COUNT[1](v))
    ),
    **dict.fromkeys(("accuracy", "auc", "uf1", "uar", "ece", "brier", "forced_pairs"), _SHARE),
    **dict.fromkeys(("accuracy_interval", "auc_interval"), _INTERVAL),
    "spread": Fact("a number from 0 to 10", lambda value: value is None or within(value, 0, 10)),
    "clips_per_second": Fact("a number from 0", lambda value: value is None or within(value, 0, _MOST_NUMBER)),
    "abstain_band": Fact(_INTERVAL.expected, _is_band),
    "human": Fact('a number from 0 to 1, a text, or both as "accuracy" and "text"', _is_human),
    **dict.fromkeys(("per_emotion", "per_class"), Fact("scores by name, as numbers from 0 to 1", _are_scores)),
    "cuts": Fact("whole, late and rest, each with its clips and accuracy", _are_cuts),
    "risk_coverage": Fact("a list of coverages with accuracies from 0 to 1", _are_rows),
    "limits": Fact("a text or a list of texts", _are_texts),
}


def check_model(about: Mapping[str, Any]) -> None:
    """ValueError for a `model.json` with invalid facts that every format has; its store checks the others."""
    check_bounds(about)
    _check(about, _MODEL)
    _check(about.get("facts", {}), _TRAINING, "facts.")
    for kind, scale in about.get("pairs", {}).items():
        if not isinstance(scale, dict) or set(scale) != set(_PAIR):
            raise ValueError(f"pairs.{kind} is {quoted(scale)}, expected {', '.join(_PAIR)}")
        _check(scale, _PAIR, f"pairs.{kind}.")


def check_card(card: Any) -> None:
    """ValueError for a `card.json` with invalid facts; null is a fact that is missing."""
    if not isinstance(card, dict):
        raise ValueError("it is not a table of facts")
    check_bounds(card)
    _check(card, _CARD)


def _check(found: Mapping[str, Any], known: Mapping[str, Fact], where: str = "") -> None:
    for name, fact in known.items():
        if name in found and not fact.holds(found[name]):
            raise ValueError(f"{where}{name} is {quoted(found[name])}, expected {fact.expected}")


def check_bounds(value: Any) -> None:
    """ValueError for long text, control characters, large and infinite numbers, and much or deep nesting."""
    items, waiting = 0, [(value, 0)]
    while waiting:
        each, level = waiting.pop()
        if isinstance(each, dict | list):
            items += len(each)
            if items > _MOST_ITEMS or level == _MOST_LEVELS:
                raise ValueError(f"it holds more than {_MOST_ITEMS} items or {_MOST_LEVELS} levels")
            for key in each if isinstance(each, dict) else ():
                _check_text(key, _MOST_NAME)
            waiting += [(one, level + 1) for one in (each.values() if isinstance(each, dict) else each)]
        elif isinstance(each, str):
            _check_text(each, _MOST_TEXT)
        elif isinstance(each, int | float) and not abs(each) <= _MOST_NUMBER:  # NaN is not either
            raise ValueError(f"the number {quoted(each)} is too large")


def _check_text(text: str, most: int) -> None:
    if len(text) > most:
        raise ValueError(f"the text {quoted(text)} has more than {most} characters")
    if _UNREADABLE.search(text):
        raise ValueError(f"the text {quoted(text)} holds control characters")
