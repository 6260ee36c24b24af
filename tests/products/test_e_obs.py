"""E-OBS as published: packed numbers, rows from the south, all years in one file or several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.products.common import cube, dates, faults, same

BOUNDS = (7.0, 45.0, 7.3, 45.2)
NAMES = {
    "rr": ("mm", 0.1, "thickness_of_rainfall_amount"), "tg": ("Celsius", 0.01, "air_temperature"),
    "tx": ("Celsius", 0.01, "air_temperature"), "tn": ("Celsius", 0.01, "air_temperature"),
    "qq": ("W/m2", 1.0, "surface_downwelling_shortwave_flux_in_air"),
    "hu": ("%", 0.01, "relative_humidity"), "fg": ("m/s", 0.01, "wind_speed"),
}  # fmt: skip
SEA = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, np.nan]])
"""Field of ones as on a map, without a value over the sea at the southeast."""


def make_e_obs(folder: Path, code: str, first: str, values: list[float], part: str = "") -> None:
    """Write a file of one variable: a uniform value for each day from the first on."""
    units, scale, name = NAMES[code]
    field = np.asarray(values, float)[:, None, None] * SEA[::-1]
    packed = np.where(np.isnan(field), -9999, np.rint(field / scale)).astype("i2")
    attrs = {"units": units, "scale_factor": np.float32(scale), "add_offset": np.float32(0),
             "_FillValue": np.int16(-9999), "missing_value": np.int16(-9999),
             "long_name": code, "standard_name": name}  # fmt: skip
    ds = xr.Dataset(
        {code: (("time", "latitude", "longitude"), packed, attrs)},
        {"time": ("time", pd.date_range(first, periods=len(values)), {"standard_name": "time"}),
         "latitude": ("latitude", [45.05, 45.15], {"units": "degrees_north", "axis": "Y"}),
         "longitude": ("longitude", [7.05, 7.15, 7.25], {"units": "degrees_east", "axis": "X"})},
        {"E-OBS_version": "33.0e", "Conventions": "CF-1.4"},
    )  # fmt: skip
    encoding = {"time": {"units": "days since 1950-01-01 00:00", "calendar": "standard",
                         "dtype": "f8"}}  # fmt: skip
    path = folder / "e_obs" / f"{code}_ens_mean_0.1deg_reg{part}_v33.0e.nc"
    path.parent.mkdir(exist_ok=True)
    ds.to_netcdf(path, encoding=encoding)


def test_rain_of_a_day_keeps_its_date(tmp_path: Path) -> None:
    make_e_obs(tmp_path, "rr", "1950-01-01", [0.0, 12.3, 0.1])
    ds = cube("e_obs", tmp_path, BOUNDS, 0.1, ("1950-01-01", "1950-01-03"))
    assert dates(ds) == ["1950-01-01", "1950-01-02", "1950-01-03"]
    same(ds["precipitation"], [0 * SEA, 12.3 * SEA, 0.1 * SEA])
    assert faults("e_obs", tmp_path) == []


def test_parts_of_the_years_are_one_series(tmp_path: Path) -> None:
    make_e_obs(tmp_path, "tg", "2010-12-30", [-5.0, 4.0], "_1995-2010")
    make_e_obs(tmp_path, "tg", "2011-01-01", [-0.01, 20.5], "_2011-2025")
    ds = cube("e_obs", tmp_path, BOUNDS, 0.1, ("2010-12-30", "2011-01-02"),
              sources=["e_obs_temperature"])  # fmt: skip
    same(ds["air_temperature"], [-5 * SEA, 4 * SEA, -0.01 * SEA, 20.5 * SEA])


def test_the_whole_beside_its_parts_is_a_fault(tmp_path: Path) -> None:
    make_e_obs(tmp_path, "rr", "2010-12-30", [0.0, 1.0, 2.0])
    make_e_obs(tmp_path, "rr", "2011-01-01", [2.0, 3.0], "_2011-2025")
    assert "2010-12-30 to 2011-01-01" in faults("e_obs", tmp_path)[0]


@pytest.mark.parametrize(
    ("code", "source", "variable"),
    [
        ("tx", "temperature_max", "air_temperature_max"),
        ("tn", "temperature_min", "air_temperature_min"),
        ("qq", "shortwave", "shortwave_radiation"),
        ("hu", "relative_humidity", "relative_humidity"),
        ("fg", "wind", "wind_speed"),
    ],
)
def test_other_variables(code: str, source: str, variable: str, tmp_path: Path) -> None:
    make_e_obs(tmp_path, code, "2020-02-29", [12.0, 13.0])
    ds = cube("e_obs", tmp_path, BOUNDS, 0.1, ("2020-02-29", "2020-03-01"),
              sources=[f"e_obs_{source}"])  # fmt: skip
    same(ds[variable], [12 * SEA, 13 * SEA])
