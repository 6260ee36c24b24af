"""AORC 1.1 as in its bucket: a Zarr store a year, rows from the south, packed whole numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.products.values import values

NAMES = {
    "TMP_2maboveground": (273.15, 0.1, "K"), "SPFH_2maboveground": (0.01, 1e-4, "g/g"),
    "PRES_surface": (90000.0, 10.0, "Pa"), "DSWRF_surface": (200.0, 0.1, "W/m^2"),
    "DLWRF_surface": (300.0, 0.1, "W/m^2"), "UGRD_10maboveground": (-3.0, 0.1, "m/s"),
    "VGRD_10maboveground": (4.0, 0.1, "m/s"),
}  # fmt: skip


def stored(arrays: dict[str, tuple[np.ndarray, float, str]], times: pd.DatetimeIndex, path: Path):
    axes = {
        "time": times,
        "latitude": 40 + np.arange(2) / 120,
        "longitude": -75 + np.arange(3) / 120,
    }
    dims = ("time", "latitude", "longitude")
    ds = xr.Dataset(
        {name: (dims, data, {"units": units}) for name, (data, _, units) in arrays.items()}, axes
    )
    encoding = {
        name: {"dtype": "int16", "scale_factor": scale, "_FillValue": -32767, "chunks": (144, 2, 3)}
        for name, (_, scale, _) in arrays.items()
    }
    ds.to_zarr(path, zarr_format=2, encoding=encoding, consolidated=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    times = pd.date_range("2016-01-01", "2016-12-31 23:00", freq="h")
    clock = np.asarray(times.hour)[:, None, None] * np.ones((1, 2, 3))
    # 1 mm in the hour that ends at 00, 0.1 mm in every other; nothing is known of one cell.
    rain = np.where(clock == 0, 1.0, 0.1)
    rain[:, 1, 2] = np.nan
    arrays = {
        name: (first + 0 * clock, scale, units) for name, (first, scale, units) in NAMES.items()
    }
    arrays["TMP_2maboveground"] = (273.15 + clock, 0.01, "K")
    stored(arrays, times, tmp_path / "aorc" / "instant" / "2016.zarr")
    stored({"APCP_surface": (rain, 0.1, "kg/m^2")}, times,
           tmp_path / "aorc" / "precipitation" / "2016.zarr")  # fmt: skip
    return tmp_path


def test_days_of_instants_are_means_of_their_hours(data: Path) -> None:
    found = values("aorc", "aorc", data)
    first = found.isel(time=0, y=1, x=0)
    assert float(first["air_temperature"]) == pytest.approx(11.5, abs=0.01)
    assert float(first["specific_humidity"]) == pytest.approx(0.01, abs=1e-4)
    assert float(first["surface_pressure"]) == pytest.approx(90000, abs=10)
    assert float(first["shortwave_radiation"]) == pytest.approx(200, abs=0.1)
    assert float(first["longwave_radiation"]) == pytest.approx(300, abs=0.1)
    assert float(first["eastward_wind"]) == pytest.approx(-3, abs=0.1)
    assert float(first["northward_wind"]) == pytest.approx(4, abs=0.1)


def test_rain_belongs_to_the_hour_before_its_stamp(data: Path) -> None:
    rain = values("aorc", "aorc_precipitation", data)["precipitation"]
    # Hours 01 to 23 of a day and 00 of the next.
    second = rain.sel(time="2016-01-02").squeeze()
    np.testing.assert_allclose(second.values[1, 0], 23 * 0.1 + 1.0, atol=0.01)
    # The cell without data is the northeast one.
    assert np.isnan(second.values[0, 2])
