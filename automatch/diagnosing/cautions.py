"""What libraries are known to keep in another order inside tensors of one shape, where names show that they meet.

Names and shapes put the right tensors together, and what is inside would still be read wrongly. No pair is changed or
put in doubt by this; it is said, as a note. The conventions are those of the libraries' own converters.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain

from automatch.matching.assignment import Assignment
from automatch.spec import Shape, StateDictSpec


def _any(checkpoint: Shape, model: Shape) -> bool:
    """For tensors of all shapes."""
    return True


def _is_twice_as_high(checkpoint: Shape, model: Shape) -> bool:
    """For a matrix of twice as many rows as columns: two parts of the network's width."""
    return checkpoint == model and len(model) == 2 and model[0] == 2 * model[1]


def _is_of_a_gru(checkpoint: Shape, model: Shape) -> bool:
    """For the matrix that reads the state of three gates, whole on one of the two sides."""
    return any(len(shape) == 2 and shape[0] == 3 * shape[1] for shape in (checkpoint, model))


@dataclass(frozen=True)
class _Convention:
    """One thing that two groups of libraries keep in different orders.

    Attributes:
        one: how the keys of the one group look.
        other: how those of the other group look, and none of the first.
        says: what differs, and where.
        fits: whether tensors of these shapes are concerned.
        unless: what a key of either side looks like where the networks are of a family that is kept as it is.
        cut: whether it is about what one of the two has in several tensors.
    """

    one: re.Pattern[str]
    other: re.Pattern[str]
    says: str
    fits: Callable[[Shape, Shape], bool] = _any
    unless: re.Pattern[str] | None = None
    cut: bool = False


_OF_TRANSFORMERS = re.compile(r"\bself_attn\.[qk]_proj\.|\battention\.[qk]_proj\.")
"""How transformers calls queries and keys of rotary attention."""

_CONVENTIONS = (
    _Convention(  # transformers' convert_llama_weights_to_hf.py; torchtune's convert_weights.py
        _OF_TRANSFORMERS,
        re.compile(r"\battention[./]w[qk][./]|\blayers\.\d+\.attn\.[qk]_proj\."),
        "rotary attention takes the rows of queries and keys in halves in Hugging Face's models, and in turn in Meta's "
        "and torchtune's",
        unless=re.compile(r"\b(?:q_proj\.bias|q_norm\.|wq\.bias)"),
    ),
    _Convention(  # llama.cpp's conversion: LlamaModel.permute, which its Qwen, Gemma, OLMo and others do without
        _OF_TRANSFORMERS,
        re.compile(r"^blk\.\d+\.attn_[qk]\.", re.MULTILINE),
        "rotary attention takes the rows of queries and keys in halves in Hugging Face's models, and in turn in "
        "llama.cpp's files of Llama and its kin",
        unless=re.compile(
            r"^blk\.0\.(?:attn_[qk]\.bias|attn_[qk]_norm|attn_sinks|post_|attn_kv_|ssm_|shortconv)", re.MULTILINE
        ),
    ),
    _Convention(  # diffusers' convert_*_to_diffusers.py: swap_scale_shift
        re.compile(r"\bnorm_out\.linear\.|\bnorm\d_context\.linear\."),
        re.compile(r"adaln(?:_modulations?)?\.\d+\.|\bmodf\.\d+\.", re.IGNORECASE),
        "scale comes first in diffusers' last modulation, and shift in the original's",
        _is_twice_as_high,
    ),
    _Convention(  # transformers' and litgpt's converters of GPT-NeoX, BLOOM, Falcon, Megatron
        re.compile(r"\bquery_key_value\."),
        re.compile(r"^(?!.*query_key_value).*(?:qkv|c_attn)", re.MULTILINE),
        "a query_key_value holds query, key and value head by head, and most others one after the other",
    ),
    _Convention(  # gpt-fast's convert_hf_checkpoint.py: permute
        _OF_TRANSFORMERS,
        re.compile(r"^layers\.0+\.attention\.wqkv\.", re.MULTILINE),
        "rotary attention takes the rows of queries and keys in halves in Hugging Face's models, and in turn in "
        "gpt-fast's wqkv",
        cut=True,
    ),
    _Convention(  # InternLM2's convert2hf.py; litgpt's convert_lit_checkpoint.py of before 0.5
        re.compile(r"\bmodel\.layers\.0+\.attention\.wqkv\.|\battn\.attn\."),
        re.compile(r"(?:q|k|v|query|key|value)_?(?:proj)?\."),
        "InternLM2's wqkv and older litgpt's attn hold query, key and value group by group, and most others one "
        "after the other",
        cut=True,
    ),
    _Convention(  # torch.nn.GRU's documentation; Cho et al., 2014
        re.compile(r"\bweight_hh(?:_l0+)?(?:_reverse)?$", re.MULTILINE),
        re.compile(r"^(?!.*weight_hh).+", re.MULTILINE),
        "torch's GRU lets the reset gate work on what the matrix gives, and the update gate keep the old state; a GRU "
        "that is written out may do either otherwise",
        _is_of_a_gru,
        cut=True,
    ),
    _Convention(  # mmdetection's swin_converter.py: correct_unfold_reduction_order
        re.compile(r"\bstages\.\d+\.downsample\.reduction\."),
        re.compile(r"\blayers\.\d+\.downsample\.reduction\."),
        "OpenMMLab's patch merging unfolds channel by channel, where others join place by place",
    ),
)


_FITS = "by name and shape, and may hold values in another order"


def warn_of_other_orders(assignment: Assignment) -> None:
    """Warn with such notes, where weights have been loaded."""
    for note in assignment.notes:
        if _FITS in note:
            warnings.warn(note, UserWarning, stacklevel=3)


def cautioned(assignment: Assignment, checkpoint: StateDictSpec, model: StateDictSpec) -> Assignment:
    """The assignment with a note for every convention in which the two sides' libraries are known to differ."""
    plain = [side.plain_keys for side in (checkpoint, model)]
    texts = ["\n".join(dict.fromkeys(keys)) for keys in plain]
    met = [convention for convention in _CONVENTIONS if _meet(convention, *texts)]
    if not met:
        return assignment
    told = []
    alike = dict(zip((*checkpoint.keys, *model.keys), chain(*plain), strict=True))
    for convention in met:
        differ = lru_cache(maxsize=None)(partial(_differ, convention))
        fitting = [
            m.model_keys[0]
            for m in assignment.matches
            if m.shape is None
            and differ(alike[m.checkpoint_keys[0]], alike[m.model_keys[0]])
            and convention.cut != {"concat", "chunk"}.isdisjoint(m.op.split("+"))
            and convention.fits(checkpoint.by_key[m.checkpoint_keys[0]].shape, model.by_key[m.model_keys[0]].shape)
        ]
        if fitting:
            many = f"{len(fitting)} tensors fit" if len(fitting) > 1 else "1 tensor fits"
            told.append(
                f"{many} {_FITS}, the first {fitting[0]}: {convention.says}; compare outputs, or use `automatch learn`"
            )
    return replace(assignment, notes=(*assignment.notes, *told)) if told else assignment


def _meet(convention: _Convention, mine: str, theirs: str) -> bool:
    """Are keys of the one group on one side, and keys of the other on the other, and none that speaks against it?"""
    if convention.unless is not None and any(map(convention.unless.search, (mine, theirs))):
        return False
    return any(
        convention.one.search(a) is not None and convention.other.search(b) is not None
        for a, b in ((mine, theirs), (theirs, mine))
    )


def _differ(convention: _Convention, mine: str, theirs: str) -> bool:
    """Is a pair named by one group on one side, and by the other on the other?"""
    return any(
        convention.one.search(a) is not None
        and convention.other.search(b) is not None
        and convention.one.search(b) is None
        for a, b in ((mine, theirs), (theirs, mine))
    )
