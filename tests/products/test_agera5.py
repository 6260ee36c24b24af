"""AgERA5 as the Climate Data Store delivers it: an archive a month with a file for each day."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.products.common import cube, dates, faults, same

BOUNDS = (7.0, 45.0, 7.3, 45.2)
NAMES = {
    "temperature_mean": ("Temperature-Air-2m-Mean-24h", "K"),
    "temperature_max": ("Temperature-Air-2m-Max-24h", "K"),
    "temperature_min": ("Temperature-Air-2m-Min-24h", "K"),
    "precipitation": ("Precipitation-Flux", "mm d-1"),
    "shortwave": ("Solar-Radiation-Flux", "J m-2 d-1"),
    "vapour_pressure": ("Vapour-Pressure-Mean", "hPa"),
    "dew_point": ("Dew-Point-Temperature-2m-Mean", "K"),
    "wind": ("Wind-Speed-10m-Mean", "m s-1"),
}  # fmt: skip
SEA = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, np.nan]])


def make_agera5(folder: Path, part: str, values: dict[str, float]) -> None:
    """Write the archives of a variable: a uniform value for each day, -9999 over the sea."""
    name, units = NAMES[part]
    for day, value in values.items():
        time = pd.Timestamp(day)
        attrs = {"units": units, "long_name": name, "temporal_aggregation": "00-00LT",
                 "missing_value": np.float32(-9999)}  # fmt: skip
        ds = xr.Dataset(
            {name.replace("-", "_"): (("time", "lat", "lon"), (value * SEA)[None].astype("f4"),
                                      attrs)},
            {"time": ("time", [time], {"standard_name": "time", "axis": "T"}),
             "lat": ("lat", [45.15, 45.05], {"standard_name": "latitude", "axis": "Y",
                                             "units": "degrees_north"}),
             "lon": ("lon", [7.05, 7.15, 7.25], {"standard_name": "longitude", "axis": "X",
                                                 "units": "degrees_east"})},
            {"Conventions": "CF-1.7"},
        )  # fmt: skip
        encoding = {name.replace("-", "_"): {"_FillValue": np.float32(-9999)},
                    "time": {"units": "days since 1900-01-01", "dtype": "i4"}}  # fmt: skip
        file = folder / f"{name}_C3S-glob-agric_AgERA5_{time:%Y%m%d}_final-v1.1.nc"
        ds.to_netcdf(file, encoding=encoding)
        archive = folder / "agera5" / part / f"agera5_{part}_{time:%Y_%m}.zip"
        archive.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(archive, "a") as zipped:
            zipped.write(file, file.name)
        file.unlink()


DAYS = ("2021-01-30", "2021-01-31", "2021-02-01")


def test_days_in_archives_of_two_months(tmp_path: Path) -> None:
    make_agera5(tmp_path, "precipitation", dict(zip(DAYS, (1.5, 0.0, 2.5), strict=True)))
    make_agera5(tmp_path, "shortwave", dict.fromkeys(DAYS, 8.64e6))
    ds = cube("agera5", tmp_path, BOUNDS, 0.1, (DAYS[0], DAYS[-1]),
              sources=["agera5_precipitation", "agera5_shortwave"])  # fmt: skip
    # A file has one day of local time, stamped with its date.
    assert dates(ds) == list(DAYS)
    same(ds["precipitation"], [1.5 * SEA, 0 * SEA, 2.5 * SEA])
    # 8.64 MJ m-2 in 86400 s are 100 W m-2.
    same(ds["shortwave_radiation"], [100 * SEA] * 3)
    assert faults("agera5", tmp_path, "agera5_precipitation") == []


def test_a_day_without_a_file_is_missing(tmp_path: Path) -> None:
    kelvin = {"2021-01-29": 279.15, DAYS[0]: 280.15, DAYS[2]: 283.15}
    make_agera5(tmp_path, "temperature_mean", kelvin)
    ds = cube("agera5", tmp_path, BOUNDS, 0.1, ("2021-01-29", DAYS[-1]))
    same(ds["air_temperature"], [6 * SEA, 7 * SEA, np.full((2, 3), np.nan), 10 * SEA])


@pytest.mark.parametrize(
    ("part", "variable", "stored", "value"),
    [
        ("temperature_max", "air_temperature_max", 303.15, 30.0),
        ("temperature_min", "air_temperature_min", 263.15, -10.0),
        ("vapour_pressure", "vapour_pressure", 12.0, 1200.0),
        ("dew_point", "dew_point_temperature", 273.15, 0.0),
        ("wind", "wind_speed", 3.0, 3.0),
    ],
)
def test_other_variables(
    part: str, variable: str, stored: float, value: float, tmp_path: Path
) -> None:
    make_agera5(tmp_path, part, dict.fromkeys(DAYS[:2], stored))
    ds = cube("agera5", tmp_path, BOUNDS, 0.1, DAYS[:2], sources=[f"agera5_{part}"])
    same(ds[variable], [value * SEA] * 2)
