"""transformers: the `key_mapping` of `from_pretrained`."""

from __future__ import annotations

from automatch.exporting.background import NOTHING, Background
from automatch.exporting.chaining import chain_of, comments_of_chain, unused_marks
from automatch.exporting.dialect import remarks
from automatch.exporting.function import pattern_source
from automatch.exporting.renames import check_renames, only_renames, renames
from automatch.exporting.rule_units import check_afterwards, check_length, rename_naming, taken_keys, units_of_rule
from automatch.exporting.weight_renaming import Renaming, renamed_by_all, saved_back
from automatch.rules.rule_set import RuleSet

NAME = "transformers"
DESCRIPTION = "a dict for from_pretrained(..., key_mapping=KEY_MAPPING) of transformers 5; renames only"

USE = (
    "#",
    "# model = AutoModel.from_pretrained(path, key_mapping=KEY_MAPPING)",
    "# model.save_pretrained(new_path, save_original_format=False)  # else it turns the renames round, and wrongly",
)
USE_BOTH_WAYS = (
    *USE[:-1],
    "# model.save_pretrained(new_path) writes the old names again, with save_original_format=False those of the model",
)


def render(rules: RuleSet, background: Background = NOTHING) -> str:
    """The source text of a dict.

    Args:
        rules: what it shall do; renames only.
        background: what they were proven on; where one captured text is not enough for a rule, its values are listed.

    Raises:
        RuleError: a rule does more than rename, or cannot be said in this way.
    """
    only_renames(NAME, rules, "transformers-converter")
    keys = background.keys
    taken = None if keys is None else taken_keys(rules, keys)
    units = [
        unit
        for number in range(1, len(rules) + 1)
        for unit in units_of_rule(
            NAME, rules, number, None if taken is None else taken[number - 1], rename_naming(rules[number - 1])
        )
    ]
    check_afterwards(NAME, rules, keys or ())
    check_length(NAME, rules, (unit.rule for unit in units))
    chain = chain_of(units, unused_marks(rules, keys)[0], rules, keys)
    mapping: dict[str, tuple[int, str]] = {}
    for number, renaming in chain.steps:
        mapping.setdefault(renaming.source, (number, renaming.target))
    written = [Renaming(source, target) for source, (_, target) in mapping.items()]
    check_renames(NAME, rules, keys or (), lambda key: renamed_by_all(written, key))
    comments = [f"# {sentence}" for sentence in (*background.sentences, *remarks(rules))]
    said = comments_of_chain(rules, units, background)
    lines: list[str] = []
    before = -1
    for source, (number, target) in mapping.items():
        lines += [f"    # {said[number]}"] if number != before else []
        lines.append(f"    {pattern_source(source)}: {pattern_source(target)},")
        before = number
    used = USE if keys is None or not saved_back(written, renames(rules, keys)) else USE_BOTH_WAYS
    return "\n".join([*comments, *used, "KEY_MAPPING = {", *lines, "}", ""])
