"""lit-wsl's WeightMapper: groups of equal leaf names and shapes, scored by names and hierarchy, taken greedily.

With buffers among the matched (left out by default, and then no network with batch norm could be solved). Its score
stands for the confidence, so that a match it scores below a half counts as flagged, as for all.
"""

from __future__ import annotations

from cases import Case, Entry
from scoring import Answer, Answers

from matchers.matcher import Matcher


def match(case: Case) -> Answers:
    """Its suggested mapping."""
    import torch
    from lit_wsl.mapper.weight_mapper import WeightMapper

    def empty(entries: tuple[Entry, ...]) -> dict[str, torch.Tensor]:
        return {key: torch.empty(shape, device="meta") for key, shape, _ in entries}

    mapper = WeightMapper(
        source_params=empty(case.source), target_params=empty(case.target), buffer_matching_mode="strict"
    )
    suggested = mapper.suggest_mapping(validate_outputs=False).get_mapping_with_scores()
    return {key: Answer((source,), confidence=score, flagged=score < 0.5) for source, (key, score) in suggested.items()}


MATCHER = Matcher("lit-wsl WeightMapper", match, "lit_wsl", "lit-wsl")
