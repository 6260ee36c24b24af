"""public_logs(): messages of a process without values of the environment, whoever writes them."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from typing import Any

from pipeline.core.written.references import as_printed

_RECORD = logging.getLogRecordFactory()
_WARNING = warnings.formatwarning


def warning_text(*arguments: Any, **options: Any) -> str:
    """Return the text of a warning of Python as `as_printed` returns it."""
    return as_printed(_WARNING(*arguments, **options))


def print_uncaught(kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
    """Print an error that nothing caught, and its traceback, as Python does."""
    text = "".join(traceback.format_exception(kind, error, trace))
    print(as_printed(text), end="", file=sys.stderr)


def public_logs() -> None:
    """Let messages, warnings and uncaught errors of this process be as `as_printed` returns them.

    That holds for handlers of any library, such as those of Dask's workers.
    """
    logging.setLogRecordFactory(_public_record)
    warnings.formatwarning = warning_text
    sys.excepthook = print_uncaught
    threading.excepthook = _print_of_thread


def _public_record(*arguments: Any, **options: Any) -> logging.LogRecord:
    record = _RECORD(*arguments, **options)
    record.msg, record.args = as_printed(record.getMessage()), None
    if record.exc_info and record.exc_info[0] is not None:
        # Formatters write this text instead of that of the error.
        record.exc_text = as_printed("".join(traceback.format_exception(*record.exc_info)).rstrip())
    return record


def _print_of_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_type is not SystemExit:
        print_uncaught(found.exc_type, found.exc_value, found.exc_traceback)
