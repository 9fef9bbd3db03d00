"""One clip's story as one self-contained HTML page: no scripts, no outside files, good offline and on paper.

Facts are put in order here; `templates/report.html.j2` turns them into markup with every string escaped.
"""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from duchenne.drawing import (
    MAIN_CURVES,
    clamp,
    finite,
    lost_stretches,
    number,
    percent,
    plain,
    timeline,
    words,
)
from duchenne.io import write_text
from duchenne.types import Array, FaceTrack, Signals, Verdict
from duchenne.video import frames

FRAME_SIZE = 360  # px, longest side of an embedded key frame
#: Facts of a card that have their own place on the page; all others are listed at its end.
_CARD_SHOWN = (
    *("accuracy", "auc", "accuracy_interval", "human", "people", "data"),
    *("per_emotion", "limits", "risk_coverage", "abstain_band"),
)
#: dlib's 68 points as lines: first, last (inclusive), closed.
FACE_LINES = (
    *((0, 16, False), (17, 21, False), (22, 26, False), (27, 30, False), (31, 35, False)),
    *((36, 41, True), (42, 47, True), (48, 59, True), (60, 67, True)),
)


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """A telling moment: `image` uint8 (H, W, 3) BGR, `points` float (68, 2) in image pixels or NaN."""

    time: float
    title: str
    image: Array
    points: Array


def keyframes(
    verdict: Verdict, track: FaceTrack, *, rate: float | None = None, start: float | None = None
) -> list[KeyFrame]:
    """Frames at rest and at onset, apex, offset and end of the first expression, read again from the video.

    Without phases: five frames spread over the seen part. `rate` and `start` as they were for `video.frames`.
    """
    seen = np.flatnonzero(track.seen)
    if not seen.size:
        return []
    names = ("onset", "apex", "offset", "end")
    first = max(verdict.phases, key=lambda p: sum(getattr(p, n) is not None for n in names), default=None)
    moments = {} if first is None else {n: getattr(first, n) for n in names if getattr(first, n) is not None}
    if not moments:
        spread = track.time[seen[np.linspace(0, len(seen) - 1, min(5, len(seen))).astype(int)]]
        moments = {f"{time:.2f} s": float(time) for time in spread}
    wanted = {int(seen[np.abs(track.time[seen] - time).argmin()]): title for title, time in moments.items()}
    found = []
    for frame in itertools.islice(frames(track.source, rate=rate, start=start, allow_truncated=True), max(wanted) + 1):
        if frame.index in wanted:
            n = frame.index
            found.append(KeyFrame(float(track.time[n]), wanted[n], frame.bgr, track.points[n].astype(float)))
    return found


def render(
    verdict: Verdict,
    track: FaceTrack,
    curves: Signals,
    keyframes: Sequence[KeyFrame],
    card: Mapping[str, Any],
    emotions: Signals | None = None,
) -> str:
    """The page as a string. `card` holds the model card's facts; what it lacks is left out of the page. `emotions`
    are probabilities over time, as `expressions.over_time` gives them."""
    lost = lost_stretches(track, verdict.quality)
    source = verdict.source or track.source
    page = _environment().get_template("report.html.j2")
    return page.render(
        v=verdict,
        card={**dict.fromkeys(_CARD_SHOWN), **card},
        name=PurePath(source).name or "unnamed clip",
        source=source,
        rate=verdict.quality.get("rate"),
        scale=_scale(verdict, card),
        record=_record(card),
        emotions=sorted(verdict.emotion.items(), key=lambda item: -item[1]),
        timeline=timeline(track, curves, verdict.phases, lost, emotions),
        uses_iod=any(unit.startswith("iod") for unit in curves.units),
        frames=_frames(keyframes),
        evidence=_evidence(verdict.evidence),
        lost=lost,
        tables=_tables(card),
        facts={**{k: v for k, v in card.items() if k not in _CARD_SHOWN}, **verdict.model},
        history=verdict.history or track.history,
    )


def write(path: str | Path, html: str) -> Path:
    """Write the page in one step, so that a half-written report never exists; OutputError where it cannot."""
    return write_text(path, html)


@cache
def _environment() -> jinja2.Environment:
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("duchenne", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(number=number, percent=percent, words=words, plain=plain)
    env.globals.update(clamp=clamp, hints=MAIN_CURVES)
    return env


# --- headline -----------------------------------------------------------------------------------------------


def _scale(verdict: Verdict, card: Mapping[str, Any]) -> dict[str, Any]:
    """Where P(genuine) stands between posed (0 %) and spontaneous (100 %), and the band without a verdict."""
    band = card.get("abstain_band")
    lo, hi = (clamp(100 * band[0]), clamp(100 * band[1])) if band else (50.0, 50.0)
    at = None if verdict.p_genuine is None else clamp(100 * verdict.p_genuine)
    return {"lo": lo, "hi": hi, "band": band, "at": at, "anchor": _anchor(50 if at is None else at)}


def _anchor(at: float) -> str:
    return "start" if at < 20 else "end" if at > 80 else "middle"


def _record(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of "how often is it right": the model on unseen people, people themselves, and chance."""
    human = card.get("human")
    human = human.get("accuracy") if isinstance(human, Mapping) else human
    rows = [("This model, on people it has not seen", "model", card.get("accuracy"))]
    rows += [("A human rater", "human", human)]
    shown = [{"name": n, "kind": k, "value": v, "interval": None} for n, k, v in rows if finite(v)]
    if shown and shown[0]["kind"] == "model":
        interval = card.get("accuracy_interval") or [None]  # too few people leave it open
        shown[0]["interval"] = interval if all(map(finite, interval)) else None
    return shown


def _tables(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The card's results by emotion, and by share of clips answered, as tables (header, rows)."""
    auc = f" (all together: AUC {number(card['auc'])})" if finite(card.get("auc")) else ""
    by_emotion = [
        {"emotion": words(name), **(row if isinstance(row, Mapping) else {"accuracy": row})}
        for name, row in (card.get("per_emotion") or {}).items()
    ]
    by_share = [row for row in card.get("risk_coverage") or () if isinstance(row, Mapping)]
    tables = (
        (f"By emotion, on people the model has not seen{auc}", by_emotion),
        ("The surer it must be, the fewer clips it answers", by_share),
    )
    return [_table(title, rows) for title, rows in tables if rows]


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    header = list(dict.fromkeys(key for row in rows for key in row))
    shares = {"accuracy", "coverage", "risk"}

    def cell(row: Mapping[str, Any], key: str) -> str:
        value = row.get(key, "–")
        return percent(value) if key in shares and finite(value) else plain(value)

    cells = [[cell(row, key) for key in header] for row in rows]
    return {"title": title, "header": ["AUC" if h == "auc" else words(h) for h in header], "rows": cells}


# --- key frames ---------------------------------------------------------------------------------------------


def _frames(keyframes: Sequence[KeyFrame]) -> list[dict[str, Any]]:
    """Key frames cut around the face at one common scale, so that only the face changes between them."""
    extents = [np.ptp(k.points[np.isfinite(k.points).all(1)], axis=0).max() for k in keyframes if _seen(k)]
    side = 1.7 * float(max(extents)) if extents else 0.0
    return [_frame(k, side) for k in keyframes]


def _seen(keyframe: KeyFrame) -> bool:
    return bool(np.isfinite(keyframe.points).all(axis=1).sum() > 1)


def _frame(keyframe: KeyFrame, side: float) -> dict[str, Any]:
    height, width = keyframe.image.shape[:2]
    left, top, right, bottom = 0, 0, width, height
    if _seen(keyframe):
        size = max(1, round(min(side, width, height)))
        middle = (np.nanmin(keyframe.points, axis=0) + np.nanmax(keyframe.points, axis=0)) / 2
        # dlib's points end at the brows: the forehead asks for room above.
        left = int(np.clip(middle[0] - size / 2, 0, width - size))
        top = int(np.clip(middle[1] - size * 0.56, 0, height - size))
        right, bottom = left + size, top + size
    zoom = min(1.0, FRAME_SIZE / max(right - left, bottom - top))
    shape = (max(1, round((right - left) * zoom)), max(1, round((bottom - top) * zoom)))
    points = (keyframe.points - (left, top)) * zoom
    return {
        "title": keyframe.title,
        "time": keyframe.time,
        "src": _jpeg(keyframe.image[top:bottom, left:right], shape),
        "width": shape[0],
        "height": shape[1],
        "dots": "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points if np.isfinite(x + y)),
        "lines": "".join(_line(points[a : b + 1], closed) for a, b, closed in FACE_LINES),
    }


def _line(points: Array, closed: bool) -> str:
    if not np.isfinite(points).all():
        return ""
    return "M" + " ".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("z" if closed else "")


def _jpeg(image: Array, size: tuple[int, int]) -> str:
    """BGR pixels as a data URI: JPEG, resized to (width, height)."""
    stream = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
    picture.resize(size, Image.Resampling.LANCZOS).save(stream, "JPEG", quality=86, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


# --- evidence -----------------------------------------------------------------------------------------------


def _evidence(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each item with its contribution as a share of the largest, and its value beside the training ranges."""
    pulls = [abs(i["contribution"]) for i in items if finite(i.get("contribution"))]
    largest = max(pulls, default=0.0) or 1.0
    return [_evidence_row(item, largest) for item in items]


def _evidence_row(item: Mapping[str, Any], largest: float) -> dict[str, Any]:
    pull = item["contribution"] if finite(item.get("contribution")) else None
    row: dict[str, Any] = {
        "title": item.get("feature", ""),
        "text": item.get("text") or "",
        "value": item.get("value"),
        "unit": item.get("unit") or "",
        "pull": pull,
        "width": clamp(50 * abs(pull) / largest) if pull is not None else 0.0,
        "ranges": [],
    }
    ranges = {kind: item.get(f"{kind}_range") for kind in ("posed", "genuine")}
    known = {kind: r for kind, r in ranges.items() if r and all(map(finite, r))}
    ends = [end for r in known.values() for end in r] + ([row["value"]] if finite(row["value"]) else [])
    if not known:
        return row
    lo, hi = min(ends), max(ends)
    span = (hi - lo) * 1.16 or 1.0

    def x(value: float) -> float:
        return clamp(100 * (value - lo + 0.08 * (hi - lo)) / span)

    row["at"] = x(row["value"]) if finite(row["value"]) else None
    row["anchor"] = _anchor(row["at"] or 0.0)
    row["ranges"] = [
        {"kind": kind, "x": x(a), "width": max(1.0, round(x(b) - x(a), 2)), "lo": a, "hi": b}
        for kind, (a, b) in known.items()
    ]
    return row
