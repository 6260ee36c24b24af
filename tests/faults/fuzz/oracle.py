"""What every reader must do with a damaged input: return values, or raise one clear error."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.core.errors import Fault, InputError

PACKAGES = ("/pipeline/", "/stefaland/", "/workflows/")


class FindingError(AssertionError):
    """A damaged input that was neither read right nor refused clearly."""


def outcome(call: Callable[[], Any]) -> Any:
    """The value of a call, or its clear `InputError`; raises `FindingError` for any other error."""
    try:
        return call()
    except InputError as error:
        require_clear(error.faults)
        return error
    except FindingError:
        raise
    except SystemExit as stopped:
        raise FindingError(f"exit with {stopped.code}") from stopped
    except Exception as error:
        raise FindingError(f"{kind_of(error)}: {str(error)[:200]}") from error


def kind_of(error: BaseException) -> str:
    """The type of an error, the innermost line of ours that it went through, and its origin."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if any(part in f.filename for part in PACKAGES)]
    ours = [f for f in ours if "site-packages" not in f.filename]
    last = ours[-1] if ours else frames[-1]
    origin = frames[-1]
    name = last.filename.rpartition("/")[2]
    source = origin.filename.rpartition("site-packages/")[2].rpartition("/lib/python")[2]
    through = f"{name}:{last.lineno} ({last.name}) of {source}:{origin.lineno}"
    return f"{type(error).__name__} through {through}"


def require_clear(faults: Sequence[Fault]) -> None:
    """Raise `FindingError` for an error without faults, or one that lacks a part."""
    if not faults:
        raise FindingError("an InputError without faults")
    for fault in faults:
        empty = [
            part for part in ("where", "found", "expected") if not getattr(fault, part).strip()
        ]
        if empty:
            raise FindingError(f"a fault without {' and '.join(empty)}: {fault!r}")
        if "Traceback (most" in str(fault):
            raise FindingError(f"a traceback as a message: {fault}")
