"""CPC Global Unified as published: longitudes from 0 to 360, the library's fill value at sea."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.products.common import cube, dates, faults, same

FILL = np.float32(-9.96921e36)
LAT, LON = 89.75 - 0.5 * np.arange(360), 0.25 + 0.5 * np.arange(720)
ACROSS = (-1.0, 50.0, 1.0, 51.0)
"""Bounds of 2 rows and 4 columns, two on either side of Greenwich, where the files begin."""


def make_cpc(folder: Path, name: str, year: int, units: str, box: np.ndarray, up: bool) -> None:
    """Write a year of which all days have `box` [2, 4] in `ACROSS`, and sea elsewhere.

    Rows run from south to north if `up`.
    """
    (folder / "cpc").mkdir(exist_ok=True)
    days = pd.date_range(f"{year}-01-01", periods=3)
    values = np.full((3, 360, 720), FILL)
    rows = slice(78, 80)  # 50.75 and 50.25 degrees north
    values[:, rows, 718:], values[:, rows, :2] = box[:, :2], box[:, 2:]
    values[1, rows, :2] *= 2
    lat = LAT
    if up:
        values, lat = values[:, ::-1], LAT[::-1]
    hours = (days - pd.Timestamp("1900-01-01")) / pd.Timedelta(1, "h")
    ds = xr.Dataset(
        {name: (("time", "lat", "lon"), values, {
            "units": units, "missing_value": FILL, "var_desc": "Precipitation",
            "level_desc": "Surface", "statistic": "Total", "parent_stat": "Other",
            "cell_methods": "time: sum", "avg_period": "0000-00-01 00:00:00",
            "long_name": "Daily total of precipitation", "dataset": "CPC Global Precipitation",
            "actual_range": np.float32([0, 776.75])})},
        {"time": ("time", hours.values, {
            "units": "hours since 1900-01-01 00:00:00", "standard_name": "time", "axis": "T",
            "delta_t": "0000-00-01 00:00:00", "long_name": "Time"}),
         "lat": ("lat", lat.astype("f4"), {"units": "degrees_north", "standard_name": "latitude",
                                           "axis": "Y", "coordinate_defines": "center"}),
         "lon": ("lon", LON.astype("f4"), {"units": "degrees_east", "standard_name": "longitude",
                                           "axis": "X", "coordinate_defines": "center"})},
    )  # fmt: skip
    ds.to_netcdf(folder / "cpc" / f"{name}.{year}.nc", encoding={name: {"_FillValue": None}})


BOX = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
SECOND = np.array([[1.0, 2.0, 6.0, 8.0], [5.0, 6.0, 14.0, 16.0]])


@pytest.mark.parametrize("up", [False, True])
def test_rain_across_greenwich_keeps_its_day_and_place(up: bool, tmp_path: Path) -> None:
    make_cpc(tmp_path, "precip", 2020, "mm", BOX, up)
    ds = cube("cpc", tmp_path, ACROSS, 0.5, ("2020-01-01", "2020-01-03"))
    assert dates(ds) == ["2020-01-01", "2020-01-02", "2020-01-03"]
    same(ds["precipitation"], [BOX, SECOND, BOX])


def test_the_sea_is_missing_and_temperatures_have_files_of_their_own(tmp_path: Path) -> None:
    make_cpc(tmp_path, "precip", 2020, "mm", BOX, False)
    make_cpc(tmp_path, "tmax", 2020, "degC", BOX, False)
    make_cpc(tmp_path, "tmin", 2020, "degC", -BOX, False)
    names = ["cpc", "cpc_temperature_max", "cpc_temperature_min"]
    bounds = (-1.5, 50.0, -0.5, 51.0)
    ds = cube("cpc", tmp_path, bounds, 0.5, ("2020-01-01", "2020-01-01"), sources=names)
    coast = np.array([[np.nan, 1.0], [np.nan, 5.0]])
    same(ds["precipitation"], [coast])
    same(ds["air_temperature_max"], [coast])
    same(ds["air_temperature_min"], [-coast])
    assert faults("cpc", tmp_path, *names) == []
