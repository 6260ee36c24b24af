"""Servers on this machine: files by HTTP, and the same files as objects of s3 and gs, with faults.

The object store answers the requests that readers make: HEAD and GET with ranges, and listings.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from pipeline.core import cache, transfers
from pipeline.core.remote_path import _HEADS

PAGE = b"<!DOCTYPE html><html><body>Log in</body></html>"


@dataclass
class Loopback:
    """A server of the files in `folder`; faults are used up, one per request for their path."""

    folder: Path
    url: str = ""
    has_ranges: bool = True
    lists: bool = False
    """Whether it is an object store, which lists the folders in `folder` as buckets."""
    signer: str | None = None
    """Key without whose signature an object store refuses requests."""
    payer: bool = False
    """Whether an object store refuses requests of readers who do not pay."""
    faults: dict[str, list[str]] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    """Address to which a path is redirected."""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path with query, and range."""
    headers: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0
    """Bytes of bodies."""

    def to(self, name: str) -> str:
        return f"{self.url}/{name}"

    def asked_for(self, name: str) -> int:
        """Number of requests for a file."""
        return sum(urlsplit(path).path == f"/{name}" for _, path, _ in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def state(self) -> Loopback:
        return self.server.state  # type: ignore[attr-defined,no-any-return]

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(is_head=True)

    def do_GET(self) -> None:
        self.answer()

    def answer(self, is_head: bool = False) -> None:
        state, parts = self.state, urlsplit(self.path)
        name = unquote(parts.path).strip("/")
        wanted = self.headers.get("Range", "")
        state.requests.append((self.command, self.path, wanted))
        state.headers.append(dict(self.headers.items()))
        if name in state.redirects:
            return self.send(302, b"", is_head, {"Location": state.redirects[name]})
        fault = (state.faults.get(name) or [""]).pop(0)
        if fault.isdigit():
            return self.send(int(fault), b"fault", is_head)
        if fault == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            return self.connection.close()
        if fault == "page":
            return self.send(200, PAGE, is_head, {"Content-Type": "text/html; charset=utf-8"})
        if fault == "slow":
            time.sleep(0.3)
        if state.lists and (refusal := self.refusal()):
            return self.send(403, refusal, is_head)
        query = parse_qs(parts.query)
        if state.lists and "list-type" in query:
            return self.send(200, self.listing(name, query), is_head, {"Content-Type": "text/xml"})
        path = state.folder / name
        if not path.is_file():
            return self.send(404, b"<Error><Code>NoSuchKey</Code></Error>", is_head)
        content = path.read_bytes()
        headers = {
            "ETag": _tag(content),
            "Last-Modified": formatdate(path.stat().st_mtime, usegmt=True),
        }
        status = 200
        if (span := re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)) and state.has_ranges:
            first, last = int(span[1]), min(int(span[2] or len(content)), len(content) - 1)
            if first >= len(content):
                headers["Content-Range"] = f"bytes */{len(content)}"
                return self.send(416, b"", is_head, headers)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            status, content = 206, content[first : last + 1]
        return self.send(status, content, is_head, headers, cut=fault == "truncated")

    def refusal(self) -> bytes:
        state = self.state
        credential = f"Credential={state.signer}/"
        if state.signer and credential not in self.headers.get("Authorization", ""):
            return b"<Error><Code>AccessDenied</Code></Error>"
        if state.payer and self.headers.get("x-amz-request-payer") != "requester":
            return b"<Error><Code>AccessDenied</Code></Error>"
        return b""

    def listing(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        prefix, root = query.get("prefix", [""])[0], self.state.folder / bucket
        keys = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
        keys = [key for key in keys if key.startswith(prefix)]
        folders = set()
        if "delimiter" in query:
            folders = {prefix + key[len(prefix) :].partition("/")[0] + "/" for key in keys
                       if "/" in key[len(prefix) :]}  # fmt: skip
            keys = [key for key in keys if "/" not in key[len(prefix) :]]
        objects = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{(root / key).stat().st_size}</Size>"
            "<LastModified>2024-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(_tag((root / key).read_bytes()))}</ETag></Contents>"
            for key in keys
        )
        objects += "".join(
            f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>"
            for f in sorted(folders)
        )
        text = f"<ListBucketResult><Name>{bucket}</Name><IsTruncated>false</IsTruncated>{objects}"
        return f'<?xml version="1.0" encoding="UTF-8"?>{text}</ListBucketResult>'.encode()

    def send(
        self, status: int, content: bytes, is_head: bool, headers: dict[str, str] | None = None,
        cut: bool = False,
    ) -> None:  # fmt: skip
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if self.state.has_ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if is_head:
            return
        body = content[: len(content) // 2] if cut else content
        self.state.sent += len(body)
        try:
            self.wfile.write(body)
        except OSError:
            cut = True
        if cut:
            self.close_connection = True


def _tag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


def ask_afresh(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Forget what servers answered, keep copies in `folder`, and hardly wait between tries."""
    monkeypatch.setattr(transfers, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(transfers, "LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(transfers, "_SILENT", {})
    monkeypatch.setattr(cache, "_unchecked", 1 << 62)
    monkeypatch.setenv("STEFALAND_CACHE", str(folder))
    _HEADS.known.clear()


@contextmanager
def serving(folder: Path, host: str = "127.0.0.1", **settings: Any) -> Iterator[Loopback]:
    """Serve the files in a folder on this machine; `settings` are those of `Loopback`."""
    server = ThreadingHTTPServer((host, 0), _Handler)
    server.daemon_threads = True
    state = Loopback(folder, f"http://{host}:{server.server_address[1]}", **settings)
    server.state = state  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serving_apart(folder: Path, lists: bool = False) -> Iterator[str]:
    """Serve files from another process, for GDAL, which does not let this one answer meanwhile."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(folder, lists, sender), daemon=True)
    process.start()
    try:
        yield receiver.recv()
    finally:
        process.kill()
        process.join()


def _serve(folder: Path, lists: bool, sender: Any) -> None:
    with serving(folder, lists=lists) as server:
        sender.send(server.url)
        threading.Event().wait()
