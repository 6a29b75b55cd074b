"""What keys that both sides have say of the pairs: of what is left over, and of what another key was given."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.identity import Identity
from automatch.matching.basis.leaves import Leaf, Path, numbered
from automatch.matching.basis.units import module_path

MOSTLY = 0.8
"""From this share of equal keys of equal shapes on, a key means the same on both sides."""


def namesakes(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], identity: Identity
) -> list[Found]:
    """Further pairs: left-overs of one name and one shape.

    Where the two sides are the same model its wrappers do not count, else only whole keys that no number leads to.
    """
    used, served = {id(s) for s, _, _ in found}, {id(t) for _, t, _ in found}
    left = [s for s in source if id(s) not in used]
    right = [t for t in target if id(t) not in served]
    return [
        (s, t, Evidence(name=1.0, level="name"))
        for s, t in same_names(left, right, identity)
        if s.raw == t.raw and s.shape == t.shape and s.integer == t.integer and (identity.holds or _is_own(s, t))
    ]


def same_names(left: Sequence[Leaf], right: Sequence[Leaf], identity: Identity) -> list[tuple[Leaf, Leaf]]:
    """Leaves of one name, wrappers apart; what stands twice on a side, with and without its wrapper, has none."""
    mine, theirs = ([identity.bare(leaf.path, which) for leaf in side] for which, side in enumerate((left, right)))
    counts = Counter(mine), Counter(theirs)
    by_path = {path: leaf for path, leaf in zip(mine, left, strict=True) if counts[0][path] == 1}
    pairs = [(by_path.get(path), t) for path, t in zip(theirs, right, strict=True) if counts[1][path] == 1]
    return [(s, t) for s, t in pairs if s is not None]


def _is_own(s: Leaf, t: Leaf) -> bool:
    """Is it one key of a module inside another, so that no other network is likely to have it?"""
    return s.keys == t.keys and len(s.path) > 2 and not numbered(s.path) and not s.ops and not t.ops


def by_every_name(source: Sequence[Leaf], target: Sequence[Leaf]) -> list[Found]:
    """The pairs of equal names, if the model holds every tensor of the checkpoint under its name, in its shape.

    An encoder for a model that has more: what else is of that shape is no question.
    """
    theirs = {leaf.path: leaf for leaf in target}
    if len(theirs) < len(target) or len({leaf.path for leaf in source}) < len(source):
        return []
    same = [(s, theirs.get(s.path)) for s in source]
    pairs = [(s, t) for s, t in same if t is not None and s.raw == t.raw and not (s.ops or t.ops)]
    return [(s, t, Evidence(name=1.0, level="name")) for s, t in pairs] if len(pairs) == len(source) else []


def not_crossed(
    found: Sequence[Found],
    source: Sequence[Leaf],
    target: Sequence[Leaf],
    identity: Identity,
    beside: Sequence[Found] = (),
) -> list[Found]:
    """The pairs without those of which one has its own name on the other side, in another shape.

    Two heads of one model, for other numbers of classes: `bbox_pred` of two has the shape of `cls_score` of eight, and
    what was the `head` is not the model's new `aux_head` of as many classes. `beside`: what has been found before.
    """
    if not identity.holds or not found:
        return list(found)
    mine = {identity.bare(leaf.path, 0): leaf for leaf in source}
    theirs = {identity.bare(leaf.path, 1): leaf for leaf in target}
    used, served = ({id(pair[n]) for pair in (*found, *beside)} for n in (0, 1))

    def is_crossed(s: Leaf, t: Leaf) -> bool:
        own, named = mine.get(identity.bare(t.path, 1)), theirs.get(identity.bare(s.path, 0))
        if own is s or s.ops or t.ops or numbered(t.path) or (own is None and named is None):
            return False
        if (own is None or named is None) and (id(own) in used or id(named) in served):
            return False  # names that moved on by one: `head` was `pre_logits`, and another is the `head`
        return (own is None or own.raw != t.raw) and (named is None or named.raw != s.raw)

    return [(s, t, e) for s, t, e in found if e.level == "pin" or not is_crossed(s, t)]


def by_own_name(found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf]) -> list[Found]:
    """The pairs with those exchanged whose model key stands in the checkpoint, of that shape, and was given another.

    Only keys without a number, as layers may have been counted otherwise, and only whole modules. What served such a
    key before is given what served the other one, and flagged.
    """
    own = _by_module(source)
    wanted = _by_module(target)
    same = {module for module, shapes in wanted.items() if own.get(module) == shapes}
    mine = {leaf.path: leaf for leaf in source if module_path(leaf.path) in same and not leaf.ops}
    out = list(found)
    given = {id(s): n for n, (s, _, _) in enumerate(found)}
    for n, (_, t, evidence) in enumerate(found):
        held, s = mine.get(t.path), out[n][0]
        if held is None or held is s or t.ops or evidence.level == "pin":
            continue
        other = given.pop(id(held), None)
        given.pop(id(s), None)  # one tensor may serve several keys
        if other is not None:
            _, theirs, told = out[other]
            if theirs.raw != s.raw or theirs.ops or s.ops or told.level == "pin":
                given |= {id(held): other, id(s): n}
                continue
            out[other] = s, theirs, replace(told, level="exchanged")
            given[id(s)] = other
        out[n] = held, t, Evidence(name=1.0, level="name")
        given[id(held)] = n
    return out


def _by_module(leaves: Sequence[Leaf]) -> dict[Path, list[tuple[Path, tuple[int, ...], bool]]]:
    """The tensors of modules that no number leads to, by their paths."""
    out: dict[Path, list[tuple[Path, tuple[int, ...], bool]]] = defaultdict(list)
    for leaf in leaves:
        if len(leaf.path) > 2 and not numbered(leaf.path):
            out[module_path(leaf.path)].append((leaf.path, leaf.raw, leaf.integer))
    return {module: sorted(held) for module, held in out.items()}


def by_same_keys(found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf], identity: Identity) -> list[Found]:
    """The pairs with those mended of which one key stands on the other side too, of that shape and without a partner.

    Only where nearly all keys of the model do: with half of the experts, `layers.1.experts.0` is not the fifth expert
    of the first layer. Where nearly all of the checkpoint's do, only inside a layer: its `attn` is not the model's
    new `temporal_attn`.
    """
    if identity.of_the_smaller < MOSTLY:
        return found
    used, served = {id(s) for s, _, _ in found}, {id(t) for _, t, _ in found}
    mine = {identity.bare(leaf.path, 0): leaf for leaf in source if id(leaf) not in used and not leaf.ops}
    theirs = {identity.bare(leaf.path, 1): leaf for leaf in target if id(leaf) not in served and not leaf.ops}
    out: list[Found] = []
    for s, t, e in found:
        own, other = identity.bare(s.path, 0), identity.bare(t.path, 1)
        held = mine.get(other) if identity.of_the_model >= MOSTLY else None
        home = theirs.get(own) if _numbers(own) == _numbers(other) else None
        if e.level == "pin" or s.ops or t.ops:
            out.append((s, t, e))
        elif held is not None and held.raw == t.raw:
            out.append((held, t, Evidence(name=1.0, level="name")))
        elif home is not None and home.raw == s.raw:
            out.append((s, home, Evidence(name=1.0, level="name")))
        else:
            out.append((s, t, e))
    return out


def _numbers(path: Path) -> list[str]:
    return [token for token in path if token.isdecimal()]
