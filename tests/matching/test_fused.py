"""Several tensors on one side that are one tensor on the other, in both directions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import automatch
from automatch.matching import match
from tests.matching.transformers import (
    WIDTH,
    Linears,
    Single,
    SingleFused,
    apart,
    fused,
    joined,
    llama,
    mixture,
    stacked,
    to_meta,
    turned,
)
from tests.matching.truth import Served, Truth, flagged, found, renamed, solved, spec, truth

GATE_UP = ("gate_proj", "up_proj"), "gate_up_proj"
QKV = ("q_proj", "k_proj", "v_proj"), "qkv_proj"


def both_ways(mine: object, whole: object, expected: Truth) -> None:
    solved(mine, whole, expected)
    solved(whole, mine, turned(expected))


@pytest.mark.parametrize("bias", [False, True], ids=["weights", "weights and biases"])
@pytest.mark.parametrize("groups", [WIDTH, 4], ids=["as many", "grouped"])
@pytest.mark.parametrize("depth", [1, 3])
def test_query_key_value(groups: int, bias: bool, depth: int) -> None:
    mine, whole = stacked(lambda: apart(groups, bias), depth), stacked(lambda: fused(groups, bias), depth)
    both_ways(mine, whole, joined(whole, *QKV))


def test_the_sizes_of_unequal_pieces() -> None:
    """Grouped queries: four times as many rows for the queries as for keys and for values."""
    mine, whole = stacked(lambda: apart(4)), stacked(lambda: fused(4))
    pieces = [m for m in solved(whole, mine, turned(joined(whole, *QKV))).matches if m.op == "chunk"]
    assert [(m.dim, m.sizes) for m in pieces] == [(0, (4, 1, 1))] * 3
    whole = stacked(fused)
    pieces = [m for m in solved(whole, stacked(apart), turned(joined(whole, *QKV))).matches if m.op == "chunk"]
    assert [(m.dim, m.sizes) for m in pieces] == [(0, None)] * 3  # equal ones need no sizes


def test_the_order_is_that_of_the_roles_not_of_the_file() -> None:
    """fairseq registers k, v, q; a fused tensor still holds q, k, v."""
    mine = stacked(lambda: Linears(True, k_proj=WIDTH, v_proj=WIDTH, q_proj=WIDTH, o_proj=WIDTH))
    whole = stacked(lambda: fused(bias=True))
    both_ways(mine, whole, joined(whole, *QKV))


def test_fused_under_other_names() -> None:
    """MPT calls it Wqkv."""
    words = {"qkv_proj": "Wqkv", "o_proj": "out_proj", "layers": "h", "embed": "embed_in"}
    mine, whole = stacked(lambda: apart(bias=True)), stacked(lambda: fused(bias=True))

    def rename(key: str) -> str:
        return ".".join(words.get(token, token) for token in key.split("."))

    expected = {(rename(*keys),): served for keys, served in joined(whole, *QKV).items()}
    both_ways(mine, renamed(whole, rename), expected)


@pytest.mark.parametrize("bias", [False, True], ids=["weights", "weights and biases"])
def test_key_value(bias: bool) -> None:
    mine = stacked(lambda: Linears(bias, to_q=WIDTH, to_k=WIDTH, to_v=WIDTH, to_out=WIDTH))
    whole = stacked(lambda: Linears(bias, to_q=WIDTH, to_kv=2 * WIDTH, to_out=WIDTH))
    both_ways(mine, whole, joined(whole, ("to_k", "to_v"), "to_kv"))


def test_gate_up() -> None:
    mine, whole = llama(), llama(gate_up=True)
    both_ways(mine, whole, joined(whole, *GATE_UP))


def test_two_kinds_of_fusing_at_once() -> None:
    mine, whole = llama(), llama(qkv=True, gate_up=True)
    expected = joined(whole, *QKV)
    expected.update({keys: served for keys, served in joined(whole, *GATE_UP).items() if served.op == "concat"})
    both_ways(mine, whole, expected)


def test_one_fused_on_each_side() -> None:
    """The file joins gate and up, the model joins query, key and value."""
    mine, whole = llama(gate_up=True), llama(qkv=True)
    expected = joined(whole, *QKV)
    for keys in [keys for keys in expected if "gate_proj" in keys[0] or "up_proj" in keys[0]]:
        del expected[keys]
    for key in spec(mine).keys:
        if "gate_up_proj" in key:
            pieces = (key.replace("gate_up_proj", "gate_proj"), key.replace("gate_up_proj", "up_proj"))
            expected[pieces] = Served((key,), "chunk")
    solved(mine, whole, expected)


def test_llama_as_its_authors_saved_it() -> None:
    """w1, w2, w3 and wq, wk, wv of the consolidated file, apart or fused in the model."""
    mine = renamed(llama(), to_meta)
    solved(mine, llama(), truth((to_meta(key), key) for key in spec(llama()).keys))
    whole = llama(qkv=True, gate_up=True)
    expected = joined(whole, *QKV, to_meta)
    expected.update(
        {keys: served for keys, served in joined(whole, *GATE_UP, to_meta).items() if served.op == "concat"}
    )
    both_ways(mine, whole, expected)


def test_query_key_value_and_mlp_in_one_linear() -> None:
    """Flux's single blocks: linear1 holds query, key, value and the mlp's first layer."""
    mine = stacked(Single, name="single_transformer_blocks", part="block")
    whole = stacked(SingleFused, name="single_blocks", part="block")
    words = {
        "linear2": "proj_out",
        "norm.query_norm": "attn.norm_q",
        "norm.key_norm": "attn.norm_k",
        "modulation.lin": "norm.linear",
    }
    expected = {}
    for key in spec(whole).keys:
        path, role = key.rsplit(".", 1)
        head, _, part = path.replace("single_blocks", "single_transformer_blocks").partition(".block.")
        if part == "linear1":
            parts = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
            expected[key,] = Served(tuple(f"{head}.block.{name}.{role}" for name in parts), "concat")
        else:
            middle = f".block.{words[part]}" if part else ""
            expected[key,] = Served((f"{head}{middle}.{role}",))
    both_ways(mine, whole, expected)


@pytest.mark.parametrize(("kind", "experts"), [("stack", 6), ("fused", 6), ("fused", 2), ("stack", 12)])
def test_experts_in_a_stack(kind: str, experts: int) -> None:
    """A list of experts against one tensor for all of them, in the order of their numbers (10 after 9)."""
    mine, whole = mixture("list", experts), mixture(kind, experts)
    words = {"w1": ("w1",), "w2": ("w2",), "w3": ("w3",), "gate_up_proj": ("w1", "w3"), "down_proj": ("w2",)}
    expected = {}
    for key in spec(whole).keys:
        head, marker, name = key.partition(".experts.")
        if not marker:
            expected[key,] = Served((key,))
            continue
        members = tuple(f"{head}.experts.{i}.{word}.weight" for word in words[name] for i in range(experts))
        expected[key,] = Served(members, "stack+concat" if len(words[name]) > 1 else "stack")
    both_ways(mine, whole, expected)


def test_a_layer_norm_of_three_times_the_width_is_no_fused_projection() -> None:
    """Nothing is joined where both sides keep q, k and v apart, whatever else has the joined shape."""
    both = stacked(lambda: Linears(q_proj=WIDTH, k_proj=WIDTH, v_proj=WIDTH, wide=3 * WIDTH))
    solved(both, both, truth((key, key) for key in spec(both).keys))


def test_a_missing_part_is_not_made_up() -> None:
    """Without the values there is no fused tensor."""
    mine, whole = stacked(lambda: Linears(q_proj=WIDTH, k_proj=WIDTH, o_proj=WIDTH)), stacked(fused)
    expected = {keys: served for keys, served in joined(whole, *QKV).items() if served.op == "rename"}
    assignment = solved(mine, whole, expected)
    assert [key for key in assignment.missing_keys if "qkv_proj" not in key] == []


class Head(nn.Module):
    """Attention of one head that runs, apart or fused, and an mlp."""

    def __init__(self, whole: bool, mlp: bool = True) -> None:
        super().__init__()
        if whole:
            self.qkv = nn.Linear(8, 24)
        else:
            self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.out = nn.Linear(8, 8)
        self.mlp = nn.Sequential(nn.Linear(8, 20), nn.GELU(), nn.Linear(20, 8)) if mlp else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1) if hasattr(self, "qkv") else (self.query(x), self.key(x), self.value(x))
        x = x + self.out(torch.softmax(q @ k.mT, -1) @ v)
        return x + self.mlp(x)


@pytest.mark.parametrize("whole", [False, True], ids=["apart into fused", "fused into apart"])
def test_blocks_that_are_nothing_but_attention(whole: bool) -> None:
    mine, other = (nn.Sequential(*[Head(kind, mlp=False) for _ in range(3)]) for kind in (False, True))
    expected = joined(other, ("query", "key", "value"), "qkv")
    solved(other, mine, turned(expected)) if whole else solved(mine, other, expected)


@pytest.mark.parametrize("whole", [False, True], ids=["apart into fused", "fused into apart"])
def test_the_loaded_network_computes_the_same(whole: bool) -> None:
    """Biases too are joined and cut in the order of the weights."""
    torch.manual_seed(0)
    mine, other = (nn.Sequential(*[Head(kind) for _ in range(3)]) for kind in (whole, not whole))
    x = torch.randn(2, 5, 8)
    automatch.load(other, mine.state_dict())
    assert torch.allclose(mine(x), other(x), atol=1e-6)


def test_what_is_folded_stands_once() -> None:
    """A fused match is one match with several keys, not several matches."""
    mine, whole = stacked(apart), stacked(fused)
    assignment = solved(mine, whole, joined(whole, *QKV))
    assert len(assignment.matches) == len(found(assignment)) == len(spec(whole))


def test_rules_for_experts_know_no_number_of_experts() -> None:
    """Learnt on two experts they take a fused tensor of six apart, and put the six together again."""
    for mine, other in (("fused", "list"), ("list", "fused")):
        rules = automatch.diagnose(mixture(mine, 2), mixture(other, 2)).rules
        torch.manual_seed(0)
        large = {key: torch.randn(tensor.shape) for key, tensor in mixture(mine, 6).state_dict().items()}
        moved = rules.apply(large)
        assert {key: tensor.shape for key, tensor in moved.items()} == {
            key: tensor.shape for key, tensor in mixture(other, 6).state_dict().items()
        }
        apart, whole = (moved, large) if mine == "fused" else (large, moved)
        layer = "layers.1.block_sparse_moe.experts"
        gate, up = whole[f"{layer}.gate_up_proj"].chunk(2, dim=1)
        for i in range(6):
            assert torch.equal(apart[f"{layer}.{i}.w1.weight"], gate[i])
            assert torch.equal(apart[f"{layer}.{i}.w3.weight"], up[i])
            assert torch.equal(apart[f"{layer}.{i}.w2.weight"], whole[f"{layer}.down_proj"][i])


@pytest.mark.parametrize("whole", [False, True], ids=["apart into fused", "fused into apart"])
def test_biases_whose_weights_are_not_there(whole: bool) -> None:
    """The weights are missing on one side; the biases are joined because the other side calls their like qkv."""
    mine, other = stacked(lambda: apart(bias=True)), stacked(lambda: fused(bias=True))
    lost = ".qkv_proj.weight" if whole else ".v_proj.weight"
    expected = {keys: served for keys, served in joined(other, *QKV).items() if not keys[0].endswith("qkv_proj.weight")}
    if whole:
        solved(renamed(other, lambda key: None if key.endswith(lost) else key), mine, turned(expected))
    else:
        solved(renamed(mine, lambda key: None if key.endswith(lost) else key), other, expected)


@pytest.mark.parametrize("names", [("w_qs", "w_ks", "w_vs"), ("to_queries", "to_keys", "to_values")])
def test_plurals_are_queries_keys_and_values(names: tuple[str, ...]) -> None:
    given = [(f"stack.{i}.attn.{name}.weight", (16, 16)) for i in range(3) for name in (*names, "fc")]
    wanted = [
        (f"blocks.{i}.self.{name}.weight", (width, 16)) for i in range(3) for name, width in (("qkv", 48), ("out", 16))
    ]
    expected = {
        (f"blocks.{i}.self.qkv.weight",): Served(tuple(f"stack.{i}.attn.{name}.weight" for name in names), "concat")
        for i in range(3)
    }
    expected |= truth((f"stack.{i}.attn.fc.weight", f"blocks.{i}.self.out.weight") for i in range(3))
    both_ways(given, wanted, expected)


@pytest.mark.parametrize(
    ("first", "second", "whole"),
    [
        ("filter_convs.{}", "gate_convs.{}", "blocks.{}.filter_gate"),
        ("enc.{}.fc_mu", "enc.{}.fc_logvar", "encoder.{}.to_stats"),
        ("enc.{}.mean", "enc.{}.log_var", "encoder.{}.moments"),
    ],
)
def test_wavenet_s_gates_and_a_code_s_mean_and_variance(first: str, second: str, whole: str) -> None:
    """What is let through lies before its gate, and the mean before the variance."""
    given, wanted = [], []
    expected: dict[tuple[str, ...], Served] = {}
    for i in range(3):
        for role, shape in (("weight", (8, 12)), ("bias", (8,))):
            given += [(f"{name.format(i)}.{role}", shape) for name in (first, second)]
            wanted += [(f"{whole.format(i)}.{role}", (16, *shape[1:]))]
            expected[(wanted[-1][0],)] = Served((given[-2][0], given[-1][0]), "concat")
        given.append((f"skip.{i}.weight", (20, 8)))
        wanted.append((f"skips.{i}.weight", (20, 8)))
        expected |= truth([(given[-1][0], wanted[-1][0])])
    both_ways(given, wanted, expected)


def test_a_gate_and_what_it_lets_through_lie_in_either_order() -> None:
    """DiffWave cuts the gate off first, WaveNet last; a name that says neither is flagged."""
    given = [(f"h.{i}.{name}.weight", (8, 12)) for i in range(3) for name in ("filter", "gate")]
    wanted = [(f"h.{i}.dilated.weight", (16, 12)) for i in range(3)]
    assert flagged(match(spec(given), spec(wanted))) == {key for key, _ in wanted}


def test_a_deviation_is_no_variance() -> None:
    given = [("enc.fc.weight", (8, 9)), ("enc.mean.weight", (4, 8)), ("enc.log_std.weight", (4, 8))]
    wanted = [("e.fc.weight", (8, 9)), ("e.fc_mu.weight", (4, 8)), ("e.fc_logvar.weight", (4, 8))]
    answer = found(match(spec(given), spec(wanted)))
    assert ("e.fc_logvar.weight",) not in answer and answer[("e.fc_mu.weight",)] == Served(("enc.mean.weight",))


def test_statistics_of_a_norm_are_no_mean_and_variance_of_a_code() -> None:
    given = [(f"bn.{i}.{role}", (8,)) for i in range(3) for role in ("running_mean", "running_var", "weight", "bias")]
    wanted = [(f"norms.{i}.{role}", shape) for i in range(3) for role, shape in (("weight", (16,)), ("bias", (16,)))]
    assert found(match(spec(given), spec(wanted))) == {}


def test_what_scales_and_what_shifts_in_one_convolution() -> None:
    """SPADE's mlp_gamma and mlp_beta in one, though a block of half the width has one of that shape."""
    whole = "spades.{}.gamma_beta"
    given: list[tuple[str, tuple[int, ...]]] = []
    wanted: list[tuple[str, tuple[int, ...]]] = []
    expected: dict[tuple[str, ...], Served] = {}
    for i, width in enumerate((32, 16, 8)):
        for role, shape in (("weight", (6, 3, 3)), ("bias", ())):
            parts = [f"up_{i}.norm.mlp_{part}.{role}" for part in ("gamma", "beta")]
            given += [(key, (width, *shape)) for key in parts]
            wanted.append((f"{whole.format(i)}.{role}", (2 * width, *shape)))
            expected[wanted[-1][0],] = Served(tuple(parts), "concat")
        given.append((f"up_{i}.conv.weight", (width + 1, 5, 3, 3)))
        wanted.append((f"convs.{i}.weight", given[-1][1]))
        expected |= truth([(given[-1][0], wanted[-1][0])])
    both_ways(given, wanted, expected)


@pytest.mark.parametrize("parts", [("gamma", "beta"), ("beta", "gamma")])
def test_what_lies_first_in_a_film_no_name_says(parts: tuple[str, str]) -> None:
    given = [(f"b.{i}.{part}.weight", (8, 4)) for i in range(3) for part in parts] + [("stem.weight", (5, 3))]
    wanted = [(f"b.{i}.film.weight", (16, 4)) for i in range(3)] + [("stem.weight", (5, 3))]
    assert flagged(match(spec(given), spec(wanted))) == {key for key, _ in wanted[:3]}


def test_a_layer_scale_is_no_part_of_anything() -> None:
    """CaiT's gamma_1 and gamma_2 beside norms of the same width."""
    roles = ("gamma_1", "gamma_2", "norm1.weight", "norm1.bias", "fc.weight")
    keys = [(f"blocks.{i}.{role}", (16,) if role != "fc.weight" else (40, 16)) for i in range(4) for role in roles]
    solved([(f"net.trunk.{key}", shape) for key, shape in keys], keys, truth((f"net.trunk.{k}", k) for k, _ in keys))


def test_a_query_beside_what_is_called_key_value() -> None:
    given = [
        (f"layers.{i}.{name}.weight", shape) for i in range(3) for name, shape in (("to_qkv", (24, 8)), ("ff", (9, 8)))
    ]
    names = {"query": (8, 8), "key_value": (16, 8), "ff": (9, 8)}
    wanted = [(f"blocks.{i}.{name}.weight", shape) for i in range(3) for name, shape in names.items()]
    expected = truth((f"layers.{i}.ff.weight", f"blocks.{i}.ff.weight") for i in range(3)) | {
        (f"blocks.{i}.query.weight", f"blocks.{i}.key_value.weight"): Served((f"layers.{i}.to_qkv.weight",), "chunk")
        for i in range(3)
    }
    solved(given, wanted, expected)


@pytest.mark.parametrize("fused", [("qkv", "out"), ("q", "kv", "out")])
def test_the_three_numbered_layers_of_an_attention_are_joined(fused: tuple[str, ...]) -> None:
    """SuperGlue keeps query, key and value as `attn.proj.0, 1, 2`, and leads out by `attn.merge`."""
    names = [f"attn.proj.{i}" for i in range(3)]
    parts = {"qkv": names, "q": names[:1], "kv": names[1:], "out": ["attn.merge"]}
    given = [(f"layers.{i}.{name}.weight", (8, 8)) for i in range(2) for name in ("attn.merge", *names)]
    given += [(f"layers.{i}.mlp.weight", (16, 8)) for i in range(2)]
    shapes = [(f"blocks.{i}.{name}.weight", (8 * len(parts[name]), 8)) for i in range(2) for name in fused]
    wanted = [*shapes, *((f"blocks.{i}.ff.weight", (16, 8)) for i in range(2))]
    answer = found(match(spec(given), spec(wanted)))
    for i in range(2):
        for name in fused:
            whole = tuple(f"layers.{i}.{part}.weight" for part in parts[name])
            assert answer[f"blocks.{i}.{name}.weight",].checkpoint == whole


@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_a_pin_of_one_of_three_parts_changes_no_order(part: str) -> None:
    """That v is a part of qkv is true, and no word about where it lies; the names say that."""
    parts = [(f"layers.{i}.{name}.weight", (8, 8)) for i in range(2) for name in ("q", "k", "v")]
    whole = [(f"h.{i}.qkv.weight", (24, 8)) for i in range(2)]
    for given, wanted, pin in (
        (whole, parts, ("h.0.qkv.weight", f"layers.0.{part}.weight")),
        (parts, whole, (f"layers.0.{part}.weight", "h.0.qkv.weight")),
    ):
        assert found(match(spec(given), spec(wanted), pin=[pin])) == found(match(spec(given), spec(wanted)))
