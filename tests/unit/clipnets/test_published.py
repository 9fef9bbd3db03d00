"""Published weights as a user may have them: read without pickle, taken up by their names, refused in a sentence."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from duchenne import checkpoints
from duchenne.clipnets.backbones import backbone
from duchenne.clipnets.inputs import FaceCrops
from duchenne.clipnets.learner import ClipLearner, Task
from duchenne.clipnets.network import ClipConfig, ClipNet
from duchenne.clipnets.published import load_all, published
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.errors import InputError, UsageError

CROPS = ClipRecipe(backbone="resnet50", image_size=16, channels=1, frames=4, hidden_size=8, epochs=1)


def task():
    """Six clips of noise."""
    clips = np.random.default_rng(0).integers(0, 256, (6, 4, 16, 16, 1), np.uint8)
    x = [FaceCrops(clip, np.arange(4)) for clip in clips]
    return Task(x, np.arange(6) % 2, np.full(6, -1), 0, np.zeros(0, int))


@pytest.fixture
def weights():
    """As ImageNet's would be: RGB, with the classifier of a thousand things."""
    torch.manual_seed(1)
    return backbone("resnet50").state_dict() | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}


def test_a_backbone_starts_from_published_weights_of_either_format(weights, tmp_path):
    save_file(weights, str(tmp_path / "w.safetensors"))
    torch.save(weights, tmp_path / "w.pth")
    torch.save({"state_dict": weights, "epoch": 3}, tmp_path / "wrapped.pt")
    for name in ("w.safetensors", "w.pth", "wrapped.pt"):
        learner = ClipLearner(CROPS, task(), 0, starts=published(tmp_path / name, CROPS))
        assert learner.skipped == ["fc.bias", "fc.weight"]
        torch.testing.assert_close(learner.network.backbone.layer4[0].conv2.weight, weights["layer4.0.conv2.weight"])
        grey = weights["conv1.weight"].sum(1, keepdim=True)  # what answers to grey in all three channels
        torch.testing.assert_close(learner.network.backbone.conv1.weight.detach(), grey)
        levels = 255 * torch.tensor(learner.network.backbone.mean)  # those that the weights were learnt with
        torch.testing.assert_close(learner.network.mean, levels)


def test_a_frozen_backbone_stays_as_loaded(weights, tmp_path):
    torch.save(weights, tmp_path / "w.pth")
    recipe = replace(CROPS, freeze_backbone=True)
    learner = ClipLearner(recipe, task(), 0, starts=published(tmp_path / "w.pth", recipe))
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    list(learner.epoch(np.random.default_rng(0), 1.0))
    after = learner.network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("backbone."))
    assert not torch.equal(after["lstm.weight_ih_l0"], before["lstm.weight_ih_l0"])


def test_a_backbone_starts_from_the_shipped_expression_network():
    ours = replace(CROPS, backbone="expression", per_image_standardization=True)
    learner = ClipLearner(ours, task(), 0, starts=published("expression", ours))
    assert set(learner.skipped) == {f"{head}.{part}" for head in ("head", "second") for part in ("bias", "weight")}
    network = checkpoints.load("expression")[0].network
    assert torch.equal(learner.network.backbone.trunk.stem.weight, network.trunk.stem.weight)


def test_each_of_several_files_goes_to_the_backbone_that_it_fits():
    net = ClipNet(
        ClipConfig(kind="context", backbone="expression", image_size=32, hidden_size=8, per_image_standardization=True)
    )
    before = net.backbone.trunk.stem.weight.clone()
    theirs = {name: backbone(name).state_dict() for name in ("vgg16", "xception")}
    load_all(net, list(theirs.values()))
    assert torch.equal(net.body.block4.rep[1].pointwise.weight, theirs["xception"]["block4.rep.1.pointwise.weight"])
    assert torch.equal(net.scene.features[5].weight, theirs["vgg16"]["features.5.weight"])
    assert torch.equal(net.backbone.trunk.stem.weight, before)
    levels = [127.5] * 6 + [255 * each for each in (0.485, 0.456, 0.406)]  # of face and body, then ImageNet's
    torch.testing.assert_close(net.mean, torch.tensor(levels))
    with pytest.raises(InputError, match="does not hold weights of Expression"):
        load_all(net, [{}])


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_other_files_are_refused_in_a_sentence(weights, tmp_path, capsys):
    torch.save({"evil": Evil()}, tmp_path / "evil.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\0\0")
    (tmp_path / "cut.pth").write_bytes(b"")
    for name in ("evil.pth", "list.pth", "cut.safetensors", "cut.pth", "none.pth"):
        with pytest.raises(InputError) as caught:
            published(tmp_path / name, CROPS)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    assert "run" not in capsys.readouterr().out  # nothing in it was carried out
    with pytest.raises(InputError, match="does not hold weights of ResNet50"):
        ClipLearner(CROPS, task(), 0, starts=[{"conv1.weight": weights["conv1.weight"]}])
    with pytest.raises(UsageError, match="read points"):
        published(tmp_path / "w.pth", ClipRecipe(inputs="points"))
