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
from automatch.matching.basis.confidence import judge, plausible
from automatch.matching.basis.evidence import Evidence
from automatch.matching.basis.identity import Identity
from automatch.matching.basis.leaves import Leaf, beside_layers, template
from automatch.matching.basis.names import Names
from automatch.matching.basis.units import Context, depth_of, in_common, is_no_statistic, module_path, role_of
from automatch.matching.blocks.coherence import Coherence, Placed
from automatch.matching.blocks.compared import CLOSE, Compared, Kinds, alike_layers, kinds_to_try, surplus
from automatch.matching.blocks.crossing import crosses
from automatch.matching.blocks.decided import BlockPair, Decided, Pin
from automatch.matching.blocks.equals import choose, shared_out
from automatch.matching.blocks.free import Taken, by_kind, outermost, within
from automatch.matching.blocks.items import Lists
from automatch.matching.blocks.misnamed import misnamed, named_apart
from automatch.matching.blocks.rivals import with_rivals
from automatch.matching.blocks.sides import Order, Side
from automatch.matching.blocks.truncated import of_one_name
from automatch.matching.blocks.ways import Stages, beside_turned, is_in_repeated_block
from automatch.matching.modules.company import company
from automatch.matching.modules.gathering import units_of
from automatch.matching.modules.pairing import assign_units

LEARN_FROM = 0.9
"""Other blocks are told of decisions that are at least this sure without them."""

NAMED = 0.3
"""Names that tell a pair from its rivals by this are no matter of order."""

TAUGHT = 4.0
"""A pin weighs more than all other evidence."""

SMALLEST = 4
"""Fewer tensors are no block; they are matched one by one."""


class Solver:
    """Solves pairs of nodes; remembers equal pairs. `solve_roots` is the entry."""

    def __init__(
        self,
        source: Side,
        target: Side,
        names: Names,
        order: Order,
        identity: Identity,
        forbidden: Callable[[Leaf, Leaf], bool] | None = None,
        pins: Sequence[tuple[Leaf, Leaf]] = (),
        by_layers: bool = False,
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
        self.context = Context(names, order.trust, self._support, forbidden, self.identity)
        self._roles_said = not (_is_opaque(source.leaves) or _is_opaque(target.leaves))
        self._by_layers = by_layers
        self._order = order
        # the layers of both sides that have too little in common to be put together, unless it must be; and others
        self.layers_apart: list[tuple[list[Node], list[Node]]] = []
        self._layers_close: list[tuple[list[Node], list[Node]]] = []
        self.crosses_layers = False
        self._doubted: set[tuple[int, int]] = set()
        # blocks of either side that might as well have been chosen for one that is in doubt
        self._disputed: tuple[dict[int, Node], dict[int, Node]] = ({}, {})
        self._memo: dict[tuple[object, ...], list[Placed]] = {}
        self._stages = Stages(names)
        places = source.at([mine for mine, _ in pins]), target.at([theirs for _, theirs in pins])
        self._decided = Decided(
            Pin(i, j, mine.path, theirs.path) for i, j, (mine, theirs) in zip(*places, pins, strict=True)
        )
        self._lists = Lists((source, target), self._compared, self._decided, names, self._stages, order.trust)
        for mine, theirs in pins:
            self._teach(mine.path, theirs.path)

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

    def _teach(self, mine: tuple[str, ...], theirs: tuple[str, ...]) -> None:
        """A person pinned these two leaves: modules of these names belong together, in all blocks."""
        a, b = module_path(mine), module_path(theirs)
        for depth_a in range(1, len(a) + 1):
            for depth_b in range(1, len(b) + 1):
                self._learn(a[-depth_a:], b[-depth_b:])
                self.taught.add((template(a[-depth_a:]), template(b[-depth_b:])))

    def solve_roots(self) -> list[tuple[Leaf, Leaf, Evidence]]:
        """Match everything; leaves of the two sides with the evidence."""
        found = self.solve(self.source.tree.root, self.target.tree.root)
        self.crosses_layers = any(crosses(self.layers_apart, i, j) for i, j, _ in found)
        found = [
            (i, j, replace(e, level="blocks") if e.level == "unit" and crosses(self._layers_close, i, j) else e)
            for i, j, e in found
        ]
        mine, theirs = self.source.tree.order, self.target.tree.order
        return [(self.source.leaves[mine[i]], self.target.leaves[theirs[j]], e) for i, j, e in found]

    def solve(self, a: Node, b: Node) -> list[Placed]:
        """Pairs of leaves under two corresponding nodes, as positions relative to their starts."""
        # What a person decided about one layer does not hold for its equals: then every pair is solved itself.
        alike = self.identity.holds and self.identity(tuple(a.tokens()), tuple(b.tokens()))
        turned = not alike and a.is_list and b.is_list and beside_turned(a, b)
        key: tuple[object, ...] = (id(a), id(b))
        if self.context.forbidden is None:  # all that is looked at of the two: how they are built, and where they stand
            places = ((n.struct, n.ways, n.of_equals, is_in_repeated_block(n), self._stages(n)) for n in (a, b))
            key = (*places, alike, turned)
        if key not in self._memo:
            self._memo[key] = self._solve(a, b, turned)
        return self._memo[key]

    def _solve(self, a: Node, b: Node, turned: bool) -> list[Placed]:
        top_a, top_b = descend(a), descend(b)
        alike = self.identity(tuple(top_a.tokens()), tuple(top_b.tokens()))
        items = self._lists.items(top_a, top_b, turn=not alike, turned=turned)
        self._doubted.update((id(x), id(y)) for x, y in items.doubted)
        blocks = items.pairs or self._pair_blocks(top_a, top_b)
        out: list[Placed] = []
        waiting: dict[tuple[int, int], tuple[Evidence, Node, Node]] = {}
        taken: tuple[set[int], set[int]] = (set(), set())
        for x, y in sorted(blocks, key=lambda pair: self._compared.similar(*pair) < 1.0):
            in_doubt = (id(x), id(y)) in self._doubted
            for i, j, evidence in self.solve(x, y):
                if in_doubt and evidence.level == "unit":
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
            more = self._doubted_with(more, a, b)
            out += more
            used_a.update(i for i, _, _ in more)
            used_b.update(j for _, j, _ in more)
            if not more:
                break
        out += [(i, j, e) for (i, j), (e, _, _) in waiting.items() if i not in used_a and j not in used_b]
        if self._decided.contradicts(items.across):  # then nothing is sure of the other numbers
            out = [(i, j, replace(e, level="blocks") if e.level == "unit" else e) for i, j, e in out]
        return [self._still_waiting(pair, waiting, a, b, used_a, used_b) for pair in out] if waiting else out

    def _doubted_alike(self, more: list[Placed], done: Sequence[Placed], a: Node) -> list[Placed]:
        """Pairs that are alone only because one that waits took their rival: they wait with it."""
        leaves, order = self.source.leaves, self.source.tree.order
        doubts = {leaves[order[a.start + i]].shape: e for i, _, e in done if e.waiting}
        return [(i, j, doubts.get(leaves[order[a.start + i]].shape, e)) for i, j, e in more] if doubts else more

    def _doubted_with(self, more: list[Placed], a: Node, b: Node) -> list[Placed]:
        """Flags pairs of which either is of a block that another might stand for, and what only order parts from it."""
        disputed = [
            any(self._is_disputed(side, at) for side, at in enumerate((a.start + i, b.start + j))) for i, j, _ in more
        ]
        if not any(disputed):
            return more
        leaves, order = self.source.leaves, self.source.tree.order
        shapes = [leaves[order[a.start + i]].shape for i, _, _ in more]
        odd = {shape for shape, doubted in zip(shapes, disputed, strict=True) if doubted}
        return [
            (i, j, replace(e, level="blocks"))
            if e.level == "unit" and (doubted or (shape in odd and e.rivals and e.name_margin * e.trust_names < NAMED))
            else (i, j, e)
            for (i, j, e), doubted, shape in zip(more, disputed, shapes, strict=True)
        ]

    def _is_disputed(self, side: int, at: int) -> bool:
        """Stands the leaf at a place of a side's tree in a block that might have been chosen for another?"""
        return any(node.start <= at < node.end for node in self._disputed[side].values())

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
        blocks: Sequence[BlockPair],
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
        opaque = [_is_opaque(leaves) for leaves in rests]
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
            if apart and self._roles_said and is_no_statistic(pair.source, pair.target):
                continue  # a running mean is no parameter
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

    def _layers(self, mine: Kinds, theirs: Kinds, tops: BlockPair) -> list[tuple[list[int], list[int]]]:
        """The layers of both sides, if they have little in common and are to be put together; else they are noted."""
        layers = alike_layers(self._compared, (mine, theirs), tops)
        if layers is None:
            return []
        own, others = _in_order(layers[0], mine), _in_order(layers[1], theirs)
        if self._compared.similar(own[0], others[0]) < CLOSE:
            if self._by_layers:
                return [layers]
            self.layers_apart.append((own, others))
        elif all(len({id(n.parent) for n in side}) == 1 for side in (own, others)):
            self._layers_close.append((own, others))
        return []

    def _pair_blocks(self, top_a: Node, top_b: Node) -> list[BlockPair]:
        """Blocks below two nodes, largest common part first."""
        mine, theirs = (
            by_kind([n for n in below(top) if n.count >= SMALLEST and not is_module(n)]) for top in (top_a, top_b)
        )
        whole = self._compared.similar(top_a, top_b)
        if whole < 1.0:  # one side may be a part of the other
            mine.setdefault(top_a.struct, []).append(top_a)
            theirs.setdefault(top_b.struct, []).append(top_b)
        tops = top_a, top_b
        queue = kinds_to_try(self._compared, (mine, theirs), tops, whole)
        queue += self._layers(mine, theirs, tops)
        taken_a, taken_b = Taken(top_a), Taken(top_b)
        alike = self.identity(tuple(top_a.tokens()), tuple(top_b.tokens()))
        same = self.identity.of_the_smaller
        out = [*of_one_name(top_a, top_b, (self.source, self.target), SMALLEST, same)] if alike else []
        for x, y in out:
            taken_a.take(x)
            taken_b.take(y)
        unless_taken: list[tuple[BlockPair, list[Node]]] = []
        settled = set[tuple[int, int]]()
        for s_kind, t_kind in queue:
            left = [n for k in s_kind for n in mine[k] if taken_a.free(n)]
            right = [n for k in t_kind for n in theirs[k] if taken_b.free(n)]
            if not left or not right:
                continue
            left, right, lost = with_rivals(self._compared, (left, right), (mine, theirs), (taken_a, taken_b))
            left, right = outermost(left), outermost(right)
            compete = set(map(id, (*left, *right)))
            choice = choose((left, right), tops, self._compared, self._decided, self.names, self._order, lost)
            self._doubted.update((id(x), id(y)) for x, y in choice.doubted)
            for known, nodes in zip(self._disputed, choice.disputed, strict=True):
                known.update((id(node), node) for node in nodes)
            unless_taken += choice.unless_taken
            settled.update((id(x), id(y)) for x, y in choice.settled)
            for x, y in choice.pairs:
                if (x is top_a and y is top_b) or misnamed(x, y, tops, compete, self.names, self._compared):
                    continue
                disputed = any(map(within, (x, y), self._disputed))
                if disputed or named_apart(x, y, tops, self.names):
                    self._doubted.add((id(x), id(y)))
                taken_a.take(x)
                taken_b.take(y)
                if self._compared.similar(x, y) < 1.0:  # what one of the two has too much of may belong elsewhere
                    for part in surplus(self.source.tree, x, self.target.tree, y, SMALLEST):
                        taken_a.release(part)
                    for part in surplus(self.target.tree, y, self.source.tree, x, SMALLEST):
                        taken_b.release(part)
                out.append((x, y))
        self._doubted.update((id(x), id(y)) for (x, y), own in unless_taken if any(map(taken_a.free, own)))
        self._doubted.update((id(x), id(y)) for x, y in shared_out(out, self._compared))
        self._doubted.difference_update(settled)
        return out


def _is_opaque(leaves: Sequence[Leaf]) -> bool:
    """Do the keys of a side name modules, and not what of them a tensor is?"""
    return sum(role_of(leaf.path)[1] == "*" for leaf in leaves) >= 0.8 * len(leaves)


def _in_order(kinds: Sequence[int], side: Kinds) -> list[Node]:
    """The outermost blocks of some kinds, in the order of the tree."""
    return sorted(outermost([node for kind in kinds for node in side[kind]]), key=lambda node: node.start)
