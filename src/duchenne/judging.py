"""A model as a judge of one clip: loaded once with what it is combined with, asked, and heard with the smile expert."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from duchenne import checkpoints
from duchenne.checkpoints import reference
from duchenne.errors import InputError, UsageError
from duchenne.tabular.model import DescriptorModel
from duchenne.types import Array, Classifier, Familiarity, Json, Opinion, Question

_LENT = "; familiarity, and the emotion where no face was seen, are those of the default descriptor model"


@dataclass(frozen=True)
class Loaded:
    """A model and what it is combined with, read once.

    descriptors   the model's own descriptor model, or the shipped one, which lends it emotion and familiarity (`lent`)
    smile         the smile expert, with its share of the log-odds of a smile; None where it has no say
    """

    model: Classifier
    about: Json
    card: Json
    descriptors: DescriptorModel
    smile: DescriptorModel | None = None
    smile_share: float = 0.0

    @property
    def lent(self) -> bool:
        """Whether the model has no descriptor model of its own."""
        return self.model.part(DescriptorModel) is None


@cache
def load_model(model: str | Path) -> Loaded:
    """Load a shipped id or a folder, and the smile expert if the model was combined with it."""
    main, about = checkpoints.load_judge(model)
    card = checkpoints.card(model) | {"reference": reference.read(model)}
    own = main.part(DescriptorModel)
    if own is None:
        return Loaded(main, about, card, checkpoints.load_as("descriptors", DescriptorModel)[0])
    share = float(main.facts.get("smile_share", 0.0))
    return Loaded(main, about, card, own, checkpoints.load_as("smile", DescriptorModel)[0] if share else None, share)


def resolve_device(device: str, loaded: Loaded) -> str:
    """The device that will really be used: a clip network goes where it is asked to, other models run on the CPU only.

    UsageError for a device that cannot be used.
    """
    used = loaded.model.on(device)
    if used == "cpu" and device not in ("auto", "cpu"):
        raise UsageError(f"Device '{device}' cannot be used: this model runs on the CPU; pass auto or cpu.")
    return used


def ask(loaded: Loaded, question: Question) -> Opinion:
    """What a model says of one clip, the smile expert having its share.

    InputError for a model of pixels where there are none.
    """
    model, name = loaded.model, str(loaded.about["id"])
    if model.reader.crop_readers and question.crops is None:
        raise InputError(
            f"Model {name} reads pixels, and {question.track.source or 'this track'} has none; pass the video itself "
            "to `duchenne analyze`."
        )
    if question.given:
        model = model.with_emotion(question.given)
    opinion = model.opinion(replace(question, model=name, expert=_expert(loaded, question)))
    if not loaded.lent:
        return opinion
    *others, last = opinion.steps
    return replace(opinion, steps=(*others, last + _LENT))


def familiarity(loaded: Loaded, row: Array) -> tuple[Familiarity | None, tuple[str, ...]]:
    """(how much a clip with these descriptors (D,) is like the training clips, warnings): as the default model sees it,
    where it is lent, and then of other people's clips a warning and no reason to be silent."""
    found = loaded.descriptors.familiarity(row)
    if found is None or not loaded.lent:
        return found, ()
    doubts = () if found.familiar else (f"Unlike anything the default model was trained on: {found.text}",)
    return replace(found, text=f"By the default descriptor model: {found.text}"), doubts


def _expert(loaded: Loaded, question: Question) -> tuple[float, float] | None:
    """(log-odds of genuine by the smile expert, its share), of a smile that it can read."""
    if loaded.smile is None or question.named.get("happiness", 0.0) <= 0.5:
        return None
    row = loaded.smile.table([question.track])
    return (float(loaded.smile.fitted.logit(row)[0]), loaded.smile_share) if np.isfinite(row).any() else None
