"""Only biases differ: a folded batch norm, or `bias=False` on one side."""

from __future__ import annotations

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import count, is_head


def check(evidence: Evidence) -> Finding | None:
    """Whether biases are listed whose weights are not; an output layer beside them changes nothing."""
    keys = [k for k in (*evidence.missing_keys, *evidence.unexpected_keys) if k not in evidence.buffers]
    modules = {k.rpartition(".")[0] for k in keys if k.endswith("weight")}
    biases = [k for k in keys if k.rpartition(".")[2] == "bias" and k.rpartition(".")[0] not in modules]
    chosen, missing_keys = frozenset(biases), frozenset(evidence.missing_keys)
    rest = [k for k in keys if k not in chosen]
    if evidence.mismatched or not biases or len(rest) > 4 or not all(is_head(k) or "norm" in k for k in rest):
        return None
    missing = sum(k in missing_keys for k in biases)
    has, lacks = ("model", "checkpoint") if missing * 2 >= len(biases) else ("checkpoint", "model")
    return Finding(
        "other",
        0.62,
        f"the {has} has {'a bias' if len(biases) == 1 else 'biases'} that the {lacks} lacks "
        f"({count(len(biases), 'key')} such as `{biases[0]}`), "
        f"their weights fit: one side {_how(evidence, biases)}was built with bias=False",
        "build the model with the same bias setting as when it was saved; a missing bias that a norm follows may be "
        "filled with zeros on purpose",
    )


def _how(evidence: Evidence, biases: list[str]) -> str:
    """What else makes biases: a batch norm that was folded, but into no linear layer and no recurrent one."""
    known = [tensor for spec in (evidence.checkpoint, evidence.model) if spec is not None for tensor in spec.tensors]
    ranks = {tensor.key: len(tensor.shape) for tensor in known}
    weights = [ranks.get(f"{bias.removesuffix('bias')}weight") for bias in biases]
    flat = bool(known) and all(rank is not None and rank <= 2 for rank in weights)
    return "" if flat else "folded its batch norm into them or "
