"""`automatch apply --reverse`: a converted file becomes what it was, bit for bit, or nothing is written."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import automatch
from automatch import InputError, RuleError
from automatch.cli import main


def write(path: Path, tensors: dict) -> Path:
    if path.suffix == ".safetensors":
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, {"format": "pt"})
    else:
        torch.save({"epoch": 3, "model": tensors}, path)
    return path


def read(path: Path) -> dict:
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path)["model"]


def attention(fused: bool, layers: int = 3) -> dict:
    """Four times as many rows for queries as for keys and values; experts stacked where all is fused."""
    generator = torch.Generator().manual_seed(1)
    out = {"embed.weight" if not fused else "wte.weight": torch.rand(11, 8, generator=generator)}
    for i in range(layers):
        parts = [torch.rand(rows, 8, generator=generator) for rows in (8, 2, 2)]
        experts = [torch.rand(6, 8, generator=generator) for _ in range(4)]
        norm = torch.rand(8, generator=generator).to(torch.bfloat16)
        if fused:
            out |= {f"h.{i}.attn.qkv.weight": torch.cat(parts), f"h.{i}.experts.up": torch.stack(experts)}
            out[f"h.{i}.ln_1.weight"] = norm
        else:
            out |= {f"layers.{i}.attn.{p}_proj.weight": part for p, part in zip("qkv", parts, strict=True)}
            out |= {f"layers.{i}.experts.{e}.up.weight": expert for e, expert in enumerate(experts)}
            out[f"layers.{i}.norm1.weight"] = norm
    return out


def assert_same(ours: dict, theirs: dict) -> None:
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        assert tensor.dtype == theirs[key].dtype
        assert torch.equal(tensor, theirs[key])


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("fused", [True, False], ids=["cut", "joined"])
def test_a_file_comes_back_bit_for_bit(tmp_path, suffix, fused, capsys) -> None:
    old = write(tmp_path / f"old{suffix}", attention(fused))
    model = write(tmp_path / f"model{suffix}", attention(not fused))
    rules, new, again = tmp_path / "rules.json", tmp_path / f"new{suffix}", tmp_path / f"again{suffix}"
    assert main(["diagnose", str(old), str(model), "--format", "json", "-o", str(rules)]) == 0
    assert main(["apply", str(rules), str(old), str(new)]) == 0
    assert main(["apply", str(rules), str(new), str(again), "--reverse"]) == 0
    assert "went by the rules" in capsys.readouterr().out
    assert_same(read(again), attention(fused))
    if suffix == ".pt":
        assert torch.load(again)["epoch"] == 3


def test_rules_alone_go_back_with_the_old_keys(tmp_path, capsys) -> None:
    old, model = write(tmp_path / "old.safetensors", attention(False)), attention(True)
    diagnosis = automatch.diagnose(str(old), model)
    rules, new, again = tmp_path / "rules.json", tmp_path / "new.safetensors", tmp_path / "again.safetensors"
    rules.write_text(json.dumps(diagnosis.rules.to_list()))
    automatch.convert(rules, old, new)
    assert main(["apply", str(rules), str(new), str(again), "--reverse"]) == 2
    said = capsys.readouterr().err
    assert "joins tensors, whose sizes it does not say" in said
    assert "--keys OLD" in said
    assert not again.exists()
    before = old.read_bytes()
    assert main(["apply", str(rules), str(new), str(old), "--reverse", "--keys", str(old)]) == 2
    assert "is the input itself" in capsys.readouterr().err and old.read_bytes() == before
    assert main(["apply", str(rules), str(new), str(again), "--reverse", "--keys", str(old)]) == 0
    assert_same(read(again), attention(False))
    automatch.convert(diagnosis.rules, new, again, reverse=True, keys=old)
    assert_same(read(again), attention(False))


class Tied(torch.nn.Module):
    def __init__(self, old: bool) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(4)
        self.wte = torch.nn.Embedding(7, 4)
        self.head = torch.nn.Linear(4, 7, bias=False)
        if not old:
            self.head.weight = self.wte.weight


def test_a_tied_tensor_goes_back_into_one_key(tmp_path) -> None:
    torch.manual_seed(0)
    tensors = {f"gpt.{key}": t for key, t in Tied(old=True).state_dict().items() if key != "head.weight"}
    old = write(tmp_path / "old.pt", tensors)
    diagnosis = automatch.diagnose(old, Tied(old=False))
    assert diagnosis.complete
    rules, new, again = tmp_path / "rules.json", tmp_path / "new.pt", tmp_path / "again.pt"
    rules.write_text(diagnosis.to_json())
    automatch.convert(rules, old, new)
    assert set(read(new)) == {"norm.weight", "norm.bias", "wte.weight", "head.weight"}
    automatch.convert(rules, new, again, reverse=True)
    assert_same(read(again), tensors)


def test_a_tie_that_was_parted_is_not_lost(tmp_path) -> None:
    tensors = {f"gpt.{key}": t for key, t in Tied(old=True).state_dict().items() if key != "head.weight"}
    old = write(tmp_path / "old.pt", tensors)
    rules, new, again = tmp_path / "rules.json", tmp_path / "new.pt", tmp_path / "again.pt"
    rules.write_text(automatch.diagnose(old, Tied(old=False)).to_json())
    write(new, Tied(old=True).state_dict())
    with pytest.raises(RuleError, match="were one tensor and are not equal any more"):
        automatch.convert(rules, new, again, reverse=True)
    assert not again.exists()


def test_a_file_that_the_rules_did_not_make_is_refused(tmp_path) -> None:
    old = write(tmp_path / "old.safetensors", attention(False))
    rules, other = (
        tmp_path / "rules.json",
        write(tmp_path / "other.safetensors", {"layers.0.norm1.weight": torch.ones(8)}),
    )
    rules.write_text(automatch.diagnose(str(old), attention(True)).to_json())
    with pytest.raises(InputError, match=r"cannot be undone on it|no rule takes any"):
        automatch.convert(rules, other, tmp_path / "again.safetensors", reverse=True)
    assert not (tmp_path / "again.safetensors").exists()


def test_a_rule_edited_by_hand_goes_back_as_it_was_edited(tmp_path) -> None:
    old = write(tmp_path / "old.safetensors", {"module.a.weight": torch.ones(2), "module.b.weight": torch.zeros(3)})
    rules, new, again = tmp_path / "rules.json", tmp_path / "new.safetensors", tmp_path / "again.safetensors"
    rules.write_text(json.dumps([{"pattern": r"module\.(?P<rest>.+)", "replacement": "net.{rest}"}]))
    automatch.convert(rules, old, new)
    automatch.convert(rules, new, again, reverse=True)
    assert_same(read(again), read(old))


def test_keys_without_reverse_are_refused(tmp_path, capsys) -> None:
    assert main(["apply", "rules.json", "in.pt", "out.pt", "--keys", "old.pt"]) == 2
    assert "--reverse" in capsys.readouterr().err
