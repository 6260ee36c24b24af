"""What all transfers from remote addresses share: answers, refusals, tries and counted bytes."""

from __future__ import annotations

import hashlib
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TypeVar

import requests
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError

from pipeline.core.errors import Fault, InputError, bad_input
from pipeline.core.settings import Frozen

Result = TypeVar("Result")

TRIES = 6
"""Number of times that a request is sent before its last failure is reported."""
TRIES_TO_CONNECT = 3
"""The same for a server to which there is no connection."""
CONNECT_SECONDS, READ_SECONDS = 10, 30
"""Time to wait for a connection, and for the next bytes of an answer."""
SLOW_SECONDS, SLOW_BYTES = 30.0, 1 << 14
"""Time in which a body must bring so many bytes: a slower one is a failure, not an endless wait."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0
"""Seconds before the second try, which double with each further try up to the longest pause."""
LONGEST_ASKED = 120.0
"""Seconds that a server may ask to wait."""
BUSY = "The server may be overloaded: run again later; finished parts are kept."
NO_TRUST = (
    "Set REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE to a file with the certificate of its authority, if "
    "you trust it."
)
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


class SlowError(AgainError):
    """A body whose bytes come too slowly, which is a failure in spite of its progress."""


class NoAccessError(InputError):
    """An answer that refuses the user, and may refuse every other file too."""


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


def no_access(where: str, found: str, hint: str) -> NoAccessError:
    """Return the error for an answer that refuses the user, which the caller raises."""
    return NoAccessError([Fault(where, found, "the file at this address", hint)])


def retry_after(text: str) -> float:
    """Return the seconds of a Retry-After header, a number or a date; 0 for anything else.

    >>> retry_after("120"), retry_after("soon")
    (120.0, 0.0)
    """
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return 0.0


def pause(number: int) -> None:
    """Wait before try `number` + 2."""
    time.sleep(_seconds(number, FIRST_PAUSE, LONGEST_PAUSE))


def _seconds(number: int, first: float, longest: float) -> float:
    return min(first * 2**number, longest) * random.uniform(0.75, 1.25)


@dataclass(frozen=True)
class Patience:
    """How often a request that fails is sent again, and after how many seconds."""

    tries: int
    """Failures in a row without any progress."""
    to_connect: int
    """The same for a server to which there is no connection."""
    first: float
    longest: float
    """Seconds before the second try, which double up to the longest."""
    asked: float
    """Seconds that a server may ask to wait."""
    hint: str = BUSY
    """What to do after the last failure."""

    @classmethod
    def of_readers(cls) -> Patience:
        """Return that of reading, where somebody waits for the values."""
        return cls(TRIES, TRIES_TO_CONNECT, FIRST_PAUSE, LONGEST_PAUSE, LONGEST_ASKED)


def patiently(
    attempt: Callable[[], Result],
    where: str,
    patience: Patience,
    *,
    progress: Callable[[], int] = lambda: 0,
    wait: Callable[[float, float], None] = lambda seconds, _: time.sleep(seconds),
) -> Result:
    """Return the result of `attempt`, tried again after failures that may pass.

    `where` is the address for messages, without its query. A try during which `progress` rises is
    no failure in a row. `wait` gets the seconds to wait, and those that the server asks for. Raises
    `InputError` after the last try and for failures that no other try mends.
    """
    server, failures, before = "/".join(where.split("/")[:3]), 0, progress()
    while True:
        asked, is_slow, is_lost = 0.0, False, False
        try:
            return attempt()
        except AgainError as error:
            found, asked, is_slow = str(error), error.asked, isinstance(error, SlowError)
        except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
            found, is_lost = failure(error), _no_connection(error)
            if _no_trust(error):
                raise refused(where, found, NO_TRUST) from None
        except requests.RequestException as error:
            raise refused(where, f"no valid address or answer ({failure(error)})") from None
        after = progress()
        failures, before = (1 if after > before and not is_slow else failures + 1), after
        if is_lost and failures >= patience.to_connect:
            raise unreachable(server, where, f"{found} in {failures} tries")
        if failures >= patience.tries or asked > patience.asked:
            more = f", and {asked:,.0f} s to wait" if asked else ""
            raise refused(where, f"{found} in {failures} tries{more}", patience.hint)
        wait(max(_seconds(failures - 1, patience.first, patience.longest), asked), asked)


def body(answer: requests.Response, size: int, decode: bool = False) -> Iterator[bytes]:
    """Yield the bytes of an answer as they come, at most `size` at once, and count them.

    Raises `SlowError` if they come too slowly; `urllib3` raises errors where they are fewer than
    announced.
    """
    waited, received = 0.0, 0
    while True:
        begin = time.monotonic()
        content = answer.raw.read1(size, decode_content=decode)
        waited += time.monotonic() - begin
        if not content:
            return
        received += len(content)
        count_bytes(len(content))
        if waited > SLOW_SECONDS:
            if received < SLOW_BYTES:
                raise SlowError(f"{received:,} bytes in {waited:.0f} s")
            waited, received = 0.0, 0
        yield content


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and those that it wraps."""
    yield error
    for inner in (*error.args, getattr(error, "reason", None), error.__cause__):
        if isinstance(inner, BaseException):
            yield from _causes(inner)


def _no_connection(error: BaseException) -> bool:
    kinds = (NewConnectionError, requests.ConnectTimeout)
    return any(isinstance(cause, kinds) for cause in _causes(error))


def _no_trust(error: BaseException) -> bool:
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def failure(error: BaseException) -> str:
    """Return what failed in a few words, without the address, which may hold a signature."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"a certificate that is not trusted ({cause.verify_message})"
    if any(isinstance(cause, NameResolutionError) for cause in causes):
        return "no server of this name"
    if any(isinstance(cause, requests.ConnectTimeout) for cause in causes):
        return f"no connection within {CONNECT_SECONDS} s"
    if any(isinstance(cause, NewConnectionError) for cause in causes):
        return "no connection (refused)"
    if any(isinstance(cause, requests.Timeout | TimeoutError) for cause in causes):
        return f"no answer within {READ_SECONDS} s"
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "no TLS connection (is it a server of http?)"
    kind = type(causes[-1]).__name__
    words = {
        "IncompleteRead": "an answer that ends early",
        "ConnectionResetError": "a connection that was reset",
        "RemoteDisconnected": "a connection that was closed",
    }
    return words.get(kind, kind)


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
