"""One rule, and the ordered list of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from automatch.errors import RuleError
from automatch.rules.doubt import undecided_keys
from automatch.rules.fields import (
    check_sizes,
    number_field,
    numbers_field,
    pairs_field,
    part_field,
    replacement_field,
    text_field,
    texts_field,
)
from automatch.rules.hazard import hazard
from automatch.rules.lookup import Lookup, compiled
from automatch.rules.members import alternatives
from automatch.rules.replacement import LONGEST_NUMBER, parse
from automatch.rules.tensors import CUTTING, PLAIN, Law, Move, apply_moves, without_doubles
from automatch.rules.ties import tied_keys
from automatch.rules.versions import moved_versions, versions_of, with_versions
from automatch.spec import Shape

if TYPE_CHECKING:
    from automatch.rules.reverse import Keys

LONGEST = 20_000
_WORDS = ("rename", "transpose", "permute", "interleave", "flip", "reshape", "concat", "chunk", "stack", "unstack")


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
        shape: for reshape: sizes in which 0 keeps the size at that place and -1 takes the rest. For interleave: the
            four sizes [a, b, c, d] as which dimension `dim` is seen, of which b and c are exchanged; -1 takes the rest.
            For flip: number and size of the blocks that are reversed.
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
        return Law(self.op, self.dim, self.perm, self.sizes, self.shape)

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
        groups = set(compiled(self.pattern, where).groupindex)
        danger = hazard(self.pattern)
        if danger:
            raise RuleError(f"{where}: the pattern {self.pattern!r} may take forever on some key: {danger}")
        words = self.law.words
        unknown = next((word for word in words if word not in _WORDS), None)
        if unknown is not None:
            raise RuleError(f"{where}: {unknown!r} is not an operation; use {', '.join(_WORDS)}")
        check_sizes(self.sizes, self.shape, where)
        cuts = bool(set(words) & set(CUTTING))
        if "unstack" in words and "chunk" in words[words.index("unstack") :]:
            raise RuleError(f"{where}: a tensor is cut before it is unstacked; write chunk+unstack, not {self.op}")
        if isinstance(self.replacement, tuple) and not cuts:
            raise RuleError(f"{where}: only chunk and unstack may have several replacements, not {self.op}")
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


@dataclass(frozen=True)
class RuleSet:
    """An ordered list of rules.

    Attributes:
        rules: in the order in which they are asked.
        tied: (served, other): model keys that share a tensor in the model. The rules give the
            first; the second gets the same tensor.
        undecided: checkpoint keys of ambiguous matches; the rules give each its likeliest place, a guess.
        doubles: (other, served): second names of tensors, of rules that lead back; left out where the first is there.
    """

    rules: tuple[Rule, ...] = ()
    tied: tuple[tuple[str, str], ...] = ()
    undecided: tuple[str, ...] = ()
    doubles: tuple[tuple[str, str], ...] = ()

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)

    def __getitem__(self, position: int) -> Rule:
        return self.rules[position]

    def __repr__(self) -> str:
        return f"<RuleSet: {len(self.rules)} {'rule' if len(self.rules) == 1 else 'rules'}>"

    def __str__(self) -> str:
        width = max((len(rule.pattern) for rule in self.rules), default=0)
        lines = []
        for rule in self.rules:
            target = ", ".join(rule.replacements)
            remarks = [rule.op] if rule.op != "rename" else []
            remarks += [f"{rule.hits} {'key' if rule.hits == 1 else 'keys'}"] if rule.hits else []
            remarks += [rule.note] if rule.note else []
            tail = f"   # {'; '.join(remarks)}" if remarks else ""
            lines.append(f"{rule.pattern:<{min(width, 80)}} -> {target}{tail}")
        return "\n".join(lines)

    @cached_property
    def _lookup(self) -> Lookup:
        return Lookup([rule.pattern for rule in self.rules])

    def move(self, key: str) -> Move | None:
        """What the rules say of one key; None where none takes it.

        Raises:
            RuleError: the rule that takes it cannot fill in its replacement.
        """
        if not isinstance(key, str):
            raise RuleError(f"the key {key!r} is not a text, so no rule can be asked about it")
        found = self._lookup.find(key)
        if found is None:
            return None
        number, match = found
        rule, groups = self.rules[number], match.groupdict()
        if isinstance(rule.replacement, str) and rule.op == "rename":
            return Move(number + 1, (parse(rule.replacement).expand(groups),), PLAIN)
        return _move(rule, number + 1, groups)

    def rename(self, key: str) -> str:
        """The model key of a checkpoint key; the key itself where no rule takes it.

        Of a chunk or unstack it is the first piece; `move(key).targets` has all.
        """
        move = self.move(key)
        return key if move is None else move.targets[0]

    def guesses(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Those of the keys that go by a guess; without `undecided`, all that a rule with ambiguous hits takes."""
        if self.undecided:
            undecided = frozenset(self.undecided)
            return tuple(key for key in keys if key in undecided)
        if not any(rule.ambiguous for rule in self.rules):
            return ()
        moves = ((key, self.move(key)) for key in keys)
        return tuple(key for key, move in moves if move is not None and self.rules[move.rule - 1].ambiguous)

    def apply(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """The tensors under their new keys; keys that no rule takes stay as they are.

        Keys of ambiguous matches go where the likeliest guess puts them, with a `UserWarning` that names them.

        Args:
            state_dict: tensors (torch or numpy) under checkpoint keys; it is not changed.

        Returns:
            A new dict. Tensors that are only renamed are the same objects; pieces of a chunk
            are views. Versions of modules (torch's `_metadata`) go with their tensors.

        Raises:
            RuleError: two keys would become the same key, a group lacks a member, or an
                operation does not fit a tensor.
        """
        if not isinstance(state_dict, Mapping):
            raise RuleError(f"{type(state_dict).__name__} is no state_dict; give tensors under their keys")
        guesses = self.guesses(state_dict)
        if guesses:
            warnings.warn(
                f"{len(guesses)} keys are renamed by a guess, the first {guesses[0]!r}: their matches are ambiguous; "
                f"decide them with pins",
                stacklevel=2,
            )
        out = apply_moves(without_doubles(state_dict, self.doubles), self.move)
        for served, other in self.tied:
            if served in out and other not in out:
                out[other] = out[served]
        versions = versions_of(state_dict)
        return with_versions(out, moved_versions(versions, self._pairs(state_dict))) if versions else out

    def _pairs(self, keys: Iterable[str]) -> Iterator[tuple[str, str]]:
        for key in keys:
            move = self.move(key)
            for target in (key,) if move is None else move.targets:
                yield key, target

    def reverse(self, keys: Keys | None = None) -> RuleSet:
        """The rules that lead back, from model keys to checkpoint keys; proven on all keys, if these are given.

        Args:
            keys: the checkpoint keys with their shapes: what `automatch.read_keys` gives, a dict of tensors or shapes,
                or pairs `(key, shape)`. Without them a rule is turned round by itself, which only some can be.

        Raises:
            RuleError: a rule cannot be reversed (the sentence says which, and why), or the rules do not carry the keys.
        """
        from automatch.rules.reverse import reversed_rules

        return reversed_rules(self, keys)

    def to_list(self) -> list[dict[str, Any]]:
        """The rules as JSON holds them."""
        return [rule.to_dict() for rule in self.rules]

    @classmethod
    def from_list(cls, rules: Iterable[object], tied: Iterable[tuple[str, str]] = ()) -> RuleSet:
        """Reads a list of rules as `to_list` gives it.

        Raises:
            RuleError: a rule cannot be read; the sentence says which.
        """
        if not isinstance(rules, Iterable):
            raise RuleError(f"{type(rules).__name__} is no list of rules")
        return cls(tuple(Rule.from_dict(rule, f"rule {i}") for i, rule in enumerate(rules, 1)), tuple(tied))

    @classmethod
    def from_json(cls, text: str) -> RuleSet:
        """Reads the JSON of `automatch diagnose --format json`, or its list of rules alone.

        From the whole JSON the ties are read as well (a checkpoint key that serves several
        model keys stands in several of its matches), and which keys are ambiguous.

        Raises:
            RuleError: it is neither.
        """
        try:
            data = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise RuleError(f"the rules are not JSON: {error}") from None
        return cls.from_document(data)

    @classmethod
    def from_document(cls, data: object) -> RuleSet:
        """Reads what stands in a rules file, as plain lists and dicts: a list of rules, or a dict that has one.

        A dict may tell the ties and the ambiguous keys, under "tied" and "undecided", or by its "matches".

        Raises:
            RuleError: it is neither.
        """
        rules = data.get("rules") if isinstance(data, Mapping) else data
        if not isinstance(rules, list):
            raise RuleError('the document is neither a list of rules nor an object with a list under "rules"')
        read = cls.from_list(rules)
        if not isinstance(data, Mapping):
            return read
        matches = data.get("matches")
        found = matches if isinstance(matches, list) else []
        tied, undecided = pairs_field(data, "tied"), texts_field(data, "undecided")
        return cls(
            read.rules,
            tuple(tied_keys(found, read.rename)) if tied is None else tied,
            tuple(undecided_keys(found)) if undecided is None else undecided,
            pairs_field(data, "doubles") or (),
        )


def _move(rule: Rule, number: int, groups: Mapping[str, str | None]) -> Move:
    texts = rule.replacements
    if rule.by is not None and "unstack" in rule.law.words:
        name, parsed = rule.by, [parse(text) for text in texts]

        def members(count: int) -> tuple[str, ...]:
            each = range(count // len(parsed))
            return tuple(text.expand({**groups, name: str(i)}) for text in parsed for i in each)

        return Move(number, members(len(parsed)), rule.law, members=members)
    part = rule.part
    if isinstance(part, str):
        parts = alternatives(rule.pattern, part)
        part = (parts.index(groups.get(part) or ""), len(parts))
    order = None
    if rule.by is not None:
        value = groups.get(rule.by) or ""
        if not (value.isascii() and value.isdigit()):
            raise RuleError(
                f"rule {number}: {rule.by!r} orders the members of a stack and captured {value!r}, not a number"
            )
        if len(value) > LONGEST_NUMBER:
            raise RuleError(f"rule {number}: {rule.by!r} orders a stack, and its number {value[:20]}... is too long")
        order = int(value)
    return Move(number, tuple(parse(t).expand(groups) for t in texts), rule.law, part, order)
