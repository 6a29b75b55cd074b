"""The parts of something fused, as names say them: q, k and v; gate and up; gamma and beta."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from automatch.describing.lexicon import lexicon
from automatch.describing.tokens import ROLES, split_key, words_of
from automatch.matching.basis.leaves import Leaf
from automatch.spec import Shape

_ROLES = {
    **{"query": "q", "key": "k", "value": "v", "kv": "kv"},
    **{"gate": "gate", "up": "up", "filter": "filter", "mean": "mean", "var": "var", "deviation": "var"},
}
"""The lexicon's concepts that name a part of something fused, and what they are called in `PARTS`."""

GATED, FILTERED = ("gate", "up"), ("filter", "gate")
FILM = ("gamma", "beta")
MOMENTS = ("mean", "var")
PARTS: tuple[tuple[str, ...], ...] = (("q", "k", "v"), ("k", "v"), GATED, ("q", "kv"), FILTERED, MOMENTS, FILM)
"""Which roles are fused, in the order in which they are joined."""

TWO_NAMED = ("q", "k")
"""What is fused where a name says so alone: `QK` beside `V`. Far more often k and v are."""

ADAPTED = ("q", "v")
"""What LoRA is learnt for most often (Hu et al., 2021): of fused matrices, an adapter for these two parts alone."""

UNRELATED = MOMENTS, FILM
"""Parts of no attention and no mlp: what is called like a part of these may be what holds them."""

GATES = GATED, FILTERED
"""A gate, and what it lets through; which of the two comes first, only a name tells."""

HALVES_OF = {("ff_proj",): ("up", "gate"), ("net", "0", "proj"): ("up", "gate")}
"""What fused halves are called that say no order, and how those lie that use the words (OLMo; diffusers): a guess."""

QKV_FIRST = frozenset({"linear1"})
"""What is called so holds q, k, v and then the mlp: Flux, HunyuanVideo. timm's `in_proj` has the mlp first."""

GATE_FIRST = frozenset({"linear_fc1", "input_linear", "wg1_fused"})
"""What holds the gate and then what it lets through: Megatron-Core, GraniteMoE, IBM's fms. `fc1` tells no order."""

NEAR = 4
"""So many tokens of a path, from its end, are looked at for a role: `q_proj.lora_A.default.weight`."""

Hole = tuple[str, ...]


@lru_cache(maxsize=1 << 16)
def role_in(path: tuple[str, ...]) -> tuple[int, str, str] | None:
    """The part that a path names: index of its token, the role, the token with the role taken out.

    The last such token counts.

    A token that has a list below it is a container: `up_blocks.0` is no up-projection.
    """
    for i in range(len(path) - 1, max(len(path) - 1 - NEAR, -1), -1):
        found = None if i == len(path) - 1 and path[i] in ROLES else _token_role(path[i])  # a norm's `running_mean`
        if found is None or (found[0] == "up" and i + 1 < len(path) and path[i + 1].isdecimal()):
            continue
        if found[0] in FILM and i == len(path) - 1:
            continue  # ConvNeXt's `gamma` is a scale
        if i == 0 or "lora" not in words_of(path[i - 1]):  # `qkv_lora.up` is the half of an adapter, no up-projection
            return i, *found
    return None


@lru_cache(maxsize=1 << 16)
def _token_role(token: str) -> tuple[str, str] | None:
    if token.isdecimal():
        return None
    numbered = _numbered_gates().get(token)
    if numbered is not None:
        return numbered, "{}"
    words = words_of(token)
    if "lora" in words:
        return None  # `lora_up` is the half of an adapter, no up-projection
    joined = "".join(words)
    roles = _role_words()
    if joined in roles:
        return roles[joined], "{}"
    hits = [j for j, w in enumerate(words) if w in roles]
    if len(hits) == 2 and (both := "".join(words[j] for j in hits)) in joined and both in roles:  # `key_value`
        return roles[both], "_".join((*words[: hits[0]], "{}", *words[hits[1] + 1 :]))
    if len(hits) != 1:
        return None
    j = hits[0]
    before = [word for word in words[:j] if word != "log"]  # `fc_log_var` beside `fc_mu`
    return roles[words[j]], "_".join((*before, "{}", *words[j + 1 :]))


@lru_cache(maxsize=1)
def _numbered_gates() -> dict[str, str]:
    """Of two matrices that are only numbered, the gate and what it lets through: `fc_1` and `fc_2` of litgpt."""
    pairs = [pair for pair in lexicon().gated if len(pair) == 2]
    return {token: role for pair in pairs for token, role in zip(pair, GATED, strict=True)}


@lru_cache(maxsize=1)
def _role_words() -> dict[str, str]:
    """The lexicon's single words for the parts; what it knows as several words (`gate_proj`) is taken word by word.

    What scales and what shifts may be lists, `gammas.0` and `betas.0`, or be called `scale` and `shift`.
    """
    words = lexicon().words
    # SPADE's `mlp_gamma`; a norm's own gamma is no module
    film = {called: word for word in FILM for called in (word, f"{word}s")} | {"scale": "gamma", "shift": "beta"}
    several = {word.replace("_", "") for word in words if "_" in word}
    return (
        film
        | {
            word: _ROLES[concept]
            for word, concepts in words.items()
            if "_" not in word
            for concept in concepts & _ROLES.keys()
            if word not in several or _ROLES[concept] == "var"
        }
        | {"keyvalue": "kv", "keysvalues": "kv"}
    )


def joined_shape(shapes: Sequence[Shape], dim: int) -> Shape | None:
    """The shape of tensors joined along a dimension; None where they do not fit each other."""
    first = shapes[0]
    if any(len(s) != len(first) for s in shapes) or not first:
        return None
    if any(s[:dim] != first[:dim] or s[dim + 1 :] != first[dim + 1 :] for s in shapes):
        return None
    return (*first[:dim], sum(s[dim] for s in shapes), *first[dim + 1 :])


def groups_of(leaves: list[Leaf], parts: tuple[str, ...]) -> dict[Hole, dict[str, Leaf]]:
    """Leaves whose paths differ only in which of the parts they name, whole groups only, by their common path."""
    groups: dict[Hole, dict[str, Leaf]] = defaultdict(dict)
    spoilt: set[Hole] = set()
    for leaf in leaves:
        found = role_in(leaf.path)
        if found is None or found[1] not in parts or leaf.integer:
            continue
        i, role, hole = found
        name = (*leaf.path[:i], hole, *leaf.path[i + 1 :])
        if role in groups[name]:
            spoilt.add(name)
        groups[name][role] = leaf
    return {k: v for k, v in groups.items() if len(v) == len(parts) and k not in spoilt}


_NUMBERS = ("0", "1", "2", "3")


def numbered_groups(leaves: Iterable[Leaf]) -> dict[Hole, dict[str, Leaf]]:
    """The first three of the equal layers that an attention keeps as a list (`self_attn.linears.0 .. 3`), as q, k, v.

    So does the Annotated Transformer (Rush, 2018), and what was built on it; the fourth, if there is one, leads out.
    """
    lists: dict[Hole, dict[str, Leaf]] = defaultdict(dict)
    for leaf in leaves:
        if len(leaf.path) > 3 and leaf.path[-2].isdecimal() and not leaf.integer:
            name = (*leaf.path[:-2], "{}", leaf.path[-1])
            lists[name][leaf.path[-2]] = leaf
    words = lexicon().words
    return {
        name: dict(zip(PARTS[0], (items[n] for n in _NUMBERS), strict=False))
        for name, items in lists.items()
        if tuple(sorted(items)) in ((_NUMBERS, _NUMBERS[:3]) if _is_linear(name[-3]) else (_NUMBERS,))
        and len({leaf.shape for leaf in items.values()}) == 1
        if any("attention" in words.get(word, ()) for word in (*words_of(name[-4]), "".join(words_of(name[-4]))))
    }


def _is_linear(token: str) -> bool:
    words = lexicon().words
    return any("linear" in words.get(word.removesuffix("s"), ()) for word in words_of(token))


def only_numbered(s: Leaf, t: Leaf) -> bool:
    """Are three parts joined, or cut out, that no name tells apart?"""
    for parts in (s, t):
        if "concat" in parts.ops and len(parts.keys) == len(PARTS[0]):
            paths = [split_key(key) for key in parts.keys]
            if len({found and found[1] for found in map(role_in, paths)}) == 1 and all(
                len(path) > 1 and path[-2].isdecimal() for path in paths
            ):
                return True
    return False


def filled(name: Hole, word: str) -> Hole:
    """A path with the role put back in where it was taken out."""
    return tuple(token.replace("{}", word) for token in name)


def as_named(pairs: Iterable[tuple[Leaf, Leaf]]) -> None:
    """Put joined parts into the order that the name of their partner says (in place): `up_gate_proj` begins with up."""
    for pair in pairs:
        for parts, fused in (pair, pair[::-1]):
            if {"concat", "stack"} & set(parts.ops) and len(fused.keys) == 1:
                _arrange(parts, fused.path)


def _arrange(parts: Leaf, path: tuple[str, ...]) -> None:
    """The parts of a joined leaf in the order that a path says, where it names just these; what is beyond stays."""
    roles = [found[1] for key in parts.keys if (found := role_in(split_key(key)))]
    orders = [said_order(token) for token in path[-2:]]
    if set(roles) == {"q", "kv"}:  # `kvq` keeps them the other way round
        orders = [("kv", "q") if order[-1:] == ("q",) else ("q", "kv") for order in orders if order]
    modules = path, path[:-1]
    orders += [order for words, order in HALVES_OF.items() if any(own[-len(words) :] == words for own in modules)]
    said = next((order for order in orders if set(order) == set(roles)), ())
    if len(said) != len(roles) or len(set(roles)) != len(roles) or len(roles) < 2:
        return
    if parts.sizes is None and "stack" not in parts.ops:
        return
    if len(parts.keys) != len(parts.sizes or roles):
        return
    places = [*(roles.index(role) for role in said), *range(len(roles), len(parts.keys))]
    parts.keys = tuple(parts.keys[i] for i in places)
    parts.sizes = parts.sizes and tuple(parts.sizes[i] for i in places)


def mlp_unsaid(s: Leaf, t: Leaf) -> bool:
    """Are q, k, v and an mlp joined under a name that does not tell which lies first, as `in_proj`?"""
    return any(
        len(parts.keys) == len(PARTS[0]) + 1
        and roles >= set(PARTS[0])
        and not any(map(_says_where, fused.path[-NEAR - 1 :]))
        for parts, fused, roles in _joined(s, t)
    )


def _joined(s: Leaf, t: Leaf) -> Iterator[tuple[Leaf, Leaf, set[str]]]:
    """The side that was joined, the one tensor that it is held against, and what its members are called."""
    for parts, fused in ((s, t), (t, s)):
        if "concat" in parts.ops and len(fused.keys) == 1:
            yield parts, fused, {found[1] for key in parts.keys if (found := role_in(split_key(key)))}


def _says_where(token: str) -> bool:
    """Does a name begin with `qkv`, or spell more letters beside these (`gqkv`), or is it known?"""
    words = [word for word in words_of(token) if word not in ("to", "in")]
    begins = bool(words) and len(words[0]) == len(PARTS[0]) and set(words[0]) == set(PARTS[0])
    return begins or token in QKV_FIRST or any(set(word) > set(PARTS[0]) for word in words)


def gate_unsaid(s: Leaf, t: Leaf) -> bool:
    """Are gate and up joined under a name that tells no order, as `fc1` does?

    Most libraries put the gate first (`gate_up_proj`, `w12`), OLMo, ModernBERT and diffusers' GEGLU last. So do most
    WaveNets with their filter and gate, and DiffWave's has the gate first.
    """
    return any(
        len(parts.keys) == len(GATED)
        and roles in map(set, GATES)
        and not any(map(_tells, fused.path[-2:]))
        and not (roles == set(GATED) and not GATE_FIRST.isdisjoint(fused.path[-2:]))
        for parts, fused, roles in _joined(s, t)
    )


def film_unsaid(s: Leaf, t: Leaf) -> bool:
    """Are what scales and what shifts joined under a name that tells no order, as `film` does?"""
    return any(
        roles == set(FILM) and not any(set(said_order(token)) == roles for token in fused.path[-2:])
        for _, fused, roles in _joined(s, t)
    )


def turns_unsaid(s: Leaf, t: Leaf) -> bool:
    """Are gate and up of experts joined along the last dimension, [experts, in, 2 * out], or their biases?

    There they may lie side by side, or by turns.
    """
    return any(
        parts.dim == len(parts.shape) - 1
        and roles == set(GATED)
        and (len(fused.raw) == 3 or (len(fused.raw) == 2 and "bias" in fused.path[-1]))
        for parts, fused, roles in _joined(s, t)
    )


def _tells(token: str) -> bool:
    counted = not token.isdecimal() and any(word in ("12", "13") for word in words_of(token))
    return counted or set(said_order(token)) in map(set, GATES)


def may_hold(path: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """May what is called so hold these parts, or is it `QK`, which holds q and k, and nothing else does?"""
    return (parts == TWO_NAMED) == any(set(said_order(token)) == set(TWO_NAMED) for token in path[-2:])


@lru_cache(maxsize=1 << 16)
def said_order(token: str) -> tuple[str, ...]:
    """The parts in the order in which a token names them; () where it names none."""
    words, roles = words_of(token), _role_words()
    letters = next((tuple(word) for word in words if len(word) > 1 and set(word) <= {"q", "k", "v"}), ())
    return letters or tuple(roles[word] for word in words if word in roles)
