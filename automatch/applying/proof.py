"""The last proof: the renamed keys go into a copy of the module that has no memory, with torch's own strict load."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from automatch.diagnosing.comparison import StrictLoad
from automatch.diagnosing.naming import count
from automatch.errors import RuleError, quoted
from automatch.matching.assignment import Assignment
from automatch.rules.guesses import unmarked
from automatch.rules.rule_set import RuleSet
from automatch.rules.versions import versions_of, with_versions
from automatch.spec import StateDictSpec

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

CALL = "load_state_dict(strict=True, assign=True)"


def prove(module: object, checkpoint: StateDictSpec, assignment: Assignment, rules: RuleSet) -> StrictLoad:
    """Load tensors of the checkpoint's shapes, renamed by the rules, into a copy of the module on the meta device.

    Args:
        module: the model, an `nn.Module`; neither it nor its memory is touched.
        checkpoint: keys and shapes of the file.
        assignment: says which absent and surplus keys do no harm.
        rules: what renames.

    Returns:
        Whether torch raised nothing; `passed` is None where keys that matter are left over, or the module cannot be
        copied.
    """
    left = [key for key in (*assignment.missing_keys, *assignment.unexpected_keys) if key not in assignment.harmless]
    if left:
        return StrictLoad(None, f"{CALL} was not tried: {_left_over(left, assignment)}")
    twin = meta_copy(module)
    if twin is None:
        return StrictLoad(None, f"{CALL} was not tried: {type(module).__name__} cannot be copied")
    own = twin.state_dict()
    kept = tuple(key for key in assignment.missing_keys if key in own)
    surplus = set(assignment.unexpected_keys)
    try:
        tensors = {key: tensor for key, tensor in meta_tensors(checkpoint).items() if key not in surplus}
        renamed = unmarked(rules).apply(with_versions(tensors, checkpoint.versions))  # guesses are told elsewhere
        whole = {**without_tensor(own), **renamed, **{key: own[key] for key in kept}}
        twin.load_state_dict(with_versions(whole, versions_of(renamed)), strict=True, assign=True)
    except (RuleError, RuntimeError, KeyError, ValueError, AssertionError) as error:
        return StrictLoad(False, f"{CALL} failed on a copy of the model: {quoted(error)}", kept)
    also = f"; {len(kept)} harmless keys kept the model's own value" if kept else ""
    return StrictLoad(True, f"proven by {CALL} on a copy of the model on the meta device{also}", kept)


def _left_over(left: Sequence[str], assignment: Assignment) -> str:
    """How many keys have no place, and why."""
    sized = {key for pair in assignment.mismatched for key in (pair.key, pair.checkpoint_key)}
    missing, unexpected = set(assignment.missing_keys), set(assignment.unexpected_keys)
    counts = {
        "of another shape": len(assignment.mismatched),
        "missing": sum(key in missing and key not in sized for key in left),
        "unexpected": sum(key in unexpected and key not in sized for key in left),
    }
    return ", ".join(count(number, "key") + f" {what}" for what, number in counts.items() if number)


def without_tensor(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Its extra states that are no tensors: they have no shape to compare, and a module does well without them."""
    import torch

    return {key: value for key, value in state_dict.items() if not isinstance(value, torch.Tensor)}


def meta_copy(module: object) -> Module | None:
    """A copy of the module whose tensors have shapes but no memory, or None where it cannot be copied."""
    import torch

    memo: dict[int, object] = {}
    if not isinstance(module, torch.nn.Module):
        return None
    try:
        for part in module.modules():
            # Plain attributes too: a module may keep tensors that are neither parameters nor buffers.
            for tensor in (*part._parameters.values(), *part._buffers.values(), *vars(part).values()):
                if isinstance(tensor, torch.Tensor) and id(tensor) not in memo:
                    memo[id(tensor)] = _without_memory(tensor)
        return copy.deepcopy(module, memo)
    except (RuntimeError, TypeError, NotImplementedError, AttributeError, ValueError):
        return None


def meta_tensors(spec: StateDictSpec) -> dict[str, Tensor]:
    """A tensor without memory for each key, with the versions of modules; an unknown dtype stands as bytes."""
    import torch

    tensors = {
        t.key: torch.empty(t.shape, dtype=getattr(torch, t.dtype, torch.uint8), device="meta") for t in spec.tensors
    }
    return with_versions(tensors, spec.versions)


def _without_memory(tensor: Tensor) -> Tensor:
    """The tensor's twin on the meta device, a parameter if it is one."""
    import torch

    twin = torch.empty_like(tensor, device="meta", requires_grad=False)
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(twin, requires_grad=tensor.requires_grad)
    return twin
