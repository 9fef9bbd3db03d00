"""Settings of an expression network and its training: see `learn.recipes`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar

from duchenne.errors import UsageError
from duchenne.expression.network import HEADS, KINDS, ExpressionConfig
from duchenne.learn.loop import Schedule
from duchenne.learn.recipes import Recipe, setting

PRECISIONS = ("auto", "float32", "bfloat16")
_PAPER = {"kind": ("paper",)}
#: Settings that determine the backbone, and come with the weights that training starts from.
_BACKBONE = ("kind", "channels", "per_image_standardization", "widths", "blocks", "fc_size", "padding")


@dataclass(frozen=True)
class ExpressionRecipe(Recipe):
    """The network (see `expression.network.ExpressionConfig`), then its training.

    freeze_backbone     only the output layer is trained
    epochs              each of `images_per_epoch` images (0: all), so that a long pass can be split into epochs of a
                        few thousand, after each of which training can be resumed
    batch_size          images per step
    learning_rate       of Adam; it rises over the first `warmup_steps`, decays as a half cosine to 0 unless
                        `cosine_decay` is false, and as 1 / (1 + `inverse_time_decay` · step)
    weight_decay        decoupled (AdamW); biases and norms do not decay
    ema_decay           of the averaged weights, which are saved; 0 saves the weights themselves
    label_smoothing     share of a label that is distributed over all emotions
    class_weight_power  0 to 1: classes weigh as their frequency to the power −class_weight_power
    activity_regularization  L1 and L2: weights of the mean of |p| and of p² over the action units' outputs p
    horizontal_flip     half of the images are flipped
    rotation, shear     up to ± degrees; `translation` up to ± this share of the side; `scale` up to 1 + scale and down
                        to its inverse
    random_erasing      share of the images in which a box is erased
    gamma               grey levels to the power of up to 1 + gamma and down to its inverse
    contrast            spread of grey levels up to 1 + contrast and down to its inverse, cut off at black and white
    equalization        share of the images whose histogram is equalised
    augmentation_ramp   share of the training over which these rise from 0, but for flips
    small_images        share of the training, from its begin, on images of two thirds of the side, at half the cost
    second_weight       of the loss of a second set of labels, where the data have one, beside 1 of the first
    precision           of training: with "auto" bfloat16 where the hardware supports it
    """

    folder: ClassVar[str] = "expression"

    kind: str = setting("ours", choices=KINDS)
    head: str = setting("emotions", choices=HEADS)
    channels: int = setting(1, choices=(1, 3))
    per_image_standardization: bool = setting(False, was="per_image")
    widths: tuple[int, ...] = setting((), 1, 4096, lengths=(0, 3, 4), each=int)
    blocks: tuple[int, ...] = setting((), 1, 20, lengths=(0, 4), each=int, when={"kind": ("ours",)})
    fc_size: int = setting(512, 1, 4096, when=_PAPER, was="full")
    padding: bool = setting(True, when=_PAPER, was="pad")
    conv_dropout: float = setting(0.25, 0, 0.9, when=_PAPER)
    dropout: float = setting(0.5, 0, 0.9)

    freeze_backbone: bool = setting(False, was="frozen")
    epochs: int = setting(60, 1, 1_000_000)
    images_per_epoch: int = setting(0, 0, 1_000_000_000, was="images")
    batch_size: int = setting(128, 1, 1_000_000, was="batch")
    learning_rate: float = setting(1e-3, 1e-12, 10, was="rate")
    warmup_steps: int = setting(0, 0, 1_000_000_000, was="warm")
    cosine_decay: bool = setting(True, was="cosine")
    inverse_time_decay: float = setting(0.0, 0, 1e3, was="fade")
    weight_decay: float = setting(0.0, 0, 1e3, was="decay")
    ema_decay: float = setting(0.0, 0, 0.999999, was="ema")
    label_smoothing: float = setting(0.0, 0, 0.9, when={"head": ("emotions",)}, was="smoothing")
    class_weight_power: float = setting(0.0, 0, 1, when={"head": ("emotions", "units")}, was="balance")
    activity_regularization: tuple[float, float] = setting(
        (0.0, 0.0), 0, 1e3, when={"head": ("units", "intensity")}, was="sparse"
    )

    horizontal_flip: bool = setting(True, was="flip")
    rotation: float = setting(0.0, 0, 180, was="turn")
    translation: float = setting(0.0, 0, 0.9, was="shift")
    scale: float = setting(0.0, 0, 1)
    shear: float = setting(0.0, 0, 60)
    random_erasing: float = setting(0.0, 0, 1, was="erase")
    gamma: float = setting(0.0, 0, 10)
    contrast: float = setting(0.0, 0, 10)
    equalization: float = setting(0.0, 0, 1)
    augmentation_ramp: float = setting(0.0, 0, 1, was="ramp")
    small_images: float = setting(0.0, 0, 1, when={"kind": ("ours",)})
    second_weight: float = setting(0.0, 0, 1e3, when={"head": ("emotions",)})

    precision: str = setting("auto", choices=PRECISIONS)
    seed: int = setting(0, 0, 2**31 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.config(["any"], [0.0] * self.channels, [1.0] * self.channels)  # checks the widths of the kind

    @property
    def schedule(self) -> Schedule:
        """For `learn.loop.fit`: the best epoch on the held-back images is kept; the learner sets the learning rate."""
        return Schedule(self.epochs, seed=self.seed)

    def config(
        self, classes: Sequence[str], mean: Sequence[float], spread: Sequence[float], second: Sequence[str] = ()
    ) -> ExpressionConfig:
        """The network of this recipe."""
        own = {each.name for each in fields(ExpressionConfig)} & {each.name for each in fields(self)}
        parts = {name: getattr(self, name) for name in own}
        return ExpressionConfig(tuple(classes), tuple(second), mean=tuple(mean), spread=tuple(spread), **parts)

    def on_backbone(self, start: ExpressionRecipe) -> ExpressionRecipe:
        """The same training with the backbone of `start`; UsageError where this recipe sets another."""
        default = ExpressionRecipe()
        for name in _BACKBONE:
            found, expected = getattr(self, name), getattr(start, name)
            if found not in (expected, getattr(default, name)):
                raise UsageError(
                    f"The weights to start from have {name} {expected!r}, found {found!r}; leave {name} out."
                )
        return replace(self, **{name: getattr(start, name) for name in _BACKBONE})
