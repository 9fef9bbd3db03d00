"""LSTM with parametric bias: a network that predicts the next frame, conditioned on one vector per sequence.

Huynh & Kim, "Discrimination between genuine versus fake emotion using long-short term memory with parametric bias and
facial landmarks", ICCV Workshops 2017. The parametric bias (PB) stays the same over a sequence. Three readings share
this file:

paper           h_t = relu(W_x x_t + b_x) + relu(W_p p + b_p) + grid(c_{t-1}), c_t read from h_t: landmarks and PB reach
                the recurrence through the context (figure 3 and section 2.3). Two switches follow section 2.3 further:
                `grid_layer`, the grid's output is fully connected to the hidden layer, W_g grid(c_{t-1}) + b_g
                (2.3.5); `context` "output", a Jordan network's: c_t is read from the prediction.
published-code  c_t is read from the rectified grid alone, as in the authors' program: neither landmarks nor PB enter
                the recurrence, so its trace is the same for every video and is computed once.
rnnpb           x_t and p enter the recurrence itself, and p = sigmoid(ρ/ζ) of an internal value ρ (Tani, Neural
                Networks 16, 2003; Ito & Tani, Adaptive Behavior 12, 2004).

In all of them the prediction of the next frame is tanh(W_o h_t + b_o).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from duchenne.lstm_pb.grid import GridLSTM

READINGS = ("paper", "published-code", "rnnpb")
State = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class LSTMPBConfig:
    """Sizes; the defaults are the paper's (10.7 million weights). `steepness` is 1/ζ of reading rnnpb, `grid_layer` and
    `context` are of reading paper."""

    reading: str = "paper"
    inputs: int = 80
    pb_size: int = 64
    context_size: int = 64
    hidden_size: int = 512
    num_layers: int = 4
    steepness: float = 1.0
    grid_layer: bool = False
    context: str = "hidden"


class LSTMPB(nn.Module):
    """x (B, T, inputs) in [-1, 1] and PB (B, pb) → predictions (B, T, inputs), where row t is of frame t + 1."""

    def __init__(self, config: LSTMPBConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or LSTMPBConfig()
        fed_back = c.inputs if c.context == "output" else 0
        self.grid = GridLSTM(c.hidden_size, c.num_layers, c.context_size, fed_back)
        self.from_x = nn.Linear(c.inputs, c.hidden_size)
        # without a bias PB could never leave zero, where it starts: the gradient of relu is zero there
        self.from_pb = nn.Linear(c.pb_size, c.hidden_size, bias=c.reading != "rnnpb")
        self.out = nn.Linear(c.hidden_size, c.inputs)
        self.from_grid = nn.Linear(c.hidden_size, c.hidden_size) if c.grid_layer else None
        for layer in filter(None, (self.from_x, self.from_pb, self.out, self.from_grid)):  # uniform, as in the paper
            bound = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound)
        nn.init.zeros_(self.out.bias)
        if c.reading != "rnnpb":  # as in the authors' program: the context has a bias, the time LSTMs' gates start at 1
            bound = c.context_size**-0.5
            self.context_bias = nn.Parameter(torch.empty(c.hidden_size, 1).uniform_(-bound, bound))
            nn.init.ones_(self.grid.time_bias)

    def forward(self, x: Tensor, pb: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """(predictions (B, T, inputs), state after the last frame). No gradient flows into `state`."""
        batch, steps, _ = x.shape
        into = self.from_x(x).permute(1, 2, 0)  # (T, H, B)
        bias = self.from_pb(self.bias(pb)).T  # (H, B)
        if self.config.reading == "rnnpb":
            hidden, state = self.grid(into + bias, None, steps=steps, batch=batch, state=state)
        elif self.from_grid is not None or self.config.context == "output":
            hidden, state = self._connected(into.relu() + bias.relu(), state)
        elif self.config.reading == "paper":
            below = self.context_bias.expand(steps, -1, batch)
            hidden, state = self.grid(below, into.relu() + bias.relu(), steps=steps, batch=batch, state=state)
        else:  # one trace for all videos, as nothing of a video enters
            below = self.context_bias.expand(steps, -1, 1)
            trace, state = self.grid(below, None, steps=steps, batch=1, through=False, state=state)
            hidden = trace + (into.relu() + bias.relu())
        return torch.tanh(self.out(hidden.permute(2, 0, 1))), state

    def _connected(self, beside: Tensor, state: State | None) -> tuple[Tensor, State]:
        """(hidden sequence (T, H, B), state) with the layer W_g, the context of the output, or both.

        W_g is linear, so that the recurrence can be run on the grid alone: where c_t = W_k (U_t + W_g g_t), it reads
        W_k W_g g_t and the bottom gets W_k U_{t-1} beforehand; and y_t = tanh(W_o U_t + b_o + W_o W_g g_t).
        """
        (steps, _, batch), layer, out_weight = beside.shape, self.from_grid, self.out.weight
        below = self.context_bias.expand(steps, -1, batch)
        if layer is not None:
            beside, out_weight = beside + layer.bias[:, None], out_weight @ layer.weight
        if self.config.context == "output":
            read = out_weight, self.out.weight @ beside + self.out.bias[:, None]
            grid, state = self.grid(below, None, steps=steps, batch=batch, state=state, output=read)
        else:
            assert layer is not None
            known = self.grid.context_out @ beside
            below = below + torch.cat([torch.zeros_like(beside[:1]), self.grid.context_in @ known[:-1]])
            through = self.grid.context_out @ layer.weight
            grid, state = self.grid(below, None, steps=steps, batch=batch, state=state, context_out=through)
            state = *state[:2], state[2] + known[-1].detach()
        return beside + (grid if layer is None else layer.weight @ grid), state

    def bias(self, pb: Tensor) -> Tensor:
        """The output of the PB nodes: in `rnnpb` the sigmoid of their internal value, else the value itself."""
        return torch.sigmoid(self.config.steepness * pb) if self.config.reading == "rnnpb" else pb

    @torch.no_grad()
    def generate(self, pb: Tensor, seed: Tensor, steps: int) -> Tensor:
        """Closed loop: `steps` frames (B, steps, inputs) after `seed` (B, S, inputs), each from the one before."""
        predicted, state = self(seed, pb)
        frame, frames = predicted[:, -1:], []
        for _ in range(steps):
            frames.append(frame)
            frame, state = self(frame, pb, state)
        return torch.cat(frames, dim=1) if frames else seed[:, :0]


def prediction_error(predicted: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """(B,): mean squared error of each sequence's next-frame predictions over its real frames.

    predicted, x (B, T, inputs); mask bool (B, T), True for real frames: row t counts where frame t + 1 is real.
    """
    real = mask[:, 1:].to(x.dtype)
    error = ((predicted[:, :-1] - x[:, 1:]) ** 2).mean(dim=-1)
    return (error * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)


def recognise(
    model: LSTMPB,
    x: Tensor,
    mask: Tensor,
    *,
    steps: int = 50,
    learning_rate: float = 0.9,
    momentum: float = 0.0,
    adaptive: bool = True,
) -> tuple[Tensor, Tensor]:
    """(PB (B, pb), error of every step (steps + 1, B)): recognition, with fixed weights and PB from zero.

    Equations 1 and 2: p ← p + δp, δp the mean over frames of the error at the PB nodes: gradient descent on the mean
    prediction error. If `adaptive`, a step that raises a sequence's error is undone and its learning rate halved, so
    that the error never rises; else the steps are as in the equations. For `published-code` use `first_step`.
    """
    pb = x.new_zeros(len(x), model.config.pb_size)
    velocity = torch.zeros_like(pb)
    rates = x.new_full((len(x), 1), learning_rate)
    error, gradient = _pb_gradient(model, x, mask, pb)
    errors = [error]
    for _ in range(steps):
        direction = -gradient * model.config.inputs  # the error at the output nodes is a sum over them
        velocity = momentum * velocity + rates * direction
        new_pb = pb + velocity
        new_error, new_gradient = _pb_gradient(model, x, mask, new_pb)
        if not adaptive:
            pb, error, gradient = new_pb, new_error, new_gradient
            errors.append(error)
            continue
        better = (new_error <= error).unsqueeze(1)
        pb, gradient = torch.where(better, new_pb, pb), torch.where(better, new_gradient, gradient)
        error = torch.minimum(new_error, error)
        velocity = torch.where(better, velocity, torch.zeros_like(velocity))
        rates = torch.where(better, rates * 1.1, rates * 0.5)
        errors.append(error)
    return pb, torch.stack(errors)


def _pb_gradient(model: LSTMPB, x: Tensor, mask: Tensor, pb: Tensor) -> tuple[Tensor, Tensor]:
    """(error (B,), its gradient at the PB nodes (B, pb)); the weights take no gradient."""
    trainable = [weight.requires_grad for weight in model.parameters()]
    model.requires_grad_(False)
    try:
        free = pb.detach().requires_grad_(True)
        error = prediction_error(model(x, free)[0], x, mask)
        (gradient,) = torch.autograd.grad(error.sum(), free)
    finally:
        for weight, trains in zip(model.parameters(), trainable, strict=True):
            weight.requires_grad_(trains)
    return error.detach(), gradient


def first_step(model: LSTMPB, x: Tensor) -> Tensor:
    """(B, pb): PB as in the published program: one step of size 1 up the gradient of the first frame's prediction
    error. It depends on the first two frames of a video and on nothing else."""
    mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)[:, :2]
    return _pb_gradient(model, x[:, :2], mask, x.new_zeros(len(x), model.config.pb_size))[1]
