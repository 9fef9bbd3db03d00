"""The columns of every table of clips: the app's, `clips.csv` of batches, `models apply` and Python's.

One row per clip and face. A clip without a result is a row too, whose `reason` says why. Columns of a manifest are
kept; one that has the name of a column here is called `manifest_NAME`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from duchenne.features.signs import measure
from duchenne.types import CODES, EMOTIONS, Json, JsonMap, Phase, Signals

if TYPE_CHECKING:
    import pandas as pd


class Column(NamedTuple):
    """What a column holds; `source` is the paper or the method that it follows."""

    unit: str
    text: str
    source: str = ""


#: The units of the shipped model, in its order.
UNITS = (
    *("AU06", "AU12", "AU01", "AU02", "AU04", "AU05", "AU07", "AU09", "AU15", "AU17", "AU20", "AU23", "AU24", "AU25"),
    "AU27",
)
_MANIFEST = "the manifest"
_PHASES = "features.phases; moments as in Ekman & Friesen 1982, found at 6 % and 92 % of the rise or fall"
_SCHMIDT = "Schmidt, Bhattacharya & Denlinger 2009; features.signs"
FACS = "FACS (Ekman, Friesen & Hager 2002); units.reading"

CLIP: dict[str, Column] = {
    "file": Column("", "the clip, relative to the folder of clips or of the manifest"),
    "clip_start": Column("s", "where the clip starts in its file; empty: at its beginning", _MANIFEST),
    "clip_end": Column("s", "where the clip ends in its file; empty: at its end", _MANIFEST),
    "subject": Column("", "the person", _MANIFEST),
    "emotion": Column("", "the emotion that the manifest gives, empty for none; what was seen is `shows`", _MANIFEST),
    "label": Column("genuine, posed", "the label that the manifest gives; what the model says is `verdict`", _MANIFEST),
    "fold": Column("", "the fold", _MANIFEST),
}
FACE: dict[str, Column] = {
    "face": Column("", "from 0, the most prominent first; empty where the clip failed"),
    "frames": Column("", "decoded frames"),
    "seconds": Column("s", "their duration"),
    "rate": Column("1/s", "1 / median step; repeated pictures are not counted"),
    "stored_rate": Column("1/s", "with repeated pictures, as in 5 pictures a second stored at 30"),
}
FRAME: dict[str, Column] = {
    "width": Column("px", "width of the upright frame"),
    "height": Column("px", "height of the upright frame"),
}
QUALITY: dict[str, Column] = {
    "seen": Column("", "frames in which the face was found"),
    "coverage": Column("0–1", "their share"),
    "longest_gap": Column("s", "longest gap without the face"),
    "face_size": Column("px", "median distance between the eye centres"),
    "jitter": Column("% of the eye distance", "jitter of the stable landmarks"),
    "confidence": Column("", "median peak-to-sidelobe ratio of the tracker; of the mesh the presence of a face, 0–1"),
    "sharpness": Column("grey levels", "median standard deviation of the Laplacian on the face"),
    "contrast": Column(
        "grey levels", "between the 1st and 99th percentile of the face, median; under 8 there is no verdict"
    ),
    "overexposed": Column("0–1", "share of the face that is plain white; over 0.4 there is no verdict"),
    "underexposed": Column("0–1", "share of the face that is plain black; over 0.4 there is no verdict"),
}
ANSWER: dict[str, Column] = {
    "verdict": Column(
        "genuine, posed, abstained, failed",
        "like the spontaneous or the posed clips of the training, no verdict, or no result",
    ),
    "p_genuine": Column("0–1", "calibrated probability of genuine; empty where there is no verdict"),
    "p_raw": Column(
        "0–1", "the model's probability also where it abstains: do not use it in place of a verdict that is missing"
    ),
    "spread_low": Column(
        "0–1",
        "lowest P(genuine) in nine of ten changes of a clip that leave the expression as it is",
        "benchmarks/steady.py",
    ),
    "spread_high": Column("0–1", "highest P(genuine) in the same changes", "benchmarks/steady.py"),
    "abstained": Column("0, 1", "whether there is no verdict"),
    "code": Column(", ".join(CODES), "why there is no verdict, in a word"),
    "reason": Column("", "the same in a sentence, or why the clip failed"),
    "shows": Column(
        "", "the most probable emotion, as seen; a face at rest is neutral", "FER+ (Barsoum et al. 2016); expression"
    ),
    **{f"p_{name}": Column("0–1", f"probability of {name}", "expression") for name in (*EMOTIONS, "neutral")},
    "familiar": Column("0, 1", "whether the movement is within the range of the training clips"),
    "phases": Column("", "number of expressions", _PHASES),
    "judged_start": Column("s", "start of the movement that was judged, from the start of the clip"),
    "judged_end": Column("s", "its end, from the start of the clip"),
    "judged_start_file": Column("s", "its start, from the start of the file (to one frame)"),
    "judged_end_file": Column("s", "its end, from the start of the file (to one frame)"),
    "onset": Column("s", "start of the rise of the largest expression that was judged; from the clip's start", _PHASES),
    "apex": Column("s", "start of its plateau", _PHASES),
    "offset": Column("s", "start of its fall", _PHASES),
    "end": Column("s", "end of its fall", _PHASES),
}
#: Column → measure of an expression (`features.signs`) that it holds.
_MEASURED = {
    "rise": "rise",
    "plateau": "plateau",
    "fall": "fall",
    "amplitude": "height",
    "top_speed": "speed",
    "asymmetry": "uneven",
    "eye_narrowing": "lids",
}
_EYES = "% of the eye distance"
MEASURES: dict[str, Column] = {
    "rise": Column("s", "from onset to apex", _SCHMIDT),
    "plateau": Column("s", "from apex to offset", _SCHMIDT),
    "fall": Column("s", "from offset to end", _SCHMIDT),
    "amplitude": Column(_EYES, "how far the lip corners, or the face as a whole, moved from rest to apex", _SCHMIDT),
    "top_speed": Column(f"{_EYES} per s", "greatest speed of the lip corners, or of the face, in the rise", _SCHMIDT),
    "asymmetry": Column(
        _EYES, "by how much one lip corner moved out further than the other", "Ekman, Hager & Friesen 1981"
    ),
    "eye_narrowing": Column(
        "% of the opening at rest", "by how much the lids came closer, from rest to apex", "features.signs"
    ),
    **{
        f"{unit}_{which}": Column("0–1", f"{words} probability of {unit} in the judged span", FACS)
        for unit in UNITS
        for which, words in (("peak", "highest"), ("mean", "mean"))
    },
}
LAST: dict[str, Column] = {
    "warnings": Column("", "sentences on the quality of the clip"),
    "model": Column("", "id of the model"),
}
#: Columns of a table of verdicts, of measured faces alone, and of `models apply`.
VERDICTS = {**CLIP, **FACE, **QUALITY, **ANSWER, **MEASURES, **LAST}
FACES = {**CLIP, **FACE, **FRAME, **QUALITY, "reason": ANSWER["reason"], "warnings": LAST["warnings"]}
_SEEN = {**CLIP, **{name: FACE[name] for name in ("face", "frames", "seconds")}}
_SEEN |= {name: QUALITY[name] for name in ("seen", "coverage")}
_END = {"reason": ANSWER["reason"], "warnings": LAST["warnings"]}
#: Columns of batches of emotions, action units and micro-expressions; frames are the moments that were read.
EMOTIONS_SEEN = {
    **_SEEN,
    "shows": ANSWER["shows"],
    **{name: about for name, about in ANSWER.items() if name.startswith("p_") and name not in ("p_genuine", "p_raw")},
    "p_contempt": Column("0–1", "probability of contempt", "expression"),
    **_END,
}
UNITS_SEEN = {**_SEEN, **{name: about for name, about in MEASURES.items() if name.startswith("AU")}, **_END}
SPOTS = {**_SEEN, "rate": FACE["rate"], "spots": Column("", "micro-expressions", "Moilanen et al. 2014"), **_END}
APPLIED = {"row": Column("", "row of the table, or number of the track, from 0"), **VERDICTS}
#: Columns that hold text.
TEXT = (*("file", "subject", "emotion", "label", "fold", "verdict", "code", "reason", "shows", "warnings", "model"),)
_WHOLE = ("row", "face", "frames", "seen", "abstained", "familiar", "phases")
#: Every column, by its name.
ALL = {**APPLIED, **FRAME, **EMOTIONS_SEEN, **UNITS_SEEN, **SPOTS}


def numbers(curves: Signals, phase: Phase | None, units: Signals | None, span: tuple[float, float] | None) -> Json:
    """`MEASURES` of a phase, and of action units over time during `span` (s); NaN where they are not known."""
    found = dict.fromkeys(MEASURES, np.nan)
    if phase is not None:
        measured = measure(curves, phase)
        found |= {column: float(measured[name]) for column, name in _MEASURED.items()}
    if units is not None and span is not None:
        inside = (units.time >= span[0] - 1e-9) & (units.time <= span[1] + 1e-9)
        for name in units.names:
            values = units[name][inside & np.isfinite(units[name])]
            if f"{name}_peak" in found and values.size:
                found |= {f"{name}_peak": float(values.max()), f"{name}_mean": float(values.mean())}
    return found


def failed(sentence: str) -> Json:
    """The row of a clip without a result."""
    return {"verdict": "failed", "code": "failed", "reason": sentence}


def manifest_name(name: str) -> str:
    """What a manifest's column is called in a table of clips."""
    return f"manifest_{name}" if name in ALL else name


def manifest_names(facts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Column → its name in a table, of the further columns of a manifest, in order of their first appearance."""
    return {name: manifest_name(name) for row in facts for name in row}


def frame(rows: Iterable[JsonMap], names: Iterable[str]) -> pd.DataFrame:
    """Rows as a DataFrame with these columns, in this order; what is true or false is 1 or 0."""
    import pandas as pd

    table = pd.DataFrame(list(rows), columns=list(names))
    whole = {name: "Int64" for name in table.columns if name in _WHOLE}
    return table.astype(dict.fromkeys(whole, "Float64")).astype(whole)
