"""selected(): a source without its extra dimensions, of which one position is wanted.

`Reduction` reduces the values along others when they are read: an ensemble to its mean, layers of
soil to the mean of the first metre.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.core.errors import Faults, InputError, bad_input, nearest_name
from pipeline.entries.extra_dims import At, Layers, Select
from pipeline.entries.source import Source
from pipeline.readers.common.dims import Layout
from pipeline.sources.axes import axes_of

REDUCTIONS = "reductions"
"""Attribute of opened variables: the `Reduction` of each dimension that is reduced when read."""
LEAD_UNITS: dict[str, Any] = {
    "days": "D", "day": "D", "d": "D", "hours": "h", "hour": "h", "h": "h", "hr": "h", "hrs": "h",
    "minutes": "min", "minute": "min", "min": "min", "seconds": "s", "second": "s", "s": "s",
}  # fmt: skip
"""Units of lead times and pandas' name of each."""
LISTED = 6
"""Number of coordinates that messages list."""


@dataclass(frozen=True)
class Reduction:
    """The reduction of values along one dimension to one value; `weights` are those of layers."""

    how: str
    weights: tuple[float, ...] = ()

    def of(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Return values without the dimension `axis`, in their type; NaN where missing."""
        layers = np.moveaxis(values, axis, 0)
        if self.how in ("min", "max"):
            return (np.fmin if self.how == "min" else np.fmax).reduce(layers, 0)
        if self.how == "first_valid":
            out = layers[0].copy()
            for layer in layers[1:]:
                np.copyto(out, layer, where=np.isnan(out))
            return out
        if self.how == "mean":
            valid = np.isfinite(layers)
            total = np.where(valid, layers, 0).sum(0, dtype=np.float64)
            with np.errstate(invalid="ignore"):
                return np.asarray(total / valid.sum(0), values.dtype)
        weights = self.weights or (1.0,) * layers.shape[0]
        total = np.zeros(layers.shape[1:])
        for weight, layer in zip(weights, layers, strict=True):
            total += weight * layer.astype(np.float64)
        return total.astype(values.dtype)


def selected(ds: xr.Dataset, source: Source) -> xr.Dataset:
    """Return the source at the positions of `select`, without the time of a `static` source.

    Variables get the attribute `REDUCTIONS`, and of layers only those that are needed are kept.
    Raises `InputError` with all dimensions, positions and layers that do not exist.
    """
    if not (source.select or source.reduce or source.static):
        return ds
    faults = Faults()
    ds = ds.copy()
    for dim in (*source.select, *source.reduce):
        if dim not in {str(d) for da in ds.data_vars.values() for d in da.dims}:
            faults.add(
                f'source "{source.name}", {source.files[0]}', f"dimensions {_sizes(ds)}",
                f'a dimension "{dim}"', nearest_name(dim, map(str, ds.dims)),
            )  # fmt: skip
    faults.raise_if_any()
    reductions: dict[str, Reduction] = {}
    leads: list[np.timedelta64] = []
    for dim, at in source.select.items():
        with faults.collecting():
            position = _position(ds, dim, at, source)
            if (lead := lead_times(ds, dim)) is not None:
                leads.append(lead[position])
            ds = ds.isel({dim: position}, drop=True)
    for dim, how in source.reduce.items():
        with faults.collecting():
            if isinstance(how, Layers):
                ds, reductions[dim] = _layers(ds, dim, how, source)
            else:
                reductions[dim] = Reduction(how)
    faults.raise_if_any()
    for da in ds.data_vars.values():
        own = {dim: reduction for dim, reduction in reductions.items() if dim in da.dims}
        da.attrs = {**da.attrs, REDUCTIONS: own} if own else da.attrs
    return _valid_times(_without_time(ds, source) if source.static else ds, source, leads)


def _position(ds: xr.Dataset, dim: str, at: Select, source: Source) -> int:
    """Return the position along a dimension; raises `InputError` if there is none."""
    where, size = f'source "{source.name}", {source.files[0]}: {dim}', ds.sizes[dim]
    if isinstance(at, int):
        if -size <= at < size:
            return at
        raise bad_input(where, f"{size} positions", f"position {at}, counted from 0",
                        f"Correct `select: {{{dim}: …}}`.")  # fmt: skip
    wanted = at.value if isinstance(at, At) else at
    found = np.flatnonzero(_equal(ds[dim].values, wanted)) if dim in ds.coords else np.arange(0)
    if found.size == 1:
        return int(found[0])
    raise bad_input(
        where, _coordinates(ds, dim), f"one of value {wanted}",
        f"Correct `select: {{{dim}: …}}`, or name a position, which is a number from 0.",
    )  # fmt: skip


def _equal(values: np.ndarray, wanted: float | str) -> np.ndarray:
    """Return which coordinates equal a number, a text, a date or a duration, such as "6h"."""
    try:
        if values.dtype.kind == "M":
            return np.asarray(values == np.datetime64(str(wanted)))
        if values.dtype.kind == "m":
            return np.asarray(values == pd.Timedelta(str(wanted)).to_timedelta64())
        if values.dtype.kind in "iuf":
            return np.isclose(values, float(wanted), rtol=1e-6, atol=1e-9)
    except ValueError:
        return np.zeros(values.shape, bool)
    texts = [v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()]
    return np.array([text.strip() == str(wanted) for text in texts], bool)


def _layers(
    ds: xr.Dataset, dim: str, wanted: Layers, source: Source
) -> tuple[xr.Dataset, Reduction]:
    """Return the source with the layers that are needed, and their weights, which sum to 1."""
    where = f'source "{source.name}", {source.files[0]}: {dim}'
    edges = _edges(ds, dim, wanted, where)
    low, high = wanted.to
    parts = np.minimum(edges[:, 1], high) - np.maximum(edges[:, 0], low)
    parts = np.where(parts > 1e-9 * (high - low), parts, 0.0)
    if not np.isclose(parts.sum(), high - low, rtol=1e-6):
        texts = ", ".join(f"{a:g} to {b:g}" for a, b in edges[:LISTED])
        raise bad_input(
            where, f"layers {texts}{', …' if len(edges) > LISTED else ''}",
            f"layers that fill {low:g} to {high:g} once", f"Correct `reduce: {{{dim}: …}}`.",
        )  # fmt: skip
    needed = np.flatnonzero(parts)
    _check_whole(edges[needed], wanted, _units(ds, dim), where)
    kept: Any = slice(int(needed[0]), int(needed[-1]) + 1)
    if np.ptp(needed) >= needed.size:  # layers out of order
        kept = needed
    weights = parts[kept] / parts.sum()
    return ds.isel({dim: kept}), Reduction("layers", tuple(weights.tolist()))


def _check_whole(edges: np.ndarray, wanted: Layers, units: str, where: str) -> None:
    """Raise `InputError` for a part within one layer of the file: its units may be others."""
    low, high = wanted.to
    if wanted.by == "bounds" and len(edges) == 1 and np.ptp(edges) > (1 + 1e-6) * (high - low):
        layer = f"{edges[0, 0]:g} to {edges[0, 1]:g}{units}"
        raise bad_input(
            where, f"{low:g} to {high:g} within the layer {layer}", "one whole layer or more",
            "`to` has the units of the coordinate; `select` chooses a single layer.",
        )  # fmt: skip


def _edges(ds: xr.Dataset, dim: str, wanted: Layers, where: str) -> np.ndarray:
    """Return the lower and upper edge of each layer; dims (layer, 2)."""
    size = ds.sizes[dim]
    if not isinstance(wanted.by, str):
        if len(wanted.by) != size + 1:
            raise bad_input(where, f"{size} layers", f"those of {len(wanted.by)} edges",
                            "Correct `by`: one edge more than there are layers.")  # fmt: skip
        return np.stack([wanted.by[:-1], wanted.by[1:]], 1)[_ranks(ds, dim, wanted.by)]
    name = ds[dim].attrs.get("bounds") if dim in ds.coords else None
    edges = np.full((size, 2), np.nan)
    if name in ds.coords and ds[name].shape == (size, 2):
        edges = np.sort(ds[name].transpose(dim, ...).values.astype(float), axis=1)
    if not np.isfinite(edges).all():
        raise bad_input(
            where, "no bounds of the layers in the file", "CF bounds, or edges in the entry",
            f"Set `reduce: {{{dim}: {{to: …, by: [0, 0.1, 0.4, …]}}}}` with the edges of layers.",
        )  # fmt: skip
    return edges


def _ranks(ds: xr.Dataset, dim: str, by: Sequence[float]) -> np.ndarray:
    """Return the position of each layer among edges, which ascend; in their order by default."""
    if dim not in ds.coords or ds[dim].dtype.kind not in "iuf":
        return np.arange(ds.sizes[dim])
    at = ds[dim].values.astype(float)
    upward = by[0] >= 0 and (at <= 0).all()
    return np.argsort(np.argsort(-at if upward else at, kind="stable"))


def _without_time(ds: xr.Dataset, source: Source) -> xr.Dataset:
    axes = axes_of(ds, source)
    time = "time" if axes is None else axes.time
    if time is None or time not in ds.dims:
        return ds
    if ds.sizes[time] > 1:
        raise bad_input(
            f'source "{source.name}", {source.files[0]}: {time}', f"{ds.sizes[time]} times",
            "one time, which `static: true` drops", f"Remove `static`, or `select: {{{time}: 0}}`.",
        )  # fmt: skip
    return ds.isel({time: 0}, drop=True)


def _valid_times(
    ds: xr.Dataset, source: Source, leads: Sequence[np.timedelta64]
) -> xr.Dataset:  # fmt: skip
    """Return forecasts of one lead time at the times for which they are valid.

    The times of a file without those are the starts of its forecasts, unless CF calls them `time`.
    """
    axes = axes_of(ds, source) if source.select else None
    if axes is None or axes.time not in ds.coords or axes.time == "valid_time":
        return ds
    starts = ds[axes.time]
    if "valid_time" in ds.coords and ds["valid_time"].dims == (axes.time,):
        valid = ds["valid_time"]
        return ds.assign_coords({axes.time: (axes.time, valid.values, valid.attrs)})
    if len(leads) != 1 or starts.attrs.get("standard_name") == "time" or starts.dtype.kind != "M":
        return ds
    return ds.assign_coords({axes.time: (axes.time, starts.values + leads[0], starts.attrs)})


def lead_times(ds: xr.Dataset | xr.DataArray, dim: str) -> np.ndarray | None:
    """Return the lead times of forecasts along a dimension, timedelta64; None for other ones."""
    if dim not in ds.coords:
        return None
    values, attrs = ds[dim].values, ds[dim].attrs
    if values.dtype.kind == "m":
        return np.asarray(values)
    is_lead = attrs.get("standard_name") == "forecast_period"
    unit = LEAD_UNITS.get(str(attrs.get("units", "")).lower())
    if not is_lead or unit is None or values.dtype.kind not in "iuf":
        return None
    return np.asarray(pd.to_timedelta(values, unit=unit))


def extra_dims(da: xr.DataArray, axes: Layout | None, source: Source) -> list[str]:
    """Return the dimensions of a variable that are reduced when read, in their order.

    Raises `InputError` for others that have several positions and no rule in the entry.
    """
    plane = {"cell", "time"} if axes is None else {axes.y, axes.x, axes.time}
    reduced = da.attrs.get(REDUCTIONS, {})
    extra = [str(dim) for dim in da.dims if dim not in plane]
    odd = [dim for dim in extra if da.sizes[dim] > 1 and dim not in reduced]
    if odd:
        raise _unnamed(da, odd, source)
    return [dim for dim in extra if dim in reduced]


def _unnamed(da: xr.DataArray, odd: list[str], source: Source) -> InputError:
    dim = odd[0]
    texts = [f"{name} ({_coordinates(da, name)})" for name in odd]
    value = _text(da[dim].values[0]) if dim in da.coords else ""
    by_value = f", `select: {{{dim}: {{value: {value}}}}}` (by its value)" if value else ""
    hint = (
        f"Set `select: {{{dim}: 0}}` (the first){by_value} or `reduce: {{{dim}: mean}}` (or "
        "first_valid, sum, min, max, `{to: [0, 1]}`); if it is time, y or x, name it under `dims`."
    )
    return bad_input(
        f'source "{source.name}", {source.files[0]}: {da.name}',
        f"the dimensions {', '.join(texts)} beside time, y and x", "a rule for each in the entry",
        _hint_of_times(da, odd) or hint,
    )  # fmt: skip


def _hint_of_times(da: xr.DataArray, odd: Sequence[str]) -> str:
    """Return the hint for a dimension that is time by its dates or name, or lead times; else ""."""
    if {dim.lower()[:4] for dim in odd} >= {"year", "mont"}:
        return (
            "Write years and months as one dimension of dates, as `Dataset.stack` of xarray does."
        )
    for dim in odd:
        if dim in da.coords and da[dim].dtype.kind in "MO" and _is_dated(da[dim].values):
            return f"Name the time: `dims: {{time: {dim}}}`."
        if dim.lower().startswith("month") and da.sizes[dim] == 12:
            return f"A climatology has `dims: {{time: {dim}}}` and `time: {{kind: months}}`."
        if dim.lower().startswith("year"):
            return (
                f"Years have `dims: {{time: {dim}}}` and, without dates, `time: {{start:"
                f" {_text(da[dim].values[0]) if dim in da.coords else 2001}-01-01, step: yearly}}`."
            )
        if (lead := lead_times(da, dim)) is not None:
            last = f"{lead[-1] / np.timedelta64(1, 'h'):g}h"
            value = last if da[dim].dtype.kind == "m" else _text(da[dim].values[-1])
            return (
                f"Choose a lead time, as in `select: {{{dim}: {{value: {value}}}}}`: of totals from"
                " the forecast's start that is the whole total, at its end (`time: {stamp: end}`)."
            )
    return ""


def _is_dated(values: np.ndarray) -> bool:
    return values.dtype.kind == "M" or hasattr(values.ravel()[0], "calendar")


def _coordinates(ds: xr.Dataset | xr.DataArray, dim: str) -> str:
    """Return the size of a dimension and its first coordinates with their units."""
    size = ds.sizes[dim]
    if dim not in ds.coords:
        return f"{size} positions without coordinates"
    texts = [_text(value) for value in ds[dim].values[:LISTED]]
    more = ", …" if size > LISTED else ""
    return f"{size}: {', '.join(texts)}{more}{_units(ds, dim)}"


def _units(ds: xr.Dataset | xr.DataArray, dim: str) -> str:
    units = ds[dim].attrs.get("units") if dim in ds.coords else None
    return f" {units}" if units else ""


def _text(value: Any) -> str:
    if isinstance(value, np.timedelta64):
        return f"{value / np.timedelta64(1, 'h'):g}h"
    if isinstance(value, np.datetime64):
        return str(value.astype("datetime64[m]")).removesuffix("T00:00")
    return f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)


def _sizes(ds: xr.Dataset) -> str:
    sizes: Mapping[Any, int] = ds.sizes
    return ", ".join(f"{dim} ({size})" for dim, size in sizes.items())
