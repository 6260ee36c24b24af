"""Faults of a file's grid, type, nodata value and band names.

`geotiff` checks files after writing, and `verify` and `verify_zarr` check published ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio

from pipeline.core.errors import Fault, Faults
from pipeline.grid.target_grid import TargetGrid


def same_value(first: float | None, second: float | None) -> bool:
    """Whether two nodata values are equal; NaN equals NaN."""
    if first is None or second is None:
        return first is second
    return first == second or (math.isnan(first) and math.isnan(second))


def grid_faults(
    where: str, grid: TargetGrid, crs: Any, transform: Any, shape: tuple[int, ...]
) -> list[Fault]:
    """Faults of a file's CRS, transform (to 1e-9 of a cell) and shape, which must be the grid's."""
    faults = Faults()
    wanted = pyproj.CRS.from_user_input(grid.crs)
    found = pyproj.CRS.from_user_input(crs.to_wkt()) if crs else None
    if found is None or not found.equals(wanted, ignore_axis_order=True):
        faults.add(f"{where}: crs", found.name if found else "none", grid.crs)
    gaps = np.subtract(transform[:6], grid.transform[:6])
    if np.abs(gaps).max() > 1e-9 * max(grid.dx, grid.dy):
        faults.add(f"{where}: transform", str(tuple(transform)[:6]), str(tuple(grid.transform)[:6]))
    if tuple(shape) != tuple(grid.shape):
        faults.add(f"{where}: shape", str(shape), str(grid.shape))
    return faults.faults


def cog_faults(
    path: Path, grid: TargetGrid, names: Sequence[str] | None, nodata: float | None, dtype: str
) -> list[Fault]:
    """Faults of a GeoTIFF's grid, type, nodata value and band names (None: not compared)."""
    where, faults = path.name, Faults()
    with rasterio.open(path) as raster:
        faults.faults += grid_faults(where, grid, raster.crs, raster.transform, raster.shape)
        if set(raster.dtypes) != {dtype}:
            faults.add(f"{where}: type", ", ".join(sorted(set(raster.dtypes))), dtype)
        if not all(same_value(value, nodata) for value in raster.nodatavals):
            faults.add(f"{where}: nodata", str(raster.nodatavals), str(nodata))
        if names is not None and list(raster.descriptions) != list(names):
            faults.add(f"{where}: band names", str(raster.descriptions), str(tuple(names)))
    return faults.faults
