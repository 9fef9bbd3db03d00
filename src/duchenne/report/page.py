"""The report of one clip: video, points and curves, in one HTML file that works offline and in print.

This module prepares the values; `templates/page.html.j2` is the markup.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath

import numpy as np
from PIL import Image

from duchenne.mesh import model
from duchenne.plots.text import clamp, finite, number, percent, plain, words
from duchenne.report import pages, reference
from duchenne.report import signs as sentences
from duchenne.report.drawing import classify_gaps, face_view, net, table, timeline
from duchenne.report.glossary import GLOSSARY
from duchenne.types import (
    LABELS,
    MOMENTS,
    Array,
    Card,
    Evidence,
    FaceTrack,
    Json,
    JsonMap,
    Phase,
    Sign,
    Signals,
    Verdict,
)
from duchenne.video import encode, frames

FRAME_SIZE = 360  # px, longest side of an embedded key frame
THUMB_SIZE = 120  # px, height of the thumbnail in a table of clips
MAX_VIDEO = 60.0  # s; of a longer clip only the judged part is shown
MAX_FRAMES = 3600  # with points in the report
MAX_JUMPS = 8  # buttons; of more moments only the apexes get one
#: dlib's 68 points as lines: first, last (inclusive), closed.
FACE_LINES = (
    *((0, 16, False), (17, 21, False), (22, 26, False), (27, 30, False), (31, 35, False)),
    *((36, 41, True), (42, 47, True), (48, 59, True), (60, 67, True)),
)


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """A frame at a moment of the phase: `image` uint8 (H, W, 3) BGR, `points` float (68, 2) in its pixels or NaN,
    `mesh` (478, 2) to draw, of a face of which all is seen."""

    time: float
    title: str
    image: Array
    points: Array
    mesh: Array | None = None


@dataclass(frozen=True, eq=False)
class Media:
    """What a report shows of the clip: a `video` (MP4, b"" for none) of the `stretch` (s), and key frames."""

    stretch: tuple[float, float]
    video: bytes = b""
    keyframes: tuple[KeyFrame, ...] = ()


def read_media(
    verdict: Verdict,
    track: FaceTrack,
    *,
    rate: float | None = None,
    start: float | None = None,
    faces: bool = True,
) -> Media:
    """Read the clip again: a small video, and key frames at the moments of the expression that was judged.

    Of a clip longer than a minute only the judged span is shown. `rate` and `start` as for `video.frames`. Without
    `faces` no video or image is read.
    """
    seen = np.flatnonzero(track.seen)
    if not seen.size:
        return Media((0.0, 0.0))
    full = (float(track.time[0]), float(track.time[-1]))
    stretch = verdict.judged if verdict.judged and track.duration > MAX_VIDEO else full
    if not faces:
        return Media(stretch)
    titles = _moments(verdict.judged_phase, track, seen, stretch)
    keyframes: list[KeyFrame] = []
    view = face_view(track)

    def cropped() -> Iterator[tuple[float, Array]]:
        for frame in frames(track.source, rate=rate, start=start, allow_truncated=True):
            n = frame.index
            if n >= len(track) or track.time[n] > stretch[1]:
                break
            if n in titles:
                keyframes.append(_key_frame(titles[n], frame.bgr, track, n))
            if track.time[n] >= stretch[0]:
                yield float(track.time[n]), view.crop(frame.bgr)

    return Media(stretch, encode(cropped(), (view.width, view.height)), tuple(keyframes))


def _key_frame(title: str, image: Array, track: FaceTrack, n: int) -> KeyFrame:
    points = track.points[n].astype(float)
    drawn = track.mesh is not None and np.isfinite(points).all()  # where a part is covered, its mesh is invented
    mesh = np.asarray(track.mesh)[n, :, :2].astype(float) if drawn else None
    return KeyFrame(float(track.time[n]), title, image, points, mesh)


def _moments(phase: Phase | None, track: FaceTrack, seen: Array, stretch: tuple[float, float]) -> dict[int, str]:
    """Frame → title of the key frames; without an expression, five frames spread over those with a face."""
    times = {} if phase is None else {n: getattr(phase, n) for n in MOMENTS if getattr(phase, n) is not None}
    inside = seen[(track.time[seen] >= stretch[0]) & (track.time[seen] <= stretch[1])]
    if not inside.size:
        return {}
    if not times:
        spread = track.time[inside[np.linspace(0, len(inside) - 1, min(5, len(inside))).astype(int)]]
        times = {f"{time:.2f} s": float(time) for time in spread}
    return {int(inside[np.abs(track.time[inside] - time).argmin()]): title for title, time in times.items()}


def render(
    verdict: Verdict,
    track: FaceTrack,
    curves: Signals,
    shown: Media | Sequence[KeyFrame],
    card: Card,
    emotions: Signals | None = None,
    *,
    units: Signals | None = None,
    turning: JsonMap | None = None,
) -> str:
    """The page as a string. Facts missing on the `card` are left out and listed at the end.

    `emotions` as from `expression.reading.over_time`, `units` as from `units.reading.over_time`; `turning` as from
    `tabular.evidence`.
    """
    shown = shown if isinstance(shown, Media) else Media((-np.inf, np.inf), b"", tuple(shown))
    gaps = verdict.quality.lost
    source = verdict.source or track.source
    training = card.reference or {}
    drawn = timeline(track, curves, verdict.phases, classify_gaps(track, gaps), emotions, units, verdict.judged)
    view = face_view(track)
    css = f"{pages.asset('page.css')}\n:root {{ --ratio: {view.width / view.height:.4f}; }}\n"
    script = pages.asset("page.js")
    return pages.render(
        "page.html.j2",
        v=verdict,
        card=card,
        name=PurePath(source).name or "unnamed clip",
        source=source,
        rate=verdict.quality.rate,
        scale=_scale(verdict, card),
        place=reference.position(verdict.p_genuine, verdict.emotion, training),
        signs=[_sign_row(each) for each in verdict.signs],
        disagreement=sentences.disagreement(verdict.signs, verdict.label),
        glossary=GLOSSARY,
        turning={} if verdict.abstained else turning or {},
        record=_record(card, verdict.record),
        emotions=sorted(verdict.emotion.items(), key=lambda item: -item[1]),
        timeline=drawn,
        numbers=table(curves, [plot["name"] for plot in drawn["main"]], emotions),
        stage=_stage(track, drawn, shown, verdict.judged_phase),
        uses_iod=any(unit.startswith("iod") for unit in curves.units),
        frames=_frames(shown.keyframes),
        groups=_groups(verdict),
        lost=gaps,
        tables=_tables(card),
        facts={**card.other, **verdict.model},
        history=verdict.history or track.history,
        css=css,
        script=script,
        policy=pages.policy(css, script),
    )


# --- the clip -----------------------------------------------------------------------------------------------


def _stage(track: FaceTrack, drawn: JsonMap, shown: Media, main: Phase | None) -> Json | None:
    """Data for the page's script: times and points of every frame of the stretch, and moments to jump to."""
    inside = (track.time >= shown.stretch[0]) & (track.time <= shown.stretch[1])
    if inside.sum() < 2 or not track.seen[inside].any():
        return None
    rows = np.flatnonzero(inside)[:: max(1, int(inside.sum()) // MAX_FRAMES)]
    view = face_view(track)
    coordinates = np.nan_to_num(8 * view.to_view(track.points[rows].astype(float)), nan=-32768.0)
    moments = [{"name": mark["text"], "time": mark["time"]} for mark in drawn["marks"]]
    first, last = float(track.time[rows[0]]), float(track.time[rows[-1]])
    apex = None if main is None else main.apex if main.apex is not None else main.offset
    data = {
        "first": first,
        "last": last,
        "lo": drawn["lo"],
        "span": drawn["span"],
        "height": drawn["height"],
        "width": view.width,
        "times": [round(float(t), 4) for t in track.time[rows]],
        "points": base64.b64encode(np.clip(coordinates.round(), -32768, 32767).astype("<i2").tobytes()).decode(),
        "lines": FACE_LINES,
        "bands": [{key: band[key] for key in ("kind", "start", "end")} for band in (*drawn["lost"], *drawn["bands"])],
        "moments": sorted((m for m in moments if first <= m["time"] <= last), key=lambda m: m["time"]),
        "opens": first if apex is None else min(max(float(apex), first), last),
    }
    jumps = [m for m in data["moments"] if len(data["moments"]) <= MAX_JUMPS or m["name"] == "apex"]
    uri = "data:video/mp4;base64," + base64.b64encode(shown.video).decode() if shown.video else ""
    part = first > track.time[0] or last < track.time[-1] - 0.1
    return {"data": data, "video": uri, "jumps": jumps, "part": part, "width": view.width, "height": view.height}


# --- headline -----------------------------------------------------------------------------------------------


def _scale(verdict: Verdict, card: Card) -> Json:
    """P(genuine) between posed (0 %) and spontaneous (100 %), and the abstention band."""
    band = card.abstain_band
    lo, hi = (clamp(100 * band[0]), clamp(100 * band[1])) if band else (50.0, 50.0)
    at = None if verdict.p_genuine is None else clamp(100 * verdict.p_genuine)
    return {"lo": lo, "hi": hi, "band": band, "at": at, "anchor": _anchor(50 if at is None else at)}


def _anchor(at: float) -> str:
    return "start" if at < 34 else "end" if at > 66 else "middle"  # a label fits on a phone


def _record(card: Card, like: JsonMap) -> list[Json]:
    """Rows of the accuracy figure: the model on new people, on clips cut like this one, and human raters."""
    human = card.human.get("accuracy") if isinstance(card.human, Mapping) else card.human
    rows: list[tuple[str, str, object]] = [("This model, on new people", "model", card.accuracy)]
    rows += [("Clips cut like this one", "model", like["accuracy"])] if like.get("cut", "whole") != "whole" else []
    rows += [("A human rater", "human", human)]
    shown: list[Json] = [{"name": n, "kind": k, "value": v, "interval": None} for n, k, v in rows if finite(v)]
    if shown and shown[0]["kind"] == "model":
        interval = card.accuracy_interval or [None]  # not finite with too few people
        shown[0]["interval"] = interval if all(map(finite, interval)) else None
    return shown


def _tables(card: Card) -> list[Json]:
    """The card's results by emotion and by coverage, as tables (header, rows)."""
    auc = f" (all emotions: AUC {number(card.auc)})" if finite(card.auc) else ""
    by_emotion = [
        {"emotion": words(name), **(row if isinstance(row, Mapping) else {"accuracy": row})}
        for name, row in (card.per_emotion or {}).items()
    ]
    by_share = [row for row in card.risk_coverage or () if isinstance(row, Mapping)]
    tables = (
        (f"By emotion, on new people{auc}", by_emotion),
        ("The higher the threshold, the fewer clips are answered, and the more of these rightly", by_share),
    )
    return [_table(title, rows) for title, rows in tables if rows]


def _table(title: str, rows: Sequence[JsonMap]) -> Json:
    header = list(dict.fromkeys(key for row in rows for key in row))
    shares = {"accuracy", "coverage", "risk"}

    def cell(row: JsonMap, key: str) -> str:
        value = row.get(key, "–")
        return percent(value) if key in shares and finite(value) else plain(value)

    cells = [[cell(row, key) for key in header] for row in rows]
    names = {"auc": "AUC", "rows": "Clips", "coverage": "Answered"}
    return {"title": title, "header": [names.get(h, words(h)) for h in header], "rows": cells}


# --- key frames ---------------------------------------------------------------------------------------------


def _frames(keyframes: Sequence[KeyFrame]) -> list[Json]:
    """Key frames cropped around the face at one scale."""
    edges = model.load().edges if any(k.mesh is not None for k in keyframes) else np.empty((0, 2), int)
    return [_frame(k, _side(keyframes), edges) for k in keyframes]


def _side(keyframes: Sequence[KeyFrame]) -> float:
    """Side of a square that holds the largest of these faces with a margin, in pixels."""
    extents = [np.ptp(k.points[np.isfinite(k.points).all(1)], axis=0).max() for k in keyframes if _seen(k)]
    return 1.7 * float(max(extents)) if extents else 0.0


def _seen(keyframe: KeyFrame) -> bool:
    return bool(np.isfinite(keyframe.points).all(axis=1).sum() > 1)


def _frame(keyframe: KeyFrame, side: float, edges: Array) -> Json:
    left, top, right, bottom = _square(keyframe, side)
    zoom = min(1.0, FRAME_SIZE / max(right - left, bottom - top))
    shape = (max(1, round((right - left) * zoom)), max(1, round((bottom - top) * zoom)))
    points = (keyframe.points - (left, top)) * zoom
    return {
        "title": keyframe.title,
        "time": keyframe.time,
        "src": "data:image/jpeg;base64,"
        + base64.b64encode(_jpeg(keyframe.image[top:bottom, left:right], shape)).decode("ascii"),
        "width": shape[0],
        "height": shape[1],
        "dots": "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points if np.isfinite(x + y)),
        "lines": "".join(_line(points[a : b + 1], closed) for a, b, closed in FACE_LINES),
        "mesh": "" if keyframe.mesh is None else net((keyframe.mesh - (left, top)) * zoom, edges),
    }


def _square(keyframe: KeyFrame, side: float) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a square around the face; of the whole frame without a face."""
    height, width = keyframe.image.shape[:2]
    if not _seen(keyframe):
        return 0, 0, width, height
    size = max(1, round(min(side, width, height)))
    middle = (np.nanmin(keyframe.points, axis=0) + np.nanmax(keyframe.points, axis=0)) / 2
    # dlib's points end at the brows: leave room for the forehead.
    left = int(np.clip(middle[0] - size / 2, 0, width - size))
    top = int(np.clip(middle[1] - size * 0.56, 0, height - size))
    return left, top, left + size, top + size


def thumbnail(keyframes: Sequence[KeyFrame]) -> bytes | None:
    """The face at the apex (else at the middle moment) as a small JPEG; None without key frames."""
    if not keyframes:
        return None
    shown = next((k for k in keyframes if k.title == "apex"), keyframes[len(keyframes) // 2])
    left, top, right, bottom = _square(shown, _side([shown]))
    width = max(1, round(THUMB_SIZE * (right - left) / (bottom - top)))
    return _jpeg(shown.image[top:bottom, left:right], (width, THUMB_SIZE))


def _line(points: Array, closed: bool) -> str:
    if not np.isfinite(points).all():
        return ""
    return "M" + " ".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("z" if closed else "")


def _jpeg(image: Array, size: tuple[int, int]) -> bytes:
    """BGR pixels as JPEG, resized to (width, height)."""
    stream = io.BytesIO()
    resized = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
    resized.resize(size, Image.Resampling.LANCZOS).save(stream, "JPEG", quality=86, optimize=True)
    return stream.getvalue()


# --- evidence -----------------------------------------------------------------------------------------------


def _sign_row(sign: Sign) -> Json:
    """A sign with the positions of its value and of the middle halves on a scale."""
    ranges = _ranges(sign.value, {"posed": sign.posed_range, "genuine": sign.genuine_range})
    return {**asdict(sign), "value_text": sentences.value_text(sign), **ranges}


def _groups(verdict: Verdict) -> Json:
    """Evidence for and against the verdict, relative to the largest; and single descriptors, where they were asked
    for."""
    rows = [_evidence_row(item) | {"single": item.descriptor is not None} for item in verdict.evidence]
    whole = [row for row in rows if not row["single"] and row["pull"]] or rows
    largest = max((abs(row["pull"]) for row in whole if row["pull"]), default=1.0)
    sides = []
    for kind in LABELS if verdict.label == "posed" else LABELS[::-1]:
        own = [row for row in whole if row["pull"] and (row["pull"] > 0) == (kind == "genuine")]
        against = verdict.label not in (None, kind)
        title = f"{'Against the verdict: for' if against else 'For'} {reference.WORDS[kind]}"
        if own:
            items = [row | {"width": clamp(100 * abs(row["pull"]) / largest)} for row in own]
            sides.append({"kind": kind, "title": title, "items": items})
    return {"sides": sides, "single": [row for row in rows if row not in whole and row["pull"]]}


def _evidence_row(item: Evidence) -> Json:
    row: Json = {"title": item.feature, "text": item.text, "value": item.value, "unit": item.unit}
    row["pull"] = item.contribution if finite(item.contribution) else None
    return row | _ranges(item.value, {"posed": item.posed_range, "genuine": item.genuine_range})


def _ranges(value: float | None, ranges: JsonMap) -> Json:
    """Positions of a value and of the training ranges (lower, upper), in percent of the width."""
    known = {kind: r for kind, r in ranges.items() if r and all(map(finite, r))}
    ends = [end for r in known.values() for end in r] + ([value] if finite(value) else [])
    if not known:
        return {"ranges": []}
    lo, hi = min(ends), max(ends)
    span = (hi - lo) * 1.16 or 1.0

    def x(at: float) -> float:
        return clamp(100 * (at - lo + 0.08 * (hi - lo)) / span)

    at = x(value) if value is not None and finite(value) else None
    drawn = [
        {"kind": kind, "x": x(a), "width": max(1.0, round(x(b) - x(a), 2)), "lo": a, "hi": b}
        for kind, (a, b) in known.items()
    ]
    return {"at": at, "anchor": _anchor(at or 0.0), "ranges": drawn}
