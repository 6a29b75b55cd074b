"""Model keys that share their tensor with another key, by their names: a head tied to the embedding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence

from automatch.matching.basis.adapters import is_adapter
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf, Path, numbered
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
    tied_modules: dict[Path, Leaf] = {}
    for leaf in target:
        if (
            id(leaf) in served
            or len(leaf.raw) != 2
            or leaf.ops
            or is_adapter(leaf)
            or not _may_be_tied(_concepts(leaf, names), _TIED_MODEL)
            or (leaf.raw[0] == leaf.raw[1] and not _is_named_table(leaf, names))
        ):
            continue
        alike = [s for s in counts[leaf.raw] if not numbered(s.path)] or counts[leaf.raw]  # no matrices of layers
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
    found: Sequence[Found], target: Sequence[Leaf], tied_modules: Container[Path], names: Names
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


def _is_named_table(leaf: Leaf, names: Names) -> bool:
    """Is a square matrix called a head, or a table, and stands in no layer? Else it is a linear layer."""
    return not numbered(leaf.path) and ("head" in _concepts(leaf, names) or bool(_concepts(leaf, names, 1) & _TABLES))


def _may_be_tied(concepts: frozenset[str], known: frozenset[str]) -> bool:
    return bool(concepts & known) and not concepts & _NEVER_TIED


def _concepts(leaf: Leaf, names: Names, tokens: int = 2) -> frozenset[str]:
    return frozenset(c for w in names.path_words(module_path(leaf.path)[-tokens:]) for c in w.concepts)
