"""Names for variables that are only numbered: Keras 3 writes a layer's weights as `dense/vars/0` and `dense/vars/1`.

Its layers make them in the order of `keras.layers`: kernel before bias, gamma before beta before the moving averages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from automatch.describing.tokens import split_key, words_of
from automatch.spec import Shape, StateDictSpec

GROUP = "vars"
"""What Keras calls the group of a layer's own variables."""

_NORM = {
    1: ("gamma",),
    2: ("gamma", "beta"),
    3: ("vars.0", "moving_mean", "moving_variance"),  # of a batch, without gamma or without beta: which, nothing says
    4: ("gamma", "beta", "moving_mean", "moving_variance"),
}
_STATISTICS = ("moving_mean", "moving_variance")
_BATCH = frozenset({"batch", "bn"})
_KERNEL = {1: ("kernel",), 2: ("kernel", "bias")}
_EMBEDDING = {1: ("embeddings",), 2: ("embeddings", "head.kernel")}  # a reversible one that is not tied
_KERNELS = {
    2: ("depthwise_kernel", "pointwise_kernel"),
    3: ("depthwise_kernel", "pointwise_kernel", "bias"),
}
_ALONE = ("kernel", "bias", "moving_mean", "moving_variance")
"""What a variable is, by its number, whose layer lost all others."""

_RECURRENT = {2: ("kernel", "recurrent_kernel"), 3: ("kernel", "recurrent_kernel", "bias")}


def paths_of_variables(spec: StateDictSpec) -> Mapping[str, tuple[str, ...]]:
    """The paths of Keras' numbered variables with a name in the place of `vars/0`, by their keys.

    Variables of layers that are not known by the shapes of these keep their numbers.
    """
    layers: dict[tuple[str, ...], dict[int, tuple[str, Shape]]] = defaultdict(dict)
    for tensor in spec.tensors:
        path = split_key(tensor.key) if tensor.key[-1:].isdecimal() else ()
        if len(path) > 2 and path[-2] == GROUP and path[-1].isdecimal():
            layers[path[:-2]][int(path[-1])] = tensor.key, tensor.shape
    out: dict[str, tuple[str, ...]] = {}
    for layer, held in layers.items():
        shapes = [held[n][1] for n in range(len(held)) if n in held]
        known = _roles(layer[-1], shapes) if len(shapes) == len(held) else _ALONE if len(held) == 1 else ()
        out |= {held[n][0]: (*layer, *role.split(".")) for n, role in enumerate(known) if n in held}
    return out


def _roles(layer: str, shapes: list[Shape]) -> tuple[str, ...]:
    """What the variables of one layer are, in their order; () where no layer that is known has such shapes."""
    first, count = shapes[0], len(shapes)
    if len(first) < 2 and count == len(_STATISTICS) and _BATCH & set(words_of(layer)):
        return _STATISTICS  # which a norm of batches has in any case
    if len(first) < 2:
        return _NORM.get(count, ()) if set(shapes) == {first} and first else ()
    if "embedding" in words_of(layer):
        return _EMBEDDING.get(count, ())
    if count > 1 and len(shapes[1]) == len(first):
        return (_RECURRENT if len(first) == 2 else _KERNELS).get(count, ())
    return _KERNEL.get(count, ())
