"""The look at the whole, once all blocks are matched: what names, neighbours and other blocks say of each pair.

Pairs are exchanged, taken back or put in doubt here, and what is left over of damaged modules is paired.
"""

from __future__ import annotations

from collections.abc import Sequence

from automatch.matching.basis.evidence import Found
from automatch.matching.basis.identity import Identity
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.names import Names
from automatch.matching.basis.pins import Decisions
from automatch.matching.keys.unnamed import in_order_of_use
from automatch.matching.left_overs.half_matched import drop_half_matched
from automatch.matching.left_overs.named import by_own_name, by_same_keys, namesakes, not_crossed
from automatch.matching.left_overs.one_model import doubt_other_heads, is_one_model
from automatch.matching.reviews.against import doubt_crossed
from automatch.matching.reviews.behind import behind_their_layers
from automatch.matching.reviews.beside import doubt_misplaced
from automatch.matching.reviews.columns import as_elsewhere, as_elsewhere_unmatched
from automatch.matching.reviews.counted import as_counted_down
from automatch.matching.reviews.counters import as_their_modules
from automatch.matching.reviews.crosswise import as_numbered
from automatch.matching.reviews.dictionary import as_sure_ones_say
from automatch.matching.reviews.exchangeable import doubt_exchangeable
from automatch.matching.reviews.gated import doubt_misnamed_gates, doubt_other_kind
from automatch.matching.reviews.items import doubt_other_homes
from automatch.matching.reviews.jumps import doubt_jumps
from automatch.matching.reviews.meant import from_their_part
from automatch.matching.reviews.ordinals import as_they_run
from automatch.matching.reviews.remains import of_damaged_modules, of_no_layer, of_one_shape
from automatch.matching.reviews.strays import (
    doubt_lonely,
    doubt_one_of_a_list,
    doubt_other_tokens,
    drop_from_surplus,
    drop_surplus,
)
from automatch.matching.reviews.worded import as_all_names_say


def reviewed(
    found: list[Found],
    source: Sequence[Leaf],
    target: Sequence[Leaf],
    names: Names,
    order_trust: float,
    identity: Identity,
    decisions: Decisions,
) -> list[Found]:
    """The pairs after a look at the whole: what whole keys, neighbours and all other blocks say of each."""
    if names.silent:
        return found
    refuses = decisions.refuses
    if not decisions.made:
        wrapped = identity if identity.holds else Identity(source, target, both=True)
        found = by_same_keys(by_own_name(found, source, target), source, target, wrapped)
    found = not_crossed(found, source, target, identity)
    found = drop_half_matched(found, source, target, identity)
    found += [f for f in namesakes(found, source, target, identity) if not refuses(f[0], f[1])]
    if not is_one_model(found, identity):
        if order_trust == 1:
            found += of_damaged_modules(found, source, target, names, refuses)
        found += of_no_layer(found, source, target, names, refuses)
        found += not_crossed(of_one_shape(found, source, target, names, refuses), source, target, identity, found)
    found += in_order_of_use(found, source, target, refuses)
    found = doubt_other_heads(found, source, target, names, identity)
    if order_trust == 1:
        found = doubt_misplaced(found, source, target, identity, refuses)
        found = doubt_crossed(found, source, target, names, refuses)
    found = as_elsewhere(as_numbered(found, target, refuses), target, refuses)
    found = from_their_part(as_elsewhere_unmatched(found, source, refuses), source, refuses)
    found = doubt_jumps(as_counted_down(found, target, refuses), source)
    found = behind_their_layers(found, source, target, refuses)
    found = doubt_misnamed_gates(found, source, target, names)
    found = doubt_other_kind(doubt_exchangeable(doubt_other_homes(found, source), names), source, target, names)
    if order_trust == 1:
        found = as_they_run(found, source, target, names, refuses)
    found = doubt_other_tokens(found, names)
    found = doubt_lonely(
        doubt_one_of_a_list(drop_from_surplus(drop_surplus(found, source), target), target), source, names
    )
    found = as_all_names_say(found, target, names, refuses)
    return as_their_modules(as_sure_ones_say(found, target, names, refuses))
