"""A parametric bias in closed form: prediction is linear in PB, so recognition is a small least-squares problem.

Ours, after Huynh & Kim (2017) and Tani (2003): as there, a network predicts the movement of a face, one vector p per
sequence changes its predictions, and a clip is recognised by the p under which they are best. Here p enters the
predictions linearly, through gates computed by the recurrence:

    r_t ≈ a(h_t) + g(h_t) ⊙ (M p)          r_t: how far each part of the face moves within `ahead` frames of frame t
    p = argmin mean_t |r_t − a(h_t) − g(h_t) ⊙ M p|² + λ|p|²

The minimum is exact, costs one solve of `pb_size` numbers and is differentiable. So training can ask that the p which
predicts best also separates posed from genuine: labels shape PB, while recognition does not read them. As p is linear
in the r_t, the log-odds w·p are a sum over frames and parts (`shares`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from duchenne.lstm_pb.grid import GridLSTM
from duchenne.lstm_pb.network import State
from duchenne.types import Array


@dataclass(frozen=True)
class SolvedPBConfig:
    """Sizes. `parts` principal directions of movement represent the face; `ahead` are horizons in frames, from 1."""

    inputs: int = 80
    pb_size: int = 16
    context_size: int = 32
    hidden_size: int = 64
    num_layers: int = 1
    parts: int = 30
    ahead: tuple[int, ...] = (1, 4)
    dropout: float = 0.2


class Solved(NamedTuple):
    """pb (B, pb); error and still (B,): mean squared error of the predictions, and of predicting no movement."""

    pb: Tensor
    error: Tensor
    still: Tensor


class SolvedPB(nn.Module):
    """x (B, T, inputs), mask bool (B, T) → `Solved`. `judge` reads the log-odds of genuine from PB."""

    basis: Tensor
    inputs_scale: Tensor
    targets_scale: Tensor

    def __init__(self, config: SolvedPBConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or SolvedPBConfig()
        targets = c.parts * len(c.ahead)
        self.from_x = nn.Linear(2 * c.inputs, c.hidden_size)
        self.grid = GridLSTM(c.hidden_size, c.num_layers, c.context_size)
        self.expect = nn.Linear(c.hidden_size, targets)
        self.gate = nn.Linear(c.hidden_size, targets)
        mix = torch.empty(targets, c.pb_size)
        # on "meta", for shapes alone: to draw numbers there, torch loads its compiler, which takes a second
        self.mix = nn.Parameter(mix if mix.is_meta else mix.normal_() * 0.3)
        self.log_ridge = nn.Parameter(torch.tensor(-2.0))
        self.judge = nn.Linear(c.pb_size, 1)
        self.register_buffer("basis", torch.zeros(c.inputs, c.parts).fill_diagonal_(1))
        self.register_buffer("inputs_scale", torch.ones(2 * c.inputs))
        self.register_buffer("targets_scale", torch.ones(len(c.ahead)))

    @torch.no_grad()
    def measure(self, sequences: Sequence[Array]) -> None:
        """Set principal directions and scales of movement from the training sequences (T, inputs)."""
        far = np.concatenate([s - s[:1] for s in sequences]).astype(float)
        fast = np.concatenate([np.diff(s, axis=0) for s in sequences]).astype(float)
        _, directions = np.linalg.eigh(far.T @ far)
        self.basis.copy_(torch.from_numpy(directions[:, ::-1][:, : self.config.parts].copy()))
        rms = [np.full(far.shape[1], max(float(np.sqrt((each**2).mean())), 1e-6)) for each in (far, fast)]
        self.inputs_scale.copy_(torch.from_numpy(0.25 / np.concatenate(rms)))
        for i, k in enumerate(self.config.ahead):
            gone = np.concatenate([s[np.minimum(np.arange(len(s)) + k, len(s) - 1)] - s for s in sequences])
            spread = float(np.sqrt(((gone @ self.basis.numpy()) ** 2).mean()))
            self.targets_scale[i] = 1 / max(spread, 1e-6)

    def forward(self, x: Tensor, mask: Tensor) -> Solved:
        """Recognition: the PB vectors that predict best, and their errors."""
        targets, expected, gates, weight = self._terms(x, mask)
        rest = targets - expected
        pb = self._solve(gates, rest, weight)
        missed = rest - gates * (pb @ self.mix.T)[:, None]
        return Solved(pb, *((each.square() * weight).sum(dim=1).mean(dim=-1) for each in (missed, targets)))

    def logit(self, pb: Tensor) -> Tensor:
        """(B,): log-odds of genuine from PB (B, pb)."""
        return torch.as_tensor(self.judge(pb)[:, 0])

    @torch.no_grad()
    def shares(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, inputs): contribution of each frame and coordinate to `logit`; with the bias of `judge` they sum to
        it. It is proportional to the movement less what is expected without PB."""
        targets, expected, gates, weight = self._terms(x, mask)
        through = torch.linalg.solve(self._normal(gates, weight), self.judge.weight[0].expand(len(x), -1))
        pull = gates * weight * (through @ self.mix.T)[:, None]
        parts = (len(self.config.ahead), self.config.parts)
        pull, rest = (each.unflatten(2, parts) @ self.basis.T for each in (pull, targets - expected))
        return torch.as_tensor((pull * rest).sum(dim=2))

    @torch.no_grad()
    def predict(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, inputs): the face `ahead[0]` frames after each, as predicted with the solved PB."""
        targets, expected, gates, weight = self._terms(x, mask)
        return x + self._step(expected, gates, self._solve(gates, targets - expected, weight))

    def _step(self, expected: Tensor, gates: Tensor, pb: Tensor) -> Tensor:
        step = expected + gates * (pb @ self.mix.T)[:, None]
        return step[..., : self.config.parts] / self.targets_scale[0] @ self.basis.T

    def generate(self, pb: Tensor, seed: Tensor, steps: int) -> Tensor:
        """Closed loop: `steps` frames (B, steps, inputs) after `seed` (B, S, inputs), each from the one before."""
        return _closed_loop([self], [pb], seed, steps)

    def after(
        self, frame: Tensor, first: Tensor, last: Tensor, pb: Tensor, state: State | None
    ) -> tuple[Tensor, State]:
        """(the frame after `frame`, state): each (B, 1, inputs), `last` the frame before it."""
        hidden, state = self._hidden(torch.cat([frame - first, frame - last], dim=-1), state)
        return frame + self._step(self.expect(hidden), self.gate(hidden), pb), state

    def _hidden(self, moved: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        drop = nn.functional.dropout
        into = drop(self.from_x(moved * self.inputs_scale), self.config.dropout, self.training).relu()
        hidden, state = self.grid(
            into.permute(1, 2, 0).contiguous(), None, steps=moved.shape[1], batch=len(moved), state=state
        )
        return drop(hidden.permute(2, 0, 1), self.config.dropout, self.training), state

    def _terms(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(targets, their expectation without PB, gates, each (B, T, N); weight of each frame (B, T, 1))."""
        moved = torch.cat([x - x[:, :1], torch.diff(x, dim=1, prepend=x[:, :1])], dim=-1)
        hidden, _ = self._hidden(moved)
        z, last = x @ self.basis, mask.sum(dim=1, keepdim=True) - 1
        gone = []
        for k, scale in zip(self.config.ahead, self.targets_scale, strict=True):
            # the face stays as in the last frame: the end of a clip is not a movement
            then = torch.minimum(torch.arange(x.shape[1], device=x.device) + k, last)[..., None]
            gone.append((z.gather(1, then.expand(-1, -1, z.shape[2])) - z) * scale)
        weight = mask.to(x.dtype) / mask.sum(dim=1, keepdim=True)
        return torch.cat(gone, dim=-1), self.expect(hidden), self.gate(hidden), weight[..., None]

    def _normal(self, gates: Tensor, weight: Tensor) -> Tensor:
        power = (gates.square() * weight).sum(dim=1)
        ridge = self.log_ridge.exp() * torch.eye(self.config.pb_size, dtype=gates.dtype, device=gates.device)
        return self.mix.T @ (power[..., None] * self.mix) + ridge

    def _solve(self, gates: Tensor, rest: Tensor, weight: Tensor) -> Tensor:
        pull = (gates * rest * weight).sum(dim=1) @ self.mix
        return torch.as_tensor(torch.linalg.solve(self._normal(gates, weight), pull))


class SolvedBag(nn.Module):
    """Several `SolvedPB`: their PB vectors are concatenated, their log-odds averaged."""

    def __init__(self, members: Sequence[SolvedPB]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def _networks(self) -> list[SolvedPB]:
        return [member for member in self.members if isinstance(member, SolvedPB)]

    @property
    def weights(self) -> tuple[Array, float]:
        """(w (bag · pb,), b): log-odds of genuine are w·PB + b."""
        heads = [network.judge for network in self._networks]
        w = torch.cat([head.weight[0] for head in heads]).detach().double().numpy() / len(heads)
        return w, float(np.mean([float(head.bias.detach()) for head in heads]))

    @torch.no_grad()
    def recognise(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, bag · pb): the PB vector that predicts best, of each network."""
        return torch.cat([network(x, mask).pb for network in self._networks], dim=1)

    def shares(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, inputs): the mean of `SolvedPB.shares`."""
        return torch.stack([network.shares(x, mask) for network in self._networks]).mean(dim=0)

    def predict(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, inputs): the mean of `SolvedPB.predict`."""
        return torch.stack([network.predict(x, mask) for network in self._networks]).mean(dim=0)

    def generate(self, pb: Tensor, seed: Tensor, steps: int) -> Tensor:
        """Closed loop of all networks, each with its part of `pb` (B, bag · pb): a frame is the mean of theirs."""
        networks = self._networks
        return _closed_loop(networks, pb.chunk(len(networks), dim=1), seed, steps)


@torch.no_grad()
def _closed_loop(networks: Sequence[SolvedPB], pbs: Sequence[Tensor], seed: Tensor, steps: int) -> Tensor:
    """`steps` frames (B, steps, inputs) after `seed` (B, S, inputs); all networks see the same frames."""
    last = seed[:, :1]
    states: list[State | None] = [None] * len(networks)
    frames: list[Tensor] = []
    for t in range(seed.shape[1] + steps - 1):
        frame = seed[:, t : t + 1] if t < seed.shape[1] else frames[-1]
        found = [
            network.after(frame, seed[:, :1], last, pb, state)
            for network, pb, state in zip(networks, pbs, states, strict=True)
        ]
        last, states = frame, [state for _, state in found]
        if t >= seed.shape[1] - 1:
            frames.append(torch.stack([following for following, _ in found]).mean(dim=0))
    return torch.cat(frames, dim=1) if frames else seed[:, :0]
