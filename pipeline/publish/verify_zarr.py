"""A published Zarr store held against what it would be, were it written now: every level of it.

Upstream: `cf`. Downstream: `verify`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr
import zarr

from pipeline.core.errors import Fault, Faults
from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.legend import NODATA_CODE
from pipeline.publish.differences import difference_faults, restricted
from pipeline.publish.faults import grid_faults, same_value
from pipeline.publish.zarr import create_stores, map_blocks


def zarr_faults(
    path: Path, source: xr.DataArray, grid: TargetGrid, metadata: Mapping[str, Any]
) -> list[Fault]:
    """What metadata, coordinates and values of a store and its overviews are not those of the map
    `source`, and what GDAL reads otherwise. Of the root's attributes those in `metadata` count.
    """
    faults = Faults()
    with rasterio.open(path) as raster:
        found = raster.crs, raster.transform, raster.shape
        faults.faults += grid_faults(path.name, grid, *found)
        nodata = NODATA_CODE if raster.dtypes[0] == "uint8" else np.nan
        if not same_value(raster.nodata, nodata):
            faults.add(f"{path.name}: nodata", str(raster.nodata), str(nodata))
    if faults.faults:
        return faults.faults
    above: zarr.Array | None = None
    with tempfile.TemporaryDirectory() as folder:
        for anew in create_stores(Path(folder), source, grid, metadata):
            place = anew.relative_to(folder)
            where = f"{path.name}/{place}" if above is not None else path.name
            faults.faults += _metadata_faults(where, path / place, anew)
            if faults.faults:
                return faults.faults
            faults.faults += _coordinate_faults(where, path / place, anew, str(source.name))
            array = zarr.open_array(str(path / place / str(source.name)), mode="r")
            if differing := _differing(array, source, above):
                finer = "the values of its source", "those of the finer level, halved"
                expected = finer[above is not None]
                faults.add(f"{where}: values", f"{differing} other values", expected)
            above = array
    return faults.faults


def _metadata_faults(where: str, store: Path, anew: Path) -> list[Fault]:
    """What the metadata of a store, consolidated and file by file, are not those expected."""
    expected = json.loads((anew / ".zmetadata").read_text())["metadata"]
    consolidated = json.loads((store / ".zmetadata").read_text())["metadata"]
    files = {
        name: json.loads((store / name).read_text()) for name in expected if (store / name).exists()
    }
    faults = []
    for kind, found in (("consolidated metadata", consolidated), ("metadata", files)):
        if ".zattrs" in found:
            found[".zattrs"] = restricted(found[".zattrs"], expected[".zattrs"])
        faults += difference_faults(f"{where}: {kind}", found, expected)
    return faults


def _coordinate_faults(where: str, store: Path, anew: Path, variable: str) -> list[Fault]:
    faults = Faults()
    for name, expected in zarr.open_group(str(anew), mode="r").arrays():
        if name == variable:
            continue
        found = zarr.open_array(str(store / name), mode="r")[...]
        if not np.array_equal(found, expected[...]):
            faults.add(f"{where}: {name}", _ends(found), _ends(expected[...]))
    return faults.faults


def _ends(values: Any) -> str:
    """First and last of a coordinate's values."""
    flat = np.ravel(values)
    return f"{flat[0]}" if flat.size == 1 else f"{flat[0]} to {flat[-1]}"


def _differing(array: zarr.Array, source: xr.DataArray, above: zarr.Array | None) -> int:
    count = 0
    for index, expected in map_blocks(source, array.shape, above):
        found = np.asarray(array[index])
        same = found == expected
        if found.dtype.kind == "f":
            same |= np.isnan(found) & np.isnan(expected)
        count += int((~same).sum())
    return count
