"""Files of web servers: their size and version, and parts of their bytes, tried several times.

Credentials come from the environment: netrc for any host, EARTHDATA_TOKEN for those of NASA.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError

from pipeline.core.transfers import (
    CONNECT_SECONDS,
    FIRST_BYTES,
    READ_SECONDS,
    TRIES,
    TRIES_TO_CONNECT,
    AgainError,
    Head,
    changed,
    count_bytes,
    is_passing,
    pause,
    refused,
    spare,
    unreachable,
)

Result = TypeVar("Result")

PART = 1 << 20
NEEDS_LOGIN = (
    "Set EARTHDATA_TOKEN, or add the host to ~/.netrc, if the provider asks for a login; a signed "
    "address may have expired."
)
PAGE = (
    "It is a page for browsers: take the address of the download itself, and log in where the "
    "provider asks for it (EARTHDATA_TOKEN, ~/.netrc)."
)
_LOCAL = threading.local()


def web_head(url: str) -> Head:
    """Return size, version and first bytes of a file, from a request for its first bytes.

    (Servers of signed addresses and some others answer no HEAD request.) Raises
    `FileNotFoundError` if there is none, and `InputError` for every other answer.
    """

    def head(answer: requests.Response) -> Head:
        ranged = answer.status_code == 206
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        length = answer.headers.get("Content-Length", "")
        if answer.status_code == 416:
            return Head(0, _version(answer))
        size = (total if total.isdigit() else None) if ranged else length or None
        first = answer.raw.read(FIRST_BYTES, decode_content=False)
        count_bytes(len(first))
        return Head(None if size is None else int(size), _version(answer), first, ranged)

    return _asked(url, {"Range": f"bytes=0-{FIRST_BYTES - 1}"}, head)


def web_part(url: str, start: int, stop: int, version: str | None) -> bytes:
    """Return bytes `start` to `stop` (exclusive) of a file; `InputError` if they cannot be had.

    `version` is that which the file must have; None for any.
    """

    def part(answer: requests.Response) -> bytes:
        if answer.status_code != 206:
            found = f"status {answer.status_code} instead of a part of the file"
            raise refused(_shown(url), found)
        if version and _version(answer) not in ("", version):
            raise changed(_shown(url))
        content = b"".join(_parts(answer))
        sent = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        if len(content) != stop - start or (sent and int(sent[1]) != start):
            raise AgainError(f"{len(content):,} of {stop - start:,} bytes")
        return content

    return _asked(url, {"Range": f"bytes={start}-{stop - 1}"}, part)


def web_file(url: str, write: Callable[[Iterator[bytes]], Result]) -> Result:
    """Return what `write` makes of the bytes of a whole file; it is called again after a failure.

    Raises `FileNotFoundError` if there is none, and `InputError` for every other answer.
    """
    return _asked(url, {}, lambda answer: write(_parts(answer)))


def _parts(answer: requests.Response) -> Iterator[bytes]:
    """Yield the bytes as sent; `urllib3` raises an error where they are fewer than announced."""
    for part in answer.raw.stream(PART, decode_content=False):
        count_bytes(len(part))
        yield part


def _asked(
    url: str, headers: dict[str, str], read: Callable[[requests.Response], Result]
) -> Result:
    """Return what `read` makes of the answer, after more tries where that may help."""
    found, server = "", "/".join(url.split("/")[:3])
    spare(server, _shown(url))
    for number in range(TRIES):
        try:
            with _session().get(
                url, headers=headers | _login(url), stream=True,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
            ) as answer:  # fmt: skip
                _check(answer, url)
                return read(answer)
        except AgainError as error:
            found, asked = str(error), error.asked
        except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
            found, asked = failure(error), 0.0
            if _no_connection(error) and number + 1 >= TRIES_TO_CONNECT:
                raise unreachable(server, _shown(url), f"{found} in {number + 1} tries") from None
        except requests.RequestException as error:
            raise refused(_shown(url), f"no valid address or answer ({failure(error)})") from None
        if number + 1 < TRIES:
            pause(number, asked)
    hint = "The server may be overloaded: run again later; finished parts are kept."
    raise refused(_shown(url), f"{found} in {TRIES} tries", hint)


def _check(answer: requests.Response, url: str) -> None:
    """Raise the error that belongs to an answer other than the file."""
    status = answer.status_code
    if status in (404, 410):
        raise FileNotFoundError(_shown(url))
    if is_passing(status):
        asked = answer.headers.get("Retry-After", "")
        raise AgainError(f"status {status}", float(asked) if asked.isdigit() else 0.0)
    if status in (401, 403):
        raise refused(_shown(url), f"status {status}, no access", NEEDS_LOGIN)
    if status not in (200, 206, 416):
        raise refused(_shown(url), f"status {status} ({answer.reason})")
    kind = answer.headers.get("Content-Type", "")
    if kind.startswith("text/html") and not urlsplit(url).path.endswith((".html", ".htm")):
        raise refused(_shown(url), "a web page (text/html)", PAGE)


def _session() -> requests.Session:
    """Return the session of this thread, which keeps connections and the cookies of logins."""
    if not hasattr(_LOCAL, "session"):
        _LOCAL.session = requests.Session()
        _LOCAL.session.headers.update({"Accept-Encoding": "identity", "User-Agent": "stefaland"})
    session: requests.Session = _LOCAL.session
    return session


def is_earthdata(url: str) -> bool:
    """Whether EARTHDATA_TOKEN is set and the address is one of NASA, to which it is sent."""
    host = urlsplit(url).hostname or ""
    return bool(os.environ.get("EARTHDATA_TOKEN")) and host.endswith(".nasa.gov")


def _login(url: str) -> dict[str, str]:
    token = os.environ.get("EARTHDATA_TOKEN", "")
    return {"Authorization": f"Bearer {token}"} if is_earthdata(url) else {}


def _version(answer: requests.Response) -> str:
    return answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""


def _shown(url: str) -> str:
    """Return the address without its query, which may hold a signature."""
    return url.partition("?")[0]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and those that it wraps."""
    yield error
    for inner in (*error.args, getattr(error, "reason", None), error.__cause__):
        if isinstance(inner, BaseException):
            yield from _causes(inner)


def _no_connection(error: BaseException) -> bool:
    kinds = (NewConnectionError, requests.ConnectTimeout)
    return any(isinstance(cause, kinds) for cause in _causes(error))


def failure(error: BaseException) -> str:
    """Return what failed in a few words, without the address, which may hold a signature."""
    causes = list(_causes(error))
    if any(isinstance(cause, NameResolutionError) for cause in causes):
        return "no server of this name"
    if any(isinstance(cause, requests.ConnectTimeout) for cause in causes):
        return f"no connection within {CONNECT_SECONDS} s"
    if any(isinstance(cause, NewConnectionError) for cause in causes):
        return "no connection (refused)"
    if any(isinstance(cause, requests.Timeout) for cause in causes):
        return f"no answer within {READ_SECONDS} s"
    kind = type(causes[-1]).__name__
    words = {
        "IncompleteRead": "an answer that ends early",
        "ConnectionResetError": "a connection that was reset",
        "RemoteDisconnected": "a connection that was closed",
    }
    return words.get(kind, kind)
