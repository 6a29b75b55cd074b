r"""torch-state-bridge: lines `source, target` for its `state_bridge` (torch_state_bridge, `_compile` and `RuleEngine`).

    layer.{n}.weight, block.{(n+1)}.weight      ->  re.sub(r"layer\.(?P<n>\d+)\.weight", ...) on what earlier lines made

A name takes digits only, nothing is anchored, lines see each other's results, and in `{(...)}` names are replaced as
text before it is calculated, without parentheses. So a line is written for each family of keys (a key without its
numbers), short where that is enough. Where a line would take what it must not, the longest come first and new names are
written with a mark for their dots, which the last line turns back: no line in between takes them then. Where that is
not enough (names without dots), they are written as marks and numbers alone, and a line each makes the names of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from automatch.errors import RuleError
from automatch.exporting.background import NOTHING, Background
from automatch.exporting.dialect import refusal, remarks, rule_comments
from automatch.exporting.renames import check_distinct, only_renames, renames
from automatch.exporting.symbols import LETTERS, Symbolic, symbolic
from automatch.rules.replacement import parse
from automatch.rules.rule_set import RuleSet
from automatch.rules.tokens import template

NAME = "torch-state-bridge"
DESCRIPTION = "lines for torch-state-bridge's state_bridge(state_dict, text)"

MARKS = "~^|@!"
MOST_WORK = 5_000_000
ROUNDS = 5
STAYS, OPENS = -1, -2
_NAME = re.compile(r"\{(\w+)\}")
_SUM = re.compile(r"\{\(([^()]+)\)\}")
_LEADING_ZERO = re.compile(r"(?<![0-9])0[0-9]")

_HOLE = re.compile(r"\{(?:\w|\([^()]+\))\}")

Renamed = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what it takes, what that becomes, and the number of its rule, or why else it is there."""

    source: str
    target: str
    rule: int


def render(rules: RuleSet, background: Background = NOTHING) -> str:
    """The text for `state_bridge`.

    Args:
        rules: renames only.
        background: the keys; without them nothing can be written.

    Raises:
        RuleError: a rule changes tensors, no keys are known, or no lines do to all keys what the rules do.
    """
    only_renames(NAME, rules)
    if background.keys is None:
        if not rules.rules:
            return _text(rules, background, [])
        raise refusal(NAME, rules, 1, "only digits are captured there and no keys are known to write the rest out for")
    keys = background.keys
    check_distinct(rules, keys)
    lines = _lines(rules, keys)
    if len(lines) * len(keys) > MOST_WORK:
        raise RuleError(f"the dialect {NAME} would need {len(lines)} lines for these rules; use --dialect python")
    wrong: tuple[str, str | None] | None = None
    for attempt in _attempts(lines, rules, keys):
        text = _text(rules, background, attempt)
        renamed = bridged(text)
        wrong = next(((key, renamed(key)) for key, new in renames(rules, keys).items() if renamed(key) != new), None)
        if wrong is None:
            return text
    raise _not_said(rules, lines, wrong)


def bridged(text: str) -> Renamed:
    """What torch-state-bridge makes of a key by a text; the function gives None where it raises."""
    steps = []
    for line in text.strip().splitlines():
        if line.strip() and not line.strip().startswith("#"):
            source, target = map(str.strip, line.split(",", 1))
            parts = _NAME.split(source)
            regex = "".join(rf"(?P<{p}>\d+)" if i % 2 else re.escape(p) for i, p in enumerate(parts))
            steps.append((re.compile(regex), target))

    def renamed(key: str) -> str | None:
        try:
            for regex, target in steps:
                key = regex.sub(partial(_filled, target), key)
        except RuleError:
            return None
        return key

    return renamed


def _filled(target: str, match: re.Match[str]) -> str:
    """A target with its names and sums filled in, as text, the way the library does it."""
    groups = match.groupdict()
    for name, value in groups.items():
        target = target.replace(f"{{{name}}}", value)

    def calculated(found: re.Match[str]) -> str:
        expression = found[1]
        for name, value in groups.items():
            expression = expression.replace(name, value)
        if _LEADING_ZERO.search(expression):
            raise RuleError(f"{expression!r} has a number that begins with 0")
        return parse(f"{{{expression}}}").expand({})

    return _SUM.sub(calculated, target)


def _lines(rules: RuleSet, keys: Iterable[str]) -> list[Line]:
    """Lines that say what becomes of each key that the rules rename, in the order of the keys."""
    lines: dict[Line, None] = {}
    families: dict[str, list[Renamed]] = {}
    for key in keys:
        move = rules.move(key)
        if move is None or move.targets[0] == key:
            continue
        if not (_writable(key, ",") and _writable(move.targets[0])):
            reason = f"{key!r} or {move.targets[0]!r} has characters that have a meaning of their own there"
            raise refusal(NAME, rules, move.rule, reason)
        family = families.setdefault(template(key), [])
        if all(said(key) != move.targets[0] for said in family):
            line = _line(symbolic(rules, key), move.rule)
            lines[line] = None
            family.append(bridged(f"{line.source}, {line.target}"))
    return list(lines)


def _line(found: Symbolic, rule: int) -> Line:
    source = found.written(found.source, lambda text: f"{{{text}}}")
    target = found.written(found.target, lambda text: f"{{{text}}}" if len(text) == 1 else f"{{({text})}}")
    return Line(source, target, rule)


def _writable(text: str, also: str = "") -> bool:
    """Whether a key can stand in a line."""
    odd = set("{}" + also) & set(text)
    return bool(text) and not odd and text == text.strip() and len(text.splitlines()) == 1 and text[0] != "#"


def _attempts(lines: Sequence[Line], rules: RuleSet, keys: Sequence[str]) -> Iterator[list[Line]]:
    """Lists of lines to try, the nicest first."""
    short = list(dict.fromkeys(map(_shortened, lines)))
    yield short
    yield _longest_first(short)
    yield _longest_first(lines)
    used = {char for pair in renames(rules, keys).items() for text in pair for char in text}
    marks = [mark for mark in MARKS if mark not in used]
    for shut in (_shut_dots, _shut_names):
        guarded = list(lines)
        for _ in range(ROUNDS if len(marks) > 1 else 0):
            attempt = shut(_longest_first(guarded), marks)
            yield attempt
            renamed = bridged(_text(RuleSet(), NOTHING, attempt))
            staying = [key for key in keys if rules.rename(key) == key and renamed(key) != key and _writable(key, ",")]
            if not staying:
                break
            guarded = list(dict.fromkeys([*guarded, *(_line(symbolic(rules, key), STAYS) for key in staying)]))


def _shut_dots(lines: Sequence[Line], marks: Sequence[str]) -> list[Line]:
    """The lines with a mark for the dots of their targets, so that no line with a dot takes what another one made."""
    shut = [Line(line.source, line.target.replace(".", marks[0]), line.rule) for line in lines]
    return [*shut, Line(marks[0], ".", OPENS)]


def _shut_names(lines: Sequence[Line], marks: Sequence[str]) -> list[Line]:
    """The lines with nothing in their targets but marks and numbers, and lines that make the names of them."""
    shut, opened = [], []
    for count, line in enumerate(lines, 1):
        numbers = [match.group() for match in _HOLE.finditer(line.target)]
        letters = iter(LETTERS)
        name = _HOLE.sub(lambda _, letters=letters: f"{{{next(letters)}}}", line.target)  # type: ignore[misc]
        head, gap = marks[0] * count + marks[1], marks[1]
        shut.append(Line(line.source, head + "".join(number + gap for number in numbers), line.rule))
        opened.append(Line(head + "".join(f"{{{a}}}{gap}" for a in LETTERS[: len(numbers)]), name, OPENS))
    return [*shut, *reversed(opened)]


def _shortened(line: Line) -> Line:
    """The line without the words at the end that stay."""
    source, target = line.source.split("."), line.target.split(".")
    cut = 0
    while len(source) - cut > 1 and len(target) - cut > 1 and source[-1 - cut] == target[-1 - cut]:
        cut += 1
    if not cut:
        return line
    return Line(".".join([*source[:-cut], ""]), ".".join([*target[:-cut], ""]), line.rule)


def _longest_first(lines: Iterable[Line]) -> list[Line]:
    """A key that stands inside another one comes after it."""
    return sorted(lines, key=lambda line: (-len(_NAME.sub("0", line.source)), line.source))


def _text(rules: RuleSet, background: Background, lines: Sequence[Line]) -> str:
    out = [f"# {line}" for line in (*background.sentences, *remarks(rules))]
    out.append(
        "# For state_bridge(state_dict, text): nothing is anchored; each line sees what the lines before it made."
    )
    comments = {number: text for number, text in enumerate(rule_comments(rules, background), 1)}
    comments[STAYS] = "stays, and has inside what another rule changes"
    comments[OPENS] = "marks kept new names from the lines after theirs"
    last, told = 0, set[int]()
    for line in lines:
        if line.rule != last and rules.rules:
            last = line.rule
            name = f"rule {last}" if last > 0 else ""
            comment = "" if last in told and name else comments[last]
            out.append(f"# {': '.join(filter(None, (name, comment)))}")
            told.add(last)
        out.append(f"{line.source}, {line.target}")
    return "\n".join(out) + "\n"


def _not_said(rules: RuleSet, lines: Sequence[Line], wrong: tuple[str, str | None] | None) -> RuleError:
    """Which rule cannot be said, and for which key."""
    key, got = wrong if wrong is not None else ("", None)
    move = rules.move(key)
    number = move.rule if move is not None else lines[0].rule
    what = f"would become {got!r}" if got is not None else "cannot be calculated"
    reason = f"nothing is anchored there and each line sees what others made, so that {key!r} {what}"
    return refusal(NAME, rules, number, reason)
