"""`Client`: requests to the servers of providers, spaced, repeated where that may help, refusable.

Redirects are followed one by one, so that each host gets its own credentials and no others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from json import dumps, loads
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests

from pipeline.core.addresses import public_uri
from pipeline.core.errors import Fault
from pipeline.core.transfers import (
    CONNECT_SECONDS,
    READ_SECONDS,
    AgainError,
    NoAccessError,
    Patience,
    body,
    is_passing,
    patiently,
    refused,
    retry_after,
)
from pipeline.core.web import SafeSession, redirected
from pipeline.fetch.credentials import HINTS, Credentials

Result = TypeVar("Result")

HINT = "Run the same command again later: what is fetched stays."
TRIES = 6
"""Number of times in a row that a request may fail without any progress."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds before the second try, which double with each further try up to the longest pause."""
LONGEST_ASKED = 900.0
"""Seconds that a server may ask to wait."""
REDIRECTS = 10
TEXT = 1 << 18
"""Bytes of a document that are read at once."""
SAID = 300
"""Characters of a server's explanation that are shown."""


class StoppedError(Exception):
    """The end of the work of a thread after Ctrl-C or a fault that concerns all files."""


class Client:
    """Requests of one fetch; its methods may be called by many threads at the same time."""

    def __init__(self, credentials: Credentials | None = None, rate: float = 4.0) -> None:
        self.credentials = credentials or Credentials()
        self.interval = 1.0 / rate
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}
        self._session = SafeSession(pool_size=32)

    def stop(self) -> None:
        """Let all threads end at their next block or pause."""
        self.stopped.set()

    def pause(self, seconds: float) -> None:
        """Wait; raises `StoppedError` if the work is to end."""
        if self.stopped.wait(max(seconds, 0.0)):
            raise StoppedError

    def take_turn(self, host: str) -> None:
        """Wait until a request may be sent to a host: at most `rate` of them per second."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next.get(host, 0.0))
            self._next[host] = turn + self.interval
        self.pause(turn - now)

    def _hold(self, host: str, seconds: float) -> None:
        """Send no request to a host for some time, because it asks for that."""
        with self._lock:
            self._next[host] = max(self._next.get(host, 0.0), time.monotonic() + seconds)

    @contextmanager
    def ask(
        self,
        method: str,
        address: str,
        login: str = "none",
        headers: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> Iterator[requests.Response]:
        """Yield the answer to one request, whose body is not read yet, after all redirects.

        Raises `AgainError` where another try may help, `FileNotFoundError` where there is nothing,
        `NoAccessError` where the user is refused, and `InputError` for every other answer but
        200, 201, 206 and 416.
        """
        for _ in range(REDIRECTS):
            self.take_turn(urlsplit(address).netloc)
            answer = self._session.request(
                method, address, json=json, stream=True, allow_redirects=False,
                headers={**(headers or {}), **self.credentials.headers(login, address)},
                timeout=(CONNECT_SECONDS, READ_SECONDS), auth=_as_it_is,
            )  # fmt: skip
            with answer:
                if not answer.is_redirect:
                    _check(answer, address, login)
                    yield answer
                    return
                if method == "POST" and answer.status_code in (301, 302, 303):
                    method, json = "GET", None
                address = redirected(address, urljoin(address, answer.headers["Location"]))
        raise NoAccessError(
            [Fault(public_uri(address), f"more than {REDIRECTS} redirects", "the file",
                   HINTS[login])]
        )  # fmt: skip

    def json(self, method: str, address: str, login: str = "none", json: Any = None) -> Any:
        """Return the JSON document of an answer; more tries and errors as of `patiently`."""
        return self.page(method, address, login, json=json)[0]

    def page(
        self,
        method: str,
        address: str,
        login: str = "none",
        headers: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> tuple[Any, Mapping[str, str]]:
        """Return the JSON document of an answer and its headers."""

        def attempt() -> tuple[Any, Mapping[str, str]]:
            with self.ask(method, address, login, headers, json) as answer:
                text = _text(answer)
                try:
                    return loads(text), answer.headers
                except ValueError:
                    found = f"no JSON document ({_in_words(text) or 'nothing'})"
                    raise refused(public_uri(address), found) from None

        return self.patiently(address, attempt)

    def patiently(
        self,
        address: str,
        attempt: Callable[[], Result],
        progress: Callable[[], int] = lambda: 0,
    ) -> Result:
        """Return the result of `attempt`, tried again after failures that may pass.

        A try during which `progress` rises is no failure in a row. Raises `InputError` after
        `TRIES` failures.
        """
        host = urlsplit(address).netloc

        def guarded() -> Result:
            if self.stopped.is_set():
                raise StoppedError
            return attempt()

        def wait(seconds: float, asked: float) -> None:
            self._hold(host, asked)
            self.pause(seconds)

        patience = Patience(TRIES, TRIES, FIRST_PAUSE, LONGEST_PAUSE, LONGEST_ASKED, HINT)
        return patiently(guarded, public_uri(address), patience, progress=progress, wait=wait)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Return a request without the credentials that `requests` would add from netrc."""
    return request


def _check(answer: requests.Response, address: str, login: str) -> None:
    status, where = answer.status_code, public_uri(address)
    if status in (200, 201, 202, 206, 416):
        return
    if status in (404, 410):
        raise FileNotFoundError(where)
    if is_passing(status):
        raise AgainError(f"status {status}", retry_after(answer.headers.get("Retry-After", "")))
    found = f"status {status} ({_said(answer)})"
    if status in (401, 403):
        hint = HINTS[login] or "The provider refuses everybody, or asks for a login."
        raise NoAccessError([Fault(where, found, "access", hint)])
    raise refused(where, found)


def _text(answer: requests.Response, most: int | None = None) -> str:
    content = b""
    for part in body(answer, most or TEXT, decode=True):
        content += part
        if most is not None and len(content) >= most:
            break
    return content.decode("utf-8", "replace")


def _said(answer: requests.Response) -> str:
    """Return what a server says about its answer in a few words."""
    return _in_words(_text(answer, 1 << 14)) or str(answer.reason)


def _in_words(text: str) -> str:
    try:
        text = problem(loads(text))
    except ValueError:
        if "<" in text:
            begin = text.lower().find("<title>")
            text = text[begin + 7 :].partition("<")[0] if begin >= 0 else "a web page"
    return " ".join(text.split())[:SAID]


def problem(document: Any) -> str:
    """Return the explanation in a JSON document of an error (RFC 9457, and those of NASA)."""
    names = ("title", "detail", "message", "error", "errors", "traceback")
    found = document if isinstance(document, dict) else {}
    return "; ".join(str(found[name]) for name in names if found.get(name))


def field_of(document: Any, where: str, *keys: str) -> Any:
    """Return a value within a JSON document; `InputError` if it has none there."""
    value = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        found = f"a document without {'.'.join(keys)} ({_in_words(dumps(document))})"
        raise refused(where, found, "The provider may have changed its service: update stefaland.")
    return value
