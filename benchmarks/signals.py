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
from automatch.matching.cleaned import Cleaned
from automatch.matching.confidence import Judgement, judge
from automatch.matching.evidence import Evidence
from automatch.matching.leaves import Leaf
from automatch.matching.lists import _align
from automatch.matching.names import Names
from automatch.matching.trust import trusts
from automatch.matching.units import Context


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


_JUDGING = ("blocks", "outcome")

SIGNALS: tuple[Signal, ...] = (
    # reading the keys
    Signal("sizes of 1 dropped", _in("engine", ("to_squeeze", _always(frozenset())))),
    Signal("biases beside modules", _in("engine", ("adopt", _always(None)))),
    Signal("firsts without a number", _in("adopted", ("_number_firsts", _always(None)))),
    Signal("the order of Keras' making", _in("leaves", ("_as_made", _first))),
    Signal("lists without names", _in("engine", ("by_number", _always([])))),
    Signal("flax's statistics", _in("adopted", ("_join_collections", _always(None)))),
    Signal("fc_w and fc_b", _in("adopted", ("_part_roles", _always(None)))),
    Signal("TensorFlow's averages", _in("cleanup", ("use_averages", _nothing_dropped))),
    Signal("optimizer slots", _in("cleanup", ("drop_slots", _nothing_dropped))),
    Signal("parts held twice", _in("engine", ("held_twice", _always({})))),
    Signal("numbers beside weights", _in("cleanup", ("drop_settings", _nothing_dropped))),
    Signal("modules held twice", _in("cleanup", ("drop_held", _nothing_dropped))),
    Signal("what PEFT trained whole", _in("engine", ("without_originals", _first))),
    Signal("second copies", _in("cleanup", ("drop_copies", _nothing_dropped))),
    # operations
    Signal("layouts", _in("engine", ("unify_layouts", _always(None)))),
    Signal("layouts: the word kernel", _in("layout", ("CONVENTION", 0))),
    Signal("layouts: lengths of biases", _in("layout", ("BY_BIAS", 0))),
    Signal("merged heads", _in("engine", ("merge_heads", _always(None)))),
    Signal("stacks", _in("engine", ("fold_stacks", _first))),
    Signal("crowds are no stacks", _in("stacks", ("_without_crowds", _first))),
    Signal("lists are no stacks", _in("stacks", ("_listed", _always(False)))),
    Signal("stacks: the layout in which all are found", _in("stacks", ("_by_number", _always(0)))),
    Signal("kernels of single frames", _in("engine", ("fold_frames", _first))),
    Signal("fused parts (q, k, v)", _in("engine", ("fold_parts", _first))),
    Signal("gates of recurrent layers", _in("engine", ("fold_gates", _first))),
    # names
    Signal("names", _in("engine", ("Names", _silent))),
    Signal("lexicon in names", _in("engine", ("lexicon", _always(EMPTY)))),
    Signal("lexicon in folds", _everywhere("lexicon", _always(EMPTY), "parts", "resemblance")),
    Signal("lexicon", _everywhere("lexicon", _always(EMPTY), "engine", "parts", "resemblance")),
    Signal("near spellings", _in("names", ("_spelling", _always(0.0)))),
    Signal("words cut short", _in("names", ("ABBREVIATED", 0.0))),
    Signal("what stands beside a module", _in("blocks", ("company", _always({})))),
    Signal("contradictions", _in("names.Names", ("contradiction", _always(0.0)))),
    Signal("words that seldom meet", _in("names.Names", ("_unlike", _always(0.0)))),
    Signal("contrast", _everywhere("contrast", _always({}), "scores", "trust", "equals", "completion")),
    Signal("norms of batches apart", _in("scores", ("_norms_apart", _last))),
    Signal("rank among equal names", _in("scores", ("ORDINAL", 0.0))),
    Signal("rank: not where numbers lie across", _in("gathering", ("_is_grid", _always(False)))),
    Signal("letters that count", _in("gathering", ("_lettered", _always(())))),
    Signal("equal last token", _in("scores", ("SAME", 0.0))),
    Signal("echoes silenced", _in("gathering", ("_silence_echoes", _always(None)))),
    Signal("numbers silenced", _in("gathering", ("_silence_numbers", _always(None)))),
    Signal("norms named by their parts", _in("gathering", ("_name_norms", _always(None)))),
    Signal("turns of norms", _in("gathering", ("_give_turns_to_norms", _always(None)))),
    Signal("identity but for wrappers", _in("identity", ("SHARE", 9.0))),
    # structure
    Signal(
        "blocks and lists",
        _in("blocks.Solver", ("_pair_blocks", _always([]))) + _in("blocks", ("align_lists", _always([]))),
    ),
    Signal("lists", _in("blocks", ("align_lists", _always([])))),
    Signal("lists backwards", _in("lists", ("_align", _forwards))),
    Signal("lists: parts that run forwards", _in("lists", ("_run_forwards", _always(False)))),
    Signal("lists: odd ones built elsewhere", _in("lists", ("_has_odd_one", _always(False)))),
    Signal("flag: exchangeable", _in("reviewed", ("doubt_exchangeable", _first))),
    Signal("matrices without a name", _in("reviewed", ("in_order_of_use", _always([])))),
    Signal("one list of layers", _in("engine", ("at_one_place", _always([])))),
    Signal("all keys of the checkpoint", _in("engine", ("by_every_name", _always([])))),
    Signal("adapters by their modules", _in("engine", ("by_their_modules", _always(([], []))))),
    Signal("adapters are no base weights", _in("engine", ("drop_from_base", _first))),
    Signal("names of adapters", _in("engine", ("drop_adapter_name", _always(False)))),
    Signal("one item before a list", _in("engine", ("in_one_list", _first))),
    Signal("lists as those beside them", _in("blocks", ("beside_turned", _always(False)))),
    Signal("lists across each other", _everywhere("across", _as_they_stand, "equals", "order")),
    Signal("lists of one name", _in("blocks", ("of_one_name", _always([])))),
    Signal("a base of several", _in("compared.Compared", ("are_several", _always(False)))),
    Signal("blocks whole elsewhere", _in("compared", ("_elsewhere", _always(0)))),
    Signal("blocks that are only similar", _in("compared", ("CLOSE", 1.01))),
    Signal("blocks: similarity in their choice", _in("equals", ("SIMILARITY", 0.0))),
    Signal("blocks: twins compete", _in("rivals", ("_twins", _always([])))),
    Signal("blocks: lost tensors", _in("rivals", ("_of_same_modules", _always([]))) + _in("equals", ("LOST", 1.0))),
    Signal("blocks: called like a neighbour", _in("blocks", ("misnamed", _always(False)))),
    Signal("blocks: surplus set free", _in("blocks", ("surplus", _always([])))),
    Signal("blocks: several lists", _in("compared", ("OTHER_THAN", ()))),
    Signal("layers that share little", _in("blocks", ("alike_layers", _always(None)))),
    Signal("blocks: doubt", _in("equals", ("_note_doubts", _always(None)))),
    Signal("blocks: equal label", _in("compared", ("SAME_LABEL", 1.0))),
    Signal("vectors count less", _in("engine", ("VECTOR", 1.0))),
    # modules
    Signal("order", _in("scores", ("places", _no_order))),
    Signal("order: common subsequence", _in("scores", ("common_subsequence", _always([])))),
    Signal("order: sorted sides", _in("engine", ("SORTED_TRUST", 1.0))),
    Signal("as in the other blocks", _in("blocks.Solver", ("_support", _always(0.0)))),
    Signal("equal names before excluded ones", _in("modules", ("_allowed", _first))),
    Signal("halves that do not fit each other", _in("modules", ("_uncrossed", _first))),
    Signal("numbered variables", _in("leaves", ("paths_of_variables", _always({})))),
    Signal("trust", _in("scores", ("trusts", _same_trust))),
    Signal("trust in names", _in("scores", ("trusts", _names_as_before))),
    Signal("trust in order", _in("scores", ("trusts", _order_as_before))),
    # what is left, and what is believed
    Signal("containers of left-overs", _in("blocks", ("Coherence", _always(_always(0))))),
    Signal("plausible", _in("blocks", ("plausible", _always(True)))),
    Signal("half-matched heads", _in("reviewed", ("drop_half_matched", _first))),
    Signal("an order that all else keeps", _in("reviewed", ("doubt_crossed", _first))),
    Signal("one key outside the blocks", _in("completion", ("_is_own", _always(False)))),
    Signal("where most other blocks have it", _in("reviewed", ("as_elsewhere", _first))),
    Signal("between the same neighbours", _in("reviewed", ("between_the_same", _always([])))),
    Signal("what is left of damaged modules", _in("reviewed", ("of_damaged_modules", _always([])))),
    Signal("modules beside the layers", _in("reviewed", ("of_no_layer", _always([])))),
    Signal("left over at the very end", _in("engine", ("left_over", _always([])))),
    Signal("norms behind their layers", _in("reviewed", ("behind_their_layers", _first))),
    Signal("latent attention", _in("engine", ("fold_latent", _first))),
    Signal("flattened maps", _in("engine", ("put_in_order", _always(None)))),
    Signal("flag: gates of recurrent layers", _in("engine", ("doubt_gates", _first))),
    Signal("biases of widened layers", _in("engine", ("beside_mismatches", _always([])))),
    Signal("flag: gated layers", _in("reviewed", ("doubt_other_kind", _first))),
    Signal("the only matrix of its shape", _in("reviewed", ("of_one_shape", _always([])))),
    Signal("one name outside the layers", _in("reviewed", ("called_alike", _always([])))),
    Signal("words that stand for others", _in("reviewed", ("as_sure_ones_say", _first))),
    Signal("numbers of lists across each other", _in("reviewed", ("as_numbered", _first))),
    Signal("heads of other names", _in("reviewed", ("doubt_other_heads", _first))),
    Signal("keys that mean the same", _in("reviewed", ("by_same_keys", _first))),
    Signal("blocks with other partners", _in("reviewed", ("doubt_other_homes", _first))),
    Signal("parts of another copy", _in("items", ("_lent", _always(_always(False))))),
    Signal("a bias beside its weight", _in("items", ("_nested", _always(True)))),
    Signal("norms as a layer runs", _in("reviewed", ("as_they_run", _first))),
    Signal("lists counted down", _in("reviewed", ("as_counted_down", _first))),
    Signal("layers left over", _in("reviewed", ("drop_surplus", _first))),
    Signal("alone of its container", _in("reviewed", ("doubt_lonely", _first))),
    Signal("counters as their norms", _in("reviewed", ("as_their_modules", _first))),
    Signal("strangers in one model", _in("reviewed", ("drop_strangers", _first))),
    Signal("half adapters", _in("engine", ("doubt_half_adapters", _first))),
    Signal("what stands behind a norm", _in("reviewed", ("doubt_misplaced", _first))),
    Signal("left-overs that add up", _in("engine", ("add_up", _first_three))),
    Signal("tables with added rows", _in("engine", ("with_more_rows", _always([])))),
    Signal("one for every block", _in("engine", ("in_every_block", _always([])))),
    Signal("one model in two sizes", _in("engine", ("is_called_the_same", _always(False)))),
    Signal("flag: inputs of other kinds", _in("engine", ("read_otherwise", _always(False)))),
    Signal("kinship", _in("engine", ("kinship", _always(1.0)))),
    Signal("ties", _in("engine", ("tie", _always([])))),
    Signal("flag: lists that may take turns", _in("equals", ("may_take_turns", _always(False)))),
    Signal("flag: square grids of lists", _in("equals", ("_may_be_turned", _always(False)))),
    Signal(
        "flag: lists of other lengths that count otherwise",
        _everywhere("are_in_doubt", _none_of_them, "equals", "blocks"),
    ),
    Signal("flag: what a doubted block might have been", _in("blocks.Solver", ("_is_disputed", _always(False)))),
    Signal("flag: free rivals", _everywhere("judge", _judged(free=0), *_JUDGING)),
    Signal("flag: something is left over", _everywhere("judge", _judged(intact=True), *_JUDGING)),
    Signal("flag: crossed modules", _everywhere("judge", _judged(crossed=False), *_JUDGING)),
    Signal("flag: few shapes", _in("confidence", ("VARIETY", 0))),
)
