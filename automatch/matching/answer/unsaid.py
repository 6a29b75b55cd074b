"""What no name and no shape says of how one tensor becomes the other; such a pair is flagged."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from automatch.describing.tokens import words_of
from automatch.matching.basis.confidence import Judgement
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.parts import film_unsaid, gate_unsaid, mlp_unsaid, only_numbered, turns_unsaid

BY_HEAD = "query_key_value and linear_qkv often lie head by head, not in three blocks, and no shape shows it"
LATENT = "keys and values head by head, the keys turned, as in DeepSeek's models; no shape shows it"
FLATTENED = "beside convolutions: one framework flattens a map with its channels last, the other with them first"
MIRRORED = "a transposed convolution stored as any other, as flax does: torch's is its mirror image in space"
HALVES = "nothing says which half of the fused tensor is the gate"
TURNS = "gate and up of the experts may lie in halves or by turns (gpt-oss), and no shape shows it"
MLP = "nothing says whether the mlp lies before q, k and v or behind them"
NUMBERED = "the first three layers of an attention's list, taken as query, key and value; no name says so"
LAYOUT = "nothing says whether the square matrix is stored as a Linear's or transposed"
KERNEL = "of its shape, the dimensions of the kernel may lie in more than one order, and nothing says which"
FILMS = "nothing says which half of the fused tensor scales and which shifts"
PATCHES = "nothing says whether the linear layer takes a patch channel by channel, or place by place"
BEFORE = "the weight as it was before pruning or normalising; what was computed with is another one"
_ORIGINAL = "_orig"
"""How torch.nn.utils ends the name of a parameter of which another is made."""
_COLOURS = 4
"""More channels are no image's."""
_OF_HAIKU = re.compile(r"conv[1-3]_d_transpose")
_LARGEST_KERNEL = 16
"""Larger ones are rare; so large is rather a number of experts."""
_HEAD_BY_HEAD = frozenset({("query", "key", "value"), ("linear", "qkv")})


def what_is_unsaid(s: Leaf, t: Leaf) -> Judgement | None:
    """What no name and no shape says of how one becomes the other, if there is such a thing."""
    if _by_head(s, t):
        return Judgement(0.4, True, BY_HEAD)
    if s.woven or t.woven or s.of_map or t.of_map:
        return Judgement(0.45, True, FLATTENED)
    if _is_mirrored(s) or _is_mirrored(t):
        return Judgement(0.45, True, MIRRORED)
    if "join_latent" in (*s.ops, *t.ops) or _is_latent(s, t):
        return Judgement(0.45, True, LATENT)
    for unsaid, said in _ASKED:
        if unsaid(s, t):
            return Judgement(0.45, True, said)
    if s.path[-1].endswith(_ORIGINAL) and not t.path[-1].endswith(_ORIGINAL):
        return Judgement(0.45, True, BEFORE)
    if _of_images(s, t):
        return Judgement(0.45, True, KERNEL)
    guessed = s if s.guessed else t
    return Judgement(0.45, True, KERNEL if len(guessed.raw) > 3 else LAYOUT) if guessed.guessed else None


def _is_mirrored(leaf: Leaf) -> bool:
    """Is it a transposed convolution [height, width, in, out]? A depthwise one has but one channel there.

    Or one of Haiku's, `conv2_d_transpose/w`, which lies as Keras' does. Such a kernel is the mirror image of torch's.
    """
    if "transpose" not in leaf.ops or leaf.layers or leaf.raw[-1] == 1:
        return False
    haiku = len(leaf.path) > 1 and leaf.path[-1] == "w" and _OF_HAIKU.match(leaf.path[-2]) is not None
    small = len(leaf.raw) == 4 or leaf.raw[0] <= _LARGEST_KERNEL
    return haiku or (small and leaf.perm in ((2, 3, 0, 1), (1, 2, 0)))


def _by_head(s: Leaf, t: Leaf) -> bool:
    """Is a tensor cut or joined that may hold query, key and value head by head?

    The first word is Megatron-LM's, and GPT-NeoX, BLOOM and Falcon keep its rows so; others use it for three blocks.
    Megatron-Core, and NeMo with it, says `linear_qkv`, and keeps them group by group.
    """
    return any(words in _HEAD_BY_HEAD for _, words in _joined_under(s, t))


def _is_latent(s: Leaf, t: Leaf) -> bool:
    """Are keys and values joined under DeepSeek's name for them, of which the rows are those of a head after a head?"""
    return any(len(parts.keys) == 2 and words[:2] == ("kv", "b") for parts, words in _joined_under(s, t))


def _joined_under(s: Leaf, t: Leaf) -> Iterator[tuple[Leaf, tuple[str, ...]]]:
    """Where one is joined of several keys, it, and the words of each of the last two names of what it becomes."""
    for parts, fused in ((s, t), (t, s)):
        if "concat" in parts.ops:
            yield from ((parts, words_of(token)) for token in fused.path[-2:])


def _of_patches(s: Leaf, t: Leaf) -> bool:
    """Is one a convolution over patches or frames and the other the linear layer that takes them flattened?"""
    linear, kernel = sorted((s.raw, t.raw), key=len)
    ops = {*s.ops, *t.ops}
    if len(linear) != 2 or len(kernel) not in (3, 4) or ops - {"transpose", "reshape"}:
        return False
    linear = linear[::-1] if "transpose" in ops else linear
    most = _COLOURS if len(kernel) == 4 else math.inf  # behind an image's convolutions, a linear layer takes channels
    patches = 1 < kernel[1] <= most and min(kernel[2:]) > 1
    heads = len(kernel) == 3 and (kernel[0] == math.prod(kernel[1:]) or kernel[1] < kernel[2])  # [width, heads, size]
    return patches and not heads and linear == (kernel[0], math.prod(kernel[1:]))


def _of_images(s: Leaf, t: Leaf) -> bool:
    """Is one a kernel over a table seen as an image, [out, 1, words, width], and the other one over its words?

    The second is [out, width, words]; where the two sizes are equal, nothing shows that they were exchanged.
    """
    line, image = sorted((s.raw, t.raw), key=len)
    if (len(line), len(image)) != (3, 4) or "transpose" in (*s.ops, *t.ops):
        return False
    return image[1] == 1 < image[2] == image[3] and line == (image[0], *image[2:])


_ASKED = (
    (gate_unsaid, HALVES),
    (film_unsaid, FILMS),
    (turns_unsaid, TURNS),
    (mlp_unsaid, MLP),
    (only_numbered, NUMBERED),
    (_of_patches, PATCHES),
)
"""What is asked of two tensors, in this order, and what is said where it holds."""
