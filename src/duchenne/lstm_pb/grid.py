"""2D Grid LSTM with a context loop, over whole sequences, with a hand-written gradient.

Kalchbrenner, Danihelka & Graves, "Grid Long Short-Term Memory", arXiv:1507.01526 (2015). A frame passes L layers. In
each, a time LSTM reads the depth state from below and its own state of the frame before; then a depth LSTM reads the
*new* time state and the depth state from below, and passes its state upwards. All layers share the depth weights. The
input at the bottom is a_t = V_t + W_c c_{t-1}; the top's state g_t adds to U_t; the context is read from the sum,
c_t = W_k (U_t + g_t), from the rectified grid alone, c_t = W_k relu(g_t), or from an output of the grid,
c_t = W_k tanh(R g_t + S_t), as in a Jordan network (see `lstm_pb.network`).

Autograd over 8 small products per frame spends its time on rank-one updates of 10 million weights. Here each gate
block is one product with [below; own], by the fastest kernel for its size, and the weights' gradients of many frames
are one product. The gates' derivatives are computed for a block of frames at once, so that the backward pass of a cell
is two products and a few multiplications. All inputs are differentiable once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

#: Rows (frames times clips) whose gate gradients are collected for one product per layer; bounds the backward pass's
#: memory. And the derivatives of gates that are computed at once, which should stay in the CPU's cache until used.
_BLOCK, _SLOPES = 2048, 2**19
#: Weights of at least so many numbers get a special kernel, and are repacked or transposed for at least so many frames.
_BIG, _LONG = 2**19, 24
#: From here on a sigmoid and three passes are faster than torch's tanh.
_WIDE, _MINUS = 2**13, torch.tensor(-1.0)
#: torch's own compiler uses these two; where a build lacks them the products are ordinary ones.
_ONEDNN = torch.ops.mkldnn


class GridLSTM(nn.Module):
    """The recurrence of L layers of width H and a context of C numbers, without input and output layers.

    `outputs` numbers are read by the context where it is fed back from an output, else the hidden layer's H.
    """

    def __init__(self, hidden_size: int = 512, num_layers: int = 4, context_size: int = 64, outputs: int = 0) -> None:
        super().__init__()
        h, self.hidden_size, self.num_layers, self.context_size = hidden_size, hidden_size, num_layers, context_size
        self.time_weight = nn.Parameter(torch.empty(num_layers, 4 * h, 2 * h))  # gates i, f, o, g
        self.time_bias = nn.Parameter(torch.empty(num_layers, 4 * h))
        self.depth_weight = nn.Parameter(torch.empty(4 * h, 2 * h))
        self.depth_bias = nn.Parameter(torch.empty(4 * h))
        self.context_in = nn.Parameter(torch.empty(h, context_size))
        self.context_out = nn.Parameter(torch.empty(context_size, outputs or h))
        self.reset()

    def reset(self) -> None:
        """Uniform in ±1/sqrt(fan-in); the forget gates of the time LSTMs start at bias 1."""
        for weight in self.parameters():
            bound = 1 / math.sqrt(weight.shape[-1] if weight.dim() > 1 else 2 * self.hidden_size)
            nn.init.uniform_(weight, -bound, bound)
        with torch.no_grad():
            self.time_bias.zero_()
            self.depth_bias.zero_()
            self.time_bias[:, self.hidden_size : 2 * self.hidden_size] = 1.0

    def start(self, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Zero state: time hidden (L, H, B), time memory (L, H, B), context (C, B)."""
        like = self.time_weight
        states = like.new_zeros(2, self.num_layers, self.hidden_size, batch)
        return states[0], states[1], like.new_zeros(self.context_size, batch)

    def forward(
        self,
        below: Tensor | None,
        beside: Tensor | None,
        *,
        steps: int,
        batch: int,
        through: bool = True,
        state: tuple[Tensor, Tensor, Tensor] | None = None,
        context_out: Tensor | None = None,
        output: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """(hidden sequence (T, H, B), state after it).

        `below` is V and `beside` is U, each (T, H, B) or None for zero. `through` reads the context from U + g, else
        from relu(g) alone, which then is the hidden sequence too. `context_out` stands for W_k, and `output` is (R, S),
        (N, H) and (T, N, B), with `through` and without `beside`. No gradient flows into `state`, as in truncated
        backpropagation through time.
        """
        h, m, c = state if state is not None else self.start(batch)
        out, h, m, c = _Recurrence.apply(  # type: ignore[no-untyped-call]
            below, beside, self.time_weight, self.time_bias, self.depth_weight, self.depth_bias,
            self.context_in, self.context_out if context_out is None else context_out, *(output or (None, None)),
            h.detach(), m.detach(), c.detach(), steps, batch, through,
        )  # fmt: skip
        return out, (h, m, c)


class _Recurrence(torch.autograd.Function):
    """Inside, states are rows (B, H), and x holds [h_t; depth state from below; h_{t-1}] of each time LSTM, so that the
    input of either LSTM of a layer is one slice of it."""

    @staticmethod
    def forward(ctx: Any, below: Any, beside: Any, *rest: Any) -> Any:
        time_weight, time_bias, depth_weight, depth_bias, context_in, context_out = rest[:6]
        weight, offset, h, m, c, steps, batch, through = rest[6:]
        layers, size = time_weight.shape[0], depth_weight.shape[0] // 4
        keep, learn = any(ctx.needs_input_grad), any(ctx.needs_input_grad[2:9])

        def frames(saved: bool, *shape: int) -> Tensor:
            """One entry per frame and one more; views of a single one where none is saved."""
            made: Tensor = time_weight.new_empty(steps + 1 if saved else 1, *shape)
            return made.expand(steps + 1, *shape)

        x = time_weight.new_empty(layers, steps + 1 if learn else 1, batch, 3 * size)
        xs = x.transpose(0, 1).expand(steps + 1, -1, -1, -1)
        contexts = frames(learn, batch, c.shape[0])
        gates, tanh_m = frames(keep, 2 * layers, batch, 4 * size), frames(keep, 2 * layers, batch, size)
        time_m, depth_m = frames(keep, layers, batch, size), frames(keep, layers + 1, batch, size)
        out = time_weight.new_empty(steps, batch, size)
        tops = out if beside is None else frames(keep and not through, batch, size)
        xs[0, ..., 2 * size :], time_m[0], contexts[0] = h.transpose(1, 2), m.transpose(1, 2), c.T
        depth_m[:, 0].zero_() if keep else depth_m[0, 0].zero_()
        time = [_product(weight, batch, steps) for weight in time_weight]
        depth = _product(depth_weight, batch, steps)
        below_rows, beside_rows, offsets = (None if v is None else v.transpose(1, 2) for v in (below, beside, offset))
        fed = out if weight is None else time_weight.new_empty(steps, batch, weight.shape[0])
        old, new = xs[..., 2 * size :], xs[..., :size]
        views = [v.unbind() for v in (xs[..., size:], xs[..., : 2 * size], new, xs[..., size : 2 * size])]
        views += [v.unbind() for v in (gates, tanh_m, depth_m)]
        memories = [v.unbind() for v in time_m.unbind()]
        for t in range(steps):
            to_time, to_depth, hidden, under, gate, slope, memory = (v[t].unbind() for v in views)
            _mix(below_rows, t, contexts[t], context_in, under[0])
            for k in range(layers):
                above = under[k + 1] if k + 1 < layers else tops[t]
                y = time[k](to_time[k], time_bias[k])
                _cell(y, gate[2 * k], memories[t][k], memories[t + 1][k], slope[2 * k], hidden[k])
                y = depth(to_depth[k], depth_bias)
                _cell(y, gate[2 * k + 1], memory[k], memory[k + 1], slope[2 * k + 1], above)
            old[t + 1].copy_(new[t])
            top = tops[t] if through else tops[t].relu_()
            if beside_rows is not None:
                torch.add(top, beside_rows[t], out=out[t])
            if weight is not None and offsets is not None:
                torch.addmm(offsets[t], top, weight.T, out=fed[t]).tanh_()
            torch.mm(fed[t] if through else top, context_out.T, out=contexts[t + 1])
        ctx.save_for_backward(time_weight, depth_weight, context_in, context_out, weight)
        read = fed if through or beside is None else tops[:steps]
        ctx.saved = (x if learn else None, (gates, tanh_m, time_m, depth_m), contexts, read.detach(), out.detach())
        ctx.about = (steps, batch, through)
        last = [v.mT.clone(memory_format=torch.contiguous_format) for v in (old[steps], time_m[steps], contexts[steps])]
        ctx.mark_non_differentiable(*last)
        return out.transpose(1, 2), *last

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Any, *_: Any) -> Any:
        time_weight, depth_weight, context_in, context_out, weight = ctx.saved_tensors
        x, saved, contexts, read, out = ctx.saved
        steps, batch, through = ctx.about
        layers, size = time_weight.shape[0], depth_weight.shape[0] // 4
        learn, made, grad = x is not None, grad.new_zeros, grad.transpose(1, 2)
        sums = _Sums(time_weight, depth_weight, context_in, context_out) if learn else None
        time = [_product(weight.T, batch, steps) for weight in time_weight]
        depth = _product(depth_weight.T, batch, steps)
        d_below, d_beside = (made(grad.shape) if needed else None for needed in ctx.needs_input_grad[:2])
        d_fed = None if weight is None else made(read.shape)
        few = max(1, min(steps, _SLOPES // (8 * layers * batch * size)))
        block = max(few, min(steps, _BLOCK // batch)) if learn else few
        z = grad.new_empty(2 * layers, block, batch, 4 * size)
        slopes = grad.new_empty(2 * layers, few, batch, size)
        bottoms, ups = made(block, batch, size), made(block, batch, context_out.shape[0])
        d_time, d_memory = [made(batch, size)] * layers, list(made(layers, batch, size))
        d_context = ups[0]
        for end in range(steps, 0, -block):
            start = max(0, end - block)
            n = end - start
            for t in reversed(range(start, end)):
                if (end - 1 - t) % few == 0:
                    low = max(start, t + 1 - few)
                    _slopes(saved, low, z[:, low - start : t + 1 - start], slopes[:, : t + 1 - low])
                ups[t - start] = d_context
                if d_fed is None:
                    d_h = torch.addmm(grad[t], d_context, context_out)
                else:
                    torch.mul(d_context @ context_out, 1 - read[t] ** 2, out=d_fed[t])
                    d_h = torch.addmm(grad[t], d_fed[t], weight)
                if d_beside is not None:
                    d_beside[t] = d_h if through else grad[t]
                if not through:
                    d_h *= read[t] > 0
                d_m = made(batch, size)
                to, slope, gate = z[:, t - start].unbind(), slopes[:, t - low].unbind(), saved[0][t].unbind()
                for k in reversed(range(layers)):
                    _back(to[2 * k + 1], slope[2 * k + 1], gate[2 * k + 1], d_h, d_m)
                    d_new, d_h = depth(to[2 * k + 1]).chunk(2, dim=1)
                    _back(to[2 * k], slope[2 * k], gate[2 * k], d_time[k] + d_new, d_memory[k])
                    d_under, d_time[k] = time[k](to[2 * k]).chunk(2, dim=1)
                    d_h = d_h + d_under
                bottoms[t - start] = d_h
                d_context = d_h @ context_in
            if d_below is not None:
                d_below[start:end] = bottoms[:n]
            if sums is not None:
                sums.add(z[:, :n], x[:, start:end], bottoms[:n], contexts[start:end], ups[:n], read[start:end])
        weights = sums.gradients() if sums is not None else (None,) * 6
        d_weight = None if d_fed is None or sums is None else d_fed.flatten(0, 1).T @ out.flatten(0, 1)
        d_below, d_beside, d_fed = (None if d is None else d.transpose(1, 2) for d in (d_below, d_beside, d_fed))
        return d_below, d_beside, *weights, d_weight, d_fed, None, None, None, None, None, None


class _Sums:
    """Gradients of the weights, summed over blocks of frames."""

    def __init__(self, time_weight: Tensor, depth_weight: Tensor, context_in: Tensor, context_out: Tensor) -> None:
        self.time, self.depth = torch.zeros_like(time_weight), torch.zeros_like(depth_weight)
        self.time_bias, self.depth_bias = torch.zeros_like(time_weight[..., 0]), torch.zeros_like(depth_weight[:, 0])
        self.context_in, self.context_out = torch.zeros_like(context_in), torch.zeros_like(context_out)

    def add(self, z: Tensor, x: Tensor, bottoms: Tensor, contexts: Tensor, ups: Tensor, read: Tensor) -> None:
        """One product over all frames and clips of a block, per LSTM."""
        size = x.shape[-1] // 3
        for k, rows in enumerate(x.flatten(1, 2)):
            for to, part, total, bias in (
                (z[2 * k].flatten(0, 1), rows[:, size:], self.time[k], self.time_bias[k]),
                (z[2 * k + 1].flatten(0, 1), rows[:, : 2 * size], self.depth, self.depth_bias),
            ):
                total.addmm_(to.T, part)
                bias += to.sum(dim=0)
        self.context_in.addmm_(bottoms.flatten(0, 1).T, contexts.flatten(0, 1))
        self.context_out.addmm_(ups.flatten(0, 1).T, read.flatten(0, 1))

    def gradients(self) -> tuple[Tensor, ...]:
        return self.time, self.time_bias, self.depth, self.depth_bias, self.context_in, self.context_out


def _product(weight: Tensor, batch: int, steps: int) -> Callable[..., Tensor]:
    """(x (B, K), bias or None) → x @ weight.T + bias (B, N), by the fastest kernel of torch for these sizes.

    One row is limited by reading the weights: a batched product over slices of them, with the vector's strides as
    below, reads nearly at memory bandwidth with a thread per slice; torch's matrix-vector product takes twice as long,
    on one thread. With more rows oneDNN is 1.5 times as fast as the BLAS if its weights are packed beforehand.
    """
    (n, k), strided = weight.shape, not weight.is_contiguous()
    big, long = weight.numel() >= _BIG and weight.device.type == "cpu", steps >= _LONG
    if big and batch == 1 and (long or not strided):
        slices = 4 if n % 4 == 0 else 2
        parts = weight.contiguous().view(slices, n // slices, k)

        def sliced(x: Tensor, bias: Tensor | None = None) -> Tensor:
            y = torch.bmm(parts, x.as_strided((slices, k, 1), (0, 1, k))).view(1, n)
            return y if bias is None else y.add_(bias)

        return sliced
    if big and batch > 1 and long and weight.dtype == torch.float32 and hasattr(_ONEDNN, "_reorder_linear_weight"):
        packed = _ONEDNN._reorder_linear_weight(weight.contiguous(), batch)
        return lambda x, bias=None: _ONEDNN._linear_pointwise(x, packed, bias, "none", [], "")
    return lambda x, bias=None: torch.nn.functional.linear(x, weight, bias)


def _mix(rows: Tensor | None, t: int, context: Tensor, weight: Tensor, out: Tensor) -> None:
    """The input at the bottom: out = rows[t] + context @ weight.T."""
    if rows is None:
        torch.mm(context, weight.T, out=out)
    else:
        torch.addmm(rows[t], context, weight.T, out=out)


def _tanh(x: Tensor, out: Tensor) -> None:
    """tanh(x) = 2σ(2x) - 1 into `out`, to rounding."""
    if x.numel() < _WIDE:
        torch.tanh(x, out=out)
    else:
        torch.add(_MINUS, torch.mul(x, 2, out=out).sigmoid_(), alpha=2, out=out)


def _cell(y: Tensor, gate: Tensor, before: Tensor, memory: Tensor, tanh_m: Tensor, hidden: Tensor) -> None:
    """One LSTM step from the gates' inputs y (B, 4H): fills `gate` with i, f, o, g, and `memory`, its tanh `tanh_m` and
    `hidden`, all (B, H)."""
    size = before.shape[1]
    torch.sigmoid(y, out=gate)
    i, f, o, g = gate.view(-1, 4, size).unbind(1)
    _tanh(y[:, 3 * size :], g)
    torch.mul(f, before, out=memory).addcmul_(i, g)
    _tanh(memory, tanh_m)
    torch.mul(o, tanh_m, out=hidden)


def _slopes(saved: tuple[Tensor, ...], start: int, z: Tensor, slopes: Tensor) -> None:
    """Derivatives for the frames from `start` on, of all LSTMs: into `z` (2L, T, B, 4H) of the memory (i, f, g) or the
    hidden state (o) by the gates' inputs; into `slopes` (2L, T, B, H) of the hidden state by the memory. `saved`:
    gates, tanh of the memories, memories of time and of depth."""
    size, part = slopes.shape[-1], slice(start, start + z.shape[1])
    gate, tanh_m, time_m, depth_m = (v[part].transpose(0, 1) for v in saved)
    s, to_g = gate[..., : 3 * size], z[..., 3 * size :]
    torch.addcmul(s, s, s, value=-1, out=z[..., : 3 * size])
    i, _, o, g = gate.chunk(4, dim=-1)
    to_i, to_f, to_o, _ = z.chunk(4, dim=-1)
    to_i *= g
    to_f[::2] *= time_m
    to_f[1::2] *= depth_m[:-1]
    to_o *= tanh_m
    torch.mul(g, g, out=to_g)
    torch.addcmul(i, i, to_g, value=-1, out=to_g)
    torch.mul(tanh_m, tanh_m, out=slopes)
    torch.addcmul(o, o, slopes, value=-1, out=slopes)


def _back(z: Tensor, slope: Tensor, gate: Tensor, d_hidden: Tensor, d_memory: Tensor) -> None:
    """`z` (B, 4H), filled by `_slopes`, becomes the gradient at the gates' inputs; `d_memory` that of the memory
    before."""
    size = d_memory.shape[1]
    to_i, to_f, to_o, to_g = z.view(-1, 4, size).unbind(1)
    d_memory.addcmul_(d_hidden, slope)
    to_i *= d_memory
    to_f *= d_memory
    to_o *= d_hidden
    to_g *= d_memory
    d_memory *= gate[:, size : 2 * size]
