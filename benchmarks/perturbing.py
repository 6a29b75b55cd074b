"""Cases changed so that the truth stays certain: what was learnt from the names of the corpus does not help here.

Each perturbation takes a case and a source of chance and gives the changed case, its truth changed with it, or None
where the case has nothing to change. A new one is a function and a line in PERTURBATIONS.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cases import Case, Entry, Keys, knock_out, without

WORD = re.compile(r"[A-Za-z]+")
_SYLLABLES = [c + v for c in "bdfgjklmnprstvz" for v in "aeiou"]
COPY_PREFIXES = ("ema", "model_ema")
HEAD = "projector"
"""Name of an added head; no case has a module of this name at its top."""


@dataclass(frozen=True)
class Perturbation:
    """One way to change a case.

    Attributes:
        name: for the command line and the table.
        change: (case, seed) -> the changed case, or None where there is nothing to change.
    """

    name: str
    change: Callable[[Case, int], Case | None]


def cipher(case: Case, seed: int) -> Case:
    """Replaces every word of the checkpoint's names by a made-up one, the same word always by the same."""
    return _ciphered(case, seed, lambda key: (0, len(key)))


def cipher_modules(case: Case, seed: int) -> Case | None:
    """The same, but tensors keep their own names (weight, bias): somebody else's modules, still made by torch."""
    changed = _ciphered(case, seed, lambda key: (0, max(key.rfind("."), key.rfind("/")) + 1))
    return None if changed.source == case.source else changed


def _ciphered(case: Case, seed: int, part: Callable[[str], tuple[int, int]]) -> Case:
    """Replaces the words in one part of each checkpoint key."""
    rng = random.Random(f"{seed} {case.id}")
    parts = {key: part(key) for key, _, _ in case.source}
    words = sorted({word for key, (start, end) in parts.items() for word in WORD.findall(key[start:end])})
    made_up: dict[str, None] = {}
    while len(made_up) < len(words):
        made_up["".join(rng.choices(_SYLLABLES, k=4))] = None
    code = dict(zip(words, made_up, strict=True))
    named = {
        key: key[:start] + WORD.sub(lambda found: code[found.group()], key[start:end]) + key[end:]
        for key, (start, end) in parts.items()
    }
    return _renamed(case, named)


def _renamed(case: Case, named: dict[str, str]) -> Case:
    """The case with other names of its checkpoint keys."""

    def told(keys: Keys) -> Keys:
        return tuple(named[key] for key in keys)

    return replace(
        case,
        source=tuple((named[key], shape, dtype) for key, shape, dtype in case.source),
        truth=tuple(replace(t, source=told(t.source), also=tuple(map(told, t.also))) for t in case.truth),
        unexpected=told(case.unexpected),
    )


def sort_names(case: Case, _seed: int) -> Case | None:
    """Lists the checkpoint's keys in alphabetical order, as many writers do."""
    source = tuple(sorted(case.source))
    return None if source == case.source else replace(case, source=source)


def shuffle_modules(case: Case, seed: int) -> Case | None:
    """Registers the model's modules in another order, the same in all layers; numbered ones keep theirs."""
    target = tuple(_shuffled(case.target, 0, "", random.Random(f"{seed} {case.id}").random()))
    return None if target == case.target else replace(case, target=target)


def _shuffled(entries: Sequence[Entry], depth: int, template: str, salt: float) -> list[Entry]:
    """Entries below one module: its own tensors first, then its children in an order that depends on their names."""
    own: list[Entry] = []
    children: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        path = _path(entry[0])
        if len(path) == depth + 1:
            own.append(entry)
        else:
            children[path[depth]].append(entry)
    names = list(children)
    if not all(name.isdecimal() for name in names):
        names.sort(key=lambda name: random.Random(f"{salt} {template}.{name}").random())
    for name in names:
        below = f"{template}.{'#' if name.isdecimal() else name}"
        own += _shuffled(children[name], depth + 1, below, salt)
    return own


def _path(key: str) -> list[str]:
    return re.split(r"[./]", key)


def other_depth(case: Case, seed: int) -> Case | None:
    """Takes the last layers off the longest list of either side: a shallower checkpoint, or a shallower model."""
    rng = random.Random(f"{seed} {case.id}")
    sides: list[Sequence[Entry]] = [case.source, case.target]
    which = rng.randrange(2)
    lists: dict[tuple[str, ...], dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for key, _, _ in sides[which]:
        path = _path(key)
        for depth, token in enumerate(path[:-2]):
            if token.isdecimal():
                lists[tuple(path[:depth])][int(token)].add(key)
    longest = max((items for items in lists.values() if len(items) > 1), key=_size, default=None)
    if longest is None:
        return None
    numbers = sorted(longest)
    gone = {key for number in numbers[rng.randrange(1, len(numbers)) :] for key in longest[number]}
    return without(case, set(), gone) if which else without(case, gone, set())


def _size(items: dict[int, set[str]]) -> int:
    return sum(map(len, items.values()))


def add_copy(case: Case, seed: int) -> Case | None:
    """Puts a second copy of all tensors into the checkpoint, under `ema` or `model_ema`."""
    prefix = random.Random(f"{seed} {case.id}").choice(COPY_PREFIXES)
    sign = "." if any("." in key for key, _, _ in case.source) else "/"
    copies = tuple((f"{prefix}{sign}{key}", shape, dtype) for key, shape, dtype in case.source)
    if {_path(key)[0] for key, _, _ in case.source} & {*COPY_PREFIXES}:
        return None
    return replace(case, source=case.source + copies, unexpected=(*case.unexpected, *(key for key, _, _ in copies)))


def add_head(case: Case, seed: int) -> Case | None:
    """Puts a head of two layers, of the sizes of the last matrix, at the end of either side."""
    which = random.Random(f"{seed} {case.id}").randrange(2)
    side = case.target if which else case.source
    matrix = next(((shape, dtype) for _, shape, dtype in reversed(side) if len(shape) == 2), None)
    if matrix is None or any(_path(key)[0] == HEAD for key, _, _ in side):
        return None
    (out, width), dtype = matrix
    shapes = (("0.weight", (width, width)), ("0.bias", (width,)), ("2.weight", (out, width)), ("2.bias", (out,)))
    head = tuple((f"{HEAD}.{name}", shape, dtype) for name, shape in shapes)
    names = tuple(key for key, _, _ in head)
    if which:
        return replace(case, target=case.target + head, missing=case.missing + names)
    return replace(case, source=case.source + head, unexpected=case.unexpected + names)


PERTURBATIONS: tuple[Perturbation, ...] = (
    Perturbation("knockout", knock_out),
    Perturbation("ciphered", cipher),
    Perturbation("modules-ciphered", cipher_modules),
    Perturbation("sorted", sort_names),
    Perturbation("shuffled", shuffle_modules),
    Perturbation("depth", other_depth),
    Perturbation("copy", add_copy),
    Perturbation("head", add_head),
)


@dataclass(frozen=True)
class Variant:
    """A way to ask about a case: as it is (no name), or changed by a perturbation with a seed."""

    name: str = ""
    seed: int = 1

    def of(self, case: Case) -> Case | None:
        """The case to ask, or None where there is nothing to change."""
        change = next((p.change for p in PERTURBATIONS if p.name == self.name), None)
        return case if change is None else change(case, self.seed)

    def __str__(self) -> str:
        return f"{self.name} {self.seed}" if self.name else "as they are"


def add_variants(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say in which ways cases are asked; `variants` reads them."""
    names = [p.name for p in PERTURBATIONS]
    parser.add_argument("--knockout", type=int, action="append", default=[], metavar="SEED", help="may be repeated")
    parser.add_argument("--perturb", choices=names, action="append", default=[], help="may be repeated")


def variants(options: argparse.Namespace) -> list[Variant]:
    """The cases as they are, then changed in every way that the options name."""
    changed = [Variant("knockout", seed) for seed in options.knockout] + [Variant(name) for name in options.perturb]
    return [Variant(), *changed]
