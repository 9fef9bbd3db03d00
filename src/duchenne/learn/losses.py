"""Losses with missing labels, and the weighting of several tasks.

Every loss takes logits z and labels y and returns the mean over what is labelled:

    z (N,) with y (N,)       binary: y is 1, 0, or between
    z (N, K) with y (N,)     one class of K: y is its index
    z (N, K) with y (N, K)   K binary labels, or for `cross_entropy`, `euclidean` and `focal` class probabilities

NaN or negative y means no label: logits there may be anything, NaN too, and get no gradient. `mask` (True: counts), of
y's shape or of its first axes, leaves out more. Class probabilities need a complete row. Without any label the loss is
0. Half-precision logits are computed in float32.

All use log-sigmoid and log-softmax, so logits of ±100 give finite values and gradients in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from duchenne.errors import InputError, UsageError

WEIGHINGS = ("fixed", "sum", "uncertainty")


def labelled(y: Tensor, mask: Tensor | None = None) -> Tensor:
    """bool, of y's shape: where there is a label."""
    found = y >= 0  # which NaN is not
    if mask is not None:
        found = found & mask.bool().reshape(mask.shape + (1,) * (y.ndim - mask.ndim)).expand_as(y)
    return found


def cross_entropy(z: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
    """−Σ_k y_k log p_k, with p = softmax z, or binary with p = sigmoid z."""
    z, y = _shared(z, y, mask)
    if z.ndim == 1:
        return _mean(-(y * functional.logsigmoid(z) + (1 - y) * functional.logsigmoid(-z)))
    return _mean(-(y * z.log_softmax(dim=1)).sum(dim=1))


def euclidean(z: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
    """½ ‖p − y‖² with p = softmax z; binary: (sigmoid z − y)².

    The half makes it a Gaussian log-likelihood, as `Weighted` assumes.
    """
    z, y = _shared(z, y, mask)
    if z.ndim == 1:
        return _mean((z.sigmoid() - y).square())
    return _mean(0.5 * (z.softmax(dim=1) - y).square().sum(dim=1))


def focal(z: Tensor, y: Tensor, mask: Tensor | None = None, gamma: float = 2.0) -> Tensor:
    """−Σ_k y_k (1 − p_k)^γ log p_k: easy examples count less (Lin et al. 2017, arXiv:1708.02002).

    γ = 0 is `cross_entropy`.
    """
    _power(gamma)
    z, y = _shared(z, y, mask)
    if z.ndim == 1:
        return _mean(_pair(z, y, gamma, 1.0, 1.0))
    logp = z.log_softmax(dim=1)
    return _mean(-(y * torch.exp(gamma * _other(z)) * logp).sum(dim=1))


def multilabel_focal(
    z: Tensor, y: Tensor, mask: Tensor | None = None, gamma: float = 2.0, alpha: float = 0.5
) -> Tensor:
    """−[α (1−s)^γ y log s + (1−α) s^γ (1−y) log(1−s)], s = sigmoid z, of each output separately.

    Class indices are one-hot encoded. The mean is over all labels; γ = 0 and α = ½ give half the binary cross-entropy.
    """
    _power(gamma)
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha of a focal loss must lie between 0 and 1, found {alpha}.")
    z, y = _shared(z, y, mask, each=True)
    return _mean(_pair(z, y, gamma, alpha, 1 - alpha))


Loss = Callable[..., Tensor]
#: Name in recipes → the loss.
LOSSES: dict[str, Loss] = {
    "cross-entropy": cross_entropy,
    "euclidean": euclidean,
    "focal": focal,
    "multilabel-focal": multilabel_focal,
}


def loss(name: str) -> Loss:
    """One of `LOSSES` by name; UsageError for other names."""
    if name not in LOSSES:
        raise UsageError(f"There is no loss '{name}'; choose one of {', '.join(LOSSES)}.")
    return LOSSES[name]


class Weighted(nn.Module):
    """The losses of several tasks → one.

    fixed        Σ w_k L_k with the weights that `tasks` gives
    sum          Σ L_k
    uncertainty  Σ exp(−s_k) L_k + s_k / 2 with trained s_k = log σ_k², initially 0 (Kendall, Gal & Cipolla 2018,
                 arXiv:1705.07115); may be negative. At the optimum σ_k² = 2 L_k.

    UsageError for no task, a negative weight or another `how`.
    """

    def __init__(self, tasks: Sequence[str] | Mapping[str, float], how: str = "sum") -> None:
        super().__init__()
        self.tasks, self.how = tuple(tasks), how
        if how not in WEIGHINGS:
            raise UsageError(f"Unknown task weighting '{how}'; choose one of {', '.join(WEIGHINGS)}.")
        weights = tasks if isinstance(tasks, Mapping) else dict.fromkeys(tasks, 1.0)
        if not weights or len(weights) < len(tasks) or not all(0 <= w < float("inf") for w in weights.values()):
            raise UsageError(f"Tasks need different names and weights of at least 0, found {tasks!r}.")
        self.weights = {name: float(w) for name, w in weights.items()}
        if how == "uncertainty":
            self.log_variance = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in self.tasks})

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The total loss. Leave tasks without a label in this batch out of `losses`: their s_k would fall forever."""
        if not losses or (unknown := [name for name in losses if name not in self.weights]):
            found = f"'{unknown[0]}'" if losses else "none"
            raise UsageError(f"Expected losses of the tasks {', '.join(self.tasks)}, found {found}.")
        return torch.stack([self._one(name, value) for name, value in losses.items()]).sum()

    def _one(self, name: str, value: Tensor) -> Tensor:
        if self.how == "uncertainty":
            s: Tensor = self.log_variance[name]
            return torch.exp(-s) * value + s / 2
        return value * (self.weights[name] if self.how == "fixed" else 1.0)

    def shares(self) -> dict[str, float]:
        """Task → current weight of its loss."""
        if self.how == "uncertainty":
            return {name: float(torch.exp(-self.log_variance[name].detach())) for name in self.tasks}
        return self.weights if self.how == "fixed" else dict.fromkeys(self.tasks, 1.0)


def class_weights(y: Tensor, classes: int, power: float) -> Tensor:
    """float32 (K,): class weights frequency^−power for classes (N,), 1 on average over the N; 0 for an absent class."""
    count = torch.bincount(y, minlength=classes).double()
    weights = torch.where(count > 0, count.clamp(min=1) ** -power, 0.0)
    return (weights * len(y) / (weights * count).sum()).float()


def _shared(z: Tensor, y: Tensor, mask: Tensor | None, each: bool = False) -> tuple[Tensor, Tensor]:
    """Logits and targets of what is labelled: rows, or with `each` single outputs; InputError for wrong shapes."""
    classes, least = z.ndim == 2 and y.ndim == 1, 1 if each else 2
    if z.ndim not in (1, 2) or y.shape not in (z.shape, z.shape[:1]) or (z.ndim == 2 and z.shape[1] < least):
        raise InputError(
            f"Expected logits (N,) with labels (N,), or (N, K) with (N,) or (N, K), K at least {least}; found "
            f"logits {tuple(z.shape)} with labels {tuple(y.shape)}."
        )
    there = labelled(y, mask)
    top = (z.shape[1] - 1) if classes else 1
    if bool((there & (y > top)).any()):
        raise InputError(f"Labels must lie between 0 and {top}, or be NaN; found {float(y[there].max()):g}.")
    z = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
    if classes:
        if bool((y[there] % 1 != 0).any()):
            raise InputError("Class indices must be whole numbers; for class probabilities give labels (N, K).")
        z, there, y = z[there], there[there], functional.one_hot(y[there].long(), z.shape[1])
    if each:
        there = there if there.ndim == z.ndim else there[:, None].expand_as(z)
        return z[there], y[there].to(z.dtype)
    if there.ndim == 2:
        there = there.all(dim=1)
    return z[there], y[there].to(z.dtype)


def _pair(z: Tensor, y: Tensor, gamma: float, yes: float, no: float) -> Tensor:
    """−[yes (1−s)^γ y log s + no s^γ (1−y) log(1−s)]; powers as exp(γ log ·), whose gradient at 0 is finite."""
    logs, rest = functional.logsigmoid(z), functional.logsigmoid(-z)
    return -(yes * y * torch.exp(gamma * rest) * logs + no * (1 - y) * torch.exp(gamma * logs) * rest)


def _other(z: Tensor) -> Tensor:
    """(N, K): log(1 − p_k), from the other logits, which stays exact where p_k rounds to 1."""
    k = z.shape[1]
    own = torch.eye(k, dtype=torch.bool, device=z.device)
    others = z[:, None, :].expand(-1, k, -1).masked_fill(own, -torch.inf)
    return others.logsumexp(dim=2) - z.logsumexp(dim=1, keepdim=True)


def _mean(each: Tensor) -> Tensor:
    """The mean; 0, with a zero gradient, for an empty tensor."""
    return each.sum() / max(1, each.numel())


def _power(gamma: float) -> None:
    if not 0 <= gamma < float("inf"):
        raise UsageError(f"gamma of a focal loss must be at least 0, found {gamma}.")
