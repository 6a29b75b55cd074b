"""transformers builds the model from the file's own configuration, and the file lacks weights of its body.

The architecture cannot be wrong then; the file was saved incomplete: from partitioned parameters, an adapter alone,
or in a form that this loader does not know.
"""

from __future__ import annotations

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import count, is_head, is_table


def check(evidence: Evidence) -> Finding | None:
    """Whether a warning names weights of the body as newly initialised, and nothing as left over."""
    if "warning" not in evidence.hints or evidence.unexpected_keys or evidence.mismatched:
        return None
    body = [k for k in evidence.missing_keys if k not in evidence.buffers and not is_head(k) and not is_table(k)]
    if len(body) < 3:
        return None
    return Finding(
        "other",
        0.5,
        f"the checkpoint lacks weights of the model's body ({count(len(body), 'key')} such as `{body[0]}`) although "
        f"the model "
        "was built from its own configuration: it was saved incomplete",
        "look what the file holds (`automatch keys FILE`) and save it again whole: with its parameters gathered, "
        "its adapter merged",
    )
