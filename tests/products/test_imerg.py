"""IMERG 07 as published: groups of HDF5, order time, lon, lat, and the Julian calendar."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.products.common import cube, dates, faults, same

LON, LAT = np.float32([-75.05, -74.95, -74.85]), np.float32([39.95, 40.05, 40.15])
BOUNDS = (-75.1, 39.9, -74.8, 40.2)
FIELD = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
"""As on a map: the first row is the northern one."""
EPOCH = pd.Timestamp("1980-01-06")


def stored(field: np.ndarray) -> np.ndarray:
    """A field of a map in the order of the files, (1, lon, lat), -9999.9 where it is missing."""
    return np.where(np.isnan(field), -9999.9, field)[::-1].T[None].astype("f4")


def make_half_hour(folder: Path, begin: pd.Timestamp, field: np.ndarray) -> None:
    """Write a file of half an hour as HDF5 has it, with attributes under names of GPM and of CF."""
    end = begin + pd.Timedelta(30, "min")
    minute = begin.hour * 60 + begin.minute
    name = (f"3B-HHR.MS.MRG.3IMERG.{begin:%Y%m%d}-S{begin:%H%M%S}-"
            f"E{end - pd.Timedelta(1, 's'):%H%M%S}.{minute:04d}.V07B.HDF5")  # fmt: skip
    (folder / "imerg" / "half_hourly").mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "imerg" / "half_hourly" / name, "w") as file:
        grid = file.create_group("Grid")
        seconds = int((begin - EPOCH).total_seconds())
        axes = {"time": np.int32([seconds]), "lon": LON, "lat": LAT}
        attrs = {
            "time": {"units": "seconds since 1980-01-06 00:00:00 UTC", "calendar": "julian",
                     "bounds": "time_bnds", "standard_name": "time", "axis": "T"},
            "lon": {"units": "degrees_east", "standard_name": "longitude", "bounds": "lon_bnds"},
            "lat": {"units": "degrees_north", "standard_name": "latitude", "bounds": "lat_bnds"},
        }  # fmt: skip
        for axis, values in axes.items():
            grid[axis] = values
            grid[axis].attrs.update({"DimensionNames": axis, **attrs[axis]})
            grid[axis].make_scale(axis)
        grid["nv"] = np.arange(2, dtype="i4")
        grid["nv"].make_scale("nv")
        arrays = {
            "precipitation": stored(field), "randomError": stored(0 * field),
            "Intermediate/IRprecipitation": stored(9 + field),
            "time_bnds": np.int32([[seconds, seconds + 1800]]),
        }  # fmt: skip
        for key, values in arrays.items():
            grid[key] = values
            dims = ["time", "nv"] if key == "time_bnds" else ["time", "lon", "lat"]
            for number, axis in enumerate(dims):
                grid[key].dims[number].attach_scale(grid[axis])
            if key != "time_bnds":
                grid[key].attrs.update({
                    "DimensionNames": "time,lon,lat", "Units": "mm/hr", "units": "mm/hr",
                    "_FillValue": np.float32([-9999.9]), "CodeMissingValue": "-9999.9",
                    "coordinates": "time lon lat"})  # fmt: skip


def make_day(folder: Path, run: str, day: str, field: np.ndarray) -> None:
    """Write a daily file of the final or the late run."""
    date = pd.Timestamp(day)
    letter = {"final": "", "late": "-L"}[run]
    name = f"3B-DAY{letter}.MS.MRG.3IMERG.{date:%Y%m%d}-S000000-E235959.V07B.nc4"
    (folder / "imerg" / run).mkdir(parents=True, exist_ok=True)
    number = (date - EPOCH).days
    ds = xr.Dataset(
        {"precipitation": (("time", "lon", "lat"), stored(field), {
            "units": "mm/day", "long_name": "Daily mean precipitation rate (combined microwave-IR)",
            "_FillValue": np.float32(-9999.9)}),
         "precipitation_cnt": (("time", "lon", "lat"), np.full((1, 3, 3), 48, "i4")),
         "time_bnds": (("time", "nv"), np.float64([[number, number + 1]]))},
        {"time": ("time", np.float64([number]), {
            "units": "days since 1980-01-06 00:00:00Z", "calendar": "julian",
            "standard_name": "time", "bounds": "time_bnds"}),
         "lon": ("lon", LON, {"units": "degrees_east"}),
         "lat": ("lat", LAT, {"units": "degrees_north"})},
    )  # fmt: skip
    ds.to_netcdf(folder / "imerg" / run / name)


@pytest.fixture
def days(tmp_path: Path) -> Path:
    gap = np.where(FIELD == 9, np.nan, FIELD)
    make_day(tmp_path, "final", "2020-02-28", gap)
    make_day(tmp_path, "final", "2020-02-29", 10 * gap)
    make_day(tmp_path, "late", "2020-02-29", 7 * FIELD)
    make_day(tmp_path, "late", "2020-03-01", 9 * FIELD)
    return tmp_path


def test_days_lie_where_they_belong(days: Path) -> None:
    ds = cube("imerg", days, BOUNDS, 0.1, ("2020-02-28", "2020-02-29"))
    assert dates(ds) == ["2020-02-28", "2020-02-29"]
    same(ds["precipitation"], [[[1, 2, 3], [4, 5, 6], [7, 8, np.nan]],
                               [[10, 20, 30], [40, 50, 60], [70, 80, np.nan]]])  # fmt: skip
    assert faults("imerg", days) == []


def test_the_late_run_follows_the_final_run(days: Path) -> None:
    ds = cube("imerg", days, BOUNDS, 0.1, ("2020-02-29", "2020-03-01"), sources=["imerg_latest"])
    # The Final run has no value of the last cell.
    same(ds["precipitation"], [[[10, 20, 30], [40, 50, 60], [70, 80, 63]], 9 * FIELD])


def test_half_hours_become_days_of_utc(tmp_path: Path) -> None:
    first = pd.Timestamp("2020-02-28 23:30")
    make_half_hour(tmp_path, first, 100 * FIELD)
    for number in range(1, 49):
        # 1 mm/hr in the last half hour of 29 February, 0.5 mm/hr before.
        rate = 1.0 if number == 48 else 0.5
        make_half_hour(tmp_path, first + pd.Timedelta(30 * number, "min"), rate * FIELD)
    ds = cube("imerg", tmp_path, BOUNDS, 0.1, sources=["imerg_half_hourly"])
    assert dates(ds) == ["2020-02-29"]
    same(ds["precipitation"], [(47 * 0.25 + 0.5) * FIELD])
