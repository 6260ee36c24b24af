"""Cubes as tables of model locations: dims (cell, time) and (cell,).

Upstream: `cube` (or a store of locations). Downstream: the tensors of training and prediction. A
cell of a grid is its row-major flat index.
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

    Of a cube, `cells` are flat indices into the grid, by default those where `land_mask` (y, x) is
    True, or all. Of a store of locations (dims (time, cell)) they are positions, and its own
    coordinates stay. Shards are read once each, whatever the order of the cells. Raises
    `InputError` for unknown variables and cells outside the grid.
    """
    ds = cube if isinstance(cube, xr.Dataset) else open_cube(cube)
    _known(ds, names)
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
    """`cells` (flat indices, or positions in a store of locations) by the shard they lie in.

    Whoever reads a cube larger than memory takes one of these at a time.
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
    return [cells[here] for here in np.split(order, starts[1:]) if here.size]


def any_valid(da: xr.DataArray, wanted: np.ndarray | None = None) -> np.ndarray:
    """Where any time step has a value, dims (y, x) or (cell,), False outside `wanted`.

    One shard in memory at a time, and of its time steps no more than it takes to see a value of
    every wanted cell: of most cubes the first few.
    """
    dims = [dim for dim in da.dims if dim != "time"]
    sizes = [da.sizes[dim] for dim in dims]
    wanted = np.ones(sizes, bool) if wanted is None else wanted
    if "time" not in da.dims:
        return np.asarray(da.notnull().values) & wanted
    unseen = wanted.copy()
    cuts = [_cut(da, str(dim)) for dim in dims]
    for corner in product(*(range(0, n, cut) for n, cut in zip(sizes, cuts, strict=True))):
        place = tuple(slice(at, at + cut) for at, cut in zip(corner, cuts, strict=True))
        shard = da.isel(dict(zip(dims, place, strict=True)))
        first, step = 0, _cut(da, "time", "chunks")
        while first < da.sizes["time"] and unseen[place].any():
            part = shard.isel(time=slice(first, first + step)).load()
            unseen[place] &= part.isnull().all("time").transpose(*dims).values
            first, step = first + step, 2 * step
    found: np.ndarray = wanted & ~unseen
    return found


def _cut(da: xr.DataArray, dim: str, of: str = "shards") -> int:
    """Length of a shard (or of the `chunks` within) along a dim; all of it where there is none."""
    cut = da.encoding.get(of) or da.encoding.get("chunks") or da.shape
    return int(cut[da.dims.index(dim)])


def _shard_of(da: xr.DataArray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    width = _cut(da, "x")
    shard: np.ndarray = (rows // _cut(da, "y")) * (da.sizes["x"] // width + 1) + cols // width
    return shard


def _known(ds: xr.Dataset, names: Sequence[str]) -> None:
    faults = Faults()
    known = sorted(map(str, ds.data_vars))
    where = ds.encoding.get("source", "the cube")
    for name in names:
        if name not in ds.data_vars:
            expected = f"one of {', '.join(known)}"
            faults.add(f"{where}: {name}", "no such variable", expected, nearest_name(name, known))
    faults.raise_if_any()


def _locations(ds: xr.Dataset, names: Sequence[str], cells: np.ndarray | None) -> xr.Dataset:
    # With no names at all the coordinates would go too.
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
    """Values at (rows, cols), dims (cell, time) or (cell,), a window of one shard at a time."""
    from pipeline.regridding.kernels import sparse as kernels

    has_time = "time" in da.dims
    order = ("time", "y", "x") if has_time else ("y", "x")
    shape = (rows.size, da.sizes["time"]) if has_time else (rows.size,)
    out = np.empty(shape, dtype=da.dtype)
    # Without its coordinates: for small shards they would cost more than the values. Loaded before
    # it is transposed: xarray would index a lazy transpose cell by cell.
    values, axes = da.variable, [da.dims.index(dim) for dim in order]
    for here, (height, width) in _blocks(da, rows, cols):
        window = values.isel(y=height, x=width).values.transpose(axes)
        y, x = rows[here] - height.start, cols[here] - width.start
        if has_time:
            flat = np.ascontiguousarray(window).reshape(len(window), -1)
            kernels.take_series(flat, y * window.shape[2] + x, out, here)
        else:
            out[here] = window[y, x]
    return xr.Variable(("cell", "time") if has_time else ("cell",), out, da.attrs)


def _blocks(
    da: xr.DataArray, rows: np.ndarray, cols: np.ndarray
) -> Iterator[tuple[np.ndarray, tuple[slice, slice]]]:
    """For each shard with wanted cells: their positions, and the window of the shard they span."""
    shard = _shard_of(da, rows, cols)
    order = np.argsort(shard, kind="stable")
    starts = np.flatnonzero(np.diff(shard[order], prepend=-1))
    for here in np.split(order, starts[1:]):
        if here.size:
            yield here, (_span(rows[here]), _span(cols[here]))


def _span(index: np.ndarray) -> slice:
    return slice(int(index.min()), int(index.max()) + 1)
