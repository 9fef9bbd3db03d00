"""The story of one clip: read the faces, measure quality, focus on the expression, ask the model, give a verdict, save.

`examine` reads a video; `judge` decides on one face track; `save` writes the results.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import gates, io, judging, limits, video
from duchenne.clips import crops
from duchenne.clips.load import ReadFaces
from duchenne.datasets.manifest import emotion_named
from duchenne.errors import ModelError, UsageError
from duchenne.expression import reading, visibility
from duchenne.faces import Followed, join, protagonist
from duchenne.faces.reading import about_reader, no_face, read_faces
from duchenne.features.descriptors import prepare
from duchenne.features.phases import expression_curve, main_phase, phases
from duchenne.judging import Calibration, CutCrops, Loaded, load_model
from duchenne.preprocess import clean
from duchenne.progress import Tick
from duchenne.registry import check_reader
from duchenne.report.signs import signs
from duchenne.tables import columns
from duchenne.tables.curves import curves_table
from duchenne.tabular.evidence import strongest
from duchenne.types import (
    EMOTIONS,
    Card,
    CropReader,
    FaceTrack,
    Json,
    Light,
    Question,
    Signals,
    Verdict,
)
from duchenne.units import reading as unit_reading
from duchenne.workers.resources import blas_on_one_thread


@dataclass(frozen=True, eq=False)
class Analysis:
    """A verdict with the track and curves it rests on (curves: 50 per second, frontal, named).

    p_raw     the model's P(genuine), also where the verdict abstains
    emotions  probabilities over time by the expression network; None where only a track was judged
    turning   what would change the verdict (`tabular.evidence.turning`)
    units     probabilities of action units in every frame of the track; None where no mesh read the face
    looks     frames of the track with crops; None where only a track was judged
    """

    verdict: Verdict
    track: FaceTrack
    curves: Signals
    p_raw: float
    emotions: Signals | None = None
    turning: Json = field(default_factory=dict)
    units: Signals | None = None
    looks: FaceTrack | None = None

    def to_dict(self) -> Json:
        """As `Verdict.to_dict`, with two entries more.

        `units` after the emotion: each action unit's highest probability, when that is (s), and its mean; None where
        none was read. `turning` after the evidence: None for an abstention or without `details`.
        """
        turning = None if self.verdict.abstained else self.turning or None
        units = None if self.units is None else unit_reading.peaks(self.units)
        more: dict[str, Json] = {"emotion": {"units": units}, "evidence": {"turning": turning}}
        out: Json = {}
        for name, value in self.verdict.to_dict().items():
            out |= {name: value} | more.get(name, {})
        return out


def analyze(
    path: str | Path,
    *,
    model: str | Path = "default",
    emotion: str | None = None,
    reader: str | None = None,
    detector: str = "haar",
    device: str = "auto",
    rate: float | None = None,
    start: float | None = None,
    end: float | None = None,
    allow_truncated: bool = False,
    calibration: Calibration | None = None,
    subject: str | None = None,
    on_frame: Tick | None = None,
    read: ReadFaces = read_faces,
) -> Verdict:
    """Genuine or posed? The verdict on the most prominent face of a video; options as for `examine`, which also gives
    other faces and the curves. For many clips see `duchenne.analyze_many`."""
    found = examine(
        path, model=model, emotion=emotion, reader=reader, detector=detector, device=device, rate=rate, start=start,
        end=end, allow_truncated=allow_truncated, calibration=calibration, subject=subject, on_frame=on_frame,
        read=read,
    )  # fmt: skip
    return found[0].verdict


@blas_on_one_thread()
def examine(
    path: str | Path,
    *,
    model: str | Path = "default",
    emotion: str | None = None,
    all_faces: bool = False,
    device: str = "auto",
    reader: str | None = None,
    detector: str = "haar",
    mesh: bool = False,
    rate: float | None = None,
    start: float | None = None,
    end: float | None = None,
    allow_truncated: bool = False,
    details: bool = False,
    calibration: Calibration | None = None,
    subject: str | None = None,
    on_frame: Tick | None = None,
    read: ReadFaces = read_faces,
) -> list[Analysis]:
    """The analysis of the most prominent face of a video, or with `all_faces` of each, the most prominent first.

    `emotion` replaces the model's own estimate; `reader` reads the faces (mesh, paper), by default as for the model's
    training, `detector` (haar, hog) is of the reader paper; `mesh` keeps all points of the reader mesh; `rate`
    (frames/s) is for what stores no times; `start` and `end` are seconds; `details` adds single descriptors to the
    evidence, and what would change the verdict; `calibration` (`duchenne.calibrate`) moves P(genuine) to the level of
    the clip's recording, and of the person `subject`; `read` yields the faces in blocks.
    InputError when the file cannot be read or shows no face; UsageError on unknown names.
    """
    if not isinstance(path, str | Path):
        raise UsageError(
            f"Expected the path of one video, found a {type(path).__name__}; for several clips use "
            "duchenne.analyze_many, and write pictures as a video or a folder of images first."
        )
    emotion = None if emotion is None else emotion_named(emotion)
    loaded = load_model(model, reader)
    reader = check_reader(reader or loaded.model.face_reader, detector, mesh)
    judging.check_calibration(calibration, loaded)
    used_device = judging.resolve_device(device, loaded)
    options: Json = {"rate": rate, "start": start, "end": end, "allow_truncated": allow_truncated}
    blocks = read(path, reader=reader, detector=detector, mesh=mesh, all_faces=all_faces, on_frame=on_frame, **options)
    faces, seen = _read(blocks, path, **options)

    def cut_crops(track: FaceTrack, reader: CropReader) -> FaceTrack:
        # reads the file a second time: which frames are judged is known only after the first
        return crops.cut(track, video.frames(path, **options), reader)

    analyses, notes = list[Analysis](), video.notes(path)
    main = protagonist(faces.tracks)
    for face, (track, (emotions, looks, covered, units)) in enumerate(zip(faces.tracks, seen, strict=True)):
        if track.seen.any() and (all_faces or track is main):
            blur = faces.sharpness[face] if np.isfinite(faces.sharpness[face]) else None
            found = judge(
                track, loaded, emotion=emotion, emotions=emotions, blur=blur, light=faces.light[face],
                cut_crops=cut_crops, looks=looks, covered=covered, units=units,
                details=details, calibration=calibration, subject=subject,
            )  # fmt: skip
            step = f"expressions: network '{reading.shipped()[1]['id']}' at {len(emotions.time)} moments"
            warnings = (*notes, *judging.other_reader(loaded, reader), *found.verdict.quality.warnings)
            warnings += tuple(_breaks(faces, track))
            quality = replace(found.verdict.quality, warnings=warnings)
            history = (*found.verdict.history, step)
            verdict = replace(
                found.verdict, face=len(analyses), device=used_device, history=history, quality=quality,
                reader=about_reader(reader), begins=start or 0.0,
            )  # fmt: skip
            analyses.append(replace(found, verdict=verdict, looks=looks))
    return analyses


def _read(
    blocks: Iterator[io.Block], path: str | Path, **stretch: Any
) -> tuple[Followed, list[tuple[Signals, FaceTrack, visibility.Covered, Signals | None]]]:
    """The faces of a video, and of each face its emotions over time where its landmarks can be trusted, its crops,
    which parts are covered, and its action units over time."""
    emotions, parts, kept = reading.CropPredictor(reading.of_clips()), visibility.predictor(), reading.Kept()
    faces = join(reading.consume(blocks, emotions, parts, kept), source=str(path))
    if not any(track.seen.any() for track in faces.tracks):
        raise no_face(path, len(faces.time), **stretch)
    seen = []
    for face, (track, looks) in enumerate(zip(faces.tracks, faces.looks, strict=True)):
        covered = visibility.covered(parts.signals(face, looks.time), track)
        # a hand before the mouth is not an expression
        reliable = clean.distrust(visibility.hidden(track, covered))
        signals = emotions.signals(face, looks.time)
        trusted = np.isin(signals.time, reliable.time[reliable.seen])
        signals = replace(signals, time=signals.time[trusted], values=signals.values[trusted])
        looks = kept.of(face, looks)
        units = unit_reading.over_time(reliable, looks, unit_reading.load()[0])
        seen.append((signals, looks, covered, units))
    return faces, seen


def _breaks(faces: Followed, track: FaceTrack) -> list[str]:
    """Sentences on cuts during a track, and on faces that are seen instead of it."""
    notes = clean.breaks(track.time, track.seen, faces.cuts)
    for other in faces.tracks:
        if other is not track and other.seen.any() and not (other.seen & track.seen).any():
            at = f"{other.time[other.seen][0]:.2f} s to {other.time[other.seen][-1]:.2f} s"
            notes.append(f"Another face is seen from {at}, which is a track of its own; --all-faces judges each.")
    return notes


def judge(
    track: FaceTrack,
    loaded: Loaded,
    *,
    emotion: str | None = None,
    emotions: Signals | None = None,
    blur: float | None = None,
    light: Light | None = None,
    explain: bool = True,
    details: bool = False,
    cut_crops: CutCrops | None = None,
    looks: FaceTrack | None = None,
    covered: visibility.Covered = (),
    units: Signals | None = None,
    calibration: Calibration | None = None,
    subject: str | None = None,
) -> Analysis:
    """Verdict on one track in pixels: quality, the stretch that is judged, the model's opinion, or a reason to abstain.

    `looks` are some of its frames with crops, which show whether the face lives, and what a model reads of its look;
    the points of `covered` parts count as not seen; `units` are its action units over time. Without `explain` there is
    no evidence and no sign.

    The emotion is the user's (`emotion`), or that of `emotions` during the part that is judged, or estimated from the
    movement. `cut_crops` cuts what a model of pixels reads (`clips.crops.cut`); InputError if it is needed and None.
    """
    loaded, track = judging.suited(loaded, track), visibility.hidden(track, covered)
    face, curves = prepare(track, gates.FPS)
    quality = gates.quality(track, curves, blur, light, covered)
    stretch = gates.choose(track, curves, quality, covered, looks)
    window = stretch.window
    descriptors = loaded.descriptors.table([window])[0]
    shown = _shown(emotion, emotions, window)
    named = shown or loaded.descriptors.named(descriptors)
    cut = judging.crops_of(looks, cut_crops)
    opinion = judging.opinion(
        loaded, Question(window, "", shown, named, emotion, cut, explain=explain, details=details)
    )
    p = opinion.p if calibration is None else calibration.moved(opinion.p, subject)
    reason = stretch.reason or opinion.reason or gates.too_close(p, loaded.model.margin)
    if reason is None and not np.isfinite(p):
        raise ModelError(f"Model {loaded.about['id']} gives a probability that is not finite; get or train it again.")
    familiarity, warnings = judging.familiarity(loaded, descriptors)
    if calibration is not None:
        warnings = (*warnings, calibration.note(opinion.p, p))
    found = phases(curves, curve=expression_curve(stretch.curves, emotion))
    main = None if stretch.span is None else main_phase(found, curves, stretch.span)
    verdict = Verdict(
        p_genuine=None if reason else p,
        label=None if reason else "genuine" if p >= 0.5 else "posed",
        abstained=reason is not None,
        reason=reason,
        emotion=named,
        phases=found,
        judged=stretch.span,
        judged_phase=main,
        measures=columns.numbers(curves, main, units, stretch.span),
        p_raw=opinion.p,
        signs=signs(curves, main, named, units) if explain else (),
        evidence=strongest(opinion.evidence, len(opinion.evidence)),
        quality=replace(quality, warnings=(*quality.warnings, *warnings)),
        familiarity=familiarity,
        spread=None if reason else judging.spread(loaded.card, p),
        record={} if reason else judging.record(loaded.card, main, float(stretch.curves.time[0])),
        model=loaded.about,
        frames=len(track),
        duration=track.duration,
        source=track.source,
        limits=limits.VERDICT,
        history=(*face.history, *window.history[len(track.history) :], *opinion.steps),
    )
    return Analysis(verdict, track, curves, opinion.p, emotions, opinion.turning, units)


def _shown(emotion: str | None, emotions: Signals | None, window: FaceTrack) -> dict[str, float]:
    """Emotion → probability as the user gives it, or as seen in the part that is judged; empty where neither."""
    seen = reading.clip_emotion(gates.within(emotions, window)) if emotions is not None and len(window) else {}
    return dict.fromkeys(seen or EMOTIONS, 0.0) | {emotion: 1.0} if emotion else seen


def save(
    analyses: list[Analysis],
    folder: str | Path,
    card: Json,
    *,
    rate: float | None = None,
    start: float | None = None,
    page: bool = True,
    faces: bool = True,
    thumb: bool = False,
) -> Path:
    """Write verdict.json, frames.csv, curves.csv, emotions.csv and a report.html per face into `folder`: all or none.

    page   write reports; faces  show images of the face in them, not only points
    thumb  write a small image, thumb.jpg, beside each report that shows one
    """
    from duchenne.report import page as report  # slow to import, and of no use to a verdict alone
    from duchenne.report import pages

    first, *others = analyses
    content = first.to_dict()
    if others:
        content["faces"] = [a.to_dict() for a in analyses]
    with io.staged(folder) as part:
        for n, a in enumerate(analyses if page else ()):
            shown = report.read_media(a.verdict, a.track, rate=rate, start=start, faces=faces)
            html = report.render(
                a.verdict, a.track, a.curves, shown, Card.of(card), a.emotions, units=a.units, turning=a.turning
            )
            io.write_text(part / f"{pages.file_name(n)}.html", html)
            if thumb and (picture := report.thumbnail(shown.keyframes)):
                (part / f"{pages.file_name(n, 'thumb')}.jpg").write_bytes(picture)
        io.write_table(part / "frames.csv", io.frames_table([a.track for a in analyses], [a.units for a in analyses]))
        moved = {a.verdict.face: (a.curves, a.units) for a in analyses}
        io.write_table(part / "curves.csv", curves_table(moved))
        emotions = {a.verdict.face: a.emotions for a in analyses if a.emotions is not None}
        if emotions:  # none where only tracks were judged
            io.write_table(part / "emotions.csv", io.emotions_table(emotions))
        io.write_json(part / "verdict.json", content)
    return Path(folder) / "verdict.json"
