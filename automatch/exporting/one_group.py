r"""A rule as renamings that know one group: where the texts change, and what is listed because it cannot be captured.

    (?P<a>h\.\d+)\.ln\.(?P<b>w|b) => {a}.norm.{b}        ^(h\.\d+)\.ln\.(?=w$|b$)   ->  \1.norm.
    h\.(?P<i>\d+)\.ln\.(?P<b>w|b) => x.{i}.norm.{b}      ^h\.(\d+)\.ln\.(?=w$|b$)   ->  x.\1.norm.
    h\.(?P<i>\d+)\.(?P<b>w|b)     => h.{i+1}.{b}         ^h\.0\.(?=w$|b$)           ->  h.1.           and so on

What follows the last change stands in a lookahead, so that one group is enough. Where more texts change than that can
say, they change one after the other, from the last to the first, and a mark that is in no key says that it is halfway.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from automatch.exporting.segments import Segment, joined_regex, literal_segment
from automatch.exporting.weight_renaming import Renaming
from automatch.rules.replacement import cut_at_braces, parse

MOST_LISTED = 200
"""How many renamings a rule may become."""
_MOST_FREE = 6
_MOST_WAYS = 4
_CHOICE = re.compile(r"\(\?:((?:[^()\[\]\\|]|\\[.\w-]|\|)*)\)(?![*+?{])")
_SET_WITH_STAR = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*?\*\.")

Values = Mapping[str, str]


@dataclass(frozen=True)
class NewName:
    """A new name: texts, and between two of them a captured group.

    Attributes:
        texts: one more than names.
        names: of groups.
    """

    texts: tuple[str, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unit:
    """A rule, or a rule for some values of its groups: what becomes one renaming, or a few that belong together.

    Attributes:
        rule: its number, from 1.
        parts: of its pattern.
        new: what its keys become.
        listed: names of the groups that could match more than the values listed.
    """

    rule: int
    parts: tuple[Segment, ...]
    new: NewName
    listed: tuple[str, ...] = ()

    def renamings(self, mark: str, marks: bool = False) -> tuple[Renaming, ...]:
        """The renamings that carry it out, in order; none where one group is not enough.

        Args:
            mark: a character that is in no key.
            marks: whether it leaves keys alone that start with the mark, and gives new names that start with it.
        """
        gaps: list[list[Segment]] = [[]]
        groups = []
        for part in self.parts:
            if part.name and part.name in self.new.names:
                groups.append(part)
                gaps.append([])
            else:
                gaps[-1].append(part)
        if [group.name for group in groups] != list(self.new.names):
            return ()
        changes = _changes(gaps, groups, self.new.texts)
        guard = f"(?!{re.escape(mark)})" if marks and not self._starts_with_text(mark) else ""
        out = []
        for number, (source, target) in enumerate(changes, 1):
            head = guard if number == 1 else re.escape(mark * 2)
            done = (mark if marks else "") if number == len(changes) else mark * 2
            out.append(Renaming(f"^{head}{source}".replace("*.", "*(?:.)"), f"{done}{target}"))
        return () if any(_SET_WITH_STAR.search(source) for source, _ in changes) else tuple(out)

    def _starts_with_text(self, mark: str) -> bool:
        return bool(self.parts and self.parts[0].text and not self.parts[0].text.startswith(mark))


def _changes(
    gaps: Sequence[Sequence[Segment]], groups: Sequence[Segment], texts: Sequence[str]
) -> list[tuple[str, str]]:
    """Source (without `^`) and target of each change, the last first; the first two at once where nothing precedes."""
    old = ["".join(part.text or "" for part in gap) if all(p.text is not None for p in gap) else None for gap in gaps]
    places = [k for k, text in enumerate(texts) if text != old[k]]

    def before(place: int, start: int = 0) -> str:
        pieces = [part for k in range(place) for part in [*(gaps[k] if k >= start else ()), groups[k]]]
        return joined_regex(pieces)

    def end(place: int) -> str:
        rest = [
            part
            for k in range(place, len(groups))
            for part in [groups[k], *([literal_segment(texts[k + 1])] if k + 1 in places else gaps[k + 1])]
        ]
        return f"(?={_ways(rest)})"

    if not places:
        return [(f"({before(len(groups))}{joined_regex(gaps[-1])})(?=$)", r"\1")]
    singles, out = places, []
    if places[0] == 0 and len(places) > 1:
        singles = places[2:]
        gap, last = joined_regex(gaps[0]), places[1]
        out = [(f"{gap}({before(last, 1)}){joined_regex(gaps[last])}{end(last)}", rf"{texts[0]}\1{texts[last]}")]
    for place in singles:
        start = f"({before(place)})" if place else ""
        kept = r"\1" if place else ""
        out.append((f"{start}{joined_regex(gaps[place])}{end(place)}", f"{kept}{texts[place]}"))
    return out[::-1]


def _ways(rest: Sequence[Segment]) -> str:
    """What follows, up to the end; a few ways one by one, as transformers cannot turn round what has groups inside."""
    ways = [f"{joined_regex(rest)}$"]
    while choice := _CHOICE.search(ways[0]):
        start, end = choice.span()
        more = [f"{way[:start]}{text}{way[end:]}" for way in ways[:1] for text in choice[1].split("|")]
        ways = [*ways[1:], *more]
        if len(ways) > _MOST_WAYS:
            return f"{joined_regex(rest)}$"
    return "|".join(ways)


def new_name(template: str, values: Values) -> NewName | None:
    """A replacement with the values of some groups filled in; None where it calculates with another group."""
    texts, names = [""], []
    for text, braced in cut_at_braces(template):
        if not braced:
            texts[-1] += text
            continue
        used = parse(f"{{{text}}}").names
        if all(name in values for name in used):
            texts[-1] += parse(f"{{{text}}}").expand(values)
        elif used == (text,):
            names.append(text)
            texts.append("")
        else:
            return None
    return NewName(tuple(texts), tuple(names))


def units_of(
    rule: int,
    parts: tuple[Segment, ...],
    name: Callable[[Values], NewName | None],
    captured: Sequence[Values] | None,
    must: Sequence[str] = (),
) -> tuple[Unit, ...]:
    """A rule as the fewest units that each need one group.

    Args:
        rule: its number, from 1.
        parts: of its pattern.
        name: the new name for values of the groups that are listed; None where those are not enough.
        captured: what each key gives the groups; None where the keys are not known, so that only the texts of plain
            alternations can be listed.
        must: groups to list in any case.

    Returns:
        None of them where it takes more than `MOST_LISTED`, or cannot be done without keys.
    """
    groups = [part for part in parts if part.name]
    free = [group.name for group in groups if group.name not in must][:_MOST_FREE]
    closed = {group.name for group in groups if group.closed}
    best: tuple[Unit, ...] = ()
    least = (MOST_LISTED, MOST_LISTED)
    for size in range(len(free) + 1):
        for more in combinations(free, size):
            chosen = [group for group in groups if group.name in (*must, *more)]
            opened = tuple(group.name for group in chosen if group.name not in closed)
            found = _listed(rule, parts, name, listed_values(chosen, captured), opened)
            steps = [len(unit.renamings("@")) for unit in found]
            cost = (len(set(more) - closed), sum(steps) + 2 * sum(count > 1 for count in steps))
            if found and cost < least and sum(steps) <= MOST_LISTED:
                best, least = found, cost
    return best


def _listed(
    rule: int,
    parts: tuple[Segment, ...],
    name: Callable[[Values], NewName | None],
    listed: list[Values],
    opened: tuple[str, ...],
) -> tuple[Unit, ...]:
    """A unit for each of these values; none where one cannot be said."""
    if len(listed) > MOST_LISTED:
        return ()
    units = []
    for values in listed:
        new = name(values)
        filled = tuple(literal_segment(values[part.name]) if part.name in values else part for part in parts)
        unit = None if new is None else Unit(rule, filled, new, opened)
        if unit is None or not unit.renamings("@"):
            return ()
        units.append(unit)
    return tuple(units)


def listed_values(chosen: Sequence[Segment], captured: Sequence[Values] | None) -> list[Values]:
    """The values that these groups take together, in the order in which they come."""
    names = [group.name for group in chosen]
    if captured is None:
        return [dict(zip(names, texts, strict=True)) for texts in product(*(group.closed for group in chosen))]
    seen = dict.fromkeys(tuple(values[name] for name in names) for values in captured)
    return [dict(zip(names, texts, strict=True)) for texts in seen]
