"""Settings of an LSTM-PB and its training: see `learn.recipes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from duchenne.errors import UsageError
from duchenne.learn.loop import Schedule
from duchenne.learn.recipes import Above, Recipe, setting
from duchenne.lstm_pb import network
from duchenne.lstm_pb.network import LSTMPBConfig
from duchenne.lstm_pb.solved_network import SolvedPBConfig

READINGS = (*network.READINGS, "solved")
_PAPER = {"reading": network.READINGS}
_SOLVED = {"reading": ("solved",)}
_RECOGNISED = {"reading": ("paper", "rnnpb")}
_OF_PAPER = {"reading": ("paper",)}
_BOOSTED = {"classifier": ("boosting",)}


@dataclass(frozen=True)
class PBRecipe(Recipe):
    """Input, network, then training.

    head, pose, fps     see `features.sequences.SequenceReader`
    grid_layer, context  of reading paper: see `lstm_pb.network`
    per_emotion         one network per emotion, as in the paper, or one for all
    summed              a batch takes the sum of its clips' steps, not their mean: one step per clip, as in the paper,
                        of which the last is taken `batch_size` - 1 steps late
    pb_per_class        two PB vectors are trained, of posed and of genuine, as in the paper, and not one per clip
    learning_rate, pb_learning_rate  of the weights and of the PB vectors
    momentum, pb_momentum  of SGD, and of recognition
    lr_patience         epochs without improvement before the learning rates are divided by ten
    early_stopping_patience  epochs without improvement before training ends; 0: never
    validation_fraction  share of the training people whose prediction error stops training; 0: none
    augmented_copies, jitter  copies of a clip, in training and in use, that are shifted and scaled as a whole, and how
                        far they are shifted (x, y), in halves of a face
    trimmed_boxes, trim  copies of a training clip with landmarks found again in trimmed face boxes, as in the paper
                        (`faces.trimmed`), and the share of the box's side up to which each edge is trimmed
    recognition_steps   steps of recognition
    recognition         "fixed": equations 1 and 2 as they stand; "adaptive": a step that raises the error is undone
    classifier          of PB vectors: logistic regression; boosting of `n_estimators` trees, with XGBoost's other
                        settings; or "nearest", the class whose PB vector is nearer
    n_networks          networks, each of which leaves out other people; one more calibrates their mean
    prediction_weight   weight of the prediction error in the loss, beside the labels
    """

    folder: ClassVar[str] = "lstm-pb"

    reading: str = setting("paper", choices=READINGS)
    hidden_size: int = setting(128, 1, 8192, was="hidden")
    num_layers: int = setting(4, 1, 64, was="layers")
    pb_size: int = setting(64, 1, 8192, was="pb")
    context_size: int = setting(64, 1, 8192)
    grid_layer: bool = setting(False, when=_OF_PAPER)
    context: str = setting("hidden", choices=("hidden", "output"), when=_OF_PAPER)
    fps: float = setting(12.5, 1, 1000, required=True)
    head: bool = False
    pose: bool = False
    per_emotion: bool = False
    epochs: int = setting(30, 1, 1_000_000)
    batch_size: int = setting(32, 1, 1_000_000, was="batch")
    summed: bool = setting(False, when=_PAPER)
    optimizer: str = setting("adam", choices=("adam", "sgd"), when=_PAPER, was="adam")
    learning_rate: float = setting(2e-3, 1e-12, 1e6, was="rate")
    pb_learning_rate: float = setting(0.9, 1e-12, 1e6, when=_PAPER, was="pb_rate")
    momentum: float = setting(0.0, 0, 0.9999, when={"optimizer": ("sgd",)})
    pb_momentum: float = setting(0.0, 0, 0.9999, when=_RECOGNISED)
    pb_per_class: bool = setting(False, when=_RECOGNISED)
    lr_patience: int = setting(10, 1, 1_000_000, when=_PAPER, was="patience")
    early_stopping_patience: int = setting(0, 0, 1_000_000, when=_PAPER, was="stop")
    validation_fraction: float = setting(0.0, 0, 0.5, when=_PAPER, was="held_out")
    augmented_copies: int = setting(1, 1, 1_000_000, when=_PAPER, was="copies")
    jitter: tuple[float, float] = setting((0.06, 0.03), 0, 1, when={"augmented_copies": Above(1)})
    trimmed_boxes: int = setting(0, 0, 10_000, when={**_PAPER, "augmented_copies": (1,)})
    trim: float = setting(0.1, 0, 0.4, when={"trimmed_boxes": Above(0)})
    recognition_steps: int = setting(20, 0, 1_000_000, when=_RECOGNISED)
    recognition: str = setting("adaptive", choices=("adaptive", "fixed"), when=_RECOGNISED)
    classifier: str = setting("logistic", choices=("logistic", "boosting", "nearest"), when=_PAPER)
    n_estimators: int = setting(200, 1, 1_000_000, when=_BOOSTED, was="trees")
    max_depth: int = setting(2, 1, 64, when=_BOOSTED)
    tree_learning_rate: float = setting(0.05, 1e-12, 10, when=_BOOSTED)
    reg_lambda: float = setting(10.0, 0, 1e6, when=_BOOSTED)
    n_networks: int = setting(5, 2, 100, when=_SOLVED, was="bag")
    dropout: float = setting(0.2, 0, 0.9, when=_SOLVED)
    weight_decay: float = setting(0.05, 0, 1e6, when=_SOLVED, was="decay")
    prediction_weight: float = setting(0.3, 0, 1e6, when=_SOLVED, was="prediction")
    seed: int = setting(0, 0, 2**31 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head and self.pose:
            raise UsageError("head and pose both give the head's movement; set one of them.")

    @classmethod
    def of_reading(cls, reading: str, **changes: Any) -> Self:
        """The shipped recipe of a reading, at a size that a CPU can train; `changes` as in `read`."""
        name = {"solved": "lstm-pb", "published-code": "lstm-pb-code"}.get(reading, "lstm-pb-small")
        return cls.read(name, reading=reading, **changes)

    @property
    def by_class(self) -> bool:
        """Whether PB vectors are trained per class, not per clip."""
        return self.pb_per_class or self.reading == "published-code"

    @property
    def inputs(self) -> int:
        """Numbers of a frame."""
        return 86 if self.pose else 80

    @property
    def config(self) -> LSTMPBConfig:
        """The network's sizes, for all readings but solved."""
        return LSTMPBConfig(
            self.reading, self.inputs, self.pb_size, self.context_size, self.hidden_size, self.num_layers,
            grid_layer=self.grid_layer, context=self.context,
        )  # fmt: skip

    @property
    def solved_config(self) -> SolvedPBConfig:
        """The network's sizes, for the reading solved."""
        sizes = self.inputs, self.pb_size, self.context_size, self.hidden_size, self.num_layers
        return SolvedPBConfig(*sizes, dropout=self.dropout)

    @property
    def schedule(self) -> Schedule:
        """The training loop's settings."""
        if self.reading == "solved":  # its rate decays and its weights are averaged: the last is the best
            return Schedule(self.epochs, seed=self.seed, keep="last")
        patience = self.early_stopping_patience
        return Schedule(self.epochs, self.lr_patience, early_stopping_patience=patience, seed=self.seed)
