"""Backbones of clip networks: from normalised images, or short clips, to one feature vector each.

| name         | reads           | features | after                                                                 |
|--------------|-----------------|----------|-----------------------------------------------------------------------|
| vgg16        | (N, C, H, W)    | 512      | Simonyan & Zisserman 2015, arXiv:1409.1556, configuration D           |
| resnet50     | (N, C, H, W)    | 2048     | He et al. 2016, arXiv:1512.03385; stride in the 3×3 convolutions      |
| se-resnet50  | (N, C, H, W)    | 2048     | Hu et al. 2018, arXiv:1709.01507; stride in the first 1×1 convolutions |
| xception     | (N, C, H, W)    | 2048     | Chollet 2017, arXiv:1610.02357, figure 5 |
| expression   | (N, C, H, W)    | 384      | `expression.network`, the kind "ours", as wide as the shipped one     |
| cnn3d        | (N, C, T, H, W) | 256      | four 3D convolutions, ours; after Tran et al. 2015, arXiv:1412.0767 |
| resnet3d-18  | (N, C, T, H, W) | 512      | Tran et al. 2018, arXiv:1711.11248 ("R3D-18")                         |

Weights have the names and shapes under which others publish them, so that such files can be loaded: torchvision's for
vgg16, resnet50 and resnet3d-18, timm's `legacy_xception` for xception, those of `pretrainedmodels` (timm's
`legacy_seresnet50`) for se-resnet50, our own for expression. The classifier of 1,000 objects or 400 actions (of vgg16
three layers with 90 % of its weights) is left out: features are global average pooled. Hence any image size goes, and
`published.load` skips the classifier's weights.

Every ReLU and pooling is a module of its own, used once and not in place, as views of filters need it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from duchenne.clipnets.layers import Block3D, Bottleneck, Separable, XceptionBlock, conv, init_weights
from duchenne.errors import InputError, UsageError
from duchenne.expression.network import ExpressionCNN, ExpressionConfig

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_INCEPTION = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
_VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # filters; 0: max-pooling
_DEPTHS = (3, 4, 6, 3)


class Backbone(nn.Module):
    """Normalised floats → features (N, `width`). The layers below the pooling are its children, in order.

    width       features per image or clip
    volume      True: reads clips (N, C, T, H, W); False: images (N, C, H, W)
    channels    1 grey, 3 RGB
    least       smallest height and width
    mean, spread  per channel, of levels from 0 to 1; for a grey network the mean of the three
    classifier  prefixes of the classifier's weights in published files
    """

    volume = False
    least = 1
    classifier: str | tuple[str, ...] = "fc."
    published = _IMAGENET

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise UsageError(f"A backbone reads 1 (grey) or 3 (RGB) channels, found {channels}.")
        self.width, self.channels = width, channels
        self.mean, self.spread = (each if channels == 3 else (sum(each) / 3,) for each in self.published)

    def maps(self, x: Tensor) -> Tensor:
        """The last feature maps, (N, width, [T,] H, W)."""
        dims, shape = 4 + self.volume, tuple(x.shape)
        if x.ndim != dims or shape[1] != self.channels or min(shape[-2:]) < self.least or shape[2] < 1:
            kind = "clips (N, channels, T, height, width)" if self.volume else "images (N, channels, height, width)"
            raise InputError(
                f"This backbone reads {kind} with {self.channels} channels and at least {self.least} pixels a side, "
                f"found {shape}; crop, scale or order them first."
            )
        for part in self.children():
            x = part(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(N, width): global average pooling of the last maps."""
        maps = self.maps(x)
        return maps.mean(dim=tuple(range(2, maps.ndim)))


class VGG16(Backbone):
    """Thirteen 3×3 convolutions with ReLU, max-pooling after each group; torchvision's `vgg16` features."""

    least = 32
    classifier = "classifier."

    def __init__(self, channels: int) -> None:
        super().__init__(512, channels)
        self.features, below = nn.Sequential(), channels
        for width in _VGG16:
            if not width:
                self.features.append(nn.MaxPool2d(2))
                continue
            self.features.append(nn.Conv2d(below, width, 3, padding=1)).append(nn.ReLU())
            below = width
        self.apply(init_weights)


class ResNet50(Backbone):
    """Sixteen `Bottleneck`s in four stages after a 7×7 convolution; torchvision's `resnet50` without `fc`."""

    def __init__(self, channels: int) -> None:
        super().__init__(2048, channels)
        self.conv1, self.bn1, self.relu = conv(channels, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1, self.layer2, self.layer3, self.layer4 = _stages(squeeze=False)
        self.apply(init_weights)


class SEResNet50(Backbone):
    """ResNet50 with `SqueezeExcitation`; the names of `pretrainedmodels`' `se_resnet50` without `last_linear`."""

    classifier = "last_linear."
    least = 3  # for the first pooling

    def __init__(self, channels: int) -> None:
        super().__init__(2048, channels)
        self.layer0 = nn.Sequential(
            OrderedDict(
                conv1=conv(channels, 64, 7, 2),
                bn1=nn.BatchNorm2d(64),
                relu1=nn.ReLU(),
                pool=nn.MaxPool2d(3, stride=2, ceil_mode=True),
            )
        )
        self.layer1, self.layer2, self.layer3, self.layer4 = _stages(squeeze=True)
        self.apply(init_weights)


class Xception(Backbone):
    """Two convolutions, twelve `XceptionBlock`s, two separable convolutions; the names of timm's `legacy_xception`."""

    least = 7
    published = _INCEPTION

    def __init__(self, channels: int) -> None:
        super().__init__(2048, channels)
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(channels, 32, 3, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU()
        self.conv2, self.bn2, self.relu2 = nn.Conv2d(32, 64, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()
        self.block1 = XceptionBlock(64, 128, 128, rectified=True)
        self.block2, self.block3 = XceptionBlock(128, 256, 256), XceptionBlock(256, 728, 728)
        for i in range(4, 12):
            self.add_module(f"block{i}", XceptionBlock(728, 728, 728, 728, stride=1))
        self.block12 = XceptionBlock(728, 728, 1024)
        self.conv3, self.bn3, self.relu3 = Separable(1024, 1536), nn.BatchNorm2d(1536), nn.ReLU()
        self.conv4, self.bn4, self.relu4 = Separable(1536, 2048), nn.BatchNorm2d(2048), nn.ReLU()
        self.apply(init_weights)


class Expression(Backbone):
    """The backbone of our shipped expression network: grey images of 48 pixels, each normalised by itself."""

    least = 16
    classifier = ("head.", "second.")

    def __init__(self, channels: int) -> None:
        plain = (127.5,) * channels  # the input is normalised already
        net = ExpressionCNN(
            ExpressionConfig(("any",), channels=channels, mean=plain, spread=plain, widths=(48, 96, 192, 384))
        )
        super().__init__(net.width, channels)
        self.trunk = net.trunk[:-2]  # without its own pooling and flattening


class CNN3D(Backbone):
    """Four 3D convolutions with norm, ReLU and max-pooling; time is halved three times, height and width five times.

    Small on purpose, for a few hundred training clips. Any number of frames goes.
    """

    volume = True
    classifier = "head."
    published = _KINETICS

    def __init__(self, channels: int, widths: Sequence[int] = (32, 64, 128, 256)) -> None:
        super().__init__(widths[-1], channels)
        self.features, below = nn.Sequential(), channels
        for i, width in enumerate(widths, 1):
            first = i == 1
            size, stride = ((3, 5, 5), (1, 2, 2)) if first else ((3, 3, 3), (1, 1, 1))
            pad = (1, size[1] // 2, size[2] // 2)
            self.features.add_module(f"conv{i}", nn.Conv3d(below, width, size, stride, pad, bias=False))
            self.features.add_module(f"norm{i}", nn.BatchNorm3d(width))
            self.features.add_module(f"relu{i}", nn.ReLU())
            # rounded up, so that a clip of one frame goes through
            self.features.add_module(f"pool{i}", nn.MaxPool3d((1 if first else 2, 2, 2), ceil_mode=True))
            below = width
        self.apply(init_weights)


class ResNet3D18(Backbone):
    """Eight `Block3D`s in four stages after a 3×7×7 convolution; torchvision's `r3d_18` without `fc`."""

    volume = True
    published = _KINETICS

    def __init__(self, channels: int) -> None:
        super().__init__(512, channels)
        first = nn.Conv3d(channels, 64, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False)
        self.stem = nn.Sequential(first, nn.BatchNorm3d(64), nn.ReLU())
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(Block3D(below, width, stride), Block3D(width, width, 1))
            for below, width, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        )
        self.apply(init_weights)


_CLASSES: dict[str, type[VGG16 | ResNet50 | SEResNet50 | Xception | Expression | CNN3D | ResNet3D18]] = {
    "vgg16": VGG16,
    "resnet50": ResNet50,
    "se-resnet50": SEResNet50,
    "xception": Xception,
    "expression": Expression,
    "cnn3d": CNN3D,
    "resnet3d-18": ResNet3D18,
}
BACKBONES = tuple(_CLASSES)
#: Height and width of the smallest image that each can be trained on: below 17 pixels, the last norm of those that read
#: clips has a single value per channel for a short clip.
LEAST = {name: max(each.least, 17 * each.volume) for name, each in _CLASSES.items()}


def backbone(name: str, channels: int = 3) -> Backbone:
    """A backbone with random weights; UsageError for a name that is not in `BACKBONES`, or other channels."""
    if name not in _CLASSES:
        raise UsageError(f"There is no backbone '{name}'; choose one of {', '.join(BACKBONES)}.")
    return _CLASSES[name](channels)


def _stages(squeeze: bool) -> list[nn.Sequential]:
    stages, below = [], 64
    for i, depth in enumerate(_DEPTHS):
        width, stage = 64 << i, nn.Sequential()
        for j in range(depth):
            stage.append(Bottleneck(below, width, 2 if i and not j else 1, squeeze))
            below = 4 * width
        stages.append(stage)
    return stages
