"""Second copies of a whole network in one checkpoint: student and teacher, raw and averaged weights, an ensemble."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from itertools import pairwise

from automatch.averages import AVERAGES, is_average
from automatch.describing.tokens import words_of
from automatch.describing.tree import Interner, Node, Tree
from automatch.matching.aside.cleaned import Cleaned
from automatch.matching.aside.joined_copies import joined_copies
from automatch.matching.basis.leaves import Leaf

_SECOND = frozenset((*AVERAGES, *"student momentum target k key old prev previous frozen slow mean".split()))
_FIRST = frozenset("teacher online q query main current fast raw base learner".split())
"""Words for the copy to use, and for the others: DINO evaluates the teacher, MoCo and BYOL what was trained."""

_ANY = frozenset("model net network module".split())
"""Words that say of no copy that it is meant."""

COPY_LEAVES = 8
"""Fewer tensors are no network that could stand twice in a file."""

CORE = 0.9
"""The share of a container that makes a part of it all that counts."""

WHOLE = 0.9
"""The share of the other side's shapes that an item of a list has if it is a whole network: a member of an ensemble."""

MEMBER_LEAVES = 2
"""Fewer tensors are no member."""

COPY_SHARE = 0.8
"""Two copies share at least this of their names and shapes."""


def drop_copies(
    leaves: list[Leaf], others: Sequence[Leaf], pinned: Collection[str] = (), refused: Collection[str] = ()
) -> Cleaned:
    """Keep one of several copies of a whole network (student and teacher, raw and EMA weights).

    A copy is a sibling subtree that shares at least four fifths of its shapes with another one,
    while the other side has no such pair. The name decides: as on the other side, else by the
    field's words for the first (teacher, online, q) and the second (student, ema, k). A copy of which a person pinned
    keys is the one to keep, and so is the only one of which nothing is `refused`. Items of a list are copies where each
    of them has all that the other side has, the members of an ensemble; which of them is meant no name says. What the
    copy that is kept has lost is not taken from another one.
    """
    expected = sum(1 for leaf in others if not leaf.integer)
    words = _spoken(others)
    if bare := _unpinned(_copies_of_bare(leaves, others, expected), leaves, pinned):
        return _of_bare(leaves, bare, words, pinned)
    joined = joined_copies(leaves, words, len(others), COPY_LEAVES, COPY_SHARE)
    if joined := _unpinned(joined, leaves, pinned):
        return _of_bare(leaves, joined, set(), pinned)
    if not _may_have_copies(leaves, expected):
        return Cleaned(leaves, {})
    shapes, structs = Interner(), Interner()
    tree = Tree([leaf.path for leaf in leaves], [-1 if x.integer else shapes(x.shape) for x in leaves], structs)
    theirs = Tree([leaf.path for leaf in others], [-1 if x.integer else shapes(x.shape) for x in others], structs)
    gone: set[int] = set()
    notes: list[str] = []
    undecided = False
    known = [_size(node, theirs, others) for group in _twins(theirs, COPY_LEAVES // 2, True) for node in group]
    called = {run for leaf in others for run in (*((token,) for token in leaf.path), *pairwise(leaf.path))}
    room = sum(math.prod(leaf.shape) for leaf in others if not leaf.integer)
    least = max(MEMBER_LEAVES, int(WHOLE * expected))
    members = [group for group in _twins(tree, least, True) if _is_whole(group[0], tree, theirs)]
    for group in members or _twins(tree):
        size = _size(group[0], tree, leaves)
        if sum(0.5 * size <= other <= 2 * size for other in known) >= 2:
            continue
        # less than a network, or the other side is as large as all of them, stacked or joined
        in_part = group[0].count < 0.5 * expected or room >= WHOLE * size * len(group)
        if in_part and not _is_marked(group, words):
            continue
        meant = _told(group, [{leaves[i].keys[0] for i in tree.order[n.start : n.end]} for n in group], pinned, refused)
        meant = meant or [n for n in group if members and _own_name(n) in called]
        # `conv2` is what the other side calls `conv2`, `layers.0` its `layers.0`
        keep, sure = (meant[0], True) if len(meant) == 1 else _choose(group, words, tree, theirs)
        undecided |= not sure
        used = ".".join(keep.spelt())
        for node in (node for node in group if node is not keep):
            gone.update(tree.order[node.start : node.end])
            notes.append(f"a second copy under {'.'.join(node.spelt())} is left out, {used} is used")
    cleaned = _without(leaves, gone, notes, undecided)
    if not gone:
        return cleaned
    more = drop_copies(cleaned.leaves, others, pinned, refused)  # a third one, that stands beside the two
    return Cleaned(
        more.leaves, {**cleaned.dropped, **more.dropped}, cleaned.notes + more.notes, undecided or more.undecided
    )


def _unpinned(copies: dict[str, set[int]], leaves: Sequence[Leaf], pinned: Collection[str]) -> dict[str, set[int]]:
    """Those of several copies of which a person pinned no key."""
    return {name: own for name, own in copies.items() if not any(leaves[i].keys[0] in pinned for i in own)}


def _without(leaves: list[Leaf], gone: set[int], notes: list[str], undecided: bool) -> Cleaned:
    """The leaves without those of second copies."""
    dropped = {key: "belongs to a second copy of the network" for i in sorted(gone) for key in leaves[i].keys}
    return Cleaned([leaf for i, leaf in enumerate(leaves) if i not in gone], dropped, tuple(notes), undecided)


def _spoken(leaves: Sequence[Leaf]) -> set[str]:
    """The words that stand at the front of a side's paths."""
    return {w for leaf in leaves for token in leaf.path[:3] for w in words_of(token) if not w.isdecimal()}


def _of_bare(leaves: list[Leaf], bare: dict[str, set[int]], words: set[str], pinned: Collection[str]) -> Cleaned:
    """Leave out copies of what stands without their first token, or that, where the other side says the token's word.

    For a model's `image_encoder.layers`, `image.layers` is meant, and not the `layers` beside it.
    """
    said = [token for token in bare if (own := set(words_of(token)) - _ANY) and own <= words]
    if len(bare) == len(said) == 1:
        token, copy = said[0], bare[said[0]]
        inside = {leaves[i].path[depth:] for i in copy for depth in (1, 2)}
        gone = {i for i, leaf in enumerate(leaves) if i not in copy and leaf.path in inside}
        if not any(leaves[i].keys[0] in pinned for i in gone):
            return _without(leaves, gone, [f"a second copy is left out, the one under {token} is used"], False)
    notes = [f"a second copy under {token} is left out, the keys without it are used" for token in bare]
    return _without(leaves, set().union(*bare.values()), notes, undecided=False)


def _copies_of_bare(leaves: Sequence[Leaf], others: Sequence[Leaf], expected: int) -> dict[str, set[int]]:
    """The leaves under first tokens that are copies of those without them (`ema.fc.weight` beside `fc.weight`)."""
    known = {(leaf.path, leaf.shape) for leaf in leaves}
    theirs = {leaf.path[0] for leaf in others}
    groups: dict[str, list[int]] = defaultdict(list)
    for i, leaf in enumerate(leaves):
        groups[leaf.path[0]].append(i)
    out: dict[str, set[int]] = {}
    for token, members in groups.items():
        if len(members) < max(COPY_LEAVES, 0.5 * expected) or token in theirs or len(members) == len(leaves):
            continue
        for depth in (1, 2):
            same = sum((leaves[i].path[depth:], leaves[i].shape) in known for i in members)
            if same >= COPY_SHARE * len(members):
                out.setdefault(token, set(members))
    return out


def _may_have_copies(leaves: Sequence[Leaf], expected: int) -> bool:
    """Are there two places near the top that each hold about as many tensors as the other side has?"""
    for depth in (1, 2, 3):
        count = Counter(leaf.path[:depth] for leaf in leaves if not leaf.integer)
        if sum(n >= min(COPY_LEAVES, expected) and 2 * n >= expected for n in count.values()) >= 2:
            return True
    return any(not _SECOND.isdisjoint(words_of(token)) for leaf in leaves for token in leaf.path[:2])


def _is_marked(group: list[Node], words: set[str]) -> bool:
    """Are all of several copies but one called as that one is, and a second copy: `critic`, `critic_target`?"""
    special = _special(group)
    return special.count(set()) == 1 and all(not own or own <= _SECOND - words for own in special)


def _special(group: list[Node]) -> list[set[str]]:
    """For each of several copies, the words of its path that not all of them have."""
    named = [*map(_words, group)]
    common = set[str].intersection(*named)
    return [own - common for own in named]


def _words(node: Node) -> set[str]:
    """All words of a node's path; `avg_model` is averaged, and an `avg` elsewhere may be a pool."""
    return {
        "averaged" if word in ("avg", "average") and is_average(token) else word
        for token in node.tokens()
        for word in words_of(token)
    }


def _told(
    group: Sequence[Node], keys: Sequence[set[str]], pinned: Collection[str], refused: Collection[str]
) -> list[Node]:
    """Of several copies those of which a person pinned keys, or else those of which none was refused, if one was."""
    meant = [node for node, own in zip(group, keys, strict=True) if not own.isdisjoint(pinned)]
    left = [node for node, own in zip(group, keys, strict=True) if own.isdisjoint(refused)]
    return meant or (left if len(left) < len(group) else [])


def _own_name(node: Node) -> tuple[str, ...]:
    """What an item of a list is called; one that has but a number, together with its list."""
    name = node.spelt()
    return tuple(name[-2:] if name[-1].isdecimal() else name[-1:])


def _twins(tree: Tree, least: int = COPY_LEAVES, numbered: bool = False) -> list[list[Node]]:
    """Groups of sibling subtrees of so many leaves that are copies of each other; the outermost only.

    Items of a list are none, unless `numbered` says so.
    """
    out: list[list[Node]] = []
    stack = [tree.root]
    while stack:
        node = stack.pop()
        candidates = [c for c in node.children if c.count >= least and (numbered or not c.label.isdecimal())]
        found: list[Node] = []
        if numbered or not node.is_list:
            for i, a in enumerate(candidates):
                group = [a] + [b for b in candidates[i + 1 :] if _share(tree, a, b) >= COPY_SHARE]
                if len(group) > 1:
                    out.append(group)
                    found = group
                    break
        if not found:
            stack.extend(c for c in node.children if c.children)
    return out


def _is_whole(node: Node, tree: Tree, theirs: Tree) -> bool:
    """Has an item of a list nearly all shapes of the other side, where that has no such list itself?"""
    wanted = Counter(number for number in theirs.shapes if number >= 0)
    own = Counter(tree.shapes[leaf] for leaf in tree.order[node.start : node.end])
    return node.label[-1:].isdecimal() and (wanted & own).total() >= WHOLE * wanted.total()


def _size(node: Node, tree: Tree, leaves: Sequence[Leaf]) -> int:
    """How many numbers the tensors below a node hold; stacked or not, they are as many."""
    return sum(math.prod(leaves[i].shape) for i in tree.order[node.start : node.end])


def _cores(node: Node) -> list[Node]:
    """A node, and what a trainer's wrapper wraps, as far as it is nearly all of it.

    Beside `ema.model`, `ema.step` is nothing; `student.module.backbone` is a copy of `teacher.backbone`, and
    `model.module._orig_mod`, which holds all there is, of `ema.module`.
    """
    out = [node]
    least = node.count * (CORE if set(words_of(node.label)) & (_FIRST | _SECOND) else 1)
    while larger := [child for child in out[-1].children if child.children and child.count >= least]:
        out.append(larger[0])
    return out


def _share(tree: Tree, a: Node, b: Node) -> float:
    """The share of names and shapes that two nodes have in common, with what wraps them or without."""
    pairs = [(x, y) for x in _cores(a) for y in _cores(b) if x.count <= 2 * y.count <= 4 * x.count]
    return max((_common(tree, x, y) for x, y in pairs), default=0.0)


def _common(tree: Tree, a: Node, b: Node) -> float:
    """The share of the larger of two nodes that both have; of the smaller, where the names say which is the copy."""
    said = set(words_of(a.label)) ^ set(words_of(b.label))
    whole = min(a.count, b.count) if said and said <= _SECOND else max(a.count, b.count)
    return sum((_relative(tree, a) & _relative(tree, b)).values()) / max(1, whole)


def _relative(tree: Tree, node: Node) -> Counter[tuple[tuple[str, ...], int]]:
    """Relative paths with shapes below a node."""
    out: Counter[tuple[tuple[str, ...], int]] = Counter()
    for leaf in tree.order[node.start : node.end]:
        out[tuple(tree.node_of[leaf].tokens(node)), tree.shapes[leaf]] += 1
    return out


def _fitting(group: list[Node], keep: Node, tree: Tree, theirs: Tree) -> tuple[Node, bool]:
    """The one copy whose tensors the other side knows best, where the copies differ in shape.

    The network for motion sees two images: its first kernel is of another shape than that of the network for depth.
    What only one of the copies has is no proof, as the others may have lost it. But where the other side has it too,
    that copy is the likeliest: an image's patches are of the tower for images, and not of the one for text.
    """
    known = set(theirs.shapes)
    shapes = [
        {tuple(tree.node_of[leaf].tokens(node)): tree.shapes[leaf] for leaf in tree.order[node.start : node.end]}
        for node in group
    ]
    common = set.intersection(*(set(own) for own in shapes))
    strange = [sum(own[path] not in known for path in common) for own in shapes]
    best = min(strange)
    if strange.count(best) == 1:
        return group[strange.index(best)], True
    held = [set(own.values()) & known for own in shapes]
    alone = [len(own.difference(*(other for other in held if other is not own))) for own in held]
    most = max(alone)
    return group[alone.index(most)] if most and alone.count(most) == 1 else keep, False


def _choose(group: list[Node], words: set[str], tree: Tree, theirs: Tree) -> tuple[Node, bool]:
    """The copy to use, and whether its name decides that, or else its shapes."""
    special = _special(group)
    # ema_pytorch keeps `online_model` and `ema_model`, and uses the average; an `online_ema` is but an average
    apart = {frozenset(own & {"ema", "online"}) for own in special}
    averaged = {frozenset(("ema",)), frozenset(("online",))} == apart
    score: list[int] = []
    for own in special:
        first, second = own & _FIRST, own & _SECOND
        firsts = 0 if second else len(first)
        score.append(2 * len(own & words) + firsts - len(second) + 3 * (averaged and "ema" in own))
    ranked = sorted(range(len(group)), key=lambda i: (-score[i], i))
    named = score[ranked[0]] > score[ranked[1]] and not _are_encoders(group, special, words)
    return (group[ranked[0]], True) if named else _fitting(group, group[ranked[0]], tree, theirs)


def _are_encoders(group: list[Node], special: list[set[str]], words: set[str]) -> bool:
    """Is it an `encoder` and its `target_encoder`, and the other side says neither?

    I-JEPA and MSN evaluate the target, where BYOL and actor-critics go on with what was trained.
    """
    said = words & {"target", "encoder"}
    apart = {"target"} in special and set() in special
    return apart and not said and all("encoder" in own for own in map(_words, group))
