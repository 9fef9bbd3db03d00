"""Networks that classify a clip, from crops of its face or from the face's points, frame by frame or as a movement.

    lstm      one backbone for every frame, and an LSTM over its features
    volume    convolutions over time, of crops over height and width too
    frames    every frame is scored by itself; a clip's logits are the mean of its frames'
    context   as `frames`, of the face, the body and the whole frame, each with a backbone. Body and scene are fused by
              a layer, as in Bendjoudi, Vanderhaegen, Hamad & Dornaika, "Multi-label, multi-task CNN approach for
              context-based emotion recognition", Information Fusion 2021 (Xception, VGG16, a fusion module). The face
              joins late: its logits are added to those of the context

Frames that are masked out are never read, wherever in the clip they are, so that padding changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn

from duchenne.clipnets.backbones import BACKBONES, LEAST, Backbone, backbone
from duchenne.errors import InputError, UsageError
from duchenne.io import shown

KINDS = ("lstm", "volume", "frames", "context")
#: What is predicted: authenticity; authenticity and, by a second head, emotion; or the class of both together.
TASKS = ("authenticity", "multi", "classes")
INPUTS = ("crops", "points")
POOLS = ("last", "mean", "mean+peak")
_FLAT = 0.01  # least standard deviation that per-image standardisation divides by, so that noise is not amplified


@dataclass(frozen=True)
class ClipConfig:
    """Architecture, input and output of a network.

    emotions              number of emotions, for the tasks `multi` and `classes`
    body_backbone, scene_backbone  of `context`; `backbone` is the face's
    channels, image_size  of a crop; for `context` of each of its three
    per_image_standardization  each image is scaled to mean 0 and standard deviation 1
    numbers               per frame of points
    subtract_mean, velocity  of points read as a movement: their mean over the clip is subtracted; their differences
                          between frames are added as inputs
    width, depth          of the backbone for points; depth of `volume` only
    hidden_size, num_layers, bidirectional  of the LSTM; hidden_size also of the fusion layer of `context`
    pooling               the LSTM's last state, or the mean of all, or mean and maximum
    dropout               before the output, and inside the backbone for points
    """

    kind: str = "lstm"
    inputs: str = "crops"
    backbone: str = "resnet50"
    body_backbone: str = "xception"
    scene_backbone: str = "vgg16"
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
        """UsageError for an invalid combination."""
        for name in self.backbones:
            if name not in BACKBONES:
                raise UsageError(f"There is no backbone '{shown(name)}'; choose one of {', '.join(BACKBONES)}.")
            if self.image_size < LEAST[name]:
                least = f"at least {LEAST[name]} pixels a side"
                raise UsageError(
                    f"The backbone {name} reads images of {least}, found {self.image_size}; raise image_size."
                )
        if self.inputs == "points" and self.kind == "context":
            raise UsageError('The kind context reads the whole frame; set inputs = "crops".')
        if self.task != "authenticity" and self.emotions < 1:
            raise UsageError(f"The task '{self.task}' needs at least one emotion, found none; add emotions.")

    @property
    def by_frame(self) -> bool:
        """Whether each frame is scored by itself."""
        return self.kind in ("frames", "context")

    @property
    def backbones(self) -> tuple[str, ...]:
        """Of images: the face's, for `context` the body's and the whole frame's too; none for points."""
        if self.inputs == "points":
            return ()
        return (self.backbone, *((self.body_backbone, self.scene_backbone) if self.kind == "context" else ()))

    @property
    def levels(self) -> int:
        """Number of means and spreads: one per number of a frame, or per channel of each crop."""
        numbers = self.numbers * (2 if self.velocity else 1)
        return self.channels * len(self.backbones) or numbers


class ClipNet(nn.Module):
    """(x, mask) → {"authenticity": (B,) log-odds of genuine, …}.

    x     (B, T, C, S, S) levels 0 to 255 of any dtype, of `context` (B, T, 3 C, S, S); or points (B, T, F)
    mask  bool (B, T), False for padding; each clip needs one frame

    With the task `multi` there is "emotion" (B, E), logits; with `classes` "classes" (B, 2 E), logits of posed and
    genuine of each emotion in turn, of which "authenticity" and "emotion" are the sums over the other.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        # scale the inputs to about 0 ± 1; before they are measured, for levels from 0 to 255
        mean, spread = (0.0, 1.0) if config.inputs == "points" else (127.5, 127.5)
        self.register_buffer("mean", torch.full((config.levels,), mean))
        self.register_buffer("spread", torch.full((config.levels,), spread))
        self.backbone = _backbone(config)
        width, size, both = self.backbone.width, config.hidden_size, config.bidirectional
        if config.kind == "context":
            self.body, self.scene = (_backbone(replace(config, backbone=name)) for name in config.backbones[1:])
            self.fuse = nn.Sequential(nn.Linear(self.body.width + self.scene.width, size), nn.ReLU())
            width += size  # one linear layer on both is the sum of the face's logits and the context's
        if config.kind == "lstm":
            self.lstm = nn.LSTM(width, size, config.num_layers, batch_first=True, bidirectional=both)
            width = size * (1 + both) * (2 if config.pooling == "mean+peak" else 1)
        self.drop = nn.Dropout(config.dropout)
        self.heads = nn.ModuleDict({name: nn.Linear(width, out) for name, out in _heads(config).items()})

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """A clip's logits, as in the class docstring."""
        x, mask = self._checked(x, mask)
        if self.config.by_frame:
            share = mask / mask.sum(1, keepdim=True)
            logits = self._head_logits(self._frame_features(x, mask))
            return self._outputs({name: (value * share[..., None]).sum(1) for name, value in logits.items()})
        x, mask = _to_the_front(x, mask)
        volume = self.config.kind == "volume"
        features = self._volume(x, mask) if volume else self._recurrent(self._frame_features(x, mask), mask)
        return self._outputs(self._head_logits(features))

    def frames(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Each frame's logits, (B, T) and (B, T, ·), of networks that score frame by frame; undefined in padding."""
        x, mask = self._checked(x, mask)
        return self._outputs(self._head_logits(self._frame_features(x, mask)))

    def normalised(self, x: Tensor) -> Tensor:
        """Normalised inputs of the backbone: (…, C, S, S) or (…, F)."""
        shape = (-1, 1, 1) if self.config.inputs == "crops" else (-1,)
        x = (x.float() - self.mean.view(shape)) / self.spread.view(shape)
        if not self.config.per_image_standardization:
            return x
        parts = x.reshape(*x.shape[:-3], len(self.backbones), -1, *x.shape[-2:])
        parts = parts - parts.mean(dim=(-3, -2, -1), keepdim=True)
        size = parts.square().mean(dim=(-3, -2, -1), keepdim=True).sqrt()
        return (parts / size.clamp(min=_FLAT)).reshape(x.shape)

    @property
    def backbones(self) -> list[nn.Module]:
        """Those that published weights are for."""
        return [self.backbone, self.body, self.scene] if self.config.kind == "context" else [self.backbone]

    def _checked(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        c = self.config
        frame = (c.numbers,) if c.inputs == "points" else (c.levels, c.image_size, c.image_size)
        if tuple(x.shape[2:]) != frame or mask.shape != x.shape[:2]:
            raise InputError(
                f"The network reads frames of {'×'.join(map(str, frame))} with a mask, found {tuple(x.shape)} with "
                f"{tuple(mask.shape)}; read the clips again."
            )
        if not bool(mask.any(1).all()):
            raise InputError("A clip has no frames, expected at least one; leave it out.")
        return x, mask

    def _frame_features(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, width) of every frame by itself, 0 in padding."""
        frames = self.normalised(self.moved(x, mask)[mask])
        if self.config.kind == "context":
            crops = frames.tensor_split(len(self.backbones), dim=1)
            face, *context = (backbone(crop) for backbone, crop in zip(self.backbones, crops, strict=True))
            features = torch.cat([face, self.fuse(torch.cat(context, dim=1))], dim=1)
        else:
            features = self.backbone(frames)
        out = features.new_zeros(*mask.shape, features.shape[1])
        out[mask] = features
        return torch.as_tensor(out.float())

    def moved(self, x: Tensor, mask: Tensor) -> Tensor:
        """Points (B, T, F), padding last, with `subtract_mean` and `velocity` applied; crops unchanged."""
        if self.config.subtract_mean:
            x = x - (x * (mask / mask.sum(1, keepdim=True))[..., None]).sum(1, keepdim=True)
        if self.config.velocity:
            x = torch.cat([x, torch.cat([torch.zeros_like(x[:, :1]), x.diff(dim=1)], dim=1)], dim=2)
        return x

    def _volume(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, width) of all frames at once."""
        if self.config.inputs == "points":
            return torch.as_tensor(self.backbone(self.normalised(self.moved(x, mask)), mask).float())
        length = mask.sum(1)
        parts = [(rows, n) for n in sorted(set(length.tolist())) for rows in [(length == n).nonzero()[:, 0]]]
        features = [self.backbone(self.normalised(x[rows, :n]).transpose(1, 2)).float() for rows, n in parts]
        order = torch.cat([rows for rows, _ in parts]).argsort()
        return torch.cat(features)[order]

    def _recurrent(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, hidden size, times 2 if bidirectional, times 2 for mean+peak) of features (B, T, width), padding last."""
        with torch.autocast(features.device.type, enabled=False):
            length = mask.sum(1).cpu()
            packed = rnn.pack_padded_sequence(features, length, batch_first=True, enforce_sorted=False)
            states, (last, _) = self.lstm(packed)
            if self.config.pooling == "last":
                return torch.cat(list(last[-2:] if self.config.bidirectional else last[-1:]), dim=1)
            states = rnn.pad_packed_sequence(states, batch_first=True)[0]
            mean = states.sum(1) / mask.sum(1, keepdim=True)  # 0 in padding
            if self.config.pooling == "mean":
                return torch.as_tensor(mean)
            return torch.cat([mean, states.masked_fill(~mask[..., None], -torch.inf).amax(1)], dim=1)

    def _head_logits(self, features: Tensor) -> dict[str, Tensor]:
        with torch.autocast(features.device.type, enabled=False):
            features = self.drop(features)
            return {name: head(features) for name, head in self.heads.items()}

    def _outputs(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        if "classes" not in logits:
            return {**logits, "authenticity": logits["authenticity"][..., 0]}
        pairs = logits["classes"].reshape(*logits["classes"].shape[:-1], self.config.emotions, 2)
        posed, genuine = pairs.logsumexp(-2).unbind(-1)
        return {**logits, "authenticity": genuine - posed, "emotion": pairs.logsumexp(-1)}


class PointMLP(nn.Module):
    """(N, F) → (N, width): two layers on the points of a single frame."""

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
        """Normalised points of frames."""
        return torch.as_tensor(self.layers(x))


class TemporalConv(nn.Module):
    """(B, T, F), mask (B, T) → (B, 2 width): dilated convolutions over time; mean and maximum over all frames.

    Normalisation is per frame, and padding is 0 before every convolution, as is what lies beyond a clip's ends.
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
        """Normalised points of clips."""
        real = mask[..., None]
        h = self.enter(x)
        for norm, filters in zip(self.norms, self.filters, strict=True):
            inner = (norm(h).relu() * real).transpose(1, 2)
            h = h + self.drop(filters(inner).transpose(1, 2))
        mean = (h * real).sum(1) / real.sum(1)
        return torch.cat([mean, h.masked_fill(~real, -torch.inf).amax(1)], dim=1)


def _backbone(config: ClipConfig) -> PointMLP | TemporalConv | Backbone:
    if config.inputs == "points":
        return TemporalConv(config) if config.kind == "volume" else PointMLP(config)
    made = backbone(config.backbone, config.channels)
    if made.volume != (config.kind == "volume"):
        reads = "clips" if made.volume else "single images"
        raise UsageError(
            f"The backbone {config.backbone} reads {reads}, and kind {config.kind} does not; choose another backbone."
        )
    return made


def _heads(config: ClipConfig) -> dict[str, int]:
    if config.task == "classes":
        return {"classes": 2 * config.emotions}
    return {"authenticity": 1} | ({"emotion": config.emotions} if config.task == "multi" else {})


def _to_the_front(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The same clips, real frames first and in their order."""
    order = (~mask).to(torch.int8).argsort(dim=1, stable=True)
    mask = mask.gather(1, order)
    longest = int(mask.sum(1).max())
    return x[torch.arange(len(x), device=x.device)[:, None], order][:, :longest], mask[:, :longest]
