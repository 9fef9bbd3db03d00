"""What a FACS reader looks at, in sentences, each beside the middle half of the posed and of the spontaneous people.

The one source of these sentences: page, verdict.json, app and terminal show them. The quartiles, `signs.json`, are of
PEDFE's people, by kind of expression and emotion (experiments/signs.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from duchenne import io
from duchenne.features import signs as measured
from duchenne.features.phases import ACTIVITY
from duchenne.plots.text import finite, number
from duchenne.report.drawing import UNITS
from duchenne.report.reference import ALL, group
from duchenne.report.reference import WORDS as LIKE
from duchenne.types import LABELS, Json, JsonMap, Phase, Sign, Signals

FILE = Path(__file__).with_name("signs.json")
_SEEN = 0.5  # probability from which a unit counts as shown
_TOGETHER = 0.04  # s, a frame: less is no order
_ALIKE = 1.0  # % of the eye distance, as far as points tremble
_ENOUGH = 2  # more signs on one side than on the other before they are held against a verdict


@dataclass(frozen=True)
class Words:
    """`text` holds {what} and {value}; `less` and `more` compare a value with others'; `lacks` is what must be seen."""

    title: str
    unit: str
    text: str
    less: str
    more: str
    lacks: str = "rest or plateau"


WORDS: dict[str, Words] = {
    "rise": Words("How long it rose", "s", "{what} rose in {value}", "faster than", "slower than", "the rise"),
    "speed": Words("Top speed of the rise", "%/s", "at its fastest it covered {value} of the eye distance per second",
                    "slower than", "faster than", "the rise"),
    "height": Words("How high", "%", "{what} moved by {value} of the eye distance", "less than", "more than"),
    "plateau": Words("How long it stood", "s", "the plateau lasted {value}", "shorter than", "longer than",
                      "the whole plateau"),
    "fall": Words("How it fell", "s", "{what} came down in {value}", "faster than", "slower than", "the whole fall"),
    "uneven": Words("Left and right", "%", "{value}",
                     "more evenly than", "less evenly than"),
    "eyes": Words("Did the eyes join?", "", "AU06 (cheek raiser) {value}", "less than in", "more than in"),
    "order": Words("Which moved first", "s", "{value}", "sooner than in", "later than in",
                    "the rise of eyes and mouth"),
    "peaks": Words("Peaks", "", "the expression peaked {value}", "less often than", "more often than", "the rise"),
}  # fmt: skip


@cache
def table() -> Json:
    """kind of expression → sign → emotion or "all" → {"posed", "genuine": {clips, people, quantiles}, "auc",
    "interval"}; the AUC, of higher values for genuine, has a 95 % interval over people."""
    found: Json = io.read_json(FILE)["signs"]
    return found


def signs(
    curves: Signals, phase: Phase | None, emotion: Mapping[str, float], units: Signals | None = None
) -> tuple[Sign, ...]:
    """The signs of the expression that was judged; empty without one. `units` as from `units.reading.over_time`."""
    if phase is None or phase.curve not in measured.KINDS:
        return ()
    found, known = measured.measure(curves, phase, units), table().get(phase.curve, {})
    shown = group(emotion, known.get("height", {}))
    smile = phase.curve != ACTIVITY
    names = [*(name for name in WORDS if smile or name != "eyes"), *measured.UNITS.get(shown, ())]
    return tuple(_sign(name, found, phase.curve, known.get(name, {}), shown) for name in names)


def _sign(name: str, found: Mapping[str, float], kind: str, known: JsonMap, shown: str) -> Sign:
    its = words(name)
    value = found[name] if finite(found[name]) else None
    both = known.get(shown) or known.get(ALL)
    if value is None:
        lacks = "action units were not read" if name == "eyes" or name in UNITS else f"{its.lacks} is not seen"
        return Sign(name=name, title=its.title, value=None, unit=its.unit, text=f"Unknown: {lacks}.")
    text = its.text.format(what=measured.KINDS[kind], value=_text(name, value, found))
    ranges, leans = {}, None
    if both:
        ranges = {label: (both[label]["quantiles"][0], both[label]["quantiles"][-1]) for label in LABELS}
        text += f", {_beside(value, ranges, its, _nouns(kind, shown if shown in known else ALL))}"
        leans = _leans(_places(value, ranges), both)
    return Sign(
        name=name, title=its.title, value=value, unit=its.unit, text=f"{text[:1].upper()}{text[1:]}.", leans=leans,
        posed_range=ranges.get("posed"), genuine_range=ranges.get("genuine"),
    )  # fmt: skip


def words(name: str) -> Words:
    """How a sign is named and told, also the probability of a unit."""
    return WORDS.get(name) or Words(
        f"{name}, {UNITS[name]}", "", f"{name} ({UNITS[name]}) {{value}}", "less than in", "more than in"
    )


def _nouns(kind: str, shown: str) -> str:
    if shown == ALL:
        return "clips"
    return "smiles" if shown == "happiness" and kind != ACTIVITY else f"clips of {shown}"


def _places(value: float, ranges: Mapping[str, tuple[float, float]]) -> dict[str, int]:
    """-1 below the middle half of a label, 0 in it, 1 above it."""
    return {label: (value > high) - (value < low) for label, (low, high) in ranges.items()}


def _leans(places: Mapping[str, int], both: JsonMap) -> str | None:
    """The label in whose middle half alone a value lies, or on whose side it lies beyond both; None where posed and
    spontaneous do not differ in the sign."""
    if both["interval"][0] <= 0.5 <= both["interval"][1] or (len(set(places.values())) == 1 and not places["posed"]):
        return None
    inside = [label for label, place in places.items() if not place]
    if inside or places["posed"] != places["genuine"]:
        return inside[0] if inside else None
    return LABELS[(places["posed"] > 0) == (both["auc"] > 0.5)]


def _beside(value: float, ranges: Mapping[str, tuple[float, float]], words: Words, nouns: str) -> str:
    """Where a value lies among the posed and the spontaneous, in words."""
    places = _places(value, ranges)
    comparison = {-1: words.less, 1: words.more}
    if len(set(places.values())) == 1:
        place = places["posed"]
        if not place:
            return "as usual for both"
        return f"{comparison[place]} 3 of 4 {nouns} of both kinds"
    outer = [f"{comparison[at]} 3 of 4 {LIKE[label]} {nouns}" for label, at in places.items() if at]
    inner = [f"like half of the {LIKE[label]} ones" for label, at in places.items() if not at]
    return " and ".join((*outer, *inner))


def _text(name: str, value: float, found: Mapping[str, float]) -> str:
    """A value in words, rounded to what can be measured on a face."""
    if name == "order":
        size = number(abs(value), "s")
        if abs(value) < _TOGETHER:
            return "eyes and brows moved with the mouth"
        return f"eyes and brows were half way {size} {'before' if value < 0 else 'after'} the mouth"
    if name == "uneven":
        if value < _ALIKE:
            return f"both lip corners moved alike, within {_ALIKE:.0f}% of the eye distance"
        return f"one lip corner moved {value:.1f}% of the eye distance further than the other"
    if name == "peaks":
        return "once" if value == 1 else f"{value:.0f} times"
    if name == "eyes":
        pull = found["AU12"]
        joined = "so the eyes joined" if value >= _SEEN else "so the eyes did not join"
        joined = joined if pull >= _SEEN else "hardly a smile"
        return f"stood at {value:.2f} beside AU12 (lip corner puller) at {pull:.2f}, {joined}"
    if name in UNITS:
        return f"reached {value:.2f} of 1{'' if value >= _SEEN else ', hardly seen'}"
    unit = WORDS[name].unit
    return number(value, "s") if unit == "s" else f"{value:.{0 if abs(value) >= 10 else 1}f}%"


def value_text(sign: Sign) -> str:
    """The value alone, for a drawing; empty where it is unknown."""
    if sign.value is None:
        return ""
    if sign.unit == "s":
        return f"{sign.value:.2f} s".replace("-", "−")
    return f"{sign.value:.{0 if abs(sign.value) >= 10 or sign.name == 'peaks' else 2}f}{'%' if sign.unit else ''}"


def disagreement(signs: Sequence[Sign], label: str | None) -> str | None:
    """A sentence where most signs that lean do so against the model's label; None where they do not."""
    if label is None:
        return None
    other = next(each for each in LABELS if each != label)
    ours, theirs = (sum(sign.leans == side for sign in signs) for side in (label, other))
    if theirs < ours + _ENOUGH:
        return None
    return (
        f"Model and textbook disagree: the verdict is {LIKE[label]}, but {theirs} of the {ours + theirs} signs that "
        f"lean to a side lean to {LIKE[other]}."
    )
