"""Potential evapotranspiration as a forcing that is derived from others, by one of four methods.

Each method needs some quantities; each quantity comes of the first choice of canonical variables
that is at hand (`QUANTITIES`). The formulas are those of `pipeline.core.formulas.meteorology`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.climate.signatures import step_of
from pipeline.core.errors import Faults, bad_input
from pipeline.core.formulas import meteorology as met

NAME = "potential_evapotranspiration"
"""Canonical variable of the derived forcing, in mm/day."""
WIND_HEIGHT = 10.0
"""Height in m of the canonical wind."""
MEGAJOULES = 0.0864
"""MJ m-2 day-1 in a W m-2."""
STEPS, VALUES = 1024, 1 << 19
"""Time steps and values of the pieces that are computed at once in float64."""

MethodName = Literal["oudin", "hargreaves", "priestley_taylor", "fao56"]
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """Canonical variables from which a quantity is computed."""

    variables: tuple[str, ...]
    compute: Callable[..., Any]


@dataclass(frozen=True)
class Method:
    """A method with the quantities that it needs beside latitude and day of the year."""

    title: str
    quantities: tuple[str, ...]
    compute: Callable[[Values], Any]


def _same(values: Any) -> Any:
    return values


def _mean(*values: Any) -> Any:
    return sum(values) / len(values)


def _kilopascals(pressure: Any) -> Any:
    return pressure / 1000.0


def _vapour_of_extremes(humid: Any, dry: Any, highest: Any, lowest: Any) -> Any:
    """Return the vapour pressure, kPa, of the extremes of a day (FAO-56 eq. 17)."""
    return _mean(met.vapour_pressure_from_relative_humidity(humid, lowest),
                 met.vapour_pressure_from_relative_humidity(dry, highest))  # fmt: skip


def _vapour_of_mean(humidity: Any, highest: Any, lowest: Any) -> Any:
    """Return the vapour pressure, kPa, of the mean humidity of a day (FAO-56 eq. 19)."""
    return _vapour_of_extremes(humidity, humidity, highest, lowest)


def _vapour_at_elevation(humidity: Any, elevation: Any) -> Any:
    pressure = met.pressure_from_elevation(elevation)
    return met.vapour_pressure_from_specific_humidity(humidity, pressure)


MEAN, HIGHEST, LOWEST = "air_temperature", "air_temperature_max", "air_temperature_min"
QUANTITIES: Mapping[str, tuple[Choice, ...]] = {
    "mean air temperature": (Choice((MEAN,), _same), Choice((HIGHEST, LOWEST), _mean)),
    "highest air temperature": (Choice((HIGHEST,), _same),),
    "lowest air temperature": (Choice((LOWEST,), _same),),
    # The temperatures of longwave radiation, for which the mean stands in.
    "warm air": (Choice((HIGHEST, LOWEST), lambda high, low: high), Choice((MEAN,), _same)),
    "cold air": (Choice((HIGHEST, LOWEST), lambda high, low: low), Choice((MEAN,), _same)),
    "vapour pressure": (
        Choice(("vapour_pressure",), _kilopascals),
        Choice(("dew_point_temperature",), met.vapour_pressure_from_dew_point),
        Choice(("specific_humidity", "surface_pressure"), lambda humidity, pressure:
               met.vapour_pressure_from_specific_humidity(humidity, pressure / 1000.0)),
        Choice(("specific_humidity", "elevation"), _vapour_at_elevation),
        Choice(("relative_humidity_max", "relative_humidity_min", HIGHEST, LOWEST),
               _vapour_of_extremes),
        Choice(("relative_humidity", HIGHEST, LOWEST), _vapour_of_mean),
        Choice(("relative_humidity", MEAN), met.vapour_pressure_from_relative_humidity),
    ),
    "shortwave radiation": (Choice(("shortwave_radiation",), lambda flux: flux * MEGAJOULES),),
    "wind speed": (
        Choice(("wind_speed",), lambda speed: met.wind_speed_at_2m(speed, WIND_HEIGHT)),
        Choice(("eastward_wind", "northward_wind"), lambda east, north:
               met.wind_speed_at_2m(met.wind_speed(east, north), WIND_HEIGHT)),
    ),
    "elevation": (
        Choice(("elevation",), _same),
        Choice(("surface_pressure",), lambda pressure:
               met.elevation_from_pressure(pressure / 1000.0)),
    ),
    "air pressure": (
        Choice(("surface_pressure",), _kilopascals),
        Choice(("elevation",), met.pressure_from_elevation),
    ),
}  # fmt: skip
"""Quantities in the units of the formulas, each by its choices, the best first."""
OF_RADIATION = ("warm air", "cold air", "vapour pressure", "shortwave radiation", "elevation",
                "air pressure")  # fmt: skip


def _net_radiation(q: Values) -> Any:
    return met.net_radiation(
        q["shortwave radiation"], q["warm air"], q["cold air"], q["vapour pressure"],
        q["latitude"], q["day of year"], q["elevation"],
    )  # fmt: skip


METHODS: Mapping[MethodName, Method] = {
    "oudin": Method(
        "Oudin et al. 2005", ("mean air temperature",),
        lambda q: met.pet_oudin(q["mean air temperature"], q["latitude"], q["day of year"]),
    ),
    "hargreaves": Method(
        "Hargreaves and Samani 1985", ("highest air temperature", "lowest air temperature"),
        lambda q: met.pet_hargreaves(q["highest air temperature"], q["lowest air temperature"],
                                     q["latitude"], q["day of year"]),
    ),
    "priestley_taylor": Method(
        "Priestley and Taylor 1972", ("mean air temperature", *OF_RADIATION),
        lambda q: met.pet_priestley_taylor(q["mean air temperature"], _net_radiation(q),
                                           q["air pressure"]),
    ),
    "fao56": Method(
        "Penman-Monteith of FAO-56",
        ("highest air temperature", "lowest air temperature", "wind speed", *OF_RADIATION),
        lambda q: np.maximum(met.pet_penman_monteith(
            q["highest air temperature"], q["lowest air temperature"], q["vapour pressure"],
            _net_radiation(q), q["wind speed"], q["air pressure"]), 0.0),
    ),
}  # fmt: skip
"""All methods by name."""


def choices(method: MethodName, known: Collection[str], where: str) -> dict[str, Choice]:
    """Return the choice of each quantity of a method; `InputError` with all that are missing.

    >>> [*choices("oudin", {"air_temperature"}, "cube")]
    ['mean air temperature']
    """
    faults, found = Faults(), {}
    for quantity in METHODS[method].quantities:
        options = QUANTITIES[quantity]
        chosen = next((one for one in options if {*one.variables} <= {*known}), None)
        if chosen is None:
            expected = " or ".join(" with ".join(one.variables) for one in options)
            faults.add(f"inputs.{NAME}: {method}, {where}", f"no {quantity}", expected,
                       "Name sources that have it, or another method.")  # fmt: skip
        else:
            found[quantity] = chosen
    faults.raise_if_any()
    return found


def attributes(method: MethodName) -> dict[str, str]:
    """Return the attributes of the derived forcing as a variable of a cube."""
    long_name = f"potential evapotranspiration ({METHODS[method].title})"
    return {"units": "mm/day", "long_name": long_name}


def day_of_year(time: np.ndarray, where: str) -> np.ndarray:
    """Return the day of the year of each step, for months that of their middle (float64).

    Raises `InputError` for steps of less than a day.
    """
    if time.size > 1 and np.median(np.diff(time)) < np.timedelta64(1, "D"):
        raise bad_input(
            f"inputs.{NAME}, {where}", "time steps of less than a day", "steps of a day or more",
            "Aggregate the sources with `time: {step: daily}`.",
        )  # fmt: skip
    dates = pd.DatetimeIndex(time)
    day = dates.day_of_year.to_numpy(float)
    if time.size > 1 and step_of(time, where) == "months":
        day = day - dates.day.to_numpy() + (dates.days_in_month.to_numpy() + 1) / 2
    return day


def potential_evapotranspiration(
    ds: xr.Dataset, method: MethodName, latitude: np.ndarray, steps: slice = slice(None),
    where: str = "cube",
) -> xr.DataArray:  # fmt: skip
    """Return the potential evapotranspiration in mm/day of some steps of `ds`, float32.

    `ds` has canonical forcings, dims (time, y, x) or (time, cell), and perhaps elevation without
    time; it may be lazy: pieces are read and computed in float64. `latitude` in degrees has the
    dims of a cell. Missing where an input is. Raises `InputError` as `choices` and `day_of_year`.

    >>> time = np.array(["2001-07-01", "2001-07-02"], "datetime64[ns]")
    >>> ds = xr.Dataset({"air_temperature": (("time", "cell"), [[20.0], [-9.0]])}, {"time": time})
    >>> potential_evapotranspiration(ds, "oudin", np.array([45.0])).values.round(1)
    array([[4.3],
           [0. ]], dtype=float32)
    """
    chosen = choices(method, [str(name) for name in ds.data_vars], where)
    day = day_of_year(ds["time"].values, where)[steps]
    names = {name: ds[name] for one in chosen.values() for name in one.variables}
    dims = next([str(dim) for dim in da.dims if dim != "time"]
                for da in names.values() if "time" in da.dims)  # fmt: skip
    sizes = [ds.sizes[dim] for dim in dims]
    ds, out = ds[[*names]].isel(time=steps), np.empty((day.size, *sizes), np.float32)
    rows = max(1, VALUES // max(1, min(STEPS, day.size) * int(np.prod(sizes[1:]))))
    for begin in range(0, day.size, STEPS):
        for first in range(0, sizes[0], rows):
            span, strip = slice(begin, begin + STEPS), slice(first, first + rows)
            piece = ds.isel({"time": span, dims[0]: strip})
            values = {name: _values(piece[name], dims) for name in names}
            q = {
                quantity: one.compute(*(values[name] for name in one.variables))
                for quantity, one in chosen.items()
            }
            q["latitude"] = latitude[strip]
            q["day of year"] = day[span].reshape(-1, *(1 for _ in dims))
            with np.errstate(invalid="ignore"):
                out[span, strip] = METHODS[method].compute(q)
    return xr.DataArray(out, dims=("time", *dims), coords={"time": ds["time"]}, name=NAME,
                        attrs=attributes(method))  # fmt: skip


def _values(da: xr.DataArray, dims: list[str]) -> np.ndarray:
    order = ("time", *dims) if "time" in da.dims else dims
    return np.asarray(da.variable.transpose(*order).values, np.float64)
