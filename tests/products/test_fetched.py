"""Packaged products from fetch to values, against servers in their providers' layout."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.packaged import catalog_path
from pipeline.fetch.order import make_order
from pipeline.fetch.run import fetch
from tests.loopback import serving
from tests.pipeline.fetch.products import fast
from tests.products import test_aorc, test_chirps, test_conus404
from tests.products.values import values

chirps = test_chirps.data
aorc = test_aorc.data


def test_chirps(chirps: Path, tmp_path: Path) -> None:
    layout = "products/CHIRPS-2.0/global_daily/netcdf/p05"
    (tmp_path / "served" / layout).parent.mkdir(parents=True)
    (chirps / "chirps").rename(tmp_path / "served" / layout)
    with serving(tmp_path / "served") as server:
        text = catalog_path("chirps").read_text()
        (tmp_path / "chirps.yml").write_text(text.replace("https://data.chc.ucsb.edu", server.url))
        order = make_order("chirps", tmp_path / "data", catalog=str(tmp_path / "chirps.yml"),
                           period=(date(2002, 3, 1), date(2002, 4, 1)))  # fmt: skip
        fetch(order, fast())
    rain = values("chirps", "chirps", tmp_path / "data")["precipitation"]
    assert (rain.sizes["time"], str(rain.time.values[0])[:10]) == (365, "2002-01-01")


def test_aorc(aorc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = tmp_path / "served" / "noaa-nws-aorc-v1-1-1km"
    bucket.parent.mkdir()
    (aorc / "aorc" / "instant").rename(bucket)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with serving(tmp_path / "served", lists=True) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        order = make_order("aorc", tmp_path / "data", variables=["air_temperature"],
                           period=(date(2016, 7, 1), date(2016, 7, 2)))  # fmt: skip
        fetch(order, fast())
        assert not [path for _, path, _ in server.requests if "PRES_surface/0" in path]
    local = tmp_path / "data" / "aorc" / "instant" / "2016.zarr"
    assert {path.name for path in local.iterdir() if path.is_dir()} == {
        "TMP_2maboveground", "time", "latitude", "longitude"
    }  # fmt: skip


def test_conus404_has_all_arrays_of_an_expression(tmp_path: Path) -> None:
    served = tmp_path / "served" / "hytest" / "conus404" / "conus404_hourly.zarr"
    field, static = test_conus404.hourly(test_conus404.ONES), np.full((3, 3), 0.6)
    names = ("T2", "Q2", "PSFC", "U10", "V10", "COSALPHA", "SINALPHA")
    test_conus404.make_store(
        served, test_conus404.HOURS,
        {name: (static if "ALPHA" in name else field, "m s-1") for name in names},
    )  # fmt: skip
    with serving(tmp_path / "served") as server:
        text = catalog_path("conus404").read_text()
        own = text.replace("https://usgs.osn.mghpcc.org", server.url)
        (tmp_path / "conus404.yml").write_text(own)
        order = make_order(
            "conus404", tmp_path / "data", catalog=str(tmp_path / "conus404.yml"),
            period=(date(1979, 10, 1), date(1979, 10, 2)), bounds=(-99.0, 39.0, -97.0, 40.0),
            variables=["eastward_wind"],
        )  # fmt: skip
        fetch(order, fast())
    local = tmp_path / "data" / "conus404" / "instant.zarr"
    assert {"U10", "V10", "COSALPHA", "SINALPHA"} <= {path.name for path in local.iterdir()}
    assert not (local / "T2").exists()
