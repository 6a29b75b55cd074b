"""Asks every cause and puts the likeliest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from automatch.diagnosing.causes import CAUSES
from automatch.diagnosing.evidence import Evidence, Finding


def findings(
    evidence: Evidence, causes: Sequence[Callable[[Evidence], Finding | None]] = CAUSES
) -> tuple[Finding, ...]:
    """All causes that the evidence speaks for, the best first; empty where nothing is wrong."""
    found = [finding for check in causes if (finding := check(evidence)) is not None]
    return tuple(sorted(found, key=lambda finding: -finding.score))
