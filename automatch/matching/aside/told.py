"""What a checkpoint holds beside the network: keys that a load does without, told before anything is matched."""

from __future__ import annotations

from automatch.collecting import paused
from automatch.matching.aside.cleanup import beside_the_model
from automatch.matching.basis.leaves import leaves_of, to_squeeze
from automatch.matching.keys.adopted import adopt
from automatch.spec import StateDictSpec


def set_aside(checkpoint: StateDictSpec, model: StateDictSpec) -> dict[str, str]:
    """Checkpoint keys of optimizer slots, of second copies of the network and of modules before they were trained.

    Args:
        checkpoint: the file.
        model: what the code wants.

    Returns:
        Why each does no harm, by key.
    """
    with paused():
        squeezed = to_squeeze(checkpoint, model)
        source, target = leaves_of(checkpoint, squeezed), leaves_of(model, squeezed)
        adopt(source, target)
        adopt(target, source)
        return beside_the_model(source, target).dropped
