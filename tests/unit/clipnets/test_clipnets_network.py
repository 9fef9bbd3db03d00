"""Parts of clip networks whose answer can be reasoned out."""

from dataclasses import replace

import pytest
import torch

from duchenne.clipnets.network import ClipConfig, ClipNet
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.errors import UsageError

POINTS = ClipConfig(inputs="points", numbers=3, width=32, hidden_size=4, dropout=0.0)
CROPS = ClipConfig(kind="frames", backbone="expression", channels=1, image_size=16, dropout=0.0)
CONTEXT = replace(CROPS, kind="context", body_backbone="expression", scene_backbone="expression")
ALL = torch.ones(2, 5, dtype=torch.bool)


def network(config):
    torch.manual_seed(0)
    return ClipNet(config).eval()


def test_authenticity_and_emotion_are_the_sums_of_their_classes():
    net = network(replace(POINTS, task="classes", emotions=3))
    said = net(torch.randn(2, 5, 3), ALL)
    p = said["classes"].softmax(1).view(2, 3, 2)  # emotion, then posed or genuine
    torch.testing.assert_close(said["authenticity"].sigmoid(), p[:, :, 1].sum(1))
    torch.testing.assert_close(said["emotion"].softmax(1), p.sum(2))


def test_a_clips_logits_are_the_mean_of_its_real_frames():
    net = network(replace(CROPS, task="multi", emotions=2))
    x = torch.randint(0, 256, (2, 5, 1, 16, 16), dtype=torch.uint8)
    mask = ALL.clone()
    mask[1, 3:] = False
    each, said = net.frames(x, mask), net(x, mask)
    for name in ("authenticity", "emotion"):
        torch.testing.assert_close(said[name][0], each[name][0].mean(0))
        torch.testing.assert_close(said[name][1], each[name][1, :3].mean(0))


def test_context_adds_what_body_and_scene_say_to_what_the_face_says():
    net = network(replace(CONTEXT, hidden_size=8))
    x = torch.randint(0, 256, (2, 5, 3, 16, 16), dtype=torch.uint8)
    streams = [x.clone() for _ in range(3)]
    for i, each in enumerate(streams):
        each[:, :, i] = 0
    said, face, body, scene = (net(each, ALL)["authenticity"] for each in (x, *streams))
    for other in (face, body, scene):
        assert (other - said).abs().max() > 1e-4
    streams[0][:, :, 1:] = 0
    context = streams[0].clone()
    context[:, :, 0] = x[:, :, 0]
    everything, context = (net(each, ALL)["authenticity"] for each in (streams[0], context))
    torch.testing.assert_close(everything - context, face - said)  # the face adds the same in any context


def test_context_is_what_its_source_has():
    """Xception for the body, VGG16 for the scene, and a network of the face's own."""
    with torch.device("meta"):
        net = ClipNet(ClipRecipe.read("context").config(6))
    assert [type(each).__name__ for each in net.backbones] == ["ResNet50", "Xception", "VGG16"]
    assert net.fuse[0].in_features == 2048 + 512 and net.heads["emotion"].in_features == 2048 + 256


def test_per_image_standardization_removes_the_lighting():
    x = torch.rand(2, 5, 1, 16, 16) * 100
    told = network(replace(CROPS, per_image_standardization=True))
    torch.testing.assert_close(told.normalised(x), told.normalised(1.5 * x + 20), rtol=1e-4, atol=1e-4)
    assert told.normalised(torch.full_like(x, 90.0)).abs().max() < 1e-4  # a flat picture stays flat
    both = network(replace(CONTEXT, per_image_standardization=True))
    seen = both.normalised(torch.cat([x, 2 * x, x], dim=2))  # face, body and frame each by itself
    torch.testing.assert_close(seen[:, :, :1], seen[:, :, 1:2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["lstm", "volume"])
def test_subtract_mean_removes_the_faces_proportions(kind):
    x, shift = torch.randn(2, 5, 3), torch.randn(2, 1, 3)
    said = [network(replace(POINTS, kind=kind, subtract_mean=own)) for own in (True, False)]
    near, far = ((net(x, ALL)["authenticity"] - net(x + shift, ALL)["authenticity"]).abs().max() for net in said)
    assert near < 1e-5 < 1e-3 < far


def test_velocity_is_the_difference_to_the_frame_before():
    net = network(replace(POINTS, velocity=True))
    x = torch.arange(10.0).view(1, 5, 2).square().repeat(2, 1, 1)[..., :1].expand(2, 5, 3)
    found = net.moved(x, ALL)[0]
    assert found[:, 0].tolist() == [0, 4, 16, 36, 64] and found[:, 3].tolist() == [0, 4, 12, 20, 28]
    assert net.mean.shape == (6,)


def test_bidirectional_and_pooling_change_the_output():
    x = torch.randn(2, 5, 3)
    x[1] = x[0].flip(0)
    for both, pool, width in ((False, "mean", 4), (True, "last", 8), (True, "mean", 8), (True, "mean+peak", 16)):
        net = network(replace(POINTS, bidirectional=both, pooling=pool))
        assert net.heads["authenticity"].in_features == width
        said = net(x, ALL)["authenticity"]
        assert (said[0] - said[1]).abs() > 1e-5  # two trunks of one LSTM are not the same


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": "crops", "backbone": "vgg17"}, "no backbone"),
        ({"inputs": "points", "kind": "context"}, "whole frame"),
        ({"task": "multi"}, "at least one emotion"),
        ({"inputs": "crops", "kind": "lstm", "backbone": "cnn3d"}, "reads clips"),
        ({"inputs": "crops", "kind": "volume", "backbone": "vgg16"}, "reads single images"),
    ],
)
def test_invalid_combinations_are_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        ClipNet(replace(POINTS, **changes))
