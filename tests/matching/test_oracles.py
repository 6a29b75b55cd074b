"""The fast parts beside a slow, obviously right oracle."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise, permutations
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from automatch.describing.tree import Interner, Node, Tree, below, descend
from automatch.matching.basis.lap import NEVER, assign
from automatch.matching.modules import order

SCORES = st.one_of(st.integers(-3, 9).map(float), st.just(NEVER), st.floats(-2, 9))


@st.composite
def matrices(draw: st.DrawFn, largest: int = 6) -> list[list[float]]:
    rows, columns = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    return draw(st.lists(st.lists(SCORES, min_size=columns, max_size=columns), min_size=rows, max_size=rows))


def best_by_trying_all(scores: list[list[float]]) -> tuple[int, float]:
    """(pairs, sum of scores) of the best choice: as many allowed pairs as can be, then the largest sum."""
    rows, columns = len(scores), len(scores[0])
    best = (0, 0.0)
    for size in range(1, min(rows, columns) + 1):
        for chosen in combinations(range(rows), size):
            for places in permutations(range(columns), size):
                values = [scores[i][j] for i, j in zip(chosen, places, strict=True)]
                if NEVER not in values:
                    best = max(best, (size, sum(values))) if best[0] else (size, sum(values))
    return best


def one_to_one(chosen: list[int], scores: list[list[float]]) -> list[tuple[int, int]]:
    pairs = [(i, j) for i, j in enumerate(chosen) if j >= 0]
    assert len(chosen) == len(scores)
    assert len({j for _, j in pairs}) == len(pairs)
    assert all(scores[i][j] != NEVER for i, j in pairs)
    return pairs


@settings(max_examples=40)
@given(matrices(4))
def test_assign_is_the_best_of_all_choices(scores: list[list[float]]) -> None:
    pairs = one_to_one(assign(scores), scores)
    size, total = best_by_trying_all(scores)
    assert len(pairs) == size
    assert abs(sum(scores[i][j] for i, j in pairs) - total) < 1e-6


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 60))
def test_assign_is_as_good_as_scipy(seed: int, rows: int, columns: int) -> None:
    """Below the limit with its own method, above it with scipy's."""
    scores = np.random.default_rng(seed).uniform(-1, 4, (rows, columns)).round(1)
    chosen = assign(scores.tolist())
    pairs = one_to_one(chosen, scores.tolist())
    expected = scores[linear_sum_assignment(scores, maximize=True)].sum()
    assert len(pairs) == min(rows, columns)
    assert abs(sum(scores[i][j] for i, j in pairs) - expected) < 1e-6


def test_assign_takes_nothing_where_nothing_is_allowed() -> None:
    assert assign([]) == []
    assert assign([[], []]) == [-1, -1]
    assert assign([[NEVER]]) == [-1]
    assert assign([[NEVER, NEVER], [NEVER, NEVER]]) == [-1, -1]
    assert assign([[NEVER, 1.0], [NEVER, 2.0]]) == [-1, 1]


SEQUENCES = st.lists(st.sampled_from([(1,), (2,), (3, 4), None]), max_size=7)


@pytest.mark.parametrize("many", [order.MANY, -1], ids=["few", "as if many"])
@settings(max_examples=40)
@given(a=SEQUENCES, b=SEQUENCES)
def test_common_subsequence(many: int, a: list, b: list) -> None:
    """As long as the longest found by trying all of them, and a common subsequence indeed."""
    with patch.object(order, "MANY", many):
        pairs = order.common_subsequence(a, b)
    assert all(a[i] == b[j] for i, j in pairs)
    assert all(x[0] < y[0] and x[1] < y[1] for x, y in pairwise(pairs))

    def subsequences(items: list) -> set[tuple]:
        return {
            tuple(items[i] for i in chosen)
            for n in range(len(items) + 1)
            for chosen in combinations(range(len(items)), n)
        }

    assert len(pairs) == max(map(len, subsequences(a) & subsequences(b)))


def test_common_subsequence_declines_what_would_take_long() -> None:
    assert order.common_subsequence([(1,)] * 20_001, [(1,)] * 20_001) == []
    assert order.common_subsequence([(1,)] * 600, [(1,)] * 600) == [(n, n) for n in range(600)]


PATHS = st.lists(
    st.lists(st.sampled_from(["a", "b", "0", "1", "layer1", "layer2", "weight"]), min_size=1, max_size=4).map(tuple),
    min_size=1,
    max_size=10,
    unique=True,
)


@st.composite
def leaves(draw: st.DrawFn) -> tuple[list[tuple[str, ...]], list[int]]:
    """Paths of which none runs through another, with numbers of shapes; -1 for counters."""
    paths = draw(PATHS)
    paths = [p for p in paths if not any(q != p and q[: len(p)] == p for q in paths)]
    return paths, draw(st.lists(st.integers(-1, 3), min_size=len(paths), max_size=len(paths)))


def everywhere(tree: Tree) -> list[Node]:
    return [tree.root, *below(tree.root)]


def shapes_of(tree: Tree, node: Node) -> Counter[int]:
    return Counter(tree.shapes[leaf] for leaf in tree.order[node.start : node.end] if tree.shapes[leaf] >= 0)


@settings(max_examples=40)
@given(leaves(), leaves())
def test_signatures_are_equal_where_the_multisets_of_shapes_are(one: tuple, other: tuple) -> None:
    structs = Interner()
    trees = [Tree(*side, structs) for side in (one, other)]
    nodes = [(tree, node) for tree in trees for node in everywhere(tree)]
    for tree, node in nodes:
        for theirs, that in nodes:
            same = shapes_of(tree, node) == shapes_of(theirs, that)
            assert same == (node.signature == that.signature)
            assert node.count == sum(shapes_of(tree, node).values())


@settings(max_examples=40)
@given(leaves(), leaves())
def test_equal_structs_mean_equal_subtrees(one: tuple, other: tuple) -> None:
    """What was found out about one of them holds for the other: same names, same shapes, same order."""
    structs = Interner()
    trees = [Tree(*side, structs) for side in (one, other)]
    seen: dict[int, list[tuple[list[str], int]]] = {}
    for tree in trees:
        for node in everywhere(tree):
            inner = [(tree.node_of[leaf].tokens(node), tree.shapes[leaf]) for leaf in tree.order[node.start : node.end]]
            assert seen.setdefault(node.struct, inner) == inner


@settings(max_examples=40)
@given(leaves(), leaves())
def test_similarity_is_the_dice_coefficient(one: tuple, other: tuple) -> None:
    structs = Interner()
    a, b = (Tree(*side, structs) for side in (one, other))
    for x in everywhere(a):
        for y in everywhere(b):
            mine, theirs = shapes_of(a, x), shapes_of(b, y)
            total = sum(mine.values()) + sum(theirs.values())
            expected = 2 * sum((mine & theirs).values()) / total if total else 1.0
            assert abs(a.similarity(x, b, y) - expected) < 1e-9
            assert abs(b.similarity(y, a, x) - expected) < 1e-9


@given(leaves())
def test_a_tree_holds_every_leaf_once(one: tuple) -> None:
    paths, shapes = one
    tree = Tree(paths, shapes, Interner())
    assert sorted(tree.order) == list(range(len(paths)))
    assert (tree.root.start, tree.root.end) == (0, len(paths))
    for node in everywhere(tree):
        assert node.start < node.end
        inside = [child for child in node.children]
        assert [c.start for c in inside] == sorted(c.start for c in inside)
        assert sum(c.end - c.start for c in inside) == node.end - node.start - (node.leaf >= 0)


def test_lists_of_a_tree() -> None:
    """Numbers make a list in numeric order; so does `layer1 .. layer10`, but not `conv1`, `conv2`."""
    keys = [f"net.{i}.conv.weight" for i in (10, 2, 0)]
    keys += [f"layer{i}.conv.weight" for i in (10, 1, 2)] + ["conv1.weight", "conv2.weight"]
    tree = Tree([tuple(key.split(".")) for key in keys], [0] * len(keys), Interner())
    lists = {node.label: [child.label for child in node.children] for node in everywhere(tree) if node.is_list}
    assert lists == {"net": ["0", "2", "10"], "layer": ["1", "2", "10"]}


def test_descend_goes_past_wrappers() -> None:
    tree = Tree([("module", "net", "a", "weight"), ("module", "net", "b", "weight")], [0, 1], Interner())
    assert descend(tree.root).label == "net"
    assert [child.label for child in descend(tree.root).children] == ["a", "b"]


def test_two_keys_of_one_path_are_both_kept() -> None:
    """`a.b` and `a/b` are cut alike."""
    tree = Tree([("a", "b"), ("a", "b"), ("a", "c")], [0, 1, 2], Interner())
    assert sorted(tree.order) == [0, 1, 2]
