"""Names for variables that are only numbered: Keras 3 writes a layer's weights as `dense/vars/0` and `dense/vars/1`.

Its layers make them in the order of `keras.layers`: kernel before bias, gamma before beta before the moving averages.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

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
_BATCH = frozenset({"batch", "bn", "batchnorm"})
_NORMS = _BATCH | {"norm", "normalization", "layernorm", "groupnorm", "rmsnorm", "instancenorm", "ln", "gn", "rms"}
"""Words for a layer whose variables are vectors of one size; in others nothing says what such vectors are."""

_KERNEL = ("kernel", "bias")
_SEPARABLE = ("depthwise_kernel", "pointwise_kernel", "bias")
_RECURRENT = ("kernel", "recurrent_kernel", "bias")
_GATES = (3, 4)
"""How many gates a GRU and an LSTM have."""


def paths_of_variables(spec: StateDictSpec) -> Mapping[str, tuple[str, ...]]:
    """The paths of Keras' numbered variables with a name in the place of `vars/0`, by their keys.

    Variables of layers that are not known by their shapes keep their numbers.
    """
    layers: dict[tuple[str, ...], dict[int, tuple[str, Shape]]] = defaultdict(dict)
    for tensor in spec.tensors:
        path = split_key(tensor.key) if tensor.key[-1:].isdecimal() else ()
        if len(path) > 2 and path[-2] == GROUP and path[-1].isdecimal():
            layers[path[:-2]][int(path[-1])] = tensor.key, tensor.shape
    out: dict[str, tuple[str, ...]] = {}
    for layer, held in layers.items():
        shapes = [held[n][1] for n in range(len(held)) if n in held]
        known = _roles(layer[-1], shapes) if len(shapes) == len(held) else _KERNEL if [*held] == [1] else ()
        out |= {held[n][0]: (*layer, *role.split(".")) for n, role in enumerate(known) if n in held}
    return out


def _roles(layer: str, shapes: Sequence[Shape]) -> tuple[str, ...]:
    """What the variables of one layer are, in their order; () where no layer that is known has such shapes."""
    first, count = shapes[0], len(shapes)
    if len(first) < 2:
        return _of_norm(layer, shapes) if first and set(shapes) == {first} else ()
    if len(first) == 2 and "embedding" in words_of(layer) and shapes[1:] in ([], [first[::-1]]):
        return ("embeddings", "head.kernel")[:count]  # a reversible one that is not tied holds a head
    if count == 1:
        return _KERNEL[:1]
    second = shapes[1]
    if count == len(_KERNEL) and _is_bias(second, first):
        return _KERNEL
    if len(second) != len(first) or count > len(_RECURRENT):
        return ()
    if len(first) == 2:
        recurrent = second[1] == first[1] and any(second[1] == gates * second[0] for gates in _GATES)
        return _RECURRENT[:count] if recurrent else ()
    return _SEPARABLE[:count] if set(second[:-2]) == {1} else ()


def _of_norm(layer: str, shapes: Sequence[Shape]) -> tuple[str, ...]:
    words = set(words_of(layer))
    if len(shapes) == len(_STATISTICS) and words & _BATCH:
        return _STATISTICS  # which a norm of batches has in any case
    return _NORM.get(len(shapes), ()) if words & _NORMS else ()


def _is_bias(bias: Shape, kernel: Shape) -> bool:
    """Has a bias the last dimensions of a kernel, as many as they are, or all the channels that come out of it?"""
    return len(bias) < len(kernel) and (bias == kernel[len(kernel) - len(bias) :] or bias == (math.prod(kernel[-2:]),))
