"""NLDAS-2 version 2.0 as on its server: a file an hour, totals of the hour before the stamp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.products.common import cube, dates, faults, same

LAT, LON = 25.0625 + 0.125 * np.arange(3), -124.9375 + 0.125 * np.arange(3)
BOUNDS = (-125.0, 25.0, -124.625, 25.375)
LAND = np.array([[1.0, 1, 1], [1, 1, 1], [1, 1, np.nan]])
"""As on a map: the last cell of the southern row is sea."""


def make_nldas2(folder: Path, hour: pd.Timestamp, values: dict[str, float]) -> None:
    """Write the file of an hour with one value of each variable on land."""
    units = {"Tair": "K", "Qair": "kg kg-1", "PSurf": "Pa", "Wind_E": "m s-1", "Wind_N": "m s-1",
             "LWdown": "W m-2", "SWdown": "W m-2", "Rainf": "kg m-2"}  # fmt: skip
    into = folder / "nldas2" / f"{hour.year}"
    into.mkdir(parents=True, exist_ok=True)
    number = (hour - pd.Timestamp("1979-01-01")) / pd.Timedelta(1, "h")
    fill = {"_FillValue": np.float32(-9999), "missing_value": np.float32(-9999)}
    ds = xr.Dataset(
        {name: (("time", "lat", "lon"),
                np.nan_to_num(value * LAND[::-1], nan=-9999)[None].astype("f4"),
                {"units": units[name], "vmin": 0.0, "vmax": 1.0, **fill})
         for name, value in values.items()}
        | {"time_bnds": (("time", "bnds"), np.float64([[number, number + 1]]))},
        {"time": ("time", np.float64([number]), {
            "units": "hours since 1979-01-01 00:00:00", "standard_name": "time",
            "bounds": "time_bnds", "time_increment": "1"}),
         "lat": ("lat", LAT, {"units": "degrees_north", "standard_name": "latitude"}),
         "lon": ("lon", LON, {"units": "degrees_east", "standard_name": "longitude"})},
    )  # fmt: skip
    ds.to_netcdf(into / f"NLDAS_FORA0125_H.A{hour:%Y%m%d}.{hour:%H}00.020.nc")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for hour in pd.date_range("2019-12-31 00:00", "2020-01-01 00:00", freq="h"):
        # 5 mm in the last hour of the year, whose stamp is in the next year.
        rain = 5.0 if hour.year == 2020 else 0.5
        make_nldas2(tmp_path, hour, {
            "Tair": 285.15 - abs(12 - hour.hour), "Qair": 0.01, "PSurf": 95000.0, "Wind_E": -3.0,
            "Wind_N": 4.0, "LWdown": 300.0, "SWdown": 24.0 if hour.hour == 12 else 0.0,
            "Rainf": rain})  # fmt: skip
    return tmp_path


def test_rain_of_the_last_hour_is_in_the_file_of_the_next_day(data: Path) -> None:
    ds = cube("nldas2", data, BOUNDS, 0.125, sources=["nldas2_precipitation"])
    assert dates(ds) == ["2019-12-31"]
    same(ds["precipitation"], [(23 * 0.5 + 5.0) * LAND])


def test_days_of_instants_are_the_hours_00_to_23(data: Path) -> None:
    ds = cube("nldas2", data, BOUNDS, 0.125)
    assert dates(ds) == ["2019-12-31"]
    same(ds["air_temperature"], [6 * LAND])
    same(ds["air_temperature_max"], [12 * LAND])
    same(ds["air_temperature_min"], [0 * LAND])
    same(ds["shortwave_radiation"], [LAND])
    same(ds["longwave_radiation"], [300 * LAND])
    same(ds["specific_humidity"], [0.01 * LAND])
    same(ds["surface_pressure"], [95000 * LAND])
    same(ds["eastward_wind"], [-3 * LAND])
    same(ds["northward_wind"], [4 * LAND])


def test_files_agree_with_their_entries(data: Path) -> None:
    assert faults("nldas2", data, "nldas2_precipitation") == []
