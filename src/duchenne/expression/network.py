"""Networks for single faces: Breuer & Kimmel's, and a lighter residual one of ours.

`paper` is the network of Breuer & Kimmel, "A Deep Learning Perspective on the Origin of Facial Expressions", section
2.1: three blocks of 5×5 filters (64, 128, 256), ReLU and 2×2 max-pooling, dropout, 512 hidden neurons, dropout, output.
The paper does not say whether maps are padded; `padding` allows both (Keras, which it used, does not pad by default).
`ours` are 3×3 residual blocks behind max-pooling that halves the map: a fifth of the operations of the padded `paper`.

Every ReLU and pooling is a module of its own, used once and not in place, as the views of filters require.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from duchenne.errors import InputError, UsageError
from duchenne.expression.passes import hooks

KINDS = ("paper", "ours")
#: What the outputs are: one emotion of several, presence of action units, their intensity from 0 to 5.
HEADS = ("emotions", "units", "intensity")
_WIDTHS = {"paper": (64, 128, 256), "ours": (32, 64, 128, 256)}
_BLOCKS = (1, 1, 2, 1)
_FLAT = 1.0  # grey level: least standard deviation by which an image is divided


@dataclass(frozen=True)
class ExpressionConfig:
    """Architecture, input and outputs of a network.

    classes    names of the outputs, in order
    second     names of the outputs of a second linear layer on the same features: another set of labels of the same
               images, such as FER2013's own beside the votes of FER+
    channels   1 grey, 3 RGB; images are `side` × `side`
    mean, spread  per channel, in grey levels: images are normalised to (x − mean) / spread
    per_image_standardization  with each image's own mean and spread instead
    widths     filters per stage, () for the kind's default; of `ours` the first is the stem's and the first stage's
    blocks     of `ours`, residual blocks per stage, () for the default
    fc_size, padding  of `paper`, hidden neurons, and whether maps keep their size under a filter
    conv_dropout, dropout  of `paper` before the hidden neurons, and of both before the output
    """

    classes: tuple[str, ...]
    second: tuple[str, ...] = ()
    kind: str = "ours"
    head: str = "emotions"
    channels: int = 1
    side: int = 48
    mean: tuple[float, ...] = (127.5,)
    spread: tuple[float, ...] = (127.5,)
    per_image_standardization: bool = False
    widths: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    fc_size: int = 512
    padding: bool = True
    conv_dropout: float = 0.25
    dropout: float = 0.5

    def __post_init__(self) -> None:
        """UsageError for settings that are not possible."""
        if self.kind not in KINDS or self.head not in HEADS:
            raise UsageError(
                f"There is no expression network '{self.kind}' with the head '{self.head}'; expected one of "
                f"{', '.join(KINDS)} with one of {', '.join(HEADS)}."
            )
        if not self.classes or len(set(self.classes)) < len(self.classes) or not all(self.classes):
            raise UsageError(f"An expression network needs distinct names of its outputs, found {self.classes}.")
        if self.channels not in (1, 3) or not len(self.mean) == len(self.spread) == self.channels:
            raise UsageError(
                f"An expression network reads 1 (grey) or 3 (RGB) channels, each with a mean and a spread; found "
                f"{self.channels} with {len(self.mean)} and {len(self.spread)}."
            )
        if not all(spread > 0 for spread in self.spread):
            raise UsageError(f"The spread of an expression network's images must be above 0, found {self.spread}.")
        stages = len(_WIDTHS[self.kind])
        if len(self.filters) != stages or (self.kind == "ours" and len(self.depths) != stages):
            raise UsageError(
                f"The {self.kind} network has {stages} stages, found widths {self.widths} and blocks {self.blocks}."
            )
        if self._last < 1:
            raise UsageError(f"Images of {self.side}×{self.side} pixels are too small for the {self.kind} network.")

    @property
    def filters(self) -> tuple[int, ...]:
        """Filters per stage."""
        return self.widths or _WIDTHS[self.kind]

    @property
    def depths(self) -> tuple[int, ...]:
        """Residual blocks per stage."""
        return self.blocks or _BLOCKS

    @property
    def _last(self) -> int:
        """Side of the last map."""
        side = self.side
        for _ in self.filters:
            side = (side if self.padding or self.kind == "ours" else side - 4) // 2
        return side


class Block(nn.Module):
    """relu(x' + norm(conv(relu(norm(conv(x)))))), x' being x, or 1×1 filters of it where the width changes."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1, self.relu1 = _conv3(inputs, width), nn.BatchNorm2d(width), nn.ReLU()
        self.conv2, self.norm2 = _conv3(width, width), nn.BatchNorm2d(width)
        self.skip = nn.Identity() if inputs == width else nn.Sequential(_conv1(inputs, width), nn.BatchNorm2d(width))
        self.relu2 = nn.ReLU()
        # a block starts as its skip connection alone, which speeds up the first epochs
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, width, H, W)."""
        inner = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        found: Tensor = self.relu2(inner + self.skip(x))
        return found


class ExpressionCNN(nn.Module):
    """Grey levels 0 to 255, any dtype, (B, channels, side, side) → logits (B, classes).

    Their softmax gives the emotions' probabilities; the sigmoid of each is a unit's probability, and five times it a
    unit's intensity (`ExpressionConfig.head`). `trunk` maps normalised images to features, `head` these to logits.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, config: ExpressionConfig) -> None:
        super().__init__()
        self.config = config
        for name in ("mean", "spread"):
            levels = torch.tensor(getattr(config, name), dtype=torch.float32)[:, None, None]
            self.register_buffer(name, levels, persistent=False)
        paper = config.kind == "paper"
        self.trunk = nn.Sequential(_paper(config) if paper else _ours(config))
        self.drop = nn.Dropout(config.dropout)
        self.width = config.fc_size if paper else config.filters[-1]
        self.head = nn.Linear(self.width, len(config.classes))
        if config.second:
            self.second = nn.Linear(self.width, len(config.second))
        if paper:
            self.apply(_as_keras)

    def normalised(self, x: Tensor) -> Tensor:
        """The input of the first layer; InputError for images of another size."""
        config = self.config
        # means over the last maps let `ours` learn from smaller images
        sides = x.shape[2:] if config.kind == "ours" and self.training else (config.side, config.side)
        if x.ndim != 4 or tuple(x.shape[1:]) != (config.channels, *sides):
            raise InputError(
                f"The network reads faces of {config.channels}×{config.side}×{config.side} (channels, height, width), "
                f"found {'×'.join(map(str, x.shape[1:]))}; crop and scale them first."
            )
        x = x.float()
        if not config.per_image_standardization:
            return (x - self.mean) / self.spread
        x = x - x.mean(dim=(1, 2, 3), keepdim=True)
        return x / x.square().mean(dim=(1, 2, 3), keepdim=True).clamp(min=_FLAT**2).sqrt()

    def features(self, x: Tensor) -> Tensor:
        """(B, width): of `paper` the hidden neurons (512) after their ReLU, of `ours` the last maps' means."""
        found: Tensor = self.trunk(self.normalised(x))
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes)."""
        found: Tensor = self.head(self.drop(self.features(x)))
        return found

    @property
    def layers(self) -> dict[str, nn.Module]:
        """Name → the module whose output is the layer's maps, from input to output: each a ReLU after filters.

        `paper`: conv1, conv2, conv3, full. `ours`: stem, then of each residual block its inner and its outer maps,
        "block3a.inner", "block3a".
        """
        if self.config.kind == "paper":
            names = {f"conv{i}": f"relu{i}" for i in range(1, 4)} | {"full": "relu4"}
        else:
            names = {"stem": "relu"}
            for block, _ in self.trunk.named_children():
                if block.startswith("block"):
                    names |= {f"{block}.inner": f"{block}.relu1", block: f"{block}.relu2"}
        return {name: self.trunk.get_submodule(path) for name, path in names.items()}

    def maps(self, x: Tensor, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Name → (B, filters, H, W), of full (B, 512): outputs of the named layers, by default all; with gradients.

        UsageError for an unknown layer.
        """
        known = self.layers
        chosen = list(known if names is None else names)
        if unknown := [name for name in chosen if name not in known]:
            raise UsageError(f"The network has no layer '{unknown[0]}'; choose one of {', '.join(known)}.")
        found: dict[str, Tensor] = {}
        with hooks({name: known[name] for name in chosen}, found.__setitem__):
            self.trunk(self.normalised(x))
        return found


def _paper(config: ExpressionConfig) -> OrderedDict[str, nn.Module]:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    below = config.channels
    for i, width in enumerate(config.filters, 1):
        parts[f"conv{i}"] = nn.Conv2d(below, width, 5, padding=2 if config.padding else 0)
        parts[f"relu{i}"], parts[f"pool{i}"] = nn.ReLU(), nn.MaxPool2d(2)
        below = width
    parts["drop"], parts["flat"] = nn.Dropout(config.conv_dropout), nn.Flatten()
    parts["full"], parts["relu4"] = nn.Linear(below * config._last**2, config.fc_size), nn.ReLU()
    return parts


def _ours(config: ExpressionConfig) -> OrderedDict[str, nn.Module]:
    below = config.filters[0]
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        stem=_conv3(config.channels, below), norm=nn.BatchNorm2d(below), relu=nn.ReLU()
    )
    for i, (width, blocks) in enumerate(zip(config.filters, config.depths, strict=True), 1):
        parts[f"pool{i}"] = nn.MaxPool2d(2)
        for j in range(blocks):
            parts[f"block{i}{chr(ord('a') + j)}"] = Block(below, width)
            below = width
    parts["mean"], parts["flat"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return parts


def _conv3(inputs: int, width: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
    if not conv.weight.is_meta:  # drawing on the meta device makes torch import its compiler: a second
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _conv1(inputs: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, width, 1, bias=False)


def _as_keras(module: nn.Module) -> None:
    """The default initialisation of Keras, which the paper used: Glorot's uniform, biases 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
