"""Models of torchvision through the whole way: saved, named as another time or hand named them, brought back.

Weights are random, names and structures are the real ones. Equal outputs are the proof.
"""

import copy
import json
import re
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from libraries import import_torchvision
from torch import nn

import automatch


@pytest.fixture(scope="module")
def models():
    """`torchvision.models`; where its compiled part was built for another torch, without its box operators."""
    return import_torchvision().models


def shaken(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, no two tensors of it alike: a swap of any two must show."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.2 + (0.5 if "var" in name else -0.1))
    return model.eval()


def assert_same_outputs(one: nn.Module, other: nn.Module, size: int) -> None:
    image = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(one.eval()(image), other.eval()(image), rtol=0, atol=0)


OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|conv))(\d\..*)$")


def old_densenet(state_dict: dict) -> OrderedDict:
    """As torch 0.3 saved it: `norm.1`, and no `num_batches_tracked` yet."""
    return OrderedDict(
        (OLD_DENSENET.sub(r"\1.\2", key), tensor)
        for key, tensor in state_dict.items()
        if not key.endswith("num_batches_tracked")
    )


def test_old_densenet(models, tmp_path) -> None:
    trained = shaken(models.densenet121(num_classes=10))
    old = old_densenet(trained.state_dict())
    file = tmp_path / "densenet121-old.pth"
    torch.save(old, file)
    model = models.densenet121(num_classes=10)
    with pytest.raises(RuntimeError, match=r"denselayer1\.norm1\.weight"):
        model.load_state_dict(torch.load(file, weights_only=True))

    found = automatch.diagnose(file, model)
    assert len(found.rules) == 1
    assert {key: found.rules.rename(key) for key in old} == {
        key: re.sub(r"(denselayer\d+\.(?:norm|conv))\.", r"\1", key) for key in old
    }
    automatch.load(model, file)
    assert_same_outputs(trained, model, 32)


def test_the_printed_snippet_needs_no_automatch(models, tmp_path) -> None:
    trained = shaken(models.densenet121(num_classes=10))
    torch.save(old_densenet(trained.state_dict()), tmp_path / "old.pth")
    snippet = automatch.diagnose(tmp_path / "old.pth", models.densenet121(num_classes=10)).to_python()
    assert "import automatch" not in snippet and "from automatch" not in snippet
    names: dict = {}
    exec(snippet, names)
    (rename,) = [
        value for value in names.values() if callable(value) and getattr(value, "__module__", None) is None
    ] or [names["convert"]]
    model = models.densenet121(num_classes=10)
    model.load_state_dict(rename(torch.load(tmp_path / "old.pth", weights_only=True)))
    assert_same_outputs(trained, model, 32)


def test_a_training_checkpoint_of_a_wrapped_resnet(models, tmp_path) -> None:
    trained = shaken(models.resnet18(num_classes=10))
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1, momentum=0.9)
    trained(torch.rand(1, 3, 32, 32)).sum().backward()
    optimizer.step()
    wrapped = nn.DataParallel(trained)
    file = tmp_path / "last.ckpt"
    torch.save({"epoch": 3, "state_dict": wrapped.state_dict(), "optimizer": optimizer.state_dict()}, file)

    model = models.resnet18(num_classes=10)
    found = automatch.diagnose(file, model)
    assert "module." in found.verdict
    assert not found.missing_keys
    assert not found.unexpected_keys
    automatch.load(model, file)
    assert_same_outputs(trained, model, 32)


def small_vit(models) -> nn.Module:
    return models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=3, num_heads=4, hidden_dim=32, mlp_dim=64, num_classes=10
    )


def test_a_vision_transformer_whose_layers_moved(models, tmp_path) -> None:
    """torchvision 0.12 said `mlp.linear_1` where today's says `mlp.0`."""
    trained = shaken(small_vit(models))
    moved = {"mlp.0.": "mlp.linear_1.", "mlp.3.": "mlp.linear_2."}
    old = {
        re.sub(r"mlp\.[03]\.", lambda found: moved[found[0]], key): tensor
        for key, tensor in trained.state_dict().items()
    }
    torch.save(old, tmp_path / "vit.pth")
    model = small_vit(models)
    automatch.load(model, tmp_path / "vit.pth")
    assert_same_outputs(trained, model, 32)


def test_another_architecture_is_refused(models, tmp_path) -> None:
    torch.save(models.resnet18(num_classes=10).state_dict(), tmp_path / "resnet.pth")
    model = models.densenet121(num_classes=10)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(automatch.AutomatchError) as refused:
        automatch.load(model, tmp_path / "resnet.pth")
    assert "not the same architecture" in str(refused.value)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def test_apply_writes_a_file_that_torch_loads(models, tmp_path) -> None:
    """The command line alone: keys of the model, diagnose, apply."""
    trained = shaken(models.densenet121(num_classes=10))
    torch.save(old_densenet(trained.state_dict()), tmp_path / "old.pth")
    torch.save(trained.state_dict(), tmp_path / "today.pth")

    def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "automatch", *map(str, args)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run("keys", "today.pth", "-o", "today.keys.json").returncode == 0
    done = run("diagnose", "old.pth", "today.keys.json", "--format", "json", "-o", "rules.json")
    assert len(json.loads((tmp_path / "rules.json").read_text())["rules"]) == 1, done.stderr
    done = run("apply", "rules.json", "old.pth", "new.pth")
    assert done.returncode == 0, done.stderr
    model = models.densenet121(num_classes=10)
    model.load_state_dict(torch.load(tmp_path / "new.pth", weights_only=True))
    assert_same_outputs(trained, model, 32)
