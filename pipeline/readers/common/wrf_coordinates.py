"""plain_coordinates(): coordinates of model output (WRF) in the form that other grids have.

Latitudes and longitudes lose their time dimension, and times become the coordinate of their axis.
"""

from __future__ import annotations

import cf_xarray  # noqa: F401  # registers the accessor .cf
import cftime
import numpy as np
import xarray as xr

from pipeline.core.errors import Faults
from pipeline.entries.source import Source
from pipeline.readers.common.dims import USUAL


def plain_coordinates(ds: xr.Dataset, source: Source, where: str) -> xr.Dataset:
    """Return `ds` with latitudes and longitudes without time, and times along their axis.

    Raises `InputError` for latitudes and longitudes that change in time.
    """
    time = _time_axis(ds, source)
    if time is None:
        return ds
    return _timed(_fixed(ds, source, time, where), source, time)


def _time_axis(ds: xr.Dataset, source: Source) -> str | None:
    """Return the time dimension; the entry may name it or its coordinate."""
    named = source.dims.get("time")
    if named in ds.coords and ds[named].ndim == 1:
        return str(ds[named].dims[0])
    return next((name for name in (named, *USUAL["time"]) if name in ds.dims), None)


def _fixed(ds: xr.Dataset, source: Source, time: str, where: str) -> xr.Dataset:
    """Reduce latitudes and longitudes stored at every time (WRF's XLAT, XLONG) to the first."""
    known = ds.cf.coordinates
    names = {*known.get("latitude", []), *known.get("longitude", []), source.lat, source.lon}
    faults = Faults()
    for name in sorted(
        n for n in names if n in ds.coords and time in ds[n].dims and ds[n].ndim > 1
    ):
        # Three times are enough to detect a moving nest: all of them may be as large as the data.
        count = ds.sizes[time]
        values = ds[name].isel({time: [0, count // 2, count - 1]}).transpose(time, ...).values
        moved = float(np.nanmax(np.abs(values - values[:1]), initial=0.0))
        if moved > 0:
            faults.add(
                f"{where}: {name}", f"cells that move by up to {moved:g} degrees",
                "cells with constant coordinates",
                "Regrid the moving grid to a fixed one, or name other `lat` and `lon`.",
            )  # fmt: skip
        ds = ds.assign_coords({name: ds[name].variable.isel({time: 0})})
    faults.raise_if_any()
    return ds


def _timed(ds: xr.Dataset, source: Source, time: str) -> xr.Dataset:
    """Make the times that the entry names, or else the only ones, the coordinate of the axis."""
    named = source.dims.get("time")
    if named in ds.coords and ds[named].ndim == 1 and named != time:
        return ds.swap_dims({time: named})
    if time in ds.coords:
        return ds
    beside = [c for c in ds.coords.values() if c.dims == (time,) and _is_times(c)]
    if len(beside) != 1:
        return ds
    return ds.assign_coords({time: (time, beside[0].values, beside[0].attrs)})


def _is_times(da: xr.DataArray) -> bool:
    if da.dtype == object:
        return isinstance(da.values[:1].tolist()[0], cftime.datetime) if da.size else False
    return bool(np.issubdtype(da.dtype, np.datetime64))
