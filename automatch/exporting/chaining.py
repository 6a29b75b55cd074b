"""Renamings that see each other's results, in an order in which none takes a key that another one has made.

Our rules see the original key and the first wins. Where everything sees what was made before, the same comes out if
every renaming stands before those that would take its keys, and behind those that would take its results. Where no
order does it (two keys exchanged), new names carry a mark to the end, which nothing but the last renaming takes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from automatch.errors import RuleError
from automatch.exporting.background import Background
from automatch.exporting.dialect import rule_comments
from automatch.exporting.one_group import Unit
from automatch.exporting.renames import other_numbers
from automatch.exporting.weight_renaming import Renaming, renamed_by_all
from automatch.rules.rule_set import RuleSet

_MARKS = "@~%&=!"


@dataclass(frozen=True)
class Chain:
    """Renamings in the order in which they run.

    Attributes:
        steps: with the number of the rule that each carries out; 0 for the one that takes the marks away.
        mark: what marks a key that is done; "" where none is needed.
    """

    steps: tuple[tuple[int, Renaming], ...]
    mark: str = ""

    @property
    def renamings(self) -> tuple[Renaming, ...]:
        """The renamings alone."""
        return tuple(renaming for _, renaming in self.steps)


def unused_marks(rules: RuleSet, keys: Sequence[str] | None) -> tuple[str, str]:
    """Two different texts, characters if possible, that stand in no rule and no key."""
    used = {char for rule in rules for text in (rule.pattern, *rule.replacements) for char in text}
    used.update(*(keys or ()))
    free = [*(mark for mark in _MARKS if mark not in used), "@done@", "@part@"]
    return free[0], free[1]


def chain_of(
    units: Sequence[Unit],
    mark: str,
    rules: RuleSet,
    keys: Sequence[str] | None,
    finished: Callable[[str], str] = lambda renamed: renamed,
) -> Chain:
    """Renamings that do what the units do, each of which sees the original key, the first one winning.

    Args:
        units: in the order of the rules.
        mark: a character that is in no key.
        rules: what the units say.
        keys: what it shall be right for, and for keys of deeper models as far as the units say these; None for every
            key.
        finished: what becomes of a name after all renamings; of several the first.

    Returns:
        The last way tried where none is right for every key: what comes out is to be checked.
    """
    if keys is None:
        single = len(units) == 1 and len(units[0].renamings(mark)) == 1
        return _plain(units, mark) if single else _marked(units, mark)
    marked = _marked(units, mark)
    deeper = _right(marked, [key for key in other_numbers(keys) if mark not in key], rules, finished)
    wanted = dict.fromkeys((*keys, *deeper))
    for chain in (_plain(units, mark), _ordered(units, mark, list(wanted))):
        if chain is not None and len(_right(chain, wanted, rules, finished)) == len(wanted):
            return chain
    return marked


def comments_of_chain(rules: RuleSet, units: Sequence[Unit], background: Background) -> list[str]:
    """What a comment says of the renamings of each rule; first of those of none, which take the marks away."""
    out = ["what is renamed is marked up to here, so that no line takes it again"]
    for number, text in enumerate(rule_comments(rules, background), 1):
        listed = dict.fromkeys(name for unit in units if unit.rule == number for name in unit.listed)
        out.append(f"{text}; only for the listed values of {', '.join(listed)}" if listed else text)
    return out


def _right(chain: Chain, keys: Iterable[str], rules: RuleSet, finished: Callable[[str], str]) -> list[str]:
    """The keys that become what the rules say."""
    renamings, out = chain.renamings, []
    for key in keys:
        with suppress(RuleError):
            if finished(renamed_by_all(renamings, key)) == rules.rename(key):
                out.append(key)
    return out


def _plain(units: Sequence[Unit], mark: str) -> Chain:
    return Chain(tuple((unit.rule, renaming) for unit in units for renaming in unit.renamings(mark)))


def _marked(units: Sequence[Unit], mark: str) -> Chain:
    steps = [(unit.rule, renaming) for unit in units for renaming in unit.renamings(mark, marks=True)]
    return Chain((*steps, (0, Renaming(f"^{re.escape(mark)}", ""))), mark)


def _ordered(units: Sequence[Unit], mark: str, keys: Sequence[str]) -> Chain | None:
    """The units in the order nearest to theirs in which none meets another's results; None where there is none."""
    steps = [unit.renamings(mark) for unit in units]
    firsts = [renamings[0].regex for renamings in steps]
    behind: list[dict[int, None]] = [{} for _ in units]
    for key in keys:
        takers = [number for number, regex in enumerate(firsts) if regex.search(key)]
        if not takers:
            continue
        owner, new = takers[0], renamed_by_all(steps[takers[0]], key)
        behind[owner].update(dict.fromkeys(takers[1:]))
        for number, regex in enumerate(firsts):
            if number != owner and regex.search(new):
                behind[number][owner] = None
    waiting = [0] * len(units)
    for later in behind:
        for number in later:
            waiting[number] += 1
    ready = [number for number, count in enumerate(waiting) if not count]
    heapify(ready)
    order = []
    while ready:
        number = heappop(ready)
        order.append(number)
        for later_number in behind[number]:
            waiting[later_number] -= 1
            if not waiting[later_number]:
                heappush(ready, later_number)
    return _plain([units[number] for number in order], mark) if len(order) == len(units) else None
