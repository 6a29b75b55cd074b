"""Where a rule with an operation makes its tensors meet: the text of the new names that a converter puts in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from automatch.exporting.function import step_source
from automatch.exporting.one_group import NewName, Values, new_name
from automatch.exporting.rule_units import Naming, calculating
from automatch.rules.members import alternatives
from automatch.rules.rule import Rule

START, END, BETWEEN = "\0", "\1", "\2"
"""They enclose the place of a converter in a new name: START, part, BETWEEN and a text for each piece, END."""


@dataclass(frozen=True)
class Kind:
    """What one converter does, whatever rules it serves.

    Attributes:
        operations: source of its operations.
        parts: how many sources it has.
        leaves: the text that it puts in for each piece.
    """

    operations: str
    parts: int
    leaves: tuple[str, ...]


def converting(rule: Rule, targets: Sequence[tuple[str, ...]]) -> Naming:
    """What the keys of a rule with an operation become, with the place where its converter puts the new texts.

    Args:
        rule: more than a rename.
        targets: the model keys of each of its checkpoint keys.
    """
    pieces = len(targets[0]) if targets else 1
    unstacked = rule.by if rule.by is not None and "unstack" in rule.law.words else None
    must = [name for name in calculating(rule.replacements) if name != unstacked]
    parts: tuple[str, ...] = ()
    if isinstance(rule.part, str):
        must.append(rule.part)
        parts = alternatives(rule.pattern, rule.part)

    def name(values: Values) -> NewName | None:
        if parts and values.get(str(rule.part)) not in parts:
            return None
        news = [new_name(text, filled) for text, filled in _pieces(rule, values, unstacked, pieces)]
        part = parts.index(values[str(rule.part)]) if parts else rule.part[0] if isinstance(rule.part, tuple) else 0
        whole = [new for new in news if new is not None]
        return _with_place(whole, part, targets) if len(whole) == len(news) else None

    return Naming(name, tuple(dict.fromkeys(must)))


def _pieces(rule: Rule, values: Values, unstacked: str | None, pieces: int) -> list[tuple[str, Mapping[str, str]]]:
    """A replacement for each piece of a cut tensor, with what is filled in."""
    texts = rule.replacements
    if unstacked is None:
        return [(text, values) for text in texts]
    return [(text, {**values, unstacked: str(i)}) for text in texts for i in range(pieces // len(texts))]


def _with_place(news: Sequence[NewName], part: int, targets: Sequence[tuple[str, ...]]) -> NewName | None:
    """The new name with a place for what differs between the pieces; None where that is not one text."""
    first = news[0]
    if any(new.names != first.names for new in news):
        return None
    differing = [k for k, texts in enumerate(zip(*(new.texts for new in news), strict=True)) if len(set(texts)) > 1]
    for place in differing[:1] if len(news) > 1 else range(len(first.texts) - 1, -1, -1):
        texts = [new.texts[place] for new in news]
        before = "." if all(text.startswith(".") and text != "." for text in texts) else ""
        after = "." if all(text.endswith(".") and text != "." for text in texts) else ""
        leaves = [text[len(before) : len(text) - len(after)] for text in texts]
        found_once = all(names[0].count(leaves[0]) <= 1 for names in targets)
        if len(differing) <= 1 and all(leaves) and found_once:
            marked = f"{before}{START}{BETWEEN.join([str(part), *leaves])}{END}{after}"
            return NewName((*first.texts[:place], marked, *first.texts[place + 1 :]), first.names)
    return None


def parts_of(rule: Rule) -> int:
    """How many parts its concat joins."""
    if isinstance(rule.part, str):
        return len(alternatives(rule.pattern, rule.part))
    return 1 if rule.part is None else rule.part[1]


def operations_source(rule: Rule, pieces: int) -> str:
    """Source of the operations of a rule: those of the library where it has them, else steps of our own.

    Args:
        rule: more than a rename.
        pieces: how many tensors come out.

    Raises:
        RuleError: the operation cannot be run without the model.
    """
    words = tuple(word for word in rule.law.words if word != "rename")
    dim, stack_dim = rule.dim or 0, rule.law.stack_dim
    if words == ("concat",) and parts_of(rule) > 1:
        return f"Concatenate(dim={dim})"
    if words == ("stack",) and rule.by is not None:
        return f"MergeModulelist(dim={stack_dim})"
    if sorted(words) == ["concat", "stack"] and parts_of(rule) > 1:
        joined = dim if words[0] == "stack" or dim < 0 else dim + 1  # what is stacked has one dimension more
        return f"MergeModulelist(dim={stack_dim}), Concatenate(dim={joined})"
    if words == ("chunk",) and pieces > 1 and len(set(rule.sizes or ())) <= 1:
        return f"Chunk(dim={dim})"
    if words == ("transpose",) and rule.perm in (None, (1, 0)):
        return "Transpose(dim0=0, dim1=1)" if rule.perm else "Transpose(dim0=-2, dim1=-1)"
    steps = [step_source(word, rule, len(rule.replacements)) for word in words]
    return ", ".join((f"Steps({rule.stacked_first}", *steps)) + ")"
