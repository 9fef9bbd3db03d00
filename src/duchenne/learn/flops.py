"""How many multiply-adds a network takes, counted where they happen: in its filters, layers and recurrences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

__all__ = ["counted", "flops"]


@contextmanager
def counted(net: nn.Module) -> Iterator[list[int]]:
    """Inside, `sum` of what is yielded grows by the multiply-adds of the net's filters, layers and LSTMs.

    As papers count: norms, pooling, nonlinearities and biases are left out. A clip's share is the sum over its batch.
    """
    found: list[int] = []

    def note(module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            found.append(out.numel() * prod(module.weight.shape[1:]))
        elif isinstance(module, nn.Linear):
            found.append(out.numel() * module.in_features)
        elif isinstance(module, nn.LSTM):
            data = args[0].data if hasattr(args[0], "batch_sizes") else args[0]  # packed: frames in a row
            steps = data.numel() // data.shape[-1]
            found.append(steps * sum(p.numel() for name, p in module.named_parameters() if "weight" in name))

    hooks = [module.register_forward_hook(note) for module in net.modules()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def flops(net: nn.Module, shape: Sequence[int]) -> int:
    """Multiply-adds of `net` for floats of `shape`, batch first; nothing is computed, and the net stays as it is."""
    state = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    was = {module: module.training for module in net.modules()}
    net.eval()
    try:
        with counted(net) as found, torch.no_grad():
            functional_call(net, {k: v.to("meta") for k, v in state.items()}, torch.empty(*shape, device="meta"))
    finally:
        for module, training in was.items():
            module.training = training
    return sum(found)
