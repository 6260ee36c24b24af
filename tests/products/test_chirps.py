"""CHIRPS 2.0 as published: yearly files, rows from the south, -9999 over the sea."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.products.values import values


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "chirps").mkdir()
    for year in (2001, 2002):
        days = pd.date_range(f"{year}-01-01", f"{year}-12-31", freq="D")
        rain = np.full((len(days), 3, 4), 2.5, "f4")
        rain[:, 2, 1] = 7.0
        rain[:, 0, 0] = -9999
        ds = xr.Dataset(
            {"precip": (("time", "latitude", "longitude"), rain, {
                "units": "mm/day", "standard_name": "convective precipitation rate",
                "time_step": "day", "missing_value": np.float32(-9999)})},
            {"time": days,
             "latitude": ("latitude", np.float32([-0.075, -0.025, 0.025]),
                          {"units": "degrees_north"}),
             "longitude": ("longitude", np.float32([10.025, 10.075, 10.125, 10.175]),
                           {"units": "degrees_east"})},
        )  # fmt: skip
        encoding = {
            "precip": {"_FillValue": np.float32(-9999)},
            "time": {"units": "days since 1980-1-1 0:0:0", "calendar": "gregorian"},
        }
        ds.to_netcdf(tmp_path / "chirps" / f"chirps-v2.0.{year}.days_p05.nc", encoding=encoding)
    return tmp_path


def test_rain_of_a_day_keeps_its_day_and_place(data: Path) -> None:
    rain = values("chirps", "chirps", data)["precipitation"]
    assert [str(t)[:10] for t in rain.time.values[[0, 364, 365, -1]]] == [
        "2001-01-01", "2001-12-31", "2002-01-01", "2002-12-31"
    ]  # fmt: skip
    assert rain.attrs["units"] == "mm/day"
    # The northernmost row is the last one of the file.
    np.testing.assert_array_equal(rain[0].values[0], np.float32([2.5, 7.0, 2.5, 2.5]))
    assert np.isnan(rain[:, 2, 0]).all()
    assert int(np.isnan(rain).sum()) == 730
