"""ERA5-Land as the Climate Data Store delivers it: valid_time, expver beside it, accumulations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.products import ecmwf
from tests.products.common import cube, faults, same
from tests.products.values import values

RATE = np.float32([[1e-4, 2e-4], [3e-4, 4e-4]])
"""Rain of an hour, m; twice as much on the second day."""


def stored(variables: dict[str, tuple[np.ndarray, str]], times: pd.DatetimeIndex) -> xr.Dataset:
    dims = ("valid_time", "latitude", "longitude")
    return xr.Dataset(
        {name: (dims, values.astype("f4"), {"units": units, "GRIB_missingValue": 3.4e38})
         for name, (values, units) in variables.items()},
        {"valid_time": times,
         "latitude": ("latitude", [45.1, 45.0], {"units": "degrees_north"}),
         "longitude": ("longitude", [7.0, 7.1], {"units": "degrees_east"}),
         "number": ((), 0), "expver": ("valid_time", ["0001"] * len(times))},
    )  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    hours = pd.date_range("2015-01-01", "2015-01-31 23:00", freq="h")
    clock = np.asarray(hours.hour)[:, None, None] * np.ones((1, 2, 2))
    folder = tmp_path / "era5_land"
    instant = stored(
        {"t2m": (273.15 + clock, "K"), "d2m": (273.15 + 0 * clock, "K"),
         "sp": (101325 + 0 * clock, "Pa"), "u10": (clock - 11.5, "m s**-1"),
         "v10": (0 * clock + 2, "m s**-1"), "sd": (0 * clock + 0.25, "m of water equivalent")},
        hours,
    )  # fmt: skip
    (folder / "instant").mkdir(parents=True)
    instant.to_netcdf(folder / "instant" / "era5_land_instant_2015_01.nc")
    for month, end in (("01", "2015-01-31 23:00"), ("02", "2015-02-28 23:00")):
        times = pd.date_range(f"2015-{month}-01", end, freq="h")
        before = times - pd.Timedelta(1, "h")
        # Hours since 00 UTC: 1 at 01, 24 at 00 of the next day.
        count = np.asarray(before.hour + 1)[:, None, None]
        day = np.where(np.asarray(before.date) == pd.Timestamp("2015-01-02").date(), 2, 1)
        tp = RATE * count * day[:, None, None]
        joule = np.full((1, 2, 2), 3.6e5) * count
        file = stored(
            {"tp": (tp, "m"), "ssrd": (joule, "J m**-2"), "strd": (3 * joule, "J m**-2")}, times
        )
        (folder / "accumulated").mkdir(exist_ok=True)
        file.to_netcdf(folder / "accumulated" / f"era5_land_accumulated_2015_{month}.nc")
    return tmp_path


def test_days_of_instants_are_those_of_utc(data: Path) -> None:
    found = values("era5_land", "era5_land", data).sel(time=slice("2015-01-01", "2015-01-31"))
    first = found.isel(time=0, y=0, x=0)
    assert found.sizes["time"] == 31
    assert float(first["air_temperature"]) == pytest.approx(11.5, abs=1e-3)
    assert float(first["air_temperature_max"]) == pytest.approx(23.0, abs=1e-3)
    assert float(first["air_temperature_min"]) == pytest.approx(0.0, abs=1e-3)
    assert float(first["dew_point_temperature"]) == pytest.approx(0.0, abs=1e-3)
    assert float(first["surface_pressure"]) == 101325
    assert float(first["eastward_wind"]) == pytest.approx(0.0, abs=1e-5)
    assert float(first["snow_amount"]) == pytest.approx(250.0)


def test_days_of_accumulations_are_their_totals(data: Path) -> None:
    found = values("era5_land", "era5_land_accumulated", data)
    days = found.sel(time=slice("2015-01-01", "2015-01-03"))
    rain = days["precipitation"].values
    np.testing.assert_allclose(rain[0], 24 * 1000 * RATE, rtol=1e-5)
    np.testing.assert_allclose(rain[1], 2 * 24 * 1000 * RATE, rtol=1e-5)
    np.testing.assert_allclose(days["shortwave_radiation"].values, 100.0, rtol=1e-5)
    np.testing.assert_allclose(days["longwave_radiation"].values, 300.0, rtol=1e-5)


def make_era5_land_static(folder: Path) -> None:
    """Write the files of the documentation: the geopotential of 100 and 200 m, and the mask."""
    static = folder / "era5_land" / "static"
    height = 9.80665 * np.array([[100.0, 100.0, 100.0], [200.0, 200.0, 200.0]])
    land = np.array([[1.0, 1.0, 0.5], [1.0, 0.25, 0.0]])
    for name, variable, field in (("geo_1279l4_0.1x0.1.grib2", "z", height),
                                  ("lsm_1279l4_0.1x0.1.grb", "lsm", land)):  # fmt: skip
        path = static / f"{name}_v4_unpack.nc"
        ecmwf.make_static(path, variable, field)
        with xr.open_dataset(path) as ds:
            ds.load()
        # These files have the names and the kind of number of the store until 2024.
        ds.drop_vars(["expver", "number"]).rename(valid_time="time").to_netcdf(path)


def test_static_fields_have_no_time(tmp_path: Path) -> None:
    make_era5_land_static(tmp_path)
    names = ("era5_land_elevation", "era5_land_mask")
    ds = cube("era5_land", tmp_path, ecmwf.BOUNDS, 0.1, sources=names)
    assert "time" not in ds["elevation"].dims
    same(ds["elevation"], [[100.0] * 3, [200.0] * 3])
    same(ds["land_fraction"], [[1.0, 1.0, 0.5], [1.0, 0.25, 0.0]])
    assert faults("era5_land", tmp_path, *names) == []


def test_a_cube_of_the_world_of_which_the_files_have_longitudes_to_360(tmp_path: Path) -> None:
    times, more = ecmwf.hours("2015-01-01", "2015-01-31"), ecmwf.hours("2015-02-01", "2015-02-02")
    # 5 degrees west to 0, as degrees east.
    lon = np.array([355.0, 355.1, 355.2])
    folder = tmp_path / "era5_land"
    ecmwf.make_new(folder / "instant" / "era5_land_instant_2015_01.nc", ecmwf.instants(times),
                   times, lon)  # fmt: skip
    for month, hours in (("01", times), ("02", more)):
        ecmwf.make_new(folder / "accumulated" / f"era5_land_accumulated_2015_{month}.nc",
                       ecmwf.running(hours), hours, lon)  # fmt: skip
    ds = cube("era5_land", tmp_path, (-5.05, 44.95, -4.75, 45.15), 0.1,
              ("2015-01-01", "2015-01-31"),
              sources=["era5_land", "era5_land_accumulated"])  # fmt: skip
    assert ds.sizes["time"] == 31
    same(ds["air_temperature"][0], 6 * ecmwf.SEA)
    same(ds["precipitation"][1], 24 * ecmwf.SEA)
    # The last day needs the value of 00 UTC in the file of February.
    same(ds["longwave_radiation"][-1], 300 * ecmwf.SEA)
