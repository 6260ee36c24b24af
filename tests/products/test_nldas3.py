"""NLDAS-3 beta as in its bucket: a file a day, rows from the south, and negative radiation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.products.common import cube, dates, faults, same

LAT, LON = np.float32(40.005 + 0.01 * np.arange(3)), np.float32(-105.005 + 0.01 * np.arange(3))
BOUNDS = (-105.01, 40.0, -104.98, 40.03)
FIELD = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, np.nan]])
"""As on a map: the last cell of the southern row is sea."""
UNITS = {"Tair": "K", "Tair_max": "K", "Tair_min": "K", "Qair": "kg kg-1", "PSurf": "Pa",
         "Wind_E": "m s-1", "Wind_N": "m s-1", "LWdown": "W m-2", "SWdown": "W m-2",
         "Rainf": "kg m-2"}  # fmt: skip


def make_nldas3(path: Path, times: pd.DatetimeIndex, values: dict[str, np.ndarray]) -> None:
    """Write a file of some times; values [time, y, x] as on a map, NaN over the sea."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fill = {"_FillValue": np.float32(-9999), "missing_value": np.float32(-9999)}
    hours = (times - pd.Timestamp("2001-01-01")) / pd.Timedelta(1, "h")
    ds = xr.Dataset(
        {name: (("time", "lat", "lon"), np.nan_to_num(field[:, ::-1], nan=-9999).astype("f4"),
                {"units": UNITS[name], **fill}) for name, field in values.items()},
        {"time": ("time", hours.values, {"units": "hours since 2001-01-01 00:00:00",
                                         "standard_name": "time"}),
         "lat": ("lat", LAT, {"units": "degrees_north", "standard_name": "latitude"}),
         "lon": ("lon", LON, {"units": "degrees_east", "standard_name": "longitude"})},
    )  # fmt: skip
    ds.to_netcdf(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, day in enumerate(pd.date_range("2010-07-22", periods=2)):
        field = (FIELD + 10 * number)[None]
        values = dict.fromkeys(UNITS, field) | {
            "Tair": 273.15 + field, "Tair_max": 283.15 + field, "Tair_min": 263.15 + field,
            "PSurf": 90000 + field, "LWdown": 300 + field, "Qair": 0.01 + 0 * field,
            "SWdown": np.where(field == 2, -3.0, 100 * field % 500)}  # fmt: skip
        name = f"NLDAS_FOR0010_D.A{day:%Y%m%d}.030.beta.nc"
        make_nldas3(tmp_path / "nldas3" / "daily" / name, pd.DatetimeIndex([day]), values)
    return tmp_path


def test_days_are_those_of_the_files(data: Path) -> None:
    names = ["nldas3", "nldas3_extremes"]
    ds = cube("nldas3", data, BOUNDS, 0.01, ("2010-07-22", "2010-07-23"), sources=names)
    assert dates(ds) == ["2010-07-22", "2010-07-23"]
    both = [FIELD, FIELD + 10]
    same(ds["precipitation"], both)
    same(ds["air_temperature"], both)
    same(ds["air_temperature_max"], np.array(both) + 10)
    same(ds["air_temperature_min"], np.array(both) - 10)
    same(ds["eastward_wind"], both)
    assert faults("nldas3", data, "nldas3_extremes") == []


def test_negative_radiation_is_masked(data: Path) -> None:
    ds = cube("nldas3", data, BOUNDS, 0.01, ("2010-07-22", "2010-07-22"))
    same(ds["shortwave_radiation"], [[[100, np.nan, 300], [400, 0, 100], [200, 300, np.nan]]])


def test_hours_of_a_day_are_in_one_file(tmp_path: Path) -> None:
    times = pd.date_range("2010-07-22", periods=24, freq="h")
    clock = np.arange(24)[:, None, None]
    warm = 285.15 - np.abs(12 - clock) + 0 * FIELD
    rain = np.where(clock == 23, 5.0, 0.5) + 0 * FIELD
    path = tmp_path / "nldas3" / "hourly" / "NLDAS_FOR0010_H.A20100722.030.beta.nc"
    make_nldas3(path, times, {"Tair": warm, "Rainf": rain})
    ds = cube("nldas3", tmp_path, BOUNDS, 0.01, sources=["nldas3_hourly"])
    assert dates(ds) == ["2010-07-22"]
    land = 0 * FIELD
    same(ds["precipitation"], [land + 23 * 0.5 + 5])
    # 0 degC at midnight, 12 at noon, 1 at 23 hours.
    same(ds["air_temperature"], [land + 6])
    same(ds["air_temperature_max"], [land + 12])
    same(ds["air_temperature_min"], [land])
