"""One tensor for several keys of the model: tied weights, what serves every block, copies that PEFT makes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Mapping, Sequence

from automatch.matching.aside.cleanup import BASE, COPY, ORIGINAL
from automatch.matching.basis.adapters import is_adapter
from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf, numbered
from automatch.matching.basis.names import Names
from automatch.matching.basis.units import module_path

_TIED_SERVED = frozenset({"embedding", "token", "shared"})
_TIED_MODEL = frozenset({"head", "embedding", "token", "shared", "decoder", "output", "linear"})
_TABLES = frozenset({"embedding", "shared"})
_NEVER_TIED = frozenset({"position", "segment"})


def tie(found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names) -> list[Found]:
    """Model keys that share their tensor with another key: a head tied to the embedding, a shared embedding.

    Only where the checkpoint holds one embedding of that shape (or several, for what is called shared), no tensor of it
    is left over that could be the key's own by its name, and both ends are called like embeddings or heads. Where the
    model has not the key that the only embedding would serve, all that may share it get it. A file cannot show whether
    a head is tied or missing, so such a pair is always flagged.
    """
    served = {id(t) for _, t, _ in found}
    counts: dict[tuple[int, ...], list[Leaf]] = defaultdict(list)
    for leaf in source:
        counts[leaf.raw].append(leaf)
    partner = {id(s): t for s, t, _ in found}
    out: list[Found] = []
    free: list[tuple[Leaf, Leaf]] = []
    tied_modules: dict[tuple[str, ...], Leaf] = {}
    for leaf in target:
        if (
            id(leaf) in served
            or len(leaf.raw) != 2
            or leaf.raw[0] == leaf.raw[1]
            or leaf.ops
            or is_adapter(leaf)
            or not _may_be_tied(_concepts(leaf, names), _TIED_MODEL)
        ):
            continue
        alike = counts[leaf.raw]
        if len(alike) == 1 and id(alike[0]) not in partner and _is_free_table(alike[0], leaf, names):
            free.append((alike[0], leaf))
        if any(id(s) not in partner and not _other(s, leaf, names) for s in alike):
            continue
        served_by = [s for s in alike if id(s) in partner and not s.ops]
        others = [s for s in served_by if _may_be_tied(_concepts(s, names), _TIED_SERVED)]
        tables = [s for s in others if "embedding" in _concepts(s, names)]
        if len(others) > 1 and others == tables and "shared" not in _concepts(leaf, names):
            others = _of_all(tables, partner, leaf, names)  # the head is tied to what the embeddings share
        if len(others) == 1 or (others and others == tables and "shared" in _concepts(leaf, names)):
            out.append((others[-1], leaf, Evidence(level="tied")))
            tied_modules[leaf.path[:-1]] = others[-1]
    out += [(s, t, Evidence(level="tied")) for s, t in free]
    vocabulary = {leaf.raw[0] for _, leaf, _ in out}
    biases = _twins_of_biases(found, target, tied_modules, names)
    for leaf in target:
        twin = biases.get(id(leaf))
        if twin is not None and id(leaf) not in served and all(id(s) in partner for s in counts[leaf.raw]):
            out.append((twin, leaf, Evidence(level="tied")))
            continue
        only = counts[leaf.raw][0] if len(leaf.raw) == 1 and len(counts[leaf.raw]) == 1 else None
        if id(leaf) in served or only is None or id(only) not in partner:
            continue
        if leaf.path[:-1] in tied_modules and leaf.raw[0] in vocabulary:
            out.append((only, leaf, Evidence(level="tied")))
        elif _inner(leaf.path, partner[id(only)].path) or _inner(partner[id(only)].path, leaf.path):
            out.append((only, leaf, Evidence(level="tied")))  # BERT's `predictions.bias` is `predictions.decoder.bias`
    return out


def _twins_of_biases(
    found: Sequence[Found], target: Sequence[Leaf], tied_modules: Container[tuple[str, ...]], names: Names
) -> dict[int, Leaf]:
    """For a head's bias that the model holds twice, what serves the other of the two, whatever else is as long.

    `predictions.decoder.bias` beside a tied weight is `predictions.bias`, and so is that of every decoder or head in a
    module that has a bias itself; as long as a table has rows, so is the other way round.
    """
    own = {t.path: s for s, t, _ in found if len(t.raw) == 1 and not s.ops and not t.ops}
    words = {leaf.raw[0] for leaf in target if len(leaf.raw) == 2 and "embedding" in _concepts(leaf, names)}
    outer = {t.path: s for s, t, _ in found if len(t.raw) == 1 and t.raw[0] in words and not s.ops and not t.ops}
    inner = {(*path[:-2], path[-1]): s for path, s in outer.items() if len(path) > 2}
    out = {}
    for leaf in target:
        around = (*leaf.path[:-2], leaf.path[-1])
        tied = leaf.path[:-1] in tied_modules
        twin = outer.get(around) if tied else inner.get(leaf.path)
        if twin is None and leaf.path[-1] == "bias" and _may_be_tied(_concepts(leaf, names, 1), _TIED_MODEL):
            twin = own.get(around)
        if twin is not None and twin.raw == leaf.raw:
            out[id(leaf)] = twin
    return out


def _is_free_table(s: Leaf, t: Leaf, names: Names) -> bool:
    """Is a tensor of the checkpoint an embedding that a key of the model may share? Not the encoder's the decoder's."""
    table = bool(_concepts(s, names) & _TABLES) and _may_be_tied(_concepts(s, names), _TIED_SERVED)
    return table and not s.ops and names.contradiction(names.path_words(s.path), names.path_words(t.path)) <= 0


def _of_all(tables: list[Leaf], partner: Mapping[int, Leaf], head: Leaf, names: Names) -> list[Leaf]:
    """Of several embeddings, those that serve what the model calls shared, or else its decoder: no encoder's head.

    Or else that of the outermost container in which the head stands as well: `decoder.bert.embeddings` is of the same
    network as `decoder.cls`, where the other table is the `encoder`'s.
    """
    served = {word: [s for s in tables if word in _concepts(partner[id(s)], names)] for word in ("shared", "decoder")}
    if served["shared"]:
        return served["shared"]
    if "encoder" in _concepts(head, names):
        return []
    return served["decoder"] or [s for s in tables if partner[id(s)].path[:1] == head.path[:1]]


def _inner(path: Sequence[str], other: Sequence[str]) -> bool:
    """Is the one a tensor of a module in the module that has the other?"""
    return len(path) > 2 and tuple(other) == (*path[:-2], path[-1])


def _other(a: Leaf, b: Leaf, names: Names) -> bool:
    """Do names say that two tensors are not one: the encoder's and the decoder's, an embedding and a head?"""
    if names.contradiction(names.path_words(a.path), names.path_words(b.path)) > 0:
        return True
    return ("head" in _concepts(a, names)) != ("head" in _concepts(b, names))


def share(found: Sequence[Found], target: Sequence[Leaf], tied: Mapping[str, str]) -> list[Found]:
    """Model keys that share their tensor with a served key, as the live model says.

    Args:
        found: the pairs so far.
        target: the model's leaves.
        tied: model key -> the first model key of the same tensor.

    Returns:
        Further pairs, for the keys of shared tensors that nothing serves yet.
    """
    if not tied:
        return []
    serving: dict[str, tuple[Leaf, Evidence]] = {}
    for s, t, evidence in found:
        if not t.ops:
            said = evidence if judge(evidence).ambiguous else Evidence(level="shared")  # no surer than what it shares
            serving.setdefault(tied.get(t.keys[0], t.keys[0]), (s, said))
    served = {id(t) for _, t, _ in found}
    roots = set(tied.values())
    out: list[Found] = []
    for leaf in target:
        root = tied.get(leaf.keys[0], leaf.keys[0])
        if id(leaf) not in served and root in roots and root in serving:
            s, said = serving[root]
            out.append((s, leaf, said))
    return out


def again_by_name(found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf]) -> list[Found]:
    """Further pairs for model keys that nothing serves, as their namesake in the checkpoint serves another; flagged.

    A later version holds `encoder.initial_bn` besides `initial_bn`. Not for keys with numbers: layers may be counted
    otherwise.
    """
    served = {id(t) for _, t, _ in found}
    left = [t for t in target if id(t) not in served and not t.ops and not numbered(t.path)]
    serving = {id(s) for s, _, _ in found} if left else set()
    known = {s.keys[0]: s for s in source if id(s) in serving and len(s.keys) == 1 and not s.ops}
    twins = ((known.get(t.keys[0]), t) for t in left)
    return [(s, t, Evidence(level="echo")) for s, t in twins if s is not None and s.raw == t.raw]


WHOLE = 8
"""A layer has so many tensors at least; what has fewer may be one of several heads."""


def in_every_block(found: Sequence[Found], target: Sequence[Leaf]) -> list[Found]:
    """Further pairs for what the checkpoint holds once, outside its blocks, and the model in every block.

    As DiT's timestep embedding in diffusers; or a whole layer that serves as all of them, as ALBERT's does, where the
    checkpoint does not number it. As the others may be missing, such a pair is always flagged.
    """
    serving = {t.path: s for s, t, _ in found if not t.ops}
    homes: dict[tuple[str, ...], Counter[tuple[str, ...]]] = defaultdict(Counter)
    rows: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Leaf]] = defaultdict(list)
    for leaf in target:
        block = _first_block(leaf.path)
        if block and not leaf.integer and not leaf.ops:
            rows[block[:-1], leaf.path[len(block) :]].append(leaf)
            if leaf.path in serving:
                homes[block][_first_block(serving[leaf.path].path)] += 1
    served = Counter(block[:-1] for block in homes)
    out: list[Found] = []
    for (blocks, _), row in rows.items():
        held = [leaf for leaf in row if leaf.path in serving]
        if len(held) != 1 or len(row) == 1 or any(leaf.raw != row[0].raw for leaf in row):
            continue
        home = homes[_first_block(held[0].path)]
        usual = max(home, key=home.__getitem__)
        one = serving[held[0].path]
        if (usual and one.path[: len(usual)] != usual) or (not usual and served[blocks] == 1 and home.total() >= WHOLE):
            out += [(one, leaf, Evidence(level="once")) for leaf in row if leaf is not held[0]]
    return out


def trained_copies(
    found: Sequence[Found], target: Sequence[Leaf], forbids: Callable[[Leaf, Leaf], bool]
) -> list[Found]:
    """The pairs, with the copies served that PEFT makes of modules to be trained whole.

    It wraps such a module, once it is loaded, as `original_module` and `modules_to_save.<adapter>`, equal at first. A
    checkpoint that holds nothing of the base model, as an adapter's file, serves the copy alone.
    """
    copies: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Leaf]] = defaultdict(list)
    served = {id(t) for _, t, _ in found}
    for leaf in target:
        if COPY in leaf.path[:-2] and id(leaf) not in served:
            at = leaf.path.index(COPY)
            copies[leaf.path[:at], leaf.path[at + 2 :]].append(leaf)
    if not copies:
        return list(found)
    wrapped = [leaf for leaf in target if BASE in leaf.path]
    alone = bool(wrapped) and not any(id(leaf) in served for leaf in wrapped)
    out: list[Found] = []
    for s, t, evidence in found:
        own: list[Leaf] = []
        if ORIGINAL in t.path and not t.ops:
            place = t.path.index(ORIGINAL)
            own = [leaf for leaf in copies[t.path[:place], t.path[place + 1 :]] if leaf.raw == t.raw]
            own = [leaf for leaf in own if not forbids(s, leaf)]
        if not (alone and own) or evidence.level == "pin":
            out.append((s, t, evidence))
        said = evidence if judge(evidence).ambiguous else Evidence(level="copy")
        out += [(s, leaf, said) for leaf in own]
    return out


def _may_be_tied(concepts: frozenset[str], known: frozenset[str]) -> bool:
    return bool(concepts & known) and not concepts & _NEVER_TIED


def _concepts(leaf: Leaf, names: Names, tokens: int = 2) -> frozenset[str]:
    return frozenset(c for w in names.path_words(module_path(leaf.path)[-tokens:]) for c in w.concepts)


def _first_block(path: tuple[str, ...]) -> tuple[str, ...]:
    """The outermost numbered item that a path leads through; () for none."""
    at = next((i for i, token in enumerate(path[:-1]) if token.isdecimal()), None)
    return () if at is None else path[: at + 1]
