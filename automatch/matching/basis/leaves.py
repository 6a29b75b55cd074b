"""What is matched: one tensor of either side, or several that count as one (q, k, v of a fused qkv)."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from automatch.describing.tokens import ROLES, split_blob, split_key, split_projector, words_of
from automatch.matching.basis.variables import paths_of_variables
from automatch.spec import Shape, StateDictSpec, TensorSpec

Path = tuple[str, ...]
"""The tokens of a name, or those that lead to a module."""

SHARED = "share"
"""Among the `ops` of a leaf: one tensor serves every one of its keys, as it is."""


@dataclass(slots=True)
class Leaf:
    """One matchable tensor.

    Attributes:
        path: path tokens of its name.
        shape: comparable shape: in the layout of the other side, without dimensions of size 1.
        keys: the state_dict keys behind it, in the order in which they are joined.
        place: its position in state_dict order.
        raw: shape as stored (of the first key).
        flat: where heads were merged, the shape with them merged, in the stored layout.
        sizes: where `ops` joins, the sizes of the members along `dim`.
        integer: counters and other integer scalars; they follow their module.
        whole: of whole numbers, as indices are, beside others that are not.
        ops: what was assumed to get from the tensors to `shape`, in order.
        dim: where `ops` joins, the dimension.
        perm: where `ops` transposes, the order of the dimensions.
        layers: of how many layers it is a stack, or a list, that were compared as one layer; 0 for all others.
            The other fields speak of that layer then, `raw` of a stack and `shape` excepted.
        axis: of such a stack, the dimension along which the layers lie.
        guessed: whether nothing says in which layout it is stored.
        woven: where `ops` permutes entries, the four sizes as which dimension `dim` is seen, of which the second and
            the third are exchanged.
        of_map: whether it reads a flattened map whose places lie otherwise on the other side.
    """

    path: Path
    shape: Shape
    keys: tuple[str, ...]
    place: int
    integer: bool = False
    ops: tuple[str, ...] = ()
    dim: int | None = None
    perm: tuple[int, ...] | None = None
    raw: Shape = ()
    flat: Shape | None = None
    sizes: tuple[int, ...] | None = None
    layers: int = 0
    axis: int = 0
    guessed: bool = False
    whole: bool = False
    woven: Shape | None = None
    of_map: bool = False


def squeeze(shape: Shape) -> Shape:
    """Without dimensions of size 1: a 1x1 convolution is a linear layer, a [1, 1, d] token a vector."""
    return tuple(d for d in shape if d != 1) if 1 in shape else shape


def see_as(leaf: Leaf, shape: Shape) -> None:
    """Take a tensor in another shape of the same elements (in place)."""
    leaf.shape = leaf.flat = shape
    leaf.ops = ("reshape",)


def is_one_vector(leaf: Leaf) -> bool:
    """Is a tensor a single vector, kept as (1, n) or (1, 1, n), as learnt tokens are?"""
    return set(leaf.raw[:-1]) == {1}


def is_counter(tensor: TensorSpec) -> bool:
    """Integer scalars say nothing about the architecture; files that were cast as a whole hold them as floats."""
    return not tensor.shape and (is_whole(tensor) or tensor.key.endswith("num_batches_tracked"))


def is_whole(tensor: TensorSpec) -> bool:
    """Does a tensor hold whole numbers: indices, masks, or weights that are packed?"""
    return tensor.dtype.startswith(("int", "uint")) or tensor.dtype == "bool"


def leaves_of(spec: StateDictSpec, squeezed: frozenset[Shape] = frozenset()) -> list[Leaf]:
    """One leaf per key, in state_dict order; the shapes in `squeezed` lose their dimensions of size 1."""
    split = split_blob if _are_blobs(spec) else split_projector if _is_projector(spec) else split_key
    named = paths_of_variables(spec)
    mixed = not all(map(is_whole, spec.tensors))
    return [
        Leaf(
            named.get(t.key) or split(t.key),
            squeeze(t.shape) if t.shape in squeezed else t.shape,
            (t.key,),
            i,
            is_counter(t),
            raw=t.shape,
            whole=mixed and is_whole(t),
        )
        for i, t in enumerate(spec.tensors)
    ]


SEVERAL = 8
"""So many modules are called in one way by a framework, and not by a person."""


def _are_blobs(spec: StateDictSpec) -> bool:
    """Are the keys those of Caffe2's blobs, `conv1_w`?"""
    plain = all("." not in key and "/" not in key for key in spec.keys)
    return plain and sum(key.endswith("_w") for key in spec.keys) >= SEVERAL


def _is_projector(spec: StateDictSpec) -> bool:
    """Are the keys those of llama.cpp's multimodal projector, `v.blk.0.attn_q.weight` beside `mm.0.weight`?"""
    tops = {key.split(".", 1)[0] for key in spec.keys}
    return "mm" in tops and bool(tops & {"v", "a"})


_NUMBER = re.compile(r"(\d+)")


def counted(spec: StateDictSpec) -> StateDictSpec:
    """The tensors in the order of their numbers, where numbers say more than the order of the keys.

    In a file that is sorted by name: `layers.10` behind `layers.9`. And in one whose modules have but the names that
    Keras gave them when they were made, `conv2d`, `conv2d_1` and so on: its files hold them in the order of the graph.
    """
    if all(a <= b for a, b in pairwise(spec.keys)):
        return replace(spec, tensors=tuple(sorted(spec.tensors, key=lambda t: _by_number(t.key))))
    return _as_made(spec)


_MADE = re.compile(r"([a-z][a-z0-9]*(?:_[a-z][a-z0-9]*)*?)(?:_([0-9]+))?[./]")
_CONVOLUTIONS = frozenset("conv1d conv2d conv3d depthwise_conv2d separable_conv2d".split())
_NORM = "batch_normalization"
_KERAS = _CONVOLUTIONS | {_NORM, "dense", "layer_normalization", "conv2d_transpose"}
"""What Keras calls modules that were given no name."""


def _as_made(spec: StateDictSpec) -> StateDictSpec:
    """The modules of a kind in the order of their numbers, in the places they take.

    Convolutions and as many norms are made by turns.
    """
    modules: dict[str, list[TensorSpec]] = defaultdict(list)
    kinds: dict[str, dict[int, str]] = defaultdict(dict)
    for tensor in spec.tensors:
        name = _MADE.match(tensor.key)
        if name is None:
            return spec
        modules[name[0]].append(tensor)
        kinds[name[1]][int(name[2] or 0)] = name[0]
    made = [
        (kind, own)
        for kind, own in kinds.items()
        if kind in _KERAS and len(own) >= SEVERAL and sorted(own) == list(range(len(own))) and own[0][:-1] == kind
    ]
    rows = [[own] for _, own in made]
    norms = kinds.get(_NORM, {})
    beside = [own for kind, own in made if kind in _CONVOLUTIONS and len(own) == len(norms)]
    if len(beside) == 1 and [norms] in rows:
        rows = [[*row, norms] if row == beside else row for row in rows if row != [norms]]
    places = list(modules)
    for row in rows:
        if any(list(own) != sorted(own) for own in row):
            taken = {name for own in row for name in own.values()}
            turned = iter([own[n] for n in range(len(row[0])) for own in row])
            places = [next(turned) if place in taken else place for place in places]
    return replace(spec, tensors=tuple(tensor for place in places for tensor in modules[place]))


def _by_number(key: str) -> list[tuple[str, int]]:
    *pieces, last = _NUMBER.split(key)
    return [*((text, int(number)) for text, number in zip(pieces[::2], pieces[1::2], strict=True)), (last, -1)]


def to_squeeze(a: StateDictSpec, b: StateDictSpec) -> frozenset[Shape]:
    """Shapes that one side writes with dimensions of size 1 and the other without.

    Only where one side has too many of the one and the other too many of the other: a LoRA matrix
    of rank 1, [d, 1], is no vector. Or where only one side has convolutions of size 1 and the other has their matrices.
    A [1, 1, d] is a vector in any case, a [1, n, d] that only one side has a matrix.
    """
    counts = (Counter(t.shape for t in a.tensors), Counter(t.shape for t in b.tensors))
    out: set[Shape] = set()
    for mine, theirs, sides in ((*counts, (a, b)), (*counts[::-1], (b, a))):
        for shape in mine:
            if 1 not in shape or mine[shape] <= theirs[shape]:
                continue
            bare = squeeze(shape)
            moved = len(shape) == 3 and len(set(bare)) > 1  # a 1 elsewhere: [1, n, d] against [n, 1, d]
            if any(
                theirs[other] > mine[other] and len(other) == len(shape) and sorted(other) == sorted(shape)
                for other in theirs
                if other != shape and not (moved and squeeze(other) == bare and 1 in (shape[0], other[0]))
            ):
                continue  # a kernel in another layout
            forms = [s for s in theirs if squeeze(s) == bare and s != shape]
            pointwise = len(bare) == 2 and shape[:2] == bare and shape not in theirs and bare in theirs
            # a [1, 1, d] is a vector whatever other vectors there are, and a [1, n, d] that nobody else has a matrix
            token = len(shape) > 2 and bare == shape[-1:]
            token = token or (len(shape) == 3 and bare == shape[1:] and shape not in theirs)
            one_name = len(shape) == 2 and forms == [bare]
            if (
                any(theirs[s] > mine[s] for s in forms)
                or ((token or pointwise) and forms)
                or (one_name and not _bare_names(sides[0], shape).isdisjoint(_bare_names(sides[1], bare)))
            ):
                out.add(shape)
                out.update(s for s in forms if 1 in s)
    return frozenset(out)


def _bare_names(spec: StateDictSpec, shape: Shape) -> set[str]:
    """What the parameters of a shape are called that belong to no layer, in letters alone: `log_std`, `logstd`."""
    last = (split_key(t.key)[-1] for t in spec.tensors if t.shape == shape)
    return {"".join(words_of(token)) for token in last if token not in ROLES}


class _Blanks(dict[str, str]):
    """token -> `#` for a number, else itself; filled as tokens are met."""

    def __missing__(self, token: str) -> str:
        if len(self) > 1 << 17:
            self.clear()
        blank = self[token] = "#" if token.isdecimal() else token
        return blank


_blank = _Blanks().__getitem__


LETTERS = ("a", "b", "c", "d")
"""Letters that count modules, as `conv_a` and `conv_b`."""


@lru_cache(maxsize=1 << 16)
def _without_number(token: str) -> str:
    return _NUMBER.sub("#", token)


@lru_cache(maxsize=1 << 16)
def _has_number(token: str) -> bool:
    return _NUMBER.search(token) is not None


def template(path: Sequence[str]) -> tuple[str, ...]:
    """A path with its pure numbers taken out; what all layers have in common."""
    return tuple(map(_blank, path))


def without_digits(path: Sequence[str]) -> tuple[str, ...]:
    """A path without any numbers, those inside its tokens too: `layer_0` and `layer_1` are one."""
    return tuple(map(_without_number, path))


def has_digits(path: Sequence[str]) -> bool:
    """Has a path a number, be it inside a token?"""
    return any(map(_has_number, path))


def numbered(path: Sequence[str]) -> bool:
    """Does a path lead through a numbered item, as in repeated blocks?"""
    return any(token.isdecimal() for token in path)


def beside_layers(a: Leaf, b: Leaf) -> bool:
    """Are two leaves in no list of layers, or called the same where one of them is?"""
    lists = numbered(a.path), numbered(b.path)
    return not any(lists) or (not all(lists) and len(b.path) > 1 and a.path[-2:] == b.path[-2:])
