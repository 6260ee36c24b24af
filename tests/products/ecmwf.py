"""Files as ECMWF's data stores deliver them: hours on a grid of three by two cells, one of sea."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

LAT, LON = np.array([45.1, 45.0]), np.array([7.0, 7.1, 7.2])
BOUNDS = (6.95, 44.95, 7.25, 45.15)
"""Bounds of the cells, which are 0.1 degrees wide."""
SEA = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, np.nan]])
"""Field of ones without a value over the sea, at the southeast."""
UNITS = {
    "t2m": "K", "d2m": "K", "sp": "Pa", "u10": "m s**-1", "v10": "m s**-1",
    "sd": "m of water equivalent", "tp": "m", "ssrd": "J m**-2", "strd": "J m**-2",
    "avg_tprate": "kg m**-2 s**-1", "avg_sdswrf": "W m**-2", "avg_sdlwrf": "W m**-2",
    "z": "m**2 s**-2", "lsm": "(0 - 1)",
}  # fmt: skip
Series = Mapping[str, np.ndarray]
"""Values [T, 2, 3] by name."""


def hours(first: str, last: str) -> pd.DatetimeIndex:
    return pd.date_range(first, f"{last} 23:00", freq="h")


def field(values: object) -> np.ndarray:
    """A value for each time on all cells of land."""
    return np.asarray(values, float)[:, None, None] * SEA


def instants(times: pd.DatetimeIndex) -> dict[str, np.ndarray]:
    """Temperature of 12 degC at 00 UTC, 0 at 12, 11 at 23 (a mean of 6), and other variables."""
    off_noon = np.abs(np.asarray(times.hour) - 12)
    return {
        "t2m": field(273.15 + off_noon), "d2m": field(270.15 + 0 * off_noon),
        "sp": field(90000 + 0 * off_noon), "u10": field(off_noon - 6),
        "v10": field(2 + 0 * off_noon), "sd": field(0.25 + 0 * off_noon),
    }  # fmt: skip


def amounts(times: pd.DatetimeIndex) -> dict[str, np.ndarray]:
    """Amounts of the hour that ends at each time: rain, on 2 January alone, and radiation.

    It rains 1 mm in each hour, hence 24 mm that day; 3.6e5 J m-2 in an hour are 100 W m-2.
    """
    day = (times - pd.Timedelta(1, "h")).floor("D")
    rain = np.where(day == pd.Timestamp(f"{day[-1].year}-01-02"), 1e-3, 0.0)
    return {"tp": field(rain), "ssrd": field(np.full(times.size, 3.6e5)),
            "strd": field(np.full(times.size, 1.08e6))}  # fmt: skip


def running(times: pd.DatetimeIndex) -> dict[str, np.ndarray]:
    """The totals of `amounts` since 00 UTC: at 01 of one hour, at 00 of the day before."""
    count = (np.asarray((times - pd.Timedelta(1, "h")).hour) + 1)[:, None, None]
    return {name: count * values for name, values in amounts(times).items()}


def make_new(path: Path, series: Series, times: pd.DatetimeIndex, lon: np.ndarray = LON) -> None:
    """Write NetCDF of the store since September 2024, converted from GRIB: `valid_time`."""
    attrs = {"GRIB_missingValue": np.float64(3.4028234663852886e38)}
    ds = xr.Dataset(
        {name: (("valid_time", "latitude", "longitude"), values.astype("f4"),
                {"units": UNITS[name], **attrs}) for name, values in series.items()},
        {"valid_time": ("valid_time", times, {"standard_name": "time", "long_name": "time"}),
         "latitude": ("latitude", LAT, {"units": "degrees_north", "standard_name": "latitude",
                                        "stored_direction": "decreasing"}),
         "longitude": ("longitude", lon, {"units": "degrees_east", "standard_name": "longitude"}),
         "number": ((), 0), "expver": ("valid_time", ["0001"] * len(times))},
        {"Conventions": "CF-1.7", "institution": "European Centre for Medium-Range Weather"},
    )  # fmt: skip
    encoding = {"valid_time": {"units": "seconds since 1970-01-01", "dtype": "i8"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.to_netcdf(path, encoding=encoding)


def make_old(
    path: Path, series: Series, times: pd.DatetimeIndex, preliminary: int | None = None
) -> None:
    """Write NetCDF of the store until then: `time`, int16 with a scale and offset of each file.

    With `preliminary`, the position of the first preliminary hour, there is a dimension expver.
    """
    dims: tuple[str, ...] = ("time", "latitude", "longitude")
    coords = {
        "time": ("time", times, {"long_name": "time"}),
        "latitude": ("latitude", LAT.astype("f4"), {"units": "degrees_north"}),
        "longitude": ("longitude", LON.astype("f4"), {"units": "degrees_east"}),
    }
    if preliminary is not None:
        dims = ("time", "expver", *dims[1:])
        coords["expver"] = ("expver", np.int32([1, 5]), {"long_name": "expver"})
    encoding = {"time": {"units": "hours since 1900-01-01 00:00:00.0", "calendar": "gregorian",
                         "dtype": "i4"}}  # fmt: skip
    arrays = {}
    for name, values in series.items():
        if preliminary is not None:
            both = np.stack([values, values], 1)
            both[preliminary:, 0] = both[:preliminary, 1] = np.nan
            values = both
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        scale = (high - low) / 65533 or 1.0
        packed = np.where(np.isnan(values), -32767, np.rint((values - low) / scale) - 32766)
        attrs = {"units": UNITS[name], "scale_factor": scale, "add_offset": low + 32766 * scale,
                 "_FillValue": np.int16(-32767), "missing_value": np.int16(-32767)}  # fmt: skip
        arrays[name] = (dims, packed.astype("i2"), attrs)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds = xr.Dataset(arrays, coords, {"Conventions": "CF-1.6"})
    ds.to_netcdf(path, encoding=encoding, format="NETCDF3_64BIT")


def make_static(path: Path, name: str, values: np.ndarray) -> None:
    """Write a field that does not change in time, with the date that it has in the store."""
    make_new(path, {name: values[None]}, pd.DatetimeIndex(["2020-01-01"]))
