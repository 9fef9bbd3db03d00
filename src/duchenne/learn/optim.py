"""What every trainer of networks needs of torch: device, precision, the optimiser and its state in a checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor

from duchenne.errors import UsageError


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


DEVICES = ("auto", "cpu", "cuda", "mps")


def device_of(asked: str) -> torch.device:
    """The device that is asked for; "auto" is a GPU where there is one. UsageError for one that is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return torch.device("cuda" if there["cuda"] else "mps" if there["mps"] else "cpu")
    if not there.get(asked):
        known = ", ".join(name for name, is_there in there.items() if is_there)
        raise UsageError(f"There is no device '{asked}' for this torch here; choose auto or one of {known}.")
    return torch.device(asked)


def bf16(precision: str, device: torch.device) -> bool:
    """Whether learning multiplies in bfloat16: where it is asked for, or the hardware does so."""
    if precision != "auto" or device.type == "mps":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())  # without it, it is emulated, and slow
