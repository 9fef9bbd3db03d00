"""Trunks under clip networks: from normalised pictures, or short films, to one vector of features each.

| name         | reads           | features | after                                                                 |
|--------------|-----------------|----------|-----------------------------------------------------------------------|
| vgg16        | (N, C, H, W)    | 512      | Simonyan & Zisserman 2015, arXiv:1409.1556, configuration D           |
| resnet50     | (N, C, H, W)    | 2048     | He et al. 2016, arXiv:1512.03385; halving in the 3×3 filters          |
| se-resnet50  | (N, C, H, W)    | 2048     | Hu et al. 2018, arXiv:1709.01507; halving in the first 1×1 filters    |
| expression   | (N, C, H, W)    | 256      | `expression.network`, the kind "ours"                              |
| cnn3d        | (N, C, T, H, W) | 256      | four layers of 3D filters, ours; after Tran et al. 2015, arXiv:1412.0767 |
| resnet3d-18  | (N, C, T, H, W) | 512      | Tran et al. 2018, arXiv:1711.11248 ("R3D-18")                         |

Weights carry the names and shapes under which others publish them, so that whoever has such a file can start from it:
torchvision's for vgg16, resnet50 and resnet3d-18, those of the port in `pretrainedmodels` (timm's `legacy_seresnet50`)
for se-resnet50, our own for expression. What stands above the features there, the classifier of 1,000 things or 400
actions (of vgg16 three layers with 90 % of its weights), is left out: features are the means of the last maps. Hence
any size of picture goes, and `load_published` passes over the classifier's weights and names them.

Every ReLU and pooling is a module of its own, used once and not in place, as views of filters need it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from torch import Tensor, nn

from duchenne.errors import InputError, UsageError
from duchenne.expression.network import ExpressionCNN, ExpressionConfig
from duchenne.learn.flops import counted, flops
from duchenne.types import JsonMap

__all__ = ["BACKBONES", "LEAST", "Backbone", "backbone", "counted", "flops", "load_published"]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
_VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # filters; 0 halves the map
_DEPTHS = (3, 4, 6, 3)


class Backbone(nn.Module):
    """What all trunks share: `forward` takes floats, already normalised, and gives features (N, `width`).

    width       features per picture or film
    volume      True: reads films (N, C, T, H, W); False: pictures (N, C, H, W)
    channels    1 grey, 3 RGB
    side        height and width of the pictures it was published for
    least       the smallest that it can read
    mean, spread  per channel, of levels from 0 to 1; for a grey net the mean of the three
    per_image   True: `normalised` takes each picture's own mean and spread over all channels instead
    classifier  how the names of the weights begin that published files hold above the features
    """

    volume = False
    side = 224
    least = 1
    classifier = "fc."
    published = _IMAGENET
    per_image = False

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise UsageError(f"A backbone reads 1 (grey) or 3 (RGB) channels, found {channels}.")
        self.width, self.channels = width, channels

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, of levels from 0 to 1."""
        return _levels(self.published[0], self.channels)

    @property
    def spread(self) -> tuple[float, ...]:
        """Per channel, of levels from 0 to 1."""
        return _levels(self.published[1], self.channels)

    def normalised(self, levels: Tensor) -> Tensor:
        """Levels 0 to 255, any dtype, (..., channels, height, width) → floats as published weights expect them."""
        x = levels.float() / 255
        if not self.per_image:
            mean, spread = (x.new_tensor(each)[:, None, None] for each in (self.mean, self.spread))
            return (x - mean) / spread
        x = x - x.mean(dim=(-3, -2, -1), keepdim=True)
        return x / x.square().mean(dim=(-3, -2, -1), keepdim=True).sqrt().clamp(min=1 / 255)

    @property
    def parts(self) -> Sequence[nn.Module]:
        """The layers below the mean, in order."""
        raise NotImplementedError

    def maps(self, x: Tensor) -> Tensor:
        """The last maps, (N, width, height, width of the map), of films with the time before the height."""
        dims, shape = 4 + self.volume, tuple(x.shape)
        if x.ndim != dims or shape[1] != self.channels or min(shape[-2:]) < self.least or shape[2] < 1:
            kind = "films (N, channels, T, height, width)" if self.volume else "pictures (N, channels, height, width)"
            raise InputError(
                f"This backbone reads {kind} with {self.channels} channels and at least {self.least} pixels a side, "
                f"found {shape}; crop, scale or order them first."
            )
        for part in self.parts:
            x = part(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(N, width): the mean of the last maps."""
        maps = self.maps(x)
        return maps.mean(dim=tuple(range(2, maps.ndim)))


class VGG16(Backbone):
    """Thirteen layers of 3×3 filters with ReLU, the map halved after each group; torchvision's `vgg16` features."""

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
        self.apply(_begin)

    @property
    def parts(self) -> Sequence[nn.Module]:
        return [self.features]


class Squeeze(nn.Module):
    """x · sigmoid(fc2(relu(fc1(mean over the map)))): each map weighed by what all of them show."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.relu = nn.Conv2d(width, width // 16, 1), nn.ReLU()
        self.fc2, self.sigmoid = nn.Conv2d(width // 16, width, 1), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) → the same."""
        gate: Tensor = self.sigmoid(self.fc2(self.relu(self.fc1(self.mean(x)))))
        return x * gate


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 filters beside x itself, or 1×1 filters of it where size or width change.

    Published se-resnet50 weights were learnt with the map halved in the first filters, resnet50's with it halved in
    the second: the names do not tell, the answers do.
    """

    def __init__(self, inputs: int, width: int, stride: int, squeeze: bool) -> None:
        super().__init__()
        first, second = (stride, 1) if squeeze else (1, stride)
        self.conv1, self.bn1, self.relu1 = _conv(inputs, width, 1, first), nn.BatchNorm2d(width), nn.ReLU()
        self.conv2, self.bn2, self.relu2 = _conv(width, width, 3, second), nn.BatchNorm2d(width), nn.ReLU()
        self.conv3, self.bn3 = _conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        if squeeze:
            self.se_module = Squeeze(4 * width)
        self.squeeze, self.downsample = squeeze, _skip(inputs, 4 * width, stride)
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, 4 · width, H / stride, W / stride)."""
        inner = self.relu1(self.bn1(self.conv1(x)))
        inner = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(inner)))))
        if self.squeeze:
            inner = self.se_module(inner)
        found: Tensor = self.relu3(inner + (x if self.downsample is None else self.downsample(x)))
        return found


class ResNet50(Backbone):
    """Sixteen `Bottleneck`s in four stages behind 7×7 filters; torchvision's `resnet50` without `fc`."""

    def __init__(self, channels: int) -> None:
        super().__init__(2048, channels)
        self.conv1, self.bn1, self.relu = _conv(channels, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1, self.layer2, self.layer3, self.layer4 = _stages(squeeze=False)
        self.apply(_begin)

    @property
    def parts(self) -> Sequence[nn.Module]:
        stem = [self.conv1, self.bn1, self.relu, self.maxpool]
        return [*stem, self.layer1, self.layer2, self.layer3, self.layer4]


class SEResNet50(Backbone):
    """ResNet50 whose blocks `Squeeze`; the names of `pretrainedmodels`' `se_resnet50` without `last_linear`."""

    classifier = "last_linear."
    least = 3  # smaller ones leave the first pooling nothing

    def __init__(self, channels: int) -> None:
        super().__init__(2048, channels)
        self.layer0 = nn.Sequential(
            OrderedDict(
                conv1=_conv(channels, 64, 7, 2),
                bn1=nn.BatchNorm2d(64),
                relu1=nn.ReLU(),
                pool=nn.MaxPool2d(3, stride=2, ceil_mode=True),
            )
        )
        self.layer1, self.layer2, self.layer3, self.layer4 = _stages(squeeze=True)
        self.apply(_begin)

    @property
    def parts(self) -> Sequence[nn.Module]:
        return [self.layer0, self.layer1, self.layer2, self.layer3, self.layer4]


class Expression(Backbone):
    """The trunk of our expression network, as it is shipped: grey pictures of 48 pixels, each normalised on its own."""

    side = 48
    least = 16
    classifier = "head."
    per_image = True

    def __init__(self, channels: int) -> None:
        plain = (127.5,) * channels  # the trunk's input is normalised already
        net = ExpressionCNN(ExpressionConfig(("any",), channels=channels, mean=plain, spread=plain))
        super().__init__(net.width, channels)
        self.trunk = net.trunk

    @property
    def parts(self) -> Sequence[nn.Module]:
        return list(self.trunk)[:-2]  # without its own mean and flattening


class CNN3D(Backbone):
    """Four layers of 3D filters with norm, ReLU and max-pooling; time is halved three times, the side five times.

    Small on purpose: some hundred clips are what there is to learn from. Any number of frames goes.
    """

    volume, side = True, 112
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
            # rounded up, so that a film of one frame goes through as well
            self.features.add_module(f"pool{i}", nn.MaxPool3d((1 if first else 2, 2, 2), ceil_mode=True))
            below = width
        self.apply(_begin)

    @property
    def parts(self) -> Sequence[nn.Module]:
        return [self.features]


class Block3D(nn.Module):
    """Two layers of 3×3×3 filters beside x itself, or 1×1×1 filters of it where size or width change."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        conv = partial(nn.Conv3d, kernel_size=3, padding=1, bias=False)
        self.conv1 = nn.Sequential(conv(inputs, width, stride=stride), nn.BatchNorm3d(width), nn.ReLU())
        self.conv2 = nn.Sequential(conv(width, width), nn.BatchNorm3d(width))
        self.downsample, self.relu = _skip(inputs, width, stride, volume=True), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, T, H, W) → (N, width, T / stride, H / stride, W / stride)."""
        inner = self.conv2(self.conv1(x))
        found: Tensor = self.relu(inner + (x if self.downsample is None else self.downsample(x)))
        return found


class ResNet3D18(Backbone):
    """Eight `Block3D`s in four stages behind 3×7×7 filters; torchvision's `r3d_18` without `fc`."""

    volume, side = True, 112
    published = _KINETICS

    def __init__(self, channels: int) -> None:
        super().__init__(512, channels)
        first = nn.Conv3d(channels, 64, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False)
        self.stem = nn.Sequential(first, nn.BatchNorm3d(64), nn.ReLU())
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(Block3D(below, width, stride), Block3D(width, width, 1))
            for below, width, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        )
        self.apply(_begin)

    @property
    def parts(self) -> Sequence[nn.Module]:
        return [self.stem, self.layer1, self.layer2, self.layer3, self.layer4]


_MAKERS: dict[str, Callable[[int], Backbone]] = {
    "vgg16": VGG16,
    "resnet50": ResNet50,
    "se-resnet50": SEResNet50,
    "expression": Expression,
    "cnn3d": CNN3D,
    "resnet3d-18": ResNet3D18,
}
BACKBONES = tuple(_MAKERS)
#: Pixels a side of the smallest picture that each can learn from. Smaller ones leave the last norm of what reads films
#: a single number of a short clip.
LEAST = {name: max(made.least, 17 * made.volume) for name, made in cast("dict[str, type[Backbone]]", _MAKERS).items()}


def backbone(name: str, channels: int = 3) -> Backbone:
    """A new trunk with weights at random; UsageError for a name that is none of `BACKBONES`, or other channels."""
    if name not in _MAKERS:
        raise UsageError(f"There is no backbone '{name}'; choose one of {', '.join(BACKBONES)}.")
    return _MAKERS[name](channels)


def load_published(net: Backbone, state: JsonMap) -> list[str]:
    """Take up published weights, and say which of them were passed over: those of the classifier.

    A net of other channels takes the first filters so that it answers to grey what the published one answers to grey
    in all its channels: RGB filters are summed, grey ones are spread over three. "module." before all names, as
    training on several GPUs leaves it, is dropped; counts of batches seen may lack, as in older files. InputError when
    anything else is missing, left over or of another shape; nothing is loaded then.
    """
    wrapped = bool(state) and all(name.startswith("module.") for name in state)
    found = {name.removeprefix("module.") if wrapped else name: value for name, value in state.items()}
    wanted = net.state_dict()
    above = sorted(name for name in found if name not in wanted)
    foreign = [name for name in above if not name.startswith(net.classifier)]
    lacking = [name for name in wanted if name not in found and not name.endswith(".num_batches_tracked")]
    kind = type(net).__name__
    if foreign or lacking:
        what = f"misses '{lacking[0]}'" if lacking else f"holds '{foreign[0]}', which has no place"
        count = len(lacking or foreign)
        raise InputError(
            f"The file does not hold weights of {kind}: it {what}{f' (and {count - 1} more)' if count > 1 else ''}; "
            f"expected the published names, {', '.join(list(wanted)[:2])} and so on."
        )
    ready: dict[str, Tensor] = {}
    for name, place in wanted.items():
        if name not in found:
            continue
        value = found[name]
        if isinstance(value, Tensor) and value.shape != place.shape:
            value = _rechannelled(value, place)
        if not isinstance(value, Tensor) or value.shape != place.shape:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(
                f"The file does not hold weights of {kind}: '{name}' should be {tuple(place.shape)}, found {shape}."
            )
        ready[name] = value
    net.load_state_dict(ready, strict=False)
    return above


def _rechannelled(value: Tensor, place: Tensor) -> Tensor:
    """First filters for other channels; anything else as it is."""
    if value.ndim < 4 or value.shape[2:] != place.shape[2:]:
        return value
    if (value.shape[1], place.shape[1]) == (3, 1):
        return value.sum(dim=1, keepdim=True)
    if (value.shape[1], place.shape[1]) == (1, 3):
        return value.expand(-1, 3, *value.shape[2:]) / 3
    return value


def _stages(squeeze: bool) -> list[nn.Sequential]:
    found, below = [], 64
    for i, depth in enumerate(_DEPTHS):
        width, stage = 64 << i, nn.Sequential()
        for j in range(depth):
            stage.append(Bottleneck(below, width, 2 if i and not j else 1, squeeze))
            below = 4 * width
        found.append(stage)
    return found


def _skip(inputs: int, width: int, stride: int, volume: bool = False) -> nn.Sequential | None:
    if inputs == width and stride == 1:
        return None
    if volume:
        return nn.Sequential(nn.Conv3d(inputs, width, 1, stride, bias=False), nn.BatchNorm3d(width))
    return nn.Sequential(_conv(inputs, width, 1, stride), nn.BatchNorm2d(width))


def _conv(inputs: int, width: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, width, size, stride, padding=size // 2, bias=False)


def _begin(module: nn.Module) -> None:
    """He's normal for filters; a residual block begins as its skip alone, as in the expression network."""
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, Bottleneck):
        nn.init.zeros_(module.bn3.weight)
    elif isinstance(module, Block3D):
        last = module.conv2[1]
        assert isinstance(last, nn.BatchNorm3d)
        nn.init.zeros_(last.weight)


def _levels(three: tuple[float, float, float], channels: int) -> tuple[float, ...]:
    return three if channels == 3 else (sum(three) / 3,)
