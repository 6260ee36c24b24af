"""Verification of a published Zarr store and its overviews against their expected contents.

Called from `verify`.
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
    """Differences of a store and its overviews from the map `source`, dims (band, y, x) or (y, x).

    Compares metadata, coordinates, values and what GDAL reads, and of the root's attributes those
    in `metadata`.
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
    finer: zarr.Array | None = None
    with tempfile.TemporaryDirectory() as folder:
        for scratch in create_stores(Path(folder), source, grid, metadata):
            level = scratch.relative_to(folder)
            where = f"{path.name}/{level}" if finer is not None else path.name
            faults.faults += _metadata_faults(where, path / level, scratch)
            if faults.faults:
                return faults.faults
            faults.faults += _coordinate_faults(where, path / level, scratch, str(source.name))
            array = zarr.open_array(str(path / level / str(source.name)), mode="r")
            if differing := _differing(array, source, finer):
                origins = "the values of its source", "those of the finer level, halved"
                expected = origins[finer is not None]
                faults.add(f"{where}: values", f"{differing} other values", expected)
            finer = array
    return faults.faults


def _metadata_faults(where: str, store: Path, scratch: Path) -> list[Fault]:
    """Differences of a store's metadata, consolidated and file by file, from those expected."""
    expected = json.loads((scratch / ".zmetadata").read_text())["metadata"]
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


def _coordinate_faults(where: str, store: Path, scratch: Path, variable: str) -> list[Fault]:
    faults = Faults()
    for name, expected in zarr.open_group(str(scratch), mode="r").arrays():
        if name == variable:
            continue
        found = zarr.open_array(str(store / name), mode="r")[...]
        if not np.array_equal(found, expected[...]):
            faults.add(f"{where}: {name}", _ends(found), _ends(expected[...]))
    return faults.faults


def _ends(values: Any) -> str:
    """First and last value of a coordinate, as text."""
    flat = np.ravel(values)
    return f"{flat[0]}" if flat.size == 1 else f"{flat[0]} to {flat[-1]}"


def _differing(array: zarr.Array, source: xr.DataArray, finer: zarr.Array | None) -> int:
    count = 0
    for index, expected in map_blocks(source, array.shape, finer):
        found = np.asarray(array[index])
        same = found == expected
        if found.dtype.kind == "f":
            same |= np.isnan(found) & np.isnan(expected)
        count += int((~same).sum())
    return count
