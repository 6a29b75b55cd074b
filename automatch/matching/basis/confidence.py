"""From evidence to a confidence, a flag and words.

A decision list: the first line that applies says how sure the pair is. The levels are set by hand;
`benchmarks/calibration.py` prints, for every reason, the share that was right.
"""

from __future__ import annotations

from typing import NamedTuple

from automatch.matching.basis.evidence import Evidence, Level

SLIGHT = 0.3
"""A choice that is better than the next by no more than this is hardly one."""

VARIETY = 3
"""Fewer different shapes make no sequence that could agree or not."""


class Judgement(NamedTuple):
    """How sure a pair is, whether a person must look at it, and why."""

    confidence: float
    ambiguous: bool
    reason: str


def plausible(evidence: Evidence, single: bool = False) -> bool:
    """May a pair be believed at all? What merely fits and is left over is no evidence.

    What lies in containers that do not belong together (`astray`) needs names that say so, or no rival left.
    `single`: they are of no layer, as an embedding or a head; such may stand in any container.
    """
    if evidence.contradiction or evidence.name * evidence.trust_names < -0.15:
        return False
    if evidence.astray:
        last = evidence.intact and evidence.name >= 0.0 and (not evidence.rivals or evidence.name_margin >= 0.3)
        named = evidence.name_margin >= 0.3 <= evidence.name or (single and evidence.name >= 0.5)
        return named or (not evidence.free and (evidence.name >= 0.3 or last))
    if evidence.intact:
        return True
    if evidence.name >= 0.3 or evidence.learnt >= 0.5:
        return True
    if not evidence.rivals and evidence.fit == 1 and evidence.order >= 0.3:
        return True
    return evidence.order >= 0.6 and evidence.fit >= 0.5


_BY_LEVEL: dict[Level, Judgement] = {
    "pin": Judgement(1.0, False, "pinned by you"),
    "shared": Judgement(1.0, False, "the model holds one tensor under both keys"),
    "name": Judgement(1.0, False, "equal names and shapes"),
    "copy": Judgement(0.95, False, "PEFT's copy of the module that it wraps, equal to it at first"),
    "sequence": Judgement(
        0.92, False, "in the same order as all modules of its kind, as the shapes of the others show"
    ),
    "tied": Judgement(0.45, True, "tied to the embedding, or missing: keys and shapes cannot tell"),
    "echo": Judgement(0.45, True, "the model holds this part twice and the checkpoint once: shared, or missing"),
    "head": Judgement(
        0.45, True, "of one shape, in a model that is the same otherwise: the same under another name, or another head"
    ),
    "adapters": Judgement(0.4, True, "of one of several adapters, and no name says which of them is meant"),
    "half": Judgement(0.4, True, "second halves of adapters that were learnt apart, without their first halves"),
    "once": Judgement(0.45, True, "the checkpoint holds it once and the model in every block: shared, or missing"),
    "exchanged": Judgement(0.4, True, "what fitted better has the name of another model key and serves that"),
    "crossed": Judgement(
        0.4, True, "in the order that all else in the two blocks keeps, though names speak against it"
    ),
    "elsewhere": Judgement(0.4, True, "as in the other blocks, of which this one would be an exception"),
    "translated": Judgement(
        0.45, True, "of one shape with others, and their words stand for each other in all pairs beyond doubt"
    ),
    "worded": Judgement(0.45, True, "of one shape with others; order says otherwise, but so do all their names"),
    "inside": Judgement(
        0.4, True, "inside the part of the file that serves all around it, though another name is nearer"
    ),
    "jumps": Judgement(0.4, True, "its number breaks the order that nearly all other items of the two lists keep"),
    "astray": Judgement(0.4, True, "of one shape, but each of the blocks around the two has another partner"),
    "lent": Judgement(0.4, True, "of one shape, but of a copy of what serves the rest of its block"),
    "exchangeable": Judgement(0.4, True, "by their names, this and a pair in doubt would rather change partners"),
    "leavings": Judgement(0.4, True, "what was left of several of one shape, of which the others are in doubt"),
    "ungated": Judgement(0.4, True, "of two kinds of feed-forward layers: one has a gate, the other has none"),
    "misnamed": Judgement(
        0.45, True, "TensorRT-LLM calls the gate `fc` and what it lets through `gate`; others mean what they say"
    ),
    "gates": Judgement(
        0.4, True, "the gates of the two frameworks' recurrent layers lie in other orders: no shape shows it"
    ),
    "unnamed": Judgement(
        0.4, True, "gates of a recurrent layer: nothing says which is which, or which matrix reads the state"
    ),
    "moved": Judgement(0.4, True, "before the same part of the block, though numbered otherwise"),
    "beside": Judgement(0.4, True, "by their names a pair, but other parts of the block stand behind the two"),
    "extended": Judgement(
        0.45, True, "a table, and more rows of it that one side keeps apart; taken to be the last ones"
    ),
    "summed": Judgement(0.4, True, "together as large, in every block; nothing says in which order they lie"),
    "spelt": Judgement(0.95, False, "together as large, in every block, and the name spells their order"),
    "column": Judgement(0.9, False, "left over, and at the place that the same of the other items of its list has"),
    "behind": Judgement(0.95, False, "behind the layer of its number, as all norms of its kind"),
    "gate": Judgement(0.45, True, "taken in order; nothing says which of the two is the gate"),
    "remains": Judgement(0.45, True, "of modules that lack tensors on one side, the only ones that fit"),
    "outside": Judgement(0.45, True, "the only modules beside the layers that are left over and hold the same"),
    "only": Judgement(0.45, True, "the only ones of this shape on either side, though nothing else says so"),
    "widened": Judgement(0.45, True, "of a module whose weight is of another shape: the bias alone fits"),
    "left": Judgement(0.4, True, "left over on both sides, and nothing else that is left over would fit"),
    "listed": Judgement(0.95, False, "a list without names, and every shape of the other side stands there in order"),
    "placed": Judgement(0.95, False, "at its place in one list of layers, as nearly all others"),
    "used": Judgement(0.45, True, "a number for a name: taken in order, though a model may use its modules in another"),
    "numbered": Judgement(0.9, False, "at its own number in lists that lie across each other"),
    "runs": Judgement(0.9, False, "numbered in the order in which a layer runs: attention, cross-attention, mlp"),
    "down": Judgement(0.9, False, "at its number in lists that are counted against each other, as the others show"),
    "followed": Judgement(0.45, True, "counted down, as others in the same items of the model are"),
    "usual": Judgement(0.9, False, "together as large, in every block; q, k and v lie first"),
    "blocks": Judgement(0.42, True, "whole blocks of the same shapes, and only their order tells them apart"),
    "lonely": Judgement(0.4, True, "the only one of its container that fits, and no name says that it was meant"),
    "copies": Judgement(0.4, True, "of one of several copies in the file, and no name says which of them is meant"),
    "doubtful": Judgement(0.3, True, "too little of the two networks fits"),
    "inputs": Judgement(0.35, True, "of networks that read other inputs: the first layers are of other kinds"),
}
"""What is said of pairs that were found, or put in doubt, in a way of their own."""


def judge(e: Evidence) -> Judgement:
    """Judge one pair by its evidence."""
    if e.level in _BY_LEVEL:
        return _BY_LEVEL[e.level]
    if e.backwards and e.learnt <= 1:
        return Judgement(
            0.45, True, "numbered from the last on in one of the two: their numbers say this, their order another"
        )
    if e.crossed and e.order < 0.4 and e.name < 0.3 and e.learnt < 0.5:
        return Judgement(0.4, True, "modules of this shape have changed places, and no names say so")
    if e.rivals == 0:
        return _alone(e)
    return _among_rivals(e)


def _alone(e: Evidence) -> Judgement:
    words = "only module of this shape in its block"
    if e.astray and e.name < 0.5:
        return Judgement(0.4, True, f"{words}, but in a container that does not correspond")
    if e.name >= 0.5:
        return Judgement(0.99, False, f"{words}; names agree")
    if e.intact:
        return Judgement(0.98, False, f"{words}; nothing is left over around it")
    if e.learnt >= 0.5:
        return Judgement(0.96, False, f"{words}; as in the other blocks")
    if e.name >= 0.35 and e.order >= 0.6:
        return Judgement(0.98, False, f"{words}; names and place agree")
    if e.order >= 0.6 and e.name >= 0.0 and e.sequence >= 0.9:
        return Judgement(0.95, False, f"{words}; in the same place of the order")
    return Judgement(0.4, True, f"{words}, but names do not agree and something is missing around it")


def _among_rivals(e: Evidence) -> Judgement:
    names = e.name_margin * e.trust_names
    order = e.order_margin * e.trust_order
    if e.astray and not (e.name >= 0.5 and names >= 0.3) and not (e.intact and e.name >= 0.3 and names >= 0.9):
        return Judgement(0.4, True, "one of several modules of this shape, and in a container that does not correspond")
    if names >= 0.3 and e.name >= 0.3:
        if order <= -0.6 and names < 0.6:
            return Judgement(0.45, True, "names speak for it, and the order of the modules of one shape against it")
        return Judgement(0.99, False, "names decide between modules of one shape")
    if e.learnt >= 0.5 and e.margin >= 1.0:
        return Judgement(0.92, False, "as in the other blocks")
    if e.fit_margin >= 0.2 and not e.intact and order < 0.4:
        return Judgement(0.4, True, "more tensors of the two modules fit, but tensors are missing around them")
    clearly = 0.08 if not e.free else 0.3  # what is free and as well named might be meant
    if names >= clearly and e.name >= 0.0 and order > -0.2 and e.margin > SLIGHT:
        return Judgement(0.97, False, "names and order decide between modules of one shape")
    if e.free and (e.margin < 0.7 or 0.08 <= names < clearly):
        return Judgement(0.4, True, "an unmatched tensor of the same shape would fit as well")
    if names > -0.08 and order >= 0.4:
        if e.crossed:
            return Judgement(0.45, True, "order alone decides, and other modules of this shape have changed places")
        if e.loose and e.sequence >= 0.99:
            return Judgement(
                0.45, True, "numbered in one of the two, and in the other named in another order than they stand"
            )
        if e.sequence >= 0.99 and e.variety >= VARIETY:
            return Judgement(0.92, False, "same place in the same sequence of shapes; names do not tell")
        return Judgement(0.45, True, "order alone decides between modules of one shape")
    if names <= -0.08 and order >= 0.4:
        return Judgement(0.4, True, "names and order contradict each other")
    return Judgement(0.4, True, "nothing tells modules of one shape apart")
