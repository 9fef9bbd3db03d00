"""The annotated video: `duchenne overlay`.

On each frame, for every analysed face: box, 68 points, face number, phase and running P(genuine). Below it a strip:
P(genuine) over time, and the lip corners, AU12 and AU06 (or the lids, where no unit is read) with their phases, under a
line over the part that is judged.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from duchenne import judging, pipeline, video
from duchenne.features.phases import ACTIVITY
from duchenne.mesh import model as meshes
from duchenne.progress import Tick
from duchenne.report.page import FACE_LINES
from duchenne.report.reference import WORDS
from duchenne.types import Array, FaceTrack, Phase, Signals

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

STEP = 0.25  # s between two predictions on the clip so far
MOST = 240  # predictions per clip
_OVER = 2  # supersampling
_INK, _SOFT, _PANEL, _LINE = "#f2f0ea", "#a9aeb6", "#14161a", "#363b43"
_GENUINE, _POSED, _OPEN = "#56b4e9", "#ee7f34", "#c9ced6"  # blue and vermillion of Okabe & Ito; neither
_PHASES = {"rise": "#009e73", "plateau": "#b05c92", "fall": "#c78500"}
_DARK = 40  # grey level in place of the image
_STRIP = 0.24  # height of the strip: share of the width, and at least
_LEAST = 132  # px
_CURVES = ("lip_corner_pull", "eye_aperture", ACTIVITY)
_UNITS = ("AU12", "AU06")
_ROW = 17.5  # px of design of a curve's row
_NONE = np.empty((0, 2), int)
_NOT_FOR = "moves like posed or spontaneous clips · not for lie detection, hiring, schooling, policing"


@dataclass(frozen=True, eq=False)
class Running:
    """P(genuine) of the clip up to `time` (K,) s; NaN where the clip so far could not be judged."""

    time: Array
    p: Array

    def at(self, time: float) -> float:
        """The last value at or before `time`; NaN before the first."""
        k = bisect_right(self.time, time + 1e-9)
        return float(self.p[k - 1]) if k else np.nan


def overlay(
    clip: str | Path,
    out: str | Path,
    *,
    model: str | Path = "default",
    all_faces: bool = False,
    rate: float | None = None,
    faces: bool = True,
    mesh: bool = False,
    on_frame: Tick | None = None,
    **options: Any,
) -> list[pipeline.Analysis]:
    """Analyse a clip and write it with box, points, phase, P(genuine) and curves drawn in; sound and timing stay.

    Without `faces` the image is replaced by grey, so that the video shows no person. `mesh` draws the face mesh beside
    the points, of the reader mesh. The points of a part that is covered are not drawn. Options and errors as of
    `pipeline.examine`, errors also of `video.redraw`.
    """
    found = pipeline.examine(clip, model=model, all_faces=all_faces, rate=rate, mesh=mesh, on_frame=on_frame, **options)
    loaded = judging.load_model(model, options.get("reader"))
    edges = meshes.load().edges if mesh else _NONE
    runs = [running(analysis, loaded, options.get("emotion")) for analysis in found]
    painter: list[Painter] = []

    def draw(frame: video.Frame) -> Array:
        picture = frame.bgr[..., ::-1] if faces else np.full((*frame.grey.shape, 3), _DARK, np.uint8)
        if not painter:
            painter.append(Painter(found, runs, (picture.shape[1], picture.shape[0]), edges))
        return painter[0].paint(picture, frame.index, frame.time)

    truncated = options.get("allow_truncated", False)
    video.redraw(clip, out, draw, rate=rate, allow_truncated=truncated, on_frame=on_frame)
    return found


def running(analysis: pipeline.Analysis, loaded: judging.Loaded, emotion: str | None = None) -> Running:
    """P(genuine) every `STEP` seconds as if the clip ended there, NaN until a rise was seen; the last is the verdict's.

    A model of pixels predicts once, at the end: reading the video at every step would take too long.
    """
    track = analysis.track
    last = float(track.time[-1])
    steps = np.arange(STEP, last, max(STEP, last / MOST))
    if loaded.model.needs == "crops":
        steps = steps[:0]
    so_far = [
        pipeline.judge(
            _until(track, t), loaded, emotion=emotion, emotions=analysis.emotions, looks=analysis.looks, explain=False
        )
        for t in steps
    ]
    p = [each.p_raw if _rises(each.verdict.judged_phase) else np.nan for each in so_far]
    decided = _rises(analysis.verdict.judged_phase) or not analysis.verdict.abstained
    return Running(np.append(steps, last), np.array([*p, analysis.p_raw if decided else np.nan]))


def _rises(phase: Phase | None) -> bool:
    """Whether a rise was seen, from its start or to its end: before, a clip says how a face rests."""
    return phase is not None and (phase.onset is not None or phase.apex is not None)


def _until(track: FaceTrack, time: float) -> FaceTrack:
    return track.take(f"overlay: up to {time:.2f} s", np.arange(bisect_right(track.time, time)))


class Painter:
    """Draws the frames of a clip; static parts are drawn once."""

    def __init__(
        self, found: Sequence[pipeline.Analysis], runs: Sequence[Running], size: tuple[int, int], edges: Array = _NONE
    ) -> None:
        self.found, self.runs, self.size, self.edges = found, runs, size, edges
        self.strip = max(_LEAST, round(_STRIP * size[0]))
        self.unit = self.strip / 132  # px of design
        last = max(float(a.track.time[-1]) for a in found)
        self.chart = _Chart((size[0], self.strip), self.unit, found[0], runs[0], max(last, 1e-3))

    def paint(self, picture: Array, index: int, time: float) -> Array:
        """uint8 (H + strip, W, 3) RGB of frame `index` at `time` (s): `picture` (H, W, 3) RGB with all annotations."""
        image = Image.fromarray(np.ascontiguousarray(picture))
        for face, (analysis, run) in enumerate(zip(self.found, self.runs, strict=True)):
            if index < len(analysis.track) and np.isfinite(analysis.track.points[index]).any():
                self._face(image, face, analysis, index, time, run.at(time))
        full = np.empty((self.size[1] + self.strip, self.size[0], 3), np.uint8)
        full[: self.size[1]] = np.asarray(image)
        full[self.size[1] :] = self.chart.at(time, phase_at(self.found[0].verdict.phases, time))
        return full

    def _face(
        self, image: Image.Image, face: int, analysis: pipeline.Analysis, index: int, time: float, p: float
    ) -> None:
        """Box, lines, points and label of one face."""
        points, box = analysis.track.points[index].astype(float), analysis.track.box[index].astype(float)
        room, most = 2 * self.unit, np.array(image.size)
        low, high = np.minimum(np.nanmin(points, axis=0), box[:2]), np.maximum(np.nanmax(points, axis=0), box[2:])
        x0, y0 = np.maximum(0, low - room).astype(int).tolist()
        x1, y1 = np.minimum(high + room, most).astype(int).tolist()
        if x1 <= x0 or y1 <= y0:
            return
        part = image.crop((x0, y0, x1, y1)).resize(((x1 - x0) * _OVER, (y1 - y0) * _OVER))
        pen = ImageDraw.Draw(part, "RGBA")
        at = (points + 0.5 - (x0, y0)) * _OVER
        size = float(box[2] - box[0]) * _OVER
        seen = np.isfinite(at).all(axis=1)
        mesh = analysis.track.mesh
        if mesh is not None and seen.all():  # where a part is covered, the mesh there is invented
            net = (mesh[index, :, :2] + 0.5 - (x0, y0)) * _OVER
            for one, other in net[self.edges].tolist():
                pen.line((*one, *other), fill=(255, 255, 255, 60), width=1)
        for first, end, closed in FACE_LINES:
            row = [k for k in (*range(first, end + 1), *([first] if closed else [])) if seen[k]]
            line = [tuple(q) for q in at[row]]
            pen.line(line, fill=(255, 255, 255, 110), width=max(1, round(size / 260)))
        r = max(1.2, size / 190)
        for x, y in at[seen]:
            pen.ellipse((x - r - 1, y - r - 1, x + r + 1, y + r + 1), fill=(0, 0, 0, 130))
            pen.ellipse((x - r, y - r, x + r, y + r), fill="#ffe14d")
        _corners(pen, (box - (x0, y0, x0, y0)) * _OVER, _colour(p), max(2, round(size / 90)))
        image.paste(part.resize((x1 - x0, y1 - y0), Image.Resampling.BOX), (x0, y0))
        phase = phase_at(analysis.verdict.phases, time)
        label = [f"face {face + 1}", *([phase] if phase else []), f"P {p:.2f}" if np.isfinite(p) else "P -"]
        self._label(image, " · ".join(label), (box[0], box[1]), _colour(p))

    def _label(self, image: Image.Image, text: str, at: tuple[float, float], colour: str) -> None:
        font = _font(round(11 * self.unit))
        pen = ImageDraw.Draw(image)
        width, pad = pen.textlength(text, font=font), 4 * self.unit
        high = 17 * self.unit
        x = min(max(0.0, at[0]), max(0.0, image.width - width - 2 * pad))
        y = max(0.0, at[1] - high - pad / 2)
        pen.rounded_rectangle((x, y, x + width + 2 * pad, y + high), 3 * self.unit, fill=_PANEL, outline=colour)
        pen.text((x + pad, y + high / 2), text, font=font, fill=_INK, anchor="lm")


class _Chart:
    """The strip below the frame: text on the left, P(genuine) and curves over time on the right."""

    def __init__(
        self, size: tuple[int, int], unit: float, analysis: pipeline.Analysis, run: Running, last: float
    ) -> None:
        self.size, self.unit, self.last, self.analysis, self.run = size, unit, last, analysis, run
        self.left = round(min(0.34 * size[0], 150 * unit))
        self.right = round(size[0] - 84 * unit)
        units = (
            []
            if analysis.units is None
            else [(analysis.units, name) for name in _UNITS if name in analysis.units.names]
        )
        curves = [(analysis.curves, name) for name in _CURVES if name in analysis.curves.names]
        self.rows = [*curves[: 1 if units else 2], *units]
        self.base = self._drawn()

    def x(self, time: float, over: int = 1) -> float:
        """Horizontal position of `time` (s), in pixels times `over`."""
        return over * (self.left + (self.right - self.left) * min(max(time / self.last, 0.0), 1.0))

    def at(self, time: float, phase: str | None) -> Array:
        """uint8 (strip, W, 3): the strip with its playhead at `time`."""
        image = self.base.copy()
        pen, u = ImageDraw.Draw(image), self.unit
        x = self.x(time)
        pen.line((x, 8 * u, x, self.size[1] - 22 * u), fill=_INK, width=max(1, round(u)))
        p = self.run.at(time)
        if np.isfinite(p):
            y, r = self._p(p), 3.5 * u
            pen.ellipse((x - r, y - r, x + r, y + r), fill=_colour(p), outline=_INK)
        pad = 10 * u
        pen.text((pad, 10 * u), "P(genuine) so far", font=_font(round(9.5 * u)), fill=_SOFT)
        if np.isfinite(p):
            pen.text((pad, 21 * u), f"{p:.2f}", font=_font(round(27 * u)), fill=_colour(p))
        else:  # a dash, which the font lacks
            pen.line((pad, 36 * u, pad + 14 * u, 36 * u), fill=_OPEN, width=max(2, round(2.5 * u)))
        pen.text((pad, 54 * u), f"{time:.2f} s", font=_font(round(11 * u)), fill=_INK)
        pen.text((pad, 69 * u), phase or "no phase", font=_font(round(11 * u)), fill=_PHASES.get(phase or "", _SOFT))
        return np.asarray(image)

    def _p(self, p: float) -> float:
        """Vertical position of a probability in pixels."""
        return (8 + (1 - p) * 42) * self.unit

    def _drawn(self) -> Image.Image:
        o, u = _OVER, self.unit * _OVER
        image = Image.new("RGB", (self.size[0] * o, self.size[1] * o), _PANEL)
        pen = ImageDraw.Draw(image, "RGBA")
        self._bands(pen, o, u)
        middle = self._p(0.5) * o
        pen.line((self.x(0, o), middle, self.x(self.last, o), middle), fill=_LINE, width=max(1, round(u)))
        whole = [
            (self.x(float(t), o), self._p(float(p)) * o, float(p))
            for t, p in zip(self.run.time, self.run.p, strict=True)
        ]
        for (x0, y0, p0), (x1, y1, p1) in pairwise(whole):
            if np.isfinite(p0) and np.isfinite(p1):
                pen.line((x0, y0, x1, y1), fill=_colour(p1), width=max(2, round(1.6 * u)))
        for row, (curves, name) in enumerate(self.rows):
            self._curve(pen, curves, name, ((58 + row * _ROW) * u, (_ROW - 3) * u), o, u)
        small = image.reduce(o)
        self._words(ImageDraw.Draw(small))
        return small

    def _bands(self, pen: ImageDraw.ImageDraw, o: int, u: float) -> None:
        for phase in self.analysis.verdict.phases:
            for name, begin, end in stretches(phase):
                colour = (*_rgb(_PHASES[name]), 70)
                pen.rectangle((self.x(begin, o), 8 * u, self.x(end, o), 110 * u), fill=colour)
        if self.analysis.verdict.judged is not None:
            first, last = (self.x(t, o) for t in self.analysis.verdict.judged)
            pen.rectangle((first, 4 * u, last, 6 * u), fill=_SOFT)

    def _curve(
        self, pen: ImageDraw.ImageDraw, curves: Signals, name: str, place: tuple[float, float], o: int, u: float
    ) -> None:
        values = curves[name]
        seen = np.isfinite(values)
        if not seen.any():
            return
        low, high = float(values[seen].min()), float(values[seen].max())
        span = max(high - low, 0.05 if name != ACTIVITY else 1e-6)  # a still curve must look still
        if name in _UNITS:
            low, span = 0.0, 1.0
        step = max(1, len(values) // (4 * self.size[0]))
        line: list[tuple[float, float]] = []
        for t, v in zip(curves.time[::step].tolist(), values[::step].tolist(), strict=True):
            if np.isfinite(v):
                line.append((self.x(t, o), place[0] + place[1] * (1 - (v - low) / span)))
            elif line:
                pen.line(line, fill=_OPEN, width=max(2, round(1.2 * u)))
                line = []
        if line:
            pen.line(line, fill=_OPEN, width=max(2, round(1.2 * u)))

    def _words(self, pen: ImageDraw.ImageDraw) -> None:
        u, tiny = self.unit, _font(round(8.5 * self.unit))
        for row, (_, name) in enumerate(self.rows):
            at = (self.right + 6 * u, (58 + (row + 0.45) * _ROW) * u)
            pen.text(at, name.replace("_", " "), font=tiny, fill=_SOFT, anchor="lm")
        pen.text((self.x(0) - 4 * u, self._p(1.0)), "1", font=tiny, fill=_SOFT, anchor="rm")
        pen.text((self.x(0) - 4 * u, self._p(0.0)), "0", font=tiny, fill=_SOFT, anchor="rm")
        pen.text((self.right, 112 * u), f"{self.last:.2f} s", font=tiny, fill=_SOFT, anchor="ra")
        if self.analysis.verdict.judged is not None:
            pen.text((self.right + 6 * u, 5 * u), "judged", font=tiny, fill=_SOFT, anchor="lm")
        font = _fitting(_NOT_FOR, self.size[0] - 20 * u, u)
        pen.text((10 * u, self.size[1] - 5 * u), _NOT_FOR, font=font, fill=_SOFT, anchor="ls")
        v = self.analysis.verdict
        verdict = "no verdict" if v.abstained else f"verdict: {WORDS[str(v.label)]}"
        colour = _INK if v.abstained else _colour(v.p_genuine or 0)
        pen.text((10 * u, 90 * u), verdict, font=_font(round(11 * u)), fill=colour)


def stretches(phase: Phase) -> list[tuple[str, float, float]]:
    """(name, start, end) in seconds of rise, plateau and fall, where inside the clip."""
    ends = {"rise": (phase.onset, phase.apex), "plateau": (phase.apex, phase.offset), "fall": (phase.offset, phase.end)}
    return [(name, a, b) for name, (a, b) in ends.items() if a is not None and b is not None and b > a]


def phase_at(phases: Sequence[Phase], time: float) -> str | None:
    """rise, plateau or fall at `time` (s); None between expressions."""
    return next((name for phase in phases for name, a, b in stretches(phase) if a <= time < b), None)


def _colour(p: float) -> str:
    return _OPEN if not np.isfinite(p) else _GENUINE if p >= 0.5 else _POSED


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _corners(pen: ImageDraw.ImageDraw, box: Array, colour: str, width: int) -> None:
    """The corners of a box."""
    x0, y0, x1, y1 = box
    arm = 0.16 * (x1 - x0)
    for x, dx in ((x0, arm), (x1, -arm)):
        for y, dy in ((y0, arm), (y1, -arm)):
            pen.line((x, y + dy, x, y, x + dx, y), fill=colour, width=width, joint="curve")


def _fitting(text: str, width: float, unit: float) -> Font:
    """The largest font with which `text` fits into `width` px."""
    for size in np.arange(8.5, 4.0, -0.5):
        font = _font(round(float(size) * unit))
        if font.getlength(text) <= width:
            return font
    return _font(max(6, round(4 * unit)))


@cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size)
