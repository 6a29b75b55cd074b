"""Checkpoints with dicts inside: the state_dict is found, said, and can be chosen by hand."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from automatch.errors import InputError
from automatch.reading import read_checkpoint, read_model, split_at
from automatch.spec import StateDictSpec


def net(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))


def state_dict(width: int = 4, prefix: str = "") -> dict[str, torch.Tensor]:
    return OrderedDict((prefix + key, value) for key, value in net(width).state_dict().items())


def adam() -> dict[str, Any]:
    """As `torch.optim.Adam.state_dict()` gives it."""
    parameters = [value for _, value in net().named_parameters()]
    state = {
        i: {"step": torch.tensor(1.0), "exp_avg": p.detach(), "exp_avg_sq": p.detach()}
        for i, p in enumerate(parameters)
    }
    return {"state": state, "param_groups": [{"lr": 0.1, "params": list(state)}]}


def read(value: object, tmp_path: Path, how: str, **options: Any) -> StateDictSpec:
    """The same answer from memory and from both kinds of files."""
    if how == "memory":
        return read_checkpoint(value, **options)
    path = tmp_path / "a.pt"
    torch.save(value, path, _use_new_zipfile_serialization=how == "zip")
    return read_checkpoint(path, **options)


ANYHOW = pytest.mark.parametrize("how", ["memory", "zip", "legacy"])


@ANYHOW
@pytest.mark.parametrize(
    ("value", "at"),
    [
        (lambda: {"state_dict": state_dict(), "optimizer": adam(), "epoch": 3}, "state_dict"),
        (lambda: {"epoch": 3, "optimizer": adam(), "model": state_dict()}, "model"),
        (lambda: {"optimizer": adam(), "net": {"weights": state_dict()}}, "net.weights"),
        (lambda: {"models": [state_dict(), adam()]}, "models.0"),
        (lambda: {"ema": state_dict(), "model": state_dict()}, "model"),
        (lambda: {"params_ema": state_dict(), "params": state_dict()}, "params"),
        (lambda: {"ema": state_dict()}, "ema"),
        (lambda: {"anything": state_dict(), "small": {"w": torch.zeros(1)}}, "anything"),
        (lambda: {"step": torch.tensor(3), "state_dict": state_dict()}, "state_dict"),
        (lambda: {"a.b": state_dict(), "a": {"b": {"w": torch.zeros(1)}}}, "a\\.b"),
        (lambda: {"back\\slash": {"x": state_dict()}}, "back\\\\slash.x"),
        (lambda: {0: {"model": state_dict()}}, "0.model"),
        (lambda: defaultdict(dict, model=state_dict()), "model"),
    ],
)
def test_the_state_dict_is_found(tmp_path: Path, how: str, value: Any, at: str) -> None:
    spec = read(value(), tmp_path, how)
    assert spec.at == at
    assert list(spec.keys) == list(state_dict())
    assert read(value(), tmp_path, how, at=at).tensors == spec.tensors


@pytest.mark.parametrize("how", ["zip", "legacy"])
@pytest.mark.parametrize(
    ("value", "at"), [(lambda: [{"epoch": 3}, state_dict()], "1"), (lambda: (state_dict(), adam(), 7), "0")]
)
def test_lists_and_tuples_at_the_top_of_a_file(tmp_path: Path, how: str, value: Any, at: str) -> None:
    spec = read(value(), tmp_path, how)
    assert (spec.at, list(spec.keys)) == (at, list(state_dict()))


@ANYHOW
def test_a_flat_state_dict_is_taken_as_it_is(tmp_path: Path, how: str) -> None:
    spec = read(state_dict(prefix="module."), tmp_path, how)
    assert (spec.at, spec.notes) == ("", ())
    assert spec.keys[0] == "module.0.weight"


@ANYHOW
def test_lightning(tmp_path: Path, how: str) -> None:
    value = {
        "epoch": 3,
        "pytorch-lightning_version": "2.0",
        "state_dict": state_dict(prefix="model."),
        "loops": {"fit_loop": {"state_dict": {}, "batch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best": torch.tensor(1.0)}},
        "optimizer_states": [adam()],
        "lr_schedulers": [{"base_lrs": [0.1]}],
        "hyper_parameters": {"lr": 0.1},
    }
    spec = read(value, tmp_path, how)
    assert (spec.at, spec.notes) == ("state_dict", ())


@ANYHOW
def test_the_other_side_decides_between_equals(tmp_path: Path, how: str) -> None:
    value = {"generator": state_dict(8), "critic": state_dict(4)}
    small, large = read_checkpoint(net(4)), read_checkpoint(net(8))
    assert read(value, tmp_path, how, like=small).at == "critic"
    assert read(value, tmp_path, how, like=large).at == "generator"


@ANYHOW
def test_names_decide_between_equal_shapes(tmp_path: Path, how: str) -> None:
    value = {"student": state_dict(prefix="x."), "other": state_dict()}
    assert read(value, tmp_path, how, like=read_checkpoint(net())).at == "other"


@pytest.mark.parametrize("ema", ["ema", "model_ema", "modelEma", "model_avg", "teacher"])
def test_the_names_of_an_averaged_copy_do_not_outweigh_the_weights(ema: str) -> None:
    """Saved from DataParallel, the copy from the bare model. A copy that alone has the sizes is still found."""
    wrapped = {f"module.{key}": tensor for key, tensor in state_dict().items()}
    like = read_checkpoint(net())
    assert read_checkpoint({ema: state_dict(), "state_dict": wrapped}, like=like).at == "state_dict"
    assert read_checkpoint({ema: {"module": state_dict()}, "model": wrapped}, like=like).at == "model"
    assert read_checkpoint({ema: {"module": state_dict()}, "net": wrapped}).at == "net"
    other = {ema: state_dict(), "state_dict": {f"module.{key}": t for key, t in state_dict(8).items()}}
    assert read_checkpoint(other, like=like).at == ema


def test_the_choice_is_said_and_names_the_others() -> None:
    spec = read_checkpoint({"model": state_dict(), "ema": state_dict(), "optimizer": adam()})
    assert spec.rivals == ("ema",)
    assert spec.notes == (
        "`model` and `ema` hold the same keys and shapes, nothing tells them apart; `model` is shown, choose with --at",
    )
    larger = {**state_dict(prefix="x."), "x.more": torch.ones(1)}
    spec = read_checkpoint({"model": state_dict(), "ema": larger}, like=read_checkpoint(net()))
    assert "`model` (9 tensors) fits the model best; also there: `ema` (10 tensors)" in spec.notes[0]


def test_what_stands_beside_the_weights_does_not_turn_the_choice() -> None:
    """A loss's weight in the same dict: the average, which has none, fits no better. Of two others none is chosen."""
    like = read_checkpoint(net())
    beside = {**state_dict(), "criterion.weight": torch.ones(2)}
    assert read_checkpoint({"state_dict": beside, "ema": state_dict()}, like=like).at == "state_dict"
    unnamed = read_checkpoint({"policy": beside, "behaviour": state_dict()}, like=like)
    assert unnamed.rivals
    assert "hold the same keys and shapes of all that the model wants" in unnamed.notes[0]


def test_an_unknown_place_lists_those_that_exist() -> None:
    with pytest.raises(InputError) as caught:
        read_checkpoint({"model": state_dict(), "ema": state_dict()}, at="modle")
    assert str(caught.value) == (
        "state_dict: no tensors at 'modle'; they are at `model` (9 tensors), `ema` (9 tensors)"
    )


def test_a_place_above_the_state_dict_will_do() -> None:
    value = {"a": {"model": state_dict(), "ema": state_dict()}, "b": {"model": state_dict(8)}}
    assert read_checkpoint(value, at="a").at == "a.model"
    assert read_checkpoint(value, at="b.model").at == "b.model"


def test_keys_with_dots_can_be_named_without_escapes_where_that_is_clear() -> None:
    value = {"v1.0": state_dict(), "v2.0": state_dict(8)}
    assert read_checkpoint(value, at="v2.0").at == "v2\\.0"


def test_the_top_level_can_be_chosen() -> None:
    value = {"scale": torch.zeros(1), "state_dict": state_dict()}
    assert read_checkpoint(value).at == "state_dict"
    assert read_checkpoint(value, at="").keys == ("scale",)


@pytest.mark.parametrize("path", [(), ("a",), ("a.b", "c"), ("a\\", ".b", "\\."), ("",), ("", "")])
def test_split_at_undoes_what_at_says(path: tuple[str, ...]) -> None:
    value: Any = {"w": torch.zeros(1)}
    for key in reversed(path):
        value = {key: value}
    expected = () if path == ("",) else path
    assert split_at(read_checkpoint(value).at) == expected


def test_an_optimizer_alone_is_refused_with_the_way_out() -> None:
    with pytest.raises(InputError, match="holds only an optimizer's state"):
        read_checkpoint(adam())
    with pytest.raises(InputError, match="holds only an optimizer's state"):
        read_checkpoint({"optimizer": {"exp_avg": {"w": torch.zeros(2)}}})
    assert read_checkpoint({"optimizer": {"exp_avg": {"w": torch.zeros(2)}}}, at="optimizer.exp_avg").keys == ("w",)


def test_a_module_inside_a_checkpoint_in_memory() -> None:
    spec = read_checkpoint({"ema": net(), "epoch": 3})
    assert (spec.at, len(spec)) == ("ema", 9)


@pytest.mark.parametrize("new_zip", [True, False])
def test_whole_modules_inside_a_checkpoint(tmp_path: Path, new_zip: bool) -> None:
    """As YOLOv5 saves: the model and its average as whole objects, the settings beside."""
    value = {"epoch": 3, "model": net(), "ema": net(), "optimizer": adam(), "opt": SimpleNamespace(lr=0.1)}
    torch.save(value, tmp_path / "a.pt", _use_new_zipfile_serialization=new_zip)
    spec = read_checkpoint(tmp_path / "a.pt")
    assert spec.at == "model"
    assert spec.tensors == read_checkpoint(net()).tensors
    assert any("types.SimpleNamespace" in note for note in spec.notes)


class MyDict(dict):  # type: ignore[type-arg]
    """A subclass, as configuration libraries have them."""


@pytest.mark.parametrize("new_zip", [True, False])
def test_subclasses_of_dict_are_walked(tmp_path: Path, new_zip: bool) -> None:
    torch.save(MyDict(model=MyDict(state_dict())), tmp_path / "a.pt", _use_new_zipfile_serialization=new_zip)
    spec = read_checkpoint(tmp_path / "a.pt")
    assert (spec.at, list(spec.keys)) == ("model", list(state_dict()))


@ANYHOW
def test_a_list_of_tensors_is_a_state_dict_of_positions(tmp_path: Path, how: str) -> None:
    """As torch_ema saves its averages, beside which other lists may stand."""
    shadow = [torch.ones(3, 2), torch.ones(3), torch.ones(5)]
    spec = read({"decay": 0.9, "shadow_params": shadow, "collected": [], "mixed": [1, torch.ones(2)]}, tmp_path, how)
    assert spec.at == "shadow_params"
    assert [(t.key, t.shape) for t in spec.tensors] == [("0", (3, 2)), ("1", (3,)), ("2", (5,))]
    assert [t.shape for t in read_checkpoint(shadow).tensors] == [(3, 2), (3,), (5,)]


def test_averages_beside_the_weights_are_not_taken_for_them() -> None:
    found = read_checkpoint(
        {"shadow_params": list(state_dict().values()), "net": state_dict()}, like=read_model(net()).spec
    )
    assert (found.at, found.keys) == ("net", tuple(state_dict()))


@pytest.mark.parametrize("wrapped", ["student", "teacher"])
def test_a_wrapper_does_not_tell_which_network_is_meant(wrapped: str) -> None:
    """DINO's student is wrapped by DataParallel, and its teacher is not."""
    both = {name: state_dict(prefix="module." if name == wrapped else "") for name in ("student", "teacher")}
    found = read_checkpoint(both, like=read_model(net()).spec)
    assert {found.at, *found.rivals} == {"student", "teacher"}


def test_a_description_is_at_every_place_that_leads_to_it() -> None:
    read = read_checkpoint({"m": {"state_dict": state_dict()}, "epoch": 3}, at="m")
    assert read.at == "m.state_dict"
    for at in (None, "m", "m.state_dict"):
        assert read_checkpoint(read, at=at) is read
    with pytest.raises(InputError, match=r"was read at 'm\.state_dict'"):
        read_checkpoint(read, at="n")
