"""Leaves gathered into modules, with what tells modules of one scope apart: their words, ranks and turns."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

from automatch.describing.tokens import stem_index, words_of
from automatch.matching.basis.adapters import BIAS, FIRST, SECOND
from automatch.matching.basis.leaves import LETTERS, Leaf, is_one_vector
from automatch.matching.basis.names import Names, Word
from automatch.matching.basis.units import Sort, Unit, role_of
from automatch.matching.modules.turns import give_turns, mark


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
    units: dict[tuple[object, ...], Unit] = {}  # an adapter is no part of the module beside it
    for leaf in leaves:
        length, role = (len(leaf.path), "*") if apart else role_of(leaf.path)
        length = max(length, min(top, len(leaf.path)))
        module = leaf.path[:length]
        half = role in (FIRST, SECOND, BIAS)
        key: tuple[object, ...] = (module, half)
        unit = units.get(key)
        if unit is None or role in unit.leaves:
            if unit is not None:
                module, key = leaf.path, (leaf.path, half, leaf.place)  # a twin, or two keys of one path
            shown = module[top:] or module[-1:]
            told = (*shown, beside[module]) if module in beside else shown
            unit = units[key] = Unit(shown, names.path_words(told), place=leaf.place, full=module, told=told)
        unit.leaves[role] = leaf
        unit.place = min(unit.place, leaf.place)
    found = sorted(units.values(), key=lambda u: u.place)
    _silence_numbers(found, names)
    _name_gates(found, names)
    _name_norms(found, names)
    _silence_echoes(found)
    _silence_gates(found)
    _silence_learnt_tokens(found)
    peers: dict[tuple[object, ...], list[tuple[list[int], Unit]]] = defaultdict(list)
    lettered = _lettered(found)
    of_batches = {unit.main() for unit in found if unit.of_batches}
    for unit in found:
        counted = _counted(unit, lettered)
        # a PReLU of that size is none of the numbered norms beside it
        alone = unit.main() in of_batches and unit.leaves.keys() == {"weight"}
        alike = (unit.main(), alone, *(w for w in counted if isinstance(w, str)))
        peers[alike].append(([n for n in counted if isinstance(n, int)], unit))
    for group in peers.values():
        group.sort(key=lambda member: member[0])
        falling = all(a.place > b.place for (_, a), (_, b) in pairwise(group))
        steady = all(a.place < b.place for (_, a), (_, b) in pairwise(group))
        grid = _is_grid([numbers for numbers, _ in group])
        cells, turned = (
            frozenset(tuple(numbers[::step]) for numbers, _ in group) if grid else frozenset() for step in (1, -1)
        )
        for rank, (numbers, unit) in enumerate(group):
            unit.numbers, unit.cells, unit.turned = tuple(numbers), cells, turned
            unit.rank, unit.peers, unit.falling = rank, len(group), falling and len(group) > 1
            unit.grid, unit.steady = grid, steady
    give_turns(found, ([unit for _, unit in group] for group in peers.values()))
    mark(found, names)
    return found


def _is_grid(numbers: Sequence[Sequence[int]]) -> bool:
    """Do more numbers than one tell modules apart, of which each has as many?"""
    if len(numbers) < 2 or len({len(own) for own in numbers}) != 1:
        return False
    return sum(len(set(values)) > 1 for values in zip(*numbers, strict=True)) > 1


_TOKEN = frozenset({"token"})
_GATE, _NOTHING = frozenset({"gate"}), frozenset[str]()


def _lettered(units: Sequence[Unit]) -> Mapping[tuple[str, ...], int]:
    """The paths of modules that letters count, and at which token: `norm_a` and `norm_b`, from `a` on, without a gap.

    Modules below them count as well, where nothing else counts them: `conv_a.bn` and `conv_b.bn`.
    """
    runs: dict[tuple[object, ...], dict[str, tuple[tuple[str, ...], int]]] = defaultdict(dict)
    for unit in units:
        words = [words_of(token) or ("",) for token in unit.path]
        ends = [at for at, (*stem, letter) in enumerate(words) if stem and letter in LETTERS]
        alone = len(ends) == 1 and not any(word.isdecimal() for own in words for word in own)
        for at in ends:
            *stem, letter = words[at]
            if alone or at == len(words) - 1:
                home = (unit.path[:at], *stem, unit.path[at + 1 :])
                runs[home][letter] = unit.path, at
    whole = (run for run in runs.values() if len(run) > 1 and tuple(sorted(run)) == LETTERS[: len(run)])
    return dict(found for run in whole for found in run.values())


def is_lettered(unit: Unit) -> bool:
    """Does a name end with a letter that may count it? `in_proj_a` may be the first, or what becomes of alpha."""
    words = words_of(unit.path[-1])
    return len(words) > 1 and words[-1] in LETTERS


def _counted(unit: Unit, lettered: Mapping[tuple[str, ...], int]) -> list[str | int]:
    """The words and the numbers of a module's path; letters that count are numbers."""
    at = lettered.get(unit.path)
    out: list[str | int] = []
    for place, token in enumerate(unit.path):
        out.extend(int(w) if w.isdecimal() else w for w in words_of(token))
        if place == at:
            out[-1] = LETTERS.index(str(out[-1]))
    return out


def _name_norms(units: Sequence[Unit], names: Names) -> None:
    """Say of the only two norms of a block what they stand before, where one is in the attention and one in the mlp.

    `attn.norm` and `mlp.norm` are `attn_norm` and `mlp_norm`; not where the block has norms of its own beside them.
    """
    norms = [unit for unit in units if (words := names.token_words(unit.full[-1])) and all(map(_is_norm, words))]
    for deep in (2, 3):  # `attn.norm`; Megatron's `self_attention.linear_qkv.layer_norm_weight`
        scopes: dict[tuple[tuple[str, ...], Sort | None], list[Unit]] = defaultdict(list)
        for unit in norms:
            scopes[unit.full[:-deep], unit.main()].append(unit)
        for (scope, _), group in scopes.items():
            if deep == 2 or sum(unit.full[: len(scope)] == scope for unit in norms) == len(group):
                _name_pair(group, deep, names)


def _is_norm(word: Word) -> bool:
    return "norm" in word.concepts


_LEADS_IN = frozenset({"qkv", "query", "first"})


def _leads_in(token: str, names: Names) -> bool:
    """Is a layer the first of its part: `linear_qkv`, `linear_fc1`?"""
    said = {concept for word in names.token_words(token) for concept in word.concepts}
    return words_of(token)[-1:] == ("1",) or not said.isdisjoint(_LEADS_IN)


def _name_pair(group: Sequence[Unit], deep: int, names: Names) -> None:
    """Name the norms of one scope, so many tokens below it, where one is the attention's and one the mlp's.

    Those that stand in a layer must stand in the one that leads in: in `mlp.fc2.norm` is the norm behind the mlp.
    """
    if any(len(unit.full) <= deep for unit in group):
        return
    if deep > 2 and not all(_leads_in(unit.full[-2], names) for unit in group):
        return
    homes = [
        {c for token in unit.full[-deep:-1] for word in names.token_words(token) for c in word.concepts}
        for unit in group
    ]
    first = [unit for unit, home in zip(group, homes, strict=True) if "attention" in home]
    if len(first) > 1:
        first = [unit for unit, home in zip(group, homes, strict=True) if "selfattn" in home]
    second = [unit for unit, home in zip(group, homes, strict=True) if "mlp" in home]
    if len(first) == len(second) == 1:
        for unit, called in ((first[0], "attn_norm"), (second[0], "mlp_norm")):
            unit.words = (*unit.words, *(w for w in names.token_words(called) if w.text[0] == "~"))


def _name_gates(units: Sequence[Unit], names: Names) -> None:
    """Call the matrices of a gated layer that some code bases number by what they are: litgpt's `fc_1` is the gate.

    Only beside a third matrix, which leads back, and where the other side speaks of a gate and of what it multiplies:
    `fc_1` and `fc_2` alone are a layer without a gate.
    """
    if not names.say_gate_and_up:
        return
    homes: dict[tuple[str, ...], dict[str, Unit]] = defaultdict(dict)
    for unit in units:
        homes[unit.full[:-1]][unit.full[-1]] = unit
    for home in homes.values():
        for convention in names.lexicon.gated if len(home) > 2 else ():
            pair = [home[token] for token in convention[:2] if token in home]
            if not set(convention) <= home.keys():
                continue
            main = pair[0].main()
            if main is None or pair[1].main() != main or len(main[1]) < 2 or main[1][-2] == main[1][-1]:
                continue
            *stacked, rows, columns = main[1]
            if any(unit.main() == (False, (*stacked, columns, rows)) for unit in home.values() if unit not in pair):
                for unit, called in zip(pair, ("gate_proj", "up_proj"), strict=True):
                    unit.words = names.path_words((*unit.path[:-1], called))


def _silence_gates(units: Sequence[Unit]) -> None:
    """Take `gate` for no gate where two of a container are called so: keras-hub's `gating_ffw` and `gating_ffw_2`."""
    gates: dict[tuple[tuple[str, ...], Sort | None], list[Unit]] = defaultdict(list)
    for unit in units:
        if any(word.concepts == _GATE for word in unit.words):
            gates[unit.full[:-1], unit.main()].append(unit)
    for group in gates.values():
        for unit in group if len(group) > 1 else ():
            unit.words = tuple(Word(w.text, _NOTHING) if w.concepts == _GATE else w for w in unit.words)


def _silence_learnt_tokens(units: Sequence[Unit]) -> None:
    """Take a `summary_token` for no table of tokens where it is a single one, as a `cls` is: of shape (1, 1, n)."""
    for unit in units:
        single = len(unit.leaves) == 1 and all(map(is_one_vector, unit.leaves.values()))
        if single and any(word.concepts == _TOKEN for word in unit.words):
            unit.words = tuple(Word(w.text, _NOTHING) if w.concepts == _TOKEN else w for w in unit.words)


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
