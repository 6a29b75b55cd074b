"""Leaves gathered into modules, with what tells modules of one scope apart: their words, ranks and turns."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

from automatch.describing.tokens import stem_index, words_of
from automatch.matching.basis.adapters import BIAS, FIRST, SECOND
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.names import Names, Word
from automatch.matching.basis.units import Sort, Unit, role_of


def units_of(
    leaves: Sequence[Leaf],
    top: int,
    names: Names,
    apart: bool = False,
    beside: Mapping[tuple[str, ...], str] = MappingProxyType({}),
) -> list[Unit]:
    """Gather leaves into modules; `top` tokens of the path belong to the scope and are left out.

    `apart`: every leaf is a module of its own (one of the sides has no names of roles). `beside`: names of what stands
    beside a module; they count as words of its own.
    """
    units: dict[tuple[tuple[str, ...], bool], Unit] = {}  # an adapter is no part of the module beside it
    for leaf in leaves:
        length, role = (len(leaf.path), "*") if apart else role_of(leaf.path)
        length = max(length, min(top, len(leaf.path)))
        module = leaf.path[:length]
        half = role in (FIRST, SECOND, BIAS)
        unit = units.get((module, half))
        if unit is None or role in unit.leaves:
            if unit is not None:
                module = leaf.path
            shown = module[top:] or module[-1:]
            told = (*shown, beside[module]) if module in beside else shown
            unit = units[module, half] = Unit(shown, names.path_words(told), place=leaf.place, full=module, told=told)
        unit.leaves[role] = leaf
        unit.place = min(unit.place, leaf.place)
    found = sorted(units.values(), key=lambda u: u.place)
    _silence_numbers(found, names)
    _name_norms(found, names)
    _silence_echoes(found)
    _silence_gates(found)
    peers: dict[tuple[object, ...], list[tuple[list[int], Unit]]] = defaultdict(list)
    lettered = _lettered(found)
    for unit in found:
        counted = _counted(unit, lettered)
        alike = (unit.main(), *(w for w in counted if isinstance(w, str)))
        peers[alike].append(([n for n in counted if isinstance(n, int)], unit))
    for group in peers.values():
        group.sort(key=lambda member: member[0])
        falling = all(a.place > b.place for (_, a), (_, b) in pairwise(group))
        steady = all(a.place < b.place for (_, a), (_, b) in pairwise(group))
        grid = _is_grid([numbers for numbers, _ in group])
        for rank, (_, unit) in enumerate(group):
            unit.rank, unit.peers, unit.falling = rank, len(group), falling and len(group) > 1
            unit.grid, unit.steady = grid, steady
    _give_turns(found, ([unit for _, unit in group] for group in peers.values()))
    return found


def _is_grid(numbers: Sequence[Sequence[int]]) -> bool:
    """Do more numbers than one tell modules apart, of which each has as many?"""
    if len(numbers) < 2 or len({len(own) for own in numbers}) != 1:
        return False
    return sum(len(set(values)) > 1 for values in zip(*numbers, strict=True)) > 1


_GATE, _NOTHING = frozenset({"gate"}), frozenset[str]()
_LETTERS = ("a", "b", "c", "d")


def _lettered(units: Sequence[Unit]) -> Collection[tuple[str, ...]]:
    """The paths of modules that letters count: `norm_a` and `norm_b`, from `a` on, without a gap."""
    runs: dict[tuple[object, ...], dict[str, tuple[str, ...]]] = defaultdict(dict)
    for unit in units:
        *stem, letter = words_of(unit.path[-1]) or ("",)
        if stem and letter and letter in _LETTERS:
            home = (unit.path[:-1], *stem)
            runs[home][letter] = unit.path
    whole = (run for run in runs.values() if len(run) > 1 and tuple(sorted(run)) == _LETTERS[: len(run)])
    return {path for run in whole for path in run.values()}


def is_lettered(unit: Unit) -> bool:
    """Does a name end with a letter that may count it? `in_proj_a` may be the first, or what becomes of alpha."""
    words = words_of(unit.path[-1])
    return len(words) > 1 and words[-1] in _LETTERS


def _counted(unit: Unit, lettered: Collection[tuple[str, ...]]) -> list[str | int]:
    """The words and the numbers of a module's path; letters that count are numbers."""
    out: list[str | int] = [int(w) if w.isdecimal() else w for token in unit.path for w in words_of(token)]
    if unit.path in lettered:
        out[-1] = _LETTERS.index(str(out[-1]))
    return out


_TURNS = {"attention": 1, "selfattn": 1, "mlp": 2}


def _give_turns(units: Sequence[Unit], peers: Iterable[Sequence[Unit]]) -> None:
    """Say which of two modules comes first: 1 and 2, also where one is called the attention's and one the mlp's.

    A transformer's block has its attention first: `layer_scale_1` is the attention's, `norm2` the mlp's, and so is
    BERT's `output.LayerNorm` behind `attention.output.LayerNorm`.
    """
    for group in peers:
        numbers = [stem_index(unit.path[-1]) for unit in group] if len(group) == 2 else []
        if numbers and sorted(number[1] if number else -1 for number in numbers) in ([0, 1], [1, 2]):
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
        if found == [1, 2]:
            for turn, unit in pair:
                unit.turn = turn or 2
    _give_turns_to_norms(units)
    _give_turns_by_last(pair for alike in named.values() for pair in alike)


def _give_turns_to_norms(units: Sequence[Unit]) -> None:
    """The same for the norms of a block: the attention's, that of an attention to another sequence, the mlp's.

    They may be numbered on the other side, where three are counted as two are.
    """
    norms: dict[tuple[tuple[str, ...], Sort | None], list[Unit]] = defaultdict(list)
    for unit in units:
        scale = unit.leaves.get("weight")  # `n1` is a norm by what it holds
        if any("norm" in word.concepts for word in unit.words) or (scale is not None and len(scale.shape) == 1):
            norms[unit.full[:-1], unit.main()].append(unit)
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


def _name_norms(units: Sequence[Unit], names: Names) -> None:
    """Say of the only two norms of a block what they stand before, where one is in the attention and one in the mlp.

    `attn.norm` and `mlp.norm` are `attn_norm` and `mlp_norm`; not where the block has norms of its own beside them.
    """
    norms: dict[tuple[tuple[str, ...], Sort | None], list[Unit]] = defaultdict(list)
    for unit in units:
        words = names.token_words(unit.full[-1])
        if words and all("norm" in word.concepts for word in words):
            norms[unit.full[:-2], unit.main()].append(unit)
    for group in norms.values():
        if any(len(unit.full) < 3 for unit in group):
            continue
        homes = [{c for word in names.token_words(unit.full[-2]) for c in word.concepts} for unit in group]
        first = [unit for unit, home in zip(group, homes, strict=True) if "attention" in home]
        if len(first) > 1:
            first = [unit for unit, home in zip(group, homes, strict=True) if "selfattn" in home]
        second = [unit for unit, home in zip(group, homes, strict=True) if "mlp" in home]
        if len(first) == len(second) == 1:
            for unit, called in ((first[0], "attn_norm"), (second[0], "mlp_norm")):
                unit.words = (*unit.words, *(w for w in names.token_words(called) if w.text[0] == "~"))


def _silence_gates(units: Sequence[Unit]) -> None:
    """Take `gate` for no gate where two of a container are called so: keras-hub's `gating_ffw` and `gating_ffw_2`."""
    gates: dict[tuple[tuple[str, ...], Sort | None], list[Unit]] = defaultdict(list)
    for unit in units:
        if any(word.concepts == _GATE for word in unit.words):
            gates[unit.full[:-1], unit.main()].append(unit)
    for group in gates.values():
        for unit in group if len(group) > 1 else ():
            unit.words = tuple(Word(w.text, _NOTHING) if w.concepts == _GATE else w for w in unit.words)


def _silence_echoes(units: Sequence[Unit]) -> None:
    """A token that says more than its words is taken at its word only where one module of the scope bears it.

    Beside a `pre_feedforward_layernorm`, a `post_attention_layernorm` is not the norm before the mlp.
    """
    count = Counter((unit.path[:-1], w.text) for unit in units for w in set(unit.words) if w.text[0] == "~")
    if any(n > 1 for n in count.values()):
        for unit in units:
            unit.words = tuple(w for w in unit.words if count.get((unit.path[:-1], w.text), 0) < 2)


_ORDINALS = (frozenset({"first"}), frozenset({"second"}))


def _silence_numbers(units: Sequence[Unit], names: Names) -> None:
    """`fc1` and `fc2` mean first and second of a pair only where there are no others: not beside `fc3` or `fc0`.

    Nor where the first has no number, as Haiku's `linear` before `linear_1`.
    """
    numbered: dict[tuple[tuple[str, ...], str], set[int]] = defaultdict(set)
    for unit in units:
        found = stem_index(unit.path[-1])
        if found is not None:
            numbered[unit.path[:-1], found[0]].add(found[1])
    bare: set[tuple[str, ...]] = set()
    for unit in units:  # in their order
        stem = unit.path[-1].removesuffix("_1")
        if stem != unit.path[-1] and (*unit.path[:-1], stem) in bare:
            numbered[unit.path[:-1], f"{stem}_"].add(0)
        bare.add(unit.path)
    for unit in units:
        found = stem_index(unit.path[-1])
        only = any(w.concepts in _ORDINALS for w in names.path_words(unit.path[-1:]))
        if only and found is not None and not numbered[unit.path[:-1], found[0]] <= {1, 2}:
            beside = unit.words[len(names.path_words(unit.path)) :]
            unit.words = (*names.path_words((*unit.path[:-1], found[0])), *beside)
