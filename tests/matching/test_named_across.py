"""Names that tell modules of one shape apart only where all of them are looked at, not those of one block."""

from __future__ import annotations

import pytest

from automatch.matching import match
from tests.matching.truth import flagged, found, spec, truth

Keys = list[tuple[str, tuple[int, ...]]]


def linear(name: str, out: int, width: int) -> Keys:
    """The keys of a linear layer."""
    return [(f"{name}.weight", (out, width)), (f"{name}.bias", (out,))]


def paired(given: Keys, wanted: Keys, pairs: dict[str, str]) -> set[str]:
    """The model's flagged modules, after making sure that the modules are paired so."""
    answer = match(spec(given), spec(wanted))
    roles = ("weight", "bias")
    expected = truth((f"{s}.{role}", f"{t}.{role}") for s, t in pairs.items() for role in roles)
    keys = {key for key, _ in given}
    assert found(answer) == {k: v for k, v in expected.items() if v.checkpoint[0] in keys}
    return {key.rpartition(".")[0] for key in flagged(answer)}


@pytest.mark.parametrize("swap", [False, True])
def test_a_pair_of_lists_beside_a_list_of_pairs_goes_by_all_its_names(swap: bool) -> None:
    """BiDAF's highways: `linear0, gate0, linear1, gate1` are two lists, and `0.transform, 0.gate, ..` is one."""
    pairs = {
        f"highway_{a}{i}.0": f"highway.{i}.{b}" for i in range(2) for a, b in (("linear", "transform"), ("gate",) * 2)
    }
    given = [key for name in pairs for key in linear(name, 8, 8)]
    wanted = [key for name in pairs.values() for key in linear(name, 8, 8)]
    sides = (wanted, given, {t: s for s, t in pairs.items()}) if swap else (given, wanted, pairs)
    paired(*sides)


def test_numbers_alone_exchange_nothing() -> None:
    """What is counted from another number on is in the same order all the same."""
    pairs = {f"encoder.{i + 1}.fc": f"stack.{i}.fc" for i in range(4)}
    given = [key for name in pairs for key in linear(name, 8, 8)]
    wanted = [key for name in pairs.values() for key in linear(name, 8, 8)]
    paired(given, wanted, pairs)


@pytest.mark.parametrize("order", [("resistance", "capacity"), ("capacity", "resistance")])
def test_a_single_letter_is_like_a_word_that_begins_with_it(order: tuple[str, str]) -> None:
    """Which of two tables is `r_emb`: the one of the resistances."""
    pairs = {"r_emb": "tables.resistance", "c_emb": "tables.capacity"}
    given = [(f"{name}.weight", (3, 4)) for name in pairs] + linear("lstm_in", 16, 8) + linear("regress", 1, 16)
    wanted = [(f"tables.{name}.weight", (3, 4)) for name in order] + linear("reader", 16, 8) + linear("head", 1, 16)
    paired(given, wanted, {**pairs, "lstm_in": "reader", "regress": "head"})


def test_the_letters_of_left_and_right_begin_no_word() -> None:
    """`lin_r` is the right one, and not that of the reversed relation."""
    names = ("convs.writes.lin_l", "convs.writes.lin_r")
    given = [(f"{name}.weight", (8, 8)) for name in names]
    wanted = [("gnn.neighbours.weight", (8, 8)), ("gnn.root.weight", (8, 8))]
    answer = match(spec(given), spec(wanted))
    assert found(answer) == truth(zip((k for k, _ in given), (k for k, _ in wanted), strict=True))
    assert flagged(answer) == {key for key, _ in wanted}


@pytest.mark.parametrize("acting", [False, True])
def test_v_is_a_critic_only_beside_an_actor(acting: bool) -> None:
    """An RNN's output matrix is called V; in reinforcement learning V is the critic, and no other head."""
    names = ("pi", "policy") if acting else ("W", "hidden")
    given = linear(names[0], 4, 6) + linear("V", 2, 4)
    wanted = linear(names[1], 4, 6) + linear("out", 2, 4)
    served = found(match(spec(given), spec(wanted)))
    assert (("out.weight",) in served) is not acting
