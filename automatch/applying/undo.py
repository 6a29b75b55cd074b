"""What a module held before values were put into it, so that a load that fails half-way leaves no trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class Undo:
    """The parameters and buffers of a module: which objects they are, and a copy of their values on the CPU.

    Hooks of a module may write where no key leads, so that every tensor is kept, not just those that are loaded.
    """

    def __init__(self, module: Module) -> None:
        """Copy the values of a module; needs as much memory as they take."""
        self._places: list[tuple[dict[str, Any], str, Tensor]] = []
        self._values: dict[int, Tensor | None] = {}
        for part in module.modules():
            for held in (part._parameters, part._buffers):
                self._places += [(held, name, tensor) for name, tensor in held.items() if tensor is not None]
        for _, _, tensor in self._places:
            if id(tensor) not in self._values:
                self._values[id(tensor)] = _copy(tensor)

    def tie(self) -> None:
        """Let places that shared one object share one again: what torch assigned to the last of them."""
        given: dict[int, Tensor] = {}
        for held, name, old in self._places:
            now = held.get(name)
            if now is not None and now is not old:
                given[id(old)] = now
        for held, name, old in self._places:
            if id(old) in given:
                held[name] = given[id(old)]

    def restore(self) -> None:
        """Put every object back into its place, and its values into it."""
        import torch

        for held, name, tensor in self._places:
            held[name] = tensor
        # Inference mode may write into any tensor, whatever mode it was made in.
        with torch.inference_mode():
            for tensor in {id(tensor): tensor for _, _, tensor in self._places}.values():
                value = self._values[id(tensor)]
                if value is not None:
                    _own(tensor).copy_(value)


def _copy(tensor: Tensor) -> Tensor | None:
    """The values of a tensor; None where it has none (on the meta device, or not initialized)."""
    import torch
    from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

    if isinstance(tensor, (UninitializedBuffer, UninitializedParameter)) or tensor.is_meta:
        return None
    with torch.inference_mode():
        return _own(tensor).detach().to("cpu", copy=True)


def _own(tensor: Tensor) -> Tensor:
    """The part of a tensor that has memory of its own: an expanded one repeats it, and torch writes into none such."""
    import torch

    if tensor.layout is torch.strided:
        for dim, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
            tensor = tensor.narrow(dim, 0, 1) if size > 1 and stride == 0 else tensor
    return tensor
