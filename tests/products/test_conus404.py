"""CONUS404 as in its stores and files: a sphere, winds of the grid, totals of three kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import xarray as xr

from tests.products.common import cube, dates, faults, same

LCC = (
    "+proj=lcc +lat_0=39.1000061035156 +lon_0=-97.9000015258789 +lat_1=30 +lat_2=50 +x_0=0 +y_0=0"
    " +R=6370000 +units=m"
)
X, Y = -10000.0 + 4000 * np.arange(3), -2000.0 + 4000 * np.arange(3)
BOUNDS = (-12000.0, -4000.0, 0.0, 8000.0)
FIELD = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
"""As on a map; rows of the stores run from south to north."""
HOURS = pd.date_range("1979-10-01 00:00", "1979-10-03 00:00", freq="h")
Values = dict[str, tuple[np.ndarray, str]]


def degrees() -> tuple[np.ndarray, np.ndarray]:
    to = pyproj.Transformer.from_crs(LCC, "EPSG:4326", always_xy=True)
    lon, lat = to.transform(*np.meshgrid(X, Y))
    return np.asarray(lon), np.asarray(lat)


def make_store(path: Path, times: pd.DatetimeIndex, values: Values) -> None:
    """Write a store of fields [time?, y, x] as on a map."""
    lon, lat = degrees()
    mapping = {
        "grid_mapping_name": "lambert_conformal_conic", "earth_radius": 6370000.0,
        "latitude_of_projection_origin": 39.1000061035156, "standard_parallel": [30.0, 50.0],
        "longitude_of_central_meridian": -97.9000015258789,
    }  # fmt: skip
    ds = xr.Dataset(
        {name: (("time", "y", "x")[-field.ndim :], field[..., ::-1, :].astype("f4"),
                {"units": units, "grid_mapping": "crs"}) for name, (field, units) in values.items()}
        | {"crs": ((), 0, mapping)},
        {"time": times, "lat": (("y", "x"), lat), "lon": (("y", "x"), lon),
         "y": ("y", Y, {"units": "m", "standard_name": "projection_y_coordinate"}),
         "x": ("x", X, {"units": "m", "standard_name": "projection_x_coordinate"})},
    )  # fmt: skip
    ds.to_zarr(path, zarr_format=2, consolidated=True)


def hourly(factor: np.ndarray, field: np.ndarray = FIELD) -> np.ndarray:
    return np.asarray(factor, float)[:, None, None] * field


ONES = np.ones(len(HOURS))


def test_instants_are_turned_and_become_days(tmp_path: Path) -> None:
    cosine, sine = np.full((3, 3), 0.6), np.full((3, 3), 0.8)
    warm = 12.0 - np.abs(12 - np.asarray(HOURS.hour))
    make_store(tmp_path / "conus404" / "instant.zarr", HOURS, {
        "T2": (273.15 + hourly(warm), "K"), "Q2": (hourly(ONES, 0 * FIELD + 0.05), "kg kg-1"),
        "PSFC": (hourly(ONES, 90000 + FIELD), "Pa"), "U10": (hourly(ONES), "m s-1"),
        "V10": (hourly(2 * ONES), "m s-1"), "COSALPHA": (cosine, "1"),
        "SINALPHA": (sine, "1")})  # fmt: skip
    ds = cube("conus404", tmp_path, BOUNDS, 4000.0, crs=LCC)
    assert dates(ds) == ["1979-10-01", "1979-10-02"]
    # From 0 at midnight to 12 at noon and 1 at 23 hours: 6 in the mean.
    same(ds["air_temperature"], [6 * FIELD, 6 * FIELD])
    same(ds["specific_humidity"], 2 * [0 * FIELD + 0.05 / 1.05])
    same(ds["surface_pressure"], 2 * [90000 + FIELD])
    # Winds of 1 and 2 along the grid, of which the x axis points 53 degrees off the east.
    same(ds["eastward_wind"], 2 * [(0.6 - 1.6) * FIELD])
    same(ds["northward_wind"], 2 * [(1.2 + 0.8) * FIELD])


def test_hourly_totals_end_at_their_stamp(tmp_path: Path) -> None:
    # 10 mm in the hour that ends at 00 UTC, none in that to 06, 1 mm in every other.
    rain = np.where(HOURS.hour == 0, 10.0, np.where(HOURS.hour == 6, 0.0, 1.0))
    make_store(tmp_path / "conus404" / "precipitation.zarr", HOURS,
               {"PREC_ACC_NC": (hourly(rain), "mm")})  # fmt: skip
    ds = cube("conus404", tmp_path, BOUNDS, 4000.0, sources=["conus404_precipitation"], crs=LCC)
    assert dates(ds) == ["1979-10-01", "1979-10-02"]
    same(ds["precipitation"], [32 * FIELD, 32 * FIELD])
    assert faults("conus404", tmp_path, "conus404_precipitation") == []


def test_radiation_is_the_difference_of_totals_since_the_start(tmp_path: Path) -> None:
    # 100 W m-2 on the first day and 200 on the second, after 40 years of 3e8 J m-2 a year.
    count = np.arange(len(HOURS))
    joule = 1.2e10 + 3600 * np.where(count <= 24, 100 * count, 2400 + 200 * (count - 24))
    make_store(tmp_path / "conus404" / "radiation.zarr", HOURS,
               {name: (hourly(ONES, 0 * FIELD) + joule[:, None, None], "J m-2")
                for name in ("ACSWDNB", "ACLWDNB")})  # fmt: skip
    ds = cube("conus404", tmp_path, BOUNDS, 4000.0, sources=["conus404_radiation"], crs=LCC)
    assert dates(ds) == ["1979-10-01", "1979-10-02"]
    # Single precision holds 1.2e10 to 1024 J m-2.
    for name in ("shortwave_radiation", "longwave_radiation"):
        same(ds[name], [0 * FIELD + 100, 0 * FIELD + 200], rtol=2e-4)


def test_extremes_belong_to_the_day_before_their_stamp(tmp_path: Path) -> None:
    stamps = pd.date_range("1979-10-02", periods=3)
    make_store(tmp_path / "conus404" / "extremes.zarr", stamps, {
        "T2MAX": (283.15 + hourly(np.arange(3)), "K"),
        "T2MIN": (273.15 - hourly(np.arange(3)), "K")})  # fmt: skip
    ds = cube("conus404", tmp_path, BOUNDS, 4000.0, sources=["conus404_extremes"], crs=LCC)
    assert dates(ds) == ["1979-10-01", "1979-10-02", "1979-10-03"]
    same(ds["air_temperature_max"], [10 + 0 * FIELD, 10 + FIELD, 10 + 2 * FIELD])
    same(ds["air_temperature_min"], [0 * FIELD, -FIELD, -2 * FIELD])


def test_hourly_files_of_the_archive(tmp_path: Path) -> None:
    folder = tmp_path / "conus404" / "files"
    folder.mkdir(parents=True)
    lon, lat = degrees()
    for hour in HOURS[:25]:
        rain = 10.0 if hour.day == 2 else 0.0 if hour.hour == 6 else 1.0
        ds = xr.Dataset(
            {"PREC_ACC_NC": (("Time", "south_north", "west_east"),
                             rain * FIELD[None, ::-1].astype("f4"),
                             {"units": "mm", "description": "GRID SCALE  PRECIPITATION",
                              "MemoryOrder": "XY ", "coordinates": "XLONG XLAT XTIME"}),
             "XLAT": (("south_north", "west_east"), lat.astype("f4"), {"units": "degree_north"}),
             "XLONG": (("south_north", "west_east"), lon.astype("f4"), {"units": "degree_east"})},
            {"Time": ("Time", [hour])},
        )  # fmt: skip
        ds.to_netcdf(folder / f"wrf2d_d01_{hour:%Y-%m-%d_%H}:00:00.nc")
    ds = cube("conus404", tmp_path, BOUNDS, 4000.0, sources=["conus404_files"], crs=LCC)
    assert dates(ds) == ["1979-10-01"]
    same(ds["precipitation"], [32 * FIELD], rtol=0.02)
