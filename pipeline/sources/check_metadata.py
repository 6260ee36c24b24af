"""check_opened(): what a source's files say against what its catalog entry says.

Upstream: `openers`. Downstream: `sources.check_source`, before any regridding. Metadata are read
here, values by `value_checks`; every fault found is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyproj
import xarray as xr

from pipeline.core.errors import Faults, InputError
from pipeline.core.units import same_units
from pipeline.entries.source import Source, Variable
from pipeline.grid.axes import same_crs
from pipeline.grid.crs import declared_crs, is_geographic_crs
from pipeline.readers.common.dims import Layout, cell_size
from pipeline.readers.common.packing import meant_type, stored_value
from pipeline.readers.registry import driver_of, files_of
from pipeline.sources.axes import axes_of
from pipeline.sources.canonical import decoding_of, plan_of
from pipeline.times.plan import TimePlan


@dataclass(frozen=True)
class SourceInfo:
    """What a source's files hold: axes, bounds (west, south, east, north), times and bytes."""

    name: str
    shape: tuple[int, ...]
    bounds: tuple[float, float, float, float]
    resolution: tuple[float, float]
    bytes: int
    times: tuple[np.datetime64, np.datetime64] | None = None
    crs: str = "EPSG:4326"
    """Of the bounds."""
    checked: float = 0.0
    """Share of the values that was looked at."""


def check_opened(
    ds: xr.Dataset, source: Source, variables: Mapping[str, Variable], faults: Faults
) -> SourceInfo:
    """Compare an opened source with its entry; adds all faults.

    What `variables` does not have is compared as far as the file alone allows.
    """
    where = f'source "{source.name}", {source.files[0]}'
    places = axes_of(ds, source)
    if places is not None:
        _check_crs(source, ds, places, where, faults)
        _check_grid(source, ds, places, where, faults)
    for name, entry in source.variables.items():
        _check_units(ds[entry.name], source, name, variables.get(name), f"{where}: {name}", faults)
        _check_nodata(ds[entry.name], source, name, f"{where}: {name}", faults)
    plan = None
    try:
        plan = plan_of(ds, source, places)
    except InputError as error:
        faults.faults += error.faults
    return _info(source, ds, places, plan)


def _check_crs(
    source: Source, ds: xr.Dataset, places: Layout, where: str, faults: Faults
) -> None:  # fmt: skip
    if source.overrides("crs") or places.is_curvilinear:
        return
    hint = "Correct `crs`, or say `wrong_in_file: [crs]` where the file is wrong."
    found, names_crs = declared_crs(ds), driver_of(source).names_crs
    if found is not None:
        same = found.equals(pyproj.CRS.from_user_input(places.crs), ignore_axis_order=True)
        # Grid mappings of plain latitudes and longitudes rarely name a datum.
        same |= not names_crs and same_crs(found.to_wkt(), places.crs)
        if not same:
            faults.add(f"{where}: crs", found.to_string()[:100], source.crs, hint)
    elif names_crs:
        faults.add(f"{where}: crs", "none", source.crs, hint)
    elif is_geographic_crs(source.crs):
        x, y = (np.abs(ds[name].values.astype(float)).max() for name in (places.x, places.y))
        if x > 540 or y > 90.5:
            faults.add(
                f"{where}: crs", f"coordinates up to {x:g}, {y:g}", f"degrees of {source.crs}",
                "Give the `crs` of the projection in the entry.",
            )  # fmt: skip


def _check_grid(
    source: Source, ds: xr.Dataset, places: Layout, where: str, faults: Faults
) -> None:  # fmt: skip
    """Axes that are finite, go one way, have no twin, and the declared spacing."""
    if places.is_curvilinear:
        return
    x, y = (ds[name].values.astype(float) for name in (places.x, places.y))
    for name, values in ((places.x, x), (places.y, y)):
        steps = np.diff(values)
        if values.size < 2:
            faults.add(f"{where}: {name}", f"{values.size} value", "at least two cells")
        elif not np.isfinite(values).all():
            faults.add(f"{where}: {name}", "missing coordinates", "a number for every cell")
        elif (steps == 0).any():
            faults.add(f"{where}: {name}", f"{values[:-1][steps == 0][0]:g} twice",
                       "every coordinate once", "Drop repeated ones with `trim`.")  # fmt: skip
        elif name == places.y and (steps > 0).any() and (steps < 0).any():
            faults.add(f"{where}: {name}", "coordinates out of order", "ascending or descending")
    if source.resolution is not None and x.size > 1 and y.size > 1:
        found = cell_size(x), cell_size(y)
        if not np.allclose(found, source.resolution, rtol=1e-3):
            faults.add(
                f"{where}: grid", "cells of {:g} by {:g}".format(*found),
                "{:g} by {:g}".format(*source.resolution), "Correct `resolution` of the entry.",
            )  # fmt: skip


def _check_units(
    da: xr.DataArray,
    source: Source,
    name: str,
    variable: Variable | None,
    where: str,
    faults: Faults,
) -> None:
    entry = source.variables[name]
    found = str(da.attrs.get("units", ""))
    if entry.units is None and not found:
        faults.add(where, "no units in the file", "units", "Give `units` in the catalog.")
        return
    if source.classes or variable is None:
        return
    try:
        decoding = decoding_of(da, source, name, variable)
        decoding.finish(np.full((12, 1), np.nan, np.float32), np.arange(1, 13))
    except InputError as error:
        faults.faults += error.faults
        return
    unpacked = (entry.scale, entry.offset) == (1.0, 0.0)
    compared = entry.units and found and unpacked and not source.overrides("units")
    if compared and _differ(found, str(entry.units)):
        faults.add(
            where, f'units "{found}" in the file', f'"{entry.units}", as the entry says',
            "Correct `units`, or say `wrong_in_file: [units]` where the file is wrong.",
        )  # fmt: skip


def _differ(first: str, second: str) -> bool:
    """Whether two units are both understood and not the same."""
    try:
        return not same_units(first, second)
    except ValueError as error:
        return "not defined" not in str(error) and "convert" in str(error)


def _check_nodata(
    da: xr.DataArray, source: Source, name: str, where: str, faults: Faults
) -> None:  # fmt: skip
    nodata = source.variables[name].nodata
    declared = da.attrs.get("_FillValue", da.encoding.get("_FillValue"))
    if nodata is None or declared is None or source.overrides("nodata"):
        return
    # As the data's type holds them: a float32 of 1e20 is another number than the entry's.
    stored = np.dtype(da.encoding.get("dtype", da.dtype))
    held = meant_type(stored, da.encoding)
    if not np.isnan(declared) and stored_value(declared, held) != stored_value(nodata, held):
        faults.add(
            where, f"nodata {float(declared):g} in the file", f"{nodata:g} as in the entry",
            "Correct `nodata`, or say `wrong_in_file: [nodata]` where the file is wrong.",
        )  # fmt: skip


def _info(
    source: Source, ds: xr.Dataset, places: Layout | None, plan: TimePlan | None
) -> SourceInfo:
    size = sum(f.stat().st_size if f.is_file() else ds.nbytes for f in files_of(source))
    times = None
    if plan is not None and source.time.kind == "file":
        times = (plan.values[0], plan.values[-1])
    if places is None or places.is_curvilinear:
        names = ("lon", "lat") if places is None else (str(places.lon), str(places.lat))
        x, y = (ds[name].values.astype(float) for name in names)
        bounds = tuple(float(f(v)) for f in (np.nanmin, np.nanmax) for v in (x, y))
        return SourceInfo(source.name, x.shape, bounds, (0.0, 0.0), size, times)  # type: ignore[arg-type]
    x, y = (ds[name].values.astype(float) for name in (places.x, places.y))
    dx, dy = cell_size(x), cell_size(y)
    west, east = float(x.min()) - dx / 2, float(x.max()) + dx / 2
    if is_geographic_crs(places.crs) and east - west > 359.0:
        west, east = -180.0, 180.0
    limits = (west, float(y.min()) - dy / 2, east, float(y.max()) + dy / 2)
    return SourceInfo(source.name, (y.size, x.size), limits, (dx, dy), size, times, places.crs)
