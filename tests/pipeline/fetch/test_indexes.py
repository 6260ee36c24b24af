"""Files that an index lists: granules of NASA's repository, and objects of buckets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.fetch import transfer
from pipeline.fetch.client import StoppedError
from pipeline.fetch.credentials import Credentials
from pipeline.fetch.run import fetch, preview
from tests.loopback import Loopback, serving
from tests.pipeline.fetch.products import fast, ordered
from tests.providers import Asked, File, Provider, provider

DAYS = (date(2001, 1, 1), date(2001, 1, 3))


def granule(server: Provider, day: int, content: bytes) -> dict[str, Any]:
    """A granule as CMR describes it: a file of data, one of metadata and a picture."""
    name = f"RAIN.A200100{day}.made-2020.nc4"
    server.routes[f"/archive/{name}"] = File(content)
    information = {
        "Name": name, "SizeInBytes": len(content),
        "Checksum": {"Value": hashlib.md5(content).hexdigest().upper(), "Algorithm": "MD5"},
    }  # fmt: skip
    links = [
        {"URL": f"{server.url}/archive/{name}", "Type": "GET DATA"},
        {"URL": f"{server.url}/archive/{name}.xml", "Type": "EXTENDED METADATA"},
        {"URL": f"s3://private/{name}", "Type": "GET DATA VIA DIRECT ACCESS"},
        {"URL": f"{server.url}/archive/{name}.png", "Type": "GET DATA"},
    ]
    begin = f"2001-01-0{day}T00:00:00.000Z"
    return {"umm": {
        "RelatedUrls": links,
        "TemporalExtent": {"RangeDateTime": {"BeginningDateTime": begin}},
        "DataGranule": {"ArchiveAndDistributionInformation": [information]},
    }}  # fmt: skip


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """Three granules on two pages of the repository."""
    monkeypatch.setenv("EARTHDATA_TOKEN", "good")
    with provider() as server:
        items = [granule(server, day, bytes([day]) * 5000) for day in (1, 2, 3)]

        def search(asked: Asked) -> None:
            if asked.headers.get("CMR-Search-After") == "second":
                return asked.answer.document({"items": items[2:]})
            return asked.answer.document({"items": items[:2]}, CMR_Search_After="second")

        server.routes["/search/granules.umm_json"] = search
        yield server


def collection(server: Provider) -> dict[str, Any]:
    return {
        "kind": "earthdata", "short_name": "RAIN", "collection": "07", "match": "*.nc4",
        "endpoint": server.url, "to": "rain/{year}/",
    }  # fmt: skip


def test_granules_are_found_fetched_and_compared(archive: Provider, tmp_path: Path) -> None:
    credentials = Credentials(earthdata_hosts=(archive.host,))
    order = ordered(tmp_path, collection(archive), period=DAYS, bounds=(-10.0, 0.0, 10.0, 20.0))
    records = fetch(order, fast(credentials=credentials))
    assert sorted(path.name for path in (order.home / "2001").iterdir()) == [
        f"RAIN.A200100{day}.made-2020.nc4" for day in (1, 2, 3)
    ]
    assert all(record.checksum and record.checksum.startswith("md5:") for record in records)
    first = archive.of("/search/granules.umm_json")[0]
    assert first.query["short_name"] == ["RAIN"]
    assert first.query["version"] == ["07"]
    assert first.query["temporal"] == ["2001-01-01T00:00:00Z,2001-01-03T23:59:59Z"]
    assert first.query["bounding_box"] == ["-10.0,0.0,10.0,20.0"]
    assert "Authorization" not in first.headers
    (got,) = archive.of("/archive/RAIN.A2001001.made-2020.nc4")
    assert got.headers["Authorization"] == "Bearer good"


def test_a_preview_has_the_sizes_of_the_index(archive: Provider, tmp_path: Path) -> None:
    found = preview(ordered(tmp_path, collection(archive), period=DAYS), fast())
    assert (found.size, found.requests, found.is_estimate) == (15000, 3, False)
    assert not [asked for asked in archive.asked if asked.path.startswith("/archive")]


def test_a_granule_that_differs_from_its_checksum_is_refused(
    archive: Provider, tmp_path: Path
) -> None:
    archive.routes["/archive/RAIN.A2001002.made-2020.nc4"] = File(b"x" * 5000)
    order = ordered(tmp_path, collection(archive), period=DAYS)
    with pytest.raises(InputError, match="md5 checksum"):
        fetch(order, fast(credentials=Credentials(earthdata_hosts=(archive.host,))))
    assert len(list((order.home / "2001").glob("*.nc4"))) == 2


def test_a_collection_without_granules_is_refused(archive: Provider, tmp_path: Path) -> None:
    archive.routes["/search/granules.umm_json"] = lambda asked: asked.answer.document({"items": []})
    with pytest.raises(InputError, match="no files for this period"):
        fetch(ordered(tmp_path, collection(archive), period=DAYS), fast())


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A bucket with two files a year, whose names cannot be known."""
    for year in (2001, 2002):
        folder = tmp_path / "served" / "rain-data" / "v1" / str(year)
        folder.mkdir(parents=True)
        for tag in ("a7", "b9"):
            (folder / f"rain_{year}_{tag}.nc").write_bytes(f"{year}{tag}".encode() * 1000)
        (folder / "other.txt").write_text("no")
    with serving(tmp_path / "served", lists=True) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        yield server


OBJECTS: dict[str, Any] = {
    "kind": "s3", "files": "s3://rain-data/v1/{year}/rain_{year}_*.nc", "to": "rain/{year}/",
}  # fmt: skip
TWO_YEARS = (date(2001, 5, 1), date(2002, 2, 1))


def test_objects_that_match_are_listed_and_fetched(bucket: Loopback, tmp_path: Path) -> None:
    order = ordered(tmp_path, OBJECTS, period=TWO_YEARS)
    assert preview(order, fast()).size == 24000
    fetch(order, fast())
    found = {path.name: path.read_bytes() for path in order.home.glob("*/*.nc")}
    assert sorted(found) == [f"rain_{y}_{t}.nc" for y in (2001, 2002) for t in ("a7", "b9")]
    assert found["rain_2002_b9.nc"] == b"2002b9" * 1000
    assert fetch(order, fast()) == []


def test_an_object_continues_at_its_missing_part(
    bucket: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PART", 1000)
    order = ordered(tmp_path, {**OBJECTS, "files": "s3://rain-data/v1/2001/rain_2001_a7.nc",
                               "to": "rain/rain.nc"}, static=True)  # fmt: skip
    client, turns = fast(), iter(range(3))

    def take_turn(host: str) -> None:
        if next(turns, None) is None:
            raise StoppedError

    client.take_turn = take_turn  # type: ignore[method-assign]
    with pytest.raises(StoppedError):
        fetch(order, client)
    assert (order.home / ".rain.nc.fetching").stat().st_size == 3000
    bucket.requests.clear()
    fetch(order, fast())
    assert (order.home / "rain.nc").read_bytes() == b"2001a7" * 1000
    starts = [span for method, _, span in bucket.requests if method == "GET"]
    assert starts == ["bytes=3000-3999", "bytes=4000-4999", "bytes=5000-5999"]


def test_an_object_that_changed_is_fetched_from_its_begin(bucket: Loopback, tmp_path: Path) -> None:
    order = ordered(tmp_path, {**OBJECTS, "files": "s3://rain-data/v1/2001/rain_2001_a7.nc",
                               "to": "rain/rain.nc"}, static=True)  # fmt: skip
    order.home.mkdir(parents=True)
    (order.home / ".rain.nc.fetching").write_bytes(b"old" * 10)
    (order.home / ".rain.nc.note").write_text('{"version": "old"}')
    fetch(order, fast())
    assert (order.home / "rain.nc").read_bytes() == b"2001a7" * 1000
