"""Only buffers and bookkeeping differ: recomputed, counted, or kept for training alone."""

from __future__ import annotations

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import count, is_statistic, is_weight, template


def check(evidence: Evidence) -> Finding | None:
    """Whether the listed keys are buffers that a model can do without."""
    keys = (*evidence.missing_keys, *evidence.unexpected_keys)
    if keys and not evidence.mismatched and not any(k in evidence.buffers or is_weight(k) for k in keys):
        return _by_exclusion(evidence)
    # statistics of a normalisation count as buffers only where its weights are not concerned
    only_statistics = all(k in evidence.buffers or is_statistic(k) for k in keys)
    buffers = [k for k in keys if k in evidence.buffers or (only_statistics and is_statistic(k))]
    if not buffers:
        return None
    part = len(buffers) / len(keys)
    if part < 0.5:
        return None
    score = 0.92 if part == 1.0 else 0.45 + 0.3 * part
    if evidence.mismatched:
        score -= 0.3
    names = list(dict.fromkeys(_called(k) for k in buffers))
    unexpected_keys = frozenset(evidence.unexpected_keys)
    unexpected = sum(k in unexpected_keys for k in buffers)
    missing = len(buffers) - unexpected
    where = [
        f"{count(n, 'key')} in the {side} only" for n, side in ((unexpected, "checkpoint"), (missing, "model")) if n
    ]
    what = "only buffers and bookkeeping differ" if part == 1.0 else "mostly buffers and bookkeeping differ"
    sentence = f"{what}: {', '.join(where)} ({', '.join(names[:3])})"
    if unexpected == len(buffers):
        advice = (
            f"delete these keys from the state_dict before loading: `for key in list(state_dict): if "
            f"key.endswith({names[0]!r}): del state_dict[key]`"
        )
    elif unexpected == 0:
        advice = (
            "keep the model's own values for them: `state_dict = {**model.state_dict(), **state_dict}` after "
            "checking that nothing else is missing"
        )
    else:
        advice = "delete the unexpected ones and keep the model's own values for the missing ones"
    return Finding("missing-buffers", score, sentence, advice)


def _by_exclusion(evidence: Evidence) -> Finding | None:
    """One side alone has keys, none of them called as parameters are: most are computed when the model is built."""
    if evidence.missing_keys and evidence.unexpected_keys:
        return None
    side, other = ("model", "checkpoint") if evidence.missing_keys else ("checkpoint", "model")
    keys = evidence.missing_keys or evidence.unexpected_keys
    names = ", ".join(list(dict.fromkeys(map(_called, keys)))[:3])
    return Finding(
        "missing-buffers",
        0.55,
        f"the {side} alone has {count(len(keys), 'key')} ({names}), none called as weights are: buffers that are "
        f"computed or counted, as far as names tell",
        f"look at where the code registers them: a buffer that is computed needs no {other}'s value, a parameter does",
    )


def _called(key: str) -> str:
    """The last word of the key, or all of it where that says little."""
    leaf = key.rpartition(".")[2]
    return template(key) if leaf in ("weight", "bias", "mean", "std") else leaf
