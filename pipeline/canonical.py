"""canonicalise(): any source in one form: canonical names and units, (time, y, x), north-up, NaN.

Upstream: sources.py. Downstream: regrid.py. Every check of values is here; nothing interpolates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.catalog import Source, SourceVariable, Variable
from pipeline.crs import spatial_ref_attrs, wrap_longitude
from pipeline.sources import axis_names, is_geographic
from pipeline.units import convert
from stefaland.errors import Faults, bad_input, nearest_name

CLIMATOLOGY_YEAR = 2001
"""Nominal, without a leap day: the months of a climatology belong to no year."""


def month_axis() -> xr.DataArray:
    """The middles of twelve months of a nominal year; the attribute `climatology` says so."""
    first = pd.date_range(f"{CLIMATOLOGY_YEAR}-01-01", periods=12, freq="MS")
    middle = first + pd.to_timedelta(first.days_in_month // 2, unit="D")
    attrs = {"standard_name": "time", "climatology": "months", "axis": "T"}
    return xr.DataArray(middle.values.astype("datetime64[ns]"), dims="time", attrs=attrs)


def canonicalise(ds: xr.Dataset, source: Source, variables: Mapping[str, Variable]) -> xr.Dataset:
    """The source's variables by canonical name, dims (time?, y, x), float32, missing NaN.

    Rows run north to south, longitudes −180..180 ascending; `y` and `x` are float64 and
    `spatial_ref` holds the CRS. Classes become 0, 1, … with `flag_values` and `flag_meanings`.
    Raises `InputError` with every variable that has wrong units, values out of its range, or no
    value at all in a source read whole.
    """
    faults = Faults()
    arrays: dict[str, xr.DataArray] = {}
    for name, entry in source.variables.items():
        variable = _known(name, source, variables, faults)
        if variable is not None:
            da = _in_order(ds[entry.name], source)
            da = _classes(da, source, entry) if source.classes else _quantity(
                da, source, entry, name, variable, faults
            )  # fmt: skip
            arrays[name] = da.assign_attrs(_attrs(da, variable))
    faults.raise_if_any()
    result = xr.Dataset(arrays)
    if source.time.kind == "months" and "time" in result.dims:
        result = result.assign_coords(time=month_axis())
    return _north_up(result, source)


def _known(
    name: str, source: Source, variables: Mapping[str, Variable], faults: Faults
) -> Variable | None:
    if name not in variables:
        faults.add(
            f'source "{source.name}": {name}', "no canonical variable of this name",
            "a name from variables.yml", nearest_name(name, variables),
        )  # fmt: skip
    return variables.get(name)


def _in_order(da: xr.DataArray, source: Source) -> xr.DataArray:
    """Dims named and ordered (time, y, x); anything else of length 1 is dropped."""
    y_name, x_name = axis_names(source)
    names = {y_name: "y", x_name: "x", source.dims.get("time", "time"): "time"}
    da = da.rename({old: new for old, new in names.items() if old in da.dims and old != new})
    extra = [dim for dim in da.dims if dim not in ("time", "y", "x")]
    if any(da.sizes[dim] > 1 for dim in extra):
        raise bad_input(
            f'source "{source.name}", {source.files[0]}: {da.name}', f"dims {da.dims}",
            "time, y and x", "Name them under `dims`.",
        )  # fmt: skip
    da = da.squeeze(extra, drop=True) if extra else da
    kept = [name for name in da.coords if name not in ("time", "y", "x")]
    return da.drop_vars(kept).transpose("time", "y", "x", missing_dims="ignore")


def _missing(values: np.ndarray, da: xr.DataArray, entry: SourceVariable) -> np.ndarray:
    """Where a value is declared missing by the entry or, failing that, by the file."""
    declared = entry.nodata
    if declared is None:
        declared = da.attrs.get("_FillValue", da.attrs.get("missing_value"))
    missing = np.zeros(values.shape, bool) if values.dtype.kind != "f" else np.isnan(values)
    if declared is not None:
        missing |= values == declared
    if entry.above_is_missing is not None:
        missing |= values > entry.above_is_missing
    return missing


def _quantity(
    da: xr.DataArray,
    source: Source,
    entry: SourceVariable,
    name: str,
    variable: Variable,
    faults: Faults,
) -> xr.DataArray:
    raw = da.values
    missing = _missing(raw, da, entry)
    values = raw.astype(np.float32)
    values[missing] = np.nan
    if (entry.scale, entry.offset) != (1.0, 0.0):
        values = values * np.float32(entry.scale) + np.float32(entry.offset)
    where = f'source "{source.name}", {source.files[0]}: {name}'
    found = entry.units or str(da.attrs.get("units", ""))
    months = _months(da, source)
    values = convert(values, found, variable.units, where, months)
    _check_range(values, variable, where, faults)
    return da.copy(data=values.astype(np.float32, copy=False))


def _months(da: xr.DataArray, source: Source) -> Any:
    if "time" not in da.dims:
        return None
    if source.time.kind == "months":
        return np.arange(1, da.sizes["time"] + 1)
    return da["time"].dt.month.values if "time" in da.coords else None


def _check_range(values: np.ndarray, variable: Variable, where: str, faults: Faults) -> None:
    if variable.valid_range is None or not np.isfinite(values).any():
        return
    low, high = variable.valid_range
    least, most = float(np.nanmin(values)), float(np.nanmax(values))
    if least < low or most > high:
        faults.add(
            where, f"values from {least:g} to {most:g} {variable.units}", f"{low:g} to {high:g}",
            "Check units, scale, offset and nodata of the entry.",
        )  # fmt: skip


def _classes(da: xr.DataArray, source: Source, entry: SourceVariable) -> xr.DataArray:
    """Codes of the file → 0, 1, … in the order of the entry's classes; others missing."""
    raw = da.values
    if raw.dtype.kind == "f":
        raw = np.where(np.isnan(raw), 255, raw)
    table = np.full(256, np.nan, np.float32)
    for place, codes in enumerate(source.classes.values()):
        table[list(codes)] = place
    if entry.nodata is not None:
        table[int(entry.nodata)] = np.nan
    da = da.copy(data=table[raw.astype(np.uint8)])
    return da.assign_attrs(
        flag_values=list(range(len(source.classes))), flag_meanings=" ".join(source.classes)
    )


def _attrs(da: xr.DataArray, variable: Variable) -> dict[str, Any]:
    attrs = {"long_name": variable.long_name, "units": variable.units}
    if variable.standard_name:
        attrs["standard_name"] = variable.standard_name
    flags = {key: da.attrs[key] for key in ("flag_values", "flag_meanings") if key in da.attrs}
    da.attrs.clear()
    return attrs | flags


def _north_up(ds: xr.Dataset, source: Source) -> xr.Dataset:
    y = ds["y"].values.astype(np.float64)
    x = ds["x"].values.astype(np.float64)
    if is_geographic(source):
        x = np.asarray(wrap_longitude(x), dtype=np.float64)
    order = np.argsort(x, kind="stable")
    if (np.diff(x[order]) <= 0).any():
        raise bad_input(
            f'source "{source.name}", {source.files[0]}: x', "the same longitude twice",
            "every meridian once", "Drop the repeated columns with `trim`.",
        )  # fmt: skip
    steps = np.diff(y)
    if y.size > 1 and not ((steps > 0).all() or (steps < 0).all()):
        raise bad_input(
            f'source "{source.name}", {source.files[0]}: y', "rows out of order",
            "rows from north to south or south to north",
        )  # fmt: skip
    ds = ds.assign_coords(y=y, x=x)
    if (order != np.arange(x.size)).any():
        ds = ds.isel(x=order)
    if y.size > 1 and steps[0] > 0:
        ds = ds.isel(y=slice(None, None, -1))
    return ds.assign_coords(spatial_ref=xr.Variable((), 0, spatial_ref_attrs(source.crs)))
