"""Files of web servers: their size and version, and parts of their bytes, tried several times.

Credentials come from the environment: netrc for any host, EARTHDATA_TOKEN for those of NASA.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from pipeline.core.errors import bad_input
from pipeline.core.transfers import (
    CONNECT_SECONDS,
    FIRST_BYTES,
    READ_SECONDS,
    AgainError,
    Head,
    Patience,
    body,
    changed,
    is_passing,
    no_access,
    patiently,
    refused,
    retry_after,
    spare,
)
from pipeline.core.untrusted.hosts import check_peer
from pipeline.core.untrusted.links import check_link, check_network

Result = TypeVar("Result")

PART = 1 << 20
DECODED = ("gzip", "x-gzip", "deflate")
"""Encodings of bodies that are undone, of servers that encode although it is not asked for."""
NEEDS_LOGIN = (
    "Set EARTHDATA_TOKEN, or add the host to ~/.netrc, if the provider asks for a login; a signed "
    "address may have expired."
)
PAGE = (
    "It is a page for browsers: take the address of the download itself, and log in where the "
    "provider asks for it (EARTHDATA_TOKEN, ~/.netrc)."
)
NAMED = "A server to which others lead must not be one of this network: name it in the entry."
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
        if is_encoded(answer, url):  # the length is not that of the file
            return Head(None, _version(answer), has_ranges=False)
        size = total if ranged else length
        return Head(int(size) if size.isdigit() else None, _version(answer), _first(answer), ranged)

    return _asked(url, {"Range": f"bytes=0-{FIRST_BYTES - 1}"}, head)


def web_part(url: str, start: int, stop: int, version: str | None) -> bytes:
    """Return bytes `start` to `stop` (exclusive) of a file; `InputError` if they cannot be had.

    `version` is that which the file must have; None for any.
    """

    def part(answer: requests.Response) -> bytes:
        if answer.status_code == 416:
            raise changed(_shown(url))
        if answer.status_code != 206:
            found = f"status {answer.status_code} instead of a part of the file"
            raise refused(_shown(url), found)
        if version and _version(answer) not in ("", version):
            raise changed(_shown(url))
        content = b"".join(body(answer, PART))
        sent = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        if len(content) != stop - start or (sent and int(sent[1]) != start):
            raise AgainError(f"{len(content):,} of {stop - start:,} bytes")
        return content

    return _asked(url, {"Range": f"bytes={start}-{stop - 1}"}, part)


def web_file(url: str, write: Callable[[Iterator[bytes]], Result]) -> Result:
    """Return what `write` makes of the bytes of a whole file; it is called again after a failure.

    Raises `FileNotFoundError` if there is none, and `InputError` for every other answer.
    """
    return _asked(url, {}, lambda answer: write(body(answer, PART, decode=is_encoded(answer, url))))


def is_encoded(answer: requests.Response, url: str) -> bool:
    """Whether the body is an encoded form of the file.

    Files of gzip are sent as they are, whatever their server calls that. Raises `InputError` for an
    encoding that cannot be undone.
    """
    encoding = answer.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity") or urlsplit(url).path.lower().endswith((".gz", ".tgz")):
        return False
    if encoding not in DECODED:
        raise refused(_shown(url), f'the encoding "{encoding}", which was not asked for')
    return True


def _first(answer: requests.Response) -> bytes:
    """Return the first bytes of a body."""
    found = b""
    for part in body(answer, FIRST_BYTES):
        found += part
        if len(found) >= FIRST_BYTES:
            break
    return found[:FIRST_BYTES]


def _asked(
    url: str, headers: dict[str, str], read: Callable[[requests.Response], Result]
) -> Result:
    """Return what `read` makes of the answer, after more tries where that may help."""
    where = _shown(url)
    spare("/".join(url.split("/")[:3]), where)

    def attempt() -> Result:
        with _session().get(
            url, headers=headers | _login(url), stream=True,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
        ) as answer:  # fmt: skip
            _check(answer, url)
            return read(answer)

    return patiently(attempt, where, Patience.of_readers())


def _check(answer: requests.Response, url: str) -> None:
    """Raise the error that belongs to an answer other than the file."""
    status = answer.status_code
    if status in (404, 410):
        raise FileNotFoundError(_shown(url))
    if is_passing(status):
        raise AgainError(f"status {status}", retry_after(answer.headers.get("Retry-After", "")))
    if status in (401, 403):
        raise no_access(_shown(url), f"status {status}, no access", NEEDS_LOGIN)
    if status not in (200, 206, 416):
        raise refused(_shown(url), f"status {status} ({answer.reason})")
    kind = answer.headers.get("Content-Type", "")
    if kind.startswith("text/html") and not urlsplit(url).path.endswith((".html", ".htm")):
        raise refused(_shown(url), "a web page (text/html)", PAGE)


def _connected(connection: HTTPConnection, made: socket.socket) -> socket.socket:
    """Return a new connection; `InputError` for an address that the host must not have."""
    try:
        check_peer(connection.host, str(made.getpeername()[0]))
    except ValueError as error:
        made.close()
        where = f"{connection.host}:{connection.port}"
        raise bad_input(where, str(error), "an address of the internet", NAMED) from None
    return made


class _Http(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self, super()._new_conn())


class _Https(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self, super()._new_conn())


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class SafeAdapter(HTTPAdapter):
    """An adapter whose connections are checked by `check_peer`, but those to proxies."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Make the connections of `requests`, checked."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


class SafeSession(requests.Session):
    """A session that follows redirects as `redirected` does, and checks its connections."""

    def __init__(self, pool_size: int = 10) -> None:
        super().__init__()
        for scheme in ("http://", "https://"):
            self.mount(scheme, SafeAdapter(pool_maxsize=pool_size))
        self.headers.update({"Accept-Encoding": "identity", "User-Agent": "stefaland"})

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where an answer redirects to; `InputError` for what must not be asked."""
        target = super().get_redirect_target(resp)
        if target is not None:
            redirected(str(resp.url), urljoin(str(resp.url), target))
        return target


def redirected(url: str, address: str) -> str:
    """Return the address of a redirect; `InputError` for one that `check_link` refuses.

    Refused are also other kinds of addresses, such as file://.
    """
    try:
        if urlsplit(address).scheme not in ("http", "https"):
            raise ValueError(_shown(address))
        check_link(address, url)
    except ValueError as error:
        raise refused(_shown(url), f"a redirect to {error}") from None
    return address


def linked(url: str, address: str) -> str:
    """Return an address that the answer of a server names; `InputError` as `check_network`."""
    try:
        check_network(address, url)
    except ValueError as error:
        raise refused(_shown(url), f"an answer that names {error}") from None
    return address


def _session() -> requests.Session:
    """Return the session of this thread, which keeps connections and the cookies of logins."""
    if not hasattr(_LOCAL, "session"):
        _LOCAL.session = SafeSession()
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
