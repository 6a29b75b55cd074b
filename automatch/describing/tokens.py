"""Keys cut into path tokens, and path tokens into words."""

from __future__ import annotations

import re
from functools import lru_cache

_INNER_INDEX = re.compile(r"[_-](\d+)[_-]")
_LETTERED = re.compile(r"((?:block|stage|layer|group|unit|res)\d+)([a-z])_(.+)")
_BRANCH = re.compile(r"(branch\d)([a-d])(?![a-z])")
_OUTPUT = re.compile(r":0$|/\.ATTRIBUTES/VARIABLE_VALUE$")
_BLOB = re.compile(r"(\w+?)(?:_(bn))?_(w|b|s|rm|riv)(?:_(momentum))?")
_WORDS = re.compile(r"\d+|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+")
_STEM_INDEX = re.compile(r"(.*?[^\d])(\d+)$")
_ROLE_TAIL = re.compile(r"(.+)_(weights?|bias|running_mean|running_var|num_batches_tracked)$")

_LETTERS = {"w": "weight", "b": "bias", "s": "weight", "rm": "running_mean", "riv": "running_var"}
_PARAMETRIZED = {"original": "_orig", "original0": "_g", "original1": "_v", "0._u": "_u", "0._v": "_v"}

ROLES = frozenset(
    (
        *("weight", "weights", "bias", "running_mean", "running_var", "num_batches_tracked", "gamma", "beta", "a_2"),
        *("kernel", "depthwise_kernel", "scale", "moving_mean", "moving_variance", "mean", "var", "w", "b", "g", "b_2"),
        *("offset", "weight_g", "weight_v", "original0", "original1", "weight_orig", "weight_mask", "weight_u"),
        *("shift", "qweight", "qzeros", "scales", "biases", "stored_mean", "stored_var"),
    )
)
"""What a leaf is called inside its module."""


@lru_cache(maxsize=1 << 16)
def split_component(component: str) -> tuple[str, ...]:
    """Cut one dotted component where it hides a path.

    `down_blocks_0_attentions_1_proj` (files that join paths by `_`) is cut at its inner
    numbers; `in_proj_weight` becomes `in_proj`, `weight`, as a Linear would name it. Keras and Caffe count the blocks
    of a stage by letters: `block2b_expand_conv` is `block2`, `1`, `expand_conv`; `branch2a` is `branch2_1`.
    """
    lettered = _LETTERED.fullmatch(component)
    if lettered is not None:
        stage, letter, rest = lettered.groups()
        return (stage, str(ord(letter) - ord("a")), *split_component(rest))
    component = _BRANCH.sub(lambda m: f"{m[1]}_{ord(m[2]) - ord('a') + 1}", component)
    pieces = _INNER_INDEX.split(component) if "_" in component or "-" in component else [component]
    tail = _ROLE_TAIL.match(pieces[-1])
    if tail and tail.group(1) not in ("running", "position", "relative_position", "relative_attention"):
        pieces[-1:] = [tail.group(1), tail.group(2)]
    return tuple(p for p in pieces if p != "") or ("",)


def split_key(key: str) -> tuple[str, ...]:
    """A key's path tokens, cut at `.`, `/` and at the paths hidden inside components.

    Without what TensorFlow sets behind its variables, `:0` or `/.ATTRIBUTES/VARIABLE_VALUE`. The TensorFlow models of
    transformers write `_._` for a point, as in `layer_._0` (`modeling_tf_pytorch_utils`).
    """
    key = _OUTPUT.sub("", key) if ":" in key or "/." in key else key
    key = key.replace("_._", ".") if "_._" in key else key
    parts = key.replace("/", ".").split(".") if "/" in key else key.split(".")
    out: list[str] = []
    for part in parts:
        out += split_component(part)
    return _plain(out) if "parametrizations" in out else tuple(out)


def split_blob(key: str) -> tuple[str, ...]:
    """The path tokens of a blob of Caffe2, which names the parameter by letters: `res2_0_branch2a_bn_s` is a scale."""
    blob = _BLOB.fullmatch(key)
    if blob is None or (blob[3] == "s" and not blob[2]):
        return split_key(key)
    return (*split_component(blob[1]), *filter(None, (blob[2], _LETTERS[blob[3]], blob[4])))


_TOWERS = {"v": "vision", "a": "audio"}


def split_projector(key: str) -> tuple[str, ...]:
    """The path tokens of llama.cpp's multimodal projector, where `v.` is the vision tower, and `a.` the audio tower."""
    path = split_key(key)
    return (_TOWERS.get(path[0], path[0]), *path[1:])


def _plain(path: list[str]) -> tuple[str, ...]:
    """`parametrizations.weight.original0` as `torch.nn.utils.weight_norm` called it: `weight_g`."""
    at = path.index("parametrizations")
    rest = path[at + 1 :]
    name = _PARAMETRIZED.get(".".join(rest[1:]))
    return (*path[:at], f"{rest[0]}{name}") if name and rest else tuple(path)


@lru_cache(maxsize=1 << 16)
def words_of(token: str) -> tuple[str, ...]:
    """A token's words in lower case, numbers apart: `LayerNorm_0` -> layer, norm, 0."""
    return tuple(w.lower() for w in _WORDS.findall(token))


@lru_cache(maxsize=1 << 16)
def stem_index(token: str) -> tuple[str, int] | None:
    """`layer_01` -> ("layer_", 1); None where no number closes the token or it is all number."""
    m = _STEM_INDEX.match(token)
    return (m.group(1), int(m.group(2))) if m else None
