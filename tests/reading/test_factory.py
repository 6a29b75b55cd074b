"""`package.module:factory` and `path/file.py:factory`: built on meta where possible, one sentence where not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from automatch.errors import InputError
from automatch.reading import read_model

LAZY = """
def __getattr__(name):
    raise ModuleNotFoundError("No module named 'torchvision'")
"""

SOURCE = """
import torch
from torch import nn
print("loading the file")

def small(width=3, *, bias=True, name="x"):
    print("building")
    return nn.Linear(2, width, bias=bias)

def needs_numbers():
    steps = [s.item() for s in torch.linspace(0, 1, 3)]
    return nn.Linear(len(steps), 1)

def fails(reason="no luck"):
    raise RuntimeError(reason + "\\n  on two lines")

def leaves():
    raise SystemExit(3)

def mapping():
    return {"w": torch.zeros(2, 3)}

def number():
    return 3

class Net(nn.Module):
    def __init__(self, depth: int = 2):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(depth))

    @classmethod
    def large(cls):
        return cls(5)

ready = nn.Linear(7, 1)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my models" / "nets.py"
    path.parent.mkdir()
    path.write_text(SOURCE)
    return path


def test_a_factory_in_a_file_is_built_on_meta(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    side = read_model(f"{file}:small")
    assert [(t.key, t.shape, t.kind) for t in side.spec.tensors] == [
        ("weight", (3, 2), "parameter"),
        ("bias", (3,), "parameter"),
    ]
    assert isinstance(side.module, nn.Linear)
    assert side.module.weight.device.type == "meta"
    assert side.spec.name == "Linear"
    assert side.spec.origin == f"built on the meta device by {file}:small"
    out, err = capsys.readouterr()
    assert out == ""
    assert "building" in err


@pytest.mark.parametrize(
    ("call", "args", "shapes"),
    [
        ("small(5)", (), [(5, 2), (5,)]),
        ("small( width = 5, bias=False )", (), [(5, 2)]),
        ("small", ("5", "bias=False"), [(5, 2)]),
        ("small(5)", ("bias=False", "name=some text"), [(5, 2)]),
        ("small(2 ** 3)", (), None),
        ("Net", (), [(2, 2), (2,)] * 2),
        ("Net(depth=1)", (), [(2, 2), (2,)]),
        ("Net.large", (), [(2, 2), (2,)] * 5),
        ("ready", (), [(1, 7), (1,)]),
    ],
)
def test_arguments(file: Path, call: str, args: tuple[str, ...], shapes: list[tuple[int, ...]] | None) -> None:
    if shapes is None:
        with pytest.raises(InputError, match="the arguments must be literals"):
            read_model(f"{file}:{call}", args=args)
    else:
        assert [t.shape for t in read_model(f"{file}:{call}", args=args).spec.tensors] == shapes


def test_a_model_that_needs_numbers_is_built_on_the_cpu(file: Path) -> None:
    side = read_model(f"{file}:needs_numbers")
    assert isinstance(side.module, nn.Linear)
    assert side.module.weight.device.type == "cpu"
    assert side.spec.origin.startswith("built on the cpu device")


def test_a_factory_that_returns_a_mapping(file: Path) -> None:
    side = read_model(f"{file}:mapping")
    assert (side.module, side.spec.keys, side.spec.name) == (None, ("w",), "mapping")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("fails", r"the factory raised RuntimeError: no luck on two lines$"),
        ("fails('out of luck')", r"the factory raised RuntimeError: out of luck on two lines$"),
        ("leaves", r"the factory raised SystemExit: 3$"),
        ("small(1, 2, 3)", r"the factory raised TypeError: small\(\) takes"),
        ("smal", r"has no 'smal'; did you mean small\?"),
        ("Net.larg", r"has no 'Net\.larg'; did you mean large\?"),
        ("nothing_like_it", r"has no 'nothing_like_it'$"),
        ("number", r"returned int, not an nn\.Module or a mapping"),
        ("small(__import__('os').system('x'))", "the arguments must be literals"),
        ("small(*[1])", "the arguments must be literals"),
        ("small(**{'width': 1})", "the arguments must be literals"),
        ("small(1)(2)", "the arguments must be literals"),
        ("small(1", "without a closing parenthesis"),
    ],
)
def test_what_goes_wrong_is_said_in_one_sentence(file: Path, call: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_model(f"{file}:{call}")
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_modules_that_cannot_be_imported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"importing no_such_package\.x raised ModuleNotFoundError"):
        read_model("no_such_package.x:build")
    with pytest.raises(InputError, match=r"none\.py:build: no such file"):
        read_model(f"{tmp_path}/none.py:build")
    broken = tmp_path / "broken.py"
    broken.write_text("def build(:\n")
    with pytest.raises(InputError, match=r"importing .*broken\.py raised SyntaxError"):
        read_model(f"{broken}:build")
    broken.write_text("import sys; sys.exit('usage: broken')")
    with pytest.raises(InputError, match=r"importing .*broken\.py raised SystemExit: usage: broken"):
        read_model(f"{broken}:build")


def test_packages_are_found_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "shop_of_models"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text("from torch import nn\nLayer = nn.Linear\n")
    (package / "nets.py").write_text("from .parts import Layer\ndef build():\n    return Layer(2, 3)\n")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert read_model("shop_of_models.nets:build").spec.tensors[0].shape == (3, 2)
    assert read_model("shop_of_models/nets.py:build").spec.tensors[0].shape == (3, 2)
    assert sys.path == path


def test_a_model_can_be_any_checkpoint(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "a.pt")
    side = read_model(tmp_path / "a.pt")
    assert (side.module, side.spec.keys) == (None, ("weight", "bias"))
    with pytest.raises(InputError, match="arguments are for a factory"):
        read_model(tmp_path / "a.pt", args=["3"])
    with pytest.raises(InputError, match="no such file"):
        read_model(tmp_path / "none.pt")
    odd = tmp_path / "a.pt:copy"
    odd.write_bytes((tmp_path / "a.pt").read_bytes())
    assert read_model(odd).spec.keys == ("weight", "bias")


def test_a_module_that_fails_when_a_name_is_asked_for(tmp_path) -> None:
    """As transformers' lazy modules do where a package is missing or broken."""
    (tmp_path / "lazy.py").write_text(LAZY)
    with pytest.raises(InputError, match="importing Net raised ModuleNotFoundError"):
        read_model(f"{tmp_path / 'lazy.py'}:Net")
