r"""What transformers makes of `WeightRenaming(source, target)`, the class behind `key_mapping` too, without it.

Read from transformers 5.24 (core_model_loading.py: `WeightTransform`, `apply_renamings`) and replayed through it by the
tests. All renamings see the result of those before them. A source is searched, not matched; `*.` in it means `.*\.`;
one that ends in a letter or digit does not match inside a word. Of a target the first `^` goes to the source, what is
in `(?...)` and the backslash of `\.` are lost, a pair of parentheses becomes `\1`, and `\1` is the one group that can
be used. The text that matched is then replaced where it FIRST stands in the key, which may be elsewhere: here
everything starts with `^`. `save_pretrained` exchanges source and target, so that all of this happens to the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

NOT_IN_TARGETS = "()\\^*"
"""Characters that a target cannot have, or that mean something else in it."""
_GROUP = re.compile(r"\(.+?\)")
_LOOKAROUND = re.compile(r"\(\?.+?\)?\)")


@dataclass(frozen=True)
class Renaming:
    r"""One renaming, as it is written.

    Attributes:
        source: regex.
        target: text with `\1` for the first group.
        words: whether a source that ends in a letter or digit stops at the end of a word, as it did not yet in 5.18.
    """

    source: str
    target: str
    words: bool = True

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """What the class searches for."""
        pattern = self.source
        if r"\1" in pattern:
            group = _GROUP.search(_LOOKAROUND.sub("", self.target))
            if group is None:
                raise ValueError(f"{pattern!r} refers to a group, and {self.target!r} has none")
            pattern = pattern.replace(r"\1", group.group(), 1)
        if self.target.startswith("^") and not pattern.startswith("^"):
            pattern = f"^{pattern}"
        pattern = pattern.replace("*.", r".*\.")
        if self.words and re.search(r"[a-zA-Z0-9]$", pattern):
            pattern += r"(?!\w)"
        return re.compile(pattern)

    @cached_property
    def replacement(self) -> str:
        """What the class makes of the target."""
        text = _LOOKAROUND.sub("", self.target.removeprefix("^"))
        group = _GROUP.search(text)
        text = text.replace(group.group(), r"\1", 1) if group else text
        return text.replace(r"\.", ".")

    def renamed(self, key: str) -> str:
        """What becomes of a key."""
        match = self.regex.search(key)
        if match is None:
            return key
        new = self.replacement
        new = new.replace(r"\1", match.group(1)) if r"\1" in new else new
        return key.replace(match.group(), new, 1)

    def turned_round(self, words: bool = True) -> Renaming:
        """What the library makes of it to save under the old names."""
        return Renaming(self.target, self.source, words)


LEGACY = (
    Renaming("LayerNorm.gamma", "LayerNorm.weight"),
    Renaming("LayerNorm.beta", "LayerNorm.bias"),
    Renaming(".weight_g", ".parametrizations.weight.original0"),
    Renaming(".weight_v", ".parametrizations.weight.original1"),
    Renaming(r"^model\.language_model\.model", "model.language_model"),
    Renaming(r"^language_model\.model\.model", "model.language_model"),
)
"""What the library renames after all else, in every model (conversion_mapping.py, "legacy")."""


def renamed_by_all(renamings: Iterable[Renaming], key: str) -> str:
    """What becomes of a key by all of them in turn."""
    for renaming in renamings:
        key = renaming.renamed(key)
    return key


def saved_back(renamings: Sequence[Renaming], names: Mapping[str, str]) -> bool:
    """Whether `save_pretrained` gives the old names back: it turns round all that took a key, the last first.

    Args:
        renamings: in the order in which they run.
        names: what they make of each key.
    """
    used: set[int] = set()
    for key in names:
        for number, renaming in enumerate(renamings):
            if renaming.regex.search(key):
                used.add(number)
                key = renaming.renamed(key)
    order = sorted(used, reverse=True)
    try:
        ways = [[renamings[number].turned_round(words) for number in order] for words in (True, False)]
        return all(renamed_by_all(back, new) == key for back in ways for key, new in names.items())
    except (re.error, ValueError, IndexError, TypeError):  # as the class would
        return False
