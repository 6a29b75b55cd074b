"""Rules that could serve cells of one skeleton, from the most general to the most exact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from automatch.rules.alignment import CARRIED, Aligned, Skeleton
from automatch.rules.arithmetic import Law
from automatch.rules.demands import Channel
from automatch.rules.holes import Hole, bare, factored, literal, only, options
from automatch.rules.linear import linear
from automatch.rules.replacement import quote
from automatch.rules.rule import Rule
from automatch.rules.tokens import BY, HASH, PART, Tokens, common_ends, is_word, tokens

_NUMBERS = "ijklmnopqrstuvwxyz"
_TEXTS = "abcdfghABCDFGHIJKLMNOPQRSTUVWXYZ"
BASE_COST = 6.0
_CALCULATION = 0.5
_PINNED = 0.6


@dataclass(frozen=True)
class Candidate:
    """A rule that may be right.

    Attributes:
        rule: the rule.
        channel: the operation of the keys that it is meant for.
        cost: how long it reads, `BASE_COST` for being a rule included.
    """

    rule: Rule
    channel: Channel
    cost: float


@dataclass(frozen=True)
class Shape:
    """How each element of a skeleton is described; one point of the search.

    Attributes:
        holes: the options of every element; none for literal ones and for `PART` and `BY`.
        chosen: which option of every element is in use.
        pinned: numbers that are restricted to the values seen: (element, place among its numbers).
    """

    holes: tuple[tuple[Hole, ...], ...]
    chosen: tuple[int, ...]
    pinned: frozenset[tuple[int, int]] = frozenset()


class Group:
    """Cells of one skeleton, and the rules that serve them.

    The literal texts that the source loses may differ from cell to cell; they become an
    alternation.
    """

    def __init__(self, members: Sequence[Aligned]) -> None:
        self.members = tuple(members)
        self.skeleton: Skeleton = members[0].skeleton
        count = len(self.skeleton.elements)
        self._lost = [list(dict.fromkeys(m.skeleton.elements[at] for m in members)) for at in range(count)]
        self.readable = all(_one_word(lost) for lost in self._lost)

    def shape(self, pinned: frozenset[tuple[int, int]] = frozenset()) -> Shape:
        """The cheapest description with these numbers restricted to the values seen."""
        holes = tuple(tuple(self._options(at, pinned)) for at in range(len(self.skeleton.elements)))
        chosen = tuple(min(range(len(own)), key=lambda i: own[i].cost) if own else 0 for own in holes)
        return Shape(holes, chosen, pinned)

    def extremes(self) -> list[Shape]:
        """Where a search begins: the cheapest, the most general and the most exact description."""
        start = self.shape()
        last = replace(start, chosen=tuple(max(0, len(own) - 1) for own in start.holes))
        exact = replace(start, chosen=tuple(0 for _ in start.holes))
        return [start, last, exact]

    def stricter(self, shape: Shape) -> Iterator[Shape]:
        """Descriptions that accept less, by one step."""
        for at, own in enumerate(shape.holes):
            for option in range(shape.chosen[at]):
                chosen = (*shape.chosen[:at], option, *shape.chosen[at + 1 :])
                if option == shape.chosen[at] - 1 or option == 0 or own[option].cost < own[option + 1].cost + 0.5:
                    yield replace(shape, chosen=chosen)
        for place in self._free_numbers(shape.pinned):
            pinned = self.shape(shape.pinned | {place})
            kept = [min(choice, max(0, len(own) - 1)) for choice, own in zip(shape.chosen, pinned.holes, strict=True)]
            kept[place[0]] = _saying(pinned.holes[place[0]], self._values(*place))
            yield replace(pinned, chosen=tuple(kept))

    def candidate(self, shape: Shape) -> Candidate | None:
        """The rule of a description; None where it would not be linear to match."""
        used = {i for piece in self.skeleton.pieces for item in piece for i in _used(item)} - self._fixed(shape)
        names = self._names(shape, used)
        pattern: list[str] = []
        cost = BASE_COST
        texts: dict[int, str] = {}
        for at, element in enumerate(self.skeleton.elements):
            name = names.get(at)
            if element == PART:
                pattern.append(part_group(self.skeleton.channel, names[at]))
            elif element == BY:
                pattern.append(rf"(?P<{name}>\d+)")
            elif not shape.holes[at]:
                pattern.append(factored([tokens(text) for text in self._lost[at]]))
                cost += sum(0.05 * len(text) for text in self._lost[at]) + 0.2 * (len(self._lost[at]) - 1)
            else:
                hole = shape.holes[at][shape.chosen[at]]
                inside = f"(?P<{name}>{bare(hole.inside)})" if name and hole.inside else _grouped(hole.inside)
                pattern.append(literal(hole.before) + inside + literal(hole.after))
                inner = f"{{{name}}}" if name and hole.inside else hole.inside
                texts[at] = quote(hole.before) + inner + quote(hole.after)
                cost += hole.cost
        text = "".join(pattern)
        if not linear(text):
            return None
        cost += sum(
            _CALCULATION + item.cost for piece in self.skeleton.pieces for item in piece if isinstance(item, Law)
        )
        return Candidate(self._rule(text, texts, names), self.skeleton.channel, cost)

    def _rule(self, pattern: str, texts: dict[int, str], names: dict[int, str]) -> Rule:
        channel = self.skeleton.channel
        elements = self.skeleton.elements
        by = next((names[at] for at, element in enumerate(elements) if element == BY), "e") if channel.by else None
        whole = [names.get(at, "") for at in range(len(elements))]
        goals = []
        for piece in self.skeleton.pieces:
            out = []
            for item in piece:
                if isinstance(item, int):
                    out.append(texts[item])
                elif isinstance(item, Law):
                    fixed = [texts[slot] for slot in item.slots if slot not in names]
                    known = {slot: texts[slot] for slot in item.slots}
                    out.append(item.value(known) if fixed else f"{{{item.text_with(whole)}}}")
                else:
                    out.append(quote(item).replace(BY, f"{{{by}}}"))
            goals.append("".join(out))
        part = next((names[at] for at, element in enumerate(elements) if element == PART), None)
        goals = [goal.replace(HASH, "#") for goal in goals]
        return rule_of(channel, pattern.replace(HASH, "#"), goals, part, by)

    def _names(self, shape: Shape, used: set[int]) -> dict[int, str]:
        names: dict[int, str] = {}
        numbers, words = iter(_NUMBERS), iter(_TEXTS)
        for at, element in enumerate(self.skeleton.elements):
            if element == PART:
                names[at] = "part"
            elif element == BY:
                names[at] = "e"
            elif at in used and shape.holes[at]:
                hole = shape.holes[at][shape.chosen[at]]
                if not hole.inside:
                    continue
                number = element == "#" or hole.inside == r"\d+"
                rest = hole.inside == ".+" and at == len(self.skeleton.elements) - 1 and not hole.after
                names[at] = "rest" if rest else next(numbers if number else words, f"g{at}")
        return names

    def _fixed(self, shape: Shape) -> set[int]:
        """Numbers that have one value only, so that the pattern needs no group for them."""
        fixed = {
            at
            for at, element in enumerate(self.skeleton.elements)
            if element == "#" and shape.holes[at][shape.chosen[at]].inside.isdigit()
        }
        laws = [item for piece in self.skeleton.pieces for item in piece if isinstance(item, Law)]
        return {at for at in fixed if all(fixed.issuperset(law.slots) for law in laws if at in law.slots)}

    def _options(self, at: int, pinned: frozenset[tuple[int, int]]) -> list[Hole]:
        element = self.skeleton.elements[at]
        if element not in ("", "#"):
            return []
        contents = self._contents(at, pinned)
        if element == "#":
            values = [content[0] for content in contents]
            if values == ["#"]:
                return [Hole("", r"\d+", "", 0.2)]
            return [Hole("", only(values), "", 0.3 + _PINNED * (len(values) - 1))]
        elements = self.skeleton.elements
        last = at == len(elements) - 1
        prefix = last and (at == 0 or (at == 1 and elements[0] not in CARRIED))
        anywhere = last or elements[at + 1] in CARRIED or any(map(is_word, tokens(elements[at + 1])))
        return options(contents, at == 0, last, prefix, anywhere)

    def _contents(self, at: int, pinned: frozenset[tuple[int, int]]) -> list[Tokens]:
        """Texts of an element in all cells, `#` for numbers that are not pinned."""
        contents: dict[Tokens, None] = {}
        for member in self.members:
            start, end = member.spans[at]
            span = member.cell.source[start:end]
            first = member.cell.source[:start].count("#")
            places = [i for i, token in enumerate(span) if token == "#"]
            held = [(i, first + n) for n, i in enumerate(places) if (at, n) in pinned]
            if not held:
                contents[span] = None
                continue
            for example in member.cell.examples:
                row = list(span)
                for i, slot in held:
                    row[i] = example.source[slot]
                contents[tuple(row)] = None
        return list(contents)

    def _free_numbers(self, pinned: frozenset[tuple[int, int]]) -> list[tuple[int, int]]:
        """Numbers that could be restricted: those with few values."""
        out = []
        for at, element in enumerate(self.skeleton.elements):
            if element not in ("", "#"):
                continue
            most = max(m.cell.source[slice(*m.spans[at])].count("#") for m in self.members)
            for n in range(most):
                if (at, n) not in pinned and len(self._values(at, n)) <= 12:
                    out.append((at, n))
        return out

    def _values(self, at: int, n: int) -> set[str]:
        values: set[str] = set()
        for member in self.members:
            start, end = member.spans[at]
            slot = member.cell.source[:start].count("#") + n
            if n < member.cell.source[start:end].count("#"):
                values.update(example.source[slot] for example in member.cell.examples)
        return values


def rule_of(channel: Channel, pattern: str, goals: Sequence[str], part: str | None, by: str | None) -> Rule:
    """The rule that does what a channel asks for.

    Args:
        channel: the operation.
        pattern: the regex.
        goals: the replacement of every piece.
        part: name of the group that tells the parts of a concat apart; None where the channel says which part it is.
        by: name of the number that orders a stack or an unstack; None for other operations.
    """
    law = channel.law
    place: str | tuple[int, int] | None = part
    if part is None and channel.part is not None:
        place = (int(channel.part[0]), int(channel.part[1]))
    return Rule(
        pattern,
        goals[0] if len(goals) == 1 else tuple(goals),
        law.op,
        part=place,
        by=by,
        dim=law.dim,
        perm=law.perm,
        sizes=law.sizes,
        shape=law.shape,
    )


def part_group(channel: Channel, name: str) -> str:
    """The group that captures which part of a concat a key is."""
    return f"(?P<{name}>{'|'.join(literal(str(part)) for part in channel.part or ())})"


def _saying(holes: Sequence[Hole], values: set[str]) -> int:
    """The cheapest option that says one of these numbers; the cheapest of all where none does."""
    said = [i for i, hole in enumerate(holes) if values & set(tokens(f"{hole.before} {hole.inside} {hole.after}"))]
    return min(said or range(len(holes)), key=lambda i: holes[i].cost)


def _used(item: str | int | Law) -> tuple[int, ...]:
    if isinstance(item, int):
        return (item,)
    return item.slots if isinstance(item, Law) else ()


def _one_word(texts: Sequence[str]) -> bool:
    """Whether texts differ in one word only, which reads well as an alternation."""
    rows = [tokens(text) for text in texts]
    if len(rows) == 1:
        return True
    start, end = common_ends(rows)
    return all(len(row) == start + 1 + end and is_word(row[start]) for row in rows)


def _grouped(inside: str) -> str:
    return f"(?:{inside})" if "|" in inside and not inside.startswith("(?:") else inside
