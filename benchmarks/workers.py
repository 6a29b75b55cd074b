"""A matcher in a process of its own, so that a time limit can end it."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import time
import warnings
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

from cases import Case
from matchers import MATCHERS
from matchers.matcher import NoAnswerError
from scoring import Answers

START_LIMIT = 120.0
"""Seconds that a process may take to import its matcher."""

NOTHING = Case("", "", (("a", (1,), "float32"),), (("a", (1,), "float32"),), (), (), (), (), None)
"""The smallest case: a matcher that has answered it has imported what it needs."""


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        answers: the answers, none where there is an error.
        seconds: time of the matcher alone.
        error: why there is no answer, or "".
        late: the time limit ended it.
    """

    answers: Answers
    seconds: float
    error: str = ""
    late: bool = False


def answer(case: Case, number: int) -> Reply:
    """Asks a matcher of MATCHERS; whatever it raises is no answer, and the next case goes on."""
    start = time.perf_counter()
    try:
        answers, error = MATCHERS[number].match(case), ""
    except NoAnswerError as refusal:
        answers, error = {}, str(refusal) or "refused"
    except Exception as crash:  # noqa: BLE001
        answers, error = {}, repr(crash)[:200]
    return Reply(answers, time.perf_counter() - start, error)


def serve(connection: Connection, number: int) -> None:
    """Answers cases until the connection closes; what the libraries print goes nowhere."""
    logging.disable()
    warnings.simplefilter("ignore")
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        answer(NOTHING, number)  # imports
        connection.send(None)
        with contextlib.suppress(EOFError):
            while True:
                connection.send(answer(connection.recv(), number))


class Worker:
    """A process that answers one case after another and is started anew after one that took too long.

    Args:
        number: of the matcher in MATCHERS.
        limit: seconds for one case.
    """

    def __init__(self, number: int, limit: float) -> None:
        self._number = number
        self._limit = limit
        self._start()

    def _start(self) -> None:
        # Some libraries iterate over sets: so that a second run says the same.
        os.environ["PYTHONHASHSEED"] = "0"
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, self._number), daemon=True)
        self._process.start()
        theirs.close()
        if not self._connection.poll(START_LIMIT):
            raise TimeoutError(f"{MATCHERS[self._number].name} was not imported within {START_LIMIT:g} s")
        self._connection.recv()

    def ask(self, case: Case) -> Reply:
        """The reply to a case whose truth is hidden from the matcher."""
        self._connection.send(replace(NOTHING, source=case.source, target=case.target))
        try:
            if self._connection.poll(self._limit):
                reply: Reply = self._connection.recv()
                return reply
            gone = Reply({}, self._limit, f"not within {self._limit:g} s", late=True)
        except EOFError:
            gone = Reply({}, 0.0, "its process ended")
        self.stop()
        self._start()
        return gone

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def __enter__(self) -> Worker:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the process."""
        self.stop()
