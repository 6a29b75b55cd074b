"""Rewriting a checkpoint file under new keys; every check is made before the first byte is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from automatch.applying.atomic import refuse_no_place, refuse_same_file, written_beside
from automatch.applying.backwards import refuse_no_return
from automatch.applying.paths import path_of
from automatch.applying.plan import Plan, Writer
from automatch.applying.proof import meta_tensors
from automatch.applying.writers import WRITERS
from automatch.errors import InputError, NotProvenError, RuleError
from automatch.reading import format_of, read_checkpoint
from automatch.reading.checks import check_names
from automatch.reading.limits import DEFAULT_LIMITS
from automatch.rules.guesses import guess_text, unmarked
from automatch.rules.rule_set import RuleSet
from automatch.spec import StateDictSpec


@dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes:
        target: the new file.
        format: its kind.
        renamed: how many keys the rules took.
        stayed: keys that no rule took.
        unused: numbers (from 1) of rules that took no key.
        at: dotted path to the state_dict that was rewritten, "" at the top of the file.
        beside: other dicts of tensors in the file, which stay as they are; empty where `at` was asked for.
    """

    target: Path
    format: str
    renamed: int
    stayed: tuple[str, ...]
    unused: tuple[int, ...]
    at: str = ""
    beside: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One sentence."""
        total = self.renamed + len(self.stayed)
        place = f" at `{self.at}`" if self.at else ""
        text = f"{self.target}: {self.renamed} of {total} keys{place} went by the rules"
        if self.stayed:
            text += ", the others kept their names"
        if self.unused:
            text += f"; no key for rule {', '.join(map(str, self.unused))}"
        if self.beside:
            text += f"; also there, and left as it was: {', '.join(self.beside)}; choose with --at"
        return text


def convert(
    rules: RuleSet,
    source: object,
    target: object,
    at: str | None = None,
    *,
    usual: str | None = None,
    ambiguous: bool = False,
    undoes: RuleSet | None = None,
) -> Converted:
    """Write `source` under the keys that the rules give to `target`, in the same format.

    Tensors that are only renamed keep their bytes; safetensors metadata and the other entries of a torch checkpoint are
    kept. A list of tensors (torch_ema's `shadow_params`) becomes a dict, as its rules name keys; on the way back it is
    a dict of positions (`"0"`, `"1"`, ...). `target` appears whole or not at all.

    Args:
        rules: what renames; keys that no rule takes stay.
        source: a safetensors file or a file of `torch.save`.
        target: the new file; an older one is replaced, `source` itself is refused.
        at: dotted path to the state_dict inside a nested checkpoint; None to have it found.
        usual: where the rules were learnt; it is there, or the only dict of the source is meant.
        ambiguous: whether keys of ambiguous matches may be written where the guess puts them.
        undoes: the rules whose way back `rules` are; they must make this source again of what is written.

    Raises:
        NotProvenError: a key would be written by a guess, and `ambiguous` does not allow it.
        InputError: an argument is no path, a file cannot be used, two keys would become one, no rule takes any key, or
            there is no way back.
    """
    source, target = path_of(source, "source"), path_of(target, "target")
    spec = read_checkpoint(source, at=at, usual=usual)
    if len(spec.files) != 1:
        raise InputError(
            f"{source}: {len(spec.files)} files; only a single file can be rewritten, do it shard by shard"
        )
    if spec.rivals:
        raise InputError(
            f"{source}: {' and '.join(spec.places)} hold the same keys and shapes, and nothing tells which is meant; "
            f"choose with --at (in Python: at=); nothing was written"
        )
    source = Path(spec.files[0])
    refuse_no_place(target)
    refuse_same_file(source, target)
    writer = _writer(source, target, spec)
    try:
        moves = {key: rules.move(key) for key in spec.keys}
    except RuleError as error:
        raise RuleError(f"{source}: {error}") from None
    hit = {move.rule for move in moves.values() if move is not None}
    if not hit:
        raise InputError(f"{source}: no rule takes any of its {len(spec)} keys; are these the rules for this file?")
    if not ambiguous:
        _refuse_guesses(rules, spec, source)
    if undoes is not None:
        refuse_no_return(rules, undoes, spec)
    plan = _plan(unmarked(rules), spec, source)
    with written_beside(target) as part:
        writer.write(source, part, plan)
    return Converted(
        target,
        writer.name,
        renamed=sum(move is not None for move in moves.values()),
        stayed=tuple(key for key, move in moves.items() if move is None),
        unused=tuple(number for number in range(1, len(rules) + 1) if number not in hit),
        at=spec.at,
        beside=spec.beside,
    )


def _refuse_guesses(rules: RuleSet, spec: StateDictSpec, source: Path) -> None:
    """Raises NotProvenError where rules move keys of the source by a guess."""
    guesses = guess_text(rules, spec.keys)
    if guesses:
        raise NotProvenError(
            f"{source}: {guesses}; decide with pins and diagnose again, or have the likeliest guess written with "
            f"--ambiguous (in Python: ambiguous=True); nothing was written"
        )


def _writer(source: Path, target: Path, spec: StateDictSpec) -> Writer:
    """The writer for the source's format; an output name that promises another format is refused.

    Raises:
        InputError: the source is of a kind that nobody writes, or the output name does not fit.
    """
    found = format_of(source)
    writer = next((w for w in WRITERS if found in w.formats), None)
    if writer is None:
        raise InputError(
            f"{source}: read as {spec.origin}; only a safetensors file or a file of torch.save can be rewritten"
        )
    other = next((w for w in WRITERS if w is not writer and target.suffix in w.suffixes), None)
    if other is not None:
        fitting = " or ".join(writer.suffixes)
        raise InputError(f"{target}: the format stays that of the input ({writer.name}); end the name in {fitting}")
    return writer


def _plan(rules: RuleSet, spec: StateDictSpec, source: Path) -> Plan:
    """What becomes of every tensor.

    Raises:
        RuleError: two keys would become the same key, or a tensor cannot be made.
        InputError: a new key is none that a file can have.
    """
    only_names = all(rule.op == "rename" for rule in rules) and not rules.tied and not rules.doubles
    try:
        # Run once without values: whatever would go wrong goes wrong here.
        made = rules.apply(dict.fromkeys(spec.keys) if only_names else meta_tensors(spec))
    except RuleError as error:
        raise RuleError(f"{source}: {error}") from None
    check_names(list(made), f"{source}, under its new keys", DEFAULT_LIMITS)
    renamed = {key: rules.rename(key) for key in spec.keys} if only_names else None
    return Plan(spec.keys, renamed, rules.apply, spec.at)
