"""A check of kept rules that can show itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from automatch.diagnosing.checking import Checking
from automatch.diagnosing.naming import count
from automatch.reporting.folding import Item, fold
from automatch.reporting.notation import family_text
from automatch.reporting.printable import printable
from automatch.spec import StateDictSpec

MOST_LINES = 20


@dataclass(frozen=True)
class Checked(Checking):
    """What `automatch.check` answers; `print` shows what the command line shows."""

    def __repr__(self) -> str:
        return f"<Checked: {printable(self.verdict)}>"

    def __str__(self) -> str:
        return self.text()

    def text(self, full: bool = False) -> str:
        """The report as plain text; `full` gives every key a line of its own."""
        notes = (*self.checkpoint.notes, *self.model.notes)
        sections = [
            [printable(self.verdict)],
            [_side("checkpoint", self.checkpoint), _side("model", self.model)],
            ["rules", *self._rule_lines()],
            *(part for part in self._faults(full) if len(part) > 1),
            [self.strict_load.message] if self.strict_load is not None else [],
            ["notes", *(f"  {printable(note)}" for note in notes)] if notes else [],
        ]
        return "\n\n".join("\n".join(section) for section in sections if section)

    def _rule_lines(self) -> Iterator[str]:
        """Each rule with how many keys it takes."""
        width = len(str(max(self.hits, default=0)))
        for number, (rule, hits) in enumerate(zip(self.rules, self.hits, strict=True), 1):
            op = f" ({rule.op})" if rule.op != "rename" else ""
            taken = f"{hits:>{width}} {'key ' if hits == 1 else 'keys'}"
            dead = "" if hits else "   DEAD: takes no key"
            yield printable(f"  {number}. {taken}  {rule.pattern} => {', '.join(rule.replacements)}{op}{dead}")

    def _faults(self, full: bool) -> Iterator[list[str]]:
        """Everything else that there is to say, a list of lines for each kind."""
        sized = [(pair.checkpoint_key, pair.key) for pair in self.mismatched_keys]
        shapes = [(pair.checkpoint_shape, pair.model_shape) for pair in self.mismatched_keys]
        typed = [(pair.checkpoint_key, pair.key) for pair in self.mismatched_dtypes]
        dtypes = [(pair.checkpoint_dtype, pair.model_dtype) for pair in self.mismatched_dtypes]
        left = [(one.checkpoint_key, one.key) for one in self.unexpected_keys]
        yield _sentences("collisions", self.collisions, full)
        yield _sentences("cannot be carried", self.faults, full)
        yield _folded("missing, the rules do not give them", [(key,) for key in self.missing_keys], full)
        yield _folded("left over, the model does not have them", left, full)
        yield _folded("of another shape, checkpoint => model", sized, full, shapes)
        yield _folded("of another dtype, checkpoint => model", typed, full, dtypes)
        yield _folded("renamed by a guess, as their matches were ambiguous", [(key,) for key in self.guessed], full)
        yield _folded("taken by no rule, they keep their names", [(key,) for key in self.untouched], full)
        reasons = list(self.harmless.values())
        yield _folded("harmless, though missing or left over", [(key,) for key in self.harmless], full, reasons)


def _side(word: str, spec: StateDictSpec) -> str:
    place = f", at {spec.at}" if spec.at else ""
    return printable(f"{word:<10}  {spec.name}: {count(len(spec), 'key')} ({spec.origin}{place})")


def _sentences(title: str, sentences: Sequence[str], full: bool) -> list[str]:
    return _cut(f"{title}: {len(sentences)}", (f"  {printable(sentence)}" for sentence in sentences), full)


def _folded(title: str, items: Sequence[Item], full: bool, labels: Sequence[object] = ()) -> list[str]:
    """A title with the count, and a line for each family of keys; those of different labels apart."""
    if not items:
        return []
    said = [_label(label) for label in labels] or [""] * len(items)
    families = fold(items, range(len(items)) if full else said)
    lines = (
        f"  {len(family.members):>5}  {family_text(family, 1 if len(items[0]) > 1 else 0)}{said[family.members[0]]}"
        for family in families
    )
    return _cut(f"{title}: {count(len(items), 'key')}", lines, full)


def _label(label: object) -> str:
    """What stands behind a family."""
    if isinstance(label, tuple):
        return "   " + " => ".join(str(list(side)) if isinstance(side, tuple) else str(side) for side in label)
    return f"   ({label})"


def _cut(title: str, lines: Iterable[str], full: bool) -> list[str]:
    found = list(lines)
    more = 0 if full else max(0, len(found) - MOST_LINES)
    return [title, *found[: len(found) - more], *([f"  {more} more lines (--full)"] if more else [])] if found else []
