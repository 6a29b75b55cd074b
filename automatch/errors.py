"""Every error that automatch raises on purpose.

    AutomatchError              something a person can mend; `str(error)` is one sentence
    ├── InputError              a file, a key or an argument is not usable (exit code 2)
    │   ├── UnsafeInputError    the file asks to run code, or lies about its sizes (exit code 2)
    │   └── RuleError           a rule cannot be read or would do something else than it says (exit code 2)
    └── NotProvenError          the correspondence is not certain; nothing was changed (exit code 1)

The command line prints the sentence and leaves with `exit_code`; anything else that is
raised is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import re

# What a terminal would take for a colour or a movement.
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[@-_]")
# Where torch begins to advise what nobody should do with a stranger's file.
_ADVICE = re.compile(r"(?:This file can still be loaded|\(1\) |[^.]*weights_only\s*=?\s*False)")


class AutomatchError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 2


class InputError(AutomatchError):
    """A file, a key or an argument cannot be used; says which, and the way out."""


class UnsafeInputError(InputError):
    """A file that asks to run code or whose declared sizes cannot be true."""


class RuleError(InputError):
    """A rule that cannot be read, or that would not do what it says."""


class NotProvenError(AutomatchError):
    """The correspondence is not certain; the model was left untouched.

    `diagnosis` holds what was found, so that a script can look at it.
    """

    exit_code = 1

    def __init__(self, message: str, diagnosis: object = None) -> None:
        super().__init__(message)
        self.diagnosis = diagnosis


def quoted(error: BaseException, length: int = 300) -> str:
    """What another library said, for our own sentence: one line, no colours, no unsafe advice, whole words.

    Args:
        error: what was raised.
        length: at most so many characters.
    """
    text = " ".join(_ANSI.sub("", str(error)).split())
    advice = _ADVICE.search(text)
    text = (text[: advice.start()] if advice else text).rstrip(" .:;,") or type(error).__name__
    if len(text) <= length:
        return text
    head = text[:length]
    return f"{head.rsplit(' ', 1)[0] if ' ' in head else head} ..."
