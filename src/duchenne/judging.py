"""Models as judges: which of them have a say in a verdict, how much, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from duchenne import checkpoints
from duchenne.checkpoints import reference
from duchenne.clips import crops
from duchenne.errors import InputError, UsageError
from duchenne.features.sequences import LEAST
from duchenne.learn.calibration import logit, sigmoid
from duchenne.methods.hybrid import Hybrid, Mix
from duchenne.methods.stack import readable
from duchenne.tabular.model import DescriptorModel
from duchenne.types import Array, FaceTrack

if TYPE_CHECKING:
    from duchenne.checkpoints.folder import Method
    from duchenne.clipnets.model import ClipModel
    from duchenne.lstm_pb.model import PBModel

MOST_REGIONS = 3  # of an LSTM-PB beside descriptors, as evidence


@dataclass(frozen=True)
class Loaded:
    """A model and what it is combined with, read once.

    With a `mix` the descriptor model and an LSTM-PB (`pb`) judge together. An LSTM-PB alone has no mix, and neither has
    a clip network (`clip`) or a method (`method`, see `methods.store`): `about` and `card` are then its own, and
    `model` is the shipped descriptor model, which lends it emotion and familiarity.
    """

    model: DescriptorModel
    about: dict[str, Any]
    card: dict[str, Any]
    pb: PBModel | None = None
    mix: Mix | None = None
    smile: DescriptorModel | None = None
    smile_share: float = 0.0
    clip: ClipModel | None = None
    method: Method | None = None

    @property
    def margin(self) -> float:
        """|P(genuine) − 0.5| below which the verdict abstains."""
        return float((self.method or self.clip or self.mix or self.pb or self.model).margin)

    @property
    def alone(self) -> bool:
        """Whether a network or a method judges, and no descriptor model."""
        return self.method is not None or self.clip is not None or (self.pb is not None and self.mix is None)


@cache
def load_model(model: str | Path) -> Loaded:
    """Load a shipped id or a folder, and the smile expert if the model was combined with it."""
    main, about = checkpoints.load_judge(model)
    card = checkpoints.card(model) | {"reference": reference.read(model)}
    if not isinstance(main, DescriptorModel | Hybrid):
        from duchenne.clipnets.model import ClipModel
        from duchenne.lstm_pb.model import PBModel

        lent = checkpoints.load_descriptors("descriptors")
        if isinstance(main, ClipModel):
            return Loaded(lent, about, card, clip=main)
        if isinstance(main, PBModel):
            return Loaded(lent, about, card, main)
        return Loaded(lent, about, card, method=main)
    share = float(main.facts.get("smile_share", 0.0))
    smile = checkpoints.load_descriptors("smile") if share else None
    if isinstance(main, Hybrid):
        return Loaded(main.descriptors, about, card, main.pb, main.mix, smile, share)
    return Loaded(main, about, card, None, None, smile, share)


def resolve_device(device: str, loaded: Loaded) -> str:
    """The device that will really be used: a clip network goes where it is asked to, other models run on the CPU only.

    UsageError for a device that cannot be used.
    """
    if loaded.clip is not None:
        from duchenne.learn.optim import device_of

        loaded.clip.device = device_of(device).type
        return loaded.clip.device
    if device not in ("auto", "cpu"):
        raise UsageError(f"Device '{device}' cannot be used: this model runs on the CPU; pass auto or cpu.")
    return "cpu"


def alone(
    track: FaceTrack,
    loaded: Loaded,
    named: dict[str, float],
    pictures: Callable[[FaceTrack, Any], FaceTrack] | None,
    explain: bool,
    told: str | None = None,
) -> tuple[float, str | None, tuple[dict[str, Any], ...], tuple[str, ...]]:
    """What a network or a method says, see `by_clip`, `by_pb` and `by_method`; `told` is an emotion that is known."""
    if loaded.method is not None:
        model = loaded.method
        model = model.told(told) if told and hasattr(model, "told") else model
        return by_method(track, model, loaded.about, pictures, explain)
    if loaded.clip is not None:
        return by_clip(track, loaded.clip, loaded.about, pictures, explain)
    assert loaded.pb is not None
    return by_pb(track, loaded.pb, loaded.about, named, explain)


def by_pb(
    track: FaceTrack, model: PBModel, about: dict[str, Any], named: dict[str, float], explain: bool
) -> tuple[float, str | None, tuple[dict[str, Any], ...], tuple[str, ...]]:
    """(P(genuine) or NaN, why it cannot be judged, evidence, steps for the history) of an LSTM-PB."""
    from duchenne.lstm_pb.evidence import pb_evidence

    r = model.recipe
    steps = (
        f"judge: LSTM-PB '{about['id']}', reading {r.reading}, at {r.fps:g} frames/s; familiarity, and the emotion "
        "where no face was seen, are those of the default descriptor model",
    )
    x = model.table([track])
    if x[0] is None:
        return np.nan, f"Too short for this model, which needs {LEAST / r.fps:.2g} s without a gap.", (), steps
    emotion = max(set(named) - {"neutral"}, key=lambda name: (named[name], name), default="")
    where = np.array([emotion if r.per_emotion else ""])
    if where[0] not in model.networks:
        known = ", ".join(sorted(model.networks))
        unable = f"This model judges {known}; the clip shows {emotion or 'nothing that has a name'}."
        return np.nan, unable, (), steps
    return float(model.predict_table(x, where)[0, 1]), None, pb_evidence(model, x, where) if explain else (), steps


def by_clip(
    track: FaceTrack,
    model: ClipModel,
    about: dict[str, Any],
    pictures: Callable[[FaceTrack, Any], FaceTrack] | None,
    explain: bool,
) -> tuple[float, str | None, tuple[dict[str, Any], ...], tuple[str, ...]]:
    """(P(genuine) or NaN, why it cannot be judged, evidence, steps for the history) of a clip network.

    `pictures` cuts what a reader wants of a track, as `clips.crops.cut`; InputError where it is needed and None.
    """
    from duchenne.clipnets.evidence import clip_evidence

    steps: tuple[str, ...] = (
        f"judge: clip network '{about['id']}'; familiarity, and the emotion where no face was seen, are those of the "
        "default descriptor model",
    )
    if model.needs == "crops":
        if pictures is None:
            raise InputError(
                f"Model {about['id']} reads pixels, and {track.source or 'this track'} has none; pass the video itself "
                "to `duchenne analyze`."
            )
        track = pictures(track, model.reader)
        steps = (track.history[-1], *steps)
    x = model.table([track])
    if x[0] is None:
        return np.nan, "Too short for this model: it sees too few frames of the face.", (), steps
    return float(model.predict_table(x)[0, 1]), None, clip_evidence(model, x) if explain else (), steps


def by_method(
    track: FaceTrack,
    model: Method,
    about: dict[str, Any],
    pictures: Callable[[FaceTrack, Any], FaceTrack] | None,
    explain: bool,
) -> tuple[float, str | None, tuple[dict[str, Any], ...], tuple[str, ...]]:
    """(P(genuine) or NaN, why it cannot be judged, evidence, steps for the history) of a method; see `by_clip`."""
    from duchenne.methods.evidence import method_evidence

    name = str(about.get("method", about["id"]))
    if pictures is None and crops.of_pixels(model.reader):
        raise InputError(
            f"Model {about['id']} reads pixels, and {track.source or 'this track'} has none; pass the video itself "
            "to `duchenne analyze`."
        )
    cutter = pictures
    reader = crops.fed(model.reader, lambda _, sample, each: cutter(sample, each) if cutter else sample)
    steps = (
        f"judge: method '{name}' of model '{about['id']}'; familiarity, and the emotion where no face was seen, are "
        "those of the default descriptor model",
    )
    x = reader.table([track])
    p = float(model.predict_table(x)[0, 1]) if readable(x)[0] else np.nan
    if not np.isfinite(p):
        return np.nan, f"Too short for this model: the method '{name}' can read nothing of it.", (), steps
    return p, None, method_evidence(model, x, name) if explain else (), steps


def mixed(
    track: FaceTrack, z: float, why: tuple[dict[str, Any], ...], pb: PBModel, mix: Mix, explain: bool
) -> tuple[float, tuple[dict[str, Any], ...], tuple[str, ...]]:
    """(log-odds of both, evidence of both in their shares, a step for the history)."""
    from duchenne.lstm_pb.evidence import pb_evidence

    x = pb.table([track])
    if x[0] is None:
        return z, why, ("judge: descriptors alone, as the clip is too short for the LSTM-PB beside them",)
    other = float(logit(pb.predict_table(x)[0, 1]))
    more = pb_evidence(pb, x, np.array([""]))[:MOST_REGIONS] if explain and why else ()
    scaled = tuple(
        {**item, "contribution": weight * item["contribution"]}
        for weight, items in ((mix.descriptors, why), (mix.pb, more))
        for item in items
    )
    step = f"judge: log-odds of descriptors x {mix.descriptors:.2f} and of an LSTM-PB x {mix.pb:.2f}"
    return float(mix(np.array(z), np.array(other))), scaled, (step,)


def log_odds(
    track: FaceTrack, row: Array, loaded: Loaded, emotion: dict[str, float], told: Mapping[str, float] | None
) -> tuple[float, tuple[dict[str, Any], ...]]:
    """Log-odds of genuine by descriptors, and what the smile expert added: of a smile they are shared with it
    (docs/decisions/0004-smile-expert.md)."""
    z = float(loaded.model.fitted.logit(loaded.model.inputs(row[None], told))[0])
    said: tuple[dict[str, Any], ...] = ()
    if loaded.smile is not None and emotion.get("happiness", 0.0) > 0.5:
        smile, share = loaded.smile.table([track]), loaded.smile_share
        if np.isfinite(smile).any():
            expert = float(loaded.smile.fitted.logit(smile)[0])
            z = (1 - share) * z + share * expert
            said = (_expert_item(expert, share),)
    return z, said


def _expert_item(z: float, share: float) -> dict[str, Any]:
    """The smile expert's say as an item of evidence."""
    p = float(sigmoid(np.array(z)))
    text = f"The smile expert alone says P(genuine) = {p:.2f}; it has {share:.0%} of the say in verdicts on smiles."
    return {"feature": "Smile dynamics", "value": p, "unit": "", "contribution": share * z, "text": text}
