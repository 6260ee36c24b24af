"""Servers of providers on this machine: files with faults, and a climate data store.

Routes are functions of a request; what was asked and how many bytes were sent is kept.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = b"<!DOCTYPE html><html><head><title>Please log in</title></head></html>"


@dataclass
class Asked:
    """A request: method, path, query, headers and the JSON document in it."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    document: Any
    answer: Handler

    @property
    def start(self) -> int:
        """First byte asked for."""
        match = re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("Range", ""))
        return int(match[1]) if match else 0


@dataclass
class Provider:
    """A server; its routes are looked up by path, then by the folder of the path with its /."""

    url: str = ""
    routes: dict[str, Callable[[Asked], None]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    """Bytes of bodies by path."""

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def of(self, path: str, method: str = "GET") -> list[Asked]:
        return [one for one in self.asked if one.path == path and one.method == method]

    def gets(self) -> int:
        return sum(one.method == "GET" for one in self.asked)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        with suppress(ConnectionError):
            super().handle_one_request()

    def do_GET(self) -> None:
        provider: Provider = self.server.provider  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(
            self.command, parts.path, parse_qs(parts.query), dict(self.headers.items()),
            json.loads(body) if body else None, self,
        )  # fmt: skip
        provider.asked.append(asked)
        folder = parts.path.rpartition("/")[0] + "/"
        route = provider.routes.get(parts.path) or provider.routes.get(folder)
        if route is None:
            return self.send(404, b"nothing here")
        return route(asked)

    do_HEAD = do_POST = do_GET  # noqa: N815

    def send(self, status: int, content: bytes = b"", **headers: str) -> None:
        """Send a whole answer."""
        self.begin(status, len(content), **headers)
        self.write(content)

    def begin(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def write(self, content: bytes) -> None:
        if self.command == "HEAD":
            return
        provider: Provider = self.server.provider  # type: ignore[attr-defined]
        path = urlsplit(self.path).path
        try:
            self.wfile.write(content)
            self.wfile.flush()
        except OSError:
            self.close_connection = True
            raise ConnectionError from None
        provider.sent[path] = provider.sent.get(path, 0) + len(content)

    def document(self, value: Any, status: int = 200, **headers: str) -> None:
        self.send(status, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def reset(self) -> None:
        """End the connection as a failing server does."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()


@dataclass
class File:
    """A file of a provider; each request uses up one fault."""

    content: bytes
    faults: list[str] = field(default_factory=list)
    """`503`, `429 SECONDS`, `reset AFTER`, `short`, `page`, or empty for none."""
    has_ranges: bool = True
    tag: str | None = None
    pause: float = 0.0
    """Seconds between two blocks of 64 kB."""
    without: tuple[str, ...] = ()
    """Headers that are left out."""

    def __call__(self, asked: Asked) -> None:
        handler = asked.answer
        fault, _, number = (self.faults.pop(0) if self.faults else "").partition(" ")
        if fault in ("429", "503"):
            return handler.send(int(fault), b"busy", **({"Retry_After": number} if number else {}))
        if fault == "page":
            return handler.send(200, PAGE, Content_Type="text/html")
        tag = self.tag or f'"{hashlib.md5(self.content).hexdigest()}"'
        headers = {"ETag": tag}
        start = asked.start if self.has_ranges else 0
        if asked.headers.get("If-Range", tag) != tag:
            start = 0
        if start and start >= len(self.content):
            return handler.send(416, b"", Content_Range=f"bytes */{len(self.content)}")
        status, rest = 200, self.content[start:]
        if start:
            status = 206
            headers["Content_Range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        headers = {name: text for name, text in headers.items() if name not in self.without}
        length = None if "Content-Length" in self.without else len(rest)
        if length is None:
            handler.close_connection = True
        handler.begin(status, length, **headers)
        if fault == "short":
            handler.write(rest[: len(rest) // 2])
            handler.close_connection = True
            return None
        if fault == "reset":
            handler.write(rest[: int(number)])
            time.sleep(0.05)
            return handler.reset()
        for first in range(0, len(rest), 1 << 16):
            handler.write(rest[first : first + (1 << 16)])
            time.sleep(self.pause)
        return None


@contextmanager
def provider(**routes: Callable[[Asked], None]) -> Iterator[Provider]:
    """Serve files and functions by name."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Provider(f"http://127.0.0.1:{server.server_address[1]}")
    found.routes = {f"/{name}": route for name, route in routes.items()}
    server.provider = found  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class DataStore:
    """A climate data store: jobs pass through `states`, then have `content` as their result."""

    provider: Provider
    content: bytes
    states: tuple[str, ...] = ("accepted", "running", "successful")
    key: str = "secret-key"
    failure: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, int] = field(default_factory=dict)
    file: File = field(default_factory=lambda: File(b""))

    def __post_init__(self) -> None:
        base = "/api/retrieve/v1"
        self.file.content = self.content
        self.provider.routes |= {
            f"{base}/processes/land/execution": self.submit,
            f"{base}/jobs/": self.status,
            "/cache/result.nc": self.result,
        }

    @property
    def url(self) -> str:
        return f"{self.provider.url}/api"

    def refused(self, asked: Asked) -> bool:
        if asked.headers.get("PRIVATE-TOKEN") == self.key:
            return False
        asked.answer.document({"title": "Unauthorized", "detail": "operation not allowed"}, 401)
        return True

    def submit(self, asked: Asked) -> None:
        if self.refused(asked):
            return None
        if "bad" in asked.document["inputs"].get("variable", []):
            detail = "Request has not produced a valid combination of values"
            return asked.answer.document({"title": "invalid request", "detail": detail}, 400)
        name = f"job-{len(self.jobs)}"
        self.jobs[name] = 0
        for suffix in ("", "/results"):
            path = f"/api/retrieve/v1/jobs/{name}{suffix}"
            self.provider.routes[path] = self.results if suffix else self.status
        return asked.answer.document({"jobID": name, "status": "accepted"}, 201)

    def status(self, asked: Asked) -> None:
        if self.refused(asked):
            return None
        name = asked.path.rpartition("/")[2]
        if name not in self.jobs:
            return asked.answer.document({"title": "job not found"}, 404)
        state = self.states[min(self.jobs[name], len(self.states) - 1)]
        self.jobs[name] += 1
        return asked.answer.document({"jobID": name, "status": state})

    def results(self, asked: Asked) -> None:
        if self.refused(asked):
            return None
        if self.failure:
            return asked.answer.document(self.failure, 400)
        value = {"href": f"{self.provider.url}/cache/result.nc", "file:size": len(self.content)}
        return asked.answer.document({"asset": {"value": value}})

    def result(self, asked: Asked) -> None:
        assert "PRIVATE-TOKEN" not in asked.headers
        self.file(asked)
