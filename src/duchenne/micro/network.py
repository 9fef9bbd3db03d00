"""The class of a brief movement from the features of the face over time: one LSTM.

Breuer & Kimmel, "A Deep Learning Perspective on the Origin of Facial Expressions", on micro-expressions: the first
fully connected layer of the expression network → one LSTM with recurrent dropout → output. A movement is
resampled to a fixed number of moments, from its onset to its offset, whatever its length and the camera's rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from duchenne.errors import InputError, UsageError

_CONSTANT = 1e-6  # a feature with a smaller standard deviation is constant


@dataclass(frozen=True)
class MicroConfig:
    """Architecture, input and outputs of the network.

    classes    names of the outputs, in order
    inputs     features per moment; `frames` moments per movement
    hidden_size  width of the LSTM
    relative   each movement's first moment is subtracted from all of it, which removes identity
    dropout    of the input at each moment and of the last hidden state
    recurrent_dropout  of the hidden state, with the same mask throughout a movement (Gal & Ghahramani 2016)
    """

    classes: tuple[str, ...]
    inputs: int
    frames: int = 24
    hidden_size: int = 64
    relative: bool = True
    dropout: float = 0.5
    recurrent_dropout: float = 0.25

    def __post_init__(self) -> None:
        """UsageError for settings that are not possible."""
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes) or not all(self.classes):
            raise UsageError(f"A micro-expression network needs two or more distinct classes, found {self.classes}.")
        if min(self.inputs, self.frames - 1, self.hidden_size) < 1:
            raise UsageError(
                f"A micro-expression network needs inputs and hidden units and at least 2 frames, found {self.inputs}, "
                f"{self.hidden_size} and {self.frames}."
            )


class MicroLSTM(nn.Module):
    """float (B, frames, inputs) → logits (B, classes), from the last hidden state.

    Call `measure` on the training movements before the first `forward`.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, config: MicroConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.inputs))
        self.register_buffer("spread", torch.ones(config.inputs))
        self.cell = nn.LSTMCell(config.inputs, config.hidden_size)
        self.drop = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden_size, len(config.classes))
        with torch.no_grad():  # forget gates start open
            assert self.cell.bias_ih is not None
            self.cell.bias_ih[config.hidden_size : 2 * config.hidden_size] = 1.0

    def moved(self, x: Tensor) -> Tensor:
        """(B, frames, inputs): features before they are standardised; InputError for another shape."""
        config = self.config
        if x.ndim != 3 or tuple(x.shape[1:]) != (config.frames, config.inputs):
            raise InputError(
                f"The network reads movements of {config.frames} moments and {config.inputs} features, found "
                f"{'×'.join(map(str, x.shape[1:]))}."
            )
        x = x.float()
        return x - x[:, :1] if config.relative else x

    @torch.no_grad()
    def measure(self, x: Tensor) -> None:
        """Set mean and spread of each feature from training movements (N, frames, inputs)."""
        flat = self.moved(x).flatten(0, 1).double()
        spread = flat.std(dim=0, correction=0)
        self.mean.copy_(flat.mean(dim=0))
        self.spread.copy_(torch.where(spread > _CONSTANT, spread, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes)."""
        x = (self.moved(x) - self.mean) / self.spread
        h = x.new_zeros(len(x), self.config.hidden_size)
        c = torch.zeros_like(h)
        keep = 1 - self.config.recurrent_dropout
        mask = torch.ones_like(h)
        if self.training and keep < 1:
            mask = torch.bernoulli(torch.full_like(h, keep)) / keep
        for moment in x.unbind(1):
            h, c = self.cell(self.drop(moment), (h * mask, c))
        found: Tensor = self.head(self.drop(h))
        return found
