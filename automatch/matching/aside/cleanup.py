"""What a checkpoint holds beside the model: optimizer slots, averages and masks; copies of networks are in `copies`."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence

from automatch.describing.tokens import ROLES, words_of
from automatch.matching.aside.cleaned import Cleaned
from automatch.matching.aside.copies import drop_copies
from automatch.matching.aside.twins import held_twice, without
from automatch.matching.basis.adapters import is_adapter
from automatch.matching.basis.leaves import Leaf, template

TAIL = 4
"""So many tokens at its end say which module a path leads to, whatever wraps the model."""

COPY, ORIGINAL, BASE = "modules_to_save", "original_module", "base_layer"
"""How PEFT calls the two states of a module that it trains whole, and the layer beside an adapter."""

_STATES = frozenset("optimizer optimizers optim optims optstate optimizerstate optimizerstates".split())
"""Top-level names under which nothing but an optimizer's state stands."""

_SLOTS = frozenset("exp_avg exp_avg_sq max_exp_avg_sq momentum_buffer square_avg acc_delta grad_avg".split())
"""What torch's optimizers call what they keep of a parameter."""

_MASK = re.compile(r"^(weight|bias)\w*_mask$")
"""How torch.nn.utils.prune calls the mask of a parameter, `weight_hh_l0_mask`."""

TARGET = "target"
"""What flax.optim calls the parameters, `optimizer/target/Dense_0/kernel` beside `optimizer/state/step`."""

TF_SLOT = "OPTIMIZER_SLOT"
"""What TensorFlow sets between a variable and its slots, `kernel/.OPTIMIZER_SLOT/optimizer/m`."""

TF_AVERAGE = "ExponentialMovingAverage"
"""What TensorFlow calls the average that it keeps of a variable and that is used once it is trained."""


def beside_the_model(
    leaves: list[Leaf], others: Sequence[Leaf], pinned: Collection[str] = (), refused: Collection[str] = ()
) -> Cleaned:
    """Leave out all that a checkpoint holds beside the model: slots, originals, copies; of these not the pinned one.

    `refused`: keys that a person forbade to serve some key.
    """
    averages = use_averages(leaves, pinned)
    masks = drop_masks(averages.leaves, others)
    slots = drop_slots(masks.leaves, others)
    settings = drop_settings(slots.leaves, others, pinned)
    originals = drop_originals(settings.leaves, others)
    held = drop_held(originals.leaves, others, pinned)
    copies = drop_copies(held.leaves, others, pinned, refused)
    parts = averages, masks, slots, settings, originals, held, copies
    dropped = {key: why for part in parts for key, why in part.dropped.items()}
    return Cleaned(copies.leaves, dropped, tuple(note for part in parts for note in part.notes), copies.undecided)


def use_averages(leaves: list[Leaf], pinned: Collection[str] = ()) -> Cleaned:
    """Leave out the variables of which TensorFlow keeps an average, which gets their paths (in place).

    Not where a person pinned one of them.
    """
    variables = {leaf.path: leaf for leaf in leaves if leaf.path[-1] != TF_AVERAGE}
    averages = [leaf for leaf in leaves if leaf.path[-1] == TF_AVERAGE and len(leaf.path) > 1]
    of = {leaf.path[:-1]: leaf for leaf in averages if variables.get(leaf.path[:-1], leaf).raw == leaf.raw}
    beside = [variables[path] for path in of if path in variables]
    if not beside or any(leaf.keys[0] in pinned for leaf in beside):
        return Cleaned(leaves, {})
    dropped = {key: "its moving average is used" for leaf in beside for key in leaf.keys}
    for path, leaf in of.items():
        leaf.path = path
    notes = (f"{len(of)} moving averages are used, and not the variables that they are of",)
    return Cleaned([leaf for leaf in leaves if leaf.keys[0] not in dropped], dropped, notes)


def drop_masks(leaves: list[Leaf], others: Sequence[Leaf]) -> Cleaned:
    """Leave out the masks of torch's pruning, `weight_mask` beside `weight_orig`, where the other side has none."""
    masks = [leaf for leaf in leaves if _MASK.search(leaf.path[-1])]
    if not masks or any(_MASK.search(leaf.path[-1]) for leaf in others):
        return Cleaned(leaves, {})
    dropped = {key: "a mask of pruned weights" for leaf in masks for key in leaf.keys}
    notes = (f"{len(dropped)} masks of pruned weights are left out; multiply the weights by them before",)
    return Cleaned([leaf for leaf in leaves if leaf.keys[0] not in dropped], dropped, notes)


def drop_slots(leaves: list[Leaf], others: Sequence[Leaf]) -> Cleaned:
    """Leave out optimizer slots: keys that are another key and a suffix which many keys share.

    `layer/kernel/adam_m` beside `layer/kernel`. Suffixes that the other side knows are no slots. What stands under
    `optimizer` or `opt_state` (torch.distributed.checkpoint writes `optimizer.state.fc.weight.exp_avg`) is no weight
    either, unless the other side knows that name, nor what is called as torch's or TensorFlow's optimizers call their
    slots. DeepSpeed has such slots beside the parameter itself, `fc.weight/exp_avg` beside `fc.weight/fp32`.
    """
    paths = {leaf.path for leaf in leaves}
    known = {leaf.path[-1] for leaf in others}
    called = _SLOTS - known
    stepped = {leaf.path[:-1] for leaf in leaves if len(leaf.path) > 1 and leaf.path[-1] in called}
    suffixes = Counter(leaf.path[-1] for leaf in leaves if len(leaf.path) > 1 and leaf.path[:-1] in paths)
    slots = {s for s, n in suffixes.items() if s not in known and n >= 2}
    tops = {leaf.path[0] for leaf in leaves} - {leaf.path[0] for leaf in others}
    tops = {top for top in tops if "".join(words_of(top)) in _STATES}
    gone = [
        x
        for x in leaves
        if (x.path[0] in tops and x.path[1:2] != (TARGET,))
        or TF_SLOT in x.path
        or (x.path[-1] in slots and x.path[:-1] in paths)
        or (stepped and (x.path[-1] in called or x.path[-1] == "step") and x.path[:-1] in stepped)
    ]
    if not gone:
        return Cleaned(leaves, {})
    dropped = {key: "an optimizer's state, no weight" for leaf in gone for key in leaf.keys}
    kept = [leaf for leaf in leaves if leaf.keys[0] not in dropped]
    alone = Counter(leaf.path[:-1] for leaf in kept)
    for leaf in kept if stepped else ():
        if leaf.path[:-1] in stepped and alone[leaf.path[:-1]] == 1:
            leaf.path = leaf.path[:-1]
    names = sorted({leaf.path[-1] for leaf in gone})
    return Cleaned(kept, dropped, (f"{len(dropped)} optimizer slots ({', '.join(names[:4])}) are left out",))


_COUNTER = "num_batches_tracked"


def drop_settings(leaves: list[Leaf], others: Sequence[Leaf], pinned: Collection[str] = ()) -> Cleaned:
    """Leave out bare numbers, as CTranslate2 writes `rotary_base` beside weights, where the other side has none.

    The bias of a layer with one output is no such number; nor is a norm's counter one that stands outside of all
    modules, as torch_ema's `num_updates` does.
    """
    known = any(math.prod(x.raw) == 1 and not x.integer and (x.raw == () or x.path[-1] != "bias") for x in others)
    numbers = [x for x in leaves if x.raw == () and x.path[-1] not in ROLES and not is_adapter(x)]
    outside = [x for x in numbers if x.integer and len(x.path) == 1]  # several are arrays without names, `arr_5`
    lone = len(outside) == 1 and all(x.path[-1] == _COUNTER for x in others if x.integer)
    gone = [*([] if known else [x for x in numbers if not x.integer]), *(outside if lone else [])]
    gone = [x for x in gone if not any(key in pinned for key in x.keys)]
    lengths = {leaf.raw[0] for leaf in others if len(leaf.raw) == 1 and leaf.raw[0] > 1}
    alike = Counter(template(leaf.path) for leaf in gone)
    gone = [leaf for leaf in gone if alike[template(leaf.path)] not in lengths]  # one a layer may be a vector there
    dropped = {key: "a single number, of which the model has none" for leaf in gone for key in leaf.keys}
    return Cleaned([leaf for leaf in leaves if leaf.keys[0] not in dropped], dropped)


def drop_originals(leaves: list[Leaf], others: Sequence[Leaf]) -> Cleaned:
    """Leave out what PEFT keeps of modules that it trained whole, where the other side knows no such copies.

    Such a module stands twice in the wrapped model, as `original_module` and as `modules_to_save.<adapter>`, and the
    second is what it computes with.
    """
    if any(ORIGINAL in leaf.path for leaf in others):
        return Cleaned(leaves, {})
    trained = {leaf.path[: leaf.path.index(COPY)] for leaf in leaves if COPY in leaf.path}
    gone = {i for i, x in enumerate(leaves) if ORIGINAL in x.path and x.path[: x.path.index(ORIGINAL)] in trained}
    dropped = {key: "what a module was before it was trained" for i in sorted(gone) for key in leaves[i].keys}
    many = f"{len(dropped)} tensors were before PEFT trained them"
    what = "one tensor was before PEFT trained it" if len(dropped) == 1 else many
    notes = (f"what {what} whole is left out",) if dropped else ()
    return Cleaned([leaf for i, leaf in enumerate(leaves) if i not in gone], dropped, notes)


def drop_held(leaves: list[Leaf], others: Sequence[Leaf], pinned: Collection[str] = ()) -> Cleaned:
    """Leave out what a checkpoint holds a second time, as nnU-Net's blocks do, where the other side has it once.

    What it repeats whole (`image.layers` beside `layers`) is another network, and holds other values.
    """
    copies = held_twice(leaves, others, pinned, whole=False)
    dropped = {key: "held a second time by another module" for x in leaves if id(x) in copies for key in x.keys}
    first = next(iter(dropped), None)
    notes = (
        (f"{len(dropped)} tensors that another module holds as well are left out, the first {first}",) if first else ()
    )
    return Cleaned(without(leaves, copies), dropped, notes)


def without_originals(leaves: list[Leaf], others: Sequence[Leaf], told: Collection[str] = ()) -> list[Leaf]:
    """A model's leaves without what its modules were before PEFT trained them whole, where the file is an adapter's.

    Such a file holds what was trained: its `score.weight` is `score.modules_to_save.default.weight`, which gets that
    path (in place). Not where a person `told` what becomes of one of these keys.
    """
    wrapped = {_unwrapped(leaf) for leaf in leaves if BASE in leaf.path and len(leaf.shape) > 1}
    adapters = any(map(is_adapter, others))
    if not wrapped or not adapters or any(_unwrapped(leaf) in wrapped for leaf in others):
        return leaves
    if any(key in told for leaf in leaves if {ORIGINAL, COPY} & set(leaf.path) for key in leaf.keys):
        return leaves
    if len({leaf.path[leaf.path.index(COPY) + 1] for leaf in leaves if COPY in leaf.path[:-2]}) == 1:
        for leaf in leaves:
            if COPY in leaf.path[:-2]:
                at = leaf.path.index(COPY)
                leaf.path = leaf.path[:at] + leaf.path[at + 2 :]
    return [leaf for leaf in leaves if ORIGINAL not in leaf.path]


def _unwrapped(leaf: Leaf) -> tuple[str, ...]:
    """The end of a path as it is before PEFT wraps the module."""
    return tuple(token for token in leaf.path if token != BASE)[-TAIL:]
