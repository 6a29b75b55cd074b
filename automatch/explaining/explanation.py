"""What an error text says happened, and which rule would cure it, from the names alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.judging import findings
from automatch.diagnosing.naming import count, is_counter
from automatch.errors import InputError
from automatch.explaining.error_report import ErrorReport
from automatch.explaining.error_text import parse_error
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet

SCHEMA = 1
NEXT = "automatch diagnose CHECKPOINT MODEL"
_SHOWN = 4
_SURE = 0.65
_RENAMES = frozenset(
    {
        "prefix-module",
        "prefix-compile",
        "prefix-wrapper",
        "renamed-modules",
        "index-shift",
        "weight-norm/parametrization",
    }
)
_UNCLEAR = Finding(
    "other",
    0.0,
    "the text speaks of a state_dict, but no list of keys can be read from it",
    "paste torch's own text, from `Error(s) in loading state_dict` to its last full stop",
)


@dataclass(frozen=True)
class Explanation:
    """What happened, from an error text alone.

    Attributes:
        report: the lists that the text shows.
        finding: the likeliest cause.
        rules: what would cure it, replayed on the listed keys; empty where no rule can, or none is evident.
    """

    report: ErrorReport
    finding: Finding
    rules: RuleSet = field(default_factory=RuleSet)

    def __repr__(self) -> str:
        return f"<Explanation: {self.cause}>"

    @property
    def cause(self) -> str:
        """The cause, one of `automatch.diagnosing.evidence.CAUSE_WORDS`."""
        return self.finding.cause

    @property
    def advice(self) -> str:
        """One concrete way out."""
        return self.finding.advice

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """What this text cannot tell, a sentence each."""
        report = self.report
        known = []
        if report.truncated:
            known.append("the lists in this text are cut: more keys may be concerned")
        if report.mismatched_keys and not report.missing_keys and not report.unexpected_keys:
            known.append("torch does not list missing and unexpected keys here if it was called with strict=False")
        if self.rules:
            known.append("shapes: a key that lands on a missing key may still have another shape")
            known.append("keys that fit already are not listed, so whether the rule leaves them alone is not proven")
        elif report.missing_keys and report.unexpected_keys:
            known.append("shapes: which unexpected key could serve which missing one")
        return tuple(known)

    @property
    def _doubt(self) -> str:
        return "" if self.finding.score >= _SURE or self.cause == "other" else " (likely, not proven)"

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON as plain dicts and lists."""
        return {
            "schema": SCHEMA,
            "class_name": self.report.class_name,
            "missing_keys": list(self.report.missing_keys),
            "unexpected_keys": list(self.report.unexpected_keys),
            "mismatched_keys": [
                {"key": m.key, "checkpoint_shape": list(m.checkpoint_shape), "model_shape": list(m.model_shape)}
                for m in self.report.mismatched_keys
            ],
            "truncated": self.report.truncated,
            "cause": self.cause,
            "advice": self.advice,
            "rules": self.rules.to_list(),
        }

    def __str__(self) -> str:
        """The explanation for a terminal."""
        parts = [
            f"{self.cause}{self._doubt}: {self.finding.sentence}",
            "\n".join(_lists(self.report)),
            "\n".join(_rule_lines(self)),
            f"way out: {self.advice}",
            "\n".join(["not known from this text:", *(f"  {line}" for line in self.unknown)]) if self.unknown else "",
            f"next: {NEXT}" if "all-matched" not in self.report.hints else "",
        ]
        return "\n\n".join(part for part in parts if part)


def explain(text: object) -> Explanation:
    """Explain an error text of `load_state_dict` or of a library that loads checkpoints.

    Args:
        text: the text, an exception, or what `load_state_dict(strict=False)` returned.

    Returns:
        What happened, told from the names (and from shapes where the text gives them).

    Raises:
        InputError: the text says nothing about a state_dict.
    """
    report = parse_error(text)
    if not report:
        raise InputError(
            "the text says nothing about a state_dict: paste the whole error, from `Error(s) in loading state_dict` on"
        )
    if report.hints == ("all-matched",) and not report.missing_keys and not report.unexpected_keys:
        fits = Finding("other", 1.0, "nothing is wrong: all keys matched", "nothing to do: the state_dict is loaded")
        return Explanation(report, fits)
    evidence = Evidence(
        missing_keys=report.missing_keys,
        unexpected_keys=report.unexpected_keys,
        mismatched=(*report.mismatched_keys, *report.nameless),
        truncated=report.truncated,
        missing_whole=report.missing_whole,
        unexpected_whole=report.unexpected_whole,
        half_read=report.half_read,
        hints=report.hints,
    )
    best = next(iter(findings(evidence)), _UNCLEAR)
    return Explanation(report, best, _rules(best, report.unexpected_keys))


def _rules(finding: Finding, keys: tuple[str, ...]) -> RuleSet:
    """The rules of a finding with their hits among the listed keys."""
    rules = RuleSet(tuple(Rule(pattern, replacement) for pattern, replacement in finding.rules))
    numbers = [move.rule for key in keys if (move := rules.move(key)) is not None]
    return RuleSet(tuple(replace(rule, hits=numbers.count(i)) for i, rule in enumerate(rules, 1)))


def _lists(report: ErrorReport) -> list[str]:
    """Who is who, with counts and the first keys."""
    rows = []
    for keys, title, meaning in (
        (report.missing_keys, "missing", "the model has them, the checkpoint does not"),
        (report.unexpected_keys, "unexpected", "the checkpoint has them, the model does not"),
    ):
        if keys:
            rows += [f"  {len(keys):>5} {title:<11} {meaning}", *(f"          {line}" for line in _some(keys))]
    if report.mismatched_keys:
        rows.append(
            f"  {len(report.mismatched_keys):>5} mismatched  both have them, in different shapes (checkpoint => model)"
        )
        shown = [f"{m.key} {list(m.checkpoint_shape)} => {list(m.model_shape)}" for m in report.mismatched_keys]
        rows += [f"          {line}" for line in _some(tuple(shown))]
    title = f"loading into {report.class_name}:" if report.class_name else ""
    return [title, *rows] if title and rows else rows


def _some(lines: tuple[str, ...]) -> list[str]:
    left = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *([f"... and {left} more"] if left > 0 else [])]


def _rule_lines(explanation: Explanation) -> list[str]:
    """The rules and what their replay on the listed keys showed, or why there is none."""
    report, rules = explanation.report, explanation.rules
    if not rules:
        if explanation.cause not in _RENAMES:
            return [_no_rule(explanation.finding)] if report.missing_keys or report.unexpected_keys else []
        if not (report.missing_keys and report.unexpected_keys):
            return ["no rule: the text has only one of the two lists"]
        return [
            "no rule from names alone: none sends every listed unexpected key to a missing one, or several do equally "
            "well"
        ]
    moved = [(key, rules.rename(key)) for key in report.unexpected_keys if rules.move(key) is not None]
    missing = set(report.missing_keys)
    landed = sum(target in missing for _, target in moved)
    counters = sum(target not in missing and is_counter(key) for key, target in moved)
    left = [k for k in report.unexpected_keys if rules.move(k) is None and not is_counter(k)]
    title = (
        f"{count(len(rules), 'rule')}: takes {len(moved)} of "
        f"{count(len(report.unexpected_keys), 'unexpected key')}, {landed} land on missing keys"
    )
    if counters:
        title += f", {counters} are num_batches_tracked, which torch does not miss"
    lines = [title, *(f"  {rule.pattern} -> {rule.replacement}   # {count(rule.hits, 'key')}" for rule in rules)]
    if left:
        lines.append(f"  left over: {', '.join(left[:_SHOWN])}{' ...' if len(left) > _SHOWN else ''}")
    return lines


def _no_rule(finding: Finding) -> str:
    """Why there is no rule where the cause is none of names; what the text leaves open stays open."""
    if finding.score < _SURE:
        return "no rule: the listed names suggest none; shapes may"
    return "no rule: this does not look like a matter of names"
