"""Sizes of networks, without training or loading them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from duchenne.checkpoints import ModelFolder, audit
from duchenne.errors import ModelError

#: Backbone → published weights for it.
PUBLISHED = {
    "vgg16": "torchvision's vgg16",
    "resnet50": "torchvision's resnet50",
    "resnet3d-18": "torchvision's r3d_18",
    "se-resnet50": "se_resnet50 of pretrainedmodels",
    "xception": "timm's legacy_xception",
    "expression": "our expression network (FER2013; research use)",
    "cnn3d": "none",
}
#: After torchvision's README.
TERMS = (
    "Published weights are not part of duchenne and have their own terms, often those of their training data; check "
    "that your use is permitted."
)


@dataclass(frozen=True)
class Network:
    """A recipe's network: parameters, multiply-adds per clip (None for points: negligible), published weights for its
    backbone."""

    name: str
    weights: int
    multiply_adds: int | None
    published: str


def weights(folder: ModelFolder) -> int:
    """Number of parameters of the networks of a model folder and its members; 0 for models without."""
    from safetensors import SafetensorError, safe_open

    total = sum(map(weights, folder.members.values()))
    for path in sorted(folder.path.glob("*.safetensors")):
        try:
            with safe_open(str(audit.file(folder.path, path.name)), framework="numpy") as stored:
                total += sum(prod(stored.get_slice(key).get_shape()) for key in stored.keys())  # noqa: SIM118
        except (SafetensorError, OSError, RuntimeError) as error:
            raise ModelError(f"{path} cannot be read as weights; get or train the model again.") from error
    return total


def network(name: str, emotions: int = 6) -> Network:
    """A shipped recipe's network, for so many emotions."""
    import torch

    from duchenne.clipnets.network import ClipNet
    from duchenne.clipnets.recipe import ClipRecipe
    from duchenne.learn.flops import flops

    r = ClipRecipe.read(name)
    with torch.device("meta"):  # shapes alone
        net = ClipNet(r.config(emotions))
    size = sum(each.numel() for each in net.parameters())
    if r.inputs == "points":
        return Network(name, r.n_networks * size, None, "none")
    c = r.config(emotions)
    shape = (
        (1, c.channels, r.frames, c.image_size, c.image_size)
        if c.kind == "volume"
        else (1, c.channels, c.image_size, c.image_size)
    )
    each = sum(flops(backbone, shape) for backbone in net.backbones)
    below = {id(p) for backbone in net.backbones for p in backbone.parameters()}
    above = sum(p.numel() for key, p in net.named_parameters() if "weight" in key and id(p) not in below)
    # the layers above the backbone run on every frame, or once on a volume
    total = each + above if c.kind == "volume" else r.frames * (each + above)
    return Network(name, r.n_networks * size, r.n_networks * total, ", ".join(PUBLISHED[name] for name in c.backbones))
