"""A tensor kept once because two modules share it: an output layer tied to the embedding."""

from __future__ import annotations

import re

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import WRAPPER_WORDS, tokens

_TIED = re.compile(
    r"(?:^|.*\.)(?:lm_head\.weight|output\.weight|lm_head\.decoder\.(?:weight|bias)|predictions\.decoder\.(?:weight"
    r"|bias)|predictions\.bias|lm_head\.bias"
    r"|embed_tokens\.weight|shared\.weight|decoder\.weight|decoder\.bias|generator\.weight"
    r"|output_projection\.weight|embed_out\.weight"
    r"|wte\.weight|tok_embeddings\.weight|lm_loss\.weight|proj_out\.weight|out_embed\.weight"
    r"|word_embeddings\.weight|embeddings\.word_embeddings\.weight)$"
)


def check(evidence: Evidence) -> Finding | None:
    """Whether only tensors that models usually share are missing (or left over)."""
    if evidence.mismatched:
        return None
    for keys, others in (
        (evidence.missing_keys, evidence.unexpected_keys),
        (evidence.unexpected_keys, evidence.missing_keys),
    ):
        tied = [k for k in keys if is_tied(k)]
        if not tied or len(tied) > 6:
            continue
        rest = [k for k in keys if k not in tied]
        if any(k not in evidence.buffers for k in (*rest, *others)):
            continue
        score = 0.9 if len(tied) >= len(rest) else 0.5
        sentence = (
            f"`{tied[0]}`{' and others like it' if len(tied) > 1 else ''} {'are' if len(tied) > 1 else 'is'} "
            f"usually tied to the embedding and kept once: "
            f"{len(tied)} of {len(keys)} keys"
        )
        advice = (
            "tie the weights again after loading (`model.tie_weights()`), or copy the embedding under that "
            "key; nothing is lost"
        )
        return Finding("tied-weights", score, sentence, advice)
    return None


def is_tied(key: str) -> bool:
    """Whether a key is that of a tensor models usually share; under a wrapper's prefix something else is the matter."""
    return bool(_TIED.match(key)) and WRAPPER_WORDS.isdisjoint(tokens(key))
