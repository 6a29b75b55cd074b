"""Takes from an error text what terminals, loggers, chat programs and markdown put around it.

Nothing here knows what an error says; the dialects read what is left. All patterns are
linear in the length of the text, which may come from anywhere.
"""

from __future__ import annotations

import re
from collections import defaultdict

_ANSI = re.compile(r"\x1b\[[0-9;?]{0,20}[A-Za-z]|\[[0-9]{1,2}(?:;[0-9]{1,2}){0,3}m")
_TAG = re.compile(r"</?(?:code|pre|br|p|b|i|em|strong|span|div|blockquote|details|summary)\b[^<>]{0,80}>", re.I)
_QUOTES = str.maketrans(
    {
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\uff02\u00ab\u00bb\u301d\u301e", '"'),  # typographic doubles
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032", "'"),  # typographic singles
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\xad", ""),  # of no width
        **dict.fromkeys("\xa0\u2007\u202f", " "),  # blanks that do not break
        **dict.fromkeys("\u2502\u2503\u2551\u254e\u258f\u2595\u2506\u250a", "|"),  # sides of a box
        "\u2026": "...",
        "\uff0c": ",",
        "\uff1a": ":",
        "\r": "\n",
    }
)
_ENTITIES = {"&quot;": '"', "&#34;": '"', "&#39;": "'", "&lt;": "<", "&gt;": ">", "&nbsp;": " ", "&amp;": "&"}
_RANK = re.compile(r"\s{0,8}(?:\[(?:default|rank ?)?(\d{1,5})\]:?|rank ?(\d{1,5}):)\s?", re.I)
_DATE = r"\[?\(?\d{2,4}[-/]\d{1,2}(?:[-/]\d{1,4})?[ T,]{1,2}\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d{1,9})?Z?\]?\)?"
_LEVEL = r"(?:DEBUG|INFO|WARNING|WARN|WRN|ERROR|ERR|CRITICAL|FATAL|STDERR|STDOUT)"
_PREFIXES = re.compile(
    r"\s{0,80}(?:"
    r"(?:>\s?)+"  # a quotation
    r"|\#+\s"  # a comment
    r"|\|\s?(?!\s{0,9}(?:UNEXPECTED|MISSING|MISMATCH|CONVERSION))"  # the side of a box
    rf"|\[?{_LEVEL}\]?\s{{0,4}}[:|\-]?\s"  # a level before a date, or alone
    rf"|{_DATE}\s{{0,4}}(?:[-|:,]\s{{0,3}})?(?:[\w./:\[\]]{{1,80}}\s{{0,4}}[-|:]\s{{0,3}}){{0,4}}"  # a logger's line
    r"|\([\w.]{1,60}\s?(?:pid|ip)=[^()]{1,60}\)\s"  # ray
    r")"
)


def plain(text: str) -> str:
    """Give the text without decoration, line breaks kept.

    Args:
        text: an error text as it was pasted, logged or raised.

    Returns:
        The text with straight quotes, without escapes, colours, quotation marks at the start of
        lines, ranks and log prefixes. Lines of interleaved ranks are put together by rank.
    """
    text = text.replace("\r\n", "\n").translate(_QUOTES)
    for entity, char in _ENTITIES.items():
        text = text.replace(entity, char)
    if '\\"' in text or "state_dict: \\'" in text or "{\\'" in text:
        text = text.replace('\\\\"', '"').replace('\\"', '"').replace("\\'", "'")
        text = text.replace("\\n", "\n").replace("\\t", "\t")
    text = _TAG.sub("\n", _ANSI.sub("", text))
    return "\n".join(_undecorated(line) for line in _by_rank(text.split("\n")))


def _by_rank(lines: list[str]) -> list[str]:
    """Put the lines of each rank together: processes that print at once cut into each other's lists."""
    ranks: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        match = _RANK.match(line)
        ranks[match[match.lastindex or 0] if match else ""].append(line[match.end() :] if match else line)
    return [line for rank in ranks.values() for line in rank]


def _undecorated(line: str) -> str:
    start = 0
    for _ in range(4):
        match = _PREFIXES.match(line, start)
        if match is None or match.end() == start:
            break
        start = match.end()
    return line[start:] if start else line
