"""check_opened(): comparison of the metadata in a source's files with its catalog entry.

`check_values` checks the values. All faults found are reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyproj
import xarray as xr

from pipeline.core.errors import Faults, InputError
from pipeline.core.notation.unit_notation import UnknownUnitsError, is_silent
from pipeline.core.units import is_dimensionless, same_units
from pipeline.entries.nodata import codes_of, ranges_of
from pipeline.entries.source import Source, Variable
from pipeline.grid.crs import EARTH_RADIUS, declared_crs, is_geographic_crs, is_length, parsed
from pipeline.grid.same_crs import OF_CELL, SMALLEST, crs_distance, same_crs
from pipeline.readers.common.dims import Layout, cell_size
from pipeline.readers.common.first_bytes import GEOREFERENCED
from pipeline.readers.common.packing import meant_type, stored_value
from pipeline.readers.common.refusals import content_advice
from pipeline.readers.registry import driver_of, files_of
from pipeline.regridding.elements import check_method
from pipeline.sources.arrays.extra_dims import extra_dims
from pipeline.sources.axes import axes_of, is_unstructured
from pipeline.sources.canonical import decoding_of, plan_of
from pipeline.sources.computed.class_codes import missing_classes
from pipeline.sources.computed.tally import ValueSummary
from pipeline.sources.decode import stated_units
from pipeline.times.plan import TimePlan

_SWAPPED = "Latitudes and longitudes seem to be swapped: set `dims: {{y: {0.x}, x: {0.y}}}`."


@dataclass(frozen=True, kw_only=True)
class SourceInfo:
    """Contents of a source's files: axes, bounds (west, south, east, north), times and bytes."""

    name: str
    shape: tuple[int, ...]
    bounds: tuple[float, float, float, float]
    resolution: tuple[float, float]
    bytes: int
    times: tuple[np.datetime64, np.datetime64] | None = None
    crs: str = "EPSG:4326"
    """CRS of the bounds."""
    checked: float = 0.0
    """Fraction of the values that was checked."""
    notes: tuple[str, ...] = ()
    """What a reader should know that is no fault, such as values that a mask removes."""
    values: tuple[ValueSummary, ...] = ()
    """What was found in the values that were read; nothing of classes, whose codes are names."""


def check_opened(
    ds: xr.Dataset, source: Source, variables: Mapping[str, Variable], faults: Faults
) -> SourceInfo:
    """Compare an opened source with its entry; adds all faults.

    Variables that are not in `variables` are compared as far as possible without canonical units.
    """
    where = f'source "{source.name}", {source.files[0]}'
    axes = axes_of(ds, source)
    if axes is None and is_unstructured(ds):
        with faults.collecting():
            check_method(ds, source.method, where)
    if axes is not None:
        _check_crs(source, ds, axes, where, faults)
        _check_grid(source, ds, axes, where, faults)
    plan = None
    with faults.collecting():
        plan = plan_of(ds, source, axes)
    for name in source.variables:
        da, before = ds[source.opened_name(name)], len(faults.faults)
        with faults.collecting():
            extra_dims(da, axes, source)
        if len(faults.faults) > before:
            continue  # units of steps depend on which dimension is time
        lengths = _Lengths.of(da, axes, plan)
        _check_units(da, source, name, variables.get(name), lengths, f"{where}: {name}", faults)
        _check_nodata(da, source, name, f"{where}: {name}", faults)
    return replace(
        _info(source, ds, axes, plan),
        notes=(*_ignored_flags(ds, source), *_class_notes(ds, source)),
    )


def _ignored_flags(ds: xr.Dataset, source: Source) -> list[str]:
    """Return a note for each variable whose file names flags that the entry does not use."""
    notes = []
    for name, entry in source.variables.items():
        flags = str(ds[source.opened_name(name)].attrs.get("ancillary_variables", ""))
        if flags and not entry.mask:
            notes.append(
                f"{name}: the file names {flags} as its ancillary_variables; if it is a quality"
                f" flag, set `mask: {{name: {flags.split()[0]}, keep: [...]}}`"
            )
    return notes


def _class_notes(ds: xr.Dataset, source: Source) -> list[str]:
    """Return notes on classes that mean missing, and on numbers that a file names as classes."""
    notes = []
    for name in source.variables:
        da = ds[source.opened_name(name)]
        if missing := missing_classes(da, source, name):
            notes.append(
                f"{name}: codes {', '.join(missing)} of `classes` mean missing values; if they are"
                " a class, set `wrong_in_file: [nodata]`"
            )
        if not source.classes and source.kind == "continuous" and "flag_values" in da.attrs:
            notes.append(
                f"{name}: the file names single numbers (flag_values); if they are classes, set"
                " `kind: categorical` and `classes`, if they mark missing values list them in"
                " `nodata`"
            )
    return notes


def _check_crs(
    source: Source, ds: xr.Dataset, axes: Layout, where: str, faults: Faults
) -> None:  # fmt: skip
    if source.overrides("crs") or axes.is_curvilinear:
        return
    hint = "Correct `crs`, or set `wrong_in_file: [crs]` if the file is wrong"
    found, names_crs = declared_crs(ds), driver_of(source).names_crs
    if found is not None:
        same = found.equals(parsed(axes.crs), ignore_axis_order=True)
        # Grid mappings of plain latitudes and longitudes rarely name a datum.
        same |= not names_crs and same_crs(found.to_wkt(), axes.crs)
        away = None if same else _away(found, ds, axes)
        if away is not None:
            faults.add(f"{where}: crs", found.to_string()[:100], source.crs, f"{hint}{away}.")
    elif names_crs and source.grid is None:
        other = content_advice(source.files[0], *GEOREFERENCED)
        faults.add(f"{where}: crs", "none", source.crs, f"{hint}. {other}".strip())
    else:
        x, y = (np.abs(ds[name].values.astype(float)).max() for name in (axes.x, axes.y))
        are_degrees, expected = x <= 540 and y <= 90.5, is_geographic_crs(source.crs)
        if are_degrees != expected and not is_length(ds[axes.x].attrs.get("units")):
            unit = "degrees" if expected else "coordinates"
            faults.add(
                f"{where}: crs", f"coordinates up to {x:g}, {y:g}", f"{unit} of {source.crs}",
                _SWAPPED.format(axes)
                if expected and y > 90.5 >= x
                else "Set `crs` of the entry to the projection."
                if expected
                else "Set `crs: EPSG:4326` if these are degrees, else `wrong_in_file: [crs]`.",
            )  # fmt: skip


def _away(found: pyproj.CRS, ds: xr.Dataset, axes: Layout) -> str | None:
    """Return how far the file's CRS puts cells from where the entry's does, in words for a hint.

    None if this is a small fraction of a cell: the same projection is written in many ways.
    """
    if found.is_geographic != parsed(axes.crs).is_geographic:
        return ""
    x, y = (ds[name].values.astype(float) for name in (axes.x, axes.y))
    bounds = (float(x.min()), float(y.min()), float(x.max()), float(y.max()))
    # Coordinates with units were converted to those of the entry's CRS; others are plain numbers.
    in_metres = is_length(ds[axes.x].attrs.get("units"))
    metres = crs_distance(axes.crs, found.to_wkt(), bounds, in_metres=in_metres)
    # Of a geographic CRS the factor is that of its angles to radians.
    unit = EARTH_RADIUS if found.is_geographic else 1.0
    cell = min(cell_size(x), cell_size(y)) * unit
    cell *= parsed(axes.crs).axis_info[0].unit_conversion_factor
    if metres <= max(SMALLEST, OF_CELL * cell):
        return None
    return f": the two put the same cell up to {_distance(metres)} apart"


def _distance(metres: float) -> str:
    return f"{metres / 1000:,.0f} km" if metres >= 10_000 else f"{metres:,.3g} m"


def _check_grid(
    source: Source, ds: xr.Dataset, axes: Layout, where: str, faults: Faults
) -> None:  # fmt: skip
    """Add faults for axes that are not finite, monotonic and unique, or have another spacing."""
    if axes.is_curvilinear:
        return
    x, y = (ds[name].values.astype(float) for name in (axes.x, axes.y))
    for name, values in ((axes.x, x), (axes.y, y)):
        steps = np.diff(values)
        if values.size < 2:
            faults.add(f"{where}: {name}", f"{values.size} value", "at least two cells")
        elif not np.isfinite(values).all():
            faults.add(f"{where}: {name}", "missing coordinates", "a number for every cell")
        elif (steps == 0).any():
            faults.add(f"{where}: {name}", f"{values[:-1][steps == 0][0]:g} twice",
                       "every coordinate once", "Drop duplicates with `trim`.")  # fmt: skip
        elif name == axes.y and (steps > 0).any() and (steps < 0).any():
            faults.add(f"{where}: {name}", "coordinates out of order", "ascending or descending")
    if source.resolution is not None and x.size > 1 and y.size > 1:
        found = cell_size(x), cell_size(y)
        if not np.allclose(found, source.resolution, rtol=1e-3):
            faults.add(
                f"{where}: grid", "cells of {:g} by {:g}".format(*found),
                "{:g} by {:g}".format(*source.resolution), "Correct `resolution` of the entry.",
            )  # fmt: skip


@dataclass(frozen=True)
class _Lengths:
    """Days [T] of the month of each time step, and of the step itself; None without times."""

    of_months: np.ndarray | None
    of_steps: np.ndarray | None

    @classmethod
    def of(cls, da: xr.DataArray, axes: Layout | None, plan: TimePlan | None) -> _Lengths:
        time = "time" if axes is None else axes.time
        if time not in da.dims:
            return cls(None, None)
        # Where the plan has faults of its own, units are not blamed for them.
        return cls(np.full(1, 30.0), np.ones(1)) if plan is None else cls(plan.days, plan.lengths)


def _check_units(
    da: xr.DataArray,
    source: Source,
    name: str,
    variable: Variable | None,
    lengths: _Lengths,
    where: str,
    faults: Faults,
) -> None:
    entry = source.variables[name]
    found = stated_units(da)
    is_blank = not str(da.attrs.get("units", "")).strip()
    may_be_blank = found and variable is not None and is_dimensionless(variable.units)
    if entry.units is None and is_blank and not may_be_blank and not source.classes:
        faults.add(where, "no units in the file", "units", "Set `units` in the catalog.")
        return
    if source.classes or variable is None:
        return
    try:
        decoding = decoding_of(da, source, name, variable)
        size = 1 if lengths.of_steps is None else lengths.of_steps.size
        missing = np.full((size, 1), np.nan, np.float32)
        decoding.finish(missing, lengths.of_months, lengths.of_steps)
    except InputError as error:
        faults.faults += error.faults
        return
    unpacked = (entry.scale, entry.offset) == (1.0, 0.0)
    compared = entry.units and unpacked and not source.overrides("units")
    if compared and not is_silent(found) and _differ(found, str(entry.units), lengths.of_steps):
        faults.add(
            where, f'units "{found}" in the file', f'"{entry.units}", as in the entry',
            "Correct `units`, or set `wrong_in_file: [units]` if the file is wrong.",
        )  # fmt: skip


def _differ(first: str, second: str, lengths: np.ndarray | None) -> bool:
    """Whether both units are known and differ, also as amounts of steps of these `lengths`."""
    try:
        return not same_units(first, second, lengths)
    except UnknownUnitsError:
        return False
    except ValueError:
        return True


def _check_nodata(
    da: xr.DataArray, source: Source, name: str, where: str, faults: Faults
) -> None:  # fmt: skip
    nodata = source.variables[name].nodata
    declared = da.attrs.get("_FillValue", da.encoding.get("_FillValue"))
    if nodata is None or declared is None or source.overrides("nodata"):
        return
    # Both are compared in the type of the data: 1e20 as float32 is not equal to 1e20 of the entry.
    stored = np.dtype(da.encoding.get("dtype", da.dtype))
    held = meant_type(stored, da.encoding)
    codes, ranges = codes_of(nodata), ranges_of(nodata)
    known = any(stored_value(declared, held) == stored_value(code, held) for code in codes)
    known |= any(low <= declared <= high for low, high in ranges)
    if not np.isnan(declared) and not known:
        listed = [f"{code:g}" for code in codes] + [f"{low:g} to {high:g}" for low, high in ranges]
        faults.add(
            where, f"nodata {float(declared):g} in the file",
            f"{', '.join(listed)} as in the entry",
            "Correct `nodata`, or set `wrong_in_file: [nodata]` if the file is wrong.",
        )  # fmt: skip


def _info(source: Source, ds: xr.Dataset, axes: Layout | None, plan: TimePlan | None) -> SourceInfo:
    size = sum(f.stat().st_size if f.is_file() else ds.nbytes for f in files_of(source))
    times = None
    if plan is not None and source.time.kind == "file":
        times = (plan.values[0], plan.values[-1])
    if axes is None or axes.is_curvilinear:
        names = ("lon", "lat") if axes is None else (str(axes.lon), str(axes.lat))
        x, y = (ds[name].values.astype(float) for name in names)
        west, south, east, north = (float(f(v)) for f in (np.nanmin, np.nanmax) for v in (x, y))
        return SourceInfo(
            name=source.name,
            shape=x.shape,
            bounds=(west, south, east, north),
            resolution=(0.0, 0.0),
            bytes=size,
            times=times,
        )
    x, y = (ds[name].values.astype(float) for name in (axes.x, axes.y))
    dx, dy = cell_size(x), cell_size(y)
    west, east = float(x.min()) - dx / 2, float(x.max()) + dx / 2
    if is_geographic_crs(axes.crs) and east - west > 359.0:
        west, east = -180.0, 180.0
    limits = (west, float(y.min()) - dy / 2, east, float(y.max()) + dy / 2)
    return SourceInfo(
        name=source.name,
        shape=(y.size, x.size),
        bounds=limits,
        resolution=(dx, dy),
        bytes=size,
        times=times,
        crs=axes.crs,
    )
