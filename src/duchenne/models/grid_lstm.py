"""2D Grid LSTM with a context loop, over whole sequences, with its gradient written out.

Kalchbrenner, Danihelka & Graves, "Grid Long Short-Term Memory", arXiv:1507.01526 (2015). A frame passes L layers. In
each, a time LSTM reads the depth state from below and its own state of the frame before; then a depth LSTM reads the
*new* time state and the depth state from below, and hands its state upwards. The depth weights are one set for all
layers. What goes in at the bottom is a_t = V_t + W_c c_{t-1}; the top's state g_t adds to U_t; the context is read
from the sum, c_t = W_k (U_t + g_t), or from the rectified grid alone, c_t = W_k relu(g_t) (see `lstm_pb`).

Autograd over 8 small products per frame spends its time on rank-one updates of 10 million weights. Here states
lie as (H, B), each gate block is one product with [below; own], and the weights' gradients of many frames are one
product. Everything that is fed in is differentiable once.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

#: Frames whose gate gradients are held before they become one product per layer; bounds the backward pass's memory.
_BLOCK = 64


class GridLSTM(nn.Module):
    """The recurrence of L layers of width H and a context of C numbers; no inputs and no outputs of its own."""

    def __init__(self, hidden: int = 512, layers: int = 4, context: int = 64) -> None:
        super().__init__()
        self.hidden, self.layers, self.context = hidden, layers, context
        self.time_weight = nn.Parameter(torch.empty(layers, 4 * hidden, 2 * hidden))  # gates i, f, o, g
        self.time_bias = nn.Parameter(torch.empty(layers, 4 * hidden))
        self.depth_weight = nn.Parameter(torch.empty(4 * hidden, 2 * hidden))
        self.depth_bias = nn.Parameter(torch.empty(4 * hidden))
        self.context_in = nn.Parameter(torch.empty(hidden, context))
        self.context_out = nn.Parameter(torch.empty(context, hidden))
        self.reset()

    def reset(self) -> None:
        """Uniform in ±1/sqrt(fan-in); the forget gates of the time LSTMs start at bias 1."""
        for weight in self.parameters():
            bound = 1 / math.sqrt(weight.shape[-1] if weight.dim() > 1 else 2 * self.hidden)
            nn.init.uniform_(weight, -bound, bound)
        with torch.no_grad():
            self.time_bias.zero_()
            self.depth_bias.zero_()
            self.time_bias[:, self.hidden : 2 * self.hidden] = 1.0

    def start(self, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Zero state: time hidden (L, H, B), time memory (L, H, B), context (C, B)."""
        like = self.time_weight
        states = like.new_zeros(2, self.layers, self.hidden, batch)
        return states[0], states[1], like.new_zeros(self.context, batch)

    def forward(
        self,
        below: Tensor | None,
        beside: Tensor | None,
        *,
        steps: int,
        batch: int,
        through: bool = True,
        state: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """(hidden sequence (T, H, B), state after it).

        `below` is V and `beside` is U, each (T, H, B) or None for zero. `through` reads the context from U + g, else
        from relu(g) alone, which then is the hidden sequence too. No gradient flows into `state`, so that a long
        sequence can be learnt piece by piece.
        """
        h, m, c = state if state is not None else self.start(batch)
        out, h, m, c = _Recurrence.apply(  # type: ignore[no-untyped-call]
            below, beside, self.time_weight, self.time_bias, self.depth_weight, self.depth_bias,
            self.context_in, self.context_out, h.detach(), m.detach(), c.detach(), steps, batch, through,
        )  # fmt: skip
        return out, (h, m, c)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, below: Any, beside: Any, *rest: Any) -> Any:
        time_weight, time_bias, depth_weight, depth_bias, context_in, context_out, h, m, c, steps, batch, through = rest
        layers, hidden = time_weight.shape[0], depth_weight.shape[0] // 4
        h, m, c = h.clone(), m.clone(), c.clone()
        made = time_weight.new_empty
        keep = any(ctx.needs_input_grad)
        frames = steps if keep else 1
        # [below; own] and gates i f o g of the time (0) and depth (1) LSTM, their memories, and every context
        cats = made(frames, layers, 2, 2 * hidden, batch)
        gates = made(frames, layers, 2, 4 * hidden, batch)
        memory = made(frames, layers, 2, hidden, batch)
        first, contexts = m.clone(), made(steps + 1, c.shape[0], batch)
        out, tops = made(steps, hidden, batch), made(steps if keep else 1, hidden, batch)
        contexts[0] = c
        depth_h, depth_m = made(hidden, batch), made(hidden, batch)
        work = made(hidden, batch)
        time_bias, depth_bias = time_bias.unsqueeze(-1), depth_bias.unsqueeze(-1)
        for t in range(steps):
            at = t if keep else 0
            torch.mm(context_in, contexts[t], out=depth_h)
            if below is not None:
                depth_h += below[t]
            depth_m.zero_()
            for layer in range(layers):
                cat, gate = cats[at, layer], gates[at, layer]
                cat[0, :hidden], cat[0, hidden:] = depth_h, h[layer]
                _cell(time_weight[layer], time_bias[layer], cat[0], gate[0], m[layer], h[layer], work)
                memory[at, layer, 0] = m[layer]
                cat[1, :hidden], cat[1, hidden:] = h[layer], depth_h
                _cell(depth_weight, depth_bias, cat[1], gate[1], depth_m, depth_h, work)
                memory[at, layer, 1] = depth_m
            if not through:
                depth_h.relu_()
            tops[at] = depth_h
            torch.add(depth_h, beside[t], out=out[t]) if beside is not None else out[t].copy_(depth_h)
            torch.mm(context_out, out[t] if through else depth_h, out=contexts[t + 1])
        ctx.save_for_backward(time_weight, depth_weight, context_in, context_out)
        ctx.kept = (cats, gates, memory, first, contexts, tops, out.detach())
        ctx.about = (steps, batch, through)
        last = contexts[steps].clone()
        ctx.mark_non_differentiable(h, m, last)
        return out, h, m, last

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Any, *_: Any) -> Any:
        time_weight, depth_weight, context_in, context_out = ctx.saved_tensors
        cats, gates, memory, first, contexts, tops, out = ctx.kept
        steps, batch, through = ctx.about
        wants = ctx.needs_input_grad
        learn = any(wants[2:8])
        layers, hidden = time_weight.shape[0], depth_weight.shape[0] // 4
        sums = _Sums(time_weight, depth_weight, context_in, context_out) if learn else None
        made = grad.new_zeros
        time_h, time_m = made(layers, hidden, batch), made(layers, hidden, batch)
        d_below = torch.empty_like(grad) if wants[0] else None
        d_beside = torch.empty_like(grad) if wants[1] else None
        block = min(_BLOCK, steps)
        pre = made(block if learn else 1, layers, 2, 4 * hidden, batch)
        d_cat, d_context = made(2 * hidden, batch), made(context_out.shape[0], batch)
        time_back, depth_back = time_weight.transpose(1, 2).contiguous(), depth_weight.T.contiguous()
        bottoms, ups = made(block, hidden, batch), made(block, context_out.shape[0], batch)
        for t in reversed(range(steps)):
            at = t % block if learn else 0
            ups[t % block] = d_context
            d_out, fed = grad[t], context_out.T @ d_context
            d_hidden = d_out + fed if through else d_out
            if d_beside is not None:
                d_beside[t] = d_hidden
            d_h = d_hidden.clone() if through else (d_out + fed) * (tops[t] > 0)
            d_m = made(hidden, batch)
            for layer in reversed(range(layers)):
                gate, mem, z = gates[t, layer], memory[t, layer], pre[at, layer]
                under = memory[t, layer - 1, 1] if layer else None
                _back(gate[1], mem[1], under, d_h, d_m, z[1])
                _product(depth_back, z[1], d_cat)
                time_h[layer] += d_cat[:hidden]
                d_h.copy_(d_cat[hidden:])
                before = memory[t - 1, layer, 0] if t else first[layer]
                _back(gate[0], mem[0], before, time_h[layer], time_m[layer], z[0])
                _product(time_back[layer], z[0], d_cat)
                d_h += d_cat[:hidden]
                time_h[layer] = d_cat[hidden:]
            if d_below is not None:
                d_below[t] = d_h
            bottoms[t % block] = d_h
            torch.mm(context_in.T, d_h, out=d_context)
            if sums is not None and t % block == 0:
                end = min(t + block, steps)
                read = out if through else tops
                sums.add(pre[: end - t], cats[t:end], bottoms[: end - t], contexts[t:end], ups[: end - t], read[t:end])
        weights = sums.found() if sums is not None else (None,) * 6
        return d_below, d_beside, *weights, None, None, None, None, None, None


class _Sums:
    """Gradients of the weights, gathered over blocks of frames."""

    def __init__(self, time_weight: Tensor, depth_weight: Tensor, context_in: Tensor, context_out: Tensor) -> None:
        self.time, self.depth = torch.zeros_like(time_weight), torch.zeros_like(depth_weight)
        self.time_bias, self.depth_bias = (
            time_weight.new_zeros(time_weight.shape[:2]),
            depth_weight.new_zeros(len(depth_weight)),
        )
        self.inside, self.outside = torch.zeros_like(context_in), torch.zeros_like(context_out)

    def add(self, pre: Tensor, cats: Tensor, bottoms: Tensor, contexts: Tensor, ups: Tensor, read: Tensor) -> None:
        """One product over all frames and clips of a block, per layer."""
        for layer in range(len(self.time)):
            for side, total, bias in ((0, self.time[layer], self.time_bias[layer]), (1, self.depth, self.depth_bias)):
                z = _wide(pre[:, layer, side])
                total.addmm_(z, _wide(cats[:, layer, side]).T)
                bias += z.sum(dim=1)
        self.inside.addmm_(_wide(bottoms), _wide(contexts).T)
        self.outside.addmm_(_wide(ups), _wide(read).T)

    def found(self) -> tuple[Tensor, ...]:
        return self.time, self.time_bias, self.depth, self.depth_bias, self.inside, self.outside


def _wide(x: Tensor) -> Tensor:
    """(T, K, B) as (K, T·B)."""
    return x.permute(1, 0, 2).reshape(x.shape[1], -1)


def _product(weight: Tensor, x: Tensor, out: Tensor, bias: Tensor | None = None) -> None:
    """weight @ x + bias into `out`; with few columns the BLAS is three to seven times as quick the other way round."""
    if x.shape[1] >= 16:
        torch.mm(weight, x, out=out) if bias is None else torch.addmm(bias, weight, x, out=out)
        return
    if x.shape[1] == 1:
        torch.mm(weight, x, out=out)
    else:
        out.copy_(torch.mm(x.T, weight.T).T)
    if bias is not None:
        out += bias


def _cell(
    weight: Tensor, bias: Tensor, cat: Tensor, gate: Tensor, memory: Tensor, hidden: Tensor, work: Tensor
) -> None:
    """One LSTM step: fills `gate` (4H, B) with i, f, o, g and renews `memory` and `hidden` (H, B) in place."""
    size = len(hidden)
    _product(weight, cat, gate, bias)
    gate[: 3 * size].sigmoid_()
    gate[3 * size :].tanh_()
    i, f, o, g = gate.view(4, size, -1).unbind()
    memory.mul_(f).addcmul_(i, g)
    torch.tanh(memory, out=work)
    torch.mul(o, work, out=hidden)


def _back(gate: Tensor, memory: Tensor, before: Tensor | None, d_hidden: Tensor, d_memory: Tensor, z: Tensor) -> None:
    """Gradient at the gates' inputs into `z` (4H, B); `d_memory` becomes that of the memory before.

    `before` is that memory, None where it was zero.
    """
    size = len(d_hidden)
    i, f, o, g = gate.view(4, size, -1).unbind()
    d_i, d_f, d_o, d_g = z.view(4, size, -1).unbind()
    bent = memory.tanh()
    d_memory.addcmul_(d_hidden * o, 1 - bent * bent)
    torch.mul(d_memory, g, out=d_i).mul_(i).mul_(1 - i)
    if before is None:
        d_f.zero_()
    else:
        torch.mul(d_memory, before, out=d_f).mul_(f).mul_(1 - f)
    torch.mul(d_hidden, bent, out=d_o).mul_(o).mul_(1 - o)
    torch.mul(d_memory, i, out=d_g).mul_(1 - g * g)
    d_memory.mul_(f)
