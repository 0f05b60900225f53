"""Logs without credentials."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from invsmooth.core.redact import redact_text


def redact_logs() -> None:
    """Redact every log record of this process from now on, message and traceback."""
    make = logging.getLogRecordFactory()  # not by a filter: Hydra replaces the handlers for each job
    if not isinstance(make, Redacted):
        logging.setLogRecordFactory(Redacted(make))


class Redacted:
    """A factory of log records that redacts those of another factory."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self.make(*args, **kwargs)
        try:
            message = record.getMessage()
        except Exception:  # wrong arguments: logging reports them
            return record
        if (clean := redact_text(message)) != message:
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[0] is not None:
            trace = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            if (clean := redact_text(trace)) != trace:
                record.exc_text, record.exc_info = clean, None
        return record
