"""Networks that judge a clip: from pictures of its face or from the face's points, frame by frame or as a movement.

    lstm      the same trunk reads every frame, an LSTM what it makes of them
    volume    one trunk reads all frames at once: filters over time, of pictures over height and width too
    frames    every frame is judged by itself; a clip's answer is the mean of its frames' logits
    context   as `frames`, with two trunks: one reads the face, one the whole frame, and both together are judged. After
              Bendjoudi, Vanderhaegen, Hamad & Dornaika, "Multi-label, multi-task CNN approach for context-based emotion
              recognition", Information Fusion 2021: a body and a scene module, then a fusion module

Frames that are masked out are never read, wherever in the clip they stand, so that padding changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn

from duchenne.clipnets.backbones import BACKBONES, LEAST, backbone
from duchenne.errors import InputError, UsageError

KINDS = ("lstm", "volume", "frames", "context")
#: What is answered: genuine or posed; that and, with a head of its own, the emotion; or one of all their pairs.
TASKS = ("authenticity", "multi", "classes")
INPUTS = ("crops", "points")
POOLS = ("last", "mean", "mean+peak")
_FLAT = 0.01  # share of the usual spread: a picture whose levels spread less is not stretched to a full one


@dataclass(frozen=True)
class ClipConfig:
    """What a network is, and what it reads and says.

    emotions              how many, of the tasks `multi` and `classes`
    channels, image_size  of an image; of `context` the face's, to which the whole frame's come
    per_image_standardization  each image is brought to mean 0 and spread 1 by its own levels
    numbers               of a frame of points
    subtract_mean, velocity  of points read as a movement: less their mean in the clip; beside them stands what each has
                          changed since the frame before
    width, depth          of the trunk that reads points: neurons, and of `volume` its filters and layers
    hidden_size, num_layers, bidirectional  of the LSTM. Of `context` neurons above both trunks
    pooling               the LSTM's last state, or the mean of all, or that and the greatest of each number
    dropout               before the output, and inside the trunk that reads points
    """

    kind: str = "lstm"
    inputs: str = "crops"
    backbone: str = "resnet50"
    task: str = "authenticity"
    emotions: int = 0
    channels: int = 3
    image_size: int = 112
    per_image_standardization: bool = False
    numbers: int = 80
    subtract_mean: bool = False
    velocity: bool = False
    width: int = 64
    depth: int = 4
    hidden_size: int = 256
    num_layers: int = 1
    bidirectional: bool = False
    pooling: str = "last"
    dropout: float = 0.5

    def __post_init__(self) -> None:
        """UsageError for what makes no network."""
        for name, known in (("kind", KINDS), ("inputs", INPUTS), ("task", TASKS), ("pooling", POOLS)):
            if getattr(self, name) not in known:
                told = ", ".join(known)
                raise UsageError(f"A clip network's {name} must be one of {told}, found '{getattr(self, name)}'.")
        if self.inputs == "crops" and self.backbone not in BACKBONES:
            raise UsageError(f"There is no backbone '{self.backbone}'; choose one of {', '.join(BACKBONES)}.")
        if self.inputs == "crops" and self.image_size < LEAST[self.backbone]:
            least = f"at least {LEAST[self.backbone]} pixels a side"
            raise UsageError(f"The backbone {self.backbone} reads pictures of {least}, found {self.image_size}.")
        if self.inputs == "points" and self.kind == "context":
            raise UsageError("Context is read from pictures of the whole frame; points have none.")
        if (self.subtract_mean or self.velocity) and (self.inputs == "crops" or self.by_frame):
            raise UsageError("Only points read as a movement have subtract_mean and velocity; leave them out.")
        if self.task != "authenticity" and self.emotions < 1:
            raise UsageError(f"The task '{self.task}' needs emotions to tell, found none.")

    @property
    def by_frame(self) -> bool:
        """Whether each frame is judged by itself."""
        return self.kind in ("frames", "context")

    @property
    def levels(self) -> int:
        """How many means and spreads the network keeps: one of each number of a frame, or of each channel."""
        return self.numbers * (2 if self.velocity else 1) if self.inputs == "points" else self.channels


class ClipNet(nn.Module):
    """(x, mask) → {"authenticity": (B,) log-odds of genuine, …}.

    x     (B, T, C, S, S) levels 0 to 255 of any dtype, of `context` (B, T, 2 C, S, S); or points (B, T, F)
    mask  bool (B, T), False for padding; each clip needs one frame

    With the task `multi` there is "emotion" (B, E), logits; with `classes` "classes" (B, 2 E), logits of posed and
    genuine of each emotion in turn, of which "authenticity" and "emotion" are the sums over the other.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        # what brings the inputs to about 0 ± 1; grey levels until something is measured
        start = (0.0, 1.0) if config.inputs == "points" else (127.5, 127.5)
        self.register_buffer("mean", torch.full((config.levels,), start[0]))
        self.register_buffer("spread", torch.full((config.levels,), start[1]))
        self.trunk: nn.Module = _trunk(config)
        width: Any = self.trunk.width
        if config.kind == "context":
            self.scene = _trunk(config)
            self.fuse = nn.Sequential(nn.Linear(2 * width, config.hidden_size), nn.ReLU())
            width = config.hidden_size
        if config.kind == "lstm":
            self.lstm = nn.LSTM(
                width, config.hidden_size, config.num_layers, batch_first=True, bidirectional=config.bidirectional
            )
            width = (
                config.hidden_size * (2 if config.bidirectional else 1) * (2 if config.pooling == "mean+peak" else 1)
            )
        self.drop = nn.Dropout(config.dropout)
        self.heads = nn.ModuleDict({name: nn.Linear(width, out) for name, out in _heads(config).items()})

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """A clip's logits, see above."""
        x, mask = self._checked(x, mask)
        if self.config.by_frame:
            share = mask / mask.sum(1, keepdim=True)
            said = self._said(self._each(x, mask))
            return self._told({name: (value * share[..., None]).sum(1) for name, value in said.items()})
        x, mask = _to_the_front(x, mask)
        seen = self._movement(x, mask) if self.config.kind == "volume" else self._recurrent(self._each(x, mask), mask)
        return self._told(self._said(seen))

    def frames(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Each frame's logits, (B, T) and (B, T, ·), of networks that judge frame by frame; nothing in padding."""
        x, mask = self._checked(x, mask)
        return self._told(self._said(self._each(x, mask)))

    def normalised(self, x: Tensor) -> Tensor:
        """Inputs as the trunk reads them: (…, C, S, S) or (…, F)."""
        shape = (-1, 1, 1) if self.config.inputs == "crops" else (-1,)
        mean, spread = (each.repeat(len(self.trunks)).view(shape) for each in (self.mean, self.spread))
        x = (x.float() - mean) / spread
        if not self.config.per_image_standardization:
            return x
        parts = x.reshape(*x.shape[:-3], len(self.trunks), -1, *x.shape[-2:])
        parts = parts - parts.mean(dim=(-3, -2, -1), keepdim=True)
        size = parts.square().mean(dim=(-3, -2, -1), keepdim=True).sqrt()
        return (parts / size.clamp(min=_FLAT)).reshape(x.shape)

    @property
    def trunks(self) -> list[nn.Module]:
        """Where published weights go."""
        return [self.trunk, self.scene] if self.config.kind == "context" else [self.trunk]

    def _checked(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        c = self.config
        frame = (c.numbers,) if c.inputs == "points" else (c.channels * len(self.trunks), c.image_size, c.image_size)
        if tuple(x.shape[2:]) != frame or mask.shape != x.shape[:2]:
            raise InputError(
                f"The network reads frames of {'×'.join(map(str, frame))} with a mask, found {tuple(x.shape)} with "
                f"{tuple(mask.shape)}; read the clips anew."
            )
        if not bool(mask.any(1).all()):
            raise InputError("A clip without a single frame cannot be judged; leave it out.")
        return x, mask

    def _each(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, width) of every frame by itself, 0 in padding."""
        seen = self.normalised(self.moved(x, mask)[mask])
        if self.config.kind == "context":
            face, scene = self.trunk(seen[:, : self.config.channels]), self.scene(seen[:, self.config.channels :])
            found: Tensor = self.fuse(torch.cat([face, scene], dim=1))
        else:
            found = self.trunk(seen)
        out = found.new_zeros(*mask.shape, found.shape[1])
        out[mask] = found
        return out.float()

    def moved(self, x: Tensor, mask: Tensor) -> Tensor:
        """Points (B, T, F), padding behind, as `subtract_mean` and `velocity` have them; anything else as it is."""
        if self.config.subtract_mean:
            x = x - (x * (mask / mask.sum(1, keepdim=True))[..., None]).sum(1, keepdim=True)
        if self.config.velocity:
            x = torch.cat([x, torch.cat([torch.zeros_like(x[:, :1]), x.diff(dim=1)], dim=1)], dim=2)
        return x

    def _movement(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, width) of all frames at once."""
        if self.config.inputs == "points":
            found: Tensor = self.trunk(self.normalised(self.moved(x, mask)), mask)
            return found.float()
        length = mask.sum(1)
        parts = [(rows, n) for n in sorted(set(length.tolist())) for rows in [(length == n).nonzero()[:, 0]]]
        seen = [self.trunk(self.normalised(x[rows, :n]).transpose(1, 2)).float() for rows, n in parts]
        order = torch.cat([rows for rows, _ in parts]).argsort()
        return torch.cat(seen)[order]

    def _recurrent(self, seen: Tensor, mask: Tensor) -> Tensor:
        """(B, hidden, or twice or four times as many) of the frames' (B, T, width), padding behind."""
        with torch.autocast(seen.device.type, enabled=False):
            length = mask.sum(1).cpu()
            packed = rnn.pack_padded_sequence(seen, length, batch_first=True, enforce_sorted=False)
            states, (last, _) = self.lstm(packed)
            if self.config.pooling == "last":
                return torch.cat(list(last[-2:] if self.config.bidirectional else last[-1:]), dim=1)
            states = rnn.pad_packed_sequence(states, batch_first=True)[0]
            mean = states.sum(1) / mask.sum(1, keepdim=True)  # 0 in padding
            if self.config.pooling == "mean":
                return torch.as_tensor(mean)
            return torch.cat([mean, states.masked_fill(~mask[..., None], -torch.inf).amax(1)], dim=1)

    def _said(self, seen: Tensor) -> dict[str, Tensor]:
        with torch.autocast(seen.device.type, enabled=False):
            seen = self.drop(seen)
            return {name: head(seen) for name, head in self.heads.items()}

    def _told(self, said: dict[str, Tensor]) -> dict[str, Tensor]:
        if "classes" not in said:
            return {**said, "authenticity": said["authenticity"][..., 0]}
        pairs = said["classes"].reshape(*said["classes"].shape[:-1], self.config.emotions, 2)
        posed, genuine = pairs.logsumexp(-2).unbind(-1)
        return {**said, "authenticity": genuine - posed, "emotion": pairs.logsumexp(-1)}


class Still(nn.Module):
    """(N, F) → (N, width): two layers that read the points of a single face."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.width = config.width
        self.layers = nn.Sequential(
            nn.Linear(config.levels, config.width),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.width, config.width),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Points of faces, normalised."""
        found: Tensor = self.layers(x)
        return found


class Waves(nn.Module):
    """(B, T, F), mask (B, T) → (B, 2 width): filters over time, each layer's twice as far apart; mean and peak of all.

    Normalisation is per frame and padding is 0 before every filter, as is what lies beyond a clip's ends.
    """

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.width = 2 * config.width
        self.enter = nn.Linear(config.levels, config.width)
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(config.depth))
        self.filters = nn.ModuleList(
            nn.Conv1d(config.width, config.width, 3, padding=2**i, dilation=2**i) for i in range(config.depth)
        )
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Points of clips, normalised."""
        there = mask[..., None]
        h = self.enter(x)
        for norm, filters in zip(self.norms, self.filters, strict=True):
            inner = (norm(h).relu() * there).transpose(1, 2)
            h = h + self.drop(filters(inner).transpose(1, 2))
        mean = (h * there).sum(1) / there.sum(1)
        return torch.cat([mean, h.masked_fill(~there, -torch.inf).amax(1)], dim=1)


def _trunk(config: ClipConfig) -> nn.Module:
    if config.inputs == "points":
        return Waves(config) if config.kind == "volume" else Still(config)
    found = backbone(config.backbone, config.channels)
    if found.volume != (config.kind == "volume"):
        reads = "clips" if found.volume else "single pictures"
        raise UsageError(f"The backbone {config.backbone} reads {reads}, which a network of kind {config.kind} cannot.")
    return found


def _heads(config: ClipConfig) -> dict[str, int]:
    if config.task == "classes":
        return {"classes": 2 * config.emotions}
    return {"authenticity": 1} | ({"emotion": config.emotions} if config.task == "multi" else {})


def _to_the_front(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The same clips, the frames that are there first and in their order."""
    order = (~mask).to(torch.int8).argsort(dim=1, stable=True)
    mask = mask.gather(1, order)
    longest = int(mask.sum(1).max())
    return x[torch.arange(len(x), device=x.device)[:, None], order][:, :longest], mask[:, :longest]
