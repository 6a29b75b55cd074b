"""Another number of classes, or another output layer: the head differs, the rest fits."""

from __future__ import annotations

import re

from automatch.diagnosing.comparison import is_doubtful
from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import count, is_head, is_table, share, templates, tokens
from automatch.diagnosing.shapes import is_first_size_only, is_layer_of_classes, is_like_classes
from automatch.matching.assignment import Mismatch

_NORM = re.compile(r"\w*(?:norm|bn|ln)\w*", re.I)
_OUTER = 3
_WAY_OUT = (
    "build the model with {} outputs, load, then replace the head; or leave {} out of the state_dict and "
    "train a new head"
)


def check(evidence: Evidence) -> Finding | None:
    """Whether only output layers differ."""
    if evidence.mismatched:
        return _by_shapes(evidence)
    if evidence.half_read and share(evidence.half_read, is_head) == 1.0:
        return Finding(
            "num-classes/head",
            0.5,
            f"`{evidence.half_read[0]}`, an output layer, has another shape; the text is cut before it says which",
            "run `automatch diagnose CHECKPOINT MODEL` to see both shapes",
        )
    return _by_names(evidence)


def _by_shapes(evidence: Evidence) -> Finding | None:
    sized = [m for m in evidence.mismatched if is_first_size_only(m)]
    part = len(sized) / len(evidence.mismatched)
    if part < 0.6:
        return None
    mismatched = {m.key for m in evidence.mismatched}
    named = share(
        [m.key for m in sized],
        lambda k: (is_head(k) and not is_table(k)) or is_layer_of_classes(k, mismatched),
    )
    kinds = len(templates(m.key.rpartition(".")[0] for m in sized))
    if named >= 0.5:
        score = 0.86 * part
    elif kinds <= 2 and part == 1.0 and not _is_most(evidence) and not _is_a_width(sized):
        one_pair = len({(m.checkpoint_shape[0], m.model_shape[0]) for m in sized}) == 1
        known = not evidence.truncated or (one_pair and len(sized) > 2)
        score = (0.66 if known else 0.38) + (0.1 if is_like_classes(sized[0]) else 0.0)
    else:
        return None
    listed = [k for k in (*evidence.missing_keys, *evidence.unexpected_keys) if k not in evidence.buffers]
    if sum(not is_head(k) for k in listed) > 3 * len(sized):
        score *= 0.6
    first = sized[0]
    a, b = first.checkpoint_shape[0], first.model_shape[0]
    rest = "" if listed or part < 1.0 else _rest(evidence)
    return Finding(
        "num-classes/head",
        score,
        f"{a} outputs in the checkpoint against {b} in the model: the head (`{first.key}`, "
        f"{count(len(sized), 'tensor')}) "
        f"differs{rest}",
        _WAY_OUT.format(a, "this tensor" if len(sized) == 1 else "these tensors"),
    )


def _is_outer_head(key: str) -> bool:
    """The output layer of a pretrained backbone stands at its top; parts of a detector's heads lie deeper."""
    return is_head(key) and len(tokens(key)) <= _OUTER


def _is_most(evidence: Evidence) -> bool:
    """Whether what differs is most of the model: without a telling name it is no head then."""
    return evidence.model is not None and 2 * len(evidence.mismatched) > len(evidence.model)


def _is_a_width(sized: list[Mismatch]) -> bool:
    """Whether layers of different kinds, or a normalisation, have sizes as widths have them."""
    kinds = templates(m.key.rpartition(".")[0] for m in sized)
    norms = any(_NORM.fullmatch(k.rpartition(".")[2]) for k in kinds)
    return norms or (len(kinds) > 1 and not any(map(is_like_classes, sized)))


def _rest(evidence: Evidence) -> str:
    """What is known of the other tensors."""
    if evidence.truncated:
        return ""
    if evidence.model is None:
        return ", nothing else is listed"
    matches = evidence.assignment.matches if evidence.assignment else ()
    return "" if any(map(is_doubtful, matches)) else ", the rest fits"


def _by_names(evidence: Evidence) -> Finding | None:
    missing = [k for k in evidence.missing_keys if k not in evidence.buffers]
    unexpected = [k for k in evidence.unexpected_keys if k not in evidence.buffers]
    both = (*missing, *unexpected)
    if not both:
        return None
    if share(both, is_head) >= 0.9:
        score = 0.8 if len(both) <= 30 else 0.6
    elif missing and 0 < len(unexpected) <= 8 and share(unexpected, _is_outer_head) >= 0.6:
        score = 0.5  # a pretrained backbone, without its own head, in a larger model
    else:
        return None
    counts = ((len(missing), "missing"), (len(unexpected), "unexpected"))
    return Finding(
        "num-classes/head",
        score,
        f"the output layers differ: {', '.join(f'{n} {word}' for n, word in counts if n)} such as `{both[0]}`",
        "load everything but these keys and train the new output layer: its weights are not in the file",
    )
