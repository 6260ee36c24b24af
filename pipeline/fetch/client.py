"""`Client`: requests to the servers of providers, spaced, repeated where that may help, refusable.

Redirects are followed one by one, so that each host gets its own credentials and no others.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from json import loads
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from pipeline.core.addresses import public_uri
from pipeline.core.errors import Fault, InputError
from pipeline.core.transfers import (
    CONNECT_SECONDS,
    READ_SECONDS,
    AgainError,
    is_passing,
    refused,
)
from pipeline.core.web import failure
from pipeline.fetch.credentials import HINTS, Credentials

Result = TypeVar("Result")

TRIES = 6
"""Number of times in a row that a request may fail without any progress."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds before the second try, which double with each further try up to the longest pause."""
LONGEST_ASKED = 900.0
"""Seconds that a server may ask to wait."""
REDIRECTS = 10
SAID = 300
"""Characters of a server's explanation that are shown."""


class NoAccessError(InputError):
    """An answer that refuses the user, and would refuse every other file too."""


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
        self._session = requests.Session()
        self._session.headers.update({"Accept-Encoding": "identity", "User-Agent": "stefaland"})
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=32))

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
                address = urljoin(address, answer.headers["Location"])
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
        failures, before = 0, progress()
        while True:
            if self.stopped.is_set():
                raise StoppedError
            asked = 0.0
            try:
                return attempt()
            except AgainError as error:
                found, asked = str(error), error.asked
            except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
                found = failure(error)
            except requests.RequestException as error:
                found = f"no valid address or answer ({failure(error)})"
                raise refused(public_uri(address), found) from None
            after = progress()
            failures, before = (1 if after > before else failures + 1), after
            if failures == TRIES or asked > LONGEST_ASKED:
                hint = "Run the same command again later: what is fetched stays."
                wait = f", and {asked:,.0f} s to wait" if asked else ""
                raise refused(public_uri(address), f"{found} in {failures} tries{wait}", hint)
            seconds = min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE)
            seconds *= random.uniform(0.75, 1.25)
            self._hold(urlsplit(address).netloc, asked)
            self.pause(max(seconds, asked))


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
        raise AgainError(f"status {status}", _seconds(answer.headers.get("Retry-After", "")))
    found = f"status {status} ({_said(answer)})"
    if status in (401, 403):
        hint = HINTS[login] or "The provider refuses everybody, or asks for a login."
        raise NoAccessError([Fault(where, found, "access", hint)])
    raise refused(where, found)


def _seconds(text: str) -> float:
    """Return the seconds of a Retry-After header: a number, or a date."""
    if text.isdigit():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return 0.0


def _text(answer: requests.Response, most: int | None = None) -> str:
    content = answer.raw.read(most, decode_content=True) or b""
    return str(content.decode("utf-8", "replace"))


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
