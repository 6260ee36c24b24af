"""Odd answers of servers: late, slow, encoded, changed, untrusted; each is read or refused."""

from __future__ import annotations

import gzip
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import ThreadingHTTPServer
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from pipeline.core import transfers
from pipeline.core.addresses import RemotePath, path_of, public_text
from pipeline.core.errors import InputError
from pipeline.core.transfers import retry_after
from tests.loopback import Loopback, ask_afresh, serving
from tests.providers import Asked, File, Handler, Provider, provider

CONTENT = bytes(range(256)) * 4096


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ask_afresh(monkeypatch, tmp_path / "cache")


@pytest.fixture
def server() -> Iterator[Provider]:
    with provider() as found:
        yield found


def remote(address: str) -> RemotePath:
    path = path_of(address)
    assert isinstance(path, RemotePath)
    return path


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7), (" 7 ", 7), ("soon", 0), ("", 0), ("-3", 0)]
)
def test_seconds_that_a_server_asks_to_wait(text: str, seconds: float) -> None:
    assert retry_after(text) == seconds


def test_dates_until_which_a_server_asks_to_wait() -> None:
    assert 58 < retry_after(formatdate(time.time() + 60, usegmt=True)) <= 60
    assert retry_after(formatdate(time.time() - 60, usegmt=True)) == 0


def test_a_server_is_left_alone_for_the_time_that_it_asks(server: Provider) -> None:
    waits = [formatdate(time.time() + 2, usegmt=True), "1"]

    def busy(asked: Asked) -> None:
        if waits:
            return asked.answer.send(429, b"busy", Retry_After=waits.pop(0))
        return asked.answer.send(200, b"rain")

    server.routes["/rain.nc"] = busy
    begin = time.monotonic()
    assert remote(f"{server.url}/rain.nc").read_bytes() == b"rain"
    assert time.monotonic() - begin > 1.9
    waits = ["86400"]
    with pytest.raises(InputError, match=r"status 429 in 1 tries, and 86,400 s to wait"):
        remote(f"{server.url}/rain.nc").read_bytes()


def test_a_body_that_drips_is_one_error_and_no_endless_wait(
    server: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "SLOW_SECONDS", 0.05)
    monkeypatch.setattr(transfers, "TRIES", 2)

    def drip(asked: Asked) -> None:
        asked.answer.begin(200, 10_000)
        for _ in range(200):
            asked.answer.write(b"x")
            time.sleep(0.02)

    server.routes["/rain.nc"] = drip
    for read in (RemotePath.read_bytes, RemotePath.head):
        begin = time.monotonic()
        with pytest.raises(InputError, match=r"\d+ bytes in 0 s in 2 tries"):
            read(remote(f"{server.url}/rain.nc"))
        assert time.monotonic() - begin < 2


def zipped(asked: Asked, encoding: str = "gzip") -> None:
    content = gzip.compress(CONTENT) if "gzip" in encoding else CONTENT
    headers = {"Content_Encoding": encoding, "ETag": '"1"'}
    asked.answer.send(200, content, **headers)


def test_servers_that_encode_without_being_asked(server: Provider) -> None:
    server.routes["/rain.nc"] = zipped
    path = remote(f"{server.url}/rain.nc")
    assert path.read_bytes() == CONTENT
    assert path.stat().st_size == len(CONTENT)
    assert path.read_part(1000, 2000) == CONTENT[1000:2000]
    with path.open() as file:
        file.seek(-4, 2)
        assert file.read() == CONTENT[-4:]
    # The encoding of such a file is the file itself, whatever its server says.
    server.routes["/rain.csv.gz"] = zipped
    assert remote(f"{server.url}/rain.csv.gz").read_bytes() == gzip.compress(CONTENT)
    server.routes["/snow.nc"] = lambda asked: zipped(asked, "br")
    with pytest.raises(InputError, match='the encoding "br", which was not asked for'):
        remote(f"{server.url}/snow.nc").read_bytes()


def test_a_file_of_unknown_size_is_fetched_once(server: Provider) -> None:
    server.routes["/rain.nc"] = File(CONTENT, has_ranges=False, without=("Content-Length", "ETag"))
    path = remote(f"{server.url}/rain.nc")
    for _ in range(3):
        assert path.stat().st_size == len(CONTENT)
    assert path.open().read() == CONTENT
    assert path.read_part(5, 8) == CONTENT[5:8]
    # One request for the head, which reads the first bytes, and one for the whole.
    assert server.gets() == 2


def test_parts_of_a_server_that_sends_none(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "rain.nc").write_bytes(CONTENT)
    with serving(tmp_path / "served", has_ranges=False) as web:
        path = remote(web.to("rain.nc"))
        assert path.read_part(100, 300) == CONTENT[100:300]
        assert path.read_part(len(CONTENT) - 2, len(CONTENT)) == CONTENT[-2:]
        assert web.asked_for("rain.nc") == 2


def test_a_file_that_shrank_is_another_version(tmp_path: Path) -> None:
    (tmp_path / "rain.nc").write_bytes(CONTENT)
    with serving(tmp_path) as web:
        path = remote(web.to("rain.nc"))
        path.head()
        (tmp_path / "rain.nc").write_bytes(b"short")
        with pytest.raises(InputError, match="another version than before"):
            path.read_part(500_000, 500_010)


@pytest.fixture
def untrusted(tmp_path: Path) -> Iterator[str]:
    """The address of a server whose certificate nobody has signed."""
    if which("openssl") is None:
        pytest.skip("no openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out",
         certificate, "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    address = f"https://127.0.0.1:{server.server_address[1]}"
    server.provider = Provider(address, {"/rain.nc": File(b"rain")})  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield address
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_certificate_that_is_not_trusted_is_refused_at_once(
    untrusted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"not trusted \(self-signed") as error:
        remote(f"{untrusted}/rain.nc").read_bytes()
    assert "REQUESTS_CA_BUNDLE" in str(error.value)
    assert "tries" not in str(error.value)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
    assert remote(f"{untrusted}/rain.nc").read_bytes() == b"rain"


@pytest.mark.parametrize("text", [
    "'/vsicurl/https://h.org/a.tif?X-Amz-Signature=SECRET' not recognised",
    "HTTP response code on https://h.org/a.tif?sv=1&sig=SECRET: 403",
    'https://h.org:443 "GET /a.tif?token=SECRET HTTP/1.1" 200 12',
])  # fmt: skip
def test_texts_of_libraries_lose_their_signatures(text: str) -> None:
    assert "SECRET" not in public_text(text)
    assert "a.tif" in public_text(text)
    assert public_text("is it 3 ? yes") == "is it 3 ? yes"


@pytest.fixture
def unlisted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A bucket that refuses what is not there, as those do whose objects are not listed."""
    with serving(tmp_path, lists=True) as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        yield store


def test_a_store_among_refusals_is_found(unlisted: Loopback, tmp_path: Path) -> None:
    (tmp_path / "b" / "rain.zarr").mkdir(parents=True)
    (tmp_path / "b" / "rain.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    path = remote("s3://b/rain.zarr")
    refusals: dict[str, Any] = {
        f"b/rain.zarr/{n}": ["403"] * 9 for n in ("zarr.json", ".zmetadata")
    }
    unlisted.faults |= refusals
    assert path.root_metadata() == path / ".zgroup"
    unlisted.faults[".zgroup"] = ["403"] * 9
    unlisted.faults |= {f"b/snow.zarr/{n}": ["403"] * 9
                        for n in ("zarr.json", ".zmetadata", ".zgroup", ".zarray",
                                  "refs/branch.main/ref.json")}  # fmt: skip
    with pytest.raises(InputError, match="no access"):
        remote("s3://b/snow.zarr").exists()


@pytest.mark.parametrize(("scheme", "variable", "value"), [
    ("gs", "GOOGLE_APPLICATION_CREDENTIALS", "/none/keys.json"), ("az", "", ""),
])  # fmt: skip
def test_access_that_is_not_set_up_is_one_error(
    scheme: str, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "GOOGLE_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match="no access that is set up") as error:
        remote(f"{scheme}://bucket/rain.nc").exists()
    assert len(str(error.value).splitlines()) == 1
