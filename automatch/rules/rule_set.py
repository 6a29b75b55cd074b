"""The ordered list of rules: which one takes a key, and what all of them make of a state_dict."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from automatch.errors import RuleError
from automatch.rules.doubt import undecided_keys
from automatch.rules.fields import pairs_field, texts_field
from automatch.rules.lookup import Lookup
from automatch.rules.movers import Mover, mover_of
from automatch.rules.rule import Rule
from automatch.rules.tensors import Move, apply_moves, without_doubles
from automatch.rules.ties import tied_keys
from automatch.rules.versions import moved_versions, versions_of, with_versions

if TYPE_CHECKING:
    from automatch.rules.reverse import Keys


_DEEPEST = 3
"""So many dicts within each other are looked into for the tensors that rules speak of."""


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

    def __getstate__(self) -> dict[str, object]:
        """What a pickle holds: the fields, not what was worked out from them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _movers(self) -> dict[int, Mover]:
        return {}  # filled when a rule takes its first key

    def taker(self, key: str) -> int | None:
        """The number (from 1) of the rule that takes a key; None where none does."""
        found = self._lookup.find(key)
        return None if found is None else found[0] + 1

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
        mover = self._movers.get(number)
        if mover is None:
            mover = self._movers[number] = mover_of(self.rules[number], number + 1, self._lookup.groups[number])
        try:
            return mover(match)
        except RuleError as error:
            raise RuleError(f"rule {number + 1}, key {key!r}: {error}") from None

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
            RuleError: two keys would become the same key, a group lacks a member, an operation does not fit a tensor,
                or the tensors that the rules speak of lie in a dict below.
        """
        if not isinstance(state_dict, Mapping):
            raise RuleError(f"{type(state_dict).__name__} is no state_dict; give tensors under their keys")
        inner = self._dicts_below(state_dict)
        if inner:
            raise RuleError(f"the tensors that these rules rename lie below; give {' or '.join(inner)}")
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

    def _dicts_below(self, state_dict: Mapping[str, Any]) -> list[str]:
        """Where a nested checkpoint keeps the keys that the rules move, as `checkpoint['x']`; none if it has some."""
        if any(hasattr(value, "dtype") or self.move(str(key)) is not None for key, value in state_dict.items()):
            return []
        found: list[str] = []
        below = [("checkpoint", state_dict)]
        for _ in range(_DEEPEST):
            below = [
                (f"{path}[{key!r}]", value)
                for path, held in below
                for key, value in held.items()
                if isinstance(value, Mapping)
            ]
            found += [path for path, held in below if any(self.move(str(k)) is not None for k in held)]
        return found

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
