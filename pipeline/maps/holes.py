"""Land without a value in a prediction or a map: counted and listed, never filled.

The counts are part of the captions of published maps and of `stefaland publish --verify`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.cube.open import cube_grid, cube_tiles, open_cube
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import Tile
from pipeline.maps.legend import NODATA_CODE
from pipeline.maps.mosaic import FLAG, MASKED, is_coarser
from pipeline.regridding.regrid import regrid

_LISTED = 1000  # largest number of missing cells that are listed


@dataclass(frozen=True, kw_only=True)
class Holes:
    """Number of land cells of a prediction or a map, and of those with a value, masked and missing.

    `flagged` is the number of cells that are flagged as predicted but have no value at any time.
    `cells` lists (row, column, longitude, latitude) of the first missing ones.
    """

    land: int
    predicted: int
    masked: int
    missing: int
    flagged: int
    cells: tuple[tuple[int, int, float, float], ...]

    def summary(self) -> dict[str, Any]:
        """The counts and the first ten missing cells, as plain values."""
        counts = {name: getattr(self, name) for name in ("land", "predicted", "masked", "missing")}
        return {**counts, "first_missing": [list(cell) for cell in self.cells[:10]]}


def holes(store: str | Path, land_mask: np.ndarray, variable: str) -> Holes:
    """Count and list the land cells, dims (y, x), for which a prediction or a map has no value.

    A cell is missing where it lacks any time (or band) with values elsewhere. Times without any
    values, such as the warm-up of a network, do not count.
    """
    source = open_cube(store)
    grid = cube_grid(source)
    tiles = [tile for tile in cube_tiles(store) if land_mask[tile.rows, tile.cols].any()]
    used = _times_used(source[variable], tiles)
    predicted = masked = missing = flagged = 0
    found: list[tuple[int, int]] = []
    for tile in tiles:
        land = land_mask[tile.rows, tile.cols]
        values = _valid(source[variable], tile)
        valid, seen = values[used].all(axis=0), values.any(axis=0)
        flags = source[FLAG].isel(y=tile.rows, x=tile.cols).values if FLAG in source else None
        left_out = np.zeros_like(valid) if flags is None else (flags == MASKED) & ~valid
        empty = land & ~valid & ~left_out
        predicted += int((land & valid).sum())
        masked += int((land & left_out).sum())
        missing += int(empty.sum())
        if flags is not None:
            flagged += int((land & ~seen & (flags != MASKED) & (flags != NODATA_CODE)).sum())
        for row, col in np.argwhere(empty)[: _LISTED - len(found)]:
            found.append((int(row) + tile.rows.start, int(col) + tile.cols.start))
    located = _located(grid, found)
    return Holes(
        land=int(land_mask.sum()), predicted=predicted, masked=masked, missing=missing,
        flagged=flagged, cells=located,
    )  # fmt: skip


def _valid(da: xr.DataArray, tile: Tile) -> np.ndarray:
    """Mask of the cells of a tile with values, dims (band, y, x)."""
    values = da.isel(y=tile.rows, x=tile.cols).values
    valid = ~np.isnan(values) if values.dtype.kind == "f" else values != NODATA_CODE
    return valid if valid.ndim == 3 else valid[None]


def _times_used(da: xr.DataArray, tiles: Sequence[Tile]) -> np.ndarray:
    """Mask of the times with a value anywhere; all times where none has one."""
    used = np.zeros(da.shape[0] if da.ndim == 3 else 1, bool)
    for tile in tiles:
        used |= _valid(da, tile).any(axis=(1, 2))
        if used.all():
            break
    return used if used.any() else ~used


def land_on(
    mask: np.ndarray, source: xr.Dataset, grid: TargetGrid, tiles: Sequence[Tile]
) -> np.ndarray:
    """The land mask of a cube, dims (y, x), on the grid of a map, warped like the map's flags."""
    if cube_grid(source).fingerprint == grid.fingerprint:
        return mask
    land = source[["y", "x", "spatial_ref"]].assign(
        land=(("y", "x"), np.where(mask, np.float32(1), np.float32(np.nan)))
    )
    method = "mode" if is_coarser(source, grid) else "nearest"
    warped = np.zeros(grid.shape, bool)
    for tile in tiles:
        window = grid.window(tile.rows, tile.cols)
        found = regrid(land, window, method, 0.5, require_overlap=False)["land"]
        warped[tile.rows, tile.cols] = found.notnull().values
    return warped


def _located(
    grid: TargetGrid, cells: list[tuple[int, int]]
) -> tuple[tuple[int, int, float, float], ...]:
    located = []
    for row, col in cells:
        lon, lat = grid.window(slice(row, row + 1), slice(col, col + 1)).lonlat()
        located.append((row, col, round(float(lon[0, 0]), 6), round(float(lat[0, 0]), 6)))
    return tuple(located)
