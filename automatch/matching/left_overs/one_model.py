"""What is changed in one and the same model: strangers among the left-overs, heads of other tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from automatch.describing.tokens import words_of
from automatch.matching.aside.cleanup import BASE, COPY, ORIGINAL
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.identity import Identity
from automatch.matching.basis.leaves import Leaf, numbered
from automatch.matching.basis.names import Names, Word
from automatch.matching.basis.units import module_path, role_of

UNLIKE = 0.5
"""Words that are less alike say other things."""

SPELT = 0.9
"""From here on two words are one, or stand for one thing."""

SAME_MODEL = 0.9
"""From this share of equal names on, two networks are one model, and only what was changed is called otherwise."""

COMMON = 3
"""A shape that more tensors have says nothing."""

FEWEST = 8
"""Fewer pairs have one prefix each by chance."""


def is_one_model(found: Sequence[Found], identity: Identity) -> bool:
    """Is nearly all of the two sides called the same?"""
    return bool(found) and sum(identity(s.path, t.path) for s, t, _ in found) >= SAME_MODEL * len(found)


def is_wrapped_model(found: Sequence[Found]) -> bool:
    """Is nearly all of the two sides called the same behind one prefix each, as `model.model.` and `funnel.`?"""
    prefixes: Counter[tuple[tuple[str, ...], tuple[str, ...]]] = Counter()
    for s, t, _ in found:
        same = 0
        for a, b in zip(reversed(s.path), reversed(t.path), strict=False):
            if a != b:
                break
            same += 1
        prefixes[s.path[: len(s.path) - same], t.path[: len(t.path) - same]] += 1
    return len(found) >= FEWEST and max(prefixes.values()) >= SAME_MODEL * len(found)


def doubt_other_heads(
    found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names, identity: Identity
) -> list[Found]:
    """The same pairs, those of no layer flagged whose names say other things, in what is one model otherwise.

    A `seg_head` may be the `cls_head` under another name, or the head of another task that is as large. Without those
    of shapes that are common, as all layers have them: a `pooler` fits a `classifier.dense` in every transformer.
    """
    if not identity.holds:
        return found
    served = {id(leaf) for pair in found for leaf in pair[:2]}
    left = [any(_is_apart(leaf) and id(leaf) not in served for leaf in side) for side in (source, target)]
    heads = {
        id(t)
        for s, t, e in found
        if _is_other_head(s, t, e, names, identity, changed=all(left))
        or (any(left) and _is_in_another_head(s, t, e, names, identity))
    }
    if not heads or not is_one_model([pair for pair in found if id(pair[1]) not in heads], identity):
        return found
    shapes = Counter(leaf.shape for leaf in source)
    telling = {module_path(s.path) for s, _, _ in found if shapes[s.shape] <= COMMON or role_of(s.path)[1] == "*"}

    def is_of_any(s: Leaf, t: Leaf) -> bool:
        """Does nothing but a common shape speak for a pair, neither a rare tensor nor the module around the two?"""
        around = identity.bare(module_path(s.path)[:-1], 0), identity.bare(module_path(t.path)[:-1], 1)
        return module_path(s.path) not in telling and (around[0] != around[1] or not around[0])

    return [
        (s, t, replace(e, level="head") if id(t) in heads else e)
        for s, t, e in found
        if not (id(t) in heads and is_of_any(s, t))
    ]


def _is_apart(leaf: Leaf) -> bool:
    """Is it a matrix outside all lists?"""
    return len(leaf.shape) > 1 and not numbered(leaf.path)


def _is_other_head(s: Leaf, t: Leaf, evidence: Evidence, names: Names, identity: Identity, changed: bool) -> bool:
    """Is a pair of no layer of two heads, by its names? `changed`: other heads are left over on both sides."""
    if evidence.level != "unit" or identity(s.path, t.path) or (numbered(s.path) and numbered(t.path)):
        return False
    if numbered(s.path) or numbered(t.path):  # a matrix of another tower's layer is no head, whatever its shape
        words = names.path_words(_called(t.path if numbered(s.path) else s.path))
        head = any("head" in word.concepts for word in words)
        return head and evidence.name < UNLIKE and not evidence.intact and say_other_things(s, t, names)
    if changed and _is_hardly_named(s, t, names):
        return True
    if say_other_things(s, t, names) or _is_of_several(module_path(s.path), module_path(t.path), names):
        return True
    called = [names.path_words(_called(x.path)) for x in (s, t)]  # a `rotation_head` is no `fc`
    sides = (called[0], names.path_words(t.path)), (called[1], names.path_words(s.path))
    heads = all(any("head" in word.concepts for word in words) for words in called)
    return heads and any(_says_more(own, others, names) for own, others in sides)


def _is_in_another_head(s: Leaf, t: Leaf, evidence: Evidence, names: Names, identity: Identity) -> bool:
    """Does one stand in a head whose name says more than the other's path: `sop_classifier.classifier`?"""
    if evidence.level != "unit" or identity(s.path, t.path) or numbered(s.path) or numbered(t.path):
        return False
    paths = identity.bare(module_path(s.path), 0), identity.bare(module_path(t.path), 1)
    words = [names.path_words(path) for path in paths]
    for path, other, others in zip(paths, reversed(paths), reversed(words), strict=True):
        for at, token in enumerate(path[:-1]):
            if not other or other[-1] not in path[at + 1 :]:
                continue  # `classification_head.out_proj` is the `classifier` by another name
            own = names.path_words((token,))
            more = [word for word in own if "head" not in word.concepts]
            if len(more) < len(own) and _says_more(more, others, names):
                return True
    return False


_ANY_HEAD = frozenset({"linear", "head", "output", "decoder"})
"""What any last layer may be called: timm's `head.fc` is the `head` of its older versions."""


_OF_PEFT = frozenset({BASE, COPY, ORIGINAL})


def _is_of_several(a: tuple[str, ...], b: tuple[str, ...], names: Names) -> bool:
    """Is one of two modules in the other's container, by a name that says more: `cls.seq_relationship` and `cls`?"""
    for whole, part in ((a, b), (b, a)):
        depth = len(part) - len(whole)
        rest = part[len(whole) :] if depth > 0 and part[: len(whole)] == whole else ()
        own = names.path_words(whole[-1:])  # `norm_out.norm` is the norm that it says it is
        more = [w for w in names.path_words(rest) if all(names.alike(w, o) < SPELT for o in own)]
        if _OF_PEFT.isdisjoint(rest) and any(w.concepts.isdisjoint(_ANY_HEAD) for w in more):
            return True
    return False


def say_other_things(s: Leaf, t: Leaf, names: Names) -> bool:
    """Has each of two paths a word that is like none of the other's?"""
    apart = [names.path_words([w for token in x.path for w in words_of(token)]) for x in (s, t)]
    return all(_says_more(own, others, names) for own, others in (apart, apart[::-1]))


def _is_hardly_named(s: Leaf, t: Leaf, names: Names) -> bool:
    """Have the names of two modules of one container no word in common: `project_hid`, `projector`?"""
    a, b = module_path(s.path), module_path(t.path)
    if not a or not b or a[-1] == b[-1] or a[:-1] != b[:-1]:
        return False
    words = [names.path_words(path[-1:]) for path in (a, b)]
    return max((names.alike(v, w) for v in words[0] for w in words[1]), default=0.0) < SPELT


def _called(path: tuple[str, ...]) -> tuple[str, ...]:
    """The last token of a module's path that is a name."""
    return next(((token,) for token in reversed(module_path(path)) if not token.isdecimal()), ())


def _says_more(own: Sequence[Word], others: Sequence[Word], names: Names) -> bool:
    """Has a name a word that is like none of the other's?"""
    return any(all(names.alike(a, b) < UNLIKE for b in others) for a in own)
