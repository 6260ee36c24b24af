"""Names of hosts that stand for servers of this network, of which data and servers may not lead."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.core.untrusted import hosts
from pipeline.core.untrusted.links import check_link
from pipeline.core.web import linked, redirected, web_file
from pipeline.entries.source import Source
from pipeline.fetch.client import Client
from pipeline.readers.registry import read_files
from tests.loopback import ask_afresh, serving

PUBLIC, PRIVATE, LOOPBACK, METADATA = "93.184.216.34", "10.1.2.3", "127.0.0.1", "169.254.169.254"
NAMES = {
    "public.example": [[PUBLIC]], "own.example": [[PRIVATE]], "both.example": [[PUBLIC, "fc00::1"]],
    "here.example": [[LOOPBACK]], "cloud.example": [[METADATA]],
    "six.example": [["64:ff9b::a01:203"]],
    "login.example": [[PRIVATE]], "turning.example": [[PUBLIC], [LOOPBACK]], "none.example": [[]],
}  # fmt: skip


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Names with addresses, each of which the next question gets; the last one stays."""
    waiting = {name: list(answers) for name, answers in NAMES.items()}
    plain = socket.getaddrinfo

    def answer(host: Any, port: Any, *more: Any, **options: Any) -> Any:
        if host not in waiting:
            return plain(host, port, *more, **options)
        answers = waiting[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [info for number in found for info in plain(number, port, *more, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, empty in (("_RESOLVED", {}), ("_CONNECTED", {}), ("_OUTSIDE", set())):
        monkeypatch.setattr(hosts, name, empty)
    ask_afresh(monkeypatch, tmp_path / "cache")


@pytest.mark.parametrize("document, host, allowed", [
    ("/data/a.json", "public.example", True), ("/data/a.json", "none.example", True),
    ("/data/a.json", "own.example", False), ("/data/a.json", "both.example", False),
    ("/data/a.json", "six.example", False), ("s3://bucket/a.json", "here.example", False),
    ("https://public.example/a", "own.example", False),
    ("https://public.example/a", "cloud.example", False),
    ("https://both.example/a", "own.example", False),
    ("https://own.example/a", "login.example", True), ("https://own.example/a", PRIVATE, True),
    ("https://own.example/a", "here.example", False), ("https://own.example/a", LOOPBACK, False),
    ("https://own.example/a", "cloud.example", False), ("https://own.example/a", METADATA, False),
    ("https://here.example/a", "own.example", True), ("https://here.example/a", METADATA, False),
    ("https://own.example/a", "own.example", True), ("https://own.example/a", "intranet", True),
])  # fmt: skip
def test_a_name_is_that_of_all_its_addresses(document: str, host: str, allowed: bool) -> None:
    checks: list[Callable[[str, str], Any]] = [lambda a, d: check_link(a, d)]
    if document.startswith("https"):
        checks += [lambda a, d: redirected(d, a), lambda a, d: linked(d, a)]
    for check in checks:
        if allowed:
            check(f"https://{host}/x", document)
        else:
            with pytest.raises((ValueError, InputError), match="or its own network"):
                check(f"https://{host}/x", document)


@pytest.mark.parametrize("ask", ["reader", "fetch"])
def test_a_redirect_to_a_name_of_this_network_is_not_followed(
    ask: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(b"12")
    network = hosts._network
    monkeypatch.setattr(
        hosts, "_network",
        lambda number: hosts.Network.OUTSIDE if str(number) == "127.0.0.2" else network(number),
    )  # fmt: skip
    with serving(tmp_path) as own, serving(tmp_path, host="127.0.0.2") as outside:
        inside = own.to("secret").replace(LOOPBACK, "here.example")
        outside.redirects["a"] = own.redirects["b"] = inside
        with pytest.raises(InputError, match=r"a redirect to http://here\.example"):
            _fetched(ask, outside.to("a"))
        assert not own.requests
        # An entry of the user may name a server of this network, which leads within it.
        assert _fetched(ask, inside) == b"12"
        assert _fetched(ask, own.to("b")) == b"12"


@pytest.mark.parametrize("ask", ["reader", "fetch"])
def test_a_name_that_turns_to_this_machine_is_not_asked(ask: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"12")
    with serving(tmp_path) as web:
        address = web.to("secret").replace(LOOPBACK, "turning.example")
        check_link(address, "/data/items.json")
        with pytest.raises(InputError, match=r"own network, 127\.0\.0\.1, for turning\.example"):
            _fetched(ask, address)
        assert not web.requests


def test_an_item_names_no_server_of_this_network_by_its_name(tmp_path: Path) -> None:
    with serving(tmp_path) as web:
        href = web.to("a.tif").replace(LOOPBACK, "here.example")
        item = {
            "type": "Feature", "stac_version": "1.0.0", "id": "i", "links": [], "geometry": None,
            "properties": {"datetime": "2001-01-01T00:00:00Z"}, "bbox": [0, 0, 1, 1],
            "assets": {"x": {"href": href}},
        }  # fmt: skip
        (tmp_path / "item.json").write_text(json.dumps(item))
        entry = Source.model_validate({
            "name": "e", "uri": str(tmp_path / "item.json"), "driver": "raster",
            "variables": {"x": {"name": "band_1", "units": "1"}}, "options": {"asset": "x"},
        })  # fmt: skip
        with pytest.raises(InputError, match="addresses of its name"):
            read_files(entry)
        assert not web.requests


def test_where_a_server_was_connected_to_counts_and_not_what_its_name_says_later() -> None:
    hosts.check_peer("turning.example", PUBLIC)
    hosts._resolved("turning.example")
    with pytest.raises(InputError, match="a redirect to"):
        redirected("http://turning.example/a", "http://127.0.0.1/x")


def test_proxies_resolve_names_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    check_link("https://own.example/x", "/data/a.json")
    with pytest.raises(ValueError, match="own network"):
        check_link(f"https://{PRIVATE}/x", "/data/a.json")


def _fetched(ask: str, address: str) -> bytes:
    if ask == "reader":
        return web_file(address, b"".join)
    with Client(rate=1e6).ask("GET", address) as answer:
        return answer.content
