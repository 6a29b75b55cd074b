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
