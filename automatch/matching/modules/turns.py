"""Which of two or three modules of a block comes first: by their numbers, or by the parts that they belong to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from automatch.describing.tokens import stem_index
from automatch.matching.basis.names import Names
from automatch.matching.basis.places import FIRST, LAST, PLACES
from automatch.matching.basis.units import Sort, Unit

_TURNS = {"attention": 1, "selfattn": 1, "mlp": 2}


def give_turns(units: Sequence[Unit], peers: Iterable[Sequence[Unit]]) -> None:
    """Say which of two modules comes first: 1 and 2, also where one is called the attention's and one the mlp's.

    A transformer's block has its attention first: `layer_scale_1` is the attention's, `norm2` the mlp's, and so is
    BERT's `output.LayerNorm` behind `attention.output.LayerNorm`, and the `ln` before an `ff_ln` is the attention's.
    """
    for group in peers:
        if len(group) == 2 and _are_counted(*group):
            for unit in group:
                unit.turn = unit.rank + 1
    named: dict[tuple[Sort | None, tuple[str, ...]], list[tuple[int, Unit]]] = defaultdict(list)
    for unit in units:
        turns = {_TURNS[c] for word in unit.words for c in word.concepts & _TURNS.keys()}
        if len(turns) <= 1:
            rest = tuple(w.text for w in unit.words if not w.concepts & _TURNS.keys() and w.text[0] != "~")
            named[unit.main(), rest].append((turns.pop() if turns else 0, unit))
    for pair in named.values():
        found = sorted(turn for turn, _ in pair)
        if found == [0, 1]:
            (_, bare), (_, first) = sorted(pair, key=lambda item: item[0])
            found = [1, 2] if bare.place > first.place else []
        elif found == [0, 2]:
            (_, bare), (_, second) = sorted(pair, key=lambda item: item[0])
            found = [1, 2] if bare.place < second.place else []
        if found == [1, 2]:
            said = {turn for turn, _ in pair}
            for turn, unit in pair:
                unit.turn = turn or (3 - max(said))
    _give_turns_to_norms(units)
    _give_turns_by_place(units)
    _give_turns_by_last(pair for alike in named.values() for pair in alike)


def _are_counted(one: Unit, other: Unit) -> bool:
    """Do numbers say which of two modules is the first? Sizes of kernels say it only where they rise with the order."""
    found = [stem_index(f"_{unit.path[-1]}") for unit in (one, other)]
    numbers = sorted(stem[1] for stem in found if stem is not None)
    return len(numbers) == 2 and (numbers[1] == numbers[0] + 1 or one.place < other.place)


_LAST = [(1, True), (2, False), (2, False)]
"""Of three norms, in how many each is counted and whether it is the mlp's: `norms.0`, `norms.1`, `ff_norm`."""


def _give_turns_to_norms(units: Sequence[Unit]) -> None:
    """The same for the norms of a block: the attention's, that of an attention to another sequence, the mlp's.

    They may be numbered on the other side, where three are counted as two are.
    """
    norms: dict[tuple[tuple[str, ...], Sort | None], list[Unit]] = defaultdict(list)
    for unit in units:
        scale = unit.leaves.get("weight")  # `n1` is a norm by what it holds
        if any("norm" in word.concepts for word in unit.words) or (scale is not None and len(scale.shape) == 1):
            home = unit.full[: -1 - unit.full[-1].isdecimal()]  # `norms.0` stands beside `ff_norm`
            norms[home, unit.main()].append(unit)
    for group in norms.values():
        size = len(group)
        if size not in (2, 3) or (size == 2 and any(unit.turn for unit in group)):
            continue
        concepts = [{c for word in unit.words for c in word.concepts} for unit in group]
        turns = [2 if "cross" in own else 1 if own & {"attention", "selfattn"} else size for own in concepts]
        if size == 2 and sorted("pre" in own for own in concepts) == [False, True]:
            turns = [1 if "pre" in own else 2 if "final" in own else 0 for own in concepts]  # `prenorm`, `postnorm`
        if len(set(turns)) == 1 and {unit.peers for unit in group} == {size} == {3}:
            turns = [unit.rank + 1 for unit in group]
        elif [turn for turn, unit in zip(turns, group, strict=True) if unit.peers == 1] == [2]:
            turns = [2 if unit.peers == 1 else 1 + 2 * unit.rank for unit in group]  # norm1, norm_cross, norm2
        elif (
            size == 3 and sorted((unit.peers, "mlp" in own) for unit, own in zip(group, concepts, strict=True)) == _LAST
        ):
            turns = [3 if unit.peers == 1 else 1 + unit.rank for unit in group]  # norms.0, norms.1, ff_norm
        if sorted(turns) == list(range(1, size + 1)):
            for unit, turn in zip(group, turns, strict=True):
                unit.turn, unit.of = turn, size


def _give_turns_by_last(units: Iterable[tuple[int, Unit]]) -> None:
    """The same for two modules whose last names are equal: `window_attn.norm` and `ffn.norm`, whatever a window is."""
    called: dict[tuple[Sort | None, str], list[tuple[int, Unit]]] = defaultdict(list)
    for turn, unit in units:
        called[unit.main(), unit.path[-1]].append((turn, unit))
    for pair in called.values():
        if sorted(turn for turn, _ in pair) == [1, 2]:
            for turn, unit in pair:
                unit.turn = turn


_ENDS = (FIRST, LAST)


def _give_turns_by_place(units: Iterable[Unit]) -> None:
    """The same for two modules of which one word differs, and says the place: `conv_in` and `conv_out`.

    Where they stand the other way round, they run backwards, as what is numbered from the last on does.
    """
    called: dict[tuple[Sort | None, tuple[str, ...]], list[tuple[int, Unit]]] = defaultdict(list)
    for unit in units:
        ends = {PLACES[word.text] for word in unit.words if PLACES.get(word.text) in _ENDS}
        if len(ends) == 1 and not unit.turn:
            rest = tuple(w.text for w in unit.words if PLACES.get(w.text) not in _ENDS and w.text[0] != "~")
            called[unit.main(), rest].append((1 if ends == {FIRST} else 2, unit))
    for pair in called.values():
        if sorted(turn for turn, _ in pair) == [1, 2]:
            (_, first), (_, last) = sorted(pair, key=lambda item: item[0])
            for turn, unit in pair:
                unit.turn, unit.placed, unit.falling = turn, True, first.place > last.place


_ROLES = frozenset({"query", "key", "value", "qkv", "kv"})
_PLAIN = frozenset({"linear", "output"})
"""What `proj`, `fc` and `dense` may mean; they tell no projection from another one."""


def mark(units: Iterable[Unit], names: Names) -> None:
    """Say which of two projections of one part is the plain one, and which the further one: `k` and `k_img`.

    Wan's cross-attention reads a text with `k` and an image with `k_img`, which are diffusers' `to_k` and `add_k_proj`.
    """
    pairs: dict[tuple[tuple[str, ...], Sort | None, str], list[tuple[bool, Unit]]] = defaultdict(list)
    for unit in units:
        words = names.token_words(unit.full[-1])
        roles = {concept for word in words for concept in word.concepts & _ROLES}
        if len(roles) == 1:
            further = any(word.concepts.isdisjoint(_ROLES | _PLAIN) and word.text != "to" for word in words)
            pairs[unit.full[:-1], unit.main(), roles.pop()].append((further, unit))
    for pair in pairs.values():
        if sorted(further for further, _ in pair) == [False, True]:
            for further, unit in pair:
                unit.further = further
