"""Multiply-adds of a network, counted in its convolutions, linear layers and LSTMs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import nn
from torch.func import functional_call


@contextmanager
def counted(net: nn.Module) -> Iterator[list[int]]:
    """Yield a list of the multiply-adds of each convolution, linear layer and LSTM that runs, summed over the batch.

    As papers count: without norms, pooling, nonlinearities and biases.
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
    """Multiply-adds of `net` for an input of `shape`, batch first; runs on the meta device, so nothing is computed."""
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
