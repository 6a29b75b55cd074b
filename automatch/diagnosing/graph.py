"""The comparison as a bipartite graph for networkx: what was chosen, what else was possible, and the evidence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rapidfuzz import fuzz

from automatch.matching.assignment import Assignment
from automatch.spec import StateDictSpec

if TYPE_CHECKING:
    import networkx as nx


def bipartite_graph(checkpoint: StateDictSpec, model: StateDictSpec, assignment: Assignment) -> nx.Graph:
    """Both sides as nodes, chosen and alternative pairs as edges.

    Returns:
        A graph whose nodes are `("checkpoint", key)` (`bipartite=0`) and `("model", key)` (`bipartite=1`), each with
        `shape` and `dtype`. Every edge carries `chosen`, `op`, `checkpoint_shape`, `model_shape`, `name_ratio`
        (rapidfuzz `fuzz.ratio` of the two keys, in [0, 1]), `confidence`, `ambiguous` and `reason`; a pair that was set
        aside because its shapes differ has `chosen=False` and op "". An operation on several keys has an edge for each
        pair of them.
    """
    import networkx as nx

    graph = nx.Graph()
    for side, (name, spec) in enumerate((("checkpoint", checkpoint), ("model", model))):
        graph.add_nodes_from(
            ((name, t.key), {"bipartite": side, "shape": t.shape, "dtype": t.dtype}) for t in spec.tensors
        )
    for source, target, evidence in _pairs(assignment):
        graph.add_edge(
            ("checkpoint", source),
            ("model", target),
            checkpoint_shape=checkpoint.by_key[source].shape,
            model_shape=model.by_key[target].shape,
            name_ratio=fuzz.ratio(source, target) / 100,
            **evidence,
        )
    return graph


def _pairs(assignment: Assignment) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Checkpoint key, model key and evidence; chosen pairs last, so that one pair's edge says chosen where it is."""
    for pair in assignment.mismatched:
        reason = "belongs here, but the shapes differ"
        yield pair.checkpoint_key, pair.key, _evidence("", 0.0, reason)
    for match in assignment.matches:
        for source in match.alternatives:
            for target in match.model_keys:
                reason = "fits as well as the chosen one"
                yield source, target, _evidence(match.op, match.confidence, reason, ambiguous=True)
    for match in assignment.matches:
        for source in match.checkpoint_keys:
            for target in match.model_keys:
                chosen = _evidence(match.op, match.confidence, match.reason, ambiguous=match.ambiguous, chosen=True)
                yield source, target, chosen


def _evidence(op: str, confidence: float, reason: str, ambiguous: bool = False, chosen: bool = False) -> dict[str, Any]:
    """Attributes of an edge."""
    return {"op": op, "confidence": confidence, "reason": reason, "ambiguous": ambiguous, "chosen": chosen}
