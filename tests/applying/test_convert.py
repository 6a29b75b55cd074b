"""`automatch.convert` writes the same tensors under new keys, or nothing at all."""

import json
import re
import stat
from collections import OrderedDict
from pathlib import Path

import numpy
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import automatch
from automatch import InputError, Rule, RuleError, RuleSet
from automatch.cli import main

DROP_MODULE = RuleSet((Rule(r"module\.(?P<rest>.+)", "{rest}"),))


def tensors(*keys: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(keys))
    return {key: torch.rand(i + 1, 3, generator=generator) for i, key in enumerate(keys)}


@pytest.fixture
def wrapped() -> dict[str, torch.Tensor]:
    return {
        **tensors("module.b.weight", "module.a.weight"),
        "module.half": torch.rand(5).to(torch.bfloat16),
        "module.steps": torch.tensor(7),
        "module.none": torch.zeros(0, 4),
    }


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        assert tensor.dtype == theirs[key].dtype
        assert torch.equal(tensor, theirs[key])


def data_of(path: Path) -> bytes:
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_safetensors_keep_their_bytes_order_and_metadata(wrapped, tmp_path) -> None:
    source, target = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file(wrapped, source, metadata={"format": "pt", "licence": "ä"})
    done = automatch.convert(DROP_MODULE, source, target)
    assert (done.renamed, done.stayed) == (5, ())
    assert_same(load_file(target), DROP_MODULE.apply(wrapped))
    assert data_of(source) == data_of(target)
    assert automatch.read_keys(target).keys == tuple(map(DROP_MODULE.rename, automatch.read_keys(source).keys))
    with safe_open(target, "pt") as opened:
        assert opened.metadata() == {"format": "pt", "licence": "ä"}


@pytest.mark.parametrize("length", [ord("{"), ord("<")])
def test_a_header_whose_length_looks_like_the_start_of_a_text(tmp_path, length) -> None:
    source, target = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    header = b'{"module.w":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}'.ljust(length)
    source.write_bytes(len(header).to_bytes(8, "little") + header + b"7")
    automatch.convert(DROP_MODULE, source, target)
    assert load_file(target)["w"].item() == ord("7")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_training_checkpoint_keeps_everything_else(wrapped, tmp_path, zipped) -> None:
    source, target = tmp_path / "in.pt", tmp_path / "out.pt"
    state_dict = OrderedDict(wrapped)
    state_dict["module.tied"] = state_dict["module.a.weight"]
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    document = {"epoch": 3, "model": state_dict, "optimizer": optimizer, "note": "kept"}
    torch.save(document, source, _use_new_zipfile_serialization=zipped)
    automatch.convert(DROP_MODULE, source, target)
    written = torch.load(target, weights_only=True)
    assert list(written) == list(document)
    assert_same(written["model"], DROP_MODULE.apply(state_dict))
    assert isinstance(written["model"], OrderedDict)
    assert written["model"]["tied"].data_ptr() == written["model"]["a.weight"].data_ptr()
    assert torch.equal(written["optimizer"]["state"][0]["exp_avg"], torch.ones(3))
    assert (written["epoch"], written["note"]) == (3, "kept")


def test_at_chooses_the_dict(tmp_path) -> None:
    source, target = tmp_path / "in.pt", tmp_path / "out.pt"
    torch.save({"model": tensors("module.a"), "nets": {"ema.v1": tensors("module.a", "module.b")}}, source)
    automatch.convert(DROP_MODULE, source, target, at="nets.ema\\.v1")
    written = torch.load(target, weights_only=True)
    assert list(written["nets"]["ema.v1"]) == ["a", "b"]
    assert list(written["model"]) == ["module.a"]


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_tensors_that_are_joined_and_cut(tmp_path, suffix) -> None:
    rules = RuleSet(
        (
            Rule(r"(?P<part>q|k|v)", "qkv", op="concat", part="part", dim=0),
            Rule(r"kv", ("key", "value"), op="chunk", dim=1),
            Rule(r"linear", "linear.weight", op="transpose"),
        )
    )
    given = {**tensors("v", "k", "q"), "kv": torch.rand(2, 6), "linear": torch.rand(2, 3), "rest": torch.rand(1)}
    source, target = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    save_file(given, source, {"format": "pt"}) if suffix == "safetensors" else torch.save(given, source)
    automatch.convert(rules, source, target)
    written = load_file(target) if suffix == "safetensors" else torch.load(target, weights_only=True)
    assert_same(written, rules.apply(given))


def test_rules_come_from_the_json_of_a_diagnosis_or_a_list(wrapped, tmp_path) -> None:
    source = tmp_path / "in.pt"
    torch.save({"ema": wrapped, "model": tensors("module.other")}, source)
    (tmp_path / "list.json").write_text(json.dumps(DROP_MODULE.to_list()))
    whole = {"schema": 1, "rules": DROP_MODULE.to_list(), "matches": [], "checkpoint": {"at": "ema"}}
    (tmp_path / "whole.json").write_text(json.dumps(whole))
    automatch.convert(tmp_path / "whole.json", source, tmp_path / "whole.pt")
    assert_same(torch.load(tmp_path / "whole.pt", weights_only=True)["ema"], DROP_MODULE.apply(wrapped))
    automatch.convert(str(tmp_path / "list.json"), source, tmp_path / "list.pt", at="model")
    assert list(torch.load(tmp_path / "list.pt", weights_only=True)["model"]) == ["other"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "JSON"), ('{"matches": []}', "rules"), ('[{"pattern": "("}]', "rule 1"), ("\ud800", "text file")],
)
def test_a_rules_file_that_is_none_is_named(text, message, tmp_path) -> None:
    path = tmp_path / "rules.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    save_file(tensors("module.a"), tmp_path / "in.safetensors")
    with pytest.raises(InputError, match=message) as raised:
        automatch.convert(path, tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    assert str(path) in str(raised.value)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_two_keys_never_become_one(tmp_path, suffix) -> None:
    source, target = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    given = tensors("module.a", "a")
    save_file(given, source) if suffix == "safetensors" else torch.save(given, source)
    with pytest.raises(RuleError, match=r"in\..*'a'"):
        automatch.convert(DROP_MODULE, source, target)
    assert leftovers(tmp_path) == [source.name]


def test_a_key_of_another_entry_is_not_taken(tmp_path) -> None:
    torch.save({"module.epoch": torch.ones(1), "module.a": torch.ones(2), "epoch": 3}, tmp_path / "in.pt")
    with pytest.raises(InputError, match="'epoch'"):
        automatch.convert(DROP_MODULE, tmp_path / "in.pt", tmp_path / "out.pt")
    assert leftovers(tmp_path) == ["in.pt"]


def test_rules_that_take_no_key_are_refused(tmp_path) -> None:
    save_file(tensors("a"), tmp_path / "in.safetensors")
    with pytest.raises(InputError, match="no rule takes any of its 1 keys"):
        automatch.convert(DROP_MODULE, tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    assert leftovers(tmp_path) == ["in.safetensors"]


@pytest.mark.parametrize("link", ["same", "symlink", "hardlink"])
def test_the_input_is_never_overwritten(tmp_path, link) -> None:
    source = target = tmp_path / "in.safetensors"
    save_file(tensors("module.a"), source)
    before = source.read_bytes()
    if link != "same":
        target = tmp_path / "out.safetensors"
        (target.symlink_to if link == "symlink" else target.hardlink_to)(source)
    with pytest.raises(InputError, match="is the input itself"):
        automatch.convert(DROP_MODULE, source, target)
    assert source.read_bytes() == before


def test_the_format_stays(tmp_path) -> None:
    save_file(tensors("module.a"), tmp_path / "in.safetensors")
    with pytest.raises(InputError, match=r"out\.pt: the format stays"):
        automatch.convert(DROP_MODULE, tmp_path / "in.safetensors", tmp_path / "out.pt")


def test_what_cannot_be_rewritten_is_said(tmp_path) -> None:
    save_file(tensors("module.a"), tmp_path / "model-00001-of-00002.safetensors")
    save_file(tensors("module.b"), tmp_path / "model-00002-of-00002.safetensors")
    index = {"weight_map": {f"module.{k}": f"model-0000{i}-of-00002.safetensors" for i, k in ((1, "a"), (2, "b"))}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="single file"):
        automatch.convert(DROP_MODULE, tmp_path / "model.safetensors.index.json", tmp_path / "out.safetensors")
    (tmp_path / "k.keys.json").write_text('{"keys": [["module.a", [1], "float32"]]}')
    with pytest.raises(InputError, match="key list"):
        automatch.convert(DROP_MODULE, tmp_path / "k.keys.json", tmp_path / "out.json")
    numpy.savez(tmp_path / "a.npz", **{"module.a": numpy.zeros(2)})
    with pytest.raises(InputError, match="NumPy archive"):
        automatch.convert(DROP_MODULE, tmp_path / "a.npz", tmp_path / "out.npz")


FAILURES = [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError("a bug")]


@pytest.mark.parametrize("old", [True, False], ids=["over an old file", "new"])
@pytest.mark.parametrize("failure", FAILURES, ids=lambda f: type(f).__name__)
@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_write_that_fails_half_way_leaves_nothing(tmp_path, monkeypatch, where, failure, old) -> None:
    source, target = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file(tensors("module.a"), source)
    if old:
        target.write_text("old")
    before = leftovers(tmp_path)

    def fail(*args: object) -> None:
        raise failure

    place = {"write": "shutil.copyfileobj", "fsync": "os.fsync", "replace": "pathlib.Path.replace"}[where]
    monkeypatch.setattr(place, fail)
    with pytest.raises(InputError if isinstance(failure, OSError) else type(failure)):
        automatch.convert(DROP_MODULE, source, target)
    monkeypatch.undo()
    assert leftovers(tmp_path) == before
    assert not old or target.read_text() == "old"


def test_a_torch_write_that_fails_half_way_leaves_nothing(tmp_path, monkeypatch) -> None:
    torch.save(tensors("module.a"), tmp_path / "in.pt")

    def fail(document: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.save", fail)
    with pytest.raises(InputError, match="No space left"):
        automatch.convert(DROP_MODULE, tmp_path / "in.pt", tmp_path / "out.pt")
    assert leftovers(tmp_path) == ["in.pt"]


def test_a_folder_that_is_not_there_is_named(tmp_path) -> None:
    save_file(tensors("module.a"), tmp_path / "in.safetensors")
    with pytest.raises(InputError, match=r"nowhere.*out\.safetensors"):
        automatch.convert(DROP_MODULE, tmp_path / "in.safetensors", tmp_path / "nowhere" / "out.safetensors")


def test_the_new_file_has_the_usual_permissions(tmp_path) -> None:
    save_file(tensors("module.a"), tmp_path / "in.safetensors")
    (tmp_path / "usual").touch()
    automatch.convert(DROP_MODULE, tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "out.safetensors")}
    assert len(modes) == 1


def test_the_safe_loader_has_the_last_word(tmp_path) -> None:
    """A class beside the state_dict is described by us, but torch's safe loader refuses it: nothing is written."""
    torch.save({"model": tensors("module.a"), "when": Path("x")}, tmp_path / "in.pt")
    with pytest.raises(InputError, match=r"in\.pt.*weights_only"):
        automatch.convert(DROP_MODULE, tmp_path / "in.pt", tmp_path / "out.pt")
    assert leftovers(tmp_path) == ["in.pt"]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "rules",
    [
        [{"pattern": "a", "replacement": "b\ud800"}],
        {"rules": [{"pattern": "a", "replacement": "b"}], "tied": [["b", "\ud800"]]},
    ],
)
def test_half_a_character_in_a_new_key_is_refused(suffix, rules, tmp_path, capsys) -> None:
    source, target, path = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}", tmp_path / "rules.json"
    (save_file if suffix == ".safetensors" else torch.save)({"a": torch.zeros(1)}, source)
    path.write_text(json.dumps(rules))
    assert main(["apply", str(path), str(source), str(target)]) == 2
    assert re.fullmatch(r"automatch: .*\\ud800.*\n", capsys.readouterr().err)
    assert not target.exists()


def test_rules_in_yaml_are_read_under_any_ending(tmp_path):
    save_file(tensors("module.weight"), tmp_path / "old.safetensors")
    (tmp_path / "rules.txt").write_text("- pattern: module\\.(?P<rest>.+)\n  replacement: '{rest}'\n")
    automatch.convert(tmp_path / "rules.txt", tmp_path / "old.safetensors", tmp_path / "new.safetensors")
    assert list(load_file(tmp_path / "new.safetensors")) == ["weight"]


def test_one_of_two_dicts_that_fit_alike_is_rewritten_only_where_it_is_named(tmp_path) -> None:
    source, target = tmp_path / "gan.pth", tmp_path / "new.pth"
    net, ema, other = *(tensors("module.a", "module.b") for _ in range(2)), tensors("module.c")
    torch.save({"G": net, "G_ema": ema, "D": other}, source)
    with pytest.raises(InputError, match=r"`G` and `G_ema` hold the same keys and shapes.*choose with --at"):
        automatch.convert(DROP_MODULE, source, target)
    assert leftovers(tmp_path) == ["gan.pth"]
    assert "2 of 2 keys at `G_ema` went by the rules" in str(automatch.convert(DROP_MODULE, source, target, at="G_ema"))
    assert {name: sorted(held) for name, held in torch.load(target).items()} == {
        "G": ["module.a", "module.b"],
        "G_ema": ["a", "b"],
        "D": ["module.c"],
    }


def test_what_else_the_rules_might_have_meant_is_told(tmp_path, capsys) -> None:
    source = tmp_path / "gan.pth"
    torch.save({"G": tensors("module.a", "module.b"), "D": tensors("module.c")}, source)
    done = automatch.convert(DROP_MODULE, source, tmp_path / "new.pth")
    assert str(done).endswith(
        "2 of 2 keys at `G` went by the rules; also there, and left as it was: `D` (1 tensor); choose with --at"
    )
    assert main(["keys", str(source)]) == 0
    assert "the keys at `G`; also there: `D` (1 tensor), choose with --at" in capsys.readouterr().err
    assert main(["apply", "rules.json", str(source), "-"]) == 2
    assert "not to stdout" in capsys.readouterr().err
