"""The library that saved the file names or keeps things otherwise than the one that loads it."""

from __future__ import annotations

from automatch.diagnosing.evidence import Evidence, Finding


def check(evidence: Evidence) -> Finding | None:
    """Whether the text itself speaks of another version."""
    if "running-stats" in evidence.hints:
        return Finding(
            "version-change",
            0.93,
            f"an InstanceNorm of torch before 0.4 kept running statistics, today's does not: "
            f"{len(evidence.unexpected_keys)} keys",
            "delete running_mean, running_var and num_batches_tracked of these layers from the state_dict, or build "
            "the model with track_running_stats=True",
        )
    return None
