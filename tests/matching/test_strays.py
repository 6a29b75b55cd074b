"""What was taken out of a company that nothing else follows: layers left over, the last layer of a larger head."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from automatch.describing.lexicon import lexicon
from automatch.matching import match
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.names import Names
from automatch.matching.reviews.strays import doubt_lonely, drop_surplus
from tests.matching.truth import flagged, found, spec

Keys = list[tuple[str, tuple[int, ...]]]


def network(depth: int, name: str, parts: Sequence[str], words: int) -> Keys:
    """Layers of a transformer without a table of positions, for so many words."""
    sizes = ((48, 16), (16, 16), (64, 16), (16, 64), (16,), (16,))
    return [("tok.weight", (words, 16))] + [
        (f"{name}.{i}.{part}.weight", shape) for i in range(depth) for part, shape in zip(parts, sizes, strict=True)
    ]


def test_a_layer_that_is_left_over_is_no_table() -> None:
    """Of six layers the model has four, and a table of positions that is as large as a layer's matrix."""
    file = network(6, "h", ("sa.c_attn", "sa.c_proj", "mlp.c_fc", "mlp.c_proj", "ln_1", "ln_2"), 80)
    model = network(4, "blocks", ("attn.qkv", "attn.out", "fc", "proj", "norm1", "norm2"), 99)
    answer = match(spec(file), spec([("position_table.weight", (64, 16)), *model]))
    assert ("position_table.weight",) not in found(answer)
    assert found(answer)["blocks.3.fc.weight",].checkpoint == ("h.3.mlp.c_fc.weight",)


def pairs(mine: Keys, theirs: Keys, served: dict[str, str], **evidence: float) -> tuple[list[Found], list[Leaf]]:
    source, target = (
        [Leaf(tuple(key.split(".")), shape, (key,), i, raw=shape) for i, (key, shape) in enumerate(keys)]
        for keys in (mine, theirs)
    )
    by_key = {leaf.keys[0]: leaf for leaf in source}, {leaf.keys[0]: leaf for leaf in target}
    return [(by_key[0][s], by_key[1][t], Evidence(**evidence)) for s, t in served.items()], source


def test_layers_of_which_all_serve_something_are_not_left_over() -> None:
    """A list of which one item stands alone in the model: `aspp_pool` is `convs.4`."""
    mine: Keys = [(f"convs.{i}.{part}", (8,)) for i in range(5) for part in ("a", "b", "c")]
    served = {key: key.replace("convs.4", "pool").replace("convs", "aspp") for key, _ in mine}
    theirs: Keys = [(key, (8,)) for key in served.values()]
    given, source = pairs(mine, theirs, served, rivals=2, free=1, margin=0.0)
    assert drop_surplus(given, source) == given


def test_the_last_layer_of_a_larger_head_is_flagged() -> None:
    """fastai puts two norms and two linear layers behind a body; the last one has the shape of torchvision's head."""
    head: Keys = [("1.2.weight", (64,)), ("1.4.weight", (32, 64)), ("1.6.weight", (32,)), ("1.8.weight", (5, 32))]
    body: Keys = [(f"0.{i}.weight", (32 + i, 3, 3, 3)) for i in range(6)]
    model = [(f"layer{i}.conv.weight", (32 + i, 3, 3, 3)) for i in range(6)]
    answer = match(spec(body + head), spec([*model, ("fc.weight", (5, 32)), ("fc.bias", (5,))]))
    assert "fc.weight" in flagged(answer) | set(answer.missing_keys)


def test_a_head_of_which_all_serves_is_not_alone() -> None:
    mine: Keys = [("top.0.weight", (6,)), ("top.1.weight", (7,)), ("top.2.weight", (5,))]
    served = {"top.0.weight": "norm.weight", "top.2.weight": "fc.weight"}
    given, source = pairs(mine, [(key, (5,)) for key in served.values()], served)
    assert [e.level for _, _, e in doubt_lonely(given, source, Names(lexicon()))] == ["unit", "unit"]
    given, source = pairs(mine, [("fc.weight", (5,))], {"top.2.weight": "fc.weight"})
    assert [e.level for _, _, e in doubt_lonely(given, source, Names(lexicon()))] == ["lonely"]


def encoder(words: dict[str, str]) -> Keys:
    """A transformer of square matrices."""
    keys: Keys = [(f"{words['embed']}.weight", (50, 16))]
    for i in range(3):
        for part in ("q", "k", "v", "o"):
            keys += [
                (f"{words['layers']}.{i}.{words[part]}.weight", (16, 16)),
                (f"{words['layers']}.{i}.{part}", (16,)),
            ]
    return keys


MLM: Keys = [
    ("cls.predictions.transform.dense.weight", (16, 16)),
    ("cls.predictions.transform.LayerNorm.weight", (16,)),
    ("cls.predictions.decoder.weight", (50, 16)),
]
OLD = {"embed": "bert.embed", "layers": "bert.layer", "q": "query", "k": "key", "v": "value", "o": "output"}
NEW = {"embed": "tok", "layers": "blocks", "q": "wq", "k": "wk", "v": "wv", "o": "wo"}


def test_a_part_of_a_head_for_masked_words_is_no_pooler() -> None:
    """Its matrix has the shape of all others, and what stands beside it serves nothing."""
    answer = match(spec(encoder(OLD) + MLM), spec([*encoder(NEW), ("pooler.weight", (16, 16))]))
    assert "pooler.weight" in flagged(answer) | set(answer.missing_keys)


def test_in_one_model_it_is_none_at_all() -> None:
    """All other names are equal: what is called otherwise is another head, and has lost its own place."""
    answer = match(spec(encoder(OLD) + MLM), spec([*encoder(OLD), ("bert.pooler.dense.weight", (16, 16))]))
    assert answer.missing_keys == ("bert.pooler.dense.weight",)


def test_a_layer_of_another_head_of_one_model_is_no_classifier() -> None:
    """A pooling by attention behind a backbone, and the classifier of the library: all else has the same names."""
    body: Keys = [(f"layer.{i}.{part}.weight", (16, 16)) for i in range(6) for part in ("query", "output")]
    pool: Keys = [
        ("pool.attention.0.weight", (16, 16)),
        ("pool.attention.1.weight", (5,)),
        ("pool.attention.2.weight", (1, 16)),
        ("head.weight", (3, 16)),
    ]
    file = [(f"model.backbone.{key}", shape) for key, shape in body] + [(f"model.{key}", shape) for key, shape in pool]
    model = [(f"funnel.{key}", shape) for key, shape in body] + [("classifier.dense.weight", (16, 16))]
    assert match(spec(file), spec(model)).missing_keys == ("classifier.dense.weight",)


@pytest.mark.parametrize(("shape", "proposed"), [((16, 16), False), ((9, 16), True)])
def test_another_head_of_one_model_and_the_same_under_another_name(shape: tuple[int, int], proposed: bool) -> None:
    """A pooler has the shape of every matrix of a layer; that a shape is rare makes two heads one, flagged."""
    body: Keys = [(f"layer.{i}.{part}.weight", (16, 16)) for i in range(8) for part in ("query", "output")]
    answer = match(spec([*body, ("pooler.dense.weight", shape)]), spec([*body, ("transform.lin.weight", shape)]))
    assert flagged(answer) == ({"transform.lin.weight"} if proposed else set())
    assert answer.missing_keys == (() if proposed else ("transform.lin.weight",))
