"""What a dialect may know beside the rules: what they were made for and proven on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from automatch.diagnosing.comparison import Comparison
from automatch.diagnosing.naming import count
from automatch.rules.carrying import carry
from automatch.rules.rule_set import RuleSet
from automatch.spec import Shape, StateDictSpec


@dataclass(frozen=True)
class Background:
    """What is known beside the rules.

    Attributes:
        keys: all keys of the checkpoint, in its order; None where only rules are known.
        shapes: sizes of the checkpoint's tensors by key; empty where they are not known.
        checkpoint: what to call the checkpoint, without folders, so that a text is the same on every machine; "" where
            it has no name.
        model: what to call the model; "" where it has no name.
        at: dotted path to the state_dict inside a nested checkpoint, "" at its top.
        proven: whether the rules give exactly the matches that were found; None where that was not looked at.
    """

    keys: tuple[str, ...] | None = None
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    checkpoint: str = ""
    model: str = ""
    at: str = ""
    proven: bool | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """What a rendered text says of itself in its first comment, one sentence a line, the same on every run."""
        made_for = " for ".join(plain(name) for name in (self.checkpoint, self.model) if name)
        first = [f"A proposal of automatch{f', {made_for}' if made_for else ''}: read it before use."]
        if self.at:
            first.append(f"The state_dict that it is for stands at {plain(self.at)!r} in the file.")
        if self.keys is None:
            return *first, "Not proven on any checkpoint: only the rules were known."
        said = {
            True: "each goes where the match table says, no other key moves, no two become one",
            False: "NOT proven: the rules do not give all of the matches that were found",
            None: "each becomes what the rules say, no two become one",
        }
        return *first, f"Replayed on {count(len(self.keys), 'checkpoint key')}: {said[self.proven]}."


NOTHING = Background()
"""Nothing is known but the rules."""


def plain(text: str) -> str:
    """A name or a note for a comment: one line of printable ASCII; anything else is escaped as Python writes it."""
    return "".join(c if c.isascii() and c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def background_of(comparison: Comparison) -> Background:
    """What a comparison knows."""
    return Background(
        keys=comparison.checkpoint.keys,
        shapes={tensor.key: tensor.shape for tensor in comparison.checkpoint.tensors},
        checkpoint=_last_part(comparison.checkpoint.name),
        model=_last_part(comparison.model.name),
        at=comparison.checkpoint.at,
        proven=comparison.proof.ok,
    )


def known_of(background: Background, checkpoint: StateDictSpec) -> Background:
    """The same with the keys of a checkpoint: the rules are to be replayed on them."""
    shapes = {tensor.key: tensor.shape for tensor in checkpoint.tensors}
    return replace(
        background,
        keys=checkpoint.keys,
        shapes=shapes,
        checkpoint=_last_part(checkpoint.name),
        at=checkpoint.at,
        proven=None,
    )


def turned(rules: RuleSet, background: Background) -> Background:
    """What is known of the rules that lead back: they take what `rules` give, as far as the keys are known."""
    sides = replace(NOTHING, checkpoint=background.model, model=background.checkpoint)
    if not background.shapes:
        return sides
    load = carry(rules, background.shapes)
    came = {key: shape for one in load.carried for key, shape in zip(one.match.model_keys, one.shapes, strict=True)}
    came.update((other, came[served]) for served, other in rules.tied if served in came)
    return replace(sides, keys=tuple(came), shapes=came)


def background_from(document: object, shapes: Mapping[str, Shape] | None = None) -> Background:
    """What a rules file tells beside its rules; the JSON of a diagnosis names all keys of the checkpoint.

    Args:
        document: the file as plain lists and dicts.
        shapes: those of its keys, as far as they matter, where it tells them.
    """
    if not isinstance(document, Mapping):
        return NOTHING
    keys: dict[str, None] = {}
    matches, unexpected = document.get("matches"), document.get("unexpected_keys")
    complete = isinstance(matches, list) and isinstance(unexpected, list)
    if isinstance(matches, list) and isinstance(unexpected, list):
        for match in matches:
            found = match.get("checkpoint_keys") if isinstance(match, Mapping) else None
            keys.update(dict.fromkeys(map(str, found if isinstance(found, list) else ())))
        keys.update(dict.fromkeys(map(str, unexpected)))
    sides = [document.get(side) for side in ("checkpoint", "model")]
    checkpoint, model = (side if isinstance(side, Mapping) else {} for side in sides)
    return Background(
        keys=tuple(keys) if complete else None,
        shapes=shapes or {},
        checkpoint=_last_part(str(checkpoint.get("name", ""))),
        model=_last_part(str(model.get("name", ""))),
        at=str(checkpoint.get("at", "")),
    )


def _last_part(name: str) -> str:
    """A path without its folders; the arguments of a factory stay as they are."""
    path, bracket, arguments = name.partition("(")
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1] + bracket + arguments
