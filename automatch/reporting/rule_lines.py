"""The rules as text to read and copy, and what is proven about them."""

from __future__ import annotations

from automatch.diagnosing.comparison import Comparison
from automatch.diagnosing.naming import count
from automatch.reporting.printable import printable
from automatch.rules.rule import Rule

MOST_RULES = 20


def rule_lines(comparison: Comparison, full: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sentences about the rules, and the rules themselves.

    Args:
        comparison: what was found.
        full: whether all rules are shown, however many.

    Returns:
        Sentences, and lines of text: for each rule what it does, its pattern and its replacement.
    """
    rules = comparison.rules.rules
    shown = rules if full else rules[:MOST_RULES]
    lines = [_replayed(comparison)]
    if comparison.strict_load is not None:
        lines.append(printable(comparison.strict_load.message))
    if rules:
        lines.append("a rule sees the whole original key, the first that matches wins, keys that none matches stay")
    undecided = _undecided(comparison)
    code = [line for number, rule in enumerate(shown, 1) for line in _rule(number, rule, number in undecided)]
    if len(shown) < len(rules):
        code.append(f"... {len(rules) - len(shown)} more rules (--full)")
    return tuple(lines), tuple(code)


def _replayed(comparison: Comparison) -> str:
    """What the replay showed."""
    proof = comparison.proof
    if proof.ok:
        keys = count(len(comparison.checkpoint), "checkpoint key")
        stays = set(proof.untouched)
        along = sum(key not in stays and _moves(comparison, key) for key in comparison.unexpected_keys)
        if along:
            rest = f"{count(along, 'left-over key')} renamed along, onto no key of the model"
            return f"proven by replay on {keys}: exactly these matches, no collision; {rest}"
        return f"proven by replay on {keys}: exactly these matches, nothing else moves, no collision"
    faults = [*proof.wrong, *proof.collisions]
    faults += [f"no list of rules can serve {key!r} as well" for key in proof.unsaid]
    return f"NOT proven by replay, {len(faults)} faults; the first: {printable(faults[0])}"


def _moves(comparison: Comparison, key: str) -> bool:
    """Is a key that serves nothing renamed, as its like are?"""
    move = comparison.rules.move(key)
    return move is not None and move.targets != (key,)


def _undecided(comparison: Comparison) -> set[int]:
    """Numbers of the rules that take keys of ambiguous matches: right only if the choice is."""
    if not comparison.proof.ok:
        return set()
    keys = (key for match in comparison.doubtful for key in match.checkpoint_keys)
    return {move.rule for key in keys if (move := comparison.rules.move(key)) is not None}


def _rule(number: int, rule: Rule, undecided: bool) -> list[str]:
    """One rule: what it does, its pattern, what the key becomes."""
    targets = (rule.replacement,) if isinstance(rule.replacement, str) else rule.replacement
    head = f"{number}. {rule.op}, {count(rule.hits, 'key')}" + (", ambiguous ones among them" if undecided else "")
    head += f"   ({rule.note})" if rule.note else ""
    body = [f"     {rule.pattern}", *(f"  => {target}" for target in targets)]
    return [printable(line) for line in (head, *body)]
