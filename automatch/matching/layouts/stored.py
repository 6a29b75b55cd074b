"""How matrices are stored, [in, out] or [out, in], as the biases beside them and equal names show it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from automatch.describing.tokens import ROLES, words_of
from automatch.matching.basis.adapters import is_adapter
from automatch.matching.basis.leaves import Leaf, Path, numbered, template
from automatch.spec import Shape

Kind = tuple[str, bool]

STACK = "stack"
"""What kernels laid on each other are called among the kinds of tensors."""

CONVOLUTION = "convolution"
"""What kernels over images are called among the kinds of tensors."""

_TRANSPOSED = frozenset("transpose transposed convtranspose deconv deconvolution".split())

ADAPTER = "adapter"
"""What the halves of adapters are called among the kinds of tensors."""

ITEMS = ((0, 2, 1),)
"""The order of dimensions where each item of a stack is turned."""


def is_transposed(leaf: Leaf) -> bool:
    """Is a kernel called that of a transposed convolution?"""
    return any(word in _TRANSPOSED for token in leaf.path[-2:] for word in words_of(token))


def kind_of(leaf: Leaf, perms: tuple[tuple[int, ...], ...] = ()) -> Kind:
    """What a tensor is called, in a block or outside; a bare parameter goes by the last of its words.

    Kernels laid on each other are a kind of their own: experts may lie where all linear layers stand. So are adapters:
    GPT-2's Conv1D is stored [in, out], and what PEFT puts beside it is not. MLX stores linear layers as torch does, and
    the kernels of convolutions with their channels last.
    """
    last = leaf.path[-1]
    if perms == ITEMS:
        return f"{CONVOLUTION} over a line" if _is_convolution(leaf) else STACK, numbered(leaf.path)
    if is_adapter(leaf):
        return ADAPTER, numbered(leaf.path)
    if len(leaf.shape) > 3:
        return f"transposed {CONVOLUTION}" if is_transposed(leaf) else CONVOLUTION, numbered(leaf.path)
    if last not in ROLES:
        words = words_of(last)
        last = "projection" if words and words[-1] in ("proj", "projection") else last
    if len(leaf.path) == 1 and last[-1:].isdecimal():
        last = last.rstrip("0123456789")  # ONNX numbers the matrices that have lost their names
    return last, numbered(leaf.path)


def _is_convolution(leaf: Leaf) -> bool:
    """Is a kernel called one over a line? MLX has the channels of these last, [out, size, in], beside stacks."""
    return any(word.startswith("conv") for token in leaf.path[-2:] for word in words_of(token))


def named(leaves: Iterable[Leaf]) -> dict[Path, set[Shape]]:
    """The shapes of the tensors that are called the same, the last words of their paths."""
    out: dict[Path, set[Shape]] = defaultdict(set)
    for leaf in leaves:
        if len(leaf.shape) >= 2:
            out[tail(leaf.path)].add(leaf.shape)
    return out


def orientations(leaves: Iterable[Leaf]) -> Counter[Kind]:
    """Per kind, how many matrices are stored [in, out] more than [out, in], as the lengths of their biases show."""
    out: Counter[Kind] = Counter()
    for leaf, lies in lying(leaves):
        out[kind_of(leaf, ITEMS if len(leaf.shape) == 3 else ())] += 1 if lies else -1
    return out


def lying(leaves: Iterable[Leaf]) -> Iterator[tuple[Leaf, bool]]:
    """Matrices beside a bias, or stacks of them, and whether its length shows them to be stored [in, out]."""
    matrices: dict[tuple[str, ...], Leaf] = {}
    biases: dict[tuple[str, ...], Shape] = {}
    for leaf in leaves:
        module = leaf.path[:-1]
        if leaf.path[-1] in ("bias", "b", "beta"):
            biases[module] = leaf.shape
        elif (len(leaf.shape) in (2, 3) and leaf.shape[-2] != leaf.shape[-1]) and (
            leaf.path[-1] in ROLES or not (module in matrices or is_adapter(leaf))
        ):
            matrices[module] = leaf  # the bias is the weight's, whatever stands beside it
    for module, leaf in matrices.items():
        bias, (*stacked, rows, columns) = biases.get(module), leaf.shape
        if bias in ((*stacked, rows), (*stacked, columns)):
            yield leaf, bias == (*stacked, columns)


def tail(path: tuple[str, ...]) -> tuple[str, ...]:
    """The last two tokens of a module's path: of `h.0.w1`, a parameter, and of `h.3.w1.weight` they are `#`, `w1`."""
    return template(path[:-1] if path[-1] == "weight" and len(path) > 1 else path)[-2:]
