"""in_time(): a call that may take only so long, as reading from a server that does not answer may
take for ever; and which file it was reading.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

from pipeline.core.errors import Fault, InputError

T = TypeVar("T")
INTERRUPT_SECONDS = 5.0
"""Time that an interrupted call has to remove what it has half-written."""
_READ_BY: dict[int, str] = {}
"""File that each thread reads at present."""
_STUCK: dict[threading.Thread, str] = {}
"""Threads that were given up, and what each was reading."""
_OWN = threading.local()


class TimeLimitError(InputError):
    """A call that did not end in its time; its thread was given up."""


@contextmanager
def reading(file: object) -> Iterator[None]:
    """Note within the context that this thread reads `file`, for the error of a time-out."""
    thread = threading.get_ident()
    before = _READ_BY.get(thread)
    _READ_BY[thread] = str(file)
    try:
        yield
    finally:
        if before is None:
            _READ_BY.pop(thread, None)
        else:
            _READ_BY[thread] = before


def in_time(call: Callable[[], T], seconds: float | None, where: str, setting: str = "") -> T:
    """Return the result of `call`, which runs in a thread of its own; None is no limit.

    Raises `TimeLimitError` after `seconds`, with the file that the call was reading, or else
    `where`: the thread, which cannot be ended, is left to itself. `setting` is the name of the
    limit, for the hint.

    >>> in_time(lambda: 1 + 1, 10, "a sum")
    2
    """
    if seconds is None:
        return call()
    helper = getattr(_OWN, "helper", None)
    if helper is None:
        helper = _OWN.helper = _Helper()
    job = _Job(call)
    helper.jobs.put(job)
    try:
        ended = job.ended.wait(seconds)
    except KeyboardInterrupt:
        # What the call has half-written is removed by the call itself.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(helper.thread.ident or 0), ctypes.py_object(KeyboardInterrupt)
        )
        job.ended.wait(INTERRUPT_SECONDS)
        _OWN.helper = None
        raise
    if ended:
        return job.result()
    _OWN.helper = None
    raise TimeLimitError([_fault(helper.thread, seconds, where, setting)])


def has_stuck_threads() -> bool:
    """Whether a call that was given up has not ended yet in this process."""
    return any(thread.is_alive() for thread in _STUCK)


def _fault(thread: threading.Thread, seconds: float, where: str, setting: str) -> Fault:
    # A call may wait for the lock of a library that an earlier call, given up, still holds.
    stuck = next((file for one, file in _STUCK.items() if one.is_alive()), None)
    file = stuck or _READ_BY.get(thread.ident or 0)
    _STUCK[thread] = file or where
    limit = f"an end within {seconds:g} s"
    hint = "Check that its disk or server answers (a copy of the file takes no longer)"
    hint += f", or raise {setting}." if setting else "."
    return Fault(file or where, f"no end of reading, in {where}", limit, hint)


class _Job:
    """A call, and how it ended."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call, self.context = call, copy_context()
        self.ended = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.value = self.context.run(self.call)
        except BaseException as error:
            self.error = error
        finally:
            self.ended.set()

    def result(self) -> Any:
        """Return the value of the ended call, or raise its error."""
        if self.error is not None:
            raise self.error
        return self.value


class _Helper:
    """The thread that runs the calls of one other thread, one after another.

    One for all: caches of libraries, such as those of PROJ, belong to a thread.
    """

    def __init__(self) -> None:
        self.jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self.thread = threading.Thread(target=_serve, args=(self.jobs,), daemon=True)
        self.thread.start()

    def __del__(self) -> None:
        self.jobs.put(None)


def _serve(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job.run()
        del job
