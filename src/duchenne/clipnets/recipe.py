"""Settings of a clip network and its training: see `learn.recipes`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from duchenne.clipnets.inputs import LEAST, ClipReader
from duchenne.clipnets.network import INPUTS, KINDS, POOLS, TASKS, ClipConfig
from duchenne.errors import UsageError
from duchenne.expression.recipe import PRECISIONS, ExpressionRecipe
from duchenne.learn.loop import KEEPS, Schedule
from duchenne.learn.losses import LOSSES, WEIGHINGS
from duchenne.learn.recipes import Above, Recipe, setting

_CROPS, _POINTS = {"inputs": ("crops",)}, {"inputs": ("points",)}
_LSTM, _CONTEXT = {"kind": ("lstm",)}, {"kind": ("context",)}
AUGMENTATION = ("horizontal_flip", "rotation", "translation", "scale", "shear", "random_erasing")


@dataclass(frozen=True)
class ClipRecipe(Recipe):
    """Input (`clipnets.inputs`), network (`clipnets.network.ClipConfig`), then training.

    n_networks          networks, each of which leaves out other people, and whose logits are averaged; 1: one, which
                        leaves out the share `validation_fraction` of the people
    early_stopping_patience  epochs without a better score before training ends (0: never)
    checkpoint          the best epoch for the people left out, or the last
    batch_size          clips; `accumulate_steps` batches make a step
    frames_per_step     random frames per clip and pass, for networks that score each frame (0: all)
    learning_rate       of AdamW, with linear warm-up over `warmup_steps` and cosine decay to 0; times
                        `backbone_lr_scale` for the backbone
    weight_decay        not for biases and norms
    ema_decay           of the exponential moving average of the weights, which is the result; 0: no averaging
    loss                of `learn.losses.LOSSES`, with `gamma` and `alpha` where it has them
    task_weighting      of authenticity and emotion, with `task_weights` where it is "fixed"
    horizontal_flip, rotation, translation, scale, shear, random_erasing   as in `expression.recipe`, the same for all
                        frames of a clip
    augment_movement    points are varied (`features.sequences.varied`), with up to `rest` s of rest before the movement
    precision           of arithmetic in training; "auto" is bfloat16 where the hardware supports it
    """

    folder: ClassVar[str] = "clips"

    kind: str = setting("lstm", choices=KINDS)
    inputs: str = setting("crops", choices=INPUTS)
    backbone: str = setting("resnet50", when=_CROPS)
    body_backbone: str = setting("xception", when=_CONTEXT)
    scene_backbone: str = setting("vgg16", when=_CONTEXT)
    task: str = setting("authenticity", choices=TASKS)
    frames: int = setting(20, 0, 10_000)
    fps: float = setting(0.0, 0, 1000)
    image_size: int = setting(112, 8, 1024, when=_CROPS, was="side")
    channels: int = setting(3, choices=(1, 3), when=_CROPS)
    per_image_standardization: bool = setting(False, when=_CROPS, was="per_image")
    pose: bool = setting(False, when=_POINTS)
    subtract_mean: bool = setting(False, when={**_POINTS, "kind": ("lstm", "volume")}, was="own")
    velocity: bool = setting(False, when={**_POINTS, "kind": ("lstm", "volume")}, was="speed")
    width: int = setting(64, 1, 8192, when=_POINTS)
    depth: int = setting(4, 1, 12, when={**_POINTS, "kind": ("volume",)})
    hidden_size: int = setting(256, 1, 8192, when={"kind": ("lstm", "context")}, was="hidden")
    num_layers: int = setting(1, 1, 16, when=_LSTM, was="layers")
    bidirectional: bool = setting(False, when=_LSTM, was="both")
    pooling: str = setting("last", choices=POOLS, when=_LSTM, was="pool")
    dropout: float = setting(0.5, 0, 0.9)

    n_networks: int = setting(1, 1, 100, was="bag")
    validation_fraction: float = setting(0.2, 0.01, 0.5, when={"n_networks": (1,)}, was="held_out")
    freeze_backbone: bool = setting(False, was="frozen")
    epochs: int = setting(30, 1, 1_000_000)
    early_stopping_patience: int = setting(0, 0, 1_000_000, was="stop")
    checkpoint: str = setting("best", choices=KEEPS, was="keep")
    batch_size: int = setting(8, 1, 1_000_000, was="batch")
    accumulate_steps: int = setting(1, 1, 1_000_000, was="accumulate")
    frames_per_step: int = setting(0, 0, 1_000_000, when={"kind": ("frames", "context")}, was="taken")
    learning_rate: float = setting(1e-4, 1e-12, 10, was="rate")
    backbone_lr_scale: float = setting(1.0, 0, 1e3, when={"freeze_backbone": (False,)}, was="trunk")
    warmup_steps: int = setting(0, 0, 1_000_000, was="warm")
    weight_decay: float = setting(0.01, 0, 1e3, was="decay")
    ema_decay: float = setting(0.0, 0, 0.999999, was="ema")
    loss: str = setting("cross-entropy", choices=tuple(LOSSES))
    gamma: float = setting(2.0, 0, 20, when={"loss": ("focal", "multilabel-focal")})
    alpha: float = setting(0.5, 0, 1, when={"loss": ("multilabel-focal",)})
    task_weighting: str = setting("sum", choices=WEIGHINGS, was="weighing")
    task_weights: tuple[float, float] = setting((1.0, 1.0), 0, 1e3, when={"task_weighting": ("fixed",)}, was="weights")
    label_smoothing: float = setting(0.0, 0, 0.9, was="smoothing")

    horizontal_flip: bool = setting(True, when=_CROPS, was="flip")
    rotation: float = setting(0.0, 0, 180, when=_CROPS, was="turn")
    translation: float = setting(0.0, 0, 0.9, when=_CROPS, was="shift")
    scale: float = setting(0.0, 0, 1, when=_CROPS)
    shear: float = setting(0.0, 0, 60, when=_CROPS)
    random_erasing: float = setting(0.0, 0, 1, when=_CROPS, was="erase")
    augment_movement: bool = setting(True, when=_POINTS, was="vary")
    rest: float = setting(0.0, 0, 60, when={"augment_movement": (True,), "fps": Above(0)})

    precision: str = setting("auto", choices=PRECISIONS, when=_CROPS)
    seed: int = setting(0, 0, 2**31 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        least = 1 if self.by_frame else LEAST
        if self.frames < least and not (self.fps and not self.frames):
            raise UsageError(f"This network needs {least} frames or more, found {self.frames}; raise it or set fps.")
        self.config(1)  # raises for an invalid combination

    @property
    def by_frame(self) -> bool:
        """Whether each frame is scored by itself."""
        return self.kind in ("frames", "context")

    @property
    def reader(self) -> ClipReader:
        """What is read of a clip."""
        least = 1 if self.by_frame else LEAST
        if self.inputs == "points":
            return ClipReader("points", self.frames, self.fps, 0, 0, pose=self.pose, least=least)
        scene = self.kind == "context"
        return ClipReader("crops", self.frames, self.fps, self.image_size, self.channels, scene, least=least)

    @property
    def schedule(self) -> Schedule:
        """For `learn.loop.fit`; the learner decays its learning rate itself."""
        patience = self.early_stopping_patience
        return Schedule(self.epochs, early_stopping_patience=patience, seed=self.seed, keep=self.checkpoint)

    @property
    def augmentation(self) -> ExpressionRecipe:
        """The settings of `expression.augment.augmented`."""
        return ExpressionRecipe(**{name: getattr(self, name) for name in AUGMENTATION})

    def config(self, emotions: int) -> ClipConfig:
        """The network of this recipe, with `emotions` classes of emotion."""
        own = {each.name for each in fields(ClipConfig)} & {each.name for each in fields(self)}
        return ClipConfig(
            **{name: getattr(self, name) for name in own},
            emotions=0 if self.task == "authenticity" else emotions,
            numbers=86 if self.pose else 80,
        )
