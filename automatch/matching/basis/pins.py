"""What a person decided: pairs that must be, and pairs that must not be."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from math import prod
from typing import TypeGuard

from automatch.describing.tokens import split_key
from automatch.errors import InputError
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf, Path, template
from automatch.matching.basis.parts import role_in
from automatch.matching.basis.units import module_path
from automatch.spec import StateDictSpec

FEW = 100
"""So many pins are a person's single decisions; more come from a regex that says itself what it speaks of."""


@dataclass(frozen=True)
class Decisions:
    """Pins and forbidden pairs, resolved to keys.

    Attributes:
        pinned: checkpoint key -> the model keys that it must serve.
        forbidden: pairs (checkpoint key, model key).
    """

    pinned: dict[str, tuple[str, ...]]
    forbidden: frozenset[tuple[str, str]]

    @property
    def made(self) -> bool:
        """Did a person decide anything?"""
        return bool(self.pinned or self.forbidden)

    def refuses(self, mine: Leaf, theirs: Leaf) -> bool:
        """Must these two not be put together?"""
        for key in mine.keys:
            wanted = self.pinned.get(key)
            if wanted is not None and not any(other in wanted for other in theirs.keys):
                return True
        served = self._served
        if any(other in served and served[other].isdisjoint(mine.keys) for other in theirs.keys):
            return True  # what is joined needs no pin for each of its parts
        return self.forbids(mine, theirs)

    def forbids(self, mine: Leaf, theirs: Leaf) -> bool:
        """Did a person forbid this pair?"""
        return bool(self.forbidden) and any((k, o) in self.forbidden for k in mine.keys for o in theirs.keys)

    @property
    def told(self) -> Collection[str]:
        """The model keys that are pinned."""
        return self._served

    @property
    def spoken_of(self) -> set[str]:
        """The model keys that a pin or a forbidden pair names."""
        return {*self._served, *(other for _, other in self.forbidden)}

    @cached_property
    def _served(self) -> dict[str, set[str]]:
        """Model key -> the checkpoint keys that are pinned to it."""
        out: dict[str, set[str]] = defaultdict(set)
        for key, others in self.pinned.items():
            for other in others:
                out[other].add(key)
        return dict(out)


def as_pairs(value: object, word: str) -> tuple[tuple[str, str], ...]:
    """The pairs that a person gave, in whatever form.

    Args:
        value: a mapping of checkpoint keys to model keys, or a sequence of pairs or of texts `"a=b"`; one text or None
            will do as well.
        word: "pin" or "forbid", for messages.

    Raises:
        InputError: it is none of these.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        return (split_pair(value, word),)
    items: Iterable[object] = value.items() if isinstance(value, Mapping) else value if _is_listing(value) else (value,)
    return tuple(_as_pair(item, word) for item in items)


def _is_listing(value: object) -> TypeGuard[Iterable[object]]:
    """Whether it is a sequence or set of pairs."""
    return isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray))


def _as_pair(item: object, word: str) -> tuple[str, str]:
    if isinstance(item, str):
        return split_pair(item, word)
    if isinstance(item, (tuple, list)) and len(item) == 2 and all(isinstance(key, str) for key in item):
        return item[0], item[1]
    raise InputError(
        f'{word}: {item!r} is no pair; give {word}={{"checkpoint_key": "model_key"}}, a list of such pairs, or of '
        f'texts "checkpoint_key=model_key"'
    )


def split_pair(text: str, word: str) -> tuple[str, str]:
    """Both sides of `CHECKPOINT_KEY=MODEL_KEY`, cut at the first `=` that is not part of a regex group such as `(?=`.

    Raises:
        InputError: it does not have this form.
    """
    left, sign, right = text.partition("=")
    while sign and left.endswith(("(?", "(?<")):
        more, sign, right = right.partition("=")
        left = f"{left}={more}"
    if not left or not right:
        raise InputError(f"{word}: {text!a} is not of the form CHECKPOINT_KEY=MODEL_KEY")
    return left, right


def check_pins(decisions: Decisions, checkpoint: StateDictSpec, model: StateDictSpec) -> None:
    """Refuse pins that cannot all hold: two tensors that each fill the same model tensor.

    Parts that are joined may share a model key; they are smaller than it.

    Raises:
        InputError: names the keys.
    """
    owner: dict[str, str] = {}
    for key, others in decisions.pinned.items():
        for other in others:
            whole = prod(checkpoint.by_key[key].shape) == prod(model.by_key[other].shape)
            if whole and owner.setdefault(other, key) != key:
                raise InputError(f"{owner[other]} and {key} are both pinned to {other}; take one of the two away.")


def resolve(
    pin: Sequence[tuple[str, str]], forbid: Sequence[tuple[str, str]], checkpoint: Sequence[str], model: Sequence[str]
) -> Decisions:
    r"""Find the keys that pins and forbidden pairs speak of.

    Each side of a pair is a key, the path of a module, or a regex for one of them; captured
    groups must be equal on both sides, or the model side refers to them as in `re.sub` (`\1`).

    Raises:
        InputError: a pair speaks of nothing that exists, or is both pinned and forbidden.
    """
    forbidden = {pair for left, right in forbid for pair in _pairs(left, right, checkpoint, model, "forbid")}
    pinned: dict[str, dict[str, None]] = defaultdict(dict)
    for left, right in pin:
        for key, other in _pairs(left, right, checkpoint, model, "pin"):
            if (key, other) in forbidden:
                raise InputError(f"{key}={other} is both pinned and forbidden; take one of the two away.")
            pinned[key][other] = None
    return Decisions({key: tuple(others) for key, others in pinned.items()}, frozenset(forbidden))


def followed(decisions: Decisions, checkpoint: StateDictSpec, model: StateDictSpec) -> Decisions:
    """The decisions, with the pins that follow from others: a bias goes where its weight goes.

    So do all tensors of the largest containers around two pinned tensors that hold the same names and shapes, as long
    as no other pin and no forbidden pair says otherwise.
    """
    if len(decisions.pinned) > FEW:
        return decisions
    pinned = dict(decisions.pinned)
    served = {other for others in pinned.values() for other in others}
    seen: set[tuple[str, str]] = set()
    for pair in ((key, other) for key, others in decisions.pinned.items() for other in others):
        around = _beside(*pair, checkpoint, model) if pair not in seen else ()
        seen.update(around)
        for name, theirs in around:
            if name not in pinned and theirs not in served and (name, theirs) not in decisions.forbidden:
                pinned[name] = (theirs,)
                served.add(theirs)
    return Decisions(pinned, decisions.forbidden)


def in_pinned_order(found: Sequence[Found], decisions: Decisions) -> list[Found]:
    """The pairs with the parts of what is joined, or cut, in the order in which a person pinned them.

    `fused=gate` puts the gate first. All parts but one must be told: of a `qkv` alone, `qkv=v` says that v is one of
    them, and they lie as their names say; parts without such names follow as they lay, and the pair stays in doubt.
    What is decided for one layer holds for the tensors of its name in all layers, biases included.
    """
    orders: dict[tuple[Path, frozenset[Path]], list[Path]] = {}
    joined = {id(s): sides for s, t, _ in found if (sides := _sides(s, t)) is not None} if decisions.pinned else {}
    for parts, fused in joined.values():
        whole, names = fused.keys[0], _names(parts.keys)
        told = decisions.pinned.get(whole) or [key for key, wanted in decisions.pinned.items() if whole in wanted]
        if first := [names[key] for key in told if key in names]:
            orders[_module(whole), frozenset(names.values())] = first
    out: list[Found] = []
    for s, t, evidence in found:
        if id(s) in joined:
            parts, fused = joined[id(s)]
            names = _names(parts.keys)
            order = orders.get((_module(fused.keys[0]), frozenset(names.values())))
            own = list(names.values())
            whole_order = order is not None and len(order) >= len(own) - 1
            if order is not None and (whole_order or not _told_by_names(parts.keys)):
                places = sorted(range(len(own)), key=lambda i: order.index(own[i]) if own[i] in order else len(own) + i)
                sizes = tuple(parts.sizes[i] for i in places) if parts.sizes else None
                new = replace(parts, keys=tuple(parts.keys[i] for i in places), sizes=sizes)
                s, t = (new if s is parts else s), (new if t is parts else t)
                if whole_order:
                    evidence = Evidence(level="pin")
                elif evidence.level == "pin":
                    evidence = Evidence(level="summed")
        out.append((s, t, evidence))
    return out


def _sides(s: Leaf, t: Leaf) -> tuple[Leaf, Leaf] | None:
    """(the joined parts, the fused tensor) of a pair; None for others."""
    for parts, fused in ((s, t), (t, s)):
        if "concat" in parts.ops and len(fused.keys) == 1 < len(parts.keys) and not (parts.layers or fused.layers):
            return parts, fused
    return None


def _told_by_names(keys: Sequence[str]) -> bool:
    roles = {found[1] for key in keys if (found := role_in(split_key(key)))}
    return len(roles) == len(keys)


def _names(keys: Sequence[str]) -> dict[str, Path]:
    """What each of some parts is called in every layer: the numbers that all of them share are taken out, no others."""
    paths = {key: module_path(split_key(key)) for key in keys}
    common = len(list(takewhile(lambda tokens: len(set(tokens)) == 1, zip(*paths.values(), strict=False))))
    return {key: template(path[:common]) + path[common:] for key, path in paths.items()}


def _module(key: str) -> Path:
    return template(module_path(split_key(key)))


def _beside(key: str, other: str, checkpoint: StateDictSpec, model: StateDictSpec) -> list[tuple[str, str]]:
    """The pairs of keys in the largest containers around two keys that hold the same names and shapes."""
    mine, theirs = key.split("."), other.split(".")
    found: list[tuple[str, str]] = []
    for depth in range(1, min(len(mine), len(theirs))):
        if mine[-depth:] != theirs[-depth:]:
            break
        tops = ".".join(mine[:-depth]) + ".", ".".join(theirs[:-depth]) + "."
        held = [
            {t.key[len(top) :]: t.shape for t in side.tensors if t.key.startswith(top)}
            for side, top in zip((checkpoint, model), tops, strict=True)
        ]
        if held[0] != held[1]:
            break
        found = [(tops[0] + name, tops[1] + name) for name in held[0]]
    return found


def _pairs(left: str, right: str, checkpoint: Sequence[str], model: Sequence[str], word: str) -> list[tuple[str, str]]:
    mine = _hits(left, checkpoint, word)
    if not mine:
        raise InputError(f"{word} {left}={right}: no checkpoint key matches {left!r}; take a key from the match table.")
    if "\\" in right and re.search(r"\\(\d|g<)", right):
        keys = set(model)
        try:
            out = [(key, m.expand(right) + rest) for key, m, rest in mine if m is not None]
        except (re.error, IndexError) as error:
            raise InputError(
                f"{word} {left}={right}: {right!r} refers to a group that {left!r} does not capture ({error})."
            ) from None
        out = [(key, other) for key, other in out if other in keys]
    else:
        theirs = _hits(right, model, word)
        by_groups: dict[tuple[str | None, ...], list[str]] = defaultdict(list)
        for key, m, rest in theirs:
            by_groups[_groups(m, rest)].append(key)
        out = [(key, other) for key, m, rest in mine for other in by_groups.get(_groups(m, rest), ())]
        if theirs and not out:
            inside = any(rest for *_, rest in (*mine, *theirs))
            why = "below the two no key has one name on both sides" if inside else "their groups capture other texts"
            raise InputError(
                f"{word} {left}={right}: both are there, but {why} (first {mine[0][0]} and {theirs[0][0]}); "
                f"speak of the keys, or of the modules, that lie inside"
            )
    if not out:
        way = r"a regex's groups are \1, \2 here" if re.search(r"\{\w+\}", right) else "take a key from the match table"
        raise InputError(f"{word} {left}={right}: no model key matches {right!r}; {way}.")
    return out


def _groups(m: re.Match[str] | None, rest: str) -> tuple[str | None, ...]:
    return (*(m.groups() if m is not None else ()), rest)


def _hits(text: str, keys: Sequence[str], word: str) -> list[tuple[str, re.Match[str] | None, str]]:
    """(key, match, rest of the key behind a module's path) for all keys that a text speaks of."""
    if text in set(keys):
        return [(text, None, "")]
    try:
        whole, module = re.compile(text), re.compile(f"(?:{text})(?=\\.)")
    except re.error as error:
        raise InputError(
            f"{word}: {text!r} is no regular expression ({error}); write it as Python's re takes it."
        ) from None
    found: list[tuple[str, re.Match[str] | None, str]] = [(k, m, "") for k in keys if (m := whole.fullmatch(k))]
    return found or [(k, m, k[m.end() :]) for k in keys if (m := module.match(k))]
