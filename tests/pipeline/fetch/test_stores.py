"""Parts of Zarr stores: only the chunks that are needed, and exactly the provider's values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.catalog.catalog import read_catalog, read_variables
from pipeline.core.errors import InputError
from pipeline.fetch import stores
from pipeline.fetch.run import fetch, preview
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import open_source
from tests.loopback import Loopback, serving
from tests.pipeline.fetch.products import fast, ordered

ENTRY: dict[str, Any] = {
    "uri": "${data}/rain/{year}.zarr", "driver": "zarr",
    "dims": {"time": "time", "y": "latitude", "x": "longitude"},
    "variables": {"precipitation": {"name": "rain", "units": "mm/day"},
                  "air_temperature": {"name": "heat", "units": "K"}},
}  # fmt: skip
WEEK = (date(2001, 1, 11), date(2001, 1, 17))
BOX = (-98.0, 41.0, -96.0, 42.5)


def made(year: int = 2001) -> xr.Dataset:
    """A year of days on 20 by 30 cells of half a degree, rows from the south."""
    days = pd.date_range(f"{year}-01-01", f"{year}-12-31", freq="D")
    lat, lon = 35.25 + 0.5 * np.arange(20), -104.75 + 0.5 * np.arange(30)
    shape = (len(days), 20, 30)
    rain = np.arange(np.prod(shape), dtype="f4").reshape(shape) / 1000
    rain[:, :5] = np.nan
    heat = np.full(shape, 280, "f4") + np.arange(len(days), dtype="f4")[:, None, None]
    return xr.Dataset(
        {"rain": (("time", "latitude", "longitude"), rain, {"units": "mm/day"}),
         "heat": (("time", "latitude", "longitude"), heat, {"units": "K"})},
        {"time": days, "latitude": lat, "longitude": lon},
        {"title": "rain of nobody"},
    )  # fmt: skip


@pytest.fixture(params=[2, 3])
def bucket(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Loopback]:
    """A bucket with a store of each of two years, in chunks of 10 days and 8 by 8 cells."""
    for year in (2001, 2002):
        encoding = {name: {"chunks": (10, 8, 8)} for name in ("rain", "heat")}
        made(year).to_zarr(
            tmp_path / "served" / "weather" / f"{year}.zarr", zarr_format=request.param,
            encoding=encoding, consolidated=True, write_empty_chunks=False,
        )  # fmt: skip
    with serving(tmp_path / "served", lists=True) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        yield server


GET: dict[str, Any] = {"kind": "zarr", "store": "s3://weather/{year}.zarr"}
pytestmark = pytest.mark.filterwarnings("ignore:.*Consolidated metadata")


def order(folder: Path, **wanted: Any) -> Any:
    wanted = {"period": WEEK, "bounds": BOX, **wanted}
    return ordered(folder, GET, ENTRY, **wanted)


def chunks_asked(server: Loopback, array: str) -> list[str]:
    paths = [urlsplit(path).path for method, path, _ in server.requests if method == "GET"]
    found = [path.partition(f"/{array}/")[2] for path in paths if f"/{array}/" in path]
    return sorted(key for key in found if key[-1].isdigit())


def local(folder: Path, year: int = 2001) -> xr.Dataset:
    return xr.open_zarr(folder / "data" / "rain" / f"{year}.zarr", chunks=None)


def test_chunks_within_bounds_and_period_are_copied_with_their_values(
    bucket: Loopback, tmp_path: Path
) -> None:
    fetch(order(tmp_path), fast())
    found, whole = local(tmp_path), made()
    # Days 10 to 17 are in the second chunk; 41 to 42.5 degrees are in chunks 1 and of columns, …
    assert found.sizes == {"time": 10, "latitude": 8, "longitude": 16}
    assert found.attrs["title"] == "rain of nobody"
    xr.testing.assert_identical(
        found.drop_attrs(), whole.sel(time=found.time, latitude=found.latitude,
                                      longitude=found.longitude).drop_attrs()
    )  # fmt: skip
    week = found.sel(time=slice("2001-01-11", "2001-01-18"), latitude=slice(41, 42.5),
                     longitude=slice(-98, -96))  # fmt: skip
    assert week.sizes == {"time": 8, "latitude": 3, "longitude": 4}
    assert len(chunks_asked(bucket, "rain")) == 2


def test_the_entry_reads_what_was_fetched(bucket: Loopback, tmp_path: Path) -> None:
    order(tmp_path)
    fetch(order(tmp_path), fast())
    text = (tmp_path / "rain.yml").read_text().replace("- 2000\n", "- 2001\n")
    (tmp_path / "rain.yml").write_text(text.replace("- 2020\n", "- 2001\n"))
    source = read_catalog(tmp_path / "rain.yml", data=tmp_path / "data")["rain"]
    opened = canonicalise(open_source(source), source, read_variables())
    at = opened["precipitation"].sel(time="2001-01-12").isel(y=3, x=4).squeeze()
    whole = made()["rain"].sel(time="2001-01-12", latitude=float(at.y), longitude=float(at.x))
    assert float(at) == float(whole)


def test_a_second_call_asks_for_nothing(bucket: Loopback, tmp_path: Path) -> None:
    (record,) = fetch(order(tmp_path), fast())
    assert record.path == "rain/2001.zarr"
    bucket.requests.clear()
    assert fetch(order(tmp_path), fast()) == []
    smaller = order(tmp_path, period=(WEEK[0], WEEK[0]), bounds=(-97.5, 41.2, -97.0, 42.0))
    assert fetch(smaller, fast()) == []
    assert preview(smaller, fast()).requests == 0
    assert not bucket.requests


def test_a_later_call_adds_and_fetches_no_chunk_twice(bucket: Loopback, tmp_path: Path) -> None:
    fetch(order(tmp_path, variables=["precipitation"]), fast())
    assert list(local(tmp_path)) == ["rain"]
    before = chunks_asked(bucket, "rain")
    bucket.requests.clear()
    longer = order(tmp_path, period=(date(2001, 1, 11), date(2001, 1, 27)))
    fetch(longer, fast())
    after = chunks_asked(bucket, "rain")
    assert after
    assert not set(after) & set(before)
    found = local(tmp_path)
    assert sorted(found) == ["heat", "rain"]
    assert found.sizes["time"] == 20
    expected = made().sel(time=found.time, latitude=found.latitude, longitude=found.longitude)
    xr.testing.assert_identical(found.drop_attrs(), expected.drop_attrs())


def test_an_interrupted_copy_goes_on(
    bucket: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = order(tmp_path, period=(date(2001, 1, 1), date(2001, 3, 1)))
    fetched, original = [], stores.fetch_chunk

    def failing(store: Any, array: str, key: str) -> int:
        if len(fetched) == 5:
            raise KeyboardInterrupt
        fetched.append(f"{array}/{key}")
        return original(store, array, key)

    monkeypatch.setattr(stores, "fetch_chunk", failing)
    with pytest.raises(KeyboardInterrupt):
        fetch(wide, fast())
    assert not (tmp_path / "data" / "rain" / "2001.zarr").exists()
    monkeypatch.setattr(stores, "fetch_chunk", original)
    bucket.requests.clear()
    fetch(wide, fast())
    again = {f"{array}/{key}" for array in ("rain", "heat") for key in chunks_asked(bucket, array)}
    assert not again & set(fetched)
    found = local(tmp_path)
    expected = made().sel(time=found.time, latitude=found.latitude, longitude=found.longitude)
    xr.testing.assert_identical(found.drop_attrs(), expected.drop_attrs())
    assert [path.name for path in (tmp_path / "data" / "rain").glob(".*")] == []


def test_chunks_that_the_provider_leaves_out_are_missing_values(
    bucket: Loopback, tmp_path: Path
) -> None:
    fetch(order(tmp_path, bounds=(-104.0, 35.5, -100.0, 37.0)), fast())
    found = local(tmp_path)
    assert np.isnan(found["rain"].sel(latitude=slice(35, 37))).all()
    assert not np.isnan(found["heat"]).any()


def test_stores_of_several_years_and_the_first_midnight(bucket: Loopback, tmp_path: Path) -> None:
    fetch(order(tmp_path, period=(date(2001, 12, 30), date(2002, 1, 2))), fast())
    assert str(local(tmp_path, 2001).time.values[-1])[:10] == "2001-12-31"
    assert local(tmp_path, 2002).sizes["time"] == 10


def test_a_preview_counts_chunks_and_leaves_nothing(bucket: Loopback, tmp_path: Path) -> None:
    found = preview(order(tmp_path), fast())
    assert found.requests == 4
    served = tmp_path / "served" / "weather" / "2001.zarr"
    assert 0 < (found.size or 0) < sum(p.stat().st_size for p in served.rglob("*") if p.is_file())
    assert not list((tmp_path / "data").rglob("*.zarr*"))


def test_bounds_and_variables_that_the_store_lacks_are_refused(
    bucket: Loopback, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="latitude: found no step or cell within them"):
        fetch(order(tmp_path, bounds=(-98.0, -41.0, -96.0, -40.0)), fast())
    entry = {**ENTRY, "variables": {"precipitation": {"name": "rian"}}}
    with pytest.raises(InputError, match='Did you mean "rain"'):
        fetch(ordered(tmp_path, GET, entry, period=WEEK, bounds=BOX), fast())
    with pytest.raises(InputError, match="no such store"):
        fetch(order(tmp_path, period=(date(2003, 1, 1), date(2003, 1, 2))), fast())


def test_a_store_that_grew_is_copied_anew(bucket: Loopback, tmp_path: Path) -> None:
    fetch(order(tmp_path), fast())
    served = tmp_path / "served" / "weather" / "2001.zarr"
    version = 3 if (served / "zarr.json").exists() else 2
    (made().isel(time=slice(0, 30)) + 1).to_zarr(
        served, mode="w", zarr_format=version, consolidated=True,
        encoding={name: {"chunks": (10, 8, 8)} for name in ("rain", "heat")},
    )  # fmt: skip
    fetch(order(tmp_path, period=(WEEK[0], date(2001, 1, 22))), fast())
    found = local(tmp_path)
    expected = made().sel(time=found.time, latitude=found.latitude, longitude=found.longitude) + 1
    np.testing.assert_array_equal(found["heat"], expected["heat"])
