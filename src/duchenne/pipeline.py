"""One video, start to end: read the face, judge it, say why, or say why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from duchenne import gates, io, judging, limits, video
from duchenne.clips import crops
from duchenne.errors import InputError, UsageError
from duchenne.expression import reading
from duchenne.faces import Followed, join
from duchenne.faces.reading import read_faces
from duchenne.features.descriptors import prepare
from duchenne.features.phases import expression_phases
from duchenne.judging import Loaded, load_model
from duchenne.preprocess import clean
from duchenne.progress import Tick
from duchenne.report import page as report
from duchenne.report import pages
from duchenne.tabular.evidence import strongest
from duchenne.tabular.model import DescriptorModel
from duchenne.types import (
    ALL_EMOTIONS,
    EMOTIONS,
    Array,
    Card,
    CropReader,
    FaceTrack,
    Json,
    Question,
    Signals,
    Verdict,
)

if TYPE_CHECKING:
    import pandas as pd


#: (track, reader) → the rows of the track that are read, with crops.
Pictures = Callable[[FaceTrack, CropReader], FaceTrack]
#: `read_faces`, or a cache of what it answers.
Read = Callable[..., Iterator[io.Block]]


@dataclass(frozen=True, eq=False)
class Analysis:
    """A verdict with the track and curves it rests on (curves: 50 per second, frontal, named).

    `p_raw` is the model's P(genuine) whether or not the verdict abstains from using it. `emotions`: probabilities of
    what the face shows over time, by the expression network; None where only a track was judged. `turning`: what would
    change the verdict (`tabular.evidence.turning`).
    """

    verdict: Verdict
    track: FaceTrack
    curves: Signals
    p_raw: float
    emotions: Signals | None = None
    turning: Json = field(default_factory=dict)

    def to_dict(self) -> Json:
        """The verdict as `Verdict.to_dict` gives it, and after its evidence `turning`: None where there is nothing to
        turn, as it abstained, or nothing could be asked."""
        turn = None if self.verdict.abstained else self.turning or None
        out: Json = {}
        for name, value in self.verdict.to_dict().items():
            out |= {name: value, "turning": turn} if name == "evidence" else {name: value}
        return out


def analyze(path: str | Path, **options: Any) -> Verdict:
    """Genuine or posed? The verdict on the most prominent face of a video; options as for `examine`."""
    return examine(path, **options)[0].verdict


def examine(
    path: str | Path,
    *,
    model: str | Path = "default",
    emotion: str | None = None,
    all_faces: bool = False,
    device: str = "auto",
    detector: str = "haar",
    rate: float | None = None,
    start: float | None = None,
    end: float | None = None,
    allow_truncated: bool = False,
    on_frame: Tick | None = None,
    read: Read = read_faces,
) -> list[Analysis]:
    """Every asked-for face of a video with its verdict, the most prominent first.

    `emotion` tells what the clip shows instead of letting the model guess; `rate` (frames/s) is needed for a
    folder of images and for nothing else; `start` and `end` are seconds; `read` gives the faces' blocks. InputError
    when the file cannot be read or shows no face; UsageError on unknown names.
    """
    if emotion is not None and emotion not in ALL_EMOTIONS:
        raise UsageError(f"Emotion '{emotion}' is not known; choose one of: {', '.join(ALL_EMOTIONS)}.")
    loaded = load_model(model)
    used = judging.resolve_device(device, loaded)
    options: Json = {"rate": rate, "start": start, "end": end, "allow_truncated": allow_truncated}
    blocks = read(path, detector=detector, all_faces=all_faces, on_frame=on_frame, **options)
    listener = reading.Listener(reading.load()[0])
    found = join(listener.listen(blocks), source=str(path))
    if not any(track.seen.any() for track in found.tracks):
        raise InputError(
            f"{path} shows no face: none was found in {len(found.time)} frames; "
            "a clip must show one face from the front, ideally over 80 px high."
        )

    def pictures(track: FaceTrack, reader: CropReader) -> FaceTrack:
        """A second reading of the file, as which frames are judged is known after the first alone."""
        return crops.cut(track, video.frames(path, **options), reader)

    return [
        _analysis(track, loaded, emotion, used, found, index, pictures, listener)
        for index, track in enumerate(found.tracks)
        if track.seen.any()
    ]


def _analysis(
    track: FaceTrack,
    loaded: Loaded,
    emotion: str | None,
    device: str,
    found: Followed,
    index: int,
    pictures: Pictures,
    listener: reading.Listener,
) -> Analysis:
    blur = found.sharpness[index]
    _, about = reading.load()
    seen = listener.signals(index, found.looks[index].time)
    # a hand before the mouth is no expression
    trusted = np.isin(seen.time, track.time[clean.distrust(track).seen])
    seen = replace(seen, time=seen.time[trusted], values=seen.values[trusted])
    sharp = blur if np.isfinite(blur) else None
    analysis = judge(track, loaded, emotion=emotion, emotions=seen, blur=sharp, pictures=pictures)
    step = f"expressions: network '{about['id']}' at {len(seen.time)} moments"
    verdict = analysis.verdict
    return replace(analysis, verdict=replace(verdict, face=index, device=device, history=(*verdict.history, step)))


def judge(
    track: FaceTrack,
    loaded: Loaded,
    *,
    emotion: str | None = None,
    emotions: Signals | None = None,
    blur: float | None = None,
    explain: bool = True,
    pictures: Pictures | None = None,
) -> Analysis:
    """Verdict on one track in pixels: phases, descriptors, probability, evidence, or the reason to abstain.

    What the clip shows is named by the user (`emotion`), or seen (`emotions`, of which the seconds that are judged
    count), or guessed from the movement. `pictures` cuts the crops that a model of pixels reads (`clips.crops.cut`);
    InputError where it is one and there is none.
    """
    face, curves = prepare(track, gates.FPS)
    quality = gates.quality(track, curves, blur)
    window = gates.focus(track, curves)
    row = loaded.descriptors.table([window])[0]
    seen = _shown(emotion, emotions, window)
    named = seen or loaded.descriptors.named(row)
    opinion = judging.ask(loaded, Question(window, "", seen, named, emotion, pictures, explain=explain))
    familiarity, doubts = judging.familiarity(loaded, row)
    reason = gates.too_poor(quality, gates.within(curves, window)) or opinion.reason
    reason = reason or gates.too_close(opinion.p, loaded.model.margin)
    verdict = Verdict(
        p_genuine=None if reason else opinion.p,
        label=None if reason else "genuine" if opinion.p >= 0.5 else "posed",
        abstained=reason is not None,
        reason=reason,
        emotion=named,
        phases=expression_phases(curves, emotion),
        evidence=strongest(opinion.evidence, len(opinion.evidence)),
        quality=replace(quality, warnings=(*quality.warnings, *doubts)),
        familiarity=familiarity,
        model=loaded.about,
        frames=len(track),
        duration=track.duration,
        source=track.source,
        limits=limits.VERDICT,
        history=(*face.history, *window.history[len(track.history) :], *opinion.steps),
    )
    return Analysis(verdict, track, curves, opinion.p, emotions, opinion.turning)


def _shown(emotion: str | None, emotions: Signals | None, window: FaceTrack) -> dict[str, float]:
    """Emotion → probability as the user names it, or as it was seen in what is judged; empty where neither."""
    seen = reading.clip_emotion(gates.within(emotions, window)) if emotions is not None and len(window) else {}
    return dict.fromkeys(seen or EMOTIONS, 0.0) | {emotion: 1.0} if emotion else seen


def apply(model: str | Path, source: str | Path, *, rate: float | None = None) -> pd.DataFrame:
    """Run a model without video on a table of its descriptors or on saved tracks, row for row.

    `source` is a CSV with the model's descriptor columns (the smile expert also takes the column names of the
    public UvA-NEMO lip table), a frames.csv, a table of OpenFace or py-feat (`rate` in frames/s where it holds
    no times), an .npz of tracks, or a folder of them. Columns: row, source, p_genuine (also where a verdict
    would abstain; empty where an LSTM-PB cannot read the clip), label, abstained, reason, emotion.
    """
    import pandas as pd

    if Path(source).suffix.lower() not in (".csv", ".npz") and Path(source).is_file():
        raise InputError(f"{source} is neither a CSV table nor an .npz of tracks; for a video use `duchenne analyze`.")
    loaded = load_model(model)
    table = None if loaded.borrows_descriptors else _descriptor_table(loaded.descriptors, Path(source))
    if table is None:
        found = [judge(track, loaded, explain=False) for track in io.load_tracks(source, rate=rate)]
        rows = [
            (i, a.track.source, a.p_raw, a.verdict.reason, a.verdict.to_row()["emotion"] or "")
            for i, a in enumerate(found)
        ]
    elif rate is not None:
        raise UsageError(f"{source} holds descriptors, which have no frames; leave out the rate.")
    else:  # of a hybrid its descriptors judge alone
        margin, p = loaded.descriptors.margin, loaded.descriptors.predict_table(table)[:, 1]
        rows = [(i, "", v, None if abs(v - 0.5) >= margin else "Too close to call.", "") for i, v in enumerate(p)]
    out = pd.DataFrame(rows, columns=["row", "source", "p_genuine", "reason", "emotion"])
    out.insert(3, "label", np.select([out["p_genuine"] >= 0.5, out["p_genuine"] < 0.5], ["genuine", "posed"], ""))
    out.insert(4, "abstained", out["reason"].notna().astype(int))
    return out


def _descriptor_table(model: DescriptorModel, source: Path) -> Array | None:
    """float64 (N, D) from a CSV of descriptors; None when the source holds tracks."""
    if source.suffix.lower() != ".csv":
        return None
    try:
        if io.dialect(io.read_table(source, nrows=0).columns):
            return None
        table = io.read_table(source)
    except (OSError, ValueError) as error:
        raise InputError(f"{source} cannot be read as a CSV table ({error}); pass descriptors or tracks.") from error
    return model.from_columns({name: table[name] for name in table.columns}, str(source))


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
    """Write verdict.json, frames.csv, emotions.csv and report.html (one more report per further face; none without
    `page`, and without `faces` of points only, with no picture) into `folder`: all or none. `thumb` adds to every
    report that has a picture a small one, thumb.jpg, for a table of clips."""
    first, *others = analyses
    content = first.to_dict()
    if others:
        content["faces"] = [a.to_dict() for a in analyses]
    with io.staged(folder) as part:
        for n, a in enumerate(analyses if page else ()):
            judged = _span(gates.focus(a.track, a.curves))
            shown = report.pictures(a.verdict, a.track, a.curves, judged, rate=rate, start=start, faces=faces)
            html = report.render(
                a.verdict, a.track, a.curves, shown, Card.of(card), a.emotions, judged=judged, turning=a.turning
            )
            report.write(part / f"{pages.named(n)}.html", html)
            if thumb and (picture := report.thumbnail(shown.keyframes)):
                (part / f"{pages.named(n, 'thumb')}.jpg").write_bytes(picture)
        io.write_table(part / "frames.csv", io.frames_table([a.track for a in analyses]))
        if (seen := _emotions_table(analyses)) is not None:
            io.write_table(part / "emotions.csv", seen)
        io.write_json(part / "verdict.json", content)
    return Path(folder) / "verdict.json"


def _span(track: FaceTrack) -> tuple[float, float] | None:
    return (float(track.time[0]), float(track.time[-1])) if len(track) else None


def _emotions_table(analyses: list[Analysis]) -> pd.DataFrame | None:
    """One row per look at a face: face, time (s), a probability per emotion; None where only tracks were judged."""
    import pandas as pd

    tables = [
        pd.DataFrame(a.emotions.values.round(4), columns=list(a.emotions.names)).assign(
            face=a.verdict.face, time=a.emotions.time.round(6)
        )
        for a in analyses
        if a.emotions is not None
    ]
    if not tables:
        return None
    table = pd.concat(tables, ignore_index=True)
    return table[["face", "time", *table.columns[:-2]]]
