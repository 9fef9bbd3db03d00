"""Settings of a micro-expression network and its training: see `learn.recipes`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from duchenne.learn.loop import Schedule
from duchenne.learn.recipes import Recipe, setting
from duchenne.micro.network import MicroConfig


@dataclass(frozen=True)
class MicroRecipe(Recipe):
    """The network (see `micro.network.MicroConfig`), then its training, which always runs to its last epoch, as
    there are too few people to hold any back.

    learning_rate       of Adam, decaying as a half cosine to 0
    weight_decay        decoupled (AdamW); biases do not decay
    batch_size          movements per step
    class_weight_power  0 to 1: classes weigh as their frequency to the power −class_weight_power
    tune_epochs         first the expression network is tuned for so many epochs to the training people (see
                        `micro.tuning`); 0: its weights stay
    """

    folder: ClassVar[str] = "micro"

    frames: int = setting(24, 2, 1000, was="steps")
    hidden_size: int = setting(64, 1, 4096, was="hidden")
    relative: bool = True
    dropout: float = setting(0.5, 0, 0.9)
    recurrent_dropout: float = setting(0.25, 0, 0.9, was="recurrent")

    epochs: int = setting(60, 1, 1_000_000)
    batch_size: int = setting(16, 1, 1_000_000, was="batch")
    learning_rate: float = setting(2e-3, 1e-12, 10, was="rate")
    weight_decay: float = setting(0.01, 0, 1e3, was="decay")
    class_weight_power: float = setting(1.0, 0, 1, was="balance")
    tune_epochs: int = setting(0, 0, 1_000_000)
    seed: int = setting(0, 0, 2**31 - 1)

    @property
    def schedule(self) -> Schedule:
        """For `learn.loop.fit`; the learner sets the learning rate."""
        return Schedule(self.epochs, seed=self.seed, keep="last")

    def config(self, classes: Sequence[str], inputs: int) -> MicroConfig:
        """The network of this recipe."""
        sizes = (self.frames, self.hidden_size, self.relative, self.dropout, self.recurrent_dropout)
        return MicroConfig(tuple(classes), inputs, *sizes)
