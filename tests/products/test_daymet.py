"""Daymet 4 as published: a file for each region, variable and year, at noon, 365 days a year."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.products.common import cube, dates, faults, same

LCC = "+proj=lcc +lat_0=42.5 +lon_0=-100 +lat_1=25 +lat_2=60 +x_0=0 +y_0=0 +ellps=WGS84 +units=m"
CORNERS = {"na": (1_700_000.0, 200_000.0), "hi": (-5_500_000.0, -1_200_250.0)}
"""Western and northern edge of the cells of each region, m, which have no one lattice."""
FIELD = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
UNITS = {
    "prcp": ("mm/day", "area: mean time: sum"), "tmax": ("degrees C", "area: mean time: maximum"),
    "tmin": ("degrees C", "area: mean time: minimum"), "srad": ("W/m2", "area: mean time: mean"),
    "dayl": ("s", "area: mean"), "vp": ("Pa", "area: mean time: mean"),
    "swe": ("kg/m2", "area: mean time: mean"),
}  # fmt: skip


def make_daymet(folder: Path, region: str, name: str, year: int, values: np.ndarray) -> None:
    """Write one file: `values` [365, 2, 3], NaN over the sea, as -9999 of float32."""
    (folder / "daymet").mkdir(exist_ok=True)
    west, north = CORNERS[region]
    x, y = west + 500 + 1000 * np.arange(3), north - 500 - 1000 * np.arange(2)
    noon = pd.date_range(f"{year}-01-01 12:00", periods=365)
    units, methods = UNITS[name]
    attrs = {"long_name": name, "units": units, "cell_methods": methods,
             "grid_mapping": "lambert_conformal_conic", "coordinates": "lat lon",
             "missing_value": np.float32(-9999)}  # fmt: skip
    mapping = {
        "grid_mapping_name": "lambert_conformal_conic", "longitude_of_central_meridian": -100.0,
        "latitude_of_projection_origin": 42.5, "false_easting": 0.0, "false_northing": 0.0,
        "standard_parallel": [25.0, 60.0], "semi_major_axis": 6378137.0,
        "inverse_flattening": 298.257223563,
    }  # fmt: skip
    ds = xr.Dataset(
        {name: (("time", "y", "x"), values.astype("f4"), attrs),
         "lambert_conformal_conic": ((), np.int16(-32767), mapping),
         "yearday": ("time", np.arange(1, 366, dtype="i2"), {"valid_range": np.int16([1, 365])}),
         "time_bnds": (("time", "nv"), np.stack([noon.floor("D"), noon.ceil("D")], 1)),
         "lat": (("y", "x"), 40 + 0 * FIELD, {"units": "degrees_north",
                                              "standard_name": "latitude"}),
         "lon": (("y", "x"), -80 + 0 * FIELD, {"units": "degrees_east",
                                               "standard_name": "longitude"})},
        {"time": ("time", noon, {"standard_name": "time", "bounds": "time_bnds"}),
         "y": ("y", y, {"units": "m", "standard_name": "projection_y_coordinate"}),
         "x": ("x", x, {"units": "m", "standard_name": "projection_x_coordinate"})},
    )  # fmt: skip
    encoding = {name: {"_FillValue": np.float32(-9999)},
                "time": {"units": "days since 1950-01-01 00:00:00", "calendar": "standard",
                         "dtype": "f8"}}  # fmt: skip
    ds.to_netcdf(folder / "daymet" / f"daymet_v4_daily_{region}_{name}_{year}.nc",
                 encoding=encoding)  # fmt: skip


def days(values: np.ndarray) -> np.ndarray:
    """The field on each of 365 days; on the last two it is 10 and 20 more."""
    every = np.broadcast_to(values, (365, 2, 3)).copy()
    every[363] += 10
    every[364] += 20
    return every


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rain = days(FIELD)
    rain[:, 1, 2] = np.nan
    for year in (2020, 2021):
        make_daymet(tmp_path, "na", "prcp", year, rain)
        make_daymet(tmp_path, "hi", "prcp", year, days(FIELD * 100))
    for name, values in (("tmax", FIELD), ("tmin", -FIELD), ("vp", 100 * FIELD),
                         ("swe", 2 * FIELD), ("srad", 100 * FIELD)):  # fmt: skip
        make_daymet(tmp_path, "na", name, 2020, np.broadcast_to(values, (365, 2, 3)))
    length = np.full((365, 2, 3), 43200.0)
    length[1] = 21600
    make_daymet(tmp_path, "na", "dayl", 2020, length)
    return tmp_path


def target(region: str) -> tuple[float, float, float, float]:
    west, north = CORNERS[region]
    return west, north - 2000, west + 3000, north


def test_a_leap_year_has_no_31_december(data: Path) -> None:
    ds = cube("daymet", data, target("na"), 1000.0, ("2020-12-29", "2021-01-01"), crs=LCC)
    rain = ds["precipitation"]
    assert dates(ds) == ["2020-12-29", "2020-12-30", "2020-12-31", "2021-01-01"]
    sea = np.where([[0, 0, 0], [0, 0, 1]], np.nan, FIELD)
    # The 365th day of 2020 is 30 December.
    same(rain, [sea + 10, sea + 20, np.full((2, 3), np.nan), sea])


def test_regions_are_tiles_of_one_source(data: Path) -> None:
    ds = cube("daymet", data, target("hi"), 1000.0, ("2021-12-31", "2021-12-31"), crs=LCC)
    same(ds["precipitation"], [100 * FIELD + 20])


def test_radiation_is_a_mean_over_24_hours(data: Path) -> None:
    ds = cube("daymet", data, target("na"), 1000.0, ("2020-01-01", "2020-01-02"), crs=LCC,
              sources=["daymet_shortwave"])  # fmt: skip
    # 12 hours of daylight on the first day, 6 on the second.
    same(ds["shortwave_radiation"], [50 * FIELD, 25 * FIELD])


def test_other_variables_have_their_own_files(data: Path) -> None:
    names = [f"daymet_{name}" for name in
             ("temperature_max", "temperature_min", "vapour_pressure", "snow")]  # fmt: skip
    ds = cube("daymet", data, target("na"), 1000.0, ("2020-02-29", "2020-02-29"), crs=LCC,
              sources=names)  # fmt: skip
    same(ds["air_temperature_max"], [FIELD])
    same(ds["air_temperature_min"], [-FIELD])
    same(ds["vapour_pressure"], [100 * FIELD])
    same(ds["snow_amount"], [2 * FIELD])


def test_files_agree_with_their_entries(data: Path) -> None:
    assert faults("daymet", data, "daymet", "daymet_shortwave", "daymet_snow") == []
