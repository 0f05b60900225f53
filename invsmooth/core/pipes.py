"""A pipe whose reader has enough (``| head -1``) ends a command, as it ends other tools: in silence, with exit code 141."""

from __future__ import annotations

import logging
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

CLOSED = 141
"""128 + SIGPIPE, as a shell says it of a tool that the signal ends."""


@contextmanager
def until_closed() -> Iterator[None]:
    """Around a whole command."""
    logging.Handler.handleError = end_at_a_closed_pipe(logging.Handler.handleError)  # type: ignore[method-assign]
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # None: closed by >&-
                sys.stdout.flush()
    except BrokenPipeError:
        leave_pipe()
    except SystemExit as stop:
        cause: BaseException | None = stop
        while isinstance(cause, SystemExit):  # rich makes 1 of it
            cause = cause.__context__
        if isinstance(cause, BrokenPipeError):
            leave_pipe()
        raise


def end_at_a_closed_pipe(usual):  # type: ignore[no-untyped-def]
    """Of a log handler: it would print a stack trace for each line that cannot be written, and go on."""

    def handle(self: logging.Handler, record: logging.LogRecord) -> None:
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            raise sys.exc_info()[1]  # type: ignore[misc]
        usual(self, record)

    return usual if getattr(usual, "__name__", "") == "handle" else handle


def leave_pipe() -> NoReturn:
    """What is still in the buffers goes nowhere; without that the interpreter complains at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        poll = select.poll()
        poll.register(descriptor, 0)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
            os.dup2(nowhere, descriptor)
    sys.exit(CLOSED)
