"""canonicalise(): any source in one form: canonical names and units, (time, y, x), north-up, NaN.

Values are checked as they are read; nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import Faults, bad_input, nearest_name
from pipeline.core.formulas.angles import FULL_TURN, period_of
from pipeline.core.units import is_dimensionless
from pipeline.entries.file_series import step_date
from pipeline.entries.source import Source, Variable
from pipeline.entries.values import Lookup
from pipeline.grid.crs import is_geographic_crs, spatial_ref_attrs, wrap_longitude
from pipeline.readers.common.dims import USUAL, Layout
from pipeline.regridding.classes import class_label
from pipeline.sources.arrays.aggregate import lazy
from pipeline.sources.arrays.extra_dims import REDUCTIONS, extra_dims
from pipeline.sources.axes import axes_of
from pipeline.sources.computed.class_codes import indices_of_codes
from pipeline.sources.computed.lookups import values_of_rows
from pipeline.sources.decode import ACCUMULATED, Decoding, unpacking_of
from pipeline.times.cell_methods import method_of_time
from pipeline.times.climatology import months_of
from pipeline.times.declared import check_start, check_undated, declared_times
from pipeline.times.plan import TimePlan, month_plan, time_plan
from pipeline.times.totals import NOISE

LOAD_BYTES = 1 << 28
"""Size up to which variables are read and checked at once; larger ones are checked when read."""
TIME_RANGES = {"accum", "avg", "max", "min", "diff"}
"""Kinds of steps of GRIB whose values are those of a time range, which ends at the valid time."""
RESETS, LARGEST = "found_resets", "found_largest"
"""Attributes of opened running totals: the seconds of the day of their resets, and the largest."""


def month_axis() -> xr.DataArray:
    """Return the middles of twelve months of a nominal year, with the attribute `climatology`."""
    return _time_coordinate(month_plan(), "months")


def canonicalise(
    ds: xr.Dataset,
    source: Source,
    variables: Mapping[str, Variable],
    *,
    load_bytes: int | None = None,
) -> xr.Dataset:
    """Return the source's variables by canonical name, dims (time?, y, x), float32, NaN if missing.

    Rows run from north to south, longitudes ascend in −180..180; `y` and `x` are float64 and
    `spatial_ref` holds the CRS. A curvilinear source has 2-D `lat` and `lon` instead, a table dims
    (time?, cell) with `lat` and `lon` of each cell. Classes become 0, 1, … with `flag_values` and
    `flag_meanings`. Variables above `load_bytes` (256 MiB) stay lazy and are checked when read.
    Raises `InputError` with all variables that have wrong units or values outside of their range,
    and for faults of the time axis.

    >>> from tempfile import mkdtemp
    >>> from pathlib import Path
    >>> from pipeline.catalog.catalog import read_variables
    >>> from pipeline.sources.open import open_source
    >>> path, at = Path(mkdtemp()) / "rain.nc", np.arange(0.5, 4)
    >>> rain = xr.DataArray(np.ones((4, 4)), {"lat": at, "lon": at}, ("lat", "lon"), "rain")
    >>> rain.to_netcdf(path)
    >>> entry = {"name": "gauges", "uri": str(path), "driver": "netcdf",
    ...          "variables": {"precipitation": {"name": "rain", "units": "cm/day"}}}
    >>> source = Source.model_validate(entry)
    >>> ds = canonicalise(open_source(source), source, read_variables())
    >>> ds["precipitation"].values[0, 0].item(), ds["y"].values[:2].tolist()
    (10.0, [3.5, 2.5])
    """
    faults = Faults()
    variables = {**variables, **source.own_variables}
    most = LOAD_BYTES if load_bytes is None else load_bytes
    axes = axes_of(ds, source)
    plan = plan_of(ds, source, axes)
    arrays: dict[str, xr.Variable] = {}
    for name in source.variables:
        variable = _known(name, source, variables, faults)
        if variable is None:
            continue
        with faults.collecting():
            da = ds[source.opened_name(name)]
            stored = in_order(da, axes, source)
            times = plan if "time" in stored.dims else None
            decoded = lazy(stored, decoding_of(da, source, name, variable), times)
            decoded.attrs = _attrs(variable, source, classes_of(da, source))
            arrays[name] = decoded.load() if decoded.nbytes <= most else decoded
    faults.raise_if_any()
    result = xr.Dataset(arrays)
    if plan is not None and "time" in result.dims:
        result = result.assign_coords(time=_time_coordinate(plan, source.time.kind))
    if axes is None:
        coords = {str(name): c for name, c in ds.coords.items() if c.dims[:1] == ("cell",)}
        return result.assign_coords(coords).assign_attrs(ds.attrs)
    if axes.is_curvilinear:
        return _curvilinear(result, ds, axes)
    x, y = (ds[name].values.astype(np.float64) for name in (axes.x, axes.y))
    return _north_up(result.assign_coords(y=y, x=x), source, axes.crs)


def plan_of(ds: xr.Dataset, source: Source, axes: Layout | None) -> TimePlan | None:
    """Return the canonical times of an opened source, None without a time axis.

    Raises `InputError` for faults of the time axis.
    """
    time = "time" if axes is None else axes.time
    where = f'source "{source.name}", {source.files[0]}: {time}'
    if time is None or time not in ds.dims:
        if source.time.kind == "months":
            raise bad_input(where, "no time steps", "12, a climatology of months")
        return None
    if source.time.kind == "months":
        if ds.sizes[time] != 12:
            raise bad_input(where, f"{ds.sizes[time]} time steps", "12, a climatology of months")
        return month_plan(None if time not in ds.coords else months_of(ds[time]))
    if time in ds.coords and "climatology" in ds[time].attrs and not source.overrides("bounds"):
        raise bad_input(
            where, "times of a climatology, by the attribute `climatology`", "times of a series",
            "Set `time: {kind: months}` for twelve months of a mean year, or `wrong_in_file:"
            " [bounds]` if they are those of a series.",
        )  # fmt: skip
    declared = declared_times(source.time, ds.sizes[time], where)
    has_times = time in ds.coords and ds[time].dtype.kind in "MO"
    if declared is not None and has_times:
        check_undated(declared, ds[time], source.time, where)
    if "year" in source.uri_keys and source.opened:
        check_start(source.time, step_date(next(iter(source.opened))), where)
    if declared is None and time not in ds.coords:
        if ds.sizes[time] == 1 and not source.time.daily:
            return TimePlan(np.array(["NaT"], "datetime64[ns]"), np.zeros(1, int), np.ones(1, int))
        raise bad_input(
            where, "no times", "a coordinate of times",
            "Name it under `dims`, or set `time: {kind: months}` for a climatology, or, for steps "
            "without times, `time: {start: 2001-01-01, step: monthly}` or `time: {dates: [...]}`.",
        )  # fmt: skip
    totals = source.accumulated
    return time_plan(
        ds[time].values if declared is None else declared, source.time, where,
        _bounds(ds, source, time) if declared is None else None,
        "none" if not totals else "all" if len(totals) == len(source.variables) else "some",
        _resets(ds, source, where) if totals else (),
        {str(ds[source.opened_name(name)].attrs.get("GRIB_stepType")) for name in source.variables}
        <= TIME_RANGES,
    )  # fmt: skip


def _resets(ds: xr.Dataset, source: Source, where: str) -> tuple[int, ...]:
    """Return the seconds of the day of resets, by the entry or as `with_resets` found them."""
    if source.time.reset_seconds is not None:
        return source.time.reset_seconds
    if RESETS not in ds[source.opened_name(source.accumulated[0])].attrs:
        raise bad_input(
            where, "running totals without their resets", "`time.resets` of the entry",
            "Or open the source with `open_source`, which finds them.",
        )  # fmt: skip
    return tuple(ds[source.opened_name(source.accumulated[0])].attrs[RESETS])


def _bounds(ds: xr.Dataset, source: Source, time: str) -> np.ndarray | None:
    """Return the bounds [N, 2] of the file's times, None if there are none or they are wrong."""
    name = ds[time].attrs.get("bounds")
    if name not in ds.coords or source.overrides("bounds") or time not in ds[name].dims:
        return None
    return np.asarray(ds[name].transpose(time, ...).values)


def _time_coordinate(plan: TimePlan, kind: str) -> xr.DataArray:
    attrs = {"standard_name": "time", "axis": "T"}
    if kind == "months":
        attrs["climatology"] = "months"
    return xr.DataArray(plan.values, dims="time", attrs=attrs)


def _known(
    name: str, source: Source, variables: Mapping[str, Variable], faults: Faults
) -> Variable | None:
    if name not in variables:
        faults.add(
            f'source "{source.name}": {name}', "no canonical variable of this name",
            "a name from variables.yml", nearest_name(name, variables),
        )  # fmt: skip
    return variables.get(name)


def in_order(da: xr.DataArray, axes: Layout | None, source: Source) -> xr.Variable:
    """Return the stored variable with dims (time?, y, x) or (time?, cell), without loading it.

    Dimensions that are reduced when they are read come after time.
    """
    variable = da.variable
    reduced = extra_dims(da, axes, source)
    names, order = {"time": "time", "cell": "cell"}, ["time", *reduced, "cell"]
    if axes is not None:
        names = {axes.y: "y", axes.x: "x"} | ({axes.time: "time"} if axes.time else {})
        order = [axes.time or "", *reduced, axes.y, axes.x]
    single = [dim for dim in variable.dims if dim not in names and dim not in reduced]
    variable = variable.isel(dict.fromkeys(single, 0))
    wanted = [dim for dim in order if dim in variable.dims]
    variable = variable.transpose(*wanted)
    dims = [names.get(str(dim), str(dim)) for dim in variable.dims]
    encoding = dict(variable.encoding)
    if chunks := encoding.get("preferred_chunks"):
        encoding["preferred_chunks"] = {names.get(str(d), str(d)): n for d, n in chunks.items()}
    return xr.Variable(dims, variable._data, variable.attrs, encoding, fastpath=True)


def decoding_of(
    da: xr.DataArray, source: Source, name: str, variable: Variable
) -> Decoding:  # fmt: skip
    """Return the conversion of a variable's stored numbers to canonical values."""
    entry = source.variables[name]
    where = f'source "{source.name}", {source.files[0]}: {name}'
    if da.dtype.kind not in "iufb":
        what = "dates" if da.dtype.kind in "mM" else "texts"
        raise bad_input(
            where, f"{what} (type {da.dtype})", "numbers",
            "Write the number of each to a file of its own: only columns of polygons and of"
            " lookups may be texts, and only coordinates may be dates.",
        )  # fmt: skip
    unpacking = unpacking_of(da, entry, source, where)
    reductions = dict(da.attrs.get(REDUCTIONS, {}))
    classes = classes_of(da, source)
    if source.method == "circular_mean":
        period_of(variable.units, source.period, where)  # raises where there is none
    if "classes" in da.attrs:
        return Decoding(where=where, codes={i: i for i in range(len(classes))})
    if classes:
        codes = indices_of_codes(classes, where)
        return replace(unpacking, codes=codes, reductions=reductions)
    decoding = replace(
        unpacking,
        canonical_units=variable.units,
        valid_range=variable.valid_range,
        clip=entry.clip,
        cell_method=_cell_method(da, source, name, where),
        bucket=entry.bucket,
        fall=_fall(da, variable),
        reductions=reductions,
        min_share=source.time.min_share,
        is_sum="sum" in (entry.cell_method, _method_in_file(da, source)),
        is_slope="slope" in f"{name} {variable.standard_name} {variable.long_name}",
        sites=tuple(da["site"].values.tolist()) if "site" in da.coords else (),
    )
    if isinstance(entry.transform, Lookup) and entry.transform.weight:
        # A code such as -9 for a missing value would be within the range as a part of a mean.
        rows = values_of_rows(entry.transform, entry.name, where)
        at = f"{where}: {entry.transform.value}"
        replace(decoding, where=at, tally=None, sites=()).finish(rows, None)
    return decoding


def _method_in_file(da: xr.DataArray, source: Source) -> str | None:
    text = str(da.attrs.get("cell_methods", ""))
    return method_of_time(text, {*USUAL["time"], source.dims.get("time", "time")})


def _fall(da: xr.DataArray, variable: Variable) -> float | None:
    """Return the fall beyond packing noise of totals that cannot fall; None if they can."""
    if LARGEST not in da.attrs or variable.valid_range is None or variable.valid_range[0] < 0:
        return None
    return float(NOISE * da.attrs[LARGEST])


def _cell_method(da: xr.DataArray, source: Source, name: str, where: str) -> str | None:
    """Return the aggregation to days, by the entry or else by the `cell_methods` of the file.

    None for a source that is not aggregated, unless its values are accumulated.
    """
    entry = source.variables[name]
    if not source.time.daily and entry.cell_method != ACCUMULATED:
        return None
    if entry.cell_method:
        return entry.cell_method
    found = _method_in_file(da, source)
    if found is None:
        text = str(da.attrs.get("cell_methods", ""))
        raise bad_input(
            where, f'cell_methods "{text}"' if text else "no cell_methods in the file",
            "sum, mean, minimum or maximum of time, to aggregate to days",
            "Set `cell_method` of the variable in the catalog.",
        )  # fmt: skip
    return found


def classes_of(da: xr.DataArray, source: Source) -> Mapping[str, tuple[int | str, ...]]:
    """Return the codes of each class, by the column of polygons or else by the entry."""
    classes: Mapping[str, tuple[int | str, ...]] = da.attrs.get("classes", source.classes)
    return classes


def _attrs(variable: Variable, source: Source, classes: Mapping[str, Any]) -> dict[str, Any]:
    attrs: dict[str, Any] = {"long_name": variable.long_name, "units": variable.units}
    if variable.standard_name:
        attrs["standard_name"] = variable.standard_name
    if source.period:
        attrs["period"] = source.period
    elif source.kind == "cyclic" and is_dimensionless(variable.units):
        attrs["period"] = FULL_TURN
    if classes:
        attrs["flag_values"] = list(range(len(classes)))
        attrs["flag_meanings"] = " ".join(map(_word, classes))
    return attrs


def _word(label: str) -> str:
    """Return a label as one word, as meanings of flags are separated by spaces."""
    return label if len(label.split()) == 1 else class_label(label)


def _curvilinear(result: xr.Dataset, ds: xr.Dataset, axes: Layout) -> xr.Dataset:
    """Return `result` with 2-D `lat` and `lon` (−180..180); there are no `y` and `x` to sort by."""
    fields = {}
    for name in ("lat", "lon"):
        da = ds[getattr(axes, name)].transpose(axes.y, axes.x)
        values = da.values.astype(np.float64)
        fields[name] = (("y", "x"), wrap_longitude(values) if name == "lon" else values)
    return result.assign_coords(fields)


def _north_up(ds: xr.Dataset, source: Source, crs: str) -> xr.Dataset:
    y, x = ds["y"].values, ds["x"].values
    where = f'source "{source.name}", {source.files[0]}'
    if is_geographic_crs(crs):
        x = np.asarray(wrap_longitude(x), dtype=np.float64)
    order = np.argsort(x, kind="stable")
    if (np.diff(x[order]) <= 0).any():
        raise bad_input(
            f"{where}: x", "duplicate longitudes", "every meridian once",
            "Drop the duplicate columns with `trim`.",
        )  # fmt: skip
    steps = np.diff(y)
    if y.size > 1 and not ((steps > 0).all() or (steps < 0).all()):
        raise bad_input(
            f"{where}: y", "rows that are out of order or duplicates",
            "rows from north to south or south to north", "Drop duplicate rows with `trim`.",
        )  # fmt: skip
    ds = ds.assign_coords(x=x)
    if (order != np.arange(x.size)).any():
        ds = ds.isel(x=order)
    if y.size > 1 and steps[0] > 0:
        ds = ds.isel(y=slice(None, None, -1))
    return ds.assign_coords(spatial_ref=xr.Variable((), 0, spatial_ref_attrs(crs)))
