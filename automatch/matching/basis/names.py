"""How alike two paths are in their words: equal words, synonyms, near spellings, contradictions."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from automatch.describing.lexicon import Lexicon
from automatch.describing.tokens import words_of
from automatch.matching.basis.leaves import template


class Word(NamedTuple):
    """One word of a path and the concepts it may stand for."""

    text: str
    concepts: frozenset[str]


SHORT = 3
"""Up to this length letters joined across `_` are not looked up as one word."""

SHORTENED, ABBREVIATED = 2, 0.5
"""So many letters at least stand for a word, and so many at least are left out; and how alike the two then are."""

INITIAL, BARE = 0.4, 0.15
"""How alike the letter of `r_emb` and a word that begins with it are, unless both sides say it, or it is left of a
right; less in a name of nothing but letters, as `W_r`, which may be a formula's."""

_HANDS = frozenset({"l", "r"})

_NOTHING: frozenset[str] = frozenset()
_GATED = frozenset({"gate", "up"})
_AFTER = ("post", "pre")

_NORMED = {f"{letter}norm": (letter, "norm") for letter in "qk"}
"""The norms of queries and of keys where they are written as one word."""

_ATTENDING = frozenset({"key", "attention", "qkv"})
_UNATTENDED = {"q": _NOTHING, "v": _NOTHING}
_ACTING = {"q": _NOTHING, "v": frozenset({"critic"})}
"""What single letters mean in networks without keys, and in those of reinforcement learning, which have an actor."""


_OF_FOUR = re.compile(r"(?:pre|post)_?(?:feed_?forward|mlp|ffn|ffw|ff)", re.IGNORECASE)
_SECOND = Word("postattentionlayernorm", frozenset({"second"}))
"""The norm after the attention is the second, where no other stands at the mlp as well."""


class Names:
    """Compares paths; everything is remembered, as the same few words return in every layer.

    `silent` names say nothing: every comparison gives 0 (`by="topology"`). `tokens` are those of both sides: what one
    of them writes as two words is two words where the other glues them together (`q_content`, `qcontent`); what is a
    word of both is no other word cut short.
    `norms_close`: blocks end with their norms, see there.
    """

    def __init__(
        self,
        lexicon: Lexicon,
        silent: bool = False,
        tokens: tuple[Collection[str], Collection[str]] = ((), ()),
        norms_close: bool = False,
    ) -> None:
        self.silent = silent
        mine, theirs = ([words_of(token) for token in side] for side in tokens)
        two = [pair for words in (*mine, *theirs) for pair in pairwise(words)]
        spoken = [{w for words in side for w in words} for side in (mine, theirs)]
        said = [{c for w in words for c in lexicon.words.get(w, _NOTHING)} for words in spoken]
        acting = any("actor" in concepts for concepts in said) or any("critic" in words for words in spoken)
        letters = _ACTING if acting else _UNATTENDED
        attend = any(concepts & _ATTENDING for concepts in said) or not any(spoken)
        self.lexicon = lexicon if attend else replace(lexicon, words=lexicon.words | letters)
        self.say_gate_and_up = any(concepts >= _GATED for concepts in said)
        self._norms_of_two = not any(map(_OF_FOUR.match, (*tokens[0], *tokens[1])))
        self._common = spoken[0] & spoken[1]
        hands = any({words[-1] for words in side if words} >= _HANDS for side in (mine, theirs))
        bare = {w for words in (*mine, *theirs) if all(len(w) == 1 for w in words) for w in words}
        self._no_initials = self._common | (_HANDS if hands else _NOTHING)
        self._bare = bare
        self._norms_close = norms_close
        self._glued = _NORMED | {a + b: (a, b) for a, b in two if a + b not in lexicon.words}
        self._words: dict[str, tuple[Word, ...]] = {}
        self._alike: dict[tuple[Word, Word], float] = {}

    def token_words(self, token: str) -> tuple[Word, ...]:
        """The words of one token, phrases and `post_x` joined, numbers left out."""
        found = self._words.get(token)
        if found is None:
            found = self._words[token] = tuple(self._cut(token))
        return found

    def _cut(self, token: str) -> Iterable[Word]:
        texts = [
            w
            for text in _spelt(token, self.lexicon.words)
            if not text.isdecimal()
            for w in self._glued.get(text, (text,))
        ]
        whole = "".join(words_of(token))
        if "_" in token and len(whole) <= SHORT:  # `to_k` is not `tok`
            whole = token.lower()
        lex = self.lexicon
        beyond = lex.tokens.get(whole)
        if beyond is not None and not self._norms_close:
            yield Word(f"~{beyond}", _NOTHING)
        if whole == _SECOND.text and self._norms_of_two and lex.words:
            yield _SECOND
        if whole in lex.words:
            yield Word(whole, lex.words[whole])
            kinds = ("".join(texts[:n]) for n in (1, 2))
            kind = next((k for k in kinds if k != whole and "norm" in lex.words.get(k, _NOTHING)), None)
            if kind is not None:
                yield Word(kind, lex.words[kind])  # the first norm is a norm
            return
        i = 0
        while i < len(texts):
            text = texts[i]
            if text in _AFTER and not self._norms_close and self._ends_in_norm(texts[i + 2 :]):
                n = 2 if i + 3 < len(texts) and tuple(texts[i + 1 : i + 3]) in lex.phrases else 1
                what = "".join(texts[i + 1 : i + 1 + n])  # after the attention: not attention itself
                after = lex.words.get(what, _NOTHING)
                said = frozenset(f"{text} {concept}" for concept in after)
                yield Word(f"{text}_{what}", said | after if text == "pre" else said)
                i += 1 + n
                continue
            if i + 1 < len(texts):
                joined = text + texts[i + 1]
                known = lex.words.get(joined, _NOTHING) if text != "to" else _NOTHING  # `to_k` is not `tok`
                pair = lex.phrases.get((text, texts[i + 1]), _NOTHING) | known
                if pair:
                    yield Word(joined, pair)
                    i += 2
                    continue
            yield Word(text, lex.words.get(text, _NOTHING))
            i += 1

    def _ends_in_norm(self, texts: Sequence[str]) -> bool:
        """Is a norm named last? What stands after the attention is one; `post_conv_block` is a block."""
        return bool(texts) and any(
            "norm" in self.lexicon.words.get(text, _NOTHING) for text in (texts[-1], "".join(texts[-2:]))
        )

    def path_words(self, path: Sequence[str]) -> tuple[Word, ...]:
        """All words of a path, in order."""
        return tuple(w for token in path for w in self.token_words(token))

    def is_table(self, module: Sequence[str]) -> bool:
        """Is the module at a path called an embedding? A head has the same shape."""
        return any("embedding" in word.concepts for word in self.path_words(module[-2:]))

    def alike(self, a: Word, b: Word) -> float:
        """In [0, 1]: 1 the same word, 0.9 synonyms, less for near spellings, 0 otherwise.

        Two words that the lexicon knows are alike only by what it says of them, however they are spelt.
        """
        if a.text == b.text:
            return 1.0
        key = (a, b) if a.text < b.text else (b, a)
        found = self._alike.get(key)
        if found is None:
            found = self._alike[key] = self._spelt_alike(*sorted(key, key=lambda word: len(word.text)))
        return found

    def _spelt_alike(self, short: Word, long: Word) -> float:
        if short.concepts & long.concepts:
            return 0.9
        if short.concepts and long.concepts:
            return 0.0  # two words that are known mean what they mean
        a, b = short.text, long.text
        if "_" in a or "_" in b or "~" in a or "~" in b:
            return 0.0  # words that mean more than their letters
        if len(a) == 1 and a == b[0] and len(b) > SHORTENED and a not in self._no_initials and not short.concepts:
            return INITIAL if a not in self._bare else BARE
        if a not in self._common and SHORTENED <= len(a) <= len(b) - SHORTENED and a[0] == b[0] and _within(a, b):
            return max(ABBREVIATED, _spelling(a, b))
        return _spelling(a, b)

    def compare(
        self, a: Sequence[Word], b: Sequence[Word], weights: Mapping[str, float], blocks: bool = False
    ) -> float:
        """Similarity of two paths in [-1, 1]; `blocks`: whole blocks are named.

        Each word is held against its best partner on the other side; rare words weigh more
        (`weights`). Concepts that exclude each other (query against key) speak against.
        """
        if self.silent or not a or not b:
            return 0.0
        total = gained = 0.0
        beyond = [any(word.text[0] == "~" for word in side) for side in (a, b)]
        for mine, theirs in ((a, b), (b, a)):
            for word in mine:
                if word.text[0] == "~" and not all(beyond):
                    continue  # what a token says beyond its words is held against what another one says
                weight = weights.get(word.text, 1.0)
                total += weight
                gained += weight * max(self.alike(word, other) for other in theirs)
        score = gained / total if total else 0.0
        score -= self._unlike(a, b)
        against = self.contradiction(a, b, blocks)
        return max(-1.0, min(score - against, -0.2)) if against else score

    def _unlike(self, a: Sequence[Word], b: Sequence[Word]) -> float:
        """What speaks against without excluding: tokens that say other things, concepts that seldom meet."""
        mine, theirs = ({w.text for w in side if w.text[0] == "~"} for side in (a, b))
        if mine and theirs and not mine & theirs:
            return 0.5
        return 0.5 if self.lexicon.unlike and self._clash(a, b, self.lexicon.unlike) else 0.0

    def contradiction(self, a: Sequence[Word], b: Sequence[Word], blocks: bool = False) -> float:
        """How much two paths name things that exclude each other (0: not at all); `blocks`: whole blocks are named.

        A word contradicts another when every reading of the one excludes every reading of the
        other, and neither has a like on the other side.
        """
        if self.silent or not self.lexicon.exclusive:
            return 0.0
        rivals = self.lexicon.blocks if blocks else self.lexicon.exclusive
        return min(0.6 * self._clash(a, b, rivals), 1.2)

    def _clash(self, a: Sequence[Word], b: Sequence[Word], rivals: Mapping[str, frozenset[str]]) -> int:
        lonely_a = [w for w in a if w.concepts and not any(self.alike(w, o) >= 0.9 for o in b)]
        lonely_b = [w for w in b if w.concepts and not any(self.alike(w, o) >= 0.9 for o in a)]
        return sum(
            all(y in rivals.get(x, ()) for x in v.concepts for y in w.concepts) for v in lonely_a for w in lonely_b
        )


def _spelt(token: str, known: Container[str]) -> Sequence[str]:
    """A token's words; single letters with a digit between them are one: the `v` of `w2v` is no value.

    So is a letter with a number behind it that is a word of its own: `t5` is no time.
    """
    words, out = words_of(token), []
    while words:
        two, three = "".join(words[:2]), "".join(words[:3])
        size = 1
        if len(words) > 2 and len(words[0]) == len(words[2]) == 1 and three in token.lower():
            size = 3
        elif len(words) > 1 and len(words[0]) == 1 and two in known and two in token.lower():
            size = 2
        out.append("".join(words[:size]))
        words = words[size:]
    return out


def norms_close(paths: Iterable[Sequence[str]]) -> bool:
    """Do norms stand behind the attention and the mlp only, as `post_mlp_layernorm` says where no norm is before them?

    Then the norm after the attention is the attention's, and not the one before the mlp. All blocks must be so.
    """
    attention: set[tuple[str, ...]] = set()
    mlp: set[tuple[str, ...]] = set()
    before: set[tuple[str, ...]] = set()
    for path in dict.fromkeys(template(path[:-1]) for path in paths if len(path) > 1):
        words = words_of(path[-1])
        if len(words) < 2 or not words[-1].endswith("norm"):
            continue
        if words[0] in ("pre", "input"):
            before.add(path[:-1])
        elif words[0] == "post":
            (mlp if words[1] in ("mlp", "feedforward", "ffn", "ffw") else attention).add(path[:-1])
    return bool(mlp) and attention <= mlp and not before & mlp


def _within(a: str, b: str) -> bool:
    letters = iter(b)
    return all(letter in letters for letter in a)


@lru_cache(maxsize=1 << 16)
def _spelling(a: str, b: str) -> float:
    if len(a) < 3 or len(b) < 3:
        return 0.0
    from rapidfuzz.fuzz import ratio

    near = ratio(a, b) / 100.0
    if a.startswith(b) or b.startswith(a):
        near = max(near, 0.8)
    return 0.85 * near if near >= 0.72 else 0.0


def contrast(words: Sequence[Sequence[Word]], others: Sequence[Sequence[Word]]) -> dict[str, float]:
    """Weights for words: what stands in every path of a side tells nothing apart."""
    weights: dict[str, float] = {}
    for side in (words, others):
        count: dict[str, int] = {}
        for path in side:
            for text in {w.text for w in path}:
                count[text] = count.get(text, 0) + 1
        for text in sorted(count):
            share = count[text] / len(side)
            weight = 0.15 + 0.85 * (1.0 - share) if len(side) > 1 else 0.6
            weights[text] = max(weights.get(text, 0.0), weight)
    return weights
