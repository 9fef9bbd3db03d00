"""What is reported about a clip: a verdict with its evidence and quality, and what is known about the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING

from duchenne.types.data import MOMENTS, Json, JsonMap, Phase

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Column of a table -> entry of a verdict's quality and the digits to which it is rounded (None: as it is).
_QUALITY_COLUMNS = {
    "frames": ("frames", None),
    "seconds": ("duration", 6),
    "rate": ("rate", 3),
    "stored_rate": ("stored_rate", 3),
    "seen": ("seen_frames", None),
    "coverage": ("coverage", 4),
    "longest_gap": ("longest_gap", 3),
    "face_size": ("face_size", 2),
    "jitter": ("jitter", 3),
    "confidence": ("confidence", 3),
    "sharpness": ("blur", 3),
    "contrast": ("contrast", 1),
    "overexposed": ("overexposed", 3),
    "underexposed": ("underexposed", 3),
}


#: Short words for why there is no verdict (column `code` of tables), and what each means.
CODES: dict[str, str] = {
    "single_frame": "the clip has one frame",
    "low_rate": "too few frames per second",
    "too_short": "the face is not seen for long enough without a gap",
    "too_small": "the face is too small",
    "too_little_contrast": "the face has too little contrast",
    "overexposed": "too much of the face is plain white",
    "underexposed": "too much of the face is plain black",
    "lost": "the face is lost in most frames",
    "covered": "mouth or eyes are covered",
    "still": "no part of the face moves",
    "photograph": "the image of the face moves only as a whole, as in a photograph",
    "blend": "the frames are blends of two images",
    "jitter": "the points move independently of one another",
    "disorder": "the frames do not follow one another",
    "not_measured": "the clip does not show what the model reads",
    "unfamiliar": "the clip is unlike the training clips",
    "other_emotion": "the model does not cover the emotion that is shown",
    "too_close": "the probability is too close to one half",
    "failed": "the clip could not be read, or shows no face",
}


class Reason(str):
    """Why there is no verdict, in a sentence; `code` is the short word for it, one of `CODES`."""

    code: str

    def __new__(cls, code: str, sentence: str) -> Reason:
        """KeyError for a code that is not one of `CODES`."""
        found = super().__new__(cls, sentence)
        CODES[code]
        found.code = code
        return found

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return self.code, str(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One contribution to a verdict.

    `value` is in `unit`, `contribution` in log-odds of genuine, `text` a sentence on both. `descriptor` is the name of
    the number; the ranges are quartiles of the training people, None where there are none.
    """

    feature: str
    descriptor: str | None = None
    value: float
    unit: str = ""
    contribution: float
    text: str
    posed_range: tuple[float, float] | None = None
    genuine_range: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, object]:
        """Without the fields that are None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """One thing that a FACS reader looks at, measured (`features.signs`), in words (`report.signs`).

    value   in `unit` ("" for a count or a probability); None where the clip does not show it
    ranges  quartiles of posed and of spontaneous people
    leans   the label whose middle half it lies in, where it lies in one only and the two differ in this; else None
    """

    name: str
    title: str
    value: float | None
    unit: str
    text: str
    leans: str | None = None
    posed_range: tuple[float, float] | None = None
    genuine_range: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a clip shows its face; None = cannot be measured.

    coverage     share of the frames in which the face is seen
    rate         frames/s, 1 / median step; repeated pictures (`preprocess.repeats`) are not counted
    stored_rate  with them
    lost         (start, end) in seconds of each stretch without a face, or without a frame; `longest_gap` (s) is the
                 longest of them
    face_size    median px between the eye centres
    jitter       median length of the second difference of the stable points over three consecutive frames, in % of the
                 interocular distance
    confidence   median peak-to-sidelobe ratio of the tracker
    blur         sharpness of the face, see `faces.follow`
    contrast, overexposed, underexposed   see `Light`
    yaw, pitch, roll   medians in degrees
    """

    frames: int = 0
    seen_frames: int = 0
    coverage: float = 0.0
    duration: float = 0.0
    rate: float | None = None
    lost: tuple[tuple[float, float], ...] = ()
    longest_gap: float = 0.0
    face_size: float | None = None
    jitter: float | None = None
    confidence: float | None = None
    blur: float | None = None
    warnings: tuple[str, ...] = ()
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    contrast: float | None = None
    overexposed: float | None = None
    underexposed: float | None = None
    stored_rate: float | None = None

    def to_row(self) -> dict[str, float | None]:
        """Columns of a table, rounded; None where it could not be measured."""
        return {name: _rounded(getattr(self, key), digits) for name, (key, digits) in _QUALITY_COLUMNS.items()}


@dataclass(frozen=True, slots=True)
class Familiarity:
    """How similar a clip is to the training clips.

    outside              share of the descriptors outside the range of 99 % of the training clips
    distance_percentile  % of the clips of people left out with a smaller share
    """

    outside: float
    distance_percentile: float
    familiar: bool
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """A model card, see `checkpoints.card`; None where a fact is missing.

    human       human accuracy: a share, a sentence, or both as {"accuracy", "text"}
    reference   distributions over the training people (`checkpoints.reference`)
    cuts        way in which clips were cut (`judging.record`) → the share judged rightly
    elsewhere   what is left of the accuracy on people recorded elsewhere, in a sentence
    other       further facts
    """

    data: str | None = None
    people: int | None = None
    accuracy: float | None = None
    accuracy_interval: Sequence[float | None] | None = None
    auc: float | None = None
    human: float | str | JsonMap | None = None
    per_emotion: JsonMap | None = None
    risk_coverage: Sequence[object] | None = None
    abstain_band: tuple[float, float] | None = None
    limits: str | Sequence[str] | None = None
    reference: JsonMap | None = None
    cuts: JsonMap | None = None
    elsewhere: str | None = None
    other: JsonMap = field(default_factory=dict)

    @classmethod
    def of(cls, facts: JsonMap) -> Card:
        """From the facts of a card.json."""
        own = {each.name for each in fields(cls)} - {"other"}
        return cls(
            **{name: value for name, value in facts.items() if name in own},
            other={name: value for name, value in facts.items() if name not in own},
        )

    @property
    def unfilled(self) -> tuple[str, ...]:
        """Required facts that are missing."""
        return tuple(name for name in ("data", "people", "accuracy", "limits") if getattr(self, name) is None)


@dataclass(frozen=True)
class Verdict:
    """The result for one face in one clip.

    `p_genuine` is None when it abstains, with a sentence as `reason`. `evidence` is ranked, largest contribution
    first. `familiarity` is None where nothing could be measured. `reader` names what read the faces, with the sha256 of
    its model; empty for a track that was read elsewhere.

    judged        (start, end) in seconds of the movement that was judged, inside one stretch in which the face is seen
                  without a gap: descriptors are of this span, and a network of sequences also reads the rest of the
                  stretch; None where there is none
    judged_phase  the largest of the `phases` in it; None without one
    measures      numbers of `judged_phase` and of the action units in `judged`, by name (`tables.columns`); NaN where
                  the clip does not show them
    p_raw         the model's P(genuine), also where the verdict abstains; NaN where the model gives none
    begins        where the clip begins in its file, in seconds
    signs         what a FACS reader looks at in `judged_phase`
    record        how often clips that are cut like this one were judged rightly (`judging.record`): `cut` (whole, late,
                  rest), `accuracy`, `accuracy_interval`, and a sentence as `text`; empty without a verdict
    spread        (lowest, highest) P(genuine) in nine of ten changes of a clip that leave the expression as it is: in
                  light, size, compression (benchmarks/steady.py); None without a verdict, or where not measured
    """

    p_genuine: float | None
    label: str | None
    abstained: bool
    reason: str | None
    emotion: dict[str, float]
    phases: tuple[Phase, ...]
    evidence: tuple[Evidence, ...]
    quality: Quality
    familiarity: Familiarity | None
    model: Json
    frames: int
    duration: float
    device: str = "cpu"
    source: str = ""
    face: int = 0
    reader: Json = field(default_factory=dict)
    limits: str = ""
    history: tuple[str, ...] = field(default_factory=tuple)
    judged: tuple[float, float] | None = None
    judged_phase: Phase | None = None
    measures: dict[str, float] = field(default_factory=dict)
    p_raw: float = float("nan")
    begins: float = 0.0
    signs: tuple[Sign, ...] = ()
    record: Json = field(default_factory=dict)
    spread: tuple[float, float] | None = None

    @property
    def code(self) -> str | None:
        """A short word for the reason, one of `CODES`; None for a verdict."""
        return None if self.reason is None else getattr(self.reason, "code", "not_measured")

    def to_dict(self) -> Json:
        """Plain, JSON-ready dictionary (tuples become lists when serialised)."""
        familiarity = {} if self.familiarity is None else asdict(self.familiarity)
        plain = asdict(self) | {"evidence": tuple(i.to_dict() for i in self.evidence), "familiarity": familiarity}
        out: Json = {}
        for name, value in plain.items():
            out |= {name: value} | ({"code": self.code} if name == "reason" else {})
        return out

    def to_row(self) -> Json:
        """One row of a table, rounded, as `tables.columns` describes it; None where something is missing."""
        main, (start, end) = self.judged_phase or Phase(None, None, None, None), self.judged or (None, None)
        low, high = self.spread or (None, None)
        in_file = [None if at is None else at + self.begins for at in (start, end)]
        return {
            "face": self.face,
            **self.quality.to_row(),
            "verdict": "abstained" if self.abstained else self.label,
            "p_genuine": _rounded(self.p_genuine, 6),
            "p_raw": _rounded(self.p_raw, 6),
            "spread_low": _rounded(low, 4),
            "spread_high": _rounded(high, 4),
            "abstained": int(self.abstained),
            "code": self.code,
            "reason": None if self.reason is None else str(self.reason),
            "shows": max(self.emotion, key=self.emotion.__getitem__, default=None),
            **{f"p_{name}": _rounded(p, 4) for name, p in self.emotion.items()},
            "familiar": None if self.familiarity is None else int(self.familiarity.familiar),
            "phases": len(self.phases),
            "judged_start": _rounded(start, 3),
            "judged_end": _rounded(end, 3),
            "judged_start_file": _rounded(in_file[0], 3),
            "judged_end_file": _rounded(in_file[1], 3),
            **{name: _rounded(getattr(main, name), 3) for name in MOMENTS},
            **{name: _rounded(value, 4) for name, value in self.measures.items()},
            "warnings": " ".join(self.quality.warnings),
            "model": self.model.get("id"),
        }

    def to_frame(self) -> pd.DataFrame:
        """`to_row` as a table of one row, with the column file first."""
        import pandas as pd

        return pd.DataFrame([{"file": self.source, **self.to_row()}])

    def plot(self) -> Figure:
        """P(genuine), the phases, and the evidence, as a figure of matplotlib."""
        return import_module("duchenne.plots.verdict").draw(self)  # type: ignore[no-any-return]

    def _repr_html_(self) -> str:
        """A short card for notebooks."""
        like = {"genuine": "spontaneous", "posed": "posed"}
        head = f"Moves like the {like[self.label]} clips" if self.label in like else "No verdict"
        body = [self.reason or f"P(genuine) = {self.p_genuine:.2f}"]
        if self.emotion:
            name = max(self.emotion, key=self.emotion.__getitem__)
            body.append(f"shows {name} ({self.emotion[name]:.0%})")
        if self.judged is not None:
            body.append(f"judged {self.judged[0]:.2f} s to {self.judged[1]:.2f} s of {self.duration:.2f} s")
        lines = "".join(f"<div>{escape(text)}</div>" for text in (*body, *self.quality.warnings[:2]))
        box = "border:1px solid #8884;border-radius:6px;padding:.6em .9em;max-width:34em"
        return f'<div style="{box}"><b>{escape(head)}</b> <small>{escape(self.source)}</small>{lines}</div>'


def _rounded(value: float | None, digits: int | None) -> float | None:
    return None if value is None or value != value else round(float(value), digits)
