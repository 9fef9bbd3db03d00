"""Let an LSTM-PB move a face: the landmarks that one of its PB vectors brings forth, as a video and as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from duchenne import checkpoints, io, video
from duchenne.clips import load as samples
from duchenne.errors import InputError, UsageError
from duchenne.plots import sketch
from duchenne.types import LABELS, Clip, Json

if TYPE_CHECKING:
    import pandas as pd

    from duchenne.lstm_pb.generate import Movement
    from duchenne.lstm_pb.model import PBModel


def generate(
    model: str | Path,
    out: str | Path,
    *,
    label: str,
    seconds: float,
    emotion: str | None = None,
    mix: float = 0.0,
    rate: float | None = None,
    seed_clip: str | Path | None = None,
) -> Json:
    """Write a generated movement as `out` (.mp4, a drawn face) and beside it as .csv (`table`), and say what came out.

    `mix` goes from the PB vector of `label` (0) to that of the other class (1); `rate` in frames per second is the
    model's own if not given; the face to start from is the mean face, or the first frame of `seed_clip` (a video, or
    one track of a packed file). Returns video, table, frames, rate, farthest (`Movement.farthest`) and notes.
    Raises UsageError for what makes no sense, ModelError for a damaged model, InputError for an unusable seed clip.
    """
    out = Path(out)
    if out.suffix.lower() not in {".mp4", ".m4v"}:
        raise UsageError(f"{out} would hold MP4; let its name end in .mp4.")
    if seed_clip is not None and out.resolve() == Path(seed_clip).resolve():
        raise UsageError(f"{out} would be written over the clip to start from; choose another name.")
    loaded = load(model)
    rate = loaded.recipe.fps if rate is None else rate
    if not 1 <= rate <= 240:
        raise UsageError(f"A generated video needs 1 to 240 frames per second, not {rate:g}.")
    found = _moved(loaded, label, seconds, emotion, mix, seed_clip).at(rate, seconds)
    share = mix if label == LABELS[0] else 1 - mix
    whose = LABELS[round(share)] if share in (0, 1) else f"{share:.0%} {LABELS[1]}"
    title = f"{whose} {emotion if loaded.recipe.per_emotion else 'face'}"  # one network for all knows no emotion
    note = f"PB mix {mix:g} · LSTM-PB ({loaded.recipe.reading}) · generated, not filmed"
    csv = out.with_suffix(".csv")
    video.write(out, sketch.frames(found.points, found.time, title, note), rate)
    io.write_table(csv, table(found))
    return {
        "video": out,
        "table": csv,
        "frames": len(found.time),
        "rate": rate,
        "farthest": found.farthest,
        "notes": list(found.notes),
    }


def load(model: str | Path) -> PBModel:
    """An LSTM-PB, alone or in a hybrid, by a shipped id or a folder; UsageError for a model that generates nothing."""
    from duchenne.lstm_pb.model import PBModel

    found = checkpoints.load_classifier(model)[0].part(PBModel)
    if found is None:
        raise UsageError(f"Model {model} has no PB vectors; pass one of `duchenne train lstm-pb`.")
    return found


def table(movement: Movement) -> pd.DataFrame:
    """One row per frame: frame, time (s), x_0 … x_39, y_0 … y_39 (`Movement.points`, 5 decimals)."""
    import pandas as pd

    names = [f"{axis}_{i}" for axis in "xy" for i in range(40)]
    frame = pd.DataFrame(movement.points.transpose(0, 2, 1).reshape(-1, 80).round(5), columns=names)
    frame.insert(0, "time", movement.time.round(6))
    frame.insert(0, "frame", range(len(frame)))
    return frame


def _moved(
    model: PBModel, label: str, seconds: float, emotion: str | None, mix: float, seed_clip: str | Path | None
) -> Movement:
    from duchenne.lstm_pb.generate import move

    seed = None
    if seed_clip is not None:
        (sequence,) = model.reader.table([samples.read(Clip(str(seed_clip)))])
        if sequence is None:
            raise InputError(f"{seed_clip} shows no face long enough to start from; choose another clip.")
        seed = sequence[0]
    return move(model, label, seconds, emotion=emotion, mix=mix, seed=seed)
