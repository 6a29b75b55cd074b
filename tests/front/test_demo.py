"""The demonstration: the error, one rule, equal outputs."""

import re

import torch

from automatch.cli import main
from automatch.demo import old_names, small_densenet


def test_the_story_ends_well(capsys) -> None:
    assert main(["demo"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "Error(s) in loading state_dict for DenseNet" in out
    assert '"features.denseblock1.denselayer1.norm.1.weight"' in out
    assert "rules: 1\n" in out
    assert "largest difference of the outputs to the saved model's" in out
    assert re.search(r"0\.0000 after", out)
    assert not re.search(r"0\.0000 before", out)


def test_the_names_are_those_of_torchvision() -> None:
    keys = set(small_densenet().state_dict())
    assert {
        "features.conv0.weight",
        "features.norm0.running_var",
        "features.denseblock2.denselayer3.norm2.bias",
        "features.denseblock4.denselayer1.conv1.weight",
        "features.transition3.norm.weight",
        "features.transition1.conv.weight",
        "features.norm5.weight",
        "classifier.bias",
    } <= keys


def test_the_old_names_are_those_of_2017() -> None:
    model = small_densenet()
    old = old_names(model.state_dict())
    assert "features.denseblock1.denselayer2.conv.1.weight" in old
    assert not any("num_batches" in key or re.search(r"denselayer\d+\.(norm|conv)\d", key) for key in old)
    assert "features.norm0.weight" in old


def test_every_layer_matters_for_the_output() -> None:
    """Otherwise equal outputs would prove nothing: a tensor that is changed changes them."""
    model = small_densenet().eval()
    image = torch.rand(1, 3, 32, 32)
    tensors = [(key, tensor) for key, tensor in model.state_dict().items() if tensor.is_floating_point()]
    with torch.no_grad():
        before = model(image)
        for key, tensor in tensors[::7]:
            kept = tensor.clone()
            tensor.mul_(1.5).add_(0.1)
            assert not torch.equal(model(image), before), key
            tensor.copy_(kept)
