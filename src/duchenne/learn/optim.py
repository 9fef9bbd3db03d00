"""Optimisers of networks: their state in a checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor


def moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's tensors by name, for a checkpoint."""
    return {
        f"optimiser.{i}.{name}": torch.as_tensor(value)
        for i, found in optimiser.state_dict()["state"].items()
        for name, value in found.items()
        if value is not None
    }


def set_moments(optimiser: torch.optim.Optimizer, state: dict[str, Tensor]) -> None:
    """Take up `moments`."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if name.startswith("optimiser."):
            _, i, kind = name.split(".", 2)
            found.setdefault(int(i), {})[kind] = tensor.clone()
    optimiser.load_state_dict({"state": found, "param_groups": optimiser.state_dict()["param_groups"]})
