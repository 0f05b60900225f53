"""Logs without credentials, whatever logs and wherever it is written."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from invsmooth.core.redact import redact_text


def redact_logs() -> None:
    """From now on no log record of this process has credentials in it, in its message or its traceback.

    Not a filter: handlers come and go (Hydra makes them anew for each job), while every record is made here.
    """
    make = logging.getLogRecordFactory()
    if not isinstance(make, Redacted):
        logging.setLogRecordFactory(Redacted(make))


class Redacted:
    """A factory of log records that redacts those of another."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self.make(*args, **kwargs)
        try:
            message = record.getMessage()
        except Exception:  # arguments that do not fit: logging will say so
            return record
        clean = redact_text(message)
        if clean != message:
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[0] is not None:
            trace = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            clean = redact_text(trace)
            if clean != trace:
                record.exc_text, record.exc_info = clean, None
        return record
