"""The expression networks: the paper's sizes to the last weight, ours within its budget, both by plain formulas."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from duchenne.errors import InputError, UsageError
from duchenne.expression.network import Block, ExpressionCNN, ExpressionConfig

SEVEN = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
EIGHT = (*SEVEN, "contempt")
SMALL = {"paper": {"widths": (4, 6, 8), "fc_size": 10}, "ours": {"widths": (4, 6, 8, 10), "blocks": (1, 2, 1, 1)}}
X = torch.randint(0, 256, (3, 1, 48, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def network(kind, **changes):
    """A small one with random weights everywhere, norms' running values too, ready to answer."""
    torch.manual_seed(1)
    net = ExpressionCNN(ExpressionConfig(SEVEN, **{"kind": kind, **SMALL[kind], **changes})).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                for each in (module.weight, module.running_var):
                    each.uniform_(0.5, 1.5)
                for each in (module.bias, module.running_mean):
                    each.normal_(0, 0.2)
    return net


# --- the paper's ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pad", "classes", "sides", "weights"),
    [
        # 1,664 + 204,928 + 819,456 of filters; (6² or 2²) · 256 · 512 + 512 of hidden neurons; 513 an output
        (True, EIGHT, (48, 24, 12, 6), 1_026_048 + 4_719_104 + 8 * 513),
        (True, SEVEN, (48, 24, 12, 6), 5_748_743),
        (False, EIGHT, (44, 18, 5, 2), 1_026_048 + 524_800 + 8 * 513),
    ],
)
def test_the_papers_network_has_the_papers_sizes(pad, classes, sides, weights):
    net = ExpressionCNN(ExpressionConfig(classes, kind="paper", padding=pad))
    assert {name: tuple(each.shape) for name, each in net.named_parameters()} == {
        "trunk.conv1.weight": (64, 1, 5, 5),
        "trunk.conv1.bias": (64,),
        "trunk.conv2.weight": (128, 64, 5, 5),
        "trunk.conv2.bias": (128,),
        "trunk.conv3.weight": (256, 128, 5, 5),
        "trunk.conv3.bias": (256,),
        "trunk.full.weight": (512, sides[3] ** 2 * 256),
        "trunk.full.bias": (512,),
        "head.weight": (len(classes), 512),
        "head.bias": (len(classes),),
    }
    assert sum(each.numel() for each in net.parameters()) == weights
    order = [type(module).__name__ for module in net.trunk]
    assert order == ["Conv2d", "ReLU", "MaxPool2d"] * 3 + ["Dropout", "Flatten", "Linear", "ReLU"]
    assert (net.trunk.drop.p, net.drop.p) == (0.25, 0.5)
    assert all(pool.kernel_size == pool.stride == 2 for pool in net.trunk if isinstance(pool, nn.MaxPool2d))
    assert all(not each.any() for name, each in net.named_parameters() if name.endswith("bias"))
    with torch.no_grad():
        maps = net.eval().maps(X)
    shapes = {f"conv{i + 1}": (width, sides[i], sides[i]) for i, width in enumerate((64, 128, 256))}
    assert {name: tuple(each.shape[1:]) for name, each in maps.items()} == {**shapes, "full": (512,)}


def test_the_papers_network_against_plain_formulas():
    net = network("paper", mean=(120.0,), spread=(60.0,))
    w = net.state_dict()
    y = (X.float() - 120) / 60
    for i in (1, 2, 3):
        y = functional.conv2d(y, w[f"trunk.conv{i}.weight"], w[f"trunk.conv{i}.bias"], padding=2).clamp(min=0)
        torch.testing.assert_close(net.maps(X)[f"conv{i}"], y)
        y = y.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).amax(dim=(3, 5))
    y = (y.flatten(1) @ w["trunk.full.weight"].T + w["trunk.full.bias"]).clamp(min=0)
    torch.testing.assert_close(net.features(X), y)
    torch.testing.assert_close(net(X), y @ w["head.weight"].T + w["head.bias"])


# --- ours ----------------------------------------------------------------------------------------------------------


def test_ours_is_light():
    net = ExpressionCNN(ExpressionConfig(SEVEN)).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(X[:1])
    # by hand: multiply-adds of every stage's 3×3 filters, 1×1 skips and the output
    stem, one = 48**2 * 9 * 32, 24**2 * 2 * 9 * 32 * 32
    two = 12**2 * (9 * 32 * 64 + 9 * 64 * 64 + 32 * 64)
    three = 6**2 * (9 * 64 * 128 + 3 * 9 * 128 * 128 + 64 * 128)
    four = 3**2 * (9 * 128 * 256 + 9 * 256 * 256 + 128 * 256)
    assert counter.get_total_flops() == 2 * (stem + one + two + three + four + 256 * 7) <= 100_000_000
    weights = sum(each.numel() for each in net.parameters())
    assert weights <= 4_000_000 and 2 * weights <= 8 * 10**6
    assert {conv.kernel_size for conv in net.modules() if isinstance(conv, nn.Conv2d)} == {(3, 3), (1, 1)}
    assert net.width == 256


def norm(x, block, name):
    """(x − mean) / sqrt(variance + ε) · weight + bias, per filter."""
    at = [block.state_dict()[f"{name}.{each}"][:, None, None] for each in ("running_mean", "running_var")]
    return (x - at[0]) / (at[1] + 1e-5).sqrt() * block.state_dict()[f"{name}.weight"][:, None, None] + (
        block.state_dict()[f"{name}.bias"][:, None, None]
    )


@torch.no_grad()
def test_ours_against_plain_formulas():
    net = network("ours", mean=(120.0,), spread=(60.0,))
    trunk, found = net.trunk, net.maps(X)
    y = norm(functional.conv2d((X.float() - 120) / 60, trunk.stem.weight, padding=1), trunk, "norm").clamp(min=0)
    torch.testing.assert_close(found["stem"], y)
    for name in ("block1a", "block2a", "block2b", "block3a", "block4a"):
        block = trunk.get_submodule(name)
        if name.endswith("a"):
            y = functional.max_pool2d(y, 2)
        inner = norm(functional.conv2d(y, block.conv1.weight, padding=1), block, "norm1").clamp(min=0)
        if y.shape[1] != inner.shape[1]:
            y = norm(functional.conv2d(y, block.skip[0].weight), block, "skip.1")
        y = (norm(functional.conv2d(inner, block.conv2.weight, padding=1), block, "norm2") + y).clamp(min=0)
        torch.testing.assert_close(found[f"{name}.inner"], inner)
        torch.testing.assert_close(found[name], y)
    torch.testing.assert_close(net.features(X), y.mean(dim=(2, 3)))
    torch.testing.assert_close(net(X), y.mean(dim=(2, 3)) @ net.head.weight.T + net.head.bias)


def test_new_block_is_its_skip_connection():
    x = torch.rand(2, 5, 6, 6)
    torch.testing.assert_close(Block(5, 5).eval()(x), x)


# --- both ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SMALL)
def test_layers_are_named_from_input_to_output(kind):
    net = network(kind)
    names = {
        "paper": ["conv1", "conv2", "conv3", "full"],
        "ours": ["stem", *(f"block{b}{i}" for b in ("1a", "2a", "2b", "3a", "4a") for i in (".inner", ""))],
    }[kind]
    assert list(net.layers) == names and all(isinstance(each, nn.ReLU) for each in net.layers.values())
    assert list(net.maps(X)) == names
    before = net(X)
    assert list(net.maps(X, names[1:2])) == names[1:2]
    with pytest.raises(UsageError, match=f"no layer 'conv9'; choose one of {', '.join(names)}"):
        net.maps(X, ["conv9"])
    with pytest.raises(InputError):
        net.maps(X[:, :, :40])
    assert not any(module._forward_hooks for module in net.modules())
    assert torch.equal(net(X), before)


@pytest.mark.parametrize("kind", SMALL)
def test_gradients_of_a_filter_reach_the_picture(kind):
    net, x = network(kind), X.float().requires_grad_()
    for name, found in net.maps(x).items():
        (gradient,) = torch.autograd.grad(found[:, 0].sum(), x, retain_graph=True)
        assert gradient.shape == x.shape and gradient.isfinite().all(), name
    assert gradient.any()


@pytest.mark.parametrize("kind", SMALL)
def test_every_relu_and_pooling_is_used_once_and_not_in_place(kind):
    net, used = network(kind), []
    single = [module for module in net.modules() if isinstance(module, nn.ReLU | nn.MaxPool2d)]
    for module in single:
        module.register_forward_hook(lambda module, args, out: used.append(module))
    net(X)
    assert len(used) == len(single) == len(set(map(id, used)))
    assert not any(getattr(module, "inplace", False) for module in single)


@pytest.mark.parametrize("kind", SMALL)
def test_features_are_the_input_of_the_output_layer(kind):
    net = network(kind)
    assert net.features(X).shape == (3, net.width) and net.width == 10
    torch.testing.assert_close(net.head(net.features(X)), net(X))
    grown = copy.deepcopy(net).train()
    assert not torch.equal(grown(X), grown(X))  # dropout


def test_colour_and_levels_of_any_kind():
    net = network("ours", channels=3, mean=(100.0, 110.0, 120.0), spread=(50.0, 60.0, 70.0))
    x = X.expand(-1, 3, -1, -1)
    torch.testing.assert_close(net(x), net(x.float()))
    found = net.normalised(x)
    for i, (mean, spread) in enumerate(((100, 50), (110, 60), (120, 70))):
        torch.testing.assert_close(found[:, i], (X[:, 0].float() - mean) / spread)
    assert not {"mean", "spread"} & set(net.state_dict())


def test_per_image_standardization_by_hand():
    net = network("paper", per_image_standardization=True)
    found = net.normalised(X)
    torch.testing.assert_close(found.mean(dim=(1, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(dim=(1, 2, 3), correction=0), torch.ones(3))
    # whatever the light and the contrast
    torch.testing.assert_close(net(X.float() * 0.3 + 50), net(X), atol=1e-4, rtol=1e-4)
    assert not net.normalised(torch.full((1, 1, 48, 48), 255, dtype=torch.uint8)).any()


# --- refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"kind": "vgg"}, "no expression network 'vgg'"),
        ({"head": "mood"}, "the head 'mood'"),
        ({"classes": ()}, "names of its outputs"),
        ({"classes": ("fear", "fear")}, "distinct names"),
        ({"classes": ("fear", "")}, "names of its outputs"),
        ({"channels": 2}, "1 .grey. or 3 .RGB. channels"),
        ({"channels": 3}, "found 3 with 1 and 1"),
        ({"spread": (0.0,)}, "above 0"),
        ({"widths": (8, 8, 8)}, "has 4 stages"),
        ({"blocks": (1,)}, "has 4 stages"),
        ({"side": 15}, "15×15 pixels are too small"),
        ({"kind": "paper", "side": 20, "padding": False}, "too small for the paper network"),
    ],
)
def test_invalid_configs_are_refused_in_one_sentence(changes, fault):
    with pytest.raises(UsageError, match=fault) as caught:
        ExpressionConfig(**{"classes": SEVEN, **changes})
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("shape", [(2, 1, 48, 47), (2, 3, 48, 48), (2, 48, 48), (1, 2, 1, 48, 48)])
def test_images_of_another_size_are_refused(shape):
    with pytest.raises(InputError, match=r"reads faces of 1×48×48 .* found .*; crop and scale them first\.$"):
        network("ours")(torch.zeros(shape))
