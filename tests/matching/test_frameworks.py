"""Files of other frameworks: the order in which Keras made its modules, Caffe2's blobs, TensorFlow's slots."""

from __future__ import annotations

import pytest
from torch import nn

from automatch.matching import match
from automatch.matching.basis.leaves import leaves_of
from tests.matching.built import built
from tests.matching.truth import Served, Truth, complete, flagged, found, honest, solved, spec, truth

Keys = list[tuple[str, tuple[int, ...]]]
WIDTHS = (8, 8, 16, 16, 16, 24, 24, 24, 32)


def network() -> nn.Module:
    modules: dict[str, nn.Module] = {}
    for i, (before, width) in enumerate(zip((3, *WIDTHS), WIDTHS, strict=False)):
        modules[f"layers.{i}.conv"] = nn.Conv2d(before, width, 3)
        modules[f"layers.{i}.bn"] = nn.BatchNorm2d(width)
    return built(modules)


def keras(order: list[int]) -> tuple[Keys, Truth]:
    """A file that holds the layers in this order, and what serves what."""
    keys: Keys = []
    served: list[tuple[str, str]] = []
    for i in order:
        number, before, width = f"_{i}" if i else "", (3, *WIDTHS)[i], WIDTHS[i]
        keys += [(f"conv2d{number}/kernel:0", (3, 3, before, width)), (f"conv2d{number}/bias:0", (width,))]
        norm = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        keys += [(f"batch_normalization{number}/{name}:0", (width,)) for name in norm]
        served += [(f"batch_normalization{number}/{a}:0", f"layers.{i}.bn.{b}") for a, b in norm.items()]
        served.append((f"conv2d{number}/bias:0", f"layers.{i}.conv.bias"))
    return keys, truth(served)


def test_modules_that_keras_named_stand_in_the_order_of_their_making() -> None:
    keys, expected = keras([1, 0, 3, 4, 2, 6, 5, 7, 8])
    answer = found(match(spec(keys), spec(network())))
    assert {key: answer.get(key) for key in expected} == dict(expected)


def test_the_numbers_of_other_names_are_no_order_of_making() -> None:
    widths = [8, 8, 16, 16, 32, 32, 64, 64]
    names = [f"conv_{i}" if i else "conv" for i in range(7, -1, -1)]
    mine = built({name: nn.Linear(4, width) for name, width in zip(names, widths, strict=True)})
    theirs = built({f"layers.{i}": nn.Linear(4, width) for i, width in enumerate(widths)})
    parts = ("weight", "bias")
    pairs = [(f"{name}.{part}", f"layers.{i}.{part}") for i, name in enumerate(names) for part in parts]
    honest(mine, theirs, truth(pairs))


def test_letters_are_parameters_in_a_file_of_blobs_alone() -> None:
    mine: Keys = [("weight", (64, 64)), ("bias", (64,)), ("lora_a", (8, 64)), ("lora_b", (64, 8))]
    names = ("weight", "bias", "lora_A.weight", "lora_B.weight")
    theirs = [(f"linear.{name}", shape) for name, (_, shape) in zip(names, mine, strict=True)]
    solved(mine, theirs, truth((key, new) for (key, _), (new, _) in zip(mine, theirs, strict=True)))


@pytest.mark.parametrize("slot", ["{}_momentum", "{}/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE"])
def test_slots_of_other_frameworks_are_no_weights(slot: str) -> None:
    caffe = slot.endswith("_momentum")
    end = "" if caffe else "/.ATTRIBUTES/VARIABLE_VALUE"
    names = ("w", "b") if caffe else ("kernel", "bias")
    mine: Keys = []
    theirs: Keys = []
    pairs = []
    for i in range(9):
        key = f"conv{i}_" if caffe else f"model/layer_with_weights-{i}/"
        for name, role, shape in zip(names, ("weight", "bias"), ((8, 8, 3, 3), (8,)), strict=True):
            mine += [(f"{key}{name}{end}", shape), (slot.format(f"{key}{name}"), shape)]
            theirs.append((f"net.conv{i}.{role}", shape))
            pairs.append((f"{key}{name}{end}", f"net.conv{i}.{role}"))
    assignment = match(spec(mine), spec(theirs))
    complete(assignment, spec(mine), spec(theirs))
    assert found(assignment) == truth(pairs)


def test_two_heads_of_other_sizes_are_not_crossed() -> None:
    """For two classes `bbox_pred` has the shape that `cls_score` has for eight."""

    def detector(classes: int) -> nn.Module:
        body: dict[str, nn.Module] = {f"body.{i}": nn.Linear(16 + i, 17 + i) for i in range(6)}
        return built({**body, "box.cls_score": nn.Linear(64, classes), "box.bbox_pred": nn.Linear(64, 4 * classes)})

    assignment = match(spec(detector(2)), spec(detector(8)))
    assert all(m.checkpoint_keys == m.model_keys for m in assignment.matches)
    assert {p.key for p in assignment.mismatched} == {
        f"box.{h}.{r}" for h in ("cls_score", "bbox_pred") for r in ("weight", "bias")
    }


PEFT = [
    ("score.original_module.weight", (5, 64)),
    ("score.modules_to_save.default.weight", (5, 64)),
    *(
        (f"layers.{i}.q.{part}.weight", shape)
        for i in range(3)
        for part, shape in (("base_layer", (64, 64)), ("lora_A.default", (8, 64)), ("lora_B.default", (64, 8)))
    ),
]
ADAPTER = [
    ("score.weight", (5, 64)),
    *(
        (f"layers.{i}.q.{part}.weight", shape)
        for i in range(3)
        for part, shape in (("lora_A", (8, 64)), ("lora_B", (64, 8)))
    ),
]


def test_an_adapter_serves_the_trained_copy_alone() -> None:
    answer = found(match(spec(ADAPTER), spec(PEFT)))
    assert ("score.modules_to_save.default.weight",) in answer and ("score.original_module.weight",) not in answer


@pytest.mark.parametrize("forbid", [False, True])
def test_what_a_person_says_of_trained_modules_holds(forbid: bool) -> None:
    original, copy = "score.original_module.weight", "score.modules_to_save.default.weight"
    decision = {"forbid": [("score.weight", copy)]} if forbid else {"pin": [("score.weight", original)]}
    assignment = match(spec(ADAPTER), spec(PEFT), **decision)
    complete(assignment, spec(ADAPTER), spec(PEFT))
    assert found(assignment)[original,].checkpoint == ("score.weight",)


def test_a_copy_of_a_doubtful_module_is_doubtful() -> None:
    heads = [
        (f"{name}.{part}.weight", (5, 64))
        for name in ("alpha", "omega")
        for part in ("original_module", "modules_to_save.default")
    ]
    assignment = match(spec([("xx.weight", (5, 64)), *ADAPTER[1:]]), spec([*heads, *PEFT[2:]]))
    assert {key for m in assignment.matches for key in m.model_keys if "modules_to_save" in key} <= flagged(assignment)


def test_flax_keeps_statistics_beside_the_parameters() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    words = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    checkpoint: list[tuple[str, tuple[int, ...]]] = []
    pairs = []
    for collection, roles in (("batch_stats", ("running_mean", "running_var")), ("params", ("weight", "bias"))):
        for i in (1, 3):
            for role in roles:
                checkpoint.append((f"{collection}/stage_{i}/norm/{words[role]}", (8,)))
                pairs.append((checkpoint[-1][0], f"{i}.{role}"))
    checkpoint += [(f"params/stage_{i}/conv/kernel", (3, 3, 3 if i == 1 else 8, 8)) for i in (1, 3)]
    checkpoint += [(f"params/stage_{i}/conv/bias", (8,)) for i in (1, 3)]
    served = {m.model_keys[0]: m.checkpoint_keys[0] for m in match(spec(checkpoint), spec(model)).matches}
    assert {key: served[key] for _, key in pairs} == {key: one for one, key in pairs}


def test_the_moving_average_of_a_variable_is_used() -> None:
    layers = [
        (f"net/layer_{i}/{name}", shape) for i in range(3) for name, shape in (("kernel", (8, 6)), ("bias", (6,)))
    ]
    checkpoint = [(f"{key}{end}", shape) for key, shape in layers for end in ("", "/ExponentialMovingAverage")]
    model = built({f"layers.{i}": nn.Linear(8, 6) for i in range(3)})
    assignment = match(spec(checkpoint), spec(model))
    used = {key for one in assignment.matches for key in one.checkpoint_keys}
    assert len(assignment.matches) == 6
    assert all(key.endswith("/ExponentialMovingAverage") for key in used)
    assert all("average" in assignment.harmless[key] for key in assignment.unexpected_keys)


@pytest.mark.parametrize("bias", ["lora_B.bias", "diff_b"])
def test_what_an_adapter_adds_to_a_bias(bias: str) -> None:
    """It goes with the two halves, and is no bias of the module beside it."""
    names = {"q": "to_q", "k": "to_k", "v": "to_v"}

    def adapters(called: dict[str, str], down: str, up: str, last: str) -> list[tuple[str, tuple[int, ...]]]:
        parts = ((f"{down}.weight", (4, 16)), (f"{up}.weight", (16, 4)), (last, (16,)))
        return [(f"blocks.{i}.attn.{called[n]}.{end}", s) for i in range(2) for n in called for end, s in parts]

    mine = adapters({n: n for n in names}, "lora_down", "lora_up", bias)
    theirs = adapters(names, "lora_A", "lora_B", "lora_B.bias")
    pairs = truth((one, other) for (one, _), (other, _) in zip(mine, theirs, strict=True))
    left = [(f"blocks.{i}.norm.{end}", (16,)) for i in range(2) for end in ("diff", "diff_b")]
    solved([*mine, *left], theirs, pairs)


def test_a_pinned_variable_is_used_and_not_its_average() -> None:
    checkpoint = [
        (f"l{i}/{name}{end}", s) for i in range(2) for name, s in (("kernel", (8, 6)), ("bias", (6,))) for end in ENDS
    ]
    model = built({f"l{i}": nn.Linear(8, 6) for i in range(2)})
    given = match(spec(checkpoint), spec(model), pin=[("l0/bias", "l0.bias")])
    assert found(given)[("l0.bias",)].checkpoint == ("l0/bias",)


ENDS = ("", "/ExponentialMovingAverage")


def test_full_differences_are_no_adapter() -> None:
    """`q.diff` and `q.diff_b` stand for a weight and a bias, and go together."""
    checkpoint = [
        (f"b.{i}.{m}.{e}", (8, 8)[: 2 - (e == "diff_b")]) for i in range(3) for m in "qk" for e in ("diff", "diff_b")
    ]
    model = built({f"b.{i}.{m}": nn.Linear(8, 8) for i in range(3) for m in "qk"})
    assert not match(spec(checkpoint), spec(model)).missing_keys


WIDTH, HEADS = 16, 4
PARTS = {"query_dense": "attn.q", "key_dense": "attn.k", "value_dense": "attn.v", "output_dense": "attn.out"}


def keras_3(depth: int, start: int = 0, lost: str = "") -> tuple[Keys, nn.Module, Truth]:
    """A `.weights.h5` of Keras 3, whose variables have numbers for names; the network it is for, and what serves what.

    The first layer has no number, the second is `block_1`. `lost`: what the file lacks in all layers but the first.
    """
    heads, size, inner = (HEADS, WIDTH // HEADS), WIDTH, 40
    kernels = {name: ((*heads, size) if name == "output_dense" else (size, *heads)) for name in PARTS}
    biases = {name: ((size,) if name == "output_dense" else heads) for name in PARTS}
    modules: dict[str, nn.Module] = {"embed": nn.Embedding(60, size)}
    keys: Keys = [("layers/embedding/vars/0", (60, size))]
    served = [("layers/embedding/vars/0", "embed.weight", "rename")]
    for i in range(depth):
        home = f"layers/block_{i}" if i else "layers/block"
        own: list[tuple[str, tuple[int, ...], str, str, nn.Module]] = []
        for name, other in PARTS.items():
            op = "reshape+transpose" if name == "output_dense" else "transpose+reshape"
            own.append((f"attention/{name}/vars/0", kernels[name], f"{other}.weight", op, nn.Linear(size, size)))
            own.append((f"attention/{name}/vars/1", biases[name], f"{other}.bias", "reshape", nn.Linear(size, size)))
        for name, other, module in (
            ("norm", "norm1", nn.LayerNorm(size)),
            ("up_dense", "mlp.up", nn.Linear(size, inner)),
            ("down_dense", "mlp.down", nn.Linear(inner, size)),
        ):
            shape = tuple(reversed(module.weight.shape))
            own.append(
                (f"{name}/vars/0", shape, f"{other}.weight", "transpose" if len(shape) > 1 else "rename", module)
            )
            own.append((f"{name}/vars/1", tuple(module.bias.shape), f"{other}.bias", "rename", module))
        for key, shape, other, op, module in own:
            modules[f"layers.{i}.{other.rpartition('.')[0]}"] = module
            if not (i and key == lost):
                keys.append((f"{home}/{key}", shape))
                served.append((f"{home}/{key}", f"layers.{i}.{other}", "rename" if shape == (size,) else op))
    network = built(modules)
    return sorted(keys), network, {(model,): Served((key,), op) for key, model, op in served}


def test_numbered_variables_of_keras_3() -> None:
    keys, network, expected = keras_3(12)
    answer = match(spec(keys), spec(network))
    assert {key: served.checkpoint for key, served in found(answer).items()} == {
        key: served.checkpoint for key, served in expected.items()
    }
    assert flagged(answer) == set()


def test_layers_without_a_number_that_have_more_than_their_like() -> None:
    """`block` is still the first layer where all others lost a kernel."""
    keys, network, expected = keras_3(6, lost="attention/query_dense/vars/0")
    answer = {key: served.checkpoint for key, served in found(match(spec(keys), spec(network))).items()}
    assert answer == {key: expected[key].checkpoint for key in answer}
    assert answer.keys() == expected.keys()


@pytest.mark.parametrize(
    ("layer", "shapes", "roles"),
    [
        ("dense", [(3, 4), (4,)], ["kernel", "bias"]),
        ("batch_normalization", [(4,)] * 4, ["gamma", "beta", "moving_mean", "moving_variance"]),
        ("batch_normalization", [(4,)] * 3, ["vars.0", "moving_mean", "moving_variance"]),
        ("conv1_bn", [(4,)] * 2, ["moving_mean", "moving_variance"]),
        ("layer_norm", [(4,)] * 2, ["gamma", "beta"]),
        ("separable_conv2d", [(3, 3, 4, 1), (1, 1, 4, 8), (8,)], ["depthwise_kernel", "pointwise_kernel", "bias"]),
        ("lstm_cell", [(3, 16), (4, 16), (16,)], ["kernel", "recurrent_kernel", "bias"]),
        ("reversible_embedding", [(60, 16), (16, 60)], ["embeddings", "head.kernel"]),
        ("embedding", [(60, 16)], ["embeddings"]),
        ("patch_embedding", [(4, 4, 3, 16), (16,)], ["kernel", "bias"]),
        ("embedding_projection", [(8, 16), (16,)], ["kernel", "bias"]),
        ("affine", [(16,), (16,)], ["vars.0", "vars.1"]),
        ("attention", [(16, 16)] * 3, ["vars.0", "vars.1", "vars.2"]),
        ("depthwise_conv2d", [(3, 3, 8, 2), (16,)], ["kernel", "bias"]),
        ("unheard_of", [(4,), (5,)], ["vars.0", "vars.1"]),
        ("unheard_of", [(4,)] * 6, [f"vars.{i}" for i in range(6)]),
    ],
)
def test_what_numbered_variables_are(layer: str, shapes: list[tuple[int, ...]], roles: list[str]) -> None:
    keys = [(f"layers/{layer}/vars/{i}", shape) for i, shape in enumerate(shapes)]
    assert [leaf.path for leaf in leaves_of(spec(keys))] == [("layers", layer, *role.split(".")) for role in roles]
