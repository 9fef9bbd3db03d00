"""What the filters see: searched and carried back, each against a second way of finding it out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duchenne.errors import InputError, ModelError, UsageError
from duchenne.expression.filters import Excited, excite, layers, randomise, views, views_of
from duchenne.expression.layers import FeatureExtractor
from duchenne.expression.network import ExpressionCNN, ExpressionConfig
from duchenne.expression.passes import boxes

IMAGES = np.random.default_rng(0).normal(size=(40, 1, 12, 12)).astype(np.float32)


def tiny() -> nn.Sequential:
    """Three filters of 2x2 in steps of 2, ReLU, the maximum of 2x2, and one unit that weighs them 2, -1 and 3."""
    net = nn.Sequential(nn.Conv2d(1, 3, 2, stride=2, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 1, 1))
    with torch.no_grad():
        net[0].weight.copy_(
            torch.tensor([[[[1.0, 0], [0, -1]]], [[[-1.0, 0], [0, 1]]], [[[-1.0, 0], [0, -1]]]])  # A, B, C
        )
        net[3].weight.copy_(torch.tensor([2.0, -1, 3]).view(1, 3, 1, 1))
        net[3].bias.zero_()
    return net


#: Its 2x2 blocks answer A with 2, 4, -3, 0, B with the opposite, C with -4, -6, -3, -2.
PICTURE = np.array([[3, 0, 5, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 3, 0, 1]], np.float32)[None]


def blocks(batch_norm: bool = True) -> nn.Sequential:
    """Two blocks as in the expression network, with weights drawn once and a batch norm that has seen data."""
    torch.manual_seed(3)
    parts: list[nn.Module] = [nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.5)]
    parts += [nn.Conv2d(4, 6, 3, padding=1), *([nn.BatchNorm2d(6)] * batch_norm), nn.ReLU(), nn.MaxPool2d(2)]
    net = nn.Sequential(*parts, nn.Flatten(), nn.Linear(54, 5))
    if batch_norm:
        norm = net[5]
        assert isinstance(norm, nn.BatchNorm2d)
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([1.0, -2, 0.5, 1, -1, 3]))
            norm.bias.copy_(torch.tensor([0.1, 0.2, -0.3, 0, 0.4, -0.5]))
            norm.running_mean.copy_(torch.linspace(-1, 1, 6))
            norm.running_var.copy_(torch.linspace(0.5, 2, 6))
    return net


class Residual(nn.Module):
    """A residual network whose ReLUs are modules of their own (for hooks) or calls, one of them used twice."""

    def __init__(self, calls: bool) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.one = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.two = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.last = nn.Conv2d(4, 3, 3, stride=2)
        self.relus = nn.ModuleList([] if calls else [nn.ReLU() for _ in range(3)])

    def relu(self, i: int, x: Tensor) -> Tensor:
        return self.relus[i](x) if len(self.relus) else (F.relu(x), torch.relu(x), x.relu())[i]

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(0, self.stem(x))
        x = self.relu(2, x + self.two(self.relu(1, self.one(x))))
        return self.last(F.max_pool2d(x, 2))


# --- views --------------------------------------------------------------------------------------------------


def test_views_of_a_tiny_network_are_those_computed_by_hand() -> None:
    """Back through the last filter: 2 for A, -1 for B, 3 for C. Unpooled to the recorded maxima: A's is the block at
    the top right (4), B's at the bottom left (3), C's the first of equals (0), top left. B's signal is negative and
    goes; C's is positive, but C was off: deconvnet keeps it and guided backprop does not."""
    found = views(tiny(), "3", PICTURE[None], [0], np.array([[0, 0]]))
    deconvnet = np.zeros((4, 4))
    deconvnet[0, 2], deconvnet[1, 3] = 2, -2  # 2 A
    guided = deconvnet.copy()
    deconvnet[0, 0] = deconvnet[1, 1] = -3  # 3 C
    np.testing.assert_array_equal(found.deconvnet[0, 0], deconvnet)
    np.testing.assert_array_equal(found.guided[0, 0], guided)


def by_hand(net: nn.Sequential, x: Tensor, j: int, y: int, z: int, guided: bool) -> Tensor:
    """One unit of the second convolution of `blocks`, with explicit switches and transposed filters."""
    one, two, norm = net[0], net[4], net[5]
    first = one(x)
    _, switches = F.max_pool2d(first.relu(), 2, return_indices=True)
    signal = torch.zeros(1, 6, 6, 6)
    signal[0, j, y, z] = norm.weight[j] / (norm.running_var[j] + norm.eps) ** 0.5
    signal = F.conv_transpose2d(signal, two.weight, padding=1)
    signal = F.max_unpool2d(signal, switches, 2).clamp(min=0)
    signal = signal * (first > 0) if guided else signal
    return F.conv_transpose2d(signal, one.weight, padding=2)


def test_views_equal_explicit_switches_and_transposed_filters() -> None:
    net = blocks().train()  # the modes are put back, and neither dropout nor the batch norm's moments may interfere
    units = [(0, (0, 0)), (1, (3, 2)), (5, (5, 5)), (3, (2, 4))]
    found = views(net, "4", IMAGES[:4], [j for j, _ in units], np.array([at for _, at in units]))
    assert all(module.training for module in net.modules())
    with torch.no_grad():
        for i, (j, (y, z)) in enumerate(units):
            x = torch.from_numpy(IMAGES[i : i + 1])
            for view, guided in ((found.deconvnet, False), (found.guided, True)):
                np.testing.assert_allclose(view[i], by_hand(net, x, j, y, z, guided)[0], atol=1e-6)
    assert not np.allclose(found.deconvnet, found.guided)


def by_hooks(net: Residual, x: Tensor, j: int, y: int, z: int, guided: bool) -> Tensor:
    def rule(_: nn.Module, into: Any, out: Any) -> tuple[Tensor]:
        return ((into if guided else out)[0].clamp(min=0),)

    hooks = [relu.register_full_backward_hook(rule) for relu in net.relus]
    x = x.clone().requires_grad_()
    (signal,) = torch.autograd.grad(net(x)[0, j, y, z], x)
    for hook in hooks:
        hook.remove()
    return signal


@pytest.mark.parametrize("calls", [False, True])
def test_views_of_a_residual_network_equal_autograd_hooks(calls: bool) -> None:
    found = views(Residual(calls), "last", IMAGES[:3], [0, 1, 2], np.array([[0, 0], [1, 1], [1, 0]]))
    for i, (y, z) in enumerate([(0, 0), (1, 1), (1, 0)]):
        x = torch.from_numpy(IMAGES[i : i + 1])
        for view, guided in ((found.deconvnet, False), (found.guided, True)):
            np.testing.assert_allclose(view[i], by_hooks(Residual(False), x, i, y, z, guided)[0], atol=1e-6)


def test_a_filter_and_its_relu_are_one_layer() -> None:
    """Also where the unit is off, so that a view can be asked for again when other weights have turned it off."""
    net = blocks()
    units = np.indices((6, 6)).reshape(2, -1).T
    rows = np.zeros((36, 1, 12, 12), np.float32) + IMAGES[0]
    for j in (0, 1):
        one, two = (views(net, layer, rows, [j] * 36, units) for layer in ("4", "6"))
        np.testing.assert_array_equal(one.deconvnet, two.deconvnet)
        np.testing.assert_array_equal(one.guided, two.guided)
        assert one.guided.any(axis=(1, 2, 3)).all()
    one, two = (excite(net, layer, [IMAGES]) for layer in ("4", "6"))
    np.testing.assert_array_equal(one.value, two.value)
    np.testing.assert_array_equal(one.box, two.box)


def test_a_linear_layer_has_views_too() -> None:
    found = views(blocks(), "9", IMAGES[:2], [4, 0], np.zeros((2, 2), int))
    assert found.guided.shape == (2, 1, 12, 12) and np.abs(found.guided).max() > 0


def test_activations_other_than_relu_are_refused() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU(), nn.Conv2d(2, 2, 3))
    with pytest.raises(ModelError, match="ReLU only, and this network applies gelu"):
        views(net, "2", IMAGES[:1], [0], np.zeros((1, 2), int))
    assert views(net, "0", IMAGES[:1], [0], np.zeros((1, 2), int)).guided.any()  # nothing but a filter on the way


# --- the images that excite most ----------------------------------------------------------------------------


def stream(images: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (images[i : i + size] for i in range(0, len(images), size))


@pytest.mark.parametrize("size", [1, 7, 40])
def test_search_equals_sorting_all_responses(size: int) -> None:
    net = blocks().eval()
    found = excite(net, "4", stream(IMAGES, size), n=5)
    with torch.no_grad():
        response = net[:7](torch.from_numpy(IMAGES)).numpy()  # after batch norm and ReLU
    strongest = response.max(axis=(2, 3))  # (M, C)
    order = np.argsort(-strongest, axis=0, kind="stable")[:5].T
    np.testing.assert_array_equal(found.image, np.where(np.take_along_axis(strongest.T, order, 1) > 0, order, -1))
    np.testing.assert_array_equal(found.active, (strongest > 0).mean(axis=0))
    np.testing.assert_allclose(found.peak, strongest.max(axis=0), rtol=1e-5)
    for j, i, (y, z), value in zip(*pairs(found), strict=True):
        assert response[i, j, y, z] == pytest.approx(strongest[i, j], rel=1e-5) == pytest.approx(value, rel=1e-5)
    assert sorted(found.images) == np.unique(found.image[found.image >= 0]).tolist()
    assert all(np.array_equal(found.images[i], IMAGES[i]) for i in found.images)
    assert all(image.base is None for image in found.images.values())  # no batch is kept alive


def pairs(found: Excited) -> tuple[Any, ...]:
    j, rank = np.nonzero(found.image >= 0)
    return j.tolist(), found.image[j, rank].tolist(), found.place[j, rank].tolist(), found.value[j, rank].tolist()


def test_dead_filters_and_those_that_few_images_excite() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU())
    with torch.no_grad():
        net[0].weight.copy_(torch.ones(3, 1, 1, 1))
        net[0].bias.copy_(torch.tensor([0.0, -100, -4.5]))
    images = np.zeros((6, 1, 2, 3), np.float32)
    images[:, 0, 1, 2] = np.arange(6)  # image i has its only light, i, at the bottom right
    found = excite(net, "0", [images], n=3)
    assert found.image.tolist() == [[5, 4, 3], [-1, -1, -1], [5, -1, -1]]
    np.testing.assert_array_equal(found.value, [[5, 4, 3], [np.nan] * 3, [0.5, np.nan, np.nan]])
    assert found.dead.tolist() == [False, True, False] and found.dead.mean() == 1 / 3
    assert found.active.tolist() == [5 / 6, 0, 1 / 6] and found.peak.tolist() == [5, 0, 0.5]
    assert found.place[0].tolist() == [[1, 2]] * 3 and found.box[0].tolist() == [[1, 2, 2, 3]] * 3
    assert [j for j, _ in views_of(net, found)] == [0, 2] and set(found.images) == {3, 4, 5}


def test_copies_count_once_and_of_equals_the_first() -> None:
    images = IMAGES[[0, 1, 1, 2, 0, 3, 1]]
    once, copied = excite(blocks(), "0", [IMAGES[:4]], n=7), excite(blocks(), "0", stream(images, 3), n=7)
    np.testing.assert_array_equal(copied.value, once.value)
    np.testing.assert_array_equal(copied.image, np.array([0, 1, 3, 5, -1])[once.image])
    flat = excite(tiny(), "0", [np.stack([PICTURE, PICTURE + 1])], n=2)  # A and B weigh no constant
    assert flat.image[:2].tolist() == [[0, 1], [0, 1]]


def test_receptive_field_of_the_papers_network() -> None:
    """5x5 filters and 2x2 pools, three times: the third map's row y rests on pixels 4y - 14 to 4y + 17."""
    parts: list[nn.Module] = []
    for given, made in ((1, 2), (2, 3), (3, 2)):
        parts += [nn.Conv2d(given, made, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    net, images = nn.Sequential(*parts), np.random.default_rng(1).normal(size=(9, 1, 48, 40)).astype(np.float32)
    assert layers(net, images[0]) == {"0": (2, 48, 40), "3": (3, 24, 20), "6": (2, 12, 10)}
    found = excite(net, "6", [images], n=9)
    for (y, z), box in zip(found.place[found.image >= 0], found.box[found.image >= 0], strict=True):
        expected = [max(0, 4 * y - 14), max(0, 4 * z - 14), min(48, 4 * y + 18), min(40, 4 * z + 18)]
        assert box.tolist() == expected
    whole = excite(blocks(), "9", [IMAGES], n=2).box
    assert (whole[excite(blocks(), "9", [IMAGES], n=2).image >= 0] == [0, 0, 12, 12]).all()


def test_receptive_field_is_all_that_a_response_depends_on() -> None:
    net = nn.Sequential(Residual(True), nn.MaxPool2d(2, stride=1, padding=1))
    x = torch.from_numpy(np.random.default_rng(2).normal(size=(24, 1, 24, 20)).astype(np.float32)).requires_grad_()
    out = net(x)
    found = boxes(net, "1", (1, 24, 20), tuple(out.shape[2:]))
    assert found.shape == (6, 5, 4)
    for y, z in np.ndindex(6, 5):
        (signal,) = torch.autograd.grad(out[:, :, y, z].sum(), x, retain_graph=True)
        rows, columns = np.nonzero(signal.abs().sum(dim=(0, 1)).numpy())
        assert found[y, z].tolist() == [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]


@pytest.mark.parametrize(
    ("batches", "sentence"),
    [
        ([], "There are no images to search"),
        ([IMAGES[:2], IMAGES[:2, :, :10]], r"first one's shape \(1, 12, 12\), found \(2, 1, 10, 12\)"),
        ([IMAGES[0]], r"batches of shape \(B, c, H, W\), found \(1, 12, 12\)"),
        ([IMAGES[:3], np.full((2, 1, 12, 12), np.nan)], r"Image 3 \(from 0\) gives a response that is not"),
    ],
)
def test_invalid_images_are_refused(batches: list[np.ndarray], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        excite(blocks(), "4", batches)


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(UsageError, match="no layer named 'conv9'; choose one of: 0, 4, 9"):
        excite(blocks(), "conv9", [IMAGES])
    net = Residual(True)
    net.spare = nn.Linear(2, 2)
    with pytest.raises(ModelError, match="does not run its layer 'spare'"):
        excite(net, "spare", [IMAGES])


# --- the sanity check ---------------------------------------------------------------------------------------


def test_shuffled_weights_change_the_views_and_not_the_network() -> None:
    net = blocks()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = excite(net, "4", [IMAGES], n=2)
    steps = randomise(net, found, seed=1)
    assert [step.layers for step in steps] == [("5", "4"), ("5", "4", "0")]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert np.nanmax(np.abs(steps[-1].deconvnet)) < 0.8
    again = randomise(net, found, seed=1)
    np.testing.assert_array_equal(steps[-1].guided, again[-1].guided)
    assert not np.array_equal(steps[-1].deconvnet, randomise(net, found, seed=2)[-1].deconvnet)


def test_shuffling_equal_weights_changes_nothing() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3))
    with torch.no_grad():
        for weights in net.parameters():
            weights.fill_(0.5)
    for step in randomise(net, excite(net, "3", [IMAGES], n=1)):
        np.testing.assert_allclose([*step.deconvnet, *step.guided], 1)


class Maps(nn.Module):
    """Normalised pictures → maps of one layer."""

    def __init__(self, network: ExpressionCNN, layer: str) -> None:
        super().__init__()
        self.trunk, self.layer = network.trunk, network.layers[layer]

    def forward(self, x: Tensor) -> Tensor:
        heard: list[Tensor] = []
        hook = self.layer.register_forward_hook(lambda _module, _given, out: heard.append(out))
        self.trunk(x)
        hook.remove()
        return heard[0]


@pytest.mark.parametrize("settings", [{"kind": "paper", "widths": (4, 6, 8), "fc_size": 16}, {"widths": (4, 6, 8, 10)}])
@pytest.mark.filterwarnings("ignore:Setting backward hooks:UserWarning")
def test_views_of_the_expression_networks_equal_captums(settings):
    from captum.attr import Deconvolution, GuidedBackprop

    torch.manual_seed(0)
    net = ExpressionCNN(ExpressionConfig(("a", "b"), **settings))
    images = np.random.default_rng(1).normal(size=(16, 1, 48, 48)).astype(np.float32)
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.3)
    net.train()
    for _ in range(20):
        net.trunk(torch.from_numpy(images))  # batch norms see data
    net.eval()
    x, extractor = torch.from_numpy(images).requires_grad_(), FeatureExtractor(net)
    for layer in list(net.layers)[1:3]:
        maps = Maps(net, layer)
        on = (maps(x)[..., 1, 3] > 0).numpy()
        place = (int(on.sum(axis=0).argmax()), 1, 3)  # filter, row, column
        alive = on[:, place[0]]
        assert alive.sum() >= 3
        found = views(extractor, layer, images, [place[0]] * 16, np.array([place[1:]] * 16))
        for mine, other in ((found.deconvnet, Deconvolution), (found.guided, GuidedBackprop)):
            theirs = other(maps).attribute(x, target=place).detach().numpy()
            assert np.abs(theirs[alive]).max() > 0
            np.testing.assert_allclose(mine[alive], theirs[alive], atol=1e-5 * np.abs(theirs).max())
