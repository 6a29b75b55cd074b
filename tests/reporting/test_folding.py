"""A fold says exactly the keys that went in: no more, no fewer, each once, and in pairs as they were."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from automatch.reporting.folding import fold
from automatch.reporting.notation import family_text, values_text

WORDS = st.sampled_from(["layers", "attn", "norm1", "conv", "weight", "bias", "0", "1", "2", "3", "10", "007", ""])
KEYS = st.lists(WORDS, min_size=1, max_size=5).map(".".join)


def texts(items, sources=1):
    return [family_text(family, sources) for family in fold(items)]


def densenet(depths, leaves=("weight", "bias")):
    return [
        (f"f.block{b}.layer{layer}.norm.{n}.{leaf}", f"f.block{b}.layer{layer}.norm{n}.{leaf}")
        for b, depth in enumerate(depths, 1)
        for layer in range(1, depth + 1)
        for n in (1, 2)
        for leaf in leaves
    ]


@given(st.lists(st.tuples(KEYS, KEYS), unique=True, max_size=60))
def test_families_stand_for_exactly_the_items(items) -> None:
    families = fold(items)
    members = [member for family in families for member in family.members]
    assert sorted(members) == list(range(len(items)))
    for family in families:
        assert list(family.expand()) == [items[member] for member in family.members]


@given(st.data())
def test_blocks_of_any_depth_fold_without_loss(data) -> None:
    depths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    items = data.draw(st.permutations(densenet(depths)))
    dropped = data.draw(st.integers(0, len(items) - 1))
    items = items[dropped:]
    expanded = [item for family in fold(items) for item in family.expand()]
    assert Counter(expanded) == Counter(items)


@given(st.lists(st.tuples(KEYS, st.integers(0, 2)), unique_by=lambda item: item[0], max_size=40))
def test_labels_are_never_mixed(keys) -> None:
    labels = [label for _, label in keys]
    for family in fold([(key,) for key, _ in keys], labels):
        assert len({labels[member] for member in family.members}) == 1


def test_equal_blocks_are_one_line() -> None:
    items = [(f"a.{i}.q.weight", f"b.{i}.query.weight") for i in range(12)]
    assert texts(items) == ["{a.{0..11}.q => b.{0..11}.query}.weight"]


def test_blocks_of_different_depth_name_each_depth() -> None:
    assert texts(densenet((2, 3))) == ["f.block{1..2}.layer{1..2;1..3}.{norm.{1..2} => norm{1..2}}.{weight,bias}"]


def test_a_gap_shows() -> None:
    assert texts([(f"l.{i}.w",) for i in (0, 1, 2, 4, 6)]) == ["l.{0..2,4,6}.w"]


def test_a_step_shows() -> None:
    assert texts([(f"l.{i}.w",) for i in (0, 3, 6, 9)]) == ["l.{0..9..3}.w"]


def test_no_product_is_claimed_that_is_not_there() -> None:
    """Layers 0 and 1, norms 1 and 2, but not all four: two lines, or a list for each layer."""
    items = [("l.0.n.1",), ("l.1.n.2",)]
    assert texts(items) == ["l.{0..1}.n.{1;2}"]


def test_exchanged_indices_are_read_line_by_line() -> None:
    items = [(f"a.{i}.{j}", f"b.{j}.{i}") for i in range(2) for j in range(3)]
    assert texts(items) == ["a.0.{0..2} => b.{0..2}.0", "a.1.{0..2} => b.{0..2}.1"]


def test_flat_blocks_that_become_stages() -> None:
    items = [(f"a.{2 * i + j}.w", f"s.{i}.{j}.w") for i in range(3) for j in range(2)]
    assert texts(items) == ["{a.{0..5} => s.{0..2}.{0..1}}.w"]


def test_reversed_order_shows() -> None:
    assert texts([(f"up.{i}.w", f"down.{3 - i}.w") for i in range(4)]) == ["{up.{0..3} => down.{3..0}}.w"]


def test_shared_weights_go_to_many() -> None:
    assert texts([("table", f"l.{i}.table") for i in range(3)]) == ["{ => l.{0..2}.}table"]


def test_joined_tensors_stand_side_by_side() -> None:
    items = [(*(f"l.{i}.{part}.w" for part in "qkv"), f"l.{i}.qkv.w") for i in range(4)]
    assert texts(items, sources=3) == ["l.{0..3}.{q + k + v => qkv}.w"]
    moved = [(*(f"l.{i}.a.{part}.w" for part in "qkv"), f"b.{i}.qkv.w") for i in range(4)]
    assert texts(moved, sources=3) == ["{l.{0..3}.a.{q + k + v} => b.{0..3}.qkv}.w"]


def test_a_prefix_that_goes() -> None:
    assert texts([("module.a.w", "a.w"), ("module.b.0", "b.0")]) == ["{module. => }a.w", "{module. => }b.0"]


def test_numbers_with_leading_zeros_stay_text() -> None:
    assert texts([("l01",), ("l02",)]) == ["l01", "l02"]


def test_braces_and_control_characters_of_a_key_cannot_be_mistaken() -> None:
    assert texts([("a{0..1}.\x1b[2J",)]) == ["a{{0..1}}.\\x1b[2J"]


def test_values() -> None:
    assert values_text((5,)) == "5"
    assert values_text((0, 1, 2, 3)) == "0..3"
    assert values_text((3, 2, 1, 5)) == "3..1,5"
    assert values_text((0, 2, 4)) == "0..4..2"
    assert values_text((4, 2, 0)) == "4..0..2"
    assert values_text((0, 2)) == "0,2"


def test_modules_with_other_tensors_are_other_lines() -> None:
    """A convolution and the norm behind it are not one family just because both have a weight."""
    items = [(f"l.{i}.down.0.weight",) for i in range(2)]
    items += [(f"l.{i}.down.1.{leaf}",) for i in range(2) for leaf in ("weight", "bias")]
    assert texts(items) == ["l.{0..1}.down.0.weight", "l.{0..1}.down.1.{weight,bias}"]


def test_numbers_at_the_end_are_folded_like_any() -> None:
    assert texts([(f"scales.{i}",) for i in range(9)]) == ["scales.{0..8}"]
    assert texts([(f"rnn.{w}_l{i}",) for i in range(2) for w in ("w_ih", "w_hh")]) == [
        "rnn.w_ih_l{0..1}",
        "rnn.w_hh_l{0..1}",
    ]
