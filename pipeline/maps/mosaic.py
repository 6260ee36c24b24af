"""Mosaics: predicted tiles put together as maps, on their source grid or warped to another.

A map store is a cube of one aggregate, filled tile by tile with bounded memory; tile sizes change
no bit of it. Land without a value stays empty, and `holes` counts and lists it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.cube.open import cube_grid, cube_tiles, open_cube
from pipeline.cube.template import CubeTemplate, cube_template
from pipeline.cube.write import create_cube, write_tile
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import Tile
from pipeline.maps.aggregate import (
    MIN_VALID_SHARE,
    aggregate,
    aggregate_attrs,
    aggregated_time,
    check_aggregate,
    percentile_bands,
)
from pipeline.maps.legend import NODATA_CODE
from pipeline.maps.texture import CLASS, CLASS_ATTRS, has_fractions, texture
from pipeline.regridding.regrid import regrid

FLAG = "quality_flag"
SPREAD = "_spread"
"""Suffix of variables that hold the standard deviation of another."""
MASKED = 3
"""Flag of land that is deliberately left out of the prediction."""
_TILE_BYTES = 48 * 2**20  # size of a tile of one variable over all times
_COARSER = 1.5  # target cells wider than the source cells by this factor average them


@dataclass(frozen=True, kw_only=True)
class MapTask:
    """Description of a map store from which a worker fills any tile; small enough for each task."""

    prediction: Path
    store: Path
    grid: TargetGrid
    aggregate: str = "none"
    min_valid_share: float = MIN_VALID_SHARE
    coarser: bool = False
    """Whether the map's cells average those of the prediction (see `is_coarser`)."""


def mosaic(
    prediction: str | Path,
    grid: TargetGrid,
    store: str | Path,
    *,
    aggregate: str = "none",
    attrs: Mapping[str, Any] | None = None,
    tile: int | None = None,
) -> dict[str, Any]:
    """Write a prediction cube as a map store on `grid`, tile by tile, in this process.

    Returns `tiles` and `cells`, the numbers of tiles and of cells with a value at any time. To
    distribute tiles among workers, call `create_map` and run `fill_map_tile` on
    `cube_tiles(store)`.

    >>> from tempfile import mkdtemp
    >>> from pipeline.cube.template import CubeVariable, cube_template
    >>> folder, grid = Path(mkdtemp()), TargetGrid.from_bounds("g", "EPSG:4326", (0, 0, 4, 4), 2.0)
    >>> variables = {"clay": CubeVariable(("y", "x"), "float32", {"units": "1"})}
    >>> _ = create_cube(folder / "prediction.zarr", cube_template(grid, None, variables, 2), {})
    >>> mosaic(folder / "prediction.zarr", grid, folder / "map.zarr")
    {'tiles': 1, 'cells': 0}
    """
    task = create_map(prediction, grid, store, aggregate=aggregate, attrs=attrs, tile=tile)
    counts = [fill_map_tile(task, each)["cells"] for each in cube_tiles(task.store)]
    return {"tiles": len(counts), "cells": sum(counts)}


def create_map(
    prediction: str | Path,
    grid: TargetGrid,
    store: str | Path,
    *,
    aggregate: str = "none",
    min_valid_share: float = MIN_VALID_SHARE,
    attrs: Mapping[str, Any] | None = None,
    tile: int | None = None,
) -> MapTask:
    """Create the empty map store of a prediction cube; returns the task that fills it."""
    check_aggregate(aggregate)
    source = open_cube(prediction)
    template = map_template(source, grid, aggregate, tile, min_valid_share)
    settings = {"aggregate": aggregate, "min_valid_share": min_valid_share}
    create_cube(store, template, {**_root_attrs(source), **settings, **(attrs or {})})
    # Decided once for the whole grid: all tiles must use the same method.
    coarser = is_coarser(source, grid)
    return MapTask(
        prediction=Path(prediction), store=Path(store), grid=grid, aggregate=aggregate,
        min_valid_share=min_valid_share, coarser=coarser,
    )  # fmt: skip


def map_template(
    source: xr.Dataset,
    grid: TargetGrid,
    aggregate: str = "none",
    tile: int | None = None,
    min_valid_share: float = MIN_VALID_SHARE,
) -> CubeTemplate:
    """The template of a map store: the prediction's variables on `grid`, the aggregate's times.

    Where sand, silt and clay are predicted, it has their texture class too.
    """
    axis = source["time"] if "time" in source.coords else None
    time = None if axis is None else aggregated_time(axis, aggregate, min_valid_share)
    steps = source.sizes.get("time", 1)  # a tile's whole series is read before it is aggregated
    bands = percentile_bands(aggregate)
    variables = {}
    for name, da in source.data_vars.items():
        dims = da.dims if da.ndim == 2 or time is not None else ("y", "x")
        if da.ndim == 3 and percentile_bands(_how(str(name), aggregate)):
            dims = ("band", "y", "x")
        attrs = {k: v for k, v in da.attrs.items() if k not in ("grid_mapping", "_FillValue")}
        if da.ndim == 3:
            attrs = aggregate_attrs(attrs, _how(str(name), aggregate))
        variables[str(name)] = {"dims": dims, "dtype": str(da.dtype), "attrs": attrs}
    if has_fractions(source):
        variables[CLASS] = {"dims": ("y", "x"), "dtype": "uint8", "attrs": CLASS_ATTRS}
    if tile is None:
        tile = 512
        while tile > 64 and tile**2 * steps * 4 > _TILE_BYTES:
            tile //= 2
    return cube_template(grid, time, variables, tile, chunk=(1, tile, tile), bands=bands)


def fill_map_tile(task: MapTask, tile: Tile) -> dict[str, Any]:
    """Read, warp, aggregate and write one tile of a map.

    Returns its number of valid `cells`, and what `write_tile` returns.
    """
    source = open_cube(task.prediction)
    window = task.grid.window(tile.rows, tile.cols)
    if cube_grid(source).fingerprint == task.grid.fingerprint:
        ds = source.isel(y=tile.rows, x=tile.cols).load()
    else:
        ds = reproject_map(source, window, task.coarser)
    if has_fractions(ds):
        ds = texture(ds)
    if task.aggregate != "none":
        ds = aggregated(ds, task.aggregate, task.min_valid_share)
    summary = write_tile(task.store, tile, ds)
    fields = [da for da in ds.data_vars.values() if da.dtype.kind == "f"]
    if not fields:
        return {**summary, "cells": 0}
    valid = ~np.isnan(fields[0].values)
    cells = int((valid.any(axis=0) if valid.ndim == 3 else valid).sum())
    return {**summary, "cells": cells}


def aggregated(ds: xr.Dataset, how: str, min_valid_share: float = MIN_VALID_SHARE) -> xr.Dataset:
    """Every series of a map aggregated; fields without time stay.

    The spread of a mean is the mean of the spreads, which assumes equal errors at all times: an
    upper bound, because the correlation of errors in time is not known. Quantiles of a predictive
    distribution are averaged likewise. A percentile has the mean spread too, and an anomaly the
    spread of its source day.
    """
    result = {
        str(name): aggregate(da, _how(str(name), how), min_valid_share) if da.ndim == 3 else da
        for name, da in ds.data_vars.items()
    }
    if how == "anomaly":
        for name in filter(_is_quantile, result):
            # Shifted by as much as the quantity itself.
            quantity = name.rsplit("_", 1)[0]
            shift = (result[quantity] - ds[quantity]).values
            result[name] = result[name].copy(data=result[name] + shift)
    return xr.Dataset(result, attrs=ds.attrs)


def is_spread_or_quantile(name: str) -> bool:
    """Whether a variable is the spread or a quantile (`_p05`) of another."""
    return name.endswith(SPREAD) or _is_quantile(name)


def _is_quantile(name: str) -> bool:
    return re.search(r"_p\d\d$", name) is not None


def _how(name: str, how: str) -> str:
    """The aggregate of one variable; of spreads and quantiles never a percentile or an anomaly."""
    if not is_spread_or_quantile(name):
        return how
    return {"anomaly": "none"}.get(how, "mean" if how[0] == "p" else how)


def reproject_map(
    ds: xr.Dataset, target_grid: TargetGrid, coarser: bool | None = None
) -> xr.Dataset:
    """The maps on another grid: quantities bilinear, or averaged where the grid is coarser.

    Classes and flags are those of the nearest cell, or the most common ones of the area where the
    grid is coarser (by default determined by `is_coarser`). A cell has values exactly where its
    flag states so: coasts neither extend into the sea nor shrink.
    """
    coarser = is_coarser(ds, target_grid) if coarser is None else coarser
    fields = [str(name) for name, da in ds.data_vars.items() if da.dtype.kind == "f"]
    codes = [str(name) for name, da in ds.data_vars.items() if da.dtype.kind != "f"]
    result = {}
    if codes:
        missing = xr.Dataset(
            {c: ds[c].astype("float32").where(ds[c] != NODATA_CODE) for c in codes}
        ).assign_coords(spatial_ref=ds["spatial_ref"])
        method = "mode" if coarser else "nearest"
        found = regrid(missing, target_grid, method, 0.5, require_overlap=False)
        result = {c: found[c].fillna(NODATA_CODE).astype("uint8") for c in codes}
    if fields:
        method = "conservative" if coarser else "bilinear"
        # The flag limits a map; without one, half of a cell's weight must be valid.
        min_coverage = 0.0 if FLAG in codes else 0.5
        found = regrid(ds[fields], target_grid, method, min_coverage, require_overlap=False)
        result |= {name: found[name].astype("float32") for name in fields}
    return _limited_by_flag(_with_attrs(result, ds))


def _root_attrs(source: xr.Dataset) -> dict[str, Any]:
    return {k: v for k, v in source.attrs.items() if k not in ("cube", "Conventions")}


def is_coarser(ds: xr.Dataset, grid: TargetGrid) -> bool:
    """Whether the grid's cells are more than 1.5 times as wide as those of `ds` in its middle."""
    source = TargetGrid.like(ds, "source")
    lon, lat = grid.window(*_middle(grid)).lonlat()
    row, col = (max(0, int(index[0, 0])) for index in source.index_of(lon, lat))
    source_area = source.window(slice(row, row + 1), slice(col, col + 1)).cell_area()
    ratio = float(grid.window(*_middle(grid)).cell_area()[0, 0] / source_area[0, 0])
    return math.sqrt(ratio) > _COARSER


def _middle(grid: TargetGrid) -> tuple[slice, slice]:
    row, col = (n // 2 for n in grid.shape)
    return slice(row, row + 1), slice(col, col + 1)


def _with_attrs(arrays: Mapping[str, xr.DataArray], ds: xr.Dataset) -> xr.Dataset:
    """The arrays in the order, and with the attributes, of the variables of `ds`."""
    kept = {}
    for name in ds.data_vars:
        kept[str(name)] = arrays[str(name)].copy()
        kept[str(name)].attrs = dict(ds[name].attrs)
    return xr.Dataset(kept, attrs=dict(ds.attrs))


def _limited_by_flag(ds: xr.Dataset) -> xr.Dataset:
    """Values only where the flag allows them; flags of predicted cells without a value become 3."""
    if FLAG not in ds:
        return ds
    land = (ds[FLAG] != NODATA_CODE) & (ds[FLAG] != MASKED)
    fields = [name for name, da in ds.data_vars.items() if da.dtype.kind == "f"]
    limited = ds.assign({name: _kept(ds[name], land) for name in fields})
    if fields:
        first = limited[fields[0]]
        valid = first.notnull()
        valid = valid.any("time") if "time" in valid.dims else valid
        flag = xr.where(land & ~valid, np.uint8(MASKED), ds[FLAG])
        limited[FLAG] = ds[FLAG].copy(data=flag.values.astype(np.uint8))
    return limited


def _kept(da: xr.DataArray, land: xr.DataArray) -> xr.DataArray:
    return da.copy(data=np.where(land.values, da.values, np.float32(np.nan)))
