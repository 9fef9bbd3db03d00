"""Building blocks of backbones: residual blocks of images and short clips, and their initial weights."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    """x · sigmoid(fc2(relu(fc1(mean over the map))))."""

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
    """1×1, 3×3 and 1×1 convolutions with a skip connection.

    The stride is in the first convolution for the published weights of se-resnet50, in the second for those of
    resnet50; their names do not show it, their outputs do.
    """

    def __init__(self, inputs: int, width: int, stride: int, squeeze: bool) -> None:
        super().__init__()
        first, second = (stride, 1) if squeeze else (1, stride)
        self.conv1, self.bn1, self.relu1 = conv(inputs, width, 1, first), nn.BatchNorm2d(width), nn.ReLU()
        self.conv2, self.bn2, self.relu2 = conv(width, width, 3, second), nn.BatchNorm2d(width), nn.ReLU()
        self.conv3, self.bn3 = conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        if squeeze:
            self.se_module = SqueezeExcitation(4 * width)
        self.squeeze, self.downsample = squeeze, _skip(inputs, 4 * width, stride)
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, 4 · width, H / stride, W / stride)."""
        inner = self.relu1(self.bn1(self.conv1(x)))
        inner = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(inner)))))
        if self.squeeze:
            inner = self.se_module(inner)
        return torch.as_tensor(self.relu3(inner + (x if self.downsample is None else self.downsample(x))))


class Separable(nn.Module):
    """A 3×3 convolution of each channel by itself, then a 1×1 convolution over all."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = conv(inputs, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, width, H, W)."""
        return torch.as_tensor(self.pointwise(self.conv1(x)))


class XceptionBlock(nn.Module):
    """`Separable` convolutions from each of `widths` to the next, after a ReLU each, with a skip connection.

    The first ReLU is left out where the block's input is rectified already (`rectified`).
    """

    def __init__(self, *widths: int, stride: int = 2, rectified: bool = False) -> None:
        super().__init__()
        self.stride, self.rep = stride, nn.Sequential()
        for i, (below, width) in enumerate(pairwise(widths)):
            if i or not rectified:
                self.rep.append(nn.ReLU())
            self.rep.append(Separable(below, width)).append(nn.BatchNorm2d(width))
        if stride > 1:
            self.rep.append(nn.MaxPool2d(3, stride, 1))
            self.skip, self.skipbn = conv(widths[0], widths[-1], 1, stride), nn.BatchNorm2d(widths[-1])

    def forward(self, x: Tensor) -> Tensor:
        """(N, first width, H, W) → (N, last width, H / stride, W / stride)."""
        skip = x if self.stride == 1 else self.skipbn(self.skip(x))
        return torch.as_tensor(self.rep(x) + skip)


class Block3D(nn.Module):
    """Two 3×3×3 convolutions with a skip connection."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        convolution = partial(nn.Conv3d, kernel_size=3, padding=1, bias=False)
        self.conv1 = nn.Sequential(convolution(inputs, width, stride=stride), nn.BatchNorm3d(width), nn.ReLU())
        self.conv2 = nn.Sequential(convolution(width, width), nn.BatchNorm3d(width))
        self.downsample, self.relu = _skip(inputs, width, stride, volume=True), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, T, H, W) → (N, width, T / stride, H / stride, W / stride)."""
        inner = self.conv2(self.conv1(x))
        return torch.as_tensor(self.relu(inner + (x if self.downsample is None else self.downsample(x))))


def _skip(inputs: int, width: int, stride: int, volume: bool = False) -> nn.Sequential | None:
    """1×1 convolution and norm of the skip connection; None where neither size nor width change."""
    if inputs == width and stride == 1:
        return None
    if volume:
        return nn.Sequential(nn.Conv3d(inputs, width, 1, stride, bias=False), nn.BatchNorm3d(width))
    return nn.Sequential(conv(inputs, width, 1, stride), nn.BatchNorm2d(width))


def conv(inputs: int, width: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without a bias, padded to keep height and width."""
    return nn.Conv2d(inputs, width, size, stride, padding=size // 2, bias=False)


def init_weights(module: nn.Module) -> None:
    """He normal for convolutions; residual blocks start as identity, as in the expression network."""
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
