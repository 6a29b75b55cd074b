"""The field's synonyms, read from `lexicon.txt`: words that mean one thing in different code bases."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources


@dataclass(frozen=True)
class Lexicon:
    """Synonyms as data.

    Attributes:
        words: word -> concepts it may stand for.
        phrases: pair of neighbouring words -> concepts of the pair.
        exclusive: concept -> concepts that it excludes.
        blocks: the same of those that exclude each other in the names of whole blocks too: a `token_only` is no
            position, but may be a `cls_layers`.
        unlike: concept -> concepts that seldom mean the same.
        tokens: whole token (without `_`) -> what it says beyond its words.
        order: words of which the first is used before the others.
        gated: pairs of tokens that number the gate of an mlp and what it is multiplied with; or three, of which the
            third is called the matrix that leads back, where the pair means this beside it alone.
    """

    words: dict[str, frozenset[str]]
    phrases: dict[tuple[str, str], frozenset[str]]
    exclusive: dict[str, frozenset[str]]
    blocks: dict[str, frozenset[str]]
    unlike: dict[str, frozenset[str]]
    tokens: dict[str, str]
    order: tuple[frozenset[str], ...]
    gated: tuple[tuple[str, ...], ...]


EMPTY = Lexicon({}, {}, {}, {}, {}, {}, (), ())


def parse_lexicon(text: str) -> Lexicon:
    """Read the format that `lexicon.txt` explains in its head."""
    words: dict[str, set[str]] = {}
    phrases: dict[tuple[str, str], set[str]] = {}
    exclusive: dict[str, set[str]] = {}
    blocks: dict[str, set[str]] = {}
    unlike: dict[str, set[str]] = {}
    tokens: dict[str, str] = {}
    order: list[frozenset[str]] = []
    gated: list[tuple[str, ...]] = []
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        kind, *members = line.split()
        if kind == "!order":
            order.append(frozenset(members))
            continue
        if kind == "!gated":
            gated.append(tuple(members))
            continue
        if kind in ("!group", "!tensors", "!mild"):
            for table in {"!group": (exclusive, blocks), "!tensors": (exclusive,), "!mild": (unlike,)}[kind]:
                for member in members:
                    table.setdefault(member, set()).update(m for m in members if m != member)
            continue
        if line.startswith("!token"):
            concept, listed = (part.strip() for part in line[len("!token") :].split("=", 1))
            tokens.update((word.replace("_", ""), concept) for word in listed.split())
            continue
        concept, listed = (part.strip() for part in line.split("=", 1))
        for word in listed.split():
            pieces = word.split("_")
            if len(pieces) == 2:
                phrases.setdefault((pieces[0], pieces[1]), set()).add(concept)
            words.setdefault(word, set()).add(concept)
            if len(word) > len("to_k"):
                words.setdefault(word.replace("_", ""), set()).add(concept)
    return Lexicon(
        {k: frozenset(v) for k, v in words.items()},
        {k: frozenset(v) for k, v in phrases.items()},
        {k: frozenset(v) for k, v in exclusive.items()},
        {k: frozenset(v) for k, v in blocks.items()},
        {k: frozenset(v) for k, v in unlike.items()},
        tokens,
        tuple(order),
        tuple(gated),
    )


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The lexicon that ships with the package."""
    return parse_lexicon(resources.files("automatch.describing").joinpath("lexicon.txt").read_text(encoding="utf-8"))
