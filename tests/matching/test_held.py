"""What a checkpoint holds beside the model, or twice: settings, lists of a block's own modules, what PEFT trained."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from automatch.matching import match
from tests.matching.truth import Served, found, solved, spec, truth

Keys = list[tuple[str, tuple[int, ...]]]


class Block(nn.Module):
    """nnU-Net's: what it computes with stands in a list as well."""

    def __init__(self, wide: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(wide, out, 3)
        self.norm = nn.InstanceNorm3d(out, affine=True)
        self.all_modules = nn.Sequential(self.conv, self.norm)


class Coder(nn.Module):
    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(Block(a, b) for a, b in pairwise(widths))


class Net(nn.Module):
    """Its decoder holds the encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Coder((1, 8, 16, 32))
        self.decoder = Coder((32, 16, 8, 4))
        self.decoder.encoder = self.encoder


def test_modules_that_are_held_twice_serve_a_model_that_holds_them_once() -> None:
    checkpoint = Net().state_dict()
    once = [key for key in checkpoint if "all_modules" not in key and "decoder.encoder" not in key]
    rename = {key: key.replace("encoder.stages", "down").replace("decoder.stages", "up") for key in once}
    wanted = {new: checkpoint[key] for key, new in rename.items()}
    wanted = {key.replace(".conv.", ".c.").replace(".norm.", ".n."): tensor for key, tensor in wanted.items()}
    solved(checkpoint, wanted, truth(zip(once, wanted, strict=True)))


def test_two_lists_of_one_build_are_no_repetition() -> None:
    """HiFi-GAN's `convs1` and `convs2` hold the same in the same order, and are two."""
    given = {
        f"resblocks.{i}.convs{n}.{j}.{role}": torch.empty((8, 8, 3 + i) if role == "weight" else (8,))
        for i in range(4)
        for n in (1, 2)
        for j in range(3)
        for role in ("weight", "bias")
    }
    rename = {
        key: key.replace("resblocks", "mrf").replace("convs1", "dilated").replace("convs2", "plain") for key in given
    }
    answer = found(match(spec(given), spec({new: given[key] for key, new in rename.items()})))
    assert answer == truth(rename.items())


def test_numbers_of_which_the_model_has_none_do_not_stand_in_the_way() -> None:
    """CTranslate2 writes how it computes beside the weights."""
    given: Keys = []
    wanted: Keys = []
    pairs: list[tuple[str, str]] = []
    for i in range(3):
        a, b = f"decoder/layer_{i}", f"layers.{i}"
        given += [(f"{a}/attention/{name}", ()) for name in ("head_dim", "rotary_base", "sliding_window")]
        given += [(f"{a}/attention/linear_0/weight", (24, 16)), (f"{a}/ffn/linear_0/weight", (40, 16))]
        wanted += [(f"{b}.wide.weight", (40, 16)), (f"{b}.mixer.inner.weight", (24, 16))]
        pairs += [(f"{a}/attention/linear_0/weight", wanted[-1][0]), (f"{a}/ffn/linear_0/weight", wanted[-2][0])]
    solved(given, wanted, truth(pairs))


def peft_model() -> tuple[Keys, Keys]:
    """An adapter's file and its model: GPT-2, whose layers are stored [in, out], and a head that was trained whole."""
    given: Keys = [("base_model.model.score.weight", (5, 16))]
    wanted: Keys = []
    for i in range(3):
        for name, out in (("attn.c_attn", 48), ("attn.c_proj", 16), ("mlp.c_proj", 16)):
            at, wide = f"base_model.model.h.{i}.{name}", 64 if "mlp" in name else 16
            given += [(f"{at}.lora_A.weight", (8, wide)), (f"{at}.lora_B.weight", (out, 8))]
            wanted += [(f"{at}.base_layer.weight", (wide, out)), (f"{at}.base_layer.bias", (out,))]
            wanted += [(f"{at}.lora_A.default.weight", (8, wide)), (f"{at}.lora_B.default.weight", (out, 8))]
    wanted += [("base_model.model.score.original_module.weight", (5, 16))]
    wanted += [("base_model.model.score.modules_to_save.default.weight", (5, 16))]
    return given, wanted


def test_an_adapter_on_layers_that_are_stored_the_other_way() -> None:
    """PEFT stores its halves [out, in], whatever lies beside them; and what it trained whole is the copy."""
    given, wanted = peft_model()
    expected = {(key.replace(".weight", ".default.weight"),): Served((key,)) for key, _ in given[1:]}
    expected[("base_model.model.score.modules_to_save.default.weight",)] = Served(("base_model.model.score.weight",))
    solved(given, wanted, expected)
