r"""mmengine: the `revise_keys` of `load_checkpoint` (mmengine/runner/checkpoint.py, `_load_checkpoint_to_model`).

    for p, r in revise_keys:
        state_dict = OrderedDict({re.sub(p, r, k): v for k, v in state_dict.items()})

Every entry sees what the entries before it made, matches anywhere in the key and as often as it can, and of two keys
that become one the first is lost without a word. So each entry is anchored; where an entry could take what an earlier
one made, every new name is marked, which no entry takes, and the last entry takes the mark off again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from automatch.exporting.background import NOTHING, Background
from automatch.exporting.dialect import refusal, remarks, rule_comments
from automatch.exporting.function import pattern_source
from automatch.exporting.renames import check_renames, keys_of, only_renames, other_numbers
from automatch.exporting.segments import Segment, joined_regex, literal_segment, segments
from automatch.rules.members import literal_text
from automatch.rules.replacement import cut_at_braces, expression_tokens, parse, quote
from automatch.rules.rule_set import RuleSet

NAME = "mmengine"
DESCRIPTION = "revise_keys for mmengine's load_checkpoint"

MARK = "->"
_REPEATS = ("*", "+", "?", "{")
_FLAGS = re.compile(r"\(\?[aiLmsux]+\)")
HEAD = """{comments}
# For load_checkpoint(model, filename, revise_keys=revise_keys): each entry sees what the entries before it made.
revise_keys = [
{entries}]
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One pair of `revise_keys`, not anchored and not marked yet: a regex, what `re.sub` writes, the rule's number."""

    regex: str
    target: str
    rule: int


def render(rules: RuleSet, background: Background = NOTHING) -> str:
    """The source of a list `revise_keys`.

    Args:
        rules: renames only.
        background: the keys that numbers are written out for, where a rule calculates, and on which it is replayed.

    Raises:
        RuleError: a rule changes tensors; it calculates and no keys are known; or the list does something else.
    """
    only_renames(NAME, rules)
    keys, takes = background.keys or (), keys_of(rules, background.keys or ())
    entries = [e for number in range(1, len(rules) + 1) for e in _entries(rules, number, takes, background)]
    downwards = [e for number in range(1, len(rules) + 1) for e in reversed([e for e in entries if e.rule == number])]
    chosen = next((order for order in (entries, downwards) if not _chains(order, background.keys)), None)
    revise_keys = _anchored(chosen) if chosen is not None else _marked(entries, keys)
    check_renames(NAME, rules, keys, _revised(revise_keys, keys).get)
    return _text(rules, background, chosen or entries, revise_keys)


def _entries(rules: RuleSet, number: int, takes: dict[int, list[str]], background: Background) -> Iterator[Entry]:
    """The entries of one rule: one, or where it calculates one for each choice of the numbers that it needs."""
    rule = rules[number - 1]
    if _FLAGS.match(rule.pattern):
        raise refusal(NAME, rules, number, "its flags must stand at the very beginning and an entry is anchored")
    text = rule.replacements[0]
    used = _calculated(text)
    if not used:
        yield Entry(rule.pattern, _template(text), number)
        return
    if background.keys is None:
        raise refusal(NAME, rules, number, "re.sub cannot calculate and no keys are known to write its numbers out for")
    parts = segments(rule.pattern)
    compiled = re.compile(rule.pattern)
    rows: dict[tuple[str, ...], None] = {}
    for key in takes.get(number, ()):
        match = compiled.fullmatch(key)
        if match is None:
            continue
        if parts is None:
            yield Entry(re.escape(key), _template(quote(rules.rename(key))), number)
        rows[tuple(str(match[name]) for name in used)] = None
    if parts is None:
        return
    for row in sorted(rows, key=lambda row: (tuple(map(int, row)), row)):
        values = dict(zip(used, row, strict=True))
        fixed = [literal_segment(values[part.name]) if part.name in values else _captured(part) for part in parts]
        yield Entry(joined_regex(fixed), _template(text, values), number)


def _captured(part: Segment) -> Segment:
    """A stretch that keeps its name."""
    return Segment(f"(?P<{part.name}>{part.regex})") if part.name else part


def _calculated(text: str) -> list[str]:
    """The groups that a replacement calculates with, in the order of their first use."""
    names: dict[str, None] = {}
    for piece, braced in cut_at_braces(text):
        tokens = expression_tokens(piece) if braced else []
        if len(tokens) > 1 or (tokens and tokens[0] != piece):
            names.update(dict.fromkeys(token for token in tokens if token.isidentifier()))
    return list(names)


def _calculates(rules: RuleSet, number: int) -> bool:
    return bool(_calculated(rules[number - 1].replacements[0]))


def _template(text: str, values: dict[str, str] | None = None) -> str:
    r"""A replacement as `re.sub` writes it: `\g<name>` for a captured text, the rest with its values put in."""
    out = []
    for piece, braced in cut_at_braces(text):
        if not braced:
            out.append(piece.replace("\\", r"\\"))
        elif piece.isidentifier() and piece not in (values or {}):
            out.append(rf"\g<{piece}>")
        else:
            out.append(parse(f"{{{piece}}}").expand(values or {}))
    return "".join(out)


def _anchored(entries: Sequence[Entry], guard: str = "", mark: str = "") -> list[tuple[str, str]]:
    """The entries as pairs that take whole keys."""
    pairs = []
    for entry in entries:
        first = _beginning(entry.regex)
        wild = not first or first.startswith(mark) or mark.startswith(first)
        pairs.append((f"^{guard if wild else ''}{joined_regex([Segment(entry.regex)])}$", mark + entry.target))
    return pairs


def _beginning(regex: str) -> str:
    """The text that all that a regex matches begins with; "" where that is not plain."""
    text, end = literal_text(regex)
    branches = joined_regex([Segment(regex)]) != regex
    return "" if branches or regex[end : end + 1] in _REPEATS else text


def _steps(revise_keys: Sequence[tuple[str, str]]) -> list[tuple[str, re.Pattern[str], str]]:
    """The pairs ready to run, each with what its keys begin with: most keys need not be asked."""
    return [(_beginning(regex.removeprefix("^")), re.compile(regex), target) for regex, target in revise_keys]


def _marked(entries: Sequence[Entry], keys: Iterable[str]) -> list[tuple[str, str]]:
    """The entries with a mark before every new name, that no key begins with, and one that takes it off."""
    mark = MARK
    while any(key.startswith(mark) for key in keys):
        mark += ">"
    return [*_anchored(entries, f"(?!{mark})", mark), (f"^{mark}", "")]


def _chains(entries: Sequence[Entry], keys: Sequence[str] | None) -> bool:
    """Whether an entry could take what an earlier one made; where no keys are known, of several one always could.

    New names are looked at with other numbers as well, so that it holds for a deeper model of the family, too.
    """
    if keys is None:
        return len(entries) > 1
    steps = _steps(_anchored(entries))
    for key in chain(keys, other_numbers(keys)):
        taker = next(
            ((i, step) for i, step in enumerate(steps) if key.startswith(step[0]) and step[1].search(key)), None
        )
        if taker is not None:
            at, (_, regex, target) = taker
            made = regex.sub(target, key)
            if any(made.startswith(first) and later.search(made) for first, later, _ in steps[at + 1 :]):
                return True
    return False


def _revised(revise_keys: Sequence[tuple[str, str]], keys: Sequence[str]) -> dict[str, str]:
    """What mmengine makes of the keys, all of them at once; a key that is lost on the way is missing."""
    now = {key: key for key in keys}
    for first, regex, target in _steps(revise_keys):
        now = {regex.sub(target, name) if name.startswith(first) else name: key for name, key in now.items()}
    return {key: name for name, key in now.items()}


def _text(
    rules: RuleSet, background: Background, entries: Sequence[Entry], revise_keys: Sequence[tuple[str, str]]
) -> str:
    comments = rule_comments(rules, background)
    lines, last = [], 0
    for i, (regex, target) in enumerate(revise_keys):
        if i == len(entries):
            lines.append("    # the mark that kept new names from the entries after theirs\n")
        elif entries[i].rule != last:
            last = entries[i].rule
            written_out = "; numbers written out, nothing calculates here" if _calculates(rules, last) else ""
            lines.append(f"    # {comments[last - 1]}{written_out}\n")
        lines.append(f"    ({pattern_source(regex)}, {pattern_source(target)}),\n")
    head = "\n".join(f"# {line}" for line in (*background.sentences, *remarks(rules)))
    return HEAD.format(comments=head, entries="".join(lines)).replace("[\n]", "[]")
