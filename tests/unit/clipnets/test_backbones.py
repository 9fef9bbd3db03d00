"""Backbones: others' names, shapes and counts to the last weight, and the answers by plain formulas on those names."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from duchenne import checkpoints
from duchenne.clipnets.backbones import BACKBONES, CNN3D, LEAST, backbone
from duchenne.clipnets.published import load as load_published
from duchenne.errors import InputError, UsageError
from duchenne.expression.network import ExpressionCNN, ExpressionConfig
from duchenne.learn.flops import counted, flops

WIDTHS = {"vgg16": 512, "resnet50": 2048, "se-resnet50": 2048, "xception": 2048, "expression": 384, "cnn3d": 256}
WIDTHS |= {"resnet3d-18": 512}
VOLUMES = ("cnn3d", "resnet3d-18")
VGG = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512, 24: 512, 26: 512, 28: 512}


def meta(name, channels=3):
    """A net without numbers."""
    with torch.device("meta"):
        return backbone(name, channels)


def scrambled(net, seed=0):
    """The same net, ready to answer, with a number of its own in every place, norms' running values too."""
    made = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            if value.ndim > 1:
                value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=made)
            elif name.endswith(("weight", "running_var")):
                value.uniform_(0.5, 1.0, generator=made)
            else:
                value.normal_(0, 0.1, generator=made)
    return net.eval()


def test_the_smallest_image_of_a_short_clip_trains():
    """One clip of the four frames that a movement needs at least; a pixel less leaves norms a single number."""
    for name in ("cnn3d", "resnet3d-18"):
        net = backbone(name, 1).train()
        net(torch.rand(1, 1, 4, LEAST[name], LEAST[name]))
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            net(torch.rand(1, 1, 4, LEAST[name] - 1, LEAST[name] - 1))


def pictures(net, count=2, side=40, frames=5, seed=1):
    """Floats that the net reads, not square."""
    size = (side, side + 7)
    shape = (count, net.channels, *((frames,) if net.volume else ()), *size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=BACKBONES)
def net(request):
    torch.manual_seed(0)
    found = scrambled(backbone(request.param))
    found.called = request.param
    return found


# --- the published names, shapes and counts -------------------------------------------------------------------------


def norm(name, width):
    """What a norm keeps."""
    return {f"{name}.{each}": (width,) for each in ("weight", "bias", "running_mean", "running_var")} | {
        f"{name}.num_batches_tracked": ()
    }


def linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def published_vgg16():
    found, below = {}, 3
    for i, width in VGG.items():
        found |= {f"features.{i}.weight": (width, below, 3, 3), f"features.{i}.bias": (width,)}
        below = width
    above = [(0, 7 * 7 * 512, 4096), (3, 4096, 4096), (6, 4096, 1000)]
    return found | {k: v for i, a, b in above for k, v in linear(f"classifier.{i}", a, b).items()}


def published_resnet50(squeeze=False):
    stem = "layer0." if squeeze else ""
    found, below = {f"{stem}conv1.weight": (64, 3, 7, 7), **norm(f"{stem}bn1", 64)}, 64
    for stage, (depth, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], 1):
        for i in range(depth):
            at, wide = f"layer{stage}.{i}", 4 * width
            for j, shape in enumerate([(width, below, 1, 1), (width, width, 3, 3), (wide, width, 1, 1)], 1):
                found |= {f"{at}.conv{j}.weight": shape, **norm(f"{at}.bn{j}", shape[0])}
            if squeeze:
                found |= {
                    f"{at}.se_module.fc1.weight": (wide // 16, wide, 1, 1),
                    f"{at}.se_module.fc1.bias": (wide // 16,),
                }
                found |= {f"{at}.se_module.fc2.weight": (wide, wide // 16, 1, 1), f"{at}.se_module.fc2.bias": (wide,)}
            if not i:
                found |= {f"{at}.downsample.0.weight": (wide, below, 1, 1), **norm(f"{at}.downsample.1", wide)}
            below = wide
    return found | linear("last_linear" if squeeze else "fc", 2048, 1000)


def published_r3d():
    found, below = {"stem.0.weight": (64, 3, 3, 7, 7), **norm("stem.1", 64)}, 64
    for stage, width in enumerate((64, 128, 256, 512), 1):
        for i in range(2):
            at = f"layer{stage}.{i}"
            found |= {f"{at}.conv1.0.weight": (width, below, 3, 3, 3), **norm(f"{at}.conv1.1", width)}
            found |= {f"{at}.conv2.0.weight": (width, width, 3, 3, 3), **norm(f"{at}.conv2.1", width)}
            if stage > 1 and not i:
                found |= {f"{at}.downsample.0.weight": (width, below, 1, 1, 1), **norm(f"{at}.downsample.1", width)}
            below = width
    return found | linear("fc", 512, 400)


def separable(name, below, width):
    return {f"{name}.conv1.weight": (below, 1, 3, 3), f"{name}.pointwise.weight": (width, below, 1, 1)}


#: Widths of Xception's blocks; the first begins without a ReLU, and those of the same width throughout do not pool.
XCEPTION = ((64, 128, 128), (128, 256, 256), (256, 728, 728), *[(728,) * 4] * 8, (728, 728, 1024))


def published_xception():
    found = {"conv1.weight": (32, 3, 3, 3), **norm("bn1", 32), "conv2.weight": (64, 32, 3, 3), **norm("bn2", 64)}
    for i, widths in enumerate(XCEPTION, 1):
        for j in range(len(widths) - 1):
            at = 3 * j + (i > 1)  # ReLU, convolution, norm
            found |= separable(f"block{i}.rep.{at}", *widths[j : j + 2]) | norm(f"block{i}.rep.{at + 1}", widths[j + 1])
        if widths[0] != widths[-1]:
            found |= {f"block{i}.skip.weight": (widths[-1], widths[0], 1, 1), **norm(f"block{i}.skipbn", widths[-1])}
    for i, below, width in ((3, 1024, 1536), (4, 1536, 2048)):
        found |= separable(f"conv{i}", below, width) | norm(f"bn{i}", width)
    return found | linear("fc", 2048, 1000)


#: Name → what a published file holds, and how many parameters its publisher counts in it.
PUBLISHED = {
    "vgg16": (published_vgg16(), 138_357_544),
    "resnet50": (published_resnet50(), 25_557_032),
    "se-resnet50": (published_resnet50(squeeze=True), 28_088_024),
    "resnet3d-18": (published_r3d(), 33_371_472),
    "xception": (published_xception(), 22_855_952),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_matches_except_for_its_classifier(name):
    shapes, count = PUBLISHED[name]
    counts = {k: torch.Size(v).numel() for k, v in shapes.items() if "running_" not in k and "num_batches" not in k}
    assert sum(counts.values()) == count  # the names and shapes above are the published network
    net = meta(name)
    ours = {k: tuple(v.shape) for k, v in net.state_dict().items()}
    above = {k for k in shapes if k.startswith(net.classifier)}
    assert ours == {k: v for k, v in shapes.items() if k not in above}
    assert above == set(shapes) - set(ours) and above
    assert sum(p.numel() for p in net.parameters()) == count - sum(counts[k] for k in above)


def test_the_shipped_expression_network_matches_except_for_its_heads():
    whole = checkpoints.load("expression")[0].network
    shapes = {k: v.shape for k, v in whole.state_dict().items() if not k.startswith(("head.", "second."))}
    assert {k: v.shape for k, v in meta("expression", 1).state_dict().items()} == shapes


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_its_attributes(name):
    grey, rgb = meta(name, 1), meta(name)
    assert (rgb.width, rgb.volume, rgb.channels) == (WIDTHS[name], name in VOLUMES, 3)
    first = next(iter(rgb.state_dict().values())).numel()
    assert sum(p.numel() for p in rgb.parameters()) - sum(p.numel() for p in grey.parameters()) == first * 2 // 3
    assert len(grey.mean) == len(grey.spread) == 1 and len(rgb.mean) == len(rgb.spread) == 3


def test_cnn3d_has_the_weights_of_its_four_layers():
    # 75 · 3 · 32 of the first, 27 · below · width of the others, and two numbers of each norm
    filters = 75 * 3 * 32 + 27 * (32 * 64 + 64 * 128 + 128 * 256)
    assert sum(p.numel() for p in meta("cnn3d").parameters()) == filters + 2 * (32 + 64 + 128 + 256)


@pytest.mark.parametrize(
    ("name", "channels"), [("resnet18", 3), ("", 3), ("vgg16", 2), ("expression", 4), ("cnn3d", 0)]
)
def test_invalid_backbones_are_refused_in_one_sentence(name, channels):
    with pytest.raises(UsageError, match=r"found|choose one of"):
        backbone(name, channels)


# --- the answers, by plain formulas on the published names -----------------------------------------------------------


class Plain:
    """Layers by name, straight from a state dict."""

    def __init__(self, state):
        self.state = state

    def conv(self, x, name, stride=1, pad=0):
        w = self.state[f"{name}.weight"]
        call = functional.conv3d if w.ndim == 5 else functional.conv2d
        return call(x, w, self.state.get(f"{name}.bias"), stride, pad)

    def norm(self, x, name):
        s, shape = self.state, (1, -1) + (1,) * (x.ndim - 2)
        mean, var, w, b = (s[f"{name}.{k}"].view(shape) for k in ("running_mean", "running_var", "weight", "bias"))
        return (x - mean) / (var + 1e-5).sqrt() * w + b

    def skip(self, x, at, stride):
        if f"{at}.downsample.0.weight" not in self.state:
            return x
        return self.norm(self.conv(x, f"{at}.downsample.0", stride), f"{at}.downsample.1")

    def vgg16(self, x):
        for i in VGG:
            x = self.conv(x, f"features.{i}", pad=1).clamp(min=0)
            if i in (2, 7, 14, 21, 28):
                x = functional.max_pool2d(x, 2)
        return x.mean((2, 3))

    def resnet50(self, x, squeeze=False):
        stem = "layer0." if squeeze else ""
        x = self.norm(self.conv(x, f"{stem}conv1", 2, 3), f"{stem}bn1").clamp(min=0)
        # the port pools without a border and rounds up
        x = functional.max_pool2d(x, 3, 2, ceil_mode=True) if squeeze else functional.max_pool2d(x, 3, 2, 1)
        for stage, depth in enumerate((3, 4, 6, 3), 1):
            for i in range(depth):
                at, stride = f"layer{stage}.{i}", 2 if stage > 1 and not i else 1
                one, two = (stride, 1) if squeeze else (1, stride)
                h = self.norm(self.conv(x, f"{at}.conv1", one), f"{at}.bn1").clamp(min=0)
                h = self.norm(self.conv(h, f"{at}.conv2", two, 1), f"{at}.bn2").clamp(min=0)
                h = self.norm(self.conv(h, f"{at}.conv3"), f"{at}.bn3")
                if squeeze:
                    gate = self.conv(h.mean((2, 3), keepdim=True), f"{at}.se_module.fc1").clamp(min=0)
                    h = h * torch.sigmoid(self.conv(gate, f"{at}.se_module.fc2"))
                x = (h + self.skip(x, at, stride)).clamp(min=0)
        return x.mean((2, 3))

    def expression(self, x):
        x = self.norm(self.conv(x, "trunk.stem", 1, 1), "trunk.norm").clamp(min=0)
        for stage, blocks in enumerate(("a", "a", "ab", "a"), 1):
            x = functional.max_pool2d(x, 2)
            for at in (f"trunk.block{stage}{block}" for block in blocks):
                h = self.norm(self.conv(x, f"{at}.conv1", 1, 1), f"{at}.norm1").clamp(min=0)
                h = self.norm(self.conv(h, f"{at}.conv2", 1, 1), f"{at}.norm2")
                if f"{at}.skip.0.weight" in self.state:
                    x = self.norm(self.conv(x, f"{at}.skip.0"), f"{at}.skip.1")
                x = (h + x).clamp(min=0)
        return x.mean((2, 3))

    def cnn3d(self, x):
        for i in range(1, 5):
            stride, pad = ((1, 2, 2), (1, 2, 2)) if i == 1 else (1, 1)
            x = self.norm(self.conv(x, f"features.conv{i}", stride, pad), f"features.norm{i}").clamp(min=0)
            x = functional.max_pool3d(x, (1, 2, 2) if i == 1 else 2, ceil_mode=True)
        return x.mean((2, 3, 4))

    def r3d(self, x):
        x = self.norm(self.conv(x, "stem.0", (1, 2, 2), (1, 3, 3)), "stem.1").clamp(min=0)
        for stage in range(1, 5):
            for i in range(2):
                at, stride = f"layer{stage}.{i}", 2 if stage > 1 and not i else 1
                h = self.norm(self.conv(x, f"{at}.conv1.0", stride, 1), f"{at}.conv1.1").clamp(min=0)
                h = self.norm(self.conv(h, f"{at}.conv2.0", 1, 1), f"{at}.conv2.1")
                x = (h + self.skip(x, at, stride)).clamp(min=0)
        return x.mean((2, 3, 4))

    def separable(self, x, at):
        x = functional.conv2d(x, self.state[f"{at}.conv1.weight"], padding=1, groups=x.shape[1])
        return functional.conv2d(x, self.state[f"{at}.pointwise.weight"])

    def xception(self, x):
        x = self.norm(self.conv(x, "conv1", 2), "bn1").clamp(min=0)
        x = self.norm(self.conv(x, "conv2"), "bn2").clamp(min=0)
        for i, widths in enumerate(XCEPTION, 1):
            h = x
            for j in range(len(widths) - 1):
                at = 3 * j + (i > 1)
                h = self.norm(self.separable(h.clamp(min=0), f"block{i}.rep.{at}"), f"block{i}.rep.{at + 1}")
            if widths[0] != widths[-1]:
                h = functional.max_pool2d(h, 3, 2, 1)
                x = self.norm(self.conv(x, f"block{i}.skip", 2), f"block{i}.skipbn")
            x = h + x
        for i in (3, 4):
            x = self.norm(self.separable(x, f"conv{i}"), f"bn{i}").clamp(min=0)
        return x.mean((2, 3))

    def answer(self, name, x):
        if name in ("resnet50", "se-resnet50"):
            return self.resnet50(x, squeeze=name == "se-resnet50")
        if name == "resnet3d-18":
            return self.r3d(x)
        return getattr(self, name)(x)


@torch.no_grad()
def test_features_equal_plain_formulas(net):
    x = pictures(net)
    before = x.clone()
    assert net.maps(x).flatten(2).shape[2] > 1 or net.least == 32  # of 40×47 pixels vgg16 leaves one
    found, wanted = net(x), Plain(net.state_dict()).answer(net.called, x)
    assert found.shape == (2, WIDTHS[net.called]) and torch.equal(x, before)
    assert wanted.std() > 1e-3 and (wanted[0] - wanted[1]).abs().max() > 1e-3  # there is something to compare
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    torch.testing.assert_close(net(x[1:]), found[1:], rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize("net", VOLUMES, indirect=True)
def test_clips_of_any_length_are_read_in_order(net):
    x = pictures(net, count=1, frames=8)
    assert (net(x) - net(x.flip(2))).abs().max() > 1e-3
    assert torch.isfinite(net(x[:, :, :1])).all()


@torch.no_grad()
def test_the_smallest_images_go_and_smaller_ones_are_refused_in_one_sentence(net):
    size = (1, 3, *((2,) if net.volume else ()))
    assert net(torch.zeros(*size, net.least, net.least)).shape == (1, net.width)
    wrong = [torch.zeros(*size, net.least, net.least - 1), torch.zeros(1, 1, *size[2:], 64, 64), torch.zeros(3, 64, 64)]
    if net.volume:
        wrong.append(torch.zeros(1, 3, 0, 64, 64))
    for x in wrong:
        with pytest.raises(InputError, match="3 channels"):
            net(x)


def test_gradients_reach_every_weight_and_views_of_filters_find_their_relus(net):
    runs = {}
    hooks = [
        module.register_forward_hook(lambda m, a, o: runs.update({m: runs.get(m, 0) + 1}))
        for module in net.modules()
        if isinstance(module, nn.ReLU)
    ]
    # in use, not in learning: with two small pictures a norm over the batch leaves little but signs
    net(pictures(net)).square().sum().backward()
    for hook in hooks:
        hook.remove()
    flat = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    net.zero_grad(set_to_none=True)
    assert flat == []
    assert len(runs) == len(hooks) and set(runs.values()) == {1}
    assert not any(module.inplace for module in net.modules() if isinstance(module, nn.ReLU))


@pytest.mark.parametrize("name", ["expression", "cnn3d"])
def test_the_same_seed_makes_the_same_network_that_overfits(name):
    torch.manual_seed(3)
    net = backbone(name, 1)
    torch.manual_seed(3)
    again = backbone(name, 1)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))
    head = nn.Linear(net.width, 1)
    x, y = pictures(net, count=8, side=24, frames=4), torch.arange(8.0).remainder(2)
    optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=1e-3)
    for _ in range(25):
        loss = functional.binary_cross_entropy_with_logits(head(net(x))[:, 0], y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1


@torch.no_grad()
def test_residual_blocks_start_as_identity():
    for name in ("resnet50", "se-resnet50", "resnet3d-18"):
        block = backbone(name, 1).layer1[1].eval()
        x = torch.rand(1, 64 if name == "resnet3d-18" else 256, *((2,) if name == "resnet3d-18" else ()), 3, 3)
        assert torch.equal(block(x), x)  # x is above 0, so that the last ReLU keeps it


# --- published weights -----------------------------------------------------------------------------------------------


def file_of(net):
    """What a published file would hold: another net's weights, and a classifier's."""
    state = {k: v.clone() for k, v in scrambled(net, seed=7).state_dict().items()}
    return state | {f"{net.classifier}weight": torch.ones(5, net.width), f"{net.classifier}bias": torch.ones(5)}


@pytest.mark.parametrize("old", [False, True])
def test_published_weights_load_and_the_classifiers_are_named(old):
    state = theirs = file_of(backbone("resnet3d-18"))
    if old:  # from several GPUs, before batches were counted, in half precision
        state = {f"module.{k}": v.half() if v.is_floating_point() else v for k, v in theirs.items()}
        state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    net = backbone("resnet3d-18")
    assert load_published(net, state) == ["fc.bias", "fc.weight"]
    for name, value in net.state_dict().items():
        assert value.dtype == theirs[name].dtype
        wanted = theirs[name].half().to(value.dtype) if old else theirs[name]
        assert torch.equal(value, wanted), name


@torch.no_grad()
@pytest.mark.parametrize("name", ["cnn3d", "expression"])
@pytest.mark.parametrize("ours", [1, 3])
def test_other_channels_give_the_published_output_for_grey_images(name, ours):
    theirs = scrambled(backbone(name, 4 - ours), seed=5)
    net = backbone(name, ours).eval()
    assert load_published(net, theirs.state_dict()) == []
    x = pictures(backbone(name, 1))
    as_read = [x if each.channels == 1 else x.repeat(1, 3, *(1,) * (x.ndim - 2)) for each in (net, theirs)]
    torch.testing.assert_close(net(as_read[0]), theirs(as_read[1]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_expression_networks_weights_give_its_features():
    whole = scrambled(
        ExpressionCNN(ExpressionConfig(("a", "b"), per_image_standardization=True, widths=(48, 96, 192, 384)))
    )
    net = backbone("expression", 1).eval()
    assert load_published(net, whole.state_dict()) == ["head.bias", "head.weight"]
    levels = torch.randint(0, 256, (3, 1, 48, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    x = levels - levels.float().mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(net(x / x.square().mean((1, 2, 3), keepdim=True).sqrt()), whole.features(levels))


FAULTS = {
    "lacks": (lambda s: {k: v for k, v in s.items() if k != "features.norm2.bias"}, "misses 'features.norm2.bias';"),
    "lacks more": (
        lambda s: {k: v for k, v in s.items() if "conv" not in k},
        r"'features.conv1.weight' \(and 3 more\)",
    ),
    "else": (lambda s: s | {"fc.weight": torch.ones(2)}, "holds the unknown 'fc.weight'"),
    "shape": (lambda s: s | {"features.norm1.bias": torch.ones(33)}, r"as \(32,\), found \(33,\)"),
    "filters": (lambda s: s | {"features.conv1.weight": torch.ones(32, 2, 3, 5, 5)}, r"found \(32, 2, 3, 5, 5\)"),
    "deeper": (lambda s: s | {"features.conv2.weight": torch.ones(64, 16, 3, 3, 3)}, r"found \(64, 16, 3, 3, 3\)"),
    "kind": (lambda s: s | {"features.norm1.bias": [0.0] * 32}, "found list"),
    "nothing": (lambda s: {}, "misses"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_other_weights_are_refused_in_one_sentence_and_nothing_is_loaded(fault):
    change, words = FAULTS[fault]
    net = backbone("cnn3d")
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(InputError, match=words) as told:
        load_published(net, change(file_of(backbone("cnn3d"))))
    assert "weights of CNN3D" in str(told.value) and str(told.value).endswith(".")
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


# --- levels, and the count of multiply-adds --------------------------------------------------------------------------


def test_levels_are_those_of_the_published_weights():
    assert (meta("resnet50").mean, meta("resnet50").spread) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert meta("resnet3d-18").mean == (0.43216, 0.394666, 0.37645)
    assert meta("vgg16", 1).mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))
    assert meta("vgg16", 1).spread == pytest.approx(((0.229 + 0.224 + 0.225) / 3,))


@pytest.mark.parametrize(
    ("name", "size", "above", "giga"),
    [  # multiply-adds of the classifier left out here, and what is published of the whole, in 10⁹
        ("vgg16", (3, 224, 224), 25088 * 4096 + 4096 * 4096 + 4096 * 1000, 15.47),
        ("resnet50", (3, 224, 224), 2048 * 1000, 4.09),
        ("resnet3d-18", (3, 16, 112, 112), 512 * 400, 40.70),
    ],
)
def test_multiply_adds_equal_the_published(name, size, above, giga):
    net = meta(name)
    assert round((flops(net, (1, *size)) + above) / 1e9, 2) == giga
    assert flops(net, (3, *size)) == 3 * flops(net, (1, *size))


def test_counting_does_not_change_a_network():
    net = CNN3D(1, widths=(2, 3, 4, 5))
    net.features[1].eval()
    modes, before = [m.training for m in net.modules()], {k: v.clone() for k, v in net.state_dict().items()}
    # 20×8² maps of 2 after the first, then pooled to 20×4², 10×2², 5×1²
    wanted = 75 * 1 * 2 * 20 * 64 + 27 * (2 * 3 * 20 * 16 + 3 * 4 * 10 * 4 + 4 * 5 * 5)
    assert flops(net, (1, 1, 20, 16, 16)) == wanted
    assert flops(net, (1, 1, 1, 2, 2)) > 0  # a single number per map, of which a norm that learns makes nothing
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(v, before[k]) and v.device.type == "cpu" for k, v in net.state_dict().items())
    assert not any(m._forward_hooks for m in net.modules())


@pytest.mark.parametrize("packed", [False, True])
def test_recurrences_and_layers_are_counted_by_their_steps(packed):
    net = nn.ModuleDict({"lstm": nn.LSTM(5, 7, 2, batch_first=True, bidirectional=True), "head": nn.Linear(14, 3)})
    x = torch.zeros(2, 6, 5)
    given = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([6, 4]), batch_first=True) if packed else x
    with counted(net) as found:
        out, _ = net["lstm"](given)
        net["head"](out.data if packed else out)
    steps = 10 if packed else 12
    # four gates; each direction reads x or both directions below, and its own state
    assert sum(found) == steps * (2 * 4 * 7 * (5 + 7) + 2 * 4 * 7 * (14 + 7) + 14 * 3)
