"""One rule: what it says, how it is read and written, and whether it can be run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from automatch.errors import RuleError
from automatch.ops import OPS
from automatch.rules.fields import (
    check_sizes,
    number_field,
    numbers_field,
    part_field,
    refuse_misspelt,
    refuse_numbered,
    replacement_field,
    text_field,
)
from automatch.rules.hazard import hazard
from automatch.rules.lookup import compiled
from automatch.rules.members import alternatives
from automatch.rules.replacement import parse
from automatch.rules.tensors import CUTTING, Law, law_of
from automatch.spec import Shape

LONGEST = 20_000
_WORDS = ("rename", *(op.name for op in OPS))


@dataclass(frozen=True, slots=True)
class Rule:
    r"""An anchored regex over a whole checkpoint key, and the model key it becomes.

    Every rule sees the ORIGINAL key; the first rule whose pattern matches the whole key wins;
    rules never chain.

    Several keys that make one tensor need not have a rule each. `part` names a captured
    alternation whose members, in the order in which they are written, are the parts of a
    concat; `by` names the captured number that orders the members of a stack:

        pattern      (?P<a>layers\.\d+\.attn)\.(?P<part>q|k|v)_proj\.weight
        replacement  {a}.qkv.weight                                      op concat, part "part"

        pattern      (?P<a>layers\.\d+\.mlp)\.experts\.(?P<e>\d+)\.(?P<part>gate|up)_proj\.weight
        replacement  {a}.experts.gate_up_proj                            op stack+concat, by "e", part "part"

    Attributes:
        pattern: Python regex with named groups, tested with `fullmatch`.
        replacement: literal text with `{name}` for a captured text and `{i+1}`-style integer
            arithmetic (+ - * // %) on captured numbers; literal braces are doubled. A tuple of
            such texts, one for each piece in order, for chunk and unstack.
        op: what happens to the tensor, in the words of `Match.op`.
        hits: how many checkpoint keys it took when it was replayed.
        part: for concat: (k, n), the key is member k (from 0) of n; or the name of a captured
            alternation whose members in written order are the parts.
        by: for stack: name of the captured number that orders the members. For unstack: a name
            that the pattern does not capture; the replacement uses it for the member's number.
        dim: dimension joined or cut; None for the operations that have none. With both a stack
            and a concat (or their reverse) the stack has dimension 0 and this is the other's.
        perm: order of the dimensions for transpose and permute.
        sizes: proportions of the pieces of a chunk; None for equal ones.
        shape: for reshape: sizes in which -1 takes the rest and 0 keeps the size at that place, counted from the end
            behind the -1. For interleave: the four sizes [a, b, c, d] as which dimension `dim` is seen, of which b and
            c are exchanged; -1 takes the rest; a permute may have them too. For flip: number and size of blocks. For
            split_latent: how many rows a head has for its keys, and for its values.
        note: for people: families covered, or why the rule is literal.
        ambiguous: how many of the hits belong to ambiguous matches: for those the rule gives a guess.
    """

    pattern: str
    replacement: str | tuple[str, ...]
    op: str = "rename"
    hits: int = 0
    part: tuple[int, int] | str | None = None
    by: str | None = None
    dim: int | None = None
    perm: tuple[int, ...] | None = None
    sizes: tuple[int, ...] | None = None
    shape: Shape | None = None
    note: str = ""
    ambiguous: int = 0

    @property
    def law(self) -> Law:
        """What it does to tensors, without the keys."""
        return law_of(self.op, self.dim, self.perm, self.sizes, self.shape)

    @property
    def stacked_first(self) -> bool:
        """Whether the members of every part are stacked before the parts are joined; parts without numbers are not."""
        return self.law.stacked_first and self.by is not None

    @property
    def replacements(self) -> tuple[str, ...]:
        """`replacement` as a tuple: one text for each piece."""
        return (self.replacement,) if isinstance(self.replacement, str) else self.replacement

    def to_dict(self) -> dict[str, Any]:
        """The rule as JSON holds it; fields that say nothing are left out."""
        out: dict[str, Any] = {
            "pattern": self.pattern,
            "replacement": self.replacement if isinstance(self.replacement, str) else list(self.replacement),
            "op": self.op,
            "hits": self.hits,
        }
        for name in ("part", "by", "dim", "perm", "sizes", "shape", "note"):
            value = getattr(self, name)
            if value is not None and value != "":
                out[name] = list(value) if isinstance(value, tuple) else value
        if self.ambiguous:
            out["ambiguous"] = self.ambiguous
        return out

    @classmethod
    def from_dict(cls, data: object, where: str = "the rule") -> Rule:
        """Reads what `to_dict` wrote, or a person.

        Args:
            data: a mapping with "pattern" and "replacement"; unknown fields are ignored.
            where: how to name the rule in an error, e.g. "rule 3".

        Raises:
            RuleError: a field is missing, is of another type, or cannot be read.
        """
        if not isinstance(data, Mapping):
            raise RuleError(f"{where} is not an object with a pattern and a replacement")
        refuse_misspelt(data, [field.name for field in fields(cls)], where)
        rule = cls(
            pattern=text_field(data, "pattern", where),
            replacement=replacement_field(data, where),
            op=text_field(data, "op", where, "rename"),
            hits=number_field(data, "hits", where) or 0,
            part=part_field(data, where),
            by=text_field(data, "by", where) if data.get("by") is not None else None,
            dim=number_field(data, "dim", where),
            perm=numbers_field(data, "perm", where),
            sizes=numbers_field(data, "sizes", where),
            shape=numbers_field(data, "shape", where),
            note=text_field(data, "note", where, ""),
            ambiguous=number_field(data, "ambiguous", where) or 0,
        )
        rule.check(where)
        return rule

    def check(self, where: str = "the rule") -> None:
        """Makes sure that the rule can be run.

        Raises:
            RuleError: the pattern is too long, no regex or could take forever on some key, the replacement
                names a group that the pattern does not have, the operation is unknown, or sizes are none.
        """
        if len(self.pattern) > LONGEST:
            raise RuleError(f"{where}: the pattern is {len(self.pattern)} characters long; at most {LONGEST} are read")
        regex = compiled(self.pattern, where)
        groups = set(regex.groupindex)
        if regex.groups > len(groups):
            refuse_numbered(self.replacements, where)
        danger = hazard(self.pattern)
        if danger:
            raise RuleError(f"{where}: the pattern {self.pattern!r} may take forever on some key: {danger}")
        words = self.law.words
        unknown = next((word for word in words if word not in _WORDS), None)
        if unknown is not None:
            raise RuleError(f"{where}: {unknown!r} is not an operation; use {', '.join(_WORDS)}")
        if "concat" in words and self.part is None:
            raise RuleError(f'{where}: concat needs "part", the group whose members are joined, or [k, n]')
        check_sizes(self.sizes, self.shape, where)
        if words == ("permute",) and self.perm is not None and self.shape is not None:
            raise RuleError(f"{where}: a permute has the order of the dimensions, or the sizes as which one is seen")
        cuts = bool(set(words) & set(CUTTING))
        if "unstack" in words and "chunk" in words[words.index("unstack") :]:
            raise RuleError(f"{where}: a tensor is cut before it is unstacked; write chunk+unstack, not {self.op}")
        if isinstance(self.replacement, tuple) and not cuts:
            raise RuleError(f"{where}: only {' and '.join(CUTTING)} may have several replacements, not {self.op}")
        if self.by is not None and "unstack" in words:
            groups.add(self.by)
        elif self.by is not None and self.by not in groups:
            raise RuleError(f"{where}: 'by' names the group {self.by!r}, which the pattern does not capture")
        try:
            if isinstance(self.part, str):
                alternatives(self.pattern, self.part)
            used = [name for text in self.replacements for name in parse(text).names]
        except RuleError as error:
            raise RuleError(f"{where}: {error}") from None
        missing = next((name for name in used if name not in groups), None)
        if missing is not None:
            raise RuleError(f"{where}: the replacement uses {missing!r}, which the pattern does not capture")
