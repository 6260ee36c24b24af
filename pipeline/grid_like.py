"""The target grid of a Dataset, raster or NetCDF file. Called by `TargetGrid.like`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.crs import crs_of
from pipeline.grid import TargetGrid
from pipeline.spacing import edge_and_step
from pipeline.tidy import unit_factor

_AXES = {"lat": "y", "latitude": "y", "lon": "x", "longitude": "x"}
_EXPECTED = "a raster or NetCDF file with the wanted grid"


def of_dataset(ds: xr.Dataset | xr.DataArray, name: str) -> TargetGrid:
    """The north-up grid of regular 1-D `y` and `x`; `InputError` where there is none."""
    for axis in ("y", "x"):
        if axis not in ds.coords or ds[axis].ndim != 1:
            raise bad_input(
                name, f"coordinates {', '.join(map(str, ds.coords)) or 'none'}",
                f"1-D coordinates of rows and columns, and none for {axis}",
                "Name them y and x, or lat and lon, or describe the grid by bounds.",
            )  # fmt: skip
    crs = crs_of(ds)
    (west, _, dx), (first, last, dy) = (_extent(ds[a], f"{name}: {a}", crs) for a in ("x", "y"))
    if dx < 0:
        raise bad_input(f"{name}: x", "descending values", "x ascending, west to east")
    shape = (ds.sizes["y"], ds.sizes["x"])
    return TargetGrid(name, crs, west, max(first, last), dx, abs(dy), shape)


def of_file(path: Path, name: str) -> TargetGrid:
    """The grid of a file; `InputError` for one that is missing or no raster."""
    if not path.exists():
        raise bad_input(str(path), "no such file", _EXPECTED)
    if path.suffix in {".nc", ".nc4", ".zarr"}:
        try:
            ds = xr.open_dataset(path, decode_times=False)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise _unreadable(path, error) from None
        with ds:
            renames = {k: v for k, v in _AXES.items() if k in ds.coords and ds[k].ndim == 1}
            return of_dataset(ds.rename(renames), name)
    return _of_raster(path, name)


def _of_raster(path: Path, name: str) -> TargetGrid:
    import rasterio

    try:
        raster = rasterio.open(path)
    except rasterio.RasterioIOError as error:
        raise _unreadable(path, error) from None
    with raster:
        affine, crs = raster.transform, raster.crs
        if affine.b or affine.d or crs is None:
            found = "no CRS" if crs is None else "a rotated transform"
            raise bad_input(str(path), found, "a north-up raster with a CRS")
        dx, dy = abs(affine.a), abs(affine.e)
        west, north = min(affine.c, affine.c + raster.width * affine.a), raster.bounds.top
        authority = pyproj.CRS.from_wkt(crs.to_wkt()).to_authority(min_confidence=100)
        text = ":".join(authority) if authority else crs.to_wkt()
        return TargetGrid(name, text, west, max(north, raster.bounds.bottom), dx, dy, raster.shape)


def _unreadable(path: Path, error: Exception) -> Exception:
    reason = " ".join(str(error).split())[:200]
    return bad_input(str(path), f"a file that cannot be read ({reason})", _EXPECTED)


def _extent(da: xr.DataArray, where: str, crs: str) -> tuple[float, float, float]:
    """First edge, last edge and step of regular centres in their own order, units of the CRS."""
    factor = unit_factor(da.attrs.get("units"), crs)
    found = edge_and_step(da.values)
    if found is not None:
        edge, each = found
        return float(edge) * factor, float(edge + each * da.size) * factor, float(each) * factor
    values = da.values.astype(float) * factor
    if values.size < 2:
        raise bad_input(where, f"{values.size} value", "at least two, to know the cell size")
    step = (values[-1] - values[0]) / (values.size - 1)
    if np.abs(np.diff(values) - step).max() > 1e-3 * abs(step):
        raise bad_input(where, "unequal spacing", "a regular grid")
    return float(values[0] - step / 2), float(values[-1] + step / 2), float(step)
