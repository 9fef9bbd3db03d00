"""Instrumented forward passes: up to a given layer, with another rule at each ReLU, or with every path open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from duchenne.errors import ModelError, UsageError
from duchenne.types import Array

FILTERS = (nn.modules.conv._ConvNd, nn.Linear)
_RELU = {"relu", "relu_"}
#: Activations for which neither rule says how a signal is propagated back.
_OTHER = {
    *("celu", "elu", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "prelu", "relu6"),
    *("rrelu", "selu", "sigmoid", "silu", "softmax", "softplus", "tanh", "elu_", "hardtanh_", "leaky_relu_"),
}
_LINEAR = {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear"}
#: A torch function, whose arguments and results are of many kinds.
_Function = Callable[..., Any]
#: (name, torch function, args, kwargs) → what stands for its result.
_Substitute = Callable[[str, _Function, tuple[Any, ...], dict[str, Any]], object]


class _Complete(Exception):
    """All requested layers have run: what lies above them need not."""


@dataclass
class LayerOutput:
    """What a layer puts out: `pre` after its batch norm and before its ReLU, `post` after the ReLU."""

    pre: Tensor
    post: Tensor
    is_complete: bool = False  # neither batch norm nor ReLU can follow


class _Recorder(TorchFunctionMode):
    """Intercepts every torch function of a forward pass, as ReLUs may be function calls or modules used twice."""

    last: tuple[Tensor, Tensor] | None = None  # input and output of the last ReLU

    def __init__(self, relu: Callable[[Tensor], Tensor], substitute: _Substitute | None, count: int) -> None:
        super().__init__()
        self.relu, self.substitute, self.count = relu, substitute, count
        self.outputs: dict[str, LayerOutput] = {}

    def __torch_function__(
        self, func: _Function, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        name, kwargs = func.__name__, kwargs or {}
        inputs = (*args, *kwargs.values())
        waiting = [o for o in self.outputs.values() if not o.is_complete and any(each is o.pre for each in inputs)]
        if name in _RELU:
            result: object = self.relu(inputs[0])
            assert isinstance(result, Tensor)
            self.last = inputs[0], result
            for output in waiting:
                output.post, output.is_complete = result, True
        else:
            if name in _OTHER and self.substitute is None and self.relu is not torch.relu and not waiting:
                raise ModelError(f"The views are defined for ReLU only, and this network applies {name}; show another.")
            result = self.substitute(name, func, args, kwargs) if self.substitute else func(*args, **kwargs)
            for output in waiting if isinstance(result, Tensor) else ():
                if name == "batch_norm" and isinstance(result, Tensor):
                    output.pre = output.post = result
                else:
                    output.is_complete = True
        self._stop_if_complete()
        return result

    def record(self, name: str, out: Tensor) -> None:
        if name not in self.outputs:
            ends = self.last is not None and self.last[1] is out  # the layer ends in its ReLU
            self.outputs[name] = LayerOutput(self.last[0] if self.last and ends else out, out, ends)
            self._stop_if_complete()

    def _stop_if_complete(self) -> None:
        if len(self.outputs) == self.count and all(output.is_complete for output in self.outputs.values()):
            raise _Complete


def own_layers(net: nn.Module) -> dict[str, nn.Module] | None:
    """The layers that the network itself names in a dictionary `layers`; None where it has none."""
    own = getattr(net, "layers", None)
    return own if isinstance(own, dict) else None


def listed_layers(net: nn.Module) -> dict[str, nn.Module]:
    """The layers to choose from: the network's own, else its convolutions and linear layers."""
    own = own_layers(net)
    return {n: m for n, m in net.named_modules() if isinstance(m, FILTERS)} if own is None else own


@contextmanager
def hooks(modules: Mapping[str, nn.Module], on_output: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call `on_output` with a module's name and its output whenever it has run."""

    def hook(name: str, _module: nn.Module, _args: object, out: Tensor) -> None:
        on_output(name, out)

    handles = [module.register_forward_hook(partial(hook, name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def run_to(
    net: nn.Module,
    layers: Sequence[str],
    x: Tensor,
    relu: Callable[[Tensor], Tensor] = torch.relu,
    substitute: _Substitute | None = None,
) -> dict[str, LayerOutput]:
    """Run `net` on x up to the last of `layers`: its own (see `own_layers`), else any of its modules.

    UsageError for a layer that it does not have, ModelError for one that it does not run.
    """
    own = own_layers(net)
    known = dict(net.named_modules()) if own is None else own
    for layer in layers:
        if not layer or layer not in known:
            listed = ", ".join(listed_layers(net))
            raise UsageError(f"The network has no layer named '{layer}'; choose one of: {listed}.")
    recorder = _Recorder(relu, substitute, len(set(layers)))
    with suppress(_Complete), hooks({name: known[name] for name in layers}, recorder.record), recorder:
        net(x)
    for layer in layers:
        if layer not in recorder.outputs:
            raise ModelError(f"The network does not run its layer '{layer}'; choose another.")
        pre = recorder.outputs[layer].pre
        if pre.ndim not in (2, 4) or len(pre) != len(x):
            raise UsageError(f"Layer '{layer}' puts out {tuple(pre.shape)}; choose one with maps or numbers per image.")
    return recorder.outputs


@contextmanager
def eval_mode(net: nn.Module) -> Iterator[None]:
    """Without dropout and with the batch norm's running statistics; every module's mode is restored."""
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


class ReLURule:
    """The two rules for a signal that is propagated back through a ReLU; one forward pass serves both."""

    guided = False

    def relu(self, x: Tensor) -> Tensor:
        out: Tensor = _Gate.apply(x, self)  # type: ignore[no-untyped-call]
        return out


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rule: ReLURule) -> Tensor:
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
    """int64 (h, w, 4): top, left, bottom, right of the receptive field of each place of a map, in pixels.

    Found by running the network with every weight positive and every maximum a mean: whatever a unit depends on then
    gets a signal, and nothing can cancel. Rows and columns are independent, so the diagonal is enough.
    """
    # on the CPU, for not every device has double precision
    x = torch.ones((1, *shape), dtype=torch.float64).requires_grad_()
    with eval_mode(net), torch.enable_grad():
        maps = run_to(net, [layer], x, lambda x: x, _positive)[layer].pre.reshape(-1, *size)
    ends = np.zeros((2, max(size), 2), np.int64)  # (rows or columns, place, start and stop)
    for i in range(max(size)):
        y, z = min(i, size[0] - 1), min(i, size[1] - 1)
        (signal,) = torch.autograd.grad(maps[:, y, z].sum(), x, retain_graph=True)
        reached = signal[0].abs().sum(dim=0).numpy() > 0
        for axis, at in ((0, y), (1, z)):
            pixels = np.flatnonzero(reached.any(axis=1 - axis))
            ends[axis, at] = (pixels[0], pixels[-1] + 1) if len(pixels) else (0, shape[1 + axis])
    rows, columns = np.broadcast_arrays(ends[0, : size[0], None], ends[1, None, : size[1]])
    return np.stack([rows[..., 0], columns[..., 0], rows[..., 1], columns[..., 1]], axis=-1)


def _positive(name: str, func: _Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
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


_Size = int | tuple[int, ...]


def _mean_pool(
    name: str,
    x: Tensor,
    kernel: _Size,
    stride: _Size | None = None,
    padding: _Size = 0,
    dilation: _Size = 1,
    ceil_mode: bool = False,
) -> object:
    side, apart = (np.broadcast_to(each, x.ndim - 2) for each in (kernel, dilation))
    extent = tuple(int(k) for k in apart * (side - 1) + 1)
    return getattr(nn.functional, name.replace("max", "avg"))(x, extent, stride or kernel, padding, ceil_mode)
