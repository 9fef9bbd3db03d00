"""Every family of models, small, with the clips that one of it learns from: what the contract tests go through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from duchenne.clipnets.backbones import LEAST
from duchenne.clipnets.inputs import FaceCrops
from duchenne.clipnets.learner import ClipLearner, Task
from duchenne.clipnets.model import ClipModel
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.datasets import simulate
from duchenne.expression.learner import ExpressionLearner
from duchenne.expression.learner import train as learn_expressions
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.features.descriptors import FAMILIES as DESCRIPTORS
from duchenne.features.smile import EXPERT, TABLE_FPS
from duchenne.learn.boosting import Recipe
from duchenne.lstm_pb.learner import PBLearner
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.recipe import READINGS, PBRecipe
from duchenne.lstm_pb.solved_learner import SolvedLearner
from duchenne.methods import names
from duchenne.methods.cuts import Cuts
from duchenne.methods.hybrid import Hybrid
from duchenne.methods.stack import Stack
from duchenne.methods.two_stage import TwoStage
from duchenne.micro.learner import MicroLearner
from duchenne.micro.learner import train as learn_movements
from duchenne.micro.model import MicroModel
from duchenne.micro.recipe import MicroRecipe
from duchenne.tabular.model import DescriptorModel
from duchenne.tabular.nets import KINDS, NetLearner, NetRecipe

SMALL = Recipe(n_estimators=15, colsample_bytree=0.5, max_bin=8, n_boosters=2, folds=4, C=0.1)
PB = {"hidden_size": 16, "num_layers": 2, "pb_size": 8, "context_size": 8, "epochs": 20, "batch_size": 8}
FRAMES = 4  # of a clip of noise
CLIP_NETS = tuple(ClipRecipe.shipped())
SIZES = {"widths": (4, 4, 8, 8), "blocks": (1, 1, 1, 1), "epochs": 30, "batch_size": 8}
CNN = ExpressionRecipe(**SIZES, learning_rate=3e-3, precision="float32", horizontal_flip=False)
MICRO = MicroRecipe(frames=5, hidden_size=6, epochs=40, batch_size=4, learning_rate=0.01)
#: Learners of numbers, and both combinators over them, over one another and over all first stages.
OF_ROWS = (
    *(
        "boosting",
        "linear-svm",
        "boosted-svm",
        "rank-svm",
        "extra-trees",
        "table-binary",
        "table-single",
        "table-multi",
    ),
    *("two-stage:linear-svm", "two-stage:extra-trees/rank-svm"),
    *("conditioned:boosting", "conditioned:linear-svm"),
    *("stack:linear-svm+rank-svm", "stack:boosting+two-stage:linear-svm"),
    "redundant:linear-svm+boosting+extra-trees",
)


@dataclass(frozen=True, eq=False)
class Family:
    """Clips as the model reads them, x (N, ...), labels, people and emotions; `apart` is how far an answer may lie from
    the same in company, `learns` whether so few clips and epochs suffice to know them by heart."""

    make: Callable[[], Any]
    clips: Callable[[], tuple[Any, ...]]
    apart: float = 1e-9
    learns: bool = True
    tracks: bool = False

    def data(self) -> tuple[Any, ...]:
        """(x, labels, people, emotions)."""
        x, *truth = self.clips()
        return (self.make().table(x) if self.tracks else x), *truth

    def fit(self) -> Any:
        """A fitted model."""
        return self.make().fit_table(*self.data())

    def answer(self, model: Any, x: Any) -> Any:
        """float64 (N, K): probabilities."""
        return model.predict_table(x)


# --- clips ------------------------------------------------------------------------------------------------------------


@cache
def tracks(count: int = 8, each: int = 2) -> tuple[Any, ...]:
    """Tracks far apart in speed, in where they start and in how the head moves: no family is blind to all of it."""
    posed = replace(simulate.POSED, neutral_before=0.0, onset=0.1, head_motion=4.0)
    genuine = replace(simulate.SPONTANEOUS, head_motion=0.2)
    found = [simulate.track(genuine if i % 2 else posed, 25.0, seed=i) for i in range(count)]
    labels = np.arange(count) % 2
    emotion = labels if count == 8 else np.arange(count) // 2 % 2
    return found, labels, np.array([f"p{i // each}" for i in range(count)]), np.array(["happiness", "sadness"])[emotion]


@cache
def meshed(count: int = 8) -> tuple[Any, ...]:
    """The tracks with coefficients and pose that follow their points: mechanics only."""
    found, *truth = tracks(count)
    weights = np.random.default_rng(0).normal(0, 0.02, (136, 55))
    out = []
    for track in found:
        flat = track.points.reshape(len(track), -1)
        values = (flat - flat[0]) @ weights
        coefficients = np.clip(0.5 + values[:, :52], 0, 1)
        out.append(replace(track, coefficients=coefficients, pose=values[:, 52:]))
    return out, *truth


@cache
def rows() -> tuple[Any, ...]:
    """Column 1 tells the label anywhere, column 0 within a person only."""
    rng = np.random.default_rng(0)
    y, who = np.arange(64) % 2, np.arange(64) // 4
    x = rng.normal(size=(64, 6))
    x[:, 0] = 50.0 * rng.normal(size=16)[who] + y
    x[:, 1] += 3 * y
    x[:, 2] += 4 * (np.arange(64) // 2 % 2)
    x[5, 3] = np.nan
    return x, y, np.array([f"p{i}" for i in who]), np.array(["fear", "anger"])[np.arange(64) // 2 % 2]


#: Backbones of `context` that a test can train.
SMALL_CONTEXT = dict.fromkeys(("backbone", "body_backbone", "scene_backbone"), "expression")


def clip_recipe_of(name: str, **changes: Any) -> ClipRecipe:
    """The shipped network on four frames of 16 pixels, or of the least that it can learn from; its backbone stays as it
    is, but for context, which has three."""
    shipped = ClipRecipe.read(name, **(SMALL_CONTEXT if name == "context" else {}))
    small: dict[str, Any] = {"frames": FRAMES, "fps": 0.0, "width": 16, "depth": 2, "hidden_size": 16, "dropout": 0.0}
    small |= {"image_size": max(16, LEAST[shipped.backbone]), "precision": "float32", "batch_size": 8, "ema_decay": 0.0}
    small |= dict.fromkeys(("rotation", "translation", "scale", "label_smoothing"), 0.0)
    small |= {"warmup_steps": 0, "frames_per_step": 0, "horizontal_flip": False, "augment_movement": False}
    small |= {"accumulate_steps": 1, "backbone_lr_scale": 1.0, "early_stopping_patience": 0}
    found = shipped.stored() | {key: value for key, value in (small | changes).items() if shipped.reads(key)}
    found.pop("rest", None)  # nothing rests where movement is not augmented
    return ClipRecipe(**found)


def noise(recipe: ClipRecipe, rng: np.random.Generator, n: int) -> Any:
    """Crops uint8 (n, FRAMES, S, S, C), or points float32 (n, FRAMES, F)."""
    if recipe.inputs == "points":
        return rng.normal(0, 1, (n, FRAMES, recipe.config(2).numbers)).astype(np.float32)
    channels = recipe.channels * (3 if recipe.kind == "context" else 1)
    return rng.integers(0, 256, (n, FRAMES, recipe.image_size, recipe.image_size, channels), np.uint8)


def table_of(recipe: ClipRecipe, frames: Any) -> Any:
    """object (n,): frames as a reader gives them."""
    out = np.empty(len(frames), object)
    for i, each in enumerate(frames):
        out[i] = each if recipe.inputs == "points" else FaceCrops(each, np.arange(len(each)))
    return out


@cache
def eight(name: str) -> tuple[Any, ...]:
    """Eight clips of noise as a clip network reads them."""
    recipe = clip_recipe_of(name)
    x = table_of(recipe, noise(recipe, np.random.default_rng(0), 8))
    people = np.array([f"p{i // 2}" for i in range(8)])
    return x, np.arange(8) % 2, people, np.array(["happiness", "happiness", "sadness", "sadness"] * 2)


def clip_task(name: str, held: tuple[int, ...] = ()) -> Task:
    """The same for a learner."""
    x, y, _, emotions = eight(name)
    return Task(list(x), y, (emotions == "sadness").astype(int), 2, np.array(held, int))


@cache
def stripes() -> tuple[Any, ...]:
    """(images, labels) of 24 noisy patterns of three kinds: stripes across, along, and none."""
    rng, at = np.random.default_rng(0), np.arange(48)
    wave = (np.sin(at)[:, None] + np.zeros(48)) * 60
    images = np.stack([np.array([wave, wave.T, 0 * wave])[i % 3] + rng.normal(128, 20, (48, 48)) for i in range(24)])
    return images.clip(0, 255).astype(np.uint8), np.arange(24) % 3


@cache
def movements() -> tuple[Any, ...]:
    """(movements (12, 5, 8), labels (12,)): features that rise or fall, each about a level of its own."""
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 2
    slopes = np.where(labels == 0, 1.0, -1.0)[:, None, None] * np.linspace(0, 1, 5)[:, None] * np.ones(8)
    return (rng.normal(0, 3, (12, 1, 8)) + slopes + rng.normal(0, 0.05, (12, 5, 8))).astype(np.float32), labels


# --- models -----------------------------------------------------------------------------------------------------------


def descriptors(kind: str, recipe: Recipe = SMALL) -> DescriptorModel:
    """On one of the families, or the smile expert."""
    if kind == "smile":
        return DescriptorModel(EXPERT, family="smile", fps=TABLE_FPS, recipe=recipe)
    return DescriptorModel.of_family(kind, recipe=recipe)


def lstm_pb(reading: str, **changes: Any) -> PBModel:
    """One of the readings."""
    own = {"pose": True, "n_networks": 2} if reading == "solved" else {"head": True}
    if reading in ("paper", "rnnpb"):
        own["recognition_steps"] = 6
    return PBModel(PBRecipe(reading, learning_rate=1e-2, **{**PB, **own, **changes}))


def tiny_pb() -> PBModel:
    """Smaller still, for combinators."""
    return lstm_pb("solved", hidden_size=8, num_layers=1, pb_size=4, context_size=4, epochs=2)


def tiny_descriptors() -> DescriptorModel:
    """Smaller still, for combinators."""
    return descriptors("movement", Recipe(n_estimators=8, max_bin=8, n_boosters=1, folds=3, C=0.1))


def tiny_clip_net() -> ClipModel:
    """On points."""
    sizes = {"hidden_size": 8, "frames": 6, "epochs": 1, "batch_size": 8, "validation_fraction": 0.5}
    return ClipModel(ClipRecipe(kind="lstm", inputs="points", **sizes))


def hybrid() -> Hybrid:
    """Both small."""
    return Hybrid(tiny_descriptors(), tiny_pb())


def cuts() -> Cuts:
    """All small, without images."""
    whole, late = (Hybrid(tiny_descriptors(), tiny_descriptors()) for _ in range(2))
    return Cuts(whole, late, tiny_descriptors())


def stack() -> Stack:
    """Of one of each family that reads tracks."""
    return Stack((tiny_descriptors, tiny_pb, tiny_clip_net, partial(names.make, "rank-svm:movement"), hybrid))


def clip_net(name: str, **changes: Any) -> ClipModel:
    """One epoch of a shipped network, on four frames."""
    recipe = clip_recipe_of(name, **{"epochs": 1, "n_networks": 1, **changes})
    return ClipModel(replace(recipe, validation_fraction=0.5))


class Seeing(Family):
    """A model that tells emotions or micro-expressions and not genuine from posed; fitted by a function of its own."""

    def fit(self) -> Any:
        """A fitted model."""
        x, y = self.data()
        if x.ndim == 4 or x.shape[1:] == (48, 48):
            return learn_expressions(CNN, x, y, ("anger", "fear", "happiness"), device="cpu")[0]
        torch.manual_seed(0)
        return MicroModel(
            learn_movements(MICRO, x, y, ("happiness", "surprise"))[0], FAMILIES["expression"].fit(), MICRO
        )

    def answer(self, model: Any, x: Any) -> Any:
        """float64 (N, K): probabilities."""
        return model.predict(x)


def _of_mesh(kind: str) -> bool:
    return kind in DESCRIPTORS and DESCRIPTORS[kind].of_mesh


many = partial(tracks, 24, 4)
FAMILIES: dict[str, Family] = {
    **{
        f"descriptors:{kind}": Family(partial(descriptors, kind), meshed if _of_mesh(kind) else tracks, tracks=True)
        for kind in (*DESCRIPTORS, "smile")
    },
    **{f"lstm-pb:{kind}": Family(partial(lstm_pb, kind), tracks, apart=1e-3, tracks=True) for kind in READINGS},
    "hybrid": Family(hybrid, partial(tracks, 24, 4), apart=1e-3, tracks=True),
    "cuts": Family(cuts, partial(tracks, 24, 4), tracks=True),
    "stack of all": Family(stack, partial(tracks, 24, 4), apart=1e-3, tracks=True),
    "two-stage of lstm-pb": Family(
        partial(TwoStage, tiny_pb), partial(tracks, 24, 4), apart=1e-3, learns=False, tracks=True
    ),
    **{name: Family(partial(names.make, name), rows, apart=1e-6) for name in OF_ROWS},
    **{name: Family(partial(clip_net, name), partial(eight, name), apart=1e-4, learns=False) for name in CLIP_NETS},
    "expression": Seeing(tuple, stripes, apart=1e-5),
    "micro": Seeing(tuple, movements, apart=1e-6),
}
#: Those that tell genuine from posed.
JUDGES = [name for name, family in FAMILIES.items() if not isinstance(family, Seeing)]


def table_net(kind: str) -> NetLearner:
    """A network on the rows."""
    x, y, _, emotions = rows()
    held = np.zeros(0, int)
    return NetLearner(NetRecipe(kind, dropout=0.0), np.nan_to_num(x), y, (emotions == "fear").astype(int), 2, held)


def pb_learner(reading: str) -> PBLearner | SolvedLearner:
    """A network on the sequences of the tracks."""
    model, (clips, y, *_) = lstm_pb(reading), tracks()
    x = list(model.table(clips))
    nobody = np.zeros(0, int)
    return SolvedLearner(model.recipe, x, y, nobody, 0) if reading == "solved" else PBLearner(model.recipe, x, y)


#: What learns a network: name → a learner of `learn.loop` on few clips.
LEARNERS: dict[str, Callable[[], Any]] = {
    **{f"lstm-pb:{reading}": partial(pb_learner, reading) for reading in READINGS},
    **{f"table-{kind}": partial(table_net, kind) for kind in KINDS},
    **{name: lambda name=name: ClipLearner(clip_recipe_of(name), clip_task(name), 0) for name in CLIP_NETS},
    "expression": lambda: ExpressionLearner(CNN, *stripes(), ("anger", "fear", "happiness"), device="cpu"),
    "micro": lambda: MicroLearner(MICRO, *movements(), ("happiness", "surprise")),
}
