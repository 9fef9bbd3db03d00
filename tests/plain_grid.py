"""The 2D Grid LSTM and LSTM-PB once more, as slowly and plainly as they can be written: one clip, one frame, one gate
at a time, for tests to compare with. Vectors are one-dimensional; autograd makes the gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from duchenne.lstm_pb.grid import GridLSTM
from duchenne.lstm_pb.network import LSTMPB


def lstm(weight: Tensor, bias: Tensor, first: Tensor, second: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """(hidden, memory) of one LSTM step on two inputs; gates lie as i, f, o, g."""
    size = len(memory)
    z = [
        weight[k * size : (k + 1) * size, :size] @ first
        + weight[k * size : (k + 1) * size, size:] @ second
        + bias[k * size : (k + 1) * size]
        for k in range(4)
    ]
    memory = torch.sigmoid(z[1]) * memory + torch.sigmoid(z[0]) * torch.tanh(z[3])
    return torch.sigmoid(z[2]) * torch.tanh(memory), memory


def frame(
    grid: GridLSTM, below: Tensor | None, context: Tensor, hidden: list[Tensor], memory: list[Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """(top's depth hidden state, time hidden and memory states of each layer) after one frame."""
    depth = grid.context_in @ context + (0 if below is None else below)
    depth_memory = torch.zeros_like(depth)
    new_hidden, new_memory = [], []
    for layer in range(grid.num_layers):
        h, m = lstm(grid.time_weight[layer], grid.time_bias[layer], depth, hidden[layer], memory[layer])
        depth, depth_memory = lstm(grid.depth_weight, grid.depth_bias, h, depth, depth_memory)
        new_hidden.append(h)
        new_memory.append(m)
    return depth, new_hidden, new_memory


def run_grid(
    grid: GridLSTM,
    below: Tensor | None,
    beside: Tensor | None,
    steps: int,
    through: bool,
    state: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """(out (T, H), state after it) of one clip: `below`, `beside` (T, H), state (L, H), (L, H), (C,)."""
    hidden, memory, context = list(state[0]), list(state[1]), state[2]
    rows = []
    for t in range(steps):
        top, hidden, memory = frame(grid, None if below is None else below[t], context, hidden, memory)
        top = top if through else torch.relu(top)
        rows.append(top if beside is None else top + beside[t])
        context = grid.context_out @ (rows[-1] if through else top)
    return torch.stack(rows), (torch.stack(hidden), torch.stack(memory), context)


def run_pb(model: LSTMPB, x: Tensor, pb: Tensor) -> Tensor:
    """Predictions (T, inputs) of one clip x (T, inputs) where every frame has a PB vector of its own, (T, pb)."""
    grid, reading = model.grid, model.config.reading
    zero = x.new_zeros
    hidden = [zero(grid.hidden_size) for _ in range(grid.num_layers)]
    memory = [zero(grid.hidden_size) for _ in range(grid.num_layers)]
    context, rows = zero(grid.context_size), []
    for t in range(len(x)):
        seen = model.from_x.weight @ x[t] + model.from_x.bias
        if reading == "rnnpb":
            told = model.from_pb.weight @ torch.sigmoid(model.config.steepness * pb[t])
            top, hidden, memory = frame(grid, seen + told, context, hidden, memory)
            h = top
        else:
            told = model.from_pb.weight @ pb[t] + model.from_pb.bias
            top, hidden, memory = frame(grid, model.context_bias[:, 0], context, hidden, memory)
            top = top.clamp(min=0) if reading == "published-code" else top
            if model.from_grid is not None:
                top = model.from_grid.weight @ top + model.from_grid.bias
            h = seen.clamp(min=0) + told.clamp(min=0) + top
        rows.append(torch.tanh(model.out.weight @ h + model.out.bias))
        read = rows[-1] if model.config.context == "output" else top if reading == "published-code" else h
        context = grid.context_out @ read
    return torch.stack(rows)
