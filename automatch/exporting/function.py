"""The source of a Python function that does what rules do, with `re` alone (and torch, where tensors are joined)."""

from __future__ import annotations

from collections.abc import Container, Iterator

from automatch.errors import RuleError
from automatch.exporting.background import Background
from automatch.exporting.dialect import rule_comments
from automatch.ops import kept_places
from automatch.rules.inverse import captured
from automatch.rules.members import alternatives
from automatch.rules.replacement import cut_at_braces, expression_tokens
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet
from automatch.rules.tensors import JOINING

HEAD = """def convert(state_dict):
    \"\"\"Return the state_dict under the model's keys; keys that no rule takes stay as they are.\"\"\"
    rules = [
{rules}
    ]
"""

GUESSES = """# The evidence does not decide these checkpoint keys: a rule (or staying as it is) is a guess for each.
AMBIGUOUS = [
{keys}
]


"""

NATURAL = '''def natural(number):
    """A number that can stand in a key."""
    if number < 0:
        raise ValueError(f"a rule calculates {number}, and no key has a number below zero")
    return number


'''

RENAME = """    converted = {}
    for key, tensor in state_dict.items():
        for pattern, new in rules:
            if match := re.fullmatch(pattern, key):
                key = new(match)
                break
        if key in converted:
            raise ValueError(f"two keys become {key!r}")
        converted[key] = tensor
"""

# Each rule: pattern, new keys, place in a joined tensor (or None), steps (whether one joins, what it does to a row).
CHANGE = """
    def run(steps, grid):
        for joins, step in steps:
            if joins and len(grid) > 1:
                grid = [[step(row)[0] for row in grid]]
            else:
                grid = [step(row) for row in grid]
        return grid[0]

    converted, sources, groups = {}, {}, {}
    for key, tensor in state_dict.items():
        for pattern, new, place, steps in rules:
            if match := re.fullmatch(pattern, key):
                break
        else:
            match, new, place, steps = None, lambda m, n: [key], None, []
        if place is None:
            results = run(steps, [[tensor]])
            pairs = list(zip(new(match, len(results)), results, strict=True))
        else:
            (target,) = new(match, 1)
            first = target not in groups
            members, _ = groups.setdefault(target, ({}, steps))
            if members.setdefault(place(match), tensor) is not tensor:
                raise ValueError(f"{key!r} takes a place in {target!r} that is taken")
            pairs = [(target, None)] if first else []
        for target, result in pairs:
            if target in sources:
                raise ValueError(f"{sources[target]!r} and {key!r} both become {target!r}")
            sources[target] = key
            converted[target] = result
    for target, (members, (parts, stacked_first, steps)) in groups.items():
        orders = sorted({order for _, order in members})
        if sorted(members) != [(p, o) for p in range(parts) for o in range(orders[0], orders[-1] + 1)]:
            raise ValueError(f"not every tensor of {target!r} is there")
        grid = [[members[p, o] for o in orders] for p in range(parts)]
        (converted[target],) = run(steps, grid if stacked_first else list(map(list, zip(*grid))))
"""

DOUBLES = """    for other, first in {doubles}:  # one tensor under two names
        if other in state_dict and first in state_dict:
            one, two = state_dict[first], state_dict[other]
            if one is not two and not (one.shape == two.shape and ((one == two) | ((one != one) & (two != two))).all()):
                raise ValueError(f"{{other!r}} and {{first!r}} were one tensor and are not equal any more")
            state_dict = {{key: tensor for key, tensor in state_dict.items() if key != other}}
"""

TIED = """    for served, other in {ties}:  # tied in the model
        if served in converted:
            converted.setdefault(other, converted[served])
"""

TAIL = """    return converted
"""


def function_source(rules: RuleSet, background: Background) -> str:
    """The source of `convert(state_dict)`, which gives a new dict, with a list of the guesses before it.

    Args:
        rules: what it shall do.
        background: what its comments tell.

    Raises:
        RuleError: a rule has an operation that cannot be run without the model, or a brace that is not closed.
    """
    only_names = all(rule.op == "rename" for rule in rules)
    comments = rule_comments(rules, background)
    lines = [
        line
        for rule, comment in zip(rules, comments, strict=True)
        for line in (f"        # {comment}", *_rule(rule, only_names))
    ]
    keys = "\n".join(f"    {literal(key)}," for key in rules.undecided)
    text = GUESSES.format(keys=keys) if keys else ""
    text += NATURAL if any(_may_be_negative(rule) for rule in rules) else ""
    text += HEAD.format(rules="\n".join(lines)).replace("    rules = [\n\n    ]\n", "    rules = []\n")
    if rules.doubles:
        text += DOUBLES.format(doubles=_pairs(rules.doubles))
    text += RENAME if only_names else CHANGE
    if rules.tied:
        text += TIED.format(ties=_pairs(rules.tied))
    return text + TAIL


def _pairs(pairs: tuple[tuple[str, str], ...]) -> str:
    """Source of a tuple of pairs of texts."""
    lines = "".join(f"        ({literal(a)}, {literal(b)}),\n" for a, b in pairs)
    return f"(\n{lines}    )"


def imports_source(rules: RuleSet) -> str:
    """The lines that import what the function needs."""
    return "import re\n\nimport torch\n" if any(_joins(rule) for rule in rules) else "import re\n"


def _rule(rule: Rule, only_names: bool) -> Iterator[str]:
    """The lines of one entry of the list `rules`."""
    texts, sure = rule.replacements, captured(rule.pattern)
    if only_names:
        yield f"        ({pattern_source(rule.pattern)}, lambda m: {_new(texts[0], sure)}),"
        return
    if rule.by is not None and "unstack" in rule.law.words:
        count = "n" if len(texts) == 1 else f"n // {len(texts)}"
        names = " + ".join(f"[{_new(text, sure, rule.by)} for i in range({count})]" for text in texts)
    else:
        names = f"[{', '.join(_new(text, sure) for text in texts)}]"
    yield "        ("
    yield f"            {pattern_source(rule.pattern)},"
    yield f"            lambda m, n: {names},"
    yield f"            {_place(rule)},"
    yield f"            {_steps(rule, len(texts))},"
    yield "        ),"


def _joins(rule: Rule) -> bool:
    """Whether several tensors become one."""
    return not set(JOINING).isdisjoint(rule.law.words)


def _place(rule: Rule) -> str:
    """Source of a function from a match to (part, order), or None where the rule joins nothing."""
    if not _joins(rule):
        return "None"
    part = "0"
    if isinstance(rule.part, str):
        part = f"{list(alternatives(rule.pattern, rule.part))!a}.index(m['{rule.part}'])"
    elif rule.part is not None:
        part = str(rule.part[0])
    return f"lambda m: ({part}, {_number(rule.by) if rule.by else '0'})"


def _steps(rule: Rule, pieces: int) -> str:
    """Source of the steps; for a joined tensor with the number of parts, and whether a row is one part."""
    steps = f"[{', '.join(step_source(word, rule, pieces) for word in rule.law.words if word != 'rename')}]"
    if not _joins(rule):
        return steps
    parts = 1
    if isinstance(rule.part, str):
        parts = len(alternatives(rule.pattern, rule.part))
    elif rule.part is not None:
        parts = rule.part[1]
    return f"({parts}, {rule.stacked_first}, {steps})"


def step_source(word: str, rule: Rule, pieces: int) -> str:
    """Source of one step: whether it joins, and a function from a row of tensors to a row of tensors.

    Args:
        word: the operation.
        rule: whose it is.
        pieces: how many a chunk gives.

    Raises:
        RuleError: it cannot be run without the model.
    """
    dim, stack_dim = rule.dim or 0, rule.law.stack_dim
    if word == "concat":
        return f"(True, lambda row: [torch.cat(row, {dim})])"
    if word == "stack":
        return f"(True, lambda row: [torch.stack(row, {stack_dim})])"
    if word == "unstack":
        return f"(False, lambda row: [part for t in row for part in t.unbind({stack_dim})])"
    if word == "chunk":
        sizes = rule.sizes or (1,) * pieces
        cut = f"t.split([t.shape[{dim}] // {sum(sizes)} * size for size in {sizes}], {dim})"
        return f"(False, lambda row: [part for t in row for part in {cut}])"
    if word == "transpose" and rule.perm is None:
        return "(False, lambda row: [t.transpose(-1, -2) for t in row])"
    if rule.perm is not None and (word == "transpose" or (word == "permute" and not rule.law.weaves)):
        return f"(False, lambda row: [t.permute({rule.perm}) for t in row])"
    if word == "reshape" and rule.shape is not None:
        kept = kept_places(rule.shape)
        shape = ", ".join(f"t.shape[{kept[i]}]" if i in kept else str(size) for i, size in enumerate(rule.shape))
        return f"(False, lambda row: [t.reshape([{shape}]) for t in row])"
    if word == "join_latent":
        return "(True, lambda row: [torch.cat([row[0].transpose(1, 2), row[1]], 1).flatten(0, 1)])"
    if word == "split_latent" and rule.shape is not None:
        keys, values = rule.shape
        whole = f"t.unflatten(0, (-1, {keys + values}))"
        parts = f"({whole}[:, :{keys}].transpose(1, 2), {whole}[:, {keys}:])"
        return f"(False, lambda row: [part for t in row for part in {parts}])"
    if (word == "interleave" or rule.law.weaves) and rule.shape is not None:
        first = dim if dim >= 0 else dim - 3
        turned = f"t.unflatten({dim}, {rule.shape}).transpose({first + 1}, {first + 2}).flatten({first}, {first + 3})"
        return f"(False, lambda row: [{turned} for t in row])"
    if word == "flip" and rule.shape is not None:
        first = dim if dim >= 0 else dim - 1
        turned = f"t.unflatten({dim}, {rule.shape}).flip({first}).flatten({first}, {first + 1})"
        return f"(False, lambda row: [{turned} for t in row])"
    raise RuleError(f"{word} of {rule.pattern!r} cannot be written as Python: names and shapes do not say how it goes")


def _new(replacement: str, sure: Container[str], counter: str | None = None) -> str:
    """Source of the new key: a text, or an f-string on the match `m` (and the number `i` for the name `counter`).

    A group that is not `sure` to capture something fails where it has not, instead of giving the text "None".
    """
    cut = cut_at_braces(replacement)
    if not any(braced for _, braced in cut):
        return literal("".join(text for text, _ in cut))
    inside = "".join(
        f"{{{_expression(text, sure, counter)}}}" if braced else _escaped(text).replace("{", "{{").replace("}", "}}")
        for text, braced in cut
    )
    return f'f"{inside}"'


def _expression(inside: str, sure: Container[str], counter: str | None) -> str:
    """Source of what stands in braces: a captured text, or arithmetic on captured numbers."""
    tokens = expression_tokens(inside)
    if inside != counter and tokens == [inside] and not inside.isdigit():
        return f"m['{inside}']" if inside in sure else f"m['{inside}'] + ''"
    source = "".join("i" if token == counter else _operand(token) for token in tokens)
    return f"natural({source})" if "-" in tokens else source


def _may_be_negative(rule: Rule) -> bool:
    """Whether it subtracts."""
    return any(
        "-" in expression_tokens(inside)
        for text in rule.replacements
        for inside, braced in cut_at_braces(text)
        if braced
    )


def _operand(token: str) -> str:
    """Source of a number, a captured number or a sign of arithmetic."""
    return str(int(token)) if token.isdigit() else _number(token) if token.isidentifier() else token


def _number(group: str) -> str:
    """Source of a captured number."""
    return f"int(m['{group}'])"


def pattern_source(pattern: str) -> str:
    """The pattern as a raw string where it can be one."""
    plain = pattern.isascii() and pattern.isprintable() and '"' not in pattern
    ends_well = (len(pattern) - len(pattern.rstrip("\\"))) % 2 == 0
    return f'r"{pattern}"' if plain and ends_well else literal(pattern)


def literal(text: str) -> str:
    """A string literal in double quotes, plain ASCII."""
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    """The inside of a string literal in double quotes."""
    return text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
