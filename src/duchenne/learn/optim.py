"""Device, precision, optimiser, learning rate, averaged weights, and what a checkpoint holds of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from duchenne.errors import UsageError


def device_of(name: str) -> torch.device:
    """A torch device by name; "auto" is a GPU if there is one. UsageError if it is not available."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if there["cuda"] else "mps" if there["mps"] else "cpu")
    if not there.get(name):
        known = ", ".join(each for each, available in there.items() if available)
        raise UsageError(f"There is no device '{name}' for this torch; choose auto or one of {known}.")
    return torch.device(name)


def bf16(precision: str, device: torch.device) -> bool:
    """Whether to train in bfloat16: if requested, or if "auto" and the hardware supports it."""
    if precision != "auto" or device.type == "mps":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())  # without it, it is emulated, and slow


def described(device: torch.device) -> str:
    """The device with its name: "cpu", "cuda NVIDIA H100"."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return f"{device.type} {name}".strip()


def adamw(
    parts: Iterable[tuple[Iterable[nn.Parameter], float]], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW for (weights, scale of their learning rate); biases and norms, which have one axis, do not decay."""
    groups = [
        {"params": some, "weight_decay": weight_decay if decays else 0.0, "lr_scale": scale}
        for weights, scale in ((list(weights), scale) for weights, scale in parts)
        for decays in (True, False)
        if (some := [weight for weight in weights if (weight.ndim > 1) == decays])
    ]
    return torch.optim.AdamW(groups, lr=learning_rate)


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of the next step, times each group's `lr_scale`."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate * group.get("lr_scale", 1.0)


def warmup_cosine(learning_rate: float, step: int, steps: int, warmup_steps: int = 0, cosine: bool = True) -> float:
    """Learning rate of a step: linear warm-up over `warmup_steps`, cosine decay to 0 over `steps`."""
    ease = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / steps)) if cosine else 1.0
    return learning_rate * min(1.0, (step + 1) / (warmup_steps + 1)) * ease


def descend(loss: Tensor, optimiser: torch.optim.Optimizer, network: nn.Module, max_norm: float = math.inf) -> float:
    """One optimiser step, the gradient clipped to the norm `max_norm`; returns the loss."""
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if math.isfinite(max_norm):
        nn.utils.clip_grad_norm_(network.parameters(), max_norm)
    optimiser.step()
    return float(loss.detach())


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """average ← average + share · (network − average), share = 1 − min(decay, step / (step + 9)); counts are copied."""
    share = 1 - min(decay, step / (step + 9))
    for mean, now in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, share)
        else:
            mean.copy_(now)


def state(networks: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Tensors from which training can resume: the networks' by name, and the optimiser's moments."""
    found = {f"{name}.{key}": t.detach() for name, each in networks.items() for key, t in each.state_dict().items()}
    for i, moments in optimiser.state_dict()["state"].items():
        found |= {f"optimiser.{i}.{key}": torch.as_tensor(t) for key, t in moments.items() if t is not None}
    return found


def restore(networks: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Load a `state`, from any device."""
    for name, network in networks.items():
        network.load_state_dict(_below(f"{name}.", state))
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below("optimiser.", state).items():
        i, _, key = name.partition(".")
        found.setdefault(int(i), {})[key] = tensor.clone()
    optimiser.load_state_dict({"state": found, "param_groups": optimiser.state_dict()["param_groups"]})
    for weight, moments in optimiser.state.items():
        for key, tensor in moments.items():
            if tensor.shape == weight.shape and tensor.ndim:  # in the weight's own order in memory, as they were
                moments[key] = torch.empty_like(weight).copy_(tensor)


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
