"""Which of two clips of one person moves more like a spontaneous expression, with a calibrated probability."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import judging, limits, pipeline
from duchenne.checkpoints import pairs
from duchenne.checkpoints.pairs import PairScale
from duchenne.errors import DuchenneError, UsageError
from duchenne.faces import identity
from duchenne.features import takes
from duchenne.learn.calibration import logit
from duchenne.pipeline import Analysis
from duchenne.types import Array, Json

#: Distance of embeddings above which faces are of two people, as in dlib.net/face_recognition.py.html.
STRANGERS = 0.6
ASSUMES = (
    "Assumes, as in the studies, that one of the two clips is posed and the other is not. Where both are posed, or "
    "neither is, the result means nothing."
)
_SURE = 0.5  # probability of an emotion above which it is compared


@dataclass(frozen=True, eq=False)
class Ranking:
    """Two clips and which of them is more genuine.

    p          P(the first is more genuine, given a genuine and a posed one); None when it abstains
    winner     index of the more genuine clip; None when it abstains, with a `reason`
    log_odds   of genuine of each clip; their difference decides
    gap        distance of the face embeddings, None where unknown
    apart      share of the movement in which the clips differ (`features.takes.distance`), None where unknown
    draw       whether they are one take, with a `reason`
    kind       one of `checkpoints.pairs.KINDS`, with its `scale`
    """

    clips: tuple[Analysis, Analysis]
    p: float | None
    winner: int | None
    reason: str | None
    log_odds: tuple[float, float]
    gap: float | None
    apart: float | None
    draw: bool
    kind: str
    scale: PairScale
    warnings: tuple[str, ...] = field(default_factory=tuple)

    def to_dict(self) -> Json:
        """Plain, JSON-ready dictionary."""
        verdicts = [each.verdict for each in self.clips]
        return {
            "more_genuine": None if self.winner is None else verdicts[self.winner].source,
            "p_first_more_genuine": self.p,
            "abstained": self.winner is None,
            "draw": self.draw,
            "reason": self.reason,
            "warnings": list(self.warnings),
            "log_odds": list(self.log_odds),
            "face_distance": self.gap,
            "take_distance": self.apart,
            "kind": self.kind,
            "measured": vars(self.scale) if self.scale.pairs else None,
            "assumes": ASSUMES,
            "limits": limits.VERDICT,
            "clips": [verdict.to_dict() for verdict in verdicts],
        }


def rank(
    first: str | Path,
    second: str | Path,
    *,
    model: str | Path = "default",
    **options: Any,
) -> Ranking:
    """Rank two clips of one person.

    `options` as for `pipeline.examine` (emotion, detector, rate, allow_truncated, device, on_frame). Errors as
    of `examine`, and UsageError for one clip twice.
    """
    if Path(first).resolve() == Path(second).resolve():
        raise UsageError(f"{first} was given twice; name two clips of one person.")
    one, other = (pipeline.examine(path, model=model, **options)[0] for path in (first, second))
    faces = _face(first, one), _face(second, other)
    gap = None if faces[0] is None or faces[1] is None else float(np.linalg.norm(faces[0] - faces[1]))
    return compare((one, other), judging.chosen(model, options.get("reader")), gap)


def compare(clips: tuple[Analysis, Analysis], model: str | Path, gap: float | None) -> Ranking:
    """The ranking of two analysed clips with faces `gap` apart (None: unknown)."""
    names = [_emotion(each) for each in clips]
    strangers = gap is not None and gap > STRANGERS
    differ = names[0] is not None and names[1] is not None and names[0] != names[1]
    kind = "two_people" if strangers else "two_emotions" if differ else "one_emotion"
    scale = pairs.scale(model, kind)
    warnings = _warnings(clips, names, gap, strangers, differ, scale)
    known = scale or PairScale()
    z = [float(logit(np.array(each.p_raw))) for each in clips]
    p = float(known(z[0] - z[1]))
    apart = takes.distance(clips[0].track, clips[1].track)
    unable = _unable(clips)
    draw = unable is None and apart <= takes.SAME_TAKE
    reason = unable or (_draw(apart) if draw else _too_close(p, known))
    return Ranking(
        clips,
        None if reason else p,
        None if reason else int(p < 0.5),
        reason,
        (z[0], z[1]),
        gap,
        apart if np.isfinite(apart) else None,
        draw,
        kind,
        known,
        warnings,
    )


def _face(path: str | Path, analysis: Analysis) -> Array | None:
    """float64 (128,); None for a folder of images or a truncated file."""
    with suppress(DuchenneError):
        return identity.embed_clip(path, analysis.track)
    return None


def _emotion(analysis: Analysis) -> str | None:
    """The emotion of a clip, where one has most of the probability."""
    found = {name: p for name, p in analysis.verdict.emotion.items() if name != "neutral"}
    name = max(found, key=lambda each: found[each], default=None)
    return name if name is not None and found[name] > _SURE else None


def _warnings(
    clips: tuple[Analysis, Analysis],
    names: list[str | None],
    gap: float | None,
    strangers: bool,
    differ: bool,
    scale: PairScale | None,
) -> tuple[str, ...]:
    warnings = []
    if strangers:
        warnings.append(
            f"The two faces look like two people's (distance {gap:.2f}, expected below {STRANGERS:g}); compare "
            "two clips of one person."
        )
    elif gap is None:
        warnings.append(
            "Whether the two faces are one person's could not be determined; compare two clips of one person."
        )
    if differ:
        warnings.append(f"The clips seem to show different emotions, {names[0]} and {names[1]}.")
    if scale is None:
        warnings.append(
            "This model was never calibrated on such pairs; the probability is that of two single predictions."
        )
    elif strangers or differ:
        warnings.append(f"Such pairs of people left out were ranked correctly {scale.accuracy:.0%} of the time.")
    for number, analysis in enumerate(clips, 1):
        warnings += [f"Clip {number}: {warning}" for warning in analysis.verdict.quality.warnings]
    return tuple(warnings)


def _unable(clips: tuple[Analysis, Analysis]) -> str | None:
    """Why one of the clips cannot be judged; a single clip that is too close to call may still be ranked."""
    for number, analysis in enumerate(clips, 1):
        reason = analysis.verdict.reason
        if reason is not None and not reason.startswith("Too close"):
            return f"Clip {number} ({analysis.verdict.source}) cannot be judged: {reason}"
        if not np.isfinite(analysis.p_raw):
            return f"Clip {number} ({analysis.verdict.source}) got no prediction from this model."
    return None


def _draw(apart: float) -> str:
    return (
        f"Draw: the same take. The face moves alike but for {100 * apart:.0f} % of the movement, as in two encodings "
        f"of one recording; two takes differ by more than {100 * takes.SAME_TAKE:.0f} %."
    )


def _too_close(p: float, scale: PairScale) -> str | None:
    if p == 0.5:
        return "Too close to call: the model sees no difference between the two clips."
    if abs(p - 0.5) < scale.margin:
        return (
            f"Too close to call: the probability that the first is more genuine is {p:.2f}, and pairs between "
            f"{0.5 - scale.margin:.2f} and {0.5 + scale.margin:.2f} were correct less than "
            f"{pairs.LEAST_RIGHT:.0%} of the time for people left out."
        )
    return None
