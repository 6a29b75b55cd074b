r"""The patterns that rules are written in, and why none of them can run away.

    pattern  := branch ("|" branch)*
    branch   := (text | \d+ | \d*[13579] | \d*[02468] | [^.]+ | .+ | "(?:" pattern ")" ["?"] | "(?P<name>" pattern ")")*

`linear` accepts a pattern of this grammar when matching takes time linear in the key:

1. `.+` stands at most once, and once more at the very end, where it cannot fail;
2. what follows a `\d+` or `[^.]+` cannot be taken by it, so giving back characters fails at once (of `\d*[13579]`, an
   odd number, and `\d*[02468]`, an even one, that holds as well);
3. after a `.+`, a `\d+` or `[^.]+` follows a text that it could not have taken, so it starts
   only where a run of such characters starts: of all the places where `.+` may end, each run
   is read once;
4. where a text to choose is the beginning of another (`1|10`), both may match: such choices
   together leave no more ways through the pattern than are looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_DIGIT, _SEGMENT, _ANY = r"\d+", "[^.]+", ".+"
HALVES = (r"\d*[13579]", r"\d*[02468]")
"""Odd numbers and even ones."""
_ATOM = re.compile(r"\\d\+|\\d\*\[(?:13579|02468)\]|\[\^\.\]\+|\.\+|\\[^A-Za-z0-9]|\\[n0]|[^\\()\[\]{}|.*+?^$]")
_OPEN = re.compile(r"\(\?(?::|P<[A-Za-z_]\w*>)")
_DEEPEST = 40
_MOST_PATHS = 2048


@dataclass(frozen=True, slots=True)
class _Run:
    """A repeated class."""

    kind: str


@dataclass(frozen=True, slots=True)
class _Choice:
    """Branches of which one matches."""

    branches: tuple[tuple[_Item, ...], ...]


_Item = str | _Run | _Choice


@lru_cache(maxsize=8192)
def linear(pattern: str) -> bool:
    """Whether a pattern is of the grammar above and takes time linear in the key."""
    read = _Reader(pattern).whole()
    if read is None:
        return False
    if _retries(read) > _MOST_PATHS:
        return False
    paths = _paths(read)
    return len(paths) <= _MOST_PATHS and all(_sound(path) for path in paths)


def _sound(path: tuple[tuple[str, ...] | _Run, ...]) -> bool:
    """Whether one way through the pattern keeps the three rules; texts are sets of characters."""
    wild = [i for i, item in enumerate(path) if isinstance(item, _Run) and item.kind == _ANY]
    if len(wild) > 2 or (len(wild) == 2 and wild[1] != len(path) - 1):
        return False
    for i, item in enumerate(path):
        if not isinstance(item, _Run) or item.kind == _ANY:
            continue
        if i + 1 < len(path) and _meets(item, path[i + 1]):
            return False
        if wild and wild[0] < i and _meets(item, path[i - 1]):
            return False
    return not wild or wild[0] + 1 == len(path) or not isinstance(path[wild[0] + 1], _Run)


def _meets(run: _Run, other: tuple[str, ...] | _Run) -> bool:
    if isinstance(other, _Run):
        return True
    return any(char.isdigit() if run.kind == _DIGIT else char != "." for char in other)


def _paths(branches: tuple[tuple[_Item, ...], ...]) -> list[tuple[tuple[str, ...] | _Run, ...]]:
    """Ways through a pattern; texts of which only the characters at the ends matter are put together.

    A choice between plain texts is one item: the characters that its branches begin and end with.
    """
    paths: list[tuple[tuple[str, ...] | _Run, ...]] = []
    for branch in branches:
        ways: list[tuple[tuple[str, ...] | _Run, ...]] = [()]
        for item in branch:
            if isinstance(item, _Run):
                more: list[tuple[tuple[str, ...] | _Run, ...]] = [(item,)]
            elif isinstance(item, str):
                more = [((item,),)]
            else:
                more = _plain(item) or _paths(item.branches)
            ways = [way + step for way in ways for step in more]
            if len(ways) > _MOST_PATHS:
                return ways  # too many to look at; the caller refuses
        paths += ways
    return paths


def _retries(branches: tuple[tuple[_Item, ...], ...]) -> int:
    """In how many ways the plain texts to choose between may match at the same place, all choices together."""
    ways = 1
    for branch in branches:
        for item in branch:
            if isinstance(item, _Choice):
                ways *= _alike(item) if _plain(item) else _retries(item.branches)
    return ways


def _alike(choice: _Choice) -> int:
    """How many of the texts of a choice can match at one place: the longest row in which each begins the next."""
    texts = sorted("".join(map(str, branch)) for branch in choice.branches)
    row: list[str] = []
    most = 1
    for text in texts:
        while row and not text.startswith(row[-1]):
            row.pop()
        row.append(text)
        most = max(most, len(row))
    return most


def _plain(choice: _Choice) -> list[tuple[tuple[str, ...] | _Run, ...]]:
    """A choice between texts that are not empty, as one way; nothing where a branch holds more."""
    if not all(branch and all(isinstance(item, str) for item in branch) for branch in choice.branches):
        return []
    firsts = tuple(str(branch[0]) for branch in choice.branches)
    lasts = tuple(str(branch[-1]) for branch in choice.branches)
    return [(firsts, lasts)]


class _Reader:
    """Recursive descent over a pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def whole(self) -> tuple[tuple[_Item, ...], ...] | None:
        branches = self._branches(0)
        return branches if branches is not None and self._at == len(self._pattern) else None

    def _branches(self, depth: int) -> tuple[tuple[_Item, ...], ...] | None:
        if depth > _DEEPEST:
            return None
        branches = []
        while True:
            branch = self._branch(depth)
            if branch is None:
                return None
            branches.append(branch)
            if self._pattern[self._at : self._at + 1] != "|":
                return tuple(branches)
            self._at += 1

    def _branch(self, depth: int) -> tuple[_Item, ...] | None:
        items: list[_Item] = []
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            opening = _OPEN.match(self._pattern, self._at)
            if opening is not None:
                self._at = opening.end()
                inner = self._branches(depth + 1)
                if inner is None or self._pattern[self._at : self._at + 1] != ")":
                    return None
                self._at += 1
                if self._pattern[self._at : self._at + 1] == "?":
                    self._at += 1
                    inner = (*inner, ())
                items += inner[0] if len(inner) == 1 else (_Choice(inner),)
                continue
            atom = _ATOM.match(self._pattern, self._at)
            if atom is None:
                return None
            self._at = atom.end()
            text = _DIGIT if atom.group() in HALVES else atom.group()
            items.append(
                _Run(text) if text in (_DIGIT, _SEGMENT, _ANY) else {r"\n": "\n", r"\0": "\0"}.get(text, text[-1])
            )
        return tuple(items)
