"""What the filters of a convolutional network respond to: the images that excite each most, and views of them.

For any torch network of convolutions, ReLU, pooling, batch norm and linear layers, residual or not, whose ReLUs may be
modules or function calls. A layer is named as the network itself names it in a dictionary `layers` (see
`expression.layers`), else as in `net.named_modules()`; its filters' responses are the output of that module, after the
batch norm and the ReLU where these follow directly; so a convolution and its own ReLU name the same layer.

Deconvnet: Zeiler and Fergus (2014), doi 10.1007/978-3-319-10590-1_53. Guided backprop: Springenberg et al. (2015),
arXiv 1412.6806. Randomisation: Adebayo et al. (2018), arXiv 1810.03292.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from duchenne.errors import InputError, UsageError
from duchenne.expression.passes import (
    FILTERS,
    ReLURule,
    boxes,
    eval_mode,
    hooks,
    listed_layers,
    own_layers,
    run_to,
    tensor,
)
from duchenne.types import Array

_BATCH = 64  # images that run at once: bounds the memory whatever the caller's batches are


@dataclass(frozen=True, eq=False)
class Excited:
    """The images that excite each of C filters of a layer most, at most N each, the strongest first.

    value  float32 (C, N)     response of the filter's strongest unit; NaN where fewer than N images excite it
    image  int64 (C, N)       which image, counted from 0 as they came; -1 where there is none
    place  int64 (C, N, 2)    row and column of that unit in the filter's map; 0 0 in a layer without maps
    box    int64 (C, N, 4)    top, left, bottom, right of the unit's receptive field, in pixels, ends exclusive
    peak   float32 (C,)       highest response to any image, also where it is not above 0
    mean   float64 (C,)       mean over all images of the response of the filter's strongest unit, at least 0
    active float64 (C,)       share of the images that excite the filter: with a response above 0 anywhere
    seen   number of images   images  image → float32 (c, H, W) as the network took it, of the images in `image`
    """

    layer: str
    value: Array
    image: Array
    place: Array
    box: Array
    peak: Array
    mean: Array
    active: Array
    seen: int
    images: dict[int, Array]

    @property
    def dead(self) -> Array:
        """bool (C,): filters that no image excites; their mean is the share of dead filters."""
        return np.asarray(self.active == 0)

    @property
    def stands_out(self) -> Array:
        """float64 (C,): mean response to the images shown, as a multiple of that to all images; NaN where dead."""
        strongest = np.where(self.image < 0, 0.0, self.value).sum(axis=1) / np.maximum((self.image >= 0).sum(axis=1), 1)
        return np.asarray(np.divide(strongest, self.mean, out=np.full(len(strongest), np.nan), where=~self.dead))


@dataclass(frozen=True, eq=False)
class Views:
    """What in each image excites one unit: float32 (B, c, H, W) each, signed, per unit of the unit's response.

    Positive where brighter pixels raise the response, negative where darker ones do, 0 outside the receptive field.
    """

    deconvnet: Array
    guided: Array


@dataclass(frozen=True)
class Randomised:
    """How similar views stay when the weights of `layers` are shuffled: Spearman's rank correlations (B,) with the
    views before, inside the receptive field; NaN where a view is blank. `_size` is of the absolute values."""

    layers: tuple[str, ...]
    deconvnet: Array
    guided: Array
    deconvnet_size: Array
    guided_size: Array


def layers(net: nn.Module, image: Array) -> dict[str, tuple[int, ...]]:
    """The layers in the order in which they run for `image` (c, H, W), each with the shape of its output, (C, h, w) or
    (C,): those that the network itself names, else its convolutions and linear layers."""
    shapes: dict[str, tuple[int, ...]] = {}
    record = hooks(listed_layers(net), lambda name, out: shapes.update({name: tuple(out.shape[1:])}))
    with record, eval_mode(net), torch.no_grad():
        net(tensor(net, image[None]))
    return shapes


def excite(net: nn.Module, layer: str, batches: Iterable[Array], *, n: int = 9) -> Excited:
    """As `search`, in one layer."""
    return search(net, [layer], batches, n=n)[layer]


def search(net: nn.Module, layers: Sequence[str], batches: Iterable[Array], *, n: int = 9) -> dict[str, Excited]:
    """Search a stream of images, once, for the `n` that excite each filter of each of `layers` most.

    `batches` yields float (B, c, H, W), all images of one size, as the network takes them. Memory is bounded by C·n
    images per layer and one batch, however many come. An image counts once, with its strongest unit; of exact copies
    only the first is kept; of equals the first. InputError for no images, another shape, or a response that is not
    finite.
    """
    if n < 1:
        raise UsageError(f"Each filter needs at least one image to show, found n = {n}.")
    tops: dict[str, _Top] = {}
    shape: tuple[int, ...] = ()
    for batch in batches:
        pixels = np.asarray(batch, np.float32)
        if pixels.ndim != 4 or (shape and pixels.shape[1:] != shape):
            expected = f"images of the first one's shape {shape}" if shape else "batches of shape (B, c, H, W)"
            raise InputError(f"Expected {expected}, found {pixels.shape}; bring all images to one size.")
        shape = pixels.shape[1:]
        for start in range(0, len(pixels), _BATCH):
            part = pixels[start : start + _BATCH]
            prints = np.array([_fingerprint(each) for each in part])
            for layer, response in _responses(net, layers, part).items():
                if layer not in tops:
                    tops[layer] = _Top(response, n)
                tops[layer].add(response, part, prints)
    if not tops:
        raise InputError("There are no images to search; give at least one.")
    return {layer: _excited(net, layer, tops[layer], shape) for layer in layers}


def _excited(net: nn.Module, layer: str, top: _Top, shape: tuple[int, ...]) -> Excited:
    box = boxes(net, layer, shape, top.size)[tuple(np.moveaxis(top.place, -1, 0))]
    box[top.image < 0] = 0
    value = np.where(top.image < 0, np.nan, top.value).astype(np.float32)
    mean, active = top.total / top.seen, top.fired / top.seen
    return Excited(layer, value, top.image, top.place, box, top.peak, mean, active, top.seen, top.images)


def views(net: nn.Module, layer: str, images: Array, filters: Sequence[int] | Array, places: Array) -> Views:
    """Both views of one unit per image: `images` float (B, c, H, W), its filter (B,) and place (B, 2) in the map.

    The unit's signal of 1, all others 0, is propagated back to the pixels: through the transposed filters, through
    max-pooling to the recorded place of each maximum, and at each ReLU only where the signal itself is positive
    (deconvnet), or also the forward activation was (guided). The unit's own ReLU is skipped. ModelError for another
    activation than ReLU on the way, for which the rules are not defined.
    """
    parts: list[Views] = []
    pixels, index, at = np.asarray(images, np.float32), np.asarray(filters, np.int64), np.asarray(places, np.int64)
    for start in range(0, len(pixels), _BATCH):
        part = slice(start, start + _BATCH)
        x = tensor(net, pixels[part]).requires_grad_()
        rule = ReLURule()
        with eval_mode(net), torch.enable_grad():
            out = run_to(net, [layer], x, rule.relu)[layer].pre
        unit = (torch.arange(len(x)), torch.from_numpy(index[part]))
        unit += tuple(torch.from_numpy(at[part]).T) if out.ndim > 2 else ()
        signals = []
        for rule.guided in (False, True):
            (signal,) = torch.autograd.grad(out[unit].sum(), x, retain_graph=not rule.guided)
            signals.append(signal.float().cpu().numpy())
        parts.append(Views(*signals))
    if not parts:
        return Views(pixels, pixels)
    return Views(
        *(np.concatenate(side) for side in zip(*((each.deconvnet, each.guided) for each in parts), strict=True))
    )


def views_of(net: nn.Module, excited: Excited, filters: Iterable[int] | None = None) -> Iterator[tuple[int, Views]]:
    """Both views of every image that excites a filter, filter by filter (by default all that are not dead)."""
    chosen = np.flatnonzero(~excited.dead) if filters is None else np.fromiter(filters, np.int64)
    most = int((excited.image[chosen] >= 0).sum(axis=1).max(initial=1))  # fewer than n where few images were searched
    at_once = max(1, _BATCH // most)  # filters in one pass
    for start in range(0, len(chosen), at_once):
        some = chosen[start : start + at_once]
        which, column = np.nonzero(excited.image[some] >= 0)
        if not len(which):
            continue
        images = np.stack([excited.images[i] for i in excited.image[some[which], column].tolist()])
        found = views(net, excited.layer, images, some[which], excited.place[some[which], column])
        for k in np.unique(which).tolist():
            yield int(some[k]), Views(found.deconvnet[which == k], found.guided[which == k])


def randomise(net: nn.Module, excited: Excited, *, most: int = 32, seed: int = 0) -> list[Randomised]:
    """The sanity check: views of each filter's most exciting image (of the first `most` filters that are not dead)
    before and after the layers, each with its norm, are shuffled, from `excited.layer` down to the pixels, one more
    at each step.

    A layer's weights are shuffled among themselves. A view that stays the same shows the image, not what the network
    has learnt. `net` itself is not changed.
    """
    chosen = np.flatnonzero(~excited.dead)[:most]
    if not len(chosen):
        return []
    images = np.stack([excited.images[i] for i in excited.image[chosen, 0].tolist()])
    units = (excited.layer, images, chosen, excited.place[chosen, 0])
    shuffled, rng = copy.deepcopy(net), np.random.default_rng(seed)
    box, done, steps = excited.box[chosen, 0], [], []
    before = _ranked(views(shuffled, *units), box)
    for names, modules in reversed(_stages(shuffled, excited.layer, images[:1])):
        for module in reversed(modules):
            with torch.no_grad():
                for weights in module.parameters(recurse=False):
                    order = torch.from_numpy(rng.permutation(weights.numel())).to(weights.device)
                    weights.copy_(weights.flatten()[order].view_as(weights))
        done += names
        after = _ranked(views(shuffled, *units), box)
        steps.append(Randomised(tuple(done), *map(_correlation, before, after)))
    return steps


def _ranked(found: Views, box: Array) -> list[list[Array]]:
    """The ranks inside the boxes (B, 4) of deconvnet and guided views, and of the sizes of both."""
    kinds = (found.deconvnet, found.guided, np.abs(found.deconvnet), np.abs(found.guided))
    return [
        [_ranks(v[:, top:low, left:right]) for v, (top, left, low, right) in zip(kind, box.tolist(), strict=True)]
        for kind in kinds
    ]


def _ranks(values: Array) -> Array:
    """Ranks of all values, the mean rank where they are equal, less the mean of all ranks."""
    _, place, count = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place] - (values.size + 1) / 2)


def _correlation(before: list[Array], after: list[Array]) -> Array:
    """Spearman's correlation (B,) of two views by their ranks, NaN where one is flat."""
    norms = [np.sqrt((a @ a) * (b @ b)) for a, b in zip(before, after, strict=True)]
    return np.array([a @ b / n if n > 0 else np.nan for a, b, n in zip(before, after, norms, strict=True)], float)


def _stages(net: nn.Module, layer: str, images: Array) -> list[tuple[list[str], list[nn.Module]]]:
    """What `layer` depends on, in the order in which it runs: (names, the modules with weights that go together).

    A layer that the network names has all that runs after the one before it; else filters go with their norm.
    """
    own = own_layers(net)
    names = {module: name for name, module in (own or {}).items()}
    paths = {m: path for path, m in net.named_modules() if next(m.parameters(recurse=False), None) is not None}
    ran: list[nn.Module] = []
    watched = {str(i): m for i, m in enumerate(dict.fromkeys([*paths, *names]))}
    with hooks(watched, lambda i, _: ran.append(watched[i])), eval_mode(net), torch.no_grad():
        run_to(net, [layer], tensor(net, images))
    stages: list[tuple[list[str], list[nn.Module]]] = []
    pending: list[nn.Module] = []
    for module in dict.fromkeys(ran):
        if own is not None:
            pending += [module] * (module in paths)
            if module in names:
                stages.append(([names[module]], pending))
                pending = []
        elif isinstance(module, FILTERS) or not stages:
            stages.append(([paths[module]], [module]))
        else:
            stages[-1][0].insert(0, paths[module])
            stages[-1][1].append(module)
    return stages


# --- searching ----------------------------------------------------------------------------------------------


def _responses(net: nn.Module, layers: Sequence[str], images: Array) -> dict[str, Array]:
    """Layer → float32 (B, C, h, w) or (B, C): its filters' responses."""
    with eval_mode(net), torch.no_grad():
        outputs = run_to(net, layers, tensor(net, images))
        return {layer: np.asarray(outputs[layer].post.float().cpu().numpy()) for layer in layers}


class _Top:
    """The strongest responses so far of C filters, and their images."""

    def __init__(self, response: Array, n: int) -> None:
        filters = response.shape[1]
        self.size = response.shape[2:] or (1, 1)
        self.seen, self.images = 0, dict[int, Array]()
        self.value = np.full((filters, n), -np.inf, np.float32)
        self.image = np.full((filters, n), -1)
        self.place = np.zeros((filters, n, 2), np.int64)
        self.copies = np.zeros((filters, n), np.int64)
        self.peak = np.full(filters, -np.inf, np.float32)
        self.fired, self.total = np.zeros(filters, np.int64), np.zeros(filters)

    def add(self, response: Array, images: Array, prints: Array) -> None:
        flat = response.reshape(*response.shape[:2], -1)
        unit = flat.argmax(axis=2)
        value = np.take_along_axis(flat, unit[..., None], axis=2)[..., 0]  # (B, C)
        if not np.isfinite(value).all():
            first = self.seen + int(np.flatnonzero(~np.isfinite(value).all(axis=1))[0])
            raise InputError(f"Image {first} (from 0) gives a response that is not a finite number; leave it out.")
        self.peak = np.maximum(self.peak, value.max(axis=0))
        self.fired += (value > 0).sum(axis=0)
        self.total += np.maximum(value, 0).sum(axis=0, dtype=float)
        repeated = np.ones(len(images), bool)
        repeated[np.unique(prints, return_index=True)[1]] = False
        known = (self.copies[:, :, None] == prints) & (self.image >= 0)[:, :, None]
        out = (value.T <= 0) | repeated | known.any(axis=1)
        number = np.where(out, -1, self.seen + np.arange(len(images)))
        place = np.stack(np.unravel_index(unit.T, self.size), axis=-1)
        self._merge(np.where(out, -np.inf, value.T), number, place, np.broadcast_to(prints, out.shape))
        # copied, for a view would keep its whole batch alive
        self.images = {
            i: self.images[i] if i in self.images else images[i - self.seen].copy()
            for i in np.unique(self.image[self.image >= 0]).tolist()
        }
        self.seen += len(images)

    def _merge(self, value: Array, image: Array, place: Array, copies: Array) -> None:
        n = self.value.shape[1]
        order = np.argsort(-np.concatenate([self.value, value], axis=1), axis=1, kind="stable")[:, :n]

        def best(old: Array, new: Array) -> Array:
            return np.take_along_axis(np.concatenate([old, new], axis=1), order, axis=1)

        self.value, self.image = best(self.value, value), best(self.image, image)
        self.copies = best(self.copies, copies)
        self.place = np.stack([best(self.place[..., i], place[..., i]) for i in (0, 1)], axis=-1)
        self.place[self.image < 0] = 0


def _fingerprint(image: Array) -> int:
    return int.from_bytes(hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=8).digest(), signed=True)
