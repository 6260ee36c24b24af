"""Files from web servers: whole or not at all, continued, checked and never fetched twice."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.fetch import client as clients
from pipeline.fetch import transfer
from pipeline.fetch.manifest import Manifest, Record
from pipeline.fetch.run import fetch, preview
from tests.pipeline.fetch.products import fast, ordered
from tests.providers import File, Provider, provider

CONTENT = {year: bytes([year % 256]) * 1000 + b"rest" for year in (2001, 2002, 2003)}
LARGE = bytes(range(256)) * (1 << 12)
"""One MiB: four blocks."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses before further tries are short."""
    monkeypatch.setattr(clients, "FIRST_PAUSE", 0.001)


def years(server: Provider) -> dict[str, Any]:
    """The download of a file a year, which the server has."""
    for year, content in CONTENT.items():
        server.routes[f"/r/rain_{year}.nc"] = File(content)
    return {"kind": "http", "files": f"{server.url}/r/rain_{{year}}.nc"}


def one(server: Provider, file: File) -> dict[str, Any]:
    """The download of a single file."""
    server.routes["/rain.nc"] = file
    return {"kind": "http", "files": f"{server.url}/rain.nc", "to": "rain/rain.nc"}


def fetched(folder: Path, get: dict[str, Any], **options: Any) -> bytes:
    """The bytes of the single file that is fetched."""
    order = ordered(folder, get, static=True)
    fetch(order, fast(), **options)
    return (folder / "data" / "rain" / "rain.nc").read_bytes()


def leftovers(folder: Path) -> list[str]:
    """Names of hidden files in the folder of the product."""
    return [path.name for path in (folder / "data" / "rain").glob(".*")]


def test_files_lie_where_the_entry_looks_and_the_manifest_has_their_checksums(
    tmp_path: Path,
) -> None:
    with provider() as server:
        order = ordered(tmp_path, years(server))
        records = fetch(order, fast())
    for year, content in CONTENT.items():
        path = tmp_path / "data" / "rain" / f"rain_{year}.nc"
        assert path.read_bytes() == content
        record = Manifest(order.home).records()[f"rain/rain_{year}.nc"]
        assert record.sha256 == hashlib.sha256(content).hexdigest()
        assert record.size == len(content)
        assert record.address == f"{server.url}/r/rain_{year}.nc"
    assert len(records) == 3
    assert not leftovers(tmp_path)


def test_what_is_there_is_not_asked_for_again(tmp_path: Path) -> None:
    with provider() as server:
        order = ordered(tmp_path, years(server))
        fetch(order, fast())
        before = len(server.asked)
        assert fetch(order, fast()) == []
        assert len(server.asked) == before
        (tmp_path / "data" / "rain" / "rain_2002.nc").unlink()
        assert [record.path for record in fetch(order, fast())] == ["rain/rain_2002.nc"]


@pytest.mark.parametrize(
    "faults", [["503"], ["503", "503", "429"], ["short"], ["reset 300000"], ["reset 0", "short"]]
)
def test_failures_that_pass_are_waited_for(faults: list[str], tmp_path: Path) -> None:
    with provider() as server:
        assert fetched(tmp_path, one(server, File(LARGE, faults))) == LARGE
    assert not leftovers(tmp_path)


def test_a_broken_transfer_continues_where_it_ended(tmp_path: Path) -> None:
    with provider() as server:
        file = File(LARGE, ["reset 600000"])
        assert fetched(tmp_path, one(server, file)) == LARGE
        _first, second = server.of("/rain.nc")
        assert second.start > 0
        assert second.headers["If-Range"].startswith('"')
        # No more than one block of what was sent is asked for again.
        assert server.sent["/rain.nc"] <= len(LARGE) + transfer.BLOCK


def test_a_file_that_changed_meanwhile_is_fetched_from_its_begin(tmp_path: Path) -> None:
    with provider() as server:
        get = one(server, File(LARGE, ["reset 600000", *["503"] * 9]))
        with pytest.raises(InputError, match="503"):
            fetched(tmp_path, get)
        assert [name for name in leftovers(tmp_path) if name.endswith(".fetching")]
        server.routes["/rain.nc"] = File(LARGE[::-1])
        assert fetched(tmp_path, get) == LARGE[::-1]


@pytest.mark.parametrize("settings", [{"has_ranges": False}, {"tag": 'W/"weak"'}])
def test_servers_without_ranges_or_versions_send_the_whole_again(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    with provider() as server:
        assert fetched(tmp_path, one(server, File(LARGE, ["short"], **settings))) == LARGE


def test_a_complete_partial_file_is_recognised(tmp_path: Path) -> None:
    with provider() as server:
        get = one(server, File(LARGE))
        order = ordered(tmp_path, get, static=True)
        hidden = order.home / ".rain.nc.fetching"
        hidden.parent.mkdir(parents=True)
        hidden.write_bytes(LARGE)
        tag = f'"{hashlib.md5(LARGE).hexdigest()}"'
        hidden.with_suffix(".note").write_text(json.dumps({"version": tag}))
        fetch(order, fast())
        assert (order.home / "rain.nc").read_bytes() == LARGE
        assert server.sent.get("/rain.nc", 0) == 0


def test_an_answer_without_its_length_is_refused(tmp_path: Path) -> None:
    with provider() as server, pytest.raises(InputError, match="without its length"):
        fetched(tmp_path, one(server, File(LARGE, without=("Content-Length",))))


def test_a_page_instead_of_data_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with provider() as server, pytest.raises(InputError) as caught:
        fetched(tmp_path, one(server, File(LARGE, ["page"])))
    assert "an HTML page instead of data" in str(caught.value)
    assert not (tmp_path / "data" / "rain" / "rain.nc").exists()


def test_published_checksums_are_compared(tmp_path: Path) -> None:
    right = f"md5:{hashlib.md5(LARGE).hexdigest()}"
    with provider() as server:
        get = one(server, File(LARGE))
        assert fetched(tmp_path, {**get, "checksums": {"rain.nc": right}}) == LARGE
        wrong = {**get, "checksums": {"rain.nc": "md5:" + "0" * 32}, "to": "rain/other.nc"}
        with pytest.raises(InputError) as caught:
            fetched(tmp_path, wrong)
    assert right.removeprefix("md5:") in str(caught.value)
    assert not (tmp_path / "data" / "rain" / "other.nc").exists()


def test_a_server_that_asks_to_wait_is_left_alone(tmp_path: Path) -> None:
    with provider() as server:
        begin = time.monotonic()
        assert fetched(tmp_path, one(server, File(LARGE, ["429 1"]))) == LARGE
        assert time.monotonic() - begin >= 1.0
        with pytest.raises(InputError, match="429 in 1 tries, and 9,999 s to wait"):
            fetched(tmp_path, {**one(server, File(LARGE, ["429 9999"])), "to": "rain/b.nc"})


def test_requests_to_one_host_are_spaced(tmp_path: Path) -> None:
    with provider() as server:
        order = ordered(tmp_path, years(server))
        begin = time.monotonic()
        fetch(order, fast(rate=10.0))
        assert time.monotonic() - begin >= 0.2


def test_missing_files_are_one_fault_and_the_others_stay(tmp_path: Path) -> None:
    with provider() as server:
        get = years(server)
        del server.routes["/r/rain_2002.nc"]
        with pytest.raises(InputError) as caught:
            fetch(ordered(tmp_path, get), fast())
        assert str(caught.value).count("\n") == 0
        assert "rain_2002.nc" in str(caught.value)
        assert "not be published yet" in str(caught.value)
        present = {path.name for path in (tmp_path / "data" / "rain").glob("*.nc")}
        assert present == {"rain_2001.nc", "rain_2003.nc"}


def test_a_user_who_is_refused_is_refused_once(tmp_path: Path) -> None:
    def refuse(asked: Any) -> None:
        asked.answer.document({"detail": "accept the terms first"}, 403)

    with provider() as server:
        server.routes["/r/"] = refuse
        get = {"kind": "http", "files": f"{server.url}/r/rain_{{year}}.nc", "parallel": 1}
        with pytest.raises(InputError, match=r"status 403 \(accept the terms first\)"):
            fetch(ordered(tmp_path, get), fast())
        assert server.gets() == 1


def test_queries_do_not_appear_in_messages(tmp_path: Path) -> None:
    with provider() as server:
        get = {"kind": "http", "files": f"{server.url}/x.nc?key=SECRET", "to": "rain/rain.nc"}
        with pytest.raises(InputError) as caught:
            fetched(tmp_path, get)
    assert "SECRET" not in str(caught.value)
    assert "/x.nc" in str(caught.value)


def test_files_of_another_request_or_hand_are_not_overwritten(tmp_path: Path) -> None:
    with provider() as server:
        get = years(server)
        order = ordered(tmp_path, get)
        fetch(order, fast())
        for year in CONTENT:
            server.routes[f"/s/rain_{year}.nc"] = File(b"other")
        other = {"kind": "http", "files": f"{server.url}/s/rain_{{year}}.nc"}
        with pytest.raises(InputError, match="another address"):
            fetch(ordered(tmp_path, other), fast())
        (order.home / "fetched.jsonl").unlink()
        # Without a manifest, files of the same size as on the server count as fetched.
        assert fetch(ordered(tmp_path, get), fast()) == []
        assert len(Manifest(order.home).records()) == 3
        (order.home / "fetched.jsonl").unlink()
        (order.home / "rain_2001.nc").write_bytes(b"mine")
        with pytest.raises(InputError, match="did not fetch"):
            fetch(ordered(tmp_path, get), fast())
        assert (order.home / "rain_2001.nc").read_bytes() == b"mine"


def test_a_file_that_was_damaged_after_it_was_fetched_is_reported(tmp_path: Path) -> None:
    with provider() as server:
        order = ordered(tmp_path, years(server))
        fetch(order, fast())
        (order.home / "rain_2001.nc").write_bytes(b"cut")
        with pytest.raises(InputError, match="3 bytes"):
            fetch(order, fast())


def test_update_fetches_what_the_provider_changed(tmp_path: Path) -> None:
    with provider() as server:
        order = ordered(tmp_path, years(server))
        fetch(order, fast())
        server.routes["/r/rain_2003.nc"] = File(b"longer by a month" * 100)
        assert fetch(order, fast()) == []
        assert [record.path for record in fetch(order, fast(), update=True)] == [
            "rain/rain_2003.nc"
        ]
        assert (order.home / "rain_2003.nc").read_bytes().startswith(b"longer")
        assert fetch(order, fast(), update=True) == []
        server.routes["/r/rain_2003.nc"] = File(b"x" * 999, ["", *["503"] * 9])
        with pytest.raises(InputError):
            fetch(order, fast(), update=True)
        assert (order.home / "rain_2003.nc").read_bytes().startswith(b"longer")


def test_two_at_the_same_time_fetch_every_file_once(tmp_path: Path) -> None:
    with provider() as server:
        order = ordered(tmp_path, one(server, File(LARGE, pause=0.02)), static=True)
        threads = [threading.Thread(target=fetch, args=(order, fast())) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (order.home / "rain.nc").read_bytes() == LARGE
        assert server.sent["/rain.nc"] == len(LARGE)
    assert not leftovers(tmp_path)


def test_archives_are_unpacked_beside_themselves(tmp_path: Path) -> None:
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("sub/a.csv", "1,2")
        file.writestr("../../outside.csv", "bad")
    with provider() as server:
        server.routes["/gauges.zip"] = File(archive.getvalue())
        server.routes["/gauges.csv"] = File(b"a,b")
        files = [f"{server.url}/gauges.zip", f"{server.url}/gauges.csv"]
        get = {"kind": "http", "files": files, "to": "rain/", "unpack": True}
        order = ordered(tmp_path, get, static=True)
        fetch(order, fast())
    assert (order.home / "gauges" / "sub" / "a.csv").read_text() == "1,2"
    assert (order.home / "gauges.zip").exists()
    assert not list(tmp_path.glob("**/../outside.csv"))
    assert not (tmp_path / "outside.csv").exists()


def test_a_preview_asks_for_sizes_and_writes_nothing(tmp_path: Path) -> None:
    with provider() as server:
        order = ordered(tmp_path, years(server))
        found = preview(order, fast())
        assert found.size == sum(map(len, CONTENT.values()))
        assert found.requests == 3
        assert {asked.method for asked in server.asked} == {"HEAD"}
        assert [row.state for row in found.rows] == ["to fetch"] * 3
        assert not (tmp_path / "data").exists()
        fetch(order, fast())
        before = len(server.asked)
        found = preview(order, fast())
        assert (found.size, found.requests) == (0, 0)
        assert len(server.asked) == before


def test_a_preview_of_many_files_asks_for_a_sample(tmp_path: Path) -> None:
    with provider() as server:
        server.routes["/d/"] = File(b"x" * 10)
        get = {"kind": "http", "files": f"{server.url}/d/{{year}}{{month:02d}}{{day:02d}}.nc",
               "to": "rain/{year}{month:02d}{day:02d}.nc"}  # fmt: skip
        found = preview(ordered(tmp_path, get), fast())
        assert len(found.rows) == 1095
        assert found.size == 10950
        assert found.is_estimate
        assert len(server.asked) <= 16


def test_tiles_that_a_provider_does_not_have_are_left_out(tmp_path: Path) -> None:
    with provider() as server:
        server.routes["/N00E000.tif"] = File(b"land")
        get = {"kind": "http", "files": f"{server.url}/{{NS}}{{lat:02d}}{{EW}}{{lon:03d}}.tif",
               "to": "rain/", "tiles": {"size": [1, 1]}, "sparse": True}  # fmt: skip
        order = ordered(tmp_path, get, static=True, bounds=(-1, 0, 1, 1))
        assert [record.path for record in fetch(order, fast())] == ["rain/N00E000.tif"]
        assert not leftovers(tmp_path)
        assert not fetch(order, fast())
        with pytest.raises(InputError) as caught:
            fetch(ordered(tmp_path, get, static=True, bounds=(5, 5, 6, 6)), fast())
    assert "no files for these bounds" in str(caught.value)


def test_damaged_lines_of_a_manifest_hide_no_other_record(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    record = Record(path="a.nc", address="https://a", origin="0", size=3, sha256="1")
    manifest.add(record)
    line = manifest.file.read_bytes()
    other_types = (b'"size": 3', b'"size": "x"'), (b'"path": "a.nc"', b'"path": []')
    damaged = [b"\xff\n", b"[" * 5000 + b"\n", b"null\n", *(line.replace(*t) for t in other_types)]
    manifest.file.write_bytes(line + b"".join(damaged))
    assert manifest.records() == {"a.nc": record}
