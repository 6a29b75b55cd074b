"""The signals of the engine, each with what must be replaced so that it is silent; ablation.py runs them.

One signal is one line: its name, and pairs (dotted place in automatch, what stands there instead). Functions are
replaced where they are called from, constants where they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from automatch.describing.lexicon import EMPTY
from automatch.describing.tree import Node
from automatch.matching.aside.cleaned import Cleaned
from automatch.matching.basis.confidence import Judgement, judge
from automatch.matching.basis.evidence import Evidence
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.names import Names
from automatch.matching.basis.units import Context
from automatch.matching.blocks.lists import _align
from automatch.matching.modules.trust import trusts


class Signal(NamedTuple):
    """A signal and what silences it."""

    name: str
    replacements: Sequence[tuple[str, object]]


def _always(value: object) -> Callable[..., Any]:
    """A function that gives one value, whatever it is asked."""
    return lambda *_, **__: value


def _first(value: Any, *_: object, **__: object) -> Any:
    """What came in goes out."""
    return value


def _last(*values: Any) -> Any:
    return values[-1]


def _as_they_stand(_left: object, right: Sequence[object]) -> list[int]:
    return list(range(len(right)))


def _none_of_them(left: Sequence[object], _right: object) -> list[bool]:
    return [False] * len(left)


def _first_three(*values: Any) -> tuple[Any, ...]:
    return values[:3]


def _silent(*args: Any, **options: Any) -> Names:
    return Names(*args, **{**options, "silent": True})


def _nothing_dropped(leaves: list[Leaf], *_: object) -> Cleaned:
    return Cleaned(leaves, {})


def _same_trust(*args: Any) -> tuple[float, float]:
    context: Context = args[-1]
    return context.names_trust, context.order_trust


def _names_as_before(*args: Any) -> tuple[float, float]:
    return _same_trust(*args)[0], trusts(*args)[1]


def _order_as_before(*args: Any) -> tuple[float, float]:
    return trusts(*args)[0], _same_trust(*args)[1]


def _no_order(_source: object, _target: object, fits: Mapping[tuple[int, int], object], _aligned: object) -> object:
    return dict.fromkeys(fits, 0.0)


def _forwards(
    similar: Any, left: Sequence[Node], right: Sequence[Node], place: float
) -> tuple[float, list[tuple[Node, Node]]]:
    numbers = [int(node.label) for node in right]
    return (0.0, []) if numbers != sorted(numbers) else _align(similar, left, right, place)


def _judged(**changes: Any) -> Callable[[Evidence], Judgement]:
    return lambda evidence: judge(replace(evidence, **changes))


def _in(place: str, *pairs: tuple[str, object]) -> list[tuple[str, object]]:
    return [(f"automatch.matching.{place}.{name}", value) for name, value in pairs]


def _everywhere(name: str, value: object, *places: str) -> list[tuple[str, object]]:
    return [(f"automatch.matching.{place}.{name}", value) for place in places]


_JUDGING = ("blocks.solver", "answer.outcome")

SIGNALS: tuple[Signal, ...] = (
    # reading the keys
    Signal("sizes of 1 dropped", _in("engine", ("to_squeeze", _always(frozenset())))),
    Signal("biases beside modules", _in("engine", ("adopt", _always(None)))),
    Signal("firsts without a number", _in("keys.adopted", ("_number_firsts", _always(None)))),
    Signal("the order of Keras' making", _in("basis.leaves", ("_as_made", _first))),
    Signal("lists without names", _in("engine", ("by_number", _always([])))),
    Signal("flax's statistics", _in("keys.adopted", ("_join_collections", _always(None)))),
    Signal("fc_w and fc_b", _in("keys.adopted", ("_part_roles", _always(None)))),
    Signal("TensorFlow's averages", _in("aside.cleanup", ("use_averages", _nothing_dropped))),
    Signal("optimizer slots", _in("aside.cleanup", ("drop_slots", _nothing_dropped))),
    Signal("parts held twice", _in("engine", ("held_twice", _always({})))),
    Signal("one network for two towers", _in("engine", ("in_both_towers", _first))),
    Signal("numbers beside weights", _in("aside.cleanup", ("drop_settings", _nothing_dropped))),
    Signal("modules held twice", _in("aside.cleanup", ("drop_held", _nothing_dropped))),
    Signal("what PEFT trained whole", _in("engine", ("without_originals", _first))),
    Signal("second copies", _in("aside.cleanup", ("drop_copies", _nothing_dropped))),
    # operations
    Signal("layouts", _in("engine", ("unify_layouts", _always(None)))),
    Signal("layouts: the word kernel", _in("layouts.layout", ("CONVENTION", 0))),
    Signal("layouts: lengths of biases", _in("layouts.votes", ("BY_BIAS", 0))),
    Signal("merged heads of fused parts", _in("layouts.heads", ("_is_of_qkv", _always(False)))),
    Signal("merged heads", _in("engine", ("merge_heads", _always(None)))),
    Signal("stacks", _in("engine", ("fold_stacks", _first))),
    Signal("experts in one matrix", _in("engine", ("see_as_stacks", _always(None)))),
    Signal("crowds are no stacks", _in("folds.stacks", ("_without_crowds", _first))),
    Signal("lists are no stacks", _in("folds.stacks", ("_listed", _always(False)))),
    Signal("stacks: the layout in which all are found", _in("folds.stacks", ("_by_number", _always(0)))),
    Signal("kernels of single frames", _in("engine", ("fold_frames", _first))),
    Signal("fused parts (q, k, v)", _in("engine", ("fold_parts", _first))),
    Signal("gates of recurrent layers", _in("engine", ("fold_gates", _first))),
    # names
    Signal("names", _in("engine", ("Names", _silent))),
    Signal("lexicon in names", _in("engine", ("lexicon", _always(EMPTY)))),
    Signal("lexicon in folds", _everywhere("lexicon", _always(EMPTY), "basis.parts", "folds.resemblance")),
    Signal("lexicon", _everywhere("lexicon", _always(EMPTY), "engine", "basis.parts", "folds.resemblance")),
    Signal("near spellings", _in("basis.names", ("_spelling", _always(0.0)))),
    Signal("words cut short", _in("basis.names", ("ABBREVIATED", 0.0))),
    Signal("what stands beside a module", _in("blocks.solver", ("company", _always({})))),
    Signal("contradictions", _in("basis.names.Names", ("contradiction", _always(0.0)))),
    Signal("words that seldom meet", _in("basis.names.Names", ("_unlike", _always(0.0)))),
    Signal(
        "contrast",
        _everywhere(
            "contrast", _always({}), "modules.scores", "modules.trust", "blocks.equals", "left_overs.other_shapes"
        ),
    ),
    Signal("norms of batches apart", _in("modules.scores", ("_norms_apart", _last))),
    Signal("rank among equal names", _in("modules.scores", ("ORDINAL", 0.0))),
    Signal("rank: not where numbers lie across", _in("modules.gathering", ("_is_grid", _always(False)))),
    Signal("letters that count", _in("modules.gathering", ("_lettered", _always({})))),
    Signal("equal last token", _in("modules.scores", ("SAME", 0.0))),
    Signal("learnt tokens are no tables", _in("modules.gathering", ("_silence_learnt_tokens", _always(None)))),
    Signal("tensors without a partner", _in("modules.scores", ("LOST", 0.0))),
    Signal("echoes silenced", _in("modules.gathering", ("_silence_echoes", _always(None)))),
    Signal("numbers silenced", _in("modules.gathering", ("_silence_numbers", _always(None)))),
    Signal("norms named by their parts", _in("modules.gathering", ("_name_norms", _always(None)))),
    Signal("turns of norms", _in("modules.turns", ("_give_turns_to_norms", _always(None)))),
    Signal("turns by words of place", _in("modules.turns", ("_give_turns_by_place", _always(None)))),
    Signal("identity but for wrappers", _in("basis.identity", ("SHARE", 9.0))),
    # structure
    Signal(
        "blocks and lists",
        _in("blocks.solver.Solver", ("_pair_blocks", _always([]))) + _in("blocks.items", ("align_lists", _always([]))),
    ),
    Signal("lists", _in("blocks.items", ("align_lists", _always([])))),
    Signal("lists backwards", _in("blocks.lists", ("_align", _forwards))),
    Signal("lists: parts that run forwards", _in("blocks.lists", ("_run_forwards", _always(False)))),
    Signal("lists: odd ones built elsewhere", _in("blocks.lists", ("_has_odd_one", _always(False)))),
    Signal("flag: exchangeable", _in("reviews.reviewed", ("doubt_exchangeable", _first))),
    Signal("matrices without a name", _in("reviews.reviewed", ("in_order_of_use", _always([])))),
    Signal("one list of layers", _in("engine", ("at_one_place", _always([])))),
    Signal("all keys of the checkpoint", _in("engine", ("by_every_name", _always([])))),
    Signal("adapters by their modules", _in("engine", ("by_their_modules", _always(([], [], []))))),
    Signal("adapters are no base weights", _in("engine", ("drop_from_base", _first))),
    Signal("attention beside a self-attention", _in("keys.adopted", ("_call_cross_attention", _always(None)))),
    Signal("halves called A and B", _in("engine", ("name_halves", _always(None)))),
    Signal("names of adapters", _in("engine", ("drop_adapter_name", _always(False)))),
    Signal("one item before a list", _in("engine", ("in_one_list", _first))),
    Signal("lists as those beside them", _in("blocks.solver", ("beside_turned", _always(False)))),
    Signal("lists across each other", _everywhere("across", _as_they_stand, "blocks.equals", "modules.order")),
    Signal("lists of one name", _in("blocks.solver", ("of_one_name", _always([])))),
    Signal("a base of several", _in("blocks.compared.Compared", ("are_several", _always(False)))),
    Signal("blocks whole elsewhere", _in("blocks.compared", ("_elsewhere", _always(0)))),
    Signal("blocks that are only similar", _in("blocks.compared", ("CLOSE", 1.01))),
    Signal("blocks: similarity in their choice", _in("blocks.equals", ("SIMILARITY", 0.0))),
    Signal("blocks: twins compete", _in("blocks.rivals", ("_twins", _always([])))),
    Signal(
        "blocks: lost tensors",
        _in("blocks.rivals", ("_of_same_modules", _always([]))) + _in("blocks.equals", ("LOST", 1.0)),
    ),
    Signal("blocks: called like a neighbour", _in("blocks.solver", ("misnamed", _always(False)))),
    Signal("blocks: surplus set free", _in("blocks.solver", ("surplus", _always([])))),
    Signal("blocks: several lists", _in("blocks.compared", ("_are_unlike", _always(False)))),
    Signal("layers that share little", _in("blocks.solver", ("alike_layers", _always(None)))),
    Signal("blocks: doubt", _in("blocks.equals", ("_note_doubts", _always(None)))),
    Signal("blocks: equal label", _in("blocks.compared", ("SAME_LABEL", 1.0))),
    Signal("vectors count less", _in("engine", ("VECTOR", 1.0))),
    # modules
    Signal("order", _in("modules.scores", ("places", _no_order))),
    Signal("order: common subsequence", _in("modules.scores", ("common_subsequence", _always([])))),
    Signal("order: sorted sides", _in("engine", ("SORTED_TRUST", 1.0))),
    Signal("as in the other blocks", _in("blocks.solver.Solver", ("_support", _always(0.0)))),
    Signal("halves that do not fit each other", _in("modules.pairing", ("_uncrossed", _first))),
    Signal("numbered variables", _in("basis.leaves", ("paths_of_variables", _always({})))),
    Signal("trust", _in("modules.scores", ("trusts", _same_trust))),
    Signal("trust in names", _in("modules.scores", ("trusts", _names_as_before))),
    Signal("trust in order", _in("modules.scores", ("trusts", _order_as_before))),
    # what is left, and what is believed
    Signal("containers of left-overs", _in("blocks.solver", ("Coherence", _always(_always(0))))),
    Signal("plausible", _in("blocks.solver", ("plausible", _always(True)))),
    Signal("half-matched heads", _in("reviews.reviewed", ("drop_half_matched", _first))),
    Signal("an order that all else keeps", _in("reviews.reviewed", ("doubt_crossed", _first))),
    Signal("one key outside the blocks", _in("left_overs.named", ("_is_own", _always(False)))),
    Signal("where most other blocks have it", _in("reviews.reviewed", ("as_elsewhere", _first))),
    Signal("unmatched, where other blocks have its like", _in("reviews.reviewed", ("as_elsewhere_unmatched", _first))),
    Signal("the part of the file that is meant", _in("reviews.reviewed", ("from_their_part", _first))),
    Signal("lists beside each other", _in("engine", ("zip_lists", _always([])))),
    Signal("stages that run backwards", _in("blocks.ways", ("_from_behind", _always([])))),
    Signal("lonely modules are no pairs", _in("engine", ("drop_lonely", _first))),
    Signal("flag: out of the order of a list", _in("reviews.reviewed", ("doubt_jumps", _first))),
    Signal("flag: tokens of other names", _in("reviews.reviewed", ("doubt_other_tokens", _first))),
    Signal("flag: one item of a list", _in("reviews.reviewed", ("doubt_one_of_a_list", _first))),
    Signal("flag: gates that are called otherwise", _in("reviews.reviewed", ("doubt_misnamed_gates", _first))),
    Signal("flag: heads inside other heads", _in("left_overs.one_model", ("_is_in_another_head", _always(False)))),
    Signal(
        "kernels that read other channels", _in("left_overs.other_shapes", ("_reading_other_channels", _always([])))
    ),
    Signal("what is left of damaged modules", _in("reviews.reviewed", ("of_damaged_modules", _always([])))),
    Signal("modules beside the layers", _in("reviews.reviewed", ("of_no_layer", _always([])))),
    Signal("left over where its list went on", _in("engine", ("as_in_other_items", _always([])))),
    Signal("left over at the very end", _in("engine", ("left_over", _always([])))),
    Signal("norms behind their layers", _in("reviews.reviewed", ("behind_their_layers", _first))),
    Signal("latent attention", _in("engine", ("fold_latent", _first))),
    Signal("flattened maps", _in("engine", ("put_in_order", _always(None)))),
    Signal("flag: gates of recurrent layers", _in("engine", ("doubt_gates", _first))),
    Signal("biases of widened layers", _in("engine", ("beside_mismatches", _always([])))),
    Signal("flag: gated layers", _in("reviews.reviewed", ("doubt_other_kind", _first))),
    Signal("the only matrix of its shape", _in("reviews.reviewed", ("of_one_shape", _always([])))),
    Signal("names across the blocks", _in("reviews.reviewed", ("as_all_names_say", _first))),
    Signal("words that stand for others", _in("reviews.reviewed", ("as_sure_ones_say", _first))),
    Signal("numbers of lists across each other", _in("reviews.reviewed", ("as_numbered", _first))),
    Signal("heads of other names", _in("reviews.reviewed", ("doubt_other_heads", _first))),
    Signal("keys that mean the same", _in("reviews.reviewed", ("by_same_keys", _first))),
    Signal("blocks with other partners", _in("reviews.reviewed", ("doubt_other_homes", _first))),
    Signal("parts of another copy", _in("reviews.items", ("_lent", _always(_always(False))))),
    Signal("a bias beside its weight", _in("reviews.items", ("_nested", _always(True)))),
    Signal("norms as a layer runs", _in("reviews.reviewed", ("as_they_run", _first))),
    Signal("lists counted down", _in("reviews.reviewed", ("as_counted_down", _first))),
    Signal("lists beside those that count down", _in("reviews.counted", ("_against", _always({})))),
    Signal("layers left over", _in("reviews.reviewed", ("drop_surplus", _first))),
    Signal("alone of its container", _in("reviews.reviewed", ("doubt_lonely", _first))),
    Signal("counters as their norms", _in("reviews.reviewed", ("as_their_modules", _first))),
    Signal("half adapters", _in("engine", ("doubt_half_adapters", _first))),
    Signal("what stands behind a norm", _in("reviews.reviewed", ("doubt_misplaced", _first))),
    Signal("left-overs that add up", _in("engine", ("add_up", _first_three))),
    Signal("tables with added rows", _in("engine", ("with_more_rows", _always([])))),
    Signal("once, under its name", _in("engine", ("under_one_name", _always([])))),
    Signal("one for every block", _in("engine", ("in_every_block", _always([])))),
    Signal("one model in two sizes", _in("left_overs.kinship", ("is_called_the_same", _always(False)))),
    Signal("flag: inputs of other kinds", _in("left_overs.kinship", ("read_otherwise", _always(False)))),
    Signal("kinship", _in("left_overs.kinship", ("kinship", _always(1.0)))),
    Signal("ties", _in("engine", ("tie", _always([])))),
    Signal("lists are taken as they were made", _in("blocks.items", ("run_apart", _always(False)))),
    Signal("flag: lists that may take turns", _in("blocks.equals", ("take_turns", _always(None)))),
    Signal("flag: square grids of lists", _in("blocks.equals", ("_may_be_turned", _always(False)))),
    Signal(
        "flag: lists of other lengths that count otherwise",
        _everywhere("are_in_doubt", _none_of_them, "blocks.equals", "blocks.items"),
    ),
    Signal("flag: what a doubted block might have been", _in("blocks.solver.Solver", ("_is_disputed", _always(False)))),
    Signal("flag: free rivals", _everywhere("judge", _judged(free=0), *_JUDGING)),
    Signal("flag: something is left over", _everywhere("judge", _judged(intact=True), *_JUDGING)),
    Signal("flag: crossed modules", _everywhere("judge", _judged(crossed=False), *_JUDGING)),
    Signal("flag: few shapes", _in("basis.confidence", ("VARIETY", 0))),
)
