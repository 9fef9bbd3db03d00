"""A shipped network of the kind "ours", in numpy.

A clip has a few dozen crops, which numpy reads sooner than torch is imported. Answers differ from torch's in the last
digits of a float32.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from safetensors.numpy import load_file

from duchenne.checkpoints import ModelFolder
from duchenne.errors import ModelError
from duchenne.types import Array

_AT_ONCE = 8  # images, whose maps stay in the cache; always so many, as sums of other sizes round otherwise
_KEPT = 4096  # images whose features are kept: a clip's crops are read for its emotion, and again for how it looks
_FLAT, _EPSILON = 1.0, 1e-5  # as in `expression.network` and of torch's norms
#: Filters (taps · inputs, outputs) and what is added to their outputs, the norm after them included.
_Layer = tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class PlainNetwork:
    """See `expression.model.ExpressionModel`.

    blocks  of each stage's residual blocks the two layers of 3×3 filters, and the 1×1 ones around them, if any
    """

    classes: tuple[str, ...]
    head: str
    stem: _Layer
    blocks: tuple[tuple[tuple[_Layer, _Layer, _Layer | None], ...], ...]
    outputs: dict[str, _Layer]
    second_classes: tuple[str, ...] = ()
    kept: dict[bytes, Array] = field(default_factory=dict)

    def second(self) -> PlainNetwork:
        """With the second set of labels as its classes."""
        outputs = {"head": self.outputs["second"]}
        return replace(self, classes=self.second_classes, outputs=outputs, second_classes=())

    def predict(self, images: Array, *, flips: bool = False) -> Array:
        """float64 (N, classes) of images uint8 (N, 48, 48); with `flips` the mean with the mirrored ones."""
        weights, bias = self.outputs["head"]
        logits = self.features(images).astype(float) @ weights + bias
        if self.head == "emotions":
            found = np.exp(logits - logits.max(axis=1, keepdims=True))
            found /= found.sum(axis=1, keepdims=True)
        else:
            found = 1 / (1 + np.exp(-logits))
        return np.asarray((found + self.predict(images[:, :, ::-1])) / 2 if flips else found)

    def features(self, images: Array) -> Array:
        """float32 (N, width): the input of the output layer for images uint8 (N, 48, 48)."""
        keys = [image.tobytes() for image in images]
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in self.kept}
        found = dict(zip(new, self._computed(np.array(list(new.values()))), strict=True)) if new else {}
        rows = [found.get(key, self.kept.get(key)) for key in keys]
        if len(self.kept) + len(found) > _KEPT:
            self.kept.clear()
        self.kept.update(list(found.items())[:_KEPT])
        return np.array(rows, np.float32).reshape(len(keys), len(self.outputs["head"][0]))

    def _computed(self, images: Array) -> Array:
        parts = []
        for start in range(0, len(images), _AT_ONCE):
            some = images[start : start + _AT_ONCE]
            filled = np.concatenate([some, np.zeros((_AT_ONCE - len(some), *some.shape[1:]), some.dtype)])
            parts.append(self._maps(filled)[: len(some)].mean(axis=(1, 2)))
        found = np.concatenate(parts)
        if not np.isfinite(found).all():
            raise ModelError("The expression network gives numbers that are not finite; install duchenne again.")
        return found

    def _maps(self, images: Array) -> Array:
        """float32 (N, H, W, width): the last maps of images."""
        x = images[..., None].astype(np.float32)
        x -= x.mean(axis=(1, 2, 3), keepdims=True)
        x /= np.sqrt(np.maximum(np.square(x).mean(axis=(1, 2, 3), keepdims=True), _FLAT**2))
        x = _rectified(_filtered(x, self.stem))
        for stage in self.blocks:
            x = _pooled(x)
            for first, last, skip in stage:
                inner = _filtered(_rectified(_filtered(x, first)), last)
                inner += x if skip is None else x @ skip[0] + skip[1]
                x = _rectified(inner)
        return x


def load(folder: ModelFolder) -> PlainNetwork:
    """The network of a shipped folder, whose files are those of its `model.json`."""
    about = folder.about
    if about["recipe"]["kind"] != "ours" or not about["recipe"]["per_image_standardization"]:
        raise ValueError("it is not a network of the kind ours that normalises each image by itself")
    found = {name: values.astype(np.float32) for name, values in load_file(folder.path / "weights.safetensors").items()}
    stages: dict[str, list[tuple[_Layer, _Layer, _Layer | None]]] = {}
    for name in sorted({name.split(".")[1] for name in found if name.startswith("trunk.block")}):  # block1a, block2a, …
        at = f"trunk.{name}."
        skip = _layer(found, f"{at}skip.0", f"{at}skip.1") if f"{at}skip.0.weight" in found else None
        first, last = (_layer(found, f"{at}conv{i}", f"{at}norm{i}") for i in (1, 2))
        stages.setdefault(name[:-1], []).append((first, last, skip))
    return PlainNetwork(
        classes=tuple(about["classes"]),
        head=about["head"],
        stem=_layer(found, "trunk.stem", "trunk.norm"),
        blocks=tuple(map(tuple, stages.values())),
        outputs={
            name: (found[f"{name}.weight"].T.astype(float), found[f"{name}.bias"].astype(float))
            for name in ("head", "second")
            if f"{name}.weight" in found
        },
        second_classes=tuple(about.get("second", ())),
    )


def _layer(found: dict[str, Array], conv: str, norm: str) -> _Layer:
    """Filters times the scale of the norm after them, and what is left to add."""
    scale = found[f"{norm}.weight"] / np.sqrt(found[f"{norm}.running_var"] + _EPSILON)
    filters = found[f"{conv}.weight"] * scale[:, None, None, None]
    flat = np.ascontiguousarray(filters.transpose(2, 3, 1, 0).reshape(-1, len(filters)))
    return flat, found[f"{norm}.bias"] - found[f"{norm}.running_mean"] * scale


def _filtered(x: Array, layer: _Layer) -> Array:
    """(N, H, W, outputs) of x (N, H, W, inputs), by 3×3 filters, zeros around."""
    n, height, width, inputs = x.shape
    padded = np.zeros((n, height + 2, width + 2, inputs), np.float32)
    padded[:, 1:-1, 1:-1] = x
    taps = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    flat = np.concatenate(taps, axis=3).reshape(-1, 9 * inputs)
    return np.asarray(flat @ layer[0] + layer[1]).reshape(n, height, width, -1)


def _rectified(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0, out=x))


def _pooled(x: Array) -> Array:
    """(N, H // 2, W // 2, C): the largest of each 2×2."""
    n, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2].reshape(n, height // 2, 2, width // 2, 2, channels)
    above, below = (np.maximum(x[:, :, i, :, 0], x[:, :, i, :, 1]) for i in (0, 1))
    return np.asarray(np.maximum(above, below))
