"""One video, start to end: read the face, judge it, say why, or say why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from duchenne import io, judging, video
from duchenne.clips import crops
from duchenne.errors import InputError, UsageError
from duchenne.expression import reading
from duchenne.faces import Followed, join
from duchenne.faces.reading import read_faces
from duchenne.features.descriptors import FACE, longest_seen, prepare
from duchenne.features.phases import ACTIVITY, expression_phases, main_phase, phases
from duchenne.judging import Loaded, load_model
from duchenne.learn.calibration import sigmoid
from duchenne.preprocess import clean
from duchenne.report import page as report
from duchenne.report import pages
from duchenne.tabular.evidence import evidence, turning
from duchenne.tabular.model import DescriptorModel
from duchenne.types import ALL_EMOTIONS, EMOTIONS, Array, FaceTrack, Signals, Verdict

if TYPE_CHECKING:
    import pandas as pd


#: (track, reader) → the rows of the track that are read, with crops.
Pictures = Callable[[FaceTrack, crops.Reader], FaceTrack]
#: `read_faces`, or a cache of what it answers.
Read = Callable[..., Iterator[io.Block]]
LIMITS = (
    "Says whether an expression moves like the posed or the spontaneous clips of its training people. Posed means "
    "told to act in a laboratory; it is not lying, and spontaneous means induced by film. Not for lie detection, "
    "hiring, schooling, policing, border control, insurance or medical decisions."
)
FPS = 50.0  # of the curves that phases are found in and the report shows
MIN_SEEN = 0.6  # s without a gap, the shortest clips that the default model was trained on
MIN_SIZE = 20.0  # px between the eyes; the training faces start at 30
MIN_RATE = 10.0  # frames/s
MIN_SPAN = 0.04  # iod, three times the landmarks' own trembling
LONG = 15.0  # s: longer than any training clip; then only the largest expression is judged
_BEFORE, _AFTER = 1.5, 1.0  # s around that expression


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
    turning: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The verdict as `Verdict.to_dict` gives it, and after its evidence `turning`: None where there is nothing to
        turn, as it abstained, or nothing could be asked."""
        turn = None if self.verdict.abstained else self.turning or None
        out: dict[str, Any] = {}
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
    on_frame: Callable[[int], None] | None = None,
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
    options: dict[str, Any] = {"rate": rate, "start": start, "end": end, "allow_truncated": allow_truncated}
    blocks = read(path, detector=detector, all_faces=all_faces, on_frame=on_frame, **options)
    listener = reading.Listener(reading.load()[0])
    found = join(listener.listen(blocks), source=str(path))
    if not any(track.seen.any() for track in found.tracks):
        raise InputError(
            f"{path} shows no face: none was found in {len(found.time)} frames; "
            "a clip must show one face from the front, ideally over 80 px high."
        )

    def pictures(track: FaceTrack, reader: crops.Reader) -> FaceTrack:
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

    What the clip shows is told (`emotion`), or seen (`emotions`, of which the seconds that are judged count), or
    guessed from the movement. `pictures` cuts the crops that a model of pixels reads (`clips.crops.cut`); InputError
    where it is one and there is none.
    """
    model = loaded.model
    quality = _quality(track, blur)
    face, curves = prepare(track, FPS)
    quality |= _pose(curves)
    window = focus(track, curves)
    row = model.table([window])[0]
    usable = bool(np.isfinite(row).any())
    told = _seen_emotion(emotions, window)
    if emotion:
        told = dict.fromkeys(told or EMOTIONS, 0.0) | {emotion: 1.0}
    named = told or (model.emotions(row[None])[0] if usable else {})
    found = expression_phases(curves, emotion)
    familiarity = _familiarity(model, row) if usable else {}
    reason = _too_poor(quality, _judged(curves, window))
    why: tuple[dict[str, Any], ...] = ()
    steps: tuple[str, ...] = ()
    turn: dict[str, Any] = {}
    if loaded.alone:
        p, unable, why, steps = judging.alone(window, loaded, named, pictures, explain, emotion)
        familiarity = _lent(familiarity, quality)
        reason = reason or unable or _too_close(p, loaded.margin)
    else:
        z, expert = judging.log_odds(window, row, loaded, named, told)
        weight = 1 - loaded.smile_share if expert else 1.0
        if usable and explain:
            why = evidence(model, row, told) + expert
        if loaded.pb is not None and loaded.mix is not None:
            alone = z
            z, why, steps = judging.mixed(window, z, why, loaded.pb, loaded.mix, explain)
            weight *= 1.0 if z is alone else loaded.mix.descriptors  # too short for both: the descriptors alone
        if why:
            turn = turning(model, row, told, z, weight)
        p = float(sigmoid(np.array(z)))
        reason = reason or _unsure(p, loaded, familiarity, usable)
    verdict = Verdict(
        p_genuine=None if reason else p,
        label=None if reason else "genuine" if p >= 0.5 else "posed",
        abstained=reason is not None,
        reason=reason,
        emotion=named,
        phases=found,
        evidence=_ranked(why),
        quality=quality,
        familiarity=familiarity,
        model=loaded.about,
        frames=len(track),
        duration=track.duration,
        source=track.source,
        limits=LIMITS,
        history=(*face.history, *window.history[len(track.history) :], *steps),
    )
    return Analysis(verdict, track, curves, p, emotions, turn)


def _seen_emotion(emotions: Signals | None, window: FaceTrack) -> dict[str, float]:
    if emotions is None or not len(window):
        return {}
    inside = (emotions.time >= window.time[0]) & (emotions.time <= window.time[-1])
    return reading.clip_emotion(replace(emotions, time=emotions.time[inside], values=emotions.values[inside]))


def _lent(familiarity: dict[str, Any], quality: dict[str, Any]) -> dict[str, Any]:
    """Familiarity as the default model sees it: of a model of other people a warning, no reason to be silent."""
    if not familiarity:
        return familiarity
    if not familiarity["familiar"]:
        quality["warnings"].append(f"Unlike anything the default model was trained on: {familiarity['text']}")
    return familiarity | {"text": f"By the default descriptor model: {familiarity['text']}"}


def _ranked(items: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    return tuple(sorted(items, key=lambda item: -abs(item["contribution"])))


def focus(track: FaceTrack, curves: Signals) -> FaceTrack:
    """The part of a track that is judged: all of it, or of a long clip the largest expression's seconds."""
    if track.duration <= LONG:
        return track
    main = main_phase(phases(curves, curve=ACTIVITY), curves)
    known = [] if main is None else [t for t in (main.onset, main.apex, main.offset, main.end) if t is not None]
    middle = (min(known) + max(known)) / 2 if known else track.duration / 2
    low = max(min([*known, middle]) - _BEFORE, middle - LONG / 2, 0.0)
    high = min(max([*known, middle]) + _AFTER, low + LONG)
    inside = (track.time >= low) & (track.time <= high)
    return track.evolve(
        f"focus: {low:.2f} s to {high:.2f} s, around the largest expression of a {track.duration:.0f} s clip",
        time=track.time[inside],
        points=track.points[inside],
        confidence=track.confidence[inside],
        box=track.box[inside],
        crops=None if track.crops is None else track.crops[inside],
    )


def _judged(curves: Signals, window: FaceTrack) -> Array:
    """float64 (t, F): the longest stretch of curves without a gap inside the part that is judged."""
    inside = (curves.time >= window.time[:1]) & (curves.time <= window.time[-1:])
    return longest_seen(replace(curves, time=curves.time[inside], values=curves.values[inside]))


def _familiarity(model: DescriptorModel, row: Array) -> dict[str, Any]:
    share, percentile = model.strange(row[None])
    limit = model.strange_limit
    familiar = bool(share[0] <= limit)
    text = (
        f"{100 * share[0]:.1f} % of the measurements lie outside what 99 % of the training clips show; "
        f"up to {100 * limit:.1f} % is usual for people the model has not seen."
    )
    return {
        "outside": float(share[0]),
        "distance_percentile": float(percentile[0]),
        "familiar": familiar,
        "text": text,
    }


def _quality(track: FaceTrack, blur: float | None) -> dict[str, Any]:
    """`preprocess.clean.assess` of what can be trusted, with a sentence on what could not."""
    trusted = clean.distrust(track)
    quality = clean.assess(trusted, blur=blur)
    if trusted is not track:
        quality["warnings"].append(
            "Where the lower face's points trembled too much to be trusted, as when a hand covers the mouth, the face "
            f"counts as lost ({trusted.history[-1].removeprefix('distrust: points trembled too much in ')})."
        )
    return quality


def _pose(curves: Signals) -> dict[str, float | None]:
    def median(name: str) -> float | None:
        x = curves[name][np.isfinite(curves[name])]
        return float(np.median(x)) if x.size else None

    return {"yaw": median("head_yaw"), "pitch": median("head_pitch"), "roll": median("head_roll")}


def _too_poor(quality: dict[str, Any], seen: Array) -> str | None:
    """Why this clip cannot be judged at all, in one sentence; None when it can. `seen` as from `_judged`."""
    if quality["frames"] == 1:
        return "A single picture: genuine and posed differ in how a face moves, so a clip of 1 s or more is needed."
    if quality["rate"] is not None and round(quality["rate"], 3) < MIN_RATE:
        return f"Too few frames: {quality['rate']:.3g} per second; at least {MIN_RATE:.0f} are needed to see movement."
    if len(seen) / FPS < MIN_SEEN or quality["face_size"] is None:
        return (
            f"Too short: the face is seen for {len(seen) / FPS:.2f} s without a gap; at least {MIN_SEEN} s are needed."
        )
    if quality["face_size"] < MIN_SIZE:
        size = f"{quality['face_size']:.0f} px between the eyes"
        return f"The face is too small: {size}; at least {MIN_SIZE:.0f} are needed."
    if quality["coverage"] < 0.5 and len(seen) / FPS < 2 * MIN_SEEN:
        return f"The face is lost in {100 * (1 - quality['coverage']):.0f} % of the frames; film it from the front."
    if movement_span(seen) < MIN_SPAN:
        return f"Nothing moves: no part of the face changes by more than {100 * MIN_SPAN:.0f} % of the eye distance."
    return None


def movement_span(values: Array) -> float:
    """Largest 5–95 % range of any curve of the face in eye distances, left–right differences left out."""
    return float(np.ptp(np.percentile(values[:, FACE], [5, 95], axis=0), axis=0).max())


def _unsure(p: float, loaded: Loaded, familiarity: dict[str, Any], usable: bool) -> str | None:
    if not usable:
        what = "no smile, and this model reads smiles" if loaded.model.family == "smile" else "too little of the face"
        return f"Nothing to judge: the clip shows {what}."
    if familiarity and not familiarity["familiar"]:
        return f"Unlike anything the model was trained on: {familiarity['text']}"
    return _too_close(p, loaded.margin)


def _too_close(p: float, margin: float) -> str | None:
    if abs(p - 0.5) >= margin:
        return None
    return (
        f"Too close to call: the model's probability of genuine is {p:.2f}, and answers between "
        f"{0.5 - margin:.2f} and {0.5 + margin:.2f} were too often wrong on people it had not seen."
    )


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
    table = (
        None if loaded.alone else _descriptor_table(loaded.model, Path(source))
    )  # of a hybrid its descriptors judge it
    if table is not None:
        if rate is not None:
            raise UsageError(f"{source} holds descriptors, which have no frames; leave out the rate.")
        p = loaded.model.fitted.predict_proba(loaded.model.inputs(table))[:, 1]
        rows = [
            (i, "", v, None if abs(v - 0.5) >= loaded.model.margin else "Too close to call.", "")
            for i, v in enumerate(p)
        ]
    else:
        found = [judge(track, loaded, explain=False) for track in io.load_tracks(source, rate=rate)]
        rows = [
            (i, a.track.source, a.p_raw, a.verdict.reason, a.verdict.to_row()["emotion"] or "")
            for i, a in enumerate(found)
        ]
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
    card: dict[str, Any],
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
            judged = _span(focus(a.track, a.curves))
            shown = report.pictures(a.verdict, a.track, a.curves, judged, rate=rate, start=start, faces=faces)
            html = report.render(
                a.verdict, a.track, a.curves, shown, card, a.emotions, judged=judged, turning=a.turning
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
