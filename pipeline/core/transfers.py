"""What all transfers from remote addresses share: answers, refusals, pauses and counted bytes."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from dataclasses import dataclass, field

from pipeline.core.errors import Fault, InputError, bad_input
from pipeline.core.settings import Frozen

TRIES = 6
"""Number of times that a request is sent before its last failure is reported."""
TRIES_TO_CONNECT = 3
"""The same for a server to which there is no connection."""
CONNECT_SECONDS, READ_SECONDS = 10, 30
"""Time to wait for a connection, and for the next bytes of an answer."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0
"""Seconds before the second try, which double with each further try up to the longest pause."""
FIRST_BYTES = 8192
"""Bytes at the start of a file that are read with its size."""
SPARED_SECONDS = 30.0
"""Time for which no request is sent to a server that did not answer."""


class Access(Frozen):
    """How the requests for a remote address are made.

    >>> Access(anonymous=True).requester_pays
    False
    """

    anonymous: bool | None = None
    """Whether requests are not signed; by default where the environment has no credentials."""
    requester_pays: bool = False
    """Whether the account of the credentials pays for the transfer."""


@dataclass(frozen=True)
class Head:
    """Size and version of a remote file, and its first bytes where they came with these."""

    size: int | None
    """Bytes of the file; None where the server does not state it."""
    version: str
    """ETag, or else the time of the last change; empty if the server states neither."""
    first: bytes = b""
    has_ranges: bool = True
    """Whether the server sends a part of the file where a part is asked for."""

    @property
    def stamp(self) -> int:
        """Number that differs between versions, as the modification time of a local file does."""
        return int(hashlib.sha256(self.version.encode()).hexdigest()[:15], 16)


class AgainError(Exception):
    """An answer after which the request is sent again, after `asked` seconds at least."""

    def __init__(self, found: str, asked: float = 0.0) -> None:
        super().__init__(found)
        self.asked = asked


class UnreachableError(InputError):
    """A server to which there is no connection, so that no other file of it can be read either."""


_SILENT: dict[str, tuple[float, str]] = {}
"""Time and failure of servers to which there was no connection."""


def unreachable(server: str, where: str, found: str) -> UnreachableError:
    """Return the error for a server without an answer, which the caller raises."""
    _SILENT[server] = time.monotonic(), found
    return _no_answer(where, found)


def _no_answer(where: str, found: str) -> UnreachableError:
    hint = "Check the address and the network; a proxy is taken from HTTPS_PROXY."
    return UnreachableError([Fault(where, found, "an answer of its server", hint)])


def spare(server: str, where: str) -> None:
    """Raise `UnreachableError` at once for a server that did not answer a short time ago."""
    when, found = _SILENT.get(server, (-SPARED_SECONDS, ""))
    if time.monotonic() - when < SPARED_SECONDS:
        raise _no_answer(where, found)


def is_passing(status: int) -> bool:
    """Whether another try may help after an answer with this status."""
    return status in (408, 425, 429) or status >= 500


def refused(where: str, found: str, hint: str = "") -> InputError:
    """Return the error for an answer that is not the file, which the caller raises."""
    return bad_input(where, found, "the file at this address", hint)


def changed(where: str) -> InputError:
    """Return the error for a file of which parts of two versions were read."""
    hint = "Run again: parts of two versions are never combined."
    return bad_input(where, "another version than before", "files that stay the same", hint)


def pause(number: int, asked: float = 0.0) -> None:
    """Wait before try `number` + 2; `asked` are the seconds that the server asks for."""
    seconds = max(FIRST_PAUSE * 2**number * random.uniform(0.75, 1.25), asked)
    time.sleep(min(seconds, LONGEST_PAUSE))


@dataclass
class _Counter:
    total: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


_FETCHED = _Counter()


def fetched_bytes() -> int:
    """Return the bytes that this process has received from remote addresses (not by GDAL)."""
    return _FETCHED.total


def count_bytes(number: int) -> None:
    """Add to the bytes received."""
    with _FETCHED.lock:
        _FETCHED.total += number
