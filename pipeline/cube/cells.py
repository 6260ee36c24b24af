"""Cubes as tables of model locations: dims (cell, time) and (cell,).

A cell of a grid is identified by its row-major flat index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import Faults, bad_input, nearest_name
from pipeline.cube.open import open_cube
from pipeline.cube.template import grid_of


def read_cells(
    cube: str | Path | xr.Dataset,
    names: Sequence[str],
    cells: np.ndarray | None = None,
    land_mask: np.ndarray | None = None,
) -> xr.Dataset:
    """The variables at `cells`, dims (cell, time) and (cell,), in memory; coords cell, lat, lon.

    For a cube, `cells` are flat indices into the grid, by default those where `land_mask` (y, x) is
    True, or all. For a store of locations (dims (time, cell)) they are positions along `cell`, and
    the store's coordinates are kept. Each shard is read once, whatever the order of the cells.
    Raises `InputError` for unknown variables, cells outside the grid and a mask of another shape.
    """
    ds = cube if isinstance(cube, xr.Dataset) else open_cube(cube)
    _check_names(ds, names)
    if "cell" in ds.dims:
        return _locations(ds, names, cells)
    grid_shape = ds.sizes["y"], ds.sizes["x"]
    flat = _flat_indices(grid_shape, cells, land_mask)
    rows, cols = np.divmod(flat, grid_shape[1])
    arrays = {name: _gather(ds[name], rows, cols) for name in names}
    lon, lat = _lonlat(ds, rows, cols)
    coords: dict[str, Any] = {
        "cell": ("cell", flat),
        "lat": ("cell", lat, {"standard_name": "latitude", "units": "degrees_north"}),
        "lon": ("cell", lon, {"standard_name": "longitude", "units": "degrees_east"}),
    }
    if "time" in ds.coords:
        coords["time"] = ds["time"].variable
    return xr.Dataset(arrays, coords, ds.attrs)


def by_shard(ds: xr.Dataset, cells: np.ndarray) -> list[np.ndarray]:
    """Groups of `cells` (flat indices, or positions in a store of locations) by shard.

    A cube larger than memory is read one group at a time.
    """
    cells = np.asarray(cells, dtype=np.int64)
    if "cell" in ds.dims:
        cut = max(_cut(da, "cell") for da in ds.data_vars.values() if "cell" in da.dims)
        shard = cells // cut
    else:
        rows, cols = np.divmod(cells, ds.sizes["x"])
        shard = _shard_of(next(da for da in ds.data_vars.values() if "y" in da.dims), rows, cols)
    order = np.argsort(shard, kind="stable")
    starts = np.flatnonzero(np.diff(shard[order], prepend=-1))
    return [cells[group] for group in np.split(order, starts[1:]) if group.size]


def any_valid(da: xr.DataArray, wanted: np.ndarray | None = None) -> np.ndarray:
    """Mask of the locations with a value at any time step, dims (y, x) or (cell,).

    Locations outside `wanted` are False. Shards are read one at a time, and only as many time steps
    as are needed to find a value of every wanted cell: in most cubes the first few.
    """
    dims = [dim for dim in da.dims if dim != "time"]
    sizes = [da.sizes[dim] for dim in dims]
    wanted = np.ones(sizes, bool) if wanted is None else wanted
    if "time" not in da.dims:
        return np.asarray(da.notnull().values) & wanted
    without_value = wanted.copy()
    cuts = [_cut(da, str(dim)) for dim in dims]
    for corner in product(*(range(0, n, cut) for n, cut in zip(sizes, cuts, strict=True))):
        window = tuple(slice(at, at + cut) for at, cut in zip(corner, cuts, strict=True))
        shard = da.isel(dict(zip(dims, window, strict=True)))
        first, step = 0, _cut(da, "time", "chunks")
        while first < da.sizes["time"] and without_value[window].any():
            part = shard.isel(time=slice(first, first + step)).load()
            without_value[window] &= part.isnull().all("time").transpose(*dims).values
            first, step = first + step, 2 * step
    found: np.ndarray = wanted & ~without_value
    return found


def valid_fraction(da: xr.DataArray) -> np.ndarray:
    """Fraction of the time steps with a value at each location, dims (y, x) or (cell,).

    Shards are read one at a time; without time it is 1 or 0.
    """
    dims = [dim for dim in da.dims if dim != "time"]
    found = np.zeros([da.sizes[dim] for dim in dims])
    cuts = [_cut(da, str(dim)) for dim in dims]
    for corner in product(*(range(0, n, cut) for n, cut in zip(found.shape, cuts, strict=True))):
        window = tuple(slice(at, at + cut) for at, cut in zip(corner, cuts, strict=True))
        valid = da.isel(dict(zip(dims, window, strict=True))).load().notnull()
        valid = valid.mean("time") if "time" in da.dims else valid
        found[window] = valid.transpose(*dims).values
    return found


def _cut(da: xr.DataArray, dim: str, unit: str = "shards") -> int:
    """Length of a shard (or of a chunk) along a dim; the whole dim where there is none."""
    cut = da.encoding.get(unit) or da.encoding.get("chunks") or da.shape
    return int(cut[da.dims.index(dim)])


def _shard_of(da: xr.DataArray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    width = _cut(da, "x")
    shard: np.ndarray = (rows // _cut(da, "y")) * (da.sizes["x"] // width + 1) + cols // width
    return shard


def _check_names(ds: xr.Dataset, names: Sequence[str]) -> None:
    faults = Faults()
    known = sorted(map(str, ds.data_vars))
    where = ds.encoding.get("source", "the cube")
    for name in names:
        if name not in ds.data_vars:
            expected = f"one of {', '.join(known)}"
            faults.add(f"{where}: {name}", "no such variable", expected, nearest_name(name, known))
    faults.raise_if_any()


def _locations(ds: xr.Dataset, names: Sequence[str], cells: np.ndarray | None) -> xr.Dataset:
    # Assigned again, because a selection of no names would drop the coordinates too.
    chosen = ds[list(names)].assign_coords(ds.coords)
    chosen = chosen if cells is None else chosen.isel(cell=np.asarray(cells))
    return chosen.transpose("cell", "time", missing_dims="ignore").load()


def _flat_indices(
    shape: tuple[int, int], cells: np.ndarray | None, land_mask: np.ndarray | None
) -> np.ndarray:
    if cells is None:
        if land_mask is None:
            return np.arange(shape[0] * shape[1])
        if land_mask.shape != shape:
            raise bad_input("land mask", f"shape {land_mask.shape}", f"the grid's shape {shape}")
        return np.flatnonzero(land_mask)
    flat = np.asarray(cells, dtype=np.int64)
    if flat.size and (flat.min() < 0 or flat.max() >= shape[0] * shape[1]):
        found = f"{flat.min()} to {flat.max()}"
        raise bad_input("cells", found, f"flat indices below {shape[0] * shape[1]}")
    return flat


def _lonlat(ds: xr.Dataset, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if "cube" in ds.attrs:
        lon, lat = grid_of(ds.attrs).lonlat()
        return lon[rows, cols], lat[rows, cols]
    return ds["x"].values[cols], ds["y"].values[rows]


def _gather(da: xr.DataArray, rows: np.ndarray, cols: np.ndarray) -> xr.Variable:
    """Values at (rows, cols), dims (cell, time) or (cell,), read in windows of one shard each."""
    from pipeline.regridding.kernels import sparse as kernels

    has_time = "time" in da.dims
    order = ("time", "y", "x") if has_time else ("y", "x")
    shape = (rows.size, da.sizes["time"]) if has_time else (rows.size,)
    out = np.empty(shape, dtype=da.dtype)
    # As a Variable, because indexing the coordinates of small shards costs more than the values.
    # Loaded before it is transposed, because xarray would index a lazy transpose cell by cell.
    values, axes = da.variable, [da.dims.index(dim) for dim in order]
    for positions, (height, width) in _blocks(da, rows, cols):
        window = values.isel(y=height, x=width).values.transpose(axes)
        y, x = rows[positions] - height.start, cols[positions] - width.start
        if has_time:
            flat = np.ascontiguousarray(window).reshape(len(window), -1)
            kernels.take_series(flat, y * window.shape[2] + x, out, positions)
        else:
            out[positions] = window[y, x]
    return xr.Variable(("cell", "time") if has_time else ("cell",), out, da.attrs)


def _blocks(
    da: xr.DataArray, rows: np.ndarray, cols: np.ndarray
) -> Iterator[tuple[np.ndarray, tuple[slice, slice]]]:
    """Positions of the wanted cells of each shard, and the window of the shard that they span."""
    shard = _shard_of(da, rows, cols)
    order = np.argsort(shard, kind="stable")
    starts = np.flatnonzero(np.diff(shard[order], prepend=-1))
    for positions in np.split(order, starts[1:]):
        if positions.size:
            yield positions, (_span(rows[positions]), _span(cols[positions]))


def _span(index: np.ndarray) -> slice:
    return slice(int(index.min()), int(index.max()) + 1)
