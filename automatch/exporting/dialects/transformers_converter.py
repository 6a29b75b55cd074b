"""transformers: a list of `WeightRenaming` and `WeightConverter`, which know operations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from automatch.errors import RuleError
from automatch.exporting.background import NOTHING, Background
from automatch.exporting.chaining import Chain, chain_of, comments_of_chain, unused_marks
from automatch.exporting.dialect import refusal, remarks
from automatch.exporting.function import literal, pattern_source
from automatch.exporting.leaves import BETWEEN, END, START, Kind, converting, operations_source, parts_of
from automatch.exporting.one_group import NewName, Unit
from automatch.exporting.peeling import peeled
from automatch.exporting.rule_units import (
    calculating,
    check_afterwards,
    check_length,
    rename_naming,
    taken_keys,
    units_of_rule,
)
from automatch.exporting.weight_converter import Converter, meetings, names_after
from automatch.exporting.weight_renaming import renamed_by_all
from automatch.rules.carrying import Load, carry
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet

NAME = "transformers-converter"
DESCRIPTION = "a list of WeightRenaming and WeightConverter of transformers 5; renames and operations"

USE = (
    "",
    "from transformers.conversion_mapping import register_checkpoint_conversion_mapping",
    'register_checkpoint_conversion_mapping("model_type of config.json", CONVERSION, overwrite=True)',
    "model = AutoModel.from_pretrained(path)",
    "model.save_pretrained(new_path, save_original_format=False)  # else it tries to turn the conversion round",
)
STEPS = '''

class Steps(ConversionOps):
    """Steps that transformers has no operation for: functions of a row of tensors, with whether they join these."""

    def __init__(self, stacked_first, *steps):
        self.stacked_first, self.steps = stacked_first, steps

    def convert(self, input_dict, source_patterns, target_patterns, **kwargs):
        rows = [input_dict[source] for source in source_patterns if source in input_dict]
        grid = [row if isinstance(row, list) else [row] for row in rows]
        grid = grid if self.stacked_first else [list(column) for column in zip(*grid, strict=True)]
        for joins, step in self.steps:
            grid = [[step(row)[0] for row in grid]] if joins and len(grid) > 1 else [step(row) for row in grid]
        return {target: tensor.contiguous() for target, tensor in zip(target_patterns, grid[0], strict=True)}
'''
CLASSES = ("Chunk", "Concatenate", "ConversionOps", "MergeModulelist", "Transpose", "WeightConverter", "WeightRenaming")
_PLACE = re.compile(f"{START}(\\d+){BETWEEN}([^{END}]+){END}")


def render(rules: RuleSet, background: Background = NOTHING) -> str:
    """The source text of a list, with what it imports.

    Args:
        rules: what it shall do.
        background: what they were proven on; where one captured text is not enough for a rule, its values are listed.

    Raises:
        RuleError: a rule cannot be said in this way.
    """
    rules = replace(rules, rules=tuple(_peeled(rule) for rule in rules))
    keys = background.keys
    carried = _carried(rules, background)
    taken = None if keys is None else taken_keys(rules, keys)
    units: list[Unit] = []
    for number, rule in enumerate(rules, 1):
        own = None if taken is None else taken[number - 1]
        targets = [carried[key] for key in own or ()]
        if len({len(names) for names in targets}) > 1:
            raise refusal(NAME, rules, number, "its keys become different numbers of tensors")
        naming = rename_naming(rule) if rule.op == "rename" else converting(rule, targets)
        units += units_of_rule(NAME, rules, number, own, naming)
    check_afterwards(NAME, rules, keys or ())
    check_length(NAME, rules, (unit.rule for unit in units))
    mark, place_mark = unused_marks(rules, keys)
    kinds: dict[Kind, int] = {}
    units = [_with_marks(unit, rules, place_mark, kinds) for unit in units]
    converters = [_converter(kind, number, place_mark) for kind, number in kinds.items()]

    chain = chain_of(units, mark, rules, keys, lambda renamed: names_after(converters, renamed)[1][0])
    _check(rules, background, chain, converters)
    return _text(rules, background, units, chain, converters)


def _peeled(rule: Rule) -> Rule:
    """The rule with as much text in its replacements as can be, of which a converter needs some."""
    fixed = (rule.by or "", rule.part if isinstance(rule.part, str) else "", *calculating(rule.replacements))
    return rule if rule.op == "rename" else peeled(rule, fixed)


def _carried(rules: RuleSet, background: Background) -> dict[str, tuple[str, ...]]:
    """The model keys that each checkpoint key serves.

    Raises:
        RuleError: the rules do not carry the checkpoint, or what is needed for their operations is not known.
    """
    operations = [number for number, rule in enumerate(rules, 1) if rule.op != "rename"]
    if operations and (background.keys is None or not background.shapes):
        what = "the keys of a checkpoint with their shapes (name the checkpoint)"
        raise refusal(NAME, rules, operations[0], f"its operation needs {what}")
    load = _load(rules, background)
    for fault in (*load.faults, *load.collisions):
        raise RuleError(f"the rules do not carry this checkpoint: {fault}")
    return {key: each.match.model_keys for each in load.carried for key in each.match.checkpoint_keys}


def _load(rules: RuleSet, background: Background) -> Load:
    rules = replace(rules, doubles=())  # they stay there, and a comment says so
    return carry(rules, background.shapes or dict.fromkeys(background.keys or (), ()))


def _with_marks(unit: Unit, rules: RuleSet, mark: str, kinds: dict[Kind, int]) -> Unit:
    """The unit with the mark of a converter where its new name has a place for one; `kinds` numbers the converters."""

    def marked(place: re.Match[str]) -> str:
        leaves = tuple(place[2].split(BETWEEN))
        kind = Kind(operations_source(rules[unit.rule - 1], len(leaves)), parts_of(rules[unit.rule - 1]), leaves)
        return _source(mark, kinds.setdefault(kind, len(kinds) + 1), kind, int(place[1]))

    return replace(unit, new=NewName(tuple(_PLACE.sub(marked, text) for text in unit.new.texts), unit.new.names))


def _source(mark: str, number: int, kind: Kind, part: int) -> str:
    return f"{mark}{number}:{part}{mark}" if kind.parts > 1 else f"{mark}{number}{mark}"


def _converter(kind: Kind, number: int, mark: str) -> Converter:
    sources = tuple(_source(mark, number, kind, part) for part in range(kind.parts))
    return Converter(sources, kind.leaves, kind.operations)


def _check(rules: RuleSet, background: Background, chain: Chain, converters: Sequence[Converter]) -> None:
    """Makes sure that the same tensors meet in the same order and come out under the same names.

    Raises:
        RuleError: they do not; none such is ever shown.
    """
    wanted = {each.match.model_keys: each.match.checkpoint_keys for each in _load(rules, background).carried}
    renamed = {key: renamed_by_all(chain.renamings, key) for key in background.keys or ()}
    for meeting in meetings(converters, renamed):
        got = tuple(key for _, row in sorted(meeting.rows.items()) for key in row)
        if wanted.get(meeting.names) != got:
            raise RuleError(
                f"the dialect {NAME} cannot say these rules: {list(got)} would become {list(meeting.names)} there, of "
                f"which the rules make {list(wanted.get(meeting.names, ()))}; use --dialect python"
            )


def _text(
    rules: RuleSet, background: Background, units: Sequence[Unit], chain: Chain, converters: Sequence[Converter]
) -> str:
    said = comments_of_chain(rules, units, background)
    lines: list[str] = []
    before = -1
    for number, each in chain.steps:
        lines += [f"    # {said[number]}"] if number != before else []
        lines.append(f"    WeightRenaming({pattern_source(each.source)}, {pattern_source(each.target)}),")
        before = number
    if converters:
        lines.append(
            "    # after all renamings: what they marked is converted, several sources are joined in their order"
        )
    for converter in converters:
        names = ", ".join(_one_or_list(texts) for texts in (converter.sources, converter.targets))
        lines.append(f"    WeightConverter({names}, operations=[{converter.operations}]),")
    code = "\n".join(lines)
    steps = STEPS if "Steps(" in code else ""
    used = sorted(name for name in CLASSES if f"{name}(" in code or (name == "ConversionOps" and steps))
    head = "import torch\n" if "torch." in code else ""
    head += "".join(f"{part}\n" for part in _imports(used))
    comments = "".join(f"# {sentence}".rstrip() + "\n" for sentence in (*background.sentences, *remarks(rules), *USE))
    body = f"CONVERSION = [\n{code}\n]\n" if code else "CONVERSION = []\n"
    return f"{comments}{head}{steps}\n{chr(10) if steps else ''}{body}"


def _imports(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return ["from transformers.core_model_loading import (", *(f"    {name}," for name in names), ")"]


def _one_or_list(texts: Sequence[str]) -> str:
    """Source of one text, or of a list of them."""
    return literal(texts[0]) if len(texts) == 1 else f"[{', '.join(map(literal, texts))}]"
