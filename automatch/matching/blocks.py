"""Whole blocks to whole blocks, from the largest down; what is left goes to `modules`.

For two nodes that are known to correspond, all nodes below them are compared by the multiset of
their tensor shapes: equal ones first, then similar ones (Dice coefficient), the largest first.
Lists are aligned item by item, forwards or backwards. Every pair of blocks is solved the same
way, and equal pairs of blocks are solved once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from automatch.describing.tree import Node, below, descend, is_module
from automatch.matching.coherence import Coherence, Placed
from automatch.matching.company import company
from automatch.matching.compared import Compared, kinds_to_try, surplus
from automatch.matching.confidence import judge, plausible
from automatch.matching.evidence import Evidence
from automatch.matching.free import Taken, are_networks, by_kind, may_take_turns, outermost, ranked, within
from automatch.matching.gathering import units_of
from automatch.matching.grids import across
from automatch.matching.identity import Identity
from automatch.matching.lap import assign
from automatch.matching.leaves import Leaf, beside_layers, template
from automatch.matching.lists import align_lists, beside_turned, count_otherwise, may_run_backwards, run_apart
from automatch.matching.misnamed import misnamed, named_apart
from automatch.matching.modules import assign_units
from automatch.matching.names import Names, contrast
from automatch.matching.rivals import with_rivals
from automatch.matching.sides import Side
from automatch.matching.truncated import of_one_name
from automatch.matching.units import Context, depth_of, in_common, module_path, role_of

LARGER = 1.25
"""Items of one list that are so much larger than those of the other may be several of them."""

EXPLAINED = 0.999
"""Lists whose items, put together one by one, share less than this of what the whole lists share are cut otherwise."""

SIMILARITY, LOST = 4.0, 0.2
"""What similarity of shapes weighs beside names (1.2) and order (0.6) of blocks, and how much of that a difference
counts that is only lost tensors."""

DOUBT = 0.1
"""Names of two blocks must tell them from two others by more than this, or the pair is in doubt."""

LEARN_FROM = 0.9
"""Other blocks are told of decisions that are at least this sure without them."""

TAUGHT = 4.0
"""A pin weighs more than all other evidence."""

SMALLEST = 4
"""Fewer tensors are no block; they are matched one by one."""

_MANY = 96
"""So many equal blocks are put together in their order, without looking at names."""


class Solver:
    """Solves pairs of nodes; remembers equal pairs. `solve_roots` is the entry."""

    def __init__(
        self,
        source: Side,
        target: Side,
        names: Names,
        order_trust: float,
        identity: Identity,
        forbidden: Callable[[Leaf, Leaf], bool] | None = None,
    ) -> None:
        self.source, self.target, self.names = source, target, names
        self.learnt: Counter[tuple[tuple[str, ...], tuple[str, ...]]] = Counter()
        self.taught: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
        self.learnt_source: Counter[tuple[str, ...]] = Counter()
        self.identity = identity
        self._compared = Compared(source.tree, target.tree)
        self._company = company(source.leaves, names), company(target.leaves, names)
        wrapped = in_common(source.leaves), in_common(target.leaves)
        self._wrapped = wrapped if all(wrapped) else (0, 0)  # a name that is everywhere tells nothing apart
        self.context = Context(names, order_trust, self._support, forbidden, self.identity)
        self._doubted: set[tuple[int, int]] = set()
        self._disputed: set[int] = set()  # blocks that might as well have been chosen for one that is in doubt
        self._unless_taken: list[tuple[tuple[int, int], list[Node]]] = []  # what might have been chosen instead
        self._memo: dict[tuple[int, int, bool, bool], list[Placed]] = {}

    def _support(self, a: tuple[str, ...], b: tuple[str, ...]) -> float:
        a, b = template(a), template(b)
        if (a, b) in self.taught:
            return TAUGHT
        seen = self.learnt_source.get(a, 0)
        return self.learnt[a, b] / seen if seen else 0.0

    def _learn(self, a: tuple[str, ...], b: tuple[str, ...]) -> None:
        a, b = template(a), template(b)
        self.learnt[a, b] += 1
        self.learnt_source[a] += 1

    def teach(self, mine: tuple[str, ...], theirs: tuple[str, ...]) -> None:
        """A person pinned these two leaves: modules of these names belong together, in all blocks."""
        a, b = module_path(mine), module_path(theirs)
        for depth_a in range(1, len(a) + 1):
            for depth_b in range(1, len(b) + 1):
                self._learn(a[-depth_a:], b[-depth_b:])
                self.taught.add((template(a[-depth_a:]), template(b[-depth_b:])))

    def solve_roots(self) -> list[tuple[Leaf, Leaf, Evidence]]:
        """Match everything; leaves of the two sides with the evidence."""
        found = self.solve(self.source.tree.root, self.target.tree.root)
        mine, theirs = self.source.tree.order, self.target.tree.order
        return [(self.source.leaves[mine[i]], self.target.leaves[theirs[j]], e) for i, j, e in found]

    def solve(self, a: Node, b: Node) -> list[Placed]:
        """Pairs of leaves under two corresponding nodes, as positions relative to their starts."""
        # What a person decided about one layer does not hold for its equals: then every pair is solved itself.
        alike = self.identity.holds and self.identity(tuple(a.tokens()), tuple(b.tokens()))
        turned = not alike and a.is_list and b.is_list and beside_turned(a, b, self._compared.similar)
        own = (a.struct, b.struct) if self.context.forbidden is None else (id(a), id(b))
        key = (*own, alike, turned)
        if key not in self._memo:
            self._memo[key] = self._solve(a, b, turned)
        return self._memo[key]

    def _solve(self, a: Node, b: Node, turned: bool) -> list[Placed]:
        top_a, top_b = descend(a), descend(b)
        alike = self.identity(tuple(top_a.tokens()), tuple(top_b.tokens()))
        lists = top_a.is_list and top_b.is_list
        blocks = align_lists(top_a, top_b, self._compared.similar, turn=not alike) if lists else []
        if blocks and self._cut_otherwise(top_a, top_b, blocks):
            blocks = []
        backwards = bool(blocks) and (turned or may_run_backwards(top_a, top_b, self.names))
        if backwards:
            blocks = list(zip(top_a.children, reversed(top_b.children), strict=True))
        apart = bool(blocks) and self.context.order_trust == 1
        apart = apart and run_apart(top_a, top_b, (self.source.places(top_a), self.target.places(top_b)))
        if backwards or apart or (blocks and count_otherwise(top_a, top_b)):
            self._doubted.update((id(x), id(y)) for x, y in blocks)
        blocks = blocks or self._pair_blocks(top_a, top_b)
        out: list[Placed] = []
        waiting: dict[tuple[int, int], tuple[Evidence, Node, Node]] = {}
        taken: tuple[set[int], set[int]] = (set(), set())
        for x, y in sorted(blocks, key=lambda pair: self._compared.similar(*pair) < 1.0):
            doubted = (id(x), id(y)) in self._doubted
            for i, j, evidence in self.solve(x, y):
                if doubted and evidence.level == "unit":
                    evidence = replace(evidence, level="blocks")
                i, j = i + x.start - a.start, j + y.start - b.start
                if i in taken[0] or j in taken[1]:
                    continue  # a block inside this one that belongs to another
                taken[0].add(i)
                taken[1].add(j)
                if evidence.waiting:
                    waiting[i, j] = (evidence, x, y)
                else:
                    out.append((i, j, evidence))
        used_a, used_b = {i for i, _, _ in out}, {j for _, j, _ in out}
        for _ in range(2):  # once more for the tensors of modules that were matched in part
            more = self._doubted_alike(self._rest(a, b, blocks, out, used_a, used_b, waiting), out, a)
            out += more
            used_a.update(i for i, _, _ in more)
            used_b.update(j for _, j, _ in more)
            if not more:
                break
        out += [(i, j, e) for (i, j), (e, _, _) in waiting.items() if i not in used_a and j not in used_b]
        return [self._still_waiting(pair, waiting, a, b, used_a, used_b) for pair in out] if waiting else out

    def _cut_otherwise(self, a: Node, b: Node, items: list[tuple[Node, Node]]) -> bool:
        """Are two lists cut at other places? Then items of one are larger, and do not explain what the lists share."""
        mine, theirs = (side.tree.bag(n)[1] / len(n.children) for side, n in ((self.source, a), (self.target, b)))
        if max(mine, theirs) < LARGER * min(mine, theirs):
            return False
        return self._compared.shared(a, b) * EXPLAINED > sum(self._compared.shared(x, y) for x, y in items)

    def _doubted_alike(self, more: list[Placed], done: Sequence[Placed], a: Node) -> list[Placed]:
        """Pairs that are alone only because one that waits took their rival: they wait with it."""
        leaves, order = self.source.leaves, self.source.tree.order
        doubts = {leaves[order[a.start + i]].shape: e for i, _, e in done if e.waiting}
        return [(i, j, doubts.get(leaves[order[a.start + i]].shape, e)) for i, j, e in more] if doubts else more

    def _still_waiting(
        self,
        pair: Placed,
        waiting: Mapping[tuple[int, int], tuple[Evidence, Node, Node]],
        a: Node,
        b: Node,
        used_a: set[int],
        used_b: set[int],
    ) -> Placed:
        """A pair that waited and was found again keeps its doubt as long as its rival is free, or waits like it."""
        i, j, _ = pair
        if (i, j) not in waiting:
            return pair
        evidence, x, y = waiting[i, j]
        shape = self.source.leaves[self.source.tree.order[a.start + i]].shape
        sides = (
            (self.source, a, x, used_a, {m for m, _ in waiting}),
            (self.target, b, y, used_b, {m for _, m in waiting}),
        )
        for (side, top, node, used, doubted), own in zip(sides, (i, j), strict=True):
            for k in range(node.start - top.start, node.end - top.start):
                leaf = side.leaves[side.tree.order[top.start + k]]
                rival = k not in used or (k in doubted and k != own)
                if rival and leaf.shape == shape and not leaf.integer:
                    return i, j, evidence
        return pair

    def _rest(
        self,
        a: Node,
        b: Node,
        blocks: list[tuple[Node, Node]],
        done: list[Placed],
        used_a: set[int],
        used_b: set[int],
        waiting: Collection[tuple[int, int]],
    ) -> list[Placed]:
        """Single modules that no pair of blocks took for good."""
        left = [i for i in range(a.end - a.start) if i not in used_a]
        right = [j for j in range(b.end - b.start) if j not in used_b]
        if not left or not right:
            return []
        rests = [
            [side.leaves[side.tree.order[node.start + i]] for i in rest]
            for side, node, rest in ((self.source, a, left), (self.target, b, right))
        ]
        opaque = [sum(role_of(leaf.path)[1] == "*" for leaf in leaves) >= 0.8 * len(leaves) for leaves in rests]
        apart = opaque[0] != opaque[1]  # param_0, param_1: no names of roles, so one tensor is one module
        sides = [
            units_of(leaves, max(depth_of(node, leaves), wrapped), self.names, apart, beside)
            for node, leaves, beside, wrapped in zip((a, b), rests, self._company, self._wrapped, strict=True)
        ]
        at_a = {id(leaf): i for leaf, i in zip(rests[0], left, strict=True)}
        at_b = {id(leaf): j for leaf, j in zip(rests[1], right, strict=True)}
        context = self.context
        if done:
            coherence = Coherence(self.source.tree, self.target.tree, a, b, blocks, done, at_a, at_b, waiting)
            context = replace(context, astray=coherence)
        out: list[Placed] = []
        top_a, top_b = len(a.tokens()), len(b.tokens())
        for pair in assign_units(sides[0], sides[1], context):
            if not plausible(pair.evidence, beside_layers(pair.source, pair.target)):
                continue
            evidence = pair.evidence
            if (evidence.free or evidence.astray) and judge(evidence).ambiguous:
                evidence = replace(evidence, waiting=True)
            out.append((at_a[id(pair.source)], at_b[id(pair.target)], evidence))
            if judge(replace(pair.evidence, learnt=0.0)).confidence < LEARN_FROM:
                continue
            mine, theirs = module_path(pair.source.path), module_path(pair.target.path)
            beside = [
                (own[path],) if path in own else () for own, path in zip(self._company, (mine, theirs), strict=True)
            ]
            self._learn((*mine[top_a:], *beside[0]), (*theirs[top_b:], *beside[1]))
        return out

    def _pair_blocks(self, top_a: Node, top_b: Node) -> list[tuple[Node, Node]]:
        """Blocks below two nodes, largest common part first."""
        mine, theirs = (
            by_kind([n for n in below(top) if n.count >= SMALLEST and not is_module(n)]) for top in (top_a, top_b)
        )
        whole = self._compared.similar(top_a, top_b)
        if whole < 1.0:  # one side may be a part of the other
            mine.setdefault(top_a.struct, []).append(top_a)
            theirs.setdefault(top_b.struct, []).append(top_b)
        queue = kinds_to_try(self._compared, (mine, theirs), (top_a, top_b), whole)
        taken_a, taken_b = Taken(top_a), Taken(top_b)
        alike = self.identity(tuple(top_a.tokens()), tuple(top_b.tokens()))
        out = [*of_one_name(top_a, top_b, (self.source, self.target), SMALLEST)] if alike else []
        for x, y in out:
            taken_a.take(x)
            taken_b.take(y)
        self._unless_taken.clear()
        for s_kind, t_kind in queue:
            left = [n for k in s_kind for n in mine[k] if taken_a.free(n)]
            right = [n for k in t_kind for n in theirs[k] if taken_b.free(n)]
            if not left or not right:
                continue
            left, right, lost = with_rivals(self._compared, (left, right), (mine, theirs), (taken_a, taken_b))
            left, right = outermost(left), outermost(right)
            compete = set(map(id, (*left, *right)))
            for x, y in self._assign_nodes(left, right, top_a, top_b, lost):
                if (x is top_a and y is top_b) or misnamed(x, y, (top_a, top_b), compete, self.names, self._compared):
                    continue
                if (
                    within(x, self._disputed)
                    or within(y, self._disputed)
                    or named_apart(x, y, (top_a, top_b), self.names)
                ):
                    self._doubted.add((id(x), id(y)))
                taken_a.take(x)
                taken_b.take(y)
                if self._compared.similar(x, y) < 1.0:  # what one of the two has too much of may belong elsewhere
                    for part in surplus(self.source.tree, x, self.target.tree, y, SMALLEST):
                        taken_a.release(part)
                    for part in surplus(self.target.tree, y, self.source.tree, x, SMALLEST):
                        taken_b.release(part)
                out.append((x, y))
        self._doubted.update(pair for pair, own in self._unless_taken if any(map(taken_a.free, own)))
        return out

    def _assign_nodes(
        self, left: list[Node], right: list[Node], top_a: Node, top_b: Node, lost: bool = False
    ) -> list[tuple[Node, Node]]:
        """Which of several equal blocks goes to which: by names of their paths, then by order."""
        if not left or not right:
            return []
        if max(len(left), len(right)) > _MANY:
            return list(zip(left, right, strict=False)) if len(left) == len(right) else []
        order = across([n.tokens(top_a) for n in left], [n.tokens(top_b) for n in right])
        right = [right[j] for j in order]
        paths = [[n.tokens(top) for n in side] for side, top in ((left, top_a), (right, top_b))]
        words = [[self.names.path_words(n.spelt(top)) for n in side] for side, top in ((left, top_a), (right, top_b))]
        weights = contrast(words[0], words[1])
        templates = [[template(p) for p in side] for side in paths]
        ranks = [ranked(side) for side in templates]
        kinds = [[(n.signature, n.count) for n in side] for side in (left, right)]
        places = [ranked(own) for own in kinds]
        matrix: list[list[float]] = []
        apart: list[list[float]] = []  # the same without order
        for i in range(len(left)):
            row, bare = list[float](), list[float]()
            for j in range(len(right)):
                name = self.names.compare(words[0][i], words[1][j], weights)
                if self.context.names_trust and self.names.contradiction(words[0][i], words[1][j], blocks=True):
                    row.append(-1.0)
                    bare.append(-1.0)
                    continue
                (mine, count), (theirs, other) = places[0][i], places[1][j]
                as_many = len(left) == len(right)
                place = 1.0 - abs(i - j) / len(left) if as_many else 0.5
                if not as_many and kinds[0][i] == kinds[1][j] and count == other:  # of their kind
                    as_many, place = True, 1.0 - abs(mine - theirs) / count
                number = 0.0
                if left[i].label == right[j].label:
                    number = (0.0 if as_many else 0.35) if left[i].label.isdecimal() else 0.3
                local = 0.2 if ranks[0][i] == ranks[1][j] else 0.0
                similar = SIMILARITY * self._compared.similar(left[i], right[j])
                if lost and left[i].skeleton == right[j].skeleton:  # a tensor that one of them lost is little evidence
                    similar = SIMILARITY - LOST * (SIMILARITY - similar)
                bare.append(2.0 + self.context.names_trust * name * 1.2 + number + local + similar)
                row.append(bare[-1] + place * 0.6 * self.context.order_trust)
            matrix.append(row)
            apart.append(bare)
        chosen = {i: j for i, j in enumerate(assign(matrix)) if j >= 0 and matrix[i][j] > 0}
        if not self.names.silent:
            networks = are_networks(left, top_a) and are_networks(right, top_b)
            self._note_doubts(left, right, chosen, apart, templates, networks)
            if order != sorted(order) and len({*templates[0]}) == len({*templates[1]}) == 1:  # or cut elsewhere?
                self._doubted.update((id(left[i]), id(right[j])) for i, j in chosen.items())
        return [(left[i], right[j]) for i, j in chosen.items()]

    def _note_doubts(
        self,
        left: list[Node],
        right: list[Node],
        chosen: dict[int, int],
        apart: list[list[float]],
        templates: list[list[tuple[str, ...]]],
        networks: bool,
    ) -> None:
        """Remember the pairs of blocks that only order tells from others.

        Numbered siblings have an order; where some are missing and it is not kept, the pairs are in doubt as well. So
        are whole networks that are numbered on one side and named on the other (`0` and `1` are in no order of a
        `decoder` and an `encoder`), and the items of a list that fills two of other names, maybe by turns.
        """
        taken = set(chosen.values())
        by_turns = may_take_turns(templates, self.names.lexicon.order)
        for i, j in chosen.items():
            if by_turns and any(
                (templates[0][k], templates[1][m]) != (templates[0][i], templates[1][j])
                and apart[i][j] - max(apart[i][m], apart[k][j]) < DOUBT
                for k, m in chosen.items()
            ):
                self._doubted.add((id(left[i]), id(right[j])))
            if "#" not in template(right[j].tokens()):  # what has no number is no item of a list more than another
                own = [n for k, n in enumerate(left) if k not in chosen and templates[0][k] == templates[0][i]]
                self._unless_taken.append(((id(left[i]), id(right[j])), own))
            free = [m for m in range(len(right)) if m not in taken and templates[1][m] != templates[1][j]]
            loose = [k for k in range(len(left)) if k not in chosen and templates[0][k] != templates[0][i]]
            if any(apart[i][j] - apart[i][m] < DOUBT for m in free) or any(
                apart[i][j] - apart[k][j] < DOUBT for k in loose
            ):
                self._doubted.add((id(left[i]), id(right[j])))
                self._disputed.update(id(right[m]) for m in free if apart[i][j] - apart[i][m] < DOUBT)
                self._disputed.update(id(left[k]) for k in loose if apart[i][j] - apart[k][j] < DOUBT)
                continue
            for k, m in chosen.items():
                siblings = templates[0][i] == templates[0][k], templates[1][j] == templates[1][m]
                if not all(siblings) and self.context.order_trust < 1:
                    siblings = False, False  # one side is sorted by name: the numbers of the other are no order of it
                if networks and not all(siblings):
                    siblings = False, False
                if any(siblings) and not (all(siblings) and len(left) != len(right) and (i < k) != (j < m)):
                    continue
                if all(siblings) or apart[i][j] + apart[k][m] - apart[i][m] - apart[k][j] < DOUBT:
                    self._doubted.add((id(left[i]), id(right[j])))
                    break
