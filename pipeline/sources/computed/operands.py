"""on_grid_of(): the variables of other files on the grid and at the times of an opened source.

Nothing is interpolated: other grids and times are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from pipeline.core.errors import bad_input
from pipeline.entries.source import Source
from pipeline.entries.values import POSITIONS
from pipeline.grid.crs import declared_crs, is_geographic_crs, unit_factor
from pipeline.grid.same_crs import same_crs
from pipeline.readers.common.dims import Layout
from pipeline.readers.registry import read_files
from pipeline.sources.axes import axes_of
from pipeline.times.plan import month_plan

LATITUDE, DAY_OF_YEAR = POSITIONS
_SAME = 1e-3  # fraction of a cell within which coordinates are equal


@dataclass(frozen=True)
class Opened:
    """A dataset as its reader returns it, the entry that it was read by, and its axes."""

    ds: xr.Dataset
    source: Source
    axes: Layout | None
    """Names of the axes of a grid, None for sites."""

    @property
    def time(self) -> str | None:
        """Name of the time axis."""
        name = "time" if self.axes is None else self.axes.time
        return name if name in self.ds.dims else None

    @property
    def where(self) -> str:
        """Name of the entry and its first file, for messages."""
        return f'source "{self.source.name}", {self.source.files[0]}'


def opened(source: Source) -> Opened:
    """Return the dataset of an entry's files."""
    ds = read_files(source)
    return Opened(ds, source, axes_of(ds, source))


def with_times_of_all(datasets: list[Opened]) -> list[Opened]:
    """Return the datasets of sites of the same files at the times of all of them.

    Readers of tables and folders return the times of the variables that they read.
    """
    own = [one.axes is None and one.time is not None and _files_of(one) == _files_of(datasets[0])
           for one in datasets]  # fmt: skip
    times = [one.ds["time"].values for one, is_own in zip(datasets, own, strict=True) if is_own]
    if all(np.array_equal(stamps, times[0]) for stamps in times):
        return datasets
    union = np.unique(np.concatenate(times))
    return [
        replace(one, ds=one.ds.reindex(time=union)) if is_own else one
        for one, is_own in zip(datasets, own, strict=True)
    ]


def _files_of(one: Opened) -> tuple[object, object]:
    return one.source.uri, one.source.driver


def on_grid_of(base: Opened, other: Opened) -> dict[str, xr.DataArray]:
    """Return the variables of `other` with the dims of `base`, by their names; lazy.

    Rows that run the other way are reversed, the times of `base` are chosen, and the axis of the
    one time of a file without keys in its uri is dropped. Raises `InputError` for another grid or
    CRS, other sites, and times that `other` does not have.
    """
    if _files_of(base) == _files_of(other):
        if base.axes is None:
            _check_sites(base, other)
        return {str(name): named(da.variable, str(name)) for name, da in other.ds.data_vars.items()}
    chosen: dict[str, Any] = {}
    if (base.axes is None) != (other.axes is None):
        raise bad_input(other.where, "sites beside a grid", "both sites, or both grids")
    if base.axes is None or other.axes is None:
        names = {"time": "time", "cell": "cell"}
        _check_sites(base, other)
    else:
        names = {other.axes.y: base.axes.y, other.axes.x: base.axes.x}
        chosen |= _on_axes(base, other, base.axes, other.axes)
    if other.time:
        names[other.time] = base.time or other.time
        chosen |= _at_times(base, other, other.time)
    result = {}
    for name, da in other.ds.data_vars.items():
        variable = da.variable.isel({d: part for d, part in chosen.items() if d in da.dims})
        dims = [names.get(str(dim), str(dim)) for dim in variable.dims]
        variable = xr.Variable(dims, variable._data, da.attrs, da.encoding, fastpath=True)
        result[str(name)] = named(variable, str(name))
    return result


def named(variable: xr.Variable, name: str = "") -> xr.DataArray:
    """Return a variable as a DataArray without coordinates, with the encoding of the variable."""
    da = xr.DataArray(variable, name=name)
    da.encoding = dict(variable.encoding)
    return da


def _check_sites(base: Opened, other: Opened) -> None:
    names = ("site",) if "site" in base.ds.coords else ("lat", "lon")
    if any(not np.array_equal(base.ds[name].values, other.ds[name].values) for name in names):
        what = "sites" if names == ("site",) else "cells"
        raise bad_input(
            other.where, f"{other.ds.sizes['cell']} other {what}",
            f"the {base.ds.sizes['cell']} {what} of {base.source.files[0]}, in their order",
        )  # fmt: skip


def _on_axes(
    base: Opened, other: Opened, ours: Layout, theirs: Layout
) -> dict[str, slice | np.ndarray]:
    """Return the order of rows and columns; raises `InputError` if the grids differ."""
    declared = [declared_crs(one.ds) for one in (base, other)]
    if all(crs is not None for crs in declared):
        first, second = (crs.to_wkt() for crs in declared if crs is not None)
        if not same_crs(first, second):
            raise bad_input(other.where, "another CRS", f"that of {base.source.files[0]}", _HINT)
    if ours.is_curvilinear != theirs.is_curvilinear:
        raise bad_input(
            other.where, "another kind of grid", f"that of {base.source.files[0]}", _HINT
        )
    if ours.is_curvilinear:
        for name in ("lat", "lon"):
            fields = [
                one.ds[str(getattr(axes, name))].transpose(axes.y, axes.x).values
                for one, axes in ((base, ours), (other, theirs))
            ]
            if not _near(*fields):
                raise _another_grid(base, other, name)
        return {}
    order: dict[str, slice | np.ndarray] = {}
    for mine, name in ((ours.y, theirs.y), (ours.x, theirs.x)):
        here, there = (
            np.asarray(one.ds[dim].values, np.float64) for one, dim in ((base, mine), (other, name))
        )
        is_periodic = name == theirs.x and is_geographic_crs(ours.crs)
        found = _order(here, there, 360.0 if is_periodic else None)
        if found is None:
            raise _another_grid(base, other, name)
        order[name] = found
    return order


def _order(here: np.ndarray, there: np.ndarray, period: float | None) -> slice | np.ndarray | None:
    """Return the order in which the coordinates `there` are those `here`; None if they are not.

    Coordinates with a period, such as longitudes, are equal if they differ by a multiple of it.
    """
    for step in (None, -1):
        if _near(here, there[::step]):
            return slice(None, None, step)
    if period is None or here.size != there.size or here.size < 2:
        return None
    # Counted from half a cell before the first, so that no rounding puts one at the other end.
    start = here.min() - np.abs(np.diff(here)).min() / 2
    ours, theirs = (np.mod(values - start, period) for values in (here, there))
    ranks, order = np.argsort(ours), np.argsort(theirs)
    if not _near(ours[ranks], theirs[order]):
        return None
    found = np.empty(here.size, int)
    found[ranks] = order
    return found


_HINT = "Regrid one of them first: masks and operands are not interpolated."


def _near(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two arrays of coordinates differ by less than a small part of a cell."""
    if first.shape != second.shape:
        return False
    steps = [np.abs(np.diff(first, axis=axis)) for axis in range(first.ndim)]
    cell = max((float(np.nanmedian(step)) for step in steps if step.size), default=1.0)
    return bool(np.allclose(first, second, rtol=0, atol=_SAME * cell, equal_nan=True))


def _another_grid(base: Opened, other: Opened, name: str) -> Exception:
    values = other.ds[name].values
    return bad_input(
        f"{other.where}: {name}", f"{values.size} other coordinates, from {values.flat[0]:g}",
        f"those of {base.source.files[0]}", _HINT,
    )  # fmt: skip


def _at_times(base: Opened, other: Opened, time: str) -> dict[str, Any]:
    """Return the steps of `other` that have the times of `base`."""
    count, wanted = other.ds.sizes[time], 1 if base.time is None else base.ds.sizes[base.time]
    if count == 1 and not other.source.uri_keys and (base.time is None or wanted > 1):
        return {time: 0}
    dated = base.time in base.ds.coords and time in other.ds.coords
    if dated and base.time is not None:
        times, found = base.ds[base.time].values, other.ds[time].values
        if np.array_equal(times, found):
            return {}
        if _are_days(base, times, found):
            times, found = (values.astype("datetime64[D]") for values in (times, found))
        index = {stamp: i for i, stamp in enumerate(found.tolist())}
        steps = [index.get(stamp) for stamp in times.tolist()]
        absent = [str(stamp) for stamp, step in zip(times, steps, strict=True) if step is None]
        if not absent:
            return {time: np.array(steps)}
        raise bad_input(
            f"{other.where}: {time}", f"no {absent[0]} and {len(absent) - 1} more times",
            f"the times of {base.source.files[0]}",
        )  # fmt: skip
    if count != wanted:
        raise bad_input(f"{other.where}: {time}", f"{count} steps",
                        f"the {wanted} of {base.source.files[0]}")  # fmt: skip
    return {}


def _are_days(base: Opened, *series: np.ndarray) -> bool:
    """Whether each series has one stamp a day, within the day that it describes."""
    return base.source.time.stamp != "end" and all(
        values.dtype.kind == "M"
        and values.size == np.unique(values.astype("datetime64[D]")).size
        and (values.size < 2 or np.diff(values).min() >= np.timedelta64(1, "D"))
        for values in series
    )


def positions(base: Opened, names: set[str]) -> Mapping[str, xr.DataArray]:
    """Return the latitude of each cell and the day of the year of each step, as far as in `names`.

    Raises `InputError` for a day of the year without times.
    """
    found = {}
    if LATITUDE in names:
        found[LATITUDE] = xr.DataArray(_latitudes(base), attrs={"units": "degree"})
    if DAY_OF_YEAR in names:
        found[DAY_OF_YEAR] = xr.DataArray(_days(base), attrs={"units": "1"})
    return found


def _days(base: Opened) -> xr.Variable:
    if base.time is not None and base.source.time.kind == "months":
        days = xr.DataArray(month_plan().values, dims=base.time).dt.dayofyear
    elif base.time is not None and base.time in base.ds.coords:
        days = base.ds[base.time].dt.dayofyear
    else:
        raise bad_input(base.where, f"no times for {DAY_OF_YEAR}", "a coordinate of times",
                        "Name it under `dims`.")  # fmt: skip
    return xr.Variable((base.time,), days.values.astype(np.float64))


def _latitudes(base: Opened) -> xr.Variable:
    if base.axes is None:
        return base.ds["lat"].variable
    if base.axes.lat is not None:
        return base.ds[base.axes.lat].variable
    y, x = (
        base.ds[name].values.astype(np.float64)
        * unit_factor(base.ds[name].attrs.get("units"), base.axes.crs)
        for name in (base.axes.y, base.axes.x)
    )
    if is_geographic_crs(base.axes.crs) and same_crs(base.axes.crs, "EPSG:4326"):
        return xr.Variable((base.axes.y,), y)
    data = indexing.LazilyIndexedArray(_Projected(y, x, base.axes.crs))
    return xr.Variable((base.axes.y, base.axes.x), data, fastpath=True)


class _Projected(BackendArray):
    """Latitudes of the cells of a projected grid, computed when they are read."""

    def __init__(self, y: np.ndarray, x: np.ndarray, crs: str) -> None:
        self.y, self.x = y, x
        self.transformer = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        self.shape = (y.size, x.size)
        self.dtype = np.dtype(np.float64)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        rows, cols = self.y[key[0]], self.x[key[1]]
        y, x = np.broadcast_arrays(
            np.expand_dims(rows, -1) if rows.ndim and cols.ndim else rows, cols
        )
        return np.asarray(self.transformer.transform(x, y)[1])
