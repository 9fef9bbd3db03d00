"""Forward passes that are watched: as far as one layer, with another rule at each ReLU, or with every path open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from duchenne.errors import ModelError, UsageError
from duchenne.types import Array

FILTERS = (nn.modules.conv._ConvNd, nn.Linear)
_RELU = {"relu", "relu_"}
#: Activations for which neither rule says how a signal goes back.
_OTHER = {
    *("celu", "elu", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "prelu", "relu6"),
    *("rrelu", "selu", "sigmoid", "silu", "softmax", "softplus", "tanh", "elu_", "hardtanh_", "leaky_relu_"),
}
_LINEAR = {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear"}


class _Reached(Exception):
    """The layer has spoken: what lies above it need not run."""


@dataclass
class Heard:
    """What a layer puts out: `at` after its batch norm and before its ReLU, `out` after it."""

    at: Tensor
    out: Tensor
    whole: bool = False  # nothing that belongs to it can follow


class Forward(TorchFunctionMode):
    """Watches every torch function of a forward pass, so that it sees ReLUs that are no modules and used twice."""

    last: tuple[Tensor, Tensor] | None = None  # what the last ReLU was given, and what it made of it

    def __init__(self, relu: Callable[[Tensor], Tensor], instead: Callable[..., Any] | None, count: int) -> None:
        super().__init__()
        self.relu, self.instead, self.count = relu, instead, count
        self.heard: dict[str, Heard] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        given = (*args, *kwargs.values())
        waiting = [h for h in self.heard.values() if not h.whole and any(each is h.at for each in given)]
        if name in _RELU:
            made = self.relu(given[0])
            self.last = given[0], made
            for heard in waiting:
                heard.out, heard.whole = made, True
        else:
            if name in _OTHER and self.instead is None and self.relu is not torch.relu and not waiting:
                raise ModelError(
                    f"The views know ReLU only, and this network applies {name}; no view can be made of it."
                )
            made = self.instead(name, func, args, kwargs) if self.instead else func(*args, **kwargs)
            for heard in waiting if isinstance(made, Tensor) else ():
                if name == "batch_norm":
                    heard.at = heard.out = made
                else:
                    heard.whole = True
        self._rest()
        return made

    def speak(self, name: str, out: Tensor) -> None:
        if name not in self.heard:
            ends = self.last is not None and self.last[1] is out  # the layer ends in its ReLU
            self.heard[name] = Heard(self.last[0] if self.last and ends else out, out, ends)
            self._rest()

    def _rest(self) -> None:
        if len(self.heard) == self.count and all(heard.whole for heard in self.heard.values()):
            raise _Reached


def named(net: nn.Module) -> dict[str, nn.Module]:
    """The layers that can be asked for: those that the network itself names in `layers`, else every module."""
    own = getattr(net, "layers", None)
    return own if isinstance(own, dict) else {name: module for name, module in net.named_modules() if name}


def forward(
    net: nn.Module,
    layer: str,
    x: Tensor,
    relu: Callable[[Tensor], Tensor] = torch.relu,
    instead: Callable[..., Any] | None = None,
) -> Heard:
    """Run `net` on x as far as `layer`; errors as of `hear`."""
    return hear(net, [layer], x, relu, instead)[layer]


def hear(
    net: nn.Module,
    layers: Sequence[str],
    x: Tensor,
    relu: Callable[[Tensor], Tensor] = torch.relu,
    instead: Callable[..., Any] | None = None,
) -> dict[str, Heard]:
    """Run `net` on x as far as the last of `layers` to speak. UsageError for a layer that it does not have, ModelError
    for one that it does not run."""
    known = named(net)
    for layer in layers:
        if layer not in known:
            own = isinstance(getattr(net, "layers", None), dict)
            listed = ", ".join(name for name, module in known.items() if own or isinstance(module, FILTERS))
            raise UsageError(f"The network has no layer named '{layer}'; choose one of: {listed}.")
    mode = Forward(relu, instead, len(set(layers)))
    hooks = [known[name].register_forward_hook(_speaker(mode, name)) for name in dict.fromkeys(layers)]
    try:
        with mode:
            net(x)
    except _Reached:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    for layer in layers:
        if layer not in mode.heard:
            raise ModelError(f"The network does not run its layer '{layer}'; choose another.")
        at = mode.heard[layer].at
        if at.ndim not in (2, 4) or len(at) != len(x):
            raise UsageError(f"Layer '{layer}' puts out {tuple(at.shape)}; choose one with maps or numbers per image.")
    return mode.heard


def _speaker(mode: Forward, name: str) -> Callable[..., None]:
    return lambda _module, _given, out: mode.speak(name, out)


@contextmanager
def still(net: nn.Module) -> Iterator[None]:
    """Without dropout and with the batch norm's stored moments; every module gets its own mode back."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def tensor(net: nn.Module, pixels: Array, dtype: torch.dtype | None = None) -> Tensor:
    like = next(net.parameters(), torch.zeros(0))
    return torch.from_numpy(np.array(pixels, np.float32)).to(like.device, dtype or like.dtype)


class Rule:
    """The two rules for a signal that goes back through a ReLU; one forward pass serves both."""

    guided = False

    def relu(self, x: Tensor) -> Tensor:
        out: Tensor = _Gate.apply(x, self)  # type: ignore[no-untyped-call]
        return out


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rule: Rule) -> Tensor:
        ctx.rule = rule
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        passed = signal.clamp(min=0)
        return (passed * (x > 0) if ctx.rule.guided else passed), None


# --- what a unit can see ------------------------------------------------------------------------------------


def boxes(net: nn.Module, layer: str, shape: tuple[int, ...], size: tuple[int, ...]) -> Array:
    """int64 (h, w, 4): top, left, bottom, right of the pixels on which each place of a map can depend.

    Found by running the network with every weight positive and every maximum a mean: whatever a unit depends on then
    gets a signal, and nothing can cancel. Rows and columns part, so the diagonal tells all.
    """
    # on the CPU, for not every device has double precision
    x = torch.ones((1, *shape), dtype=torch.float64).requires_grad_()
    with still(net), torch.enable_grad():
        maps = forward(net, layer, x, _same, _open).at.reshape(-1, *size)
    ends = np.zeros((2, max(size), 2), np.int64)  # (rows or columns, place, start and stop)
    for i in range(max(size)):
        y, z = min(i, size[0] - 1), min(i, size[1] - 1)
        (signal,) = torch.autograd.grad(maps[:, y, z].sum(), x, retain_graph=True)
        seen = signal[0].abs().sum(dim=0).numpy() > 0
        for axis, at in ((0, y), (1, z)):
            there = np.flatnonzero(seen.any(axis=1 - axis))
            ends[axis, at] = (there[0], there[-1] + 1) if len(there) else (0, shape[1 + axis])
    rows, columns = np.broadcast_arrays(ends[0, : size[0], None], ends[1, None, : size[1]])
    return np.stack([rows[..., 0], columns[..., 0], rows[..., 1], columns[..., 1]], axis=-1)


def _same(x: Tensor) -> Tensor:
    return x


def _open(name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """The same step with all weights equal and positive, in double precision, and with maxima as means."""
    if name in _LINEAR:
        x, weight, *rest = args
        even = torch.full(weight.shape, 1 / weight[0].numel(), dtype=x.dtype)
        return func(x, even, *[None, *rest[1:]][: len(rest)])
    if name == "batch_norm":
        return args[0]
    if name.startswith("adaptive_max_pool"):
        return getattr(nn.functional, name.replace("max", "avg"))(*args[:2])
    if name.startswith("max_pool"):
        return _mean_pool(name, *args, **{k: v for k, v in kwargs.items() if k != "return_indices"})
    return func(*args, **kwargs)


def _mean_pool(
    name: str, x: Tensor, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Tensor:
    pool = getattr(nn.functional, name.replace("max", "avg"))
    side, apart = (np.broadcast_to(each, x.ndim - 2) for each in (kernel, dilation))
    wide = tuple(int(k) for k in apart * (side - 1) + 1)
    made: Tensor = pool(x, wide, stride or kernel, padding, ceil_mode)
    return made
