"""peft: the `key_mapping` of `PeftModel.from_pretrained` and `load_adapter`.

Read from peft 0.21 (utils/save_and_load.py, `load_peft_weights`) and replayed through it by the tests. It takes
`base_model.model.` (or `base_model.`) off every key, then the FIRST entry that is found anywhere in the rest replaces
what it matches by `re.subn`, and the prefix is put on again. Keys without it are an error. Afterwards peft puts the
name of the adapter behind `lora_A` and its like, so that new names here are those of a saved adapter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from automatch.errors import RuleError
from automatch.exporting.background import NOTHING, Background
from automatch.exporting.dialect import refusal, remarks, rule_comments
from automatch.exporting.function import pattern_source
from automatch.exporting.one_group import MOST_LISTED, Values, listed_values, new_name
from automatch.exporting.renames import check_distinct, only_renames
from automatch.exporting.rule_units import NO_KEYS, calculating, check_length, taken_keys
from automatch.exporting.segments import Segment, joined_regex, literal_segment, segments
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet

NAME = "peft"
DESCRIPTION = "a dict for the key_mapping of PeftModel.from_pretrained; renames in an adapter"

PREFIXES = ("base_model.model.", "base_model.")
USE = (
    "#",
    "# model = PeftModel.from_pretrained(model, path, key_mapping=KEY_MAPPING)",
    "# Keys stand here without base_model.model. and the name of the adapter, which peft puts in; first match wins.",
)
_LORA = re.compile(r"\.lora_\w+\.([^.]+)")
_VECTOR = re.compile(r"(?<=\.lora_magnitude_vector)\.weight\Z")
_NO_ADAPTER = ("weight", "bias")

Mapping = dict[str, tuple[int, str]]
"""Patterns with the number of the rule that each is for, and what they become."""


def render(rules: RuleSet, background: Background = NOTHING) -> str:
    """The source text of a dict.

    Args:
        rules: what it shall do; renames of the keys of an adapter only.
        background: what they were proven on; where a rule calculates, its numbers are listed.

    Raises:
        RuleError: a rule does more than rename, or these are not the keys of an adapter.
    """
    keys = background.keys or ()
    strange = next((key for key in keys if not _prefix(key)), None)
    if strange is not None:
        raise RuleError(
            f"the dialect {NAME} is for adapters, whose keys begin with {PREFIXES[1]!r}, and {strange!r} does not; "
            f"use --dialect transformers or python"
        )
    only_renames(NAME, rules)
    check_distinct(rules, keys)
    adapter = _adapter([rules.rename(key) for key in keys])
    wanted = {key: _saved(rules.rename(key), adapter) for key in keys}
    for key, new in wanted.items():
        _check_prefix(rules, key, new)
    mapping: Mapping = {}
    if background.keys is None or not all(_same(key, new) for key, new in wanted.items()):
        taken = taken_keys(rules, keys)
        for number in range(1, len(rules) + 1):
            own = {key: wanted[key] for key in taken[number - 1]}
            for pattern, target in _entries(rules, number, own, adapter, background.keys is None):
                mapping.setdefault(pattern, (number, target))
    check_length(NAME, rules, (number for number, _ in mapping.values()))
    for key, new in wanted.items():
        if not _same(got := _renamed(mapping, key), new):
            raise RuleError(
                f"the dialect {NAME} cannot say these rules: {key!r} would become {got!r} there, and should become "
                f"{new!r}; use --dialect python"
            )
    return _text(rules, background, mapping)


def _check_prefix(rules: RuleSet, key: str, new: str) -> None:
    move, prefix = rules.move(key), _prefix(key)
    if move is not None and not new.startswith(prefix):
        raise refusal(NAME, rules, move.rule, f"{key!r} becomes {new!r} and peft puts {prefix!r} before every key")


def _prefix(key: str) -> str:
    return next((prefix for prefix in PREFIXES if key.startswith(prefix)), "")


def _adapter(names: Sequence[str]) -> str:
    """The name of the adapter in model keys."""
    found = {match[1] for name in names if (match := _LORA.search(name))}
    return found.pop() if len(found) == 1 and found.isdisjoint(_NO_ADAPTER) else "default"


def _saved(name: str, adapter: str) -> str:
    """The key of a saved adapter for a key of the model, as peft takes the adapter's name away."""
    name = name.replace(f".modules_to_save.{adapter}.", ".")
    if name.endswith(f".{adapter}"):
        return name.removesuffix(f".{adapter}")
    path, dot, last = name.rpartition(".")
    return f"{path.removesuffix(f'.{adapter}')}{dot}{last}"


def _same(one: str, other: str) -> bool:
    """Whether two names are one to peft: magnitudes of DoRA have `.weight` in the model and not in the file."""
    return one == other or _VECTOR.sub("", one) == _VECTOR.sub("", other)


def _entries(
    rules: RuleSet, number: int, wanted: Values, adapter: str, for_every_key: bool
) -> Sequence[tuple[str, str]]:
    """Patterns and what they become, for one rule and the saved names of its keys."""
    rule = rules[number - 1]
    short = tuple(_short(rule, wanted, adapter, for_every_key))
    renumbered = {pattern: (number, target) for pattern, target in short}
    if short and all(_same(_renamed(renumbered, key), new) for key, new in wanted.items()):
        return short
    if for_every_key:
        raise refusal(NAME, rules, number, f"peft cannot say it in one pattern, and {NO_KEYS}")
    if len(wanted) > MOST_LISTED:
        reason = f"it cannot be said in one pattern, and to list {len(wanted)} keys is too long ({MOST_LISTED} at most)"
        raise refusal(NAME, rules, number, reason)
    return [
        (f"^{re.escape(key.removeprefix(_prefix(key)))}$", _template(new.removeprefix(_prefix(key))))
        for key, new in wanted.items()
    ]


def _short(rule: Rule, wanted: Values, adapter: str, for_every_key: bool) -> Iterator[tuple[str, str]]:
    """The rule's own pattern without the prefix, once for each choice of the numbers that it calculates with."""
    prefixes = {_prefix(key) for key in wanted} or {PREFIXES[0]}
    parts = segments(rule.pattern)
    start = _without(parts[0].regex, min(prefixes)) if parts and len(prefixes) == 1 else None
    if not parts or start is None:
        return
    calculated = calculating(rule.replacements)
    chosen = [part for part in parts if part.name in calculated]
    matches = [re.fullmatch(rule.pattern, key) for key in wanted]
    captured = [match.groupdict() for match in matches if match is not None]
    prefix, template = min(prefixes), _without_adapter(rule.replacements[0], adapter)
    for values in listed_values(chosen, None if for_every_key or not captured else captured):
        new = new_name(template, values)
        if new is None:
            return
        first = new.texts[0]
        if not first and new.names[:1] != (parts[0].name,):
            return
        if first and not first.startswith(prefix):
            return
        filled = [
            literal_segment(values[part.name]) if part.name in values else _named(part, start if n == 0 else part.regex)
            for n, part in enumerate(parts)
        ]
        texts = [first.removeprefix(prefix), *new.texts[1:]]
        groups = [*(f"\\g<{name}>" for name in new.names), ""]
        target = "".join(_template(text) + group for text, group in zip(texts, groups, strict=True))
        yield f"^{joined_regex(filled)}$", target


def _named(part: Segment, regex: str) -> Segment:
    return Segment(f"(?P<{part.name}>{regex})" if part.name else regex)


def _without(regex: str, prefix: str) -> str | None:
    """What is left of the beginning of a pattern when keys lose the prefix; None where that is not known."""
    if regex.startswith(re.escape(prefix)):
        return regex[len(re.escape(prefix)) :]
    return regex if regex.startswith((".+", ".*")) else None


def _without_adapter(template: str, adapter: str) -> str:
    """A replacement without the name of the adapter, where it stands as text."""
    template = template.replace(f".modules_to_save.{adapter}.", ".")
    return re.sub(rf"\.{re.escape(adapter)}(?=(\.[^.]*)?$)", "", template)


def _template(text: str) -> str:
    """What `re.subn` writes as this text."""
    return text.replace("\\", "\\\\")


def _renamed(mapping: Mapping, key: str) -> str:
    """What peft makes of a key."""
    prefix = _prefix(key)
    rest = key.removeprefix(prefix)
    for pattern, (_, target) in mapping.items():
        new, times = re.subn(pattern, target, rest)
        if times:
            return prefix + new
    return key


def _text(rules: RuleSet, background: Background, mapping: Mapping) -> str:
    comments = [f"# {sentence}" for sentence in (*background.sentences, *remarks(rules))]
    said = rule_comments(rules, background)
    lines: list[str] = []
    before = 0
    for pattern, (number, target) in mapping.items():
        calculated = calculating(rules[number - 1].replacements)
        listed = f"; only for the listed values of {', '.join(calculated)}" if calculated else ""
        lines += [f"    # {said[number - 1]}{listed}"] if number != before else []
        lines.append(f"    {pattern_source(pattern)}: {pattern_source(target)},")
        before = number
    if not lines and rules.rules:
        lines.append("    # nothing to rename: peft puts in the name of the adapter by itself")
    body = ["KEY_MAPPING = {", *lines, "}"] if lines else ["KEY_MAPPING = {}"]
    return "\n".join([*comments, *USE, *body, ""])
